"""Sampling of points: the rule by hand, its law, and the same bits on every processor."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from pa3d import _C
from pa3d.errors import InputError
from pa3d.sampling import MAX_SEED, sample_cloud, sample_indices, sample_surface
from pa3d.shape import Shape


def mesh(faces: int, seed: int = 0) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
    rng = np.random.default_rng(seed)
    vertices = rng.integers(-1000, 1000, (faces + 2, 3)).astype(np.float32) / 256
    return vertices, rng.integers(0, len(vertices), (faces, 3)).astype(np.int32)


SEEDS = [0, 1, 2**32 - 1, 2**32, 2**63, MAX_SEED]


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("n", [1, 2, 5, 100, 3000, 9999, 10_000, 10_001, 20_000, 1_000_000])
def test_indices_are_those_of_numpy(n: int, seed: int) -> None:
    """On both sides of the limits where numpy changes its algorithm."""
    for count in sorted({1, n // 3, n // 21, n // 20, n // 20 + 1, n - 1, n, min(n, 2048)} - {0}):
        expected = np.sort(np.random.default_rng(seed).choice(n, size=count, replace=False, shuffle=False))
        np.testing.assert_array_equal(_C.sample_indices(n, count, seed), expected)


def test_every_index_is_equally_likely() -> None:
    n, count, trials = 20, 5, 20_000
    seen = np.zeros(n)
    for seed in range(trials):
        seen[_C.sample_indices(n, count, seed)] += 1
    expected = trials * count / n
    # Sum of squares over n - 1 degrees of freedom; without repetition the variance is smaller by 1 - count / n.
    chi2 = ((seen - expected) ** 2).sum() / (expected * (1 - count / n))
    assert chi2 < 43.8  # the 0.999 quantile for 19 degrees of freedom


@pytest.mark.parametrize(("n", "count"), [(1, 1), (5, 1), (5, 5), (1000, 300), (5000, 300), (100_000, 2048)])
def test_points_of_a_cloud(n: int, count: int) -> None:
    points = np.random.default_rng(n).standard_normal((n, 3)).astype(np.float32)
    drawn = {seed: sample_cloud(points, count, seed) for seed in SEEDS}
    for index in drawn.values():
        assert len(index) == count and (np.diff(index) > 0).all() and index[0] >= 0 and index[-1] < n
    assert n < 1000 or len({index.tobytes() for index in drawn.values()}) > 3
    with pytest.raises(ValueError, match="count must lie between 1 and the number of points"):
        _C.sample_cloud(points, n + 1, 0)
    with pytest.raises(InputError, match="seed is -1"):
        sample_cloud(points, count, -1)


@pytest.mark.parametrize("n", [40, 400])
def test_every_point_of_a_cloud_is_equally_likely(n: int) -> None:
    """With and without the first draw, of more than 8 points for each that is wanted."""
    points, count, trials = np.random.default_rng(0).random((n, 3)).astype(np.float32), 10, 4000
    seen = np.bincount(np.concatenate([sample_cloud(points, count, seed) for seed in range(trials)]), minlength=n)
    share = seen / trials
    assert abs(share.mean() - count / n) < 1e-12
    assert np.abs(share - count / n).max() < 4.5 * (count / n * (1 - count / n) / trials) ** 0.5


def test_points_of_a_cloud_are_spread() -> None:
    """Every piece of the shape gets its share of the points, stray points far away or not."""
    points = np.random.default_rng(1).random((8192, 3)).astype(np.float32)
    points[::1024] *= 1e4
    inside = (points < 1).all(axis=1)
    eighth = (points < 0.5) @ [1, 2, 4]
    wanted = np.bincount(eighth[inside], minlength=8) / 4

    def off(draw: Callable[[int], NDArray[np.int64]]) -> float:
        found = [np.bincount(eighth[i][inside[i]], minlength=8) for i in map(draw, range(8))]
        return float(np.sqrt(np.mean((found - wanted) ** 2)))

    independent = off(lambda seed: sample_indices(8192, 2048, seed))
    assert off(lambda seed: sample_cloud(points, 2048, seed)) < 0.5 * independent


def test_equal_points_and_planes() -> None:
    """Clouds without extent, along some axes or all of them."""
    for scale in ((0, 0, 0), (1, 0, 0), (1e30, 0, 1e30)):
        points = np.random.default_rng(2).random((500, 3)).astype(np.float32) * np.float32(scale)
        assert len(np.unique(sample_cloud(points, 60, 0))) == 60


def test_all_indices_where_there_are_no_more() -> None:
    assert sample_indices(7, 7, 3).tolist() == sample_indices(7, 2048, 3).tolist() == list(range(7))


@pytest.mark.parametrize(("n", "count"), [(1, 1), (5, 0), (5, 5), (1000, 300), (100_000, 2048)])
def test_indices_ascend_without_repetition(n: int, count: int) -> None:
    index = _C.sample_indices(n, count, 3)
    assert len(index) == count and (np.diff(index) > 0).all()
    assert count == 0 or (index[0] >= 0 and index[-1] < n)
    with pytest.raises(ValueError, match="count must lie between 0 and n"):
        _C.sample_indices(n, n + 1, 0)


@pytest.mark.parametrize("seed", SEEDS)
def test_points_of_a_surface_by_plain_arithmetic(seed: int) -> None:
    vertices, faces = mesh(40)
    v = vertices.astype(float)
    areas = [0.5 * float(np.linalg.norm(np.cross(v[b] - v[a], v[c] - v[a]))) for a, b, c in faces]
    count = 300
    u = np.random.default_rng(seed).random((3, count))
    points, face = sample_surface(vertices, faces, count, seed)
    ends = np.cumsum(areas)
    for k in range(count):
        at = (k + u[0, k]) / count * ends[-1]
        f = int(np.searchsorted(ends, at, side="right"))
        assert abs(at - ends[face[k]]) < 1e-9 or face[k] == f
        r, s = u[1, k] ** 0.5, u[2, k]
        a, b, c = v[faces[face[k]]]
        np.testing.assert_allclose(points[k], (1 - r) * a + r * (1 - s) * b + r * s * c, rtol=2e-7, atol=2e-7)


def test_a_generator_is_drawn_from() -> None:
    vertices, faces = mesh(50)
    for seed in (0, 5):
        points, face = sample_surface(vertices, faces, 200, seed)
        again, of = sample_surface(vertices, faces, 200, np.random.default_rng(seed))
        assert (points == again).all() and (face == of).all()
    rng = np.random.default_rng(0)
    assert (sample_surface(vertices, faces, 9, rng)[0] != sample_surface(vertices, faces, 9, rng)[0]).any()


def test_a_face_gets_its_share_of_the_area() -> None:
    vertices = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [3, 0, 0], [0, 0, 3]], np.float32)
    faces = np.array([[0, 1, 2], [1, 1, 2], [0, 3, 4], [2, 2, 2]], np.int32)  # areas 0.5, 0, 4.5, 0
    _, face = sample_surface(vertices, faces, 10_000, 5)
    assert np.bincount(face, minlength=4).tolist() == [1000, 0, 9000, 0]


def test_points_are_uniform_within_a_face() -> None:
    vertices = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0]], np.float32)
    points, _ = sample_surface(vertices, np.array([[0, 1, 2]], np.int32), 40_000, 1)
    assert (points >= 0).all() and (points.sum(axis=1) <= 1 + 1e-6).all()
    np.testing.assert_allclose(points[:, :2].mean(axis=0), [1 / 3, 1 / 3], atol=5e-3)  # deviation 0.24 / 200 = 1.2e-3
    assert abs((points[:, 0] < 0.5).mean() - 0.75) < 0.01


def digest() -> str:
    """Everything here is exact or correctly rounded, so these are the same bits everywhere."""
    vertices, faces = mesh(5000, 3)
    parts = [sample_indices(100_000, 2048, 7), *sample_surface(vertices, faces, 20_000, 11)]
    parts += [sample_cloud(vertices, 700, 2), sample_cloud(vertices, 300, MAX_SEED)]
    return hashlib.sha256(b"".join(np.ascontiguousarray(part).tobytes() for part in parts)).hexdigest()


DIGEST = "a8f70a79126a2c7c2d3f6c38e0991e94da845e9d21e6750ab9e9554b78492ca9"


def test_the_same_bits_on_every_processor() -> None:
    assert digest() == DIGEST


def test_the_same_bits_without_the_instructions_of_this_processor() -> None:
    """Our kernels and numpy's, in a process where neither may use more than the baseline."""
    features = numpy_features()
    code = "import sys; sys.path.insert(0, 'tests'); from test_sampling import digest; print(digest())"
    env = os.environ | {"PA3D_ISA": "generic", "NPY_DISABLE_CPU_FEATURES": " ".join(features)}
    run = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True)
    assert run.stdout.strip() == DIGEST, run.stderr


