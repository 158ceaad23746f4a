"""all-MiniLM-L6-v2 in numpy: the embedded text encoder (Apache-2.0, see pa3d/weights).

A BERT encoder (Devlin et al. 2019, arXiv 1810.04805) of 6 post-norm layers, 384 wide, 12 heads, exact GELU; a
text's vector is the mean of its tokens' outputs, normalised. scripts/convert_minilm.py wrote the weights:
int16 with a scale an output row.

A text's vector must not depend on its company or on the number of threads, yet products of matrices do: their
sums round differently with the shapes and with how a BLAS divides the work. So a token's activations become
integers of at most 2^26 before a product with weights, y = (rint(x / s) @ q.T) * s * scale + bias with s =
max|x| / 2^26. That is finer than float32, and no sum of products exceeds 2^26 * 2^15 * 1536 < 2^53: float64
holds every partial sum exactly, so any order of summation gives the same bits. Everything else works on one
token or one text at a time.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pa3d.errors import InputError

if TYPE_CHECKING:
    from tokenizers import Tokenizer

WEIGHTS = Path(__file__).resolve().parents[1] / "weights"
LAYERS, WIDTH, HEADS = 6, 384, 12
HEAD_WIDTH = WIDTH // HEADS
ACTIVATION_MAX = 2**26
BATCH_TOKENS = 256  # bounds the memory of long lists, and fits a core's cache

Array = NDArray[np.float32]


class MiniLM:
    """The embedded encoder; reads its weights when the first text is encoded.

    folder: where minilm-l6-v2.safetensors and minilm-tokenizer.json lie.
    """

    space = "all-MiniLM-L6-v2"
    dim = WIDTH

    def __init__(self, folder: Path = WEIGHTS) -> None:
        self._folder = folder

    @property
    def revision(self) -> str:
        return self._file[1]

    def encode(self, texts: Sequence[str]) -> Array:  # (n, 384), unit rows
        """Vectors of the texts, each cut at 256 tokens.

        Raises InputError when the installation lacks the weights.
        """
        tokens = [self._tokenizer.encode(text).ids for text in texts]
        out = np.empty((len(tokens), WIDTH), np.float32)
        for start, stop in _batches([len(ids) for ids in tokens]):
            out[start:stop] = self._forward(tokens[start:stop])
        return out

    def _forward(self, tokens: list[list[int]]) -> Array:  # -> (n, 384)
        w = self._weights
        ids = np.concatenate(tokens)  # (T,) the tokens of all texts, one after the other
        ends = np.cumsum([len(text) for text in tokens])
        spans = [slice(end - len(text), end) for text, end in zip(tokens, ends, strict=True)]
        position = np.concatenate([np.arange(len(text)) for text in tokens])
        x = w["words"][ids] * w["words.scale"][ids, None] + w["positions"][position]  # (T, 384)
        x = self._norm(x, "embedding_norm")
        for i in range(LAYERS):
            layer = f"layers.{i}."
            qkv = self._linear(x, layer + "qkv")
            attended = np.concatenate([_attention(qkv[span]) for span in spans])
            x = self._norm(x + self._linear(attended, layer + "out"), layer + "attention_norm")
            hidden = _gelu(self._linear(x, layer + "up"))
            x = self._norm(x + self._linear(hidden, layer + "down"), layer + "norm")
        means = np.stack([x[span].mean(axis=0) for span in spans])
        return means / np.sqrt((means * means).sum(axis=1, keepdims=True))

    def _linear(self, x: Array, name: str) -> Array:  # (T, in) -> (T, out)
        w = self._weights
        peak = np.maximum(np.abs(x).max(axis=1, keepdims=True), np.finfo(np.float32).tiny)
        step = peak.astype(np.float64) / ACTIVATION_MAX
        exact = np.rint(x / step) @ w[name].astype(np.float64).T
        return (exact * step).astype(np.float32) * w[f"{name}.scale"] + w[f"{name}.bias"]

    def _norm(self, x: Array, name: str) -> Array:
        w = self._weights
        x = x - x.mean(axis=1, keepdims=True)
        x /= np.sqrt((x * x).mean(axis=1, keepdims=True) + np.float32(1e-12))
        return x * w[f"{name}.weight"] + w[f"{name}.bias"]

    @property
    def _weights(self) -> dict[str, NDArray[Any]]:
        return self._file[0]

    @cached_property
    def _file(self) -> tuple[dict[str, NDArray[Any]], str]:
        """Tensors and revision of the safetensors file, mapped: a text touches few of the word vectors."""
        path = self._folder / "minilm-l6-v2.safetensors"
        try:
            data = np.memmap(path, np.uint8, mode="r")
            start = 8 + int(data[:8].view("<u8")[0])
            header = json.loads(data[8:start].tobytes())
            revision = json.loads(header.pop("__metadata__")["pa3d"])["revision"]
            tensors = {}
            for name, entry in header.items():
                begin, end = entry["data_offsets"]
                kind = {"F32": "<f4", "I16": "<i2"}[entry["dtype"]]
                raw = np.asarray(data[start + begin : start + end])
                tensors[name] = raw.view(kind).reshape(entry["shape"])
        except (OSError, ValueError, KeyError) as error:
            raise InputError(f"{path}: the text encoder is missing or damaged; install pa3d again") from error
        return tensors, revision

    @cached_property
    def _tokenizer(self) -> Tokenizer:
        from tokenizers import Tokenizer

        path = self._folder / "minilm-tokenizer.json"
        if not path.is_file():
            raise InputError(f"{path}: the embedded tokenizer is missing; install pa3d again")
        return Tokenizer.from_file(str(path))


def _batches(lengths: list[int]) -> Iterator[tuple[int, int]]:
    """Consecutive ranges of texts of at most BATCH_TOKENS tokens together."""
    start = total = 0
    for i, length in enumerate(lengths):
        if total + length > BATCH_TOKENS:
            yield start, i
            start, total = i, 0
        total += length
    if lengths:
        yield start, len(lengths)


def _attention(qkv: Array) -> Array:  # (T, 3 * 384) of one text -> (T, 384)
    q, k, v = qkv.reshape(-1, 3, HEADS, HEAD_WIDTH).transpose(1, 2, 0, 3)  # each (12, T, 32)
    scores = q @ k.transpose(0, 2, 1) * np.float32(HEAD_WIDTH**-0.5)
    weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
    weights /= weights.sum(axis=-1, keepdims=True)
    return (weights @ v).transpose(1, 0, 2).reshape(-1, WIDTH)


def _gelu(x: Array) -> Array:
    return np.float32(0.5) * x * (1 + erf(x * np.float32(0.5**0.5)))


def erf(x: Array) -> Array:
    """The error function, within 5e-7 in float32: Abramowitz and Stegun 1964, formula 7.1.26."""
    a = np.abs(x)
    t = 1 / (1 + np.float32(0.3275911) * a)
    series = np.zeros_like(t)
    for coefficient in (1.061405429, -1.453152027, 1.421413741, -0.284496736, 0.254829592):
        series = series * t + np.float32(coefficient)
    return np.copysign(1 - series * t * np.exp(-a * a), x)
