"""Attention over the tokens of a shape.

    out = softmax(q k^T / sqrt(D)) v

without mask or dropout, softmax in float32 (Vaswani et al., arXiv 1706.03762). A shape has a class token and 128
patches, so the whole of k and v fits on chip. Differentiable in all three.
"""

from __future__ import annotations

import math
import os
from typing import Any

import numpy as np

from pa3d.ops._dispatch import choose
from pa3d.ops._library import register_op
from pa3d.ops.arrays import Array, array_namespace, is_cuda, is_tensor, is_traced
from pa3d.ops.backends import reference
from pa3d.ops.checks import check, check_dtype, check_same_device


def patch_attention(
    q: Array,  # (B, H, T, D) float32; tensors also bfloat16 and float16
    k: Array,  # (B, H, T, D)
    v: Array,  # (B, H, T, D)
) -> Array:  # (B, H, T, D)
    """Attention of T tokens among each other, for each of B shapes and H heads.

    CUDA tensors go to the Triton kernel where it can take them, other tensors to torch's own attention, numpy arrays to
    the reference. PA3D_BACKEND=reference or triton forces those. Raises TypeError for a wrong kind or dtype, ValueError
    for a wrong shape or device, or a forced backend that cannot run.
    """
    if is_traced(q, k, v):
        if not is_cuda(q):
            return array_namespace(q).nn.functional.scaled_dot_product_attention(q, k, v)
        from pa3d.ops import _torch

        return _torch.ops.patch_attention(q, k, v)[0]  # one node, which chooses when it runs
    sizes: dict[str, int] = {}
    dtypes = ("float32", "bfloat16", "float16") if is_tensor(q) else ("float32",)
    for name, x in (("q", q), ("k", k), ("v", v)):
        check(name, x, "B H T D", dtypes, sizes, empty=False, contiguous=None)
    check_same_device(q=q, k=k, v=v)
    for name, x in (("k", k), ("v", v)):
        check_dtype(name, x, q.dtype)
    if choose("patch_attention", q, k, v) is not reference:
        from pa3d.ops import _torch

        return _torch.ops.patch_attention(q, k, v)[0]
    if not is_tensor(q) or os.environ.get("PA3D_BACKEND"):
        return patch_attention_reference(q, k, v)
    return array_namespace(q).nn.functional.scaled_dot_product_attention(q, k, v)


def patch_attention_reference(q: Array, k: Array, v: Array) -> Array:
    """The rule in plain array code; softmax in float32 at least."""
    scale = q.shape[-1] ** -0.5
    if is_tensor(q):
        dtype = q.dtype if q.dtype.itemsize == 8 else array_namespace(q).float32
        return (q @ k.transpose(-1, -2) * scale).softmax(-1, dtype=dtype).to(v.dtype) @ v
    scores = q @ np.swapaxes(k, -1, -2) * np.float32(scale)
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    return weights / weights.sum(-1, keepdims=True) @ v


@reference.kernel("patch_attention")
def _forward(q: Array, k: Array, v: Array) -> tuple[Array, Array]:
    """The output, and for the backward (2, B, H, T): each row's maximum score in base-2 logarithm, and 1 / its sum."""
    scores = _scores(q, k)
    row_max = scores.amax(-1, keepdim=True)
    weights = (scores - row_max).exp2()
    row_sum = weights.sum(-1, keepdim=True)
    out = _empty_bthd(q).copy_((weights / row_sum).to(v.dtype) @ v)
    return out, array_namespace(q).stack([row_max[..., 0], 1 / row_sum[..., 0]])


@reference.kernel("patch_attention_backward")
def _gradients(grad: Array, q: Array, k: Array, v: Array, out: Array, stats: Array) -> tuple[Array, Array, Array]:
    p = (_scores(q, k) - stats[0][..., None]).exp2() * stats[1][..., None]
    g, query, key, value, o = (x.to(p.dtype) for x in (grad, q, k, v, out))
    ds = p * (g @ value.transpose(-1, -2) - (g * o).sum(-1, keepdim=True)) * q.shape[-1] ** -0.5
    gradients = (ds @ key, ds.transpose(-1, -2) @ query, p.transpose(-1, -2) @ g)
    dq, dk, dv = (_empty_bthd(q).copy_(x) for x in gradients)
    return dq, dk, dv


def _scores(q: Array, k: Array) -> Array:
    """The scores in base-2 logarithm, as the kernel has them: exp2 of them is exp of the plain scores."""
    scale = q.shape[-1] ** -0.5 * math.log2(math.e)
    return (q.to(_accumulate_dtype(q)) @ k.to(_accumulate_dtype(q)).transpose(-1, -2)) * scale


def _accumulate_dtype(x: Array) -> Any:
    return x.dtype if x.dtype.itemsize == 8 else array_namespace(x).float32


def _empty_bthd(x: Array) -> Array:
    """(B, H, T, D) over memory (B, T, H, D), as the kernel lays its results out."""
    b, h, t, d = x.shape
    return x.new_empty((b, t, h, d)).transpose(1, 2)


def _run(q: Array, k: Array, v: Array) -> tuple[Array, Array]:
    return choose("patch_attention", q, k, v).patch_attention(q, k, v)


def _run_backward(grad: Array, q: Array, k: Array, v: Array, out: Array, stats: Array) -> tuple[Array, Array, Array]:
    return choose("patch_attention", q, k, v).patch_attention_backward(grad, q, k, v, out, stats)


def _fake(q: Array, k: Array, v: Array) -> tuple[Array, Array]:
    return _empty_bthd(q), q.new_empty((2, *q.shape[:3]), dtype=_accumulate_dtype(q))


def _fake_backward(grad: Array, q: Array, k: Array, v: Array, out: Array, stats: Array) -> tuple[Array, Array, Array]:
    return _empty_bthd(q), _empty_bthd(q), _empty_bthd(q)


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Array, Array]) -> None:
    ctx.save_for_backward(*inputs, *output)
    ctx.mark_non_differentiable(output[1])


def _backward(ctx: Any, grad: Array, _: Array | None) -> tuple[Array, Array, Array]:
    from pa3d.ops import _torch

    return _torch.ops.patch_attention_backward(grad, *ctx.saved_tensors)


register_op(
    "patch_attention(Tensor q, Tensor k, Tensor v) -> (Tensor, Tensor)",
    _run,
    fake=_fake,
    setup_context=_setup_context,
    backward=_backward,
)
register_op(
    "patch_attention_backward(Tensor grad, Tensor q, Tensor k, Tensor v, Tensor out, Tensor stats)"
    " -> (Tensor, Tensor, Tensor)",
    _run_backward,
    fake=_fake_backward,
)
