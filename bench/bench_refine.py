"""Clean borders of four parts on meshes, against the direct sparse solver of scipy on the same equations."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from _common import QUICK, THREADS, Race, check, measure
from scipy.sparse import coo_matrix, diags
from scipy.sparse.linalg import splu

from pa3d import _C
from pa3d.ops.refine import CONCAVE, CONVEX, FLOOR, LEAST, REACH, SCALE

SIZES = [5_000, 50_000, 1_000_000][: 2 if QUICK else 3]
COMPETITORS = ["pa3d", "scipy splu"]
LARGEST_FOR_SCIPY = 50_000  # it takes minutes for more


def bulges(count: int) -> tuple[np.ndarray, np.ndarray]:
    """A closed surface of about `count` faces with seven bulges."""
    n = int(np.sqrt(count / 4))
    u, v = np.meshgrid(
        np.linspace(0, 2 * np.pi, 2 * n, endpoint=False), np.linspace(0.1, np.pi - 0.1, n), indexing="ij"
    )
    r = 1 + 0.25 * np.sin(3 * u) * np.sin(v) ** 2 + 0.1 * np.cos(7 * v)
    points = np.stack([r * np.sin(v) * np.cos(u), r * np.cos(v), r * np.sin(v) * np.sin(u)], axis=-1)
    i, j = np.meshgrid(np.arange(2 * n), np.arange(n - 1), indexing="ij")
    a, b = i * n + j, (i + 1) % (2 * n) * n + j
    faces = np.stack([np.stack([a, b, b + 1], -1), np.stack([a, b + 1, a + 1], -1)], axis=2)
    return points.reshape(-1, 3).astype(np.float32), faces.reshape(-1, 3).astype(np.int32)


@cache
def refining(size: int) -> Race:
    points, faces = bulges(size)
    centroid = points[faces].mean(axis=1)
    rng = np.random.default_rng(0)
    centers = centroid[rng.choice(len(faces), 12, replace=False)]
    nearest = ((centroid[:, None] - centers) ** 2).sum(axis=2).argmin(axis=1) % 4
    scores = np.full((len(faces), 4), 0.1, np.float32)
    scores[np.arange(len(faces)), nearest] = 0.7

    def scipy() -> np.ndarray:
        n = len(faces)
        edge = np.sort(faces[:, [[0, 1], [1, 2], [2, 0]]].reshape(-1, 2), axis=1)
        owner = np.repeat(np.arange(n), 3)
        order = np.lexsort((edge[:, 1], edge[:, 0]))
        edge, owner = edge[order], owner[order]
        both = np.flatnonzero((edge[1:] == edge[:-1]).all(axis=1))
        i, j = owner[both], owner[both + 1]
        p, q = (points[edge[both, end]].astype(np.float64) for end in range(2))
        a, b, c = (points[faces[:, corner]].astype(np.float64) for corner in range(3))
        normal = np.cross(b - a, c - a)
        area = np.linalg.norm(normal, axis=1) / 2
        normal /= 2 * area[:, None]
        middle, mid = (a + b + c) / 3, (p + q) / 2
        distance = np.linalg.norm(middle[i] - mid, axis=1) + np.linalg.norm(middle[j] - mid, axis=1)
        angle = np.arccos(np.clip((normal[i] * normal[j]).sum(axis=1), -1, 1))
        concave = ((middle[j] - middle[i]) * (normal[i] - normal[j])).sum(axis=1) > 0
        over = np.maximum(1, SCALE * np.sqrt(area.sum()) / distance)
        g = np.exp(-angle * over / np.where(concave, CONCAVE, CONVEX)) + LEAST
        w = REACH**2 * area.sum() * g * np.linalg.norm(p - q, axis=1) / distance
        weights = coo_matrix((np.r_[w, w], (np.r_[i, j], np.r_[j, i])), (n, n)).tocsc()
        system = diags(area + np.asarray(weights.sum(axis=1)).ravel()) - weights
        x = splu(system.tocsc()).solve(area[:, None] * np.log(scores.astype(np.float64) + FLOOR))
        x = np.exp(x - x.max(axis=1, keepdims=True))
        return x / x.sum(axis=1, keepdims=True)

    def ours() -> np.ndarray:
        return _C.refine(points, faces, scores, threads=THREADS)

    runs = {"pa3d": ours}
    if size <= LARGEST_FOR_SCIPY:
        same = ours().argmax(axis=1) == scipy().argmax(axis=1)
        check(same.mean() > 0.97, "the labels of refine differ from those of the exact solution")
        runs["scipy splu"] = scipy
    return Race(f"refine {size} faces", runs, {})


@pytest.mark.parametrize("competitor", COMPETITORS)
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_refine(benchmark: object, size: int, competitor: str) -> None:
    if competitor not in refining(size).runs:
        pytest.skip("scipy's exact solver takes minutes at this size")
    measure(benchmark, refining(size), competitor)
