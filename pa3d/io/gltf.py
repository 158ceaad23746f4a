"""glTF 2.0, binary (GLB) and JSON: the triangles of the default scene, node transforms and skins applied.

This is the usual core of the format, read without importing trimesh: that takes half a second and more where
scipy is installed. Whatever goes beyond (sparse accessors, strips and fans, Draco) is left to trimesh.

Specification: https://registry.khronos.org/glTF/specs/2.0/glTF-2.0.html
"""

from __future__ import annotations

import base64
import json
import struct
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import numpy as np
from numpy.typing import NDArray

from pa3d.io import library
from pa3d.io._common import DamagedError, Geometry, byte_colors, join_colors

COMPONENTS = {5120: "<i1", 5121: "<u1", 5122: "<i2", 5123: "<u2", 5125: "<u4", 5126: "<f4"}
WIDTHS = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4, "MAT4": 16}
TRIANGLES, STRIP, FAN = 4, 5, 6

Json = dict[str, Any]
Matrix = NDArray[np.float64]  # (4, 4)


class BeyondCoreError(Exception):
    """The file uses a part of glTF that trimesh reads and this module does not."""


def read_gltf(path: Path) -> Geometry:
    try:
        return open_scene(path).geometry()
    except BeyondCoreError:
        return library.read_with_trimesh(path)


def open_scene(path: Path) -> Scene:
    """The scene of a file, not walked through yet. Raises DamagedError; `geometry` may raise BeyondCoreError."""
    data = path.read_bytes()
    try:
        document, binary = _chunks(data) if path.suffix.lower() == ".glb" else (json.loads(data), b"")
    except (UnicodeDecodeError, json.JSONDecodeError):
        raise DamagedError("is damaged or no glTF file: its JSON cannot be read") from None
    if not isinstance(document, dict) or not isinstance(document.get("asset"), dict):
        raise DamagedError("is JSON but not glTF 2.0: it has no 'asset'")
    version = str(document["asset"].get("version", "unknown"))
    if not version.startswith("2"):
        raise DamagedError(f"is glTF of version {version[:20]}", "convert it to version 2")
    for extension in document.get("extensionsRequired", []):
        if "meshopt" in extension:
            raise DamagedError(f"is compressed with {extension}, which is not read", "export it uncompressed")
        if extension == "KHR_draco_mesh_compression" and find_spec("DracoPy") is None:
            raise DamagedError("is compressed with Draco", "export it uncompressed, or pip install DracoPy")
    return Scene(document, binary, path.parent)


def _chunks(data: bytes) -> tuple[Any, bytes]:
    """The JSON document and the binary chunk of a GLB."""
    if data[:4] != b"glTF" or len(data) < 20:
        raise DamagedError("is no GLB file: it does not begin with 'glTF'", "check the suffix or export it again")
    version, length = struct.unpack_from("<II", data, 4)
    if version != 2:
        raise DamagedError(f"is GLB of version {version}", "convert it to version 2")
    if length > len(data):
        raise DamagedError(f"is truncated: it announces {length} bytes but has {len(data)}")
    chunks: dict[bytes, bytes] = {}
    at = 12
    while at + 8 <= length:
        size, kind = struct.unpack_from("<I4s", data, at)
        if at + 8 + size > length:
            raise DamagedError(f"is damaged: a chunk of {size} bytes does not fit in it")
        chunks.setdefault(kind, data[at + 8 : at + 8 + size])
        at += 8 + size
    if b"JSON" not in chunks:
        raise DamagedError("is damaged: it has no JSON chunk")
    return json.loads(chunks[b"JSON"]), chunks.get(b"BIN\0", b"")


