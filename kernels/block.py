"""A transformer block of pa3d.model in five launches: LayerNorm, bias, GELU and residual are fused into the products.

    y = epilogue(LayerNorm(x) W^T + b)

A program first computes mean and variance of its rows. Then it multiplies normalised tiles by tiles of W. It applies
bias, exact GELU (x Phi(x)) and the residual to the sums before they are written. For inference only: there is no
backward; training uses pa3d.model. float32, bfloat16 and float16 with float32 statistics and sums. Between blocks, the
residual stream may be float32 while the products have 16 bits.
"""

# mypy: allow-untyped-defs
from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor, nn

from pa3d.ops.checks import check_same_device

from ._common import FLOATS, Variant, check, check_inference, dot, narrow, on_device, triton_type, tuned
from .attention import patch_attention

CONFIGS_32 = [
    triton.Config({"BLOCK_M": 16, "BLOCK_N": 32, "BLOCK_K": 32}, num_warps=4, num_stages=2),
    triton.Config({"BLOCK_M": 32, "BLOCK_N": 64, "BLOCK_K": 32}, num_warps=4, num_stages=2),
]
CONFIGS_16 = [
    triton.Config({"BLOCK_M": 16, "BLOCK_N": 64, "BLOCK_K": 64}, num_warps=4, num_stages=3),
    triton.Config({"BLOCK_M": 32, "BLOCK_N": 64, "BLOCK_K": 64}, num_warps=4, num_stages=3),
    triton.Config({"BLOCK_M": 64, "BLOCK_N": 64, "BLOCK_K": 64}, num_warps=4, num_stages=3),
    triton.Config({"BLOCK_M": 64, "BLOCK_N": 128, "BLOCK_K": 64}, num_warps=8, num_stages=3),
]


class BlockWeights(NamedTuple):
    """Weights of one block under the names of pa3d.model.Block: matrices of one dtype, vectors in float32."""

    norm1: tuple[Tensor, Tensor]  # (C,), (C,)
    qkv: Tensor  # (3C, C)
    proj: tuple[Tensor, Tensor]  # (C, C), (C,)
    norm2: tuple[Tensor, Tensor]  # (C,), (C,)
    fc1: tuple[Tensor, Tensor]  # (S, C), (S,)
    fc2: tuple[Tensor, Tensor]  # (C, S), (C,)
    heads: int
    eps: float

    @classmethod
    def of(cls, block: Any, dtype: torch.dtype) -> BlockWeights:
        """The weights of a pa3d.model.Block."""

        def pair(layer: Any) -> tuple[Tensor, Tensor]:
            kind = torch.float32 if layer.weight.ndim == 1 else dtype
            return layer.weight.detach().to(kind).contiguous(), layer.bias.detach().float().contiguous()

        attn, mlp = block.attn, block.mlp
        qkv = attn.qkv.weight.detach().to(dtype).contiguous()
        both = pair(block.norm1), qkv, pair(attn.proj), pair(block.norm2), pair(mlp.fc1), pair(mlp.fc2)
        return cls(*both, attn.heads, block.norm1.eps)


def transformer_block(x: Tensor, weights: BlockWeights) -> Tensor:  # (B, T, C) -> (B, T, C) of the dtype of x
    """x + attention, then + MLP: what pa3d.model.Block does in eval mode. Raises what the functions it calls raise."""
    attended = patch_attention(*norm_qkv(x, *weights.norm1, weights.qkv, weights.heads, eps=weights.eps))
    b, t, c = x.shape
    x = linear(attended.transpose(1, 2).reshape(b, t, c), *weights.proj, residual=x)
    return mlp(x, *weights.norm2, *weights.fc1, *weights.fc2, eps=weights.eps)


