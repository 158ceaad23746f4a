"""Names without asking, on labelled meshes: what the shape is taken for, and how good the proposed parts are.

    python scripts/evaluate_proposals.py FOLDER [FOLDER ...]     # labelled .npz meshes, as for `pa3d eval npz`

category: the share of shapes whose category is the first, or one of the first five, that `propose` names. It is right
if the name in the data set is one of its names (pa3d.categories).
matched: the mean IoU of the proposed labels. A true part is compared with the faces of all proposed parts whose name is
the same, or has it as its nearest true name with a cosine of at least 0.7; with none, its IoU is 0.
given: the mean IoU where the names of the true parts are given instead, and the category: where the category is.
IoU is weighted by area, the mean over the parts that occur on a shape, then over shapes, then over categories.
Prints rows of a Markdown table, and with --verbose what every shape was taken for.
"""

from __future__ import annotations

import sys
from collections import defaultdict
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pa3d.categories import category_of
from pa3d.errors import InputError
from pa3d.evaluate.datasets import open_dataset
from pa3d.segment import Segmenter
from pa3d.segmentation import Segmentation
from pa3d.text import clean_name

SAME = 0.7  # cosine of names that mean the same


def main(arguments: list[str]) -> None:
    verbose = "--verbose" in arguments
    model = next((a.removeprefix("--model=") for a in arguments if a.startswith("--model=")), None)
    segmenter = Segmenter.from_pretrained(model, precision="fp32")
    print("| | shapes | category first | in the first five | matched | category given | names given |")
    print("|---|---|---|---|---|---|---|")
    for folder in [a for a in arguments if not a.startswith("--")]:
        dataset = open_dataset("npz", Path(folder))
        rows: dict[str, list[list[float]]] = defaultdict(list)
        for index in range(len(dataset)):
            labelled = dataset.load(index)
            truth, names = labelled.labels, [clean_name(name) for name in labelled.part_names]
            opened = segmenter.open(labelled.shape)
            areas = labelled.shape.face_areas()
            ranked = [name for name, _ in opened.categories(5)]
            category = category_of(clean_name(labelled.category))
            right = [category is not None and name == category.name for name in ranked]
            proposed = opened.propose()
            given = opened.segment(names)
            known = None if category is None else opened.propose(category=category.name)
            row = [
                float(right[0]),
                float(any(right)),
                matched_iou(segmenter, proposed, names, truth, areas),
                0.0 if known is None else matched_iou(segmenter, known, names, truth, areas),
                mean_iou([given.element_labels == k for k in range(len(names))], truth, areas),
            ]
            rows[labelled.category].append(row)
            if verbose:
                print(f"{labelled.category}: {', '.join(ranked)}; {', '.join(proposed.part_names)}; {np.round(row, 2)}")
        if verbose:
            for name, values in rows.items():
                print(name, np.round(100 * np.mean(values, axis=0), 1))
        shapes = np.concatenate([np.array(values) for values in rows.values()])
        means = np.mean([np.mean(values, axis=0) for values in rows.values()], axis=0)
        cells = "".join(f" {100 * value:.1f} |" for value in [*shapes[:, :2].mean(axis=0), *means[2:]])
        print(f"| {Path(folder).name} | {len(shapes)} |{cells}", flush=True)


def matched_iou(
    segmenter: Segmenter, result: Segmentation, names: list[str], truth: NDArray[np.int32], areas: NDArray[np.float64]
) -> float:
    cosines = segmenter.embed_words(list(result.part_names)) @ segmenter.embed_words(names).T
    equal = np.array([[a == b for b in names] for a in result.part_names])
    cosines = np.where(equal, 2.0, cosines)
    nearest, same = cosines.argmax(axis=1), cosines.max(axis=1) >= SAME
    labels = result.element_labels
    masks = [np.isin(labels, np.flatnonzero(same & (nearest == k))) for k in range(len(names))]
    return mean_iou(masks, truth, areas)


def mean_iou(masks: list[NDArray[np.bool_]], truth: NDArray[np.int32], areas: NDArray[np.float64]) -> float:
    """Over the true parts that occur; faces without a true label do not count."""
    values = []
    for k, mask in enumerate(masks):
        own, known = truth == k, truth >= 0
        if own.any():
            values.append(areas[own & mask].sum() / areas[(own | mask) & known].sum())
    return float(np.mean(values))


if __name__ == "__main__":
    if len(sys.argv) < 2:
        raise InputError("no folder was given; expected folders of labelled .npz meshes")
    main(sys.argv[1:])
