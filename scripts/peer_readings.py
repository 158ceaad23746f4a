"""Independent readings for scripts/check_peer_files.py: by trimesh, assimp and gmsh, and by hand where they fail.

Nothing of pa3d is imported.
"""

from __future__ import annotations

import base64
import json
import os
import re
import struct
import subprocess
import sys
import tempfile
import warnings
import zipfile
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import unquote

import numpy as np
import trimesh

warnings.simplefilter("ignore")


class UnreadableError(Exception):
    """No independent reading of a file, and why."""


class Reading(NamedTuple):
    points: np.ndarray  # (N, 3)
    faces: np.ndarray | None  # (F, 3)


class Summary(NamedTuple):
    """What is compared. faces: None for a cloud, -1 for unknown.

    vertices: how many faces use, and how many of those are distinct; empty for unknown. low, high: their bounding box.
    tolerance: how far boxes may be apart, as a share of the extent: readers round to float32.
    """

    faces: int | None
    vertices: tuple[int, ...]
    low: np.ndarray
    high: np.ndarray
    tolerance: float = 1e-5


def summary_of(reading: Reading) -> Summary:
    points, faces = reading
    used = points if faces is None or not len(faces) else points[np.unique(faces)]
    # Files repeat vertices for normals and texture coordinates, and readers unite them.
    distinct = len(np.unique(used.astype(np.float32), axis=0))
    return Summary(None if faces is None else len(faces), (len(used), distinct), used.min(axis=0), used.max(axis=0))


def read_usd(file: Path) -> Summary:
    from peer_usd import usd_by_hand

    return usd_by_hand(file)


def read_independently(file: Path) -> dict[str, Summary]:
    """Readings by the name of the reader. Raises UnreadableError where there is none."""
    found, reasons = {}, []
    for name, read in READERS.get(file.suffix.lower(), OTHERS).items():
        try:
            reading = read(file)
            found[name] = reading if isinstance(reading, Summary) else summary_of(reading)
        except Exception as error:  # of any library: the next one is tried
            reasons.append(f"{name}: {type(error).__name__} {str(error)[:80]}")
    if not found:
        raise UnreadableError("; ".join(reasons))
    return found


def by_trimesh(file: Path) -> Reading:
    loaded = trimesh.load(file, process=False)
    parts = loaded.dump() if isinstance(loaded, trimesh.Scene) else [loaded]
    meshes = [part for part in parts if getattr(part, "faces", None) is not None and len(part.faces)]
    return joined([(np.asarray(p.vertices), np.asarray(p.faces) if meshes else None) for p in meshes or parts])


def ply_by_hand(file: Path) -> Reading:
    """Binary little-endian PLY whose vertices begin with x, y, z as float and whose faces are a list of uint alone."""
    head, _, body = file.read_bytes().partition(b"end_header\r")
    text = re.split("[\r\n]+", head.decode("ascii", "replace"))
    counts = {line.split()[1]: int(line.split()[2]) for line in text if line.startswith("element")}
    start = next(i for i, line in enumerate(text) if line.startswith("element vertex"))
    own = [line.split()[1] for line in text[start + 1 : next(i for i in range(start + 1, 99) if "element" in text[i])]]
    size = sum({"float": 4, "uchar": 1}[kind] for kind in own)
    points = [struct.unpack_from("<3f", body, size * i) for i in range(counts["vertex"])]
    at, faces = size * counts["vertex"], []
    for _ in range(counts["face"]):
        corners = struct.unpack_from(f"<{body[at]}I", body, at + 1)
        faces += [(corners[0], corners[i], corners[i + 1]) for i in range(1, len(corners) - 1)]
        at += 1 + 4 * len(corners)
    return Reading(np.array(points, np.float64), np.array(faces))


def joined(parts: list[tuple[np.ndarray, np.ndarray | None]]) -> Reading:
    starts = np.cumsum([0, *(len(points) for points, _ in parts)])
    faces = [f + start for (_, f), start in zip(parts, starts, strict=False) if f is not None]
    return Reading(np.concatenate([points for points, _ in parts]), np.concatenate(faces) if faces else None)


