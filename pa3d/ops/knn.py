"""k nearest neighbours.

Exact and equal on every backend: squared distances in float32, (dx*dx + dy*dy) + dz*dz, ascending, the lowest index
first among equals. Not differentiable: indices are discrete, and the distances serve as weights and bounds.
"""

from __future__ import annotations

import numpy as np

from pa3d.ops import _cuda, _triton
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


def knn(
    queries: Array,  # (B, Q, 3) or (Q, 3) float32
    points: Array,  # (B, N, 3) or (N, 3) float32
    k: int,
) -> tuple[Array, Array]:  # (B, Q, k) int64, (B, Q, k) float32; without B where the inputs have none
    """Indices and squared distances of the k points nearest to each query, nearest first.

    Raises TypeError for a wrong kind or dtype, ValueError for a wrong shape, layout, device, k outside 1..N or
    non-finite coordinates.
    """
    if is_traced(queries, points):
        from pa3d.ops import _torch

        return _torch.knn(queries, points, k)
    rank = check_points("points", points)
    check_points("queries", queries, batched=rank == 3)
    check_alike(queries=queries, points=points)
    if rank == 3 and queries.shape[0] != points.shape[0]:
        raise ValueError(f"queries: expected a batch of {points.shape[0]} as in points, got {queries.shape[0]}")
    check_count("k", k, 1, points.shape[-2], " (the number of points)")
    if rank == 2:
        queries, points = queries[None], points[None]
    refused = _cuda.refused_neighbors(k) | _triton.refused_neighbors(k)
    backend = choose(queries, points, op="knn", refused=refused)
    if backend == "native":
        from pa3d import _C

        index, distance = (like(a, points) for a in _C.knn(to_numpy(queries), to_numpy(points), k))
    elif backend == "cuda":
        index, distance = _cuda.knn(queries, points, k)
    elif backend == "triton":
        index, distance = _triton.kernels("knn").knn(queries, points, k)
    else:
        index, distance = knn_reference(queries, points, k)
    return (index, distance) if rank == 3 else (index[0], distance[0])


def knn_reference(
    queries: Array,  # (B, Q, 3)
    points: Array,  # (B, N, 3)
    k: int,
) -> tuple[Array, Array]:
    """The rule in plain array code; batches only, all B*Q*N distances at once."""
    xp = namespace(points)
    dx, dy, dz = (queries[:, :, None, a] - points[:, None, :, a] for a in range(3))
    distance = (dx * dx + dy * dy) + dz * dz  # (B, Q, N)
    if is_tensor(points):
        nearest, index = xp.sort(distance, dim=2, stable=True)
        return index[..., :k].contiguous(), nearest[..., :k].contiguous()
    index = np.argsort(distance, axis=2, kind="stable")[..., :k]
    return index.astype(np.int64), np.take_along_axis(distance, index, axis=2)
