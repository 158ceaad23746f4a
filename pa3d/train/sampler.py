"""Which record is at which index of which batch.

The record at index i of the batch of step t depends only on (seed, t, i). So a resumed run sees the same records as an
uninterrupted one, and a batch is the same whichever processes build it.

The indices of a batch are divided into partitions. The records, in the order of their shards, are divided into as many
contiguous ranges. So a process or worker that builds a part of every batch reads only some of the shards, and always
the same ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pa3d.errors import InputError
from pa3d.train.random_streams import Stream, numpy_generator

MIN_PARTITION_RECORDS = 4


class Sampler:
    """
    group_sizes: number of records of every group.
    weights: how often each group is drawn, with replacement. None visits every record once per epoch, in an order that
        differs from epoch to epoch.
    batch_size: number of shapes of the global batch.
    Raises InputError when all weights are 0.
    """

    def __init__(self, group_sizes: Sequence[int], weights: Sequence[float] | None, batch_size: int, seed: int) -> None:
        self._group_ends = np.cumsum(group_sizes)
        self.num_records, self.batch_size, self._seed = int(self._group_ends[-1]), batch_size, seed
        self.num_partitions = max(
            n
            for n in range(1, batch_size + 1)
            if batch_size % n == 0 and (n == 1 or self.num_records >= MIN_PARTITION_RECORDS * n)
        )
        self._probabilities = None
        if weights is not None:
            if not sum(weights) > 0:
                raise InputError("data.weights: every group has weight 0; give one a positive weight")
            self._probabilities = np.array(weights) / np.sum(weights)
        self._permutation = lru_cache(maxsize=2 * self.num_partitions)(self._draw_permutation)

    def index(self, step: int, batch_index: int) -> tuple[int, int]:
        """The index of the group, and of the record within it, at an index of the global batch of a step."""
        partition_size = self.batch_size // self.num_partitions
        partition = batch_index // partition_size
        if self._probabilities is not None:
            rng = numpy_generator(self._seed, Stream.SAMPLER, step, batch_index)
            group = int(rng.choice(len(self._probabilities), p=self._probabilities))
            size = int(self._group_ends[group]) - self._group_begin(group)
            begin, end = self._bounds(size, partition) if size >= self.num_partitions else (0, size)
            return group, int(rng.integers(begin, end))
        begin, end = self._bounds(self.num_records, partition)
        epoch, position = divmod(step * partition_size + batch_index % partition_size, end - begin)
        record = begin + int(self._permutation(partition, epoch)[position])
        group = int(np.searchsorted(self._group_ends, record, side="right"))
        return group, record - self._group_begin(group)

    def _group_begin(self, group: int) -> int:
        return int(self._group_ends[group - 1]) if group else 0

    def _bounds(self, size: int, partition: int) -> tuple[int, int]:
        """Begin and end of the contiguous range, among `size` records, that belongs to a partition."""
        return size * partition // self.num_partitions, size * (partition + 1) // self.num_partitions

    def _draw_permutation(self, partition: int, epoch: int) -> NDArray[np.int64]:
        begin, end = self._bounds(self.num_records, partition)
        return numpy_generator(self._seed, Stream.SAMPLER, partition, epoch).permutation(end - begin)

    def __getstate__(self) -> dict[str, Any]:
        return {key: value for key, value in self.__dict__.items() if key != "_permutation"}  # a cache is not pickled

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._permutation = lru_cache(maxsize=2 * self.num_partitions)(self._draw_permutation)
