"""What the benches share: races between competitors, the peak rates of the machine, and models.

A race times its competitors in turns, A B C A B C ..., in one process, and compares medians. So other work of the
machine slows all of them. pytest-benchmark runs one competitor after the other; its own columns are only a first look.
"""

from __future__ import annotations

import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests"))

QUICK = os.environ.get("PA3D_BENCH_QUICK") == "1"
THREADS = int(os.environ.get("OMP_NUM_THREADS") or len(os.sched_getaffinity(0)))
TURNS = 5 if QUICK else 25
TURN = 0.05 if QUICK else 0.2  # seconds a competitor runs before the next has its turn
LIMIT = 6.0 if QUICK else 25.0  # seconds after which no further turn begins

Run = Callable[[], object]


@dataclass
class Race:
    """runs: competitors by name; their results were compared before. A run that measures a stage itself returns its
        seconds as a float.
    work: name -> FLOP or bytes of one call, and which rate of `roofline` limits it: fp32, bf16 or copy.
    seconds: name -> the median of each turn.
    """

    name: str
    runs: Mapping[str, Run]
    work: Mapping[str, tuple[float, str]] = field(default_factory=dict)
    seconds: dict[str, list[float]] = field(default_factory=dict)

    def run(self) -> Race:
        """Runs the race once; a later call returns the race that was run."""
        if self.seconds:
            return self
        self.seconds = {name: [] for name in self.runs}
        for run in self.runs.values():
            run()
        begin = time.perf_counter()
        for turn in range(TURNS):
            if turn >= 3 and time.perf_counter() - begin > LIMIT:
                break
            for name, run in self.runs.items():
                time.sleep(0.003)  # until the threads of the run before stop spinning
                run()  # wakes the threads of this run and loads its data into the caches
                self.seconds[name].append(_turn(run))
        return self

    def median(self, name: str) -> float:
        return statistics.median(self.run().seconds[name])

    def facts(self, name: str) -> dict[str, Any]:
        """The figures of one competitor, for the report."""
        facts = {"race": self.name, "competitor": name, "median": self.median(name), "turns": self.seconds[name]}
        if name in self.work:
            amount, bound = self.work[name]
            facts |= {"work": amount, "work_per_second": amount / self.median(name), "bound": bound}
        return facts


def _turn(run: Run) -> float:
    """Median seconds of the calls in one turn; at least one call."""
    seconds = []
    until = time.perf_counter() + TURN
    while not seconds or time.perf_counter() < until:
        start = time.perf_counter()
        result = run()
        seconds.append(result if isinstance(result, float) else time.perf_counter() - start)
    return statistics.median(seconds)


def measure(benchmark: Any, race: Race, competitor: str) -> None:
    """One row of pytest-benchmark: the figures of the race as extra_info, its own figures from a few calls."""
    benchmark.group = race.name
    benchmark.extra_info.update(race.facts(competitor))
    rounds = max(1, min(20, int(TURN / race.median(competitor))))
    benchmark.pedantic(race.runs[competitor], rounds=rounds, warmup_rounds=1)


def check(good: bool, what: str) -> None:
    """Raise AssertionError unless a result is right, so that no wrong result is timed."""
    if not good:
        raise AssertionError(f"{what}; nothing is timed")


def use_threads() -> None:
    """Let torch use as many threads as the kernels."""
    import torch

    torch.set_num_threads(THREADS)


def random_cloud(n: int, seed: int = 0) -> NDArray[np.float32]:  # (n, 3)
    """Points on a bumpy sphere in the unit ball: a surface, like a shape, and without symmetry."""
    direction = np.random.default_rng(seed).standard_normal((n, 3))
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    x, y, z = direction.T
    radius = 0.7 + 0.2 * np.sin(5 * x) * np.cos(4 * y) + 0.1 * np.sin(9 * z)
    return np.ascontiguousarray(direction * radius[:, None], np.float32)


@cache
def official_checkpoint() -> Any:
    """The published architecture and sizes, random weights."""
    from official import official_state

    from pa3d.checkpoint import Checkpoint
    from pa3d.config import EncoderConfig

    tensors = {k: v for part in official_state().values() for k, v in part.items() if "num_batches" not in k}
    return Checkpoint(EncoderConfig(), tensors, "none", 0.07, name="random weights, official sizes")


