"""Harvesting author-named parts from files that the tests write, and posing skinned characters."""

from __future__ import annotations

import json
import struct
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pa3d.data.harvest import HarvestReport, archives, characters, harvest
from pa3d.data.harvest.ac3d import parse_ac3d
from pa3d.data.harvest.readers import obj_pieces
from pa3d.data.rigged import RiggedCharacter
from pa3d.errors import InputError
from pa3d.io._common import CorruptFileError
from pa3d.io.obj import parse

CORNERS = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0]], np.float32)


class GlbWriter:
    """Builds a binary glTF file: accessors are appended, the rest is given as JSON."""

    def __init__(self) -> None:
        self.binary = b""
        self.json: dict[str, Any] = {"asset": {"version": "2.0"}, "accessors": [], "bufferViews": []}

    def accessor(self, array: np.ndarray, kind: str) -> int:
        component = {"float32": 5126, "uint16": 5123, "uint8": 5121}[array.dtype.name]
        self.json["bufferViews"].append({"buffer": 0, "byteOffset": len(self.binary), "byteLength": array.nbytes})
        self.binary += array.tobytes() + b"\0" * (-array.nbytes % 4)
        view = len(self.json["bufferViews"]) - 1
        self.json["accessors"].append(
            {"bufferView": view, "componentType": component, "count": len(array), "type": kind}
        )
        return len(self.json["accessors"]) - 1

    def write(self, path: Path) -> Path:
        self.json["buffers"] = [{"byteLength": len(self.binary)}]
        text = json.dumps(self.json).encode()
        text += b" " * (-len(text) % 4)
        size = 12 + 8 + len(text) + 8 + len(self.binary)
        path.write_bytes(
            struct.pack("<4sII", b"glTF", 2, size) + struct.pack("<I4s", len(text), b"JSON") + text
            + struct.pack("<I4s", len(self.binary), b"BIN\0") + self.binary
        )  # fmt: skip
        return path


def named_nodes(path: Path, first: str = "Seat.001", second: str = "Leg_L") -> Path:
    """Two triangles; the second node is moved by its parent (turned a quarter about z) and by itself."""
    glb = GlbWriter()
    position = glb.accessor(CORNERS, "VEC3")
    glb.json["meshes"] = [{"primitives": [{"attributes": {"POSITION": position}}]}]
    half = float(np.sqrt(0.5))
    glb.json["nodes"] = [
        {"name": first, "mesh": 0},
        {"name": "group", "translation": [0, 0, 5], "rotation": [0, 0, half, half], "children": [2]},
        {"name": second, "mesh": 0, "translation": [2, 0, 0], "scale": [1, 1, 1]},
    ]
    glb.json["scenes"] = [{"nodes": [0, 1]}]
    return glb.write(path)


def two_joints(path: Path) -> Path:
    """A strip from y = 0 to 2: the lower half hangs on Torso, the upper on Head, whose joint is at y = 1."""
    glb = GlbWriter()
    vertices = np.array([[0, 0, 0], [1, 0, 0], [0, 0.5, 0], [0, 2, 0], [1, 2, 0], [0, 1.5, 0]], np.float32)
    joints = np.zeros((6, 4), np.uint8)
    joints[3:, 0] = 1
    weights = np.tile(np.array([1, 0, 0, 0], np.float32), (6, 1))
    bind = np.tile(np.eye(4, dtype=np.float32), (2, 1, 1))
    bind[1, 1, 3] = -1
    attributes = {
        "POSITION": glb.accessor(vertices, "VEC3"),
        "JOINTS_0": glb.accessor(joints, "VEC4"),
        "WEIGHTS_0": glb.accessor(weights, "VEC4"),
    }
    indices = glb.accessor(np.arange(6, dtype=np.uint16), "SCALAR")
    glb.json["meshes"] = [{"primitives": [{"attributes": attributes, "indices": indices}]}]
    glb.json["nodes"] = [
        {"name": "Torso", "children": [1]},
        {"name": "Head", "translation": [0, 1, 0]},
        {"name": "skinned", "mesh": 0, "skin": 0},
    ]
    inverse = glb.accessor(bind.transpose(0, 2, 1).reshape(2, 16).copy(), "MAT4")
    glb.json["skins"] = [{"joints": [0, 1], "inverseBindMatrices": inverse}]
    glb.json["scenes"] = [{"nodes": [0, 2]}]
    return glb.write(path)


