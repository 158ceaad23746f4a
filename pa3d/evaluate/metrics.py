"""Metrics: IoU by part, boundary IoU, calibration, and confidence intervals by resampling shapes.

Labels are indices 0..C-1 of the classes that count, -1 for none of them. IoU and accuracy follow from a shape's
confusion matrix, so a rule for absent parts can be changed without predicting again.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pa3d.errors import InputError

Absent = Literal["skip", "one", "union"]
ABSENT: tuple[str, ...] = get_args(Absent)
CALIBRATION_BINS = 15
BOUNDARY_NEIGHBORS = 16

Labels = NDArray[np.integer]


def confusion_matrix(
    truth: Labels,  # (N,)
    predicted: Labels,  # (N,)
    classes: int,
) -> NDArray[np.int64]:  # (C + 1, C + 1)
    """Number of points by true class (row) and predicted class (column). The last row and column are none of them (-1).

    Raises InputError for labels outside -1..C-1 or of different lengths.
    """
    if truth.shape != predicted.shape or truth.ndim != 1:
        raise InputError(f"labels have shapes {truth.shape} and {predicted.shape}; expected one length for both")
    for name, labels in (("true", truth), ("predicted", predicted)):
        if len(labels) and (labels.min() < -1 or labels.max() >= classes):
            label_range = f"{labels.min()}..{labels.max()}"
            raise InputError(f"{name} labels are {label_range}; expected -1..{classes - 1} for {classes} classes")
    size = classes + 1
    index = (truth.astype(np.int64) % size) * size + predicted.astype(np.int64) % size
    return np.bincount(index, minlength=size * size).reshape(size, size)


def part_ious(confusion: NDArray[np.int64], absent: Absent) -> NDArray[np.float64]:  # (C,)
    """Intersection over union of every part of one shape, NaN for a part that does not count.

    absent says how a part without a true point counts. "skip": it does not count (PatchAlign3D on
    ShapeNetPart). "one": 1 when it is not predicted either, else 0 (PointNet's rule; COPS, PointCLIPv2,
    PatchAlign3D on FAUST). "union": it does not count when it is not predicted either, else 0 (Find3D).
    """
    if absent not in ABSENT:
        raise InputError(f"absent-part rule {absent!r} is unknown; expected one of {', '.join(ABSENT)}")
    intersection = np.diag(confusion)[:-1]
    true, predicted = confusion.sum(axis=1)[:-1], confusion.sum(axis=0)[:-1]
    union = true + predicted - intersection
    iou = np.where(union > 0, intersection / np.maximum(union, 1), 1.0 if absent == "one" else np.nan)
    if absent == "skip":
        iou[true == 0] = np.nan
    return iou


def nan_mean(values: ArrayLike) -> float | None:
    """Mean of the values that are not NaN; None when there are none."""
    array = np.asarray(values, np.float64)
    known = array[~np.isnan(array)]
    return float(known.mean()) if len(known) else None


def accuracy(confusion: NDArray[np.int64]) -> float | None:
    """Fraction of the points with the right label; label -1 counts like any other. None without points."""
    total = int(confusion.sum())
    return float(np.trace(confusion) / total) if total else None


def neighborhoods(points: NDArray[np.float32], k: int = BOUNDARY_NEIGHBORS) -> NDArray[np.int64]:  # (N, min(k, N))
    """The indices of each point's k nearest points, itself among them."""
    from pa3d.ops import knn

    return knn(points, points, min(k, len(points)))[0]


def boundary_ious(
    truth: Labels,  # (N,)
    predicted: Labels,  # (N,)
    neighbor_idx: NDArray[np.int64],  # (N, k) from neighborhoods
    classes: int,
) -> NDArray[np.float64]:  # (C,)
    """Boundary IoU (Cheng et al., arXiv 2103.16562) of every part, on points instead of pixels.

    The boundary G' of a part G is its points with a point outside G among their k nearest; with P predicted,

        |G' and P'| / |G' or P'|

    NaN for a part without a true boundary. In IoU the interior of a large part hides a bad boundary; here it does not.
    """
    ious = np.full(classes, np.nan)
    for c in range(classes):
        g, p = truth == c, predicted == c
        g_edge, p_edge = g & ~g[neighbor_idx].all(axis=1), p & ~p[neighbor_idx].all(axis=1)
        if g_edge.any():
            ious[c] = (g_edge & p_edge).sum() / (g_edge | p_edge).sum()
    return ious


def calibration_bins(
    confidence: NDArray[np.floating],  # (N,) in 0..1
    correct: NDArray[np.bool_],  # (N,)
    bins: int = CALIBRATION_BINS,
) -> NDArray[np.float64]:  # (bins, 3)
    """For each bin: points, the sum of their confidence, and how many are right.

    Bins have equal width and are closed on the right.
    """
    index = np.clip(np.ceil(confidence.astype(np.float64) * bins).astype(np.int64) - 1, 0, bins - 1)
    columns = (None, confidence.astype(np.float64), correct.astype(np.float64))
    return np.stack([np.bincount(index, weights, bins).astype(np.float64) for weights in columns], axis=1)


def expected_calibration_error(bins: NDArray[np.float64]) -> float | None:
    """sum_b n_b / n |accuracy_b - confidence_b| (Naeini et al., AAAI 2015); None without points."""
    total = float(bins[:, 0].sum())
    return float(np.abs(bins[:, 2] - bins[:, 1]).sum() / total) if total else None


def mean_over_groups(values: ArrayLike, groups: Sequence[str] | None = None) -> float | None:
    """The mean, or the mean over groups of the means within: mIoU and cIoU. None without values."""
    array = np.asarray(values, np.float64)
    if not len(array):
        return None
    return float(np.mean([array[rows].mean() for rows in _rows(len(array), groups)]))


def bootstrap_interval(
    values: ArrayLike,  # (N,) one per shape
    groups: Sequence[str] | None = None,  # (N,)
    *,
    level: float = 0.95,
    n_resamples: int = 2000,
    seed: int = 0,
) -> tuple[float, float] | None:
    """Percentile bootstrap interval of `mean_over_groups` (Efron and Tibshirani, 1993).

    Shapes are resampled with replacement, within their group if there are groups. The same seed gives the same
    interval. None when there are fewer than two values, or fewer than two in a group.
    """
    array = np.asarray(values, np.float64)
    rows = _rows(len(array), groups)
    if not rows or min(map(len, rows)) < 2:
        return None
    rng = np.random.default_rng(seed)
    means = np.zeros(n_resamples)
    for group in rows:
        means += array[group[rng.integers(len(group), size=(n_resamples, len(group)))]].mean(axis=1)
    low, high = np.quantile(means / len(rows), [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def _rows(n: int, groups: Sequence[str] | None) -> list[NDArray[np.int64]]:
    """The rows of each group, in the order of their names."""
    if groups is None:
        return [np.arange(n)]
    labels = np.asarray(groups)
    return [np.flatnonzero(labels == name) for name in sorted(set(groups))]
