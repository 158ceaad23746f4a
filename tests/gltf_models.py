"""Tiny glTF files, each with features that splitting a file must not harm. MODELS has a function for each."""

from __future__ import annotations

import io
import json
import struct
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

TYPES = {1: "SCALAR", 2: "VEC2", 3: "VEC3", 4: "VEC4", 16: "MAT4"}
COMPONENTS = {"b": 5120, "B": 5121, "h": 5122, "H": 5123, "I": 5125, "f": 5126}
VERTICES, INDICES = 34962, 34963
Json = dict[str, Any]


class Builder:
    """Collects accessors and packs a GLB. Each accessor has a buffer view of its own."""

    def __init__(self, **document: Any) -> None:
        self.json: Json = {"asset": {"version": "2.0"}, "scene": 0, "accessors": [], "bufferViews": [], **document}
        self.binary = b""

    def view(self, data: bytes, **facts: Any) -> int:
        self.json["bufferViews"].append({"buffer": 0, "byteOffset": len(self.binary), "byteLength": len(data), **facts})
        self.binary += data + bytes(-len(data) % 4)
        return len(self.json["bufferViews"]) - 1

    def add(self, values: Any, kind: str = "f", target: int | None = VERTICES, **facts: Any) -> int:
        """An accessor of rows of values; rows of vertices begin at multiples of four bytes."""
        rows = np.ascontiguousarray(np.reshape(values, (len(values), -1)), "<" + kind)
        size = rows.shape[1] * rows.itemsize
        stride = size + -size % 4 if target == VERTICES else size
        wide = np.zeros((len(rows), stride), np.uint8)
        wide[:, :size] = rows.view(np.uint8).reshape(len(rows), -1)
        place: Json = {} if target is None else {"target": target}
        if stride != size:
            place["byteStride"] = stride
        entry = {"bufferView": self.view(wide.tobytes(), **place), "componentType": COMPONENTS[kind]}
        entry |= {"count": len(rows), "type": TYPES[rows.shape[1]], **facts}
        self.json["accessors"].append(entry)
        return len(self.json["accessors"]) - 1

    def positions(self, values: NDArray[Any], kind: str = "f", **facts: Any) -> int:
        bounds = {"min": values.min(axis=0).tolist(), "max": values.max(axis=0).tolist()}
        return self.add(values, kind, **bounds, **facts)

    def indices(self, values: NDArray[np.int64], kind: str = "H") -> int:
        return self.add(values.reshape(-1, 1), kind, INDICES)

    def attributes(self, points: NDArray[np.float32], normals: NDArray[np.float32]) -> Json:
        return {"POSITION": self.positions(points), "NORMAL": self.add(normals)}

    def pack(self) -> bytes:
        document = {**self.json, "buffers": [{"byteLength": len(self.binary)}]}
        text = json.dumps(document).encode()
        text += b" " * (-len(text) % 4)
        binary = self.binary + bytes(-len(self.binary) % 4)
        body = struct.pack("<I4s", len(text), b"JSON") + text + struct.pack("<I4s", len(binary), b"BIN\0") + binary
        return struct.pack("<4sII", b"glTF", 2, 12 + len(body)) + body


def tube(n: int = 12, ring: int = 8) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.int64]]:
    """Vertices, normals and triangles of a tube along x from 0 to 2, which grows thinner, open at its ends."""
    along, around = np.meshgrid(np.linspace(0, 2, n + 1), 2 * np.pi * np.arange(ring) / ring, indexing="ij")
    radius = 0.5 - 0.12 * along
    normals = np.stack([0.12 * np.ones_like(around), np.cos(around), np.sin(around)], axis=-1).reshape(-1, 3)
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    points = np.stack([along, radius * np.cos(around), radius * np.sin(around)], axis=-1).reshape(-1, 3)
    a = (np.arange(n)[:, None] * ring + np.arange(ring)).ravel()
    b = (np.arange(n)[:, None] * ring + (np.arange(ring) + 1) % ring).ravel()
    faces = np.concatenate([np.stack([a, b, b + ring], axis=1), np.stack([a, b + ring, a + ring], axis=1)])
    return points.astype(np.float32), normals.astype(np.float32), faces


