"""Files to shapes: every format from hand-written files, agreement with trimesh, and damaged input."""

from __future__ import annotations

import json
import os
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import trimesh

from pa3d.atomic import atomic_write, check_writable_folder
from pa3d.errors import InputError
from pa3d.io import SUFFIXES, formats, load
from pa3d.io._common import CorruptFileError, Geometry, byte_colors, join_colors, strip_triangles, triangulate
from pa3d.io.pcd import lzf_decompress
from pa3d.shape import Shape

# A square pyramid: a quad and four triangles. As fans: the quad's two halves, then the sides.
CORNERS = np.array([[0, 0, 0], [1, 0, 0], [1, 0, 1], [0, 0, 1], [0.5, 1, 0.5]])
POLYGONS = [(0, 1, 2, 3), (0, 4, 1), (1, 4, 2), (2, 4, 3), (3, 4, 0)]
FANS = [[0, 1, 2], [0, 2, 3], [0, 4, 1], [1, 4, 2], [2, 4, 3], [3, 4, 0]]
TRIANGLES = np.array(FANS)
CLOUD = np.array([[0, 0, 0], [1, 0.5, 0], [0, 2, -1], [3, 0, 1.25]])
COLORS = np.array([[255, 0, 0], [0, 255, 0], [0, 0, 255], [10, 20, 30]])


def obj_bytes() -> bytes:
    vertices = "".join(f"v {x} {y} {z}\n" for x, y, z in CORNERS)
    faces = "".join("f " + " ".join(str(i + 1) for i in polygon) + "\n" for polygon in POLYGONS)
    return f"# a pyramid\no pyramid\n{vertices}vn 0 1 0\nusemtl red\n{faces}".encode()


def off_bytes() -> bytes:
    vertices = "".join(f"{x} {y} {z}\n" for x, y, z in CORNERS)
    faces = "".join(f"{len(polygon)} {' '.join(map(str, polygon))}\n" for polygon in POLYGONS)
    return f"OFF\n# counts\n5 5 0\n{vertices}\n{faces}".encode()


def ply_bytes(encoding: str, *, colors: bool = False, mixed: bool = True, faces: bool = True) -> bytes:
    polygons = (POLYGONS if mixed else FANS) if faces else []
    color_lines = "property uchar red\nproperty uchar green\nproperty uchar blue\n" if colors else ""
    header = (
        f"ply\nformat {encoding} 1.0\ncomment made by hand\nelement vertex 5\n"
        f"property float x\nproperty double y\nproperty float z\n{color_lines}"
        + (
            f"element face {len(polygons)}\nproperty uchar flags\nproperty list uchar int vertex_indices\n"
            if faces
            else ""
        )
        + "end_header\n"
    )
    rgb = [(10 * i, 20, 30) if colors else () for i in range(5)]
    if encoding == "ascii":
        body = "".join(" ".join(map(str, (*xyz, *c))) + "\n" for xyz, c in zip(CORNERS, rgb, strict=True))
        body += "".join(" ".join(map(str, (7, len(p), *p))) + "\n" for p in polygons)
        return (header + body).encode()
    order = "<" if "little" in encoding else ">"
    data = b"".join(struct.pack(f"{order}fdf{len(c)}B", *xyz, *c) for xyz, c in zip(CORNERS, rgb, strict=True))
    data += b"".join(struct.pack(f"{order}BB{len(p)}i", 7, len(p), *p) for p in polygons)
    return header.encode() + data


def stl_bytes() -> bytes:
    data = b"solid in name only".ljust(80) + struct.pack("<I", len(TRIANGLES))
    return data + b"".join(struct.pack("<12fH", 0, 0, 1, *CORNERS[t].ravel(), 0) for t in TRIANGLES)


def stl_text() -> bytes:
    facets = "".join(
        "facet normal 0 0 1\n outer loop\n"
        + "".join(f"  vertex {x} {y} {z}\n" for x, y, z in CORNERS[t])
        + " endloop\nendfacet\n"
        for t in TRIANGLES
    )
    return f"solid pyramid\n{facets}endsolid pyramid\n".encode()


def glb_bytes(document: dict, binary: bytes) -> bytes:
    text = json.dumps(document).encode()
    text += b" " * (-len(text) % 4)
    binary += b"\0" * (-len(binary) % 4)
    chunks = struct.pack("<I4s", len(text), b"JSON") + text + struct.pack("<I4s", len(binary), b"BIN\0") + binary
    return struct.pack("<4sII", b"glTF", 2, 12 + len(chunks)) + chunks


def pyramid_gltf() -> tuple[dict, bytes]:
    """The pyramid as glTF with 16-bit indices."""
    positions, indices = CORNERS.astype("<f4").tobytes(), TRIANGLES.astype("<u2").tobytes()
    document = {
        "asset": {"version": "2.0"},
        "scene": 0,
        "scenes": [{"nodes": [0]}],
        "nodes": [{"mesh": 0}],
        "meshes": [{"primitives": [{"attributes": {"POSITION": 0}, "indices": 1}]}],
        "buffers": [{"byteLength": len(positions + indices)}],
        "bufferViews": [
            {"buffer": 0, "byteOffset": 0, "byteLength": len(positions)},
            {"buffer": 0, "byteOffset": len(positions), "byteLength": len(indices)},
        ],
        "accessors": [
            {
                "bufferView": 0,
                "componentType": 5126,
                "count": 5,
                "type": "VEC3",
                "min": [0, 0, 0],
                "max": [1, 1, 1],
            },
            {"bufferView": 1, "componentType": 5123, "count": 18, "type": "SCALAR"},
        ],
    }
    return document, positions + indices


def lzf_literals(data: bytes) -> bytes:
    """The simplest valid LZF: literal runs only."""
    return b"".join(bytes([len(data[i : i + 32]) - 1]) + data[i : i + 32] for i in range(0, len(data), 32))


def pcd_bytes(encoding: str, points: int = 4) -> bytes:
    packed = (COLORS[:, 0] << 16 | COLORS[:, 1] << 8 | COLORS[:, 2]).astype("<u4")
    header = (
        "# .PCD v0.7 - Point Cloud Data file format\nVERSION 0.7\n"
        "FIELDS x y z _ rgb\nSIZE 4 8 4 1 4\nTYPE F F F U F\nCOUNT 1 1 1 3 1\n"
        f"WIDTH {points}\nHEIGHT 1\nVIEWPOINT 0 0 0 1 0 0 0\nPOINTS {points}\nDATA {encoding}\n"
    ).encode()
    x, y, z = CLOUD.T.astype("<f4")[0], CLOUD.T[1].astype("<f8"), CLOUD.T.astype("<f4")[2]
    if encoding == "ascii":
        rows = zip(x, y, z, packed.view("<f4"), strict=True)
        return header + "".join(f"{a} {b} {c} 0 0 0 {float(d)!r}\n" for a, b, c, d in rows).encode()
    if encoding == "binary":
        return header + b"".join(
            struct.pack("<fdf3BI", a, b, c, 0, 0, 0, d) for a, b, c, d in zip(x, y, z, packed, strict=True)
        )
    plain = x.tobytes() + y.tobytes() + z.tobytes() + bytes(12) + packed.tobytes()
    squeezed = lzf_literals(plain)
    return header + struct.pack("<II", len(squeezed), len(plain)) + squeezed


def npz_bytes(tmp_path: Path, **arrays: np.ndarray) -> bytes:
    np.savez(tmp_path / "made.npz", **arrays)
    return (tmp_path / "made.npz").read_bytes()


def npy_bytes(tmp_path: Path, array: np.ndarray) -> bytes:
    np.save(tmp_path / "made.npy", array)
    return (tmp_path / "made.npy").read_bytes()


def write(tmp_path: Path, name: str, data: bytes | str) -> Path:
    path = tmp_path / name
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    return path


