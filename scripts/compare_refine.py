"""What cleaned borders and the structure of meshes do: mean IoU and boundary IoU of the embedded model with neither,
with each, and with both.

    python scripts/compare_refine.py FOLDER [FOLDER ...]     # of labelled .npz meshes, as `pa3d eval npz --root` takes

Shapes are scored by the rules of the protocol `pa3d` (docs/results.md): 10,000 points of the surface, each with the
label of its face. Prints rows of a Markdown table.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from pa3d.evaluate.datasets import open_dataset
from pa3d.evaluate.protocols import prepare, resolve
from pa3d.evaluate.score import Prediction, shape_metrics
from pa3d.segment import Segmenter

OPTIONS = {"off": (False, False), "structure": (False, True), "refine": (True, False), "both": (True, True)}


def main(folders: list[str]) -> None:
    segmenter = Segmenter.from_pretrained(precision="fp32")
    protocol = resolve("pa3d", "npz")
    print("| | shapes |" + "".join(f" {name} |" for name in OPTIONS))
    print("|---|---|" + "---|" * len(OPTIONS))
    for folder in folders:
        dataset = open_dataset("npz", Path(folder))
        rows: dict[str, list[tuple[float, float]]] = {name: [] for name in OPTIONS}
        for index in range(len(dataset)):
            shape = dataset.load(index)
            prepared = prepare(shape, protocol, dataset)
            present = np.unique(prepared.truth[prepared.truth >= 0])
            if prepared.mesh is None or prepared.element is None or len(present) < 2:
                continue
            for name, (refine, structure) in OPTIONS.items():
                result = segmenter.segment(prepared.mesh, prepared.offered, refine=refine, structure=structure)
                assert result.face_labels is not None and result.face_scores is not None
                labels = result.face_labels[prepared.element]
                confidence = result.face_scores[prepared.element].max(axis=1).astype(np.float64)
                metrics = shape_metrics(prepared, Prediction(labels, confidence, {}), protocol)
                rows[name].append((metrics["miou"], np.nan if metrics["boundary"] is None else metrics["boundary"]))
        means = {name: 100 * np.nanmean(np.array(values, float), axis=0) for name, values in rows.items()}
        cells = "".join(f" {iou:.1f}, {boundary:.1f} |" for iou, boundary in means.values())
        print(f"| {Path(folder).name} | {len(rows['off'])} |{cells}", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
