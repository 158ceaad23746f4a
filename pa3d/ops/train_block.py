"""A block of the transformer in a training step, forward and backward, on the CPU.

    u = x + pos
    v = u + kept[0] proj(attention(LayerNorm(u)))
    y = v + kept[1] fc2(gelu(fc1(LayerNorm(v))))

as in pa3d.model.Block, whose weights it takes. The residual stream is float32 whatever the operands of the products
are. A branch of a shape that stochastic depth drops, kept = 0, costs nothing.
"""

from __future__ import annotations

import os
from typing import Any

import torch
from torch import Tensor

from pa3d import _C
from pa3d.ops._dispatch import place


def refused(half: bool, dim: int, heads: int, hidden: int, *tensors: Tensor) -> str | None:
    """Why the kernels cannot take a call, or None. half: bf16 operands, as under autocast."""
    if os.environ.get("PA3D_BACKEND") == "reference":
        return "PA3D_BACKEND is reference"
    other = next((x for x in tensors if x.device.type != "cpu"), None)
    if other is not None:
        return f"they take tensors on the CPU, not {place(other)}"
    if dim % heads or dim // heads % 32 or hidden % 32:
        return f"they take heads and hidden layers of a multiple of 32 numbers, not {dim} / {heads} and {hidden}"
    if half and not _C.supports("bf16"):
        return "this processor has no bf16"
    if not half and _C.isa() == "generic":
        return "without vector instructions torch is faster"
    return None


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
    """float32 out; differentiable in x, pos and the weights. `refused` must be None for these tensors."""
    y: Tensor = _TrainBlock.apply(x.float(), pos.float(), kept, heads, eps, half, *weights)
    return y


class _TrainBlock(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, pos: Tensor, kept: Tensor | None, heads: int, eps: float, half: bool, *weights: Tensor
    ) -> Tensor:
        step = _step(half)
        tape = _tapes[half].pop() if _tapes[half] else step.tape()
        shares = None if kept is None else _array(kept.float())
        y = step.forward([_array(w) for w in weights], heads, eps, _array(x), _array(pos), shares, tape)
        _steps[half].append(step)
        if any(ctx.needs_input_grad):
            ctx.settings, ctx.tape = (heads, eps, half), tape
            ctx.save_for_backward(*weights)
        else:
            _tapes[half].append(tape)
        return torch.from_numpy(y)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        weights, (heads, eps, half) = ctx.saved_tensors, ctx.settings
        wanted = any(ctx.needs_input_grad[6:])
        step = _step(half)
        dx, found = step.backward([_array(w) for w in weights], heads, eps, _array(grad), ctx.tape, wanted)
        _steps[half].append(step)
        _tapes[half].append(ctx.tape)
        ctx.tape = None
        dx = torch.from_numpy(dx)
        gradients = [torch.from_numpy(g) for g in found] if wanted else [None] * len(weights)
        return dx, dx, None, None, None, None, *gradients


# What steps leave for the next ones: their memory. By `half`.
_steps: dict[bool, list[Any]] = {False: [], True: []}
_tapes: dict[bool, list[Any]] = {False: [], True: []}


def _step(half: bool) -> Any:
    return _steps[half].pop() if _steps[half] else _C.BlockTraining("bf16" if half else "fp32")


def _array(x: Tensor) -> Any:
    return x.detach().contiguous().numpy()
