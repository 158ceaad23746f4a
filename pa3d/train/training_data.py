"""What a run reads: the groups of records it trains on and validates with, and the vectors of all their texts."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pa3d.data.official import is_official
from pa3d.errors import InputError
from pa3d.text import text_encoder
from pa3d.train.batches import BatchBuilder
from pa3d.train.config import TrainConfig
from pa3d.train.records import Group, open_groups
from pa3d.train.text_bank import (
    NegativeNameSampler,
    Paraphrases,
    TextBank,
    check_text_dim,
    frequent_categories,
    text_keys,
)


@dataclass
class TrainingData:
    """
    train, val: groups of records; val is empty where there is no validation.
    text_bank: vectors of every text that a batch can ask for; None in stage 1.
    categories: the categories that prompts may name.
    shape_categories: the categories whose names the class token is compared with, sorted; empty without that loss.
    feature_dim: width of the 2D features; 0 in stage 2.
    """

    train: list[Group]
    val: list[Group]
    text_bank: TextBank | None
    paraphrases: Paraphrases
    categories: set[str]
    shape_categories: list[str]
    feature_dim: int

    @staticmethod
    def open(config: TrainConfig) -> TrainingData:
        """The data that config.data names. Raises InputError when there is none, or none that can be used."""
        c = config.data
        if not c.train:
            raise InputError("no training data; give --data FOLDER or data.train in the configuration")
        names, features = config.stage != "stage1", config.stage != "stage2"
        train = open_groups(c.train, "train", names=names, features=features)
        val: list[Group] = []
        if c.val or _has_official_validation(c.train):
            val = open_groups(c.val or c.train, "val", names=names, features=features)
        return TrainingData.from_groups(config, train, val)

    @staticmethod
    def from_groups(config: TrainConfig, train: list[Group], val: list[Group]) -> TrainingData:
        """Encodes every text that the groups can ask for; raises InputError when its width is not encoder.text_dim."""
        paraphrases = Paraphrases.load(config.data.paraphrases)
        common = frequent_categories(train, config.data.category_min)
        categories = common if config.data.category_prompts > 0 else set()
        shape_categories = sorted(common) if config.loss.category > 0 and config.stage != "stage1" else []
        text_bank = None
        if config.stage != "stage1":
            encoder = text_encoder(config.text_space)
            check_text_dim(encoder, config.encoder)
            keys = text_keys(train, paraphrases, categories) | text_keys(val, Paraphrases({}), set())
            keys |= {(name, None) for name in shape_categories}
            text_bank = TextBank(encoder, keys)
        feature_dim = 0
        if config.stage != "stage2":
            features = train[0][0].patch_features
            assert features is not None
            feature_dim = features.shape[1]
        return TrainingData(train, val, text_bank, paraphrases, categories, shape_categories, feature_dim)

    def batch_builder(self, config: TrainConfig) -> BatchBuilder:
        """The builder of the training batches."""
        negative_names = None
        if config.data.absent and self.text_bank is not None:
            negative_names = NegativeNameSampler(self.train, self.text_bank, self.paraphrases)
        return BatchBuilder(
            self.train,
            config.data,
            config.augmentation,
            config.encoder,
            config.optimizer.batch,
            config.seed,
            text_bank=None if self.text_bank is None else self.text_bank.without_vectors(),
            paraphrases=self.paraphrases,
            categories=self.categories,
            shape_categories=self.shape_categories,
            negative_names=negative_names,
            visual_targets=config.stage != "stage2",
            partition_labels=config.stage != "stage1" and config.loss.partition > 0,
        )

    def category_vectors(self) -> NDArray[np.float32] | None:  # (V, D)
        """The vectors of shape_categories; None if there are none."""
        if self.text_bank is None or not self.shape_categories:
            return None
        return self.text_bank.vectors[self.text_bank.ids(self.shape_categories, None)]

    def record_counts(self) -> dict[str, int]:
        """Number of training records by group."""
        return {group.name: len(group) for group in self.train}

    def licenses(self) -> list[str]:
        return sorted({group.info(i).license for group in self.train for i in range(len(group))})


def _has_official_validation(folder: str) -> bool:
    """Whether it is the official layout, with a list of validation shapes that is not empty."""
    root = Path(folder)
    listing = root / ("split" if root.name == "labeled" else "labeled/split") / "val.txt"
    return is_official(folder) and listing.is_file() and bool(listing.read_text().strip())
