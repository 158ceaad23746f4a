"""Attention over the tokens of a shape.

    out = softmax(q k^T / sqrt(D)) v

without mask or dropout, softmax in float32 (Vaswani et al., arXiv 1706.03762). A shape has a class token and 128
patches, so the whole of k and v fits on chip. Differentiable in all three.
"""

from __future__ import annotations

import os

import numpy as np

from pa3d.ops import _triton
from pa3d.ops._dispatch import Array, check_alike, choose, is_tensor, is_traced, namespace, on_gpu


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
    if is_traced(q, k, v) and on_gpu(q):
        from pa3d.ops import _torch

        return _torch.patch_attention(q, k, v)[0]  # one node, which chooses when it runs
    for name, x in (("q", q), ("k", k), ("v", v)):
        _check(name, x, q)
    check_alike(q=q, k=k, v=v)
    if backend(q, k, v) == "triton":
        from pa3d.ops import _torch

        return _torch.patch_attention(q, k, v)[0]
    if not is_tensor(q) or os.environ.get("PA3D_BACKEND"):
        return patch_attention_reference(q, k, v)
    return namespace(q).nn.functional.scaled_dot_product_attention(q, k, v)


def backend(q: Array, k: Array, v: Array) -> str:
    """`triton` or `reference`. Raises ValueError for a forced backend that cannot run."""
    b, h, _, d = q.shape
    refused = {}
    if d not in _triton.HEAD_WIDTHS:
        refused["triton"] = f"it takes heads of {', '.join(map(str, _triton.HEAD_WIDTHS))} numbers, not {d}"
    elif b * h > _triton.MAX_HEADS:
        refused["triton"] = f"it takes at most {_triton.MAX_HEADS} heads in a batch, not {b * h}"
    elif is_tensor(q) and q.dtype.itemsize > 4:
        refused["triton"] = "it takes no float64"
    elif is_tensor(q) and any(x.stride(-1) != 1 for x in (q, k, v)):
        refused["triton"] = "it takes tensors whose last axis is contiguous"
    return choose(q, k, v, op="patch_attention", refused=refused)


def patch_attention_reference(q: Array, k: Array, v: Array) -> Array:
    """The rule in plain array code; softmax in float32 at least."""
    scale = q.shape[-1] ** -0.5
    if is_tensor(q):
        wide = q.dtype if q.dtype.itemsize == 8 else namespace(q).float32
        return (q @ k.transpose(-1, -2) * scale).softmax(-1, dtype=wide).to(v.dtype) @ v
    scores = q @ np.swapaxes(k, -1, -2) * np.float32(scale)
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    return weights / weights.sum(-1, keepdims=True) @ v


def _check(name: str, x: Array, q: Array) -> None:
    if not isinstance(x, np.ndarray) and not is_tensor(x):
        raise TypeError(f"{name}: expected a numpy array or a torch tensor, got {type(x).__name__}")
    allowed = ("float32", "bfloat16", "float16") if is_tensor(x) else ("float32",)
    kind = str(x.dtype).removeprefix("torch.")
    if kind not in allowed:
        raise TypeError(f"{name}: expected {' or '.join(allowed)}, got {kind}")
    if x.ndim != 4 or 0 in x.shape:
        raise ValueError(f"{name}: expected shape (B, H, T, D) with no empty axis, got {tuple(x.shape)}")
    if x.shape != q.shape:
        raise ValueError(f"{name}: expected shape {tuple(q.shape)} as q, got {tuple(x.shape)}")
    if kind != str(q.dtype).removeprefix("torch."):
        raise TypeError(f"{name}: expected the dtype of q, {q.dtype}, got {x.dtype}")
