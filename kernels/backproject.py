"""Tokens of 2D views summed to 3D points without storing the upsampled image.

A pixel's value is its view's token grid interpolated as PyTorch does (align_corners=False). It is computed only for
pixels that show a point. Bicubic is Keys' cubic with A = -0.75, "Cubic convolution interpolation for digital image
processing", 1981.

Deterministic: pixels are sorted by point, stably, and one program sums a point's pixels in their order, without float
atomics. The token grid stays in the cache, so a pixel costs its 16 taps (bicubic). Not differentiable: the result is a
training target.
"""

# mypy: allow-untyped-defs
from __future__ import annotations

from collections.abc import Iterator

import torch
import triton
import triton.language as tl
from torch import Tensor, nn

from pa3d.ops.checks import check_same_device

from ._common import FLOATS, INTEGERS, Variant, check, on_device, triton_type, tuned

TAPS = {"nearest": 1, "bilinear": 2, "bicubic": 4}

CONFIGS = [
    triton.Config({"BLOCK_P": 4, "BLOCK_C": 128}, num_warps=4, num_stages=1),
    triton.Config({"BLOCK_P": 8, "BLOCK_C": 64}, num_warps=4, num_stages=1),
    triton.Config({"BLOCK_P": 4, "BLOCK_C": 256}, num_warps=4, num_stages=1),
    triton.Config({"BLOCK_P": 1, "BLOCK_C": 256}, num_warps=2, num_stages=1),
]


def backproject(
    tokens: Tensor,  # (V, gh, gw, C) float32, bfloat16 or float16
    point_of_pixel: Tensor,  # (V, H, W) int64 or int32; below 0: none
    n_points: int,
    mode: str = "bicubic",
    per_view: bool = False,
) -> tuple[Tensor, Tensor]:  # (P, C) float32, (P,) int64
    """Sums of the interpolated values over each point's pixels, and how many pixels those are.

    Pixels whose point is not in 0..n_points-1 are skipped. per_view: the mean of a point's pixels in a view is added
    instead of their sum, and views are counted; that takes one launch per view. Raises TypeError for a wrong kind or
    dtype, ValueError for a wrong shape, layout, device, mode or n_points.
    """
    sizes: dict[str, int] = {}
    check("tokens", tokens, "V gh gw C", FLOATS, sizes)
    check("point_of_pixel", point_of_pixel, "V H W", INTEGERS, sizes)
    check_same_device(tokens=tokens, point_of_pixel=point_of_pixel)
    if mode not in TAPS:
        raise ValueError(f"mode: expected one of {', '.join(TAPS)}, got {mode!r}")
    if n_points < 1:
        raise ValueError(f"n_points: expected at least 1, got {n_points}")
    if per_view:
        total = torch.zeros(n_points, sizes["C"], dtype=torch.float32, device=tokens.device)
        views = torch.zeros(n_points, dtype=torch.int64, device=tokens.device)
        for view in range(sizes["V"]):
            one = slice(view, view + 1)
            value, pixels = backproject(tokens[one], point_of_pixel[one], n_points, mode)
            total += value / pixels.clamp(min=1)[:, None]
            views += pixels > 0
        return total, views
    c, h, w = sizes["C"], sizes["H"], sizes["W"]
    point, pixel = torch.sort(point_of_pixel.reshape(-1), stable=True)
    ends = torch.searchsorted(point, torch.arange(n_points + 1, dtype=point.dtype, device=point.device))
    out = torch.empty(n_points, c, dtype=torch.float32, device=tokens.device)
    with on_device(tokens):
        kernel[lambda meta: (n_points, triton.cdiv(c, meta["BLOCK_C"]))](
            tokens, pixel, ends, out, sizes["gh"], sizes["gw"], c, h, w, TAPS=TAPS[mode]
        )
    return out, ends[1:] - ends[:-1]


