"""point_features: a coloured sphere there and back, averages over views, neighbours of what no view sees."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from pa3d.cameras import Cameras
from pa3d.multiview.features import fill_unseen, point_features
from pa3d.ops import knn
from pa3d.ops.rasterize import rasterize_points


def sphere(n: int) -> np.ndarray:  # (n, 3) float32, evenly spread
    height = 1 - (2 * np.arange(n) + 1) / n
    turn = np.pi * (3 - 5**0.5) * np.arange(n)
    ring = np.sqrt(1 - height**2)
    return np.stack([ring * np.cos(turn), height, ring * np.sin(turn)], 1).astype(np.float32)


def smooth(p: np.ndarray) -> np.ndarray:  # (..., 3) -> (..., 4)
    """Sums of functions of one direction each: first derivatives at most 2, second ones at most 4."""
    x, y, z = np.moveaxis(p, -1, 0)
    return np.stack([x, y + 0.5 * z, np.sin(2 * x), np.cos(2 * z) - y], -1).astype(np.float32)


class Scene:
    """Two orthographic views of a sphere, 30 degrees apart: what a pixel shows has a closed form."""

    size, grid = 120, 30

    def __init__(self) -> None:
        self.cameras = Cameras.orbit([0.0, 30.0], 0.0, fov=None, half_extent=1.0)
        self.points = sphere(6000)
        u = -1 + (np.arange(self.grid) + 0.5) * 2 / self.grid
        x, y = np.meshgrid(u, u)
        # Outside the outline tokens are those of the plane through the centre; only pixels well inside are looked at.
        near = np.sqrt(np.maximum(1 - x * x - y * y, 0))
        self.tokens = smooth(np.stack([x, y, -near], -1) @ self.cameras.view[:, None, :3, :3])
        self.ids = rasterize_points(self.points, 0.03, self.cameras, self.size).point_id


def interpolation_error(mode: str, h: float, slope: float, curvature: float) -> float:
    """The most by which tokens h apart, interpolated along both axes, miss a function with these bounds.

    Along one axis, with taps at distances d_i and weights w_i that sum to one, Taylor's rest gives
    |sum w_i d_i| slope + sum |w_i| d_i^2 curvature / 2. The first term is zero for linear weights, but not for Keys'
    cubic with A = -3/4: only A = -1/2 reproduces planes. The second axis adds its own error to that of the first times
    sum |w_i|.
    """
    t = np.linspace(0, 1, 1001)
    if mode == "nearest":
        return h / 2**0.5 * slope
    if mode == "bilinear":
        d, w = np.stack([-t, 1 - t]), np.stack([1 - t, t])
    else:
        d, a = np.stack([-1 - t, -t, 1 - t, 2 - t]), -0.75
        x = np.abs(d)
        near, far = (a + 2) * x**3 - (a + 3) * x**2 + 1, a * (x**3 - 5 * x**2 + 8 * x - 4)
        w = np.where(x <= 1, near, far)
    axis = np.abs((w * d).sum(0)).max() * h * slope + (np.abs(w) * d**2).sum(0).max() * h**2 * curvature / 2
    return float(axis * (1 + np.abs(w).sum(0).max()))


@pytest.mark.parametrize("mode", ["bicubic", "bilinear", "nearest"])
@pytest.mark.parametrize("average", ["views", "pixels"])
def test_a_coloured_sphere_comes_back(mode: str, average: str) -> None:
    """A point shows on pixels up to a disc's radius and half a pixel's diagonal away, and the colour there is that of
    the sphere below the pixel; interpolation adds its own error, `interpolation_error`.
    """
    scene = Scene()
    features, seen = point_features(scene.tokens, scene.ids, scene.points, mode=mode, average=average)
    # A point counts when every tap of every pixel that shows it lies where the sphere is at least z = 0.6 towards the
    # camera: 0.53 from the middle, a disc's radius, half a pixel and two tokens, on the diagonal, make 0.76.
    toward = scene.points @ -scene.cameras.view[:, 2, :3].T
    shown = np.stack([np.isin(np.arange(len(scene.points)), ids) for ids in scene.ids], 1)
    clear = seen & (~shown | (toward > 0.85)).all(1)
    assert shown[clear].all(1).sum() > 100
    # There, z has slopes of at most 0.8 / 0.6 in the image and second derivatives of at most 1 / 0.6^3.
    slope, curvature = 2 * (1 + 0.8 / 0.6), 4 * (1 + (0.8 / 0.6) ** 2) + 2 / 0.6**3
    place = (0.03 + 2 / scene.size / 2**0.5) * slope
    interpolation = interpolation_error(mode, 2 / scene.grid, slope, curvature)
    error = np.abs(features - smooth(scene.points))[clear].max()
    assert error <= place + interpolation
    # The pixels around a point are not all to one side: a typical error is far below the bound.
    assert np.median(np.abs(features - smooth(scene.points))[clear]) <= (place + interpolation) / 8


def test_plane_colours_come_back_from_centred_pixels() -> None:
    """Linear colours on a plane, one point a pixel: bilinear interpolation is exact, bicubic within its bound."""
    size, grid = 40, 10
    u = (np.arange(size) + 0.5) / size * 2 - 1
    x, y = np.meshgrid(u, -u)
    points = np.stack([x, y, 0 * x], -1).reshape(-1, 3).astype(np.float32)
    cameras = Cameras.look_at([0, 0, 3], fov=None, half_extent=1.0)
    ids = rasterize_points(points, 0.0, cameras, size).point_id
    np.testing.assert_array_equal(ids[0], np.arange(size * size).reshape(size, size))
    t = (np.arange(grid) + 0.5) / grid * 2 - 1
    tx, ty = np.meshgrid(t, -t)
    tokens = np.stack([tx, 3 * ty - tx, 0 * tx + 5], -1)[None].astype(np.float32)
    expected = np.stack([x, 3 * y - x, 0 * x + 5], -1).reshape(-1, 3)
    for mode, margin in (("bilinear", 0.1), ("bicubic", 0.3)):  # half a token, a token and a half
        features, seen = point_features(tokens, ids, points, mode=mode)
        inside = (np.abs(points[:, :2]) < 1 - margin).all(1)
        assert seen.all()
        for channel, slope in enumerate((1.0, 3.0, 0.0)):  # the larger of the slopes along both axes
            bound = 2e-6 + interpolation_error(mode, 2 / grid, slope, 0.0)
            assert np.abs(features - expected)[inside, channel].max() <= bound


def test_unseen_points_take_their_neighbours_mean() -> None:
    scene = Scene()
    features, seen = point_features(scene.tokens, scene.ids, scene.points)
    assert 0 < (~seen).sum() < len(seen)
    near, _ = knn(scene.points[~seen], scene.points[seen], 20)
    np.testing.assert_allclose(features[~seen], features[seen][near].mean(1), atol=1e-6)


def test_averages() -> None:
    tokens = np.array([1, 5], np.float32).reshape(2, 1, 1, 1)
    ids = np.array([[[0, 0, 0]], [[0, 1, -1]]])
    points = np.eye(3, dtype=np.float32)[:2]
    assert point_features(tokens, ids, points)[0][:, 0].tolist() == [3.0, 5.0]
    assert point_features(tokens, ids, points, average="pixels")[0][:, 0].tolist() == [2.0, 5.0]


def test_fewer_seen_points_than_neighbours() -> None:
    points = np.arange(12, dtype=np.float32).reshape(4, 3)
    features = np.array([[2], [0], [4], [0]], np.float32)
    fill_unseen(features, points, np.array([True, False, True, False]))
    assert features[:, 0].tolist() == [2, 3, 4, 3]
    fill_unseen(features, points, np.zeros(4, bool))  # nothing to take from: nothing changes
    assert features[:, 0].tolist() == [2, 3, 4, 3]


def test_tensors_give_the_same() -> None:
    scene = Scene()
    expected, seen = point_features(scene.tokens, scene.ids, scene.points)
    given = (torch.from_numpy(x) for x in (scene.tokens, scene.ids, scene.points))
    features, mask = point_features(*given)
    np.testing.assert_array_equal(features.numpy(), expected)
    np.testing.assert_array_equal(mask.numpy(), seen)


def test_errors() -> None:
    tokens, ids = np.ones((1, 2, 2, 3), np.float32), np.zeros((1, 4, 4), np.int32)
    points = np.zeros((2, 3), np.float32)
    with pytest.raises(ValueError, match="average: expected views or pixels, got 'all'"):
        point_features(tokens, ids, points, average="all")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="neighbors: expected at least 1, got 0"):
        point_features(tokens, ids, points, neighbors=0)
    with pytest.raises(ValueError, match="points: NaN or infinite"):
        point_features(tokens, ids, points * np.float32(np.nan))
    with pytest.raises(ValueError, match="point_of_pixel: expected -1 or indices from 0 to 0, got 1 to 1"):
        point_features(tokens, ids + 1, points[:1])


def test_the_last_pixel_of_a_point_and_the_nearest_of_all_points() -> None:
    """The published rules, worked out by hand: two views of 2 x 2 pixels with one token each pixel."""
    tokens = np.arange(8, dtype=np.float32).reshape(2, 2, 2, 1)
    shows = np.array([[[0, 0], [1, 0]], [[-1, 1], [-1, -1]]], np.int32)
    points = np.array([[0, 0, 0], [1, 0, 0], [2, 0, 0], [9, 0, 0]], np.float32)
    for as_kind in (np.asarray, torch.from_numpy):
        given = as_kind(tokens), as_kind(shows), as_kind(points)
        mean, seen = point_features(*given, mode="nearest", neighbors=2)
        assert seen.tolist() == [True, True, False, False]
        np.testing.assert_allclose(np.asarray(mean)[:2, 0], [(0 + 1 + 3) / 3, (2 + 5) / 2], rtol=1e-6)
        last, _ = point_features(*given, mode="nearest", neighbors=2, pixels="last")
        np.testing.assert_allclose(np.asarray(last)[:2, 0], [3, 3.5])
        # The 2 nearest of all points of point 2 are itself and point 1; those of point 3 are itself and point 2.
        of_all, _ = point_features(*given, mode="nearest", neighbors=2, pixels="last", fill="all")
        np.testing.assert_allclose(np.asarray(of_all)[:, 0], [3, 3.5, 3.5, 0])
        of_seen, _ = point_features(*given, mode="nearest", neighbors=2, pixels="last", fill="seen")
        np.testing.assert_allclose(np.asarray(of_seen)[:, 0], [3, 3.5, 3.25, 3.25])
    with pytest.raises(ValueError, match="pixels: expected mean or last"):
        point_features(tokens, shows, points, pixels="first")  # type: ignore[arg-type]
