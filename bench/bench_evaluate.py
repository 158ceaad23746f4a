"""`pa3d eval` on procedural stand-ins for ShapeNetPart's test set, in its layout.

    pytest bench/bench_evaluate.py          # seconds per shape, on part of them
    python bench/bench_evaluate.py [--model FILE] [--workers 2] [--shapes 2874] [--points 2600] [--root FOLDER]

The stand-ins have the official number of shapes per category, about 2,600 points each, and valid label ids. Which id of
its category a procedural part gets is arbitrary: only the time means something. The results are checked before the time
is shown.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from _common import QUICK, THREADS, Race, check, measure

from pa3d.data.procedural import CATEGORIES, synthesize
from pa3d.evaluate import evaluate, open_dataset
from pa3d.evaluate.labels import SHAPENETPART, first_id
from pa3d.evaluate.methods import SegmenterMethod

TEST_SHAPES = (341, 14, 11, 158, 704, 14, 159, 80, 286, 83, 51, 38, 44, 12, 31, 848)


def write_stand_ins(root: Path, shapes: int, points: int) -> None:
    """A data set of any size in the official text layout."""
    wanted = [name for name, count in zip(SHAPENETPART, TEST_SHAPES, strict=True) for _ in range(count)]
    chosen = [wanted[i] for i in np.linspace(0, len(wanted) - 1, shapes).round().astype(int)]
    families = sorted(CATEGORIES)
    rng = np.random.default_rng(0)
    synsets = {name: f"{i:08d}" for i, name in enumerate(SHAPENETPART)}
    listed = []
    for number, category in enumerate(chosen):
        mesh = synthesize(families[number % len(families)], number)
        cloud = mesh.sample(int(rng.normal(points, points / 10)), rng)
        part = cloud.masks.argmax(axis=0) % len(SHAPENETPART[category]) + first_id(category)
        table = np.column_stack([cloud.points, np.zeros_like(cloud.points), part])
        folder = root / synsets[category]
        folder.mkdir(parents=True, exist_ok=True)
        np.savetxt(folder / f"{number:05d}.txt", table, fmt="%.6f")
        listed.append(f"shape_data/{synsets[category]}/{number:05d}")
    (root / "train_test_split").mkdir(exist_ok=True)
    (root / "train_test_split" / "shuffled_test_file_list.json").write_text(json.dumps(listed))
    rows = [f"{name}\t{synset}" for name, synset in synsets.items()]
    (root / "synsetoffset2category.txt").write_text("\n".join(rows) + "\n")


def run(root: Path, model: str | None, workers: int) -> tuple[int, dict[str, Any]]:
    """Evaluate the shapes below root. Returns their number and the content of timings.json; checked."""
    with tempfile.TemporaryDirectory() as out:
        dataset = open_dataset("shapenetpart", root)
        results = evaluate(dataset, SegmenterMethod(model), out=out, workers=workers)
        timings = json.loads((Path(out) / "timings.json").read_text())
    summary = results["summary"]
    check(not results["failed"] and summary["shapes"] == len(dataset), f"failed shapes: {results['failed'][:3]}")
    better = summary["baselines"]["oracle"]["miou"] > summary["baselines"]["random"]["miou"]
    check(better, "the ceiling is below chance: the labels are wrong")
    return len(dataset), timings


@cache
def evaluating() -> Race:
    root = Path(tempfile.mkdtemp(prefix="pa3d-bench-"))
    write_stand_ins(root, 20 if QUICK else 300, 500 if QUICK else 2600)

    def seconds_per_shape() -> float:
        shapes, timings = run(root, None, THREADS)
        return timings["wall"] / shapes

    return Race(f"evaluate a shape, {THREADS} workers", {"pa3d eval": seconds_per_shape})


def test_evaluate(benchmark: object) -> None:
    measure(benchmark, evaluating(), "pa3d eval")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--model", default=None)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--shapes", type=int, default=2874)
    parser.add_argument("--points", type=int, default=2600)
    parser.add_argument("--root", type=Path, default=None)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        root = options.root or Path(scratch) / "stand-ins"
        if not root.is_dir():
            write_stand_ins(root, options.shapes, options.points)
        shapes, timings = run(root, options.model, options.workers)
    print(f"{shapes} shapes in {timings['wall']:.1f} s, {options.workers} workers; {timings['machine']}")
    print(f"processor time {timings['cpu']:.1f} s, {1000 * timings['cpu'] / shapes:.1f} ms per shape")
    for stage, seconds in timings["stages"].items():
        warm, total = 1000 * (seconds["warm_median"] or 0), seconds["total"]
        print(f"{stage:<16}{warm:>8.2f} ms per shape, warm{total:>9.1f} s in all")


if __name__ == "__main__":
    main()
