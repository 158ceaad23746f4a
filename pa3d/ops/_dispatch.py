"""Chooses the backend of a call.

numpy arrays and torch tensors on the CPU go to the C++ kernels. CUDA tensors go to csrc/cuda or to the Triton kernels,
on their device and its current stream. Where those cannot run, `choose` returns the reference. For tensors that are not
on the CPU, a warning says so once. PA3D_BACKEND forces a backend; one that cannot run raises and says why.

Two operations are special. `patch_attention` has no C++ kernel, and tensors that its Triton kernel cannot take go to
torch's own attention, not to the reference. The reference of `rasterize` is numpy code: it copies tensors to the host
and back.
"""

from __future__ import annotations

import functools
import os
import warnings
from types import ModuleType
from typing import Any

from pa3d.ops.arrays import Array, device_type, is_tensor
from pa3d.ops.backends import cuda, native, reference, triton

# In the order of preference: native, then cuda, then triton; the reference is the fallback. CUDA comes before Triton
# because it is compiled when pa3d is installed, while Triton compiles and times its configurations in the first call of
# every size.
BACKENDS: dict[str, ModuleType] = {"reference": reference, "native": native, "cuda": cuda, "triton": triton}


def choose(op: str, *arrays: Array, **options: Any) -> Any:
    """The module of pa3d.ops.backends whose function `op` takes these arrays.

    options: other arguments on which it depends whether a kernel supports the call, such as k. They are passed to the
        function that `requires` (pa3d.ops.backends) attached to the kernel.
    Raises ValueError for a forced backend that cannot run, with the reason.
    """
    forced = os.environ.get("PA3D_BACKEND", "")
    if forced:
        return _forced(forced, op, arrays, options)
    device, *others = {device_type(x) for x in arrays}
    reasons = {}
    for name, backend in _with_kernel(op).items():
        if device == backend.DEVICE and not others:
            reason = backend.unavailable_reason() or _unsupported_reason(backend, op, arrays, options)
            if reason is None:
                return backend
            reasons[name] = reason
    if device != "cpu" or others:
        _warn_once(op, " and ".join(sorted([device, *others])), reasons)
    return reference


def unavailable_reason(name: str) -> str | None:
    """Why a backend cannot run on this machine for any arguments, such as a missing GPU; None if it can run."""
    return BACKENDS[name].unavailable_reason()


def _forced(name: str, op: str, arrays: tuple[Array, ...], options: dict[str, Any]) -> ModuleType:
    if name not in BACKENDS:
        raise ValueError(f"PA3D_BACKEND is {name!r}; expected one of {', '.join(BACKENDS)}")
    backend, kernels = BACKENDS[name], _with_kernel(op)
    if name == "reference":
        return backend
    if name not in kernels:
        others = ", ".join(("reference", *kernels))
        raise ValueError(f"PA3D_BACKEND={name}: {op} has no {name} kernel; unset it or take one of {others}")
    reason = backend.unavailable_reason()
    if reason is not None:
        raise ValueError(f"PA3D_BACKEND={name} cannot run here: {reason}; unset it or take another backend")
    device = backend.device()
    if any(device_type(x) != device or (name != "native" and not is_tensor(x)) for x in arrays):
        expected = "arrays on the CPU" if name == "native" else f"torch tensors on {device}"
        got = ", ".join(sorted({f"a tensor on {x.device}" if is_tensor(x) else "a numpy array" for x in arrays}))
        raise ValueError(f"PA3D_BACKEND={name} takes {expected} only, got {got}; move them there or unset it")
    reason = _unsupported_reason(backend, op, arrays, options)
    if reason is not None:
        raise ValueError(f"PA3D_BACKEND={name} cannot run {op}: {reason}; unset it")
    return backend


@functools.cache
def _with_kernel(op: str) -> dict[str, ModuleType]:
    """The backends that have a kernel of the operation besides its reference."""
    return {name: backend for name, backend in BACKENDS.items() if backend is not reference and hasattr(backend, op)}


def _unsupported_reason(backend: ModuleType, op: str, arrays: tuple[Array, ...], options: dict[str, Any]) -> str | None:
    """Why a kernel does not support these arguments although its backend can run here; None if it supports them."""
    unsupported_reason = getattr(getattr(backend, op), "unsupported_reason", None)
    return unsupported_reason(*arrays, **options) if unsupported_reason else None


_warned: set[str] = set()


def _warn_once(op: str, where: str, reasons: dict[str, str]) -> None:
    """Says once per operation why no kernel runs. Operations that have only a C++ kernel give no warning."""
    if op in _warned or _with_kernel(op).keys() <= {"native"}:
        return
    _warned.add(op)
    why = "; ".join(f"{name}: {reason}" for name, reason in reasons.items()) or "there is none for this device"
    message = f"{op}: no kernel of pa3d can take this call on {where} ({why}); a slower fallback runs instead"
    warnings.warn(message, RuntimeWarning, stacklevel=4)
