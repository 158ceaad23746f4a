"""Several processes: which one this is, collectives, and batch normalization over the global batch.

torch's SyncBatchNorm does not run on CPUs, so the moments and their gradients are summed over the processes here.
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
class DistributedContext:
    """Rank, number of processes and device of this process, as torchrun set them. Only rank 0 writes files."""

    rank: int
    size: int
    device: torch.device

    @staticmethod
    def init(device: str) -> DistributedContext:
        """Join the process group: NCCL on GPUs, gloo on CPUs.

        device: "auto", "cpu", "cuda" or a torch device such as "cuda:1". Raises InputError when it cannot be used.
        """
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
        return DistributedContext(rank, size, chosen)

    def close(self) -> None:
        if self.size > 1 and dist.is_initialized():
            dist.destroy_process_group()

    def local_range(self, batch_size: int) -> tuple[int, int]:
        """Begin and end of the range of the global batch that this process builds.

        Raises InputError when the batch size is not a multiple of the number of processes.
        """
        if batch_size % self.size:
            raise InputError(
                f"optimizer.batch {batch_size} is not a multiple of the {self.size} processes; set it to a multiple"
            )
        local_size = batch_size // self.size
        return self.rank * local_size, (self.rank + 1) * local_size

    def all_reduce_mean(self, value: Tensor) -> Tensor:
        """The mean over the processes."""
        if self.size == 1:
            return value
        total = value.clone()
        dist.all_reduce(total)
        return total / self.size

    def all_gather(self, value: Any) -> list[Any]:
        """Every process's value, in order of rank."""
        if self.size == 1:
            return [value]
        values: list[Any] = [None] * self.size
        dist.all_gather_object(values, value)
        return values


def is_distributed() -> bool:
    """Whether there are several processes."""
    return dist.is_initialized() and dist.get_world_size() > 1


def all_reduce_sum(x: Tensor) -> Tensor:
    """The sum over all processes, without a gradient; x itself if there is one process."""
    if is_distributed():
        x = x.contiguous().clone()
        dist.all_reduce(x)
    return x


class SyncBatchNormFunction(torch.autograd.Function):
    """Batch normalization of rows (R, C) by the moments of the rows of all processes.

    With x' = (x - mean) * rstd over all N rows, and S the sum over all rows of all processes,

        dx = weight * rstd * (dy - S(dy) / N - x' S(dy x') / N)

    The gradients of weight and bias are those of this process; DistributedDataParallel averages them.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, eps: float) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """The normalized rows in x's dtype; mean (C,), biased variance (C,) and number (1,) of all rows.

        Only the first is differentiable.
        """
        x_float = x.float() if x.dtype in (torch.bfloat16, torch.float16) else x
        variance, mean = torch.var_mean(x_float, dim=0, correction=0)
        # In float64, because a variance is the difference of two sums here.
        rows = torch.full((1,), len(x), dtype=torch.float64, device=x.device)
        mean64 = mean.double()
        moments = torch.cat([rows, mean64 * rows, (variance.double() + mean64 * mean64) * rows])
        if is_distributed():
            dist.all_reduce(moments)
        n, (total, total_sq) = moments[:1], moments[1:].view(2, -1)
        mean64 = total / n
        variance64 = (total_sq / n - mean64 * mean64).clamp(min=0)
        rstd = (variance64 + eps).rsqrt().to(x_float.dtype)
        mean = mean64.to(x_float.dtype)
        x_hat = (x_float - mean) * rstd
        ctx.save_for_backward(x, weight, mean, rstd, n)
        ctx.mark_non_differentiable(mean, variance64, n)
        return torch.addcmul(bias, x_hat, weight).to(x.dtype), mean, variance64, n

    @staticmethod
    def backward(ctx: Any, grad: Tensor, *_: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        x, weight, mean, rstd, n = ctx.saved_tensors
        dy = grad.to(mean.dtype)
        x_hat = (x.to(mean.dtype) - mean) * rstd
        grad_bias, grad_weight = dy.sum(dim=0), (dy * x_hat).sum(dim=0)
        sums = torch.stack([grad_bias, grad_weight]).double()
        if is_distributed():
            dist.all_reduce(sums)
        mean_dy, mean_dy_x_hat = (sums / n).to(mean.dtype)
        dx = (dy - mean_dy - x_hat * mean_dy_x_hat) * (weight * rstd)
        return dx.to(x.dtype), grad_weight, grad_bias, None


def sync_batch_norm(x: Tensor, norm: nn.BatchNorm1d, offset: Tensor) -> Tensor:  # (R, C), (C,) -> (R, C)
    """norm(x + offset) over the rows of all processes together; updates the running statistics.

    norm must be in training mode. The offset cancels in the result; only the running mean depends on it.
    """
    if is_distributed():
        y, mean, variance, n = SyncBatchNormFunction.apply(x, norm.weight, norm.bias, norm.eps)
        update_running_stats(norm, mean + offset, variance, n)
        return y
    assert norm.running_mean is not None and norm.momentum is not None
    with torch.no_grad():  # before the operation, whose gradient holds a reference to the buffer
        norm.running_mean.add_(offset, alpha=norm.momentum / (1 - norm.momentum))
    return norm(x)


@torch.no_grad()
def update_running_stats(norm: nn.BatchNorm1d, mean: Tensor, variance: Tensor, count: Tensor | float) -> None:
    """Update the running statistics as torch does. mean, biased variance (C,) of `count` rows."""
    assert norm.running_mean is not None and norm.running_var is not None and norm.num_batches_tracked is not None
    momentum = norm.momentum if norm.momentum is not None else 0.1
    norm.num_batches_tracked += 1
    norm.running_mean.lerp_(mean.to(norm.running_mean.dtype), momentum)
    unbiased = variance * (count / (count - 1)) if float(count) > 1 else variance
    norm.running_var.lerp_(unbiased.to(norm.running_var.dtype), momentum)
