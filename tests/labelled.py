"""Results without a model: parts that a rule cuts from the place of each point and face."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pa3d.segment import Segmentation
from pa3d.shape import Shape

PARTS = ["low end", "middle", "high end"]


def labels_of(points: NDArray[np.floating], none: bool = False) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """Labels (N,) by thirds along the longest axis, and scores (N, 3). none: the last third belongs to no part."""
    along = points[:, np.nanargmax(np.nanmax(points, axis=0) - np.nanmin(points, axis=0))]
    labels = np.digitize(along, np.nanquantile(along, [1 / 3, 2 / 3])).astype(np.int32)
    scores = np.full((len(points), 3), 0.1, np.float32)
    scores[np.arange(len(points)), labels] = 0.8
    if none:
        labels[labels == 2] = -1
    return labels, scores


def labelled(shape: Shape, none: bool = False) -> Segmentation:
    """A shape cut into thirds."""
    labels, scores = labels_of(shape.points, none)
    if shape.faces is None:
        return Segmentation(shape, list(PARTS), labels, scores)
    faces = labels_of(shape.points[shape.faces].mean(axis=1, dtype=np.float64), none)
    return Segmentation(shape, list(PARTS), labels, scores, *faces)
