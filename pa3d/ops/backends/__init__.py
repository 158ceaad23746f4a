"""One module per backend, all with the same names: the function `knn` of each module is its kernel of that operation.

    reference   plain array code; the modules of the operations add theirs
    native      the C++ kernels, on the CPU
    cuda        csrc/cuda
    triton      pa3d.kernels

Besides its kernels a module has `DEVICE`, the type of device it is for, and

    unavailable_reason()   why it cannot run on this machine, or None
    device()        the type of device that tensors must be on when PA3D_BACKEND forces it

A module that lacks a function has no kernel for that operation: this is the only table there is.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

Kernel = TypeVar("Kernel", bound=Callable[..., Any])


def requires(unsupported_reason: Callable[..., str | None]) -> Callable[[Kernel], Kernel]:
    """Marks a kernel that does not take every call.

    unsupported_reason: gets the arguments of `choose` besides the name; returns why the kernel cannot take them, or
        None.
    """

    def mark(kernel: Kernel) -> Kernel:
        kernel.unsupported_reason = unsupported_reason  # type: ignore[attr-defined]
        return kernel

    return mark
