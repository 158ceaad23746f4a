"""OpenCLIP text encoders (Cherti et al. 2023, arXiv 2212.07143) through open_clip: any model, with any of its tags or
a checkpoint file.

The published PatchAlign3D weights are for ViT-bigG-14 with laion2b_s39b_b160k (1280 dimensions).
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pa3d.errors import InputError

DTYPES = ("float32", "bfloat16", "float16")


class OpenClip:
    """One OpenCLIP model, in eval mode. It reads its weights when it encodes its first text.

    name: a model of OpenCLIP, such as "ViT-bigG-14".
    pretrained: a tag of that model, whose weights OpenCLIP downloads or has in its cache, or the path of a
        checkpoint.
    weights: a local checkpoint with the tag's weights, to be read instead of downloading them; default
        $PA3D_OPENCLIP_WEIGHTS.
    device, dtype: of torch; dtype is "float32", "bfloat16" or "float16".
    batch_size: texts per forward pass. More than one is faster on a GPU, but then the last bits of a vector may depend
        on the other texts.
    Raises InputError for an unknown dtype, and for weights that are not a file.
    """

    def __init__(
        self,
        name: str,
        pretrained: str,
        *,
        weights: str | Path | None = None,
        device: str = "cpu",
        dtype: str = "float32",
        batch_size: int = 1,
    ) -> None:
        if dtype not in DTYPES:
            raise InputError(f"dtype {dtype!r} is unknown; expected one of {', '.join(DTYPES)}")
        if batch_size < 1:
            raise InputError(f"batch_size is {batch_size}; expected at least 1")
        self.space = f"open_clip/{name}/{pretrained}"
        self._name, self._pretrained = name, pretrained
        self._device, self._dtype, self._batch_size = device, dtype, batch_size
        weights_path = weights or os.environ.get("PA3D_OPENCLIP_WEIGHTS")
        self._file = (
            _existing(weights_path) if weights_path else Path(pretrained) if Path(pretrained).is_file() else None
        )

    @property
    def dim(self) -> int:
        return int(self._config["embed_dim"])

    @property
    def revision(self) -> str:
        """Names the weights, and the settings on which the last bits of a vector depend."""
        settings = f"{self._device},{self._dtype},{self._batch_size}"
        if self._file is None:
            return f"{self._pretrained},{settings}"
        stat = self._file.stat()
        return f"{self._file.resolve()},{stat.st_size},{stat.st_mtime_ns},{settings}"

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:  # (n, dim), unit rows
        """Vectors of the texts, each truncated to the model's context length.

        Raises InputError when torch or OpenCLIP is not installed, the model or the tag is unknown, or the weights can
        be neither read nor downloaded.
        """
        _, torch = _libraries()
        model, tokenize = self._loaded
        out = np.empty((len(texts), self.dim), np.float32)
        with torch.inference_mode():
            for start in range(0, len(texts), self._batch_size):
                batch = slice(start, start + self._batch_size)
                vectors = model.encode_text(tokenize(list(texts[batch])).to(self._device)).float()
                out[batch] = torch.nn.functional.normalize(vectors, dim=-1).cpu().numpy()
        return out

    @cached_property
    def _config(self) -> dict[str, Any]:
        open_clip, _ = _libraries()
        config: dict[str, Any] | None = open_clip.get_model_config(self._name)
        if config is None:
            known = ", ".join(open_clip.list_models())
            raise InputError(f"OpenCLIP has no model {self._name!r}; it has {known}")
        return config

    @cached_property
    def _loaded(self) -> tuple[Any, Any]:
        """The model without its image tower, and its tokenizer."""
        open_clip, torch = _libraries()
        config = self._config
        tags = open_clip.list_pretrained_tags_by_model(self._name)
        if self._file is None and self._pretrained not in tags:
            raise InputError(
                f"{self._pretrained!r} is neither a file nor a tag of OpenCLIP's {self._name}; "
                f"its tags are {', '.join(tags) or 'none'}"
            )
        # A file does not tell with which activation its tag was trained.
        tag = open_clip.get_pretrained_cfg(self._name, self._pretrained) or {}
        quick_gelu = bool(tag.get("quick_gelu", config.get("quick_gelu", False)))
        try:
            tokenize = open_clip.get_tokenizer(self._name)
            model = open_clip.create_model(
                self._name,
                pretrained=str(self._file or self._pretrained),
                force_quick_gelu=quick_gelu,
                require_pretrained=True,
                weights_only=True,
            )
        except Exception as error:  # download and checkpoint readers of many libraries, each with its own errors
            reason = str(error).strip().split("\n")[0]
            if self._file is not None:
                message = f"{self._file}: not a checkpoint of OpenCLIP's {self._name} ({reason})"
            else:
                message = (
                    f"the weights of {self.space} could not be downloaded ({reason}); fetch the checkpoint "
                    "elsewhere and name it: PA3D_OPENCLIP_WEIGHTS=FILE or text_encoder(space, weights=FILE)"
                )
            raise InputError(message) from error
        model.visual = torch.nn.Identity()
        try:
            return model.to(device=self._device, dtype=getattr(torch, self._dtype)).eval(), tokenize
        except (RuntimeError, AssertionError) as error:
            reason = str(error).strip().split("\n")[0]
            raise InputError(f"the text encoder cannot run on device {self._device!r} ({reason})") from error


def _libraries() -> tuple[Any, Any]:
    try:
        import open_clip
        import torch
    except ImportError as error:
        raise InputError(f"OpenCLIP text needs torch: pip install 'pa3d[torch]' ({error})") from error
    return open_clip, torch


def _existing(weights: str | Path) -> Path:
    if not Path(weights).is_file():
        raise InputError(f"OpenCLIP weights {str(weights)!r}: no such file; give the path of a checkpoint")
    return Path(weights)
