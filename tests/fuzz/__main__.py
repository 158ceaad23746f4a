"""Fuzz everything that reads foreign bytes, for a stated time or number of inputs.

    python tests/fuzz --seconds 60                    # every target, the time divided among them
    python tests/fuzz --seconds 300 glb obj           # some of them
    make fuzz SECONDS=60                              # every target, and the C interface
    python tests/fuzz --seconds 300 --inputs 1000000  # again and again, until there were as many inputs

Must not happen, and makes the exit code 1: an exception that is not InputError, a crash, more than 10 s or 2 GiB for
one input. Inputs that failed are kept in out/fuzz under the target's name.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
OUT = Path(os.environ.get("PA3D_FUZZ_OUT") or HERE.parents[1] / "out" / "fuzz")
SCRATCH = "/dev/shm" if os.path.isdir("/dev/shm") else None
EMPTY: dict[str, Any] = {"inputs": 0, "seconds": 0.0, "slowest": 0.0, "rss": 0, "failures": {}, "outcomes": {}}


def fuzz(name: str, seeds: Path, seconds: float, seed: int) -> dict[str, Any]:
    """Runs one target and returns its counts. After a crash or hang it goes on for what is left of the time."""
    total: dict[str, Any] = {**EMPTY, "failures": {}, "outcomes": {}}
    end = time.monotonic() + seconds
    while not total["inputs"] or time.monotonic() < end - 1:
        limit = f"-max_total_time={max(int(end - time.monotonic()), 1)}"
        with tempfile.TemporaryDirectory(dir=SCRATCH) as scratch:
            command = [
                sys.executable,
                str(HERE / "worker.py"),
                name,
                str(seeds / name),
                str(OUT),
                limit,
                f"-seed={seed}",
            ]
            environment = {**os.environ, "TMPDIR": scratch, "OMP_NUM_THREADS": "1", "GOMP_SPINCOUNT": "0"}
            with open(OUT / f"{name}.log", "w") as log:
                code = subprocess.run(command, stdout=log, stderr=subprocess.STDOUT, env=environment).returncode
        stats = OUT / f"{name}.json"
        if stats.is_file():
            found = json.loads(stats.read_text())
            stats.unlink()
            total["inputs"] += found["inputs"]
            total["seconds"] += found["seconds"]
            for key in ("slowest", "rss"):
                total[key] = max(total[key], found[key])
            for key in ("failures", "outcomes"):
                for kind, count in found[key].items():
                    total[key][kind] = total[key].get(kind, 0) + count
        if code:
            kind = {70: "hang", 71: "memory"}.get(code, f"exit {code}")
            total["failures"][kind] = total["failures"].get(kind, 0) + 1
            (OUT / f"{name}.log").rename(OUT / f"{name}-{kind.replace(' ', '-')}.log")
            if not stats.is_file() and not total["inputs"]:
                break  # it cannot even start
        seed += 1
    return total


def fuzz_capi(program: str, seeds: Path, seconds: float, seed: int) -> dict[str, Any]:
    """Runs the program of capi.cpp; keeps the input at which it died."""
    memory = {"ASAN_OPTIONS": "hard_rss_limit_mb=2048:max_allocation_size_mb=2048", "OMP_NUM_THREADS": "1"}
    with tempfile.TemporaryDirectory(dir=SCRATCH) as folder:
        shutil.copytree(seeds / "capi", folder, dirs_exist_ok=True)
        with open(OUT / "capi.log", "w") as log:
            ended = subprocess.run(
                [program, folder, str(seconds), str(seed)],
                stdout=subprocess.PIPE,
                stderr=log,
                env={**os.environ, **memory},
            )
        if ended.returncode:
            data = (Path(folder) / "current").read_bytes()
            (OUT / f"capi-{seed}.bin").write_bytes(data[8 : 8 + int.from_bytes(data[:8], "little")])
            (OUT / "capi.log").rename(OUT / f"capi-{seed}.log")
            return {**EMPTY, "failures": {f"exit {ended.returncode}": 1}}
    found = json.loads(ended.stdout)
    return {**EMPTY, **found, "outcomes": dict.fromkeys(range(found["outcomes"]), 1)}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("targets", nargs="*", metavar="TARGET")
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--inputs", type=int, default=0, metavar="N", help="repeat with other seeds until there are N")
    parser.add_argument("--capi", metavar="PROGRAM", help="what tests/fuzz/capi.cpp was compiled to")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=len(os.sched_getaffinity(0)))
    options = parser.parse_args()
    OUT.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, str(HERE / "targets.py"), folder]
        known = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.split()
        known += ["capi"] if options.capi else []
        if unknown := set(options.targets) - set(known):
            parser.error(f"unknown targets {', '.join(sorted(unknown))}; expected some of {', '.join(known)}")
        return fuzz_all(options.targets or known, Path(folder), options)


def fuzz_all(names: list[str], seeds: Path, options: argparse.Namespace) -> int:
    began, total, outcomes, rounds = time.monotonic(), 0, 0, 0
    failed: set[str] = set()
    seconds = max(options.seconds * options.jobs / len(names), 1)
    print(f"{'target':16}{'inputs':>9}{'per s':>8}{'outcomes':>10}{'slowest':>10}{'MiB':>6}  failures", flush=True)

    def run(name: str) -> tuple[str, dict[str, Any]]:
        seed = options.seed + rounds
        r = fuzz_capi(options.capi, seeds, seconds, seed) if name == "capi" else fuzz(name, seeds, seconds, seed)
        failures = ", ".join(f"{kind} ({n})" for kind, n in r["failures"].items()) or "none"
        rate, most = r["inputs"] / max(r["seconds"], 1e-3), r["rss"] >> 20
        line = f"{name:16}{r['inputs']:9}{rate:8.0f}{len(r['outcomes']):10}{r['slowest']:9.2f}s{most:6}  {failures}"
        print(line, flush=True)
        return name, r

    while not rounds or total < options.inputs:
        with ThreadPoolExecutor(options.jobs) as pool:
            for name, r in pool.map(run, names):
                total += r["inputs"]
                outcomes += len(r["outcomes"])
                if r["failures"] or not r["inputs"]:
                    failed.add(name)
        rounds += 1
        wall = time.monotonic() - began
        print(
            f"{total} inputs in {wall:.0f} s, {total / wall:.0f} per second, {outcomes / rounds:.0f} outcomes",
            flush=True,
        )
    if failed:
        print(f"failed: {', '.join(sorted(failed))}; inputs and tracebacks are in {OUT}")
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main())
