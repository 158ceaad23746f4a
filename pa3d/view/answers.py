"""What the page shows of a shape: an answer to words, or the shape divided without names. Without viser."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pa3d.colors import UNLABELED_COLOR, part_colors
from pa3d.part_tree import MOST_PARTS
from pa3d.report import PartRow, not_found
from pa3d.segmentation import Segmentation
from pa3d.session import OpenShape
from pa3d.shape import Shape
from pa3d.view.scene import Group, heat_groups, part_groups


class Question(NamedTuple):
    """What is asked of a shape: words with the options of OpenShape.segment, or a division at a level if there is one.

    One word asks for its heat, no words for the plain shape.
    """

    words: tuple[str, ...] = ()
    category: str | None = None
    none: float = 0.0
    level: float | None = None


class Answer:
    """What the page shows.

    groups: what is drawn. rows: the parts that the shape has. labels (E,): of the faces of a mesh or points of a cloud,
    None if there are no parts; names: what they are. heat (E,): of one word, else None. up (3,): the up direction that
    was found, if asked. text: what was done. absent: names that the shape does not seem to have.
    """

    def __init__(
        self,
        groups: list[Group],
        text: str,
        *,
        names: list[str] | None = None,
        rows: list[PartRow] | None = None,
        labels: NDArray[np.int32] | None = None,
        heat: NDArray[np.float32] | None = None,
        up: list[float] | None = None,
        absent: list[str] | None = None,
        segmentation: Callable[[], Segmentation] | None = None,
    ) -> None:
        """segmentation: makes the result, which is what `pa3d segment` would write."""
        self.groups, self.text, self.names, self.rows, self.labels = groups, text, names or [], rows or [], labels
        self.heat, self.up, self.absent = heat, up, absent or []
        self._segmentation = segmentation

    @cached_property
    def result(self) -> Segmentation | None:
        """The segmentation, None of a plain shape. It is made when first asked for where colours do not need it."""
        return None if self._segmentation is None else self._segmentation()


def plain(shape: Shape, text: str) -> Answer:
    """The shape in grey."""
    count = len(shape.points if shape.faces is None else shape.faces)
    return Answer(part_groups(np.full(count, -1, np.int32), 0), text)


def answer(shape: OpenShape, question: Question, weights: NDArray[np.float64]) -> Answer:
    """weights (E,): the areas of the faces of a mesh; for a cloud, 1 for each point that has coordinates, else 0.

    Raises InputError for names that cannot be used.
    """
    if question.level is not None:
        return _divided(shape, question.level, weights)
    if not question.words:
        return plain(shape.shape, "type the names of parts, or let them be found")
    if len(question.words) == 1:
        return _heated(shape, question)
    result = shape.segment(question.words, category=question.category, none=question.none or None)
    return of_result(result, weights)


def of_result(result: Segmentation, weights: NDArray[np.float64]) -> Answer:
    """A segmentation that was made."""
    rows = _rows(result.part_names, result.element_labels, weights, result)
    return Answer(
        part_groups(result.element_labels, len(result.part_names)),
        f"{len(result.part_names)} names",
        names=result.part_names,
        rows=[row for row in rows if row.count],
        labels=result.element_labels,
        up=result.settings.get("up_found"),
        absent=not_found(rows),
        segmentation=lambda: result,
    )


def level_of(count: int) -> float:
    """The level of PartTree.count_at at which there are so many parts, or as near to it as there can be."""
    return min(1.0, math.log(max(count, 2) / 2) / math.log(MOST_PARTS / 2))


def _divided(shape: OpenShape, level: float, weights: NDArray[np.float64]) -> Answer:
    tree = shape.tree
    labels = tree.cut(level=level)
    names = tree.names(labels)
    if tree.elements is not None:  # of a cloud with points that have no coordinates
        every = np.full(len(weights), -1, np.int32)
        every[tree.elements] = labels
        labels = every
    return Answer(
        part_groups(labels, len(names)),
        f"{len(names)} parts without names",
        names=names,
        rows=[row for row in _rows(names, labels, weights) if row.count],
        labels=labels,
        segmentation=lambda: shape.parts(level=level),
    )


def _heated(shape: OpenShape, question: Question) -> Answer:
    (word,), category, none = question.words, question.category, question.none
    found, fit = shape.heat(word, category=category), shape.model.checkpoint.presence
    is_absent = fit is not None and found.presence is not None and found.presence < fit.threshold
    frame = shape.frame(shape.model.part_vectors([word], category, None))
    heat = found.elements
    return Answer(
        heat_groups(heat, none),
        "heat",
        names=[word],
        heat=heat,
        up=None if frame.direction is None else frame.direction.tolist(),
        absent=[word] if is_absent else [],
        segmentation=lambda: shape.segment([word], category=category, none=none or None),
    )


def _rows(
    names: list[str], labels: NDArray[np.int32], weights: NDArray[np.float64], result: Segmentation | None = None
) -> list[PartRow]:
    """What pa3d.report.part_rows says, but not the confidences; the areas, which take it long, are known here."""
    count = np.bincount(labels + 1, minlength=len(names) + 1)
    count[0] = np.count_nonzero(weights[labels < 0])  # without points that have no coordinates
    share = np.bincount(labels + 1, weights, len(names) + 1) / max(float(weights.sum()), 1e-300)
    presence, found = (None, None) if result is None else (result.presence, result.found)
    return [
        PartRow(
            name=name,
            label=label,
            color=color,
            share=round(float(share[label + 1]), 6),
            mean_confidence=None,
            count=int(count[label + 1]),
            presence=None if presence is None or label < 0 else round(float(presence[label]), 6),
            found=None if found is None or label < 0 else bool(found[label] and count[label + 1]),
        )
        for name, color, label in zip(
            [*names, "none of these"],
            [*part_colors(len(names)), UNLABELED_COLOR],
            [*range(len(names)), -1],
            strict=True,
        )
    ]
