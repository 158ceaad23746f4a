"""numpy arrays and torch tensors treated alike: what an array is, where it is, and how to turn one kind into the other.

torch is never imported here: whoever passes a tensor has imported it.
"""

from __future__ import annotations

import functools
import sys
from typing import Any

import numpy as np

Array = Any  # numpy.ndarray or torch.Tensor


def is_tensor(x: Array) -> bool:
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(x, torch.Tensor)


def is_cuda(x: Array) -> bool:
    return is_tensor(x) and x.device.type == "cuda"


def array_namespace(x: Array) -> Any:
    """numpy or torch, whichever x belongs to: references are written against what both offer."""
    return sys.modules["torch"] if is_tensor(x) else np


def is_traced(*arrays: Array) -> bool:
    """Whether torch.compile or torch.export is recording: the arrays then have no values to check or to pass on."""
    torch = sys.modules.get("torch")
    if torch is None:
        return False
    tensors = [x for x in arrays if isinstance(x, torch.Tensor)]
    plain = (torch.Tensor, torch.nn.Parameter)
    return bool(tensors) and (torch.compiler.is_dynamo_compiling() or any(type(x) not in plain for x in tensors))


def dtype_name(x: Array) -> str:
    """The dtype of an array without the name of its library, such as "float32"."""
    return _name(x.dtype)


@functools.cache  # numpy takes microseconds to name a dtype
def _name(dtype: Any) -> str:
    return str(dtype).removeprefix("torch.")


def is_contiguous(x: Array) -> bool:
    return x.is_contiguous() if is_tensor(x) else x.flags.c_contiguous


def device_type(x: Array) -> str:
    """The type of device that holds x, such as "cuda"; numpy arrays are on the CPU."""
    return x.device.type if is_tensor(x) else "cpu"


def to_numpy(x: Array) -> np.ndarray:
    """x, on the CPU, as numpy; it shares its memory."""
    return x.detach().numpy() if is_tensor(x) else x


def from_numpy(x: np.ndarray, like: Array) -> Array:
    """x as the same kind of array as `like`; it shares its memory."""
    return sys.modules["torch"].from_numpy(x) if is_tensor(like) else x
