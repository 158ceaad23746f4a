"""Parts without names, and parts under clicks, on labelled meshes.

    python scripts/evaluate_parts.py FOLDER [FOLDER ...]     # of labelled .npz meshes, as `pa3d eval npz --root` takes

Class-agnostic mean IoU, as PartField and SAMPart3D report it: for every true part of a shape the largest IoU with any
region, the mean over its parts, the mean over shapes. Regions: those of the whole tree, those of its cuts into 2 to 20
parts, k-means on the features of the patches with 2 to 20 clusters, and the connected components.

Clicks, as Point-SAM simulates them: the first is in the middle of the true part, where the distance from what is
outside is largest; each of the others in the middle of the larger of the two errors, what is missed (positive) and what
is too much (negative). IoU after one, three and five. Prints rows of a Markdown table.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.cluster.vq import kmeans2
from scipy.spatial import cKDTree

from pa3d.errors import InputError
from pa3d.evaluate.datasets import open_dataset
from pa3d.ops import components
from pa3d.part_tree import PartTree, main_directions
from pa3d.segment import Segmenter

MOST = 20
CLICKS = 5
CANDIDATES = 400  # places that the middle of a region is chosen from

Mask = NDArray[np.bool_]


def main(folders: list[str]) -> None:
    segmenter = Segmenter.from_pretrained(precision="fp32")
    print(f"| | shapes | tree | 2 to {MOST} parts | k-means | components | 1 click | 3 clicks | 5 clicks |")
    print("|---|---|---|---|---|---|---|---|---|")
    for folder in folders:
        dataset = open_dataset("npz", Path(folder))
        rows = []
        for index in range(len(dataset)):
            labelled = dataset.load(index)
            mesh, truth = labelled.shape, labelled.labels
            if not mesh.is_mesh:
                raise InputError(f"{labelled.id} is a cloud; expected labelled meshes")
            tree = segmenter.open(mesh).tree
            areas = mesh.face_areas()
            clusters = cluster_masks(tree)
            parts = components(mesh.points, mesh.faces, np.zeros(len(truth), np.int32))
            rows.append(
                [
                    best_iou(tree_overlaps(tree, truth, areas, None)),
                    best_iou(tree_overlaps(tree, truth, areas, MOST)),
                    np.max([label_ious(labels, truth, areas) for labels in clusters], axis=0).mean(),
                    label_ious(parts, truth, areas).mean(),
                    *click_ious(tree, truth, areas),
                ]
            )
        cells = "".join(f" {100 * value:.1f} |" for value in np.mean(rows, axis=0))
        print(f"| {Path(folder).name} | {len(rows)} |{cells}", flush=True)


def tree_overlaps(tree: PartTree, truth: NDArray[np.int32], areas: NDArray[np.float64], most: int | None) -> np.ndarray:
    """(K + 1, R) of every region the area in each true part, and the whole; of the regions of cuts up to `most`."""
    leaves = tree.tree.num_leaves
    rows = [np.where(truth == label, areas, 0) for label in np.unique(truth[truth >= 0])] + [areas]
    sums = np.zeros((len(rows), 2 * leaves - 1))
    for row, weights in zip(sums, rows, strict=True):
        row[:leaves] = np.bincount(tree.tree.leaf, weights, leaves)
    for t, (a, b) in enumerate(tree.tree.merges):
        sums[:, leaves + t] = sums[:, a] + sums[:, b]
    return sums if most is None else sums[:, -(2 * most - 1) :]


def best_iou(overlaps: np.ndarray) -> float:
    """overlaps: as tree_overlaps gives it, of all regions; the last region is the whole shape."""
    inside, whole = overlaps[:-1], overlaps[-1]
    ious = inside / np.maximum(whole + inside[:, -1:] - inside, 1e-300)
    return float(ious.max(axis=1).mean())


def label_ious(labels: NDArray[np.int32], truth: NDArray[np.int32], areas: NDArray[np.float64]) -> NDArray[np.float64]:
    """(K,) of every true part the largest IoU with a label."""
    overlaps = []
    for label in np.unique(truth[truth >= 0]):
        inside = np.bincount(labels, np.where(truth == label, areas, 0))
        overlaps.append((inside / np.maximum(np.bincount(labels, areas) + inside.sum() - inside, 1e-300)).max())
    return np.array(overlaps)


def cluster_masks(tree: PartTree) -> list[NDArray[np.int32]]:
    """Labels of the faces by k-means on the features of the leaves, in the coordinates of their main directions."""
    features = main_directions(tree.features).astype(np.float64)
    counts = range(2, min(MOST, len(features)) + 1)
    found = [kmeans2(features, count, minit="++", rng=np.random.default_rng(0), missing="warn")[1] for count in counts]
    return [labels[tree.tree.leaf].astype(np.int32) for labels in found]


def click_ious(tree: PartTree, truth: NDArray[np.int32], areas: NDArray[np.float64]) -> list[float]:
    """Mean IoU over the true parts after one, three and five clicks."""
    assert tree.shape.faces is not None
    centers = tree.shape.points[tree.shape.faces].mean(axis=1)
    rng = np.random.default_rng(0)
    rows = []
    for label in np.unique(truth[truth >= 0]):
        part = truth == label
        positive, negative = [middle(part, centers, areas, rng)], []
        row: list[float] = []
        while len(row) < CLICKS:
            try:
                chosen = tree.select(np.array(positive), np.array(negative))
            except InputError:  # both kinds of clicks in one leaf: nothing better can be had
                break
            union = areas[part | chosen].sum()
            row.append(float(areas[part & chosen].sum() / union) if union > 0 else 0.0)
            missed, wrong = part & ~chosen, chosen & ~part
            if not areas[missed | wrong].any():
                break
            if areas[missed].sum() >= areas[wrong].sum():
                positive.append(middle(missed, centers, areas, rng))
            else:
                negative.append(middle(wrong, centers, areas, rng))
        rows.append(row + [row[-1]] * (CLICKS - len(row)))
    return np.mean(rows, axis=0)[[0, 2, 4]].tolist()


def middle(mask: Mask, centers: np.ndarray, areas: np.ndarray, rng: np.random.Generator) -> np.ndarray:  # (3,)
    """The centre of the face of a region that is farthest from the faces outside it."""
    own, others = np.flatnonzero(mask & (areas > 0)), np.flatnonzero(~mask)
    if len(own) > CANDIDATES:
        own = rng.choice(own, CANDIDATES, p=areas[own] / areas[own].sum())
    if len(others) == 0:
        return centers[own[0]]
    return centers[own[cKDTree(centers[others]).query(centers[own])[0].argmax()]]


if __name__ == "__main__":
    main(sys.argv[1:])
