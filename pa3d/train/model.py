"""The module that trains: a PatchAligner, in `joint` with a second head for 2D features, on kernels made for training.

Its mini-PointNet computes the published formula with less memory traffic. The first layer is linear in the coordinates
of a patch's points, so the moments that its batch normalization needs follow from those of the coordinates,

    mean(W x + b) = W mean(x) + b,    var(W x + b) = diag(W cov(x) W^T)

and the normalization folds into W: no pass over (R, 128) numbers forward, none backward. Between the second layer and
the third there is only a maximum. So with f = W2 x + b2, of size n, the third layer, W3 [max f; f] + b3, is

    w3_local x + (w3_max max f + W3[:, n:] b2 + b3),    w3_local = W3[:, n:] W2,    w3_max = W3[:, :n]

a product with half as many columns, and one term per patch. The biases b2 and b3 add the same to every row, and the
normalization after them removes it again: they only move its running mean. (Their gradient is exactly 0 here. Elsewhere
it is rounding noise, which Adam turns into steps of full length.)
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
from pa3d.train.distributed import all_reduce_sum, sync_batch_norm, update_running_stats

# What trains with freeze="official", besides the last block: prefixes of parameters.
TRAINABLE = ("encoder.norm.", "encoder.reduce_dim.", "encoder.cls_token", "encoder.cls_pos", "proj.", "logit_scale")


class Features(NamedTuple):
    """Unit vectors of every patch.

    projected: (B, G, D), compared with text; in stage 1 with 2D features.
    visual: (B, G, V), the second head of `joint`, compared with 2D features; else None.
    shape: (B, D), the class token by the same projection, compared with names of categories; None without that loss.
    """

    projected: Tensor
    visual: Tensor | None
    shape: Tensor | None = None


class TrainModel(PatchAligner):
    """
    visual_dim: width of a second head for 2D features; 0 for none.
    class_token: whether the features of the class token are computed, too.
    freeze: "none"; or "official": only the last block and TRAINABLE train; or "as released": the same, but batch
        normalizations stay in train mode.
    """

    def __init__(
        self, config: EncoderConfig, *, visual_dim: int = 0, class_token: bool = False, freeze: str = "none"
    ) -> None:
        super().__init__(config)
        point_net = self.encoder.encoder
        self.encoder.encoder = TrainPointNet(config.embed)
        self.encoder.encoder.load_state_dict(point_net.state_dict())
        blocks = self.encoder.blocks
        self.encoder.blocks = TrainBlocks(config)
        self.encoder.blocks.load_state_dict(blocks.state_dict())
        self.visual = nn.Linear(config.dim, visual_dim) if visual_dim else None
        self._class_token = class_token
        self._train_mode_everywhere = freeze == "as released"
        if freeze != "none":
            trainable = (f"encoder.blocks.blocks.{config.depth - 1}.", *TRAINABLE)
            for name, parameter in self.named_parameters():
                parameter.requires_grad_(name.startswith(trainable))

    def forward(  # type: ignore[override]
        self,
        patches: Tensor,  # (B, G, M, 3) relative to the centers
        centers: Tensor,  # (B, G, 3)
        drop_path_scale: Tensor | None = None,  # (depth, 2, B)
    ) -> Features:
        tokens = self.encoder.encode_shape(patches, centers, drop_path_scale)
        shape = normalize(self.proj(tokens[:, 0])) if self._class_token else None
        tokens = tokens[:, 1:]
        visual = None if self.visual is None else normalize(self.visual(tokens))
        return Features(normalize(self.proj(tokens)), visual, shape)

    def train(self, mode: bool = True) -> TrainModel:
        """As nn.Module.train, but frozen batch normalizations stay in eval mode and keep their statistics, unless
        freeze is "as released"."""
        super().train(mode)
        if self._train_mode_everywhere:
            return self
        for norm in self.modules():
            if isinstance(norm, nn.BatchNorm1d) and not norm.weight.requires_grad:
                norm.eval()
        return self

    def sample_drop_path_scale(
        self, generator: torch.Generator, batch_size: int
    ) -> Tensor | None:  # (depth, 2, batch_size)
        """A draw of stochastic depth: what each block's two branches are multiplied with, per shape.

        0 drops a branch; the others have 1 / (1 - rate), which keeps the mean. None where no block has a rate.
        """
        rates = torch.tensor([block.drop_path for block in self.encoder.blocks.blocks])
        if not (rates > 0).any():
            return None
        keep = (1 - rates)[:, None, None]
        return (torch.rand(len(rates), 2, batch_size, generator=generator) < keep) / keep

    def aligner_tensors(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """From a state dict of this module, the tensors of a checkpoint by their names there."""
        return {k: state[k if k.startswith("proj.") else f"encoder.{k}"] for k in self.tensors()}


def normalize(x: Tensor) -> Tensor:  # (..., D) -> (..., D)
    """x / |x| over the last dimension, in float32 or wider."""
    return _Normalize.apply(x)


class _Normalize(torch.autograd.Function):
    """y = x / |x|, dx = (dy - y (y . dy)) / |x|, in half the passes over memory that F.normalize takes."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        y = x.to(torch.promote_types(x.dtype, torch.float32), copy=True)
        norm = torch.linalg.vector_norm(y, dim=-1, keepdim=True).clamp_(min=1e-12)
        ctx.dtype = x.dtype
        ctx.save_for_backward(y.div_(norm), norm)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        y, norm = ctx.saved_tensors
        dot = torch.linalg.vecdot(grad, y)[..., None]
        return torch.addcmul(grad, y, dot, value=-1).div_(norm).to(ctx.dtype)


