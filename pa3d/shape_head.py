"""The whole shape as a vector in the space of the text: a small network over the patch tokens of a shape.

The mean, the largest value and the standard deviation of each channel over the patches go through one hidden layer.
scripts/train_shape_head.py trains it on categories of training records, with the encoder as it is.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pa3d import _C
from pa3d.errors import InputError

Floats = NDArray[np.float32]

PREFIX = "shape_head."
TEMPERATURE = 0.05  # of cosines with the names of categories, in training and after


def pool(tokens: Floats) -> Floats:  # (G, C) -> (3C,)
    """What the head sees of the patches of a shape."""
    return np.concatenate([tokens.mean(axis=0), tokens.max(axis=0), tokens.std(axis=0)])


class ShapeHead:
    """tensors, float32: hidden.weight (H, 3C), hidden.bias (H,), out.weight (D, H), out.bias (D,)."""

    def __init__(self, tensors: Mapping[str, Floats]) -> None:
        self.tensors = tensors

    def sha256(self) -> str:
        """A hash of the tensors."""
        digest = hashlib.sha256()
        for name, tensor in sorted(self.tensors.items()):
            digest.update(name.encode() + np.ascontiguousarray(tensor, np.float32).tobytes())
        return digest.hexdigest()

    @staticmethod
    def shapes(dim: int, hidden: int, text_dim: int) -> dict[str, tuple[int, ...]]:
        """The shapes of the tensors, for an encoder of width `dim`."""
        return {
            "hidden.weight": (hidden, 3 * dim),
            "hidden.bias": (hidden,),
            "out.weight": (text_dim, hidden),
            "out.bias": (text_dim,),
        }

    def __call__(self, tokens: Floats, threads: int = 0) -> Floats:  # (G, C) -> (D,) unit
        t = self.tensors
        tensors = (t["hidden.weight"], t["hidden.bias"], t["out.weight"], t["out.bias"])
        vector = _C.shape_vector(np.ascontiguousarray(tokens), *tensors, threads)
        if not np.isfinite(vector).all():
            raise InputError(
                "the shape head gives numbers that are not finite; make it again with scripts/train_shape_head.py"
            )
        return vector


def check_head(tensors: Mapping[str, Any], dim: int, text_dim: int) -> str | None:
    """What is wrong with the tensors of a head, or None."""
    hidden = int(np.size(tensors["hidden.bias"])) if "hidden.bias" in tensors else 0
    for name, shape in ShapeHead.shapes(dim, hidden, text_dim).items():
        if name not in tensors:
            return f"{PREFIX}{name} is missing"
        tensor = tensors[name]
        if tuple(tensor.shape) != shape or 0 in shape or tensor.dtype.kind != "f" or not np.isfinite(tensor).all():
            return f"{PREFIX}{name} is {tensor.dtype} {tuple(tensor.shape)} or has NaN, expected finite floats {shape}"
    extra = sorted(set(tensors) - set(ShapeHead.shapes(dim, hidden, text_dim)))
    return f"{PREFIX}{extra[0]} is not a tensor of it" if extra else None
