"""k nearest neighbours.

Exact and equal on every backend: squared distances in float32, (dx*dx + dy*dy) + dz*dz, ascending, the lowest index
first among equals. Not differentiable, on any backend: indices are discrete, and the distances serve as weights and
bounds.
"""

from __future__ import annotations

import numpy as np

from pa3d.ops._dispatch import choose
from pa3d.ops._library import register_op
from pa3d.ops.arrays import Array, array_namespace, is_tensor, is_traced
from pa3d.ops.backends import reference
from pa3d.ops.checks import check_count, check_points, check_same_device


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

        return _torch.ops.knn(queries, points, k)
    check_points("points", points)
    batched = points.ndim == 3
    check_points("queries", queries, "B N 3" if batched else "N 3")
    check_same_device(queries=queries, points=points)
    if batched and queries.shape[0] != points.shape[0]:
        raise ValueError(f"queries: expected a batch of {points.shape[0]} as in points, got {queries.shape[0]}")
    check_count("k", k, 1, points.shape[-2], " (the number of points)")
    backend = choose("knn", queries, points, k=k)
    if batched:
        return backend.knn(queries, points, k)
    index, sq_dist = backend.knn(queries[None], points[None], k)
    return index[0], sq_dist[0]


@reference.kernel("knn")
def knn_reference(
    queries: Array,  # (B, Q, 3)
    points: Array,  # (B, N, 3)
    k: int,
) -> tuple[Array, Array]:
    """The rule in plain array code; batches only, all B*Q*N distances at once."""
    xp = array_namespace(points)
    dx, dy, dz = (queries[:, :, None, a] - points[:, None, :, a] for a in range(3))
    sq_dist = (dx * dx + dy * dy) + dz * dz  # (B, Q, N)
    if is_tensor(points):
        nearest, index = xp.sort(sq_dist, dim=2, stable=True)
        return index[..., :k].contiguous(), nearest[..., :k].contiguous()
    index = np.argsort(sq_dist, axis=2, kind="stable")[..., :k]
    return index.astype(np.int64), np.take_along_axis(sq_dist, index, axis=2)


def _fake(queries: Array, points: Array, k: int) -> tuple[Array, Array]:
    shape = (*queries.shape[:-1], k)
    return queries.new_empty(shape, dtype=array_namespace(queries).int64), queries.new_empty(shape)


register_op(
    "knn(Tensor queries, Tensor points, int k) -> (Tensor, Tensor)", knn, fake=_fake, float64_impl=knn_reference
)
