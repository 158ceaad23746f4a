"""PartNet-Mobility (SAPIEN): objects with moving parts, as the simulator loads them.

The layout is that which SAPIEN documents, and which public code reads: a folder per object with meta.json,
semantics.txt ("link_0 hinge door" on each line), mobility.urdf, result.json and textured_objs/*.obj. The pieces of
textured_objs are in the pose of rest.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
from numpy.typing import NDArray

from pa3d.errors import InputError
from pa3d.evaluate.datasets.base import Dataset, LabelledShape, merge_equal_names
from pa3d.io import load
from pa3d.shape import Shape


class PartNetMobility(Dataset):
    """split "semantics": parts are the links that semantics.txt names; other links are unlabelled. split "result": the
    leaves of the tree in result.json."""

    name = "partnetmobility"

    def __init__(self, root: Path, split: str, up: str) -> None:
        if split not in ("semantics", "result"):
            raise InputError(f"split {split!r} is unknown; PartNet-Mobility has semantics and result")
        super().__init__(root, split, up)
        self.ids = sorted(file.parent.name for file in root.glob("*/semantics.txt"))

    def _load(self, index: int) -> LabelledShape:
        key = self.ids[index]
        folder = self.root / key
        meta = folder / "meta.json"
        category = str(json.loads(meta.read_text()).get("model_cat", "object")) if meta.is_file() else "object"
        pieces = list(_links(folder) if self.split == "semantics" else _leaves(folder))
        names: list[str] = []
        points: list[NDArray[np.float64]] = []
        faces, part = [], []
        for name, file in pieces:
            piece = load(folder / "textured_objs" / file, up=self.up)
            if piece.faces is None:
                continue
            faces.append(piece.faces + sum(map(len, points)))
            points.append(piece.points + piece.origin)
            if name is not None and name not in names:
                names.append(name)
            part.append(np.full(len(piece.faces), -1 if name is None else names.index(name)))
        if not names:
            raise InputError(f"{key}: no part with a name; leave the shape out")
        mesh = Shape(np.concatenate(points), np.concatenate(faces).astype(np.int32), up=self.up, name=key)
        part_names, merged = merge_equal_names(names)
        of_face = np.array([*merged, -1])[np.concatenate(part)].astype(np.int32)
        return LabelledShape(key, category, mesh, of_face, part_names, self.split)


def _links(folder: Path) -> Iterator[tuple[str | None, str]]:
    """The name and the file of each piece, by the links of mobility.urdf."""
    rows = [line.split() for line in (folder / "semantics.txt").read_text().splitlines() if line.strip()]
    if bad := [row for row in rows if len(row) != 3]:
        raise InputError(f"{folder.name}: semantics.txt: {' '.join(bad[0])!r} is not 'link joint name'")
    names = {row[0]: row[2].replace("_", " ") for row in rows}
    try:
        tree = ElementTree.parse(folder / "mobility.urdf")
    except ElementTree.ParseError as error:
        raise InputError(f"{folder.name}: mobility.urdf is not XML ({error}); download it again") from error
    for link in tree.iter("link"):
        for mesh in link.findall("visual/geometry/mesh"):
            yield names.get(link.get("name", "")), Path(mesh.get("filename", "")).name


def _leaves(folder: Path) -> Iterator[tuple[str | None, str]]:
    """The name and the file of each piece, by the leaves of result.json."""

    def walk(node: Any) -> Iterator[tuple[str | None, str]]:
        if not isinstance(node, dict) or "name" not in node:
            raise InputError(f"{folder.name}: result.json is not a tree of nodes with names; download it again")
        if node.get("children"):
            for child in node["children"]:
                yield from walk(child)
        else:
            for piece in node.get("objs", ()):
                yield str(node["name"]).replace("_", " "), f"{Path(str(piece)).name}.obj"

    roots = json.loads((folder / "result.json").read_text())
    for root in roots if isinstance(roots, list) else [roots]:
        yield from walk(root)
