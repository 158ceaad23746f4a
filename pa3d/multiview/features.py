"""Features of views gathered to points.

A point's feature is the mean over the views that show it, as in the first stage of PatchAlign3D (arXiv 2601.02457) and
in COPS. The mean over the pixels that show the point is taken in each view first. So a view from nearby has the same
weight as one from far away. `average="pixels"` takes the mean over all pixels of all views instead. Points that no
view shows get the mean of their 20 nearest points that a view shows.

The published code of both differs, and `pixels="last"`, `fill="all"` do as it does: of several pixels of a point in a
view it takes the last in row order, and a point that no view shows gets the mean of those among its 20 nearest of all
points that a view shows, or zeros if there are none. Ours uses what every pixel says, and leaves no point without a
feature.
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
    pixels: Literal["mean", "last"] = "mean",
    fill: Literal["seen", "all"] = "seen",
) -> tuple[Array, Array]:  # features (P, C) float32, seen (P,) bool
    """The mean of the interpolated tokens at the pixels that show each point.

    average: over views or over pixels (see the module). neighbors: how many seen points fill in an unseen one.
    pixels: the mean of a point's pixels in a view, or the last in row order. fill: from the nearest seen points, or
        from the seen ones among the nearest of all points.
    Returns the features, and which points any view sees. When no view sees any point, features are zero.
    Raises TypeError or ValueError as `backproject` does, and for points that are not finite or fewer than the indices
    need.
    """
    if average not in ("views", "pixels"):
        raise ValueError(f"average: expected views or pixels, got {average!r}")
    if pixels not in ("mean", "last") or fill not in ("seen", "all"):
        raise ValueError(f"pixels: expected mean or last, got {pixels!r}; fill: expected seen or all, got {fill!r}")
    check_count("neighbors", neighbors, 1, None)
    check_points("points", points, "N 3")
    check_same_device(tokens=tokens, points=points)
    if pixels == "last":
        point_of_pixel = last_pixels(point_of_pixel, len(points))
    features, count = backproject(tokens, point_of_pixel, len(points), mode=mode, per_view=average == "views")
    seen = count > 0
    # In place, because the sums are the largest array here.
    features /= _column(count.clip(1), features)
    if fill == "seen":
        fill_unseen(features, points, seen, neighbors)
    else:
        fill_from_all(features, points, seen, neighbors)
    return features, seen


def last_pixels(point_of_pixel: Array, n_points: int) -> Array:  # (V, H, W)
    """The same, but in each view only the last pixel of a point, in row order, shows it."""
    xp = array_namespace(point_of_pixel)
    out = xp.full_like(point_of_pixel, -1)
    for view, kept in zip(point_of_pixel.reshape(len(point_of_pixel), -1), out.reshape(len(out), -1), strict=True):
        shown = _indices(view >= 0)
        if is_tensor(view):
            last = view.new_full((n_points,), -1, dtype=xp.int64)
            last.scatter_reduce_(0, view[shown].long(), shown, "amax")
        else:
            last = xp.full(n_points, -1)
            xp.maximum.at(last, view[shown], shown)
        last = last[last >= 0]
        kept[last] = view[last]
    return out


def fill_from_all(
    features: Array,  # (P, C) float32, changed in place; 0 where unseen
    points: Array,  # (P, 3) float32
    seen: Array,  # (P,) bool
    neighbors: int = NEIGHBORS,
) -> None:
    """Set unseen points to the mean of the seen ones among their nearest of all points, to 0 if there are none."""
    if bool(seen.all()):
        return
    near, _ = knn(points[~seen], points, min(neighbors, len(points)))
    has = seen[near]  # (U, k)
    total = features[near[:, 0]] * _column(has[:, 0], features)
    for k in range(1, near.shape[1]):
        total += features[near[:, k]] * _column(has[:, k], features)
    features[~seen] = total / _column(has.sum(1).clip(1), features)


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
