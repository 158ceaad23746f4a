"""rasterize against Embree's rays (embreex): 80,000 faces, 10 views of 500 x 500, checked before it is timed.

    pytest bench/bench_rasterize.py
    python bench/bench_rasterize.py     # only the ratios

embreex traces its rays on one thread; OMP_NUM_THREADS sets the threads of rasterize.
"""

from __future__ import annotations

from functools import cache, partial

import numpy as np
import pytest
from _common import THREADS, Race, check, measure

from pa3d import _C
from pa3d.cameras import Cameras
from pa3d.ops.rasterize import rasterize_reference

IDS, EXTRAS, EMBREE = "pa3d, ids", "pa3d, ids, depth, barycentric", "embreex"


def bumpy_ball(n: int = 200) -> tuple[np.ndarray, np.ndarray]:
    """2 n^2 faces in the unit sphere, with folds that hide one another."""
    lat, lon = np.meshgrid(np.linspace(0.01, np.pi - 0.01, n + 1), np.arange(n) * 2 * np.pi / n, indexing="ij")
    r = 1 - 0.25 * np.sin(5 * lon) ** 2 * np.sin(lat)
    v = np.stack([r * np.sin(lat) * np.cos(lon), np.cos(lat), r * np.sin(lat) * np.sin(lon)], -1).reshape(-1, 3)
    i, j = (a.ravel() for a in np.meshgrid(np.arange(n), np.arange(n), indexing="ij"))
    a, b = i * n + j, i * n + (j + 1) % n
    return v.astype(np.float32), np.concatenate([np.c_[a, b, b + n], np.c_[a, b + n, a + n]]).astype(np.int32)


def rays(cameras: Cameras, size: tuple[int, int]) -> list[tuple[np.ndarray, np.ndarray]]:
    """Origins and directions of every pixel centre of every view, float32 as Embree wants them."""
    out = []
    y, x = np.mgrid[: size[0], : size[1]] + 0.5
    homogeneous = np.stack([x, y, np.ones_like(x)], -1).reshape(-1, 3)
    for matrix, view in zip(cameras.matrices(size), cameras.view, strict=True):
        inverse = np.linalg.inv(matrix[:, :3])
        if cameras.perspective:
            direction, origin = (
                homogeneous @ inverse.T,
                np.broadcast_to(-inverse @ matrix[:, 3], homogeneous.shape),
            )
        else:
            origin = (homogeneous * [1, 1, 0] - matrix[:, 3]) @ inverse.T
            direction = np.broadcast_to(view[2, :3], origin.shape)
        out.append((np.ascontiguousarray(origin, np.float32), np.ascontiguousarray(direction, np.float32)))
    return out


def off_edges(ids: np.ndarray) -> np.ndarray:
    """Pixels inside a face, away from its edges: the four neighbours show the same face, or the background."""
    same = np.ones(ids.shape, bool)
    for axis in (1, 2):
        for shift in (-1, 1):
            same &= np.roll(ids, shift, axis) == ids
    return same


def draw(vertices: np.ndarray, faces: np.ndarray, cameras: Cameras, size: int, extras: bool) -> tuple:
    """Ids, and with extras depth and barycentric coordinates."""
    matrices = cameras.matrices(size)
    view = (cameras.perspective, cameras.near, size, size)
    return _C.rasterize(vertices, faces, matrices, *view, extras, extras, THREADS)


@cache
def race(size: int = 500) -> Race:
    small, few = bumpy_ball(20)
    cameras = Cameras.preset("around10")
    expected = rasterize_reference(small, few, cameras[:2], (60, 60))
    same = np.array_equal(draw(small, few, cameras[:2], 60, True)[0], expected.face_id)
    check(same, "rasterize differs from its reference")
    vertices, faces = bumpy_ball()
    runs = {name: partial(draw, vertices, faces, cameras, size, name == EXTRAS) for name in (IDS, EXTRAS)}
    try:
        from embreex.mesh_construction import TriangleMesh
        from embreex.rtcore_scene import EmbreeScene
    except ImportError:
        return Race(f"rasterize {len(faces)} faces, {len(cameras)} views of {size}", runs)
    scene = EmbreeScene()
    TriangleMesh(scene, vertices[faces])
    bundles = rays(cameras, (size, size))  # made before they are timed

    def embree() -> np.ndarray:
        return np.stack([scene.run(origin, direction) for origin, direction in bundles]).reshape(-1, size, size)

    theirs, ours = embree(), runs[IDS]()[0]
    agreement = float((theirs == ours)[off_edges(ours)].mean())
    check(agreement >= 0.999, f"ids agree with Embree's on {agreement:.4%} of the pixels off edges, not 99.9 %")
    return Race(f"rasterize {len(faces)} faces, {len(cameras)} views of {size}", runs | {EMBREE: embree})


@pytest.mark.parametrize("competitor", [IDS, EXTRAS, EMBREE])
def test_rasterize(benchmark: object, competitor: str) -> None:
    if competitor not in race().runs:
        pytest.skip("embreex is not installed")
    measure(benchmark, race(), competitor)


def main() -> None:
    timed = race()
    print(f"{timed.name}, {THREADS} threads, {_C.isa()}, numpy {np.__version__}")
    for name in timed.runs:
        timed.median(name)
        turns = sorted(timed.seconds[name])
        print(f"  {name:34s} median {1e3 * timed.median(name):8.2f} ms, {1e3 * turns[0]:.2f} to {1e3 * turns[-1]:.2f}")
    if EMBREE in timed.runs:
        for name in (IDS, EXTRAS):
            print(f"  {name}: {timed.median(EMBREE) / timed.median(name):.1f} x faster than Embree; ids must be 8")


if __name__ == "__main__":
    main()
