"""Ten thousand calls in one process do not grow it."""

from __future__ import annotations

import gc
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from clouds import cloud
from tiny import TINY, random_checkpoint

from pa3d.segment import Segmenter

STATM = Path("/proc/self/statm")
PARTS = ["seat", "back", "leg"]


def resident() -> int:
    """Bytes of this process in memory."""
    gc.collect()
    return int(STATM.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.slow
@pytest.mark.skipif(not STATM.exists(), reason="needs /proc")
def test_ten_thousand_calls() -> None:
    checkpoint = random_checkpoint(replace(TINY, patches=16, depth=1))
    segmenter, threaded = (Segmenter(checkpoint, threads=threads) for threads in (1, 2))
    clouds = [cloud("random", n) for n in (40, 300, 900)]
    first = segmenter.segment(clouds[0], PARTS)

    def call(i: int) -> None:  # now and then on two threads: on a busy machine those wait for each other
        (threaded if i % 20 == 0 else segmenter).segment(clouds[i % 3], PARTS)

    for i in range(300):  # workspaces, thread pools and the allocator reach their size
        call(i)
    before = resident()
    for i in range(10_000):
        call(i)
    assert resident() - before < 5_000_000
    assert np.array_equal(segmenter.segment(clouds[0], PARTS).scores, first.scores)
