"""Augmentation of training clouds, in the y-up frame of the records, before the axes are those of the model.

A `Transform` is drawn per shape and moves its points and the centers of its 2D features alike.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pa3d.rotations import axis_rotation, random_rotation
from pa3d.train.config import AugmentationConfig


@dataclass(frozen=True)
class Transform:
    """x -> x @ linear + translation, and optionally jitter and a crop.

    jitter_std: standard deviation of normal noise per coordinate, cut off at +-jitter_clip.
    keep_mask: which points the crop keeps; None keeps all.
    """

    linear: NDArray[np.float64]  # (3, 3)
    translation: NDArray[np.float64]  # (3,)
    jitter_std: float = 0.0
    jitter_clip: float = np.inf
    keep_mask: NDArray[np.bool_] | None = None  # (N,)

    def apply(self, points: NDArray[np.floating]) -> NDArray[np.float32]:  # (..., 3) -> (..., 3)
        """The affine map alone."""
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
    """The random transform of one shape; IDENTITY where nothing is to change."""
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
    return Transform(np.diag(scales) @ rotation.T, np.zeros(3), jitter_std, keep_mask=keep_mask)
