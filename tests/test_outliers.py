"""Outliers: the native kernel at every level against the rule, and what the rule keeps and leaves out."""

from __future__ import annotations

import numpy as np
import pytest
from clouds import KINDS, cloud

from pa3d import _C
from pa3d.ops import find_outliers, find_outliers_reference

FACTOR = 3.0


def sheet(n: int, seed: int = 0) -> np.ndarray:  # (n, 3)
    """Random points of a square of side 1."""
    points = np.random.default_rng(seed).random((n, 3)).astype(np.float32)
    points[:, 1] = 0
    return points


def test_hand_worked() -> None:
    """A grid of spacing 1, whose corners have their fourth neighbour at sqrt(5): links are up to 3 * sqrt(5) = 6.7."""
    x, z = np.meshgrid(np.arange(7.0), np.arange(7.0))
    grid = np.stack([x.ravel(), 0 * x.ravel(), z.ravel()], axis=1)
    probes = np.sort([np.sort(np.linalg.norm(grid - p, axis=1))[4] for p in grid])
    assert probes[(49 - 1) * 4 // 5] == pytest.approx(np.sqrt(2))  # so links are up to 4.24
    strays = [[0, 4.2, 0], [0, 0, -4.3], [100, 0, 0], [102, 0, 0], [104, 2, 0], [101, 1, 0]]
    found = find_outliers(np.array([*grid, *strays], np.float32), FACTOR)
    assert found.tolist() == [False] * 49 + [False, True, True, True, True, True]
    more = find_outliers(np.array([*grid, *strays, [103, 1, 0]], np.float32), FACTOR)
    assert more.tolist() == [False] * 49 + [False, True] + [False] * 5  # a group of five is a part


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("n", [1, 2, 31, 32, 33, 255, 256, 257, 700, 1500])
def test_equals_the_reference(isa: str, kind: str, n: int) -> None:
    rng = np.random.default_rng(n)
    points = cloud(kind, n)
    dirty = np.concatenate([points, rng.uniform(-20, 20, (n // 8, 3)).astype(np.float32), points[:3]])
    for factor in (0.5, 1.0, FACTOR):
        for given in (points, dirty):
            assert np.array_equal(find_outliers(given, factor), find_outliers_reference(given, factor))


def test_far_points_and_large_numbers_equal_the_reference() -> None:
    points = sheet(600)
    points[17], points[333], points[400:403] = [1e7, 0, 0], [-1e30, 1e30, 0], [0, 3e4, 0]
    for scale in (1.0, 1e-12, 1e-25, 1e8):
        scaled = (points * scale).astype(np.float32)
        assert np.array_equal(find_outliers(scaled, FACTOR), find_outliers_reference(scaled, FACTOR))
    assert np.flatnonzero(find_outliers(points, FACTOR)).tolist() == [17, 333, 400, 401, 402]


def test_threads_change_nothing() -> None:
    points = np.concatenate([sheet(20_000), np.random.default_rng(1).uniform(-3, 3, (1000, 3)).astype(np.float32)])
    expected = _C.find_outliers(points, FACTOR, 1)
    assert expected[:20_000].sum() == 0 and expected[20_000:].mean() > 0.97
    for threads in (2, 3):
        assert np.array_equal(_C.find_outliers(points, FACTOR, threads), expected)


def test_the_order_of_the_points_changes_nothing() -> None:
    points = np.concatenate([sheet(1000), np.random.default_rng(1).uniform(-3, 3, (50, 3)).astype(np.float32)])
    order = np.random.default_rng(2).permutation(len(points))
    assert np.array_equal(find_outliers(points[order], FACTOR), find_outliers(points, FACTOR)[order])


def test_copies_of_points_are_one_place() -> None:
    """A stray point given ten times is still a stray point, and points of the shape may occur any number of times."""
    points = np.concatenate([np.repeat(sheet(500), 6, axis=0), np.full((10, 3), 5, np.float32)])
    assert np.array_equal(find_outliers(points, FACTOR), np.arange(3010) >= 3000)


def test_thin_and_small_parts_stay() -> None:
    """An antenna of one point every two and a half usual distances; a separate piece of five points; a single point."""
    rng = np.random.default_rng(0)
    body = sheet(2000)  # the distance between points is 1/45
    antenna = np.stack([np.full(12, 0.5), 0.055 * np.arange(1, 13), np.full(12, 0.5)], axis=1)
    bolt, point = [2, 1, 2] + 0.02 * rng.random((5, 3)), [[2, -1, 2]]
    found = find_outliers(np.concatenate([body, antenna, bolt, point]).astype(np.float32), FACTOR)
    assert not found[:-1].any() and found[-1]


def test_sparse_regions_of_an_uneven_cloud_stay() -> None:
    """Vertices of a mesh: a finely cut detail, and a plate that its corners and a few more points describe."""
    detail, plate = 0.1 * sheet(1500), 4 * sheet(600, seed=1)
    corners = np.array([[-6, 0, -6], [-6, 0, 6], [6, 0, -6], [6, 0, 6]], np.float32)
    uneven = np.concatenate([detail, plate, corners])
    assert not find_outliers(uneven, FACTOR).any()
    assert find_outliers(np.concatenate([plate, corners]), FACTOR)[600:].all()


def test_no_more_than_a_fifth_is_left_out() -> None:
    rng = np.random.default_rng(0)
    for share in (0.1, 0.3, 0.6, 1.0):
        n = int(2000 * share)
        points = np.concatenate([sheet(2000 - n), 50 * rng.standard_normal((n, 3))]).astype(np.float32)
        assert find_outliers(points, FACTOR).mean() <= 0.2
    assert not find_outliers(rng.standard_normal((2000, 3)).astype(np.float32) * 0, FACTOR).any()


@pytest.mark.parametrize(
    ("points", "factor", "error", "message"),
    [
        (sheet(40)[::2], 3.0, ValueError, "points: expected a contiguous array"),
        (sheet(40).astype(np.float64), 3.0, TypeError, "points: expected float32, got float64"),
        (np.full((40, 3), np.nan, np.float32), 3.0, ValueError, "points: NaN or infinite values"),
        (sheet(40), 0.0, ValueError, "factor: expected a number above 0, got 0.0"),
        (sheet(40), float("nan"), ValueError, "factor: expected a number above 0"),
    ],
)
def test_errors(points: np.ndarray, factor: float, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        find_outliers(points, factor)
