"""Finding the way up: directions, rotations, how well names fit, and what Segmenter makes of them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from typer.testing import CliRunner

import pa3d
from pa3d.cli import make_app
from pa3d.errors import InputError
from pa3d.orient import directions, negative_entropy
from pa3d.rotations import rotate, rotation_to_y
from pa3d.segment import Segmenter
from pa3d.shape import Shape

EXAMPLES = Path(__file__).parents[1] / "examples"
PERSON = ["arm", "head", "leg", "torso"]


@pytest.fixture(scope="module")
def segmenter() -> Segmenter:
    return Segmenter.from_pretrained(threads=1)


def rotation(seed: int) -> NDArray[np.float64]:
    q, r = np.linalg.qr(np.random.default_rng(seed).standard_normal((3, 3)))
    q = q * np.sign(np.diag(r))
    return q if np.linalg.det(q) > 0 else -q


def test_no_direction_is_far_from_a_candidate() -> None:
    ways = directions()
    assert ways.shape == (26, 3) and len(np.unique(ways.round(6), axis=0)) == 26
    np.testing.assert_allclose(np.linalg.norm(ways, axis=1), 1)
    drawn = np.random.default_rng(0).standard_normal((5000, 3))
    drawn /= np.linalg.norm(drawn, axis=1, keepdims=True)
    # The worst place lies between an axis, an edge and a corner of the cube.
    assert np.degrees(np.arccos((drawn @ ways.T).max(axis=1))).max() < 28


def test_upright_brings_every_candidate_up() -> None:
    for way in [*directions(), *(rotation(seed)[0] for seed in range(10))]:
        turn = rotation_to_y(way)
        np.testing.assert_allclose(turn @ way, [0, 1, 0], atol=1e-12)
        np.testing.assert_allclose(turn @ turn.T, np.eye(3), atol=1e-12)
        assert np.linalg.det(turn) == pytest.approx(1)
    np.testing.assert_array_equal(rotation_to_y(np.array([0.0, 1.0, 0.0])), np.eye(3))


def test_fit_is_minus_the_mean_entropy() -> None:
    assert negative_entropy(np.array([[1, 0], [0, 1]], np.float32)) == 0
    assert negative_entropy(np.full((7, 4), 0.25, np.float32)) == pytest.approx(-np.log(4))
    assert negative_entropy(np.array([[1, 0], [0.5, 0.5]], np.float32)) == pytest.approx(-np.log(2) / 2)


def test_a_person_is_found_in_any_pose(segmenter: Segmenter) -> None:
    """Of eight random poses seven; a candidate direction may be 27 degrees off."""
    shape, good = pa3d.load(EXAMPLES / "person.glb"), []
    for seed in range(8):
        pose = rotation(seed)
        result = segmenter.segment(replace(shape, points=rotate(shape.points, pose)), PERSON, up="auto")
        good.append(np.array(result.settings["up_found"]) @ pose[:, 1] > np.cos(np.radians(40)))
    assert sum(good) >= 7, good


def test_auto_is_segmenting_what_was_turned(segmenter: Segmenter) -> None:
    shape = pa3d.load(EXAMPLES / "person.glb")
    posed = replace(shape, points=rotate(shape.points, rotation(3)))
    result = segmenter.segment(posed, PERSON, up="auto")
    np.testing.assert_array_equal(result.shape.points, posed.points)
    turn = rotation_to_y(np.array(result.settings["up_found"]) / np.linalg.norm(result.settings["up_found"]))
    again = segmenter.segment(replace(posed, points=rotate(posed.points, turn)), PERSON, up="y")
    assert (result.labels == again.labels).all()
    assert result.face_labels is not None and shape.faces is not None
    assert len(result.face_labels) == len(shape.faces)
    assert result.settings["up"] == "auto" and result.timings["upright"] > 0


def test_few_points_and_flat_ones_have_an_answer(segmenter: Segmenter) -> None:
    rng = np.random.default_rng(0)
    for points in (np.eye(3)[:2], rng.random((1, 3)) * [[0], [1]], rng.random((500, 3)) * [1, 1, 0]):
        result = segmenter.segment(np.asarray(points, np.float32), ["top", "bottom"], up="auto")
        assert np.isfinite(result.scores).all() and len(result.labels) == len(points)


def test_an_unknown_axis_is_refused(segmenter: Segmenter) -> None:
    with pytest.raises(InputError, match="up is 'sideways'; expected x, y, z, -x, -y, -z or auto"):
        segmenter.segment(Shape(np.eye(3, dtype=np.float32)), ["top"], up="sideways")


def test_from_the_command_line(tmp_path: Path) -> None:
    command = ["segment", str(EXAMPLES / "person.glb"), "--parts", ", ".join(PERSON), "--up", "auto"]
    result = CliRunner().invoke(make_app(), [*command, "--no-pictures", "-o", str(tmp_path / "out")])
    assert result.exit_code == 0, result.output
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert summary["settings"]["up"] == "auto"
    assert summary["settings"]["up_found"] == [0, 1, 0]
