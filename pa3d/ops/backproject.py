"""Features of 2D views summed at 3D points, without building the upsampled images.

A pixel's value is its view's token grid interpolated as torch.nn.functional.interpolate does with
align_corners=False (bicubic: Keys' cubic with A = -0.75, "Cubic convolution interpolation for digital image
processing", 1981; borders clamped), evaluated only where a pixel shows a point:

    sum_p = sum over views v and pixels x of v that show p of sum_t w_t(x) T_vt

with T_vt token t of view v. The weight w_t(x) is the product of a weight for the row of x and one for its column.
Rows are interpolated first, a band of them at a time; columns are interpolated only at the pixels that count. So the
(H, W, C) array of a view is never in memory.

Sums are equal to the bit for any number of threads and at every instruction level. Not differentiable: the
result is a training target.
"""

from __future__ import annotations

from typing import Literal, get_args

from pa3d.ops._dispatch import choose
from pa3d.ops._library import register_op
from pa3d.ops.arrays import Array, array_namespace, is_cuda, is_tensor, is_traced
from pa3d.ops.backends import reference
from pa3d.ops.checks import check, check_count, check_same_device

Mode = Literal["bicubic", "bilinear", "nearest"]

_MAX_SIDE = 32767


def backproject(
    tokens: Array,  # (V, gh, gw, C) float32, or bfloat16 as a torch tensor
    point_of_pixel: Array,  # (V, H, W) int32 or int64, -1 for none
    n_points: int,
    *,
    mode: Mode = "bicubic",
    per_view: bool = False,
) -> tuple[Array, Array]:  # sum (P, C) float32, count (P,) int64
    """Sums of interpolated tokens over each point's pixels, and the number of those pixels.

    per_view: the pixels that show a point in one view count as one, their mean, and `count` is the number of
    views that see the point. Either way `sum / count` is a mean; points that nothing shows have zeros. numpy
    has no bfloat16: give float32, or a torch tensor. NaN in a token reaches the points that have a pixel
    beside it. Raises TypeError for a wrong kind or dtype, ValueError for a wrong shape, layout, device, mode
    or index.
    """
    if is_traced(tokens, point_of_pixel):
        from pa3d.ops import _torch

        return _torch.ops.backproject(tokens, point_of_pixel, n_points, mode, per_view)
    check("tokens", tokens, "V gh gw C", ("float32", "bfloat16"), empty=False)
    check("point_of_pixel", point_of_pixel, "V H W", ("int32", "int64"), empty=False)
    check_same_device(tokens=tokens, point_of_pixel=point_of_pixel)
    if len(tokens) != len(point_of_pixel):
        raise ValueError(
            f"point_of_pixel: expected {len(tokens)} views as tokens have, got shape {tuple(point_of_pixel.shape)}"
        )
    for name, shape in (("tokens", tokens.shape[1:3]), ("point_of_pixel", point_of_pixel.shape[1:])):
        if max(shape) > _MAX_SIDE:
            raise ValueError(f"{name}: expected at most {_MAX_SIDE} rows and columns, got {shape[0]} x {shape[1]}")
    check_count("n_points", n_points, 1, 2**31 - 1)
    if mode not in get_args(Mode):
        raise ValueError(f"mode: expected {', '.join(get_args(Mode)[:-1])} or {get_args(Mode)[-1]}, got {mode!r}")
    backend = choose("backproject", tokens, point_of_pixel)
    if backend is reference or not is_cuda(point_of_pixel):
        # The kernels of a GPU take other indices as none; looking at them here would wait for the GPU.
        low, high = int(point_of_pixel.min()), int(point_of_pixel.max())
        if low < -1 or high >= n_points:
            raise ValueError(f"point_of_pixel: expected -1 or indices from 0 to {n_points - 1}, got {low} to {high}")
    return backend.backproject(tokens, point_of_pixel, int(n_points), mode, per_view)


@reference.kernel("backproject")
def _run_reference(
    tokens: Array, point_of_pixel: Array, n_points: int, mode: Mode, per_view: bool
) -> tuple[Array, Array]:
    if is_tensor(tokens):
        return backproject_reference(tokens, point_of_pixel, n_points, mode=mode, per_view=per_view)
    import torch

    tensors = torch.from_numpy(tokens), torch.from_numpy(point_of_pixel)
    total, count = backproject_reference(*tensors, n_points, mode=mode, per_view=per_view)
    return total.numpy(), count.numpy()


def backproject_reference(
    tokens: Array, point_of_pixel: Array, n_points: int, *, mode: Mode = "bicubic", per_view: bool = False
) -> tuple[Array, Array]:
    """The rule in plain torch: each view's whole image, then sums by point. Tensors of any float dtype."""
    import torch

    values = tokens.float() if tokens.dtype == torch.bfloat16 else tokens
    total = values.new_zeros(n_points, tokens.shape[3])
    count = torch.zeros(n_points, dtype=torch.int64, device=tokens.device)
    size = point_of_pixel.shape[1:]
    for grid, points in zip(values.permute(0, 3, 1, 2), point_of_pixel.flatten(1).long(), strict=True):
        image = torch.nn.functional.interpolate(grid[None], size, mode=mode)[0].flatten(1).T  # (H W, C)
        visible = points >= 0
        pixels = torch.bincount(points[visible], minlength=n_points)
        view = torch.zeros_like(total).index_add_(0, points[visible], image[visible])
        total += view / pixels.clamp(min=1)[:, None] if per_view else view
        count += (pixels > 0) if per_view else pixels
    return total, count


def _run(
    tokens: Array, point_of_pixel: Array, n_points: int, mode: Mode = "bicubic", per_view: bool = False
) -> tuple[Array, Array]:
    return backproject(tokens, point_of_pixel, n_points, mode=mode, per_view=per_view)


def _fake(
    tokens: Array, point_of_pixel: Array, n_points: int, mode: Mode = "bicubic", per_view: bool = False
) -> tuple[Array, Array]:
    torch = array_namespace(tokens)
    total = tokens.new_empty((n_points, tokens.shape[3]), dtype=torch.float32)
    return total, tokens.new_empty((n_points,), dtype=torch.int64)


register_op(
    'backproject(Tensor tokens, Tensor point_of_pixel, int n_points, str mode="bicubic", bool per_view=False)'
    " -> (Tensor, Tensor)",
    _run,
    fake=_fake,
)