RED = {"name": "red", "pbrMetallicRoughness": {"baseColorFactor": [0.8, 0.1, 0.1, 1], "metallicFactor": 0}}
BLUE = {"name": "blue", "pbrMetallicRoughness": {"baseColorFactor": [0.1, 0.2, 0.9, 1], "metallicFactor": 0}}


def indexed(builder: Builder, kind: str = "H") -> Json:
    """A primitive of a tube."""
    points, normals, faces = tube()
    return {
        "attributes": builder.attributes(points, normals),
        "indices": builder.indices(faces, kind),
    }


def _skinned(root: bool) -> Builder:
    """A tube that two joints bend: its node at the top, or below another."""
    builder = Builder(materials=[RED])
    points, normals, faces = tube()
    weight = points[:, 0] / 2
    weights = np.stack([1 - weight, weight, 0 * weight, 0 * weight], axis=1).astype(np.float32)
    weights[:, 0] = 1 - weights[:, 1]
    joints = np.zeros((len(points), 4))
    joints[weights[:, 1] > 0, 1] = 1
    attributes = builder.attributes(points, normals)
    attributes |= {"JOINTS_0": builder.add(joints, "B"), "WEIGHTS_0": builder.add(weights)}
    bind = np.tile(np.eye(4), (2, 1, 1))
    bind[1, 3, 0] = -1  # of column vectors, column after column
    primitive = {"attributes": attributes, "indices": builder.indices(faces), "material": 0}
    turn = [[0, 0, 0, 1], [0, 0, np.sin(0.5), np.cos(0.5)]]
    times = builder.add([[0], [1]], target=None, min=[0], max=[1])
    sampler = {"input": times, "output": builder.add(turn, target=None)}
    builder.json |= {
        "meshes": [{"name": "skin of it", "primitives": [primitive], "extras": {"made": "by hand"}}],
        "skins": [{"joints": [1, 2], "inverseBindMatrices": builder.add(bind.reshape(2, 16), target=None)}],
        "nodes": [
            {"name": "body", "mesh": 0, "skin": 0},
            {"name": "hip", "children": [2]},
            {"name": "knee", "translation": [1, 0, 0]},
        ],
        "scenes": [{"nodes": [0, 1]}],
        "animations": [
            {
                "name": "bend",
                "samplers": [sampler],
                "channels": [{"sampler": 0, "target": {"node": 2, "path": "rotation"}}],
            }
        ],
    }
    if not root:
        builder.json["nodes"].append({"name": "armature", "children": [0, 1], "translation": [0, 0.5, 0]})
        builder.json["scenes"] = [{"nodes": [3]}]
    return builder


def skin_at_the_top() -> bytes:
    return _skinned(True).pack()


def skin_below() -> bytes:
    return _skinned(False).pack()


def morph() -> bytes:
    """Two morph targets whose weights are animated, and two primitives; the node also moves."""
    builder = Builder(materials=[RED, BLUE])
    primitives = []
    for number in range(2):
        points, normals, faces = tube()
        points = points + np.float32([0, 1.2 * number, 0])
        primitive: Json = {"attributes": builder.attributes(points, normals), "material": number}
        primitive["indices"] = builder.indices(faces)
        wave = np.stack([0 * points[:, 0], np.sin(3 * points[:, 0]), 0 * points[:, 0]], axis=1)
        deltas = [0.3 * wave, wave[:, [1, 0, 2]] * 0.2]
        primitive["targets"] = [{"POSITION": builder.positions(delta.astype(np.float32))} for delta in deltas]
        primitives.append(primitive)
    times = builder.add([[0], [1]], target=None, min=[0], max=[1])
    samplers = [
        {"input": times, "output": builder.add([[0], [0], [1], [0.5]], target=None)},
        {"input": times, "output": builder.add([[0, 0, 0], [0, 0.4, 0]], target=None)},
    ]
    channels = [
        {"sampler": 0, "target": {"node": 0, "path": "weights"}},
        {"sampler": 1, "target": {"node": 0, "path": "translation"}},
    ]
    builder.json |= {
        "meshes": [
            {"name": "face", "primitives": primitives, "weights": [0.2, 0], "extras": {"targetNames": ["a", "b"]}}
        ],
        "nodes": [{"name": "head", "mesh": 0}],
        "scenes": [{"nodes": [0]}],
        "animations": [{"samplers": samplers, "channels": channels}],
    }
    return builder.pack()


