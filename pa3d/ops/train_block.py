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

from pa3d import _C
from pa3d.ops._dispatch import choose, is_traced
from pa3d.ops.train_embed import Spare, refused_tensors


def backend(half: bool, dim: int, heads: int, hidden: int, *tensors: Tensor) -> str:
    """`native`, or `reference` where the caller's own tensor code has to do. half: bf16 operands, as under autocast.

    Raises ValueError for a forced backend that cannot run.
    """
    refused = refused_tensors(half, *tensors)
    if dim % heads or dim // heads % 32 or hidden % 32:
        shape = f"{dim} in {heads} heads, {hidden}"
        refused["native"] = f"it takes heads and hidden layers of multiples of 32 numbers, not {shape}"
    return "reference" if is_traced(*tensors) else choose(*tensors, op="train_block", refused=refused)


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
    y: Tensor = _TrainBlock.apply(x.float(), pos.float(), kept, heads, eps, half, *weights)
    return y


class _TrainBlock(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, pos: Tensor, kept: Tensor | None, heads: int, eps: float, half: bool, *weights: Tensor
    ) -> Tensor:
        step = _steps.take(half)
        tape = _tapes.take(half)
        shares = None if kept is None else _array(kept.float())
        y = step.forward([_array(w) for w in weights], heads, eps, _array(x), _array(pos), shares, tape)
        _steps.give(half, step)
        if any(ctx.needs_input_grad):
            ctx.settings, ctx.tape = (heads, eps, half), tape
            ctx.save_for_backward(*weights)
        else:
            _tapes.give(half, tape)
        return torch.from_numpy(y)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        if ctx.tape is None:
            raise RuntimeError("train_block: its backward pass runs once; what it needs is gone")
        weights, (heads, eps, half) = ctx.saved_tensors, ctx.settings
        wanted = any(ctx.needs_input_grad[6:])
        step = _steps.take(half)
        dx, found = step.backward([_array(w) for w in weights], heads, eps, _array(grad), ctx.tape, wanted)
        _steps.give(half, step)
        _tapes.give(half, ctx.tape)
        ctx.tape = None
        dx = torch.from_numpy(dx)
        gradients = [torch.from_numpy(g) for g in found] if wanted else [None] * len(weights)
        return dx, dx, None, None, None, None, *gradients


_steps = Spare(_C.BlockTraining)
_tapes = Spare(lambda precision: _C.BlockTraining(precision).tape())


def _array(x: Tensor) -> Any:
    return x.detach().contiguous().numpy()
