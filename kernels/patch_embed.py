"""The mini-PointNet of pa3d.model in one launch: grouping, four layers and both maxima.

A program takes PATCHES patches. It gathers their points and subtracts the centres. The first and the third layer are
computed in slices of BLOCK_H units. Each slice is added to the sums of the next layer at once. So only the outputs of
the second and the fourth layer exist as a whole, and those stay on chip. The third layer's product with a patch's
maximum is computed once per patch: W3 [max f; f] = W3[:, :n] max f + W3[:, n:] f, where f has n numbers.

BatchNorm is folded into the layer before it: this is the network in eval mode, without a backward. bfloat16 and float16
with float32 sums. float32 is left to pa3d.model, which uses the matrix products of torch.
"""

# mypy: allow-untyped-defs
from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor

from pa3d.ops.checks import check_same_device

from ._common import (
    INTEGERS,
    Variant,
    check,
    check_inference,
    dot,
    narrow,
    on_device,
    power_of_two,
    triton_type,
    tuned,
)

MAX_SIZE = 128
MAX_WIDTH = 512

HALVES = (torch.bfloat16, torch.float16)

CONFIGS = [
    triton.Config({"PATCHES": 1, "BLOCK_H": 32}, num_warps=4, num_stages=2),
    triton.Config({"PATCHES": 1, "BLOCK_H": 32}, num_warps=8, num_stages=2),
    triton.Config({"PATCHES": 1, "BLOCK_H": 64}, num_warps=8, num_stages=2),
    triton.Config({"PATCHES": 2, "BLOCK_H": 32}, num_warps=8, num_stages=2),
]


class FoldedWeights(NamedTuple):
    """Four layers, BatchNorm folded in. The first is float32, as the coordinates are; biases are float32."""

    w1: Tensor  # (W0, 3)
    b1: Tensor  # (W0,)
    w2: Tensor  # (W1, W0)
    b2: Tensor
    w3: Tensor  # (W2, 2 W1): the columns for the maximum first
    b3: Tensor
    w4: Tensor  # (W3, W2)
    b4: Tensor


def fold(net: Any, dtype: torch.dtype) -> FoldedWeights:
    """Weights of a pa3d.model.MiniPointNet with its running statistics folded in, in float64 and then rounded once."""

    def layer(conv: Any, norm: Any, kind: torch.dtype) -> tuple[Tensor, Tensor]:
        weight, bias = conv.weight.detach().squeeze(-1).double(), conv.bias.detach().double()
        if norm is not None:
            scale = norm.weight.detach().double() / (norm.running_var.double() + norm.eps).sqrt()
            bias = (bias - norm.running_mean.double()) * scale + norm.bias.detach().double()
            weight = weight * scale[:, None]
        return weight.to(kind).contiguous(), bias.float()

    conv1, norm1, _, conv2 = net.first_conv
    conv3, norm2, _, conv4 = net.second_conv
    first, second = layer(conv1, norm1, torch.float32), layer(conv2, None, dtype)
    return FoldedWeights(*first, *second, *layer(conv3, norm2, dtype), *layer(conv4, None, dtype))


