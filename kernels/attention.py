"""Attention over the tokens of a shape: softmax(q k^T / sqrt(D)) v, tuned for a class token and 128 patches.

A program takes one head of one shape and a block of queries. Keys and values come in tiles of BLOCK_N. The last tile
has the size TAIL, the smallest power of two that holds the rest: 129 keys are tiles of 128 and 16. They are all on
chip, and read once. Longer inputs take more tiles, with a running maximum (Milakov and Gimelshein, arXiv 1805.02867;
Dao et al., arXiv 2205.14135).

Backward computes the probabilities again from each row's stored maximum and sum. Stored apart, they keep more digits of
large scores than the logarithm of the sum of exponentials would. With P = softmax(S), dP = dO V^T:

    dV = P^T dO,   dS = P * (dP - rowsum(dO * O)),   dQ = dS K / sqrt(D),   dK = dS^T Q / sqrt(D)

float32, bfloat16 and float16 with float32 sums and softmax. Every sum has a fixed order: results repeat to the bit.
"""

# mypy: allow-untyped-defs
from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from pa3d.ops.checks import check_same_device

from ._common import FLOATS, Variant, check, dot, narrow, on_device, power_of_two, triton_type, tuned

HEAD_DIMS = (16, 32, 64)  # wider ones spill registers
MAX_HEADS = 65535  # shapes times heads: the second axis of a grid

# float32 products run without tensor cores and hold their operands in registers: smaller tiles.
CONFIGS_32 = [
    triton.Config({"BLOCK_M": 16, "BLOCK_N": 32}, num_warps=4, num_stages=1),
    triton.Config({"BLOCK_M": 32, "BLOCK_N": 32}, num_warps=8, num_stages=1),
    triton.Config({"BLOCK_M": 32, "BLOCK_N": 64}, num_warps=8, num_stages=1),
]
CONFIGS_16 = [
    triton.Config({"BLOCK_M": 16, "BLOCK_N": 128}, num_warps=4, num_stages=1),
    triton.Config({"BLOCK_M": 32, "BLOCK_N": 128}, num_warps=4, num_stages=1),
    triton.Config({"BLOCK_M": 64, "BLOCK_N": 128}, num_warps=4, num_stages=1),
    triton.Config({"BLOCK_M": 64, "BLOCK_N": 64}, num_warps=4, num_stages=2),
]
BACKWARD_32 = [
    triton.Config({"BLOCK_M": 16, "BLOCK_N": 16}, num_warps=4, num_stages=1),
    triton.Config({"BLOCK_M": 16, "BLOCK_N": 32}, num_warps=4, num_stages=1),
    triton.Config({"BLOCK_M": 32, "BLOCK_N": 16}, num_warps=4, num_stages=1),
]
BACKWARD_16 = [
    triton.Config({"BLOCK_M": 32, "BLOCK_N": 32}, num_warps=4, num_stages=1),
    triton.Config({"BLOCK_M": 64, "BLOCK_N": 32}, num_warps=4, num_stages=1),
    triton.Config({"BLOCK_M": 64, "BLOCK_N": 64}, num_warps=4, num_stages=1),
]


def patch_attention(
    q: Tensor,  # (B, H, T, D), D one of 16, 32, 64; float32, bfloat16 or float16
    k: Tensor,  # (B, H, T, D)
    v: Tensor,  # (B, H, T, D)
) -> Tensor:  # (B, H, T, D), laid out as (B, T, H, D)
    """Differentiable attention. Only the last axis must be contiguous, so slices of one qkv product need no copy.

    Raises TypeError for a wrong kind or dtype, ValueError for a wrong shape, layout, head width or device.
    """
    return _PatchAttention.apply(q, k, v)


