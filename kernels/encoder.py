"""The whole forward pass of pa3d.model.PatchAligner on the fused kernels, for inference in 16 bits.

    points -> sample_and_group -> patch_embed -> blocks -> norm -> projection

Operands of matrix products have 16 bits; sums, LayerNorm, GELU and the residual stream are float32. Nothing waits for
the GPU or reads a value back, so the pass can be captured into a CUDA graph.
"""

# mypy: allow-untyped-defs
from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from pa3d.ops.group import gather, sample_and_group

from .attention import HEAD_DIMS
from .block import BlockWeights, linear, transformer_block
from .patch_embed import fold, patch_embed

# The most points per patch, and the widest layers, that `report` compiles without register spills; patch_embed accepts
# more.
MAX_SIZE, MAX_WIDTH = 32, 256


def unsupported_reason(config: Any) -> str | None:
    """Why the kernels cannot take a model of this pa3d.config.EncoderConfig, or None."""
    width = config.dim // config.heads
    if width not in HEAD_DIMS:
        return f"its heads are {width} wide; expected {', '.join(map(str, HEAD_DIMS))}"
    if config.patch_size > MAX_SIZE:
        return f"its patches have {config.patch_size} points; expected at most {MAX_SIZE}"
    if max(config.embed[1], config.embed[3]) > MAX_WIDTH:
        return f"its mini-PointNet is {max(config.embed)} wide; expected at most {MAX_WIDTH}"
    return None


class FusedEncoder:
    """model: a PatchAligner, whose weights are copied; dtype: bfloat16 or float16."""

    def __init__(self, model: Any, dtype: torch.dtype = torch.bfloat16) -> None:
        encoder = model.encoder
        self._config = encoder.config
        self._embed = fold(encoder.encoder, dtype)
        first, _, second = encoder.pos_embed
        self._reduce, self._proj = _matrix(encoder.reduce_dim, dtype), _matrix(model.proj, dtype)
        self._pos = _matrix(first, dtype), _matrix(second, dtype)
        self._cls, self._cls_pos = encoder.cls_token.detach().float(), encoder.cls_pos.detach().float()
        self._blocks = [BlockWeights.of(block, dtype) for block in encoder.blocks.blocks]
        self._norm = encoder.norm.weight.detach().float(), encoder.norm.bias.detach().float()
        self._eps = encoder.norm.eps

    @torch.no_grad()
    def __call__(self, points: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:  # (B, N, 3) float32
        """features (B, G, D) unit vectors, tokens (B, G, C), centers (B, G, 3), float32; members (B, G, M) indices."""
        c, b = self._config, len(points)
        center_idx, members = sample_and_group(points, c.patches, c.patch_size, min_sq_norm=c.min_sq_norm)
        centers = gather(points, center_idx)
        x = linear(patch_embed(points, center_idx, members, self._embed), *self._reduce)
        x = torch.cat([self._cls.expand(b, -1, -1), x.float()], dim=1)
        (first, first_bias), second = self._pos
        pos = linear(linear(centers, first, first_bias, gelu=True), *second)
        pos = torch.cat([self._cls_pos.expand(b, -1, -1), pos.float()], dim=1)
        for weights in self._blocks:
            x = transformer_block(x + pos, weights)
        tokens = nn.functional.layer_norm(x, x.shape[-1:], *self._norm, self._eps)[:, 1:].contiguous()
        features = nn.functional.normalize(linear(tokens, *self._proj).float(), dim=-1)
        return features, tokens, centers, members


def _matrix(layer: Any, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    return layer.weight.detach().to(dtype).contiguous(), layer.bias.detach().float().contiguous()
