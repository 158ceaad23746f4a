"""Compare the labels of bf16 and int8 with those of float32; record in a checkpoint which are close enough.

    python scripts/check_precisions.py pa3d/weights/pa3d-embedded.safetensors --shared ../shared [--write]

A precision is close enough when its labels equal those of float32 on 99.5 % (bf16) or 98.5 % (int8) of the points of
every shape. The shapes are the examples and, with --shared, the evaluation shapes. int8 needs no data for calibration:
it has one scale per column of the weights and one per row of the activations, computed from the values themselves.
Precision "auto" takes the fastest precision that is recorded in the checkpoint.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from pa3d.checkpoint import load, save
from pa3d.segment import Segmenter
from pa3d.shape import Shape

BOUNDS = {"int8": 0.985, "bf16": 0.995}
EXAMPLES = Path(__file__).resolve().parents[1] / "examples"


def shapes(shared: Path | None) -> Iterator[tuple[str, str | Shape, list[str]]]:
    for path in sorted([*EXAMPLES.glob("*.glb"), *EXAMPLES.glob("*.ply")]):
        names = path.with_suffix(".txt").read_text().split("\n")
        yield path.name, str(path), [name for name in names if name.strip()]
    if shared is None:
        return
    for path in sorted((shared / "data" / "eval").glob("*/*.npz")):
        data = np.load(path)
        shape = Shape(data["vertices"], data["faces"].astype(np.int32), name=path.name)
        yield f"{path.parent.name}/{path.name}", shape, [str(name) for name in data["part_names"]]
    for path in sorted((shared / "data" / "eval" / "shapenetpart").glob("*/*.txt")):
        points = np.loadtxt(path, dtype=np.float32)[:, :3]
        yield path.name, Shape(np.ascontiguousarray(points), name=path.name), ["crown", "brim"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint")
    parser.add_argument("--shared", type=Path, help="folder that holds data/eval")
    parser.add_argument("--write", action="store_true", help="record the result in the checkpoint")
    args = parser.parse_args()
    checkpoint = load(args.checkpoint)
    segmenters = {p: Segmenter(checkpoint, precision=p) for p in ("fp32", *BOUNDS)}
    worst = dict.fromkeys(BOUNDS, 1.0)
    for name, shape, parts in shapes(args.shared):
        labels = {p: s.segment(shape, parts).labels for p, s in segmenters.items()}
        equal = {p: float((labels[p] == labels["fp32"]).mean()) for p in BOUNDS}
        worst = {p: min(worst[p], equal[p]) for p in BOUNDS}
        print(f"{name:40s}", "  ".join(f"{p} {100 * share:6.2f} %" for p, share in equal.items()))
    held = tuple(p for p, bound in BOUNDS.items() if worst[p] >= bound)
    print(
        "worst:",
        "  ".join(f"{p} {100 * w:.2f} %" for p, w in worst.items()),
        " within the bounds:",
        ", ".join(held) or "none",
    )
    if args.write:
        save(args.checkpoint, replace(checkpoint, precisions=held), half=True)


if __name__ == "__main__":
    main()
