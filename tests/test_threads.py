"""Results are equal to the bit at any number of threads, at every level of the processor."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from clouds import KINDS, cloud
from tiny import TINY, random_checkpoint

from pa3d import _C
from pa3d.native import NativeEncoder
from pa3d.ops import farthest_point_sample_reference, knn_reference

THREADS = (1, 2, 3, 5)


def default_threads(start: str = "", **env: str) -> int:
    """What a fresh process takes after the statements of `start`."""
    code = f"import os; {start or 'pass'}\nfrom pa3d import _C\nprint(_C.max_threads())"
    base = {k: v for k, v in os.environ.items() if k != "OMP_NUM_THREADS"}
    run = subprocess.run([sys.executable, "-c", code], env=base | env, capture_output=True, text=True, check=True)
    return int(run.stdout)


def test_threads_of_the_environment() -> None:
    assert default_threads(OMP_NUM_THREADS="3") == default_threads(OMP_NUM_THREADS="3,2") == 3
    assert default_threads(OMP_NUM_THREADS="none") == default_threads(OMP_NUM_THREADS="0") == default_threads()


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system has no affinity")
def test_threads_of_the_affinity() -> None:
    assert default_threads("os.sched_setaffinity(0, [min(os.sched_getaffinity(0))])") == 1
    assert default_threads() <= len(os.sched_getaffinity(0))


@pytest.mark.parametrize(("quota", "threads"), [(50_000, 1), (100_000, 1), (150_000, 2)])
def test_threads_of_the_quota(quota: int, threads: int) -> None:
    """In a cgroup of its own, and in one below it that has no quota itself."""
    root = next((p for p in map(Path, ("/sys/fs/cgroup", "/sys/fs/cgroup/cpu")) if (p / "cgroup.procs").exists()), None)
    folder = (root or Path()) / f"pa3d-test-{os.getpid()}"
    try:
        (folder / "below").mkdir(parents=True)
    except OSError:
        pytest.skip("may not make a cgroup")
    try:
        try:
            if (folder / "cpu.max").exists():
                (folder / "cpu.max").write_text(f"{quota} 100000")
            else:
                (folder / "cpu.cfs_quota_us").write_text(str(quota))
        except OSError:
            pytest.skip("may not set a quota")
        most = default_threads()
        for group in (folder / "below", folder):
            assert default_threads(f"open('{group}/cgroup.procs', 'w').write(str(os.getpid()))") == min(threads, most)
    finally:
        (folder / "below").rmdir()
        folder.rmdir()


@pytest.mark.parametrize("kind", KINDS)
def test_samples_and_patches(isa: str, kind: str) -> None:
    points = np.stack([cloud(kind, 900, seed) for seed in range(5)])
    expected = farthest_point_sample_reference(points, 40, min_sq_norm=1e-3)
    members = knn_reference(np.take_along_axis(points, expected[..., None].repeat(3, 2), 1), points, 16)[0]
    for threads in THREADS:
        assert np.array_equal(_C.farthest_point_sample(points, 40, 0, 1e-3, threads), expected)
        found = _C.sample_and_group(points, 40, 16, 0, 1e-3, threads)
        assert np.array_equal(found[0], expected) and np.array_equal(found[1], members)


@pytest.mark.parametrize("n", [700, 4000])  # all distances, and buckets
def test_neighbours(isa: str, n: int) -> None:
    points, queries = cloud("grid", n)[None], cloud("grid", 300, seed=1)[None]
    index, distance = knn_reference(queries, points, 9)
    for threads in THREADS:
        found = _C.knn(queries, points, 9, threads)
        assert np.array_equal(found[0], index) and np.array_equal(found[1], distance)


@pytest.mark.parametrize("g", [128, 3000])
@pytest.mark.parametrize("k", [1, 3])
def test_interpolation(isa: str, g: int, k: int) -> None:
    points, centers, values = cloud("random", 5000), cloud("random", g, 1), cloud("random", g, 2)
    one = _C.interpolate(points, centers, values, k, 1)
    assert all(np.array_equal(_C.interpolate(points, centers, values, k, threads), one) for threads in THREADS[1:])


@pytest.mark.parametrize("precision", ["fp32", "bf16", "int8"])
@pytest.mark.parametrize("n", [20, 2048])
def test_features(isa: str, precision: str, n: int) -> None:
    if not _C.supports(precision):
        pytest.skip(f"{isa} has no {precision}")
    checkpoint, points = random_checkpoint(TINY), cloud("random", n) / np.float32(4)
    one = NativeEncoder(checkpoint, precision, 1)(points)
    for threads in THREADS[1:]:
        more = NativeEncoder(checkpoint, precision, threads)(points)
        assert all(np.array_equal(a, b) for a, b in zip(one[:4], more[:4], strict=True))
