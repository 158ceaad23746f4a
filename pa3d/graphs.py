"""A forward pass recorded into a CUDA graph, once for every number of clouds and points, and replayed.

A forward pass is some two hundred small kernels. To launch them one by one takes longer than the GPU needs to run them;
a graph launches them all at once. A graph always uses the memory that it was recorded with. So before a replay the
points are copied into a fixed buffer, and after it the results are copied out of fixed buffers, both through pinned
memory.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Forward = Callable[[Tensor], tuple[Tensor, ...]]  # (B, N, 3) -> results of any shape and dtype


class Gpu(Protocol):
    """What recording needs of a GPU. All of it is queued on one stream, which runs it in order."""

    def empty(self, *shape: int) -> Tensor:
        """float32 memory on the GPU that no recording uses for anything else."""

    def pinned(self, like: Tensor) -> Tensor:
        """Page-locked host memory, which the GPU can copy to and from asynchronously."""

    def record(self, run: Callable[[], tuple[Tensor, ...]]) -> tuple[Callable[[], None], tuple[Tensor, ...]]:
        """Records what `run` launches. Returns a function that replays it, and the tensors that receive the results.

        run must not wait for the GPU.
        """

    def copy(self, dst: Tensor, src: Tensor) -> None:
        """Queues a copy between the GPU and pinned memory."""

    def wait(self) -> None:
        """Until all that is queued is done."""


class Cuda:
    """A stream of its own on a CUDA device, and one pool of memory for all of its recordings."""

    WARM_UPS = 3  # runs before a recording: libraries make their workspaces, Triton compiles and times its kernels

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._stream = torch.cuda.Stream(device)
        # Graphs may share their scratch memory, because they never run at the same time.
        self._pool = torch.cuda.graph_pool_handle()

    def empty(self, *shape: int) -> Tensor:
        return torch.empty(shape, dtype=torch.float32, device=self._device)

    def pinned(self, like: Tensor) -> Tensor:
        return torch.empty(like.shape, dtype=like.dtype, pin_memory=True)

    def record(self, run: Callable[[], tuple[Tensor, ...]]) -> tuple[Callable[[], None], tuple[Tensor, ...]]:
        graph = torch.cuda.CUDAGraph()
        torch.cuda.synchronize(self._device)  # weights and buffers may still be on their way on another stream
        with torch.cuda.device(self._device), torch.cuda.stream(self._stream):
            for _ in range(self.WARM_UPS):
                run()
            self._stream.synchronize()
            # thread_local: what other threads do with the GPU meanwhile does not spoil the recording
            with torch.cuda.graph(graph, pool=self._pool, stream=self._stream, capture_error_mode="thread_local"):
                results = run()

        def replay() -> None:
            with torch.cuda.device(self._device), torch.cuda.stream(self._stream):
                graph.replay()

        return replay, results

    def copy(self, dst: Tensor, src: Tensor) -> None:
        with torch.cuda.stream(self._stream):
            dst.copy_(src, non_blocking=True)

    def wait(self) -> None:
        self._stream.synchronize()


class Recording:
    """One forward pass over a fixed number of clouds of a fixed number of points."""

    def __init__(self, forward: Forward, b: int, n: int, gpu: Gpu) -> None:
        self._gpu = gpu
        self._points = gpu.empty(b, n, 3)
        self._host_points = gpu.pinned(self._points)
        # The warm-up runs need points: no two are equal, so that every kernel has its usual work.
        self._host_points.copy_(torch.randn(b, n, 3, generator=torch.Generator().manual_seed(0)))
        gpu.copy(self._points, self._host_points)
        gpu.wait()
        self._replay, self._results = gpu.record(lambda: forward(self._points))
        self._host_results = [gpu.pinned(result) for result in self._results]

    def __call__(self, clouds: NDArray[np.float32]) -> list[NDArray]:  # (B, N, 3)
        self._host_points.copy_(torch.from_numpy(clouds))
        self._gpu.copy(self._points, self._host_points)
        self._replay()
        for host_result, result in zip(self._host_results, self._results, strict=True):
            self._gpu.copy(host_result, result)
        self._gpu.wait()
        return [host_result.numpy().copy() for host_result in self._host_results]


class CudaGraphCache:
    """One recording per number of clouds and points; the max_size last used are kept. Callable from several threads."""

    def __init__(self, forward: Forward, gpu: Gpu, max_size: int = 8) -> None:
        self._forward, self._gpu, self._max_size = forward, gpu, max_size
        self._by_size: dict[tuple[int, int], Recording] = {}  # the last used at the end
        self._lock = threading.Lock()

    def __call__(self, clouds: NDArray[np.float32]) -> list[NDArray]:  # (B, N, 3)
        """The results of forward(clouds), copied to the host."""
        size = clouds.shape[0], clouds.shape[1]
        with self._lock:
            recording = self._by_size.pop(size, None)
            if recording is None:
                while len(self._by_size) >= self._max_size:
                    del self._by_size[next(iter(self._by_size))]
                recording = Recording(self._forward, *size, self._gpu)
            self._by_size[size] = recording
            return recording(clouds)
