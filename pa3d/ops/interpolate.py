"""Interpolates values at centres to any points.

k = 1 copies the nearest centre's row (lowest index among equals). k = 3 weights the three nearest by inverse distance,

    out = sum_j w_j v_j / sum_j w_j,   w_j = 1 / (|x - c_j| + 1e-8)

as PointNet++ does (Qi et al., arXiv 1706.02413). Differentiable in the values alone, on every backend.
"""

from __future__ import annotations

from typing import Any

from pa3d.ops._dispatch import choose
from pa3d.ops._library import register_op
from pa3d.ops.arrays import Array, is_tensor, is_traced
from pa3d.ops.backends import reference
from pa3d.ops.checks import check, check_count, check_finite, check_points, check_same_device
from pa3d.ops.knn import knn_reference


def interpolate(
    points: Array,  # (N, 3) float32
    centers: Array,  # (G, 3) float32
    values: Array,  # (G, C) float32
    k: int = 1,
) -> Array:  # (N, C) float32
    """The values at each point, from its k nearest centres (1 to 3, at most G).

    Raises TypeError for a wrong kind or dtype, ValueError for a wrong shape, layout, device, k or non-finite input.
    """
    if is_traced(points, centers, values):
        from pa3d.ops import _torch

        return _torch.ops.interpolate(points, centers, values, k)
    check_points("points", points, "N 3")
    sizes = check_points("centers", centers, "G 3")
    check("values", values, "G C", sizes=sizes)
    check_same_device(points=points, centers=centers, values=values)
    check_finite("values", values)
    check_count("k", k, 1, min(3, centers.shape[0]), " (and at most the number of centres)")
    if is_tensor(values) and values.requires_grad:
        from pa3d.ops import _torch

        return _torch.ops.interpolate(points, centers, values, k)
    return choose("interpolate", points, centers, values).interpolate(points, centers, values, k)


@reference.kernel("interpolate")
def interpolate_reference(points: Array, centers: Array, values: Array, k: int = 1) -> Array:
    """The rule in plain array code; all N*G distances at once."""
    index, squared = knn_reference(points[None], centers[None], k)
    rows = values[index[0]]  # (N, k, C)
    if k == 1:
        return rows[:, 0]
    weights = 1.0 / (squared[0] ** 0.5 + 1e-8)
    weights = weights / weights.sum(1)[:, None]
    return (weights[..., None] * rows).sum(1)


def _fake(points: Array, centers: Array, values: Array, k: int = 1) -> Array:
    return values.new_empty((points.shape[0], values.shape[1]))


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: Array) -> None:
    points, centers, _, ctx.k = inputs
    ctx.save_for_backward(points, centers)


def _backward(ctx: Any, grad: Array) -> tuple[None, None, Array, None]:
    """Linear in the values: the gradient of a point goes to its centres with the weights of the forward pass."""
    from pa3d.ops import _torch

    points, centers = ctx.saved_tensors
    index, squared = _torch.ops.knn(points[None], centers[None], ctx.k)
    weights = 1.0 / (squared[0].sqrt() + 1e-8)
    weighted = grad[:, None] * (weights / weights.sum(1, keepdim=True))[..., None]  # (N, k, C)
    total = grad.new_zeros((centers.shape[0], grad.shape[1]))
    return None, None, total.index_add(0, index.reshape(-1), weighted.reshape(-1, grad.shape[1])), None


register_op(
    "interpolate(Tensor points, Tensor centers, Tensor values, int k=1) -> Tensor",
    interpolate,
    fake=_fake,
    float64_impl=interpolate_reference,
    setup_context=_setup_context,
    backward=_backward,
)
