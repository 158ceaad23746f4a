"""A Segmenter in other processes: forked, spawned, from a fork server, pickled and copied. Labels stay byte-equal."""

from __future__ import annotations

import copy
import hashlib
import multiprocessing
import os
import pickle
import select
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from clouds import cloud
from tiny import TINY, random_checkpoint

from pa3d import Segmentation, Segmenter

CHAIR = Path(__file__).resolve().parents[1] / "examples" / "chair.glb"
PARTS = ["seat", "back", "leg"]


def digest(segmenter: Segmenter) -> bytes:
    result: Segmentation = segmenter.segment(CHAIR, PARTS)
    assert result.face_scores is not None
    return hashlib.sha256(result.labels.tobytes() + result.scores.tobytes() + result.face_scores.tobytes()).digest()


@pytest.mark.parametrize("threads", [1, 2, 8])
def test_twenty_forked_children_segment(threads: int) -> None:
    segmenter = Segmenter.from_pretrained(threads=threads)
    right = digest(segmenter)
    read, write = os.pipe()
    children = []
    for _ in range(20):
        child = os.fork()
        if child == 0:
            try:
                os.write(write, digest(segmenter))
            finally:
                os._exit(0)
        children.append(child)
    os.close(write)
    found, end = [], time.monotonic() + 60  # together: twenty share few processors
    while select.select([read], [], [], max(end - time.monotonic(), 0))[0] and (data := os.read(read, len(right))):
        found.append(data)
    os.close(read)
    for child in children:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    assert found == [right] * 20
    assert digest(segmenter) == right  # the parent goes on with all its threads


def test_fork_while_another_thread_computes() -> None:
    segmenter = Segmenter(random_checkpoint(TINY), threads=2)
    points, ended = cloud("random", 400), threading.Event()
    right = segmenter.encode(points).features.tobytes()

    def compute() -> None:
        while not ended.is_set():
            segmenter.encode(points)

    thread = threading.Thread(target=compute)
    thread.start()
    codes = []
    for _ in range(20):
        child = os.fork()
        if child == 0:
            signal.alarm(20)  # ends a child that hangs
            os._exit(0 if segmenter.encode(points).features.tobytes() == right else 3)
        codes.append(os.waitpid(child, 0)[1])
    ended.set()
    thread.join()
    assert codes == [0] * 20


def test_a_child_of_a_child() -> None:
    segmenter = Segmenter(random_checkpoint(TINY), threads=2)
    points = cloud("random", 400)
    right = segmenter.encode(points).features.tobytes()
    child = os.fork()
    if child == 0:
        signal.alarm(20)
        segmenter.encode(points)
        grandchild = os.fork()
        if grandchild == 0:
            signal.alarm(20)
            os._exit(0 if segmenter.encode(points).features.tobytes() == right else 3)
        os._exit(os.waitpid(grandchild, 0)[1] != 0)
    assert os.waitpid(child, 0)[1] == 0


@pytest.mark.parametrize("patches", [None, 64])
def test_pickle_and_copies_give_equal_labels(patches: int | None) -> None:
    segmenter = Segmenter.from_pretrained(patches=patches, threads=2)
    right, pickled = digest(segmenter), pickle.dumps(segmenter)
    assert len(pickled) < 10_000  # the embedded weights are not in it
    for other in (pickle.loads(pickled), copy.copy(segmenter), copy.deepcopy(segmenter)):
        assert digest(other) == right
        assert other.config == segmenter.config and other.precision == segmenter.precision


def test_pickle_of_another_checkpoint_holds_its_weights() -> None:
    segmenter = Segmenter(random_checkpoint(TINY), precision="fp32", threads=1)
    points = cloud("random", 500)
    other = pickle.loads(pickle.dumps(segmenter))
    assert np.array_equal(other.encode(points).features, segmenter.encode(points).features)


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_started_processes(method: str) -> None:
    segmenter = Segmenter.from_pretrained(threads=2)
    right = digest(segmenter)
    with multiprocessing.get_context(method).Pool(2) as pool:
        assert pool.map_async(digest, [segmenter] * 2).get(timeout=60) == [right] * 2


def test_joblib() -> None:
    joblib = pytest.importorskip("joblib")
    segmenter = Segmenter.from_pretrained()
    right = digest(segmenter)
    assert joblib.Parallel(n_jobs=2)(joblib.delayed(digest)(segmenter) for _ in range(2)) == [right] * 2


@pytest.mark.slow
def test_ray(ray_address: str) -> None:
    # On the cluster of the other tests: a process that used a second one cannot return to the first.
    import ray

    segmenter = Segmenter.from_pretrained(threads=2)
    right = digest(segmenter)
    ray.init(ray_address, log_to_driver=False)
    try:
        remote = ray.remote(digest)
        stored = ray.put(segmenter)
        assert ray.get([remote.remote(stored) for _ in range(4)], timeout=200) == [right] * 4
    finally:
        ray.shutdown()


@pytest.mark.parametrize("shared", [True, False])
def test_eight_threads(shared: bool) -> None:
    """One Segmenter for all, or one each."""
    segmenter = Segmenter.from_pretrained(threads=2)
    right = digest(segmenter)
    segmenters = [segmenter] * 8 if shared else [Segmenter.from_pretrained(threads=1) for _ in range(8)]
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(digest, segmenters * 2)) == [right] * 16
