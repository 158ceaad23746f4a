"""Several processes: who this one is, sums over all of them, batch normalisation over the whole global batch.

torch's SyncBatchNorm has no CPU path, so moments are summed over the processes here, and their gradients with them.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from pa3d.errors import InputError


@dataclass(frozen=True)
class World:
    """This process among those that torchrun started. rank 0 alone writes files."""

    rank: int
    size: int
    device: torch.device

    @staticmethod
    def join(device: str) -> World:
        """Meet the other processes, over NCCL on GPUs and gloo on CPUs. device: "auto", "cpu", "cuda", "cuda:1"."""
        size, rank = int(os.environ.get("WORLD_SIZE", 1)), int(os.environ.get("RANK", 0))
        if device == "auto":
            device = "cuda" if torch.cuda.is_available() else "cpu"
        if device == "cuda" and size > 1:
            device = f"cuda:{os.environ.get('LOCAL_RANK', rank)}"
        try:
            chosen = torch.device(device)
            torch.zeros(1, device=chosen)
        except (RuntimeError, AssertionError) as error:
            raise InputError(f"device {device!r} cannot be used ({str(error).splitlines()[0]}); use cpu") from error
        if chosen.type == "cuda":
            torch.cuda.set_device(chosen)
        if size > 1 and not dist.is_initialized():
            dist.init_process_group("nccl" if chosen.type == "cuda" else "gloo")
        return World(rank, size, chosen)

    def share(self, batch: int) -> tuple[int, int]:
        """The places of the global batch that this process makes."""
        if batch % self.size:
            raise InputError(f"optimizer.batch {batch} is not a multiple of the {self.size} processes")
        each = batch // self.size
        return self.rank * each, (self.rank + 1) * each

    def mean(self, value: Tensor) -> Tensor:
        """A number's mean over the processes."""
        if self.size == 1:
            return value
        total = value.clone()
        dist.all_reduce(total)
        return total / self.size

    def gather(self, value: Any) -> list[Any]:
        """Every process's value, in order of rank."""
        if self.size == 1:
            return [value]
        values: list[Any] = [None] * self.size
        dist.all_gather_object(values, value)
        return values

    def leave(self) -> None:
        if self.size > 1 and dist.is_initialized():
            dist.destroy_process_group()


def in_company() -> bool:
    return dist.is_initialized() and dist.get_world_size() > 1


def sum_over_processes(x: Tensor) -> Tensor:
    """The sum over all processes, without a gradient; x itself where there is one."""
    if in_company():
        x = x.contiguous().clone()
        dist.all_reduce(x)
    return x


class BatchNormOverProcesses(torch.autograd.Function):
    """Batch normalisation of rows (R, C), each process with its own, by the moments of all of them.

    With x' = (x - mean) * rstd over all N rows, and sums S over all processes,

        dx = weight * rstd * (dy - S(dy) / N - x' S(dy x') / N)

    The gradients of weight and bias are this process's; DistributedDataParallel averages them.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, eps: float) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Normalised rows in x's dtype; mean, biased variance (C,) and count () of all rows, not differentiable."""
        wide = x.float() if x.dtype in (torch.bfloat16, torch.float16) else x
        variance, mean = torch.var_mean(wide, dim=0, correction=0)
        # In float64, for a variance is the difference of two sums here.
        rows = torch.full((1,), len(x), dtype=torch.float64, device=x.device)
        mean64 = mean.double()
        moments = torch.cat([rows, mean64 * rows, (variance.double() + mean64 * mean64) * rows])
        if in_company():
            dist.all_reduce(moments)
        n, (first, second) = moments[:1], moments[1:].view(2, -1)
        mean64 = first / n
        variance64 = (second / n - mean64 * mean64).clamp(min=0)
        rstd = (variance64 + eps).rsqrt().to(wide.dtype)
        mean = mean64.to(wide.dtype)
        scaled = (wide - mean) * rstd
        ctx.save_for_backward(x, weight, mean, rstd, n)
        ctx.mark_non_differentiable(mean, variance64, n)
        return torch.addcmul(bias, scaled, weight).to(x.dtype), mean, variance64, n

    @staticmethod
    def backward(ctx: Any, grad: Tensor, *_: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        x, weight, mean, rstd, n = ctx.saved_tensors
        wide = grad.to(mean.dtype)
        scaled = (x.to(mean.dtype) - mean) * rstd
        grad_bias, grad_weight = wide.sum(dim=0), (wide * scaled).sum(dim=0)
        sums = torch.stack([grad_bias, grad_weight]).double()
        if in_company():
            dist.all_reduce(sums)
        shift, slope = (sums / n).to(mean.dtype)
        dx = (wide - shift - scaled * slope) * (weight * rstd)
        return dx.to(x.dtype), grad_weight, grad_bias, None


def batch_norm(x: Tensor, norm: nn.BatchNorm1d, offset: Tensor) -> Tensor:  # (R, C), (C,)
    """What norm(x + offset) is on the rows of all processes together, running statistics included.

    norm is in training mode. The offset cancels in the result; only the running mean knows it.
    """
    if in_company():
        y, mean, variance, n = BatchNormOverProcesses.apply(x, norm.weight, norm.bias, norm.eps)
        track(norm, mean + offset, variance, n)
        return y
    assert norm.running_mean is not None and norm.momentum is not None
    with torch.no_grad():  # beforehand, for the operation's gradient holds on to the buffer
        norm.running_mean.add_(offset, alpha=norm.momentum / (1 - norm.momentum))
    return norm(x)


@torch.no_grad()
def track(norm: nn.BatchNorm1d, mean: Tensor, variance: Tensor, count: Tensor | float) -> None:
    """Move the running statistics as torch does: the variance with the correction for the sample's size."""
    assert norm.running_mean is not None and norm.running_var is not None and norm.num_batches_tracked is not None
    momentum = norm.momentum if norm.momentum is not None else 0.1
    norm.num_batches_tracked += 1
    norm.running_mean.lerp_(mean.to(norm.running_mean.dtype), momentum)
    unbiased = variance * (count / (count - 1)) if float(count) > 1 else variance
    norm.running_var.lerp_(unbiased.to(norm.running_var.dtype), momentum)
