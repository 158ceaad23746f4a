"""A cloud of any density, encoded at the density that the model was trained with.

A patch is a centre and its nearest points: the denser the cloud, the smaller the patch. So a model with
EncoderConfig.pass_points encodes a cloud in several passes. Each pass gets about so many points, spread over the whole
cloud, and cuts them into half of EncoderConfig.patches; the patches of all passes together are the result. There are at
least two passes, which share points if the cloud has few.

csrc/cpu/passes.cpp is the same for the native encoder; this is for torch.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pa3d.config import EncoderConfig

GOLDEN = 2654435769  # 2**32 * 0.618...; odd, so no two points have the same key


@dataclass(frozen=True)
class Passes:
    """How many passes, and the points and patches of each."""

    count: int
    points: int
    patches: int


def passes_for(config: EncoderConfig, n: int) -> Passes:
    """The passes for n points; a single one for a model without pass_points."""
    if not config.pass_points:
        return Passes(1, n, config.patches)
    count = max(2, (2 * n + config.pass_points) // (2 * config.pass_points))
    return Passes(count, min(n, max(config.pass_points, -(-n // count))), config.patches // 2)


def pass_indices(passes: Passes, n: int) -> NDArray[np.int64]:  # (count, points)
    """The points of each pass; every one of n points is in at least one.

    The points are put into the order of the fractional parts of i * 0.618..., in which neighbours are spread evenly
    over 0..n-1, whatever pattern the cloud's order has. Every pass is a run of that order, which begins anew at its
    end.
    """
    if passes.count == 1:
        return np.arange(n)[None]
    order = np.argsort(np.arange(n, dtype=np.uint64) * np.uint64(GOLDEN) & np.uint64(0xFFFFFFFF))
    first = np.arange(passes.count) * n // passes.count
    return order[(first[:, None] + np.arange(passes.points)) % n].astype(np.int64)
