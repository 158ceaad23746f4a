"""The training batch of a step: subsampled and augmented clouds grouped into patches, with the targets of both stages.

A shape of a batch depends only on (seed, step, batch_index), where batch_index is its index in the global batch
(pa3d.train.sampler).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pa3d import _C
from pa3d.config import EncoderConfig
from pa3d.data.parts import PartCloud
from pa3d.errors import InputError
from pa3d.frames import TO_MODEL_AXES, apply_normalization, box_normalization, normalization
from pa3d.ops import knn
from pa3d.text import clean_name
from pa3d.train.augment import sample_transform
from pa3d.train.config import AugmentationConfig, DataConfig, parse_density
from pa3d.train.random_streams import Stream, numpy_generator
from pa3d.train.records import Group
from pa3d.train.sampler import Sampler
from pa3d.train.text_bank import NegativeNameSampler, Paraphrases, TextBank

AXES = list(TO_MODEL_AXES["y"])


@dataclass
class Batch:
    """B shapes of G patches of M points each.

    patches: points relative to the center of their patch.
    ids: names of the shapes, for messages.
    Stage 2, padded to the largest number of parts K:
        targets: the fraction of a patch's points that belong to a part.
        labels: the fraction of a patch's points of which a part is the finest; only if there is a loss of partitions.
        text_ids: row of a part's name in the text bank.
        valid: False for padding.
        category_ids: index of a shape's category, -1 for none; only if there is a loss of categories.
    Stage 1:
        visual_targets: the 2D feature of each patch.
    """

    patches: Tensor  # (B, G, M, 3)
    centers: Tensor  # (B, G, 3)
    ids: list[str]  # B
    targets: Tensor | None = None  # (B, G, K)
    labels: Tensor | None = None  # (B, G, K)
    text_ids: Tensor | None = None  # (B, K) int64
    valid: Tensor | None = None  # (B, K) bool
    category_ids: Tensor | None = None  # (B,) int64
    visual_targets: Tensor | None = None  # (B, G, D)

    def __len__(self) -> int:
        return len(self.ids)

    def slice(self, begin: int, end: int) -> Batch:
        """Shapes begin..end."""
        return self._map(lambda value: value[begin:end])

    def to(self, device: torch.device) -> Batch:
        return self._map(lambda value: value.to(device, non_blocking=True) if isinstance(value, Tensor) else value)

    def _map(self, function: Callable[[Any], Any]) -> Batch:
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        mapped: dict[str, Any] = {name: None if value is None else function(value) for name, value in values.items()}
        return Batch(**mapped)


@dataclass
class Example:
    """One shape of a batch, as arrays; the fields are those of Batch, without padding."""

    patches: NDArray[np.float32]  # (G, M, 3)
    centers: NDArray[np.float32]  # (G, 3)
    id: str
    targets: NDArray[np.float32] | None  # (G, K)
    labels: NDArray[np.float32] | None  # (G, K)
    text_ids: list[int]  # K
    visual_targets: NDArray[np.float32] | None  # (G, D)
    category_id: int | None


@dataclass
class Patches:
    """A subsample of a record and its patches, as indices.

    points: N of the record's points. centers, members: indices into those N.
    """

    points: NDArray[np.int64]  # (N,)
    centers: NDArray[np.int64]  # (G,)
    members: NDArray[np.int64]  # (G, M)


class BatchBuilder:
    """Builds the batches of a run.

    batch_size: shapes of the global batch.
    text_bank: None for stage 1.
    categories: the categories that prompts may name.
    shape_categories: the categories whose names the class token is compared with, in the order of their ids; empty if
        it is compared with none.
    negative_names: needed where data.absent is not 0.
    visual_targets: whether the records' 2D features are targets.
    partition_labels: whether examples have labels (`disjoint_masks`).
    Raises InputError for weights of groups that do not exist, and for settings that exclude each other.
    """

    def __init__(
        self,
        groups: Sequence[Group],
        data: DataConfig,
        augmentation: AugmentationConfig,
        encoder: EncoderConfig,
        batch_size: int,
        seed: int,
        *,
        text_bank: TextBank | None,
        paraphrases: Paraphrases | None = None,
        categories: frozenset[str] | set[str] = frozenset(),
        shape_categories: Sequence[str] = (),
        negative_names: NegativeNameSampler | None = None,
        visual_targets: bool = False,
        partition_labels: bool = False,
    ) -> None:
        if data.patches == "precomputed" and augmentation.kind == "free":
            raise InputError('data.patches "precomputed" goes with augmentation "none" or "paper"; use "cut"')
        unknown = sorted(set(data.weights) - {group.name for group in groups})
        if unknown:
            known = ", ".join(group.name for group in groups)
            raise InputError(f"data.weights: no group {unknown[0]!r} with usable records; there are {known}")
        weights = [data.weights.get(group.name, 1.0) for group in groups] if data.weights else None
        self.sampler = Sampler([len(group) for group in groups], weights, batch_size, seed)
        self._groups, self._data, self._augmentation, self._encoder = list(groups), data, augmentation, encoder
        self._seed, self._text_bank, self._visual_targets = seed, text_bank, visual_targets
        self._partition_labels = partition_labels
        self._paraphrases, self._categories = paraphrases or Paraphrases({}), frozenset(categories)
        self._negative_names = negative_names
        self._category_ids = {name: i for i, name in enumerate(shape_categories)}
        densities = {parse_density(text): weight for text, weight in data.densities.items() if weight > 0}
        densities = densities or {(data.points, encoder.patches): 1.0}
        self._densities = list(densities)
        self._density_probabilities = np.array(list(densities.values())) / sum(densities.values())
        self._patch_cache: dict[tuple[int, int, int], tuple[NDArray[np.uint32], ...]] = {}

    def batch(self, step: int, begin: int, end: int) -> Batch:
        """Shapes begin..end of the global batch of a step."""
        return collate([self.example(step, batch_index) for batch_index in range(begin, end)])

    def density(self, step: int) -> tuple[int, int]:
        """Number of points and of patches of each shape of a step's batch."""
        if len(self._densities) == 1:
            return self._densities[0]
        rng = numpy_generator(self._seed, Stream.DENSITY, step)
        return self._densities[int(rng.choice(len(self._densities), p=self._density_probabilities))]

    def example(self, step: int, batch_index: int) -> Example:
        """Raises InputError, which names the record, when it cannot be used."""
        rng = numpy_generator(self._seed, Stream.EXAMPLE, step, batch_index)
        return self._example(*self.sampler.index(step, batch_index), *self.density(step), rng)

    def validation_example(self, group: int, index: int) -> Example:
        """A record with the points it has in every validation."""
        rng = numpy_generator(self._seed, Stream.VALIDATION, group, index)
        return self._example(group, index, self._data.points, self._encoder.patches, rng)

    def _example(self, group: int, index: int, num_points: int, num_patches: int, rng: np.random.Generator) -> Example:
        record = self._groups[group][index]
        try:
            if self._augmentation.kind == "free":
                cloud, masks, patches, feature_centers = self._transform_whole(record, num_points, num_patches, rng)
            else:
                cloud, masks, patches, feature_centers = self._transform_subsample(
                    record, (group, index), num_points, num_patches, rng
                )
            centers = cloud[patches.centers]
            visual_targets = None
            if feature_centers is not None:
                assert record.patch_features is not None
                nearest = knn(centers, np.ascontiguousarray(feature_centers[:, AXES], np.float32), 1)[0][:, 0]
                visual_targets = record.patch_features[nearest]
            targets: NDArray[np.float32] | None = None
            labels: NDArray[np.float32] | None = None
            text_ids: list[int] = []
            if self._text_bank is not None:
                targets, labels, text_ids = self._text_targets(record, masks, patches.members, rng)
            relative = cloud[patches.members] - centers[:, None]
            category_id = self._category_ids.get(record.category, -1) if self._category_ids else None
            return Example(relative, centers, record.id, targets, labels, text_ids, visual_targets, category_id)
        except ValueError as error:
            raise InputError(f"{record.id}: cannot be used for training ({error})") from error

    def _transform_whole(
        self, record: PartCloud, num_points: int, num_patches: int, rng: np.random.Generator
    ) -> tuple[NDArray[np.float32], NDArray[np.bool_], Patches, NDArray[np.float32] | None]:
        """Augment, then normalize, because a crop or a stretch moves the bounds.

        Returns a cloud (N, 3) in the model's axes, its masks (L, N), its patches, and the y-up centers of the 2D
        features.
        """
        masks, (center, radius) = record.masks, self._frame(record.points)
        points = apply_normalization(record.points, center, radius)
        transform = sample_transform(self._augmentation, points, rng)
        keep_mask, extra = transform.keep_mask, transform.extra_points
        candidates = np.arange(len(points)) if keep_mask is None else np.flatnonzero(keep_mask)
        if extra is not None:
            candidates = np.concatenate([candidates, np.arange(len(points), len(points) + len(extra))])
            points = np.concatenate([points, extra])
            masks = np.concatenate([masks, np.zeros((len(masks), len(extra)), bool)], axis=1)
        chosen = self._subsample(masks, candidates, num_points, rng)
        cloud = transform.jitter(transform.apply(points[chosen]), rng)
        new_center, new_radius = self._frame(cloud)
        cloud = apply_normalization(cloud, new_center, new_radius)
        feature_centers = self._feature_centers(record)
        if feature_centers is not None:
            feature_centers = transform.apply(apply_normalization(feature_centers, center, radius))
            feature_centers = apply_normalization(feature_centers, new_center, new_radius)
        cloud = np.ascontiguousarray(cloud[:, AXES])
        return cloud, masks[:, chosen], self._group_patches(cloud, chosen, num_patches), feature_centers

    def _transform_subsample(
        self, record: PartCloud, key: tuple[int, int], num_points: int, num_patches: int, rng: np.random.Generator
    ) -> tuple[NDArray[np.float32], NDArray[np.bool_], Patches, NDArray[np.float32] | None]:
        """Normalize, then augment, as PatchAlign3D does. Returns as `_transform_whole`."""
        patches = None
        if self._data.patches == "precomputed":
            patches = self._precomputed_patches(record, key, rng)
            chosen = patches.points
        else:
            chosen = self._subsample(record.masks, np.arange(len(record.points)), num_points, rng)
        center, radius = self._frame(record.points[chosen], record.points)
        cloud = apply_normalization(record.points[chosen], center, radius)
        transform = sample_transform(self._augmentation, cloud, rng)
        cloud = transform.jitter(transform.apply(cloud), rng)
        feature_centers = self._feature_centers(record)
        if feature_centers is not None:
            feature_centers = transform.apply(apply_normalization(feature_centers, center, radius))
        cloud = np.ascontiguousarray(cloud[:, AXES])
        patches = patches or self._group_patches(cloud, chosen, num_patches)
        return cloud, record.masks[:, chosen], patches, feature_centers

    def _frame(
        self, points: NDArray[np.float32], whole: NDArray[np.float32] | None = None
    ) -> tuple[NDArray[np.float64], float]:
        """Centre and divisor of a subsample of the points of a whole shape, by data.frame."""
        if self._data.frame == "box":
            return box_normalization(points if whole is None else whole)
        return normalization(points)

    def _feature_centers(self, record: PartCloud) -> NDArray[np.float32] | None:
        return record.centers if self._visual_targets else None

    def _group_patches(self, cloud: NDArray[np.float32], chosen: NDArray[np.int64], num_patches: int) -> Patches:
        """Patches of a cloud (N, 3) in the model's axes, whose points are the `chosen` (N,) of the record."""
        c = self._encoder
        size = min(c.patch_size, len(cloud))
        centers, members = _C.sample_and_group(cloud[None], num_patches, size, 0, c.min_sq_norm, 1)
        columns = np.arange(c.patch_size) % size  # a cloud smaller than a patch repeats its points
        return Patches(chosen, centers[0], members[0][:, columns])

    def _precomputed_patches(self, record: PartCloud, key: tuple[int, int], rng: np.random.Generator) -> Patches:
        """Patches of one of the data.variants subsamples of a record, which is grouped without augmentation and cached.

        key: numbers of the group and of the record.
        """
        variant = int(rng.integers(self._data.variants))
        cached = self._patch_cache.get((*key, variant))
        if cached is None:
            own_rng = numpy_generator(self._seed, Stream.VARIANT, *key, variant)
            chosen = self._subsample(record.masks, np.arange(len(record.points)), self._data.points, own_rng)
            cloud = apply_normalization(record.points[chosen], *self._frame(record.points[chosen], record.points))
            patches = self._group_patches(np.ascontiguousarray(cloud[:, AXES]), chosen, self._encoder.patches)
            cached = tuple(a.astype(np.uint32) for a in (patches.points, patches.centers, patches.members))
            self._patch_cache[(*key, variant)] = cached
        return Patches(*(a.astype(np.int64) for a in cached))

    def _subsample(
        self,
        masks: NDArray[np.bool_],  # (L, P)
        candidates: NDArray[np.int64],
        n: int,
        rng: np.random.Generator,
    ) -> NDArray[np.int64]:  # (n,)
        """n of the candidates, without repetition if there are at least n."""
        if len(candidates) <= n:
            extra = rng.choice(candidates, n - len(candidates)) if len(candidates) < n else candidates[:0]
            return np.concatenate([candidates, extra])
        if self._data.subsample == "random" or not len(masks):
            return rng.choice(candidates, n, replace=False)
        quota = n // (2 * len(masks))  # half of the points are divided among the parts, the others are drawn from all
        chosen = np.zeros(masks.shape[1], bool)
        for mask in masks[:, candidates]:
            in_part = candidates[mask]
            chosen[in_part if len(in_part) <= quota else rng.choice(in_part, quota, replace=False)] = True
        remaining = candidates[~chosen[candidates]]
        return np.concatenate([np.flatnonzero(chosen), rng.choice(remaining, n - int(chosen.sum()), replace=False)])

    def _text_targets(
        self,
        record: PartCloud,
        masks: NDArray[np.bool_],  # (L, N) of the chosen points
        members: NDArray[np.int64],  # (G, M)
        rng: np.random.Generator,
    ) -> tuple[NDArray[np.float32], NDArray[np.float32] | None, list[int]]:  # (G, K), (G, K), K
        """Fractions of the parts of the chosen points, the labels, and the rows of the names in the text bank."""
        assert self._text_bank is not None
        present = np.flatnonzero(masks.any(axis=1))
        limit = self._data.max_parts
        if limit and len(present) > limit:
            present = np.sort(rng.choice(present, limit, replace=False))
        names = self._paraphrase([record.names[i] for i in present], record.category, rng)
        with_category = rng.random() < self._data.category_prompts and record.category in self._categories
        targets = part_fractions(masks[present], members)
        labels = part_fractions(disjoint_masks(masks[present], rng), members) if self._partition_labels else None
        if self._data.absent and self._negative_names is not None and not with_category:
            count = int(rng.integers(1, self._data.absent + 1))
            absent = self._negative_names.sample(record.names, record.category, count, rng)
            absent = self._paraphrase(absent, "", rng)
            absent = [name for name in absent if (name, None) in self._text_bank and name not in names]
            names += absent
            padding = np.zeros((len(targets), len(absent)), np.float32)
            targets = np.concatenate([targets, padding], axis=1)
            labels = None if labels is None else np.concatenate([labels, padding], axis=1)
        return targets, labels, self._text_bank.ids(names, record.category if with_category else None)

    def _paraphrase(self, names: list[str], category: str, rng: np.random.Generator) -> list[str]:
        if not self._data.paraphrases:
            return names
        taken_names = set(names)
        for i, name in enumerate(names):
            paraphrases = self._paraphrases.lookup(name, category)
            if paraphrases and rng.random() < self._data.paraphrase:
                other = clean_name(paraphrases[int(rng.integers(len(paraphrases)))])
                if other not in taken_names:  # two parts of a shape never have the same name
                    taken_names.add(other)
                    names[i] = other
        return names