class Scene:
    """One walk through the scene; arrays come straight from the buffers."""

    def __init__(self, document: Json, binary: bytes, folder: Path) -> None:
        self.document = document
        self.folder = folder
        self.buffers = [_buffer(entry, binary, folder) for entry in document.get("buffers", [])]
        self.points: list[NDArray[np.float64]] = []
        self.colors: list[NDArray[np.uint8] | None] = []
        self.faces: list[NDArray[np.int64]] = []
        # Of each entry of faces: its primitive, and the primitive's own vertex of each corner.
        self.corners: list[tuple[Json, NDArray[np.int64]]] = []
        self.n_points = 0
        # Primitives that share their vertices, as the materials of one mesh do, must not repeat them.
        self.placed: dict[tuple[Any, ...], int] = {}

    def geometry(self) -> Geometry:
        nodes, meshes = self.document.get("nodes", []), self.document.get("meshes", [])
        world = self._world_matrices()
        for number, matrix in world.items():
            node = nodes[number]
            if "mesh" not in node:
                continue
            joints = self._joint_matrices(self.document["skins"][node["skin"]], world) if "skin" in node else None
            for primitive in meshes[node["mesh"]]["primitives"]:
                self._add(primitive, matrix, joints)
        if not self.faces:
            return Geometry(np.empty((0, 3)), np.empty((0, 3), np.int64))
        colors = join_colors(self.points, self.colors)
        return Geometry(np.concatenate(self.points), np.concatenate(self.faces), colors)

    def _world_matrices(self) -> dict[int, Matrix]:
        """Every node of the default scene, depth first."""
        nodes, scenes = self.document.get("nodes", []), self.document.get("scenes", [])
        if scenes:
            roots = scenes[self.document.get("scene", 0)].get("nodes", [])
        else:
            children = {child for node in nodes for child in node.get("children", [])}
            roots = [i for i in range(len(nodes)) if i not in children]
        world: dict[int, Matrix] = {}
        stack = [(root, np.eye(4)) for root in reversed(roots)]
        while stack:
            number, parent = stack.pop()
            if number in world or not 0 <= number < len(nodes):
                raise DamagedError(f"is damaged: node {number} of its scene is missing or comes twice")
            node = nodes[number]
            if "EXT_mesh_gpu_instancing" in node.get("extensions", {}):
                raise DamagedError("uses EXT_mesh_gpu_instancing, which is not read", "export it without")
            world[number] = parent @ _local_matrix(node)
            stack += [(child, world[number]) for child in reversed(node.get("children", []))]
        return world

    def _joint_matrices(self, skin: Json, world: dict[int, Matrix]) -> NDArray[np.float64] | None:  # (J, 4, 4)
        """From mesh to world for each joint of a skin; the mesh's own node then has no say (spec 3.7.3.3)."""
        if not all(joint in world for joint in skin["joints"]):
            return None
        posed = np.stack([world[joint] for joint in skin["joints"]])
        if "inverseBindMatrices" not in skin:
            return posed
        inverse = self.accessor(skin["inverseBindMatrices"]).reshape(-1, 4, 4).transpose(0, 2, 1)
        return np.asarray(posed @ inverse[: len(posed)])

    def _add(self, primitive: Json, matrix: Matrix, joints: NDArray[np.float64] | None) -> None:
        mode = primitive.get("mode", TRIANGLES)
        attributes = primitive.get("attributes", {})
        if mode in (STRIP, FAN) or "KHR_draco_mesh_compression" in primitive.get("extensions", {}):
            raise BeyondCoreError
        if mode != TRIANGLES or "POSITION" not in attributes:
            return
        positions = self.accessor(attributes["POSITION"])
        if positions.shape[1] != 3:
            raise DamagedError("is damaged: its vertex positions are not three numbers")
        skinned = joints is not None and {"JOINTS_0", "WEIGHTS_0"} <= attributes.keys()
        key = (matrix.tobytes(), *(attributes.get(name) for name in ("POSITION", "COLOR_0", "JOINTS_0")))
        if key not in self.placed:
            self.placed[key] = self.n_points
            self.n_points += len(positions)
            if joints is not None and skinned:
                pose = self._blend(attributes, joints, len(positions))
                self.points.append(np.einsum("nij,nj->ni", pose[:, :3, :3], positions) + pose[:, :3, 3])
            else:
                self.points.append(positions @ matrix[:3, :3].T + matrix[:3, 3])
            self.colors.append(self._vertex_colors(attributes, len(positions)))

        if "indices" in primitive:
            corners = self.accessor(primitive["indices"])[:, 0].astype(np.int64)
        else:
            corners = np.arange(len(positions))
        if len(corners) % 3:
            raise DamagedError(f"is damaged: it has {len(corners)} triangle corners, not a multiple of three")
        if corners.max(initial=0) >= len(positions):
            raise DamagedError(f"is damaged: faces refer to vertices outside 0..{len(positions) - 1}")
        corners = corners.reshape(-1, 3)
        # A mirroring transform turns triangles inside out unless their winding is turned, too.
        if not skinned and np.linalg.det(matrix[:3, :3]) < 0:
            corners = corners[:, ::-1]
        self.faces.append(corners + self.placed[key])
        self.corners.append((primitive, corners))

    def _blend(self, attributes: Json, joints: NDArray[np.float64], n: int) -> NDArray[np.float64]:  # (n, 4, 4)
        """The weighted mean of each vertex's joint matrices."""
        numbers = self.accessor(attributes["JOINTS_0"]).astype(np.int64)
        weights = self.accessor(attributes["WEIGHTS_0"]).astype(np.float64)
        if numbers.shape != (n, 4) or weights.shape != (n, 4) or numbers.max(initial=0) >= len(joints):
            raise DamagedError("is damaged: the joints and weights of a skin do not fit its vertices")
        total = weights.sum(axis=1, keepdims=True)
        weights = np.where(total > 0, weights / np.where(total > 0, total, 1), [1.0, 0.0, 0.0, 0.0])
        return (weights[:, None] @ joints.reshape(len(joints), 16)[numbers]).reshape(n, 4, 4)

    def _vertex_colors(self, attributes: Json, n: int) -> NDArray[np.uint8] | None:  # (n, 3)
        if "COLOR_0" not in attributes:
            return None
        colors = byte_colors(list(self.accessor(attributes["COLOR_0"]).T))
        if colors.shape != (n, 3):
            raise DamagedError("is damaged: a mesh has different numbers of colours and vertices")
        return colors

    def accessor(self, number: int) -> NDArray[Any]:  # (count, width)
        accessor = self.document["accessors"][number]
        if "sparse" in accessor or "bufferView" not in accessor:
            raise BeyondCoreError
        view = self.document["bufferViews"][accessor["bufferView"]]
        buffer = self.buffers[view["buffer"]]
        kind, width = np.dtype(COMPONENTS[accessor["componentType"]]), WIDTHS[accessor["type"]]
        stride = view.get("byteStride", kind.itemsize * width)
        offset, count = accessor.get("byteOffset", 0), accessor["count"]
        start, size = view.get("byteOffset", 0), view["byteLength"]
        needed = offset + stride * (count - 1) + kind.itemsize * width
        if min(offset, start, stride, count) < 0 or needed > size or start + size > len(buffer):
            raise DamagedError(f"is truncated or damaged: accessor {number} reaches beyond its buffer")
        values = np.ndarray((count, width), kind, buffer, start + offset, (stride, kind.itemsize))
        if accessor.get("normalized") and kind.kind in "iu":
            return np.maximum(values / np.iinfo(kind).max, -1.0)
        return values


def _buffer(entry: Json, binary: bytes, folder: Path) -> bytes:
    uri = entry.get("uri")
    if uri is None:
        return binary
    if uri.startswith("data:"):
        return base64.b64decode(uri.partition(",")[2])
    if "://" in uri:
        raise DamagedError(f"refers to data on the network ({uri[:60]})", "download them and correct the uri")
    try:
        return (folder / unquote(uri)).read_bytes()
    except OSError:
        raise DamagedError(f"needs the file {uri[:60]!r} beside it", "copy that, too, or export as GLB") from None


def _local_matrix(node: Json) -> Matrix:
    if "matrix" in node:
        return np.array(node["matrix"], np.float64).reshape(4, 4).T
    matrix = np.eye(4)
    x, y, z, w = node.get("rotation", (0, 0, 0, 1))
    matrix[:3, :3] = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
        [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
        [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
    ]
    matrix[:3, :3] *= node.get("scale", (1, 1, 1))
    matrix[:3, 3] = node.get("translation", (0, 0, 0))
    return matrix
