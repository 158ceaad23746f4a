"""What the encoder sees of a shape: sampled points, without outliers, normalised and in the model's axes."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pa3d import _C
from pa3d.errors import InputError
from pa3d.frames import apply_normalization, normalization
from pa3d.sampling import check_seed, sample_cloud
from pa3d.shape import Shape


class EncoderInput(NamedTuple):
    """points (N, 3): normalised, in the model's axes; center (3,) and radius: what they were normalised by, in the axes
    of the shape; outliers: how many of the sampled points were left out."""

    points: NDArray[np.float32]
    center: NDArray[np.float64]
    radius: float
    outliers: int


def encoder_input(
    sampled: NDArray[np.float32],  # (N, 3)
    axes: tuple[int, int, int],
    outlier_factor: float,
    threads: int = 0,
) -> EncoderInput:
    """Leaves out outliers, then normalises to the unit sphere: mean 0, largest norm 1.

    outlier_factor: that of pa3d.ops.find_outliers; 0 leaves out nothing. Raises InputError when all points are equal.
    """
    kept = without_outliers(sampled, outlier_factor, threads)
    center, radius = normalization(kept)
    points = apply_normalization(kept, center, radius, axes, threads)
    return EncoderInput(points, center, radius, len(sampled) - len(kept))


def without_outliers(points: NDArray[np.float32], factor: float, threads: int = 0) -> NDArray[np.float32]:  # (M, 3)
    """The points (N, 3) that are no outliers (pa3d.ops.find_outliers), in their order; all where factor is 0."""
    if factor == 0:
        return points
    outlier = _C.find_outliers(np.ascontiguousarray(points), factor, threads)
    return points[~outlier] if outlier.any() else points


def subsample(points: NDArray[np.float32], sample: int | None, seed: int) -> slice | NDArray[np.int64]:
    """Which of points (N, 3) to use: all, or `sample` of them without repetition, in their own order.

    Raises InputError for a sample or seed out of range.
    """
    _check_sample(sample, seed)
    if sample is None or sample >= len(points):
        return slice(None)
    return sample_cloud(points, sample, seed)


def sample_shape(shape: Shape, sample: int | None, seed: int) -> NDArray[np.float32]:  # (sample, 3)
    """Points of the surface of a mesh, by area, or some points of a cloud; its own points where sample is None.

    Raises InputError for a sample or seed out of range, or a mesh without area.
    """
    if shape.faces is None or sample is None:
        return shape.points[subsample(shape.points, sample, seed)]
    _check_sample(sample, seed)
    return shape.sample(sample, seed)[0]


def _check_sample(sample: int | None, seed: int) -> None:
    if sample is not None and (not isinstance(sample, int | np.integer) or sample < 1):
        raise InputError(f"sample is {sample!r}; expected an integer of at least 1, or None for every point")
    check_seed(seed)
