"""k nearest neighbours against scipy's tree and torch's distances."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
import torch
from _common import QUICK, THREADS, Race, check, measure, random_cloud
from scipy.spatial import cKDTree

from pa3d import _C
from pa3d.ops import knn_reference

SIZES = [(128, 2048, 32), (1024, 100_000, 32), (4096, 1_000_000, 32)][: 2 if QUICK else 3]
COMPETITORS = ["pa3d", "scipy cKDTree", "scipy cKDTree, tree built before", "torch cdist topk"]


@cache
def neighbours(q: int, n: int, k: int) -> Race:
    points, queries = random_cloud(n), random_cloud(q, seed=1)
    index, distance = (a[0] for a in _C.knn(queries[None], points[None], k, THREADS))
    some = slice(None, None, max(1, q * n // 4_000_000))
    expected = knn_reference(queries[None, some], points[None], k)
    same = np.array_equal(index[some], expected[0][0]) and np.array_equal(distance[some], expected[1][0])
    check(same, "knn differs from its reference")
    tree, a, b = cKDTree(points), torch.from_numpy(queries), torch.from_numpy(points)
    runs = {
        "pa3d": lambda: _C.knn(queries[None], points[None], k, THREADS),
        "scipy cKDTree": lambda: cKDTree(points).query(queries, k, workers=-1),
        "scipy cKDTree, tree built before": lambda: tree.query(queries, k, workers=-1),
    }
    if q * n <= 200_000_000:
        runs["torch cdist topk"] = lambda: torch.cdist(a, b).topk(k, largest=False)
    theirs = runs["scipy cKDTree"]()[1]
    check((np.sort(theirs, 1) == np.sort(index, 1)).mean() > 0.999, "scipy's neighbours differ")
    return Race(f"knn {q} x {n}, k = {k}", runs, {"pa3d": (8.0 * q * n, "fp32")})


@pytest.mark.parametrize("competitor", COMPETITORS)
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_knn(benchmark: object, size: tuple[int, int, int], competitor: str) -> None:
    race = neighbours(*size)
    if competitor not in race.runs:
        pytest.skip("the distances alone would fill 16 GB")
    measure(benchmark, race, competitor)
