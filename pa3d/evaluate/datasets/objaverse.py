"""Objaverse-General, which Find3D made."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pa3d.errors import InputError
from pa3d.evaluate.datasets.base import Dataset, LabelledShape, merge_equal_names
from pa3d.io import load
from pa3d.shape import Shape


class Objaverse(Dataset):
    """Objaverse-General of Find3D: 5,000 points, free part names."""

    name = "objaverse"
    SPLITS = ("seenclass", "unseen", "shapenetpart")

    def __init__(self, root: Path, split: str, up: str) -> None:
        super().__init__(root, split, up)
        splits = [name for name in self.SPLITS if (root / name).is_dir()]
        if split != "all" and split not in splits:
            raise self._not_found(f"a folder {split}")
        folders = [root / name for name in (splits if split == "all" else [split])] or [root]
        shapes = [path.parent for folder in folders for path in sorted(folder.glob("*/label_map.json"))]
        self.ids = [shape.relative_to(root).as_posix() for shape in shapes]

    def _load(self, index: int) -> LabelledShape:
        key = self.ids[index]
        folder = self.root / key
        label_map = json.loads((folder / "label_map.json").read_text())
        if not isinstance(label_map, dict):
            raise InputError(f"{key}: label_map.json is not a dict of number to name; download it again")
        names = {int(number): str(name) for number, name in label_map.items()}
        numbers = sorted(number for number in names if number > 0)
        if numbers != list(range(1, len(numbers) + 1)):
            raise InputError(f"{key}: label_map.json has the numbers {numbers}, expected 1, 2, ...; download it again")
        shape = load(folder / "points5000.pcd", up=self.up)
        part = self._labels(folder, len(shape.points))
        category = folder.name.rsplit("_", 1)[0].replace("_", " ")
        cloud = Shape(shape.points, colors=shape.colors, up=self.up, name=key)
        part_names, merged = merge_equal_names([names[number] for number in numbers])
        lookup = np.array([*merged, -1])
        return LabelledShape(key, category, cloud, lookup[part].astype(np.int32), part_names, self.split)

    def _labels(self, folder: Path, points: int) -> NDArray[np.int64]:
        """Part numbers from 0, -1 for none. Where masks overlap, the smallest counts, because it is the finest part."""
        if (folder / "labels.npy").is_file():
            return np.load(folder / "labels.npy", allow_pickle=False).ravel().astype(np.int64) - 1
        masks = _masks(folder)
        if masks.ndim != 2 or masks.shape[1] != points:
            raise InputError(
                f"{folder.name}: masks of shape {masks.shape} for {points} points; download the folder again"
            )
        part = np.full(points, -1, np.int64)
        for row in np.argsort(-masks.sum(axis=1), kind="stable"):
            part[masks[row]] = row
        return part


def _masks(folder: Path) -> NDArray[np.bool_]:
    if (folder / "mask2pts.npy").is_file():
        return np.load(folder / "mask2pts.npy", allow_pickle=False).astype(bool)
    if (folder / "mask2pts.pt").is_file():
        try:
            import torch
        except ImportError as error:
            raise InputError("mask2pts.pt needs torch; install it with pip install 'pa3d[torch]'") from error
        tensor = torch.load(folder / "mask2pts.pt", map_location="cpu", weights_only=True)
        return np.asarray(tensor.numpy(), bool)
    raise InputError(
        f"{folder.name}: none of labels.npy, mask2pts.npy and mask2pts.pt is there; download the folder again"
    )
