"""How often parts are said to be not found, rightly and wrongly, on labelled shapes.

    python scripts/check_presence.py shared/data/eval/mixed shared/data/eval/articulated

Every shape is asked for the parts that it has and for as many names of other categories. A part is not found when its
presence is below the threshold of the checkpoint, or none of the shape belongs to it.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from pa3d import Segmenter
from pa3d.evaluate.datasets import LabelledShape, open_dataset


def own_names(shape: LabelledShape) -> list[str]:
    return [shape.part_names[label] for label in np.unique(shape.labels[shape.labels >= 0])]


def main(folders: list[str]) -> None:
    segmenter, rng = Segmenter.from_pretrained(), np.random.default_rng(0)
    if segmenter.checkpoint.presence is None:
        sys.exit("this checkpoint is not calibrated")
    print(f"threshold {segmenter.checkpoint.presence.threshold:.3f}; of names: present / absent")
    print("folder           names  low presence   no surface    not found")
    for folder in folders:
        dataset = open_dataset("npz", Path(folder))
        shapes = [dataset.load(i) for i in range(len(dataset))]
        rows = []
        for shape in shapes:
            own = own_names(shape)
            alike = {name for other in shapes if other.category == shape.category for name in other.part_names}
            others = sorted({name for other in shapes for name in own_names(other)} - alike - set(own))
            absent = [others[i] for i in rng.permutation(len(others))[: len(own)]]
            result = segmenter.segment(shape.shape, [*own, *absent])
            labels = result.labels if result.face_labels is None else result.face_labels
            has_surface = np.isin(np.arange(len(own) + len(absent)), labels)
            assert result.found is not None
            for i in range(len(has_surface)):
                is_found = bool(result.found[i] and has_surface[i])
                rows.append((i < len(own), not result.found[i], not has_surface[i], not is_found))
        table = np.array(rows)
        present, absent_rows = table[table[:, 0], 1:].mean(axis=0), table[~table[:, 0], 1:].mean(axis=0)
        cells = (f"{100 * a:5.1f} /{100 * b:5.1f}" for a, b in zip(present, absent_rows, strict=True))
        print(f"{Path(folder).name:<16} {len(table):5}  " + "  ".join(cells))


if __name__ == "__main__":
    main(sys.argv[1:])
