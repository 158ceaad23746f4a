"""rasterize against Embree's rays (embreex): 80,000 faces, 10 views of 500 x 500, checked before it is timed.

python bench/bench_rasterize.py [--threads 2] [--repeat 15] [--size 500]
"""

from __future__ import annotations

import argparse
import platform
import statistics
import time
from collections.abc import Callable

import numpy as np

from pa3d import _C
from pa3d.multiview.cameras import Cameras
from pa3d.ops.rasterize import rasterize_reference


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
    """Pixels of the interior of a face: the four neighbours show the same face, or the background."""
    same = np.ones(ids.shape, bool)
    for axis in (1, 2):
        for shift in (-1, 1):
            same &= np.roll(ids, shift, axis) == ids
    return same


def times(run: Callable[[], object], repeat: int) -> list[float]:
    run()
    out = []
    for _ in range(repeat):
        start = time.perf_counter()
        run()
        out.append((time.perf_counter() - start) * 1e3)
    return out


def report(name: str, ms: list[float], views: int) -> float:
    median = statistics.median(ms)
    print(f"  {name:34s} median {median:8.2f} ms ({median / views:.2f} a view), min {min(ms):.2f}, max {max(ms):.2f}")
    return median


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeat", type=int, default=15)
    parser.add_argument("--size", type=int, default=500)
    options = parser.parse_args()
    size = (options.size, options.size)
    vertices, faces = bumpy_ball()
    cameras = Cameras.preset("around10")

    small, few = bumpy_ball(20)
    expected = rasterize_reference(small, few, cameras[:2], (60, 60))
    got = _C.rasterize(
        small,
        few,
        cameras[:2].matrices(60),
        cameras.perspective,
        cameras.near,
        60,
        60,
        True,
        True,
        options.threads,
    )
    if not (got[0] == expected.face_id).all():
        raise SystemExit("rasterize differs from its reference; nothing is timed")

    def ours(depth: bool, weights: bool) -> np.ndarray:
        return _C.rasterize(
            vertices, faces, cameras.matrices(size), cameras.perspective, cameras.near, *size, depth, weights,
            options.threads,
        )[0]  # fmt: skip

    print(
        f"{len(faces)} faces, {len(cameras)} views of {size[0]} x {size[1]}, {options.threads} threads, "
        f"{_C.isa()}, {platform.machine()}, numpy {np.__version__}"
    )
    plain = report("rasterize, ids", times(lambda: ours(False, False), options.repeat), len(cameras))
    report("rasterize, ids, depth, barycentric", times(lambda: ours(True, True), options.repeat), len(cameras))

    try:
        from embreex import __version__ as version
        from embreex.mesh_construction import TriangleMesh
        from embreex.rtcore_scene import EmbreeScene
    except ImportError:
        print("  embreex is not installed: no comparison")
        return
    scene = EmbreeScene()
    TriangleMesh(scene, vertices[faces])
    bundles = rays(cameras, size)

    def embree() -> np.ndarray:
        return np.stack([scene.run(origin, direction) for origin, direction in bundles]).reshape(-1, *size)

    theirs, mine = embree(), ours(False, False)
    clear = off_edges(mine)
    agreement = float((theirs == mine)[clear].mean())
    if agreement < 0.999:
        raise SystemExit(f"ids agree with Embree's on {agreement:.4%} of the pixels off edges; expected 99.9 %")
    rival = report(f"embreex {version}, rays made before", times(embree, max(3, options.repeat // 3)), len(cameras))
    overall = float((theirs == mine).mean())
    print(f"  ids agree on {agreement:.4%} off edges, {overall:.4%} overall; {rival / plain:.1f} x")


if __name__ == "__main__":
    main()
