"""Clouds that samplers and searches stumble over."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

KINDS = ("random", "duplicated", "collinear", "planar", "grid")


def cloud(kind: str, n: int, seed: int = 0) -> NDArray[np.float32]:  # (n, 3)
    """random: a ball's box; duplicated: few distinct points; collinear; planar; grid: equal distances."""
    rng = np.random.default_rng([seed, n])
    x = rng.standard_normal((n, 3))
    if kind == "duplicated":
        x = x[rng.integers(0, max(1, n // 8), n)]
    elif kind == "collinear":
        x = x[:, :1] * [1.0, -2.0, 0.5] + 0.25
    elif kind == "planar":
        x = x * [1.0, 0.0, 1.0]
    elif kind == "grid":
        x = rng.integers(-4, 5, (n, 3)) / 4
    return np.ascontiguousarray(x, np.float32)