def instances() -> bytes:
    """EXT_mesh_gpu_instancing: three along x, which are cut differently, and two side by side, which are not."""
    builder = Builder(materials=[RED, BLUE], extensionsUsed=["EXT_mesh_gpu_instancing"])
    primitive = {**indexed(builder), "material": 0}
    apart = builder.add([[0, 0, 0], [3, 0, 0], [6, 0, 0]], target=None)
    beside = builder.add([[0, 2, 0], [0, 3, 0]], target=None)
    turned = builder.add([[0, 0, 0, 1], [np.sin(0.4), 0, 0, np.cos(0.4)]], target=None)

    def node(name: str, **attributes: int) -> Json:
        return {"name": name, "mesh": 0, "extensions": {"EXT_mesh_gpu_instancing": {"attributes": attributes}}}

    builder.json |= {
        "meshes": [{"name": "tube", "primitives": [primitive]}],
        "nodes": [node("row", TRANSLATION=apart), node("pair", TRANSLATION=beside, ROTATION=turned)],
        "scenes": [{"nodes": [0, 1]}],
    }
    return builder.pack()


def shared_mesh() -> bytes:
    """One mesh of two materials in four nodes: moved, turned, mirrored, and below another that is animated."""
    builder = Builder(materials=[RED, BLUE])
    points, normals, faces = tube()
    attributes = builder.attributes(points, normals)
    half = len(faces) // 2
    primitives = [
        {"attributes": attributes, "material": i, "indices": builder.indices(own, "B")}
        for i, own in enumerate((faces[:half], faces[half:]))
    ]
    sampler = {
        "input": builder.add([[0], [2]], target=None, min=[0], max=[2]),
        "output": builder.add([[0, 0, 0], [0, 0, 1]], target=None),
    }
    builder.json |= {
        "meshes": [{"name": "wheel", "primitives": primitives}],
        "nodes": [
            {"name": "one", "mesh": 0},
            {"name": "two", "mesh": 0, "translation": [0, 2, 0], "rotation": [0, 0, 0.6, 0.8]},
            {"name": "mirrored", "mesh": 0, "translation": [3, 0, 0], "scale": [-1, 1, 1], "children": [3]},
            {"name": "below", "mesh": 0, "translation": [0, -2, 0]},
        ],
        "scenes": [{"nodes": [0, 1, 2]}],
        "animations": [
            {"samplers": [sampler], "channels": [{"sampler": 0, "target": {"node": 2, "path": "translation"}}]}
        ],
    }
    return builder.pack()


