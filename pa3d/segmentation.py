"""What a Segmenter returns: Segmentation, the parts of a shape, and PatchFeatures, what the encoder computes."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pa3d.errors import InputError
from pa3d.instances import Instance, Part, element_weights, number_instances
from pa3d.shape import Shape


@dataclass
class PatchFeatures:
    """What the encoder computes for one shape.

    centers (G, 3): patch centres in the model's axes, normalised; members (G, M): for each patch, indices into
    `points`; tokens (G, C): encoder output after the final norm; features (G, D): unit vectors in the text space;
    points (N, 3): the sampled points without outliers, in the model's axes, normalised; timings: seconds per stage.
    """

    centers: NDArray[np.float32]
    members: NDArray[np.int64]
    tokens: NDArray[np.float32]
    features: NDArray[np.float32]
    points: NDArray[np.float32]
    timings: dict[str, float] = field(default_factory=dict)


@dataclass(eq=False, repr=False)
class Segmentation:
    """Parts of a shape.

    labels (N,) int32: index into part_names for every point of a cloud or vertex of a mesh, -1 for none of the parts.
    scores (N, K) float32: probabilities; each row sums to one, but is 0 for a point without finite coordinates. A label
        is that of the largest score, or -1.
    face_labels (F,), face_scores (F, K): the same for the faces of a mesh; None for a cloud.
    timings: seconds per stage: load (reading the shape), text, upright (with up="auto"), points (sampling and
        normalising), encode, structure, label (from patches to points and faces, and clean borders). Parts of a stage
        are named "encode.embed".
    presence (K,) float32: from 0 to 1, how sure it is that the shape has the part at all, by its patches and by what
        such things have; found (K,) bool: whether that is enough. Both are None if the checkpoint is not calibrated.

    Below, elements are the faces of a mesh, or the points of a cloud. Two segmentations are equal if their shapes,
    names, labels and scores are; models, settings and timings do not count. Instances are computed when first asked
    for: do not change labels afterwards.
    """

    shape: Shape
    part_names: list[str]
    labels: NDArray[np.int32]
    scores: NDArray[np.float32]
    face_labels: NDArray[np.int32] | None = None
    face_scores: NDArray[np.float32] | None = None
    timings: dict[str, float] = field(default_factory=dict)
    model: str = ""
    settings: dict[str, Any] = field(default_factory=dict)
    presence: NDArray[np.float32] | None = None
    found: NDArray[np.bool_] | None = None

    @property
    def element_labels(self) -> NDArray[np.int32]:  # (E,)
        return self.labels if self.face_labels is None else self.face_labels

    @property
    def element_scores(self) -> NDArray[np.float32]:  # (E, K)
        return self.scores if self.face_scores is None else self.face_scores

    @cached_property
    def element_instances(self) -> NDArray[np.int32]:  # (E,)
        """The instance of its part that each element belongs to, from 0; -1 for none of the parts (pa3d.instances)."""
        return number_instances(self.shape, self.element_labels)

    @cached_property
    def parts(self) -> list[Part]:
        """One for every name, in the order of part_names, also for those that nothing belongs to."""
        weights, labels, scores = element_weights(self.shape), self.element_labels, self.element_scores
        missing = self.shape.missing()
        total = float(weights.sum() if missing is None else weights[~missing].sum())
        order = np.lexsort((np.arange(len(labels)), self.element_instances, labels))
        bounds = np.searchsorted(labels[order], np.arange(len(self.part_names) + 1))
        parts = []
        for label, name in enumerate(self.part_names):
            members = order[bounds[label] : bounds[label + 1]]
            numbers = self.element_instances[members]
            split: Any = np.searchsorted(numbers, np.arange(1, numbers[-1] + 1)) if len(numbers) else []

            def facts(elements: NDArray[np.int64], label: int = label, name: str = name) -> dict[str, Any]:
                weight = weights[elements]
                area = float(weight.sum())
                score = np.average(scores[elements, label], weights=weight) if area > 0 else np.nan
                return {
                    "part": name,
                    "elements": elements,
                    "share": area / total,
                    "area": area if self.shape.is_mesh else None,
                    "score": float(score),
                    "shape": self.shape,
                }

            groups = np.split(members, split) if len(members) else []
            instances = tuple(Instance(**facts(group), number=i) for i, group in enumerate(groups))
            parts.append(
                Part(
                    **facts(np.sort(members)),
                    label=label,
                    instances=instances,
                    presence=None if self.presence is None else float(self.presence[label]),
                    found=None if self.found is None else bool(self.found[label]),
                )
            )
        return parts

    def part(self, name: str) -> Part:
        """What belongs to a name. Raises InputError for a name that was not asked for."""
        if name not in self.part_names:
            names = ", ".join(map(repr, self.part_names))
            raise InputError(f"{self.shape.name}: there is no part {name!r}; expected one of {names}")
        return self.parts[self.part_names.index(name)]

    @property
    def instances(self) -> list[Instance]:
        """The instances of all parts, in the order of part_names."""
        return [instance for part in self.parts for instance in part.instances]

    def masks(self, *, vertices: bool = False) -> dict[str, NDArray[np.bool_]]:  # (E,) each
        """Which elements belong to each part; vertices: which vertices of a mesh do instead."""
        labels = self.labels if vertices else self.element_labels
        return {name: labels == label for label, name in enumerate(self.part_names)}

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Segmentation):
            return NotImplemented
        if self.part_names != other.part_names or self.shape.up != other.shape.up:
            return False
        return all(map(_equal, self._arrays(), other._arrays()))

    __hash__ = None  # type: ignore[assignment]

    def _arrays(self) -> tuple[NDArray[Any] | None, ...]:
        shape = self.shape
        return (
            *(shape.points, shape.faces, shape.origin, self.labels, self.scores),
            *(self.face_labels, self.face_scores, self.presence, self.found),
        )

    def __repr__(self) -> str:
        size = f"{len(self.element_labels):,} {'faces' if self.shape.is_mesh else 'points'}"
        rows = ", ".join(f"{name} {100 * share:.1f} %" for name, share in self._shares())
        return f"<Segmentation of {self.shape.name}, {size}: {rows}>"

    def _shares(self) -> list[tuple[str, float]]:
        weights = element_weights(self.shape)
        share = np.bincount(self.element_labels + 1, weights, len(self.part_names) + 1) / max(weights.sum(), 1e-300)
        none = [("none", float(share[0]))] if share[0] > 0 else []
        return [*zip(self.part_names, share[1:].tolist(), strict=True), *none]

    def _repr_html_(self) -> str:
        """For notebooks: a picture and a table."""
        from base64 import b64encode
        from html import escape

        from pa3d.colors import part_colors
        from pa3d.thumbnail import thumbnail

        rows = "".join(
            f'<tr><td><span style="color:{color}">&#9632;</span> {escape(part.part)}</td>'
            f"<td>{100 * part.share:.1f} %</td><td>{len(part.instances)}</td>"
            f"<td>{'' if np.isnan(part.score) else f'{part.score:.2f}'}</td></tr>"
            for part, color in zip(self.parts, part_colors(len(self.part_names)), strict=True)
        )
        head = "<tr><th>part</th><th>share</th><th>instances</th><th>score</th></tr>"
        image = b64encode(thumbnail(self.shape, self.element_labels, len(self.part_names))).decode()
        return (
            f'<div><b>{escape(self.shape.name)}</b><br><img alt="parts" src="data:image/png;base64,{image}">'
            f"<table>{head}{rows}</table></div>"
        )


def _equal(a: NDArray[Any] | None, b: NDArray[Any] | None) -> bool:
    if a is None or b is None:
        return a is b
    return np.array_equal(a, b, equal_nan=a.dtype.kind == "f" and b.dtype.kind == "f")
