"""Runs all benches (bench/bench_*.py), writes docs/benchmarks.md and draws docs/benchmarks.png.

    python bench/report.py [--quick] [--device cpu|cuda] [--json FILE]

--quick shows that every bench works, not how fast the code is: it leaves out the largest sizes and torch.compile, and
writes to out/ by default. When a check fails, nothing is written. --device cuda runs bench/gpu.py instead and writes
docs/benchmarks-gpu.md; without a GPU it says so and stops.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
BENCHES = sorted((ROOT / "bench").glob("bench_*.py"))  # one file per kernel or command
FPSAMPLE = tuple(f"fpsample h={h}" for h in (3, 5, 7, 9))
EAGER, SCIPY = (("torch eager fp32",),), (("scipy cKDTree",),)
ENCODE = "encode 2048 points, batch 1"
RUNTIMES = "encode 2048 points, runtimes"
UNITS = {"fp32": ("GFLOP/s", "float32"), "bf16": ("GFLOP/s", "bf16"), "copy": ("GB/s", "copy")}

METHOD = """\
This machine reaches {fp32:.0f} GFLOP/s in float32 and {bf16:.0f} GFLOP/s in bf16 (a large oneDNN matrix product). It
copies at {copy:.1f} GB/s, counting both reads and writes. The last column of the tables compares with these rates.

How work is counted: in the encoder, the second and third layer of the mini-PointNet are merged into one product, and
the half of the third layer that multiplies the maximum counts once per patch. In searches every distance counts, also
those that are not computed. So a search that skips most of them can exceed 100 %.