def part_fractions(
    masks: NDArray[np.bool_],  # (K, N)
    members: NDArray[np.int64],  # (G, M) indices into the N points
) -> NDArray[np.float32]:  # (G, K)
    """The fraction of each patch's points that each part has."""
    return masks[:, members].mean(axis=2, dtype=np.float32).T


def last_mask(masks: NDArray[np.bool_], order: NDArray[np.int64]) -> NDArray[np.int64]:  # (K, N), (J,) -> (N,)
    """The number of the last mask, in this order, that has a point; -1 for none."""
    last = np.full(masks.shape[1], -1)
    for row in order:
        last[masks[row]] = row
    return last


def disjoint_masks(masks: NDArray[np.bool_], rng: np.random.Generator) -> NDArray[np.bool_]:  # (K, N) -> (K, N)
    """Masks of which no two overlap: every point keeps the smallest of the masks that take part.

    In half of the draws all K take part, else each with probability 0.7, so that coarse names win, too. Of equal masks
    one is chosen at random. A mask that keeps less than a tenth of its points loses the rest: nobody asks for what is
    left of an arm beside upper arm, forearm and hand.
    """
    order = rng.permutation(len(masks))
    order = order[np.argsort(-masks.sum(axis=1)[order], kind="stable")]
    if rng.random() < 0.5:
        order = order[rng.random(len(order)) < 0.7]
    kept = last_mask(masks, order) == np.arange(len(masks))[:, None]
    kept[kept.sum(axis=1) < 0.1 * masks.sum(axis=1)] = False
    return kept


