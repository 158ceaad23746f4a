"""ScanObjectNN: objects cut out of scans of rooms."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pa3d.errors import InputError
from pa3d.evaluate import labels
from pa3d.evaluate.datasets.base import Dataset, LabelledShape
from pa3d.shape import Shape


class ScanObjectNN(Dataset):
    """Real scans with their surroundings.

    The background, id 0 in the files, becomes -1. The object is the most frequent instance other than 0, 1 and 2, which
    are no objects; all points that are not of it are marked as scene.
    """

    name = "scanobjectnn"
    label_sets = labels.SCANOBJECTNN

    def __init__(self, root: Path, split: str, up: str) -> None:
        super().__init__(root, split, up)
        inner = root / "object_dataset_complete_with_parts"
        self._base = inner if inner.is_dir() else root
        if split not in ("train", "test", "all"):
            raise InputError(f"split {split!r} is unknown; ScanObjectNN has train, test and all")
        listing = self._base / "split_new.txt"
        if not listing.is_file():
            raise self._not_found(str(listing.relative_to(root)))
        categories = list(labels.SCANOBJECTNN)
        for line in listing.read_text().splitlines():
            fields = line.split()
            if len(fields) < 2 or not fields[1].isdigit() or int(fields[1]) >= len(categories):
                raise InputError(f"{listing}: {line!r} is not 'FILE CATEGORY_ID [t]'; download the file again")
            is_test = len(fields) > 2 and fields[2] == "t"
            if split == "all" or is_test == (split == "test"):
                self.ids.append(f"{categories[int(fields[1])]}/{Path(fields[0]).stem}")

    def _load(self, index: int) -> LabelledShape:
        key = self.ids[index]
        category = key.split("/")[0]
        points = _read_rows(self._base / f"{key}.bin", 11)
        part = _read_rows(self._base / f"{key}_part.bin", 2)[:, -1].astype(np.int64)
        if len(part) != len(points):
            raise InputError(f"{key}: {len(part)} labels for {len(points)} points; download both files again")
        ids = np.array(labels.SCANOBJECTNN_IDS.get(category, range(len(labels.SCANOBJECTNN[category]) + 1)))
        known = (part >= 0) & (part < len(ids))
        part = np.where(known, ids[np.where(known, part, 0)] - 1, -1)
        instance = points[:, 10]
        instance_ids, counts = np.unique(instance[~np.isin(instance, (0, 1, 2))], return_counts=True)
        scene = instance != instance_ids[counts.argmax()] if len(instance_ids) else None
        cloud = Shape(np.ascontiguousarray(points[:, :3]), up=self.up, name=key)
        names = list(labels.SCANOBJECTNN[category])
        return LabelledShape(key, category, cloud, np.maximum(part, -1).astype(np.int32), names, self.split, scene)


def _read_rows(path: Path, columns: int) -> NDArray[np.float32]:
    """The float32 rows of a file that begins with their number."""
    values = np.fromfile(path, "<f4")
    if len(values) < 1 + columns or (len(values) - 1) % columns or (len(values) - 1) // columns != values[0]:
        raise InputError(
            f"{path.name}: {len(values)} numbers are not a count and rows of {columns}; download the file again"
        )
    return values[1:].reshape(-1, columns)
