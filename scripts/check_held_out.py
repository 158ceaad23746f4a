"""Measure the embedded model on shapes outside the evaluation folders: unseen seeds and held-out real shapes.

    python scripts/check_held_out.py [--sweethome DIR]

The figure is the mean IoU over present parts, on 4,096 surface points. The prompts are the finest part names of the
shape, without its category. Held-out shapes come from a harvested folder and have categories that no generator draws
and that were left out of training.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from pa3d.data.harvest import harvest
from pa3d.data.parts import PartMesh
from pa3d.data.procedural import CATEGORIES, HELD_OUT, synthesize
from pa3d.segment import Segmenter


def score(segmenter: Segmenter, mesh: PartMesh) -> tuple[float, float] | None:
    """Mean IoU of the model and of the majority label; None if the shape has fewer than two parts."""
    names = sorted({words[0] for words in mesh.parts})
    masks = mesh.sample(4096, np.random.default_rng(0))
    truth = np.stack([masks.masks[masks.names.index(n)] for n in names if n in masks.names])
    names = [n for n in names if n in masks.names]
    known = truth.any(axis=0)
    if len(names) < 2:
        return None
    labels = segmenter.segment(masks.points, names).labels
    predictions = (labels, np.full(len(labels), truth.sum(axis=1).argmax()))
    ious = [[(t & (p == j)).sum() / (known & (t | (p == j))).sum() for j, t in enumerate(truth)] for p in predictions]
    return float(np.mean(ious[0])), float(np.mean(ious[1]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sweethome", type=Path, metavar="DIR", help="folder of harvested shapes")
    args = parser.parse_args()
    segmenter = Segmenter.from_pretrained()
    rows: dict[str, list[tuple[float, float]]] = {}
    for category in sorted(CATEGORIES):
        for seed in (20_001, 20_002, 20_003):
            if found := score(segmenter, synthesize(category, seed)):
                rows.setdefault(category, []).append(found)
    by_category = {c: np.mean(found, axis=0) for c, found in rows.items()}
    mean = np.mean(list(by_category.values()), axis=0)
    ours, majority = 100 * mean
    print(f"procedural categories, unseen seeds: {ours:.1f} (majority {majority:.1f}), {len(by_category)} categories")
    ranked = sorted(by_category, key=lambda c: by_category[c][0])
    print("best: ", ", ".join(f"{c} {100 * by_category[c][0]:.0f}" for c in ranked[::-1][:20]))
    print("worst:", ", ".join(f"{c} {100 * by_category[c][0]:.0f}" for c in ranked[:20]))
    if args.sweethome:
        words = {w for held in HELD_OUT for w in (held, held + "s")}
        held = [
            m for m in harvest(args.sweethome) if words & set(f"{m.category} {m.id}".lower().replace("/", " ").split())
        ]
        found = [(m.id, s) for m in held if (s := score(segmenter, m))]
        for name, (ours, majority) in found:
            print(f"  {name:40s} {100 * ours:5.1f}  majority {100 * majority:5.1f}")
        if found:
            ours, majority = 100 * np.mean([s for _, s in found], axis=0)
            print(f"held-out categories, real shapes: {ours:.1f} (majority {majority:.1f}), {len(found)} shapes")


if __name__ == "__main__":
    main()
