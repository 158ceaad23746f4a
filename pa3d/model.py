"""The encoder of PatchAlign3D (arXiv 2601.02457) as torch modules, for training and for GPUs.

    points (B, N, 3) -> 128 patches of 32 points -> mini-PointNet -> transformer -> tokens (B, G, C)

Names of weights are those of the published checkpoints. The arithmetic is arranged for speed: 1x1 convolutions are
matrix products over rows. The input of the third layer of the mini-PointNet is the maximum g over a patch together with
the feature f of each of its points. W_g g is computed once per patch: W [g; f] = W_g g + W_f f.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pa3d.config import EncoderConfig
from pa3d.ops.group import gather, sample_and_group

__all__ = ["Encoded", "Encoder", "EncoderConfig", "PatchAligner"]


class Encoded(NamedTuple):
    """tokens (B, G, C) after the final norm; centers (B, G, 3); members (B, G, M) indices into the points."""

    tokens: Tensor
    centers: Tensor
    members: Tensor


class Encoder(nn.Module):
    """points (B, N, 3) float32, in the model's axes (y and z swapped against y-up data), unit sphere -> Encoded.

    One pass over all points, whatever config.pass_points says (pa3d.passes).
    """

    def __init__(self, config: EncoderConfig | None = None) -> None:
        super().__init__()
        self.config = c = config or EncoderConfig()
        self.encoder = MiniPointNet(c.embed)
        self.reduce_dim = nn.Linear(c.embed[3], c.dim)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, c.dim))
        self.cls_pos = nn.Parameter(torch.randn(1, 1, c.dim))
        self.pos_embed = nn.Sequential(nn.Linear(3, c.pos_hidden), nn.GELU(), nn.Linear(c.pos_hidden, c.dim))
        self.blocks = Blocks(c)
        self.norm = nn.LayerNorm(c.dim)
        self.apply(_init)
        nn.init.trunc_normal_(self.cls_token, std=0.02)
        nn.init.trunc_normal_(self.cls_pos, std=0.02)

    def forward(self, points: Tensor) -> Encoded:
        c = self.config
        with torch.no_grad():
            index, members = sample_and_group(points.float(), c.patches, c.patch_size, min_sq_norm=c.min_sq_norm)
        centers = gather(points, index)
        b, g, m = members.shape
        patches = gather(points, members.reshape(b, g * m)).reshape(b, g, m, 3) - centers[:, :, None]
        return Encoded(self.encode_patches(patches, centers), centers, members)

    def encode_patches(
        self,
        patches: Tensor,  # (B, G, M, 3)
        centers: Tensor,  # (B, G, 3)
        drop_path_scale: Tensor | None = None,  # (depth, 2, B)
    ) -> Tensor:  # (B, G, C)
        """Tokens of patches cut beforehand, their points relative to the centres.

        drop_path_scale: what the branches of each block are multiplied with, in place of a draw of stochastic depth.
        """
        return self.encode_shape(patches, centers, drop_path_scale)[:, 1:]

    def encode_shape(
        self,
        patches: Tensor,  # (B, G, M, 3)
        centers: Tensor,  # (B, G, 3)
        drop_path_scale: Tensor | None = None,  # (depth, 2, B)
    ) -> Tensor:  # (B, 1 + G, C)
        """As encode_patches, with the class token before the patches."""
        b = len(patches)
        x = self.reduce_dim(self.encoder(patches))
        x = torch.cat([self.cls_token.expand(b, -1, -1).to(x.dtype), x], dim=1)
        pos = self.pos_embed(centers)
        pos = torch.cat([self.cls_pos.expand(b, -1, -1).to(pos.dtype), pos], dim=1)
        return self.norm(self.blocks(x, pos, drop_path_scale))


class PatchAligner(nn.Module):
    """An encoder, its projection to a text space, and the temperature of stage 2 (as the logarithm of its inverse)."""

    def __init__(self, config: EncoderConfig | None = None, temperature: float = 0.07) -> None:
        super().__init__()
        self.encoder = Encoder(config)
        self.proj = nn.Linear(self.encoder.config.dim, self.encoder.config.text_dim)
        self.logit_scale = nn.Parameter(torch.tensor(1.0 / temperature).log())

    def forward(self, patches: Tensor, centers: Tensor) -> Tensor:  # (B, G, M, 3), (B, G, 3) -> (B, G, D) unit
        return F.normalize(self.proj(self.encoder.encode_patches(patches, centers)).float(), dim=-1)

    @property
    def scale(self) -> Tensor:
        """What cosines are multiplied with, at most 100."""
        return self.logit_scale.exp().clamp(max=100.0)

    def tensors(self) -> dict[str, Tensor]:
        """Weights of encoder and projection under the names of EncoderConfig.shapes."""
        state = {**self.encoder.state_dict(), **{f"proj.{k}": v for k, v in self.proj.state_dict().items()}}
        return {k: v for k, v in state.items() if not k.endswith("num_batches_tracked")}

    def load_tensors(self, tensors: dict[str, Tensor]) -> None:
        proj = {k.removeprefix("proj."): v for k, v in tensors.items() if k.startswith("proj.")}
        self.proj.load_state_dict(proj)
        encoder_tensors = {k: v for k, v in tensors.items() if not k.startswith("proj.")}
        missing, unexpected = self.encoder.load_state_dict(encoder_tensors, strict=False)
        wrong = [k for k in missing if not k.endswith("num_batches_tracked")] + list(unexpected)
        if wrong:
            raise ValueError(f"weights do not fit the encoder: {', '.join(wrong[:5])}")


class MiniPointNet(nn.Module):
    """A patch's points (relative) -> one vector. Conv1d and BatchNorm1d modules hold the weights, for their names."""

    def __init__(self, widths: tuple[int, int, int, int]) -> None:
        super().__init__()
        w0, w1, w2, w3 = widths
        self.first_conv = nn.Sequential(
            nn.Conv1d(3, w0, 1), nn.BatchNorm1d(w0), nn.ReLU(inplace=True), nn.Conv1d(w0, w1, 1)
        )
        self.second_conv = nn.Sequential(
            nn.Conv1d(2 * w1, w2, 1), nn.BatchNorm1d(w2), nn.ReLU(inplace=True), nn.Conv1d(w2, w3, 1)
        )

    def forward(self, patches: Tensor) -> Tensor:  # (B, G, M, 3) -> (B, G, W3)
        b, g, m, _ = patches.shape
        conv1, norm1, _, conv2 = self.first_conv
        conv3, norm2, _, conv4 = self.second_conv
        assert isinstance(conv3, nn.Conv1d)
        x = F.relu(norm1(_rows(conv1, patches.reshape(b * g * m, 3))))
        f = _rows(conv2, x).reshape(b * g, m, -1)
        pooled = f.max(dim=1).values
        w = conv3.weight.squeeze(-1)
        split = f.shape[-1]
        h = F.linear(f, w[:, split:]) + F.linear(pooled, w[:, :split], conv3.bias)[:, None]
        h = F.relu(norm2(h.reshape(b * g * m, -1)))
        return _rows(conv4, h).reshape(b, g, m, -1).max(dim=2).values


