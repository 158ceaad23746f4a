"""PartNetE, the test set of PartSLIP, and AKBSeg, which ZeroPS lays out in the same way."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from pa3d.errors import InputError
from pa3d.evaluate import labels
from pa3d.evaluate.datasets.base import Dataset, LabelledShape
from pa3d.evaluate.plain_pickle import load_pickled_dict
from pa3d.io import load
from pa3d.shape import Shape


class PartNetE(Dataset):
    """PartSLIP's test set: clouds of which only some points have a label; the others have -1."""

    name = "partnete"
    label_sets = labels.PARTNETE

    def __init__(self, root: Path, split: str, up: str) -> None:
        super().__init__(root, "test", up)
        self._base = root / "test" if (root / "test").is_dir() else root
        names = self._names()
        categories = [path for path in sorted(self._base.iterdir()) if path.name in names and path.is_dir()]
        if not categories:
            raise self._not_found("a folder named after a category, such as Bottle,")
        self.ids = [
            f"{category.name}/{shape.name}"
            for category in categories
            for shape in sorted(category.iterdir())
            if shape.is_dir()
        ]

    def _names(self) -> dict[str, tuple[str, ...]]:
        return labels.PARTNETE

    def _load(self, index: int) -> LabelledShape:
        key = self.ids[index]
        folder, category = self._base / key, key.split("/")[0]
        shape = load(folder / "pc.ply", up=self.up)
        content = load_pickled_dict(folder / "label.npy")
        if "semantic_seg" not in content:
            raise InputError(
                f"{key}: label.npy has no semantic_seg, only {', '.join(map(str, content))}; download it again"
            )
        part = np.asarray(content["semantic_seg"]).ravel().astype(np.int32)
        cloud = Shape(shape.points, colors=shape.colors, up=self.up, name=key)
        return LabelledShape(key, category, cloud, part, list(self._names()[category]), self.split)


class AkbSeg(PartNetE):
    """ZeroPS's clouds of real objects from AKB-48. AKBSeg_meta.json holds the part names of each category."""

    name = "akbseg"

    def __init__(self, root: Path, split: str, up: str) -> None:
        file = root / "AKBSeg_meta.json"
        if not file.is_file():
            self.root = root
            raise self._not_found(file.name)
        try:
            content = json.loads(file.read_text())
            names = {str(category): tuple(map(str, parts)) for category, parts in content.items()}
        except (ValueError, AttributeError, TypeError) as error:
            raise InputError(
                f"{file}: expected a dict of category to part names ({error}); download it again"
            ) from error
        self.label_sets = names
        super().__init__(root, split, up)

    def _names(self) -> dict[str, tuple[str, ...]]:
        assert self.label_sets is not None
        return self.label_sets
