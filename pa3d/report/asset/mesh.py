"""parts.glb of a mesh whose file is no glTF: its vertices, with one named node and mesh for each piece."""

from __future__ import annotations

from typing import Any

import numpy as np

from pa3d.io.gltf import Gltf
from pa3d.report.asset.cut import Cut
from pa3d.report.asset.gltf import parts_glb
from pa3d.report.files import root_node
from pa3d.report.glb import INDICES, UNSIGNED_BYTE, VERTICES, index_type, join_views, pack_glb, position_accessor
from pa3d.shape import Shape


def mesh_glb(shape: Shape, cut: Cut) -> bytes:
    """The mesh as binary glTF: vertices, colours and the order of faces as in the shape."""
    found = parts_glb(Gltf(shape_glb(shape)), cut)
    if found is None:
        raise ValueError(f"the mesh has {len(shape.faces or ())} faces, and {len(cut.numbers)} are labelled")
    return found


def shape_glb(shape: Shape) -> bytes:
    """A mesh as binary glTF of one node, turned to y up."""
    if shape.faces is None:
        raise TypeError("shape_glb: the shape is a cloud")
    points = np.ascontiguousarray(shape.points, "<f4")
    kind, dtype = index_type(len(points))
    blobs: list[tuple[bytes, dict[str, Any]]] = [(points.tobytes(), {"target": VERTICES})]
    accessors = [position_accessor(points)]
    attributes = {"POSITION": 0}
    if shape.colors is not None:
        colors = np.zeros((len(points), 4), np.uint8)
        colors[:, :3] = shape.colors
        blobs.append((colors.tobytes(), {"target": VERTICES, "byteStride": 4}))
        attributes["COLOR_0"] = len(accessors)
        entry = {"bufferView": 1, "componentType": UNSIGNED_BYTE, "normalized": True, "count": len(points)}
        accessors.append({**entry, "type": "VEC3"})
    blobs.append((shape.faces.astype(dtype).tobytes(), {"target": INDICES}))
    accessors.append({"bufferView": len(blobs) - 1, "componentType": kind, "count": shape.faces.size, "type": "SCALAR"})
    binary, views = join_views(blobs)
    primitive = {"attributes": attributes, "indices": len(accessors) - 1}
    document = {
        **{"asset": {"version": "2.0", "generator": "pa3d"}, "scene": 0, "scenes": [{"nodes": [0]}]},
        **{"nodes": [{**root_node(shape), "mesh": 0}], "meshes": [{"primitives": [primitive]}]},
        **{"accessors": accessors, "bufferViews": views, "buffers": [{"byteLength": len(binary)}]},
    }
    return pack_glb(document, binary)
