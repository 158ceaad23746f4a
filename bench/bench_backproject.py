"""backproject against upsampling and gathering in torch: 37 x 37 x 768 tokens, one view of 518 x 518, 10,000 points.
Pixels show points of a surface, or random points.

    pytest bench/bench_backproject.py
    python bench/bench_backproject.py     # only the ratios of time and memory

The competitor runs twice, because torch has a kernel for each memory layout of the image. Memory is the growth of the
resident set at its peak, results included, each measured in a process of its own.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from _common import QUICK, THREADS, Race, check, measure, use_threads
from bench_rasterize import bumpy_ball
from torch import Tensor

from pa3d.cameras import Cameras
from pa3d.ops.backproject import backproject
from pa3d.ops.rasterize import rasterize_points
from pa3d.sampling import sample_surface

GRID, CHANNELS, SIZE, POINTS = 37, 768, 518, 10_000
MODES = ["bicubic"] if QUICK else ["bicubic", "bilinear", "nearest"]
DTYPES = ["float32"] if QUICK else ["float32", "bfloat16"]
SCENES = ["surface", "random"]
COMPETITORS = ["pa3d", "torch, channels last", "torch, channels first"]


def scene(kind: str = "surface", dtype: str = "float32") -> tuple[Tensor, Tensor]:  # (1, gh, gw, C), (1, H, W)
    """surface: points of a bumpy ball as `Shape.sample` draws them, as discs, seen by the first camera of Find3D's set.
    random: every pixel shows a random point, the hardest case.

    The points are in the order of the surface. In random order the rows of unseen points share memory pages with seen
    ones, and the result alone takes up to 29 MiB.
    """
    tokens = torch.randn(1, GRID, GRID, CHANNELS, generator=torch.Generator().manual_seed(0))
    if kind == "random":
        drawn = np.random.default_rng(0).integers(0, POINTS, (1, SIZE, SIZE))
        return tokens.to(getattr(torch, dtype)), torch.from_numpy(drawn.astype(np.int32))
    cameras = Cameras.preset("around10")[0]
    points, _ = sample_surface(*bumpy_ball(), POINTS, np.random.default_rng(0))
    ids = rasterize_points(points, 0.02, cameras, SIZE).point_id
    return tokens.to(getattr(torch, dtype)), torch.from_numpy(ids)


def upsample_and_gather(
    tokens: Tensor, point_of_pixel: Tensor, n_points: int, mode: str, *, channels_last: bool
) -> tuple[Tensor, Tensor]:
    """Upsample every channel, then add up the pixels of each point. Returns sums and counts."""
    image = tokens.permute(0, 3, 1, 2)
    image = image if channels_last else image.contiguous()
    corners = {} if mode == "nearest" else {"align_corners": False}
    image = torch.nn.functional.interpolate(image, point_of_pixel.shape[1:], mode=mode, **corners)
    pixels = image.permute(0, 2, 3, 1).reshape(-1, tokens.shape[3]) if channels_last else image[0].flatten(1).T
    point = point_of_pixel.reshape(-1).long()
    shown = point >= 0
    total = torch.zeros(n_points, tokens.shape[3], dtype=tokens.dtype).index_add_(0, point[shown], pixels[shown])
    return total, torch.bincount(point[shown], minlength=n_points)


@cache
def race(mode: str, dtype: str, kind: str = "surface") -> Race:
    tokens, ids = scene(kind, dtype)
    runs = {
        "pa3d": lambda: backproject(tokens, ids, POINTS, mode=mode),
        "torch, channels last": lambda: upsample_and_gather(tokens, ids, POINTS, mode, channels_last=True),
        "torch, channels first": lambda: upsample_and_gather(tokens, ids, POINTS, mode, channels_last=False),
    }
    total, count = runs["pa3d"]()
    for name in COMPETITORS[1:]:
        # The bfloat16 competitors add up in bfloat16. Their method is compared in float32.
        image_wise = upsample_and_gather(tokens.float(), ids, POINTS, mode, channels_last="last" in name)
        means, expected = (x / count.clamp(min=1)[:, None] for x in (total, image_wise[0]))
        check(torch.equal(count, image_wise[1]), f"backproject counts other pixels than {name}")
        check(float((means - expected).abs().max()) < 1e-4, f"backproject differs from {name}")
    seen = int((count > 0).sum())
    moved = 4.0 * CHANNELS * seen  # the sums, which every method must write
    name = f"backproject {mode} {dtype}" + ("" if kind == "surface" else f", {kind} ids")
    return Race(name, runs, {"pa3d": (moved, "copy")})


@pytest.mark.parametrize("competitor", COMPETITORS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("mode", MODES)
def test_backproject(benchmark: object, mode: str, dtype: str, competitor: str) -> None:
    measure(benchmark, race(mode, dtype), competitor)


@pytest.mark.parametrize("competitor", COMPETITORS)
def test_backproject_random_ids(benchmark: object, competitor: str) -> None:
    measure(benchmark, race("bicubic", "float32", "random"), competitor)


def resident(name: str) -> float:
    """A line of /proc/self/status in MiB: VmRSS, or VmHWM, its highest value."""
    found = re.search(rf"{name}:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found is not None
    return int(found[1]) / 1024


def measure_memory(competitor: str, kind: str) -> float:
    """MiB that one call takes at its peak, in this process, after the same code ran once on tiny input."""
    use_threads()

    def run(tokens: Tensor, ids: Tensor, points: int) -> object:
        if competitor == "pa3d":
            return backproject(tokens, ids, points)
        return upsample_and_gather(tokens, ids, points, "bicubic", channels_last=competitor.endswith("last"))

    run(torch.randn(1, 3, 3, 8), torch.zeros(1, 9, 9, dtype=torch.int32), 2)
    tokens, ids = scene(kind)
    Path("/proc/self/clear_refs").write_text("5")  # resets the peak
    before = resident("VmRSS")
    kept = run(tokens, ids, POINTS)
    peak = resident("VmHWM") - before
    del kept
    return peak


def peaks(kind: str) -> dict[str, float]:
    """MiB of every competitor, each in its own process."""
    found = {}
    for name in COMPETITORS:
        command = [sys.executable, __file__, "--memory-of", name, kind]
        found[name] = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return found


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="the peak is read from Linux's /proc")
@pytest.mark.parametrize("kind", SCENES)
def test_memory(kind: str) -> None:
    found = peaks(kind)
    assert found["pa3d"] <= min(found[name] for name in COMPETITORS[1:]) / 50


def main() -> None:
    use_threads()
    for kind in SCENES:
        timed = race("bicubic", "float32", kind)
        ours, rival = timed.median("pa3d"), min(timed.median(name) for name in COMPETITORS[1:])
        _, ids = scene(kind)
        shown = ids[ids >= 0]
        part = shown.numel() / ids.numel()
        print(f"{kind}, {THREADS} threads; {part:.0%} of the pixels show {len(shown.unique())} points")
        for name in COMPETITORS:
            turns = sorted(timed.seconds[name])
            text = f"median {1e3 * timed.median(name):9.2f} ms, {1e3 * turns[0]:.2f} to {1e3 * turns[-1]:.2f}"
            print(f"  {name:24s} {text}")
        print(f"  {rival / ours:.0f} x faster than the faster one; must be 100")
        memory = peaks(kind)
        for name, peak in memory.items():
            print(f"  {name:24s} peak {peak:9.1f} MiB")
        print(f"  1/{min(memory[n] for n in COMPETITORS[1:]) / memory['pa3d']:.0f} of the smaller one; must be 1/50")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--memory-of"]:
        print(json.dumps(measure_memory(*sys.argv[2:4])))
    else:
        main()