def test_glb_nodes_carry_names_and_nested_transforms(tmp_path: Path) -> None:
    [mesh] = harvest(named_nodes(tmp_path / "chair.glb"), license="CC0-1.0", source="mine")
    assert mesh.parts == [("seat",), ("leg",)]
    assert mesh.face_parts.tolist() == [0, 1]
    assert (mesh.category, mesh.license, mesh.source) == ("chair", "CC0-1.0", "mine")
    np.testing.assert_allclose(mesh.vertices[:3], CORNERS)
    # (x + 2, y, 0) turned a quarter about z, then moved by 5 along z: (-y, x + 2, 5).
    np.testing.assert_allclose(mesh.vertices[3:], [[0, 2, 5], [0, 3, 5], [-1, 2, 5]], atol=1e-6)


def test_meaningless_names_are_dropped_with_a_reason(tmp_path: Path) -> None:
    named_nodes(tmp_path / "a.glb", "Cube.001", "Material")
    named_nodes(tmp_path / "b.glb", "Seat", "Cube")
    named_nodes(tmp_path / "c.glb", "door", "top_door")
    (tmp_path / "d.glb").write_bytes(b"glTF nonsense")
    report = HarvestReport()
    assert list(harvest(tmp_path, report=report)) == []
    assert report.drop_reasons["no meaningful part name"] == 1
    assert report.drop_reasons["fewer than two meaningful part names"] == 2
    assert sum(count for reason, count in report.drop_reasons.items() if reason.startswith("unreadable")) == 1
    assert "kept 0 shapes" in str(report)


def test_missing_path_is_the_callers_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file or folder"):
        list(harvest(tmp_path / "nowhere"))


def test_cut_files_are_refused(tmp_path: Path) -> None:
    whole = named_nodes(tmp_path / "whole.glb").read_bytes()
    (tmp_path / "cut.glb").write_bytes(whole[:-20])
    report = HarvestReport()
    assert list(harvest([tmp_path / "cut.glb"], report=report)) == []
    assert report.unreadable[0][1].startswith("unreadable: is truncated: it declares")


def test_a_bug_of_a_reader_is_no_damaged_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(*_: object) -> None:
        raise TypeError("a bug")

    monkeypatch.setattr("pa3d.io.gltf.Gltf.primitive_instances", wrong)
    with pytest.raises(TypeError, match="a bug"):
        list(harvest(named_nodes(tmp_path / "chair.glb")))
    with zipfile.ZipFile(tmp_path / "chairs.zip", "w") as archive:
        archive.write(tmp_path / "chair.glb", "chair.glb")
    with pytest.raises(TypeError, match="a bug"):
        list(harvest(tmp_path / "chairs.zip"))
    monkeypatch.setattr("pa3d.io.gltf.Gltf.primitive_instances", lambda *_: {}["what a file lacks"])
    report = HarvestReport()
    assert list(harvest(tmp_path, report=report)) == [] and len(report.unreadable) == 2


