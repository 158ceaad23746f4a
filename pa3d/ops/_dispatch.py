"""The one seam between operations and their backends, and the checks that all of them share.

numpy arrays and torch CPU tensors go to the C++ kernels; tensors on another device go to the plain tensor code, on that
device. PA3D_BACKEND forces one: `reference` or `native`; one that cannot run on what it is given raises.
"""

from __future__ import annotations

import os
import sys
from typing import Any

import numpy as np

BACKENDS = ("reference", "native", "cuda", "triton")

Array = Any  # numpy.ndarray or torch.Tensor; torch is never imported here


def is_tensor(x: Array) -> bool:
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(x, torch.Tensor)


def namespace(x: Array) -> Any:
    """numpy or torch, whichever x belongs to: references are written against what both offer."""
    return sys.modules["torch"] if is_tensor(x) else np


def is_traced(*arrays: Array) -> bool:
    """Whether torch.compile or torch.export is recording: arrays then have no values to check or hand on."""
    torch = sys.modules.get("torch")
    if torch is None:
        return False
    tensors = [x for x in arrays if isinstance(x, torch.Tensor)]
    plain = (torch.Tensor, torch.nn.Parameter)
    return bool(tensors) and (torch.compiler.is_dynamo_compiling() or any(type(x) not in plain for x in tensors))


def choose(*arrays: Array) -> str:
    """The backend for these arrays: `native` or `reference`."""
    on_cpu = all(not is_tensor(x) or x.device.type == "cpu" for x in arrays)
    forced = os.environ.get("PA3D_BACKEND", "")
    if not forced:
        return "native" if on_cpu else "reference"
    if forced not in BACKENDS:
        raise ValueError(f"PA3D_BACKEND is {forced!r}; expected one of {', '.join(BACKENDS)}")
    if forced == "native" and not on_cpu:
        raise ValueError("PA3D_BACKEND=native takes arrays on the CPU only; move them there or unset it")
    if forced in ("cuda", "triton"):
        raise ValueError(f"PA3D_BACKEND={forced}: this build has no {forced} kernels; unset it or use native")
    return forced


def check_points(name: str, x: Array, *, batched: bool | None = None) -> int:
    """x must be (N, 3) or (B, N, 3) float32, contiguous, finite, with N >= 1. Returns its rank.

    batched: True or False demands that rank, None takes both. Raises TypeError for the kind or dtype, ValueError else.
    """
    check_floats(name, x)
    expected = {None: "(N, 3) or (B, N, 3)", True: "(B, N, 3)", False: "(N, 3)"}[batched]
    ranks = {None: (2, 3), True: (3,), False: (2,)}[batched]
    if x.ndim not in ranks or x.shape[-1] != 3:
        raise ValueError(f"{name}: expected shape {expected}, got {tuple(x.shape)}")
    if x.shape[-2] < 1 or x.shape[0] < 1:
        raise ValueError(f"{name}: expected at least one point, got shape {tuple(x.shape)}")
    check_finite(name, x)
    return int(x.ndim)


def check_floats(name: str, x: Array) -> None:
    if not isinstance(x, np.ndarray) and not is_tensor(x):
        raise TypeError(f"{name}: expected a numpy array or a torch tensor, got {type(x).__name__}")
    if str(x.dtype).removeprefix("torch.") != "float32":
        raise TypeError(f"{name}: expected float32, got {x.dtype}; convert it first")
    contiguous = x.is_contiguous() if is_tensor(x) else x.flags.c_contiguous
    if not contiguous:
        raise ValueError(f"{name}: expected a contiguous array; make a contiguous copy first")


def check_finite(name: str, x: Array) -> None:
    xp = namespace(x)
    if not bool(xp.isfinite(x).all()):
        raise ValueError(f"{name}: NaN or infinite values; expected finite coordinates")


def check_alike(**arrays: Array) -> None:
    """All numpy, or all tensors on one device."""
    kinds = {name: (str(x.device) if is_tensor(x) else "numpy") for name, x in arrays.items()}
    if len(set(kinds.values())) > 1:
        got = ", ".join(f"{name} on {kind}" for name, kind in kinds.items())
        raise ValueError(f"expected all arrays of one kind on one device, got {got}")


def check_count(name: str, k: int, low: int, high: int | None, of: str = "") -> None:
    if isinstance(k, bool) or not isinstance(k, int | np.integer):
        raise TypeError(f"{name}: expected an integer, got {type(k).__name__}")
    if k < low or (high is not None and k > high):
        limit = f"at least {low}" if high is None else f"{low}..{high}{of}"
        raise ValueError(f"{name}: expected {limit}, got {k}")


def to_numpy(x: Array) -> np.ndarray:
    """The same memory as numpy."""
    return x.detach().numpy() if is_tensor(x) else x


def like(x: np.ndarray, other: Array) -> Array:
    """x as the kind of `other`, sharing memory."""
    return sys.modules["torch"].from_numpy(x) if is_tensor(other) else x
