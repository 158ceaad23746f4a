"""Patches: centres by farthest point sampling, members by nearest neighbours, coordinates relative to the centre.

The members of a patch are the points in it, the centre among them. `sample_and_group` finds centres and members in one
kernel: farthest point sampling computes the distances from each new centre to all points, and the search for the
members of that centre needs the same distances. `group` gathers the coordinates of the members.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from pa3d.ops._dispatch import choose
from pa3d.ops._library import register_op
from pa3d.ops.arrays import Array, array_namespace, is_tensor, is_traced
from pa3d.ops.backends import reference
from pa3d.ops.checks import check_count, check_points, check_same_device
from pa3d.ops.fps import farthest_point_sample_reference
from pa3d.ops.knn import knn_reference


def sample_and_group(
    points: Array,  # (B, N, 3) or (N, 3) float32
    patches: int,
    size: int,
    *,
    start: int = 0,
    min_sq_norm: float = 0.0,
) -> tuple[Array, Array]:  # centre indices (B, G), member indices (B, G, M), int64
    """Centres by `farthest_point_sample`, and the `size` points nearest to each, by `knn` (the centre among them).

    With fewer points than `size` every patch holds all of them, and members repeat from the nearest on.
    Raises as the two operations do.
    """
    if is_traced(points):
        from pa3d.ops import _torch

        return _torch.ops.sample_and_group(points, patches, size, start, min_sq_norm)
    check_points("points", points)
    n = points.shape[-2]
    check_count("patches", patches, 1, None)
    check_count("size", size, 1, None)
    check_count("start", start, 0, n - 1)
    available = min(size, n)
    backend = choose("sample_and_group", points, k=available)
    batch = points if points.ndim == 3 else points[None]
    centers, members = backend.sample_and_group(batch, patches, available, start, min_sq_norm)
    if available < size:
        repeats, remainder = divmod(size, available)
        members = array_namespace(members).concatenate([members] * repeats + [members[..., :remainder]], -1)
    return (centers, members) if points.ndim == 3 else (centers[0], members[0])


@reference.kernel("sample_and_group")
def sample_and_group_reference(
    points: Array,  # (B, N, 3)
    patches: int,
    size: int,
    start: int = 0,
    min_sq_norm: float = 0.0,
) -> tuple[Array, Array]:
    """The two rules one after the other; size <= N."""
    centers = farthest_point_sample_reference(points, patches, start=start, min_sq_norm=min_sq_norm)
    members, _ = knn_reference(gather(points, centers), points, size)
    return centers, members


def group(
    points: Array,  # (B, N, 3) float32
    centers_index: Array,  # (B, G) int64
    neighbors_index: Array,  # (B, G, M) int64, the members of each patch
) -> Array:  # (B, G, M, 3)
    """Coordinates of the members relative to their centre. Differentiable in points with torch."""
    if is_traced(points, centers_index, neighbors_index):
        from pa3d.ops import _torch

        return _torch.ops.group(points, centers_index, neighbors_index)
    check_points("points", points, "B N 3")
    check_same_device(points=points, centers_index=centers_index, neighbors_index=neighbors_index)
    return _group(points, centers_index, neighbors_index)


def _group(points: Array, centers_index: Array, members: Array) -> Array:
    b, g, m = members.shape
    coordinates = gather(points, members.reshape(b, g * m)).reshape(b, g, m, 3)
    return coordinates - gather(points, centers_index)[:, :, None]


def gather(points: Array, index: Array) -> Array:  # (B, N, C), (B, K) -> (B, K, C)
    if is_tensor(points):
        return points.gather(1, index[..., None].expand(-1, -1, points.shape[2]))
    rows = index[..., None].repeat(points.shape[2], axis=2)
    return np.take_along_axis(points, rows, axis=1)


def _run_sample_and_group(
    points: Array, patches: int, size: int, start: int = 0, min_sq_norm: float = 0.0
) -> tuple[Array, Array]:
    return sample_and_group(points, patches, size, start=start, min_sq_norm=min_sq_norm)


def _fake_sample_and_group(
    points: Array, patches: int, size: int, start: int = 0, min_sq_norm: float = 0.0
) -> tuple[Array, Array]:
    shape, int64 = (*points.shape[:-2], patches), array_namespace(points).int64
    return points.new_empty(shape, dtype=int64), points.new_empty((*shape, size), dtype=int64)


def _fake_group(points: Array, centers_index: Array, members: Array) -> Array:
    return points.new_empty((*members.shape, 3))


def _setup_group_context(ctx: Any, inputs: tuple[Any, ...], output: Array) -> None:
    points, centers_index, members = inputs
    ctx.n_points = points.shape[1]
    ctx.save_for_backward(centers_index, members)


def _group_backward(ctx: Any, grad: Array) -> tuple[Array, None, None]:
    """Scatter-adds grad to the members, and subtracts its sum over the members from the centres."""
    centers_index, members = ctx.saved_tensors
    b, g, m = members.shape
    total = grad.new_zeros((b, ctx.n_points, 3))
    rows = members.reshape(b, g * m, 1).expand(-1, -1, 3)
    total = total.scatter_add(1, rows, grad.reshape(b, g * m, 3))
    return total.scatter_add(1, centers_index[..., None].expand(-1, -1, 3), -grad.sum(2)), None, None


register_op(
    "sample_and_group(Tensor points, int patches, int size, int start=0, float min_sq_norm=0.0) -> (Tensor, Tensor)",
    _run_sample_and_group,
    fake=_fake_sample_and_group,
)
register_op(
    "group(Tensor points, Tensor centers_index, Tensor neighbors_index) -> Tensor",
    group,
    fake=_fake_group,
    float64_impl=_group,
    setup_context=_setup_group_context,
    backward=_group_backward,
)