def patch_embed(
    points: Tensor,  # (B, N, 3) float32
    center_idx: Tensor,  # (B, G) int64 or int32, indices into the points
    members: Tensor,  # (B, G, M) like center_idx, M <= 128
    weights: FoldedWeights,
) -> Tensor:  # (B, G, W3) of the dtype of w2
    """One vector per patch. Indices must lie in 0..N-1, as those of sample_and_group do; the kernel cannot check that.

    Raises TypeError for a wrong kind or dtype, ValueError for a wrong shape, layout, width or device, or if an input
    requires a gradient and gradients are on.
    """
    sizes: dict[str, int] = {}
    check("points", points, "B N 3", (torch.float32,), sizes)
    check("center_idx", center_idx, "B G", INTEGERS, sizes)
    check("members", members, "B G M", (center_idx.dtype,), sizes)
    check("w1", weights.w1, "W0 3", (torch.float32,), sizes)
    check("w2", weights.w2, "W1 W0", HALVES, sizes)
    sizes["2*W1"] = 2 * sizes["W1"]
    check("w3", weights.w3, "W2 2*W1", (weights.w2.dtype,), sizes)
    check("w4", weights.w4, "W3 W2", (weights.w2.dtype,), sizes)
    for name, width in (("b1", "W0"), ("b2", "W1"), ("b3", "W2"), ("b4", "W3")):
        check(name, getattr(weights, name), width, (torch.float32,), sizes)
    check_same_device(points=points, center_idx=center_idx, members=members, **weights._asdict())
    check_inference(points=points, **weights._asdict())
    if sizes["M"] > MAX_SIZE:
        raise ValueError(f"members: expected at most {MAX_SIZE} points per patch, got {sizes['M']}")
    for name in ("W1", "W3"):
        if sizes[name] > MAX_WIDTH:
            raise ValueError(f"weights: expected {name} of at most {MAX_WIDTH}, got {sizes[name]}")
    b, g, m = sizes["B"], sizes["G"], sizes["M"]
    widths = [sizes[f"W{i}"] for i in range(4)]
    out = torch.empty(b, g, widths[3], dtype=weights.w2.dtype, device=points.device)
    with on_device(points):
        kernel[lambda meta: (triton.cdiv(b * g, meta["PATCHES"]),)](
            points, center_idx, members, *weights, out, b * g, g, sizes["N"], m, *widths,
            BLOCK_M=power_of_two(m, 16), P1=power_of_two(widths[1], 16), P3=power_of_two(widths[3], 16),
        )  # fmt: skip
    return out


def patch_embed_reference(points: Tensor, center_idx: Tensor, members: Tensor, weights: FoldedWeights) -> Tensor:
    """The same result in plain torch, in the dtypes of the weights."""
    batch = torch.arange(len(points), device=points.device)
    patches = points[batch[:, None, None], members] - points[batch[:, None], center_idx][:, :, None]
    w1, b1, w2, b2, w3, b3, w4, b4 = weights
    x = torch.relu(patches.to(w1.dtype) @ w1.T + b1).to(w2.dtype)
    f = x @ w2.T + b2.to(w2.dtype)
    f = torch.cat([f.amax(2, keepdim=True).expand_as(f), f], dim=-1)
    return (torch.relu(f @ w3.T + b3.to(w3.dtype)) @ w4.T + b4.to(w4.dtype)).amax(2)


