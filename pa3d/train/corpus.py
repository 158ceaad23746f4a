"""Training records in memory: weighted draws, patches cut on the fly, targets and text vectors beside them.

Everything about step t follows from (seed, t), so a resumed run sees what an uninterrupted one would have.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pa3d import _C
from pa3d.config import EncoderConfig
from pa3d.data.parts import PartCloud
from pa3d.segment import TO_MODEL_AXES, apply_normalization, normalization
from pa3d.text import TextEncoder, clean, embed_parts
from pa3d.train.augment import Augmentation


@dataclass
class Batch:
    """patches (B, G, M, 3) relative; centers (B, G, 3); targets (B, G, K); text (B, K, D); valid (B, K); ids (B)."""

    patches: Tensor
    centers: Tensor
    targets: Tensor
    text: Tensor
    valid: Tensor
    ids: list[str]


class TextBank:
    """Vectors of every (name, category or None) the corpus can ask for, computed once."""

    def __init__(self, encoder: TextEncoder) -> None:
        self._encoder = encoder
        self._vectors: dict[tuple[str, str | None], NDArray[np.float32]] = {}

    def fill(self, pairs: Iterable[tuple[str, str | None]]) -> None:
        """Compute the vectors of these now, so that no step waits for one."""
        for category, group in itertools.groupby(
            sorted(set(pairs), key=lambda p: (p[1] or "", p[0])), key=lambda p: p[1]
        ):
            names = [name for name, _ in group]
            vectors = embed_parts(self._encoder, names, category)
            self._vectors.update({(name, category): v for name, v in zip(names, vectors, strict=True)})

    def __call__(self, names: Sequence[str], category: str | None) -> NDArray[np.float32]:  # (K, D)
        self.fill((name, category) for name in names if (name, category) not in self._vectors)
        return np.stack([self._vectors[name, category] for name in names])


class Corpus:
    """Records drawn by the weight of their group, as batches for stage 2.

    groups: name -> (weight, records); a record is drawn uniformly within its group.
    sample: points a shape; max_parts: names a shape, drawn at random where there are more.
    category_prompts: probability that a shape's prompts name its category, where at least 20 records share it.
    """

    def __init__(
        self,
        groups: dict[str, tuple[float, list[PartCloud]]],
        config: EncoderConfig,
        text: TextBank,
        augment: Augmentation,
        *,
        sample: int = 2048,
        max_parts: int = 16,
        category_prompts: float = 0.25,
        seed: int = 0,
    ) -> None:
        groups = {name: g for name, g in groups.items() if g[1] and g[0] > 0}
        self._records = [records for _, records in groups.values()]
        everything = [record for records in self._records for record in records]
        counts = Counter(record.category for record in everything)
        self._categories = {category for category, count in counts.items() if category and count >= 20}
        text.fill((name, None) for record in everything for name in record.names)
        if category_prompts > 0:
            common = (record for record in everything if record.category in self._categories)
            text.fill((name, record.category) for record in common for name in record.names)
        weights = np.array([weight for weight, _ in groups.values()])
        self._weights = weights / weights.sum()
        self._config, self._text, self._augment = config, text, augment
        self._sample, self._max_parts, self._category_prompts, self._seed = sample, max_parts, category_prompts, seed

    def batch(self, step: int, size: int) -> Batch:
        rng = np.random.default_rng((self._seed, step))
        shapes = [self._shape(rng) for _ in range(size)]
        widest = max(text.shape[0] for _, _, _, text, _ in shapes)

        def padded(arrays: list[NDArray[np.float32]], axis: int) -> Tensor:
            grown = []
            for a in arrays:
                pad = [(0, 0)] * a.ndim
                pad[axis] = (0, widest - a.shape[axis])
                grown.append(np.pad(a, pad))
            return torch.from_numpy(np.stack(grown))

        valid = np.zeros((size, widest), bool)
        for row, (_, _, _, text, _) in zip(valid, shapes, strict=True):
            row[: len(text)] = True
        patches, centers, targets, texts, ids = zip(*shapes, strict=True)
        return Batch(
            torch.from_numpy(np.stack(patches)),
            torch.from_numpy(np.stack(centers)),
            padded(list(targets), 1),
            padded(list(texts), 0),
            torch.from_numpy(valid),
            list(ids),
        )

    def _shape(
        self, rng: np.random.Generator
    ) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32], NDArray[np.float32], str]:
        records = self._records[rng.choice(len(self._records), p=self._weights)]
        record = records[rng.integers(len(records))]
        points, keep = self._augment(record.points, rng)
        kept = np.flatnonzero(keep)
        chosen = rng.choice(kept, size=self._sample, replace=len(kept) < self._sample)
        cloud = points[chosen]
        cloud = np.ascontiguousarray(apply_normalization(cloud, *normalization(cloud))[:, TO_MODEL_AXES["y"]])
        masks = record.masks[:, chosen]
        present = np.flatnonzero(masks.any(axis=1))
        if len(present) > self._max_parts:
            present = np.sort(rng.choice(present, self._max_parts, replace=False))
        names = [record.names[i] for i in present]
        named = rng.random() < self._category_prompts and record.category in self._categories
        category = record.category if named else None
        c = self._config
        index, members = (a[0] for a in _C.sample_and_group(cloud[None], c.patches, c.patch_size, 0, c.min_sq_norm, 1))
        centers = cloud[index]
        targets = masks[present][:, members].mean(axis=2, dtype=np.float32).T
        return cloud[members] - centers[:, None], centers, targets, self._text(names, category), record.id


def usable(record: PartCloud) -> bool:
    """Names that can be prompts, none of them the category itself, and something to tell apart."""
    return len(record.names) >= 1 and bool(record.masks.any())


def without_category(record: PartCloud) -> PartCloud:
    """The record without labels that only repeat the object's category or are empty once cleaned."""
    category = record.category.lower()
    keep = [i for i, name in enumerate(record.names) if _is_word(name) and clean(name) != category]
    return PartCloud(
        record.points,
        [clean(record.names[i]) for i in keep],
        record.masks[keep],
        record.category,
        record.source,
        record.license,
        record.id,
    )


def _is_word(name: str) -> bool:
    try:
        return bool(clean(name))
    except ValueError:
        return False
