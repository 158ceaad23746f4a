"""Augmentation of training clouds: rigid motion, stretch, jitter, partial views. numpy, seeded by the caller."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Augmentation:
    """yaw: turn about the up axis by any angle; tilt: degrees about the other two, normal deviation;
    any_orientation: probability of a uniformly random rotation instead; stretch: log of the largest factor an axis;
    mirror: probability; jitter: deviation in units of the radius; crop: probability of dropping a side."""

    yaw: bool = True
    tilt: float = 6.0
    any_orientation: float = 0.15
    stretch: float = 0.2
    mirror: float = 0.5
    jitter: float = 0.004
    crop: float = 0.1

    def __call__(
        self, points: NDArray[np.float32], rng: np.random.Generator
    ) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """points (N, 3), y up -> moved points (N, 3) and which of them are kept (N,)."""
        keep = np.ones(len(points), bool)
        if rng.random() < self.crop:
            direction = rng.standard_normal(3)
            along = points @ (direction / np.linalg.norm(direction))
            keep = along < np.quantile(along, rng.uniform(0.6, 0.95))
        scale = np.exp(rng.uniform(-self.stretch, self.stretch, 3))
        if rng.random() < self.mirror:
            scale[0] = -scale[0]
        if rng.random() < self.any_orientation:
            turn = random_rotation(rng)
        else:
            yaw = rng.uniform(0, 2 * np.pi) if self.yaw else 0.0
            tilt_x, tilt_z = np.radians(rng.normal(0, self.tilt, 2))
            turn = _about(0, tilt_x) @ _about(2, tilt_z) @ _about(1, yaw)
        moved = (points * scale) @ turn.T
        noise = rng.standard_normal(points.shape) * (self.jitter * np.abs(points).max() * rng.random())
        return (moved + noise).astype(np.float32), keep


def random_rotation(rng: np.random.Generator) -> NDArray[np.float64]:
    """Uniform over rotations: a normalised Gaussian quaternion."""
    w, x, y, z = (q := rng.standard_normal(4)) / np.linalg.norm(q)
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
            [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
            [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
        ]
    )


def _about(axis: int, angle: float) -> NDArray[np.float64]:
    c, s = np.cos(angle), np.sin(angle)
    i, j = (axis + 1) % 3, (axis + 2) % 3
    out = np.eye(3)
    out[i, i], out[i, j], out[j, i], out[j, j] = c, -s, s, c
    return out
