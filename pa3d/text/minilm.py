"""all-MiniLM-L6-v2 on the native kernels: the text encoder that comes with the package (Apache-2.0, see pa3d/weights).

A BERT encoder (Devlin et al. 2019, arXiv 1810.04805): 6 post-norm layers, width 384, 12 heads, exact GELU. The vector
of a text is the normalized mean of its token outputs. scripts/convert_minilm.py wrote the weights: int16, with one
scale per output row.

The vector of a text is bit-equal on any number of threads and with any other texts in the same call. The reason: in the
native matrix products, one thread sums each element, always in the same order.
"""

from __future__ import annotations

import json
import math
import os
import unicodedata
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pa3d import _C
from pa3d.errors import InputError

WEIGHTS = Path(__file__).resolve().parents[1] / "weights"
LAYERS, WIDTH, HEADS = 6, 384, 12
SPECIAL_TOKENS = (0, 100, 101, 102, 103)  # padding, unknown, start, end and mask

Array = NDArray[np.float32]


class MiniLM:
    """The embedded encoder. May be used by several threads.

    Its weights are memory-mapped: `revision` reads the header of the file, and the first `encode` the weights.

    folder: where minilm-l6-v2.safetensors and minilm-tokenizer.json lie.
    threads: how many a call may use; None is OMP_NUM_THREADS, or the processors of this process.
    """

    space = "all-MiniLM-L6-v2"
    dim = WIDTH

    def __init__(self, folder: Path = WEIGHTS, threads: int | None = None) -> None:
        self._folder = folder
        self._threads = threads or 0

    @property
    def revision(self) -> str:
        """Names the weights and the instruction set, because vectors of different ones differ in their last bits."""
        return f"{self._file[1]}-{_C.isa()}"

    def encode(self, texts: Sequence[str]) -> Array:  # (n, 384), unit rows
        """Vectors of the texts, each truncated to 256 tokens.

        Raises InputError when the weights or the tokenizer are missing or damaged.
        """
        tokens = self._tokenize(texts)
        engine = self._engine
        lengths = np.array([len(ids) for ids in tokens], np.int64)
        flat_ids = np.fromiter((i for ids in tokens for i in ids), np.int32, int(lengths.sum()))
        vectors: Array = engine.encode(flat_ids, lengths, self._threads)
        return vectors

    def unsupported_reason(self, name: str) -> str:
        """Why the encoder cannot read a name, "" if it can. It was trained on English: of most other scripts it knows
        a few characters, but no words."""
        if name.isascii():
            return ""
        letters = [ch for ch in name if ch.isalpha()]
        if letters and not any(unicodedata.name(ch, "").startswith("LATIN") for ch in letters):
            return f"the text encoder {self.space} cannot read its script"
        if all(token in SPECIAL_TOKENS for token in self._tokenize([name])[0]):
            return f"the text encoder {self.space} knows no word of it"
        return ""

    def encode_reference(self, texts: Sequence[str]) -> NDArray[np.float64]:  # (n, 384)
        """The same in plain numpy and float64, one text at a time, for tests."""
        rows = [_encode_reference(self._weights, ids) for ids in self._tokenize(texts)]
        return np.stack(rows) if rows else np.empty((0, WIDTH))

    def _tokenize(self, texts: Sequence[str]) -> list[list[int]]:
        return [self._tokenizer.encode(text) for text in texts]

    @cached_property
    def _engine(self) -> Any:
        try:
            return _C.TextEngine(self._weights, self._threads)
        except ValueError as error:
            raise InputError(self._damaged_message) from error

    @property
    def _path(self) -> Path:
        return self._folder / "minilm-l6-v2.safetensors"

    @property
    def _damaged_message(self) -> str:
        return f"{self._path}: the text encoder is missing or damaged; install pa3d again"

    @property
    def _weights(self) -> dict[str, NDArray[Any]]:
        return self._file[0]

    @cached_property
    def _file(self) -> tuple[dict[str, NDArray[Any]], str]:
        """Tensors and revision of the safetensors file, memory-mapped because a text needs few word embeddings."""
        try:
            data = np.memmap(self._path, np.uint8, mode="r")
            start = 8 + int(data[:8].view("<u8")[0])
            header = json.loads(data[8:start].tobytes())
            revision = json.loads(header.pop("__metadata__")["pa3d"])["revision"]
            tensors = {}
            for name, entry in header.items():
                begin, end = entry["data_offsets"]
                dtype = {"F32": "<f4", "I16": "<i2"}[entry["dtype"]]
                raw = np.asarray(data[start + begin : start + end])
                tensors[name] = raw.view(dtype).reshape(entry["shape"])
        except (OSError, ValueError, KeyError) as error:
            raise InputError(self._damaged_message) from error
        return tensors, revision

    @cached_property
    def _tokenizer(self) -> _C.WordPiece:
        path = self._folder / "minilm-tokenizer.json"
        try:
            return _C.WordPiece(os.fsencode(path))
        except _C.FileError as error:
            raise InputError(f"{path}: the embedded tokenizer is missing or damaged; install pa3d again") from error


def _encode_reference(weights: dict[str, NDArray[Any]], ids: list[int]) -> NDArray[np.float64]:  # (T,) -> (384,)
    def matrix(name: str, rows: Any = slice(None)) -> NDArray[np.float64]:
        return weights[name][rows] * weights[f"{name}.scale"][rows, None].astype(np.float64)

    def linear(x: NDArray[np.float64], name: str) -> NDArray[np.float64]:
        return x @ matrix(name).T + weights[f"{name}.bias"]

    def norm(x: NDArray[np.float64], name: str) -> NDArray[np.float64]:
        x = x - x.mean(axis=1, keepdims=True)
        x /= np.sqrt((x * x).mean(axis=1, keepdims=True) + 1e-12)
        return x * weights[f"{name}.weight"] + weights[f"{name}.bias"]

    x = norm(matrix("words", ids) + weights["positions"][: len(ids)], "embedding_norm")  # (T, 384)
    for i in range(LAYERS):
        layer = f"layers.{i}."
        q, k, v = linear(x, layer + "qkv").reshape(-1, 3, HEADS, WIDTH // HEADS).transpose(1, 2, 0, 3)
        attn_logits = q @ k.transpose(0, 2, 1) / math.sqrt(WIDTH // HEADS)  # (12, T, T)
        attn = np.exp(attn_logits)
        attn_out = (attn / attn.sum(axis=-1, keepdims=True) @ v).transpose(1, 0, 2).reshape(-1, WIDTH)
        x = norm(x + linear(attn_out, layer + "out"), layer + "attention_norm")
        hidden = linear(x, layer + "up")
        hidden *= 0.5 * (1 + np.vectorize(math.erf)(hidden / math.sqrt(2)))
        x = norm(x + linear(hidden, layer + "down"), layer + "norm")
    mean = x.mean(axis=0)
    return mean / np.linalg.norm(mean)
