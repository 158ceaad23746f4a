"""The Triton kernels (pa3d.kernels) as the operations find them: whether they can run, and their modules."""

from __future__ import annotations

import importlib
import importlib.util
import os
from typing import Any

from pa3d.ops import _cuda

MAX_NEIGHBORS = 128  # of kernels/knn.py
HEAD_WIDTHS = (16, 32, 64)  # of kernels/attention.py
MAX_HEADS = 65535  # shapes times heads, of the same


def unavailable() -> str | None:
    """Why these kernels cannot run here, everything that is missing, in words; None where they can."""
    missing = [] if interpreted() or _cuda.gpu_is_visible() else ["no NVIDIA GPU is visible"]
    for package, how in (("torch", "pip install 'pa3d[torch]'"), ("triton", "pip install triton")):
        if importlib.util.find_spec(package) is None:
            missing.append(f"{package} is not installed: {how}")
    return "; ".join(missing) or None


def interpreted() -> bool:
    """Whether Triton runs on its interpreter, that is on CPU tensors and to check, never to be fast."""
    return os.environ.get("TRITON_INTERPRET") == "1"


def device() -> str:
    """The type of device tensors must be on."""
    return "cpu" if interpreted() else "cuda"


def refused_neighbors(k: int) -> dict[str, str]:
    """For `choose`: empty where k neighbours can be found."""
    return {} if k <= MAX_NEIGHBORS else {"triton": f"it finds at most {MAX_NEIGHBORS} neighbours, not {k}"}


def kernels(name: str) -> Any:
    """A module of pa3d.kernels. Raises ValueError when it cannot be loaded."""
    try:
        return importlib.import_module(f"pa3d.kernels.{name}")
    except ImportError as error:
        raise ValueError(f"the Triton kernels cannot be loaded ({error}); set PA3D_BACKEND=reference") from error
