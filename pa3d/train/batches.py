"""What step t trains on. All of it follows from (seed, t, place in the global batch): a resumed run sees what an
uninterrupted one would have, and a batch is the same whichever processes make its parts.

The places of a batch are dealt out to lanes, and the records, in the order of their shards, to the same lanes in equal
runs. A process or worker that makes some of the places therefore reads some of the shards, always the same ones.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, fields
from functools import lru_cache
from queue import Empty, Queue
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from pa3d import _C
from pa3d.config import EncoderConfig
from pa3d.errors import InputError
from pa3d.frames import TO_MODEL_AXES, apply_normalization, normalization
from pa3d.ops import knn
from pa3d.text import clean
from pa3d.train.augment import draw_motion
from pa3d.train.config import AugmentationConfig, DataConfig
from pa3d.train.records import Group
from pa3d.train.text import Paraphrases, TextBank

DRAW, SHAPE, VARIANT, FIXED = 1, 2, 3, 5  # what a random stream is for
LANE_RECORDS = 4  # a lane has at least so many
AXES = list(TO_MODEL_AXES["y"])


@dataclass
class Batch:
    """patches (B, G, M, 3) relative; centers (B, G, 3); ids (B). Of stage 2: targets (B, G, K); names (B, K), rows of
    the text bank; valid (B, K). Of stage 1: visual (B, G, D)."""

    patches: Tensor
    centers: Tensor
    ids: list[str]
    targets: Tensor | None = None
    names: Tensor | None = None
    valid: Tensor | None = None
    visual: Tensor | None = None

    def __len__(self) -> int:
        return len(self.ids)

    def part(self, begin: int, end: int) -> Batch:
        """Some of its shapes."""
        return self._each(lambda value: value[begin:end])

    def to(self, device: torch.device) -> Batch:
        return self._each(lambda value: value.to(device, non_blocking=True) if isinstance(value, Tensor) else value)

    def _each(self, change: Callable[[Any], Any]) -> Batch:
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        changed: dict[str, Any] = {name: None if value is None else change(value) for name, value in values.items()}
        return Batch(**changed)


class Draws:
    """Which record fills which place of which batch.

    sizes: records of every group. weights: of the groups, drawn with replacement; None goes through all records once
    an epoch, in an order that differs from epoch to epoch.
    """

    def __init__(self, sizes: Sequence[int], weights: Sequence[float] | None, batch: int, seed: int) -> None:
        self._ends = np.cumsum(sizes)
        self.total, self.batch, self._seed = int(self._ends[-1]), batch, seed
        self.lanes = max(
            n for n in range(1, batch + 1) if batch % n == 0 and (n == 1 or self.total >= LANE_RECORDS * n)
        )
        self._weights = None
        if weights is not None:
            if not sum(weights) > 0:
                raise InputError("data.weights: every group has weight 0; give one a positive weight")
            self._weights = np.array(weights) / np.sum(weights)
        self._order = lru_cache(maxsize=2 * self.lanes)(self._lane_order)

    def __call__(self, step: int, place: int) -> tuple[int, int]:
        """Group and record within it."""
        width = self.batch // self.lanes
        lane = place // width
        if self._weights is not None:
            rng = np.random.default_rng((self._seed, DRAW, step, place))
            group = int(rng.choice(len(self._weights), p=self._weights))
            low = int(self._ends[group - 1]) if group else 0
            size = int(self._ends[group]) - low
            begin, end = self._run(size, lane) if size >= self.lanes else (0, size)
            return group, int(rng.integers(begin, end))
        begin, end = self._run(self.total, lane)
        epoch, at = divmod(step * width + place % width, end - begin)
        record = begin + int(self._order(lane, epoch)[at])
        group = int(np.searchsorted(self._ends, record, side="right"))
        return group, record - (int(self._ends[group - 1]) if group else 0)

    def _run(self, size: int, lane: int) -> tuple[int, int]:
        return size * lane // self.lanes, size * (lane + 1) // self.lanes

    def _lane_order(self, lane: int, epoch: int) -> NDArray[np.int64]:
        begin, end = self._run(self.total, lane)
        return np.random.default_rng((self._seed, DRAW, lane, epoch)).permutation(end - begin)

    def __getstate__(self) -> dict[str, Any]:
        return {key: value for key, value in self.__dict__.items() if key != "_order"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._order = lru_cache(maxsize=2 * self.lanes)(self._lane_order)


@dataclass
class Example:
    """One shape of a batch, as arrays. targets (G, K), names (K,), visual (G, D) or None."""

    patches: NDArray[np.float32]
    centers: NDArray[np.float32]
    id: str
    targets: NDArray[np.float32] | None
    names: list[int]
    visual: NDArray[np.float32] | None


@dataclass
class Cut:
    """A subsample of a record and its patches: chosen (N,) points; index (G,) and members (G, M) among them."""

    chosen: NDArray[np.int64]
    index: NDArray[np.int64]
    members: NDArray[np.int64]


class Batcher:
    """Makes batches. bank: None for stage 1. visual: whether records bring 2D features to be taught."""

    def __init__(
        self,
        groups: Sequence[Group],
        data: DataConfig,
        augmentation: AugmentationConfig,
        encoder: EncoderConfig,
        batch: int,
        seed: int,
        *,
        bank: TextBank | None,
        paraphrases: Paraphrases | None = None,
        categories: frozenset[str] | set[str] = frozenset(),
        visual: bool = False,
    ) -> None:
        if data.patches == "precomputed" and augmentation.kind == "free":
            raise InputError('data.patches "precomputed" goes with augmentation "none" or "paper"; use "cut"')
        unknown = sorted(set(data.weights) - {group.name for group in groups})
        if unknown:
            known = ", ".join(group.name for group in groups)
            raise InputError(f"data.weights: no group {unknown[0]!r} with usable records; there are {known}")
        weights = [data.weights.get(group.name, 1.0) for group in groups] if data.weights else None
        self.draws = Draws([len(group) for group in groups], weights, batch, seed)
        self._groups, self._data, self._augmentation, self._encoder = list(groups), data, augmentation, encoder
        self._seed, self._bank, self._visual = seed, bank, visual
        self._paraphrases, self._categories = paraphrases or Paraphrases({}), frozenset(categories)
        self._cuts: dict[tuple[int, int, int], tuple[NDArray[np.uint32], ...]] = {}

    def batch(self, step: int, begin: int, end: int) -> Batch:
        """Places begin..end of the batch of a step."""
        return collate([self.example(step, place) for place in range(begin, end)])

    def example(self, step: int, place: int) -> Example:
        key = self.draws(step, place)
        return self._checked(key, np.random.default_rng((self._seed, SHAPE, step, place)))

    def fixed(self, group: int, index: int) -> Example:
        """A record as it always is, for validation."""
        return self._checked((group, index), np.random.default_rng((self._seed, FIXED, group, index)))

    def _checked(self, key: tuple[int, int], rng: np.random.Generator) -> Example:
        record = self._groups[key[0]][key[1]]
        try:
            return self._example(record, rng, key)
        except ValueError as error:
            raise InputError(f"{record.id}: cannot be trained on ({error})") from error

    def _example(self, record: Any, rng: np.random.Generator, key: tuple[int, int]) -> Example:
        kind = self._augmentation.kind
        points = record.points
        taught = record.centers if self._visual else None
        if kind == "free":
            # The shape is moved whole and normalised after it, for a side may be missing then.
            center, radius = normalization(points)
            motion = draw_motion(self._augmentation, apply_normalization(points, center, radius), rng)
            allowed = np.arange(len(points)) if motion.keep is None else np.flatnonzero(motion.keep)
            chosen = self._choose(record.masks, allowed, rng)
            cloud = motion.shake(motion.move(apply_normalization(points[chosen], center, radius)), rng)
            again = normalization(cloud)
            cloud = apply_normalization(cloud, *again)
            if taught is not None:
                taught = apply_normalization(motion.move(apply_normalization(taught, center, radius)), *again)
            cut = None
        else:
            cut = self._precomputed(record, rng, key) if self._data.patches == "precomputed" else None
            chosen = self._choose(record.masks, np.arange(len(points)), rng) if cut is None else cut.chosen
            center, radius = normalization(points[chosen])
            cloud = apply_normalization(points[chosen], center, radius)
            motion = draw_motion(self._augmentation, cloud, rng)
            cloud = motion.shake(motion.move(cloud), rng)
            if taught is not None:
                taught = motion.move(apply_normalization(taught, center, radius))
        cloud = np.ascontiguousarray(cloud[:, AXES])
        if cut is None:
            cut = self._cut(cloud, chosen)
        centers = cloud[cut.index]
        visual = None
        if taught is not None:
            nearest = knn(centers, np.ascontiguousarray(taught[:, AXES], np.float32), 1)[0][:, 0]
            visual = record.patch_features[nearest]
        targets: NDArray[np.float32] | None = None
        names: list[int] = []
        if self._bank is not None:
            targets, names = self._named(record, chosen, cut.members, rng)
        return Example(cloud[cut.members] - centers[:, None], centers, record.id, targets, names, visual)

    def _cut(self, cloud: NDArray[np.float32], chosen: NDArray[np.int64]) -> Cut:
        c = self._encoder
        index, members = _C.sample_and_group(cloud[None], c.patches, min(c.patch_size, len(cloud)), 0, c.min_sq_norm, 1)
        return Cut(chosen, index[0], members[0][:, np.arange(c.patch_size) % members.shape[2]])

    def _precomputed(self, record: Any, rng: np.random.Generator, key: tuple[int, int]) -> Cut:
        variant = int(rng.integers(self._data.variants))
        kept = self._cuts.get((*key, variant))
        if kept is None:
            own = np.random.default_rng((self._seed, VARIANT, *key, variant))
            chosen = self._choose(record.masks, np.arange(len(record.points)), own)
            cloud = apply_normalization(record.points[chosen], *normalization(record.points[chosen]))
            cut = self._cut(np.ascontiguousarray(cloud[:, AXES]), chosen)
            kept = tuple(a.astype(np.uint32) for a in (cut.chosen, cut.index, cut.members))
            self._cuts[(*key, variant)] = kept
        return Cut(*(a.astype(np.int64) for a in kept))

    def _choose(
        self, masks: NDArray[np.bool_], allowed: NDArray[np.int64], rng: np.random.Generator
    ) -> NDArray[np.int64]:
        """data.points of the allowed points, without repetition where there are enough."""
        n = self._data.points
        if len(allowed) <= n:
            extra = rng.choice(allowed, n - len(allowed)) if len(allowed) < n else allowed[:0]
            return np.concatenate([allowed, extra])
        if self._data.subsample == "random" or not len(masks):
            return rng.choice(allowed, n, replace=False)
        share = n // (2 * len(masks))
        taken = np.zeros(masks.shape[1], bool)
        for mask in masks[:, allowed]:
            mine = allowed[mask]
            taken[mine if len(mine) <= share else rng.choice(mine, share, replace=False)] = True
        rest = allowed[~taken[allowed]]
        return np.concatenate([np.flatnonzero(taken), rng.choice(rest, n - int(taken.sum()), replace=False)])

    def _named(
        self, record: Any, chosen: NDArray[np.int64], members: NDArray[np.int64], rng: np.random.Generator
    ) -> tuple[NDArray[np.float32], list[int]]:
        """Fractions (G, K) and the bank's rows of the parts that the chosen points have."""
        assert self._bank is not None
        masks = record.masks[:, chosen]
        present = np.flatnonzero(masks.any(axis=1))
        most = self._data.max_parts
        if most and len(present) > most:
            present = np.sort(rng.choice(present, most, replace=False))
        names = self._reworded([record.names[i] for i in present], record.category, rng)
        named = rng.random() < self._data.category_prompts and record.category in self._categories
        targets = masks[present][:, members].mean(axis=2, dtype=np.float32).T
        return targets, self._bank.rows(names, record.category if named else None)

    def _reworded(self, names: list[str], category: str, rng: np.random.Generator) -> list[str]:
        if not self._data.paraphrases:
            return names
        taken = set(names)
        for i, name in enumerate(names):
            choices = self._paraphrases.of(name, category)
            if choices and rng.random() < self._data.paraphrase:
                other = clean(choices[int(rng.integers(len(choices)))])
                if other not in taken:  # two parts never share a wording
                    taken.add(other)
                    names[i] = other
        return names


