"""The operations as torch knows them: torch.ops.pa3d.*, with shapes for tracing and gradients.

torch.compile and torch.export cannot look into C++ or Triton. Each operation is registered with a fake kernel that only
works out shapes, so that a graph holds it as one node; the implementation is the ordinary function, which checks its
arguments and finds its backend when the node runs. float64, which no kernel takes, goes to the plain references:
gradients are checked in it. Imported where tensors are traced or differentiated, never without torch.
"""

from __future__ import annotations

import math
from typing import Any, cast

import torch
from torch import Tensor
from torch.library import custom_op

from pa3d.cameras import Cameras
from pa3d.ops import _triton
from pa3d.ops.attention import backend as attention_backend
from pa3d.ops.backproject import Mode
from pa3d.ops.backproject import backproject as _carry
from pa3d.ops.fps import farthest_point_sample as _farthest
from pa3d.ops.group import gather
from pa3d.ops.group import group as _relative
from pa3d.ops.group import sample_and_group as _patches
from pa3d.ops.interpolate import interpolate as _spread
from pa3d.ops.interpolate import interpolate_reference
from pa3d.ops.knn import knn as _nearest
from pa3d.ops.knn import knn_reference
from pa3d.ops.rasterize import rasterize as _draw
from pa3d.ops.rasterize import rasterize_points as _draw_points


@custom_op("pa3d::farthest_point_sample", mutates_args=())
def farthest_point_sample(points: Tensor, k: int, start: int = 0, min_sq_norm: float = 0.0) -> Tensor:
    return _farthest(points.detach(), k, start=start, min_sq_norm=min_sq_norm)


@farthest_point_sample.register_fake
def _(points: Tensor, k: int, start: int = 0, min_sq_norm: float = 0.0) -> Tensor:
    return points.new_empty((*points.shape[:-2], k), dtype=torch.int64)


@custom_op("pa3d::knn", mutates_args=())
def knn(queries: Tensor, points: Tensor, k: int) -> tuple[Tensor, Tensor]:
    if points.dtype == torch.float64:
        return knn_reference(queries, points, k)
    return _nearest(queries.detach(), points.detach(), k)


@knn.register_fake
def _(queries: Tensor, points: Tensor, k: int) -> tuple[Tensor, Tensor]:
    shape = (*queries.shape[:-1], k)
    return queries.new_empty(shape, dtype=torch.int64), queries.new_empty(shape)


@custom_op("pa3d::sample_and_group", mutates_args=())
def sample_and_group(
    points: Tensor, patches: int, size: int, start: int = 0, min_sq_norm: float = 0.0
) -> tuple[Tensor, Tensor]:
    return _patches(points.detach(), patches, size, start=start, min_sq_norm=min_sq_norm)


@sample_and_group.register_fake
def _(points: Tensor, patches: int, size: int, start: int = 0, min_sq_norm: float = 0.0) -> tuple[Tensor, Tensor]:
    centers = points.new_empty((*points.shape[:-2], patches), dtype=torch.int64)
    return centers, points.new_empty((*points.shape[:-2], patches, size), dtype=torch.int64)


@custom_op("pa3d::group", mutates_args=())
def group(points: Tensor, centers_index: Tensor, neighbors_index: Tensor) -> Tensor:
    if points.dtype == torch.float64:
        b, g, m = neighbors_index.shape
        members = gather(points, neighbors_index.reshape(b, g * m)).reshape(b, g, m, 3)
        return members - gather(points, centers_index)[:, :, None]
    return _relative(points.detach(), centers_index, neighbors_index)


@group.register_fake
def _(points: Tensor, centers_index: Tensor, neighbors_index: Tensor) -> Tensor:
    return points.new_empty((*neighbors_index.shape, 3))


