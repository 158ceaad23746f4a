"""Keypoints whose place is known: legs of procedural chairs, a corner of a box, and annotations that are wrong."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from pa3d import keypoints as module
from pa3d.cli import main
from pa3d.data.parts import PartMesh
from pa3d.data.procedural import synthesize
from pa3d.errors import InputError
from pa3d.io import load
from pa3d.report.part_mesh import part_mesh_glb
from pa3d.segment import Segmenter
from pa3d.shape import Shape


@pytest.fixture(scope="module")
def segmenter() -> Segmenter:
    return Segmenter.from_pretrained(threads=1)


def leg_tips(mesh: PartMesh) -> np.ndarray:  # (K, 3): vertices of the legs on the floor
    legs = [i for i, names in enumerate(mesh.parts) if "leg" in names]
    vertices = mesh.vertices[np.unique(mesh.faces[np.isin(mesh.face_parts, legs)])]
    return vertices[vertices[:, 1] < vertices[:, 1].min() + 0.02]


def as_shape(mesh: PartMesh) -> Shape:
    return Shape(mesh.vertices, mesh.faces, name=mesh.id)


def distance(tips: np.ndarray, position: np.ndarray) -> float:
    return float(np.linalg.norm(tips - position, axis=1).min())


def four_legged(category: str, count: int) -> list[PartMesh]:
    """Objects of a category that stand on the floor in all four quarters."""
    found = []
    for seed in range(60):
        mesh = synthesize(category, seed)
        if any("leg" in names for names in mesh.parts):
            quarters = {tuple(q) for q in np.sign(leg_tips(mesh)[:, [0, 2]])}
            if {(-1, -1), (-1, 1), (1, -1), (1, 1)} <= quarters:
                found.append(mesh)
        if len(found) == count:
            break
    return found


def test_the_tip_of_a_leg_by_text(segmenter: Segmenter) -> None:
    """Objects are one unit large; a patch is about a tenth of that."""
    errors = []
    for mesh in four_legged("chair", 6) + four_legged("table", 4):
        [tip] = segmenter.keypoints(as_shape(mesh), ["tip of the leg"]).found
        errors.append(distance(leg_tips(mesh), tip.position))
        nearest = np.linalg.norm(mesh.vertices - tip.position, axis=1)
        assert tip.index == nearest.argmin() or nearest[tip.index] == nearest.min()
        assert 0 <= tip.score <= 1
    assert np.median(errors) < 0.03


def test_the_same_leg_as_in_an_annotated_shape(segmenter: Segmenter, tmp_path: Path) -> None:
    first, *others = four_legged("chair", 7)
    (tmp_path / "first.glb").write_bytes(part_mesh_glb(first))
    tips = leg_tips(first)
    wanted = {"left": tips[tips[:, 0] > 0], "right": tips[tips[:, 0] < 0]}
    marks = [{"name": f"{k} tip", "position": v[v[:, 2].argmax()].tolist()} for k, v in wanted.items()]
    (tmp_path / "like.json").write_text(json.dumps({"file": "first.glb", "keypoints": marks}))
    hits = []
    for mesh in others:
        result = segmenter.keypoints(as_shape(mesh), like=tmp_path / "like.json")
        assert result.names == ["left tip", "right tip"]
        hits += [distance(leg_tips(mesh), k.position) < 0.12 for k in result.found]
        hits += [(k.position[0] > 0) == (k.name == "left tip") for k in result.found]
    assert np.mean(hits) >= 0.75


def test_an_annotated_shape_finds_its_own_points(segmenter: Segmenter, tmp_path: Path) -> None:
    """Closer than the patches lie apart: points are looked at where they are, not at centres."""
    mesh = synthesize("table", 2)
    (tmp_path / "table.glb").write_bytes(part_mesh_glb(mesh))
    shape = load(tmp_path / "table.glb")
    positions, _ = shape.sample(12, seed=5)
    marks = [{"name": f"p{i}", "position": p.tolist()} for i, p in enumerate(positions)]
    annotated = {"file": str(tmp_path / "table.glb"), "up": "y", "keypoints": marks}
    result = segmenter.keypoints(shape, like=annotated)
    errors = [np.linalg.norm(k.position - p) for k, p in zip(result.found, positions, strict=True)]
    encoded = segmenter.encode(shape.sample(2048, 0)[0])
    spacing = np.sort(np.linalg.norm(encoded.centers[:, None] - encoded.centers, axis=2), axis=1)[:, 1].mean()
    assert np.median(errors) < 0.5 * spacing
    # What was found can be given as an annotation again.
    again = segmenter.keypoints(shape, like={**result.to_dict(), "file": str(tmp_path / "table.glb")})
    assert [k.name for k in again.found] == [k.name for k in result.found]


def test_places_on_a_part_by_hand() -> None:
    points = np.array([[0, 0, 0], [0, 0, 1], [0, 0, 2], [0, 0, 3], [0, 0, 4]], np.float32)
    surface = module._Surface(Shape(points), points, points, points, points)
    score = np.array([0.1, 0.2, 0.9, 0.8, 0.7], np.float32)
    place = {p: module._placement_score(surface, score, p).argmax() for p in ("", "top", "bottom", "tip", "center")}
    assert place == {"": 2, "top": 4, "bottom": 2, "tip": 4, "center": 3}
    assert module._place("The tip of the left leg") == ("tip", "left leg")
    assert module._place("end of handle") == ("tip", "handle")
    assert module._place("middle of a seat") == ("center", "seat")
    assert module._place("topmost thing") == ("", "topmost thing")


def test_several_of_a_name_lie_apart(segmenter: Segmenter) -> None:
    mesh = four_legged("table", 1)[0]
    result = segmenter.keypoints(as_shape(mesh), ["tip of the leg", "tabletop"], count=4)
    tips = np.stack([k.position for k in result.found if k.name == "tip of the leg"])
    assert len(tips) == 4
    gaps = np.linalg.norm(tips[:, None] - tips, axis=2) + np.eye(4)
    assert gaps.min() > module.MIN_DISTANCE * 0.4  # the shape's radius is at least 0.4
    assert result.heat.shape == (len(mesh.vertices), 2) and (result.heat >= 0).all() and (result.heat <= 1).all()
    again = segmenter.keypoints(as_shape(mesh), ["tip of the leg", "tabletop"], count=4)
    assert [k.index for k in again.found] == [k.index for k in result.found]


def test_another_up_axis_and_far_coordinates(segmenter: Segmenter) -> None:
    mesh = four_legged("chair", 1)[0]
    moved = Shape(mesh.vertices[:, [0, 2, 1]] * np.float32([1, -1, 1]), mesh.faces, up="z", origin=np.full(3, 1e6))
    [plain] = segmenter.keypoints(as_shape(mesh), ["bottom of the leg"]).found
    [other] = segmenter.keypoints(moved, ["bottom of the leg"]).found
    back = (other.position - 1e6)[[0, 2, 1]] * [1, 1, -1]
    assert distance(leg_tips(mesh), back) == pytest.approx(distance(leg_tips(mesh), plain.position), abs=0.02)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("nonsense", "is not JSON"),
        ("[]", "has no file or no keypoints"),
        ('{"file": "a.glb", "keypoints": []}', "has no file or no keypoints"),
        ('{"file": "a.glb", "keypoints": 7}', "keypoint 0 cannot be read"),
        ('{"file": "a.glb", "keypoints": [{"name": "x"}]}', "keypoint 0 cannot be read"),
        ('{"file": "a.glb", "keypoints": [{"name": "x", "position": [1, 2]}]}', "three finite coordinates"),
        ('{"file": "a.glb", "keypoints": [{"name": "", "position": [1, 2, 3]}]}', "needs a name"),
        ('{"file": "a.glb", "up": "w", "keypoints": [{"name": "x", "position": [0, 0, 0]}]}', "up is 'w'"),
        ('{"file": "gone.glb", "keypoints": [{"name": "x", "position": [0, 0, 0]}]}', "no such file"),
        ('{"file": "a.glb", "keypoints": [{"name": "x", "position": [90, 0, 0]}]}', "lies far outside"),
    ],
)
def test_wrong_annotations(segmenter: Segmenter, tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "a.glb").write_bytes(part_mesh_glb(synthesize("box", 0)))
    (tmp_path / "like.json").write_text(content)
    with pytest.raises(InputError, match=message):
        segmenter.keypoints(tmp_path / "a.glb", like=tmp_path / "like.json")


def test_wrong_arguments(segmenter: Segmenter) -> None:
    shape = as_shape(synthesize("box", 0))
    for arguments, message in (
        ({}, "either names"),
        ({"names": ["a"], "like": {}}, "either names"),
        ({"names": []}, "part"),
        ({"names": ["a"], "count": 0}, "count is 0"),
        ({"like": []}, "like is empty"),
    ):
        with pytest.raises(InputError, match=message):
            segmenter.keypoints(shape, **arguments)  # type: ignore[arg-type]


def test_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "chair.glb").write_bytes(part_mesh_glb(synthesize("chair", 3)))
    out = tmp_path / "out"
    assert main(["keypoints", str(tmp_path / "chair.glb"), "--names", "tip of the leg, seat", "-o", str(out)]) == 0
    assert "tip of the leg" in capsys.readouterr().out
    found = json.loads((out / "keypoints.json").read_text())
    assert [k["name"] for k in found["keypoints"]] == ["tip of the leg", "seat"]
    cloud = load(out / "keypoints.ply")
    assert np.abs(cloud.points + cloud.origin - [k["position"] for k in found["keypoints"]]).max() < 1e-5
    again = ["keypoints", str(tmp_path / "chair.glb"), "--like", str(out / "keypoints.json"), "--json"]
    assert main([*again, "-o", str(tmp_path / "again")]) == 0
    assert len(json.loads(capsys.readouterr().out)["keypoints"]) == 2
    nothing = tmp_path / "nothing"
    assert main(["keypoints", str(tmp_path / "chair.glb"), "-o", str(nothing)]) == 2
    assert "either names" in capsys.readouterr().err
    assert not nothing.exists()