def soup(points: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """The triangles of a mesh in an order of their own, for comparing meshes whose order differs."""
    corners = np.round(np.asarray(points, np.float64)[np.asarray(faces)], 5)
    return np.array(sorted(sorted(map(tuple, triangle)) for triangle in corners))


def read_with_trimesh(path: Path) -> Geometry:
    """Every mesh of a file in world coordinates, by another reader."""
    scene = trimesh.load(path, process=False, force="scene")
    meshes = [mesh for mesh in scene.dump() if isinstance(mesh, trimesh.Trimesh)]
    points = [np.asarray(mesh.vertices, np.float64) for mesh in meshes]
    starts = np.cumsum([0, *map(len, points)])
    faces = [np.asarray(mesh.faces, np.int64) + start for mesh, start in zip(meshes, starts, strict=False)]
    colors = [np.asarray(mesh.visual.vertex_colors)[:, :3] if mesh.visual.kind == "vertex" else None for mesh in meshes]
    return Geometry(np.concatenate(points), np.concatenate(faces), join_colors(points, colors))


# --- meshes ---


@pytest.mark.parametrize("encoding", ["ascii", "binary_little_endian", "binary_big_endian"])
@pytest.mark.parametrize("mixed", [True, False])
@pytest.mark.parametrize("colors", [True, False])
def test_ply_mesh(tmp_path: Path, encoding: str, mixed: bool, colors: bool) -> None:
    shape = load(write(tmp_path, "a.ply", ply_bytes(encoding, colors=colors, mixed=mixed)))
    np.testing.assert_array_equal(shape.points, CORNERS)
    np.testing.assert_array_equal(shape.faces, FANS)
    assert shape.points.dtype == np.float32 and shape.faces is not None and shape.faces.dtype == np.int32
    if colors:
        np.testing.assert_array_equal(shape.colors, [[10 * i, 20, 30] for i in range(5)])
    else:
        assert shape.colors is None


@pytest.mark.parametrize("encoding", ["ascii", "binary_little_endian", "binary_big_endian"])
def test_ply_cloud(tmp_path: Path, encoding: str) -> None:
    shape = load(write(tmp_path, "a.ply", ply_bytes(encoding, colors=True, faces=False)))
    assert not shape.is_mesh and shape.name == "a.ply" and shape.up == "y"
    np.testing.assert_array_equal(shape.points, CORNERS)
    assert shape.colors is not None and shape.colors[4].tolist() == [40, 20, 30]


def test_ply_without_rows_of_faces_is_a_cloud(tmp_path: Path) -> None:
    data = ply_bytes("ascii", faces=False)
    data = data.replace(b"end_header", b"element face 0\nproperty list uchar int vertex_index\nend_header")
    assert not load(write(tmp_path, "a.ply", data)).is_mesh


def test_obj_keeps_the_order_of_the_file(tmp_path: Path) -> None:
    shape = load(write(tmp_path, "a.OBJ", obj_bytes()))
    np.testing.assert_array_equal(shape.points, CORNERS)
    np.testing.assert_array_equal(shape.faces, FANS)


def test_obj_variants(tmp_path: Path) -> None:
    text = (
        "v 9 9 9\nv 0 0 0 1 0 0\nv 1 0 0 0 1 0\r\n  v 0 1 0 0 0 0.5\nvt 0 0\nvn 0 0 1\n"
        "usemtl b\nf 2/1/1 3/1/1 4/1/1\nv 0 0 1\nusemtl a\nf -4//1 -3//1 \\\n -1//1\nl 1 2\n"
    )
    shape = load(write(tmp_path, "a.obj", text))
    np.testing.assert_array_equal(shape.faces, [[1, 2, 3], [1, 2, 4]])
    assert shape.colors is None  # the first vertex has none

    colored = load(
        write(
            tmp_path,
            "b.obj",
            text.replace("v 9 9 9", "v 9 9 9 1 1 1").replace("v 0 0 1\n", "v 0 0 1 0 0 0\n"),
        )
    )
    np.testing.assert_array_equal(colored.colors, [[255] * 3, [255, 0, 0], [0, 255, 0], [0, 0, 128], [0, 0, 0]])


@pytest.mark.parametrize("data", [stl_bytes(), stl_bytes() + b"appended", stl_text(), stl_text().upper()])
def test_stl(tmp_path: Path, data: bytes) -> None:
    shape = load(write(tmp_path, "a.stl", data))
    np.testing.assert_array_equal(shape.points, CORNERS[TRIANGLES].reshape(-1, 3))
    np.testing.assert_array_equal(shape.faces, np.arange(18).reshape(-1, 3))


def test_off(tmp_path: Path) -> None:
    shape = load(write(tmp_path, "a.off", off_bytes()))
    np.testing.assert_array_equal(shape.points, CORNERS)
    np.testing.assert_array_equal(shape.faces, FANS)
    one_line = off_bytes().replace(b"OFF\n# counts\n", b"OFF ")
    np.testing.assert_array_equal(load(write(tmp_path, "b.off", one_line)).faces, FANS)
    colored = "COFF\n3 1 0\n0 0 0 255 0 0 255\n1 0 0 0 255 0 255\n0 1 0 0 0 255 255\n3 0 1 2 0.5 0.5 0.5\n"
    assert np.array_equal(load(write(tmp_path, "c.off", colored)).colors, 255 * np.eye(3))


def test_triangulate_by_hand() -> None:
    got = triangulate(np.array([3, 2, 5, 0, 4]), np.arange(14))
    assert got.tolist() == [[0, 1, 2], [5, 6, 7], [5, 7, 8], [5, 8, 9], [10, 11, 12], [10, 12, 13]]
    assert triangulate(np.array([], int), np.array([], int)).shape == (0, 3)


def test_duplicate_and_degenerate_faces_are_kept(tmp_path: Path) -> None:
    shape = load(write(tmp_path, "a.obj", obj_bytes() + b"f 1 5 2\nf 1 1 1\n"))
    assert shape.faces is not None and shape.faces[6:].tolist() == [[0, 4, 1], [0, 0, 0]]


# --- glTF ---


def test_glb_by_hand(tmp_path: Path) -> None:
    shape = load(write(tmp_path, "a.glb", glb_bytes(*pyramid_gltf())))
    np.testing.assert_array_equal(shape.points, CORNERS)
    np.testing.assert_array_equal(shape.faces, TRIANGLES)
    assert load(tmp_path / "a.glb", up="z").up == "z"


@pytest.mark.parametrize("where", ["data", "file"])
def test_gltf_with_its_buffer_elsewhere(tmp_path: Path, where: str) -> None:
    import base64

    document, binary = pyramid_gltf()
    (tmp_path / "the buffer.bin").write_bytes(binary)
    encoded = base64.b64encode(binary).decode()
    document["buffers"][0]["uri"] = (
        "the%20buffer.bin" if where == "file" else f"data:application/octet-stream;base64,{encoded}"
    )
    shape = load(write(tmp_path, "a.gltf", json.dumps(document)))
    np.testing.assert_array_equal(shape.faces, TRIANGLES)
    if where == "file":
        (tmp_path / "the buffer.bin").unlink()
        with pytest.raises(InputError, match=r"a\.gltf: needs the file 'the%20buffer\.bin' beside it"):
            load(tmp_path / "a.gltf")


def test_glb_agrees_with_trimesh_on_a_scene(tmp_path: Path) -> None:
    """Nested transforms, a mirrored and a repeated mesh, and colours on one of them."""
    ball = trimesh.creation.icosphere(subdivisions=1)
    ball.visual.vertex_colors = np.tile([10, 200, 30, 255], (len(ball.vertices), 1))
    rotation = trimesh.transformations.rotation_matrix(0.7, [1, 2, 3], [0.1, 0, 0])
    scene = trimesh.Scene()
    scene.graph.update(frame_from="world", frame_to="group", matrix=rotation)
    scene.add_geometry(ball, "ball", "left", "group", transform=trimesh.transformations.translation_matrix([2, 0, 0]))
    scene.add_geometry(trimesh.creation.box(), "box", "mirrored", "group", transform=np.diag([-2.0, 1, 3, 1]))
    scene.graph.update(frame_from="group", frame_to="again", matrix=np.diag([0.5, 0.5, 0.5, 1]), geometry="ball")
    (tmp_path / "a.glb").write_bytes(scene.export(file_type="glb"))

    shape, expected = load(tmp_path / "a.glb"), read_with_trimesh(tmp_path / "a.glb")
    assert shape.faces is not None and expected.faces is not None and expected.colors is not None
    np.testing.assert_allclose(soup(shape.points, shape.faces), soup(expected.points, expected.faces), atol=2e-5)
    volume = trimesh.Trimesh(shape.points, shape.faces, process=False).volume
    assert volume == pytest.approx(trimesh.Trimesh(expected.points, expected.faces, process=False).volume, rel=1e-5)
    assert shape.colors is not None and sorted(map(tuple, shape.colors)) == sorted(map(tuple, expected.colors))


def test_glb_primitives_that_share_vertices_do_not_repeat_them(tmp_path: Path) -> None:
    document, binary = pyramid_gltf()
    document["accessors"][1]["count"] = 6
    document["accessors"].append({**document["accessors"][1], "byteOffset": 12, "count": 12})
    document["meshes"][0]["primitives"].append({"attributes": {"POSITION": 0}, "indices": 2})
    shape = load(write(tmp_path, "a.glb", glb_bytes(document, binary)))
    np.testing.assert_array_equal(shape.points, CORNERS)
    np.testing.assert_array_equal(shape.faces, TRIANGLES)


def test_glb_skin_is_posed_by_its_joints(tmp_path: Path) -> None:
    """Two joints: the first moves by +10 in x from where it was bound, the second turns 90 degrees about z.

    The mesh's own node must not count. Vertex 4 hangs half on each.
    """
    document, binary = pyramid_gltf()
    joints = np.array([[0, 0, 0, 0], [0, 0, 0, 0], [1, 0, 0, 0], [1, 0, 0, 0], [0, 1, 0, 0]], "<u1")
    weights = np.array([[1, 0, 0, 0]] * 4 + [[2, 2, 0, 0]], "<f4")
    inverse = np.stack([np.eye(4), np.eye(4)]).astype("<f4")
    inverse[0, 0, 3] = -5.0  # bound at x = 5
    for array, count, kind, component in (
        (joints, 5, "VEC4", 5121),
        (weights, 5, "VEC4", 5126),
        (inverse.transpose(0, 2, 1), 2, "MAT4", 5126),
    ):
        data = array.tobytes()
        binary += b"\0" * (-len(binary) % 4)
        document["bufferViews"].append({"buffer": 0, "byteOffset": len(binary), "byteLength": len(data)})
        view = len(document["bufferViews"]) - 1
        document["accessors"].append({"bufferView": view, "componentType": component, "count": count, "type": kind})
        binary += data
    document["buffers"][0]["byteLength"] = len(binary)
    document["meshes"][0]["primitives"][0]["attributes"] |= {"JOINTS_0": 2, "WEIGHTS_0": 3}
    half = np.sqrt(0.5)
    document["nodes"] = [
        {"mesh": 0, "skin": 0, "translation": [100, 100, 100]},
        {"translation": [15, 0, 0]},
        {"rotation": [0, 0, half, half]},
    ]
    document["scenes"] = [{"nodes": [0, 1, 2]}]
    document["skins"] = [{"joints": [1, 2], "inverseBindMatrices": 4}]
    shape = load(write(tmp_path, "a.glb", glb_bytes(document, binary)))
    expected = [[10, 0, 0], [11, 0, 0], [0, 1, 1], [0, 0, 1], [(10.5 - 1) / 2, (1 + 0.5) / 2, 0.5]]
    np.testing.assert_allclose(shape.points + shape.origin, expected, atol=1e-5)


def test_glb_quantised_positions(tmp_path: Path) -> None:
    document, _ = pyramid_gltf()
    positions = (CORNERS * 32767).astype("<i2")
    padded = np.concatenate([positions, np.zeros((5, 1), "<i2")], axis=1)  # stride 8
    binary = padded.tobytes() + TRIANGLES.astype("<u2").tobytes()
    document["bufferViews"] = [
        {"buffer": 0, "byteLength": 40, "byteStride": 8},
        {"buffer": 0, "byteOffset": 40, "byteLength": 36},
    ]
    document["accessors"][0] |= {"componentType": 5122, "normalized": True}
    document["extensionsRequired"] = document["extensionsUsed"] = ["KHR_mesh_quantization"]
    shape = load(write(tmp_path, "a.glb", glb_bytes(document, binary)))
    np.testing.assert_allclose(shape.points, CORNERS, atol=1 / 32767)


class Pyramid:
    """The pyramid's document and buffer, to which accessors are added."""

    def __init__(self) -> None:
        self.document, self.binary = pyramid_gltf()
        self.primitive = self.document["meshes"][0]["primitives"][0]
        self.node = self.document["nodes"][0]

    def accessor(self, array: np.ndarray, kind: str = "", **more: object) -> int:
        array = np.atleast_2d(array.T).T
        view = self.view(array)
        component = {"i1": 5120, "u1": 5121, "i2": 5122, "u2": 5123, "u4": 5125, "f4": 5126}[array.dtype.str[1:]]
        kind = kind or {1: "SCALAR", 2: "VEC2", 3: "VEC3", 4: "VEC4", 16: "MAT4"}[array.shape[1]]
        entry = {"bufferView": view, "componentType": component, "count": len(array), "type": kind, **more}
        self.document["accessors"].append(entry)
        return len(self.document["accessors"]) - 1

    def view(self, array: np.ndarray) -> int:
        self.binary += b"\0" * (-len(self.binary) % 4)
        view = {"buffer": 0, "byteOffset": len(self.binary), "byteLength": array.nbytes}
        self.document["bufferViews"].append(view)
        self.binary += array.tobytes()
        self.document["buffers"][0]["byteLength"] = len(self.binary)
        return len(self.document["bufferViews"]) - 1

    def load(self, tmp_path: Path) -> Shape:
        return load(write(tmp_path, "a.glb", glb_bytes(self.document, self.binary)))


def world(shape: Shape) -> np.ndarray:
    return shape.points + shape.origin


def test_strips_and_fans() -> None:
    # Specification 3.7.2.1: (i, i + 1 + i % 2, i + 2 - i % 2).
    assert strip_triangles(np.array([5, 6, 7, 8])).tolist() == [[5, 6, 7], [6, 8, 7]]
    assert strip_triangles(np.array([1, 2])).shape == (0, 3)


@pytest.mark.parametrize(
    ("mode", "corners", "expected"),
    [
        (5, [0, 1, 3, 2, 4], [[0, 1, 3], [1, 2, 3], [3, 2, 4]]),
        (6, [4, 0, 1, 2, 3], [[4, 0, 1], [4, 1, 2], [4, 2, 3]]),
    ],
)
def test_glb_strips_and_fans_beside_points_and_lines(
    tmp_path: Path, mode: int, corners: list[int], expected: list[list[int]]
) -> None:
    glb = Pyramid()
    used = glb.accessor(np.array(corners, "<u2"))
    glb.document["meshes"][0]["primitives"] = [
        {"attributes": {"POSITION": 0}, "mode": 0},
        {"attributes": {"POSITION": 0}, "indices": used, "mode": mode},
        {"attributes": {"POSITION": 0}, "indices": used, "mode": 3},
    ]
    shape = glb.load(tmp_path)
    np.testing.assert_array_equal(shape.points, CORNERS)
    np.testing.assert_array_equal(shape.faces, expected)


def test_glb_of_points_is_a_cloud(tmp_path: Path) -> None:
    glb = Pyramid()
    glb.primitive |= {"mode": 0, "indices": glb.accessor(np.array([4, 1, 0], "<u1"))}
    glb.node["translation"] = [0, 0, 2]
    shape = glb.load(tmp_path)
    assert not shape.is_mesh
    np.testing.assert_array_equal(shape.points, CORNERS[[4, 1, 0]] + [0, 0, 2])


@pytest.mark.parametrize("base", [True, False])
def test_glb_sparse_accessors(tmp_path: Path, base: bool) -> None:
    glb = Pyramid()
    moved = np.array([[0.5, 3, 0.5], [2, 0, 0]], "<f4")
    sparse = {
        "count": 2,
        "indices": {"bufferView": glb.view(np.array([4, 1], "<u1")), "componentType": 5121},
        "values": {"bufferView": glb.view(moved)},
    }
    glb.document["accessors"][0]["sparse"] = sparse
    expected = CORNERS.copy() if base else np.zeros((5, 3))
    expected[[4, 1]] = moved
    if not base:
        del glb.document["accessors"][0]["bufferView"]
        glb.document["accessors"][1]["count"] = 6  # of the base: two triangles, one with an area
        glb.primitive["indices"] = glb.accessor(np.array([0, 4, 1], "<u2"))
    np.testing.assert_array_equal(glb.load(tmp_path).points, expected)
    sparse["count"] = 9
    with pytest.raises(InputError, match="accessor 0 reaches beyond its buffer"):
        glb.load(tmp_path)


def test_glb_morph_targets_with_default_weights(tmp_path: Path) -> None:
    glb = Pyramid()
    up, aside = np.zeros((2, 5, 3), "<f4")
    up[4, 1], aside[:, 0] = 2, 1
    glb.primitive["targets"] = [{"POSITION": glb.accessor(up)}, {"POSITION": glb.accessor(aside)}]
    glb.document["meshes"][0]["weights"] = [0.5, 0]
    np.testing.assert_array_equal(glb.load(tmp_path).points, CORNERS + 0.5 * up)
    glb.node["weights"] = [0.25, 3]  # those of a node replace its mesh's
    np.testing.assert_array_equal(glb.load(tmp_path).points, CORNERS + 0.25 * up + 3 * aside)


def test_glb_quaternions_need_no_unit_length(tmp_path: Path) -> None:
    glb = Pyramid()
    glb.node["rotation"] = [0, 0, 3, 3]  # a quarter turn about z: (x, y, z) to (-y, x, z)
    expected = np.stack([-CORNERS[:, 1], CORNERS[:, 0], CORNERS[:, 2]], axis=1)
    np.testing.assert_allclose(glb.load(tmp_path).points, expected, atol=1e-6)


def test_glb_instances(tmp_path: Path) -> None:
    glb = Pyramid()
    half = np.sqrt(0.5)
    attributes = {
        "TRANSLATION": glb.accessor(np.array([[0, 0, 0], [5, 0, 0]], "<f4")),
        "ROTATION": glb.accessor(np.array([[0, 0, 0, 1], [0, 0, half, half]], "<f4")),
        "SCALE": glb.accessor(np.array([[1, 1, 1], [2, 2, 2]], "<f4")),
    }
    glb.node |= {"translation": [0, 1, 0], "extensions": {"EXT_mesh_gpu_instancing": {"attributes": attributes}}}
    shape = glb.load(tmp_path)
    second = 2 * np.stack([-CORNERS[:, 1], CORNERS[:, 0], CORNERS[:, 2]], axis=1) + [5, 0, 0]
    np.testing.assert_allclose(world(shape), np.concatenate([CORNERS, second]) + [0, 1, 0], atol=1e-5)
    np.testing.assert_array_equal(shape.faces, np.concatenate([TRIANGLES, TRIANGLES + 5]))


def test_glb_one_mesh_with_two_skins_and_eight_influences(tmp_path: Path) -> None:
    """Two nodes show one mesh, bound to the joints (1, 2) and (2, 1), which stand at x = 10 and x = 20.

    The fifth influence counts, and those of weight 0 may name joints that do not exist.
    """
    glb = Pyramid()
    zeros = np.zeros((5, 4), "<u1")
    beyond = zeros.copy()
    beyond[:, 1] = 200
    last = zeros.copy()
    last[:, 0] = 1
    weights = np.zeros((2, 5, 4), "<f4")
    weights[0, :, 0], weights[1, 4, 0], weights[0, 4, 0] = 1, 1, 3  # the tip: a quarter on the second joint
    glb.primitive["attributes"] |= {
        "JOINTS_0": glb.accessor(beyond), "WEIGHTS_0": glb.accessor(weights[0]),
        "JOINTS_1": glb.accessor(last), "WEIGHTS_1": glb.accessor(weights[1]),
    }  # fmt: skip
    glb.document["nodes"] = [
        {"mesh": 0, "skin": 0}, {"translation": [10, 0, 0]}, {"translation": [20, 0, 0]}, {"mesh": 0, "skin": 1},
    ]  # fmt: skip
    glb.document["scenes"] = [{"nodes": [0, 1, 2, 3]}]
    glb.document["skins"] = [{"joints": [1, 2]}, {"joints": [2, 1]}]
    first, second = CORNERS.copy(), CORNERS.copy()
    first[:, 0] += [10, 10, 10, 10, 12.5]
    second[:, 0] += [20, 20, 20, 20, 17.5]
    np.testing.assert_allclose(world(glb.load(tmp_path)), np.concatenate([first, second]), atol=1e-5)
    glb.document["skins"][0]["joints"] = [1]
    with pytest.raises(InputError, match="joints and weights of a skin do not fit"):
        glb.load(tmp_path)


def test_glb_normalised_colours_and_interleaved_vertices(tmp_path: Path) -> None:
    document, _ = pyramid_gltf()
    rows = np.zeros(5, [("position", "<f4", 3), ("color", "<u1", 4)])
    rows["position"], rows["color"][:, :3], rows["color"][:, 3] = CORNERS, COLORS[[0, 1, 2, 3, 0]], 255
    binary = rows.tobytes() + TRIANGLES.astype("<u2").tobytes()
    document["bufferViews"] = [
        {"buffer": 0, "byteLength": 80, "byteStride": 16},
        {"buffer": 0, "byteOffset": 80, "byteLength": 36},
    ]
    color = {"bufferView": 0, "byteOffset": 12, "componentType": 5121, "normalized": True, "count": 5, "type": "VEC4"}
    document["accessors"].append(color)
    document["meshes"][0]["primitives"][0]["attributes"]["COLOR_0"] = 2
    shape = load(write(tmp_path, "a.glb", glb_bytes(document, binary)))
    np.testing.assert_array_equal(shape.points, CORNERS)
    np.testing.assert_array_equal(shape.colors, COLORS[[0, 1, 2, 3, 0]])


def test_glb_names_materials_and_pieces(tmp_path: Path) -> None:
    from pa3d.io.gltf import Gltf

    glb = Pyramid()
    glb.document["materials"] = [
        {"name": "red", "pbrMetallicRoughness": {"baseColorFactor": [1, 0, 0, 1]}},
        {"name": "old", "extensions": {"KHR_materials_pbrSpecularGlossiness": {"diffuseFactor": [0, 0.5, 0, 1]}}},
    ]
    glb.primitive["material"] = 1
    glb.node |= {"name": "tip", "scale": [-1, 1, 1]}
    glb.document["nodes"].append({"name": "group", "children": [0]})
    glb.document["scenes"] = [{"nodes": [1]}]
    gltf = Gltf(glb_bytes(glb.document, glb.binary))
    [instance] = gltf.primitive_instances()
    assert gltf.nodes[instance.node].name == "tip" and [gltf.nodes[i].name for i in gltf.ancestors(instance.node)] == [
        "group"
    ]
    assert gltf.material_name(instance.primitive.material) == "old"
    assert [m.base_color.tolist() for m in gltf.materials] == [[1, 0, 0], [0, 0.5, 0]]
    assert instance.faces is not None and instance.faces.tolist() == TRIANGLES[:, ::-1].tolist()  # mirrored


def test_glb_and_other_common_formats_do_not_import_trimesh(tmp_path: Path) -> None:
    write(tmp_path, "a.glb", glb_bytes(*pyramid_gltf()))
    write(tmp_path, "a.ply", ply_bytes("binary_little_endian"))
    write(tmp_path, "a.stl", stl_bytes())
    code = (
        "import sys, pa3d.io\n"
        f"for suffix in ('glb', 'ply', 'stl'): pa3d.io.load({str(tmp_path)!r} + '/a.' + suffix)\n"
        "print([m for m in ('trimesh', 'scipy', 'torch', 'plotly', 'PIL') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_glb_files_of_others_agree_with_trimesh(shared: Path) -> None:
    files = sorted((shared / "data/train/cc0_game_packs/kenney_racing").glob("*.glb"))
    assert files
    for path in files:
        shape, expected = load(path), read_with_trimesh(path)
        assert shape.faces is not None and expected.faces is not None
        got, want = (soup(*pair) for pair in ((shape.points, shape.faces), (expected.points, expected.faces)))
        np.testing.assert_allclose(got, want, atol=2e-5)


# --- clouds ---


@pytest.mark.parametrize("encoding", ["ascii", "binary", "binary_compressed"])
def test_pcd(tmp_path: Path, encoding: str) -> None:
    shape = load(write(tmp_path, "a.pcd", pcd_bytes(encoding)))
    assert not shape.is_mesh
    np.testing.assert_array_equal(shape.points, CLOUD)
    np.testing.assert_array_equal(shape.colors, COLORS)


def test_lzf_by_hand() -> None:
    # "abc" literally, then 3 + 2 = 5 bytes from 3 back (which overlap), then 7 + 4 + 2 = 13 from 1 back.
    packed = bytes([2]) + b"abc" + bytes([3 << 5, 2]) + bytes([7 << 5, 4, 0])
    plain = b"abc" + b"abcab" + b"b" * 13
    assert lzf_decompress(packed, len(plain)) == plain
    far = bytes(range(256)) * 2
    assert lzf_decompress(lzf_literals(far) + bytes([1 << 5 | 1, 255]), 515) == far + far[:3]
    with pytest.raises(CorruptFileError, match="hold 21 bytes, not 20"):
        lzf_decompress(packed, 20)
    with pytest.raises(CorruptFileError, match="cannot be unpacked"):
        lzf_decompress(bytes([1 << 5, 0]), 3)


@pytest.mark.parametrize(
    ("name", "text", "colored"),
    [
        ("a.xyz", "{0} {1} {2}\n", False),
        ("a.txt", "{0}\t{1}  {2} 0.1 0.2 0.3 7\n", False),
        ("a.csv", "{0},{1},{2},{3},{4},{5}\n", True),
        ("a.asc", "{0};{1};{2}\n", False),
        ("a.pts", "{0} {1} {2} -513 {3} {4} {5}\n", True),
        ("a.xyz", "{0} {1} {2} {3} {4} {5} wheel\n", True),
    ],
)
def test_text(tmp_path: Path, name: str, text: str, colored: bool) -> None:
    rows = "".join(text.format(*xyz, *rgb) for xyz, rgb in zip(CLOUD, COLORS, strict=True))
    for header in ("", "4\n", "# made by hand\n\n", "\ufeff"):
        shape = load(write(tmp_path, name, header + rows))
        np.testing.assert_array_equal(shape.points, CLOUD)
        assert (shape.colors is not None) == colored
        if colored:
            np.testing.assert_array_equal(shape.colors, COLORS)


def test_text_columns_named_by_a_header(tmp_path: Path) -> None:
    text = "id,x,y,z,intensity,r,g,b\n" + "".join(
        f"{i},{x},{y},{z},0.5,{r},{g},{b}\n" for i, ((x, y, z), (r, g, b)) in enumerate(zip(CLOUD, COLORS, strict=True))
    )
    shape = load(write(tmp_path, "a.csv", text))
    np.testing.assert_array_equal(shape.points, CLOUD)
    np.testing.assert_array_equal(shape.colors, COLORS)


@pytest.mark.parametrize("dtype", ["<f8", ">f4", "<i4", "<f2"])
def test_npy(tmp_path: Path, dtype: str) -> None:
    points = np.round(CLOUD).astype(dtype)
    np.testing.assert_array_equal(load(write(tmp_path, "a.npy", npy_bytes(tmp_path, points))).points, points)
    wide = np.concatenate([CLOUD, COLORS, CLOUD], axis=1)
    shape = load(write(tmp_path, "b.npy", npy_bytes(tmp_path, np.asfortranarray(wide))))
    np.testing.assert_array_equal(shape.points, CLOUD)
    np.testing.assert_array_equal(shape.colors, COLORS)


def test_npz(tmp_path: Path) -> None:
    mesh = load(
        write(
            tmp_path,
            "a.npz",
            npz_bytes(tmp_path, vertices=CORNERS, faces=TRIANGLES, part_names=np.array(["a"])),
        )
    )
    np.testing.assert_array_equal(mesh.points, CORNERS)
    np.testing.assert_array_equal(mesh.faces, TRIANGLES)
    cloud = load(write(tmp_path, "b.npz", npz_bytes(tmp_path, xyz=CLOUD, colors=COLORS / 255)))
    assert not cloud.is_mesh
    np.testing.assert_array_equal(cloud.colors, COLORS)


def test_las(tmp_path: Path) -> None:
    laspy = pytest.importorskip("laspy")
    las = laspy.create(point_format=2, file_version="1.2")
    las.header.offsets, las.header.scales = [4e5, 5e6, 0], [0.01] * 3
    world = CLOUD + np.array([4e5, 5e6, 100])
    las.xyz = world
    las.red, las.green, las.blue = (257 * COLORS.T).astype(np.uint16)
    las.write(tmp_path / "a.las")
    shape = load(tmp_path / "a.las")
    np.testing.assert_allclose(shape.points + shape.origin, world, atol=0.006)
    np.testing.assert_array_equal(shape.colors, COLORS)


def test_las_without_laspy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "laspy", None)
    with pytest.raises(
        InputError, match=r"a\.las: is LAS or LAZ, which needs the package laspy; pip install 'pa3d\[las\]'"
    ):
        load(write(tmp_path, "a.las", b"LASF" + bytes(400)))


def test_georeferenced_coordinates_stay_exact(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    millimetres = rng.integers(0, 100_000, (500, 3))
    world = millimetres / 1000 + [448_123.0, 5_411_876.0, 312.0]
    shape = load(write(tmp_path, "a.xyz", "".join(f"{x:.3f} {y:.3f} {z:.3f}\n" for x, y, z in world)))
    assert shape.origin.dtype == np.float64 and np.abs(shape.points).max() <= 128
    # float32 alone would be off by up to 0.25; up to 128 from the origin it is off by 2^-18 at most.
    assert np.abs(shape.points + shape.origin - world).max() <= 2.0**-18
    assert not load(write(tmp_path, "b.xyz", "0 0 0\n1 2 3\n9 9 15\n")).origin.any()


# --- bad input ---


def bad_files(tmp_path: Path) -> dict[str, tuple[bytes, str]]:
    """Name -> content and what the message says."""
    ply, glb, pcd = ply_bytes("binary_little_endian"), glb_bytes(*pyramid_gltf()), pcd_bytes("binary")
    garbage = np.random.default_rng(1).integers(0, 256, 3000, np.uint8).tobytes()
    document, binary = pyramid_gltf()
    far = json.loads(json.dumps(document))
    far["accessors"][1]["count"] = 10**12
    loop = json.loads(json.dumps(document))
    loop["nodes"] = [{"children": [1]}, {"children": [0]}]
    empty = {**document, "meshes": [{"primitives": []}]}
    wild = binary[:60] + np.array([4_000_000_000, 1, 2], "<u4").tobytes()
    wild_document = json.loads(json.dumps(document))
    wild_document["accessors"][1] |= {"componentType": 5125, "count": 3}
    wild_document["bufferViews"][1]["byteLength"] = 12
    return {
        "empty.glb": (b"", "the file is empty"),
        "cut.ply": (ply[:-20], "declares 5 rows of 'face' but holds fewer"),
        "lies.ply": (
            ply.replace(b"vertex 5", b"vertex 1000000000000"),
            "declares 1000000000000 rows of 'vertex'",
        ),
        "lies_text.ply": (
            ply_bytes("ascii").replace(b"vertex 5", b"vertex 1000000000000"),
            "declares 1000000000000 rows",
        ),
        "hollow.ply": (
            b"ply\nformat ascii 1.0\nelement vertex 99999999999\nend_header\n",
            "no vertices with x, y and z",
        ),
        "header.ply": (b"ply\nformat ascii 1.0\nelement vertex 3\n", "its PLY header is not complete"),
        "words.ply": (ply_bytes("ascii").replace(b"0.5", b"half"), "text where numbers are expected"),
        "other.ply": (glb, "does not begin with 'ply'"),
        "index.ply": (ply_bytes("ascii").replace(b"7 4 0 1 2 3", b"7 4 0 1 2 9"), r"outside 0\.\.4"),
        "cut.glb": (glb[:-8], "declares [0-9]+ bytes but has"),
        "lies.glb": (
            glb[:12] + struct.pack("<I", 2**31) + glb[16:],
            "chunk of 2147483648 bytes does not fit",
        ),
        "old.glb": (glb[:4] + struct.pack("<I", 1) + glb[8:], "version 1; convert it to version 2"),
        "far.glb": (glb_bytes(far, binary), "accessor 1 reaches beyond its buffer"),
        "loop.glb": (glb_bytes(loop, binary), "its nodes form a loop"),
        "nothing.glb": (glb_bytes(empty, binary), "no points|no faces"),
        "wild.glb": (glb_bytes(wild_document, wild), r"outside 0\.\.4"),
        "garbage.gltf": (garbage, "JSON cannot be read"),
        "list.gltf": (b"[1, 2]", "no 'asset'"),
        "deep.gltf": (b"[" * 100_000, "damaged or not a valid GLTF file"),
        "cut.stl": (stl_bytes()[:-10], "is damaged|truncated"),
        "cut_text.stl": (stl_text()[:-60], "no 'endsolid' at its end"),
        "none.stl": (bytes(84), "declares 0 triangles and has 84 bytes"),
        "corner.stl": (stl_text().replace(b"vertex 0", b"vertex zero"), "text where numbers are expected"),
        "lines.obj": (b"v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2\n", "the mesh has no faces"),
        "zero.obj": (b"v 0 0 0\nv 1 0 0\nv 0 1 0\nf 0 1 2\n", "vertex numbers other than 1, 2"),
        "range.obj": (b"v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 7\n", r"outside 0\.\.2"),
        "words.obj": (b"v 0 0 0\nv 1 zero 0\nf 1 2 2\n", "a vertex does not have three numbers"),
        "garbage.obj": (garbage, "has no vertices"),
        "nan.obj": (obj_bytes().replace(b"v 0.5", b"v nan"), "1 of 5 points have NaN or infinite"),
        "flat.obj": (b"v 0 0 0\nv 1 0 0\nv 2 0 0\nf 1 2 3\n", "every face has zero area"),
        "cut.off": (off_bytes()[:-30], "is truncated: it declares 5 vertices and 5 faces"),
        "lies.off": (
            off_bytes().replace(b"5 5 0", b"5 9999999999 0"),
            "declares 5 vertices and 9999999999 faces",
        ),
        "words.off": (
            off_bytes().replace(b"4 0 1 2 3", b"9 0 1 2 3"),
            "fewer vertex numbers than it declares",
        ),
        "cut.pcd": (pcd[:-8], "declares 4 points but holds 3"),
        "lies.pcd": (pcd_bytes("binary", 10**12), "declares 1000000000000 points but holds 4"),
        "lies_text.pcd": (pcd_bytes("ascii", 10**12), "declares 1000000000000 points but holds 4"),
        "lies_packed.pcd": (pcd_bytes("binary_compressed", 10**12), "its 1000000000000 points need"),
        "cut_packed.pcd": (pcd_bytes("binary_compressed")[:-9], "of [0-9]+ bytes that hold"),
        "padding.pcd": (pcd.replace(b"COUNT 1", b"COUNT 2147483647"), "declares 4 points but holds 0"),
        "padding_text.pcd": (pcd_bytes("ascii").replace(b"COUNT 1", b"COUNT 999999999999"), "do not fit together"),
        "axis.pcd": (pcd.replace(b"FIELDS x y z", b"FIELDS x y w"), "no field 'z'"),
        "type.pcd": (pcd.replace(b"TYPE F", b"TYPE Q"), "unknown TYPE and SIZE Q 4"),
        "kind.pcd": (pcd.replace(b"DATA binary", b"DATA morse"), "DATA 'morse'; expected ascii, binary"),
        "fields.pcd": (pcd.replace(b"SIZE 4 8", b"SIZE 8"), "do not fit together"),
        "garbage.pcd": (garbage, "not a PCD file"),
        "garbage.xyz": (garbage, "is not text"),
        "prose.txt": (b"seat, back, leg, arm\n", "no row 'x y z' of numbers"),
        "two.csv": (b"1,2\n3,4\n", "no row 'x y z' of numbers"),
        "cut.xyz": (b"0 0 0\n1 1 1\n2 2", "is damaged after line 0: .* give every row x y z"),
        "nan.xyz": (b"0 0 0\nnan 1 1\n2 inf 2\n", "2 of 3 points have NaN or infinite"),
        "equal.xyz": (b"1 2 3\n" * 5, "all 5 points are equal"),
        "latin.xyz": (b"# gr\xf6\xdfe\n0 0 0\n1 \xff\xfe 1\n", "is damaged after line 1"),
        "cut.npy": (npy_bytes(tmp_path, CLOUD)[:-5], "damaged or not a valid NPY file"),
        "lies.npy": (
            npy_bytes(tmp_path, CLOUD).replace(b"(4, 3)", b"(9999999999, 3)")[: 128 + 96],
            "NPY file",
        ),
        "objects.npy": (npy_bytes(tmp_path, np.array([{}], object)), "NPY file"),
        "flat.npy": (
            npy_bytes(tmp_path, CLOUD.ravel()),
            r"has an array \(12,\) of float64; expected numbers \(N, 3\)",
        ),
        "text.npy": (npy_bytes(tmp_path, np.array([["a", "b", "c"]])), r"expected numbers \(N, 3\)"),
        "garbage.npz": (garbage, "not an NPZ file"),
        "cut.npz": (npz_bytes(tmp_path, points=CLOUD)[:-30], "not an NPZ file"),
        "keys.npz": (npz_bytes(tmp_path, a=CLOUD, b=CLOUD), "holds a, b; expected an array named points"),
        "faces.npz": (npz_bytes(tmp_path, points=CORNERS, faces=CORNERS), r"has faces \(5, 3\) of float64"),
        "objects.npz": (npz_bytes(tmp_path, points=np.array([{}], object)), "NPZ file"),
    }


def one_line(error: pytest.ExceptionInfo[InputError], name: str) -> str:
    message = str(error.value)
    assert message.startswith(name) and "\n" not in message and ";" in message
    return message


def test_bad_files(tmp_path: Path) -> None:
    for name, (data, expected) in bad_files(tmp_path).items():
        with pytest.raises(InputError, match=expected) as error:
            load(write(tmp_path, name, data))
        one_line(error, name)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_garbage_and_empty(tmp_path: Path, suffix: str) -> None:
    rng = np.random.default_rng(2)
    for size in (0, 1, 83, 84, 200, 5000):
        data = rng.integers(0, 256, size, np.uint8).tobytes()
        with pytest.raises(InputError) as error:
            load(write(tmp_path, f"a{suffix}", data))
        one_line(error, "a.")


def test_what_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nowhere\.glb: no such file"):
        load(tmp_path / "nowhere.glb")
    with pytest.raises(InputError, match=r"is a folder; give a file, expected one of \.dae, \.zae, \.fbx, \.glb"):
        load(tmp_path)
    with pytest.raises(
        InputError,
        match=r"a\.blend: unsupported suffix '\.blend'; expected one of \.dae, \.zae, \.fbx, \.glb, \.gltf, \.npy",
    ):
        load(write(tmp_path, "a.blend", b"x"))
    with pytest.raises(InputError, match="up axis 'w' is unknown; give one of x, y, z, -x, -y, -z"):
        load(write(tmp_path, "a.obj", obj_bytes()), up="w")
    os.mkfifo(tmp_path / "pipe.ply")
    with pytest.raises(InputError, match="is not a regular file"):
        load(tmp_path / "pipe.ply")


@pytest.mark.parametrize(
    "name",
    [
        "a.obj",
        "a.off",
        "t.stl",
        "b.stl",
        "t.ply",
        "b.ply",
        "a.glb",
        "t.pcd",
        "b.pcd",
        "z.pcd",
        "a.npy",
        "a.npz",
    ],
)
def test_damaged_anyhow(tmp_path: Path, name: str) -> None:
    """Cut anywhere or with bytes changed at random, a file gives a shape or an InputError, nothing else."""
    data = {
        "a.obj": obj_bytes(),
        "a.off": off_bytes(),
        "t.stl": stl_text(),
        "b.stl": stl_bytes(),
        "t.ply": ply_bytes("ascii", colors=True),
        "b.ply": ply_bytes("binary_big_endian", colors=True),
        "a.glb": glb_bytes(*pyramid_gltf()),
        "t.pcd": pcd_bytes("ascii"),
        "b.pcd": pcd_bytes("binary"),
        "z.pcd": pcd_bytes("binary_compressed"),
        "a.npy": npy_bytes(tmp_path, CLOUD),
        "a.npz": npz_bytes(tmp_path, vertices=CORNERS, faces=TRIANGLES),
    }[name]
    rng = np.random.default_rng(3)
    cuts = [data[:size] for size in np.linspace(0, len(data) - 1, 60, dtype=int)]
    changed = []
    for _ in range(150):
        buffer = bytearray(data)
        for at in rng.integers(0, len(data), rng.integers(1, 5)):
            buffer[at] = rng.choice([0, 32, 45, 57, 255, rng.integers(256)])
        changed.append(bytes(buffer))
    refused = 0
    for variant in (*cuts, *changed):
        try:
            shape = load(write(tmp_path, name, variant))
        except InputError:
            refused += 1
        else:
            assert isinstance(shape, Shape) and np.isfinite(shape.points).all()
    assert refused >= 50


def test_byte_colors() -> None:
    assert byte_colors([np.array([v], np.uint16) for v in (0, 257, 65535)]).tolist() == [[0, 1, 255]]
    assert byte_colors([np.array([v]) for v in (0.0, 0.5, 1.0)]).tolist() == [[0, 128, 255]]
    assert byte_colors([np.array([v]) for v in (0.0, 128.0, 255.0)]).tolist() == [[0, 128, 255]]


# --- writing ---


def test_atomic_write(tmp_path: Path) -> None:
    target = tmp_path / "a.txt"
    with atomic_write(target, "w") as file:
        file.write("größe\n")
        assert not target.exists()
    assert target.read_bytes() == "größe\n".encode()
    with pytest.raises(ZeroDivisionError), atomic_write(target) as file:
        file.write(b"half")
        raise ZeroDivisionError
    assert target.read_bytes() == "größe\n".encode() and os.listdir(tmp_path) == ["a.txt"]
    with pytest.raises(ValueError, match="mode 'a' is not 'wb' or 'w'"), atomic_write(target, "a"):
        pass
    missing = pytest.raises(InputError, match=r"b\.txt: cannot be written \(No such file or directory\)")
    with missing, atomic_write(tmp_path / "missing" / "b.txt"):
        pass
    (tmp_path / "folder").mkdir()
    with pytest.raises(InputError, match="folder: cannot be written"), atomic_write(tmp_path / "folder"):
        pass
    assert sorted(os.listdir(tmp_path)) == ["a.txt", "folder"]
    assert (os.stat(target).st_mode & 0o777) == (0o666 & ~_umask())


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def test_check_writable_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert check_writable_folder(tmp_path) == tmp_path
    deep = tmp_path / "a" / "b"
    assert check_writable_folder(deep) == deep and not (tmp_path / "a").exists()
    write(tmp_path, "file", b"x")
    with pytest.raises(InputError, match=r"file is a file, not a folder; choose another output folder"):
        check_writable_folder(tmp_path / "file" / "out")
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    with pytest.raises(InputError, match="no permission to write in"):
        check_writable_folder(deep)


# --- formats as modules ---


def test_every_module_declares_its_format() -> None:
    import pa3d.io

    files = [path.stem for path in Path(pa3d.io.__file__).parent.glob("[!_]*.py")]
    assert len(formats()) == len(files) and len(set(SUFFIXES)) == len(SUFFIXES)
    assert {".glb", ".obj", ".ply", ".laz", ".txt"} <= set(SUFFIXES)
    assert pa3d.io.formats_table().count("\n") == len(files) + 1


def test_the_documentation_says_what_the_modules_say() -> None:
    import pa3d.io

    document = (Path(__file__).parents[1] / "docs" / "files.md").read_text()
    rows = {line for line in document.splitlines() if line.startswith("| ") and line.count("|") == 5}
    assert rows and rows <= set(pa3d.io.formats_table().splitlines())


def test_a_bug_of_a_reader_is_no_damaged_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path, "a.glb", glb_bytes(*pyramid_gltf()))
    for error in (TypeError("bug"), AttributeError("bug"), ValueError("bug"), AssertionError("bug")):
        monkeypatch.setattr("pa3d.io.gltf.Gltf.primitive_instances", lambda *_, error=error: raises(error))
        with pytest.raises(type(error), match="bug") as caught:
            load(path)
        assert not isinstance(caught.value, InputError)
    for foreign in (
        KeyError("nodes"),
        IndexError("9"),
        struct.error("short"),
        UnicodeDecodeError("utf-8", b"", 0, 1, ""),
    ):
        monkeypatch.setattr("pa3d.io.gltf.Gltf.primitive_instances", lambda *_, error=foreign: raises(error))
        with pytest.raises(InputError, match=r"a\.glb: is damaged or not a valid GLB file"):
            load(path)


def raises(error: Exception) -> None:
    raise error


# --- encodings and headers ---

ENDINGS = (b"\n", b"\r\n", b"\r")
MARK = b"\xef\xbb\xbf"


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("mark", [b"", MARK])
@pytest.mark.parametrize("name", ["a.obj", "a.off", "a.stl", "a.ply", "a.xyz", "a.pcd"])
def test_line_ends_marks_and_comments(tmp_path: Path, name: str, mark: bytes, ending: bytes) -> None:
    """Byte 0x85 (Latin-1's ellipsis, part of UTF-8's A with a ring) ends no line; a comment may hold anything."""
    comment = "Ångström ".encode() + b"\x85 v 9 9 9 end_header"
    text = {
        "a.obj": b"# " + comment + b"\n" + obj_bytes(),
        "a.off": off_bytes().replace(b"counts", comment),
        "a.stl": stl_text().replace(b"endsolid", b"end solid"),
        "a.ply": ply_bytes("ascii").replace(b"made by hand", comment),
        "a.xyz": b"# " + comment + b"\n0 0 0\n1 0.5 0\n0 2 -1\n3 0 1.25",
        "a.pcd": b"# " + comment + b"\n" + pcd_bytes("ascii"),
    }[name]
    shape = load(write(tmp_path, name, mark + text.replace(b"\n", ending)))
    expected = {"a.stl": CORNERS[TRIANGLES].reshape(-1, 3), "a.xyz": CLOUD, "a.pcd": CLOUD}.get(name, CORNERS)
    np.testing.assert_array_equal(shape.points, expected)


@pytest.mark.parametrize("ending", ENDINGS)
def test_binary_data_may_begin_with_any_byte(tmp_path: Path, ending: bytes) -> None:
    """The first coordinate's bytes are line ends."""
    first = np.frombuffer(b"\n\r\n\r", "<f4")[0]
    points = np.array([[first, 0, 0], [1, 0, 0], [0, 1, 0]], "<f4")
    header = b"ply\nformat binary_little_endian 1.0\nelement vertex 3\n" + b"".join(
        b"property float " + axis + b"\n" for axis in (b"x", b"y", b"z")
    )
    data = (header + b"comment end_header\nend_header\n").replace(b"\n", ending) + points.tobytes()
    np.testing.assert_array_equal(load(write(tmp_path, "a.ply", data)).points, points)
    header = b"FIELDS x y z\nSIZE 4 4 4\nTYPE f f f\nWIDTH 3\nHEIGHT 1\nDATA binary\n".replace(b"\n", ending)
    np.testing.assert_array_equal(load(write(tmp_path, "a.pcd", header + points.tobytes())).points, points)


def test_stl_without_its_last_line_and_ply_in_capitals(tmp_path: Path) -> None:
    text = stl_text().removesuffix(b"endsolid pyramid\n")
    assert load(write(tmp_path, "a.stl", text)).points.tolist() == CORNERS[TRIANGLES].reshape(-1, 3).tolist()
    with pytest.raises(InputError, match="endsolid"):
        load(write(tmp_path, "a.stl", text[:-12]))
    header = ply_bytes("ascii").decode()
    for axis in "xyz":
        header = header.replace(f" {axis}\n", f" {axis.upper()}\n")
    assert load(write(tmp_path, "a.ply", header)).points.tolist() == CORNERS.tolist()


def test_ply_strips(tmp_path: Path) -> None:
    data = ply_bytes("ascii", faces=False).replace(
        b"end_header\n", b"element tristrips 2\nproperty list int int vertex_indices\nend_header\n"
    )
    shape = load(write(tmp_path, "a.ply", data + b"8 0 1 3 2 -1 4 1 2\n3 0 4 1\n"))
    assert shape.faces is not None and shape.faces.tolist() == [[0, 1, 3], [1, 2, 3], [4, 1, 2], [0, 4, 1]]


def test_ply_rows_without_properties_take_no_time(tmp_path: Path) -> None:
    """Such rows hold nothing, however many the header declares; here a line holds more than its element says."""
    data = ply_bytes("ascii", faces=False).replace(b"end_header\n", b"element note 9223372036854775807\nend_header\n")
    first = data.index(b"end_header\n") + len(b"end_header\n")
    data = data[:first] + data[first:].replace(b"\n", b" 7\n", 1)
    assert load(write(tmp_path, "a.ply", data)).points.tolist() == CORNERS.tolist()


def test_off_without_a_blank_and_without_faces(tmp_path: Path) -> None:
    shape = load(write(tmp_path, "a.off", off_bytes().replace(b"OFF\n# counts\n5 5 0", b"OFF5 5 0")))
    np.testing.assert_array_equal(shape.faces, FANS)
    assert not load(write(tmp_path, "b.off", b"OFF\n3 0 0\n0 0 0\n1 0 0\n0 1 0\n")).is_mesh


def test_pcd_fields_that_take_no_room(tmp_path: Path) -> None:
    data = pcd_bytes("binary").replace(b"x y z _ rgb", b"x y z none _ rgb").replace(b"4 8 4 1 4", b"4 8 4 2 1 4")
    data = data.replace(b"F F F U F", b"f f f u u f").replace(b"1 1 1 3 1", b"1 1 1 0 3 1")
    shape = load(write(tmp_path, "a.pcd", data))
    np.testing.assert_array_equal(shape.points, CLOUD)
    np.testing.assert_array_equal(shape.colors, COLORS)


def test_obj_groups_materials_and_texture_coordinates(tmp_path: Path) -> None:
    from pa3d.io.obj import parse, parse_mtl

    cloud = load(write(tmp_path, "a.obj", "v 0 0 0\nv 1 0 0\nv 0 1 0\n"))
    assert not cloud.is_mesh and len(cloud.points) == 3
    obj = parse(
        b"mtllib a b.mtl\r\nv 0 0 0\nv 1 0 0\nv 0 1 0\nvt 0 0\nvt 1 0.5\nvt 0 1\n"
        b"g seat\nusemtl wood\nf 1/1 2/2 3/3\no leg\nf 1/-3 2/9 \\\n 3\nusemtl wood\nf 3 2 1\n"
    )
    assert obj.libraries == ["a b.mtl"]
    assert obj.names == [("seat", "", "wood"), ("", "leg", "wood")] and obj.face_name_index.tolist() == [0, 1, 1]
    assert obj.uv.tolist() == [[0, 0], [1, 0.5], [0, 1]]
    assert obj.corner_uv.tolist() == [[0, 1, 2], [0, -1, -1], [-1, -1, -1]]
    write(
        tmp_path, "a b.mtl", "newmtl wood\nKd 1 0.5 0\nmap_Kd -s 1 1 1 the bark.png\nnewmtl none\nKd spectral x.rfl\n"
    )
    found = parse_mtl(tmp_path / "a b.mtl")
    assert found["wood"].color is not None and found["wood"].color.tolist() == [255, 128, 0]
    assert found["wood"].texture == tmp_path / "the bark.png" and found["none"].color is None


# --- tables ---


@pytest.mark.parametrize(
    ("name", "header", "row"),
    [
        ("pandas.csv", ",x,y,z", "{i},{x},{y},{z}"),
        ("quoted.csv", '"Point ID","X","Y","Z"', '"{i}","{x}","{y}","{z}"'),
        ("fields.csv", "GPS Time;X;Y;Z", "{t};{x};{y};{z}"),
        ("tabs.txt", "GPS Time\tX [m]\tY [m]\tZ [m]", "{t}\t{x}\t{y}\t{z}"),
        ("velo.csv", "intensity,laser_id,Points_m_XYZ:0,Points_m_XYZ:1,Points_m_XYZ:2", "{t},{i},{x},{y},{z}"),
        ("para.csv", '"Normals:0","Normals:1","Normals:2","Points:0","Points:1","Points:2"', "0,0,1,{x},{y},{z}"),
        ("compare.asc", "//X Y Z R G B", "{x} {y} {z} 10 20 30"),
        ("colmap.txt", "# ID, X, Y, Z, R, G, B, ERROR, TRACK[] as (IMAGE_ID, IDX)", "{i} {x} {y} {z} 1 2 3 0.5 7 8"),
        ("normals.txt", "nx ny nz x y z", "0 0 1 {x} {y} {z}"),
        ("more.csv", "# made by hand\n# id,pos_x,pos_y,pos_z\n#", "{i},{x},{y},{z}"),
    ],
)  # fmt: skip
def test_a_header_names_columns_by_fields(tmp_path: Path, name: str, header: str, row: str) -> None:
    rows = [row.format(i=i, t=0.25 * i, x=x, y=y, z=z) for i, (x, y, z) in enumerate(CLOUD)]
    np.testing.assert_array_equal(load(write(tmp_path, name, "\n".join([header, *rows]))).points, CLOUD)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a,b,c,d\n1,2,3,4\n2,3,4,5\n", r"which columns are x, y and z \(a, b, c, d\); name them with --columns"),
        ("0 5 6 7\n1 6 7 8\n2 7 8 10\n", r"first column only counts the rows \(0, 5, 6, 7\)"),
        ("wheel 1 2 3\nseat 2 3 4\n", r"first three columns are not numbers \(wheel, 1, 2, 3\)"),
        ("GPS Time X Y Z\n0.5 1 2 3\n0.75 2 3 4\n", r"more words than columns \(gps, time, x, y, z\)"),
    ],
)
def test_tables_that_cannot_be_told_apart_are_refused(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        load(write(tmp_path, "a.txt", text))


def test_arrays_with_their_axes_the_other_way_round(tmp_path: Path) -> None:
    points = np.random.default_rng(0).normal(size=(200, 3))
    shape = load(write(tmp_path, "a.npy", npy_bytes(tmp_path, points.T)))
    np.testing.assert_array_equal(shape.points, points.astype(np.float32))
    for name, data in (
        ("b.npy", npy_bytes(tmp_path, np.concatenate([points, points], axis=1).T)),
        ("c.txt", "\n".join(" ".join(f"{x:.3f}" for x in row) for row in points.T).encode()),
    ):
        with pytest.raises(InputError, match="transpose it"):
            load(write(tmp_path, name, data))


def test_npz_with_a_cloud_and_a_mesh_is_the_mesh(tmp_path: Path) -> None:
    arrays = {"points": CLOUD[:2], "vertices": CORNERS, "faces": TRIANGLES}
    np.testing.assert_array_equal(load(write(tmp_path, "a.npz", npz_bytes(tmp_path, **arrays))).points, CORNERS)


def test_text_ply_whose_lines_hold_more_than_the_header_says(tmp_path: Path) -> None:
    """As VCGLIB wrote it: after what the header declares, each line has a list of its own."""
    text = ply_bytes("ascii").replace(b"comment made by hand", b"made by a program that knows no comments")
    head, _, body = text.partition(b"end_header\n")
    longer = b"".join(line + b" 9 1 1 1 0.5\n" for line in body.splitlines())
    shape = load(write(tmp_path, "a.ply", head + b"end_header\n" + longer))
    np.testing.assert_array_equal(shape.points, CORNERS.astype(np.float32))
    np.testing.assert_array_equal(shape.faces, FANS)


def test_text_ply_lists_are_whole(tmp_path: Path) -> None:
    data = ply_bytes("ascii").replace(b"7 4 0 1 2 3", b"7 4 0 1 2.5 3")
    with pytest.raises(InputError, match="a face has vertex numbers that are not whole"):
        load(write(tmp_path, "a.ply", data))
    data = ply_bytes("ascii").replace(b"7 4 0 1 2 3", b"7 4.5 0 1 2 3")
    with pytest.raises(InputError, match=r"a list of 'face' declares 4\.5 values"):
        load(write(tmp_path, "a.ply", data))


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be"])
def test_obj_and_off_in_utf_16(tmp_path: Path, encoding: str) -> None:
    for name, data in (("a.obj", obj_bytes()), ("a.off", off_bytes())):
        text = data.decode() if encoding == "utf-16" else "\ufeff" + data.decode()
        shape = load(write(tmp_path, name, text.encode(encoding)))
        np.testing.assert_array_equal(shape.faces, FANS)
