"""The file's own structure: which node, mesh, material or group each face belongs to, and which polygon."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from pa3d import InputError
from pa3d.io import load
from pa3d.shape import Piece, Shape


def write(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_text(text)
    return path


def test_obj_groups_objects_materials_and_quads(tmp_path: Path) -> None:
    text = """v 0 0 0\nv 1 0 0\nv 1 1 0\nv 0 1 0\nv 0 0 1
o chair\ng seat\nusemtl wood\nf 1 2 3 4\ng leg\nf 1 2 5\nusemtl steel\nf -1 -4 -3 -2\ng seat\nusemtl wood\nf 1 3 5\n"""
    shape = load(write(tmp_path, "a.obj", text))
    assert shape.pieces == (
        Piece("seat", "chair", "wood"),
        Piece("leg", "chair", "wood"),
        Piece("leg", "chair", "steel"),
    )
    assert shape.face_piece.tolist() == [0, 0, 1, 2, 2, 0]
    assert shape.face_polygon.tolist() == [0, 0, 1, 2, 2, 3]
    assert shape.face_piece.dtype == shape.face_polygon.dtype == np.int32


@pytest.mark.parametrize("name", ["a.obj", "a.off", "a.stl"])
def test_no_structure(tmp_path: Path, name: str) -> None:
    facet = "facet normal 0 0 1\nouter loop\nvertex 0 0 0\nvertex 1 0 0\nvertex 0 1 0\nendloop\nendfacet\n"
    texts = {
        "a.obj": "v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 3\n",
        "a.off": "OFF\n3 1 0\n0 0 0\n1 0 0\n0 1 0\n3 0 1 2\n",
        "a.stl": f"solid a\n{facet}endsolid a\n",
    }
    shape = load(write(tmp_path, name, texts[name]))
    assert shape.pieces == () and shape.face_piece is None and shape.face_polygon is None
    assert shape.file == tmp_path / name


def test_polygons_of_ply(tmp_path: Path) -> None:
    text = """ply\nformat ascii 1.0\nelement vertex 5\nproperty float x\nproperty float y\nproperty float z
element face 3\nproperty list uchar int vertex_indices\nend_header
0 0 0\n1 0 0\n1 1 0\n0 1 0\n0 0 1\n3 0 1 2\n5 0 1 2 3 4\n3 0 1 4\n"""
    assert load(write(tmp_path, "a.ply", text)).face_polygon.tolist() == [0, 1, 1, 1, 2]


def test_gltf_nodes_meshes_primitives_and_instances(tmp_path: Path) -> None:
    points = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]], "<f4").tobytes()
    strip = np.array([0, 1, 2, 3], "<u2").tobytes()
    shifts = np.array([[0, 0, 0], [5, 0, 0]], "<f4").tobytes()
    data = points + strip + shifts
    document = {
        "asset": {"version": "2.0"},
        "buffers": [{"byteLength": len(data), "uri": "a.bin"}],
        "bufferViews": [
            {"buffer": 0, "byteLength": 48},
            {"buffer": 0, "byteOffset": 48, "byteLength": 8},
            {"buffer": 0, "byteOffset": 56, "byteLength": 24},
        ],
        "accessors": [
            {"bufferView": 0, "componentType": 5126, "count": 4, "type": "VEC3", "min": [0, 0, 0], "max": [1, 1, 1]},
            {"bufferView": 1, "componentType": 5123, "count": 4, "type": "SCALAR"},
            {"bufferView": 2, "componentType": 5126, "count": 2, "type": "VEC3"},
            {"bufferView": 1, "componentType": 5123, "count": 3, "type": "SCALAR"},
        ],
        "materials": [{"name": "rubber"}],
        "meshes": [
            {
                "name": "tyre",
                "primitives": [
                    {"attributes": {"POSITION": 0}, "indices": 1, "mode": 3},
                    {"attributes": {"POSITION": 0}, "indices": 1, "mode": 5, "material": 0},
                    {"attributes": {"POSITION": 0}, "indices": 3},
                ],
            }
        ],
        "nodes": [
            {"name": "car", "children": [1]},
            {"name": "wheel", "mesh": 0, "children": [2]},
            {
                "name": "bolts",
                "mesh": 0,
                "extensions": {"EXT_mesh_gpu_instancing": {"attributes": {"TRANSLATION": 2}}},
            },
        ],
        "scenes": [{"nodes": [0]}],
        "extensionsUsed": ["EXT_mesh_gpu_instancing"],
    }
    (tmp_path / "a.bin").write_bytes(data)
    shape = load(write(tmp_path, "a.gltf", json.dumps(document)))
    wheel = {"node": "wheel", "mesh": "tyre", "parents": ("car",), "node_index": 1, "mesh_index": 0}
    bolts = {"node": "bolts", "mesh": "tyre", "parents": ("wheel", "car"), "node_index": 2, "mesh_index": 0}
    assert shape.pieces == (
        Piece(**wheel, material="rubber", primitive_index=1),
        Piece(**wheel, primitive_index=2),
        Piece(**bolts, material="rubber", primitive_index=1, instance_index=0),
        Piece(**bolts, primitive_index=2, instance_index=0),
        Piece(**bolts, material="rubber", primitive_index=1, instance_index=1),
        Piece(**bolts, primitive_index=2, instance_index=1),
    )
    assert shape.face_piece.tolist() == [0, 0, 1, 2, 2, 3, 4, 4, 5]


def test_a_piece_of_each_face_is_checked() -> None:
    points, faces = np.eye(3, dtype=np.float32), np.array([[0, 1, 2]], np.int32)
    Shape(points, faces, pieces=(Piece("a"),), face_piece=np.zeros(1, np.int32)).validate()
    for pieces, face_piece in (((), [0]), ((Piece("a"),), [1]), ((Piece("a"),), [0, 0])):
        with pytest.raises(InputError, match="face_piece does not say"):
            Shape(points, faces, pieces=pieces, face_piece=np.array(face_piece, np.int32)).validate()