The competitors of a table run in turns in one process, after their results were compared. A ratio divides the medians
over all turns; beside it is the range from the 10th to the 90th percentile of the ratios of single turns. The torch
module gets its patches from the kernels of pa3d, so that the networks alone are compared."""

GPU_METHOD = """\
This card reaches {fp32:.1f} Tflop/s in float32 and {bf16:.0f} in bf16 (a large cuBLAS product). It copies at
{copy:.2f} TB/s, counting both reads and writes. The last column compares with these rates. A time is a tenth of that
between two CUDA events around ten calls, which Python queues one after the other. So small kernels are limited by the
time of launching them. The competitors of a table run in turns in one process, after their results were compared. In
samplers and searches every distance counts once, also those that are not computed."""

Races = dict[str, dict[str, dict[str, Any]]]  # race -> competitor -> facts


@dataclass(frozen=True)
class Line:
    """One target: how many times as fast as its rivals pa3d should be.

    rivals: groups of competitors. The fastest of each group counts, and the times of the groups are added.
    """

    number: str
    what: str
    race: str
    ours: str
    rivals: tuple[tuple[str, ...], ...]
    against: str
    at_least: float
    aim: float | None = None


LINES = (
    Line("1", "encode 2,048 points, float32", ENCODE, "pa3d fp32", EAGER, "torch, eager float32", 1.5, 1.8),
    Line("2", "the same, bf16", ENCODE, "pa3d bf16", EAGER, "torch, eager float32", 3.5, 4.5),
    Line(
        "2", "the same, bf16", ENCODE, "pa3d bf16", (("torch eager bf16", "torch autocast bf16"),),
        "torch, eager bf16 or autocast, the faster", 1.3, 1.7,
    ),
    Line("3", "the same, int8", ENCODE, "pa3d int8", EAGER, "torch, eager float32", 5, 8),
    Line("5", "FPS 2,048 to 128", "fps 2048 to 128", "pa3d", (FPSAMPLE,), "fpsample's best", 6),
    Line("5", "FPS 100,000 to 1,024", "fps 100000 to 1024", "pa3d", (FPSAMPLE,), "fpsample's best", 3),
    Line("5", "FPS 1,000,000 to 4,096", "fps 1000000 to 4096", "pa3d", (FPSAMPLE,), "fpsample's best", 2),
    Line(
        "6", "sample and group 2,048 to 128 x 32", "sample and group 2048 to 128 x 32", "pa3d",
        (FPSAMPLE, ("scipy cKDTree", "torch cdist topk")), "fpsample's best and the faster of scipy and torch", 6,
    ),
    Line("7", "kNN 1,024 x 100,000, k = 32", "knn 1024 x 100000, k = 32", "pa3d", SCIPY, "scipy, all workers", 4),
    Line(
        "8", "interpolate 1,000,000 points from 128 centres, nearest", "interpolate 1000000 from 128, k = 1", "pa3d",
        SCIPY, "scipy, all workers", 10,
    ),
    Line(
        "9", "one million points to labels, float32", "1000000 points to labels, 5 parts", "pa3d fp32",
        (("torch reference path",),), "the reference path in torch", 10,
    ),
    Line("10", "encode, float32 at the AVX2 level", ENCODE, "pa3d fp32, AVX2", EAGER, "torch, eager float32", 1),
    *(
        Line("11", f"encode, {name}", RUNTIMES, f"pa3d {name}", ((f"openvino {name}",),), f"OpenVINO {name}", 1, 2)
        for name in ("fp32", "bf16", "int8")
    ),
    Line("12", "encode, fp32", RUNTIMES, "pa3d fp32", (("onnxruntime fp32",),), "onnxruntime fp32", 1),
)  # fmt: skip


@dataclass(frozen=True)
class TargetResult:
    """ratio: of medians. low, high: tenth and ninetieth percentile over turns."""

    number: str
    what: str
    against: str
    ratio: float
    low: float
    high: float
    target: str
    holds: bool
    share: float  # of the target reached; 1 just holds


def judge(races: Races) -> list[TargetResult]:
    """The results of the targets that were measured, in order."""
    results = []
    for line in LINES:
        race = races.get(line.race, {})
        names = [min(group, key=lambda name: race[name]["median"]) for group in line.rivals if set(group) <= set(race)]
        if line.ours not in race or len(names) < len(line.rivals):
            continue
        ours = race[line.ours]
        ratio = sum(race[name]["median"] for name in names) / ours["median"]
        turns = np.sum([race[name]["turns"] for name in names], axis=0) / ours["turns"]
        target = f">= {line.at_least:g} x" + (f", aim {line.aim:g} x" if line.aim else "")
        results.append(_result(line.number, line.what, line.against, ratio, turns, target, ratio / line.at_least))
    race = races.get(ENCODE, {})
    if {"pa3d bf16", "oneDNN product bf16"} <= set(race):
        ours, product = race["pa3d bf16"], race["oneDNN product bf16"]
        fewer = product["work"] / ours["work"]
        ratio = ours["median"] / product["median"] * fewer
        turns = np.array(ours["turns"]) / product["turns"] * fewer
        against = "time of its FLOP at the rate of a large oneDNN product"
        results.append(_result("4", "encode, bf16", against, ratio, turns, "<= 1.35 x", 1.35 / ratio))
    return sorted(results, key=lambda result: int(result.number))


def _result(number: str, what: str, against: str, ratio: float, turns: Any, target: str, share: float) -> TargetResult:
    low, high = np.quantile(turns, [0.1, 0.9])
    return TargetResult(number, what, against, ratio, float(low), float(high), target, share >= 1, share)


def write(machine: dict[str, Any], races: Races, results: list[TargetResult], quick: bool, picture: str) -> str:
    """The text of docs/benchmarks.md."""
    peak = machine["roofline"]
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    page = ["# Benchmarks", "", "`make bench` writes this page.", ""]
    if quick:
        page += ["**A quick run. It shows that the benches work; its figures mean little.**", ""]
    page += [
        f"{machine['processor']}, {machine['cores']} cores, {machine['threads']} threads, {machine['isa']}; "
        f"{machine['system']}, Python {machine['python']}, {versions}; commit {machine['commit']}.",
        "",
        METHOD.format(fp32=peak["fp32"] / 1e9, bf16=peak["bf16"] / 1e9, copy=peak["copy"] / 1e9),
        "",
        "## Targets",
        "",
        f"![the share of each target that is reached]({picture})",
        "",
        "| # | what | against | ratio | 10-90 % | target | reached |",
        "|---|---|---|---|---|---|---|",
    ]
    for o in results:
        ratio, spread, holds = f"{o.ratio:.2f} x", f"{o.low:.2f}-{o.high:.2f}", "yes" if o.holds else "**no**"
        row = (o.number, o.what, o.against, ratio, spread, o.target, holds)
        page.append("| " + " | ".join(row) + " |")
    return "\n".join(page + tables(races, peak, "machine")) + "\n"


def tables(races: Races, peak: dict[str, float], of: str) -> list[str]:
    """One table per race. peak: the rates that the machine or the card reaches, for the last column."""
    lines = []
    for name, race in races.items():
        lines += ["", f"## {name}", "", f"| | median | 10-90 % | time against the first | rate | of the {of}'s |"]
        lines += ["|---|---|---|---|---|---|"]
        first = next(iter(race.values()))["median"]
        for competitor, facts in race.items():
            low, high = np.quantile(facts["turns"], [0.1, 0.9])
            row = (competitor, _time(facts["median"]), f"{_time(low)}-{_time(high)}", f"{facts['median'] / first:.2f}")
            lines.append("| " + " | ".join((*row, *_rate(facts, peak))) + " |")
    return lines


def write_gpu(card: dict[str, str], machine: dict[str, Any], peak: dict[str, float], races: Races, quick: bool) -> str:
    """The text of docs/benchmarks-gpu.md."""
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    page = ["# Benchmarks on a GPU", "", "`python bench/report.py --device cuda` writes this page.", ""]
    if quick:
        page += ["**A quick run. It shows that the benches work; its figures mean little.**", ""]
    page += [
        f"{card['card']}; driver {card['driver']}, CUDA {card['cuda']}; {machine['processor']}; {machine['system']}, "
        f"Python {machine['python']}, {versions}; commit {machine['commit']}.",
        "",
        GPU_METHOD.format(fp32=peak["fp32"] / 1e12, bf16=peak["bf16"] / 1e12, copy=peak["copy"] / 1e12),
    ]
    return "\n".join(page + tables(races, peak, "card")) + "\n"


def _time(seconds: float) -> str:
    if seconds >= 1:
        return f"{seconds:.2f} s"
    return f"{1e3 * seconds:.2f} ms" if seconds >= 1e-3 else f"{1e6 * seconds:.0f} us"


def _rate(facts: dict[str, Any], peak: dict[str, float]) -> tuple[str, str]:
    if "bound" not in facts:
        return "", ""
    unit, what = UNITS[facts["bound"]]
    rate = facts["work_per_second"]
    return f"{rate / 1e9:.1f} {unit}", f"{100 * rate / peak[facts['bound']]:.0f} % ({what})"


def draw(results: list[TargetResult], path: Path) -> None:
    """A picture with one bar per target: which share of it is reached, on a logarithmic axis."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(9, 0.45 * len(results) + 1.2))
    names = [f"{o.number}  {o.what}\nagainst {o.against}" for o in results][::-1]
    shares = [o.share for o in results][::-1]
    axes.barh(names, shares, color=["#2a7f62" if share >= 1 else "#b4413c" for share in shares], height=0.6)
    axes.axvline(1, color="black", linewidth=1)
    axes.set_xscale("log")
    axes.set_xlim(min(0.5, *shares) * 0.8, max(2, *shares) * 3)
    for row, o in enumerate(results[::-1]):
        axes.text(o.share * 1.04, row, f"{o.ratio:.2f} x (target {o.target})", va="center", fontsize=7)
    axes.set_xlabel("share of the target that is reached")
    axes.tick_params(axis="y", labelsize=7)
    figure.tight_layout()
    figure.savefig(path, dpi=130)
    pyplot.close(figure)


