"""Methods of papers in the evaluator and from the command line: any shape gets labels, and runs repeat and resume."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny import TINY, random_checkpoint
from typer.testing import CliRunner

from pa3d.cli.evaluate import app
from pa3d.errors import InputError
from pa3d.evaluate import evaluate, open_dataset
from pa3d.evaluate.methods import METHODS, SegmenterMethod, make_method
from pa3d.evaluate.protocols import prepare, resolve
from pa3d.evaluate.score import predict
from pa3d.frames import UP_AXES
from pa3d.methods import NAMES, load_method
from pa3d.methods._common import pca_normals, upright
from pa3d.methods.cops import FORMS, Cops
from pa3d.methods.pointclipv2 import FORMS as POINTCLIP_FORMS
from pa3d.methods.pointclipv2 import PointClipV2
from pa3d.segment import Segmentation
from pa3d.shape import Shape
from tests.test_satr import two_walls
from tests.tiny_networks import ByHeight, TinyBackbone, TinyClip

Array = np.ndarray


@pytest.fixture(scope="module")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A mesh, a coloured cloud with points of no part, and a small cloud."""
    root = tmp_path_factory.mktemp("shapes")
    mesh, truth = two_walls()
    names, category = np.array(["left", "right"]), np.array("Box")
    np.savez(root / "mesh.npz", vertices=mesh.points, faces=mesh.faces, face_labels=truth, part_names=names,
             category=category)  # fmt: skip
    rng = np.random.default_rng(0)
    for n in (40, 700):
        points = (rng.random((n, 3)) * [2, 1, 0.3]).astype(np.float32)
        labels = (points[:, 0] > 1).astype(np.int32)
        labels[-5:] = -1
        np.savez(root / f"cloud{n}.npz", points=points, labels=labels, part_names=names, category=category)
    return root


def some_methods() -> list[Any]:
    return [
        Cops(FORMS["fair"], TinyBackbone(), ByHeight(), "by height"),
        PointClipV2(POINTCLIP_FORMS["fair"], TinyClip()),
        load_method("satr", {"detector": "truth"}, views=3, size=256),
        load_method("partslip", {"detector": "truth"}),
    ]


@pytest.mark.parametrize("index", range(4))
def test_every_point_of_every_shape_gets_one_label(shapes: Path, index: int) -> None:
    method = some_methods()[index]
    dataset = open_dataset("npz", shapes)
    results = evaluate(dataset, method)
    assert results["failed"] == []
    assert [record["points"] for record in results["shapes"]] == [40, 700, 10_000]
    assert results["method"]["name"] == method.name
    assert results["method"]["form"].startswith("fair")
    assert results == evaluate(dataset, some_methods()[index])
    for i in range(3):
        shape = dataset.load(i).shape
        truth = {"truth": dataset.load(i).labels} if getattr(method, "needs_ground_truth", False) else {}
        alone = method.segment(shape, ["left", "right"], category="box", **truth)
        assert alone.labels.shape == (len(shape.points),)
        if shape.faces is not None:
            assert alone.face_labels.shape == (len(shape.faces),)
            assert alone.face_scores.shape == (len(shape.faces), 2)


def test_methods_that_take_meshes_get_them(shapes: Path) -> None:
    """Points get the labels of their faces, or, where the protocol scores vertices, of the vertices."""
    seen: list[Shape] = []

    class Faces:
        takes_mesh = True
        needs_ground_truth = True

        def segment(self, shape: Shape, parts: Sequence[str], category: str | None = None, *, truth: Array) -> Any:
            seen.append(shape)
            if shape.faces is None:
                return Segmentation(shape, list(parts), truth, np.eye(3, dtype=np.float32)[truth][:, :2])
            assert truth.shape == (len(shape.faces),)
            at_vertex = (shape.points[:, 0] > 0).astype(np.int32)
            scores = np.eye(2, dtype=np.float32)
            return Segmentation(shape, list(parts), at_vertex, scores[at_vertex], truth, scores[truth])

    dataset = open_dataset("npz", shapes)
    case = prepare(dataset.load(2), resolve("pa3d", "npz"), dataset)
    np.testing.assert_array_equal(predict(Faces(), case).predicted, case.truth)
    assert seen[-1].faces is not None and len(seen[-1].faces) == len(dataset.load(2).labels)
    case = prepare(dataset.load(2), resolve("cops", "npz"), dataset)
    np.testing.assert_array_equal(predict(Faces(), case).predicted, (case.points[:, 0] > 1e-6).astype(int))
    quarter = np.array([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]])
    predict(Faces(), case, quarter)
    np.testing.assert_allclose(seen[-1].points[:, 1], dataset.load(2).shape.points[:, 0], atol=1e-6)
    case = prepare(dataset.load(0), resolve("pa3d", "npz"), dataset)
    assert predict(Faces(), case).predicted.shape == (40,)

    class NoFaces(Faces):
        def segment(self, shape: Shape, parts: Sequence[str], category: str | None = None, *, truth: Array) -> Any:
            result = super().segment(shape, parts, category, truth=truth)
            result.face_labels = None
            return result

    case = prepare(dataset.load(2), resolve("pa3d", "npz"), dataset)
    with pytest.raises(InputError, match="expected an object with face_labels and face_scores"):
        predict(NoFaces(), case)


