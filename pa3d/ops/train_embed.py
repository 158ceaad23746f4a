"""The mini-PointNet of a training step, forward and backward, on the CPU.

    x1 = relu(w1 r + b1)                     r: a point of a patch, relative to its centre
    h  = w3_local x1 + w3_max max(w2 x1)     max: over the patch
    y  = relu(gamma (h - mean(h)) / sqrt(var(h) + eps) + beta)
    out = max(w4 y) + b4

with the mean and variance over all rows of all processes. It keeps far less than automatic differentiation does: only h
and the rows that the maxima chose, because the gradient of a maximum goes to those rows alone. The reference is
pa3d.model.MiniPointNet: `w1` and `b1` are its first layer with the normalisation folded in, `w3_local` and `w3_max`
come from the two halves of its third layer.
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
Moments = tuple[Tensor, Tensor, Tensor]  # mean (W2,), biased variance (W2,), count ()


def backend(bf16: bool, widths: tuple[int, ...], patches: Tensor, *weights: Tensor) -> str:
    """`native`, or `reference` where the caller's own tensor code has to run. patches (..., M, 3).

    bf16: bfloat16 operands, as under autocast. Raises ValueError for a forced backend that cannot run.
    """
    if is_traced(patches, *weights):
        return "reference"
    chosen = choose("train_embed", patches, *weights, bf16=bf16, widths=widths)
    return "native" if chosen is native else "reference"


def train_embed(
    patches: Tensor,  # (P, M, 3)
    w1: Tensor,  # (W0, 3)
    b1: Tensor,  # (W0,)
    w2: Tensor,  # (W1, W0)
    w3_local: Tensor,  # (W2, W0)
    w3_max: Tensor,  # (W2, W1)
    gamma: Tensor,  # (W2,)
    beta: Tensor,  # (W2,)
    w4: Tensor,  # (W3, W2)
    b4: Tensor,  # (W3,)
    eps: float,
    bf16: bool,
    reduce: Reduce = lambda x: x,
) -> tuple[Tensor, Moments]:  # (P, W3)
    """float32 in and out; differentiable in all but the patches. `backend` must be native for these tensors."""
    arguments = (patches, w1, b1, w2, w3_local, w3_max, gamma, beta, w4, b4)
    needs_grad = torch.is_grad_enabled() and any(x.requires_grad for x in arguments)
    out, mean, variance, count = _TrainEmbed.apply(*arguments, eps, bf16, reduce, needs_grad)
    return out, (mean, variance, count)


def eval_embed(
    patches: Tensor,  # (P, M, 3)
    w1: Tensor,  # (W0, 3)
    b1: Tensor,  # (W0,)
    w2: Tensor,  # (W1, W0)
    w3_local: Tensor,  # (W2, W0)
    w3_max: Tensor,  # (W2, W1)
    scale: Tensor,  # (W2,)
    shift: Tensor,  # (W2,)
    w4: Tensor,  # (W3, W2)
    b4: Tensor,  # (W3,)
    bf16: bool,
) -> Tensor:  # (P, W3)
    """The same with y = relu(scale h + shift); not differentiable, and nothing is saved."""
    weights = (w1, b1, w2, w3_local, w3_max, w4, b4, scale, shift)
    step = _steps.acquire(bf16)
    out = step.object.infer(array(patches), *map(array, weights), torch.get_num_threads())
    _steps.release(step)
    return torch.from_numpy(out)


class _TrainEmbed(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        patches: Tensor,
        w1: Tensor,
        b1: Tensor,
        w2: Tensor,
        w3_local: Tensor,
        w3_max: Tensor,
        gamma: Tensor,
        beta: Tensor,
        w4: Tensor,
        b4: Tensor,
        eps: float,
        bf16: bool,
        reduce: Reduce,
        needs_grad: bool,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        weights = (w1, b1, w2, w3_local, w3_max, w4, b4)
        step = _steps.acquire(bf16)
        sums = torch.from_numpy(step.object.moments(array(patches), *map(array, weights), torch.get_num_threads()))
        count = torch.full((1,), patches.shape[0] * patches.shape[1], dtype=torch.float64)
        moments = reduce(torch.cat([count, sums.flatten()]))
        n, (mean, square) = moments[0], moments[1:].view(2, -1) / moments[0]
        variance = (square - mean * mean).clamp(min=0)
        rstd = (variance + eps).rsqrt()
        scale = gamma.double() * rstd
        shift = beta.double() - mean * scale
        out = torch.from_numpy(step.object.finish(array(scale.float()), array(shift.float())))
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
        kernel, gradient = ctx.step.object, array(grad)
        sums, w4, b4 = map(torch.from_numpy, kernel.backward_sums(gradient))
        grad_beta, sum_dy_h = sums
        grad_gamma = (sum_dy_h - mean * grad_beta) * rstd  # sum of dy (h - mean) rstd
        total_beta, total_gamma = ctx.reduce(torch.stack([grad_beta, grad_gamma]))  # over all processes
        mean_beta, mean_gamma = total_beta / n, total_gamma / n
        # dh = scale (dy - mean(dy) - (h - mean) rstd mean(dy (h - mean) rstd)) = a dy + b h + c
        a, b = scale, -scale * rstd * mean_gamma
        c = -scale * mean_beta - b * mean
        gradients = kernel.backward(gradient, *(array(x.float()) for x in (a, b, c)))
        w1, b1, w2, w3_local, pooled, grad_max_term = map(torch.from_numpy, gradients)
        _steps.release(ctx.step)
        ctx.step = None
        w3_max = grad_max_term.T @ pooled
        return (
            None, w1, b1, w2, w3_local, w3_max, grad_gamma.float(), grad_beta.float(), w4, b4, None, None,
            None, None,
        )  # fmt: skip


_steps = Pool(native.train_embed)


def release() -> None:
    """Frees the memory that steps keep for the steps after them."""
    _steps.clear()


def array(x: Tensor) -> Any:
    """The same memory as numpy, a copy where it is not contiguous."""
    return x.detach().contiguous().numpy()