def modes() -> bytes:
    """A strip, a fan, triangles without indices, lines and points, and a strip without indices, in one mesh."""
    builder = Builder(materials=[{**RED, "doubleSided": True}, {**BLUE, "doubleSided": True}])
    points, normals, faces = tube()
    flat = np.zeros((10, 3), np.float32)
    flat[:, 0], flat[1::2, 1], flat[:, 2] = np.arange(10) / 4, 1, 1
    up = np.tile(np.float32([0, 0, 1]), (10, 1))
    angle = np.linspace(0, 5, 9)
    disc = np.zeros((10, 3), np.float32)
    disc[1:, 0], disc[1:, 1], disc[:, 2] = np.cos(angle), np.sin(angle), 2
    soup = faces.reshape(-1)
    line = builder.attributes(flat + np.float32([0, 2, 0]), up)
    primitives = [
        {
            "attributes": builder.attributes(flat, up),
            "indices": builder.indices(np.arange(10), "B"),
            "mode": 5,
        },
        {"attributes": line, "mode": 3},
        {
            "attributes": builder.attributes(disc, up),
            "indices": builder.indices(np.arange(10)),
            "mode": 6,
        },
        {"attributes": {"POSITION": line["POSITION"]}, "mode": 0},
        {"attributes": builder.attributes(points[soup], normals[soup]), "mode": 4},
        {"attributes": builder.attributes(flat + np.float32([0, 0, 1]), up), "mode": 5},
    ]
    for number, primitive in enumerate(primitives):
        primitive["material"] = number % 2
    builder.json |= {
        "meshes": [{"name": "all modes", "primitives": primitives}],
        "nodes": [{"name": "thing", "mesh": 0}],
        "scenes": [{"nodes": [0]}],
    }
    return builder.pack()


def sparse() -> bytes:
    """Positions of which a sparse accessor changes some."""
    builder = Builder()
    primitive = indexed(builder)
    position = builder.json["accessors"][primitive["attributes"]["POSITION"]]
    position["sparse"] = {
        "count": 2,
        "indices": {"bufferView": builder.view(np.array([3, 40], "<u2").tobytes()), "componentType": 5123},
        "values": {"bufferView": builder.view(np.array([[0.1, 0.9, 0], [1, 0.8, 0.2]], "<f4").tobytes())},
    }
    points = tube()[0]
    points[[3, 40]] = [[0.1, 0.9, 0], [1, 0.8, 0.2]]
    position |= {"min": points.min(axis=0).tolist(), "max": points.max(axis=0).tolist()}
    builder.json |= {"meshes": [{"primitives": [primitive]}], "nodes": [{"mesh": 0}], "scenes": [{"nodes": [0]}]}
    return builder.pack()


def quantised() -> bytes:
    """KHR_mesh_quantization: positions of 16 bits, normals of 8, which the node scales back."""
    builder = Builder(extensionsUsed=["KHR_mesh_quantization"], extensionsRequired=["KHR_mesh_quantization"])
    points, normals, faces = tube()
    stored = np.rint((points + np.float32([0, 1, 1])) * 1000).astype(np.uint16)
    attributes = {
        "POSITION": builder.positions(stored, "H"),
        "NORMAL": builder.add(np.rint(normals * 127), "b", normalized=True),
    }
    primitive = {"attributes": attributes, "indices": builder.indices(faces, "I")}
    node = {"name": "packed", "mesh": 0, "scale": [0.001, 0.001, 0.001], "translation": [0, -1, -1]}
    builder.json |= {"meshes": [{"primitives": [primitive]}], "nodes": [node], "scenes": [{"nodes": [0]}]}
    return builder.pack()


def variants() -> bytes:
    """KHR_materials_variants, an extension and extras that nobody knows, a camera and a light."""
    builder = Builder(
        materials=[RED, BLUE],
        cameras=[{"type": "perspective", "perspective": {"yfov": 0.7, "znear": 0.1}}],
        extensionsUsed=["KHR_materials_variants", "KHR_lights_punctual", "OWN_thing"],
        extensions={
            "KHR_materials_variants": {"variants": [{"name": "day"}, {"name": "night"}]},
            "KHR_lights_punctual": {"lights": [{"type": "point", "intensity": 5}]},
            "OWN_thing": {"x": [1, 2.5, None]},
        },
        extras={"of": "the file"},
    )
    mappings = [{"material": 0, "variants": [0]}, {"material": 1, "variants": [1]}]
    primitive = {
        **indexed(builder),
        "material": 0,
        "extensions": {"KHR_materials_variants": {"mappings": mappings}, "OWN_thing": {"keep": True}},
        "extras": {"of": "the primitive"},
    }
    builder.json |= {
        "meshes": [{"name": "m", "primitives": [primitive], "extras": {"of": "the mesh"}}],
        "nodes": [
            {"name": "n", "mesh": 0, "extras": {"of": "the node"}, "extensions": {"OWN_thing": {"node": 1}}},
            {"name": "eye", "camera": 0, "translation": [1, 1, 5]},
            {"name": "lamp", "translation": [0, 2, 2], "extensions": {"KHR_lights_punctual": {"light": 0}}},
        ],
        "scenes": [{"nodes": [0, 1, 2], "name": "shop"}],
    }
    return builder.pack()


