"""Batches built ahead of time, in a thread or in worker processes."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterator
from contextlib import suppress
from queue import Empty, Queue

from torch.utils.data import DataLoader, Dataset

from pa3d.train.batches import Batch, BatchBuilder


def load_batches(
    batch_builder: BatchBuilder, first_step: int, begin: int, end: int, *, workers: int, prefetch: int
) -> Iterator[Batch]:
    """Shapes begin..end of the global batch of every step from first_step on, without end.

    workers: processes that build batches; 0 builds them in a thread. prefetch: how many batches are built ahead.
    """
    if workers == 0:
        yield from _load_in_thread(batch_builder, first_step, begin, end, prefetch)
        return
    yield from DataLoader(
        _StepDataset(batch_builder, begin, end),
        batch_size=None,
        sampler=itertools.count(first_step),
        num_workers=workers,
        prefetch_factor=max(1, -(-prefetch // workers)),
        multiprocessing_context="forkserver",  # a forked child would inherit torch's OpenMP in the middle of its work
    )


class _StepDataset(Dataset[Batch]):
    """Batches by step, for worker processes."""

    def __init__(self, batch_builder: BatchBuilder, begin: int, end: int) -> None:
        self._batch_builder, self._begin, self._end = batch_builder, begin, end

    def __getitem__(self, step: int) -> Batch:
        return self._batch_builder.batch(step, self._begin, self._end)


def _load_in_thread(
    batch_builder: BatchBuilder, first_step: int, begin: int, end: int, prefetch: int
) -> Iterator[Batch]:
    queue: Queue[Batch | BaseException] = Queue(maxsize=prefetch)
    stop = threading.Event()

    def produce() -> None:
        try:
            for step in itertools.count(first_step):
                if stop.is_set():
                    return
                queue.put(batch_builder.batch(step, begin, end))
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
