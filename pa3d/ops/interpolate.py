"""Values at centres spread to points.

k = 1 copies the nearest centre's row (lowest index among equals). k = 3 weighs the three nearest by inverse distance,

    out = sum_j w_j v_j / sum_j w_j,   w_j = 1 / (|x - c_j| + 1e-8)

as PointNet++ does (Qi et al., arXiv 1706.02413). Differentiable in the values.
"""

from __future__ import annotations

from pa3d.ops._dispatch import (
    Array,
    check_alike,
    check_count,
    check_finite,
    check_floats,
    check_points,
    choose,
    is_tensor,
    is_traced,
    like,
    to_numpy,
)
from pa3d.ops.knn import knn_reference


def interpolate(
    points: Array,  # (N, 3) float32
    centers: Array,  # (G, 3) float32
    values: Array,  # (G, C) float32
    k: int = 1,
) -> Array:  # (N, C) float32
    """values at the centres, spread to the points by the k nearest centres (1 to 3, at most G).

    Raises TypeError for a wrong kind or dtype, ValueError for a wrong shape, layout, device, k or non-finite input.
    """
    if is_traced(points, centers, values):
        from pa3d.ops import _torch

        return _torch.interpolate(points, centers, values, k)
    check_points("points", points, batched=False)
    check_points("centers", centers, batched=False)
    check_floats("values", values)
    check_alike(points=points, centers=centers, values=values)
    if values.ndim != 2 or values.shape[0] != centers.shape[0]:
        raise ValueError(f"values: expected shape ({centers.shape[0]}, C), got {tuple(values.shape)}")
    check_finite("values", values)
    check_count("k", k, 1, min(3, centers.shape[0]), " (and at most the number of centres)")
    if is_tensor(values) and values.requires_grad:
        from pa3d.ops import _torch

        return _torch.interpolate(points, centers, values, k)
    backend = choose(points, centers, values, op="interpolate")
    if backend == "native":
        from pa3d import _C

        return like(_C.interpolate(to_numpy(points), to_numpy(centers), to_numpy(values), k), points)
    if backend == "cuda":
        from pa3d.ops import _cuda

        return _cuda.interpolate(points[None], centers[None], values[None], k)[0]
    return interpolate_reference(points, centers, values, k)


def interpolate_reference(points: Array, centers: Array, values: Array, k: int = 1) -> Array:
    """The rule in plain array code; all N*G distances at once."""
    index, squared = knn_reference(points[None], centers[None], k)
    rows = values[index[0]]  # (N, k, C)
    if k == 1:
        return rows[:, 0]
    weights = 1.0 / (squared[0] ** 0.5 + 1e-8)
    weights = weights / weights.sum(1)[:, None]
    return (weights[..., None] * rows).sum(1)
