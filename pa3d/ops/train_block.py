"""A block of the transformer in a training step, forward and backward, on the CPU.

    u = x + pos
    v = u + kept[0] proj(attention(LayerNorm(u)))
    y = v + kept[1] fc2(gelu(fc1(LayerNorm(v))))

as in pa3d.model.Block, whose weights it takes. The residual stream is float32 whatever the operands of the products
are. A branch of a shape that stochastic depth drops, kept = 0, costs nothing.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from pa3d import _C
from pa3d.ops._dispatch import choose, is_traced
from pa3d.ops.train_embed import Spare, array, refused_tensors


def backend(half: bool, heads: int, hidden: int, x: Tensor, *weights: Tensor) -> str:
    """`native`, or `reference` where the caller's own tensor code has to do. x (B, T, C) float32 or bfloat16.

    half: bf16 operands, as under autocast. Raises ValueError for a forced backend that cannot run.
    """
    if is_traced(x, *weights):
        return "reference"
    dim = x.shape[-1]
    refused = refused_tensors(half, *weights, *([x] if x.dtype != torch.bfloat16 else []))
    if dim % heads or dim // heads % 32 or hidden % 32:
        shape = f"{dim} in {heads} heads, {hidden}"
        refused["native"] = f"it takes heads and hidden layers of multiples of 32 numbers, not {shape}"
    elif x.numel() == 0:
        refused["native"] = "it takes no empty tensor"
    return choose(x, *weights, op="train_block", refused=refused)


def train_block(
    x: Tensor,  # (B, T, C)
    pos: Tensor,  # (B, T, C)
    kept: Tensor | None,  # (2, B), ones if left out
    weights: tuple[Tensor, ...],  # in the order of Block's parameters: norm1, attn.qkv, attn.proj, norm2, mlp.fc1, fc2
    *,
    heads: int,
    eps: float,
    half: bool,
) -> Tensor:  # (B, T, C)
    """float32 out; differentiable in x, pos and the weights. `backend` must be native for these tensors."""
    keep = torch.is_grad_enabled() and any(t.requires_grad for t in (x, pos, *weights))
    y: Tensor = _TrainBlock.apply(x.float(), pos.float(), kept, heads, eps, half, keep, *weights)
    return y


class _TrainBlock(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        pos: Tensor,
        kept: Tensor | None,
        heads: int,
        eps: float,
        half: bool,
        keep: bool,
        *weights: Tensor,
    ) -> Tensor:
        step, tape = _steps.take(half), _tapes.take(half)
        shares = None if kept is None else array(kept.float())
        y = step.item.forward([array(w) for w in weights], heads, eps, array(x), array(pos), shares, tape.item)
        _steps.give(step)
        if keep:
            ctx.settings, ctx.tape = (heads, eps, half), tape
            ctx.save_for_backward(*weights)
        else:
            _tapes.give(tape)
        return torch.from_numpy(y)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        if ctx.tape is None:
            raise RuntimeError("train_block: its backward pass runs once; what it needs is gone")
        weights, (heads, eps, half) = ctx.saved_tensors, ctx.settings
        wanted = any(ctx.needs_input_grad[7:])
        step = _steps.take(half)
        dx, found = step.item.backward([array(w) for w in weights], heads, eps, array(grad), ctx.tape.item, wanted)
        _steps.give(step)
        _tapes.give(ctx.tape)
        ctx.tape = None
        dx = torch.from_numpy(dx)
        gradients = [torch.from_numpy(g) for g in found] if wanted else [None] * len(weights)
        return dx, dx, None, None, None, None, None, *gradients


_steps = Spare(_C.BlockTraining)
_tapes = Spare(lambda precision: _C.BlockTraining(precision).tape())


def release() -> None:
    """Give the memory back that steps leave for the next ones."""
    _steps.clear()
    _tapes.clear()