def collate(examples: Sequence[Example]) -> Batch:
    """Examples as one batch, padded to the most parts that one of them has."""
    first = examples[0]
    batch = Batch(
        torch.from_numpy(np.stack([e.patches for e in examples])),
        torch.from_numpy(np.stack([e.centers for e in examples])),
        [e.id for e in examples],
    )
    if first.targets is not None:
        widest = max(1, *(len(e.names) for e in examples))
        targets = np.zeros((len(examples), len(first.centers), widest), np.float32)
        names = np.zeros((len(examples), widest), np.int64)
        valid = np.zeros((len(examples), widest), bool)
        for i, e in enumerate(examples):
            k = len(e.names)
            targets[i, :, :k], names[i, :k], valid[i, :k] = e.targets, e.names, True
        batch.targets, batch.names, batch.valid = map(torch.from_numpy, (targets, names, valid))
    if first.visual is not None:
        widths = {e.visual.shape[1] for e in examples if e.visual is not None}
        if len(widths) > 1:
            raise InputError(
                f"2D features of {' and '.join(map(str, sorted(widths)))} dimensions in one set; prepare it anew"
            )
        batch.visual = torch.from_numpy(np.stack([e.visual for e in examples if e.visual is not None]))
    return batch


class _Steps(Dataset[Batch]):
    """Batches by step, for worker processes."""

    def __init__(self, batcher: Batcher, begin: int, end: int) -> None:
        self._batcher, self._begin, self._end = batcher, begin, end

    def __getitem__(self, step: int) -> Batch:
        return self._batcher.batch(step, self._begin, self._end)


