"""The CUDA kernels on the CPU: against references, in many scheduling orders, under sanitizers; and the shim.

This checks their logic and indexing, not memory ordering or speed. PA3D_CUDA_HOST_LIBRARY names a library
that is already built, as the run under sanitizers does.
"""

from __future__ import annotations

import ctypes
import importlib.util
import multiprocessing
import os
import re
import shutil
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from clouds import KINDS, cloud
from cuda_host import (
    ALIGNMENT,
    CSRC,
    LAUNCH_FAILURE,
    NULL,
    OK,
    SIZE,
    SOURCES,
    WORKSPACE,
    Kernels,
    build,
    compiler,
    views,
    workspace,
)
from numpy.typing import NDArray
from tiny import TINY, random_checkpoint

from pa3d import _C, ops
from pa3d.cameras import Cameras
from pa3d.ops import (
    farthest_point_sample_reference,
    interpolate_reference,
    knn_reference,
    sample_and_group_reference,
)
from pa3d.ops.backproject import backproject
from pa3d.ops.rasterize import rasterize, rasterize_points, rasterize_points_reference, rasterize_reference

pytestmark = pytest.mark.skipif(
    not sys.platform.startswith("linux") or compiler() is None,
    reason="the shim needs Linux and a C++ compiler",
)

SIZES = (1, 15, 31, 32, 33, 127, 128, 129, 2048, 20_000)
SEEDS = range(10)


