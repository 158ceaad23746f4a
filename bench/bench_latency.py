"""Latency of one call beside other work: percentiles of `encode` and `segment`, quiet and on a busy machine.

    python bench/bench_latency.py [--threads 2] [--seconds 20] [--json FILE]

Conditions: alone; beside one and beside two processes per processor that compute without pause; and four callers at
once, each with an encoder of its own. The competitors take turns of a few calls, so that all of them meet the same
machine. A busy processor gives a thread half of its time, or a third: with perfect scheduling a call takes two or three
times as long. Competitors that are not installed are left out.

The percentiles are of all calls of a condition. A percentile that fewer than ten calls exceed is not printed.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from _common import THREADS, Race, check, cut, measure, official_checkpoint, random_cloud, torch_variants

from pa3d.frames import apply_normalization, normalization
from pa3d.native import NativeEncoder
from pa3d.segment import Segmenter
from pa3d.shape import Shape

Run = Callable[[], object]
BUSY = "while True: pass"
CALLERS = 4
CALLS = 8  # of a turn
PERCENTILES = (50, 95, 99, 99.9)
CONDITIONS = ("alone", "one busy process per processor", "two busy processes per processor", "four callers at once")


@contextmanager
def busy(processes: int) -> Iterator[None]:
    """Beside so many processes that never sleep."""
    started = [subprocess.Popen([sys.executable, "-c", BUSY]) for _ in range(processes)]
    try:
        time.sleep(0.3)  # until they have started
        yield
    finally:
        for process in started:
            process.kill()
            process.wait()


def names(threads: int) -> tuple[str, str, str, str, str]:
    return (
        f"pa3d encode, {threads} threads",
        "pa3d encode, 1 thread",
        f"pa3d segment 50,000 points, {threads} threads",
        f"torch eager encode, {threads} threads",
        f"onnxruntime encode, {threads} threads",
    )


def competitors(threads: int) -> dict[str, Callable[[], Run]]:
    """Each makes a call with an encoder of its own; the results were compared."""
    import torch

    torch.set_num_threads(threads)
    checkpoint, points = official_checkpoint(), random_cloud(2048)
    points = apply_normalization(points, *normalization(points))
    cloud = Shape(random_cloud(50_000))
    vectors = np.random.default_rng(0).standard_normal((5, checkpoint.config.text_dim)).astype(np.float32)
    expected = NativeEncoder(checkpoint, "fp32", 1)(points).features
    eager = torch_variants(checkpoint, lambda module: module, *cut(points, checkpoint.config), compiled=False)[
        "torch eager fp32"
    ]

    def native(threads: int) -> Run:
        encoder = NativeEncoder(checkpoint, "fp32", threads)
        check(np.array_equal(encoder(points).features, expected), "threads change the features")
        return lambda: encoder(points)

    def whole() -> Run:
        segmenter = Segmenter(checkpoint, precision="fp32", threads=threads)
        return lambda: segmenter.segment(cloud, list("abcde"), text_vectors=vectors)

    def torch_eager() -> Run:
        found = eager(*cut(points, checkpoint.config))[0].numpy()
        check(np.einsum("gd,gd->g", found, expected).min() > 0.9999, "torch differs")
        return lambda: eager(*cut(points, checkpoint.config))

    makers = [lambda: native(threads), lambda: native(1), whole, torch_eager]
    runtime = onnxruntime_session(checkpoint, points, expected, threads)
    return dict(zip(names(threads), makers if runtime is None else [*makers, runtime], strict=False))


def onnxruntime_session(
    checkpoint: Any, points: np.ndarray, expected: np.ndarray, threads: int
) -> Callable[[], Run] | None:
    """onnxruntime on the exported graph, sampling and grouping included; None where it or onnx is not installed."""
    try:
        import onnxruntime

        from pa3d.onnx_export import build_model
    except ImportError:
        return None
    model = build_model(checkpoint, up="z").SerializeToString()  # the axes of the model

    def session() -> Run:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        engine = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        found = engine.run(["features"], {"points": points})[0]
        check(np.einsum("gd,gd->g", found, expected).min() > 0.9999, "onnxruntime differs")
        return lambda: engine.run(["features"], {"points": points})

    return session


def turn(run: Run, calls: int) -> list[float]:
    seconds = []
    for _ in range(calls):
        start = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - start)
    return seconds


def measure_turns(makers: dict[str, Callable[[], Run]], seconds: float) -> dict[str, list[float]]:
    """Turns until every competitor has run for about so long."""
    runs = {name: make() for name, make in makers.items()}
    found: dict[str, list[float]] = {name: [] for name in runs}
    for run in runs.values():
        turn(run, 3)
    while any(sum(found[name]) < seconds for name in runs):
        for name, run in runs.items():
            if sum(found[name]) < seconds:
                time.sleep(0.003)  # until the threads of the run before stop spinning
                found[name] += turn(run, CALLS)
    return found


def measure_callers(makers: dict[str, Callable[[], Run]], seconds: float) -> dict[str, list[float]]:
    """The same with several threads that call at once."""
    found: dict[str, list[float]] = {}
    for name, make in makers.items():
        each: list[list[float]] = [[] for _ in range(CALLERS)]
        runs, end = [make() for _ in range(CALLERS)], time.monotonic() + seconds

        def call(run: Run, kept: list[float], end: float) -> None:
            while time.monotonic() < end:
                kept += turn(run, 1)

        threads = [threading.Thread(target=call, args=(run, kept, end)) for run, kept in zip(runs, each, strict=True)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        found[name] = [x for kept in each for x in kept]
    return found


def percentile(values: list[float], p: float) -> float | None:
    """None where fewer than ten values lie above it."""
    return float(np.percentile(values, p)) if len(values) * (100 - p) / 100 >= 10 or p == 50 else None


def table(found: dict[str, dict[str, list[float]]]) -> str:
    """Milliseconds, and each percentile as a multiple of the competitor's own median when alone."""
    lines = [
        "| condition | competitor | calls | " + " | ".join(f"p{p:g}" for p in PERCENTILES) + " | p99 / p50 alone |",
        "|---|---|---|" + "---|" * (len(PERCENTILES) + 1),
    ]
    for condition, by_name in found.items():
        for name, values in by_name.items():
            cells = [percentile(values, p) for p in PERCENTILES]
            alone = percentile(found["alone"][name], 50)
            ratio = "" if cells[2] is None or alone is None else f"{cells[2] / alone:.2f}"
            texts = ["" if x is None else f"{1e3 * x:.1f} ms" for x in cells]
            lines.append(f"| {condition} | {name} | {len(values)} | " + " | ".join(texts) + f" | {ratio} |")
    return "\n".join(lines)


@cache
def alone() -> Race:
    return Race("latency of a call, alone", {name: make() for name, make in competitors(THREADS).items()})


@pytest.mark.parametrize("competitor", names(THREADS))
def test_latency_alone(benchmark: object, competitor: str) -> None:
    if competitor not in alone().runs:
        pytest.skip("onnx and onnxruntime are not installed")
    measure(benchmark, alone(), competitor)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    processors = len(os.sched_getaffinity(0))
    parser.add_argument("--threads", type=int, default=processors)
    parser.add_argument("--seconds", type=float, default=20, help="of each competitor in each condition")
    parser.add_argument("--json", type=Path, help="also save all times")
    parser.add_argument("--only", default="", help="competitors whose name has this in it")
    options = parser.parse_args()
    makers = {name: make for name, make in competitors(options.threads).items() if options.only in name}
    found: dict[str, dict[str, list[float]]] = {}
    for condition, processes in zip(CONDITIONS[:3], (0, processors, 2 * processors), strict=True):
        with busy(processes):
            found[condition] = measure_turns(makers, options.seconds)
    found[CONDITIONS[3]] = measure_callers(makers, options.seconds)
    if options.json:
        options.json.write_text(json.dumps(found))
    print(table(found))


if __name__ == "__main__":
    main()
