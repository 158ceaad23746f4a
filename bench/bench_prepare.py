"""`pa3d prepare`, stage by stage: seconds per shape on one thread, shapes per minute, memory; checked before timed.

    pytest bench/bench_prepare.py           # seconds per shape of a worker, with and without the backbone
    OMP_NUM_THREADS=1 python bench/bench_prepare.py [DIR_OR_LIST] [--shapes 12] [--size 518] [--views 10] [--workers 2]

Without a folder the shapes are procedural .npz meshes with labels. The script's table is measured in this process on
one thread, as in a worker: wall time beside processor time, which other work on the machine hardly changes. Its last
line is a whole run with worker processes, including their start. --json FILE writes the figures.
"""

from __future__ import annotations

import argparse
import json
import platform
import resource
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from _common import QUICK, Race, check
from _common import measure as measure_race

from pa3d import _C
from pa3d.data.procedural import synthesize
from pa3d.multiview.backbones import DEFAULT, NAMES, load_backbone
from pa3d.multiview.inputs import Source, list_sources, read_source
from pa3d.multiview.prepare import PrepareOptions, prepare
from pa3d.multiview.targets import ViewOptions, prepare_shape
from pa3d.multiview.worker import prepare_source, tar_entries
from pa3d.profiling import Stopwatch

CATEGORIES = ("chair", "mug", "table", "car", "guitar", "lamp")


class TwoClocks(Stopwatch):
    """Processor time beside wall time."""

    def __init__(self) -> None:
        super().__init__()
        self.cpu: dict[str, float] = {}

    @contextmanager
    def __call__(self, stage: str) -> Iterator[None]:
        start = time.process_time()
        with super().__call__(stage):
            yield
        self.cpu[stage] = self.cpu.get(stage, 0.0) + time.process_time() - start


def procedural(folder: Path, count: int) -> Path:
    """Labelled meshes to prepare."""
    for number in range(count):
        mesh = synthesize(CATEGORIES[number % len(CATEGORIES)], number)
        names = [names[0] for names in mesh.parts]
        labels = {"face_labels": mesh.face_parts, "part_names": names, "category": mesh.category}
        np.savez(folder / f"{number:04d}.npz", vertices=mesh.vertices, faces=mesh.faces, **labels)
    return folder


def measure(sources: list[Source], options: PrepareOptions) -> list[dict[str, Any]]:
    """One row per shape: its stages on both clocks, its bytes, its faces."""
    if _C.max_threads() != 1:
        raise SystemExit("expected OMP_NUM_THREADS=1 in the environment, as in a worker")
    torch.set_num_threads(1)
    backbone = load_backbone(options.backbone, options.weights)
    backbone(np.zeros((1, options.views.size, options.views.size, 3), np.uint8))  # the first call is slower
    rows = []
    for number, source in enumerate(sources):
        clock = TwoClocks()
        with clock("read"):
            render_input = read_source(source)
        record, _ = prepare_shape(render_input, backbone, options.views, clock)
        with clock("pack"):
            data = tar_entries(f"{number:07d}", record)
        if data != prepare_source(number, source, options, "").data:
            raise SystemExit(f"{source}: two runs differ; nothing is reported")
        faces = len(getattr(render_input.shape, "faces", ()))
        rows.append({"wall": clock.seconds, "cpu": clock.cpu, "bytes": len(data), "faces": faces})
    return rows


def table(rows: list[dict[str, Any]]) -> dict[str, dict[str, float]]:
    """Stage -> median and mean seconds on both clocks; printed."""
    stages = list(dict.fromkeys(stage for row in rows for stage in row["wall"]))
    figures = {}
    print(f"  {'stage':12s} {'wall median':>12s} {'mean':>8s} {'cpu median':>12s} {'mean':>8s}   seconds per shape")
    for stage in [*stages, "all but the backbone"]:
        chosen = [stage] if stage in stages else [s for s in stages if s != "backbone"]
        both = {clock: [sum(row[clock].get(s, 0.0) for s in chosen) for row in rows] for clock in ("wall", "cpu")}
        f = {f"{c}_{k.__name__}": k(v) for c, v in both.items() for k in (statistics.median, statistics.mean)}
        figures[stage] = f
        print(
            f"  {stage:20s} {f['wall_median']:4.3f} {f['wall_mean']:8.3f} {f['cpu_median']:12.3f} {f['cpu_mean']:8.3f}"
        )
    return figures


