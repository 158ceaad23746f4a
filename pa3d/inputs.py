"""What callers pass in: paths, shapes and arrays, checked and turned into shapes and points."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pa3d.errors import InputError
from pa3d.frames import UP_AXES
from pa3d.shape import Shape


def check_up(up: str) -> None:
    """Raise InputError unless up is an axis or "auto"."""
    if up != "auto" and up not in UP_AXES:
        raise InputError(f"up is {up!r}; expected x, y, z or auto")


def as_shape(source: str | Path | Shape | ArrayLike, up: str | None = None) -> Shape:
    """A validated Shape from a file, a Shape or an array (N, 3). up replaces its up axis."""
    if up is not None:
        check_up(up)
    if isinstance(source, str | Path):
        from pa3d.io import load

        return load(source, up=up)
    if isinstance(source, Shape):
        shape = source.validate()
        if up is not None and up != shape.up:
            shape = replace(shape, up=up)
        return shape
    return Shape(as_points(source), up=up or "y", name="points").validate()


def as_points(points: ArrayLike) -> NDArray[np.float32]:  # (N, 3)
    """Points as float32, contiguous, finite, and not all equal. Raises InputError."""
    try:
        with np.errstate(over="ignore"):  # a number too large for float32 becomes infinite, which validate refuses
            cloud = np.ascontiguousarray(points, dtype=np.float32)
    except (TypeError, ValueError) as error:
        raise InputError(f"points: not numbers ({error}); expected an array of shape (N, 3)") from error
    return Shape(cloud, name="points").validate().points