def by_assimp(file: Path) -> Reading:
    import assimp_py

    scene = assimp_py.import_file(str(file), assimp_py.Process_Triangulate)
    parts: list[tuple[np.ndarray, np.ndarray | None]] = []

    def walk(node: Any, parent: np.ndarray) -> None:
        world = parent @ np.array(node.transformation, np.float64).reshape(4, 4)
        for number in node.mesh_indices:
            mesh = scene.meshes[number]
            points = np.frombuffer(mesh.vertices, np.float32).reshape(-1, 3).astype(np.float64)
            faces = np.frombuffer(mesh.indices, np.uint32).reshape(-1, 3).astype(np.int64)
            parts.append((points @ world[:3, :3].T + world[:3, 3], faces))
        for child in node.children:
            walk(child, world)

    walk(scene.root_node, np.eye(4))
    return joined(parts)


def fbx_by_assimp(file: Path) -> Reading:
    """assimp leaves units as they are: UnitScaleFactor says how many centimetres they have."""
    data = file.read_bytes()
    found = re.search(rb'UnitScaleFactor", "double", "Number", "",\s*([0-9.eE+-]+)', data)
    packed = re.search(rb"[^l]UnitScaleFactorS.{4}doubleS.{4}NumberS.{4}D(.{8})", data, re.DOTALL)
    centimetres = float(found[1]) if found else struct.unpack("<d", packed[1])[0] if packed else 1.0
    points, faces = by_assimp(file)
    return Reading(points * centimetres / 100, faces)


UP = {"X": [[0, -1, 0], [1, 0, 0], [0, 0, 1]], "Y": np.eye(3), "Z": [[1, 0, 0], [0, 0, 1], [0, -1, 0]]}


def dae_by_trimesh(file: Path) -> Reading:
    """trimesh leaves the unit and the up axis as they are."""
    data = file.read_bytes()
    if data[:2] == b"PK":
        with zipfile.ZipFile(file) as archive:
            data = archive.read(next(name for name in archive.namelist() if name.lower().endswith(".dae")))
    text = data.decode("utf-16" if b"\0" in data[:200] else "utf-8", "replace")
    up = re.search(r"<up_axis>\s*([XYZ])", text)
    metre = re.search(r"<unit[^>]*meter=\"([^\"]+)\"", text.replace(",", "."))
    points, faces = by_trimesh(file)
    return Reading(points @ np.transpose(UP[up[1] if up else "Y"]) * float(metre[1] if metre else 1), faces)


def dae_by_assimp(file: Path) -> Reading:
    """assimp brings COLLADA into metres, y up, but leaves out what a skin does to a mesh."""
    return by_assimp(file)


def dae_worked_out(file: Path) -> Summary:
    """A skin with one bone, which undoes its bind matrix, so that bind_shape_matrix remains: a cube of ±1 moved by
    (-1, 1, 1), z up."""
    if file.name != "box_nested_animation.dae":
        raise UnreadableError("not worked out by hand")
    return Summary(12, (8, 8), np.array([-2.0, 0, -2]), np.array([0.0, 2, 0]))


kept: list[Any] = []


def fbx_by_hand(file: Path) -> Reading:
    """In a process of its own, because ufbx 0.0.5 may crash when a second scene is read."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "out.npz"
        subprocess.run([sys.executable, __file__, str(file), str(out)], check=True)
        with np.load(out) as arrays:
            return Reading(arrays["points"], arrays["faces"])


def fbx_skinned(file: Path) -> Reading:
    """Skins by the letter: the weighted mean of each cluster's matrices, from the raw data of ufbx."""
    import ufbx

    scene = ufbx.load_file(str(file), target_axes=ufbx.axes_right_handed_y_up, target_unit_meters=1.0)
    kept.append(scene)
    parts: list[tuple[np.ndarray, np.ndarray | None]] = []
    for node in scene.nodes:
        mesh = node.mesh
        if mesh is None:
            continue
        points = np.array(list(mesh.vertices))
        corners = list(mesh.vertex_indices)
        faces = [
            (corners[f.index_begin], corners[f.index_begin + i], corners[f.index_begin + i + 1])
            for f in mesh.faces
            for i in range(1, f.num_indices - 1)
        ]
        world = np.array(node.geometry_to_world).T
        placed = points @ world[:, :3].T + world[:, 3]
        for skin in mesh.skin_deformers:
            matrices = np.array([np.array(cluster.geometry_to_world).T for cluster in skin.clusters])
            weights = list(skin.weights)
            for i, vertex in enumerate(skin.vertices):
                own = weights[vertex.weight_begin : vertex.weight_begin + vertex.num_weights]
                if own:
                    share = np.array([w.weight for w in own]) / sum(w.weight for w in own)
                    matrix = np.einsum("k,kij->ij", share, matrices[[w.cluster_index for w in own]])
                    placed[i] = matrix[:, :3] @ points[i] + matrix[:, 3]
        parts.append((placed, np.array(faces, np.int64).reshape(-1, 3)))
    return joined(parts)