def load_batches(batcher: Batcher, first: int, begin: int, end: int, *, workers: int, prefetch: int) -> Iterator[Batch]:
    """Places begin..end of every batch from step `first` on, made ahead of time."""
    if workers > 0:
        loader = DataLoader(
            _Steps(batcher, begin, end),
            batch_size=None,
            sampler=_From(first),
            num_workers=workers,
            prefetch_factor=max(1, -(-prefetch // workers)),
            multiprocessing_context="forkserver",  # a forked child would inherit OpenMP in the middle of its work
        )
        yield from loader
    else:
        yield from _threaded(batcher, first, begin, end, prefetch)


class _From:
    """first, first + 1, ... without end."""

    def __init__(self, first: int) -> None:
        self._first = first

    def __iter__(self) -> Iterator[int]:
        step = self._first
        while True:
            yield step
            step += 1


def _threaded(batcher: Batcher, first: int, begin: int, end: int, prefetch: int) -> Iterator[Batch]:
    queue: Queue[Batch | BaseException] = Queue(maxsize=prefetch)
    stop = threading.Event()

    def produce() -> None:
        try:
            for step in _From(first):
                if stop.is_set():
                    return
                queue.put(batcher.batch(step, begin, end))
        except BaseException as error:  # handed to the training thread, which raises it
            queue.put(error)

    thread = threading.Thread(target=produce, daemon=True)
    thread.start()
    try:
        while True:
            item = queue.get()
            if isinstance(item, BaseException):
                raise item
            yield item
    finally:
        stop.set()
        while thread.is_alive():  # it may wait for room in the queue
            with suppress(Empty):
                queue.get(timeout=0.05)
