"""Small runs that several test modules share."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from pa3d.config import EncoderConfig
from pa3d.data.parts import PartCloud
from pa3d.train.config import TrainConfig
from pa3d.train.records import MemoryRecords, usable_group
from pa3d.train.training_data import TrainingData

TINY = EncoderConfig(  # of widths that the kernels of training take
    patches=8, patch_size=6, dim=32, depth=2, heads=1, mlp_hidden=64, embed=(32, 32, 32, 32), pos_hidden=8, text_dim=384
)
MINILM = "all-MiniLM-L6-v2"


def ball(seed: int, count: int = 300) -> PartCloud:
    """A ball whose upper and lower half are parts, one of them under two spellings, with 2D features that depend on the
    place; the category is also a label, to be left out."""
    rng = np.random.default_rng(seed)
    points = rng.standard_normal((count, 3)).astype(np.float32)
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    top, left = points[:, 1] > 0, points[:, 0] > 0
    names, masks = ["Top", "bottom", "ball", "top"], np.stack([top & left, ~top, top | True, top & ~left])
    cloud = PartCloud(points, names, masks, "ball", "s", "MIT", f"b{seed}")
    cloud.centers = points[:20]
    features = np.concatenate([cloud.centers, cloud.centers[:, :1] > 0], axis=1).astype(np.float32)
    cloud.patch_features = features / np.linalg.norm(features, axis=1, keepdims=True)
    return cloud


def tiny_config(stage: str = "stage2", **sections: dict[str, Any]) -> TrainConfig:
    """A run of seconds; sections change single fields."""
    base = TrainConfig(stage=stage, text_space=MINILM, encoder=TINY, precision="fp32")  # type: ignore[arg-type]
    ours: dict[str, dict[str, Any]] = {
        "data": {"points": 128},
        "optimizer": {"batch": 4, "lr": 1e-3, "head_lr": 1e-3},
        "schedule": {"steps": 6},
        "run": {"log_every": 1, "save_every": 100, "device": "cpu", "tensorboard": "off", "plot": False},
    }
    changes = {name: replace(getattr(base, name), **{**ours.get(name, {}), **sections.get(name, {})}) for name in
               ("data", "augmentation", "loss", "optimizer", "schedule", "run")}  # fmt: skip
    return replace(base, **changes)


def tiny_data(config: TrainConfig, count: int = 6, val: int = 0) -> TrainingData:
    """Balls to train on, others to validate with."""

    def group(seeds: range) -> Any:
        needs = {"names": config.stage != "stage1", "features": config.stage != "stage2"}
        return usable_group("balls", MemoryRecords([ball(seed) for seed in seeds]), **needs)

    return TrainingData.from_groups(config, [group(range(count))], [group(range(100, 100 + val))] if val else [])
