"""PartObjaverse-Tiny (SAMPart3D) and PartNeXt: GLB meshes with a part for every face, as public code reads them.

Faces are numbered as trimesh numbers them, so trimesh reads these files, not pa3d.io.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pa3d.errors import InputError
from pa3d.evaluate.datasets.base import Dataset, LabelledShape, merge_equal_names
from pa3d.shape import Shape


class PartObjaverseTiny(Dataset):
    """200 meshes of 8 groups; the names of a shape's parts are in PartObjaverse-Tiny_semantic.json."""

    name = "partobjaverse"

    def __init__(self, root: Path, split: str, up: str) -> None:
        super().__init__(root, "test", up)
        file = root / "PartObjaverse-Tiny_semantic.json"
        if not file.is_file():
            raise self._not_found(file.name)
        try:
            content = json.loads(file.read_text())
            self._names = {
                f"{group}/{uid}": list(map(str, names)) for group in content for uid, names in content[group].items()
            }
        except (ValueError, AttributeError, TypeError) as error:
            raise InputError(f"{file}: expected group, shape and part names ({error}); download it again") from error
        self.ids = list(self._names)

    def _load(self, index: int) -> LabelledShape:
        key = self.ids[index]
        group, uid = key.split("/", 1)
        points, faces = _one_mesh(_geometries(self.root / "PartObjaverse-Tiny_mesh" / f"{uid}.glb", by_node=True))
        part = np.load(self.root / "PartObjaverse-Tiny_semantic_gt" / f"{uid}.npy", allow_pickle=False).ravel()
        names, merged = merge_equal_names(self._names[key])
        if len(part) and (part.min() < -1 or part.max() >= len(merged)):
            raise InputError(f"{key}: labels {part.min()}..{part.max()} for {len(merged)} names; download it again")
        mesh = Shape(points.astype(np.float32), faces, up=self.up, name=key)
        of_face = np.array([*merged, -1])[part.astype(np.int64)].astype(np.int32)
        return LabelledShape(key, group.replace("&&", " and ").replace("-", " "), mesh, of_face, names, self.split)


class PartNeXt(Dataset):
    """Meshes with trees of parts: the parts are the nodes with a mask, by their names; what has none is unlabelled.

    annotations/TYPE/ID/ID.json holds hierarchyList, the tree; masks, the faces of each mask by mesh; and mesh_face_num,
    the number of faces of each mesh.
    """

    name = "partnext"

    def __init__(self, root: Path, split: str, up: str) -> None:
        super().__init__(root, "test", up)
        files = sorted((root / "annotations").glob("*/*/*.json"))
        self.ids = [f"{file.parent.parent.name}/{file.parent.name}" for file in files]

    def _load(self, index: int) -> LabelledShape:
        key = self.ids[index]
        kind, uid = key.split("/")
        content = json.loads((self.root / "annotations" / kind / uid / f"{uid}.json").read_text())
        points, faces = _one_mesh(_geometries(self.root / "glbs" / kind / f"{uid}.glb", by_node=False))
        counts = content["mesh_face_num"]
        first = np.concatenate([[0], np.cumsum([int(counts[str(i)]) for i in range(len(counts))])])
        if first[-1] != len(faces):
            raise InputError(
                f"{key}: {first[-1]} faces in the annotation, {len(faces)} in the mesh; download both again"
            )
        names: list[str] = []
        part = np.full(len(faces), -1, np.int32)
        for name, mask in _named_masks(content["hierarchyList"][0], key):
            for number, members in content["masks"][str(mask)].items():
                part[np.asarray(members, np.int64) + first[int(number)]] = len(names)
            names.append(name)
        part_names, merged = merge_equal_names(names)
        mesh = Shape(points.astype(np.float32), faces, up=self.up, name=key)
        return LabelledShape(
            key, kind.replace("_", " "), mesh, np.array([*merged, -1])[part].astype(np.int32), part_names, self.split
        )


def _named_masks(node: Any, key: str) -> Iterator[tuple[str, int]]:
    if not isinstance(node, dict):
        raise InputError(f"{key}: hierarchyList is not a tree; download it again")
    if "maskId" in node:
        if "name" not in node:
            raise InputError(f"{key}: a node with maskId {node['maskId']} has no name; download it again")
        yield str(node["name"]), int(node["maskId"])
    for child in node.get("children", ()):
        yield from _named_masks(child, key)


def _geometries(file: Path, *, by_node: bool) -> list[tuple[NDArray[np.float64], NDArray[np.int64]]]:
    """Vertices and faces of the meshes of a GLB file, placed as its nodes say: node by node, or in the order of the
    file."""
    import trimesh

    if not file.is_file():
        raise InputError(f"{file}: no such file; download the dataset again")
    scene = trimesh.load_scene(file, process=False)
    placed: dict[str, list[Any]] = {}
    order = []
    for node in scene.graph.nodes_geometry:
        matrix, name = scene.graph[node]
        mesh = scene.geometry[str(name)]
        vertices = np.asarray(mesh.vertices) @ matrix[:3, :3].T + matrix[:3, 3]
        entry = (vertices, np.asarray(mesh.faces, np.int64))
        placed.setdefault(str(name), []).append(entry)
        order.append(entry)
    return order if by_node else [entry for name in scene.geometry for entry in placed.get(name, ())]


def _one_mesh(
    geometries: list[tuple[NDArray[np.float64], NDArray[np.int64]]],
) -> tuple[NDArray[np.float64], NDArray[np.int32]]:
    first = np.concatenate([[0], np.cumsum([len(vertices) for vertices, _ in geometries])]).astype(np.int64)
    faces = [faces + start for (_, faces), start in zip(geometries, first, strict=False)]
    return np.concatenate([vertices for vertices, _ in geometries]), np.concatenate(faces).astype(np.int32)
