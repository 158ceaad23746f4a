"""From the logits of patches to labels and scores of all points and faces, with clean borders if wanted.

Without refinement every point and the centroid of every face are labelled for themselves (pa3d.ops.label_points). With
it, the scores of faces, or of the points of a cloud, are spread up to concave edges (pa3d.ops.refine), and a vertex
gets the mean of the scores of its faces, weighted by area. The label is that of the largest score in either case.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pa3d import _C
from pa3d.config import ASSIGN
from pa3d.errors import InputError
from pa3d.ops.refine import REACH, Pieces, refine
from pa3d.shape import Shape

Floats = NDArray[np.float32]
Labels = tuple[NDArray[np.int32], Floats]  # labels (N,), scores (N, K)


class ShapeLabels(NamedTuple):
    """As in Segmentation."""

    labels: NDArray[np.int32]
    scores: Floats
    face_labels: NDArray[np.int32] | None
    face_scores: Floats | None


def label_shape(
    shape: Shape,
    label: Callable[[Floats, Floats, float, Floats | None], Labels],
    logits: Floats,  # (G, K)
    presence: Floats | None,  # (K,)
    *,
    none: float,
    refined: bool,
    pieces: Pieces | None,
    threads: int,
) -> ShapeLabels:
    """Labels and scores of a shape whose points are finite.

    label: gives the labels and scores of points in the axes of the shape from the logits of the patches, by the
        threshold `none` and the presence of the names (label_points).
    refined: whether borders are cleaned. pieces: what is known of the shape's structure (pa3d.structure).
    """
    faces = shape.faces
    centroids = None if faces is None else shape.points[faces].mean(axis=1, dtype=np.float64).astype(np.float32)
    if not refined and pieces is None:
        labels, scores = label(shape.points, logits, none, presence)
        if centroids is None:
            return ShapeLabels(labels, scores, None, None)
        return ShapeLabels(labels, scores, *label(centroids, logits, none, presence))

    count = logits.shape[1]
    if none > 0 and presence is not None:  # "none of them", whose logit is 0, is one more part
        logits = np.concatenate([logits, np.zeros((len(logits), 1), np.float32)], axis=1)
        if pieces is not None and pieces.evidence is not None:
            pieces = pieces.with_column(float(np.log(1 / (count + 1))))
    reach = REACH if refined else 0.0
    scores = label(shape.points, logits, 0.0, None)[1]

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

    if faces is None or centroids is None:
        scores = refine(shape.points, None, scores, pieces, reach=reach, threads=threads)
        return ShapeLabels(*result(scores), None, None)
    face_scores = label(centroids, logits, 0.0, None)[1]
    face_scores = refine(shape.points, faces, face_scores, pieces, reach=reach, threads=threads)
    scores = _C.mean_at_vertices(shape.points, faces, face_scores, scores)
    return ShapeLabels(*result(scores), *result(face_scores))


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
