"""Augmentation of training clouds in the model's frame: y up before the swap of axes. numpy, seeded by the caller.

Every augmentation draws a Motion, which moves points and the centres of 2D targets alike.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pa3d.rotations import axis_rotation, random_rotation
from pa3d.train.config import AugmentationConfig


@dataclass(frozen=True)
class Motion:
    """x -> x @ linear + offset, then normal noise of deviation `jitter`, cut off at `clip`; which points are kept."""

    linear: NDArray[np.float64]  # (3, 3)
    offset: NDArray[np.float64]  # (3,)
    jitter: float = 0.0
    clip: float = np.inf
    keep: NDArray[np.bool_] | None = None  # (N,); None keeps all

    def move(self, points: NDArray[np.floating]) -> NDArray[np.float32]:  # (..., 3)
        return (points @ self.linear + self.offset).astype(np.float32)

    def shake(self, points: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
        """Jitter, where there is any."""
        if self.jitter == 0:
            return points
        noise = np.clip(rng.standard_normal(points.shape, np.float32) * np.float32(self.jitter), -self.clip, self.clip)
        return points + noise.astype(np.float32)


STILL = Motion(np.eye(3), np.zeros(3))


def draw_motion(c: AugmentationConfig, points: NDArray[np.float32], rng: np.random.Generator) -> Motion:
    """The motion of one shape, points (N, 3) on the unit sphere."""
    if c.kind == "none" or (c.kind == "paper" and rng.random() >= c.probability):
        return STILL
    if c.kind == "paper":
        x, y, z = np.radians(rng.uniform(-c.rotation, c.rotation, 3))
        turn = axis_rotation(2, z) @ axis_rotation(1, y) @ axis_rotation(0, x)
        scale = rng.uniform(*c.scale)
        offset = rng.uniform(-c.translation, c.translation, 3)
        return Motion(turn.T * scale, offset, c.jitter, c.jitter_clip)
    keep = None
    if rng.random() < c.crop:
        direction = rng.standard_normal(3)
        along = points @ (direction / np.linalg.norm(direction))
        keep = along < np.quantile(along, rng.uniform(0.6, 0.95))
    stretch = np.exp(rng.uniform(-c.stretch, c.stretch, 3))
    if rng.random() < c.mirror:
        stretch[0] = -stretch[0]
    if rng.random() < c.any_orientation:
        turn = random_rotation(rng)
    else:
        yaw = rng.uniform(0, 2 * np.pi) if c.yaw else 0.0
        tilt_x, tilt_z = np.radians(rng.normal(0, c.tilt, 2))
        turn = axis_rotation(0, tilt_x) @ axis_rotation(2, tilt_z) @ axis_rotation(1, yaw)
    return Motion(np.diag(stretch) @ turn.T, np.zeros(3), c.free_jitter * float(rng.random()), keep=keep)
