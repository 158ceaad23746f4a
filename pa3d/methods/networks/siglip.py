"""The text encoder of SigLIP (Zhai et al., arXiv 2303.15343) through transformers."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pa3d.errors import InputError

DIM = 768


class SiglipText:
    """model: a SiglipTextModel; tokenizer: its tokenizer. name: for reports."""

    def __init__(self, model: Any, tokenizer: Any, name: str) -> None:
        self.model, self.tokenizer, self.name = model.eval(), tokenizer, name

    def text(self, texts: Sequence[str]) -> NDArray[np.float32]:  # (n, D)
        """Unit vectors of texts, padded to the greatest length as in training; each is encoded by itself."""
        import torch

        rows = []
        with torch.inference_mode():
            for text in texts:
                tokens = self.tokenizer([text], padding="max_length", truncation=True, return_tensors="pt")
                rows.append(self.model(input_ids=tokens["input_ids"]).pooler_output[0].float().numpy())
        vectors = np.stack(rows)
        return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)


class RandomText:
    """A random unit vector for each text, always the same."""

    name = "random vectors"

    def text(self, texts: Sequence[str]) -> NDArray[np.float32]:  # (n, D)
        vectors = np.stack([np.random.default_rng(zlib.crc32(text.encode())).standard_normal(DIM) for text in texts])
        return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def load_siglip(weights: str | Path | SiglipText | RandomText | None) -> SiglipText | RandomText:
    """The text encoder from a folder that transformers wrote, one that is loaded already, or "random".

    Raises InputError when there is none, or it cannot be read.
    """
    if weights is None:
        raise InputError(
            "no text encoder; fetch SigLIP once with `hf download google/siglip-base-patch16-224 --local-dir FOLDER` "
            "and give the folder: --weights text=FOLDER"
        )
    if not isinstance(weights, str | Path):
        return weights
    if str(weights) == "random":
        return RandomText()
    from pa3d.methods._common import load_pretrained, require

    transformers = require("transformers", "the text encoder of Find3D")
    folder = Path(weights)
    if not (folder / "config.json").is_file():
        raise InputError(f"text encoder {folder}: no config.json in it; give a folder with SigLIP")
    kinds = transformers.AutoTokenizer, transformers.SiglipTextModel
    tokenizer, model = load_pretrained("text encoder", folder, *kinds)
    return SiglipText(model, tokenizer, f"SigLIP, {folder.name}")
