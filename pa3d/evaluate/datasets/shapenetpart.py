"""ShapeNetPart: the official text files, and the HDF5 form of PointNet."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pa3d.errors import InputError
from pa3d.evaluate import labels
from pa3d.evaluate.datasets.base import Dataset, LabelledShape, open_hdf5
from pa3d.shape import Shape


class ShapeNetPart(Dataset):
    """The official text files, with normals."""

    name = "shapenetpart"
    label_sets = labels.SHAPENETPART
    categories_file = "synsetoffset2category.txt"

    def __init__(self, root: Path, split: str, up: str) -> None:
        super().__init__(root, split, up)
        rows = [line.split() for line in (root / self.categories_file).read_text().splitlines() if line.strip()]
        self._category = {row[1]: row[0] for row in rows if len(row) == 2 and row[0] in self.label_sets}
        files = root / "train_test_split" / f"shuffled_{split}_file_list.json"
        if not files.is_file():
            raise self._not_found(str(files.relative_to(root)))
        try:
            listed = [str(entry).split("/")[-2:] for entry in json.loads(files.read_text())]
        except ValueError as error:
            raise InputError(f"{files}: not JSON ({error}); download the file again") from error
        if unknown := sorted({entry[0] for entry in listed} - set(self._category)):
            raise InputError(
                f"{files}: lists {unknown[0]}, which {self.categories_file} does not know; download both again"
            )
        self.ids = ["/".join(entry) for entry in listed]

    def _load(self, index: int) -> LabelledShape:
        key = self.ids[index]
        category = self._category[key.split("/")[0]]
        table = np.loadtxt(self.root / f"{key}.txt", dtype=np.float32, ndmin=2)
        if table.shape[1] != 7:
            raise InputError(
                f"{key}: rows of {table.shape[1]} numbers, expected 'x y z nx ny nz label'; download it again"
            )
        return _shapenetpart_shape(key, category, table[:, :3], table[:, 6].astype(np.int32), self)


class ShapeNetPartHdf5(Dataset):
    """PointNet's form: 2,048 points per shape in .h5 files."""

    name = "shapenetpart"
    label_sets = labels.SHAPENETPART

    def __init__(self, root: Path, split: str, up: str) -> None:
        super().__init__(root, split, up)
        base = root / "hdf5_data" if (root / "hdf5_data").is_dir() else root
        listing = base / f"{split}_hdf5_file_list.txt"
        if not listing.is_file():
            raise self._not_found(f"{ShapeNetPart.categories_file} or {listing.relative_to(root)}")
        categories = base / "all_object_categories.txt"
        if not categories.is_file():
            raise self._not_found(str(categories.relative_to(root)))
        self._categories = [line.split()[0] for line in categories.read_text().splitlines() if line.strip()]
        if unknown := [c for c in self._categories if c not in labels.SHAPENETPART]:
            raise InputError(f"{categories}: {unknown[0]} is no category of ShapeNetPart; download the file again")
        self._rows: list[tuple[Path, int]] = []
        for name in listing.read_text().split():
            path = base / Path(name).name
            with open_hdf5(path) as file:
                rows = len(file["data"])
            self._rows += [(path, row) for row in range(rows)]
            self.ids += [f"{path.stem}/{row:04d}" for row in range(rows)]

    def _load(self, index: int) -> LabelledShape:
        path, row = self._rows[index]
        with open_hdf5(path) as file:
            points, part, category = file["data"][row], file["pid"][row], int(np.ravel(file["label"][row])[0])
        return _shapenetpart_shape(
            self.ids[index], self._categories[category], points, np.ravel(part).astype(np.int32), self
        )


def _shapenetpart_shape(
    key: str, category: str, points: NDArray[Any], part: NDArray[np.int32], dataset: Dataset
) -> LabelledShape:
    names, first = labels.SHAPENETPART[category], labels.first_id(category)
    if part.min() < first or part.max() >= first + len(names):
        raise InputError(
            f"{key}: labels {part.min()}..{part.max()}, expected {first}..{first + len(names) - 1} of "
            f"{category}; download the file again"
        )
    cloud = Shape(np.ascontiguousarray(points, np.float32), up=dataset.up, name=key)
    return LabelledShape(key, category, cloud, part - first, list(names), dataset.split)