def norm_qkv(
    x: Tensor,  # (B, T, C)
    norm_weight: Tensor,  # (C,)
    norm_bias: Tensor,  # (C,)
    weight: Tensor,  # (3C, C)
    heads: int,
    *,
    eps: float = 1e-5,
) -> tuple[Tensor, Tensor, Tensor]:  # three (B, H, T, D) views of one (B, T, 3, H, D)
    """Queries, keys and values of LayerNorm(x), in the layout that patch_attention takes."""
    qkv = linear(x, weight, None, norm=(norm_weight, norm_bias), eps=eps)
    b, t, width = qkv.shape
    if heads < 1 or width % (3 * heads):
        raise ValueError(f"heads: expected a divisor of {width // 3}, a third of the width of weight, got {heads}")
    q, k, v = qkv.reshape(b, t, 3, heads, width // (3 * heads)).permute(2, 0, 3, 1, 4)
    return q, k, v


def mlp(
    x: Tensor,  # (B, T, C)
    norm_weight: Tensor,  # (C,)
    norm_bias: Tensor,  # (C,)
    fc1_weight: Tensor,  # (S, C)
    fc1_bias: Tensor,  # (S,)
    fc2_weight: Tensor,  # (C, S)
    fc2_bias: Tensor,  # (C,)
    *,
    eps: float = 1e-5,
) -> Tensor:  # (B, T, C)
    """x + fc2(GELU(fc1(LayerNorm(x)))): the second half of a block."""
    hidden = linear(x, fc1_weight, fc1_bias, norm=(norm_weight, norm_bias), gelu=True, eps=eps)
    return linear(hidden, fc2_weight, fc2_bias, residual=x)


def linear(
    x: Tensor,  # (B, T, K) float32, bfloat16 or float16
    weight: Tensor,  # (N, K), of the dtype of x, or of 16 bits where x is float32
    bias: Tensor | None,  # (N,), of the dtype of weight or float32, as the other vectors
    *,
    norm: tuple[Tensor, Tensor] | None = None,  # weight and bias (K,) of a LayerNorm in front
    gelu: bool = False,
    residual: Tensor | None = None,  # (B, T, N), of the dtype of weight or float32
    eps: float = 1e-5,
) -> Tensor:  # (B, T, N), of the dtype of residual, or else of weight
    """GELU(LayerNorm(x) @ weight.T + bias) + residual; norm, bias, gelu and residual are optional.

    The operands of the product have the dtype of weight. Raises TypeError for a wrong kind or dtype, ValueError for a
    wrong shape, layout or device, or if an input requires a gradient and gradients are on.
    """
    sizes: dict[str, int] = {}
    check("x", x, "B T K", FLOATS, sizes)
    optional = {"bias": (bias, "N"), "residual": (residual, "B T N")}
    if norm:
        optional |= {"norm weight": (norm[0], "K"), "norm bias": (norm[1], "K")}
    check("weight", weight, "N K", FLOATS if x.dtype == torch.float32 else (x.dtype,), sizes)
    dtypes = tuple(dict.fromkeys((weight.dtype, torch.float32)))
    tensors = {"x": x, "weight": weight}
    for name, (tensor, shape) in optional.items():
        if tensor is not None:
            check(name, tensor, shape, dtypes, sizes)
            tensors[name] = tensor
    check_same_device(**tensors)
    check_inference(**tensors)
    rows, n, width = sizes["B"] * sizes["T"], sizes["N"], sizes["K"]
    dtype = weight.dtype if residual is None else residual.dtype
    out = torch.empty(sizes["B"], sizes["T"], n, dtype=dtype, device=x.device)
    norm_weight, norm_bias = norm or (None, None)
    with on_device(x):
        linear_kernel[lambda meta: (triton.cdiv(rows, meta["BLOCK_M"]), triton.cdiv(n, meta["BLOCK_N"]))](
            x, norm_weight, norm_bias, weight, bias, residual, out, rows, n, width, eps,
            NORM=norm is not None, BIAS=bias is not None, GELU=gelu, RESIDUAL=residual is not None,
        )  # fmt: skip
    return out


def linear_reference(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    *,
    norm: tuple[Tensor, Tensor] | None = None,
    gelu: bool = False,
    residual: Tensor | None = None,
    eps: float = 1e-5,
) -> Tensor:
    """The same result in plain torch."""
    if norm:
        x = nn.functional.layer_norm(x, x.shape[-1:], *norm, eps)
    y = nn.functional.linear(x, weight, bias)
    y = nn.functional.gelu(y) if gelu else y
    return y if residual is None else y + residual


@tuned(CONFIGS_32, CONFIGS_16, key=["rows", "n", "width", "NORM"], typed="weight")
@triton.jit
def linear_kernel(
    x, norm_weight, norm_bias, weight, bias, residual, out, rows, n, width, eps,
    NORM: tl.constexpr, BIAS: tl.constexpr, GELU: tl.constexpr, RESIDUAL: tl.constexpr,
    BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0) * BLOCK_M + tl.arange(0, BLOCK_M)
    col = tl.program_id(1) * BLOCK_N + tl.arange(0, BLOCK_N)
    below, inside = (row < rows)[:, None], (col < n)[None, :]
    x += row.to(tl.int64)[:, None] * width

    mean = tl.zeros((BLOCK_M,), tl.float32)
    scale = tl.zeros((BLOCK_M,), tl.float32)
    if NORM:
        for start in range(0, width, BLOCK_K):
            k = (start + tl.arange(0, BLOCK_K))[None, :]
            mean += tl.sum(tl.load(x + k, mask=below & (k < width), other=0.0).to(tl.float32), 1)
        mean /= width
        for start in range(0, width, BLOCK_K):
            k = (start + tl.arange(0, BLOCK_K))[None, :]
            tile = tl.load(x + k, mask=below & (k < width), other=0.0).to(tl.float32)
            centered = tl.where(k < width, tile - mean[:, None], 0.0)
            scale += tl.sum(centered * centered, 1)
        scale = 1.0 / tl.sqrt(scale / width + eps)

    acc = tl.zeros((BLOCK_M, BLOCK_N), tl.float32)
    for start in range(0, width, BLOCK_K):
        k = start + tl.arange(0, BLOCK_K)
        there = k < width
        tile = tl.load(x + k[None, :], mask=below & there[None, :], other=0.0)
        if NORM:
            gamma = tl.load(norm_weight + k, mask=there, other=0.0).to(tl.float32)
            beta = tl.load(norm_bias + k, mask=there, other=0.0).to(tl.float32)
            normal = (tile.to(tl.float32) - mean[:, None]) * scale[:, None]
            tile = narrow(normal * gamma[None, :] + beta[None, :], weight.dtype.element_ty)
        elif x.dtype.element_ty != weight.dtype.element_ty:
            tile = narrow(tile, weight.dtype.element_ty)
        at = weight + col.to(tl.int64)[None, :] * width + k[:, None]
        acc += dot(tile, tl.load(at, mask=inside & there[:, None], other=0.0))

    if BIAS:
        acc += tl.load(bias + col, mask=col < n, other=0.0).to(tl.float32)[None, :]
    if GELU:
        acc = 0.5 * acc * (1.0 + tl.erf(acc * 0.7071067811865476))
    at = row.to(tl.int64)[:, None] * n + col[None, :]
    if RESIDUAL:
        acc += tl.load(residual + at, mask=below & inside, other=0.0).to(tl.float32)
    tl.store(out + at, narrow(acc, out.dtype.element_ty), mask=below & inside)


def variants() -> Iterator[Variant]:
    uses = {
        "qkv": {"NORM": True, "BIAS": False, "GELU": False, "RESIDUAL": False},
        "fc1": {"NORM": True, "BIAS": True, "GELU": True, "RESIDUAL": False},
        "fc2": {"NORM": False, "BIAS": True, "GELU": False, "RESIDUAL": True},
    }
    # One dtype throughout, and 16-bit products between float32 residuals, as in `encoder`.
    for dtype, stream in ((d, s) for d in FLOATS for s in dict.fromkeys((d, torch.float32))):
        kind, wide = triton_type(dtype), triton_type(stream)
        for use, flags in uses.items():
            signature = dict.fromkeys(("norm_weight", "norm_bias", "bias"), "*fp32")
            signature |= {"x": f"*{kind if use == 'fc2' else wide}", "weight": f"*{kind}", "residual": f"*{wide}"}
            signature |= {"out": f"*{wide if use == 'fc2' else kind}", "eps": "fp32"}
            signature |= dict.fromkeys(("rows", "n", "width"), "i32")
            configs = CONFIGS_32 if dtype.itemsize == 4 else CONFIGS_16
            sizes = {"rows": 129, "n": 384, "width": 1536 if use == "fc2" else 384}
            name = f"block {use} {kind}" + ("" if stream == dtype else f", residuals {wide}")
            yield Variant(name, linear_kernel, signature, flags, configs, sizes)