def clouds(kind: str, n: int, batch: int) -> NDArray[np.float32]:
    return np.stack([cloud(kind, n, seed) for seed in range(batch)])


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("n", SIZES)
def test_fps(kernels: Kernels, n: int, kind: str, batch: int) -> None:
    points = clouds(kind, n, batch)
    cases = [(min(n, 12), 0, 0.0), (min(n, 5), n - 1, 1e-3), (3, n // 2, 100.0)]
    for k, start, near in cases if n < 20_000 else cases[1:2]:
        expected = farthest_point_sample_reference(points, k, start=start, min_sq_norm=near)
        np.testing.assert_array_equal(kernels.fps(points, k, start, near), expected)


@pytest.mark.parametrize("n", [1024, 1025, 2049, 4096, 4097, 8192, 8193, 16384, 16385])
def test_fps_where_the_kernel_changes(kernels: Kernels, n: int) -> None:
    points = clouds("grid", n, 1)
    np.testing.assert_array_equal(kernels.fps(points, 6), farthest_point_sample_reference(points, 6))


def test_fps_beyond_the_number_of_points(kernels: Kernels) -> None:
    points = clouds("duplicated", 40, 2)
    np.testing.assert_array_equal(kernels.fps(points, 60), farthest_point_sample_reference(points, 60))


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("n", SIZES)
def test_knn(kernels: Kernels, n: int, kind: str, batch: int) -> None:
    points, queries = clouds(kind, n, batch), clouds("grid", 5, batch)
    for k in {1, min(n, 17), min(n, 32)}:
        for got, want in zip(kernels.knn(queries, points, k), knn_reference(queries, points, k), strict=True):
            np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize(("n", "k"), [(1500, 1000), (1024, 1024), (3000, 129)])
def test_knn_of_many(kernels: Kernels, n: int, k: int) -> None:
    # Coincident points: all of the selection happens in the digits of the index.
    for points in (clouds("random", n, 1), np.zeros((1, n, 3), np.float32)):
        got, want = kernels.knn(points[:, :2].copy(), points, k), knn_reference(points[:, :2], points, k)
        np.testing.assert_array_equal(got[0], want[0])
        np.testing.assert_array_equal(got[1], want[1])


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("n", SIZES)
def test_sample_and_group(kernels: Kernels, n: int, kind: str, batch: int) -> None:
    points, k, m = clouds(kind, n, batch), min(n, 6), min(n, 32)
    centers, members, distance = kernels.sample_and_group(points, k, m, n // 3, 1e-3)
    expected = sample_and_group_reference(points, k, m, start=n // 3, min_sq_norm=1e-3)
    np.testing.assert_array_equal(centers, expected[0])
    np.testing.assert_array_equal(members, expected[1])
    queries = np.take_along_axis(points, centers[..., None], 1)
    np.testing.assert_array_equal(distance, knn_reference(queries, points, m)[1])


@pytest.mark.parametrize("n", [1500, 4000, 9000])
def test_sample_and_group_where_the_kernel_changes(kernels: Kernels, n: int) -> None:
    points = clouds("random", n, 2)
    centers, members, _ = kernels.sample_and_group(points, 4, 32)
    expected = sample_and_group_reference(points, 4, 32)
    np.testing.assert_array_equal(centers, expected[0])
    np.testing.assert_array_equal(members, expected[1])


@pytest.mark.parametrize("k", [1, 2, 3])
@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("n", SIZES)
def test_interpolate(kernels: Kernels, n: int, batch: int, k: int) -> None:
    kind = KINDS[n % len(KINDS)]
    count, channels = (3, 1) if n % 2 else (130, 5)
    points, centers = clouds(kind, n, batch), clouds(kind, count, batch) + np.float32(0.01)
    values = np.random.default_rng(n).standard_normal((batch, count, channels)).astype(np.float32)
    out = kernels.interpolate(points, centers, values, k)
    for p, g, v, got in zip(points, centers, values, out, strict=True):
        np.testing.assert_array_equal(got, _C.interpolate(p, g, v, k))
        exact = interpolate_reference(p.astype(np.float64), g.astype(np.float64), v.astype(np.float64), k)
        # Where neighbours tie in float32 but not in float64, or the other way about, the choice differs.
        nearest = knn_reference(p[None].astype(np.float64), g[None].astype(np.float64), k)[0]
        same = (knn_reference(p[None], g[None], k)[0] == nearest)[0].all(1)
        plain = np.abs(interpolate_reference(p, g, v, k) - exact)
        assert np.abs(got - exact)[same].max(initial=0) <= 2 * plain[same].max(initial=0)


def soup(seed: int) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
    """Triangles from a fraction of a pixel to far outside, some doubled, astronomical or not finite."""
    rng = np.random.default_rng(seed)
    n = int(rng.integers(1, 60))
    spread = 10 ** rng.uniform(-2.5, 1, (n, 1, 1))
    corners = rng.uniform(-1, 1, (n, 1, 3)) + spread * rng.normal(0, 1, (n, 3, 3))
    corners[rng.random(n) < 0.1] *= (1.0, 1e6, 1e20, 1e36)[seed % 4]
    corners[rng.random(n) < 0.05, 0, 1] = (np.nan, np.inf)[seed % 2]
    faces = np.arange(3 * n, dtype=np.int32).reshape(-1, 3)
    return corners.astype(np.float32).reshape(-1, 3), np.concatenate([faces, faces[: n // 3, [1, 0, 2]]])


def scene(seed: int) -> tuple[NDArray[np.float32], NDArray[np.int32], Cameras, tuple[int, int]]:
    rng = np.random.default_rng(100 + seed)
    size = ((1, 1), (15, 17), (33, 100), (64, 65), (129, 31), (3, 130))[seed % 6]
    near_by = Cameras.orbit([0, 70], [10, -80], distance=float(rng.uniform(0.3, 3)))
    return *soup(seed), near_by if seed % 2 else Cameras.preset("around10")[:2], size


def assert_as_on_the_cpu(
    kernels: Kernels,
    vertices: NDArray[np.float32],
    faces: NDArray[np.int32],
    cameras: Cameras,
    size: tuple[int, int],
) -> None:
    projection = cameras.matrices(size), cameras.perspective, cameras.near
    expected = _C.rasterize(vertices, faces, *projection, *size, True, True, 1)
    for got, want in zip(kernels.rasterize(vertices, faces, cameras, size), expected, strict=True):
        np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize("seed", range(24))
def test_rasterize(kernels: Kernels, seed: int) -> None:
    assert_as_on_the_cpu(kernels, *scene(seed))


@pytest.mark.parametrize("seed", range(6))
def test_rasterize_against_the_reference(kernels: Kernels, seed: int) -> None:
    vertices, faces, cameras, size = scene(seed)
    ids, depth, weights = kernels.rasterize(vertices, faces, cameras, size)
    expected = rasterize_reference(vertices, faces, cameras, size)
    np.testing.assert_array_equal(ids, expected.face_id)
    np.testing.assert_array_equal(depth, expected.depth)
    # Both work in float64 and round once; the order of a sum may differ.
    assert expected.barycentric is not None
    assert np.abs(weights - expected.barycentric).max() <= 2**-22


@pytest.mark.parametrize("n", SIZES)
def test_rasterize_numbers_of_faces(kernels: Kernels, n: int) -> None:
    rng = np.random.default_rng(n)
    corners = rng.uniform(-1, 1, (n, 1, 3)) + rng.normal(0, 0.1, (n, 3, 3))
    order = rng.permutation(3 * n) if n % 2 else np.arange(3 * n)
    faces = order.astype(np.int32).reshape(-1, 3)
    vertices = corners.astype(np.float32).reshape(-1, 3)
    assert_as_on_the_cpu(kernels, vertices, faces, Cameras.preset("around10")[:3], (40, 50))


def test_many_large_faces(kernels: Kernels) -> None:
    # More than a stretch of the list, each over most of the image, some of them clipped.
    rng = np.random.default_rng(0)
    corners = rng.uniform(-3, 3, (300, 3, 3)).astype(np.float32).reshape(-1, 3)
    faces = np.arange(900, dtype=np.int32).reshape(-1, 3)
    assert_as_on_the_cpu(kernels, corners, faces, Cameras.orbit(30, 20, distance=1.0), (66, 70))


def test_rasterize_leaves_out_faces_without_corners(kernels: Kernels) -> None:
    vertices = np.array([[-1, -1, 0], [1, -1, 0], [0, 1, 0]], np.float32)
    cameras = Cameras.preset("front")
    faces = np.array([[0, 1, 3], [0, 1, 2], [-1, 1, 2]], np.int32)
    ids = kernels.rasterize(vertices, faces, cameras, (16, 16))[0]
    assert set(np.unique(ids)) == {-1, 1}
    nothing = kernels.rasterize(vertices, faces[:0], cameras, (16, 16))
    assert (nothing[0] == -1).all() and np.isinf(nothing[1]).all() and (nothing[2] == 0).all()


@pytest.mark.parametrize("n", [1, 15, 31, 32, 33, 127, 128, 129, 500])
def test_rasterize_points(kernels: Kernels, n: int) -> None:
    rng = np.random.default_rng(n)
    points = rng.normal(0, 0.6, (n, 3)).astype(np.float32)
    points[rng.random(n) < 0.05, 1] = np.nan
    radius = np.abs(rng.normal(0, 0.1, n)).astype(np.float32)
    near_by = Cameras.orbit([10, 200], [0, 40], distance=1.5)
    cameras, size = near_by if n % 4 == 1 else Cameras.preset("around10")[:2], (33, 47)
    ids, depth = kernels.rasterize_points(points, radius, cameras, size)
    expected = rasterize_points_reference(points, radius, cameras, size)
    np.testing.assert_array_equal(ids, expected.point_id)
    np.testing.assert_array_equal(depth, expected.depth)


def upsampling(pixels: int, tokens: int, mode: str, kind: Any) -> NDArray[Any]:  # (pixels, tokens)
    """Each pixel as weights of tokens: PyTorch's definition with align_corners=False."""
    at: NDArray[Any] = np.arange(pixels).astype(kind)
    out: NDArray[Any] = np.zeros((pixels, tokens), kind)
    if mode == "nearest":
        out[np.arange(pixels), np.arange(pixels) * tokens // pixels] = 1
        return out
    source = (at + kind(0.5)) * (kind(tokens) / kind(pixels)) - kind(0.5)
    first = np.floor(source).astype(int)
    t = source - first
    if mode == "bilinear":
        weights = [1 - t, t]
    else:
        a = kind(-0.75)
        outer = [((a * d - 5 * a) * d + 8 * a) * d - 4 * a for d in (t + 1, 2 - t)]
        inner = [((a + 2) * d - (a + 3)) * d * d + 1 for d in (t, 1 - t)]
        weights, first = [outer[0], inner[0], inner[1], outer[1]], first - 1
    for tap, weight in enumerate(weights):
        np.add.at(out, (np.arange(pixels), np.clip(first + tap, 0, tokens - 1)), weight)
    return out


def backproject_plain(
    tokens: NDArray[Any], point_of_pixel: NDArray[np.int32], n_points: int, mode: str
) -> NDArray[Any]:  # (n_points, C)
    """The upsampled image of every view, then its pixels one by one."""
    kind = tokens.dtype.type
    _, h, w = point_of_pixel.shape
    rows, columns = upsampling(h, tokens.shape[1], mode, kind), upsampling(w, tokens.shape[2], mode, kind)
    image = np.einsum("hr,vrcd->vhcd", rows, tokens)
    image = np.einsum("wc,vhcd->vhwd", columns, image)
    out = np.zeros((n_points, tokens.shape[3]), kind)
    seen = (point_of_pixel >= 0) & (point_of_pixel < n_points)
    np.add.at(out, point_of_pixel[seen], image[seen])
    return out


def projection(views: int, size: tuple[int, int], n_points: int, seed: int = 0) -> NDArray[np.int32]:  # (views, H, W)
    """Patches of pixels a point, holes, stray pixels and ids out of range."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(-1, n_points, (views, -(-size[0] // 7), -(-size[1] // 7)))
    out = coarse.repeat(7, 1).repeat(7, 2)[:, : size[0], : size[1]]
    stray = rng.random(out.shape) < 0.05
    out[stray] = rng.integers(-3, n_points + 3, stray.sum())
    return np.ascontiguousarray(out, np.int32)


BACKPROJECTIONS = [
    # views, grid, channels, image, points
    (1, (1, 1), 1, (1, 1), 1),
    (1, (3, 4), 15, (15, 17), 7),
    (3, (5, 5), 33, (31, 32), 128),
    (2, (9, 6), 129, (33, 64), 129),
    (2, (37, 37), 7, (127, 128), 400),
    (1, (20, 30), 2, (10, 12), 20),
    (1, (70, 90), 3, (129, 65), 3),  # a point spans more tokens than shared memory holds
    (2, (4, 4), 1500, (16, 16), 5),  # more channels than a block takes
]


@pytest.mark.parametrize("mode", ["nearest", "bilinear", "bicubic"])
@pytest.mark.parametrize("case", BACKPROJECTIONS)
def test_backproject(kernels: Kernels, case: tuple[Any, ...], mode: str) -> None:
    v, grid, c, image, p = case
    tokens = np.random.default_rng(c).standard_normal((v, *grid, c)).astype(np.float32)
    pixels = projection(v, image, p)
    total, count = kernels.backproject(tokens, pixels, p, mode)
    seen = pixels[(pixels >= 0) & (pixels < p)]
    np.testing.assert_array_equal(count, np.bincount(seen, minlength=p))
    exact = backproject_plain(tokens.astype(np.float64), pixels, p, mode)
    plain = backproject_plain(tokens, pixels, p, mode)
    assert np.abs(total - exact).max() <= 2 * np.abs(plain - exact).max()


@pytest.mark.parametrize("mode", ["nearest", "bilinear", "bicubic"])
def test_backproject_means_of_views(kernels: Kernels, mode: str) -> None:
    tokens = np.random.default_rng(2).standard_normal((3, 5, 6, 17)).astype(np.float32)
    pixels = projection(3, (31, 33), 12)
    total, count = kernels.backproject(tokens, pixels, 12, mode, True)
    exact, plain, views = np.zeros((12, 17)), np.zeros((12, 17), np.float32), np.zeros(12, int)
    for image, seen in zip(tokens, pixels, strict=True):
        n = np.bincount(seen[(seen >= 0) & (seen < 12)], minlength=12)
        views += n > 0
        for sums in (exact, plain):
            one = backproject_plain(image[None].astype(sums.dtype), seen[None], 12, mode)
            sums += one / np.maximum(n, 1)[:, None].astype(sums.dtype)
    np.testing.assert_array_equal(count, views)
    assert np.abs(total - exact).max() <= 2 * np.abs(plain - exact).max()


def misaligned(x: NDArray[Any]) -> NDArray[Any]:
    """The same numbers one element behind a multiple of 64 bytes."""
    room = np.empty(x.size + 64, x.dtype)
    start = -room.ctypes.data % 64 // x.itemsize + 1
    room[start : start + x.size] = x.reshape(-1)
    return room[start : start + x.size].reshape(x.shape)


def test_arrays_need_no_more_than_the_alignment_of_their_elements(kernels: Kernels) -> None:
    points, queries = clouds("random", 129, 3), clouds("grid", 33, 3)
    values = np.random.default_rng(0).standard_normal((3, 33, 5)).astype(np.float32)
    vertices, faces, cameras, size = scene(3)
    tokens = np.random.default_rng(1).standard_normal((2, 4, 5, 33)).astype(np.float32)
    half, pixels = (tokens.view(np.uint32) >> 16).astype(np.uint16), projection(2, (31, 33), 15)

    def everywhere(put: Callable[[NDArray[Any]], NDArray[Any]]) -> list[NDArray[Any]]:
        p, q, v, t = put(points), put(queries), put(values), put(tokens)
        return [
            kernels.fps(p, 15),
            *kernels.knn(q, p, 31),
            *kernels.sample_and_group(p, 15, 32),
            kernels.interpolate(p, q, v, 3),
            *kernels.rasterize(put(vertices), put(faces), cameras, size),
            *kernels.rasterize_points(put(points[0]), put(np.full(129, 0.1, np.float32)), cameras, size),
            *kernels.backproject(t, put(pixels), 15),
            *kernels.backproject(put(half), put(pixels), 15),
        ]

    for got, want in zip(everywhere(misaligned), everywhere(lambda x: x), strict=True):
        np.testing.assert_array_equal(got, want)


def test_backproject_bfloat16(kernels: Kernels) -> None:
    tokens = np.random.default_rng(0).standard_normal((2, 5, 6, 9)).astype(np.float32)
    half = (tokens.view(np.uint32) >> 16).astype(np.uint16)
    widened = (half.astype(np.uint32) << 16).view(np.float32)
    pixels = projection(2, (30, 31), 20)
    for mode in ("nearest", "bilinear", "bicubic"):
        np.testing.assert_array_equal(
            kernels.backproject(half, pixels, 20, mode)[0], kernels.backproject(widened, pixels, 20, mode)[0]
        )


def test_upsampling_is_that_of_torch() -> None:
    torch = pytest.importorskip("torch")
    for mode in ("nearest", "bilinear", "bicubic"):
        options = {} if mode == "nearest" else {"align_corners": False}
        for h, w, gh, gw in ((15, 17, 3, 4), (129, 65, 37, 9), (10, 12, 20, 30)):
            tokens = torch.randn(1, 2, gh, gw, dtype=torch.float64)
            expected = torch.nn.functional.interpolate(tokens, (h, w), mode=mode, **options)[0]
            rows, columns = (upsampling(a, b, mode, np.float64) for a, b in ((h, gh), (w, gw)))
            got = np.einsum("hr,drc,wc->dhw", rows, tokens[0].numpy(), columns)
            # float64: a weight is off by a few units in the last place of the source coordinate, below 64.
            np.testing.assert_allclose(got, expected.numpy(), rtol=0, atol=1e-12)


def test_torch_wrappers_hand_over_their_arguments(
    kernels: Kernels, torch_on_host: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch = torch_on_host
    from pa3d.ops.backends import cuda

    points, queries = clouds("random", 90, 2), clouds("grid", 7, 2)
    values = np.random.default_rng(0).standard_normal((2, 7, 3)).astype(np.float32)
    vertices, faces, cameras, size = scene(3)
    radius = np.full(90, 0.1, np.float32)
    tokens = np.random.default_rng(1).standard_normal((2, 4, 5, 6)).astype(np.float32)
    pixels = projection(2, (20, 21), 9)
    half = torch.from_numpy(tokens).bfloat16()
    p, q, v, f, t, i = map(torch.from_numpy, (points, queries, vertices, faces, tokens, pixels))
    cases = [
        ((cuda.farthest_point_sample(p, 9, 4, 1),), (kernels.fps(points, 9, 4, 1.0),)),
        (cuda.knn(q, p, 5), kernels.knn(queries, points, 5)),
        (cuda.sample_and_group(p, 6, 8, 2, 0.0), kernels.sample_and_group(points, 6, 8, 2)[:2]),
        (
            (cuda.interpolate(p[0], q[0], torch.from_numpy(values[0]), 3),),
            kernels.interpolate(points, queries, values, 3)[:1],
        ),
        (cuda.rasterize(v, f, cameras, size, True), kernels.rasterize(vertices, faces, cameras, size)),
        (
            cuda.rasterize_points(p[0], torch.from_numpy(radius), cameras, size),
            kernels.rasterize_points(points[0], radius, cameras, size),
        ),
        (cuda.backproject(t, i, 9, "bilinear"), kernels.backproject(tokens, pixels, 9, "bilinear")),
        (cuda.backproject(t, i, 9, "nearest", True), kernels.backproject(tokens, pixels, 9, "nearest", True)),
        (cuda.backproject(half, i, 9), kernels.backproject(half.view(torch.int16).numpy().view(np.uint16), pixels, 9)),
    ]
    for got, want in cases:
        for a, b in zip(got, want, strict=True):
            np.testing.assert_array_equal(a.numpy(), b)
    assert cuda.rasterize(v, f, cameras, size, False)[2] is None
    with pytest.raises(RuntimeError, match="knn: a size or an option is out of range"):
        cuda.knn(q, p, 91)
    with pytest.raises(TypeError, match=r"points: expected float32, got float64"):
        cuda.farthest_point_sample(p.double(), 9, 4, 0.0)
    with pytest.raises(ValueError, match="points: expected a contiguous tensor"):
        cuda.farthest_point_sample(p[:, ::2], 9, 4, 0.0)
    monkeypatch.setattr(cuda, "DEVICE", "cuda")
    with pytest.raises(ValueError, match="points: expected a tensor on cuda, got one on cpu"):
        cuda.farthest_point_sample(p, 9, 4, 0.0)


def test_operations_reach_the_kernels(torch_on_host: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every operation by its public name, forced to `cuda`, against the kernels of the processor."""
    p, q = torch_clouds(torch_on_host, 90, 2), torch_clouds(torch_on_host, 7, 2)
    values = torch_on_host.randn(7, 5, generator=torch_on_host.Generator().manual_seed(0))
    vertices, faces, cameras, size = scene(3)
    v, f = torch_on_host.from_numpy(vertices), torch_on_host.from_numpy(faces)
    tokens = torch_on_host.randn(3, 4, 5, 6, generator=torch_on_host.Generator().manual_seed(1))
    pixels = torch_on_host.from_numpy(np.maximum(projection(3, (20, 21), 9), -1).clip(max=8))
    views = Cameras.preset("around10")[:2]

    def everywhere() -> list[Any]:
        return [
            ops.farthest_point_sample(p, 9, start=3, min_sq_norm=1e-3),
            ops.farthest_point_sample(p[0], 120),
            *ops.knn(q, p, 5),
            *ops.knn(q[0], p[0], 90),
            *ops.sample_and_group(p, 6, 8),
            *ops.sample_and_group(q[0], 6, 17),  # more members than points
            *(ops.interpolate(p[0], q[0], values, k) for k in (1, 3)),
            *rasterize(v, f, cameras, size),
            *rasterize(v, f, cameras, size, barycentric=False)[:2],
            *rasterize_points(p[0], 0.1, views, size),
            *rasterize_points(p[0], torch_on_host.full((90,), 0.2), views, size),
        ]

    def backprojections() -> list[Any]:
        given = [(tokens, pixels), (tokens.bfloat16(), pixels.long())]
        options = [(mode, each) for mode in ("nearest", "bilinear", "bicubic") for each in (False, True)]
        return [backproject(*g, 9, mode=mode, per_view=each) for g in given for mode, each in options]

    got, sums = everywhere(), backprojections()
    monkeypatch.setenv("PA3D_BACKEND", "native")
    for a, b in zip(got, everywhere(), strict=True):
        assert torch_on_host.equal(a, b)
    for (a, a_count), (b, b_count) in zip(sums, backprojections(), strict=True):
        assert torch_on_host.equal(a_count, b_count)
        # Both add a point's weights in their own way; its largest sums are of some hundred pixels.
        assert (a - b).abs().max() <= 1e-6 * b.abs().max()


def torch_clouds(torch: Any, n: int, batch: int) -> Any:
    return torch.from_numpy(clouds("random", n, batch))


def test_nothing_waits_for_the_gpu(torch_on_host: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """No value reaches the host and nothing is copied between devices while operations and encoder run."""
    from torch.utils._python_dispatch import TorchDispatchMode

    from pa3d.torch_encoder import TorchEncoder

    waits = (
        "_local_scalar_dense",
        "nonzero",
        "masked_select",
        "equal",
        "_to_copy",
        "unique",
        "is_pinned",
        "_pin_memory",
    )

    class Watch(TorchDispatchMode):
        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            name = func.overloadpacket.__name__
            narrows = name == "_to_copy" and "device" not in (kwargs or {})
            assert narrows or not any(name.startswith(wait) for wait in waits), name
            return func(*args, **kwargs or {})

    p, q, values = torch_clouds(torch_on_host, 60, 2), torch_clouds(torch_on_host, 7, 2), torch_on_host.ones(7, 3)
    vertices, faces, cameras, size = scene(3)
    v, f, pixels = map(torch_on_host.from_numpy, (vertices, faces, projection(2, (20, 21), 9)))
    encoders = [TorchEncoder(random_checkpoint(TINY), precision, "cpu") for precision in ("fp32", "bf16")]
    with Watch():
        ops.farthest_point_sample(p, 9)
        ops.knn(q, p, 5)
        ops.group(p, *ops.sample_and_group(p, 6, 80))
        ops.interpolate(p[0], q[0], values, 3)
        rasterize(v, f, cameras, size)
        rasterize_points(p[0], 0.1, cameras, size)
        backproject(torch_on_host.ones(2, 4, 5, 6), pixels, 9)
        for encoder in encoders:
            encoder.forward(p)
    with pytest.raises(AssertionError, match="_local_scalar_dense"), Watch():
        p.sum().item()


def test_the_encoder_on_these_kernels(torch_on_host: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from pa3d.torch_encoder import TorchEncoder

    encoder, points = TorchEncoder(random_checkpoint(TINY), device="cpu"), clouds("random", 300, 1)[0]
    found = encoder(points)
    monkeypatch.setenv("PA3D_BACKEND", "native")
    for got, want in zip(found[:4], encoder(points)[:4], strict=True):
        np.testing.assert_array_equal(got, want)


def test_types_are_those_of_the_header() -> None:
    from pa3d.ops.backends.cuda import FUNCTIONS

    letters = {
        "int": "i",
        "int32_t": "i",
        "int64_t": "l",
        "float": "f",
        "const char*": "s",
        "const pa3d_cuda_views*": "v",
    }
    text = re.sub(r"//.*", "", (CSRC / "cuda" / "pa3d_cuda.h").read_text())
    found = {}
    for result, name, arguments in re.findall(r"PA3D_CUDA_API ([\w ]+\*?) pa3d_cuda_(\w+)\(([^)]*)\);", text):
        kinds = [re.sub(r"\s*\w+$", "", a.strip()) for a in arguments.split(",") if a.strip() != "void"]
        found[name] = " ".join(letters.get(kind, "p") for kind in (result, *kinds))
    assert found == FUNCTIONS


def test_the_version_of_the_library_is_that_of_the_extension(kernels: Kernels, monkeypatch: pytest.MonkeyPatch) -> None:
    from pa3d import _C
    from pa3d.ops.backends import cuda

    assert kernels.library.pa3d_cuda_version() == _C.CUDA_ABI
    monkeypatch.setattr(cuda, "LIBRARY", Path(kernels.library._name))
    monkeypatch.setattr(_C, "CUDA_ABI", 1)
    with pytest.raises(ValueError, match=r"has version \d+ of the interface, expected 1: reinstall pa3d"):
        cuda.library.__wrapped__()


class OnGpu:
    """Stands for a CUDA tensor where a backend is chosen."""


def test_a_reference_on_a_gpu_is_announced_once(monkeypatch: pytest.MonkeyPatch) -> None:
    from pa3d.ops import _dispatch
    from pa3d.ops.backends import cuda, reference, triton

    monkeypatch.delenv("PA3D_BACKEND", raising=False)
    monkeypatch.setattr(_dispatch, "_warned", set())
    monkeypatch.setattr(_dispatch, "device_type", lambda x: "cuda")
    for module in (cuda, triton):
        monkeypatch.setattr(module, "unavailable_reason", lambda: "it is not built")
    message = r"knn: no kernel of pa3d can take this call on cuda \(cuda: it is not built; triton: it is not built\)"
    with pytest.warns(RuntimeWarning, match=message):
        assert _dispatch.choose("knn", OnGpu(), k=3) is reference
    with pytest.warns(RuntimeWarning, match="interpolate: no kernel"):
        _dispatch.choose("interpolate", OnGpu())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert _dispatch.choose("knn", OnGpu(), k=4) is reference  # said already
        assert _dispatch.choose("label_points", OnGpu()) is reference  # has no kernel for a GPU anywhere
    monkeypatch.setattr(cuda, "unavailable_reason", lambda: None)
    assert _dispatch.choose("knn", OnGpu(), k=3) is cuda
    assert _dispatch.choose("knn", OnGpu(), k=2000) is reference


def test_why_the_kernels_cannot_run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from pa3d.ops.backends import cuda

    monkeypatch.setattr(cuda, "LIBRARY", tmp_path / "libpa3d_cuda.so")
    monkeypatch.setattr(cuda, "gpu_is_visible", lambda: False)
    monkeypatch.setattr(cuda, "_how_to_build", lambda: "there is no nvcc on PATH")
    unbuilt = "libpa3d_cuda.so is not built: there is no nvcc on PATH"
    assert str(cuda.unavailable_reason()).startswith(f"no NVIDIA GPU is visible; {unbuilt}")
    monkeypatch.setattr(cuda, "gpu_is_visible", lambda: True)
    assert str(cuda.unavailable_reason()).startswith(unbuilt)
    cuda.LIBRARY.write_text("not a library")
    monkeypatch.setattr(cuda, "gpu_is_visible", lambda: False)
    assert str(cuda.unavailable_reason()).startswith("no NVIDIA GPU is visible")
    monkeypatch.setattr(cuda, "gpu_is_visible", lambda: True)
    cuda.library.cache_clear()
    if importlib.util.find_spec("torch") is None:
        assert cuda.unavailable_reason() == "torch is not installed: pip install 'pa3d[torch]'"
    else:
        reason = str(cuda.unavailable_reason())
        assert "file too short" in reason or "invalid ELF header" in reason


def test_a_forced_backend_says_why_it_cannot_run(monkeypatch: pytest.MonkeyPatch) -> None:
    from pa3d.ops.backends import cuda, triton

    points = clouds("random", 20, 1)
    for backend, module in (("cuda", cuda), ("triton", triton)):
        monkeypatch.setenv("PA3D_BACKEND", backend)
        monkeypatch.setattr(module, "unavailable_reason", lambda: "no NVIDIA GPU is visible")
        with pytest.raises(
            ValueError, match=f"PA3D_BACKEND={backend} cannot run here: no NVIDIA GPU is visible; unset"
        ):
            ops.knn(points, points, 3)
        monkeypatch.setattr(module, "unavailable_reason", lambda: None)
        with pytest.raises(
            ValueError, match=f"PA3D_BACKEND={backend} takes torch tensors on cuda only, got a numpy arr"
        ):
            ops.knn(points, points, 3)
    monkeypatch.setattr(cuda, "DEVICE", "cpu")  # numpy arrays are there, but no tensors
    monkeypatch.setenv("PA3D_BACKEND", "cuda")
    with pytest.raises(ValueError, match="takes torch tensors on cpu only, got a numpy array"):
        ops.farthest_point_sample(points, 3)
    message = "label_points has no cuda kernel; unset it or take one of reference, native"
    with pytest.raises(ValueError, match=message):
        ops.label_points(points[0], points[0, :3], np.zeros((3, 2), np.int64), points[0], np.zeros((3, 2), np.float32))


def test_a_forced_backend_names_its_limits(torch_on_host: Any) -> None:
    many = torch_clouds(torch_on_host, 1100, 1)
    with pytest.raises(
        ValueError, match="PA3D_BACKEND=cuda cannot run knn: it supports at most 1024 neighbours, not 1025"
    ):
        ops.knn(many[:, :2].contiguous(), many, 1025)
    with pytest.raises(ValueError, match="cannot run sample_and_group: it supports at most 1024 neighbours, not 1025"):
        ops.sample_and_group(many, 2, 1025)
    with pytest.raises(ValueError, match="expected a contiguous tensor"):
        ops.farthest_point_sample(many[:, ::2], 3)


@pytest.mark.parametrize("bad", [np.nan, -np.nan, np.inf, -np.inf, 3e38])
def test_values_that_are_not_looked_at_do_no_harm(kernels: Kernels, bad: float) -> None:
    """CUDA tensors may hold anything; indices stay within the cloud, and NaN is the farthest of all."""
    points = clouds("random", 200, 2)
    points[:, ::3] = np.float32(bad)
    centers, members, _ = kernels.sample_and_group(points, 20, 32)
    for found in (centers, members, kernels.fps(points, 20), *kernels.knn(points[:, :7].copy(), points, 150)[:1]):
        assert found.min() >= 0 and found.max() < 200
    near, _ = kernels.knn(points[:, 1:2].copy(), points, 200)
    assert set(near[0, 0, -67:]) == set(range(0, 200, 3))
    values = np.ones((2, 200, 2), np.float32)
    assert kernels.interpolate(points, points, values, 3).shape == (2, 200, 2)


def test_upload(kernels: Kernels) -> None:
    for count in (1, 15, 255, 256, 257, 1000):
        table, out = np.random.default_rng(count).standard_normal(count), np.full(count + 1, 7.0)
        kernels.checked("upload", table, table.nbytes, out, None)
        np.testing.assert_array_equal(out[:-1], table)
        assert out[-1] == 7
    assert kernels.call("upload", table, 12, out, None) == SIZE and kernels.call("upload", None, 8, out, None) == NULL
    assert kernels.call("upload", table, 8, out.view(np.uint8)[4:], None) == ALIGNMENT


def everything(kernels: Kernels) -> list[NDArray[Any]]:
    """Each kernel once, on sizes that fill no block evenly."""
    points, large = clouds("grid", 600, 2), clouds("duplicated", 17_000, 1)
    vertices, faces, cameras, size = scene(7)
    corners = np.random.default_rng(0).uniform(-3, 3, (270, 3)).astype(np.float32)
    big = np.arange(270, dtype=np.int32).reshape(-1, 3)
    discs = np.ascontiguousarray(points[0, :140])
    tokens = np.random.default_rng(0).standard_normal((2, 9, 8, 5)).astype(np.float32)
    wide = np.random.default_rng(0).standard_normal((1, 70, 90, 2)).astype(np.float32)
    values = np.random.default_rng(1).standard_normal((2, 140, 3)).astype(np.float32)
    return [
        kernels.fps(points, 9),
        kernels.fps(large, 3),
        *kernels.knn(points[:, :3].copy(), points, 33),
        *kernels.sample_and_group(points, 5, 32),
        kernels.interpolate(points, points[:, :140].copy(), values, 3),
        *kernels.rasterize(vertices, faces, cameras, size),
        *kernels.rasterize(corners, big, Cameras.orbit(30, 20, distance=1.0), (40, 50)),
        *kernels.rasterize_points(discs, np.full(140, 0.1, np.float32), cameras, (30, 31)),
        *kernels.backproject(tokens, projection(2, (50, 60), 30), 30),
        *kernels.backproject(wide, np.zeros((1, 35, 45), np.int32), 1),
    ]


def test_the_order_of_threads_and_blocks_changes_nothing(kernels: Kernels) -> None:
    expected = everything(kernels)
    for seed in SEEDS:
        kernels.seed(seed)
        for got, want in zip(everything(kernels), expected, strict=True):
            np.testing.assert_array_equal(got, want)


# __syncwarp is left out: it orders memory, which the shim cannot see; the votes beside it make lanes wait.
BARRIER = re.compile(r"__syncthreads\(\);")
BARRIERS = [
    (path.name, i)
    for path in sorted((CSRC / "cuda").glob("*.cu*"))
    for i in range(len(BARRIER.findall(path.read_text())))
    # The last one of draw_tiles keeps a reset from being formally a race: a late reader finds zero in place of zero.
    if (path.name, i) != ("rasterize.cu", 5)
]


def without_barrier(folder: Path, library: Path, name: str, which: int) -> Path:
    """The kernels, built from a copy in which one barrier is missing."""
    shutil.copytree(CSRC / "cuda", folder / "cuda")
    (folder / "cuda_host").symlink_to(CSRC / "cuda_host")
    path = folder / "cuda" / name
    at = list(BARRIER.finditer(path.read_text()))[which]
    path.write_text(path.read_text()[: at.start()] + ";" + path.read_text()[at.end() :])
    changed = [source for source in SOURCES if source.name == name or f'"{name}"' in source.read_text()]
    ready = [library.parent / f"{source.stem}.o" for source in SOURCES if source not in changed]
    return build(folder / "build", [folder / "cuda" / source.name for source in changed], include=folder, ready=ready)


def is_caught(library: Path, expected: list[NDArray[Any]]) -> bool:
    """Whether any order gives other results, an error, or the end of the process that tries."""

    def attempt() -> None:
        mutant = Kernels(library)
        for seed in SEEDS:
            mutant.seed(seed)
            for got, want in zip(everything(mutant), expected, strict=True):
                np.testing.assert_array_equal(got, want)

    child = multiprocessing.get_context("fork").Process(target=attempt)
    child.start()
    child.join(timeout=100)
    if child.exitcode is None:
        child.kill()
        child.join()
    return child.exitcode != 0


def test_a_missing_barrier_is_caught(kernels: Kernels, cuda_host_library: Path, tmp_path: Path) -> None:
    assert is_caught(without_barrier(tmp_path, cuda_host_library, "fps.cuh", 0), everything(kernels))


@pytest.mark.slow
@pytest.mark.parametrize(("name", "which"), BARRIERS)
def test_every_missing_barrier_is_caught(
    kernels: Kernels, cuda_host_library: Path, tmp_path: Path, name: str, which: int
) -> None:
    assert is_caught(without_barrier(tmp_path, cuda_host_library, name, which), everything(kernels))


SHIM = """
#include "cuda/common.cuh"
using namespace pa3d::cuda;
__global__ void missing(int*) { if (threadIdx.x < 5) __syncthreads(); else __syncwarp(); }
__global__ void two_places(int*) {
  if (threadIdx.x < 32) __syncthreads();
  else
    __syncthreads();
}
__global__ void other_mask(int*) { __ballot_sync(threadIdx.x % 2 ? 0xaaaaaaaau : kAllLanes, 1); }
__global__ void left_early(int*) { if (threadIdx.x != 7) __shfl_sync(kAllLanes, 1, 0); }
__global__ void sleeps(int* out) { while (*static_cast<volatile int*>(out) == 0) __nanosleep(100); }
struct Big { char bytes[50 << 10]; };
__global__ void too_much_shared(int*) { PA3D_SHARED(Big, big); big.bytes[0] = 1; }
__global__ void race(int* out) {
  PA3D_SHARED(int, last);
  last = threadIdx.x;
  __syncthreads();
  if (threadIdx.x == 0) *out = last;
}
__global__ void sound(int* out) {
  PA3D_SHARED(int, sum);
  if (threadIdx.x == 0) sum = 0;
  __syncthreads();
  if (threadIdx.x >= 40) return;
  atomicAdd(&sum, static_cast<int>(threadIdx.x));
  __syncthreads();
  if (threadIdx.x == 0) atomicAdd(out, sum);
}
#define CASE(name) \\
  extern "C" PA3D_CUDA_API int run_##name(int* out, int blocks) { \\
    return status(launch(name, blocks, 64, 0, 0, out));           \\
  }
CASE(missing)
CASE(two_places)
CASE(other_mask)
CASE(left_early)
CASE(sleeps)
CASE(too_much_shared)
CASE(race)
CASE(sound)
"""


Shim = Callable[[str, NDArray[np.int32], int], tuple[int, str]]


@pytest.fixture(scope="module")
def shim(tmp_path_factory: pytest.TempPathFactory) -> Shim:
    folder = tmp_path_factory.mktemp("shim")
    (folder / "shim.cu").write_text(SHIM)
    library = Kernels(build(folder, [folder / "shim.cu", CSRC / "cuda" / "library.cu"]), ("error",)).library

    def run(name: str, out: NDArray[np.int32], seed: int) -> tuple[int, str]:
        library.pa3d_cuda_host_seed(seed)
        code = getattr(library, f"run_{name}")(ctypes.c_void_p(out.ctypes.data), 3)
        return code, library.pa3d_cuda_error(code).decode()

    return run


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("missing", r"deadlock: block \(\d, 0, 0\):.* 5 __syncthreads"),
        ("two_places", "threads of a block wait at different barriers"),
        ("other_mask", "the mask names a lane that does not run|deadlock"),
        ("left_early", "__shfl_sync .line [0-9]+.: the mask names a lane that does not run|deadlock"),
        ("sleeps", "threads sleep forever"),
        ("too_much_shared", "more shared memory than a block has"),
    ],
)
def test_the_shim_reports(shim: Shim, name: str, message: str) -> None:
    for seed in SEEDS:
        code, text = shim(name, np.zeros(1, np.int32), seed)
        assert code == LAUNCH_FAILURE and re.search(message, text), text


def test_the_shim_runs_what_is_sound(shim: Shim) -> None:
    for seed in SEEDS:
        out = np.zeros(1, np.int32)
        assert shim("sound", out, seed) == (OK, "no error")
        assert out[0] == 3 * sum(range(40))


def test_seeds_reach_different_orders(shim: Shim) -> None:
    winners = set()
    for seed in SEEDS:
        out = np.zeros(1, np.int32)
        assert shim("race", out, seed)[0] == OK
        winners.add(int(out[0]))
    assert len(winners) > 3


POINTS, QUERIES = clouds("random", 50, 1), clouds("random", 4, 1)
INDEX, WORK = np.zeros((1, 50, 50), np.int64), workspace(1 << 16)


@pytest.mark.parametrize(
    ("name", "change", "code"),
    [
        ("fps", {}, OK),
        ("fps", {0: None}, NULL),
        ("fps", {6: None}, NULL),
        ("fps", {1: 0}, SIZE),
        ("fps", {1: 65536}, SIZE),
        ("fps", {2: 0}, SIZE),
        ("fps", {3: 0}, SIZE),
        ("fps", {4: 50}, SIZE),
        ("fps", {4: -1}, SIZE),
        ("fps", {5: -1.0}, SIZE),
        ("fps", {5: float("nan")}, SIZE),
        ("fps", {0: POINTS.view(np.uint8).reshape(-1)[1:]}, ALIGNMENT),
        ("fps", {6: INDEX.view(np.int32).reshape(-1)[1:]}, ALIGNMENT),
        ("fps", {2: 20_000, 7: None}, NULL),
        ("fps", {2: 20_000, 8: 80_000}, WORKSPACE),
        ("fps", {2: 20_000, 7: WORK[64:], 8: 1 << 20}, ALIGNMENT),
        ("knn", {}, OK),
        ("knn", {7: None}, OK),
        ("knn", {0: None}, NULL),
        ("knn", {3: 0}, SIZE),
        ("knn", {5: 51}, SIZE),
        ("knn", {5: 0}, SIZE),
        ("knn", {4: 5000, 5: 1025}, SIZE),
        ("sample_and_group", {}, OK),
        ("sample_and_group", {4: 51}, SIZE),
        ("sample_and_group", {11: 4}, WORKSPACE),
        ("sample_and_group", {8: None}, NULL),
        ("interpolate", {}, OK),
        ("interpolate", {7: 4}, SIZE),
        ("interpolate", {5: 2}, SIZE),
        ("interpolate", {6: 0}, SIZE),
        ("interpolate", {2: None}, NULL),
    ],
)
def test_codes(kernels: Kernels, name: str, change: dict[int, Any], code: int) -> None:
    distance, out = np.zeros((1, 50, 50), np.float32), np.zeros((1, 50, 3), np.float32)
    members = INDEX.copy()
    arguments: dict[str, list[Any]] = {
        "fps": [POINTS, 1, 50, 5, 0, 0.0, INDEX, WORK, WORK.nbytes, None],
        "knn": [QUERIES, POINTS, 1, 4, 50, 5, INDEX, distance, None],
        "sample_and_group": [POINTS, 1, 50, 5, 5, 0, 0.0, INDEX, members, distance, WORK, WORK.nbytes, None],
        "interpolate": [POINTS, QUERIES, np.ones((1, 4, 3), np.float32), 1, 50, 4, 3, 3, out, None],
    }
    for position, value in change.items():
        arguments[name][position] = value
    assert kernels.call(name, *arguments[name]) == code


def test_codes_of_images(kernels: Kernels) -> None:
    cameras, size = Cameras.preset("front"), (8, 8)
    matrices, ids = cameras.matrices(size), np.zeros((1, 8, 8), np.int32)
    vertices, faces = np.zeros((3, 3), np.float32), np.array([[0, 1, 2]], np.int32)
    needed = kernels.bytes_for("rasterize", 3, 1, 1, 8, 8)
    work = workspace(needed)

    def rasterize(given: Any, ids: Any = ids, work_bytes: int = needed) -> int:
        arguments = (vertices, 3, faces, 1, given, ids, None, None, work, work_bytes, None)
        return kernels.call("rasterize", *arguments)

    good = views(cameras, matrices, size)
    assert rasterize(good) == OK and rasterize(None) == NULL and rasterize(good, None) == NULL
    assert rasterize(good, work_bytes=needed - 1) == WORKSPACE
    fields = {"near_plane": 0.0, "height": 16385, "width": 0, "count": 0}
    for field, value in fields.items():
        bad = views(cameras, matrices, size)
        setattr(bad, field, value)
        assert rasterize(bad) == SIZE
    assert kernels.bytes_for("rasterize", 3, 1, 1, 8, 16385) == -1

    tokens, pixels = np.zeros((1, 2, 2, 3), np.float32), np.zeros((1, 8, 8), np.int32)
    total, count = np.zeros((4, 3), np.float32), np.zeros(4, np.int32)
    needed = kernels.bytes_for("backproject", 1, 8, 8, 4)
    work = workspace(needed)

    def backproject(dtype: int = 0, mode: int = 2, tokens: Any = tokens, work_bytes: int = needed) -> int:
        arguments = (tokens, dtype, 1, 2, 2, 3, pixels, 8, 8, 4, mode, False, total, count, work, work_bytes, None)
        return kernels.call("backproject", *arguments)

    assert backproject() == OK and backproject(mode=3) == SIZE and backproject(dtype=2) == SIZE
    assert backproject(tokens=None) == NULL and backproject(work_bytes=needed - 1) == WORKSPACE
    odd = np.zeros(64, np.uint8)
    assert backproject(tokens=odd[1:]) == ALIGNMENT and backproject(dtype=1, tokens=odd[2:]) == OK
    assert kernels.bytes_for("backproject", 1, 8, 8, 0) == -1


def test_every_code_has_a_text(kernels: Kernels) -> None:
    texts = {kernels.library.pa3d_cuda_error(code) for code in range(5)}
    assert len(texts) == 5 and kernels.library.pa3d_cuda_error(5) == b"unknown code"


@pytest.mark.slow
def test_under_sanitizers(tmp_path: Path) -> None:
    """This file again, in a process of its own, on a library that watches every access."""
    where = [str(compiler()), "-print-file-name=libasan.so"]
    asan = subprocess.run(where, capture_output=True, text=True, check=True).stdout.strip()
    if not Path(asan).is_file():
        pytest.skip("the compiler has no AddressSanitizer")
    options = ("-O1", "-g1", "-fsanitize=address,undefined", "-fno-sanitize-recover=undefined")
    environment = os.environ | {
        "PA3D_CUDA_HOST_LIBRARY": str(build(tmp_path, options=options)),
        "LD_PRELOAD": asan,
        "ASAN_OPTIONS": "detect_leaks=0:detect_stack_use_after_return=0",
        "OMP_NUM_THREADS": "1",
    }
    others = ("torch", "shim", "seeds", "missing_barrier", "sanitizers", "collinear", "planar")
    others += ("operations", "nothing_waits", "encoder", "forced_backend")  # on torch as well
    chosen = " and ".join(f"not {word}" for word in others)
    flags = ("-q", "-x", "-p", "no:cacheprovider", "-m", "not slow", "-k", chosen)
    command = [sys.executable, "-m", "pytest", *flags, __file__]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