def measure(quick: bool, threads: int) -> tuple[dict[str, Any], Races]:
    """Run all benches in one process. Raises SystemExit when a check fails."""
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "PA3D_BENCH_QUICK": str(int(quick))}
    with tempfile.TemporaryDirectory() as scratch:
        out = Path(scratch) / "benchmarks.json"
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist"]
        command += [f"--benchmark-json={out}", "--benchmark-columns=median,iqr,rounds", *map(str, BENCHES)]
        if subprocess.run(command, cwd=ROOT, env=environment).returncode:
            raise SystemExit("a bench failed; nothing is written")
        found = json.loads(out.read_text())
    races: Races = {}
    for row in found["benchmarks"]:
        facts = row["extra_info"]
        races.setdefault(facts["race"], {})[facts["competitor"]] = facts
    return found["machine_info"]["pa3d"], races


def run_on_gpu(options: argparse.Namespace) -> None:
    """Measure and write the page. Raises SystemExit when nothing can be measured, or a check fails."""
    os.environ["PA3D_BENCH_QUICK"] = str(int(options.quick))
    import gpu
    from _common import machine

    reason = gpu.unsupported_reason()
    if reason is not None:
        raise SystemExit(f"--device cuda: {reason}")
    try:
        peak, races = gpu.measure()
    except AssertionError as error:
        raise SystemExit(f"a check failed, nothing is written: {error}") from error
    found = [gpu.card(), machine(), peak, races]
    if options.json:
        options.json.write_text(json.dumps(found))
    folder = options.out or ROOT / ("out" if options.quick else "docs")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "benchmarks-gpu.md").write_text(write_gpu(*found, options.quick))
    print(folder / "benchmarks-gpu.md")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"), help="cuda: bench/gpu.py, its own page")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument(
        "--out", type=Path, default=None, help="the folder to write; default: docs, or out with --quick"
    )
    parser.add_argument("--json", type=Path, default=None, help="save the measurements; with --redo, read them")
    parser.add_argument("--redo", action="store_true", help="measure nothing; write the page again from --json")
    options = parser.parse_args()
    if options.device == "cuda":
        run_on_gpu(options)
        return
    if options.redo:
        machine, races = json.loads(options.json.read_text())
    else:
        machine, races = measure(options.quick, options.threads)
    if options.json and not options.redo:
        options.json.write_text(json.dumps([machine, races]))
    folder = options.out or ROOT / ("out" if options.quick else "docs")
    folder.mkdir(parents=True, exist_ok=True)
    results = judge(races)
    draw(results, folder / "benchmarks.png")
    (folder / "benchmarks.md").write_text(write(machine, races, results, options.quick, "benchmarks.png"))
    for o in results:
        verdict = "reached" if o.holds else "MISSED"
        print(f"{o.number:>3}  {o.ratio:7.2f} x  {o.target:<22}{verdict:<8}{o.what}, against {o.against}")
    print(f"{sum(o.holds for o in results)} of {len(results)} targets reached; {folder / 'benchmarks.md'}")


if __name__ == "__main__":
    main()
