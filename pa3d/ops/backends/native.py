"""The C++ kernels of pa3d._C as a backend: arrays on the CPU, in numpy or torch.

A kernel that takes arrays and numbers as they are needs nothing here: `native.knn` is `_C.knn`, whose results come back
as the kind of array it was given. Below are only those that need more.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from pa3d import _C
from pa3d.ops.arrays import Array, dtype_name, from_numpy, is_tensor, to_numpy
from pa3d.ops.backends import requires

if TYPE_CHECKING:
    from pa3d.cameras import Cameras

DEVICE = "cpu"


def unavailable_reason() -> None:
    """It runs everywhere."""


def device() -> str:
    return DEVICE


def __getattr__(name: str) -> Callable[..., Any]:
    """A kernel of _C on arrays of any kind; the first argument says of which kind the results are."""
    kernel = None if name.startswith("_") else getattr(_C, name, None)
    if kernel is None:
        raise AttributeError(f"{__name__} has no kernel {name}")

    def run(*arguments: Any) -> Any:
        first = arguments[0]
        if not is_tensor(first):
            return kernel(*arguments)
        results = kernel(*map(to_numpy, arguments))
        return (
            tuple(from_numpy(x, first) for x in results) if isinstance(results, tuple) else from_numpy(results, first)
        )

    globals()[name] = run  # the next access finds it without this function
    return run


def rasterize(
    vertices: Array, faces: Array, cameras: Cameras, size: tuple[int, int], barycentric: bool
) -> tuple[Array, Array, Array | None]:
    camera_args = cameras.matrices(size), cameras.perspective, cameras.near, *size
    results = _C.rasterize(to_numpy(vertices), to_numpy(faces), *camera_args, True, barycentric)
    ids, depth, barycentrics = (None if x is None else from_numpy(x, vertices) for x in results)
    return ids, depth, barycentrics


def rasterize_points(points: Array, radius: Array, cameras: Cameras, size: tuple[int, int]) -> tuple[Array, Array]:
    scale = np.full(len(cameras), cameras.scale(size))
    camera_args = cameras.matrices(size), scale, cameras.perspective, cameras.near, *size
    ids, depth = _C.rasterize_points(to_numpy(points), to_numpy(radius), *camera_args)
    return from_numpy(ids, points), from_numpy(depth, points)


def backproject(tokens: Array, point_of_pixel: Array, n_points: int, mode: str, per_view: bool) -> tuple[Array, Array]:
    bits = tokens
    if dtype_name(tokens) == "bfloat16":  # which numpy does not have: the kernel takes the bits as uint16
        bits = tokens.detach().view(sys.modules["torch"].int16).numpy().view(np.uint16)
    total, count = _C.backproject(to_numpy(bits), to_numpy(point_of_pixel), n_points, mode, per_view)
    return from_numpy(total, tokens), from_numpy(count, tokens)


def training_unsupported_reason(bf16: bool, *tensors: Any) -> str | None:
    """Why the kernels of training cannot take these tensors, whatever their shape.

    bf16: bfloat16 operands, as under autocast.
    """
    wrong = next((dtype_name(x) for x in tensors if dtype_name(x) != "float32"), None)
    if wrong is not None:
        return f"it takes float32, not {wrong}"
    if any(x.numel() == 0 for x in tensors):
        return "it takes no empty tensor"
    if bf16:
        autocast = str(sys.modules["torch"].get_autocast_dtype("cpu")).removeprefix("torch.")
        if autocast != "bfloat16":
            return f"it takes bfloat16 under autocast, not {autocast}"
        return None if _C.supports("bf16") else "this processor has no bf16"
    return "the instruction set in use is generic; torch is faster" if _C.isa() == "generic" else None


def _embed_unsupported_reason(patches: Any, *weights: Any, bf16: bool, widths: tuple[int, ...]) -> str | None:
    if any(width % 32 for width in widths):
        return f"it takes widths that are multiples of 32, not {', '.join(map(str, widths))}"
    if patches.shape[-2] % 2:
        return f"it takes an even number of points per patch, not {patches.shape[-2]}"
    if patches.requires_grad:
        return "it has no gradient for points"
    return training_unsupported_reason(bf16, patches, *weights)


@requires(_embed_unsupported_reason)
def train_embed(precision: str) -> _C.EmbedTrainer:
    """What a step of pa3d.ops.train_embed runs on; precision: fp32 or bf16."""
    return _C.EmbedTrainer(precision)


def _block_unsupported_reason(x: Any, *weights: Any, bf16: bool, heads: int, hidden: int) -> str | None:
    dim = x.shape[-1]
    if dim % heads or dim // heads % 32 or hidden % 32:
        shape = f"{dim} in {heads} heads, {hidden}"
        return f"it takes a head dim and a hidden size divisible by 32, not {shape}"
    if x.numel() == 0:
        return "it takes no empty tensor"
    return training_unsupported_reason(bf16, *weights, *([x] if dtype_name(x) != "bfloat16" else []))


@requires(_block_unsupported_reason)
def train_block(precision: str) -> _C.BlockTrainer:
    """What a step of pa3d.ops.train_block runs on; precision: fp32 or bf16."""
    return _C.BlockTrainer(precision)
