"""The mini-PointNet of a training step, forward and backward, on the CPU.

    x1 = relu(first r + first_bias)                      r: a point of a patch, relative to its centre
    h  = merged x1 + pooling max(second x1)              max over the patch
    y  = relu(gamma (h - mean(h)) / sqrt(var(h) + eps) + beta)
    out = max(last y) + last_bias

with the moments of all rows of all processes. Next to nothing of what plain automatic differentiation keeps is kept: h
and the rows that the maxima chose; and what a maximum sends back goes to those rows alone. The reference is
pa3d.model.MiniPointNet, with `first` its first layer and normalisation, and `merged` and `pooling` the halves of its
third layer, as pa3d.train.student.TrainedPointNet makes them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from pa3d import _C
from pa3d.ops._dispatch import choose, is_traced

Reduce = Callable[[Tensor], Tensor]  # a sum over all processes
Moments = tuple[Tensor, Tensor, Tensor]  # mean (W2,), biased variance (W2,), rows ()


def backend(half: bool, widths: tuple[int, ...], patches: Tensor, *weights: Tensor) -> str:
    """`native`, or `reference` where the caller's own tensor code has to do. patches (..., M, 3).

    half: bf16 operands, as under autocast. Raises ValueError for a forced backend that cannot run.
    """
    if is_traced(patches, *weights):
        return "reference"
    refused = refused_tensors(half, patches, *weights)
    if any(width % 32 for width in widths):
        refused["native"] = f"it takes widths that are multiples of 32, not {', '.join(map(str, widths))}"
    elif patches.shape[-2] % 2:
        refused["native"] = f"it takes an even number of points a patch, not {patches.shape[-2]}"
    elif patches.requires_grad:
        refused["native"] = "it has no gradient for points"
    return choose(patches, *weights, op="train_embed", refused=refused)


def refused_tensors(half: bool, *tensors: Tensor) -> dict[str, str]:
    """Why the kernels of training cannot take these, whatever their shape."""
    wrong = next((x.dtype for x in tensors if x.dtype != torch.float32), None)
    if wrong is not None:
        return {"native": f"it takes float32, not {wrong}"}
    if any(x.numel() == 0 for x in tensors):
        return {"native": "it takes no empty tensor"}
    if half and torch.get_autocast_dtype("cpu") != torch.bfloat16:
        return {"native": f"it takes bfloat16 under autocast, not {torch.get_autocast_dtype('cpu')}"}
    if half and not _C.supports("bf16"):
        return {"native": "this processor has no bf16"}
    if not half and _C.isa() == "generic":
        return {"native": "without vector instructions torch is faster"}
    return {}


def train_embed(
    patches: Tensor,  # (P, M, 3)
    first: Tensor,  # (W0, 3)
    first_bias: Tensor,  # (W0,)
    second: Tensor,  # (W1, W0)
    merged: Tensor,  # (W2, W0)
    pooling: Tensor,  # (W2, W1)
    gamma: Tensor,  # (W2,)
    beta: Tensor,  # (W2,)
    last: Tensor,  # (W3, W2)
    last_bias: Tensor,  # (W3,)
    eps: float,
    half: bool,
    reduce: Reduce = lambda x: x,
) -> tuple[Tensor, Moments]:  # (P, W3)
    """float32 in and out; differentiable in all but the patches. `backend` must be native for these tensors."""
    arguments = (patches, first, first_bias, second, merged, pooling, gamma, beta, last, last_bias)
    keep = torch.is_grad_enabled() and any(x.requires_grad for x in arguments)
    out, mean, variance, rows = _TrainEmbed.apply(*arguments, eps, half, reduce, keep)
    return out, (mean, variance, rows)


def frozen_embed(
    patches: Tensor,  # (P, M, 3)
    first: Tensor,  # (W0, 3)
    first_bias: Tensor,  # (W0,)
    second: Tensor,  # (W1, W0)
    merged: Tensor,  # (W2, W0)
    pooling: Tensor,  # (W2, W1)
    scale: Tensor,  # (W2,)
    shift: Tensor,  # (W2,)
    last: Tensor,  # (W3, W2)
    last_bias: Tensor,  # (W3,)
    half: bool,
) -> Tensor:  # (P, W3)
    """The same with y = relu(scale h + shift); not differentiable, nothing is kept."""
    weights = (first, first_bias, second, merged, pooling, last, last_bias, scale, shift)
    held = _steps.take(half)
    out = held.item.infer(array(patches), *map(array, weights))
    _steps.give(held)
    return torch.from_numpy(out)


class _TrainEmbed(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        patches: Tensor,
        first: Tensor,
        first_bias: Tensor,
        second: Tensor,
        merged: Tensor,
        pooling: Tensor,
        gamma: Tensor,
        beta: Tensor,
        last: Tensor,
        last_bias: Tensor,
        eps: float,
        half: bool,
        reduce: Reduce,
        keep: bool,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        weights = (first, first_bias, second, merged, pooling, last, last_bias)
        held = _steps.take(half)
        sums = torch.from_numpy(held.item.moments(array(patches), *map(array, weights)))
        rows = torch.full((1,), patches.shape[0] * patches.shape[1], dtype=torch.float64)
        moments = reduce(torch.cat([rows, sums.flatten()]))
        n, (mean, square) = moments[0], moments[1:].view(2, -1) / moments[0]
        variance = (square - mean * mean).clamp(min=0)
        rstd = (variance + eps).rsqrt()
        scale = gamma.double() * rstd
        shift = beta.double() - mean * scale
        out = torch.from_numpy(held.item.finish(array(scale.float()), array(shift.float())))
        if keep:
            ctx.held, ctx.reduce = held, reduce
            ctx.save_for_backward(mean, rstd, scale, n, patches)  # the kernel reads the patches again
        else:
            _steps.give(held)
        ctx.mark_non_differentiable(mean, variance, n)
        return out, mean, variance, n

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:
        if ctx.held is None:
            raise RuntimeError("train_embed: its backward pass runs once; what it needs is gone")
        mean, rstd, scale, n, _patches = ctx.saved_tensors
        step, gradient = ctx.held.item, array(grad)
        sums, last, last_bias = map(torch.from_numpy, step.backward_sums(gradient))
        beta, product = sums
        gamma = (product - mean * beta) * rstd  # sum of dy (h - mean) rstd
        everywhere = ctx.reduce(torch.stack([beta, gamma]))
        shared_beta, shared_gamma = everywhere / n
        # dh = scale (dy - mean(dy) - (h - mean) rstd mean(dy (h - mean) rstd))
        slope = -scale * rstd * shared_gamma
        constant = -scale * shared_beta - slope * mean
        found = step.backward(gradient, *(array(x.float()) for x in (scale, slope, constant)))
        first, first_bias, second, merged, pooled, rows = map(torch.from_numpy, found)
        _steps.give(ctx.held)
        ctx.held = None
        pooling = rows.T @ pooled
        return (
            None, first, first_bias, second, merged, pooling, gamma.float(), beta.float(), last, last_bias, None, None,
            None, None,
        )  # fmt: skip


class Held(NamedTuple):
    """A native object, and what it is for: precision and level of instructions."""

    kind: tuple[str, str]
    item: Any


class Spare:
    """Native objects whose memory the next step takes over. Those of another level of instructions, which a process may
    pin, would sum in another order."""

    def __init__(self, make: Callable[[str], Any]) -> None:
        self._make, self._held = make, dict[tuple[str, str], list[Held]]()

    def take(self, half: bool) -> Held:
        kind = ("bf16" if half else "fp32", _C.isa())
        held = self._held.get(kind)
        return held.pop() if held else Held(kind, self._make(kind[0]))

    def give(self, held: Held) -> None:
        self._held.setdefault(held.kind, []).append(held)

    def clear(self) -> None:
        self._held.clear()


_steps = Spare(_C.EmbedTraining)


def release() -> None:
    """Give the memory back that steps leave for the next ones."""
    _steps.clear()


def array(x: Tensor) -> Any:
    """The same memory as numpy, a copy where it is not contiguous."""
    return x.detach().contiguous().numpy()
