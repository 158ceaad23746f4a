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
from typing import Any

import torch
from torch import Tensor

from pa3d import _C
from pa3d.ops._dispatch import choose, is_traced

Reduce = Callable[[Tensor], Tensor]  # a sum over all processes
Moments = tuple[Tensor, Tensor, Tensor]  # mean (W2,), biased variance (W2,), rows ()


def backend(half: bool, widths: tuple[int, ...], patch_size: int, *tensors: Tensor) -> str:
    """`native`, or `reference` where the caller's own tensor code has to do. half: bf16 operands, as under autocast.

    Raises ValueError for a forced backend that cannot run.
    """
    refused = {}
    if any(width % 32 for width in widths):
        refused["native"] = f"it takes widths that are multiples of 32, not {', '.join(map(str, widths))}"
    elif patch_size % 2:
        refused["native"] = f"it takes an even number of points a patch, not {patch_size}"
    else:
        refused = refused_tensors(half, *tensors)
    return "reference" if is_traced(*tensors) else choose(*tensors, op="train_embed", refused=refused)


def refused_tensors(half: bool, *tensors: Tensor) -> dict[str, str]:
    """Why the kernels of training cannot take these, whatever their shape."""
    wrong = next((x.dtype for x in tensors if x.dtype not in (torch.float32, torch.bfloat16)), None)
    if wrong is not None:
        return {"native": f"it takes float32, not {wrong}"}
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
    out, mean, variance, rows = _TrainEmbed.apply(*arguments, eps, half, reduce)
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
    step = _steps.take(half)
    out = step.infer(_array(patches), *map(_array, weights))
    _steps.give(half, step)
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
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        weights = (first, first_bias, second, merged, pooling, last, last_bias)
        step = _steps.take(half)
        sums = torch.from_numpy(step.moments(_array(patches), *map(_array, weights)))
        rows = torch.full((1,), patches.shape[0] * patches.shape[1], dtype=torch.float64)
        moments = reduce(torch.cat([rows, sums.flatten()]))
        n, (mean, square) = moments[0], moments[1:].view(2, -1) / moments[0]
        variance = (square - mean * mean).clamp(min=0)
        rstd = (variance + eps).rsqrt()
        scale = gamma.double() * rstd
        shift = beta.double() - mean * scale
        out = torch.from_numpy(step.finish(_array(scale.float()), _array(shift.float())))
        ctx.step, ctx.half, ctx.reduce = step, half, reduce
        ctx.save_for_backward(mean, rstd, scale, n)
        ctx.mark_non_differentiable(mean, variance, n)
        return out, mean, variance, n

    @staticmethod
    def backward(ctx: Any, grad: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:
        if ctx.step is None:
            raise RuntimeError("train_embed: its backward pass runs once; what it needs is gone")
        mean, rstd, scale, n = ctx.saved_tensors
        step, gradient = ctx.step, _array(grad)
        sums, last, last_bias = map(torch.from_numpy, step.backward_sums(gradient))
        beta, product = sums
        gamma = (product - mean * beta) * rstd  # sum of dy (h - mean) rstd
        everywhere = ctx.reduce(torch.stack([beta, gamma]))
        shared_beta, shared_gamma = everywhere / n
        # dh = scale (dy - mean(dy) - (h - mean) rstd mean(dy (h - mean) rstd))
        slope = -scale * rstd * shared_gamma
        constant = -scale * shared_beta - slope * mean
        found = step.backward(gradient, *(_array(x.float()) for x in (scale, slope, constant)))
        first, first_bias, second, merged, pooled, rows = map(torch.from_numpy, found)
        _steps.give(ctx.half, step)
        ctx.step = None
        pooling = rows.T @ pooled
        return (
            None, first, first_bias, second, merged, pooling, gamma.float(), beta.float(), last, last_bias, None, None,
            None,
        )  # fmt: skip


class Spare:
    """Native objects that hold memory, for the next step to take over. Those of another level of instructions, which a
    process may pin, would sum in another order."""

    def __init__(self, make: Callable[[str], Any]) -> None:
        self._make, self._held = make, dict[tuple[bool, str], list[Any]]()

    def take(self, half: bool) -> Any:
        held = self._held.get((half, _C.isa()))
        return held.pop() if held else self._make("bf16" if half else "fp32")

    def give(self, half: bool, item: Any) -> None:
        self._held.setdefault((half, _C.isa()), []).append(item)


_steps = Spare(_C.EmbedTraining)


def _array(x: Tensor) -> Any:
    return x.detach().contiguous().numpy()
