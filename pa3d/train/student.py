"""The module that trains: a PatchAligner, a head for 2D features in `joint`, and what of it moves.

Its mini-PointNet computes the published formula with less traffic. The first layer is linear in a patch's coordinates,
so that the moments its batch normalisation needs follow from those of the coordinates,

    mean(W x + b) = W mean(x) + b,    var(W x + b) = diag(W cov(x) W^T)

and the normalisation folds into W: no pass over (R, 128) numbers forward, none backward. Nothing but a maximum lies
between the second layer and the third, so that with f = W2 x + b2 the third, W3 [max f; f] + b3, is

    W3f W2 x + (W3g max f + W3f b2 + b3)

a product with half as many columns, and a term once a patch. The biases b2 and b3 add the same to every row, which the
normalisation behind them takes away: they enter its running mean alone. (Their gradient is 0, and 0 to the bit here.
Elsewhere it is rounding noise, which Adam turns into steps of full length.)
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from pa3d.config import EncoderConfig
from pa3d.model import Attention, Block, Blocks, MiniPointNet, PatchAligner
from pa3d.ops import train_block, train_embed
from pa3d.train.config import OptimizerConfig
from pa3d.train.distributed import batch_norm, sum_over_processes, track

FROZEN_EXCEPT = ("encoder.norm.", "encoder.reduce_dim.", "encoder.cls_token", "encoder.cls_pos", "proj.", "logit_scale")
HEADS = ("proj.", "visual.", "logit_scale")


class Features(NamedTuple):
    """text: (B, G, D) unit, of the projection; in stage 1 that is the head of the 2D features.
    visual: (B, G, V) unit, or None."""

    text: Tensor
    visual: Tensor | None


class Student(PatchAligner):
    """visual: width of a second head, for the 2D features of `joint`; 0 for none. frozen: "none" or "official"."""

    def __init__(self, config: EncoderConfig, *, visual: int = 0, frozen: str = "none") -> None:
        super().__init__(config)
        plain = self.encoder.encoder
        self.encoder.encoder = TrainedPointNet(config.embed)
        self.encoder.encoder.load_state_dict(plain.state_dict())
        blocks = self.encoder.blocks.blocks
        self.encoder.blocks = TrainedBlocks(config)
        self.encoder.blocks.blocks.load_state_dict(blocks.state_dict())
        self.visual = nn.Linear(config.dim, visual) if visual else None
        if frozen == "official":
            open_names = (f"encoder.blocks.blocks.{config.depth - 1}.", *FROZEN_EXCEPT)
            for name, parameter in self.named_parameters():
                parameter.requires_grad_(name.startswith(open_names))

    def forward(self, patches: Tensor, centers: Tensor, kept: Tensor | None = None) -> Features:  # type: ignore[override]
        tokens = self.encoder.encode_patches(patches, centers, kept)
        return Features(unit(self.proj(tokens)), None if self.visual is None else unit(self.visual(tokens)))

    def train(self, mode: bool = True) -> Student:
        """Frozen batch statistics stay as they are."""
        super().train(mode)
        for norm in self.modules():
            if isinstance(norm, nn.BatchNorm1d) and not norm.weight.requires_grad:
                norm.eval()
        return self

    def keep_branches(self, generator: torch.Generator, batch: int) -> Tensor | None:  # (depth, 2, batch)
        """A draw of stochastic depth: 0 for a dropped branch, else what keeps the mean."""
        rates = torch.tensor([block.drop_path for block in self.encoder.blocks.blocks])
        if not (rates > 0).any():
            return None
        keep = (1 - rates)[:, None, None]
        return (torch.rand(len(rates), 2, batch, generator=generator) < keep) / keep

    def aligner_state(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """Of a state_dict of this module, what a checkpoint holds, by its names there."""
        names = self.tensors()
        return {k: state[k if k.startswith("proj.") else f"encoder.{k}"] for k in names}


def unit(x: Tensor) -> Tensor:
    """Rows of length 1, float32 at least."""
    return _Unit.apply(x)


class _Unit(torch.autograd.Function):
    """y = x / |x|, dx = (dy - y (y . dy)) / |x|, in half the passes over memory that F.normalize takes."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        y = x.to(torch.promote_types(x.dtype, torch.float32), copy=True)
        length = torch.linalg.vector_norm(y, dim=-1, keepdim=True).clamp_(min=1e-12)
        ctx.dtype = x.dtype
        ctx.save_for_backward(y.div_(length), length)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        y, length = ctx.saved_tensors
        along = torch.linalg.vecdot(grad, y)[..., None]
        return torch.addcmul(grad, y, along, value=-1).div_(length).to(ctx.dtype)


