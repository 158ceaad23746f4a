"""k nearest neighbours: the native kernel at every level against the rule, to the bit."""

from __future__ import annotations

import numpy as np
import pytest
from clouds import KINDS, cloud

from pa3d.ops import knn, knn_reference

# Around vector widths and the 2048 points from which large searches use buckets.
SIZES = (1, 2, 15, 16, 17, 31, 33, 63, 100, 129, 2000, 2047, 2048, 2049)


def equal(queries: np.ndarray, points: np.ndarray, k: int) -> None:
    index, distance = knn(queries, points, k)
    expected_index, expected_distance = knn_reference(queries, points, k)
    assert index.dtype == np.int64 and distance.dtype == np.float32
    assert np.array_equal(index, expected_index) and np.array_equal(distance, expected_distance)


def test_hand_worked() -> None:
    points = np.array([[0, 0, 0], [3, 0, 0], [0, 1, 0], [0, 0, 2]], np.float32)
    index, distance = knn(np.array([[0, 0, 0], [3, 0, 1]], np.float32), points, 3)
    assert index.tolist() == [[0, 2, 3], [1, 0, 3]]
    assert distance.tolist() == [[0, 1, 4], [1, 10, 10]]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("n", SIZES)
def test_equals_the_reference(isa: str, kind: str, n: int) -> None:
    points = cloud(kind, n)[None]
    queries = np.concatenate([points[:, :20], cloud(kind, 21, seed=1)[None]], axis=1)
    for k in {1, min(n, 3), min(n, 32), min(n, 33), n}:
        equal(queries, points, k)


@pytest.mark.parametrize("kind", KINDS)
def test_equals_the_reference_through_buckets(isa: str, kind: str) -> None:
    points = cloud(kind, 3000)[None]
    equal(cloud(kind, 150, seed=1)[None], points, 32)
    equal(points[:, :150].copy(), points, 1)


@pytest.mark.parametrize("kind", KINDS)
def test_equals_the_reference_on_a_large_cloud(isa: str, kind: str) -> None:
    points = cloud(kind, 100_000)[None]
    equal(np.ascontiguousarray(points[:, ::20_000]), points, 32)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_equals_the_reference_on_a_large_cloud_with_many_queries(isa: str, kind: str) -> None:
    points = cloud(kind, 100_000, seed=2)[None]
    equal(cloud(kind, 64, seed=3)[None], points, 100)


def test_batches_and_ranks(isa: str) -> None:
    points = np.stack([cloud("random", 200, seed) for seed in range(4)])
    queries = np.stack([cloud("random", 30, seed) for seed in range(4)])
    index, distance = knn(queries, points, 5)
    assert index.shape == distance.shape == (4, 30, 5)
    for b in range(4):
        one_index, one_distance = knn(queries[b], points[b], 5)
        assert np.array_equal(index[b], one_index) and np.array_equal(distance[b], one_distance)


def test_torch_tensors(isa: str) -> None:
    torch = pytest.importorskip("torch")
    queries, points = torch.from_numpy(cloud("grid", 40)), torch.from_numpy(cloud("grid", 333))
    index, distance = knn(queries, points, 8)
    expected_index, expected_distance = knn_reference(queries[None], points[None], 8)
    assert torch.equal(index, expected_index[0]) and torch.equal(distance, expected_distance[0])


def test_more_threads_change_nothing() -> None:
    from pa3d import _C

    points = cloud("grid", 3000)[None]
    one, two = (_C.knn(points, points, 7, threads) for threads in (1, 2))
    assert np.array_equal(one[0], two[0]) and np.array_equal(one[1], two[1])


def test_distances_ascend_and_indices_are_distinct() -> None:
    index, distance = knn(cloud("duplicated", 100), cloud("duplicated", 700), 64)
    assert (np.diff(distance, axis=1) >= 0).all()
    assert all(len(set(row)) == 64 for row in index.tolist())


POINTS = cloud("random", 20)
HOLED = np.where(np.arange(60).reshape(20, 3) == 31, np.inf, POINTS).astype(np.float32)


@pytest.mark.parametrize(
    ("queries", "points", "k", "error", "message"),
    [
        (POINTS, POINTS, 21, ValueError, r"k: expected 1\.\.20 .the number of points., got 21"),
        (POINTS, POINTS, 0, ValueError, "k: expected"),
        (POINTS, POINTS, 1.5, TypeError, "k: expected an integer, got float"),
        (POINTS.astype(np.float16), POINTS, 1, TypeError, "queries: expected float32, got float16"),
        (POINTS, POINTS.astype(np.int32), 1, TypeError, "points: expected float32, got int32"),
        (POINTS[None], POINTS, 1, ValueError, r"queries: expected shape .N, 3., got .1, 20, 3."),
        (
            np.stack([POINTS] * 2),
            POINTS[None],
            1,
            ValueError,
            "queries: expected a batch of 1 as in points, got 2",
        ),
        (POINTS[::2], POINTS, 1, ValueError, "queries: expected a contiguous array"),
        (HOLED, POINTS, 1, ValueError, "queries: NaN or infinite values"),
        (POINTS, HOLED, 1, ValueError, "points: NaN or infinite values"),
        ("abc", POINTS, 1, TypeError, "queries: expected a numpy array or a torch tensor, got str"),
    ],
)
def test_errors(queries: object, points: object, k: int, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        knn(queries, points, k)  # type: ignore[arg-type]


def test_kinds_of_arrays_must_not_mix() -> None:
    torch = pytest.importorskip("torch")
    with pytest.raises(
        ValueError, match="expected all arrays of one kind on one device, got queries on cpu, points on numpy"
    ):
        knn(torch.from_numpy(POINTS), POINTS, 1)


def test_native_takes_no_other_device(monkeypatch: pytest.MonkeyPatch) -> None:
    torch = pytest.importorskip("torch")
    from pa3d.ops._dispatch import choose
    from pa3d.ops.backends import reference

    monkeypatch.setenv("PA3D_BACKEND", "native")
    with pytest.raises(ValueError, match="PA3D_BACKEND=native takes arrays on the CPU only"):
        choose("knn", torch.empty(1, 3, device="meta"), k=1)
    monkeypatch.delenv("PA3D_BACKEND")
    assert choose("label_points", torch.empty(1, 3, device="meta")) is reference