def backproject_reference(
    tokens: Tensor, point_of_pixel: Tensor, n_points: int, mode: str = "bicubic"
) -> tuple[Tensor, Tensor]:
    """The same result in plain torch: the whole image of each view, then a sum by point."""
    options = {} if mode == "nearest" else {"align_corners": False}
    image = nn.functional.interpolate(tokens.permute(0, 3, 1, 2), point_of_pixel.shape[1:], mode=mode, **options)
    point = point_of_pixel.reshape(-1).long()
    seen = (point >= 0) & (point < n_points)
    value = image.permute(0, 2, 3, 1).reshape(len(point), -1)[seen]
    total = torch.zeros(n_points, value.shape[1], dtype=value.dtype, device=value.device)
    return total.index_add_(0, point[seen], value), torch.bincount(point[seen], minlength=n_points)


@tuned(CONFIGS, key=["c", "TAPS"])
@triton.jit
def kernel(tokens, pixel, ends, out, gh, gw, c, h, w, TAPS: tl.constexpr, BLOCK_P: tl.constexpr, BLOCK_C: tl.constexpr):
    point = tl.program_id(0).to(tl.int64)
    channel = tl.program_id(1) * BLOCK_C + tl.arange(0, BLOCK_C)
    end = tl.load(ends + point + 1)
    acc = tl.zeros((BLOCK_C,), tl.float32)
    for start in range(tl.load(ends + point), end, BLOCK_P):
        slot = start + tl.arange(0, BLOCK_P)
        at = tl.load(pixel + slot, mask=slot < end, other=0)
        view, y, x = at // (h * w), at // w % h, at % w
        total = tl.zeros((BLOCK_P, BLOCK_C), tl.float32)
        for i in tl.static_range(TAPS):
            row, row_weight = _tap(y, i, gh, h, TAPS)
            for j in tl.static_range(TAPS):
                col, col_weight = _tap(x, j, gw, w, TAPS)
                source = ((view * gh + row) * gw + col) * c
                mask = (slot < end)[:, None] & (channel < c)[None, :]
                value = tl.load(tokens + source[:, None] + channel[None, :], mask=mask, other=0.0)
                total += (row_weight * col_weight)[:, None] * value.to(tl.float32)
        acc += tl.sum(total, 0)
    tl.store(out + point * c + channel, acc, mask=channel < c)


@triton.jit
def _tap(position, tap: tl.constexpr, size, upsampled, TAPS: tl.constexpr):
    """Index and weight of one of TAPS grid lines around a pixel.

    The source coordinate (position + 1/2) size / upsampled - 1/2 is split into whole part and rest as a fraction of
    integers, so that the rest is rounded once. The nearest line is a jump and follows PyTorch's float arithmetic.
    """
    if TAPS == 1:
        ratio = size.to(tl.float32) / upsampled.to(tl.float32)
        line = (position.to(tl.float32) * ratio).to(tl.int64)
        weight = tl.full(position.shape, 1.0, tl.float32)
    else:
        double = 2 * upsampled
        source = (2 * position + 1) * size - upsampled  # above -double
        if TAPS == 2:
            source = tl.maximum(source, 0)
        base = (source + double) // double - 1
        t = (source - base * double).to(tl.float32) / double.to(tl.float32)
        line = base + (tap if TAPS == 2 else tap - 1)
        if TAPS == 2:
            weight = t if tap == 1 else 1.0 - t
        elif tap == 0 or tap == 3:
            d = t + 1.0 if tap == 0 else 2.0 - t
            weight = ((-0.75 * d + 3.75) * d - 6.0) * d + 3.0
        else:
            d = t if tap == 1 else 1.0 - t
            weight = (1.25 * d - 2.25) * d * d + 1.0
    return tl.minimum(tl.maximum(line, 0), size - 1), weight


def variants() -> Iterator[Variant]:
    for dtype in FLOATS:
        kind = triton_type(dtype)
        signature = {"tokens": f"*{kind}", "pixel": "*i64", "ends": "*i64", "out": "*fp32"}
        sizes = {"gh": 37, "gw": 37, "c": 768, "h": 518, "w": 518}
        signature |= dict.fromkeys(sizes, "i32")
        for mode, taps in TAPS.items():
            yield Variant(f"backproject {mode} {kind}", kernel, signature, {"TAPS": taps}, CONFIGS, sizes)
