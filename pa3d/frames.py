"""Coordinate frames: which axis of a shape points up, the model's axes, and the unit sphere."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pa3d import _C
from pa3d.errors import InputError

UP_AXES = ("x", "y", "z", "-x", "-y", "-z")

# For each up axis, the columns of a shape's points in the order of the model's axes; ~i is minus column i. The official
# code swaps y and z of its y-up data; z-up data is in the model's axes already. A shape whose up axis is negative is
# first turned by half a turn: about x, or about z for -x.
TO_MODEL_AXES: dict[str, tuple[int, int, int]] = {
    **{"x": (1, 2, 0), "y": (0, 2, 1), "z": (0, 1, 2)},
    **{"-x": (~1, 2, ~0), "-y": (0, ~2, ~1), "-z": (0, ~1, ~2)},
}


def normalization(points: NDArray[np.float32]) -> tuple[NDArray[np.float64], float]:
    """Mean (3,) and largest distance from it, in float64.

    For points that are normalised already, up to rounding, it returns (0, 0, 0) and 1, so that `apply_normalization`
    does not change them. Raises InputError when all points are equal.
    """
    center, radius = _C.normalization(np.ascontiguousarray(points))
    if radius == 0:
        raise InputError("all sampled points are equal; a shape needs an extent")
    return center, radius


def box_normalization(points: NDArray[np.float32], largest: float = 0.75) -> tuple[NDArray[np.float64], float]:
    """Mean (3,) and divisor that leave no coordinate larger than `largest`: Find3D's frame (arXiv 2411.13550), in which
    the published weights of PatchAlign3D were trained too.

    Raises InputError when all points are equal.
    """
    center = points.mean(axis=0, dtype=np.float64)
    radius = float(np.abs(points - center).max()) / largest
    if radius == 0:
        raise InputError("all sampled points are equal; a shape needs an extent")
    return center, radius


def apply_normalization(
    points: NDArray[np.float32],  # (N, 3)
    center: NDArray[np.float64],  # (3,)
    radius: float,
    axes: tuple[int, int, int] = (0, 1, 2),
    threads: int = 0,
) -> NDArray[np.float32]:  # (N, 3)
    """(points - center) / radius in float64, then the columns in the order of `axes`; ~i is minus column i.

    threads: at most so many; 0 takes OMP_NUM_THREADS, or the processors of this process.
    """
    return _C.normalize(np.ascontiguousarray(points), center, radius, axes, threads)


def ordered_columns(points: NDArray[np.float32], axes: tuple[int, int, int]) -> NDArray[np.float32]:  # (N, 3)
    """The columns of the points in the order of `axes`; ~i is minus column i."""
    ordered = np.ascontiguousarray(points[:, [axis if axis >= 0 else ~axis for axis in axes]])
    ordered[:, [axis < 0 for axis in axes]] *= -1
    return ordered
