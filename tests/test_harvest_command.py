"""pa3d harvest and pa3d synth: what they write, what they refuse, and that nothing is left half done."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from test_harvest import GlbWriter, named_nodes, two_joints

from pa3d.cli import main
from pa3d.data.harvest import HarvestReport, harvest, harvest_with_rigs
from pa3d.data.parts import read_shards
from pa3d.data.procedural import synthesize
from pa3d.data.sources import corrections, guess_category, origin
from pa3d.data.synth import categories, draw_cloud, draw_mesh
from pa3d.errors import InputError
from pa3d.io import load
from pa3d.report.part_mesh import part_mesh_glb


@pytest.fixture
def models(tmp_path: Path) -> Path:
    """A folder with three objects, a rigged character, a meaningless mesh, a damaged file and one of FBX."""
    folder = tmp_path / "models"
    (folder / "deeper").mkdir(parents=True)
    for seed in range(3):
        (folder / f"chair{seed}.glb").write_bytes(part_mesh_glb(synthesize("chair", seed)))
    two_joints(folder / "deeper" / "toy.glb")
    named_nodes(folder / "cubes.glb", "Cube.001", "Material")
    (folder / "broken.glb").write_bytes(b"glTF nonsense")
    (folder / "thing.fbx").write_bytes(b"Kaydara FBX Binary  \0")
    (folder / "LICENSE.txt").write_text("CC0 1.0 Universal\n")
    return folder


def run(*arguments: object) -> int:
    return main(["harvest", *map(str, arguments)])


def test_shards_report_and_sheet(models: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, sheet = tmp_path / "shards", tmp_path / "sheet.png"
    assert run(models, "-o", out, "--points", 300, "--draws", 2, "--poses", 5, "--sheet", sheet) == 0
    told = capsys.readouterr()
    assert "kept 4 shapes" in told.out and "CC0-1.0 4" in told.out
    assert "broken.glb" in told.err and "thing.fbx: FBX is not read, export it as GLB" in told.err
    records = list(read_shards(out))
    assert len(records) == 3 * 2 + 5
    assert all(record.points.shape == (300, 3) and record.license == "CC0-1.0" for record in records)
    poses = [record.points for record in records if record.category == "toy"]
    assert len(poses) == 5 and all(np.abs(poses[0] - other).max() > 1e-3 for other in poses[1:])
    report = json.loads((out / "harvest.json").read_text())
    assert report["kept"] == 4 and report["clouds"] == 11
    assert {Path(row["file"]).name for row in report["shapes"]} == {"chair0.glb", "chair1.glb", "chair2.glb", "toy.glb"}
    assert sum(report["dropped"].values()) == len(report["left"]) == 3
    assert [row["rigged"] for row in report["shapes"] if row["category"] == "toy"] == [True]
    from PIL import Image

    with Image.open(sheet) as image:
        assert image.size[0] > 1000 and len(image.convert("RGB").getcolors(1 << 20)) > 20


def test_the_same_seed_gives_the_same_bytes_and_files_do_not_depend_on_each_other(models: Path, tmp_path: Path) -> None:
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        assert run(models, "-o", tmp_path / name, "--points", 200, "--seed", seed, "-q") == 0
    shard = "shard-00000.tar"
    a, b, c = ((tmp_path / name / shard).read_bytes() for name in "abc")
    assert a == b != c
    assert run(models / "chair2.glb", "-o", tmp_path / "one", "--points", 200, "-q") == 0
    alone = next(read_shards(tmp_path / "one"))
    among = next(record for record in read_shards(tmp_path / "a") if record.id == alone.id)
    np.testing.assert_array_equal(alone.points, among.points)


def test_what_is_said_goes_before_what_is_found(models: Path, tmp_path: Path) -> None:
    options = ("--license", "MIT", "--source", "mine", "--category", "armchair")
    assert run(models / "chair0.glb", "-o", tmp_path / "out", *options, "-q") == 0
    [record] = read_shards(tmp_path / "out")
    assert (record.license, record.source, record.category) == ("MIT", "mine", "armchair")


def test_refusals_leave_everything_as_it_was(
    models: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = tmp_path / "kept"
    kept.mkdir()
    (kept / "letter.txt").write_text("mine")
    before = sorted(tmp_path.rglob("*"))
    for arguments, message in (
        ((models, "-o", kept, "--force"), "holds other files"),
        ((tmp_path / "nowhere", "-o", tmp_path / "x"), "no such file or folder"),
        ((models / "LICENSE.txt", "-o", tmp_path / "x"), "unsupported suffix"),
        ((models / "cubes.glb", "-o", tmp_path / "x"), "no shape with two named parts"),
        ((models, "-o", tmp_path / "x", "--sheet", tmp_path / "sheet.jpg"), "ends in .png"),
        ((models, "-o", tmp_path / "x", "--sheet", tmp_path / "no" / "sheet.png"), "a folder that exists"),
        ((models, "-o", models / "cubes.glb" / "x"), "is a file, not a folder"),
        ((models, "-o", tmp_path / "x", "--points", 0), "--points"),
    ):
        assert run(*arguments) == 2
        assert message in capsys.readouterr().err
        assert sorted(tmp_path.rglob("*")) == before

    def fails(*_: object) -> Iterator[None]:
        raise RuntimeError("no more")
        yield

    monkeypatch.setattr("pa3d.cli.harvest.clouds", fails)
    assert run(models, "-o", tmp_path / "x") == 1
    assert sorted(tmp_path.rglob("*")) == before


def test_force_replaces_an_earlier_harvest_alone(
    models: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert run(models, "-o", out, "-q") == 0
    assert run(models / "chair0.glb", "-o", out, "-q") == 2
    assert "--force to replace it" in capsys.readouterr().err
    assert run(models / "chair0.glb", "-o", out, "-q", "--force") == 0
    assert len(list(read_shards(out))) == 1
    assert sorted(p.name for p in tmp_path.iterdir()) == ["models", "out"]


def test_equal_meshes_are_kept_once(tmp_path: Path) -> None:
    mesh = synthesize("table", 1)
    (tmp_path / "a.glb").write_bytes(part_mesh_glb(mesh))
    mesh.vertices = mesh.vertices * np.float32(3) + np.float32(7)
    (tmp_path / "b.glb").write_bytes(part_mesh_glb(mesh))
    report = HarvestReport()
    assert [m.id for m in harvest([tmp_path, tmp_path / "a.glb"], report=report)] == [f"{tmp_path.name}/a"]
    assert report.dropped == [(f"{tmp_path.name}/b", "the same mesh as another shape")]


def test_archives_of_glb_with_a_damaged_member(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "pack.zip", "w") as archive:
        archive.writestr("models/chair.glb", part_mesh_glb(synthesize("chair", 0)))
        archive.writestr("models/other.glb", b"glTF\x02")
        archive.writestr("readme.txt", "hello")
    report = HarvestReport()
    [mesh] = harvest(tmp_path, report=report)
    assert (mesh.id, mesh.category) == ("pack/chair", "chair")
    assert [where for where, _ in report.unreadable] == [f"{tmp_path / 'pack.zip'}/models/other.glb"]


def test_nodes_that_form_a_loop_end(tmp_path: Path) -> None:
    glb = GlbWriter()
    glb.json["nodes"] = [{"children": [1]}, {"children": [0]}, {"name": "top"}]
    glb.json["skins"] = [{"joints": [0, 1]}]
    glb.json["scenes"] = [{"nodes": [2]}]
    glb.write(tmp_path / "loop.glb")
    report = HarvestReport()
    assert list(harvest(tmp_path, report=report)) == []
    assert "form a loop" in report.dropped[0][1]


def test_mjcf_that_includes_itself_ends(tmp_path: Path) -> None:
    (tmp_path / "a.xml").write_text('<mujoco><include file="a.xml"/><worldbody/></mujoco>')
    report = HarvestReport()
    assert list(harvest(tmp_path, report=report)) == []
    assert report.dropped[0][1].startswith("unreadable")


def test_a_rig_comes_with_its_record(tmp_path: Path) -> None:
    two_joints(tmp_path / "toy.glb")
    [found] = harvest_with_rigs(tmp_path, source="mine", license="MIT")
    assert found.character is not None and found.file == tmp_path / "toy.glb"
    posed = found.character.pose(np.random.default_rng(0))
    assert (posed.source, posed.license, posed.id) == ("mine", "MIT", found.mesh.id)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("MIT License\n\nPermission is hereby granted, free of charge, to any person", "MIT"),
        ("Apache License\n   Version 2.0, January 2004", "Apache-2.0"),
        ("GNU GENERAL PUBLIC LICENSE\nVersion 3, 29 June 2007", "GPL-3.0"),
        ("Creative Commons Attribution-NonCommercial 4.0", "CC-BY-NC"),
        ("https://creativecommons.org/licenses/by/4.0/", "CC-BY-4.0"),
        ("All rights reserved.", "unknown"),
    ],
)
def test_licences_beside_files(tmp_path: Path, text: str, expected: str) -> None:
    deeper = tmp_path / "pack" / "glb"
    deeper.mkdir(parents=True)
    (tmp_path / "pack" / "COPYING").write_text(text)
    assert origin(deeper / "chair.glb") == ("glb", expected)
    assert origin(deeper / "chair.glb", copyright="CC-BY-3.0, somebody")[1] == (
        expected if expected != "unknown" else "CC-BY-3.0"
    )


def test_known_sources_and_categories() -> None:
    assert origin(Path("/data/kenney_racing/car.glb")) == ("kenney", "CC0-1.0")
    assert origin(Path("/data/BlendSwap-CC-BY.sh3f")) == ("sweethome3d", "CC-BY-3.0")
    assert guess_category(Path("/x/webxr/dist/profiles/oculus-go/none.glb")) == "controller"
    assert guess_category(Path("/x/Kitchen_chair-02.glb")) == "kitchen chair"
    assert corrections("metaworld", "objects/box") == {"bin": "body", "top box": "lid"}
    assert corrections("metaworld", "objects/dial") is None
    assert corrections("webxr-input-profiles", "any/left") == {"grip": "grip button"}
    assert corrections("mine", "objects/dial") == {}


def test_synth_writes_objects_and_creatures(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["synth", "table", "-n", "2", "--seed", "5", "-o", str(tmp_path / "tables")]) == 0
    about = json.loads((tmp_path / "tables" / "synth.json").read_text())
    assert [row["file"] for row in about["shapes"]] == ["table-5.glb", "table-6.glb"]
    mesh = synthesize("table", 6)
    shape = load(tmp_path / "tables" / "table-6.glb")
    assert about["shapes"][1]["parts"] == [list(names) for names in mesh.parts]
    assert shape.faces is not None and len(shape.faces) == len(mesh.faces)
    [again] = harvest(tmp_path / "tables" / "table-6.glb")
    assert {names[0] for names in again.parts} <= {names[0] for names in mesh.parts}
    assert main(["synth", "animal mouse", "--shards", "-n", "2", "--points", "500", "-o", str(tmp_path / "mice")]) == 0
    mice = list(read_shards(tmp_path / "mice"))
    assert len(mice) == 2 and all("tail" in record.names for record in mice)
    capsys.readouterr()
    assert main(["synth", "--list"]) == 0
    assert "chair" in capsys.readouterr().out


def test_synth_refuses(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for arguments, message in (
        (["synth"], "no CATEGORY given"),
        (["synth", "unicorn"], "unknown category 'unicorn'"),
        (["synth", "animal chair"], "unknown category 'animal chair'"),
        (["synth", "chair", "-n", "0"], "--count"),
    ):
        assert main([*arguments, "-o", str(tmp_path / "out")]) == 2
        assert message in capsys.readouterr().err
        assert not (tmp_path / "out").exists()


def test_creatures_as_meshes_carry_the_names_of_their_clouds() -> None:
    objects, creatures = categories()
    assert not set(objects) & set(creatures)
    for kind in ("human", "animal mouse"):
        mesh, cloud = draw_mesh(kind, 3), draw_cloud(kind, 3, 2000)
        assert {name for names in mesh.parts for name in names} >= set(cloud.names)
        assert np.isfinite(mesh.vertices).all() and mesh.faces.max() < len(mesh.vertices)
        again = draw_mesh(kind, 3)
        np.testing.assert_array_equal(mesh.vertices, again.vertices)
    with pytest.raises(InputError, match="unknown category"):
        draw_cloud("unicorn", 0)


def test_mjcf_solids_between_points_and_turned(tmp_path: Path) -> None:
    (tmp_path / "arm.xml").write_text(
        '<mujoco><worldbody><body name="upper_arm"><geom type="capsule" fromto="0 0 0 0 2 0" size="0.1"/></body>'
        '<body name="hand" pos="0 2 0" axisangle="0 0 1 90">'
        '<geom type="ellipsoid" size="0.4 0.1 0.2"/><geom type="box" fromto="0 0 0 1 0 0" size="0.05"/></body>'
        '<body name="finger" xyaxes="0 1 0 -1 0 0" pos="5 0 0">'
        '<geom type="cylinder" size="0.1 1" zaxis="1 0 0"/></body>'
        "</worldbody></mujoco>"
    )
    [mesh] = harvest(tmp_path)
    boxes = {}
    for part, names in enumerate(mesh.parts):
        mine = mesh.vertices[mesh.faces[mesh.face_parts == part]].reshape(-1, 3)
        boxes[names[0]] = mine.min(axis=0), mine.max(axis=0)
    # (x, y, z) of MuJoCo is (x, z, -y) here.
    np.testing.assert_allclose(boxes["upper arm"], [[-0.1, -0.1, -2.1], [0.1, 0.1, 0.1]], atol=0.01)
    # Turned by 90 degrees the ellipsoid's long axis and the box run along y: from 1.6 and to 3 there.
    np.testing.assert_allclose(boxes["hand"], [[-0.1, -0.2, -3.0], [0.1, 0.2, -1.6]], atol=0.01)
    # The body's x is y: so the cylinder, along its x, runs from -1 to 1 along y.
    np.testing.assert_allclose(boxes["finger"], [[4.9, -0.1, -1.0], [5.1, 0.1, 1.0]], atol=0.01)


@pytest.mark.parametrize("size", ["nan", "inf", "1e300", "1e-400"])
@pytest.mark.parametrize("kind", ["sphere", "capsule", "cylinder", "box", "ellipsoid"])
def test_mjcf_solids_that_cannot_be_built_are_left_out(tmp_path: Path, kind: str, size: str) -> None:
    (tmp_path / "two.xml").write_text(
        f'<mujoco><worldbody><geom name="handle" type="{kind}" size="{size} {size} {size}"/>'
        '<geom name="head" type="sphere" size="0.1"/><geom name="torso" type="cylinder" size="0.1 1"/>'
        "</worldbody></mujoco>"
    )
    [mesh] = harvest(tmp_path)
    assert [names[0] for names in mesh.parts] == ["head", "torso"]
