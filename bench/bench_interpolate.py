"""Values of 128 centres interpolated at many points, against scipy's tree and torch's distances."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
import torch
from _common import QUICK, THREADS, Race, check, measure, random_cloud
from scipy.spatial import cKDTree

from pa3d import _C
from pa3d.ops import farthest_point_sample, interpolate_reference

SIZES = [(20_000, 1), (1_000_000, 1), (1_000_000, 3)][: 2 if QUICK else 3]
COMPETITORS = ["pa3d", "scipy cKDTree", "torch reference"]
CENTERS, WIDTH, CHUNK = 128, 5, 65_536


@cache
def interpolating(n: int, k: int) -> Race:
    points = random_cloud(n)
    centers = points[farthest_point_sample(points[:2048].copy(), CENTERS)]
    values = np.random.default_rng(2).standard_normal((CENTERS, WIDTH)).astype(np.float32)
    tensors = [torch.from_numpy(a) for a in (points, centers, values)]

    def ours() -> np.ndarray:
        return _C.interpolate(points, centers, values, k, THREADS)

    def scipy() -> np.ndarray:
        distance, index = cKDTree(centers).query(points, k, workers=-1)
        if k == 1:
            return values[index]
        weights = 1 / (distance + 1e-8)
        weights /= weights.sum(1, keepdims=True)
        return np.einsum("nk,nkc->nc", weights, values[index])

    def reference() -> torch.Tensor:
        chunks = tensors[0].split(CHUNK)
        return torch.cat([interpolate_reference(chunk, tensors[1], tensors[2], k) for chunk in chunks])

    found = ours()
    check(np.abs(found - reference().numpy()).max() <= 1e-5, "interpolate differs from its reference")
    check((np.abs(found - scipy()).max(1) <= 1e-4).mean() > 0.9999, "scipy's values differ")
    runs = {"pa3d": ours, "scipy cKDTree": scipy, "torch reference": reference}
    return Race(f"interpolate {n} from {CENTERS}, k = {k}", runs, {"pa3d": (4.0 * n * (3 + WIDTH), "copy")})


@pytest.mark.parametrize("competitor", COMPETITORS)
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_interpolate(benchmark: object, size: tuple[int, int], competitor: str) -> None:
    measure(benchmark, interpolating(*size), competitor)