def test_members_that_unpack_to_too_much_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with zipfile.ZipFile(tmp_path / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("bomb.obj", bytes(20_000))
    monkeypatch.setattr(archives, "MAX_BYTES", 10_000)
    report = HarvestReport()
    assert list(harvest(tmp_path / "bomb.zip", report=report)) == []
    assert report.unreadable[0][1].startswith("unreadable: larger than")
    from pa3d.multiview.inputs import Source, read_source

    with pytest.raises(InputError, match="larger than"):  # `pa3d prepare` unpacks with the same guard
        read_source(Source(str(tmp_path / "bomb.zip"), "bomb.obj", "member"))


def test_extensions_that_leave_triangles_alone_are_no_reason_to_refuse(tmp_path: Path) -> None:
    whole = named_nodes(tmp_path / "whole.glb")
    data = whole.read_bytes()
    (size,) = struct.unpack_from("<I", data, 12)
    document = json.loads(data[20 : 20 + size])
    document["extensionsRequired"] = [
        "KHR_materials_pbrSpecularGlossiness", "KHR_lights_punctual", "EXT_texture_webp", "KHR_mesh_quantization"
    ]  # fmt: skip
    glb = GlbWriter()
    glb.json, glb.binary = document, data[28 + size :]
    [mesh] = harvest(glb.write(tmp_path / "chair.glb"))
    assert mesh.parts == [("seat",), ("leg",)]


def test_bind_pose_is_reproduced_exactly(tmp_path: Path) -> None:
    character = RiggedCharacter.load(two_joints(tmp_path / "toy.glb"))
    still = character.posed(np.tile(np.eye(3), (2, 1, 1)))
    np.testing.assert_array_equal(still, character.vertices)
    np.testing.assert_array_equal(
        character.pose(np.random.default_rng(0), amount=0.0).vertices, character.bind().vertices
    )
    assert character.parts == [("torso", "body"), ("head",)]
    assert character.face_parts.tolist() == [0, 1]


def test_a_quarter_turn_moves_the_tip_to_the_computed_place(tmp_path: Path) -> None:
    character = RiggedCharacter.load(two_joints(tmp_path / "toy.glb"))
    turn = np.tile(np.eye(3), (2, 1, 1))
    turn[character.joint_names.index("Head")] = [[0, -1, 0], [1, 0, 0], [0, 0, 1]]  # a quarter about z
    # The upper vertices (x, y) turn about (0, 1): (x, y) -> (1 - y, 1 + x). The lower ones stay.
    moved = character.posed(turn)
    expected = [[0, 0, 0], [1, 0, 0], [0, 0.5, 0], [-1, 1, 0], [-1, 2, 0], [-0.5, 1, 0]]
    np.testing.assert_allclose(moved, expected, atol=1e-12)
    # Turning both: the head's pivot goes with the torso, to (-1, 0), and the head has made a half turn.
    turn[character.joint_names.index("Torso")] = turn[character.joint_names.index("Head")]
    both = character.posed(turn)
    np.testing.assert_allclose(both[3], [-1, -1, 0], atol=1e-12)


def test_poses_differ_and_repeat_with_the_seed(tmp_path: Path) -> None:
    character = RiggedCharacter.load(two_joints(tmp_path / "toy.glb"))
    a, b = (character.pose(np.random.default_rng(seed)).vertices for seed in (1, 2))
    again = character.pose(np.random.default_rng(1)).vertices
    np.testing.assert_array_equal(a, again)
    assert np.abs(a - b).max() > 1e-3


def test_obj_groups_materials_and_negative_indices() -> None:
    text = b"""v 0 0 0\nv 1 0 0\nv 1 1 0\nv 0 1 0\ng seat_Plane.001\nf 1 2 3 4\nv 0 0 1
g Cube.002\nusemtl table_legs\nf -1/1/1 -5/2/2 -4/3/3\n"""
    shape = obj_pieces(parse(text), "stool", "x")
    assert shape.faces.tolist() == [[0, 1, 2], [0, 2, 3], [4, 0, 1]]
    assert shape.names == [("seat_Plane.001", "", ""), ("Cube.002", "", "table_legs")]
    assert shape.piece.tolist() == [0, 0, 1]
    with pytest.raises(CorruptFileError, match=r"faces refer to vertices outside 0\.\.0"):
        parse(b"v 0 0 0\nf 1 2 3\n")


def test_library_archive_with_catalogue(tmp_path: Path) -> None:
    obj = b"v 0 0 0\nv 1 0 0\nv 0 1 0\nv 0 0 2\ng sweethome3d_seat\nf 1 2 3\ng legs_Cube.001\nf 1 2 4\n"
    catalogue = "name#1=Kitchen stool\nmodel#1=/set/stool.obj\nmodelRotation#1=1 0 0 0 0 -1 0 1 0\n"
    with zipfile.ZipFile(tmp_path / "library.sh3f", "w") as archive:
        archive.writestr("PluginFurnitureCatalog.properties", catalogue)
        archive.writestr("set/stool.obj", obj)
        archive.writestr("set/broken.obj", obj + b"f 1 2 99\n")
        archive.writestr("set/plain.obj", b"v 0 0 0\ng Cube\nf 1 1 1\n")
    report = HarvestReport()
    [mesh] = harvest(tmp_path / "library.sh3f", report=report)
    assert mesh.category == "kitchen stool"
    assert mesh.license == "CC-BY-3.0"
    assert mesh.parts == [("seat",), ("leg",)]
    np.testing.assert_allclose(mesh.vertices[3], [0, -2, 0], atol=1e-6)
    assert report.drop_reasons.total() == 2


def test_ac3d_objects_offsets_and_overlays(tmp_path: Path) -> None:
    triangle = "numvert 3\n0 0 0\n1 0 0\n0 1 0\nnumsurf 1\nSURF {}\nmat 0\nrefs 3\n0 0 0\n1 0 0\n2 0 0\nkids 0\n"
    text = (
        'AC3Db\nMATERIAL "" rgb 1 1 1\nOBJECT world\nkids 2\n'
        'OBJECT group\nname "wing_left"\nloc 0 0 3\nkids 2\n'
        f'OBJECT poly\nname "poly"\ndata 4\nabcd\n{triangle.format("0x20")}'
        f'OBJECT poly\nname "propdisc"\n{triangle.format("0x20")}'
        f'OBJECT poly\nname "Fuselage"\nloc 1 0 0\n{triangle.format("0x0")}'
    )  # fmt: skip
    shape = parse_ac3d(text.encode(), "aircraft", "x")
    assert shape.names == [("poly", "wing_left"), ("Fuselage",)]
    np.testing.assert_allclose(shape.vertices, [[0, 0, 3], [1, 0, 3], [0, 1, 3], [1, 0, 0], [2, 0, 0], [1, 1, 0]])
    (tmp_path / "plane.ac").write_text(text)
    [mesh] = harvest(tmp_path)
    assert mesh.parts == [("wing",), ("fuselage", "body")]
    for data, message in (
        (b"OBJ", "is not an AC3D file"),
        (text.encode()[:150], "ends within an object"),
        (text.replace("loc 0 0 3", "loc 0 0 up").encode(), "'0 0 up' found where numbers are expected"),
        (text.replace("refs 3", "refs three").encode(), "'three' found where an integer is expected"),
        (text.replace("2 0 0\nkids", "9 0 0\nkids").encode(), r"faces refer to vertices outside 0\.\.2"),
    ):
        with pytest.raises(CorruptFileError, match=message):
            parse_ac3d(data, "aircraft", "x")


def test_mjcf_meshes_solids_defaults_and_axes(tmp_path: Path) -> None:
    pytest.importorskip("trimesh")
    facet = struct.pack("<12fH", 0, 0, 1, 0, 0, 0, 3, 0, 0, 0, 3, 0, 0)
    (tmp_path / "lid.stl").write_bytes(b"\0" * 80 + struct.pack("<I", 1) + facet)
    (tmp_path / "assets.xml").write_text(
        '<mujocoinclude><asset><mesh name="box_lid" file="lid.stl" scale="1 1 2"/></asset>'
        '<default><default class="hit"><geom group="4"/></default></default></mujocoinclude>'
    )
    (tmp_path / "box.xml").write_text(
        '<mujoco model="box"><compiler angle="radian"/><include file="assets.xml"/><worldbody>'
        '<geom type="plane" size="9 9 9"/>'
        '<body name="handle" pos="0 0 1"><geom type="box" size="0.5 0.5 0.5"/>'
        '<geom class="hit" type="box" size="5 5 5"/></body>'
        '<body pos="0 0 2" euler="0 0 1.5707963267948966"><geom mesh="box_lid" pos="1 0 0"/></body>'
        "</worldbody></mujoco>"
    )
    [mesh] = harvest(tmp_path)
    assert mesh.parts == [("handle",), ("lid",)]
    assert len(mesh.faces) == 12 + 1
    # z up to y up: (x, y, z) -> (x, z, -y); the box spans z from 0.5 to 1.5.
    np.testing.assert_allclose(mesh.vertices[:8].min(0), [-0.5, 0.5, -0.5], atol=1e-6)
    # Lid corner (3, 0, 0) + (1, 0, 0), turned a quarter about z: (0, 4, 2), then y up: (0, 2, -4).
    assert np.abs(mesh.vertices[8:] - [0, 2, -4]).max(1).min() < 1e-6


CC0_FOLDERS = ("quaternius_rigged", "cc0_game_packs")


def test_shared_training_shapes(shared: Path) -> None:
    report = HarvestReport()
    meshes = list(harvest([shared / "data" / "train" / name for name in CC0_FOLDERS], report=report))
    assert len(meshes) == report.kept.total() >= 78
    assert {m.license for m in meshes} == {"CC0-1.0"}
    assert {"head", "leg", "arm", "tail", "wheel", "front leg", "torso"} <= set(report.common_names())
    truck = next(m for m in meshes if m.id.endswith("truck-red"))
    assert ("front wheel", "wheel") in truck.parts


# What the NOTES.md of each folder says; where files state their own licence, none is given.
TURN2_LICENSES = {
    "babylon_meshes": "CC-BY-4.0", "godot_demos": "MIT", "hra_organs": "CC-BY-4.0", "ifc_buildings": "MIT",
    "infinigen": "BSD-3-Clause", "kenney_racing": "CC0-1.0", "makehuman_people": "CC0-1.0",
    "mujoco_bigym": "Apache-2.0", "mujoco_dmc": "Apache-2.0", "mujoco_flybody": "Apache-2.0",
    "mujoco_gymrob": "MIT", "mujoco_ikeafurn": "MIT", "mujoco_libero": "MIT", "mujoco_myosim": "Apache-2.0",
    "mujoco_robocasa": "MIT", "pmndrs_market": "CC0-1.0", "quaternius_named": "CC0-1.0",
    "quaternius_relabelled": "CC0-1.0", "quaternius_rigged": "CC0-1.0", "robots": "BSD-3-Clause",
    "scene_synthesizer": "Apache-2.0",
}  # fmt: skip


def test_shared_shapes_of_turn2_take_the_licence_that_is_given(shared: Path) -> None:
    folder = shared / "data" / "train" / "turn2"
    if not folder.is_dir():
        pytest.skip(f"{folder} is not there")
    kept = set()
    for name, license in TURN2_LICENSES.items():
        files = sorted((folder / name).rglob("*.glb"), key=lambda path: path.stat().st_size)
        report = HarvestReport()
        meshes = list(harvest(files[:: max(len(files) // 3, 1)][:3], license=license, report=report))
        assert {mesh.license for mesh in meshes} <= {license} and not report.unreadable, name
        kept |= {name} if meshes else set()
    assert len(kept) >= 15
    credited = sorted((folder / "sketchfab_ccby").rglob("*.glb"), key=lambda path: path.stat().st_size)[:12]
    stated = {mesh.license for mesh in harvest(credited)}
    assert stated and stated <= {"CC-BY-4.0", "CC-BY-3.0", "CC0-1.0"}


def test_rigged_files_are_read_with_the_words_of_their_corpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: set[str] = set()

    def part_names(raw: str, category: str = "", corpus: str = "") -> tuple[str, ...]:
        asked.add(corpus)
        return ()

    monkeypatch.setattr("pa3d.data.rigged.part_names", part_names)
    path = two_joints(tmp_path / "toy.glb")
    assert list(harvest(path)) and asked == {tmp_path.name}
    asked.clear()
    assert list(characters(path)) and asked == {tmp_path.name}


def test_shared_characters_stand_upright_in_every_pose(shared: Path) -> None:
    rng = np.random.default_rng(0)
    folders = [shared / "data" / "train" / name for name in CC0_FOLDERS]
    people = [c for c in characters(folders) if c.category == "person"]
    assert len(people) >= 25
    for person in people:
        cloud = person.pose(rng).sample(2000, rng)
        mean = {name: cloud.points[mask].mean(0) for name, mask in zip(cloud.names, cloud.masks, strict=True)}
        assert np.isfinite(cloud.points).all()
        assert mean["head"][1] > mean["torso"][1] > mean["leg"][1], person.id
        assert mean["neck" if "neck" in mean else "head"][1] > mean["hips"][1]
        left = person.pivots[[i for i, n in enumerate(person.joint_names) if n.lower() == "upperarm.l"]]
        assert (left[:, 0] > 0).all(), person.id