def _group_save(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    points, centers_index, neighbors_index = inputs
    ctx.n_points = points.shape[1]
    ctx.save_for_backward(centers_index, neighbors_index)


def _group_backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
    """Members collect what their copies got, centres lose what their members got."""
    centers_index, neighbors_index = ctx.saved_tensors
    b, g, m = neighbors_index.shape
    total = grad.new_zeros((b, ctx.n_points, 3))
    members = neighbors_index.reshape(b, g * m, 1).expand(-1, -1, 3)
    total = total.scatter_add(1, members, grad.reshape(b, g * m, 3))
    return total.scatter_add(1, centers_index[..., None].expand(-1, -1, 3), -grad.sum(2)), None, None


group.register_autograd(_group_backward, setup_context=_group_save)


@custom_op("pa3d::interpolate", mutates_args=())
def interpolate(points: Tensor, centers: Tensor, values: Tensor, k: int = 1) -> Tensor:
    if points.dtype == torch.float64:
        return interpolate_reference(points, centers, values, k)
    return _spread(points.detach(), centers.detach(), values.detach(), k)


@interpolate.register_fake
def _(points: Tensor, centers: Tensor, values: Tensor, k: int = 1) -> Tensor:
    return values.new_empty((points.shape[0], values.shape[1]))


def _interpolate_save(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    points, centers, _, ctx.k = inputs
    ctx.save_for_backward(points, centers)


def _interpolate_backward(ctx: Any, grad: Tensor) -> tuple[None, None, Tensor, None]:
    """Linear in the values: what a point got goes back to its centres by the weights it was mixed with."""
    points, centers = ctx.saved_tensors
    index, squared = knn(points[None], centers[None], ctx.k)
    weights = 1.0 / (squared[0].sqrt() + 1e-8)
    shares = grad[:, None] * (weights / weights.sum(1, keepdim=True))[..., None]  # (N, k, C)
    total = grad.new_zeros((centers.shape[0], grad.shape[1]))
    return None, None, total.index_add(0, index.reshape(-1), shares.reshape(-1, grad.shape[1])), None


interpolate.register_autograd(_interpolate_backward, setup_context=_interpolate_save)


# Cameras travel as their fields: `view` (V, 4, 4) float64, always on the CPU. Without weights the last result is empty.
@custom_op("pa3d::rasterize", mutates_args=())
def rasterize(
    vertices: Tensor,
    faces: Tensor,
    view: Tensor,
    fov: float | None,
    half_extent: float,
    near: float,
    height: int,
    width: int,
    barycentric: bool = True,
) -> tuple[Tensor, Tensor, Tensor]:
    cameras = Cameras(view.numpy(), fov, half_extent, near)
    ids, depth, weights = _draw(vertices.detach(), faces, cameras, (height, width), barycentric=barycentric)
    return ids, depth, vertices.new_empty(0, 3) if weights is None else weights


@rasterize.register_fake
def _(
    vertices: Tensor,
    faces: Tensor,
    view: Tensor,
    fov: float | None,
    half_extent: float,
    near: float,
    height: int,
    width: int,
    barycentric: bool = True,
) -> tuple[Tensor, Tensor, Tensor]:
    images = (view.shape[0], height, width)
    weights = vertices.new_empty((*images, 3) if barycentric else (0, 3))
    return vertices.new_empty(images, dtype=torch.int32), vertices.new_empty(images), weights


@custom_op("pa3d::rasterize_points", mutates_args=())
def rasterize_points(
    points: Tensor,
    radius: Tensor,
    view: Tensor,
    fov: float | None,
    half_extent: float,
    near: float,
    height: int,
    width: int,
) -> tuple[Tensor, Tensor]:
    cameras = Cameras(view.numpy(), fov, half_extent, near)
    ids, depth = _draw_points(points.detach(), radius.detach(), cameras, (height, width))
    return ids, depth


@rasterize_points.register_fake
def _(
    points: Tensor,
    radius: Tensor,
    view: Tensor,
    fov: float | None,
    half_extent: float,
    near: float,
    height: int,
    width: int,
) -> tuple[Tensor, Tensor]:
    images = (view.shape[0], height, width)
    return points.new_empty(images, dtype=torch.int32), points.new_empty(images)


@custom_op("pa3d::backproject", mutates_args=())
def backproject(
    tokens: Tensor, point_of_pixel: Tensor, n_points: int, mode: str = "bicubic", per_view: bool = False
) -> tuple[Tensor, Tensor]:
    return _carry(tokens.detach(), point_of_pixel, n_points, mode=cast(Mode, mode), per_view=per_view)


@backproject.register_fake
def _(
    tokens: Tensor, point_of_pixel: Tensor, n_points: int, mode: str = "bicubic", per_view: bool = False
) -> tuple[Tensor, Tensor]:
    total = tokens.new_empty((n_points, tokens.shape[3]), dtype=torch.float32)
    return total, tokens.new_empty((n_points,), dtype=torch.int64)


@custom_op("pa3d::patch_attention", mutates_args=())
def patch_attention(q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
    """The output, and for the backward (2, B, H, T): each row's maximum score in powers of two, and 1 / its sum."""
    if attention_backend(q, k, v) == "triton":
        return _triton.kernels("attention").attention_forward(q.detach(), k.detach(), v.detach())
    scores = _scores(q, k)
    peak = scores.amax(-1, keepdim=True)
    weights = (scores - peak).exp2()
    total = weights.sum(-1, keepdim=True)
    out = _tokens_first(q).copy_((weights / total).to(v.dtype) @ v)
    return out, torch.stack([peak[..., 0], 1 / total[..., 0]])


@patch_attention.register_fake
def _(q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
    return _tokens_first(q), q.new_empty((2, *q.shape[:3]), dtype=_wide(q))


@custom_op("pa3d::patch_attention_backward", mutates_args=())
def patch_attention_backward(
    grad: Tensor, q: Tensor, k: Tensor, v: Tensor, out: Tensor, stats: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    if attention_backend(q, k, v) == "triton":
        saved = (x.detach() for x in (grad, q, k, v, out, stats))
        return _triton.kernels("attention").attention_backward(*saved)
    p = (_scores(q, k) - stats[0][..., None]).exp2() * stats[1][..., None]
    wide = [x.to(p.dtype) for x in (grad, q, k, v, out)]
    g, query, key, value, o = wide
    ds = p * (g @ value.transpose(-1, -2) - (g * o).sum(-1, keepdim=True)) * q.shape[-1] ** -0.5
    found = (ds @ key, ds.transpose(-1, -2) @ query, p.transpose(-1, -2) @ g)
    dq, dk, dv = (_tokens_first(q).copy_(x) for x in found)
    return dq, dk, dv


@patch_attention_backward.register_fake
def _(grad: Tensor, q: Tensor, k: Tensor, v: Tensor, out: Tensor, stats: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    return _tokens_first(q), _tokens_first(q), _tokens_first(q)


def _attention_save(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    ctx.save_for_backward(*inputs, *output)
    ctx.mark_non_differentiable(output[1])


def _attention_backward(ctx: Any, grad: Tensor, _: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
    return patch_attention_backward(grad, *ctx.saved_tensors)


patch_attention.register_autograd(_attention_backward, setup_context=_attention_save)


def _scores(q: Tensor, k: Tensor) -> Tensor:
    """In powers of two, as the kernel has them."""
    scale = q.shape[-1] ** -0.5 * math.log2(math.e)
    return (q.to(_wide(q)) @ k.to(_wide(q)).transpose(-1, -2)) * scale


def _wide(x: Tensor) -> torch.dtype:
    return torch.float64 if x.dtype == torch.float64 else torch.float32


def _tokens_first(x: Tensor) -> Tensor:
    """(B, H, T, D) over memory (B, T, H, D), as the kernel lays its results out."""
    b, h, t, d = x.shape
    return x.new_empty((b, t, h, d)).transpose(1, 2)