def test_colours_of_clouds_reach_the_method(tmp_path: Path) -> None:
    header = "ply\nformat ascii 1.0\nelement vertex 6\n"
    header += "".join(f"property float {axis}\n" for axis in "xyz")
    header += "".join(f"property uchar {color}\n" for color in ("red", "green", "blue")) + "end_header\n"
    folder = tmp_path / "Bottle" / "1"
    folder.mkdir(parents=True)
    (folder / "pc.ply").write_text(header + "\n".join(f"{i} {i % 2} 0 {40 * i} 0 9" for i in range(6)) + "\n")
    np.save(folder / "label.npy", {"semantic_seg": np.array([0, 0, 0, -1, -1, 0])}, allow_pickle=True)
    dataset = open_dataset("partnete", tmp_path)
    case = prepare(dataset.load(0), resolve("pa3d", "partnete"), dataset)
    assert case.cloud.colors is not None
    assert case.cloud.colors[:, 0].tolist() == [0, 40, 80, 120, 160, 200]


def test_protocols_with_points_of_no_part(shapes: Path) -> None:
    """PointCLIPv2 has logits to compare with 0, boxes leave points without a part; COPS names every cluster."""
    dataset = open_dataset("npz", shapes)
    cops, *others = some_methods()
    with pytest.raises(InputError, match="cops gives every point a part"):
        evaluate(dataset, cops, "find3d")
    for method in others:
        assert evaluate(dataset, method, "find3d", points=300)["failed"] == []


def test_names_forms_and_parameters() -> None:
    assert set(NAMES) < set(METHODS)
    with pytest.raises(InputError, match="method 'glip' is unknown; expected one of cops, find3d"):
        load_method("glip")
    with pytest.raises(InputError, match="satr has no form 'best'; expected one of fair, published"):
        load_method("satr", form="best")
    with pytest.raises(InputError, match=r"satr has no weights 'clip'; expected detector \(a folder"):
        load_method("satr", {"clip": "x"})
    with pytest.raises(InputError, match="satr has no parameter 'rings'; expected one of views, seed"):
        load_method("satr", {"detector": "truth"}, rings=3)
    assert make_method("satr").identity()["networks"] == {"detector": "true labels"}
    assert make_method("partslip").identity()["networks"] == {"detector": "true labels"}


