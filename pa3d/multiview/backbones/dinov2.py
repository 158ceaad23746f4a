"""DINOv2's vision transformer (arXiv 2304.07193; ViT, arXiv 2010.11929) as a source of patch tokens.

Pre-norm blocks with layer scale, qkv with bias, exact GELU, LayerNorm eps 1e-6. Weights are named as the authors and
timm name them and are used without a copy. Importing timm for the same network would cost each worker 200 MB. The
result equals timm's up to rounding (tests/test_backbones.py).

The weights come from a file, or from the user's own caches of torch or Hugging Face.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from pa3d.errors import InputError
from pa3d.multiview.backbones._common import check_images, read_weights, run_per_view

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor


class _Size(NamedTuple):
    dim: int
    depth: int
    file: str  # as the authors publish it
    repository: str  # on Hugging Face, of the same weights as timm names them


_SIZES = {
    "dinov2-small": _Size(384, 12, "dinov2_vits14_pretrain.pth", "timm/vit_small_patch14_dinov2.lvd142m"),
    "dinov2-base": _Size(768, 12, "dinov2_vitb14_pretrain.pth", "timm/vit_base_patch14_dinov2.lvd142m"),
    "dinov2-large": _Size(1024, 24, "dinov2_vitl14_pretrain.pth", "timm/vit_large_patch14_dinov2.lvd142m"),
}
MODELS = {name: f"{size.dim} channels, a token every 14 pixels" for name, size in _SIZES.items()}
EXTRA = "views"

HEAD_WIDTH = 64  # of every DINOv2
_EPS = 1e-6
_ROWS = 256  # tokens of which the hidden layer is held at once
_IMAGENET_MEAN, _IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_BLOCK = (
    *(f"{norm}.{kind}" for norm in ("norm1", "norm2") for kind in ("weight", "bias")),
    *(f"{layer}.{kind}" for layer in ("attn.qkv", "attn.proj", "mlp.fc1", "mlp.fc2") for kind in ("weight", "bias")),
    "ls1.gamma", "ls2.gamma",
)  # fmt: skip


class VisionTransformer:
    """The network in evaluation mode; its sizes come from the tensors. No gradients.

    Raises InputError for weights of another network, also one with registers or another feed-forward layer.
    """

    def __init__(self, state: Mapping[str, Tensor]) -> None:
        expected = "expected the weights of a DINOv2 without registers: small, base or large"
        tensors = {
            name: value for name, value in state.items() if name != "mask_token" and not name.startswith("head.")
        }
        try:
            self.dim, self.patch = tensors["cls_token"].shape[-1], tensors["patch_embed.proj.weight"].shape[-1]
            self._grid = round((tensors["pos_embed"].shape[1] - 1) ** 0.5)
            self.depth = 1 + max(int(name.split(".")[1]) for name in tensors if name.startswith("blocks."))
        except (KeyError, IndexError, ValueError, AttributeError):
            raise InputError(f"weights of DINOv2: no vision transformer is in them; {expected}") from None
        names = {
            "cls_token", "pos_embed", "patch_embed.proj.weight", "patch_embed.proj.bias", "norm.weight", "norm.bias",
            *(f"blocks.{i}.{name}" for i in range(self.depth) for name in _BLOCK),
        }  # fmt: skip
        if names != tensors.keys() or self.dim % HEAD_WIDTH or tensors["pos_embed"].shape[1] != self._grid**2 + 1:
            odd = sorted(names ^ tensors.keys())[:3]
            raise InputError(f"weights of DINOv2: unexpected or missing {', '.join(odd) or 'sizes'}; {expected}")
        self._state = {name: value.float() for name, value in tensors.items()}

    def __call__(
        self, images: Tensor, layer: int | None = None
    ) -> Tensor:  # (B, 3, gh * patch, gw * patch) -> (B, gh, gw, C)
        """Patch tokens after the last norm, or as they are after `layer` blocks.

        images: RGB in 0..1, normalised by ImageNet's mean and deviation.
        """
        import torch
        from torch.nn import functional as F

        w = self._state
        x = F.conv2d(images, w["patch_embed.proj.weight"], w["patch_embed.proj.bias"], self.patch)
        batch, _, gh, gw = x.shape
        x = torch.cat([w["cls_token"].expand(batch, -1, -1), x.flatten(2).transpose(1, 2)], 1)
        x = x + self._positions(gh, gw)
        for i in range(self.depth if layer is None else layer):
            b = {name: w[f"blocks.{i}.{name}"] for name in _BLOCK}
            x += self._attention(self._norm(x, b["norm1.weight"], b["norm1.bias"]), b).mul_(b["ls1.gamma"])
            # Rows are views of x. The hidden layer of all tokens at once would be the largest array.
            for rows in x.split(_ROWS, 1):
                hidden = F.linear(
                    self._norm(rows, b["norm2.weight"], b["norm2.bias"]), b["mlp.fc1.weight"], b["mlp.fc1.bias"]
                )
                rows += F.linear(F.gelu(hidden), b["mlp.fc2.weight"], b["mlp.fc2.bias"]).mul_(b["ls2.gamma"])
        if layer is None:
            x = self._norm(x, w["norm.weight"], w["norm.bias"])
        return x[:, 1:].reshape(batch, gh, gw, self.dim)

    def _attention(self, x: Tensor, b: Mapping[str, Tensor]) -> Tensor:  # (B, T, C)
        from torch.nn import functional as F

        qkv = F.linear(x, b["attn.qkv.weight"], b["attn.qkv.bias"])
        q, k, v = qkv.unflatten(2, (3, self.dim // HEAD_WIDTH, HEAD_WIDTH)).permute(2, 0, 3, 1, 4)  # (B, heads, T, 64)
        attn_out = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
        return F.linear(attn_out, b["attn.proj.weight"], b["attn.proj.bias"])

    def _norm(self, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        from torch.nn import functional as F

        return F.layer_norm(x, (self.dim,), weight, bias, _EPS)

    def _positions(self, gh: int, gw: int) -> Tensor:  # (1, 1 + gh * gw, C)
        """Position embeddings of the training grid (37 x 37 cells are 518 pixels), resampled for any other grid."""
        import torch
        from torch.nn import functional as F

        positions = self._state["pos_embed"]
        if gh == gw == self._grid:
            return positions
        grid = positions[:, 1:].unflatten(1, (self._grid, self._grid)).permute(0, 3, 1, 2)
        grid = F.interpolate(grid, (gh, gw), mode="bicubic", antialias=True)
        return torch.cat([positions[:, :1], grid.flatten(2).transpose(1, 2)], 1)


class DinoV2Backbone:
    """A DINOv2 vision transformer: its patch tokens after the last norm, one token every 14 pixels.

    Sides that are no multiple of 14 are resized to the nearest one (518 is 37 x 14).
    """

    def __init__(self, state: Mapping[str, Tensor], name: str = "dinov2") -> None:
        self._network = VisionTransformer(state)
        self.name, self.dim, self.depth = name, self._network.dim, self._network.depth

    def __call__(
        self, images: NDArray[np.uint8], layer: int | None = None
    ) -> NDArray[np.float32]:  # (V, H, W, 3) -> (V, gh, gw, C)
        """layer: tokens after so many blocks, without the last norm; None for the output of the network."""
        import torch

        check_images(images)
        if layer is not None and not 0 <= layer <= self.depth:
            raise ValueError(f"layer: expected 0 to {self.depth}, got {layer}")
        patch = self._network.patch
        gh, gw = (max(round(n / patch), 1) for n in images.shape[1:3])
        mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (_IMAGENET_MEAN, _IMAGENET_STD))
        return run_per_view(images, (gh * patch, gw * patch), lambda x: self._network((x / 255 - mean) / std, layer)[0])


def find_weights(name: str) -> Path:
    """The file in torch's or Hugging Face's cache."""
    import torch

    size = _SIZES[name]
    hub = Path(torch.hub.get_dir()) / "checkpoints" / size.file
    if hub.is_file():
        return hub
    if find_spec("huggingface_hub") is not None:
        from huggingface_hub import try_to_load_from_cache

        for file in ("model.safetensors", "pytorch_model.bin"):
            cached = try_to_load_from_cache(size.repository, file)
            if isinstance(cached, str):
                return Path(cached)
    raise InputError(
        f"backbone {name}: no weights here; give them with --weights FILE, or fetch them once with "
        f"`hf download {size.repository} model.safetensors`. Looked for {hub} and for {size.repository} in the cache "
        "of Hugging Face"
    )


def load(name: str, file: Path) -> DinoV2Backbone:
    """Raises InputError when the file holds another size than the name says."""
    backbone, size = DinoV2Backbone(read_weights(file), name), _SIZES[name]
    if (backbone.dim, backbone.depth) != (size.dim, size.depth):
        raise InputError(
            f"{file}: holds a model of width {backbone.dim} and depth {backbone.depth}; {name} has {size.dim} and "
            f"{size.depth}, name the right size"
        )
    return backbone
