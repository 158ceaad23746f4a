"""Files that come back with everything that was in them, in named parts."""

from __future__ import annotations

import io
import json
import struct
import zipfile
from pathlib import Path
from typing import Any

import gltf_models
import numpy as np
import pytest
from labelled import PARTS, labelled, labels_of
from numpy.typing import NDArray

from pa3d.io import load
from pa3d.io.gltf import Gltf
from pa3d.report import write_outputs
from pa3d.report.asset import asset_files
from pa3d.report.asset.cut import Cut
from pa3d.report.asset.gltf import parts_glb
from pa3d.segment import Segmentation
from pa3d.shape import Shape

MODELS = gltf_models.MODELS


def document_of(data: bytes) -> dict[str, Any]:
    return json.loads(data[20 : 20 + int.from_bytes(data[12:16], "little")])  # type: ignore[no-any-return]


def binary_of(data: bytes) -> bytes:
    start = 20 + int.from_bytes(data[12:16], "little")
    return data[start + 8 : start + 8 + int.from_bytes(data[start : start + 4], "little")]


def write(folder: Path, name: str, data: bytes | str) -> Path:
    path = folder / name
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    return path


def triangles(shape: Shape, labels: NDArray[np.int32]) -> list[tuple[float, ...]]:
    """The corners of each triangle and its label, sorted."""
    assert shape.faces is not None
    corners = (shape.points[shape.faces] + shape.origin).reshape(-1, 9).round(4) + 0.0
    return sorted(tuple(row) for row in np.column_stack([corners, labels]).tolist())


def labels_in(data: bytes, shape: Shape) -> NDArray[np.int32]:
    """The label of each face as extras say it, of the node or of the primitive."""
    document = document_of(data)

    def label(piece: Any) -> int:
        primitive = document["meshes"][piece.mesh_index]["primitives"][piece.primitive_index]
        said = document["nodes"][piece.node_index].get("extras", {})
        return int({**said, **primitive.get("extras", {})}["label"])

    return np.array([label(piece) for piece in shape.pieces], np.int32)[shape.face_piece]


# --- glTF ---


@pytest.mark.parametrize("none", [False, True])
@pytest.mark.parametrize("name", MODELS)
def test_every_triangle_keeps_its_place_and_gets_its_label(tmp_path: Path, name: str, none: bool) -> None:
    before = load(write(tmp_path, "a.glb", MODELS[name]()))
    result = labelled(before, none)
    data = asset_files(result)["parts.glb"]
    after = load(write(tmp_path, "b.glb", data))
    assert triangles(before, result.face_labels) == triangles(after, labels_in(data, after))
    assert len(after.points) == len(before.points)  # vertices are shared, not copied


@pytest.mark.parametrize("name", MODELS)
def test_the_label_at_each_vertex(tmp_path: Path, name: str) -> None:
    """_PART has the label of a piece at every vertex that the piece uses, also where other pieces use it."""
    result = labelled(load(write(tmp_path, "a.glb", MODELS[name]())))
    gltf = Gltf(asset_files(result)["parts.glb"])
    found = 0
    for node in gltf.nodes:
        for primitive in gltf.primitives(gltf.nodes.index(node)) if node.mesh >= 0 else []:
            if "_PART" not in primitive.attributes:
                continue
            entry = gltf.file.entry("meshes", node.mesh)
            said = {**node.json.get("extras", {}), **entry["primitives"][primitive.number].get("extras", {})}
            values = gltf.file.accessor(primitive.attributes["_PART"])
            assert len(values) == len(primitive.vertices) and (values == said["label"]).all()
            assert said["part"] == PARTS[said["label"]]
            found += 1
    assert found


@pytest.mark.parametrize("name", MODELS)
def test_what_was_there_keeps_its_number_and_its_bytes(tmp_path: Path, name: str) -> None:
    source = MODELS[name]()
    before, after = (
        document_of(source),
        document_of(asset_files(labelled(load(write(tmp_path, "a.glb", source))))["parts.glb"]),
    )
    binary = binary_of(asset_files(labelled(load(tmp_path / "a.glb")))["parts.glb"])
    for key in before.keys() - {"accessors", "bufferViews", "buffers", "meshes", "nodes", "scenes"}:
        assert after[key] == before[key], key
    for i, node in enumerate(before["nodes"]):
        kept = {k: v for k, v in node.items() if k not in ("mesh", "skin", "children", "extras", "extensions")}
        assert kept.items() <= after["nodes"][i].items()
        assert after["nodes"][i].get("children", [])[: len(node.get("children", []))] == node.get("children", [])
        if "extras" in node:
            assert node["extras"].items() <= after["nodes"][i]["extras"].items()
    indices = {p["indices"] for mesh in before["meshes"] for p in mesh["primitives"] if "indices" in p}
    for i, accessor in enumerate(before["accessors"]):
        if i in indices:
            continue
        assert after["accessors"][i] == accessor
        view = before["bufferViews"][accessor["bufferView"]]
        assert after["bufferViews"][accessor["bufferView"]] == view
        start, size = view["byteOffset"], view["byteLength"]
        assert binary[start : start + size] == binary_of(source)[start : start + size]
    # All that a primitive said, each of its pieces says.
    for mesh in before["meshes"]:
        for primitive in mesh["primitives"]:
            kept = {k: v for k, v in primitive.items() if k not in ("attributes", "indices", "mode", "extras")}
            pieces = [
                p
                for m in after["meshes"]
                for p in m["primitives"]
                if primitive["attributes"].items() <= p["attributes"].items() and kept.items() <= p.items()
            ]
            assert pieces


def as_one(result: Segmentation) -> Segmentation:
    """The same result, whose parts are one instance each, however many pieces they have."""
    result.__dict__["element_instances"] = np.minimum(result.element_labels, 0)
    return result


