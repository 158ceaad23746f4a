"""The Triton kernels of pa3d.kernels as a backend. triton is imported when the first of them runs."""

from __future__ import annotations

import importlib
import importlib.util
import os
from typing import Any

from pa3d.ops.backends import requires
from pa3d.ops.backends.cuda import gpu_is_visible

DEVICE = "cuda"

Tensor = Any  # torch.Tensor; torch is imported where it is needed


def unavailable_reason() -> str | None:
    """Why these kernels cannot run here, with everything that is missing; None where they can."""
    missing = [] if interpreted() or gpu_is_visible() else ["no NVIDIA GPU is visible"]
    for package, how in (("torch", "pip install 'pa3d[torch]'"), ("triton", "pip install triton")):
        if importlib.util.find_spec(package) is None:
            missing.append(f"{package} is not installed: {how}")
    return "; ".join(missing) or None


def interpreted() -> bool:
    """Whether Triton runs on its interpreter, that is on CPU tensors and only to check results."""
    return os.environ.get("TRITON_INTERPRET") == "1"


def device() -> str:
    return "cpu" if interpreted() else DEVICE


def kernels(name: str) -> Any:
    """A module of pa3d.kernels. Raises ValueError when it cannot be loaded."""
    try:
        return importlib.import_module(f"pa3d.kernels.{name}")
    except ImportError as error:
        raise ValueError(f"the Triton kernels cannot be loaded ({error}); set PA3D_BACKEND=reference") from error


def _too_many_neighbors(*_: Tensor, k: int) -> str | None:
    limit = kernels("knn").MAX_K
    return None if k <= limit else f"it supports at most {limit} neighbours, not {k}"


@requires(_too_many_neighbors)
def knn(queries: Tensor, points: Tensor, k: int) -> tuple[Tensor, Tensor]:
    return kernels("knn").knn(queries, points, k)


def backproject(
    tokens: Tensor, point_of_pixel: Tensor, n_points: int, mode: str = "bicubic", per_view: bool = False
) -> tuple[Tensor, Tensor]:
    return kernels("backproject").backproject(tokens, point_of_pixel, n_points, mode, per_view)


def _attention_unsupported_reason(q: Tensor, k: Tensor, v: Tensor) -> str | None:
    module, (b, h, _, d) = kernels("attention"), q.shape
    if d not in module.HEAD_DIMS:
        return f"it takes heads of {', '.join(map(str, module.HEAD_DIMS))} numbers, not {d}"
    if b * h > module.MAX_HEADS:
        return f"it supports at most {module.MAX_HEADS} heads in a batch, not {b * h}"
    if q.dtype.itemsize > 4:
        return "it takes no float64"
    if any(x.stride(-1) != 1 for x in (q, k, v)):
        return "it takes tensors whose last axis is contiguous"
    return None


@requires(_attention_unsupported_reason)
def patch_attention(q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
    return kernels("attention").attention_forward(q, k, v)


def patch_attention_backward(
    grad: Tensor, q: Tensor, k: Tensor, v: Tensor, out: Tensor, stats: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    return kernels("attention").attention_backward(grad, q, k, v, out, stats)
