"""Checks of the arguments of every operation and kernel.

A message starts with the name of the argument, then says what was expected and what came. The wrong kind or dtype is a
TypeError, everything else a ValueError. Values of tensors on a GPU are not looked at: that would wait for the GPU, and
could not be captured into a graph. The kernels read and write nothing outside their arrays whatever the values are.
"""

from __future__ import annotations

import functools
from typing import Any, Literal

import numpy as np

from pa3d.ops.arrays import Array, array_namespace, dtype_name, is_contiguous, is_cuda, is_tensor


def check(
    name: str,
    x: Array,
    shape: str,
    dtype: Any = "float32",
    sizes: dict[str, int] | None = None,
    *,
    contiguous: Literal["all", "last axis"] | None = "all",
    empty: bool = True,
    device: Any = None,
) -> dict[str, int]:
    """x must be an array such as "B N 3": a letter is an axis of any size, a number one of this size.

    shape: one shape, or several with "|" between them.
    dtype: a name or a torch dtype, or several of them.
    sizes: what letters stand for already; a letter that is new gets its size from x.
    contiguous: "last axis" asks only that the last axis be contiguous, None nothing.
    empty: whether an axis may have no elements.
    device: demands a torch tensor on this device; without it, numpy arrays are fine too.
    Returns the sizes. Raises TypeError for the kind or dtype, ValueError for shape, layout or device.
    """
    if not is_tensor(x) and (device is not None or not isinstance(x, np.ndarray)):
        expected = "a torch tensor" if device is not None else "a numpy array or a torch tensor"
        raise TypeError(f"{name}: expected {expected}, got {type(x).__name__}")
    check_dtype(name, x, dtype)
    if contiguous == "all" and not is_contiguous(x):
        kind = "tensor" if is_tensor(x) else "array"
        raise ValueError(f"{name}: expected a contiguous {kind}; make a contiguous copy first")
    sizes = {} if sizes is None else sizes
    for axes in _alternatives(shape):
        if _bind(axes, x.shape, sizes):
            break
    else:
        expected = " or ".join(_format_shape(axes, sizes) for axes in _alternatives(shape))
        raise ValueError(f"{name}: expected shape {expected}, got {tuple(x.shape)}")
    if not empty and 0 in x.shape:
        raise ValueError(f"{name}: expected no empty axis, got shape {tuple(x.shape)}")
    if contiguous == "last axis" and (x.stride(-1) != 1 if is_tensor(x) else x.strides[-1] != x.itemsize):
        raise ValueError(f"{name}: expected a contiguous last axis; make a contiguous copy first")
    if device is not None and str(device) not in (x.device.type, str(x.device)):
        raise ValueError(f"{name}: expected a tensor on {device}, got one on {x.device}")
    return sizes


def check_points(name: str, x: Array, shape: str = "N 3 | B N 3") -> dict[str, int]:
    """As `check`: float32 coordinates, at least one point, all of them finite."""
    sizes = check(name, x, shape)
    if 0 in x.shape:
        raise ValueError(f"{name}: expected at least one point, got shape {tuple(x.shape)}")
    check_finite(name, x)
    return sizes


def check_dtype(name: str, x: Array, dtype: Any) -> None:
    """dtype: a name or a torch dtype, or several of them."""
    actual = dtype_name(x)
    if actual == dtype:
        return
    expected = [str(d).removeprefix("torch.") for d in (dtype if isinstance(dtype, tuple | list) else (dtype,))]
    if actual not in expected:
        raise TypeError(f"{name}: expected {' or '.join(expected)}, got {actual}; convert it first")


def check_finite(name: str, x: Array) -> None:
    if not is_cuda(x) and not bool(array_namespace(x).isfinite(x).all()):
        raise ValueError(f"{name}: NaN or infinite values; expected finite coordinates")


def check_same_device(**arrays: Array) -> None:
    """All numpy arrays, or all tensors on one device."""
    kinds = {name: (str(x.device) if is_tensor(x) else "numpy") for name, x in arrays.items()}
    if len(set(kinds.values())) > 1:
        got = ", ".join(f"{name} on {kind}" for name, kind in kinds.items())
        raise ValueError(f"expected all arrays of one kind on one device, got {got}")


def check_count(name: str, k: int, low: int, high: int | None, limit_text: str = "") -> None:
    """k must be an integer from low to high. limit_text: what sets the upper limit, for the message."""
    if isinstance(k, bool) or not isinstance(k, int | np.integer):
        raise TypeError(f"{name}: expected an integer, got {type(k).__name__}")
    if k < low or (high is not None and k > high):
        limit = f"at least {low}" if high is None else f"{low}..{high}{limit_text}"
        raise ValueError(f"{name}: expected {limit}, got {k}")


@functools.cache
def _alternatives(shape: str) -> list[list[str | int]]:
    """ "N 3 | B N 3" as [["N", 3], ["B", "N", 3]]."""
    return [[int(a) if a.isdigit() else a for a in axes.split()] for axes in shape.split("|")]


def _bind(axes: list[str | int], shape: tuple[int, ...], sizes: dict[str, int]) -> bool:
    """Whether the axes fit; letters that are new are added to the sizes then."""
    if len(axes) != len(shape):
        return False
    new_sizes = {}
    for axis, n in zip(axes, shape, strict=True):
        if (sizes.get(axis, n) if isinstance(axis, str) else axis) != n:
            return False
        if isinstance(axis, str):
            new_sizes[axis] = n
    sizes.update(new_sizes)
    return True


def _format_shape(axes: list[str | int], sizes: dict[str, int]) -> str:
    known = [str(axis if isinstance(axis, int) else sizes.get(axis, axis)) for axis in axes]
    return f"({', '.join(known)}{',' if len(known) == 1 else ''})"
