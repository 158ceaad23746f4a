"""Shapes as .npz files, and FAUST, which comes as such files or as OBJ meshes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pa3d.errors import InputError
from pa3d.evaluate import labels
from pa3d.evaluate.datasets.base import Dataset, LabelledShape, labels_of_faces
from pa3d.evaluate.layouts import LAYOUTS
from pa3d.io import load
from pa3d.shape import Shape


class Npz(Dataset):
    """One .npz file per shape: a cloud with labels, or a mesh with labels of faces or vertices."""

    name = "npz"

    def __init__(self, root: Path, split: str, up: str) -> None:
        super().__init__(root, split, up)
        self.ids = [path.relative_to(root).with_suffix("").as_posix() for path in sorted(root.rglob("*.npz"))]

    def _load(self, index: int) -> LabelledShape:
        key = self.ids[index]
        with np.load(self.root / f"{key}.npz", allow_pickle=False) as archive:
            content = dict(archive)

        def get(*names: str) -> NDArray[Any]:
            for name in names:
                if name in content:
                    return content[name]
            raise InputError(f"{key}: no {' or '.join(names)}, only {', '.join(content)}; expected {LAYOUTS['npz']}")

        category = str(get("category"))
        part_names = [str(name) for name in get("part_names", "label_names")]
        points = np.ascontiguousarray(get("vertices", "points"), np.float32)
        if "faces" not in content:
            part = get("labels", "point_labels").astype(np.int32)
            return LabelledShape(key, category, Shape(points, up=self.up, name=key), part, part_names, self.split)
        mesh = Shape(points, np.ascontiguousarray(get("faces"), np.int32), up=self.up, name=key).validate()
        if "face_labels" in content:
            part = get("face_labels").astype(np.int32)
        else:
            part = labels_of_faces(mesh, get("vertex_labels", "labels").astype(np.int32))
        return LabelledShape(key, category, mesh, part, part_names, self.split)


class FaustNpz(Npz):
    """FAUST coarse as .npz."""

    name = "faust"
    label_sets = {"human": labels.FAUST}  # noqa: RUF012


class FaustMeshes(Dataset):
    """FAUST coarse as SATR publishes it: OBJ scans, and a part name for every vertex."""

    name = "faust"
    label_sets = {"human": labels.FAUST}  # noqa: RUF012

    def __init__(self, root: Path, split: str, up: str) -> None:
        super().__init__(root, split, up)
        try:
            self._names: dict[str, list[str]] = json.loads((root / "coarse_gt.json").read_text())
        except ValueError as error:
            raise InputError(f"{root / 'coarse_gt.json'}: not JSON ({error}); download the file again") from error
        if not isinstance(self._names, dict):
            raise InputError(f"{root / 'coarse_gt.json'}: not a dict of mesh to part names; download the file again")
        listing = root / "meshes.txt"
        files = (
            listing.read_text().split() if listing.is_file() else sorted(p.name for p in (root / "scans").glob("*.obj"))
        )
        self.ids = [Path(name).stem for name in files]

    def _load(self, index: int) -> LabelledShape:
        key = self.ids[index]
        if key not in self._names:
            raise InputError(f"{key}: coarse_gt.json has no labels for it; download the file again")
        mesh = load(self.root / "scans" / f"{key}.obj", up=self.up)
        number = {name: i for i, name in enumerate(labels.FAUST)}
        part = np.array([number[name] for name in self._names[key]], np.int32)
        return LabelledShape(key, "human", mesh, labels_of_faces(mesh, part), list(labels.FAUST), self.split)