def threemf_by_trimesh(file: Path) -> Reading:
    """trimesh leaves the unit as it is."""
    with zipfile.ZipFile(file) as archive:
        text = b"".join(archive.read(name) for name in archive.namelist() if name.endswith(".model")).decode()
    unit = re.search(r"<model[^>]*\bunit=\"(\w+)\"", text)
    metres = {"micron": 1e-6, "centimeter": 1e-2, "inch": 0.0254, "foot": 0.3048, "meter": 1.0}
    points, faces = by_trimesh(file)
    return Reading(points * metres.get(unit[1] if unit else "", 1e-3), faces)


def step_by_gmsh(file: Path) -> Summary:
    """The bounding box of another mesh of the same surfaces."""
    import gmsh

    gmsh.initialize(interruptible=False)
    try:
        gmsh.option.setNumber("General.Terminal", 0)
        gmsh.option.setString("Geometry.OCCTargetUnit", "M")
        gmsh.model.occ.importShapes(str(file))
        gmsh.model.occ.synchronize()
        gmsh.option.setNumber("Mesh.MeshSizeFromCurvature", 90)
        gmsh.model.mesh.generate(1)
        nodes = gmsh.model.mesh.getNodes()[1].reshape(-1, 3)
    finally:
        gmsh.finalize()
    return Summary(-1, (), nodes.min(axis=0), nodes.max(axis=0), 2e-3)


# --- glTF: accessors, nodes and skins by the letter of the specification ---

TYPES = {5120: "<i1", 5121: "<u1", 5122: "<i2", 5123: "<u2", 5125: "<u4", 5126: "<f4"}
WIDTH = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4, "MAT4": 16}


