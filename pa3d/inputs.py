"""Checks the paths, shapes and arrays that callers pass, and converts them to shapes and points."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pa3d.errors import InputError
from pa3d.frames import UP_AXES
from pa3d.shape import Shape

NAN = ("skip", "error")  # what to do with points that have NaN or infinite coordinates


def check_up(up: str) -> None:
    """Raise InputError unless up is an axis or "auto"."""
    if up != "auto" and up not in UP_AXES:
        raise InputError(f"up is {up!r}; expected x, y, z or auto")


def check_nan(nan: str) -> None:
    """Raise InputError unless nan is "skip" or "error"."""
    if nan not in NAN:
        raise InputError(f"nan is {nan!r}; expected {' or '.join(NAN)}")


def as_shape(source: str | os.PathLike[str] | Shape | ArrayLike, up: str | None = None, nan: str = "error") -> Shape:
    """A validated Shape from a file, a Shape, an array (N, 3), or a mesh or cloud of trimesh or open3d.

    up replaces its up axis. nan: "error", or "skip" to accept clouds with NaN or infinite coordinates.
    """
    if up is not None:
        check_up(up)
    check_nan(nan)
    if isinstance(source, str | os.PathLike):
        from pa3d.io import load

        return load(source, up=up, nan=nan)
    if isinstance(source, Shape):
        shape = source.validate(nan)
        if up is not None and up != shape.up:
            shape = replace(shape, up=up)
        return shape
    return Shape(source, up=up or "y", name="points").validate(nan)  # type: ignore[arg-type]


def as_points(points: ArrayLike, centered: bool = True) -> NDArray[np.float32]:  # (N, 3)
    """Points as float32, contiguous, finite, and not all equal. Raises InputError.

    centered: points far from zero are returned relative to their middle, because float32 would lose precision.
    """
    cloud = Shape(points, name="points").validate()  # type: ignore[arg-type]
    if centered or not cloud.origin.any():
        return cloud.points
    return (cloud.points + cloud.origin).astype(np.float32)


def is_list_of_clouds(points: Any) -> bool:
    """Whether this is a list of (N, 3) arrays or nested lists, and not the rows of one cloud."""
    try:
        return isinstance(points, list | tuple) and len(points) > 0 and np.ndim(points[0]) >= 2
    except ValueError:  # rows of different lengths
        return False
