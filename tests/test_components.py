"""components: the kernel against the rule."""

from __future__ import annotations

import numpy as np
import pytest
from clouds import KINDS, cloud

from pa3d import _C
from pa3d.ops import components, components_reference


def strip(n: int) -> tuple[np.ndarray, np.ndarray]:
    """n quads in a row, each of its own four vertices."""
    points = np.concatenate([[[i, 0, 0], [i + 1, 0, 0], [i, 1, 0], [i + 1, 1, 0]] for i in range(n)]).astype(np.float32)
    faces = np.concatenate([[[4 * i, 4 * i + 1, 4 * i + 2], [4 * i + 1, 4 * i + 3, 4 * i + 2]] for i in range(n)])
    return points, faces.astype(np.int32)


def test_hand_worked() -> None:
    points, faces = strip(5)
    labels = np.array([1, 1, 1, 1, 0, 0, 1, 1, -1, -1], np.int32)
    assert components(points, faces, labels).tolist() == [0, 0, 0, 0, 1, 1, 2, 2, -1, -1]
    assert components(points, faces, 0 * labels).tolist() == [0] * 10
    moved = points.copy()
    moved[12:, 0] += 1  # a gap after the third quad
    assert components(moved, faces, 0 * labels).tolist() == [0] * 6 + [1] * 4


def test_zero_and_minus_zero_are_one_place() -> None:
    points = np.array([[0, 0, 0], [1, 0, 0], [1, 1, 0], [-0.0, -0.0, 0], [-1, 0, 0], [-1, -1, 0]], np.float32)
    faces = np.array([[0, 1, 2], [3, 4, 5]], np.int32)
    assert components(points, faces, np.zeros(2, np.int32)).tolist() == [0, 0]


@pytest.mark.parametrize("n", [1, 2, 9, 10, 300])
@pytest.mark.parametrize("kind", KINDS)
def test_clouds_equal_the_rule(kind: str, n: int) -> None:
    points = cloud(kind, n)
    points = np.concatenate([points, points[: n // 4]])
    for seed in range(3):
        labels = np.random.default_rng(seed).integers(-1, 2, len(points)).astype(np.int32)
        expected = components_reference(points, None, labels)
        for threads in (1, 2, 3):
            assert np.array_equal(_C.components(points, None, labels, threads), expected)


@pytest.mark.parametrize("seed", range(5))
def test_meshes_equal_the_rule(seed: int) -> None:
    rng = np.random.default_rng(seed)
    points = rng.integers(0, 4, (200, 3)).astype(np.float32)  # many share a place
    faces = rng.integers(0, 200, (60, 3)).astype(np.int32)
    labels = rng.integers(-1, 3, 60).astype(np.int32)
    assert np.array_equal(components(points, faces, labels), components_reference(points, faces, labels))


def test_errors() -> None:
    points, faces = strip(2)
    labels = np.zeros(4, np.int32)
    with pytest.raises(ValueError, match="labels: expected shape"):
        components(points, faces, labels[1:])
    with pytest.raises(ValueError, match="faces: an index lies outside the points"):
        components(points, faces + 5, labels)
    with pytest.raises(TypeError, match="labels: expected int32, got int64"):
        components(points, faces, labels.astype(np.int64))
    with pytest.raises(ValueError, match="NaN or infinite"):
        components(points * np.nan, faces, labels)
