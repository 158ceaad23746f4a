"""Start-up of two checkouts, side by side: `import pa3d`, `pa3d --help`, and `pa3d segment` from nothing to its files.

    python scripts/compare_startup.py BEFORE AFTER --rounds 30

Each is a folder with a built pa3d; this Python runs both. They take turns, so that both see the same
load. Ratios are medians over rounds of after / before, of processor time and of time on the clock; below 1 is faster.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

TASKS = {
    "import pa3d": ["-c", "import pa3d"],
    "pa3d --help": ["-m", "pa3d.cli", "--help"],
    "pa3d segment": ["-m", "pa3d.cli", "segment", "examples/chair.glb", "--parts", "seat, back, leg", "-q"],
    "pa3d segment, no pictures": [
        *("-m", "pa3d.cli", "segment", "examples/chair.glb", "--parts", "seat, back, leg", "-q", "--no-pictures")
    ],
}


def measure(folder: Path, task: list[str], scratch: str) -> tuple[float, float]:
    """Seconds of processor time and on the clock."""
    out = ["-o", f"{scratch}/out"] if "segment" in task else []
    env = {**os.environ, "PA3D_CACHE": f"{scratch}/cache", "OMP_NUM_THREADS": "1", "PYTHONPATH": str(folder)}
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run([sys.executable, *task, *out], cwd=folder, env=env, check=True, stdout=subprocess.DEVNULL)
    wall, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime, wall


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("before", type=Path)
    parser.add_argument("after", type=Path)
    parser.add_argument("--rounds", type=int, default=30)
    options = parser.parse_args()
    folders = [options.before.resolve(), options.after.resolve()]
    print(f"{'':28}{'before':>10}{'after':>10}{'ratio':>8}{'on the clock':>15}")
    for name, task in TASKS.items():
        found: list[list[tuple[float, float]]] = [[], []]
        with tempfile.TemporaryDirectory() as a, tempfile.TemporaryDirectory() as b:
            for scratch, folder in zip((a, b), folders, strict=True):
                measure(folder, task, scratch)  # fills the caches of files and text vectors
            for round_ in range(options.rounds):
                for i in (0, 1) if round_ % 2 else (1, 0):
                    found[i].append(measure(folders[i], task, (a, b)[i]))
        cpu = [statistics.median(x[0] for x in side) for side in found]
        ratios = [statistics.median(after[k] / before[k] for before, after in zip(*found, strict=True)) for k in (0, 1)]
        print(f"{name:28}{cpu[0]:9.3f}s{cpu[1]:9.3f}s{ratios[0]:8.3f}{ratios[1]:15.3f}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
