"""Measure the model with other part names and other orientations than those of its training.

    python scripts/check_robustness.py --shared SHARED [--model FILE] [--rotations 4] [--limit N]

The figure is the mean IoU over present parts, as `pa3d eval` computes it under protocol pa3d (10,000 points of a mesh's
surface, all points of a cloud; absent parts are skipped). Wordings: each set of names replaces the names of the
dataset; names that were also paraphrases in training are listed. Orientations: the same random rotations for every
shape, once with up="y", which is then wrong, and once with up="auto".
"""

from __future__ import annotations

import argparse
import dataclasses
import time
from pathlib import Path
from typing import Any

import numpy as np

from pa3d.data.paraphrases import load_paraphrases
from pa3d.errors import InputError
from pa3d.evaluate.datasets import open_dataset
from pa3d.evaluate.methods import SegmenterMethod
from pa3d.evaluate.protocols import PreparedShape, prepare, resolve
from pa3d.evaluate.score import mean_iou, predict, rotation_matrices
from pa3d.segment import Segmentation
from pa3d.shape import Shape

# Dataset -> name of the wording -> name in the dataset: name that replaces it.
WORDINGS: dict[str, dict[str, dict[str, str]]] = {
    "faust": {
        "limbs": {"arm": "upper limb", "leg": "lower limb", "head": "skull", "torso": "trunk"},
        "plurals": {"arm": "upper limbs", "leg": "lower limbs", "head": "skull", "torso": "trunk"},
        "phrases": {
            "arm": "limb that ends in a hand",
            "leg": "limb that ends in a foot",
            "head": "what sits on the neck",
            "torso": "trunk of the body",
        },
    },
    "chairs": {
        "places": {
            "seat": "place to sit",
            "back": "place to lean on",
            "leg": "support post",
            "arm": "side rest",
        },
        "uses": {
            "seat": "where one sits",
            "back": "what the back rests against",
            "leg": "what carries it on the floor",
            "arm": "where the elbows rest",
        },
    },
    "caps": {
        "dome": {"crown": "dome", "brim": "visor"},
        "uses": {"crown": "part that covers the head", "brim": "what keeps the sun off the face"},
    },
}
DATASETS = {
    "faust": (("faust", "faust", None),),
    "chairs": (("npz", "partnet_chairs", None),),
    "caps": (("shapenetpart", "shapenetpart", "test"), ("shapenetpart", "shapenetpart", "val")),
}


class AutoUp(SegmenterMethod):
    """The same method with up="auto"."""

    def segment(self, shape: Shape, parts: Any, category: str | None = None) -> Segmentation:
        vectors = self.embed(parts, category)
        options: dict[str, Any] = {"sample": self.sample, "assign": self.assign, "seed": self.seed}
        options |= {"refine": self.refine, "structure": self.refine}
        return self.segmenter.segment(shape, list(parts), text_vectors=vectors, up="auto", **options)


def cases(shared: Path, name: str, limit: int | None) -> list[PreparedShape]:
    found = []
    for dataset, folder, split in DATASETS[name]:
        opened = open_dataset(dataset, shared / "data" / "eval" / folder, split=split)
        protocol = resolve("pa3d", opened.name)
        found += [prepare(opened.load(i), protocol, opened) for i in range(len(opened))]
    return found[:limit]


def mean(
    method: SegmenterMethod, found: list[PreparedShape], rotations: list[np.ndarray] | None = None
) -> tuple[float, float]:
    """Mean IoU and seconds per shape, over all shapes and rotations."""
    protocol = resolve("pa3d", "npz")
    method.configure(protocol)
    begun, values = time.perf_counter(), []
    for case in found:
        for rotation in rotations or [None]:
            iou = mean_iou(case, predict(method, case, rotation), protocol)
            if iou is not None:
                values.append(iou)
    return float(np.mean(values)), (time.perf_counter() - begun) / len(values)


def renamed(found: list[PreparedShape], names: dict[str, str]) -> list[PreparedShape]:
    return [dataclasses.replace(case, offered=[names[part] for part in case.offered]) for case in found]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shared", type=Path, required=True, help="folder that holds data/eval")
    parser.add_argument("--model", type=Path, help="a checkpoint instead of the embedded one")
    parser.add_argument("--only", choices=("language", "orientation"))
    parser.add_argument("--rotations", type=int, default=4)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--limit", type=int, help="use at most this many shapes of each dataset")
    args = parser.parse_args()
    method, auto = SegmenterMethod(args.model), AutoUp(args.model)
    trained = {text for texts in load_paraphrases().values() for text in texts} | set(load_paraphrases())
    rotations = [np.array(matrix) for matrix in rotation_matrices(args.rotations, "any", "y", args.seed)]
    for name in DATASETS:
        try:
            found = cases(args.shared, name, args.limit)
        except InputError as error:
            print(f"{name}: left out ({error})")
            continue
        own, seconds = mean(method, found)
        print(f"{name}, {len(found)} shapes: {100 * own:.1f} with its own names, upright ({seconds:.2f} s per shape)")
        if args.only != "orientation":
            for label, names in WORDINGS[name].items():
                value, _ = mean(method, renamed(found, names))
                said = ", ".join(f"{a} = {b!r}" for a, b in names.items())
                known = sorted(set(names.values()) & trained)
                print(f"  {100 * value:5.1f}  {label}: {said}{f'; trained with {known}' if known else ''}", flush=True)
        if args.only != "language":
            value, seconds = mean(method, found, rotations)
            print(
                f"  {100 * value:5.1f}  {args.rotations} rotations, up='y', which is wrong ({seconds:.2f} s per shape)"
            )
            try:
                upright, _ = mean(auto, found)
                value, seconds = mean(auto, found, rotations)
                print(f"  {100 * value:5.1f}  the same, up='auto' ({seconds:.2f} s per shape)")
                print(f"  {100 * upright:5.1f}  upright, up='auto'", flush=True)
            except InputError as error:
                print(f"      -  up='auto' is not available ({error})")


if __name__ == "__main__":
    main()
