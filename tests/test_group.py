"""Patches: sampling and grouping fused, against the two rules one after the other."""

from __future__ import annotations

import numpy as np
import pytest
from clouds import KINDS, cloud

from pa3d.ops import farthest_point_sample, group, knn, sample_and_group, sample_and_group_reference

SIZES = (1, 2, 15, 16, 17, 31, 32, 33, 100, 129, 1000, 8191, 8192)


def test_hand_worked() -> None:
    line = np.zeros((5, 3), np.float32)
    line[:, 0] = [0, 1, 4, 10, 6]
    centers, members = sample_and_group(line, 2, 3)
    assert centers.tolist() == [0, 3]
    assert members.tolist() == [[0, 1, 2], [3, 4, 2]]
    patches = group(line[None], centers[None], members[None])
    assert patches[0, :, :, 0].tolist() == [[0, 1, 4], [0, -4, -6]]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("n", SIZES)
def test_equals_the_reference(isa: str, kind: str, n: int) -> None:
    points = cloud(kind, n)[None]
    for patches, size, near in ((min(n, 20), min(n, 32), 1e-3), (5, 1, 0.0), (min(n, 3), min(n, 45), 0.0)):
        got = sample_and_group(points, patches, size, min_sq_norm=near)
        expected = sample_and_group_reference(points, patches, size, min_sq_norm=near)
        assert np.array_equal(got[0], expected[0]) and np.array_equal(got[1], expected[1])


@pytest.mark.parametrize("kind", KINDS)
def test_equals_the_two_operations(isa: str, kind: str) -> None:
    points = cloud(kind, 20_000)
    centers, members = sample_and_group(points, 128, 32, min_sq_norm=1e-3)
    assert np.array_equal(centers, farthest_point_sample(points, 128, min_sq_norm=1e-3))
    assert np.array_equal(members, knn(points[centers], points, 32)[0])


def test_fewer_points_than_a_patch(isa: str) -> None:
    points = cloud("random", 5)
    centers, members = sample_and_group(points, 8, 12)
    nearest = knn(points[centers], points, 5)[0]
    assert np.array_equal(members, nearest[:, [0, 1, 2, 3, 4, 0, 1, 2, 3, 4, 0, 1]])


def test_torch_tensors_and_gradients() -> None:
    torch = pytest.importorskip("torch")
    points = torch.from_numpy(cloud("random", 60)).reshape(2, 30, 3).requires_grad_()
    centers, members = sample_and_group(points.detach(), 4, 6)
    patches = group(points, centers, members)
    assert patches.shape == (2, 4, 6, 3)
    assert np.array_equal(patches.detach().numpy(), group(points.detach().numpy(), centers.numpy(), members.numpy()))
    weights = torch.from_numpy(cloud("random", 48)).reshape(2, 4, 6, 3)
    (patches * weights).sum().backward()
    expected = torch.zeros(2, 30, 3)
    for b in range(2):
        for g in range(4):
            expected[b].index_add_(0, members[b, g], weights[b, g])
            expected[b, centers[b, g]] -= weights[b, g].sum(0)
    torch.testing.assert_close(points.grad, expected)


POINTS = cloud("random", 20)


@pytest.mark.parametrize(
    ("points", "patches", "size", "error", "message"),
    [
        (POINTS, 0, 4, ValueError, "patches: expected at least 1, got 0"),
        (POINTS, 4, 0, ValueError, "size: expected at least 1, got 0"),
        (POINTS.astype(np.float64), 4, 4, TypeError, "points: expected float32"),
        (POINTS[:, [0, 1]].copy(), 4, 4, ValueError, "points: expected shape"),
        (POINTS * np.float32(np.nan), 4, 4, ValueError, "points: NaN or infinite values"),
    ],
)
def test_errors(points: np.ndarray, patches: int, size: int, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        sample_and_group(points, patches, size)
    with pytest.raises(ValueError, match=r"start: expected 0\.\.19, got 99"):
        sample_and_group(POINTS, 1, 1, start=99)


def test_group_wants_a_batch() -> None:
    with pytest.raises(ValueError, match=r"points: expected shape .B, N, 3., got .20, 3."):
        group(POINTS, np.zeros(1, np.int64), np.zeros((1, 1), np.int64))