def gltf_by_hand(file: Path) -> Reading:
    data = file.read_bytes()
    blob = b""
    if data[:4] == b"glTF":
        size = struct.unpack_from("<I", data, 12)[0]
        document, blob = json.loads(data[20 : 20 + size]), data[28 + size :]
    else:
        document = json.loads(data.decode("utf-8-sig"))
    if any("draco" in name or "meshopt" in name for name in document.get("extensionsRequired", [])):
        raise UnreadableError("compressed")

    def buffer(number: int) -> bytes:
        uri = document["buffers"][number].get("uri")
        if uri is None:
            return blob
        return base64.b64decode(uri.split(",")[1]) if uri[:5] == "data:" else (file.parent / unquote(uri)).read_bytes()

    def raw(place: dict, dtype: np.dtype, width: int, count: int) -> np.ndarray:
        view = document["bufferViews"][place["bufferView"]]
        start = view.get("byteOffset", 0) + place.get("byteOffset", 0)
        step = view.get("byteStride") or dtype.itemsize * width
        content = buffer(view["buffer"])
        rows = [content[start + i * step : start + i * step + dtype.itemsize * width] for i in range(count)]
        return np.frombuffer(b"".join(rows), dtype).reshape(count, width)

    def accessor(number: int) -> np.ndarray:
        entry = document["accessors"][number]
        dtype, width, count = np.dtype(TYPES[entry["componentType"]]), WIDTH[entry["type"]], entry["count"]
        values = raw(entry, dtype, width, count) if "bufferView" in entry else np.zeros((count, width), dtype)
        if "sparse" in entry:
            sparse, values = entry["sparse"], values.copy()
            where = raw(sparse["indices"], np.dtype(TYPES[sparse["indices"]["componentType"]]), 1, sparse["count"])
            values[where[:, 0]] = raw(sparse["values"], dtype, width, sparse["count"])
        return values / np.iinfo(dtype).max if entry.get("normalized") else values

    def local(node: dict) -> np.ndarray:
        if "matrix" in node:
            return np.reshape(node["matrix"], (4, 4)).T
        x, y, z, w = np.array(node.get("rotation", (0, 0, 0, 1))) / np.linalg.norm(node.get("rotation", (0, 0, 0, 1)))
        turn = np.array(
            [
                [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
                [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
                [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
            ]
        )
        matrix = np.eye(4)
        matrix[:3, :3] = turn * np.array(node.get("scale", (1, 1, 1)))
        matrix[:3, 3] = node.get("translation", (0, 0, 0))
        return matrix

    nodes = document.get("nodes", [])
    parents = {child: number for number, node in enumerate(nodes) for child in node.get("children", [])}

    def world(number: int) -> np.ndarray:
        above = world(parents[number]) if number in parents else np.eye(4)
        return above @ local(nodes[number])

    def placed(node: int) -> list[np.ndarray]:
        """The matrices that a node's mesh stands at."""
        instancing = nodes[node].get("extensions", {}).get("EXT_mesh_gpu_instancing", {}).get("attributes")
        if instancing is None:
            return [world(node)]
        values = {name.lower(): accessor(number) for name, number in instancing.items()}
        rows = [
            {name: rows[i].tolist() for name, rows in values.items()} for i in range(len(next(iter(values.values()))))
        ]
        return [world(node) @ local(row) for row in rows]

    if "scenes" in document:
        stack = list(document["scenes"][document.get("scene", 0)].get("nodes", []))
    else:
        stack = [number for number in range(len(nodes)) if number not in parents]
    meshes, clouds = [], []
    while stack:
        number = stack.pop(0)
        node = nodes[number]
        stack += node.get("children", [])
        mesh = document["meshes"][node["mesh"]] if "mesh" in node else {"primitives": []}
        for primitive in mesh["primitives"]:
            mode = primitive.get("mode", 4)
            points = accessor(primitive["attributes"]["POSITION"]).astype(np.float64)
            for target, weight in zip(
                primitive.get("targets", []), node.get("weights", mesh.get("weights", [])), strict=False
            ):
                points = points + weight * accessor(target["POSITION"]) if "POSITION" in target else points
            corners = accessor(primitive["indices"])[:, 0] if "indices" in primitive else np.arange(len(points))
            corners = corners.astype(np.int64)
            triangles = {
                4: corners[: len(corners) // 3 * 3].reshape(-1, 3),
                5: [corners[i : i + 3] for i in range(len(corners) - 2)],
                6: [(corners[0], corners[i], corners[i + 1]) for i in range(1, len(corners) - 1)],
            }.get(mode)
            if "skin" in node and "JOINTS_0" in primitive["attributes"]:
                skin = document["skins"][node["skin"]]
                bind = accessor(skin["inverseBindMatrices"]).reshape(-1, 4, 4).transpose(0, 2, 1)
                joints = np.stack([world(joint) @ bind[i] for i, joint in enumerate(skin["joints"])])
                which, weights = (accessor(primitive["attributes"][name]) for name in ("JOINTS_0", "WEIGHTS_0"))
                weights = weights / weights.sum(axis=1, keepdims=True)
                matrices = [(w[:, None, None] * joints[j]).sum(axis=0) for j, w in zip(which, weights, strict=True)]
                stands = [np.array([m[:3, :3] @ p + m[:3, 3] for m, p in zip(matrices, points, strict=True)])]
            else:
                stands = [points @ m[:3, :3].T + m[:3, 3] for m in placed(number)]
            if triangles is not None:
                meshes += [(at, np.asarray(triangles, np.int64).reshape(-1, 3)) for at in stands]
            elif mode == 0:
                clouds += [(at[corners], None) for at in stands]
    return joined(meshes or clouds)


DAE = {"trimesh": dae_by_trimesh, "assimp": dae_by_assimp, "by hand": dae_worked_out}
GLTF, STEP = {"trimesh": by_trimesh, "by hand": gltf_by_hand}, {"gmsh": step_by_gmsh}
OTHERS: dict[str, Any] = {"trimesh": by_trimesh, "assimp": by_assimp}
USD = {"by hand": read_usd}
READERS: dict[str, dict[str, Any]] = {
    ".usd": USD,
    ".usda": USD,
    ".usdc": USD,
    ".usdz": USD,
    ".glb": GLTF,
    ".gltf": GLTF,
    ".dae": DAE,
    ".zae": DAE,
    ".step": STEP,
    ".stp": STEP,
    ".ply": {"trimesh": by_trimesh, "assimp": by_assimp, "by hand": ply_by_hand},
    ".3mf": {"trimesh": threemf_by_trimesh},
    ".fbx": {"assimp": fbx_by_assimp, "by hand": fbx_by_hand},
}

if __name__ == "__main__":
    read = fbx_skinned(Path(sys.argv[1]))
    np.savez(sys.argv[2], points=read.points, faces=read.faces)
    os._exit(0)
