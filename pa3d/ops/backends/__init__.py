"""One module per backend, all with the same names: the function `knn` of each module is its kernel of that operation.

    reference   plain array code; the modules of the operations add theirs
    native      the C++ kernels, on the CPU
    cuda        csrc/cuda
    triton      pa3d.kernels

Besides its kernels a module has `DEVICE`, the type of device it is for, and

    unavailable_reason()   why it cannot run on this machine for any arguments, or None
    device()               the type of device that tensors must be on when PA3D_BACKEND forces it

A module that lacks a function has no kernel for that operation: this is the only table there is.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

Kernel = TypeVar("Kernel", bound=Callable[..., Any])


def requires(unsupported_reason: Callable[..., str | None]) -> Callable[[Kernel], Kernel]:
    """Attaches to a kernel the function that says which arguments it does not support.

    unsupported_reason: called by `choose` with the arrays and options of the call. Returns why the kernel does not
        support them, such as "it supports at most 1024 neighbours, not 2000"; None if it supports them.
    """

    def mark(kernel: Kernel) -> Kernel:
        kernel.unsupported_reason = unsupported_reason  # type: ignore[attr-defined]
        return kernel

    return mark