def encoder_flop(c: Any, *, merged: bool = True) -> float:
    """Multiplications and additions of one forward pass of our engine.

    The third layer of the mini-PointNet has two halves. The half that multiplies the maximum counts once per patch.
    merged: the other half is one product with the second layer.
    """
    w0, w1, w2, w3 = c.embed
    point = 3 * w0 + w0 * w1 + (w0 if merged else w1) * w2 + w2 * w3
    patch = w1 * w2 + w3 * c.dim + 3 * c.pos_hidden + c.pos_hidden * c.dim + c.dim * c.text_dim
    tokens = c.patches + 1
    block = tokens * (4 * c.dim * c.dim + 2 * c.dim * c.mlp_hidden) + 2 * tokens * tokens * c.dim
    return 2.0 * (c.patches * (c.patch_size * point + patch) + c.depth * block)


def torch_variants(
    checkpoint: Any, part: Callable[[Any], Any], *inputs: Any, compiled: bool = not QUICK
) -> dict[str, Callable[..., Any]]:
    """Name -> part(module), a function of tensors, for variants of the torch module: float32, autocast and bf16.

    compiled: also with torch.compile. inputs: of a first call, which compiles.
    """
    import torch

    from pa3d.model import PatchAligner

    def variant(dtype: Any, autocast: bool, compiled: bool) -> Callable[..., Any]:
        module = PatchAligner(checkpoint.config)
        module.load_tensors({k: torch.from_numpy(v) for k, v in checkpoint.tensors.items()})
        call = part(module.eval().requires_grad_(False).to(dtype))
        call = torch.compile(call) if compiled else call

        def run(*tensors: Any) -> Any:
            with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=autocast):
                return call(*(tensor.to(dtype) for tensor in tensors))

        run(*inputs)
        return run

    variants = {
        "torch eager fp32": variant(torch.float32, False, False),
        "torch autocast bf16": variant(torch.float32, True, False),
        "torch eager bf16": variant(torch.bfloat16, False, False),
    }
    if compiled:
        variants["torch.compile fp32"] = variant(torch.float32, False, True)
        variants["torch.compile bf16"] = variant(torch.bfloat16, False, True)
    return variants


TORCH_EAGER = ["torch eager fp32", "torch autocast bf16", "torch eager bf16"]
TORCH_VARIANTS = [*TORCH_EAGER, "torch.compile fp32", "torch.compile bf16"]


def native_precisions() -> list[str]:
    from pa3d import _C

    return [precision for precision in ("fp32", "bf16", "int8") if _C.supports(precision)]


def cut(points: NDArray[np.float32], config: Any) -> tuple[Any, Any]:  # (1, G, M, 3), (1, G, 3)
    """The input of the torch module after grouping: patches relative to their centres, and the centres."""
    import torch

    from pa3d.ops import group, sample_and_group

    cloud = torch.from_numpy(points)[None]
    index, members = sample_and_group(cloud, config.patches, config.patch_size, min_sq_norm=config.min_sq_norm)
    return group(cloud, index, members), cloud[0, index[0]][None]


MATRIX = 2048


@cache
def matrix_product(dtype: str) -> Run:
    """A run of a large square matrix product by oneDNN, of MATRIX_FLOP."""
    import torch

    a, b = (torch.randn(MATRIX, MATRIX).to(getattr(torch, dtype)) for _ in range(2))
    out = torch.empty_like(a)
    return lambda: torch.mm(a, b, out=out)


MATRIX_FLOP = 2.0 * MATRIX**3


@cache
def roofline() -> dict[str, float]:
    """FLOP/s of large oneDNN products in float32 and bf16, and bytes/s of a copy, reads and writes counted."""
    import torch

    use_threads()
    source = torch.ones(64 * 2**20)
    target = torch.empty_like(source)
    moved = 2.0 * source.nbytes
    runs = {
        "fp32": matrix_product("float32"),
        "bf16": matrix_product("bfloat16"),
        "copy": lambda: target.copy_(source),
    }
    work = {"fp32": (MATRIX_FLOP, "fp32"), "bf16": (MATRIX_FLOP, "bf16"), "copy": (moved, "copy")}
    race = Race("roofline", runs, work)
    return {name: race.facts(name)["work_per_second"] for name in runs}


def machine() -> dict[str, Any]:
    """The facts that must be published with every figure."""
    from pa3d import _C

    packages = ("numpy", "scipy", "torch", "fpsample", "pytest-benchmark")
    return {
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)),
        "threads": THREADS,
        "isa": _C.isa(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "versions": {name: _version(name) for name in packages},
        "commit": _commit(),
    }


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    info = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
    name = info.get("model name", platform.machine())
    if "cpu family" in info:
        name += f" (family {info['cpu family']}, model {info.get('model', '?')})"
    return name


def _commit() -> str:
    def git(*arguments: str) -> str:
        return subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()

    try:
        changed = " with changes" if git("status", "--porcelain", "--", "csrc", "pa3d", "bench") else ""
        return git("rev-parse", "--short", "HEAD") + changed
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
