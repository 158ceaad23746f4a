"""What backbones share: reading weights, checking images, and running a network view by view."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from pa3d.errors import InputError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor


def read_weights(path: str | Path) -> dict[str, Tensor]:
    """The tensors of a .safetensors file, or of a file that torch saved, which is read without running code.

    Raises InputError when the file cannot be read or holds something else.
    """
    import torch

    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: no such file; give the file with the backbone's weights")
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(path)
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # both readers raise many kinds of errors for a damaged file
        reason = (str(error).splitlines() or [type(error).__name__])[0][:120]
        raise InputError(f"{path}: not a readable file of weights ({reason}); download it again") from error
    if isinstance(content, dict) and len(content) == 1 and isinstance(next(iter(content.values())), dict):
        content = next(iter(content.values()))  # {"model": tensors}
    if not isinstance(content, dict) or not all(isinstance(value, torch.Tensor) for value in content.values()):
        raise InputError(f"{path}: expected a dictionary of tensors; download it again")
    return content


def run_per_view(
    images: NDArray[np.uint8],  # (V, H, W, 3)
    size: tuple[int, int],
    network: Callable[[Tensor], Tensor],  # (1, 3, *size) of 0..255 -> (gh, gw, C)
) -> NDArray[np.float32]:  # (V, gh, gw, C)
    """The network's tokens of each image, resized to `size` first. One image at a time: this bounds the memory."""
    import numpy as np
    import torch

    with torch.inference_mode():
        return np.stack([network(resize(image, size)).contiguous().numpy() for image in images])


def check_images(images: NDArray[np.uint8]) -> None:
    """Raises TypeError or ValueError when images are not (V, H, W, 3) uint8."""
    import numpy as np

    if not isinstance(images, np.ndarray) or images.dtype != np.uint8:
        raise TypeError(f"images: expected a uint8 array, got {getattr(images, 'dtype', type(images).__name__)}")
    if images.ndim != 4 or images.shape[3] != 3 or min(images.shape) < 1:
        raise ValueError(f"images: expected shape (V, H, W, 3), got {images.shape}")


def resize(image: NDArray[np.uint8], size: tuple[int, int]) -> Tensor:  # (H, W, 3) -> (1, 3, *size) in 0..255
    """Bilinear, which does not overshoot, and antialiased, because sizes may differ by much."""
    import numpy as np
    import torch

    x = torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1)[None].float()
    if x.shape[-2:] == size:
        return x
    return torch.nn.functional.interpolate(x, size, mode="bilinear", align_corners=False, antialias=True)
