"""Interpolation: the native kernel at every level against the rule."""

from __future__ import annotations

import numpy as np
import pytest
from clouds import KINDS, cloud

from pa3d.ops import interpolate, interpolate_reference, knn

# Around vector widths and the 2048 centres from which buckets are used.
CENTERS = (1, 2, 3, 4, 15, 16, 17, 63, 128, 129, 2048, 2049)


def case(kind: str, n: int, g: int, c: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    values = np.random.default_rng(g).standard_normal((g, c)).astype(np.float32)
    return cloud(kind, n, seed=1), cloud(kind, g), values


def exact(points: np.ndarray, centers: np.ndarray, values: np.ndarray, k: int) -> np.ndarray:
    """The rule in float64, with the neighbours that float32 distances choose."""
    index = knn(points, centers, k)[0]
    distance = np.linalg.norm(points[:, None].astype(np.float64) - centers[index], axis=2)
    weights = 1 / (distance + 1e-8)
    return (weights[..., None] * values[index]).sum(1) / weights.sum(1)[:, None]


def test_hand_worked() -> None:
    centers = np.array([[0, 0, 0], [2, 0, 0], [0, 4, 0]], np.float32)
    values = np.array([[0.0], [7.0], [14.0]], np.float32)
    point = np.array([[0, 0, 0], [1, 0, 0]], np.float32)
    assert interpolate(point, centers, values).tolist() == [[0.0], [0.0]]  # the lowest of two equally near
    assert interpolate(point, centers, values, 2)[1, 0] == pytest.approx(3.5)
    weights = np.array([1, 1, 17**-0.5])
    assert interpolate(point, centers, values, 3)[1, 0] == pytest.approx(
        weights @ values[:, 0] / weights.sum(), rel=1e-6
    )
    assert interpolate(point, centers, values, 3)[0, 0] == pytest.approx(0.0, abs=1e-6)  # on a centre


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("g", CENTERS)
def test_equals_the_reference(isa: str, kind: str, g: int) -> None:
    points, centers, values = case(kind, 77, g, 5)
    assert np.array_equal(interpolate(points, centers, values), interpolate_reference(points, centers, values))
    for k in {min(g, 2), min(g, 3)} - {1}:
        truth = exact(points, centers, values, k)
        error = np.abs(interpolate(points, centers, values, k) - truth).max()
        plain = np.abs(interpolate_reference(points, centers, values, k) - truth).max()
        assert error <= max(2 * plain, 4e-7 * np.abs(values).max())


@pytest.mark.parametrize("n", [1, 1023, 1024, 1025, 100_000])
@pytest.mark.parametrize("c", [1, 7, 16, 17])
def test_odd_sizes(isa: str, n: int, c: int) -> None:
    points, centers, values = case("random", n, 128, c)
    out = interpolate(points, centers, values)
    assert out.shape == (n, c) and out.dtype == np.float32
    assert np.array_equal(out, values[knn(points, centers, 1)[0][:, 0]])


def test_more_threads_change_nothing() -> None:
    from pa3d import _C

    points, centers, values = case("grid", 5000, 128, 6)
    for k in (1, 3):
        assert np.array_equal(
            _C.interpolate(points, centers, values, k, 1), _C.interpolate(points, centers, values, k, 2)
        )


def test_nearest_centers(isa: str) -> None:
    from pa3d import _C

    points, centers, _ = case("grid", 3000, 128, 1)
    index, distance = _C.nearest_centers(points, centers, 3)
    expected_index, expected_distance = knn(points, centers, 3)
    assert np.array_equal(index, expected_index) and np.array_equal(distance, expected_distance)


def test_torch_tensors_and_gradients() -> None:
    torch = pytest.importorskip("torch")
    points, centers, values = (torch.from_numpy(a) for a in case("random", 9, 5, 2))
    out = interpolate(points, centers, values, 3)
    assert np.array_equal(out.numpy(), interpolate(points.numpy(), centers.numpy(), values.numpy(), 3))
    # Linear in the values: the gradient of a sum is the column sum of the weights.
    values.requires_grad_()
    interpolate(points, centers, values, 3).sum().backward()
    weights = torch.stack([interpolate(points, centers, row[:, None].contiguous(), 3)[:, 0] for row in torch.eye(5)])
    torch.testing.assert_close(values.grad, weights.sum(1)[:, None].expand(5, 2))


POINTS, CENTRES, VALUES = case("random", 10, 4, 2)


@pytest.mark.parametrize(
    ("points", "centers", "values", "k", "error", "message"),
    [
        (POINTS, CENTRES, VALUES[:3].copy(), 1, ValueError, r"values: expected shape .4, C., got .3, 2."),
        (POINTS, CENTRES, VALUES[:, 0].copy(), 1, ValueError, r"values: expected shape .4, C., got .4,."),
        (POINTS, CENTRES, VALUES, 0, ValueError, r"k: expected 1\.\.3"),
        (
            POINTS,
            CENTRES,
            VALUES,
            4,
            ValueError,
            r"k: expected 1\.\.3 .and at most the number of centres., got 4",
        ),
        (POINTS, CENTRES[:2].copy(), VALUES[:2].copy(), 3, ValueError, r"k: expected 1\.\.2"),
        (POINTS[None], CENTRES, VALUES, 1, ValueError, r"points: expected shape .N, 3., got .1, 10, 3."),
        (POINTS, CENTRES.astype(np.float64), VALUES, 1, TypeError, "centers: expected float32"),
        (POINTS, CENTRES, VALUES.astype(np.int64), 1, TypeError, "values: expected float32"),
        (POINTS, CENTRES, VALUES * np.float32(np.nan), 1, ValueError, "values: NaN or infinite values"),
        (POINTS, CENTRES, VALUES.T, 1, ValueError, "values: expected a contiguous array"),
    ],
)
def test_errors(
    points: np.ndarray, centers: np.ndarray, values: np.ndarray, k: int, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        interpolate(points, centers, values, k)