def _rows(conv: nn.Module, x: Tensor) -> Tensor:
    """A 1x1 convolution over rows."""
    return F.linear(x, conv.weight.squeeze(-1), conv.bias)  # type: ignore[operator, arg-type]


class Blocks(nn.Module):
    def __init__(self, c: EncoderConfig) -> None:
        super().__init__()
        rates = torch.linspace(0, c.drop_path, c.depth).tolist()
        self.blocks = nn.ModuleList(Block(c, rate) for rate in rates)

    def forward(self, x: Tensor, pos: Tensor, drop_path_scale: Tensor | None = None) -> Tensor:
        for i, block in enumerate(self.blocks):
            x = block(x + pos, None if drop_path_scale is None else drop_path_scale[i])
        return x


class Block(nn.Module):
    def __init__(self, c: EncoderConfig, drop_path: float) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(c.dim)
        self.attn = Attention(c.dim, c.heads)
        self.norm2 = nn.LayerNorm(c.dim)
        self.mlp = Mlp(c.dim, c.mlp_hidden)
        self.drop_path = drop_path

    def forward(self, x: Tensor, drop_path_scale: Tensor | None = None) -> Tensor:
        if drop_path_scale is not None and self.drop_path > 0:
            attention_scale, mlp_scale = drop_path_scale[:, :, None, None]
            x = torch.addcmul(x, self.attn(self.norm1(x)), attention_scale)
            return torch.addcmul(x, self.mlp(self.norm2(x)), mlp_scale)
        x = x + self._drop(self.attn(self.norm1(x)))
        return x + self._drop(self.mlp(self.norm2(x)))

    def _drop(self, branch: Tensor) -> Tensor:
        """Stochastic depth: the whole branch of a shape is dropped, the others are scaled to keep the mean."""
        if not self.training or self.drop_path == 0:
            return branch
        keep = 1 - self.drop_path
        return branch * torch.empty(len(branch), 1, 1, device=branch.device).bernoulli_(keep).to(branch.dtype) / keep


class Attention(nn.Module):
    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(dim, 3 * dim, bias=False)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        b, t, c = x.shape
        q, k, v = self.qkv(x).reshape(b, t, 3, self.heads, c // self.heads).permute(2, 0, 3, 1, 4)
        return self.proj(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(b, t, c))


class Mlp(nn.Module):
    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(dim, hidden)
        self.fc2 = nn.Linear(hidden, dim)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(F.gelu(self.fc1(x)))


def _init(module: nn.Module) -> None:
    if isinstance(module, nn.Linear | nn.Conv1d):
        nn.init.trunc_normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
