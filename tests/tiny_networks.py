"""Small networks with random weights, and detectors that say what the test tells them, for the tests of methods."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from pa3d.methods.networks.detector import Boxes

Array = np.ndarray


class TinyClip:
    """Patches of 16 x 16 pixels through a random matrix; a text has a random vector."""

    name = "tiny clip"

    def __init__(self, dim: int = 8) -> None:
        self.dim = dim
        self.weight = np.random.default_rng(0).standard_normal((256, dim)).astype(np.float32)

    def tokens(self, images: Any) -> Any:
        import torch

        patches = images[:, :1].unfold(2, 16, 16).unfold(3, 16, 16)[:, 0].flatten(3)
        x = (patches - 0.8) @ torch.from_numpy(self.weight)
        return torch.nn.functional.normalize(x, dim=-1)

    def text(self, texts: Sequence[str]) -> Any:
        import torch

        rows = [np.random.default_rng(zlib.crc32(text.encode())).standard_normal(self.dim) for text in texts]
        return torch.nn.functional.normalize(torch.tensor(np.array(rows), dtype=torch.float32), dim=-1)


class TinyBackbone:
    """Patches of 16 x 16 pixels: their mean, and 1."""

    name, dim = "tiny backbone", 2

    def __call__(self, images: Array) -> Array:
        v, h, w, _ = images.shape
        mean = images[..., 0].reshape(v, h // 16, 16, w // 16, 16).mean(axis=(2, 4)).astype(np.float32) / 255
        return np.stack([mean, np.ones_like(mean)], axis=-1)


class ByHeight:
    """Names points by slices along y; the first part is the lowest."""

    def segment(self, shape: Any, parts: Sequence[str], category: str | None = None) -> Any:
        from pa3d.segment import Segmentation

        y = shape.points[:, 1]
        share = (y - y.min()) / max(float(np.ptp(y)), 1e-6)
        labels = np.minimum(share * len(parts), len(parts) - 1).astype(np.int32)
        return Segmentation(shape, list(parts), labels, np.eye(len(parts), dtype=np.float32)[labels])


class ScriptedDetector:
    """Calls a function for its boxes, and keeps the captions and pictures that it was asked about."""

    name = "scripted"

    def __init__(self, answer: Callable[[str], list[tuple[Sequence[float], float, int]]]) -> None:
        self.answer = answer
        self.captions: list[str] = []
        self.images: list[Array] = []

    def detect(self, image: Array, caption: str) -> Boxes:
        self.captions.append(caption)
        self.images.append(image)
        rows = self.answer(caption)
        return Boxes(
            np.array([row[0] for row in rows], np.float64).reshape(-1, 4),
            np.array([row[1] for row in rows]),
            np.array([row[2] for row in rows], np.int64),
        )
