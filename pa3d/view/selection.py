"""The part under clicks: what was clicked, which faces or points it is, and its likely names. Without viser."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pa3d.errors import InputError
from pa3d.part_tree import vertex_labels
from pa3d.segmentation import Segmentation
from pa3d.session import OpenShape
from pa3d.text import EMBEDDED
from pa3d.view.scene import Hit

NAMELESS = "selection"  # the name of a part where no names are known


class Clicks(NamedTuple):
    """Places on the part, and places beside it."""

    positive: tuple[Hit, ...] = ()
    negative: tuple[Hit, ...] = ()

    def with_click(self, hit: Hit, kind: str) -> Clicks:
        """kind: "select" begins anew, "add" and "take away" add a place on the part or beside it.

        Raises InputError if there is nothing to take away from.
        """
        if kind == "select" or (kind == "add" and not self.positive):
            return Clicks((hit,))
        if kind == "add":
            return self._replace(positive=(*self.positive, hit))
        if not self.positive:
            raise InputError("nothing is selected yet; click on the part first")
        return self._replace(negative=(*self.negative, hit))


@dataclass
class Selection:
    """The part under clicks.

    mask (E,): of the faces of a mesh, or the points of a cloud; None where `note` says why there is none. share: of the
    surface or of the points, 0..1. names: the likely ones with their probabilities, none without the embedded text
    encoder, because hundreds of names would take a large one minutes.
    """

    clicks: Clicks
    mask: NDArray[np.bool_] | None
    share: float = 0.0
    names: tuple[tuple[str, float], ...] = ()
    note: str = ""

    @property
    def last(self) -> Hit:
        """The place on the part that was clicked last."""
        return self.clicks.positive[-1]

    def segmentation(self, shape: OpenShape) -> Segmentation:
        """The selection as a result of one part with its likeliest name, and nothing else."""
        assert self.mask is not None
        name = self.names[0][0] if self.names else NAMELESS
        places = {kind: [_place(shape, hit).tolist() for hit in hits] for kind, hits in self.clicks._asdict().items()}
        settings = {
            "sample": shape.sample,
            "up": shape.shape.up,
            "seed": shape.seed,
            "patches": shape.model.config.patches,
            "precision": shape.model.precision,
            "device": shape.model.device,
            **places,
        }
        labels, scores = np.where(self.mask, 0, -1).astype(np.int32), self.mask[:, None].astype(np.float32)
        facts = (dict(shape.tree.timings), shape.model.checkpoint.name, settings)
        if shape.shape.faces is None:
            return Segmentation(shape.shape, [name], labels, scores, None, None, *facts)
        of_points, point_scores = vertex_labels(shape.shape, np.where(self.mask, 0, 1).astype(np.int32), 2)
        of_points = np.where(of_points == 0, 0, -1).astype(np.int32)
        return Segmentation(shape.shape, [name], of_points, point_scores[:, :1].copy(), labels, scores, *facts)


def select(shape: OpenShape, clicks: Clicks, weights: NDArray[np.float64]) -> Selection:
    """The part under clicks, by OpenShape.select. weights (E,): areas, or ones.

    If the shape cannot be divided without names, there is no mask and a note. Raises InputError for places that cannot
    be told apart.
    """
    try:
        tree = shape.tree
    except InputError as error:  # with up="auto"
        return Selection(clicks, None, note=str(error))
    positive, negative = (np.array([_place(shape, hit) for hit in hits]).reshape(-1, 3) for hits in clicks)
    mask = shape.select(positive, negative)
    names: tuple[tuple[str, float], ...] = ()
    if shape.model.checkpoint.text_space == EMBEDDED:
        names = tuple(tree.likely_names(mask if tree.elements is None else mask[tree.elements]))
    return Selection(clicks, mask, float(weights[mask].sum() / max(float(weights.sum()), 1e-300)), names)


def _place(shape: OpenShape, hit: Hit) -> NDArray[np.float64]:  # (3,)
    """Where a click was, in the axes and units of the file."""
    return hit.position + shape.shape.origin
