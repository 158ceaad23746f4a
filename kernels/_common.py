"""Shared by the kernels: argument checks, tuning over a fixed list, arithmetic that is right in the interpreter too."""

# mypy: allow-untyped-defs
from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from pa3d.ops import checks

INTERPRETED = tl.constexpr(bool(triton.knobs.runtime.interpret))

FLOATS = (torch.float32, torch.bfloat16, torch.float16)
INTEGERS = (torch.int64, torch.int32)

# pa3d.ops.checks.check for tensors on the device that the kernels run on, without empty axes.
check = functools.partial(checks.check, device="cpu" if INTERPRETED.value else "cuda", empty=False)


@dataclass(frozen=True)
class Variant:
    """One kernel as it is compiled for a typical call; `report` compiles each of its configurations.

    signature: argument name -> Triton type
    constexprs: those that the caller fixes
    configs: those that tuning chooses from
    typical: sizes of such a call; some constexprs are derived from them, and multiples of 16 are compiled as such
    fp_fusion: whether a product and a sum may become one instruction
    """

    name: str
    kernel: Any
    signature: dict[str, str]
    constexprs: dict[str, Any]
    configs: list[triton.Config]
    typical: dict[str, int] = field(default_factory=dict)
    fp_fusion: bool = True


def tuned(
    configs_32: list[triton.Config], configs_16: list[triton.Config] | None = None, *, key: list[str], typed: str = ""
) -> Callable[[Any], Any]:
    """triton.autotune over a fixed list. The interpreter, which cannot measure time, takes the first configuration.

    configs_16: the configurations for calls whose argument named `typed` has a 16-bit type; all other calls take
        configs_32.
    """

    def prune(configs: list[triton.Config], args: dict[str, Any], **_: Any) -> list[triton.Config]:
        return configs_16 if configs_16 and args[typed].element_size() == 2 else configs_32

    if INTERPRETED.value:
        return triton.autotune(configs_32[:1], key=key)
    all_configs = configs_32 + [c for c in configs_16 or [] if c not in configs_32]
    return triton.autotune(all_configs, key=key, prune_configs_by={"early_config_prune": prune})


def refuse_interpreter() -> None:
    """For everything that measures time: raises RuntimeError if the kernels would run on the interpreter."""
    if INTERPRETED.value:
        raise RuntimeError("TRITON_INTERPRET is set: times on Triton's interpreter mean nothing; unset it")


def check_inference(**tensors: Tensor | None) -> None:
    """These kernels have no backward: a tensor that requires a gradient is an error, not silently a constant."""
    for name, x in tensors.items():
        if x is not None and x.requires_grad and torch.is_grad_enabled():
            raise ValueError(f"{name}: requires a gradient, but this kernel is for inference; use torch.no_grad()")


def on_device(x: Tensor) -> Any:
    """Makes launches go to the device of x instead of the current one."""
    return torch.cuda.device(x.device) if x.is_cuda else torch.autograd.profiler.record_function("interpreted")


def power_of_two(n: int, low: int = 1) -> int:
    return max(low, triton.next_power_of_2(n))


def triton_type(dtype: torch.dtype) -> str:
    return {torch.float32: "fp32", torch.bfloat16: "bf16", torch.float16: "fp16"}[dtype]


@triton.jit
def dot(a, b):
    """a @ b in float32. float32 operands are never rounded to TF32.

    The interpreter stores bfloat16 as integers and would multiply those. Converting to float32 first gives the sums of
    the hardware.
    """
    if INTERPRETED:
        a = a.to(tl.float32)
        b = b.to(tl.float32)
    return tl.dot(a, b, input_precision="ieee")


@triton.jit
def narrow(x, dtype: tl.constexpr):
    """float32 to dtype, rounded to nearest even; the interpreter alone would truncate to bfloat16."""
    if INTERPRETED and dtype == tl.bfloat16:
        bits = x.to(tl.int32, bitcast=True)
        bits = (bits + 0x7FFF + ((bits >> 16) & 1)) & -65536
        x = bits.to(tl.float32, bitcast=True)
    return x.to(dtype)
