"""Checkpoints of random weights, small enough for every test."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from pa3d.checkpoint import Checkpoint, Kinds, Lexicon, PresenceFit, save
from pa3d.config import EncoderConfig
from pa3d.shape_head import ShapeHead

TINY = EncoderConfig(
    dim=64,
    depth=2,
    heads=4,
    mlp_hidden=128,
    embed=(16, 32, 32, 64),
    pos_hidden=32,
    text_dim=384,
    drop_path=0.0,
)


def random_checkpoint(config: EncoderConfig, seed: int = 0, text_space: str = "all-MiniLM-L6-v2") -> Checkpoint:
    """Weights that keep the size of activations, batch statistics included."""
    rng = np.random.default_rng(seed)
    tensors = {}
    for name, shape in config.shapes().items():
        x = rng.standard_normal(shape)
        if name.endswith("running_var"):
            x = 0.5 + np.abs(x)
        elif len(shape) >= 2 and not name.startswith("cls"):
            x = x / np.sqrt(np.prod(shape[1:]))
        elif name.endswith("weight"):
            x = 1 + 0.2 * x
        tensors[name] = x.astype(np.float32)
    return Checkpoint(config, tensors, text_space, 0.07, name="tiny")


def calibrated_checkpoint(config: EncoderConfig = TINY) -> Checkpoint:
    """With all that scripts/calibrate_names.py adds; names have levels from 1 to about 2."""
    rng = np.random.default_rng(7)
    bank = rng.integers(-127, 128, (60, config.text_dim)).astype(np.int8)
    head = ShapeHead.shapes(config.dim, 24, config.text_dim)
    lexicon = random_lexicon(70, config.text_dim)
    kinds = random_kinds(9, 14, config.text_dim)._replace(
        parts=lexicon.rows[:56:4].copy()
    )  # names that words are read as
    return replace(
        random_checkpoint(config),
        outliers=3.0,
        bank=bank,
        presence=PresenceFit(0.4, 0.7, 0.5, 0.3),
        assign="smooth",
        lexicon=lexicon,
        shape_head={name: (0.1 * rng.standard_normal(shape)).astype(np.float32) for name, shape in head.items()},
        kinds=kinds,
    )


def random_kinds(kinds: int, parts: int, width: int) -> Kinds:
    """Every kind has three parts."""
    rng = np.random.default_rng([kinds, parts])
    rows, of_parts = (rng.integers(-127, 128, (count, width)).astype(np.int8) for count in (kinds, parts))
    of_parts[:, 0] = rows[:, 0] = 127
    has = [(kind, part) for kind in range(kinds) for part in rng.choice(parts, 3, replace=False)]
    return Kinds(rows, of_parts, np.array(has, np.int32))


def random_lexicon(rows: int, width: int, seed: int = 0) -> Lexicon:
    """Every fourth text is a name, which the three after it mean."""
    rng = np.random.default_rng([seed, rows])
    meaning = np.arange(rows, dtype=np.int32) // 4 * 4
    texts = rng.integers(-127, 128, (rows, width)).astype(np.int8)
    texts[:, 0] = 127
    return Lexicon(texts, meaning)


def head_with(hidden_bias: Any) -> dict[str, Any]:
    """The shape head of `calibrated_checkpoint`, with another bias."""
    head = calibrated_checkpoint().shape_head
    assert head is not None
    return {**head, "hidden.bias": hidden_bias}


def transposed_head() -> dict[str, Any]:
    head = calibrated_checkpoint().shape_head
    assert head is not None
    return {**head, "hidden.weight": head["hidden.weight"].T}


def write_tiny(path: Path, *, text_space: str = "all-MiniLM-L6-v2", text_dim: int = 384) -> Path:
    save(path, random_checkpoint(replace(TINY, text_dim=text_dim), text_space=text_space))
    return path
