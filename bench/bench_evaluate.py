"""An evaluation the size of ShapeNetPart's test set: 2,874 procedural stand-ins in its layout.

python bench/bench_evaluate.py [--model FILE] [--workers 2] [--shapes 2874] [--points 2600] [--root FOLDER]

The stand-ins have the official counts by category, about 2,600 points each and ids in range; which of a
category's ids a procedural part gets is arbitrary, so the figures mean nothing and only the time does. The
run is checked before its time is shown.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path

import numpy as np

from pa3d.data.procedural import CATEGORIES, synthesize
from pa3d.evaluate import evaluate, open_dataset
from pa3d.evaluate.labels import SHAPENETPART, first_id
from pa3d.evaluate.methods import SegmenterMethod

TEST_SHAPES = (341, 14, 11, 158, 704, 14, 159, 80, 286, 83, 51, 38, 44, 12, 31, 848)


def write_stand_ins(root: Path, shapes: int, points: int) -> None:
    """A miniature of any size of the official text layout."""
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
        dataset = open_dataset("shapenetpart", root)
        method = SegmenterMethod(options.model)
        results = evaluate(dataset, method, out=Path(scratch) / "results", workers=options.workers)
        timings = json.loads((Path(scratch) / "results" / "timings.json").read_text())
    summary = results["summary"]
    if results["failed"] or summary["shapes"] != len(dataset):
        raise SystemExit(f"{len(results['failed'])} shapes failed: {results['failed'][:3]}")
    if not summary["baselines"]["oracle"]["miou"] > summary["baselines"]["random"]["miou"]:
        raise SystemExit("the ceiling is below chance: the labels are wrong")
    print(f"{len(dataset)} shapes in {timings['wall']:.1f} s, {options.workers} workers; {timings['machine']}")
    print(f"processor time {timings['cpu']:.1f} s, {1000 * timings['cpu'] / len(dataset):.1f} ms a shape")
    for stage, seconds in timings["stages"].items():
        warm, total = 1000 * (seconds["warm_median"] or 0), seconds["total"]
        print(f"{stage:<16}{warm:>8.2f} ms a shape, warm{total:>9.1f} s in all")


if __name__ == "__main__":
    main()
