"""The little of glTF 2.0 that named parts and skins need: node tree, transforms, triangles, skins.

Binary (.glb) and JSON (.gltf with data URIs or files beside it). Compressed geometry (Draco, meshopt) and
sparse accessors are refused by name. Matrices act on column vectors; translations and vertices are in the
file's own units.
"""

from __future__ import annotations

import base64
import json
import struct
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pa3d.errors import InputError

_DTYPES = {5120: np.int8, 5121: np.uint8, 5122: np.int16, 5123: np.uint16, 5125: np.uint32, 5126: np.float32}
_WIDTHS = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4, "MAT2": 4, "MAT3": 9, "MAT4": 16}
_SUPPORTED = {"KHR_mesh_quantization", "KHR_texture_transform", "KHR_materials_unlit", "KHR_texture_basisu"}


@dataclass
class Primitive:
    """One triangle list of a mesh, in the mesh's own frame. joints and weights are None without a skin."""

    vertices: NDArray[np.float64]  # (V, 3)
    faces: NDArray[np.int64]  # (F, 3)
    material: str
    joints: NDArray[np.int64] | None = None  # (V, 4 or 8)
    weights: NDArray[np.float64] | None = None  # (V, 4 or 8)


@dataclass
class Node:
    """A node: name, index of its parent (-1 at the top), mesh and skin (-1 for none), world transform."""

    name: str
    parent: int
    mesh: int
    skin: int
    world: NDArray[np.float64]  # (4, 4)
    children: list[int] = field(default_factory=list)


