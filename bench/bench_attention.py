"""Twelve transformer blocks over 129 tokens, against the same blocks in torch, and its attention alone.

Our time is what the engine reports for this stage within a whole call; pytest-benchmark's column shows the whole call.
"""

from __future__ import annotations

from functools import cache, partial
from typing import Any

import pytest
import torch
from _common import TORCH_VARIANTS, Race, cut, measure, official_checkpoint, random_cloud, torch_variants
from _stages import NATIVE, native_stage

ALONE = ["torch scaled_dot_product_attention fp32", "torch scaled_dot_product_attention bf16"]


def flop(c: Any) -> float:
    tokens = c.patches + 1
    return 2.0 * c.depth * (tokens * (4 * c.dim**2 + 2 * c.dim * c.mlp_hidden) + 2 * tokens**2 * c.dim)


@cache
def blocks() -> Race:
    checkpoint, points = official_checkpoint(), random_cloud(2048)
    c = checkpoint.config
    runs, work = native_stage("blocks", flop(c), checkpoint, points, *cut(points, c))
    x, pos = (torch.randn(1, c.patches + 1, c.dim) for _ in range(2))
    variants = torch_variants(checkpoint, lambda module: module.encoder.blocks, x, pos)
    runs |= {name: partial(run, x, pos) for name, run in variants.items()}
    work["torch eager fp32"] = (flop(c), "fp32")
    for name, dtype in zip(ALONE, (torch.float32, torch.bfloat16), strict=True):
        qkv = torch.randn(3, 1, c.heads, c.patches + 1, c.dim // c.heads).to(dtype)

        def attention(qkv: torch.Tensor = qkv) -> None:
            with torch.no_grad():
                for _ in range(c.depth):
                    torch.nn.functional.scaled_dot_product_attention(*qkv)

        runs[name] = attention
    return Race("12 transformer blocks, 129 tokens", runs, work)


@pytest.mark.parametrize("competitor", [*NATIVE, *TORCH_VARIANTS, *ALONE])
def test_blocks(benchmark: object, competitor: str) -> None:
    race = blocks()
    if competitor not in race.runs:
        pytest.skip("left out of a quick run")
    measure(benchmark, race, competitor)
