"""EfficientNet-Lite0 (Tan and Le, arXiv 1905.11946; the Lite variant of 2020) as a source of dense features.

Sixteen inverted residual blocks in seven stages, without squeeze-and-excitation, ReLU6, "same" padding as
TensorFlow defines it. Batch normalisation (eps 1e-3) is folded into the convolutions when the weights are loaded.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from pa3d.errors import InputError

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
        k, s = self.weight.shape[-1], self.stride
        # TensorFlow's "same": what is missing is divided evenly, an odd rest goes to the right and below.
        down, right = (max((-(-n // s) - 1) * s + k - n, 0) for n in x.shape[-2:])
        if down == right and down % 2 == 0:
            x = F.conv2d(x, self.weight, self.bias, s, down // 2, groups=self.groups)
        else:
            x = F.pad(x, (right // 2, right - right // 2, down // 2, down - down // 2))
            x = F.conv2d(x, self.weight, self.bias, s, groups=self.groups)
        return x.clamp_(0, 6) if self.relu6 else x


class EfficientNetLite0:
    """The network up to its last stage, in evaluation mode; no gradients.

    state: names as in the published PyTorch weights (`_blocks.3._expand_conv.weight` ...); the classifier in it is
    not used. Raises InputError when tensors are missing or of another shape.
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
        """What each stage gives. images: RGB as (value - 127) / 128."""
        x = self._stem(images.contiguous(memory_format=torch.channels_last))
        found = []
        for stage in self._stages:
            for convs, residual in stage:
                y = x
                for conv in convs:
                    y = conv(y)
                x = x + y if residual else y
            found.append(x)
        return found

    def _conv(
        self, conv: str, norm: str, shape: tuple[int, ...], *, stride: int = 1, groups: int = 1, relu6: bool = True
    ) -> _Conv:
        weight = self._tensor(f"{conv}.weight", shape)
        gamma, beta, mean, variance = (
            self._tensor(f"{norm}.{name}", shape[:1]) for name in ("weight", "bias", "running_mean", "running_var")
        )
        scale = gamma / (variance + _EPS).sqrt()
        folded = (weight * scale[:, None, None, None]).contiguous(memory_format=torch.channels_last)
        return _Conv(folded, beta - mean * scale, stride, groups, relu6)

    def _tensor(self, name: str, shape: tuple[int, ...]) -> Tensor:
        found = self._state.get(name)
        if not isinstance(found, Tensor) or tuple(found.shape) != shape:
            got = tuple(found.shape) if isinstance(found, Tensor) else "nothing"
            raise InputError(f"weights of EfficientNet-Lite0: expected {name} of shape {shape}, got {got}")
        return found.detach().float()
