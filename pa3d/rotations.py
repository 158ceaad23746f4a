"""Rotation matrices: (3, 3), float64, right-handed. A column x turns into R @ x, rows of points into points @ R.T."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

AXES = {"x": 0, "y": 1, "z": 2}


def axis_rotation(axis: str | int, angle: float) -> NDArray[np.float64]:
    """Rotation by `angle` radians about a coordinate axis: "x", "y", "z" or 0, 1, 2."""
    i = AXES[axis] if isinstance(axis, str) else axis
    j, k = (i + 1) % 3, (i + 2) % 3
    c, s = np.cos(angle), np.sin(angle)
    matrix = np.eye(3)
    matrix[j, j], matrix[j, k], matrix[k, j], matrix[k, k] = c, -s, s, c
    return matrix


def axis_angle_rotation(axis: ArrayLike, angle: float) -> NDArray[np.float64]:
    """Rotation by `angle` radians about any axis (3,), by Rodrigues' formula. A zero axis gives the identity."""
    axis = np.asarray(axis, np.float64)
    norm = np.linalg.norm(axis)
    if norm < 1e-9:
        return np.eye(3)
    x, y, z = axis / norm
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross


def quaternion_rotation(quaternion: ArrayLike) -> NDArray[np.float64]:
    """Rotation of a unit quaternion (w, x, y, z)."""
    w, x, y, z = np.asarray(quaternion, np.float64)
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
            [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
            [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
        ]
    )


def random_rotation(rng: np.random.Generator) -> NDArray[np.float64]:
    """Uniform over all rotations: a normalised Gaussian quaternion."""
    q = rng.standard_normal(4)
    return quaternion_rotation(q / np.linalg.norm(q))


def rotation_to_y(up: ArrayLike) -> NDArray[np.float64]:
    """The smallest rotation that turns the unit vector up (3,) into y, by Rodrigues' formula."""
    x, y, z = np.asarray(up, np.float64)
    if y < -1 + 1e-9:
        return np.diag([1.0, -1.0, -1.0])
    cross = np.array([[0, -x, 0], [x, 0, z], [0, -z, 0]])  # of up x (0, 1, 0) = (-z, 0, x)
    return np.eye(3) + cross + cross @ cross / (1 + y)


def rotate(points: NDArray[np.float32], rotation: NDArray[np.float64]) -> NDArray[np.float32]:  # (N, 3), (3, 3)
    """Points turned in float64, rounded to float32."""
    return np.ascontiguousarray(points.astype(np.float64) @ rotation.T, np.float32)
