"""Recorded forward passes, on a GPU that only remembers what it was asked; and what the torch encoder makes of them."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from tiny import TINY, random_checkpoint  # noqa: E402

from pa3d.errors import InputError  # noqa: E402
from pa3d.graphs import Cuda, CudaGraphCache  # noqa: E402
from pa3d.segment import Segmenter  # noqa: E402
from pa3d.torch_encoder import TorchEncoder  # noqa: E402


class Remembering:
    """Does what a GPU would, at once, and only between buffers that it handed out: a replay fills the same memory."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.own: list[torch.Tensor] = []
        self.host: list[torch.Tensor] = []

    def empty(self, *shape: int) -> torch.Tensor:
        self.own.append(torch.full(shape, float("nan")))
        return self.own[-1]

    def pinned(self, like: torch.Tensor) -> torch.Tensor:
        self.host.append(torch.zeros(like.shape, dtype=like.dtype))
        return self.host[-1]

    def record(self, run: Callable[[], Any]) -> tuple[Callable[[], None], tuple[torch.Tensor, ...]]:
        self.asked.append("record")
        run()
        results = tuple(result.clone() for result in run())
        self.own += results

        def replay() -> None:
            self.asked.append("replay")
            for result, fresh in zip(results, run(), strict=True):
                result.copy_(fresh)

        for result in results:
            result.zero_()  # memory of a recording holds nothing before its first replay
        return replay, results

    def copy(self, dst: torch.Tensor, src: torch.Tensor) -> None:
        both = [any(x is y for y in group) for x in (dst, src) for group in (self.own, self.host)]
        assert both in ([True, False, False, True], [False, True, True, False]), "not between GPU and pinned memory"
        self.asked.append("in" if both[0] else "out")
        dst.copy_(src)

    def wait(self) -> None:
        self.asked.append("wait")


def forward(points: torch.Tensor) -> tuple[torch.Tensor, ...]:
    assert torch.isfinite(points).all()  # warming up happens on numbers
    return points.square().sum(2), points.argmax(1)


def points(n: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((n, 3)).astype(np.float32)


def test_a_size_is_recorded_once_and_replayed():
    gpu = Remembering()
    graphs = CudaGraphCache(forward, gpu)
    for seed in range(3):
        cloud = points(5, seed)
        squares, largest = graphs(cloud[None])
        np.testing.assert_allclose(squares, np.square(cloud).sum(1)[None], rtol=1e-6)
        np.testing.assert_array_equal(largest, cloud.argmax(0)[None])
    assert gpu.asked == ["in", "wait", "record"] + 3 * ["in", "replay", "out", "out", "wait"]
    assert len(gpu.own) == 3 and len(gpu.host) == 3


def test_results_are_the_callers_own():
    graphs = CudaGraphCache(forward, Remembering())
    first = graphs(points(5, 1)[None])
    kept = [x.copy() for x in first]
    graphs(points(5, 2)[None])
    for x, y in zip(first, kept, strict=True):
        np.testing.assert_array_equal(x, y)


def test_the_last_used_sizes_are_kept():
    gpu = Remembering()
    graphs = CudaGraphCache(forward, gpu, max_size=2)
    for n in (4, 5, 4, 6, 4, 5):  # 6 drives out 5, and 5 then drives out 6
        graphs(points(n)[None])
    assert gpu.asked.count("record") == 4
    graphs(points(4)[None])
    assert gpu.asked.count("record") == 4


def test_a_recording_that_fails_leaves_the_others():
    def no_sevens(given: torch.Tensor) -> tuple[torch.Tensor, ...]:
        if given.shape[1] == 7:
            raise RuntimeError("out of memory")
        return forward(given)

    graphs = CudaGraphCache(no_sevens, Remembering())
    expected = graphs(points(5)[None])
    with pytest.raises(RuntimeError, match="out of memory"):
        graphs(points(7)[None])
    np.testing.assert_array_equal(graphs(points(5)[None])[0], expected[0])


def test_threads_take_turns():
    graphs, wrong = CudaGraphCache(forward, Remembering(), max_size=2), []

    def work(seed: int) -> None:
        for i in range(40):
            cloud = points(4 + (seed + i) % 3, seed)
            if not np.allclose(graphs(cloud[None])[0], np.square(cloud).sum(1)):
                wrong.append(seed)

    workers = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert not wrong


@pytest.mark.parametrize("pass_points", [0, 100])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_the_encoder_recorded_equals_the_encoder(precision: str, pass_points: int):
    """The whole forward pass as a Segmenter on a GPU has it, with fewer points than a patch among the sizes."""
    checkpoint, gpu = random_checkpoint(replace(TINY, pass_points=pass_points)), Remembering()
    encoder = TorchEncoder(checkpoint, precision, "cpu")
    expected = {n: encoder(points(n, n)) for n in (20, 300, 301)}
    encoder._graphs = CudaGraphCache(encoder.forward, gpu)
    for n in (20, 300, 301, 300, 20):
        for got, want in zip(encoder(points(n, n))[:4], expected[n][:4], strict=True):
            assert got.dtype == want.dtype
            np.testing.assert_array_equal(got, want)
    assert gpu.asked.count("record") == 3 and gpu.asked.count("replay") == 5


def test_the_torch_encoder_agrees_with_the_native_one():
    cloud = points(300)
    here = Segmenter(random_checkpoint(TINY)).encode(cloud)
    there = TorchEncoder(random_checkpoint(TINY), device="cpu")(here.points)
    np.testing.assert_array_equal(there.members, here.members)
    np.testing.assert_array_equal(there.centers, here.centers)
    np.testing.assert_allclose(there.features, here.features, atol=1e-5)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_the_reason_is_told():
    with pytest.raises(InputError, match=r"device 'cuda' cannot be used \(.+\); use device='cpu'"):
        Segmenter(random_checkpoint(TINY), device="cuda")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_recorded_on_a_gpu(precision: str, monkeypatch: pytest.MonkeyPatch):
    """A replay gives what running kernel by kernel does, to the bit, for sizes in turns and from several threads."""
    monkeypatch.setenv("PA3D_CUDA_GRAPHS", "0")
    plain = TorchEncoder(random_checkpoint(TINY), precision, "cuda")
    monkeypatch.delenv("PA3D_CUDA_GRAPHS")
    recorded = TorchEncoder(random_checkpoint(TINY), precision, "cuda")
    assert isinstance(recorded._graphs._gpu, Cuda)
    sizes = (20, 2048, 20_000, 2048, 20)
    expected = [plain(points(n, n)) for n in sizes]
    for n, want in zip(sizes, expected, strict=True):
        for a, b in zip(recorded(points(n, n))[:4], want[:4], strict=True):
            np.testing.assert_array_equal(a, b)
