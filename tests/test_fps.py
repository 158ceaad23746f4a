"""Farthest point sampling: the native kernel at every level against the rule, index by index."""

from __future__ import annotations

import numpy as np
import pytest
from clouds import KINDS, cloud

from pa3d.ops import farthest_point_sample, farthest_point_sample_reference

# Around vector widths, the block of 128 and the 8192 points from which buckets are used.
SIZES = (1, 2, 3, 15, 16, 17, 63, 100, 127, 128, 129, 257, 2000, 8191, 8192, 8193)


def test_hand_worked() -> None:
    # From 0, the farthest is 10; then 4 is 4 from its nearest chosen; then 1 and 6 are 1 and 2 from theirs.
    line = np.zeros((5, 3), np.float32)
    line[:, 0] = [0, 1, 4, 10, 6]
    assert farthest_point_sample(line, 5).tolist() == [0, 3, 2, 4, 1]


def test_lowest_index_wins_ties() -> None:
    square = np.array([[0, 0, 0], [1, 0, 0], [-1, 0, 0], [0, 1, 0], [0, -1, 0]], np.float32)
    assert farthest_point_sample(square, 5).tolist() == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("n", SIZES)
def test_equals_the_reference(isa: str, kind: str, n: int) -> None:
    points = cloud(kind, n)[None]
    for k, start, near in ((min(n, 40), 0, 0.0), (min(n, 17), n - 1, 1e-3), (min(n, 9), n // 2, 1.0)):
        expected = farthest_point_sample_reference(points, k, start=start, min_sq_norm=near)
        assert np.array_equal(farthest_point_sample(points, k, start=start, min_sq_norm=near), expected)


@pytest.mark.parametrize("kind", KINDS)
def test_equals_the_reference_on_a_large_cloud(isa: str, kind: str) -> None:
    points = cloud(kind, 100_000)[None]
    expected = farthest_point_sample_reference(points, 64, min_sq_norm=1e-3)
    assert np.array_equal(farthest_point_sample(points, 64, min_sq_norm=1e-3), expected)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_equals_the_reference_with_many_centres(isa: str, kind: str) -> None:
    points = cloud(kind, 100_000, seed=1)[None]
    assert np.array_equal(farthest_point_sample(points, 1024), farthest_point_sample_reference(points, 1024))


def test_the_published_sizes(isa: str) -> None:
    points = cloud("random", 2048)[None]
    expected = farthest_point_sample_reference(points, 128, min_sq_norm=1e-3)
    assert np.array_equal(farthest_point_sample(points, 128, min_sq_norm=1e-3), expected)


def test_batches_and_ranks(isa: str) -> None:
    points = np.stack([cloud("random", 300, seed) for seed in range(5)])
    together = farthest_point_sample(points, 20)
    assert together.shape == (5, 20) and together.dtype == np.int64
    for row, one in zip(together, points, strict=True):
        assert np.array_equal(row, farthest_point_sample(one, 20))


def test_torch_tensors(isa: str) -> None:
    torch = pytest.importorskip("torch")
    points = torch.from_numpy(cloud("grid", 500))
    out = farthest_point_sample(points, 30)
    assert out.dtype == torch.int64 and np.array_equal(out.numpy(), farthest_point_sample(points.numpy(), 30))
    assert torch.equal(farthest_point_sample_reference(points[None], 30)[0], out)


def test_chosen_points_are_distinct_and_ever_nearer() -> None:
    points = cloud("random", 1000)
    index = farthest_point_sample(points, 200)
    assert len(set(index.tolist())) == 200
    gap = [np.linalg.norm(points[index[:i]] - points[index[i]], axis=1).min() for i in range(1, 200)]
    assert (np.diff(gap) <= 1e-6).all()


def test_more_centres_than_points(isa: str) -> None:
    points = cloud("random", 5)
    index = farthest_point_sample(points, 12)
    assert sorted(index[:5].tolist()) == [0, 1, 2, 3, 4] and (index[5:] == 0).all()
    assert np.array_equal(index, farthest_point_sample_reference(points[None], 12)[0])


def test_points_near_the_origin_are_never_picked(isa: str) -> None:
    points = cloud("random", 400) * np.float32(0.2)
    near = (points * points).sum(1) <= 0.05
    index = farthest_point_sample(points, 60, start=int(np.flatnonzero(~near)[0]), min_sq_norm=0.05)
    assert 0 < near.sum() < 340 and not near[index].any()
    # The start is taken as it comes, and where nothing may be picked the index is 0.
    assert farthest_point_sample(points, 3, start=7, min_sq_norm=100.0).tolist() == [7, 0, 0]


def test_reference_is_forced_by_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    points = cloud("random", 50)
    expected = farthest_point_sample(points, 10)
    for backend in ("reference", "native"):
        monkeypatch.setenv("PA3D_BACKEND", backend)
        assert np.array_equal(farthest_point_sample(points, 10), expected)


@pytest.mark.parametrize(
    ("backend", "message"),
    [
        ("fast", "PA3D_BACKEND is 'fast'; expected one of reference, native"),
        ("triton", "farthest_point_sample has no triton kernel; unset it or take one of reference, native, cuda"),
    ],
)
def test_backends_that_cannot_run(monkeypatch: pytest.MonkeyPatch, backend: str, message: str) -> None:
    monkeypatch.setenv("PA3D_BACKEND", backend)
    with pytest.raises(ValueError, match=message):
        farthest_point_sample(cloud("random", 5), 2)


POINTS = cloud("random", 20)
HOLED = np.where(np.arange(60).reshape(20, 3) == 31, np.nan, POINTS).astype(np.float32)


@pytest.mark.parametrize(
    ("points", "k", "options", "error", "message"),
    [
        (POINTS.tolist(), 3, {}, TypeError, "points: expected a numpy array or a torch tensor, got list"),
        (POINTS.astype(np.float64), 3, {}, TypeError, "points: expected float32, got float64"),
        (POINTS[:, :2].copy(), 3, {}, ValueError, r"points: expected shape .N, 3. or .B, N, 3., got .20, 2."),
        (POINTS[0].copy(), 1, {}, ValueError, "points: expected shape"),
        (POINTS[:0].copy(), 1, {}, ValueError, "points: expected at least one point"),
        (POINTS[::2], 3, {}, ValueError, "points: expected a contiguous array"),
        (HOLED, 3, {}, ValueError, "points: NaN or infinite values"),
        (POINTS, 0, {}, ValueError, "k: expected at least 1, got 0"),
        (POINTS, 2.0, {}, TypeError, "k: expected an integer, got float"),
        (POINTS, True, {}, TypeError, "k: expected an integer, got bool"),
        (POINTS, 3, {"start": 20}, ValueError, r"start: expected 0\.\.19, got 20"),
        (POINTS, 3, {"start": -1}, ValueError, "start: expected"),
        (POINTS, 3, {"min_sq_norm": -1.0}, ValueError, "min_sq_norm: expected a number >= 0"),
        (POINTS, 3, {"min_sq_norm": float("nan")}, ValueError, "min_sq_norm: expected a number >= 0"),
    ],
)
def test_errors(points: object, k: int, options: dict[str, float], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        farthest_point_sample(points, k, **options)  # type: ignore[arg-type]