def numpy_features() -> list[str]:
    """What numpy chooses at run time on this processor and could do without."""
    from numpy._core._multiarray_umath import __cpu_dispatch__, __cpu_features__

    return [name for name in __cpu_dispatch__ if __cpu_features__.get(name)]


def test_what_cannot_be_sampled() -> None:
    flat = np.array([[0, 0, 0], [1, 0, 0], [2, 0, 0]], np.float32), np.array([[0, 1, 2]], np.int32)
    with pytest.raises(InputError, match="plate: every face has zero area"):
        sample_surface(*flat, 5, 0, "plate")
    with pytest.raises(ValueError, match="an index lies outside the vertices"):
        sample_surface(flat[0], np.array([[0, 1, 3]], np.int32), 5, 0)
    for seed in (-1, 2**64, 1.5, True):
        with pytest.raises(InputError, match="expected an integer from 0 to"):
            sample_surface(*mesh(3), 5, seed)  # type: ignore[arg-type]
        with pytest.raises(InputError, match="expected an integer from 0 to"):
            sample_indices(10, 5, seed)  # type: ignore[arg-type]


def test_a_shape_samples_its_surface() -> None:
    vertices, faces = mesh(30)
    points, face = Shape(vertices, faces).sample(100, seed=4)
    again, of = sample_surface(vertices, faces, 100, 4)
    assert (points == again).all() and (face == of).all()
