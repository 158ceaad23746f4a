"""Points of 128 patches to vectors (mini-PointNet, reduce_dim, positions), against the same modules in torch.

Our time is what the engine reports for this stage within a whole call; pytest-benchmark's column shows the whole call.
"""

from __future__ import annotations

from functools import cache, partial
from typing import Any

import pytest
from _common import TORCH_VARIANTS, Race, cut, measure, official_checkpoint, random_cloud, torch_variants
from _stages import NATIVE, native_stage


def flop(c: Any) -> float:
    w0, w1, w2, w3 = c.embed
    point = 3 * w0 + w0 * w1 + w0 * w2 + w2 * w3  # the engine merges the products of the second and third layer
    return 2.0 * c.patches * (c.patch_size * point + w1 * w2 + w3 * c.dim + 3 * c.pos_hidden + c.pos_hidden * c.dim)


@cache
def embedding() -> Race:
    checkpoint, points = official_checkpoint(), random_cloud(2048)
    patches, centers = cut(points, checkpoint.config)

    def part(module: Any) -> Any:
        encoder = module.encoder
        return lambda patches, centers: (encoder.reduce_dim(encoder.encoder(patches)), encoder.pos_embed(centers))

    runs, work = native_stage("embed", flop(checkpoint.config), checkpoint, points, patches, centers)
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