def patch_attention_reference(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """The same result in plain torch."""
    return torch.softmax(q @ k.transpose(-1, -2) * q.shape[-1] ** -0.5, dim=-1) @ v


class _PatchAttention(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        out, stats = attention_forward(q, k, v)
        ctx.save_for_backward(q, k, v, out, stats)
        return out

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return attention_backward(grads[0], *ctx.saved_tensors)


def attention_forward(q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
    """The output, and (2, B, H, T) float32 for the backward: each row's maximum score in base 2, and 1 / its sum."""
    b, h, t, d = _check(q=q, k=k, v=v)
    out = _empty_bthd(q)
    stats = torch.empty(2, b, h, t, dtype=torch.float32, device=q.device)
    with on_device(q):
        forward_kernel[lambda meta: (triton.cdiv(t, meta["BLOCK_M"]), b * h)](
            q, k, v, out, *stats, *_strides(q, k, v, out), h, t, d**-0.5, D=d
        )
    return out, stats


def attention_backward(
    grad: Tensor, q: Tensor, k: Tensor, v: Tensor, out: Tensor, stats: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of q, k and v, from the gradient of the output and what attention_forward returned."""
    grad = grad if grad.stride(-1) == 1 else grad.contiguous()
    b, h, t, d = _check(q=q, k=k, v=v, out=out, grad=grad)
    check("stats", stats, f"2 {b} {h} {t}", (torch.float32,), {})
    dq, dk, dv = (_empty_bthd(x) for x in (q, k, v))
    with on_device(q):
        keys_kernel[lambda meta: (triton.cdiv(t, meta["BLOCK_N"]), b * h)](
            q, k, v, out, grad, *stats, dk, dv, *_strides(q, k, v, out, grad, dk, dv), h, t, d**-0.5, D=d
        )
        queries_kernel[lambda meta: (triton.cdiv(t, meta["BLOCK_M"]), b * h)](
            q, k, v, out, grad, *stats, dq, *_strides(q, k, v, out, grad, dq), h, t, d**-0.5, D=d
        )
    return dq, dk, dv


def _check(**tensors: Tensor) -> tuple[int, int, int, int]:
    sizes: dict[str, int] = {}
    dtypes: tuple[torch.dtype, ...] = FLOATS
    for name, x in tensors.items():
        check(name, x, "B H T D", dtypes, sizes, contiguous="last axis")
        dtypes = (x.dtype,)
    check_same_device(**tensors)
    if sizes["D"] not in HEAD_DIMS:
        raise ValueError(f"q: expected a head width of {', '.join(map(str, HEAD_DIMS))}, got {sizes['D']}")
    if sizes["B"] * sizes["H"] > MAX_HEADS:
        raise ValueError(f"q: expected at most {MAX_HEADS} heads in a batch, got {sizes['B'] * sizes['H']}")
    return sizes["B"], sizes["H"], sizes["T"], sizes["D"]


def _empty_bthd(like: Tensor) -> Tensor:
    """(B, H, T, D) over memory (B, T, H, D): joining the heads afterwards costs no copy."""
    b, h, t, d = like.shape
    return torch.empty(b, t, h, d, dtype=like.dtype, device=like.device).transpose(1, 2)


def _strides(*tensors: Tensor) -> list[int]:
    return [s for x in tensors for s in x.stride()[:3]]


def _tail(meta: dict[str, Any]) -> int:
    rest = meta["t"] % meta["BLOCK_N"]
    return power_of_two(rest, 16) if rest else 0


@tuned(CONFIGS_32, CONFIGS_16, key=["t", "D"], typed="q")
@triton.heuristics({"TAIL": _tail})
@triton.jit
def forward_kernel(
    q, k, v, out, row_maxes, inv_sums, q_b, q_h, q_t, k_b, k_h, k_t, v_b, v_h, v_t, o_b, o_h, o_t, heads, t, scale,
    D: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, TAIL: tl.constexpr,
):  # fmt: skip
    batch, head = (tl.program_id(1) // heads).to(tl.int64), tl.program_id(1) % heads
    rows, d = tl.program_id(0) * BLOCK_M + tl.arange(0, BLOCK_M), tl.arange(0, D)
    here = (rows < t)[:, None]
    k += batch * k_b + head * k_h
    v += batch * v_b + head * v_h
    query = tl.load(q + batch * q_b + head * q_h + rows[:, None] * q_t + d[None, :], mask=here, other=0.0)

    acc = tl.zeros((BLOCK_M, D), tl.float32)
    row_max = tl.full((BLOCK_M,), float("-inf"), tl.float32)
    row_sum = tl.zeros((BLOCK_M,), tl.float32)
    scale *= 1.4426950408889634  # log2(e), because exp2 is used instead of exp
    full = t // BLOCK_N * BLOCK_N
    for start in range(0, full, BLOCK_N):
        acc, row_max, row_sum = _attend(
            query, k, v, k_t, v_t, start, t, scale, acc, row_max, row_sum, D, BLOCK_N, False
        )
    if TAIL > 0:
        acc, row_max, row_sum = _attend(query, k, v, k_t, v_t, full, t, scale, acc, row_max, row_sum, D, TAIL, True)

    at = out + batch * o_b + head * o_h + rows[:, None] * o_t + d[None, :]
    tl.store(at, narrow(acc / row_sum[:, None], out.dtype.element_ty), mask=here)
    row = tl.program_id(1).to(tl.int64) * t + rows
    tl.store(row_maxes + row, row_max, mask=rows < t)
    tl.store(inv_sums + row, 1.0 / row_sum, mask=rows < t)


@triton.jit
def _attend(
    query, k, v, k_t, v_t, start, t, scale, acc, row_max, row_sum,
    D: tl.constexpr, N: tl.constexpr, MASKED: tl.constexpr,
):  # fmt: skip
    cols, d = start + tl.arange(0, N), tl.arange(0, D)
    at_k, at_v = k + cols[None, :] * k_t + d[:, None], v + cols[:, None] * v_t + d[None, :]
    if MASKED:
        key = tl.load(at_k, mask=(cols < t)[None, :], other=0.0)
        value = tl.load(at_v, mask=(cols < t)[:, None], other=0.0)
        scores = tl.where((cols < t)[None, :], dot(query, key) * scale, float("-inf"))
    else:
        key, value = tl.load(at_k), tl.load(at_v)
        scores = dot(query, key) * scale
    new_max = tl.maximum(row_max, tl.max(scores, 1))
    p = tl.exp2(scores - new_max[:, None])
    rescale = tl.exp2(row_max - new_max)
    acc = acc * rescale[:, None] + dot(narrow(p, v.dtype.element_ty), value)
    return acc, new_max, row_sum * rescale + tl.sum(p, 1)


@tuned(BACKWARD_32, BACKWARD_16, key=["t", "D"], typed="q")
@triton.jit
def keys_kernel(
    q, k, v, out, grad, row_maxes, inv_sums, dk, dv,
    q_b, q_h, q_t, k_b, k_h, k_t, v_b, v_h, v_t, o_b, o_h, o_t, g_b, g_h, g_t,
    dk_b, dk_h, dk_t, dv_b, dv_h, dv_t, heads, t, scale,
    D: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr,
):  # fmt: skip
    batch, head = (tl.program_id(1) // heads).to(tl.int64), tl.program_id(1) % heads
    cols, d = tl.program_id(0) * BLOCK_N + tl.arange(0, BLOCK_N), tl.arange(0, D)
    here = (cols < t)[:, None]
    q += batch * q_b + head * q_h
    out += batch * o_b + head * o_h
    grad += batch * g_b + head * g_h
    row_maxes += tl.program_id(1).to(tl.int64) * t
    inv_sums += tl.program_id(1).to(tl.int64) * t
    key = tl.load(k + batch * k_b + head * k_h + cols[:, None] * k_t + d[None, :], mask=here, other=0.0)
    value = tl.load(v + batch * v_b + head * v_h + cols[:, None] * v_t + d[None, :], mask=here, other=0.0)

    dkey, dvalue = tl.zeros((BLOCK_N, D), tl.float32), tl.zeros((BLOCK_N, D), tl.float32)
    for start in range(0, t, BLOCK_M):
        rows = start + tl.arange(0, BLOCK_M)
        there = (rows < t)[:, None]
        query = tl.load(q + rows[:, None] * q_t + d[None, :], mask=there, other=0.0)
        g = tl.load(grad + rows[:, None] * g_t + d[None, :], mask=there, other=0.0)
        o = tl.load(out + rows[:, None] * o_t + d[None, :], mask=there, other=0.0)
        # rows past the end have an infinite maximum: their probabilities are 0
        row_max = tl.load(row_maxes + rows, mask=rows < t, other=float("inf"))
        inv_sum = tl.load(inv_sums + rows, mask=rows < t, other=0.0)
        delta = tl.sum(g.to(tl.float32) * o.to(tl.float32), 1)
        p = tl.exp2(dot(key, tl.trans(query)) * (scale * 1.4426950408889634) - row_max[None, :]) * inv_sum[None, :]
        dvalue += dot(narrow(p, g.dtype), g)
        ds = p * (dot(value, tl.trans(g)) - delta[None, :])
        dkey += dot(narrow(ds, query.dtype), query)

    at = batch * dk_b + head * dk_h + cols[:, None] * dk_t + d[None, :]
    tl.store(dk + at, narrow(dkey * scale, dk.dtype.element_ty), mask=here)
    at = batch * dv_b + head * dv_h + cols[:, None] * dv_t + d[None, :]
    tl.store(dv + at, narrow(dvalue, dv.dtype.element_ty), mask=here)


@tuned(BACKWARD_32, BACKWARD_16, key=["t", "D"], typed="q")
@triton.jit
def queries_kernel(
    q, k, v, out, grad, row_maxes, inv_sums, dq,
    q_b, q_h, q_t, k_b, k_h, k_t, v_b, v_h, v_t, o_b, o_h, o_t, g_b, g_h, g_t,
    dq_b, dq_h, dq_t, heads, t, scale,
    D: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr,
):  # fmt: skip
    batch, head = (tl.program_id(1) // heads).to(tl.int64), tl.program_id(1) % heads
    rows, d = tl.program_id(0) * BLOCK_M + tl.arange(0, BLOCK_M), tl.arange(0, D)
    here = (rows < t)[:, None]
    k += batch * k_b + head * k_h
    v += batch * v_b + head * v_h
    query = tl.load(q + batch * q_b + head * q_h + rows[:, None] * q_t + d[None, :], mask=here, other=0.0)
    g = tl.load(grad + batch * g_b + head * g_h + rows[:, None] * g_t + d[None, :], mask=here, other=0.0)
    o = tl.load(out + batch * o_b + head * o_h + rows[:, None] * o_t + d[None, :], mask=here, other=0.0)
    row = tl.program_id(1).to(tl.int64) * t + rows
    row_max = tl.load(row_maxes + row, mask=rows < t, other=float("inf"))
    inv_sum = tl.load(inv_sums + row, mask=rows < t, other=0.0)
    delta = tl.sum(g.to(tl.float32) * o.to(tl.float32), 1)

    dquery = tl.zeros((BLOCK_M, D), tl.float32)
    for start in range(0, t, BLOCK_N):
        cols = start + tl.arange(0, BLOCK_N)
        there = (cols < t)[:, None]
        key = tl.load(k + cols[:, None] * k_t + d[None, :], mask=there, other=0.0)
        value = tl.load(v + cols[:, None] * v_t + d[None, :], mask=there, other=0.0)
        scores = dot(query, tl.trans(key)) * (scale * 1.4426950408889634)
        p = tl.exp2(tl.where((cols < t)[None, :], scores - row_max[:, None], float("-inf"))) * inv_sum[:, None]
        ds = p * (dot(g, tl.trans(value)) - delta[:, None])
        dquery += dot(narrow(ds, key.dtype), key)

    at = batch * dq_b + head * dq_h + rows[:, None] * dq_t + d[None, :]
    tl.store(dq + at, narrow(dquery * scale, dq.dtype.element_ty), mask=here)


def variants() -> Iterator[Variant]:
    for dtype in FLOATS:
        kind = triton_type(dtype)
        forward, backward = (CONFIGS_32, BACKWARD_32) if dtype.itemsize == 4 else (CONFIGS_16, BACKWARD_16)
        for d in HEAD_DIMS:
            for name, kernel, configs in (
                ("forward", forward_kernel, forward),
                ("keys", keys_kernel, backward),
                ("queries", queries_kernel, backward),
            ):
                signature = dict.fromkeys(("q", "k", "v", "out", "grad", "dq", "dk", "dv"), f"*{kind}")
                signature |= {"row_maxes": "*fp32", "inv_sums": "*fp32"}
                signature |= {"heads": "i32", "t": "i32", "scale": "fp32"}
                strides = [f"{x}_{axis}" for x in ("q", "k", "v", "o", "g", "dq", "dk", "dv") for axis in "bht"]
                signature |= dict.fromkeys(strides, "i32")
                sizes = {"t": 129, "heads": 6} | dict.fromkeys(strides, 3 * 6 * d)
                yield Variant(f"attention {name} {kind} D={d}", kernel, signature, {"D": d}, configs, sizes)
