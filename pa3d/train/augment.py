"""Augmentation of training clouds, in the y-up frame of the records, before the axes are those of the model.

A `Transform` is drawn per shape and moves its points and the centers of its 2D features alike.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from pa3d.rotations import axis_rotation, random_rotation
from pa3d.train.config import AugmentationConfig


@dataclass(frozen=True)
class Transform:
    """x -> x @ linear + translation, and optionally jitter, points that are left out, and points that are added.

    jitter_std: standard deviation of normal noise per coordinate, cut off at +-jitter_clip.
    keep_mask: which points are kept; None keeps all.
    extra_points: further points, which belong to no part, in the frame before the transform.
    """

    linear: NDArray[np.float64]  # (3, 3)
    translation: NDArray[np.float64]  # (3,)
    jitter_std: float = 0.0
    jitter_clip: float = np.inf
    keep_mask: NDArray[np.bool_] | None = None  # (N,)
    extra_points: NDArray[np.float32] | None = None  # (E, 3)

    def apply(self, points: NDArray[np.floating]) -> NDArray[np.float32]:  # (..., 3) -> (..., 3)
        """Only the affine map, without jitter."""
        return (points @ self.linear + self.translation).astype(np.float32)

    def jitter(self, points: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:  # (N, 3) -> (N, 3)
        """The points with noise; nothing is drawn where jitter_std is 0."""
        if self.jitter_std == 0:
            return points
        noise = rng.standard_normal(points.shape, np.float32) * np.float32(self.jitter_std)
        return points + np.clip(noise, -self.jitter_clip, self.jitter_clip).astype(np.float32)


IDENTITY = Transform(np.eye(3), np.zeros(3))


def sample_transform(
    c: AugmentationConfig,
    points: NDArray[np.float32],  # (N, 3) in the unit sphere
    rng: np.random.Generator,
) -> Transform:
    """The random transform of one shape; IDENTITY if it is not augmented."""
    if c.kind == "none" or (c.kind == "paper" and rng.random() >= c.probability):
        return IDENTITY
    if c.kind == "paper":
        x, y, z = np.radians(rng.uniform(-c.rotation, c.rotation, 3))
        rotation = axis_rotation(2, z) @ axis_rotation(1, y) @ axis_rotation(0, x)
        scale = rng.uniform(*c.scale)
        translation = rng.uniform(-c.translation, c.translation, 3)
        return Transform(rotation.T * scale, translation, c.jitter, c.jitter_clip)
    keep_mask = None
    if rng.random() < c.crop:
        normal = rng.standard_normal(3)
        height = points @ (normal / np.linalg.norm(normal))
        keep_mask = height < np.quantile(height, rng.uniform(0.6, 0.95))
    scales = np.exp(rng.uniform(-c.stretch, c.stretch, 3))
    if rng.random() < c.mirror:
        scales[0] = -scales[0]
    if rng.random() < c.any_orientation:
        rotation = random_rotation(rng)
    else:
        yaw = rng.uniform(0, 2 * np.pi) if c.yaw else 0.0
        tilt_x, tilt_z = np.radians(rng.normal(0, c.tilt, 2))
        rotation = axis_rotation(0, tilt_x) @ axis_rotation(2, tilt_z) @ axis_rotation(1, yaw)
    jitter_std = c.free_jitter * float(rng.random())
    transform = Transform(np.diag(scales) @ rotation.T, np.zeros(3), jitter_std, keep_mask=keep_mask)
    if c.view and rng.random() < c.view:
        transform = _single_view(transform, c, points, rng)
    if c.noise and rng.random() < c.noise:
        transform = replace(transform, jitter_std=float(rng.uniform(0.004, 0.02)))
    if c.uneven and rng.random() < c.uneven:
        transform = _uneven_density(transform, points, rng)
    if c.outliers and rng.random() < c.outliers:
        transform = _outliers(transform, points, rng)
    return transform


def _single_view(
    transform: Transform, c: AugmentationConfig, points: NDArray[np.float32], rng: np.random.Generator
) -> Transform:
    """Keeps only what one camera sees of the points, and sometimes adds a table under them."""
    kept_indices = np.arange(len(points)) if transform.keep_mask is None else np.flatnonzero(transform.keep_mask)
    azimuth, elevation = rng.uniform(0, 2 * np.pi), np.radians(rng.uniform(-15, 65))
    horizontal = np.cos(elevation)
    camera = np.array([horizontal * np.sin(azimuth), np.sin(elevation), horizontal * np.cos(azimuth)])
    keep_mask = np.zeros(len(points), bool)
    keep_mask[kept_indices[visible_points(points[kept_indices], camera, float(rng.uniform(*c.view_cells)))]] = True
    extra_points = None
    if rng.random() < c.table:
        extra_points = table_points(points[kept_indices], int(rng.uniform(0.1, 0.7) * keep_mask.sum()), rng)
    return replace(transform, keep_mask=keep_mask, extra_points=extra_points)


def visible_points(
    points: NDArray[np.floating],  # (N, 3) y up
    camera: NDArray[np.float64],  # (3,) unit vector towards a camera far away, not along y
    cells: float,
) -> NDArray[np.bool_]:  # (N,)
    """Which points a camera sees: in every cell of its image the nearest, and those at most three cells behind it.

    cells: number of square cells along the larger side of the image. depth_along_view below grows towards the camera.
    """
    right = np.cross([0.0, 1.0, 0.0], camera)
    right /= np.linalg.norm(right)
    x, y, depth_along_view = points @ right, points @ np.cross(camera, right), points @ camera
    cell_size = max(float(np.ptp(x)), float(np.ptp(y)), 1e-9) / cells
    column, row = (np.floor((v - v.min()) / cell_size).astype(np.int64) for v in (x, y))
    cell = column * (row.max() + 1) + row
    nearest = np.full(cell.max() + 1, -np.inf)
    np.maximum.at(nearest, cell, depth_along_view)
    return np.asarray(depth_along_view > nearest[cell] - 3 * cell_size)


def table_points(
    points: NDArray[np.floating],  # (N, 3) y up
    count: int,
    rng: np.random.Generator,
) -> NDArray[np.float32]:  # (count, 3)
    """Random points of a horizontal square at the height of the lowest point.

    It is one to two times as wide as the shape, and its center is off the shape's by up to a quarter of its width.
    """
    low, high = points.min(axis=0), points.max(axis=0)
    half_width = float((high - low).max()) / 2
    half_width, center = half_width * rng.uniform(1.0, 2.0), (low + high) / 2 + half_width * rng.uniform(-0.5, 0.5, 3)
    plane = center + half_width * rng.uniform(-1, 1, (count, 3))
    plane[:, 1] = low[1]
    return plane.astype(np.float32)


def _uneven_density(transform: Transform, points: NDArray[np.float32], rng: np.random.Generator) -> Transform:
    """Keeps fewer points towards one side, down to e^-3 times as many, like a scanner far away from it."""
    direction = rng.standard_normal(3)
    distance = points @ (direction / np.linalg.norm(direction))
    distance = (distance - distance.min()) / max(float(np.ptp(distance)), 1e-9)
    keep_mask = rng.random(len(points)) < np.exp(-rng.uniform(0.5, 3.0) * distance)
    return replace(transform, keep_mask=keep_mask if transform.keep_mask is None else keep_mask & transform.keep_mask)


def _outliers(transform: Transform, points: NDArray[np.float32], rng: np.random.Generator) -> Transform:
    """Adds up to 2 % of points, uniform in a cube 1.5 times as large as the shape."""
    low, high = points.min(axis=0), points.max(axis=0)
    num_kept = len(points) if transform.keep_mask is None else transform.keep_mask.sum()
    count = int(rng.uniform(0.002, 0.02) * num_kept)
    outliers = ((low + high) / 2 + rng.uniform(-0.75, 0.75, (count, 3)) * (high - low).max()).astype(np.float32)
    extra = outliers if transform.extra_points is None else np.concatenate([transform.extra_points, outliers])
    return replace(transform, extra_points=extra)