class TrainBlocks(Blocks):
    """Blocks, on the CPU through the kernels of pa3d.ops.train_block."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__(config)
        for block in self.blocks:
            assert isinstance(block, Block)
            block.attn = TrainAttention(config.dim, config.heads)

    def forward(self, x: Tensor, pos: Tensor, drop_path_scale: Tensor | None = None) -> Tensor:
        half = torch.is_autocast_enabled(x.device.type)
        first = self.blocks[0]
        assert isinstance(first, Block)
        heads, hidden = first.attn.heads, first.mlp.fc1.out_features
        needs_drop_path = drop_path_scale is None and self.training and any(block.drop_path for block in self.blocks)
        if needs_drop_path or x.device.type != "cpu":
            return super().forward(x, pos, drop_path_scale)
        if train_block.backend(half, heads, hidden, x, *self.parameters()) != "native":
            return super().forward(x, pos, drop_path_scale)
        for i, block in enumerate(self.blocks):
            assert isinstance(block, Block)
            weights = tuple(block.parameters())
            scale = None if drop_path_scale is None or block.drop_path == 0 else drop_path_scale[i]
            x = train_block.train_block(x, pos, scale, weights, heads=heads, eps=block.norm1.eps, bf16=half)
        return x


class TrainAttention(Attention):
    """Attention as three products on the CPU, where they and their gradients are faster at these sizes than the fused
    operation. The scores have the dtype of the tokens either way."""

    def forward(self, x: Tensor) -> Tensor:  # (B, T, C) -> (B, T, C)
        if x.device.type != "cpu":
            return super().forward(x)
        b, t, c = x.shape
        q, k, v = self.qkv(x).reshape(b, t, 3, self.heads, c // self.heads).permute(2, 0, 3, 1, 4)
        with torch.autocast("cpu", enabled=False):
            probs = ((q * (c // self.heads) ** -0.5) @ k.transpose(-2, -1)).softmax(dim=-1)
            attn_out = (probs @ v).transpose(1, 2).reshape(b, t, c)
        return self.proj(attn_out)


class TrainPointNet(MiniPointNet):
    """MiniPointNet, with batch statistics over all processes."""

    def forward(self, patches: Tensor) -> Tensor:  # (B, G, M, 3) -> (B, G, W3)
        conv1, norm1, conv2 = _unpack(self.first_conv)
        conv3, norm2, conv4 = _unpack(self.second_conv)
        assert conv2.bias is not None and conv3.bias is not None and conv4.bias is not None
        b, g, m, _ = patches.shape
        rows, device = patches.reshape(b * g * m, 3), patches.device.type
        w2, w3, w4 = conv2.weight.squeeze(-1), conv3.weight.squeeze(-1), conv4.weight.squeeze(-1)
        num_features = len(w2)
        w1, b1 = fold_first_norm(rows, conv1, norm1)
        with torch.autocast(device, enabled=False):
            # The third layer takes the first layer's output times `w3_local` and the patch's maximum times `w3_max`.
            w3_local, w3_max = w3[:, num_features:] @ w2, w3[:, :num_features]
            offset = (w3[:, num_features:] + w3_max) @ conv2.bias.detach() + conv3.bias.detach()
        zero_grad_term = 0 * (conv2.bias.sum() + conv3.bias.sum())  # so that both have a gradient, of zeros
        half, widths = torch.is_autocast_enabled(device), (len(w1), *map(len, (w2, w3, w4)))
        if device == "cpu" and train_embed.backend(half, widths, patches, *self.parameters()) == "native":
            flat_patches, layers = patches.reshape(b * g, m, 3), (w1, b1, w2, w3_local, w3_max)
            if norm2.training:
                out, (mean, variance, count) = train_embed.train_embed(
                    flat_patches, *layers, norm2.weight, norm2.bias, w4, conv4.bias, norm2.eps, half, all_reduce_sum
                )
                update_running_stats(norm2, mean + offset, variance, count)
                return (out + zero_grad_term).reshape(b, g, -1)
            if not (torch.is_grad_enabled() and any(p.requires_grad for p in self.parameters())):
                scale, shift = eval_affine(norm2)
                shift = shift + offset * scale
                out = train_embed.eval_embed(flat_patches, *layers, scale, shift, w4, conv4.bias, half)
                return out.reshape(b, g, -1)
        x = F.relu(F.linear(rows, w1, b1), inplace=True).reshape(b * g, m, -1)
        pooled = linear_max(x, w2, None)
        if norm2.training:
            h = F.linear(x, w3_local) + (F.linear(pooled, w3_max) + zero_grad_term.to(pooled.dtype))[:, None]
            h = sync_batch_norm(h.reshape(b * g * m, -1), norm2, offset).reshape(b * g, m, -1)
        else:
            with torch.autocast(device, enabled=False):
                scale, shift = eval_affine(norm2)
                w3_local, w3_max, offset = w3_local * scale[:, None], w3_max * scale[:, None], offset * scale + shift
            h = F.linear(x, w3_local) + F.linear(pooled, w3_max, offset)[:, None]
        return linear_max(F.relu(h, inplace=True), w4, conv4.bias).reshape(b, g, -1)


def linear_max(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:  # (P, M, K), (N, K) -> (P, N)
    """A linear layer, then the maximum over the M rows of each patch."""
    return F.linear(x, weight, bias).max(dim=1).values


def fold_first_norm(
    rows: Tensor,  # (R, 3)
    conv: nn.Conv1d,  # 3 -> C
    norm: nn.BatchNorm1d,
) -> tuple[Tensor, Tensor]:  # (C, 3), (C,)
    """Weight and bias of the first convolution and its normalization as one layer; updates the running statistics."""
    assert conv.bias is not None
    if not norm.training:
        scale, shift = eval_affine(norm)
        return conv.weight.squeeze(-1) * scale[:, None], conv.bias * scale + shift
    with torch.autocast(rows.device.type, enabled=False):
        with torch.no_grad():
            x = rows.double()
            sums = all_reduce_sum(torch.cat([x.new_full((1,), len(x)), x.sum(dim=0), (x.T @ x).flatten()]))
            n, mean = sums[0], sums[1:4] / sums[0]
            covariance = sums[4:].reshape(3, 3) / n - torch.outer(mean, mean)
            mean, covariance = mean.to(conv.weight.dtype), covariance.to(conv.weight.dtype)
        w = conv.weight.squeeze(-1)
        out_mean = w @ mean + conv.bias
        out_variance = ((w @ covariance) * w).sum(dim=1)
        scale = norm.weight * (out_variance + norm.eps).rsqrt()
        update_running_stats(norm, out_mean.detach(), out_variance.detach(), n)
        return w * scale[:, None], norm.bias + (conv.bias - out_mean) * scale


def eval_affine(norm: nn.BatchNorm1d) -> tuple[Tensor, Tensor]:  # (C,), (C,)
    """Scale and shift that a batch normalization applies in eval mode."""
    assert norm.running_mean is not None and norm.running_var is not None
    scale = norm.weight * (norm.running_var + norm.eps).rsqrt()
    return scale, norm.bias - norm.running_mean * scale


def _unpack(layers: nn.Sequential) -> tuple[nn.Conv1d, nn.BatchNorm1d, nn.Conv1d]:
    first, norm, _, second = layers
    assert isinstance(first, nn.Conv1d) and isinstance(norm, nn.BatchNorm1d) and isinstance(second, nn.Conv1d)
    return first, norm, second
