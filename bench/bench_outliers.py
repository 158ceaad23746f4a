"""Outliers of a cloud, one point in twenty, against the same rule on scipy's tree."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from _common import QUICK, THREADS, Race, check, measure
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from pa3d import _C
from pa3d.ops.outliers import GROUP, PROBES, find_outliers_reference

SIZES = [2048, 20_000, 200_000][: 2 if QUICK else 3]
COMPETITORS = ["pa3d", "scipy cKDTree"]
FACTOR = 3.0


@cache
def finding(n: int) -> Race:
    rng = np.random.default_rng(0)
    direction = rng.standard_normal((n, 3))
    points = direction / np.linalg.norm(direction, axis=1, keepdims=True)
    points[::20] = rng.uniform(-3, 3, points[::20].shape)
    points = points.astype(np.float32)

    def scipy() -> np.ndarray:
        tree = cKDTree(points)
        probes = np.unique(points, axis=0)[:: max(1, n // PROBES)]
        fourth = np.sort(tree.query(probes, GROUP + 1, workers=-1)[0][:, GROUP])
        distance, index = tree.query(points, GROUP + 1, workers=-1)
        low, high = fourth[(len(fourth) - 1) // 5], fourth[(len(fourth) - 1) * 4 // 5]
        linked = distance <= FACTOR * high * max(1, (high / (2 * low)) ** 2)
        rows = np.repeat(np.arange(n), GROUP + 1)[linked.ravel()]
        graph = coo_matrix((np.ones(len(rows)), (rows, index.ravel()[linked.ravel()])), (n, n))
        group = connected_components(graph, directed=False)[1]
        return np.bincount(group)[group] <= GROUP

    found = _C.find_outliers(points, FACTOR, THREADS)
    check((found == scipy()).mean() > 0.9999, "scipy's outliers differ")
    if n <= 2048:
        check(
            np.array_equal(found, find_outliers_reference(points, FACTOR)), "find_outliers differs from its reference"
        )
    runs = {"pa3d": lambda: _C.find_outliers(points, FACTOR, THREADS), "scipy cKDTree": scipy}
    return Race(f"outliers of {n}", runs, {})


@pytest.mark.parametrize("competitor", COMPETITORS)
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_outliers(benchmark: object, size: int, competitor: str) -> None:
    measure(benchmark, finding(size), competitor)
