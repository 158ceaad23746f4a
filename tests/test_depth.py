"""Up axes with a sign, and depth images."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

import pa3d
from pa3d.cameras import Cameras
from pa3d.cli import main
from pa3d.errors import InputError
from pa3d.frames import TO_MODEL_AXES, UP_AXES, apply_normalization, normalization, ordered_columns
from pa3d.inputs import valid_depth
from pa3d.multiview.inputs import _TO_Y_UP
from pa3d.ops.rasterize import rasterize
from pa3d.report.files import TO_Y_UP, to_y_up
from pa3d.rotations import quaternion_rotation

ROOT = Path(__file__).parents[1]
POINTS = np.random.default_rng(0).random((500, 3), np.float32)
# Half turns that bring a negative axis to the positive one.
HALF_TURNS = {"-x": (-1, -1, 1), "-y": (1, -1, -1), "-z": (1, -1, -1)}


@pytest.fixture(scope="module")
def segmenter() -> pa3d.Segmenter:
    return pa3d.Segmenter.from_pretrained(precision="fp32")


@pytest.mark.parametrize("axis", UP_AXES)
def test_up_becomes_y_in_files_and_views(axis: str) -> None:
    up = np.zeros((1, 3))
    up[0, "xyz".index(axis[-1])] = -1 if axis[0] == "-" else 1
    np.testing.assert_array_equal(to_y_up(up, axis), [[0, 1, 0]])
    turned = to_y_up(POINTS, axis)
    x, y, z, w = TO_Y_UP.get(axis, [0, 0, 0, 1])
    np.testing.assert_allclose(POINTS @ quaternion_rotation([w, x, y, z]).T, turned, atol=1e-6)
    columns, signs = _TO_Y_UP[axis]
    np.testing.assert_array_equal(POINTS[:, columns] * np.float32(signs), turned)
    model = ordered_columns(up.astype(np.float32), TO_MODEL_AXES[axis])
    np.testing.assert_array_equal(model, [[0, 0, 1]])  # z is up in the model's axes


@pytest.mark.parametrize("axis", HALF_TURNS)
def test_a_negative_axis_is_half_a_turn(axis: str, segmenter: pa3d.Segmenter) -> None:
    turned = POINTS * np.float32(HALF_TURNS[axis])
    for normalize in (True, False):
        expected = segmenter.encode(POINTS, sample=None, up=axis[1:], normalize=normalize)
        found = segmenter.encode(turned, sample=None, up=axis, normalize=normalize)
        np.testing.assert_array_equal(found.features, expected.features)
        np.testing.assert_array_equal(found.points, expected.points)
    one = segmenter.segment(pa3d.Shape(POINTS, up=axis[1:]), ["a", "b"], seed=3)
    other = segmenter.segment(pa3d.Shape(turned, up=axis), ["a", "b"], seed=3)
    np.testing.assert_array_equal(one.scores, other.scores)
    assert other.settings["up"] == axis
    normalized = apply_normalization(turned, *normalization(turned), TO_MODEL_AXES[axis])
    assert normalized.flags.c_contiguous and normalized.flags.writeable


@pytest.mark.parametrize("value", ["-y", "-z"])
def test_the_command(value: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    chair = str(ROOT / "examples" / "chair.glb")
    assert main(["segment", chair, "--parts", "seat, leg", "--up", value, "--json", "-o", str(tmp_path)]) == 0
    assert f'"up": "{value}"' in capsys.readouterr().out
    assert (tmp_path / "parts.png").is_file()


def scene() -> tuple[np.ndarray, float]:
    """A depth image of a chair, and its focal length."""
    chair = pa3d.load(ROOT / "examples" / "chair.glb")
    camera = Cameras.orbit(30, 20)
    depth = rasterize(chair.points - chair.points.mean(axis=0), chair.faces, camera, (60, 80)).depth[0]
    return np.asarray(depth), camera.scale((60, 80))


def test_points_lie_where_the_camera_sees_them() -> None:
    depth, focal = scene()
    valid = valid_depth(depth)
    assert 0 < valid.sum() < valid.size
    shape = pa3d.from_depth(depth, (focal, focal, 39.5, 29.5))
    assert shape.up == "-y" and len(shape.points) == valid.sum()
    rows, columns = np.nonzero(valid)
    x, y, z = (shape.points + shape.origin).T
    np.testing.assert_allclose(z, depth[valid], rtol=1e-6)
    np.testing.assert_allclose(focal * x / z + 39.5, columns, atol=1e-3)
    np.testing.assert_allclose(focal * y / z + 29.5, rows, atol=1e-3)
    matrix = [[focal, 0, 39.5], [0, focal, 29.5], [0, 0, 1]]
    np.testing.assert_array_equal(pa3d.from_depth(depth, matrix).points, shape.points)
    millimetres = np.rint(1000 * np.where(valid, depth, 0)).astype(np.uint16)
    np.testing.assert_allclose(pa3d.from_depth(millimetres, matrix).points, shape.points, atol=2e-3)
    near = float(np.median(depth[valid]))
    assert len(pa3d.from_depth(depth, matrix, max_depth=near).points) == valid_depth(depth, near).sum() < valid.sum()


@pytest.mark.parametrize(
    ("depth", "intrinsics", "message"),
    [
        (np.ones(5), (1, 1, 0, 0), "depth: float64 of shape (5,); expected numbers of shape (H, W)"),
        (np.ones((2, 2), bool), (1, 1, 0, 0), "depth: bool of shape (2, 2)"),
        (np.zeros((2, 2)), (1, 1, 0, 0), "depth: 0 of 4 pixels were measured"),
        ([[np.nan, np.inf], [-1.0, 1.0]], (1, 1, 0, 0), "depth: 1 of 4 pixels were measured"),
        (np.ones((2, 2)), (1, 1, 0), "intrinsics have shape (3,); expected (3, 3)"),
        (np.ones((2, 2)), (0, 1, 0, 0), "intrinsics: expected finite numbers and positive focal lengths"),
        (np.ones((2, 2)), (1, np.nan, 0, 0), "intrinsics: expected finite numbers"),
        (np.ones((2, 2)), np.ones((3, 3)), "without skew"),
    ],
)
def test_refused(depth: np.ndarray, intrinsics: object, message: str) -> None:
    with pytest.raises(InputError, match=re.escape(message)):
        pa3d.from_depth(depth, intrinsics)  # type: ignore[arg-type]


def test_the_loop_of_the_docs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    text = (ROOT / "docs" / "embedding.md").read_text(encoding="utf-8")
    (section,) = re.findall(r"^## A depth camera at 10 Hz\n(.*?)(?=^## |\Z)", text, re.M | re.S)
    (example,) = re.findall(r"^```python\n(.*?)^```$", section, re.M | re.S)
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    monkeypatch.chdir(tmp_path)
    names: dict = {}
    exec(example, names)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 11 and lines[-1].startswith("median ")
    found = names["labels"]
    assert set(np.unique(found)) <= {-1, 0, 1, 2} and len(np.unique(found)) > 2 and (found >= 0).sum() > 1000