def scenes() -> bytes:
    """Two scenes: the second one, which is not shown, has the same mesh once more."""
    builder = Builder(materials=[RED])
    primitive = {**indexed(builder), "material": 0}
    builder.json |= {
        "meshes": [{"name": "tube", "primitives": [primitive]}],
        "nodes": [{"name": "both", "mesh": 0}, {"name": "other", "mesh": 0, "translation": [0, 3, 0]}],
        "scenes": [{"nodes": [0]}, {"nodes": [1]}],
    }
    return builder.pack()


def textured() -> bytes:
    """Two sets of texture coordinates, a texture for each, tangents, colours of vertices, and a cut-out."""
    builder = Builder()
    points, normals, faces = tube()
    attributes = builder.attributes(points, normals)
    tangents = np.concatenate([np.roll(normals, 1, axis=1), np.ones((len(points), 1))], axis=1)
    tangents[:, :3] -= normals * (tangents[:, :3] * normals).sum(axis=1, keepdims=True)
    tangents[:, :3] /= np.linalg.norm(tangents[:, :3], axis=1, keepdims=True)
    uv = points[:, :2] / np.float32([2, 1])
    attributes |= {
        "TANGENT": builder.add(tangents),
        "TEXCOORD_0": builder.add(uv),
        "TEXCOORD_1": builder.add(np.rint(uv[:, ::-1].clip(0, 1) * 255), "B", normalized=True),
        "COLOR_0": builder.add(np.rint(255 - 60 * points.clip(0, 1)), "B", normalized=True),
    }
    images = []
    rng = np.random.default_rng(0)
    for size in (8, 16):
        out = io.BytesIO()
        Image.fromarray(rng.integers(0, 255, (size, size, 3), np.uint8)).save(out, "PNG")
        images.append({"bufferView": builder.view(out.getvalue()), "mimeType": "image/png"})
    look = {"baseColorTexture": {"index": 0}, "metallicFactor": 0}
    material = {
        "name": "tiles",
        "pbrMetallicRoughness": look,
        "normalTexture": {"index": 1},
        "occlusionTexture": {"index": 1, "texCoord": 1},
        "alphaMode": "MASK",
    }
    primitive = {"attributes": attributes, "indices": builder.indices(faces), "material": 0}
    builder.json |= {
        "materials": [material],
        "images": images,
        "samplers": [{"magFilter": 9728}],
        "textures": [{"source": 0, "sampler": 0}, {"source": 1}],
        "meshes": [{"primitives": [primitive]}],
        "nodes": [{"name": "t", "mesh": 0}],
        "scenes": [{"nodes": [0]}],
    }
    return builder.pack()


def many_vertices() -> bytes:
    """More triangles without indices than indices of 16 bits can name."""
    builder = Builder()
    points, normals, faces = tube(400, 60)
    soup = faces.reshape(-1)
    primitive = {"attributes": builder.attributes(points[soup], normals[soup])}
    builder.json |= {"meshes": [{"primitives": [primitive]}], "nodes": [{"mesh": 0}], "scenes": [{"nodes": [0]}]}
    return builder.pack()


MODELS: dict[str, Callable[[], bytes]] = {
    function.__name__: function
    for function in (
        *(skin_at_the_top, skin_below, morph, instances, shared_mesh, modes, sparse, quantised, variants, scenes),
        *(textured, many_vertices),
    )
}