class Gltf:
    """A parsed file. ``nodes`` as in the file; ``reachable``: indices of those in the default scene."""

    def __init__(self, data: bytes, *, name: str = "glTF", folder: Path | None = None) -> None:
        self.name = name
        try:
            self.json, self._binary = _split(data)
            self._folder = folder
            unknown = set(self.json.get("extensionsRequired", [])) - _SUPPORTED
            if unknown:
                raise InputError(f"{name}: requires {', '.join(sorted(unknown))}; export it without compression")
            self._buffers: dict[int, bytes] = {}
            self.nodes, self.reachable = self._tree()
        except (KeyError, IndexError, TypeError, ValueError, struct.error) as error:
            if isinstance(error, InputError):
                raise
            raise InputError(f"{name}: not a readable glTF 2.0 file ({error!r}); export it again") from error

    @classmethod
    def load(cls, path: str | Path) -> Gltf:
        """Read a .glb or .gltf file. Raises InputError when it cannot be read."""
        path = Path(path)
        try:
            data = path.read_bytes()
        except OSError as error:
            raise InputError(f"{path}: cannot be read ({error.strerror}); check the path") from error
        return cls(data, name=path.name, folder=path.parent)

    def primitives(self, mesh: int) -> list[Primitive]:
        """The triangle lists of a mesh; points and lines are left out. Raises InputError for damaged data."""
        materials = self.json.get("materials", [])
        found = []
        for entry in self.json["meshes"][mesh]["primitives"]:
            attributes = entry["attributes"]
            if entry.get("mode", 4) != 4 or "POSITION" not in attributes:
                continue
            vertices = self.accessor(attributes["POSITION"]).astype(np.float64)
            if "indices" in entry:
                index = self.accessor(entry["indices"]).astype(np.int64).ravel()
            else:
                index = np.arange(len(vertices))
            if len(index) and index.max() >= len(vertices):
                raise InputError(f"{self.name}: a face points beyond its {len(vertices)} vertices; export it again")
            material = materials[entry["material"]].get("name", "") if "material" in entry else ""
            primitive = Primitive(vertices, index[: len(index) // 3 * 3].reshape(-1, 3), material)
            if "JOINTS_0" in attributes:
                sets = [k for k in ("0", "1") if f"JOINTS_{k}" in attributes]
                primitive.joints = np.hstack([self.accessor(attributes[f"JOINTS_{k}"]) for k in sets]).astype(np.int64)
                weights = np.hstack([self.accessor(attributes[f"WEIGHTS_{k}"]) for k in sets]).astype(np.float64)
                primitive.weights = _unit_sum(weights)
            found.append(primitive)
        return found

    def skin(self, index: int) -> tuple[list[int], NDArray[np.float64]]:
        """Node indices of a skin's joints and their inverse bind matrices (J, 4, 4)."""
        skin = self.json["skins"][index]
        joints = list(skin["joints"])
        if "inverseBindMatrices" not in skin:
            return joints, np.tile(np.eye(4), (len(joints), 1, 1))
        matrices = self.accessor(skin["inverseBindMatrices"]).astype(np.float64)
        return joints, matrices.reshape(-1, 4, 4).transpose(0, 2, 1)

    def accessor(self, index: int) -> NDArray[Any]:
        """An accessor's values (count, width); normalised integers come as float32 in [-1, 1] or [0, 1]."""
        entry = self.json["accessors"][index]
        if "sparse" in entry:
            raise InputError(f"{self.name}: sparse accessors are not read; export it without them")
        dtype, width, count = (
            np.dtype(_DTYPES[entry["componentType"]]),
            _WIDTHS[entry["type"]],
            entry["count"],
        )
        if "bufferView" not in entry:
            return np.zeros((count, width), dtype)
        view = self.json["bufferViews"][entry["bufferView"]]
        raw = self._buffer(view["buffer"])
        start = view.get("byteOffset", 0) + entry.get("byteOffset", 0)
        stride = view.get("byteStride", 0) or dtype.itemsize * width
        if count and start + stride * (count - 1) + dtype.itemsize * width > len(raw):
            raise InputError(f"{self.name}: accessor {index} runs past its buffer; the file is cut short")
        values = np.ndarray((count, width), dtype, raw, start, (stride, dtype.itemsize))
        if entry.get("normalized") and dtype.kind in "iu":
            largest = (1 << (8 * dtype.itemsize - (dtype.kind == "i"))) - 1
            return np.maximum(values.astype(np.float32) / largest, -1.0)
        return values

    def ancestors(self, index: int) -> list[int]:
        """The nodes above one, nearest first."""
        chain = []
        while (index := self.nodes[index].parent) >= 0:
            chain.append(index)
        return chain

    def _buffer(self, index: int) -> bytes:
        if index not in self._buffers:
            uri = self.json["buffers"][index].get("uri")
            if uri is None:
                self._buffers[index] = self._binary
            elif uri.startswith("data:"):
                self._buffers[index] = base64.b64decode(uri.partition(",")[2])
            elif self._folder is not None and (self._folder / uri).is_file():
                self._buffers[index] = (self._folder / uri).read_bytes()
            else:
                raise InputError(f"{self.name}: its buffer {uri} is not beside it; put it there or export a .glb")
        return self._buffers[index]

    def _tree(self) -> tuple[list[Node], list[int]]:
        entries = self.json.get("nodes", [])
        nodes = [
            Node(
                e.get("name", ""),
                -1,
                e.get("mesh", -1),
                e.get("skin", -1),
                _local(e),
                list(e.get("children", [])),
            )
            for e in entries
        ]
        for index, node in enumerate(nodes):
            for child in node.children:
                nodes[child].parent = index
        scenes = self.json.get("scenes")
        tops = [i for i, node in enumerate(nodes) if node.parent < 0]
        if scenes:
            tops = scenes[self.json.get("scene", 0)].get("nodes", tops)
        rooted: set[int] = {-1}  # nodes from which the way up is known to end
        for index in range(len(nodes)):
            chain: set[int] = set()
            while index not in rooted:
                if index in chain:
                    raise InputError(f"{self.name}: its nodes form a loop; export it again")
                chain.add(index)
                index = nodes[index].parent
            rooted |= chain
        order: list[int] = []
        met: set[int] = set()
        pending = list(reversed(tops))
        while pending:
            index = pending.pop()
            if index in met:
                raise InputError(f"{self.name}: its nodes form a loop; export it again")
            met.add(index)
            order.append(index)
            if nodes[index].parent >= 0:
                nodes[index].world = nodes[nodes[index].parent].world @ nodes[index].world
            pending.extend(reversed(nodes[index].children))
        return nodes, order


def _unit_sum(weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """Skin weights that sum to one; rows of zeros or NaN (exporters write both) go to their first joint."""
    weights = np.nan_to_num(weights, nan=0.0, posinf=0.0, neginf=0.0).clip(min=0.0)
    weights[weights.sum(1) <= 0, 0] = 1.0
    return weights / weights.sum(1, keepdims=True)


def _split(data: bytes) -> tuple[dict[str, Any], bytes]:
    if data[:4] != b"glTF":
        return json.loads(data), b""
    position, document, binary = 12, None, b""
    while position + 8 <= len(data):
        length, kind = struct.unpack_from("<I4s", data, position)
        chunk = data[position + 8 : position + 8 + length]
        if kind == b"JSON":
            document = json.loads(chunk)
        elif kind == b"BIN\0" and not binary:
            binary = chunk
        position += 8 + length
    if document is None:
        raise ValueError("no JSON chunk")
    return document, binary


def _local(entry: dict[str, Any]) -> NDArray[np.float64]:
    if "matrix" in entry:
        return np.array(entry["matrix"], float).reshape(4, 4).T
    matrix = np.eye(4)
    x, y, z, w = np.array(entry.get("rotation", (0, 0, 0, 1)), float)
    norm = x * x + y * y + z * z + w * w
    s = 2 / norm if norm > 0 else 0.0
    rotation = np.array(
        [
            [1 - s * (y * y + z * z), s * (x * y - z * w), s * (x * z + y * w)],
            [s * (x * y + z * w), 1 - s * (x * x + z * z), s * (y * z - x * w)],
            [s * (x * z - y * w), s * (y * z + x * w), 1 - s * (x * x + y * y)],
        ]
    )
    matrix[:3, :3] = rotation * np.array(entry.get("scale", (1, 1, 1)), float)
    matrix[:3, 3] = entry.get("translation", (0, 0, 0))
    return matrix
