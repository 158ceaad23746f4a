"""Farthest point sampling, and sampling fused with grouping, against fpsample at its best, scipy and torch."""

from __future__ import annotations

from functools import cache, partial

import fpsample
import numpy as np
import pytest
import torch
from _common import QUICK, THREADS, Race, check, measure, random_cloud
from scipy.spatial import cKDTree

from pa3d import _C
from pa3d.ops import farthest_point_sample_reference, knn_reference

SIZES = [(2048, 128), (100_000, 1024), (1_000_000, 4096)][: 2 if QUICK else 3]
SAMPLERS = ["pa3d", *(f"fpsample h={h}" for h in (3, 5, 7, 9)), "torch reference"]
GROUPERS = [*(f"fpsample h={h}" for h in (3, 5, 7, 9)), "scipy cKDTree", "torch cdist topk"]
PATCHES, MEMBERS = 128, 32


def ours(points: np.ndarray, k: int, start: int = 0) -> np.ndarray:
    return _C.farthest_point_sample(points[None], k, start, 0.0, THREADS)[0]


def theirs(points: np.ndarray, k: int, h: int) -> np.ndarray:
    return fpsample.bucket_fps_kdline_sampling(points, k, h, start_idx=0).astype(np.int64)


def coverage_radius(points: np.ndarray, index: np.ndarray) -> float:
    """Distance from the chosen points to the point that is farthest from them."""
    return float(cKDTree(points[index]).query(points, workers=-1)[0].max())


@cache
def sampling(n: int, k: int) -> Race:
    points = random_cloud(n)
    runs = {"pa3d": partial(ours, points, k)}
    runs |= {f"fpsample h={h}": partial(theirs, points, k, h) for h in (3, 5, 7, 9)}
    if n <= 2048:
        tensor = torch.from_numpy(points)[None]
        runs["torch reference"] = lambda: farthest_point_sample_reference(tensor, k)
    index = ours(points, k)
    if n <= 100_000:
        expected = farthest_point_sample_reference(points[None], k)[0]
        check(np.array_equal(index, expected), "farthest_point_sample differs from its reference")
    for name, run in runs.items():
        if name.startswith("fpsample"):
            found = run()  # it numbers the start in its own order
            again = ours(points, k, int(found[0]))
            check(
                abs(coverage_radius(points, found) - coverage_radius(points, again)) < 1e-3,
                f"{name} leaves larger or smaller gaps",
            )
    return Race(f"fps {n} to {k}", runs, {"pa3d": (8.0 * n * k, "fp32")})


@cache
def grouping() -> Race:
    """Ours does both at once. A competitor's time is the sum of the best sampler and the faster neighbour search."""
    points = random_cloud(2048)
    index, members = (a[0] for a in _C.sample_and_group(points[None], PATCHES, MEMBERS, 0, 0.0, THREADS))
    expected = knn_reference(points[None, index], points[None], MEMBERS)[0][0]
    check(np.array_equal(index, ours(points, PATCHES)), "sample_and_group differs from farthest_point_sample")
    check(np.array_equal(members, expected), "sample_and_group differs from the reference's neighbours")
    centers, tensor = points[index], torch.from_numpy(points)
    some = torch.from_numpy(centers)

    def scipy_neighbours() -> np.ndarray:
        return cKDTree(points).query(centers, MEMBERS, workers=-1)[1]

    def torch_neighbours() -> np.ndarray:
        return torch.cdist(some, tensor).topk(MEMBERS, largest=False).indices.numpy()

    for name, run in (("scipy", scipy_neighbours), ("torch", torch_neighbours)):
        check((np.sort(run(), 1) == np.sort(members, 1)).mean() > 0.999, f"neighbours of {name} differ")
    runs = {"pa3d": lambda: _C.sample_and_group(points[None], PATCHES, MEMBERS, 0, 0.0, THREADS)}
    runs |= {f"fpsample h={h}": partial(theirs, points, PATCHES, h) for h in (3, 5, 7, 9)}
    runs |= {"scipy cKDTree": scipy_neighbours, "torch cdist topk": torch_neighbours}
    return Race(f"sample and group 2048 to {PATCHES} x {MEMBERS}", runs)


@pytest.mark.parametrize("competitor", SAMPLERS)
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_fps(benchmark: object, size: tuple[int, int], competitor: str) -> None:
    race = sampling(*size)
    if competitor not in race.runs:
        pytest.skip("would take minutes")
    measure(benchmark, race, competitor)


@pytest.mark.parametrize("competitor", ["pa3d", *GROUPERS])
def test_sample_and_group(benchmark: object, competitor: str) -> None:
    measure(benchmark, grouping(), competitor)