@tuned(CONFIGS, key=["patches", "m", "w_2"])
@triton.jit
def kernel(
    points, center_idx, members, w1, b1, w2, b2, w3, b3, w4, b4, out, patches, g, n, m, w_0, w_1, w_2, w_3,
    BLOCK_M: tl.constexpr, P1: tl.constexpr, P3: tl.constexpr,
    PATCHES: tl.constexpr, BLOCK_H: tl.constexpr,
):  # fmt: skip
    ROWS: tl.constexpr = PATCHES * BLOCK_M
    # the maxima of a few patches are repeated to fill the 16 rows that a product needs
    COPIES: tl.constexpr = 16 // PATCHES if PATCHES < 16 else 1
    kind = w2.dtype.element_ty
    row = tl.arange(0, ROWS)
    patch, member = (tl.program_id(0) * PATCHES + row // BLOCK_M).to(tl.int64), row % BLOCK_M
    here = (patch < patches) & (member < m)
    cloud = points + patch // g * n * 3
    at = cloud + tl.load(members + patch * m + member, mask=here, other=0) * 3
    origin = cloud + tl.load(center_idx + patch, mask=here, other=0) * 3
    x = tl.load(at, mask=here, other=0.0) - tl.load(origin, mask=here, other=0.0)
    y = tl.load(at + 1, mask=here, other=0.0) - tl.load(origin + 1, mask=here, other=0.0)
    z = tl.load(at + 2, mask=here, other=0.0) - tl.load(origin + 2, mask=here, other=0.0)

    c1, c3 = tl.arange(0, P1), tl.arange(0, P3)
    in1, in3 = c1 < w_1, c3 < w_3
    f = tl.zeros((ROWS, P1), tl.float32)
    for start in range(0, w_0, BLOCK_H):
        c0 = start + tl.arange(0, BLOCK_H)
        in0 = c0 < w_0
        first = x[:, None] * tl.load(w1 + c0 * 3, mask=in0, other=0.0)[None, :]
        first += y[:, None] * tl.load(w1 + c0 * 3 + 1, mask=in0, other=0.0)[None, :]
        first += z[:, None] * tl.load(w1 + c0 * 3 + 2, mask=in0, other=0.0)[None, :]
        first += tl.load(b1 + c0, mask=in0, other=0.0)[None, :]
        second = tl.load(w2 + c1[None, :] * w_0 + c0[:, None], mask=in1[None, :] & in0[:, None], other=0.0)
        f += dot(narrow(tl.maximum(first, 0.0), kind), second)
    f += tl.load(b2 + c1, mask=in1, other=0.0)[None, :]
    pooled = tl.max(tl.reshape(tl.where(here[:, None], f, float("-inf")), (PATCHES, BLOCK_M, P1)), 1)
    # a patch past the end has no members, and its maximum, -inf, would become NaN when multiplied by 0
    pooled = tl.where(pooled == float("-inf"), 0.0, pooled)
    pooled = tl.reshape(tl.broadcast_to(pooled[:, None, :], (PATCHES, COPIES, P1)), (PATCHES * COPIES, P1))
    pooled, f = narrow(pooled, kind), narrow(f, kind)

    acc = tl.zeros((ROWS, P3), tl.float32)
    for start in range(0, w_2, BLOCK_H):
        c2 = start + tl.arange(0, BLOCK_H)
        in2 = c2 < w_2
        third = w3 + c2[None, :] * (2 * w_1) + c1[:, None]
        mask = in2[None, :] & in1[:, None]
        shared = dot(pooled, tl.load(third, mask=mask, other=0.0))
        shared = tl.max(tl.reshape(shared, (PATCHES, COPIES, BLOCK_H)), 1)
        own = dot(f, tl.load(third + w_1, mask=mask, other=0.0))
        h = tl.reshape(own, (PATCHES, BLOCK_M, BLOCK_H)) + shared[:, None, :]
        h = tl.reshape(h, (ROWS, BLOCK_H)) + tl.load(b3 + c2, mask=in2, other=0.0)[None, :]
        fourth = tl.load(w4 + c3[None, :] * w_2 + c2[:, None], mask=in3[None, :] & in2[:, None], other=0.0)
        acc += dot(narrow(tl.maximum(h, 0.0), kind), fourth)

    best = tl.max(tl.reshape(tl.where(here[:, None], acc, float("-inf")), (PATCHES, BLOCK_M, P3)), 1)
    best += tl.load(b4 + c3, mask=in3, other=0.0)[None, :]
    patch = (tl.program_id(0) * PATCHES + tl.arange(0, PATCHES)).to(tl.int64)
    mask = (patch < patches)[:, None] & in3[None, :]
    tl.store(out + patch[:, None] * w_3 + c3[None, :], narrow(best, kind), mask=mask)


def variants() -> Iterator[Variant]:
    sizes = {"patches": 128, "g": 128, "n": 2048, "m": 32, "w_0": 128, "w_1": 256, "w_2": 512, "w_3": 256}
    padded = {"BLOCK_M": 32, "P1": 256, "P3": 256}
    for dtype in HALVES:
        kind = triton_type(dtype)
        signature = {"points": "*fp32", "center_idx": "*i64", "members": "*i64", "w1": "*fp32", "out": f"*{kind}"}
        signature |= dict.fromkeys(("w2", "w3", "w4"), f"*{kind}") | dict.fromkeys(("b1", "b2", "b3", "b4"), "*fp32")
        signature |= dict.fromkeys(sizes, "i32")
        yield Variant(f"patch_embed {kind}", kernel, signature, padded, CONFIGS, sizes)
