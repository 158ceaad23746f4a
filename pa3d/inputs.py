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
        raise InputError(f"up is {up!r}; expected {', '.join(UP_AXES)} or auto")


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


def valid_depth(depth: ArrayLike, max_depth: float | None = None) -> NDArray[np.bool_]:  # (H, W) -> (H, W)
    """Which pixels of a depth image were measured: finite, positive and at most max_depth metres.

    Integers are millimetres, floats are metres, as depth cameras give them.
    """
    metres = _metres(depth)
    with np.errstate(invalid="ignore"):
        return np.isfinite(metres) & (metres > 0) & (metres <= (np.inf if max_depth is None else max_depth))


def from_depth(
    depth: ArrayLike,  # (H, W)
    intrinsics: ArrayLike,  # (3, 3), or fx, fy, cx, cy
    *,
    max_depth: float | None = None,
) -> Shape:
    """The points that a depth camera sees, in metres and in its axes: x right, y down, z forward; so up is "-y".

    depth: distance along the optical axis, integers in millimetres or floats in metres; 0, NaN and infinite values mean
        that nothing was measured.
    intrinsics: the camera matrix in pixels, whose third column is the principal point. The centre of the first pixel is
        (0, 0), as in OpenCV and ROS.
    max_depth: what lies farther away, in metres, is left out.
    The points are those of `valid_depth`, row after row: labels of an image are labels_image[valid] = result.labels.
    Raises InputError when the image or the matrix cannot be used, or fewer than two points are left.
    """
    metres = _metres(depth)
    matrix = np.asarray(intrinsics, np.float64)
    if matrix.shape == (4,):
        fx, fy, cx, cy = matrix
    elif matrix.shape == (3, 3):
        fx, fy, cx, cy = matrix[0, 0], matrix[1, 1], matrix[0, 2], matrix[1, 2]
    else:
        raise InputError(f"intrinsics have shape {matrix.shape}; expected (3, 3), or the four numbers fx, fy, cx, cy")
    if not np.isfinite(matrix).all() or fx <= 0 or fy <= 0:
        raise InputError("intrinsics: expected finite numbers and positive focal lengths, in pixels")
    if matrix.shape == (3, 3) and (matrix[0, 1] or matrix[1, 0] or (matrix[2] != (0, 0, 1)).any()):
        raise InputError("intrinsics: expected [[fx, 0, cx], [0, fy, cy], [0, 0, 1]], without skew")
    valid = valid_depth(depth, max_depth)
    if valid.sum() < 2:
        raise InputError(f"depth: {int(valid.sum())} of {valid.size} pixels were measured; a shape needs an extent")
    rows, columns = np.nonzero(valid)
    z = metres[rows, columns]
    points = np.stack([(columns - cx) / fx * z, (rows - cy) / fy * z, z], axis=1)
    return Shape(points.astype(np.float32), up="-y", name="depth").validate()


def _metres(depth: ArrayLike) -> NDArray[np.float64]:  # (H, W)
    image = np.asarray(depth)
    if image.ndim != 2 or image.dtype.kind not in "fiu":
        raise InputError(f"depth: {image.dtype} of shape {image.shape}; expected numbers of shape (H, W)")
    return image.astype(np.float64) * (1.0 if image.dtype.kind == "f" else 0.001)
