"""Labelled shapes of the public datasets, in the layouts in which they are published.

    dataset = open_dataset("shapenetpart", "data/shapenetcore_partanno_segmentation_benchmark_v0_normal")
    for i in range(len(dataset)):
        shape = dataset.load(i)

`LAYOUTS` describes the files of each. Opening a dataset lists its shapes, and fails when the folder has another layout.
A shape is read when it is loaded; the errors of a damaged file are raised then.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pa3d.errors import InputError
from pa3d.evaluate.datasets.base import Dataset, LabelledShape, labels_of_faces, labels_of_vertices
from pa3d.evaluate.datasets.compat3d import Compat3D
from pa3d.evaluate.datasets.npz import FaustMeshes, FaustNpz, Npz
from pa3d.evaluate.datasets.objaverse import Objaverse
from pa3d.evaluate.datasets.part_meshes import PartNeXt, PartObjaverseTiny
from pa3d.evaluate.datasets.partnet_mobility import PartNetMobility
from pa3d.evaluate.datasets.partnete import AkbSeg, PartNetE
from pa3d.evaluate.datasets.scanobjectnn import ScanObjectNN
from pa3d.evaluate.datasets.shapenetpart import ShapeNetPart, ShapeNetPartHdf5
from pa3d.evaluate.layouts import LAYOUTS
from pa3d.frames import UP_AXES

__all__ = ["LAYOUTS", "Dataset", "LabelledShape", "labels_of_faces", "labels_of_vertices", "open_dataset"]

_CLASSES: dict[str, Any] = {
    dataset.name: dataset
    for dataset in (
        PartNetE,
        AkbSeg,
        ScanObjectNN,
        Objaverse,
        PartNetMobility,
        Compat3D,
        PartObjaverseTiny,
        PartNeXt,
        Npz,
    )
}


def open_dataset(name: str, root: str | Path, *, split: str | None = None, up: str = "y") -> Dataset:
    """A dataset by name (one of LAYOUTS) in a folder.

    split: "train", "val" or "test" of ShapeNetPart; "train", "test" or "all" of ScanObjectNN; a subfolder of
        Objaverse-General or "all"; "semantics" or "result" of PartNet-Mobility; "train", "valid" or "test" of 3DCoMPaT,
        with "_medium" or "_fine" for finer parts. None takes the one that papers report: test, all, all, semantics,
        test. The other datasets have one split.
    up: the axis of the dataset that points upwards.
    Raises InputError when the name or split is unknown, or the folder is missing or has another layout.
    """
    if name not in LAYOUTS:
        raise InputError(f"dataset {name!r} is unknown; expected one of {', '.join(LAYOUTS)}")
    if up not in UP_AXES:
        raise InputError(f"up axis {up!r} is unknown; give one of {', '.join(UP_AXES)}")
    folder = Path(root)
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; expected {name} laid out as {LAYOUTS[name]}")
    dataset_class: Any
    if name == "shapenetpart":
        dataset_class = ShapeNetPart if (folder / ShapeNetPart.categories_file).is_file() else ShapeNetPartHdf5
    elif name == "faust":
        dataset_class = FaustMeshes if (folder / "coarse_gt.json").is_file() else FaustNpz
    else:
        dataset_class = _CLASSES[name]
    default = {"scanobjectnn": "all", "objaverse": "all", "partnetmobility": "semantics"}.get(name, "test")
    dataset: Dataset = dataset_class(folder, split or default, up)
    if not dataset.ids:
        raise dataset._not_found(f"a shape of split {dataset.split}")
    return dataset
