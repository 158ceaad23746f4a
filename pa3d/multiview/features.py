"""Features of views gathered to points.

A point's feature is the mean over the views that show it, as in the first stage of PatchAlign3D (arXiv 2601.02457) and
in COPS. The mean over the pixels that show the point is taken in each view first. So a view from nearby has the same
weight as one from far away. `average="pixels"` takes the mean over all pixels of all views instead. Points that no
view shows get the mean of their 20 nearest points that a view shows.
"""

from __future__ import annotations

from typing import Any, Literal

from pa3d.ops.arrays import Array, array_namespace, is_tensor
from pa3d.ops.backproject import Mode, backproject
from pa3d.ops.checks import check_count, check_points, check_same_device
from pa3d.ops.knn import knn

NEIGHBORS = 20


def point_features(
    tokens: Array,  # (V, gh, gw, C) float32, or bfloat16 as a torch tensor
    point_of_pixel: Array,  # (V, H, W) int32 or int64, -1 for none
    points: Array,  # (P, 3) float32
    *,
    mode: Mode = "bicubic",
    average: Literal["views", "pixels"] = "views",
    neighbors: int = NEIGHBORS,
) -> tuple[Array, Array]:  # features (P, C) float32, seen (P,) bool
    """The mean of the interpolated tokens at the pixels that show each point.

    average: over views or over pixels (see the module). neighbors: how many seen points fill in an unseen one.
    Returns the features, and which points any view sees. When no view sees any point, features are zero.
    Raises TypeError or ValueError as `backproject` does, and for points that are not finite or fewer than the indices
    need.
    """
    if average not in ("views", "pixels"):
        raise ValueError(f"average: expected views or pixels, got {average!r}")
    check_count("neighbors", neighbors, 1, None)
    check_points("points", points, "N 3")
    check_same_device(tokens=tokens, points=points)
    features, count = backproject(tokens, point_of_pixel, len(points), mode=mode, per_view=average == "views")
    seen = count > 0
    # In place, because the sums are the largest array here.
    features /= _column(count.clip(1), features)
    fill_unseen(features, points, seen, neighbors)
    return features, seen


def fill_unseen(
    features: Array,  # (P, C) float32, changed in place
    points: Array,  # (P, 3) float32
    seen: Array,  # (P,) bool
    neighbors: int = NEIGHBORS,
) -> None:
    """Set unseen points to the mean of their nearest seen ones, at most `neighbors` of them."""
    if bool(seen.all()) or not bool(seen.any()):
        return
    near, _ = knn(points[~seen], points[seen], min(neighbors, int(seen.sum())))
    rows = _indices(seen)[near]  # (U, k)
    total = features[rows[:, 0]]
    for k in range(1, rows.shape[1]):
        total += features[rows[:, k]]
    features[~seen] = total / rows.shape[1]


def _column(count: Array, like: Array) -> Array:  # (P,) -> (P, 1) of like's dtype
    return count.to(like.dtype)[:, None] if is_tensor(count) else count.astype(like.dtype)[:, None]


def _indices(mask: Array) -> Any:
    return array_namespace(mask).nonzero(mask, as_tuple=True)[0] if is_tensor(mask) else mask.nonzero()[0]