OURS, NETWORK = "pa3d prepare, without the backbone", DEFAULT


@cache
def preparing() -> Race:
    folder = Path(tempfile.mkdtemp(prefix="pa3d-bench-"))
    (folder / "in").mkdir()
    procedural(folder / "in", 2)
    views, size = ("2", 64) if QUICK else ("10", 518)
    options = PrepareOptions(ViewOptions(views, size))

    def run(out: Path) -> bytes:
        prepare(folder / "in", out, options, fresh=True)
        return (out / "shard-00000.tar").read_bytes()

    check(run(folder / "first") == run(folder / "second"), "two runs differ")

    def mean(stage: str) -> float:
        return json.loads((folder / "first" / "timings.json").read_text())["stages"][stage]["mean"]

    def network() -> float:  # of the latest run, because starting a worker takes longer than what is measured
        return mean("backbone")

    def others() -> float:
        run(folder / "first")
        return mean("all") - mean("backbone")

    runs = {OURS: others, NETWORK: network}
    return Race(f"prepare a shape, {views} views of {size} pixels, one thread", runs)


@pytest.mark.parametrize("competitor", [OURS, NETWORK])
def test_prepare(benchmark: object, competitor: str) -> None:
    measure_race(benchmark, preparing(), competitor)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("where", nargs="?", type=Path, metavar="DIR_OR_LIST")
    parser.add_argument("--shapes", type=int, default=12)
    parser.add_argument("--size", type=int, default=518)
    parser.add_argument("--views", default="10")
    parser.add_argument("--backbone", choices=NAMES, default=DEFAULT)
    parser.add_argument("--weights")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    options = PrepareOptions(ViewOptions(given.views, given.size), given.backbone, given.weights)
    with tempfile.TemporaryDirectory() as folder:
        where = given.where or procedural(Path(folder), given.shapes)
        sources = list_sources(where)[: given.shapes]
        listing = Path(folder) / "shapes.lst"
        listing.write_text("".join(f"{Path(source.path).absolute()}\n" for source in sources))
        print(
            f"{len(sources)} shapes, {given.views} views of {given.size} pixels, {given.backbone}, one thread, "
            f"{_C.isa()}, {platform.machine()}, torch {torch.__version__}, numpy {np.__version__}"
        )
        rows = measure(sources, options)
        figures = table(rows)
        size = statistics.mean(row["bytes"] for row in rows)
        rest = figures["all but the backbone"]
        print(f"  {size / 1e3:.0f} kB per shape; faces {statistics.median(row['faces'] for row in rows):.0f} (median)")
        print(f"  peak memory of this process {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3:.0f} MB")
        print(f"  {60 / rest['wall_mean']:.0f} shapes per minute and process without the backbone, by wall time;")
        print(f"  {60 / rest['cpu_mean']:.0f} by processor time")
        out = Path(folder) / "out"
        began = time.perf_counter()
        result = prepare(listing, out, options, workers=given.workers)
        wall = time.perf_counter() - began
        times = json.loads((out / "timings.json").read_text())
        own = times["stages"]["backbone"]["mean"] * times["shapes"] / given.workers
        print(
            f"  pa3d prepare --workers {given.workers}: {60 * result['shapes'] / wall:.0f} shapes per minute, "
            f"{60 * result['shapes'] / (wall - own):.0f} without the backbone, start included; peak "
            f"memory of a worker {times['peak_bytes'] / 1e6:.0f} MB"
        )
        if given.json:
            facts = {"stages": figures, "bytes": size, "run": times, "wall": wall}
            given.json.write_text(json.dumps(facts, indent=1))


if __name__ == "__main__":
    main()
