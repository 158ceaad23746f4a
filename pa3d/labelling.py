"""From the logits of patches to labels and scores of all points and faces, with clean borders if wanted.

Without refinement every point and the centroid of every face are labelled for themselves (pa3d.ops.label_points). With
it, the scores of faces, or of the points of a cloud, are spread up to concave edges (pa3d.ops.refine), and a vertex
gets the mean of the scores of its faces, weighted by area. The label is that of the largest score in either case.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pa3d import _C
from pa3d.config import ASSIGN
from pa3d.errors import InputError
from pa3d.ops.refine import REACH, Pieces, refine
from pa3d.segmentation import PatchFeatures
from pa3d.shape import Shape

SMALLEST_AREA = 1e-38  # of a face whose area float32 holds
Floats = NDArray[np.float32]
Assign = Literal["nearest", "membership", "smooth"]
Labels = tuple[NDArray[np.int32], Floats]  # labels (N,), scores (N, K)


class ShapeLabels(NamedTuple):
    """As in Segmentation."""

    labels: NDArray[np.int32]
    scores: Floats
    face_labels: NDArray[np.int32] | None
    face_scores: Floats | None


class Places:
    """What of a shape gets labels: its vertices or points, and the centroids of its faces. Computed once for a shape.

    shape: its points are finite. normalize: brings points (N, 3) of the shape into the frame of the encoder's patches.
    outlier_factor: points of a cloud that are outliers by it (pa3d.ops.find_outliers) are left alone; 0: none are.
    """

    def __init__(
        self, shape: Shape, normalize: Callable[[Floats], Floats], outlier_factor: float, threads: int
    ) -> None:
        self.shape, self.threads = shape, threads
        self._normalize, self._outlier_factor = normalize, outlier_factor

    @cached_property
    def points(self) -> Floats:  # (N, 3)
        """Normalised."""
        return self._normalize(self.shape.points)

    @cached_property
    def centroids(self) -> Floats | None:  # (F, 3)
        """Normalised; None for a cloud."""
        if self.shape.faces is None:
            return None
        centroids = self.shape.points[self.shape.faces].mean(axis=1, dtype=np.float64)
        return self._normalize(centroids.astype(np.float32))

    @cached_property
    def alone(self) -> NDArray[np.int64]:  # (A,)
        """The vertices of a mesh that belong to no face with an area; others take the scores of their faces."""
        faces = self.shape.faces
        assert faces is not None
        belongs = np.zeros(len(self.shape.points), bool)
        belongs[faces[self.shape.face_areas() > SMALLEST_AREA].reshape(-1)] = True
        return np.flatnonzero(~belongs)

    @cached_property
    def inner(self) -> NDArray[np.bool_]:  # (N,)
        """The points of a cloud that are no outliers."""
        points = self.shape.points
        if self._outlier_factor == 0:
            return np.ones(len(points), bool)
        return ~_C.find_outliers(points, self._outlier_factor, self.threads)


def label_shape(
    places: Places,
    patches: PatchFeatures,
    logits: Floats,  # (G, K)
    presence: Floats | None,  # (K,)
    *,
    assign: Assign,
    none: float,
    refined: bool,
    pieces: Pieces | None,
) -> ShapeLabels:
    """Labels and scores, from the logits of the patches.

    presence: of the names. assign and none: as in Segmenter.segment, with 0 for no threshold. refined: whether borders
    are cleaned. pieces: what is known of the shape's structure (pa3d.structure).
    """
    if not refined and pieces is None:
        at_points = label_at(places.points, patches, logits, assign, none, places.threads, presence)
        if places.centroids is None:
            return ShapeLabels(*at_points, None, None)
        return ShapeLabels(
            *at_points, *label_at(places.centroids, patches, logits, assign, none, places.threads, presence)
        )

    count = logits.shape[1]
    if none > 0 and presence is not None:  # "none of them", whose logit is 0, is one more part
        logits = np.concatenate([logits, np.zeros((len(logits), 1), np.float32)], axis=1)
        if pieces is not None and pieces.evidence is not None:
            pieces = pieces.with_column(float(np.log(1 / (count + 1))))

    def result(scores: Floats) -> Labels:
        named = scores[:, :count]
        best = named.argmax(axis=1)
        probability = named[np.arange(len(named)), best]
        if scores.shape[1] > count:
            named = named / named.sum(axis=1, keepdims=True)
        if none > 0 and presence is not None:
            probability = probability * presence[best]
        labels = np.where(probability < none, -1, best) if none > 0 else best
        return labels.astype(np.int32), np.ascontiguousarray(named)

    scores, face_scores = spread_scores(places, patches, logits, assign=assign, refined=refined, pieces=pieces)
    return ShapeLabels(*result(scores), *((None, None) if face_scores is None else result(face_scores)))


def spread_scores(
    places: Places,
    patches: PatchFeatures,
    logits: Floats,  # (G, K)
    *,
    assign: Assign,
    refined: bool,
    pieces: Pieces | None,
) -> tuple[Floats, Floats | None]:  # (N, K), (F, K)
    """Scores of points and faces, spread up to concave edges if refined, and within pieces if there are any."""
    shape, threads = places.shape, places.threads

    def scores_at(points: Floats) -> Floats:
        return label_at(points, patches, logits, assign, 0.0, threads, None)[1]

    reach = REACH if refined else 0.0
    if shape.faces is None or places.centroids is None:
        scores = scores_at(places.points)
        if refined or pieces is not None:
            inner = places.inner
            points = np.ascontiguousarray(shape.points[inner])
            scores[inner] = refine(points, None, np.ascontiguousarray(scores[inner]), reach=reach, threads=threads)
        return scores, None
    face_scores = scores_at(places.centroids)
    if not refined and pieces is None:
        return scores_at(places.points), face_scores
    face_scores = refine(shape.points, shape.faces, face_scores, pieces, reach=reach, threads=threads)
    scores = np.zeros((len(shape.points), logits.shape[1]), np.float32)
    if len(places.alone):
        scores[places.alone] = scores_at(places.points[places.alone])
    return _C.mean_at_vertices(shape.points, shape.faces, face_scores, scores), face_scores


def label_at(
    points: Floats, patches: PatchFeatures, logits: Floats, assign: Assign, none: float, threads: int, presence: Any
) -> Labels:
    """Labels and scores of normalised points (N, 3)."""
    from pa3d.ops import label_points

    patch = patches.centers, patches.members, patches.points
    return label_points(points, *patch, logits, assign, none, threads, presence)


def check_options(assign: str | None, none: float | None) -> None:
    """Raise InputError for an unknown assign, or a threshold that is not a probability."""
    if assign is not None and assign not in ASSIGN:
        raise InputError(f"assign is {assign!r}; expected one of {', '.join(ASSIGN)}")
    if none is not None and not 0 <= none <= 1:
        raise InputError(f"none is {none!r}; expected a probability between 0 and 1")


def scatter_rows(values: NDArray[Any], mask: NDArray[np.bool_], fill_value: int) -> NDArray[Any]:
    """The rows of values where the mask is true, fill_value elsewhere."""
    out = np.full((len(mask), *values.shape[1:]), fill_value, values.dtype)
    out[mask] = values
    return out
