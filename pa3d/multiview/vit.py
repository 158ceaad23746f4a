"""DINOv2's vision transformer (arXiv 2304.07193; ViT, arXiv 2010.11929), as a source of patch tokens.

Pre-norm blocks with layer scale, qkv with bias, exact GELU, LayerNorm eps 1e-6. Weights are named as the authors and
timm name them, and are used where they lie, without a copy; importing timm for the same network would cost a worker
200 MB. Equal to timm's network up to rounding (tests/test_backbones.py).
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional as F

from pa3d.errors import InputError

HEAD_WIDTH = 64  # of every DINOv2
_EPS = 1e-6
_ROWS = 256
_BLOCK = (
    *(f"{norm}.{kind}" for norm in ("norm1", "norm2") for kind in ("weight", "bias")),
    *(f"{layer}.{kind}" for layer in ("attn.qkv", "attn.proj", "mlp.fc1", "mlp.fc2") for kind in ("weight", "bias")),
    "ls1.gamma", "ls2.gamma",
)  # fmt: skip


class VisionTransformer:
    """The network in evaluation mode; its sizes are the tensors' own. No gradients.

    Raises InputError for weights of anything else, registers and other feed-forward layers included.
    """

    def __init__(self, state: Mapping[str, Tensor]) -> None:
        expected = "expected the weights of a DINOv2 without registers: small, base or large"
        kept = {name: value for name, value in state.items() if name != "mask_token" and not name.startswith("head.")}
        try:
            self.dim, self.patch = kept["cls_token"].shape[-1], kept["patch_embed.proj.weight"].shape[-1]
            self._grid = round((kept["pos_embed"].shape[1] - 1) ** 0.5)
            self.depth = 1 + max(int(name.split(".")[1]) for name in kept if name.startswith("blocks."))
        except (KeyError, IndexError, ValueError, AttributeError):
            raise InputError(f"weights of DINOv2: no vision transformer is in them; {expected}") from None
        names = {
            "cls_token", "pos_embed", "patch_embed.proj.weight", "patch_embed.proj.bias", "norm.weight", "norm.bias",
            *(f"blocks.{i}.{name}" for i in range(self.depth) for name in _BLOCK),
        }  # fmt: skip
        if names != kept.keys() or self.dim % HEAD_WIDTH or kept["pos_embed"].shape[1] != self._grid**2 + 1:
            odd = sorted(names ^ kept.keys())[:3]
            raise InputError(f"weights of DINOv2: unexpected or missing {', '.join(odd) or 'sizes'}; {expected}")
        self._state = {name: value.float() for name, value in kept.items()}

    def __call__(self, images: Tensor) -> Tensor:  # (B, 3, gh * patch, gw * patch) -> (B, gh, gw, C)
        """Patch tokens after the last norm. images: RGB of 0..1 less ImageNet's mean, over its deviation."""
        w = self._state
        x = F.conv2d(images, w["patch_embed.proj.weight"], w["patch_embed.proj.bias"], self.patch)
        batch, _, gh, gw = x.shape
        x = torch.cat([w["cls_token"].expand(batch, -1, -1), x.flatten(2).transpose(1, 2)], 1)
        x = x + self._positions(gh, gw)
        for i in range(self.depth):
            b = {name: w[f"blocks.{i}.{name}"] for name in _BLOCK}
            x += self._attention(self._norm(x, b["norm1.weight"], b["norm1.bias"]), b).mul_(b["ls1.gamma"])
            for some in x.split(_ROWS, 1):  # views of x: the hidden layer of all tokens at once is the largest array
                hidden = F.linear(
                    self._norm(some, b["norm2.weight"], b["norm2.bias"]), b["mlp.fc1.weight"], b["mlp.fc1.bias"]
                )
                some += F.linear(F.gelu(hidden), b["mlp.fc2.weight"], b["mlp.fc2.bias"]).mul_(b["ls2.gamma"])
        return self._norm(x, w["norm.weight"], w["norm.bias"])[:, 1:].reshape(batch, gh, gw, self.dim)

    def _attention(self, x: Tensor, b: Mapping[str, Tensor]) -> Tensor:  # (B, T, C)
        qkv = F.linear(x, b["attn.qkv.weight"], b["attn.qkv.bias"])
        q, k, v = qkv.unflatten(2, (3, self.dim // HEAD_WIDTH, HEAD_WIDTH)).permute(2, 0, 3, 1, 4)  # (B, heads, T, 64)
        mixed = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
        return F.linear(mixed, b["attn.proj.weight"], b["attn.proj.bias"])

    def _norm(self, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        return F.layer_norm(x, (self.dim,), weight, bias, _EPS)

    def _positions(self, gh: int, gw: int) -> Tensor:  # (1, 1 + gh * gw, C)
        """Those of the training grid, resampled where the image has another (37 x 37 cells are 518 pixels)."""
        positions = self._state["pos_embed"]
        if gh == gw == self._grid:
            return positions
        grid = positions[:, 1:].unflatten(1, (self._grid, self._grid)).permute(0, 3, 1, 2)
        grid = F.interpolate(grid, (gh, gw), mode="bicubic", antialias=True)
        return torch.cat([positions[:, :1], grid.flatten(2).transpose(1, 2)], 1)
