"""3DCoMPaT++ (Slim et al., arXiv 2310.18511): clouds of 42 categories in HDF5 files, as its own loader reads them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pa3d.errors import InputError
from pa3d.evaluate.datasets.base import Dataset, LabelledShape, open_hdf5
from pa3d.evaluate.labels import category_words
from pa3d.shape import Shape

LEVELS = ("coarse", "medium", "fine")


class Compat3D(Dataset):
    """split: train, valid or test, with the level of the parts after it, such as "valid_fine"; the level is coarse if
    none is given. The names of a category are those that occur in any of its shapes of the split."""

    name = "3dcompat"

    def __init__(self, root: Path, split: str, up: str) -> None:
        stage, _, level = split.partition("_")
        level = level or "coarse"
        if stage not in ("train", "valid", "test") or level not in LEVELS:
            raise InputError(
                f"split {split!r} is unknown; 3DCoMPaT has train, valid and test, and _{', _'.join(LEVELS)}"
            )
        super().__init__(root, f"{stage}_{level}", up)
        self._file = next(
            (f for f in (root / f"{self.split}.hdf5", root / "hdf5" / f"{self.split}.hdf5") if f.is_file()), None
        )
        meta = root / "metadata" if (root / "metadata").is_dir() else root
        if self._file is None:
            raise self._not_found(f"{self.split}.hdf5")
        self._categories, self._parts = _names(meta / "classes.json"), _names(meta / f"parts_{level}.json")
        with open_hdf5(self._file) as file:
            key = "points_part_labels" if "points_part_labels" in file else "points_labels"
            if key not in file:
                raise InputError(f"{self._file}: no labels of points in it; choose another split, such as valid")
            self._labels = key
            styles = file["style_id"][:] if "style_id" in file else [b""] * len(file["shape_id"])
            self.ids = [
                _key(i, shape, style) for i, (shape, style) in enumerate(zip(file["shape_id"][:], styles, strict=True))
            ]
            category = np.asarray(file["shape_label"][:], np.int64)
            labels = np.asarray(file[key][:], np.int64)
        if len(labels) and (labels.max() >= len(self._parts) or category.max() >= len(self._categories)):
            raise InputError(f"{self._file}: ids that metadata does not know; the metadata belong to something else")
        self._used: dict[int, NDArray[np.int64]] = {
            int(c): np.unique(labels[category == c]) for c in np.unique(category)
        }
        self._names: dict[str, tuple[str, ...]] = {
            category_words(self._categories[c]): tuple(category_words(self._parts[p]) for p in parts)
            for c, parts in self._used.items()
        }
        self.label_sets = self._names

    def _load(self, index: int) -> LabelledShape:
        assert self._file is not None
        with open_hdf5(self._file) as file:
            values = np.asarray(file["points"][index], np.float32)
            part, category = np.asarray(file[self._labels][index], np.int64), int(file["shape_label"][index])
        colors = np.rint(np.clip(values[:, 3:6], 0, 1) * 255).astype(np.uint8) if values.shape[1] >= 6 else None
        key = self.ids[index]
        cloud = Shape(np.ascontiguousarray(values[:, :3]), colors=colors, up=self.up, name=key)
        name = category_words(self._categories[category])
        of_part = np.searchsorted(self._used[category], part).astype(np.int32)
        return LabelledShape(key, name, cloud, of_part, list(self._names[name]), self.split)


def _names(file: Path) -> list[str]:
    try:
        content: Any = json.loads(file.read_text())
    except (OSError, ValueError) as error:
        raise InputError(f"{file}: cannot be read ({error}); give the folder metadata of 3DCoMPaT") from error
    if not isinstance(content, list):
        raise InputError(f"{file}: not a list of names; download it again")
    return [str(name) for name in content]


def _key(number: int, shape: bytes, style: bytes) -> str:
    return "_".join([f"{number:06d}", *(text.decode() for text in (shape, style) if text)])