def run(*arguments: str | Path) -> Any:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_the_command_names_what_was_run_and_resumes(shapes: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    command = ["npz", "--root", shapes, "--method", "satr", "--form", "published", "--set", "views=2"]
    command += ["--set", "size=128", "--protocol", "cops", "-o", out, "--no-pictures", "-q"]
    result = run(*command)
    assert result.exit_code == 0, result.output
    first = (out / "results.json").read_bytes()
    method = json.loads(first)["method"]
    assert method["form"] == "published, with size, views changed"
    assert method["networks"] == {"detector": "true labels"}
    lines = (out / "records.jsonl").read_bytes().split(b"\n")
    (out / "records.jsonl").write_bytes(b"\n".join(lines[:2]) + b"\n" + lines[2][:20])
    assert run(*command).exit_code == 0
    assert (out / "results.json").read_bytes() == first
    title = "satr (published, with size, views changed, detector: true labels) on npz"
    assert title in (out / "report.html").read_text()
    assert (out / "table.txt").read_text().startswith(title)
    for wrong in (["--set", "views"], ["--weights", "detector"]):
        result = run(*command, *wrong)
        assert result.exit_code != 0
        assert "expected" in str(result.exception)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_workers_and_interruptions_change_nothing(shapes: Path, tmp_path: Path, name: str) -> None:
    weights = {
        "pointclipv2": ["--weights", "clip=random"],
        "find3d": ["--weights", "model=random", "--weights", "text=random"],
    }
    results = []
    for workers in (1, 2):
        out = tmp_path / str(workers)
        command = [
            "npz",
            "--root",
            shapes,
            "--method",
            name,
            "--workers",
            str(workers),
            "-o",
            out,
            "--no-pictures",
            "-q",
        ]
        result = run(*command, *weights.get(name, []))
        assert result.exit_code == 0, result.output
        results.append((out / "results.json").read_bytes())
    assert results[0] == results[1]
    lines = (out / "records.jsonl").read_bytes().split(b"\n")
    (out / "records.jsonl").write_bytes(b"\n".join(lines[:2]) + b"\n")
    assert run(*command, *weights.get(name, [])).exit_code == 0
    assert (out / "results.json").read_bytes() == results[0]


def test_a_file_by_another_method(tmp_path: Path) -> None:
    from pa3d.cli import main

    rng = np.random.default_rng(0)
    np.save(tmp_path / "box.npy", (rng.random((400, 3)) * [2, 1, 0.3]).astype(np.float32))
    command = [
        "segment",
        str(tmp_path / "box.npy"),
        "--parts",
        "left, right",
        "--method",
        "cops",
        "--no-pictures",
        "-q",
    ]
    command += ["--set", "restarts=2", "-o", str(tmp_path / "out")]
    assert main(command) == 0
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert summary["model"] == "cops"
    assert summary["settings"]["form"] == "fair, with restarts changed"
    assert np.load(tmp_path / "out" / "labels.npz")["labels"].shape == (400,)
    assert main([*command, "--form", "published"]) == 2
    assert main([*command[:4], "--method", "satr", "--weights", "detector=truth"]) == 2


def test_normals_equal_a_plain_computation() -> None:
    """Of points on a sphere, near the direction of the point; by eigenvectors of the neighbours within the radius."""
    rng = np.random.default_rng(0)
    points = rng.standard_normal((600, 3))
    points = (points / np.linalg.norm(points, axis=1, keepdims=True)).astype(np.float32)
    normals = pca_normals(points, 0.4, 30)
    assert ((normals * points).sum(axis=1) > 0.97).all()
    some = np.array([5, 77, 300])
    np.testing.assert_array_equal(pca_normals(points, 0.4, 30, some), normals[some])
    for i in some:
        distance = np.linalg.norm(points - points[i], axis=1)
        near = np.argsort(distance, kind="stable")[:30]
        near = near[(distance[near] <= 0.4) | (np.arange(30) < 8)]
        offsets = points[near].astype(np.float64) - points[near].mean(axis=0, dtype=np.float64)
        expected = np.linalg.eigh(offsets.T @ offsets)[1][:, 0]
        assert abs(expected @ normals[i]) == pytest.approx(1, abs=1e-6)
    np.testing.assert_array_equal(pca_normals(points[:2], 0.4, 30), [[0, 0, 1.0 if z >= 0 else -1.0] for z in
                                  points[:2, 2] - points[:2, 2].mean()])  # fmt: skip


@pytest.mark.parametrize("up", UP_AXES)
def test_every_up_axis_becomes_y(up: str) -> None:
    axis = np.zeros((1, 3), np.float32)
    axis[0, "xyz".index(up[-1])] = -1 if up[0] == "-" else 1
    turned = upright(axis, up)
    assert turned.dtype == np.float32
    np.testing.assert_array_equal(turned, [[0, 1, 0]])


def test_points_as_they_are_with_a_negative_up_axis() -> None:
    method = SegmenterMethod(random_checkpoint(TINY))
    method.configure(resolve("find3d", "npz"))
    method.raw = True
    points = np.random.default_rng(0).random((300, 3)).astype(np.float32)
    one = method.segment(Shape(points, up="y"), ["a", "b"], "box")
    other = method.segment(Shape(points * np.float32([1, -1, -1]), up="-y"), ["a", "b"], "box")
    np.testing.assert_array_equal(one.scores, other.scores)
    upside_down = method.segment(Shape(points, up="-y"), ["a", "b"], "box")
    assert not np.array_equal(upside_down.scores, one.scores)
