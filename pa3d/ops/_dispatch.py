"""The one seam between operations and their backends, and the checks that all of them share.

numpy arrays and torch CPU tensors go to the C++ kernels, CUDA tensors to csrc/cuda or to the Triton kernels, on their
device and its current stream. Where those are not there, and for tensors elsewhere, the plain tensor code runs, on the
device of the tensors. PA3D_BACKEND forces one; one that cannot run raises and says why.

Values of CUDA tensors are not looked at: a check for NaN would wait for the GPU and could not be captured into a graph.
The kernels read and write nothing outside their arrays whatever the values are.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from typing import Any

import numpy as np

BACKENDS = ("reference", "native", "cuda", "triton")

# Kernels beside the plain reference, the preferred one first. CUDA before Triton: it is compiled when pa3d is
# installed, while Triton compiles and times its configurations in the first call of every size.
KERNELS = {
    "farthest_point_sample": ("native", "cuda"),
    "sample_and_group": ("native", "cuda"),
    "knn": ("native", "cuda", "triton"),
    "interpolate": ("native", "cuda"),
    "spread": ("native",),
    "rasterize": ("native", "cuda"),
    "backproject": ("native", "cuda", "triton"),
    "patch_attention": ("triton",),
    "train_embed": ("native",),
    "train_block": ("native",),
}

Array = Any  # numpy.ndarray or torch.Tensor; torch is never imported here


def is_tensor(x: Array) -> bool:
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(x, torch.Tensor)


def on_gpu(x: Array) -> bool:
    return is_tensor(x) and x.device.type == "cuda"


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


def choose(*arrays: Array, op: str = "", refused: Mapping[str, str] | None = None) -> str:
    """The backend for these arrays, one of BACKENDS.

    op: a row of KERNELS; without one, an operation with a native kernel alone. refused: backend -> why it cannot take
    this call though it has a kernel. Raises ValueError for a forced backend that cannot run, with the reason.
    """
    kernels, refused = KERNELS.get(op, ("native",)), refused or {}
    forced = os.environ.get("PA3D_BACKEND", "")
    if not forced:
        fitting = ("native",) if _on(arrays, "cpu") else ("cuda", "triton") if _on(arrays, "cuda") else ()
        able = (k for k in kernels if k in fitting and k not in refused and unavailable(k) is None)
        return next(able, "reference")
    if forced not in BACKENDS:
        raise ValueError(f"PA3D_BACKEND is {forced!r}; expected one of {', '.join(BACKENDS)}")
    if forced == "reference":
        return forced
    if forced not in kernels:
        what, others = op or "this operation", ", ".join(("reference", *kernels))
        raise ValueError(f"PA3D_BACKEND={forced}: {what} has no {forced} kernel; unset it or take one of {others}")
    reason = unavailable(forced)
    if reason is not None:
        raise ValueError(f"PA3D_BACKEND={forced} cannot run here: {reason}; unset it or take another backend")
    device = device_of(forced)
    if not _on(arrays, device) or (forced != "native" and not all(map(is_tensor, arrays))):
        expected = "arrays on the CPU" if forced == "native" else f"torch tensors on {device}"
        got = ", ".join(sorted({place(x) for x in arrays}))
        raise ValueError(f"PA3D_BACKEND={forced} takes {expected} only, got {got}; move them there or unset it")
    if forced in refused:
        raise ValueError(f"PA3D_BACKEND={forced} cannot run {op}: {refused[forced]}; unset it")
    return forced


def unavailable(backend: str) -> str | None:
    """Why a backend cannot run on this machine whatever it is given, or None."""
    if backend == "cuda":
        from pa3d.ops import _cuda

        return _cuda.unavailable()
    if backend == "triton":
        from pa3d.ops import _triton

        return _triton.unavailable()
    return None


def device_of(backend: str) -> str:
    """The type of device whose arrays a backend takes."""
    if backend == "cuda":
        from pa3d.ops import _cuda

        return _cuda.DEVICE
    if backend == "triton":
        from pa3d.ops import _triton

        return _triton.device()
    return "cpu"


def place(x: Array) -> str:
    """Where an array is, in words."""
    return f"a tensor on {x.device}" if is_tensor(x) else "a numpy array"


def _on(arrays: tuple[Array, ...], device: str) -> bool:
    """Whether all are tensors on this type of device; numpy arrays are on the CPU."""
    return all(x.device.type == device if is_tensor(x) else device == "cpu" for x in arrays)


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
    if on_gpu(x):  # asking would wait for it
        return
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