def test_pieces_are_named_nodes_and_meshes(tmp_path: Path) -> None:
    before = load(write(tmp_path, "a.glb", gltf_models.variants()))
    document = document_of(asset_files(as_one(labelled(before)))["parts.glb"])
    node = document["nodes"][0]
    assert node["name"] == "n" and "mesh" not in node
    for child, part in zip(node["children"], PARTS, strict=True):
        piece = document["nodes"][child]
        mesh = document["meshes"][piece["mesh"]]
        assert piece["name"] == mesh["name"] == part
        score = pytest.approx(0.8)
        assert piece["extras"] == {"part": part, "label": PARTS.index(part), "instance": 0, "score": score}
        assert mesh["extras"] == {"of": "the mesh", **piece["extras"]}
        assert mesh["primitives"][0]["extras"] == {"of": "the primitive"}


def test_instances_are_numbered(tmp_path: Path) -> None:
    shape = load(write(tmp_path, "a.glb", gltf_models.shared_mesh()))
    labels = np.zeros(len(shape.faces), np.int32)
    labels[-20:] = 1
    scores = np.tile(np.float32([[0.9, 0.1]]), (len(labels), 1))
    cut = Cut(["wheel", "hub"], labels, scores, shape.face_areas(), np.where(labels == 0, shape.face_piece // 2, 0))
    data = parts_glb(Gltf.load(tmp_path / "a.glb"), cut)
    document = document_of(data)
    named = [[document["nodes"][i]["name"] for i in node.get("children", [])] for node in document["nodes"][:4]]
    # The node "mirrored" had a child before.
    assert named == [["wheel 1"], ["wheel 2"], ["below", "wheel 3"], ["wheel 4", "hub"]]
    assert [n["extras"].get("instance") for n in document["nodes"][4:]] == [0, 1, 2, 3, 0]
    # Nodes that are cut in the same way share their indices, whatever their names.
    used = [p["indices"] for m in document["meshes"] for p in m["primitives"]]
    assert len(used) == 9 and len(set(used)) == 4


def test_a_skinned_mesh_at_the_top_stays_at_the_top(tmp_path: Path) -> None:
    """Validators warn of skinned meshes that are not; and the children of the node keep their place."""
    shape = load(write(tmp_path, "a.glb", gltf_models.skin_at_the_top()))
    document = document_of(asset_files(labelled(shape))["parts.glb"])
    added = [3, 4, 5]
    assert document["scenes"] == [{"nodes": [0, 1, *added]}]
    assert all(document["nodes"][i]["skin"] == 0 for i in added)
    assert document["nodes"][0] == {"name": "body", "extras": {"parts": PARTS}}

    shape = load(write(tmp_path, "b.glb", gltf_models.skin_below()))
    document = document_of(asset_files(labelled(shape))["parts.glb"])
    assert document["nodes"][0]["children"] == [4, 5, 6] and document["scenes"] == [{"nodes": [3]}]


def test_a_morphing_mesh_stays_one_mesh(tmp_path: Path) -> None:
    """Its weights are those of its node and its mesh, and animations name the node."""
    source = gltf_models.morph()
    shape = load(write(tmp_path, "a.glb", source))
    document = document_of(asset_files(as_one(labelled(shape)))["parts.glb"])
    assert len(document["nodes"]) == len(document["meshes"]) == 1
    (mesh,) = document["meshes"]
    assert mesh["weights"] == [0.2, 0] and len(mesh["primitives"]) > 2
    assert {p["extras"]["name"] for p in mesh["primitives"]} == set(PARTS)
    assert {p["material"] for p in mesh["primitives"]} == {0, 1}
    assert all(len(p["targets"]) == 2 for p in mesh["primitives"])


def test_instances_that_are_cut_differently(tmp_path: Path) -> None:
    shape = load(write(tmp_path, "a.glb", gltf_models.instances()))
    document = document_of(asset_files(as_one(labelled(shape)))["parts.glb"])
    row, pair = document["nodes"][:2]
    names = [document["nodes"][i]["name"] for i in row["children"]]
    assert names == ["row 1", "row 2", "row 3"] and "extensions" not in row
    assert [document["nodes"][i]["translation"] for i in row["children"]] == [[0, 0, 0], [3, 0, 0], [6, 0, 0]]
    # Both of the pair are cut alike, so they remain instances.
    assert all("EXT_mesh_gpu_instancing" in document["nodes"][i]["extensions"] for i in pair["children"])


def test_the_other_scene_is_untouched(tmp_path: Path) -> None:
    source = gltf_models.scenes()
    document = document_of(asset_files(labelled(load(write(tmp_path, "a.glb", source))))["parts.glb"])
    before = document_of(source)
    assert document["nodes"][1] == before["nodes"][1] and document["meshes"][0] == before["meshes"][0]

    # A node at the top of two scenes: its skinned pieces are in both.
    source = gltf_models._skinned(True)
    source.json["scenes"].append({"nodes": [1, 0]})
    document = document_of(asset_files(labelled(load(write(tmp_path, "b.glb", source.pack()))))["parts.glb"])
    assert document["scenes"] == [{"nodes": [0, 1, 3, 4, 5]}, {"nodes": [1, 0, 3, 4, 5]}]


def test_lines_and_points_stay_where_they_are(tmp_path: Path) -> None:
    source = gltf_models.modes()
    shape = load(write(tmp_path, "a.glb", source))
    document = document_of(asset_files(labelled(shape))["parts.glb"])
    before = document_of(source)
    left = document["meshes"][document["nodes"][0]["mesh"]]
    assert left == {**before["meshes"][0], "primitives": [before["meshes"][0]["primitives"][i] for i in (1, 3)]}


@pytest.mark.parametrize("how", ["beside", "within", "missing"])
def test_gltf_with_its_files(tmp_path: Path, how: str) -> None:
    """Buffers and images beside a .gltf or within it become part of the GLB; what is missing keeps its address."""
    import base64

    source = gltf_models.textured()
    document, binary = document_of(source), binary_of(source)
    for number, image in enumerate(document["images"]):
        view = document["bufferViews"][image.pop("bufferView")]
        data = binary[view["byteOffset"] : view["byteOffset"] + view["byteLength"]]
        mime = image.pop("mimeType")
        image["uri"] = (
            f"data:{mime};base64,{base64.b64encode(data).decode()}" if how == "within" else f"my%20{number}.png"
        )
        if how == "beside":
            write(tmp_path, f"my {number}.png", data)
    # In two buffers, the first of an odd length.
    cut = document["bufferViews"][3]["byteOffset"]
    parts = [binary[:cut] + b"x", binary[cut : document["buffers"][0]["byteLength"]]]
    for view in document["bufferViews"][3:]:
        view |= {"buffer": 1, "byteOffset": view["byteOffset"] - cut}
    names = [write(tmp_path, f"{i}.bin", data).name for i, data in enumerate(parts)]
    uris = (
        [f"data:application/octet-stream;base64,{base64.b64encode(d).decode()}" for d in parts]
        if how == "within"
        else names
    )
    document["buffers"] = [{"byteLength": len(d), "uri": uri} for d, uri in zip(parts, uris, strict=True)]
    shape = load(write(tmp_path, "a.gltf", json.dumps(document)))
    data = asset_files(labelled(shape))["parts.glb"]
    after = load(write(tmp_path, "b.glb", data))
    assert triangles(shape, labelled(shape).face_labels) == triangles(after, labels_in(data, after))
    written, gltf = document_of(data), Gltf(data)
    assert len(written["buffers"]) == 1 and "uri" not in written["buffers"][0]
    for number, image in enumerate(written["images"]):
        if how == "missing":
            assert image == {"uri": f"my%20{number}.png"}
        else:
            view = document_of(source)["bufferViews"][document_of(source)["images"][number]["bufferView"]]
            assert gltf.file.image_bytes(number) == binary[view["byteOffset"] : view["byteOffset"] + view["byteLength"]]
            assert image["mimeType"] == "image/png"
            assert image.get("name") == (f"my {number}" if how == "beside" else None)


def test_draco_is_stored_uncompressed(tmp_path: Path) -> None:
    DracoPy = pytest.importorskip("DracoPy")
    points, _, faces = gltf_models.tube()
    data = DracoPy.encode(points, faces.astype(np.uint32), quantization_bits=14)
    builder = gltf_models.Builder(
        extensionsUsed=["KHR_draco_mesh_compression"], extensionsRequired=["KHR_draco_mesh_compression"]
    )
    view = builder.view(data)
    bounds = {"min": points.min(axis=0).tolist(), "max": points.max(axis=0).tolist()}
    decoded = DracoPy.decode(data)
    builder.json["accessors"] = [
        {"componentType": 5126, "count": len(decoded.points), "type": "VEC3", **bounds},
        {"componentType": 5123, "count": faces.size, "type": "SCALAR"},
    ]
    packed = {"bufferView": view, "attributes": {"POSITION": decoded.attributes[0]["unique_id"]}}
    primitive = {"attributes": {"POSITION": 0}, "indices": 1, "extensions": {"KHR_draco_mesh_compression": packed}}
    builder.json |= {"meshes": [{"primitives": [primitive]}], "nodes": [{"mesh": 0}], "scenes": [{"nodes": [0]}]}
    before = load(write(tmp_path, "a.glb", builder.pack()))
    result = labelled(before)
    written = asset_files(result)["parts.glb"]
    after = load(write(tmp_path, "b.glb", written))
    assert triangles(before, result.face_labels) == triangles(after, labels_in(written, after))
    assert b"KHR_draco" not in written
    document = document_of(written)
    stored = Gltf(written).file.accessor(0)
    np.testing.assert_array_equal(document["accessors"][0]["min"], stored.min(axis=0))
    assert document["bufferViews"][0]["byteLength"] == stored.nbytes  # the entry of the compressed data


def test_meshopt_stays_compressed(tmp_path: Path) -> None:
    encoder = pytest.importorskip("meshoptimizer.encoder")
    points, _, faces = gltf_models.tube()
    rows = np.zeros((len(points), 4), np.float32)
    rows[:, :3] = points
    packed = [
        bytes(encoder.encode_vertex_buffer(rows, len(rows), 16)),
        bytes(encoder.encode_index_buffer(faces.astype(np.uint32).ravel(), faces.size, len(points))),
    ]
    builder = gltf_models.Builder(
        extensionsUsed=["EXT_meshopt_compression"], extensionsRequired=["EXT_meshopt_compression"]
    )
    places = [
        {"byteOffset": len(builder.binary) + len(packed[0]) * i, "byteLength": len(p)} for i, p in enumerate(packed)
    ]
    places[1]["byteOffset"] += -len(packed[0]) % 4
    builder.binary = packed[0] + bytes(-len(packed[0]) % 4) + packed[1]
    sizes, strides, modes, counts = (
        (16 * len(rows), 4 * faces.size),
        (16, 4),
        ("ATTRIBUTES", "TRIANGLES"),
        (len(rows), faces.size),
    )
    starts = (0, sizes[0])
    for i in range(2):
        extension = {"buffer": 0, **places[i], "byteStride": strides[i], "mode": modes[i], "count": counts[i]}
        view = {"buffer": 1, "byteOffset": starts[i], "byteLength": sizes[i]}
        builder.json["bufferViews"].append({**view, "extensions": {"EXT_meshopt_compression": extension}})
    builder.json["bufferViews"][0]["byteStride"] = 16
    bounds = {"min": points.min(axis=0).tolist(), "max": points.max(axis=0).tolist()}
    builder.json["accessors"] = [
        {"bufferView": 0, "componentType": 5126, "count": len(points), "type": "VEC3", **bounds},
        {"bufferView": 1, "componentType": 5125, "count": faces.size, "type": "SCALAR"},
    ]
    primitive = {"attributes": {"POSITION": 0}, "indices": 1}
    builder.json |= {"meshes": [{"primitives": [primitive]}], "nodes": [{"mesh": 0}], "scenes": [{"nodes": [0]}]}
    source = builder.pack()
    document = document_of(source)
    document["buffers"].append(
        {"byteLength": sum(sizes), "extensions": {"EXT_meshopt_compression": {"fallback": True}}}
    )
    text = json.dumps(document).encode()
    text += b" " * (-len(text) % 4)
    binary = binary_of(source)
    body = struct.pack("<I4s", len(text), b"JSON") + text + struct.pack("<I4s", len(binary), b"BIN\0") + binary
    before = load(write(tmp_path, "a.glb", struct.pack("<4sII", b"glTF", 2, 12 + len(body)) + body))
    result = labelled(before)
    written = asset_files(result)["parts.glb"]
    after = load(write(tmp_path, "b.glb", written))
    assert triangles(before, result.face_labels) == triangles(after, labels_in(written, after))
    views = document_of(written)["bufferViews"]
    assert views[0] == document["bufferViews"][0] and "extensions" not in views[1]


def test_a_cloud_in_gltf(tmp_path: Path) -> None:
    builder = gltf_models.Builder()
    points = np.random.default_rng(0).random((50, 3)).astype(np.float32)
    primitives = [
        {"attributes": {"POSITION": builder.positions(points)}, "mode": 0},
        {
            "attributes": {"POSITION": builder.positions(points + 1)},
            "mode": 0,
            "indices": builder.indices(np.arange(50)),
        },
    ]
    builder.json |= {"meshes": [{"primitives": primitives}], "nodes": [{"mesh": 0}], "scenes": [{"nodes": [0]}]}
    shape = load(write(tmp_path, "a.glb", builder.pack()))
    result = as_one(labelled(shape))
    files = asset_files(result)
    gltf = Gltf(files["parts.glb"])
    for label, node in enumerate(gltf.nodes[1:]):
        found = [
            gltf.file.accessor(p["attributes"]["POSITION"])[gltf.file.accessor(p["indices"])[:, 0]]
            for p in gltf.file.entry("meshes", node.mesh)["primitives"]
        ]
        np.testing.assert_array_equal(np.concatenate(found), shape.points[result.labels == label])


def test_what_comes_back_again(tmp_path: Path) -> None:
    """The output is an input: it can be cut again, into other parts."""
    first = asset_files(labelled(load(write(tmp_path, "a.glb", gltf_models.skin_below()))))["parts.glb"]
    again = load(write(tmp_path, "b.glb", first))
    labels, scores = labels_of(again.points[again.faces].mean(axis=1)[:, ::-1])
    result = Segmentation(again, ["x", "y", "z"], *labels_of(again.points), labels, scores)
    data = asset_files(result)["parts.glb"]
    after = load(write(tmp_path, "c.glb", data))
    assert triangles(again, labels) == triangles(after, labels_in(data, after))


def test_a_file_that_changed_or_went(tmp_path: Path) -> None:
    """Then the parts are written from the shape that is in memory."""
    path = write(tmp_path, "a.glb", gltf_models.sparse())
    result = labelled(load(path))
    for change in (gltf_models.many_vertices(), b"glTF", None):
        path.unlink()
        if change is not None:
            path.write_bytes(change)
        data = asset_files(result)["parts.glb"]
        after = load(write(tmp_path, "b.glb", data))
        assert triangles(result.shape, result.face_labels) == triangles(after, labels_in(data, after))


# --- OBJ ---

QUADS = """# a comment
mtllib my stuff.mtl
o box
v -1 0 0
v 0 0 0
v 1 0 0
v 2 0 0
vt 0 0
vt 1 1
vn 0 1 0
g whole
usemtl wood
s 1
f 1/1/1 2/2/1 6/1/1 5/2/1
f 2 3 7 6
v -1 1 0
v 0 1 0
v 1.5 1 0
v 2 1 0
usemtl steel
f -6//1 -5//1 -1//1 \\
  -2//1
l 1 2 3
"""
MTL = b"newmtl wood\nmap_Kd -s 1 1 1 tex/wood grain.png\nbump /etc/hosts\nnewmtl steel\nmap_Ks ../up.png\n"


def obj_result(folder: Path, newline: str = "\n") -> Segmentation:
    write(folder, "my stuff.mtl", MTL)
    (folder / "tex").mkdir(exist_ok=True)
    write(folder / "tex", "wood grain.png", b"picture")
    return labelled(load(write(folder, "a.obj", QUADS.replace("\n", newline))))


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_obj_line_for_line(tmp_path: Path, newline: str) -> None:
    result = obj_result(tmp_path, newline)
    assert result.face_labels.tolist() == [0, 0, 1, 1, 2, 2]
    files = asset_files(result)
    assert list(files) == ["parts.glb", "parts.obj", "my stuff.mtl", "tex/wood grain.png"]
    assert files["my stuff.mtl"] == MTL and files["tex/wood grain.png"] == b"picture"
    lines = files["parts.obj"].decode().split(newline)
    added = [line for line in lines if line.startswith(("g ", "# g"))]
    assert added == [
        *("# g low_end: part low end, score 0.800", "# g middle: part middle, score 0.800"),
        *("# g high_end: part high end, score 0.800", "# g whole", "g low_end", "g middle", "g high_end"),
    ]
    assert [line for line in lines if line not in added] == [line for line in QUADS.split("\n") if line != "g whole"]
    again = load(write(tmp_path, "b.obj", files["parts.obj"]))
    assert [(piece.node, piece.material) for piece in again.pieces] == [
        *(("low_end", "wood"), ("middle", "wood"), ("high_end", "steel")),
    ]
    assert again.face_piece.tolist() == result.face_labels.tolist()
    assert again.face_polygon.tolist() == [0, 0, 1, 1, 2, 2]
    np.testing.assert_array_equal(again.points, result.shape.points)


def test_obj_with_several_libraries(tmp_path: Path) -> None:
    for name in ("a.mtl", "b.mtl"):
        write(tmp_path, name, "newmtl x\n")
    text = "mtllib\ta.mtl b.mtl\nmtllib ../c.mtl\nmtllib gone.mtl\nv 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 3\n"
    files = asset_files(labelled(load(write(tmp_path, "a.obj", text))))
    assert list(files) == ["parts.glb", "parts.obj", "a.mtl", "b.mtl"]


def test_a_polygon_belongs_to_one_part(tmp_path: Path) -> None:
    """To the part that most of its area has."""
    result = obj_result(tmp_path)
    result.face_labels[:] = [0, 2, 0, 1, 1, 2]
    first, second = result.shape.face_areas().reshape(3, 2).T
    assert first[0] == second[0] and first[1] != second[1] and first[2] != second[2]
    labels = result.face_labels.reshape(3, 2)
    expected = [int(labels[i, 0] if first[i] >= second[i] else labels[i, 1]) for i in range(3)]
    text = asset_files(as_one(result))["parts.obj"].decode()
    again = load(write(tmp_path, "b.obj", text))
    names = ["low_end", "middle", "high_end"]
    assert [names.index(again.pieces[i].node) for i in again.face_piece[::2]] == expected
    assert again.face_piece[::2].tolist() == again.face_piece[1::2].tolist()


def test_obj_objects_begin_without_a_group(tmp_path: Path) -> None:
    text = "v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 3\no second\nf 1 2 3\no third\nf 3 2 1\n"
    result = labelled(load(write(tmp_path, "a.obj", text)))
    result.face_labels[:] = 1
    found = asset_files(result)["parts.obj"].decode()
    assert found.endswith("f 1 2 3\no second\ng middle\nf 1 2 3\no third\ng middle\nf 3 2 1\n")


def test_outputs_of_obj_never_replace_its_files(tmp_path: Path) -> None:
    """Neither where they lie, nor the results: a library may have any name."""
    result = obj_result(tmp_path)
    before = {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}
    written = write_outputs(result, tmp_path, pictures=False, html=False)
    assert written.keys() == {"labels", "parts", "parts.obj", "painted", "summary"}
    assert all(path.read_bytes() == data for path, data in before.items())
    out = tmp_path / "out"
    written = write_outputs(result, out, pictures=False, html=False)
    assert (out / "tex" / "wood grain.png").read_bytes() == b"picture" and "my stuff.mtl" in written

    text = QUADS.replace("my stuff.mtl", "summary.json")
    write(tmp_path, "summary.json", "not the summary")
    write_outputs(labelled(load(write(tmp_path, "c.obj", text))), out, pictures=False, html=False)
    assert json.loads((out / "summary.json").read_text())["shape"]["name"] == "c.obj"


# --- PLY ---


def ply(encoding: str, mesh: bool, *, part: bool = False, mixed: bool = True) -> bytes:
    """Vertices of four columns, faces of three and four corners with a value behind, and an element that is unknown."""
    points = np.array([[0, 0, 0, 5], [1, 0, 0, 6], [2, 0, 0, 7], [3, 0, 0, 8], [0, 1, 0, 9], [3, 1, 0, 1]], np.float64)
    polygons = [[0, 1, 4], [1, 2, 4], [2, 3, 5, 4]] if mixed else [[0, 1, 4], [1, 2, 4], [2, 3, 5]]
    header = ["ply", f"format {encoding} 1.0", "comment mine", "element vertex 6"]
    header += ["property float x", "property float y", "property double z", "property uchar quality"]
    if part:
        header.insert(5, "property short part")
    if mesh:
        header += [f"element face {len(polygons)}", "property list uchar int vertex_indices", "property short flag"]
    header += ["element extra 2", "property list uint float data", "end_header"]
    order = "<" if "little" in encoding else ">"
    out, lines = b"", []
    for row in points:
        lines.append(" ".join(f"{v:g}" for v in (*row[:1], *([77] if part else ()), *row[1:])))
        out += struct.pack(order + "f", row[0]) + (struct.pack(order + "h", 77) if part else b"")
        out += struct.pack(order + "fdB", row[1], row[2], int(row[3]))
    for number, polygon in enumerate(polygons if mesh else []):
        lines.append(" ".join(map(str, (len(polygon), *polygon, -number))))
        out += struct.pack(f"{order}B{len(polygon)}ih", len(polygon), *polygon, -number)
    for data in ([1.5], [2.5, 3.5]):
        lines.append(" ".join(map(str, (len(data), *data))))
        out += struct.pack(f"{order}I{len(data)}f", len(data), *data)
    body = "\n".join([*lines, ""]).encode() if encoding == "ascii" else out
    return "\n".join([*header, ""]).encode() + body


ENCODINGS = ["ascii", "binary_little_endian", "binary_big_endian"]


@pytest.mark.parametrize("scores", [False, True])
@pytest.mark.parametrize("mixed", [False, True])
@pytest.mark.parametrize("mesh", [False, True])
@pytest.mark.parametrize("encoding", ENCODINGS)
def test_ply_keeps_everything(tmp_path: Path, encoding: str, mesh: bool, mixed: bool, scores: bool) -> None:
    from pa3d.io.ply import BYTE_ORDERS, _text_columns, element_rows, parse_header

    source = ply(encoding, mesh, mixed=mixed)
    result = labelled(load(write(tmp_path, "a.ply", source)))
    found = asset_files(result, scores=scores)["parts.ply"]

    def columns(data: bytes) -> dict[str, Any]:
        kind, elements, at = parse_header(data)
        assert kind == encoding
        if kind == "ascii":
            return {"types": None, **_text_columns(elements, data[at:])}
        read: dict[str, Any] = {"types": [[(p.name, p.type, p.length_type) for p in e.properties] for e in elements]}
        for element in elements:
            read[element.name], at = element_rows(element, data, at, BYTE_ORDERS[kind])
        assert at == len(data)
        return read

    before, after = columns(source), columns(found)
    assert b"comment mine\n" in found and b"comment part 1: middle\n" in found
    for name in ("vertex", "face", "extra") if mesh else ("vertex", "extra"):
        for key, column in before[name].items():
            np.testing.assert_array_equal(after[name][key].values, column.values)
            np.testing.assert_array_equal(after[name][key].lengths, column.lengths)
    np.testing.assert_array_equal(after["vertex"]["part"].values, result.labels)
    if mesh:
        np.testing.assert_array_equal(
            after["face"]["part"].values, result.face_labels[[0, 1, 3] if mixed else [0, 1, 2]]
        )
    assert set(after["extra"]) == {"data"}
    if scores:
        for i, name in enumerate(("low_end", "middle", "high_end")):
            np.testing.assert_allclose(after["vertex"][f"score_{name}"].values, result.scores[:, i], atol=1e-6)
    assert ("score_middle" in after["vertex"]) == scores


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_ply_that_has_parts_already(tmp_path: Path, encoding: str) -> None:
    source = ply(encoding, True, part=True)
    result = labelled(load(write(tmp_path, "a.ply", source)))
    found = asset_files(result)["parts.ply"]
    assert found.count(b"property int part\n") == 2 and b"property short part" not in found
    again = load(write(tmp_path, "b.ply", found))
    np.testing.assert_array_equal(again.points, result.shape.points)
    assert len(found) < len(asset_files(labelled(again))["parts.ply"]) + 200
    assert asset_files(labelled(again))["parts.ply"].count(b"property") == found.count(b"property")


def test_text_ply_with_several_rows_in_a_line(tmp_path: Path) -> None:
    source = ply("ascii", True)
    head, body = source.split(b"end_header\n")
    result = labelled(load(write(tmp_path, "a.ply", head + b"end_header\n" + b" ".join(body.split()))))
    again = load(write(tmp_path, "b.ply", asset_files(result)["parts.ply"]))
    np.testing.assert_array_equal(again.points, result.shape.points)
    np.testing.assert_array_equal(again.faces, result.shape.faces)


def test_a_cloud_of_another_format(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    np.save(tmp_path / "a.npy", rng.random((40, 3)) + [4.5e5, 5.4e6, 300])
    result = labelled(load(tmp_path / "a.npy"))
    result.labels[3] = -1
    again = load(write(tmp_path, "b.ply", asset_files(result, scores=True)["parts.ply"]))
    np.testing.assert_array_equal(again.points + again.origin, result.shape.points + result.shape.origin)
    assert asset_files(labelled(again))["parts.ply"].count(b"property int part") == 1


# --- STL and others ---


def test_stl_as_3mf(tmp_path: Path) -> None:
    points, _, faces = gltf_models.tube()
    rows = np.zeros(len(faces), [("normal", "<f4", 3), ("corners", "<f4", (3, 3)), ("attribute", "<u2")])
    rows["corners"] = points[faces]
    path = write(tmp_path, "a.stl", bytes(80) + struct.pack("<I", len(faces)) + rows.tobytes())
    result = labelled(load(path))
    files = asset_files(result)
    assert list(files) == ["parts.glb", "parts.3mf"]
    with zipfile.ZipFile(io.BytesIO(files["parts.3mf"])) as archive:
        model = archive.read("3D/3dmodel.model").decode()
    assert model.count("<object ") == 3 and 'name="low end"' in model and model.count("<vertex ") < 160
    pytest.importorskip("lib3mf")
    again = load(write(tmp_path, "b.3mf", files["parts.3mf"]))
    assert [piece.node for piece in again.pieces] == PARTS
    again.points *= 1000  # millimetres
    assert triangles(again, again.face_piece) == triangles(result.shape, result.face_labels)


@pytest.mark.parametrize("up", ["x", "y", "z"])
def test_a_mesh_of_no_file(up: str, tmp_path: Path) -> None:
    from pa3d.report.files import to_y_up

    points, _, faces = gltf_models.tube()
    colors = np.arange(3 * len(points)).astype(np.uint8).reshape(-1, 3)
    shape = Shape(points, faces.astype(np.int32), colors, up=up, origin=np.array([100.0, 0, 0]), name="it")
    result = labelled(shape)
    data = asset_files(result)["parts.glb"]
    after = load(write(tmp_path, "a.glb", data))
    np.testing.assert_array_equal(after.colors, colors)
    np.testing.assert_allclose(after.points + after.origin, to_y_up(points + shape.origin, up), atol=1e-5)
    np.testing.assert_array_equal(labels_in(data, after), np.sort(result.face_labels))
    assert [node["name"] for node in document_of(data)["nodes"]] == ["it", *PARTS]


# --- LAS, PCD, USD ---


@pytest.mark.parametrize("suffix", [".las", ".laz"])
def test_las_keeps_everything(tmp_path: Path, suffix: str) -> None:
    laspy = pytest.importorskip("laspy")
    header = laspy.LasHeader(point_format=3, version="1.4")
    header.offsets, header.scales = np.array([4.5e5, 5.4e6, 0]), np.full(3, 0.001)
    header.add_extra_dim(laspy.ExtraBytesParams("mine", np.float32))
    las = laspy.LasData(header)
    rng = np.random.default_rng(0)
    las.xyz = rng.random((60, 3)) * [1, 5, 1] + [4.5e5, 5.4e6, 0]
    las.intensity, las.classification, las["mine"] = np.arange(60), np.arange(60) % 5, rng.random(60)
    path = tmp_path / f"a{suffix}"
    las.write(path)
    result = labelled(load(path))
    for data in (files := asset_files(result, scores=True)).values():
        assert data
    assert list(files) == ["parts.ply", f"parts{suffix}"]
    after = laspy.read(io.BytesIO(files[f"parts{suffix}"]))
    for name in las.point_format.dimension_names:
        np.testing.assert_array_equal(after[name], las[name])
    np.testing.assert_array_equal(after["part"], result.labels)
    np.testing.assert_allclose(after["score_middle"], result.scores[:, 1])
    assert after.header.version == las.header.version and (after.header.scales == las.header.scales).all()
    again = load(write(tmp_path, f"b{suffix}", files[f"parts{suffix}"]))
    assert len(asset_files(labelled(again))[f"parts{suffix}"]) <= len(files[f"parts{suffix}"]) + 64


@pytest.mark.parametrize("scores", [False, True])
@pytest.mark.parametrize("encoding", ["ascii", "binary", "binary_compressed"])
def test_pcd_keeps_everything(tmp_path: Path, encoding: str, scores: bool) -> None:
    from pa3d.io.pcd import lzf_decompress
    from pa3d.report.asset.pcd import lzf_store

    rng = np.random.default_rng(0)
    rows = np.zeros(37, [("x", "<f4"), ("y", "<f8"), ("z", "<f4"), ("n", "<i2", 3), ("rgb", "<u4")])
    for name in ("x", "y", "z"):
        rows[name] = rng.random(37).round(3) * (5 if name == "y" else 1)
    rows["n"], rows["rgb"] = rng.integers(-99, 99, (37, 3)), 0x112233
    header = "# mine\nVERSION 0.7\nFIELDS x y z n rgb\nSIZE 4 8 4 2 4\nTYPE F F F I U\nCOUNT 1 1 1 3 1\n"
    header += f"WIDTH 37\nHEIGHT 1\nVIEWPOINT 0 0 0 1 0 0 0\nPOINTS 37\nDATA {encoding}\n"
    columns = b"".join(np.ascontiguousarray(rows[name]).tobytes() for name in rows.dtype.names)
    packed = lzf_store(columns)
    assert lzf_decompress(packed, len(columns)) == columns
    lines = [" ".join(f"{v:.6g}" for v in np.hstack([np.ravel(row[n]) for n in rows.dtype.names])) for row in rows]
    body = {
        "ascii": "\n".join([*lines, ""]).encode(),
        "binary": rows.tobytes(),
        "binary_compressed": np.array([len(packed), len(columns)], "<u4").tobytes() + packed,
    }[encoding]
    result = labelled(load(write(tmp_path, "a.pcd", header.encode() + body)))
    found = asset_files(result, scores=scores)["parts.pcd"]
    again = load(write(tmp_path, "b.pcd", found))
    np.testing.assert_array_equal(again.points, result.shape.points)
    np.testing.assert_array_equal(again.colors, result.shape.colors)
    head, data = found.split(f"DATA {encoding}\n".encode())
    added = ["score_low_end", "score_middle", "score_high_end"] if scores else []
    assert head.decode().split("\n")[:3] == ["# mine", "VERSION 0.7", " ".join(["FIELDS x y z n rgb part", *added])]
    new = np.dtype([*rows.dtype.descr, ("part", "<i4"), *((name, "<f4") for name in added)])
    if encoding == "ascii":
        table = np.array(data.split(), np.float64).reshape(37, -1)
        np.testing.assert_array_equal(table[:, 7], result.labels)
        np.testing.assert_array_equal(table[:, 3:6], rows["n"])
    elif encoding == "binary":
        table = np.frombuffer(data, new)
        for name in rows.dtype.names:
            np.testing.assert_array_equal(table[name], rows[name])
        np.testing.assert_array_equal(table["part"], result.labels)
    else:
        plain = lzf_decompress(data[8:], int.from_bytes(data[4:8], "little"))
        assert plain.startswith(columns)
        np.testing.assert_array_equal(np.frombuffer(plain, "<i4", 37, len(columns)), result.labels)
    # Again: the field is there, and gets new values.
    result = labelled(again)
    result.labels[:] = 2
    assert len(asset_files(result, scores=scores)["parts.pcd"]) == len(found)


USDA = """#usda 1.0
(
    defaultPrim = "World"
    upAxis = "Z"
)
def Xform "World"
{
    def "Held" (
        instanceable = true
        references = @./things/wedge.usda@</Wedge>
    )
    {
        double3 xformOp:translate = (0, 0, 3)
        uniform token[] xformOpOrder = ["xformOp:translate"]
    }
    def Sphere "Ball"
    {
        double3 xformOp:translate = (20, 0, 0)
        uniform token[] xformOpOrder = ["xformOp:translate"]
    }
}
"""
WEDGE = """#usda 1.0
def Xform "Wedge"
{
    def Mesh "Body"
    {
        int[] faceVertexCounts = [4, 4, 3, 4, 4]
        int[] faceVertexIndices = [0, 1, 5, 4, 1, 2, 6, 5, 0, 4, 1, 2, 3, 7, 6, 0, 1, 2, 3]
        int[] holeIndices = [2]
        point3f[] points = [(0, 0, 0), (1, 0, 0), (2, 0, 0), (3, 0, 0), (0, 1, 0), (1, 1, 0), (2, 1, 0), (3, 1, 0)]
        def GeomSubset "middle"
        {
            uniform token elementType = "face"
            int[] indices = [1]
        }
    }
}
"""


def test_usd_subsets_and_labels(tmp_path: Path) -> None:
    pytest.importorskip("pxr")
    from pxr import Usd, UsdGeom, UsdSemantics

    (tmp_path / "in" / "things").mkdir(parents=True)
    write(tmp_path / "in" / "things", "wedge.usda", WEDGE)
    result = labelled(load(write(tmp_path / "in", "a.usda", USDA)))
    body = [number for number, piece in enumerate(result.shape.pieces) if piece.node == "Body"]
    own = np.isin(result.shape.face_piece, body)
    assert own.sum() == 8  # without the hole
    result.face_labels[own] = [0, 0, 1, 1, 2, 2, 2, 2]
    result.face_labels[~own] = 1
    written = write_outputs(result, tmp_path / "out", pictures=False, html=False)
    assert {"parts", "parts.usda", "asset/a.usda", "asset/things/wedge.usda"} <= written.keys()
    assert written["asset/a.usda"].read_text() == USDA
    stage = Usd.Stage.Open(str(written["parts.usda"]))
    assert stage.GetDefaultPrim().GetName() == "World" and UsdGeom.GetStageUpAxis(stage) == "Z"
    mesh = stage.GetPrimAtPath("/World/Held/Body")
    found = {}
    for child in mesh.GetChildren():
        subset = UsdGeom.Subset(child)
        if subset.GetFamilyNameAttr().Get() == "parts":
            said = list(UsdSemantics.LabelsAPI(child, "part").GetLabelsAttr().Get())
            found[child.GetName()] = list(subset.GetIndicesAttr().Get()), said, child.GetCustomDataByKey("label")
    assert found == {
        "low_end": ([0], ["low end"], 0),
        "middle_2": ([1], ["middle"], 1),
        "high_end": ([3, 4], ["high end"], 2),
    }
    assert list(UsdSemantics.LabelsAPI(stage.GetPrimAtPath("/World/Ball"), "part").GetLabelsAttr().Get()) == ["middle"]
    again = load(written["parts.usda"])
    np.testing.assert_allclose(again.points, result.shape.points, atol=1e-6)


# --- a file for each part ---


@pytest.mark.parametrize("name", MODELS)
def test_split_gltf(tmp_path: Path, name: str) -> None:
    """Each file has the triangles of one part, and no vertex, mesh, material or texture that it does not use."""
    before = load(write(tmp_path, "a.glb", MODELS[name]()))
    result = labelled(before)
    files = {n: data for n, data in asset_files(result, split=True).items() if n.startswith("split/")}
    assert list(files) == ["split/low-end.glb", "split/middle.glb", "split/high-end.glb"]
    found = []
    for label, data in enumerate(files.values()):
        after = load(write(tmp_path, "b.glb", data))
        labels = labels_in(data, after)
        assert (labels == label).all()
        found += triangles(after, labels)
        gltf, document = Gltf(data), document_of(data)
        used = {node["mesh"] for node in document["nodes"] if "mesh" in node}
        assert used == set(range(len(document["meshes"])))
        for mesh in document["meshes"]:
            for primitive in mesh["primitives"]:
                indices = gltf.file.accessor(primitive["indices"])[:, 0] if "indices" in primitive else None
                count = len(gltf.file.accessor(primitive["attributes"]["POSITION"]))
                assert indices is None or set(indices.tolist()) <= set(range(count))
                assert indices is None or len(set(indices.tolist())) == count or name == "shared_mesh"
        views = document["bufferViews"]
        assert sum(view["byteLength"] for view in views) + 16 * len(views) >= document["buffers"][0]["byteLength"]
        assert document.get("animations") is None or len(document["animations"]) == len(
            document_of(MODELS[name]())["animations"]
        )
    assert sorted(found) == triangles(before, result.face_labels)


def test_split_keeps_what_a_part_uses(tmp_path: Path) -> None:
    result = labelled(load(write(tmp_path, "a.glb", gltf_models.textured())))
    data = asset_files(result, split=True)["split/middle.glb"]
    document, before = document_of(data), document_of(gltf_models.textured())
    assert document["materials"] == before["materials"] and len(document["images"]) == 2
    for number in range(2):
        assert Gltf(data).file.image_bytes(number) == Gltf(gltf_models.textured()).file.image_bytes(number)


def test_split_of_other_formats(tmp_path: Path) -> None:
    points, _, faces = gltf_models.tube()
    mesh = Shape(points, faces.astype(np.int32))
    rows = np.zeros(len(faces), [("normal", "<f4", 3), ("corners", "<f4", (3, 3)), ("attribute", "<u2")])
    rows["corners"] = points[faces]
    stl = load(write(tmp_path, "a.stl", bytes(80) + struct.pack("<I", len(faces)) + rows.tobytes()))
    cloud = Shape(points)
    for shape, kind in ((mesh, "glb"), (stl, "stl"), (cloud, "ply")):
        result = labelled(shape)
        files = {n: d for n, d in asset_files(result, split=True).items() if n.startswith("split/")}
        assert list(files) == [f"split/{name}.{kind}" for name in ("low-end", "middle", "high-end")]
        shapes = [load(write(tmp_path, f"b.{kind}", data)) for data in files.values()]
        if shape.faces is None:
            assert [len(s.points) for s in shapes] == np.bincount(result.labels).tolist()
            continue
        found = [t for label, s in enumerate(shapes) for t in triangles(s, np.full(len(s.faces), label))]
        assert sorted(found) == triangles(shape, result.face_labels)


def test_names_of_files_of_parts() -> None:
    from pa3d.report.asset.single import _file_names

    names = ["leg", "Leg", "../up", "a/b", "a b", "*", "", "\u5ea7"]
    assert _file_names(names) == ["leg", "Leg-2", "up", "a-b", "a-b-2", "part", "part-2", "\u5ea7"]


def test_a_folder_of_single_parts_is_of_one_run(tmp_path: Path) -> None:
    result = labelled(load(write(tmp_path, "a.glb", gltf_models.sparse())))
    write_outputs(result, tmp_path / "out", pictures=False, html=False, split=True)
    assert len(list((tmp_path / "out" / "split").iterdir())) == 3
    result.part_names = ["x", "y", "z"]
    write_outputs(result, tmp_path / "out", pictures=False, html=False, split=True)
    assert sorted(p.name for p in (tmp_path / "out" / "split").iterdir()) == ["x.glb", "y.glb", "z.glb"]
    write_outputs(result, tmp_path / "out", pictures=False, html=False)
    assert not list((tmp_path / "out" / "split").iterdir())
