"""A block of the transformer in a training step, forward and backward, on the CPU.

    resid_in  = x + pos
    resid_mid = resid_in + drop_path_scale[0] proj(attention(LayerNorm(resid_in)))
    y         = resid_mid + drop_path_scale[1] fc2(gelu(fc1(LayerNorm(resid_mid))))

as in pa3d.model.Block, whose weights it takes. These three are float32 whatever the dtype of the operands of the
products. Where stochastic depth drops the branch of a shape, drop_path_scale is 0, and the branch costs nothing.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from pa3d.ops._dispatch import choose
from pa3d.ops._pool import Pool
from pa3d.ops.arrays import is_traced
from pa3d.ops.backends import native
from pa3d.ops.train_embed import array


def backend(bf16: bool, heads: int, hidden: int, x: Tensor, *weights: Tensor) -> str:
    """`native`, or `reference` where the caller's own tensor code has to run. x (B, T, C) float32 or bfloat16.

    bf16: bfloat16 operands, as under autocast. Raises ValueError for a forced backend that cannot run.
    """
    if is_traced(x, *weights):
        return "reference"
    chosen = choose("train_block", x, *weights, bf16=bf16, heads=heads, hidden=hidden)
    return "native" if chosen is native else "reference"


def train_block(
    x: Tensor,  # (B, T, C)
    pos: Tensor,  # (B, T, C)
    drop_path_scale: Tensor | None,  # (2, B); ones where it is None
    weights: tuple[Tensor, ...],  # in the order of Block's parameters: norm1, attn.qkv, attn.proj, norm2, mlp.fc1, fc2
    *,
    heads: int,
    eps: float,
    bf16: bool,
) -> Tensor:  # (B, T, C)
    """float32 out; differentiable in x, pos and the weights. `backend` must be native for these tensors."""
    needs_grad = torch.is_grad_enabled() and any(t.requires_grad for t in (x, pos, *weights))
    y: Tensor = _TrainBlock.apply(x.float(), pos.float(), drop_path_scale, heads, eps, bf16, needs_grad, *weights)
    return y


class _TrainBlock(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        pos: Tensor,
        drop_path_scale: Tensor | None,
        heads: int,
        eps: float,
        bf16: bool,
        needs_grad: bool,
        *weights: Tensor,
    ) -> Tensor:
        step, saved = _steps.acquire(bf16), _activations.acquire(bf16)
        scale = None if drop_path_scale is None else array(drop_path_scale.float())
        y = step.object.forward(
            [array(w) for w in weights], heads, eps, array(x), array(pos), scale, saved.object, torch.get_num_threads()
        )
        _steps.release(step)
        if needs_grad:
            ctx.settings, ctx.saved = (heads, eps, bf16), saved
            ctx.save_for_backward(*weights)
        else:
            _activations.release(saved)
        return torch.from_numpy(y)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        if ctx.saved is None:
            raise RuntimeError("train_block: its backward pass runs once: what it needs is freed after it")
        weights, (heads, eps, bf16) = ctx.saved_tensors, ctx.settings
        needs_weights = any(ctx.needs_input_grad[7:])
        step = _steps.acquire(bf16)
        dx, weight_gradients = step.object.backward(
            [array(w) for w in weights], heads, eps, array(grad), ctx.saved.object, needs_weights,
            torch.get_num_threads(),
        )  # fmt: skip
        _steps.release(step)
        _activations.release(ctx.saved)
        ctx.saved = None
        dx = torch.from_numpy(dx)
        gradients = [torch.from_numpy(g) for g in weight_gradients] if needs_weights else [None] * len(weights)
        return dx, dx, None, None, None, None, None, *gradients


_steps = Pool(native.train_block)
_activations = Pool(lambda precision: native.train_block(precision).new_activations())


def release() -> None:
    """Frees the memory that steps keep for the steps after them."""
    _steps.clear()
    _activations.clear()
