"""How a shape is cut: the piece of each face, or of each point of a cloud, and what the pieces are called."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pa3d.report.files import confidence

if TYPE_CHECKING:
    from pa3d.segment import Segmentation

NONE = "none"  # the name of what belongs to none of the parts


class CutPiece(NamedTuple):
    """name: the part's, with the number of the instance where there are several: "leg 2". instance: from 0, -1 where
    instances are not told apart."""

    name: str
    part: str
    label: int
    instance: int


def members(numbers: NDArray[np.int64]) -> dict[int, NDArray[np.int64]]:  # (E,)
    """For each number that occurs, from the smallest: where it does."""
    # Numbers of 16 bits are sorted by their digits, in time that does not grow with how many there are.
    small = numbers.astype(np.uint16) if numbers.max(initial=0) < 1 << 16 else numbers
    order = np.argsort(small, kind="stable")
    found, first = np.unique(small[order], return_index=True)
    return dict(zip(found.tolist(), np.split(order, first[1:]), strict=True))


class Cut:
    """A result as the writers of assets take it. An element is a face of a mesh or a point of a cloud.

    part_names: K; pieces: sorted by label and instance, none of the parts (label -1) last; numbers (E,): index into
    pieces for each element; labels (E,); scores (E, K); weights (E,): area of a face, 1 for a point.
    """

    def __init__(
        self,
        part_names: Sequence[str],
        labels: NDArray[np.int32],  # (E,)
        scores: NDArray[np.float32],  # (E, K)
        weights: NDArray[Any],  # (E,)
        instances: NDArray[np.int32] | None = None,  # (E,), from 0 within each part, -1 for none of them
    ) -> None:
        self.part_names = list(part_names)
        self.labels, self.scores, self.weights = labels, scores, weights
        self.confidence = confidence(scores, labels) if scores.shape[1] and len(scores) else None
        # Each pair of label and instance is a piece; both begin at -1, and label -1 comes last.
        of_label = np.where(labels >= 0, labels, len(self.part_names)).astype(np.int64)
        number = np.zeros(len(labels), np.int64) if instances is None else np.where(labels >= 0, instances + 1, 0)
        width = int(number.max(initial=0)) + 1
        pair = of_label * width + number
        pairs = np.flatnonzero(np.bincount(pair, minlength=(len(self.part_names) + 1) * width))
        place = np.zeros((len(self.part_names) + 1) * width, np.int64)
        place[pairs] = np.arange(len(pairs))
        self.numbers = place[pair]
        several = np.bincount(pairs // width, minlength=len(self.part_names) + 1) > 1
        self.pieces: list[CutPiece] = []
        for label, instance in zip((pairs // width).tolist(), (pairs % width - 1).tolist(), strict=True):
            if label == len(self.part_names):
                self.pieces.append(CutPiece(NONE, NONE, -1, -1))
                continue
            part = self.part_names[label]
            name = f"{part} {instance + 1}" if several[label] and instance >= 0 else part
            self.pieces.append(CutPiece(name, part, label, instance))

    @classmethod
    def of(cls, result: Segmentation) -> Cut:
        instances: Any = result.element_instances
        if result.face_labels is None or result.face_scores is None:
            return cls(result.part_names, result.labels, result.scores, np.ones(len(result.labels)), instances)
        areas = result.shape.face_areas()
        return cls(result.part_names, result.face_labels, result.face_scores, areas, instances)

    def extras(self, number: int, elements: NDArray[Any]) -> dict[str, Any]:
        """What a file says of a piece that consists of these elements (indices or a mask), as JSON.

        score: the mean probability of the part over them, weighted by area.
        """
        piece = self.pieces[number]
        found: dict[str, Any] = {"part": piece.part, "label": piece.label}
        if piece.instance >= 0:
            found["instance"] = piece.instance
        if self.confidence is not None:
            weights = self.weights[elements]
            weights = weights if weights.sum() > 0 else np.ones(len(weights))
            found["score"] = round(float(np.average(self.confidence[elements], weights=weights)), 6)
        return found

    def score_columns(self) -> dict[str, NDArray[np.float32]]:  # each (E,)
        """The scores of each part, by the name of the property that holds them."""
        names = ["score_" + "_".join(name.split()) for name in self.part_names]
        return {name: self.scores[:, i].astype("<f4") for i, name in enumerate(names)}

    def select(self, chosen: NDArray[np.bool_]) -> Cut:
        """The same for some of the elements."""
        instances = np.array([piece.instance for piece in self.pieces], np.int32)[self.numbers[chosen]]
        return Cut(self.part_names, self.labels[chosen], self.scores[chosen], self.weights[chosen], instances)

    def of_polygons(self, polygon: NDArray[np.int32] | None, count: int) -> Cut:
        """The same for polygons, of which each face was cut from one (F,): each has the label of most of its area."""
        if polygon is None:
            return self
        width = len(self.pieces)
        pairs, pair_of_face = np.unique(polygon.astype(np.int64) * width + self.numbers, return_inverse=True)
        # The last of each polygon's pairs, sorted by area; where areas are equal, that of the first piece.
        area = np.bincount(pair_of_face.reshape(-1), self.weights, len(pairs))
        order = np.lexsort((-pairs, area, pairs // width))
        best = np.full(count, -1)
        best[pairs[order] // width] = pairs[order] % width
        weight = np.bincount(polygon, self.weights, count)
        total = np.where(weight > 0, weight, 1)
        columns = [np.bincount(polygon, self.weights * column, count) / total for column in self.scores.T]
        scores = np.stack(columns, axis=1).astype(np.float32) if columns else np.empty((count, 0), np.float32)
        # A polygon of fewer than three corners has no face and belongs to nothing.
        labels = np.array([*(piece.label for piece in self.pieces), -1], np.int32)[best]
        instances = np.array([*(piece.instance for piece in self.pieces), -1], np.int32)[best]
        return Cut(self.part_names, labels, scores, weight, instances)
