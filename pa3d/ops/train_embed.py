"""The mini-PointNet of a training step, forward and backward, on the CPU.

    x1 = relu(first r + first_bias)                      r: a point of a patch, relative to its centre
    h  = merged x1 + pooling max(second x1)              max over the patch
    y  = relu(gamma (h - mean(h)) / sqrt(var(h) + eps) + beta)
    out = max(last y) + last_bias

with the mean and variance over all rows of all processes. It keeps far less than automatic differentiation does: only h
and the rows that the maxima chose, because the gradient of a maximum goes to those rows alone. The reference is
pa3d.model.MiniPointNet: `first` is its first layer with the normalisation folded in, `merged` and `pooling` come from
the two halves of its third layer.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from pa3d.ops._dispatch import choose
from pa3d.ops._pool import Pool
from pa3d.ops.arrays import is_traced
from pa3d.ops.backends import native

Reduce = Callable[[Tensor], Tensor]  # a sum over all processes
Moments = tuple[Tensor, Tensor, Tensor]  # mean (W2,), biased variance (W2,), rows ()


def backend(half: bool, widths: tuple[int, ...], patches: Tensor, *weights: Tensor) -> str:
    """`native`, or `reference` where the caller's own tensor code has to run. patches (..., M, 3).

    half: bf16 operands, as under autocast. Raises ValueError for a forced backend that cannot run.
    """
    if is_traced(patches, *weights):
        return "reference"
    chosen = choose("train_embed", patches, *weights, half=half, widths=widths)
    return "native" if chosen is native else "reference"


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
    needs_grad = torch.is_grad_enabled() and any(x.requires_grad for x in arguments)
    out, mean, variance, rows = _TrainEmbed.apply(*arguments, eps, half, reduce, needs_grad)
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
    step = _steps.acquire(half)
    out = step.item.infer(array(patches), *map(array, weights))
    _steps.release(step)
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
        needs_grad: bool,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        weights = (first, first_bias, second, merged, pooling, last, last_bias)
        step = _steps.acquire(half)
        sums = torch.from_numpy(step.item.moments(array(patches), *map(array, weights)))
        rows = torch.full((1,), patches.shape[0] * patches.shape[1], dtype=torch.float64)
        moments = reduce(torch.cat([rows, sums.flatten()]))
        n, (mean, square) = moments[0], moments[1:].view(2, -1) / moments[0]
        variance = (square - mean * mean).clamp(min=0)
        rstd = (variance + eps).rsqrt()
        scale = gamma.double() * rstd
        shift = beta.double() - mean * scale
        out = torch.from_numpy(step.item.finish(array(scale.float()), array(shift.float())))
        if needs_grad:
            ctx.step, ctx.reduce = step, reduce
            ctx.save_for_backward(mean, rstd, scale, n, patches)  # the kernel reads the patches again
        else:
            _steps.release(step)
        ctx.mark_non_differentiable(mean, variance, n)
        return out, mean, variance, n

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:
        if ctx.step is None:
            raise RuntimeError("train_embed: its backward pass runs once: what it needs is freed after it")
        mean, rstd, scale, n, _patches = ctx.saved_tensors
        kernel, gradient = ctx.step.item, array(grad)
        sums, last, last_bias = map(torch.from_numpy, kernel.backward_sums(gradient))
        beta, product = sums
        gamma = (product - mean * beta) * rstd  # sum of dy (h - mean) rstd
        total_beta, total_gamma = ctx.reduce(torch.stack([beta, gamma]))  # over all processes
        mean_beta, mean_gamma = total_beta / n, total_gamma / n
        # dh = scale (dy - mean(dy) - (h - mean) rstd mean(dy (h - mean) rstd))
        slope = -scale * rstd * mean_gamma
        constant = -scale * mean_beta - slope * mean
        found = kernel.backward(gradient, *(array(x.float()) for x in (scale, slope, constant)))
        first, first_bias, second, merged, pooled, rows = map(torch.from_numpy, found)
        _steps.release(ctx.step)
        ctx.step = None
        pooling = rows.T @ pooled
        return (
            None, first, first_bias, second, merged, pooling, gamma.float(), beta.float(), last, last_bias, None, None,
            None, None,
        )  # fmt: skip


_steps = Pool(native.train_embed)


def release() -> None:
    """Frees the memory that steps keep for the steps after them."""
    _steps.clear()


def array(x: Tensor) -> Any:
    """The same memory as numpy, a copy where it is not contiguous."""
    return x.detach().contiguous().numpy()
