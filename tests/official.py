"""The published checkpoint's layout filled with reproducible numbers; tests/data/parity.npz comes from these.

parity.npz holds, for each cloud of CLOUDS: NAME.points (N, 3) on the unit sphere, y up; NAME.centers (3, 128)
in the model's axes; NAME.patch_emb (384, 128) after the final norm; NAME.logits (128, 5) cosine / 0.07;
NAME.pred (N,) the nearest centre's best part; and text (5, 1280), unit rows. The method's own code computed
them in float32 on the CPU.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

DATA = Path(__file__).parent / "data"
CLOUDS = ("ball", "slab5000", "duplicates")
EMBEDDING_TOLERANCE = LOGIT_TOLERANCE = 2e-4
PREDICTIONS_EQUAL = 0.999

State = dict[str, dict[str, NDArray[np.float32]]]


@cache
def layout() -> dict[str, list[tuple[str, tuple[int, ...]]]]:
    """Names and shapes of "model" and "proj", in the order of the file."""
    text = (DATA / "parity_layout.json").read_text()
    return {part: [(name, tuple(shape)) for name, shape in rows] for part, rows in json.loads(text).items()}


@cache
def parity() -> dict[str, NDArray[np.float32]]:
    with np.load(DATA / "parity.npz") as archive:
        return dict(archive)


def official_state(seed_model: int = 1, seed_proj: int = 2) -> State:
    """{"model": ..., "proj": ...} as in the published file: normal draws, each tensor scaled by its role."""
    seeds = {"model": seed_model, "proj": seed_proj}
    return {part: _filled(layout()[part], np.random.default_rng(seeds[part])) for part in ("model", "proj")}


def _filled(rows: list[tuple[str, tuple[int, ...]]], rng: np.random.Generator) -> dict[str, NDArray[np.float32]]:
    state = {}
    for name, shape in rows:
        if name.endswith("num_batches_tracked"):
            state[name] = np.zeros(shape, np.int64)
        else:
            state[name] = _scaled(name, rng.standard_normal(shape)).astype(np.float32)
    return state


def _scaled(name: str, x: NDArray[np.float64]) -> NDArray[np.float64]:
    if name.endswith("running_var"):
        return 0.5 + np.abs(x)
    if x.ndim >= 2 and not name.startswith("cls"):
        return x * np.sqrt(1.5 / np.prod(x.shape[1:]))  # keeps the variance of what a layer passes on
    is_scale = name.endswith(".1.weight") or ("norm" in name and name.endswith("weight"))
    return 1 + 0.2 * x if is_scale else 0.1 * x


def save_pickle(path: Path, state: dict[str, object]) -> Path:
    """A .pt file as torch writes it, arrays as tensors."""
    import torch

    def tensors(value: object) -> object:
        if isinstance(value, dict):
            return {k: tensors(v) for k, v in value.items()}
        return torch.from_numpy(np.array(value)) if isinstance(value, np.ndarray) else value

    torch.save(tensors(state), path)
    return path
