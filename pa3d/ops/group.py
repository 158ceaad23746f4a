"""Patches: centres by farthest point sampling, members by nearest neighbours, coordinates relative to the centre.

`sample_and_group` fuses the first two: the distances that sampling computes from each new centre are the ones its
neighbour query needs. `group` gathers; it is linear in the points, and torch's own gather differentiates it.
"""

from __future__ import annotations

import numpy as np

from pa3d.ops import _cuda
from pa3d.ops._dispatch import (
    Array,
    check_alike,
    check_count,
    check_points,
    choose,
    is_tensor,
    is_traced,
    like,
    namespace,
    to_numpy,
)
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

        return _torch.sample_and_group(points, patches, size, start, min_sq_norm)
    rank = check_points("points", points)
    n = points.shape[-2]
    check_count("patches", patches, 1, None)
    check_count("size", size, 1, None)
    check_count("start", start, 0, n - 1)
    batch = points if rank == 3 else points[None]
    found = min(size, n)
    backend = choose(points, op="sample_and_group", refused=_cuda.refused_neighbors(found))
    if backend == "native":
        from pa3d import _C

        pair = _C.sample_and_group(to_numpy(batch), patches, found, start, min_sq_norm)
        centers, members = (like(a, points) for a in pair)
    elif backend == "cuda":
        centers, members = _cuda.sample_and_group(batch, patches, found, start, min_sq_norm)
    else:
        centers, members = sample_and_group_reference(batch, patches, found, start=start, min_sq_norm=min_sq_norm)
    if found < size:
        times, rest = divmod(size, found)
        members = namespace(members).concatenate([members] * times + [members[..., :rest]], -1)
    return (centers, members) if rank == 3 else (centers[0], members[0])


def sample_and_group_reference(
    points: Array,  # (B, N, 3)
    patches: int,
    size: int,
    *,
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
    neighbors_index: Array,  # (B, G, M) int64
) -> Array:  # (B, G, M, 3)
    """Member coordinates relative to their centre. Differentiable in points with torch."""
    if is_traced(points, centers_index, neighbors_index):
        from pa3d.ops import _torch

        return _torch.group(points, centers_index, neighbors_index)
    check_points("points", points, batched=True)
    check_alike(points=points, centers_index=centers_index, neighbors_index=neighbors_index)
    b, g, m = neighbors_index.shape
    members = gather(points, neighbors_index.reshape(b, g * m)).reshape(b, g, m, 3)
    return members - gather(points, centers_index)[:, :, None]


def gather(points: Array, index: Array) -> Array:  # (B, N, C), (B, K) -> (B, K, C)
    if is_tensor(points):
        return points.gather(1, index[..., None].expand(-1, -1, points.shape[2]))
    rows = index[..., None].repeat(points.shape[2], axis=2)
    return np.take_along_axis(points, rows, axis=1)