def collate(examples: Sequence[Example]) -> Batch:
    """Examples as one batch, padded to the largest number of parts.

    Raises InputError when their 2D features have different widths.
    """
    first = examples[0]
    batch = Batch(
        torch.from_numpy(np.stack([e.patches for e in examples])),
        torch.from_numpy(np.stack([e.centers for e in examples])),
        [e.id for e in examples],
    )
    if first.targets is not None:
        width = max(1, *(len(e.text_ids) for e in examples))
        targets = np.zeros((len(examples), len(first.centers), width), np.float32)
        text_ids = np.zeros((len(examples), width), np.int64)
        valid = np.zeros((len(examples), width), bool)
        for i, e in enumerate(examples):
            k = len(e.text_ids)
            targets[i, :, :k], text_ids[i, :k], valid[i, :k] = e.targets, e.text_ids, True
        batch.targets, batch.text_ids, batch.valid = map(torch.from_numpy, (targets, text_ids, valid))
        if first.labels is not None:
            labels = np.zeros_like(targets)
            for i, e in enumerate(examples):
                labels[i, :, : len(e.text_ids)] = e.labels
            batch.labels = torch.from_numpy(labels)
    category_ids = [e.category_id for e in examples if e.category_id is not None]
    if category_ids:
        batch.category_ids = torch.tensor(category_ids)
    visual_targets = [e.visual_targets for e in examples if e.visual_targets is not None]
    if visual_targets:
        widths = sorted({features.shape[1] for features in visual_targets})
        if len(widths) > 1:
            raise InputError(
                f"2D features of {' and '.join(map(str, widths))} dimensions in one set; run pa3d prepare on all of it "
                "with one backbone"
            )
        batch.visual_targets = torch.from_numpy(np.stack(visual_targets))
    return batch
