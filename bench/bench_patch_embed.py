"""Points of 128 patches to vectors (mini-PointNet, reduce_dim, positions), against the same modules in torch.

Ours is the seconds that the engine tells of this stage within a whole call; pytest-benchmark's column shows the call.
"""

from __future__ import annotations

from functools import cache, partial
from typing import Any

import numpy as np
import pytest
from _common import (
    THREADS,
    TORCH_VARIANTS,
    Race,
    check,
    cut,
    measure,
    native_precisions,
    official_checkpoint,
    random_cloud,
    torch_variants,
)

from pa3d.native import NativeEncoder

NATIVE = [f"pa3d {precision}" for precision in native_precisions()]


def flop(c: Any) -> float:
    w0, w1, w2, w3 = c.embed
    point = 3 * w0 + w0 * w1 + w0 * w2 + w2 * w3  # the second and third layer's product as the engine merges them
    return 2.0 * c.patches * (c.patch_size * point + w1 * w2 + w3 * c.dim + 3 * c.pos_hidden + c.pos_hidden * c.dim)


@cache
def embedding() -> Race:
    checkpoint, points = official_checkpoint(), random_cloud(2048)
    patches, centers = cut(points, checkpoint.config)

    def part(module: Any) -> Any:
        encoder = module.encoder
        return lambda patches, centers: (encoder.reduce_dim(encoder.encoder(patches)), encoder.pos_embed(centers))

    runs, work = {}, {}
    whole = torch_variants(checkpoint, lambda module: module, patches, centers, compiled=False)
    expected = whole["torch eager fp32"](patches, centers)[0].numpy()
    for precision in native_precisions():
        encoder = NativeEncoder(checkpoint, precision, THREADS)
        cosine = np.einsum("gd,gd->g", encoder(points).features, expected)
        check(cosine.min() > {"fp32": 0.99999, "bf16": 0.99, "int8": 0.9}[precision], f"{precision} differs from torch")
        runs[f"pa3d {precision}"] = lambda encoder=encoder: encoder(points).seconds["embed"]
        work[f"pa3d {precision}"] = (flop(checkpoint.config), "fp32" if precision == "fp32" else "bf16")
    variants = torch_variants(checkpoint, part, patches, centers)
    runs |= {name: partial(run, patches, centers) for name, run in variants.items()}
    work["torch eager fp32"] = (flop(checkpoint.config), "fp32")
    return Race("patch embedding, 128 x 32 points", runs, work)


@pytest.mark.parametrize("competitor", [*NATIVE, *TORCH_VARIANTS])
def test_patch_embed(benchmark: object, competitor: str) -> None:
    race = embedding()
    if competitor not in race.runs:
        pytest.skip("left out of a quick run")
    measure(benchmark, race, competitor)