class TrainedBlocks(Blocks):
    """Blocks, on the CPU through the kernels of pa3d.ops.train_block."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__(config)
        for block in self.blocks:
            assert isinstance(block, Block)
            block.attn = TrainedAttention(config.dim, config.heads)

    def forward(self, x: Tensor, pos: Tensor, kept: Tensor | None = None) -> Tensor:
        half = torch.is_autocast_enabled(x.device.type)
        first = self.blocks[0]
        assert isinstance(first, Block)
        heads, hidden = first.attn.heads, first.mlp.fc1.out_features
        draws = kept is None and self.training and any(block.drop_path for block in self.blocks)
        if draws or x.device.type != "cpu":
            return super().forward(x, pos, kept)
        if train_block.backend(half, heads, hidden, x, *self.parameters()) != "native":
            return super().forward(x, pos, kept)
        for i, block in enumerate(self.blocks):
            assert isinstance(block, Block)
            weights = tuple(block.parameters())
            shares = None if kept is None or block.drop_path == 0 else kept[i]
            x = train_block.train_block(x, pos, shares, weights, heads=heads, eps=block.norm1.eps, half=half)
        return x


class TrainedAttention(Attention):
    """Attention as three products on the CPU, where they and their gradients are faster at these sizes than the fused
    operation; scores are those of the tokens' dtype either way."""

    def forward(self, x: Tensor) -> Tensor:
        if x.device.type != "cpu":
            return super().forward(x)
        b, t, c = x.shape
        q, k, v = self.qkv(x).reshape(b, t, 3, self.heads, c // self.heads).permute(2, 0, 3, 1, 4)
        with torch.autocast("cpu", enabled=False):
            weights = ((q * (c // self.heads) ** -0.5) @ k.transpose(-2, -1)).softmax(dim=-1)
            mixed = (weights @ v).transpose(1, 2).reshape(b, t, c)
        return self.proj(mixed)


class TrainedPointNet(MiniPointNet):
    """MiniPointNet, with batch statistics over all processes."""

    def forward(self, patches: Tensor) -> Tensor:  # (B, G, M, 3) -> (B, G, W3)
        conv1, norm1, conv2 = _layers(self.first_conv)
        conv3, norm2, conv4 = _layers(self.second_conv)
        assert conv2.bias is not None and conv3.bias is not None and conv4.bias is not None
        b, g, m, _ = patches.shape
        rows, device = patches.reshape(b * g * m, 3), patches.device.type
        w2, w3, w4 = conv2.weight.squeeze(-1), conv3.weight.squeeze(-1), conv4.weight.squeeze(-1)
        split = len(w2)
        first, first_bias = first_layer(rows, conv1, norm1)
        with torch.autocast(device, enabled=False):
            merged, pooling = w3[:, split:] @ w2, w3[:, :split]
            offset = (w3[:, split:] + pooling) @ conv2.bias.detach() + conv3.bias.detach()
        nothing = 0 * (conv2.bias.sum() + conv3.bias.sum())  # so that both have a gradient, of zeros
        half, widths = torch.is_autocast_enabled(device), (len(first), *map(len, (w2, w3, w4)))
        if device == "cpu" and train_embed.backend(half, widths, patches, *self.parameters()) == "native":
            cut, head = patches.reshape(b * g, m, 3), (first, first_bias, w2, merged, pooling)
            if norm2.training:
                out, (mean, variance, count) = train_embed.train_embed(
                    cut, *head, norm2.weight, norm2.bias, w4, conv4.bias, norm2.eps, half, sum_over_processes
                )
                track(norm2, mean + offset, variance, count)
                return (out + nothing).reshape(b, g, -1)
            if not (torch.is_grad_enabled() and any(p.requires_grad for p in self.parameters())):
                scale, shift = affine(norm2)
                shift = shift + offset * scale
                return train_embed.frozen_embed(cut, *head, scale, shift, w4, conv4.bias, half).reshape(b, g, -1)
        x = F.relu(F.linear(rows, first, first_bias), inplace=True).reshape(b * g, m, -1)
        pooled = linear_max(x, w2, None)
        if norm2.training:
            h = F.linear(x, merged) + (F.linear(pooled, pooling) + nothing.to(pooled.dtype))[:, None]
            h = batch_norm(h.reshape(b * g * m, -1), norm2, offset).reshape(b * g, m, -1)
        else:
            with torch.autocast(device, enabled=False):
                scale, shift = affine(norm2)
                merged, pooling, offset = merged * scale[:, None], pooling * scale[:, None], offset * scale + shift
            h = F.linear(x, merged) + F.linear(pooled, pooling, offset)[:, None]
        return linear_max(F.relu(h, inplace=True), w4, conv4.bias).reshape(b, g, -1)


def linear_max(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:  # (P, M, K), (N, K) -> (P, N)
    """The largest of each patch's rows after a linear layer."""
    return F.linear(x, weight, bias).max(dim=1).values


def first_layer(rows: Tensor, conv: nn.Conv1d, norm: nn.BatchNorm1d) -> tuple[Tensor, Tensor]:  # (R, 3)
    """Weight and bias of the first convolution and its normalisation as one layer; moves the running statistics."""
    assert conv.bias is not None
    if not norm.training:
        scale, shift = affine(norm)
        return conv.weight.squeeze(-1) * scale[:, None], conv.bias * scale + shift
    with torch.autocast(rows.device.type, enabled=False):
        with torch.no_grad():
            x = rows.double()
            sums = sum_over_processes(torch.cat([x.new_full((1,), len(x)), x.sum(dim=0), (x.T @ x).flatten()]))
            n, mean = sums[0], sums[1:4] / sums[0]
            covariance = sums[4:].reshape(3, 3) / n - torch.outer(mean, mean)
            mean, covariance = mean.to(conv.weight.dtype), covariance.to(conv.weight.dtype)
        w = conv.weight.squeeze(-1)
        center = w @ mean + conv.bias
        variance = ((w @ covariance) * w).sum(dim=1)
        scale = norm.weight * (variance + norm.eps).rsqrt()
        track(norm, center.detach(), variance.detach(), n)
        return w * scale[:, None], norm.bias + (conv.bias - center) * scale


def affine(norm: nn.BatchNorm1d) -> tuple[Tensor, Tensor]:
    """Scale and shift of a normalisation by its running statistics."""
    assert norm.running_mean is not None and norm.running_var is not None
    scale = norm.weight * (norm.running_var + norm.eps).rsqrt()
    return scale, norm.bias - norm.running_mean * scale


def _layers(layers: nn.Sequential) -> tuple[nn.Conv1d, nn.BatchNorm1d, nn.Conv1d]:
    first, norm, _, second = layers
    assert isinstance(first, nn.Conv1d) and isinstance(norm, nn.BatchNorm1d) and isinstance(second, nn.Conv1d)
    return first, norm, second


def parameter_groups(student: Student, c: OptimizerConfig) -> list[dict[str, Any]]:
    """What moves, in groups of encoder and heads, decayed and not; each with the rate that the schedule scales."""
    groups: dict[tuple[bool, bool], dict[str, Any]] = {}
    for name, parameter in student.named_parameters():
        if not parameter.requires_grad:
            continue
        head, decayed = name.startswith(HEADS), c.decay_vectors or parameter.ndim >= 2
        rate = c.head_lr if head else c.lr
        decay = c.weight_decay if decayed else 0.0
        new = {"params": [], "names": [], "weight_decay": decay, "lr": rate, "initial_lr": rate}
        group = groups.setdefault((head, decayed), new)
        group["params"].append(parameter)
        group["names"].append(name)
    return list(groups.values())
