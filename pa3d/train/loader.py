"""Batches made ahead of time, in a thread or in worker processes."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterator
from contextlib import suppress
from queue import Empty, Queue

from torch.utils.data import DataLoader, Dataset

from pa3d.train.batches import Batch, Batcher


def load_batches(
    batcher: Batcher, first_step: int, begin: int, end: int, *, workers: int, prefetch: int
) -> Iterator[Batch]:
    """Slots begin..end of the batch of every step from first_step on, without end.

    workers: processes that make batches; 0 makes them in a thread. prefetch: how many batches are made ahead.
    """
    if workers == 0:
        yield from _load_in_thread(batcher, first_step, begin, end, prefetch)
        return
    yield from DataLoader(
        _StepDataset(batcher, begin, end),
        batch_size=None,
        sampler=itertools.count(first_step),
        num_workers=workers,
        prefetch_factor=max(1, -(-prefetch // workers)),
        multiprocessing_context="forkserver",  # a forked child would inherit OpenMP in the middle of its work
    )


class _StepDataset(Dataset[Batch]):
    """Batches by step, for worker processes."""

    def __init__(self, batcher: Batcher, begin: int, end: int) -> None:
        self._batcher, self._begin, self._end = batcher, begin, end

    def __getitem__(self, step: int) -> Batch:
        return self._batcher.batch(step, self._begin, self._end)


def _load_in_thread(batcher: Batcher, first_step: int, begin: int, end: int, prefetch: int) -> Iterator[Batch]:
    queue: Queue[Batch | BaseException] = Queue(maxsize=prefetch)
    stop = threading.Event()

    def produce() -> None:
        try:
            for step in itertools.count(first_step):
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
