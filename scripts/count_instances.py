"""How often the instances of a part are counted right: from the true labels and from those of the embedded model.

    python scripts/count_instances.py FOLDER [FOLDER ...] --parts "leg, wheel, finger"

FOLDERs hold labelled .npz meshes, as `pa3d eval npz --root` takes. The truth of a part is the number of connected
pieces of its true faces that are at least a twentieth of the largest. Shapes count whose part the model found at all
(IoU of at least 0.5), because pieces of a part that is not recognised have no number.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from pa3d.evaluate.datasets import open_dataset
from pa3d.instances import number_instances
from pa3d.ops import components
from pa3d.segment import Segmenter


def true_count(points: np.ndarray, faces: np.ndarray, labels: np.ndarray, areas: np.ndarray, label: int) -> int:
    """The connected pieces of a part, without crumbs."""
    piece = components(points, faces, np.where(labels == label, 0, -1).astype(np.int32))
    area = np.bincount(piece[piece >= 0], areas[piece >= 0])
    return int((area >= 0.05 * area.max()).sum())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="+")
    parser.add_argument("--parts", default="leg, wheel, finger")
    options = parser.parse_args()
    wanted = [name.strip() for name in options.parts.split(",")]
    segmenter = Segmenter.from_pretrained()
    counts: dict[str, list[tuple[int, int, int, float]]] = {}
    for folder in options.folders:
        dataset = open_dataset("npz", Path(folder))
        for index in range(len(dataset)):
            labelled = dataset.load(index)
            shape, truth = labelled.shape, np.asarray(labelled.labels, np.int32)
            names = [name for name in labelled.part_names if name in wanted]
            if shape.faces is None or not names:
                continue
            result = segmenter.segment(shape, list(labelled.part_names))
            numbers, areas = number_instances(shape, truth), shape.face_areas()
            for name in names:
                label = list(labelled.part_names).index(name)
                own, found = truth == label, result.element_labels == label
                if not own.any():
                    continue
                iou = areas[own & found].sum() / areas[own | found].sum()
                expected = true_count(shape.points, shape.faces, truth, areas, label)
                from_truth = int(numbers[own].max()) + 1
                count = len(result.part(name).instances)
                counts.setdefault(name, []).append((expected, from_truth, count, float(iou)))
                print(f"{labelled.id} {name}: {expected}, from truth {from_truth}, found {count}, IoU {iou:.2f}")
    for name, rows in counts.items():
        table = np.array(rows)
        known = table[table[:, 3] >= 0.5]
        right = f"{(known[:, 0] == known[:, 2]).sum()} of {len(known)} from the model where it finds the part"
        print(f"{name}: {(table[:, 0] == table[:, 1]).sum()} of {len(table)} right from truth, {right}")


if __name__ == "__main__":
    main()
