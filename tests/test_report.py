"""What a segmentation writes: figures by hand, files read back, the picture's pixels, the page's data."""

from __future__ import annotations

import base64
import io
import json
import os
import re
import zipfile
import zlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import trimesh
from PIL import Image

from pa3d.colors import UNLABELED_COLOR, part_colors, to_linear, to_rgb
from pa3d.errors import InputError
from pa3d.io import load
from pa3d.report import part_rows, presence_text, share_text, summary, write_outputs
from pa3d.report.files import confidence, labels_npz, painted_glb, painted_ply, to_y_up
from pa3d.report.page import parts_html, simplify
from pa3d.report.picture import _ambient_occlusion, _blur, corner_normals, parts_png, point_normals
from pa3d.segmentation import Segmentation
from pa3d.shape import Shape


def result_of(
    shape: Shape, names: list[str], labels: np.ndarray, scores: np.ndarray, *faces: np.ndarray
) -> Segmentation:
    """With face labels and face scores for a mesh, and with timings and settings for the summary."""
    timings, settings = {"load": 0.25, "encode": 1 / 3}, {"seed": 0, "none": None}
    return Segmentation(shape, names, labels, scores, *faces, timings=timings, model="a model", settings=settings)


def one_hot(labels: np.ndarray, k: int, sure: float = 0.8) -> np.ndarray:
    """Scores that give a label `sure` and share the rest; the same to all where the label is -1."""
    scores = np.full((len(labels), k), 1 / k, np.float32)
    scores[labels >= 0] = (1 - sure) / (k - 1)
    scores[labels >= 0, labels[labels >= 0]] = sure
    return scores


def ball(up: str = "y", origin: tuple[float, float, float] = (0, 0, 0)) -> Segmentation:
    """A sphere: the upper half is 'cap', the right side of the lower one 'right half', the rest none."""
    mesh = trimesh.creation.icosphere(subdivisions=3)
    shape = Shape(
        np.float32(mesh.vertices),
        np.int32(mesh.faces),
        name="ball.glb",
        up=up,
        origin=np.array(origin, float),
    )

    def labels(points: np.ndarray) -> np.ndarray:
        x, y, _ = to_y_up(points, up).T
        return np.where(y > 0, 0, np.where(x > 0, 1, -1)).astype(np.int32)

    at_vertices, at_faces = labels(shape.points), labels(shape.points[mesh.faces].mean(axis=1))
    names = ["cap", "right half", "never"]
    return result_of(shape, names, at_vertices, one_hot(at_vertices, 3), at_faces, one_hot(at_faces, 3))


def cloud(n: int = 3000, origin: tuple[float, float, float] = (0, 0, 0)) -> Segmentation:
    points = np.random.default_rng(0).normal(size=(n, 3))
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    labels = np.where(points[:, 1] > 0, 0, 1).astype(np.int32)
    shape = Shape(np.float32(points), name="scan.ply", origin=np.array(origin, float))
    return result_of(shape, ["top", "bottom"], labels, one_hot(labels, 2))


# --- figures ---


def test_rows_by_hand() -> None:
    """Triangles of area 3, 1 and 4; the first two are part b, the last is none."""
    points = np.array(
        [[0, 0, 0], [2, 0, 0], [0, 3, 0], [0, 0, 2], [0, 0, 0], [1, 0, 0], [8, 0, 0], [0, 1, 0]], np.float32
    )
    faces = np.array([[0, 1, 2], [4, 5, 3], [0, 6, 7]], np.int32)
    face_scores = np.array([[0.1, 0.9, 0], [0.5, 0.5, 0], [0.4, 0.3, 0.3]], np.float32)
    result = result_of(
        Shape(points, faces),
        ["a", "b", "c"],
        np.zeros(8, np.int32),
        np.zeros((8, 3), np.float32),
        np.array([1, 1, -1]),
        face_scores,
    )
    a, b, c, none = part_rows(result)
    assert (b.name, b.label, b.share, b.count) == ("b", 1, 0.5, 2)
    assert b.mean_confidence == pytest.approx((3 * 0.9 + 1 * 0.5) / 4, abs=1e-6)
    assert (a.share, a.count, a.mean_confidence) == (0, 0, None) and c.count == 0
    assert (none.name, none.label, none.color, none.share, none.count) == ("none of these", -1, UNLABELED_COLOR, 0.5, 1)


def test_rows_of_a_cloud_count_points() -> None:
    result = cloud()
    top, bottom, none = part_rows(result)
    assert top.count + bottom.count == 3000 and none.count == 0 and none.share == 0
    assert top.share == pytest.approx(top.count / 3000, abs=1e-6) and top.mean_confidence == pytest.approx(0.8)


def test_summary() -> None:
    facts = json.loads(json.dumps(summary(ball())))
    assert facts["shape"]["kind"] == "mesh" and facts["shape"]["faces"] == 1280 and facts["shape"]["vertices"] == 642
    assert facts["shape"]["area"] == pytest.approx(4 * np.pi, rel=0.01)
    assert [part["name"] for part in facts["parts"]] == ["cap", "right half", "never"]
    assert sum(part["share"] for part in facts["parts"]) + facts["none"]["share"] == pytest.approx(1, abs=1e-5)
    assert facts["seconds"] == {"load": 0.25, "encode": 0.3333}
    assert facts["model"] == "a model" and facts["settings"] == {"seed": 0, "none": None}
    assert facts["versions"].keys() == {"pa3d", "python", "numpy", "machine"}
    assert summary(cloud())["shape"].keys() >= {"points"} and summary(cloud())["count_of"] == "points"


def test_presence() -> None:
    """A part is found when its presence suffices and some of the shape belongs to it."""
    plain = summary(ball())
    assert plain["not_found"] == [] and all(part["presence"] is part["found"] is None for part in plain["parts"])
    result = replace(ball(), presence=np.float32([0.9, 0.2, 0.8]), found=np.array([True, False, True]))
    assert [(row.presence, row.found) for row in part_rows(result)] == [
        (pytest.approx(0.9), True),
        (pytest.approx(0.2), False),
        (pytest.approx(0.8), False),
        (None, None),
    ]
    facts = json.loads(json.dumps(summary(result)))
    assert facts["not_found"] == ["right half", "never"] and facts["parts"][1]["presence"] == 0.2
    data = data_of(page := parts_html(result))
    assert [part["found"] for part in data["parts"]] == [True, False, False, None]
    assert "not found: right half, never" in page and "not found: right half" not in parts_html(ball())
    assert parts_png(result) != parts_png(ball())  # the legend says it
    assert [share_text(row) for row in part_rows(result)][1:3] == ["25.0 %", "not found"]
    assert [presence_text(row) for row in part_rows(result)] == ["0.90", "0.20, not found", "0.80", ""]
    assert [share_text(row) for row in part_rows(ball())][2] == "0.0 %"  # nothing is known of its presence
    assert {presence_text(row) for row in part_rows(ball())} == {""}


def test_confidence() -> None:
    scores = np.array([[0.7, 0.3], [0.4, 0.6], [0.55, 0.45]], np.float32)
    np.testing.assert_array_equal(confidence(scores, np.array([0, 0, -1])), np.float32([0.7, 0.4, 0.55]))
    assert confidence(np.zeros((0, 2), np.float32), np.zeros(0, np.int32)).shape == (0,)


def test_colors_differ_and_none_is_grey() -> None:
    for count in (0, 1, 24, 25, 60):
        colors = part_colors(count)
        assert len(set(colors)) == count and all(re.fullmatch("#[0-9A-F]{6}", color) for color in colors)
    # No two of the first 24, nor grey, may be near each other: 0.05 in OKLab is plainly visible.
    lab = _oklab(to_linear(to_rgb([*part_colors(24), UNLABELED_COLOR])))
    distances = np.linalg.norm(lab[:, None] - lab[None], axis=2)
    assert distances[~np.eye(25, dtype=bool)].min() > 0.05
    assert to_linear(np.array([0, 255])).tolist() == [0, 1]


def _oklab(linear: np.ndarray) -> np.ndarray:
    """B. Ottosson, "A perceptual color space for image processing" (2020)."""
    to_lms = np.array(
        [
            [0.4122214708, 0.5363325363, 0.0514459929],
            [0.2119034982, 0.6806995451, 0.1073969566],
            [0.0883024619, 0.2817188376, 0.6299787005],
        ]
    )
    to_lab = np.array(
        [
            [0.2104542553, 0.7936177850, -0.0040720468],
            [1.9779984951, -2.4285922050, 0.4505937099],
            [0.0259040371, 0.7827717662, -0.8086757660],
        ]
    )
    return np.asarray(np.cbrt(linear @ to_lms.T) @ to_lab.T)


# --- files ---


def test_labels_npz() -> None:
    result = ball()
    data = labels_npz(result)
    with np.load(io.BytesIO(data), allow_pickle=False) as archive:
        assert set(archive.files) == {"labels", "scores", "part_names", "face_labels", "face_scores"}
        for name in ("labels", "scores", "face_labels", "face_scores"):
            np.testing.assert_array_equal(archive[name], getattr(result, name))
        assert archive["labels"].dtype == np.int32 and archive["scores"].dtype == np.float32
        assert archive["part_names"].tolist() == result.part_names
    with np.load(io.BytesIO(labels_npz(cloud()))) as archive:
        assert set(archive.files) == {"labels", "scores", "part_names"}
    # Equal results give equal bytes: no member may carry the time of writing.
    assert labels_npz(ball()) == data
    assert {info.date_time for info in zipfile.ZipFile(io.BytesIO(data)).infolist()} == {(1980, 1, 1, 0, 0, 0)}
    assert labels_npz(replace(result, part_names=["cap", "größe", "x"])) != data


@pytest.mark.parametrize("up", ["x", "y", "z"])
def test_parts_glb(tmp_path: Path, up: str) -> None:
    result = ball(up, origin=(1000, 20, -3))
    (tmp_path / "a.glb").write_bytes(painted_glb(result))
    shape = load(tmp_path / "a.glb")
    assert shape.faces is not None and result.face_labels is not None and result.shape.faces is not None
    world = to_y_up(result.shape.points + result.shape.origin, up)
    # The parts share the vertices of the input, in its order; the rotation costs a rounding of sqrt(1/2).
    np.testing.assert_allclose(shape.points + shape.origin, world, atol=1e-5)
    by_part = np.concatenate([result.shape.faces[result.face_labels == label] for label in (0, 1, -1)])
    np.testing.assert_array_equal(shape.faces, by_part)

    data = (tmp_path / "a.glb").read_bytes()
    nodes = json.loads(data[20 : 20 + int.from_bytes(data[12:16], "little")])["nodes"]
    counts = np.bincount(result.face_labels + 1).tolist()
    assert [node.get("extras") for node in nodes] == [
        None,
        {"part": "cap", "label": 0, "faces": counts[1]},
        {"part": "right half", "label": 1, "faces": counts[2]},
        {"part": "none", "label": -1, "faces": counts[0]},
    ]
    scene = trimesh.load_scene(tmp_path / "a.glb", process=False)
    assert set(scene.geometry) == {"cap", "right half", "none"}
    colors = dict(zip(("cap", "right half", "none"), [*part_colors(2), UNLABELED_COLOR], strict=True))
    for name, mesh in scene.geometry.items():
        linear = to_linear(to_rgb([colors[name]]))[0]
        assert np.abs(mesh.visual.material.baseColorFactor[:3] / 255 - linear).max() < 1 / 255


def test_parts_glb_of_many_vertices(tmp_path: Path) -> None:
    """More than 16-bit indices can name."""
    n = 65_537
    points = np.random.default_rng(0).random((n, 3), np.float32)
    faces = np.array([[0, 1, 2], [n - 3, n - 2, n - 1]], np.int32)
    labels = np.array([1, 0], np.int32)
    result = result_of(
        Shape(points, faces), ["a", "b"], np.zeros(n, np.int32), np.zeros((n, 2)), labels, one_hot(labels, 2)
    )
    (tmp_path / "a.glb").write_bytes(painted_glb(result))
    shape = load(tmp_path / "a.glb")
    np.testing.assert_array_equal(shape.points, points)
    np.testing.assert_array_equal(shape.faces, faces[::-1])
    with pytest.raises(TypeError, match="the shape is a cloud; write painted_ply instead"):
        painted_glb(cloud())


@pytest.mark.parametrize("origin", [(0, 0, 0), (4.5e5, 5.4e6, 312.5)])
def test_parts_ply(tmp_path: Path, origin: tuple[float, float, float]) -> None:
    result = cloud(origin=origin)
    result.labels[7] = -1
    (tmp_path / "a.ply").write_bytes(painted_ply(result))
    shape = load(tmp_path / "a.ply")
    np.testing.assert_allclose(
        shape.points + shape.origin, result.shape.points + result.shape.origin, atol=1e-7, rtol=0
    )
    colors = to_rgb([*part_colors(2), UNLABELED_COLOR])
    np.testing.assert_array_equal(shape.colors, colors[result.labels])
    header, body = (tmp_path / "a.ply").read_bytes().split(b"end_header\n")
    assert b"comment label 1: bottom\n" in header
    row = np.dtype(
        [
            ("xyz", "<f8" if any(origin) else "<f4", 3),
            ("rgb", "u1", 3),
            ("label", "<i4"),
            ("confidence", "<f4"),
        ]
    )
    np.testing.assert_array_equal(np.frombuffer(body, row)["label"], result.labels)
    np.testing.assert_array_equal(np.frombuffer(body, row)["confidence"], confidence(result.scores, result.labels))


# --- picture ---


def image_of(result: Segmentation) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(parts_png(result))).convert("RGB")).astype(int)


def near(image: np.ndarray, color: str) -> np.ndarray:
    """Pixels of a colour's hue under any light: the direction of the colour without its brightness."""
    rgb = to_rgb([color])[0].astype(float)
    light = np.linalg.norm(image, axis=2)
    cosine = (image @ rgb) / np.maximum(light * np.linalg.norm(rgb), 1)
    return (cosine > 0.995) & (light > 40) & (image.max(axis=2) - image.min(axis=2) > 40)


@pytest.mark.parametrize("up", ["y", "z"])
def test_picture_of_a_mesh(up: str) -> None:
    image = image_of(ball(up))
    assert image.shape == (1052, 1616, 3) and (image[:, 0] == 255).all()
    views = image[84:, 28:1148]
    cap, right = part_colors(2)
    upper, lower = near(views, cap), near(views, right)
    assert upper.sum() > 30_000 and lower.sum() > 5_000
    # In the first view, from the front and a little above, the cap lies over the rest.
    first_up, first_low = upper[:470, :560], lower[:470, :560]
    assert np.nonzero(first_up)[0].mean() < np.nonzero(first_low)[0].mean() - 80
    # None of these is grey and shows, too.
    grey = (views.max(axis=2) - views.min(axis=2) < 16) & (views.max(axis=2) < 230)
    assert grey[:470, :560].sum() > 5_000


def test_picture_of_a_cloud() -> None:
    image = image_of(cloud())
    top, bottom = part_colors(2)
    views = image[84:, 28:1148]
    assert near(views, top).sum() > 60_000 and near(views, bottom).sum() > 30_000
    # A ball of 3,000 points must look closed: nearly no white within its middle.
    rows, columns = (np.nonzero((views[:470, :560] < 250).any(axis=2))[i] for i in (0, 1))
    y, x = (int(v.mean()) for v in (rows, columns))
    assert (views[y - 80 : y + 80, x - 80 : x + 80] > 250).all(axis=2).mean() < 0.01


def test_picture_is_repeatable() -> None:
    assert parts_png(ball()) == parts_png(ball())


@pytest.mark.parametrize("kind", ["tall", "flat", "two points", "many parts"])
def test_picture_of_odd_results(kind: str) -> None:
    if kind == "two points":
        shape = Shape(np.array([[0, 0, 0], [0, 0, 1]], np.float32))
        result = result_of(shape, ["a"], np.zeros(2, np.int32), np.ones((2, 1), np.float32))
    elif kind == "many parts":
        result = ball()
        names = [f"a part with quite a long name, number {i}" for i in range(70)]
        labels = (np.arange(1280) % 70).astype(np.int32)
        result = replace(
            result,
            part_names=names,
            scores=one_hot(result.labels, 70),
            face_labels=labels,
            face_scores=one_hot(labels, 70),
        )
    else:
        result = ball()
        result.shape.points *= np.float32([1, 9, 1] if kind == "tall" else [5, 0, 5])
    image = image_of(result)
    drawn = (image[84:, 28:1148] < 250).any(axis=2)
    assert 200 < drawn.sum() < 0.6 * drawn.size
    if kind == "tall":
        # Four in a row, so that more than three quarters of the height are used.
        assert np.ptp(np.nonzero(drawn.any(axis=1))[0]) > 0.75 * drawn.shape[0]


def test_corner_normals() -> None:
    box = trimesh.creation.box()
    normals = corner_normals(np.float32(box.vertices), np.int32(box.faces))
    np.testing.assert_allclose(normals, np.repeat(box.face_normals[:, None], 3, axis=1), atol=1e-6)
    sphere = trimesh.creation.icosphere(subdivisions=4)
    points, faces = np.float32(sphere.vertices), np.int32(sphere.faces)
    normals = corner_normals(points, faces)
    # Radial but for neighbours of different sizes, which pull by less than half a face (3 degrees wide).
    assert np.einsum("fij,fij->fi", normals, points[faces]).min() > np.cos(np.radians(1.5))
    soup = corner_normals(points[faces].reshape(-1, 3), np.arange(faces.size, dtype=np.int32).reshape(-1, 3))
    np.testing.assert_allclose(soup, normals, atol=1e-5)


def test_point_normals() -> None:
    rng = np.random.default_rng(0)
    plane = np.float32(np.c_[rng.random((500, 2)), np.zeros(500)])
    normals, spacing = point_normals(plane)
    np.testing.assert_allclose(np.abs(normals), np.broadcast_to([0, 0, 1], normals.shape), atol=1e-5)
    # The seventh of 500 random points in a unit square is sqrt(7 / 500 pi) away, a little more at the border.
    assert 0.8 < spacing / np.sqrt(7 / (500 * np.pi)) < 1.4


def test_blur_and_ambient_occlusion() -> None:
    image = np.zeros((7, 9))
    image[3, 4] = 25
    expected = np.zeros((7, 9))
    expected[1:6, 2:7] = 1
    np.testing.assert_allclose(_blur(image, 2), expected, atol=1e-6)
    flat = np.full((40, 60), 3, np.float32)
    np.testing.assert_allclose(_ambient_occlusion(flat), 1, atol=1e-6)
    flat[:, 30:] = 3.5
    shade = _ambient_occlusion(flat)
    assert shade[20, 31] < 0.8 and shade[20, 28] > 0.99 and shade[20, 50] > 0.99


# --- page ---


def data_of(page: str) -> dict[str, Any]:
    match = re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL)
    assert match is not None
    return json.loads(match[1])  # type: ignore[no-any-return]


def arrays_of(page: str) -> dict[str, np.ndarray]:
    data = data_of(page)
    content, out = zlib.decompress(base64.b64decode(data["blob"])), {}
    for name, dtype, size in data["arrays"]:
        array = np.frombuffer(content, f"<{dtype}", size)
        out[name], content = array, content[array.nbytes :]
    assert not content
    return out


def test_page_holds_the_result() -> None:
    result = ball("z")
    page = parts_html(result, np.arange(1280) % 3)
    data, arrays = data_of(page), arrays_of(page)
    x, y, z = result.shape.points.T
    low, high = result.shape.points.min(axis=0), result.shape.points.max(axis=0)
    assert np.allclose(data["size"], 1) and data["shareOf"] == "of the surface"
    points = arrays["points"].reshape(-1, 3) / 65535
    expected = np.stack([x - low[0], z - low[2], high[1] - y], 1) / (high - low)[[0, 2, 1]]
    assert np.abs(points - expected).max() < 0.51 / 65535
    np.testing.assert_array_equal(arrays["faces"].reshape(-1, 3), result.shape.faces)
    np.testing.assert_array_equal(arrays["labels"], np.where(result.face_labels < 0, 3, result.face_labels))
    np.testing.assert_array_equal(arrays["instances"], np.arange(1280) % 3)
    scores = arrays["scores"].reshape(3, -1).T / 255
    np.testing.assert_allclose(scores, result.scores, atol=0.5 / 255 + 1e-6)
    assert [part["name"] for part in data["parts"]] == ["cap", "right half", "never", "none of these"]
    assert "642 vertices, 1,280 faces" in page
    assert len(page) - len(data["blob"]) < 60_000  # what the page weighs beside the geometry


def test_page_takes_the_instances_of_a_result() -> None:
    result = ball()
    expected = np.maximum(result.element_instances, 0)
    np.testing.assert_array_equal(arrays_of(parts_html(result))["instances"], expected)
    noise = np.arange(1280) * 100
    assert "instances" not in arrays_of(parts_html(result, noise))


def test_page_needs_no_network_and_escapes_names() -> None:
    result = replace(ball(), part_names=["</script><b>", "@SCRIPT@", 'a "quoted" & b'])
    result.shape.name = "<img src=x>.glb"
    page = parts_html(result)
    assert not re.search(r"https?:|@import|<(script|link|img)[^>]+(src|href)=\"(?!data:)", page)
    assert "default-src 'none'" in page and "<img" not in page
    assert [part["name"] for part in data_of(page)["parts"]][:3] == result.part_names
    assert page.count("</html>") == 1 and page.count("</script>") == 2


def test_page_is_simplified_when_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pa3d.report.page.MAX_FACES", 500)
    monkeypatch.setattr("pa3d.report.page.MAX_POINTS", 400)
    result = ball()
    assert result.face_labels is not None
    page = parts_html(result, result.face_labels + 5)
    arrays = arrays_of(page)
    faces = arrays["faces"].reshape(-1, 3)
    assert 100 < len(faces) <= 500 and f"Simplified for this page to {len(faces)} of 1,280 faces." in page
    labels = np.where(arrays["labels"] == 3, -1, arrays["labels"].astype(int))
    np.testing.assert_array_equal(arrays["instances"], labels + 5)
    page = parts_html(cloud())
    assert len(arrays_of(page)["labels"]) == 400 and "faces" not in arrays_of(page)
    assert "Subsampled for this page to 400 of 3,000 points." in page


def test_simplify() -> None:
    mesh = trimesh.creation.icosphere(subdivisions=5)
    points, faces = np.float32(mesh.vertices), np.int32(mesh.faces)
    labels = np.where(points[faces].mean(axis=1)[:, 1] > 0, 0, 1).astype(np.int32)
    few, corners, chosen, kept = simplify(points, faces, 3000)
    assert 1000 < len(corners) <= 3000 and corners.max() < len(few) == len(kept)
    assert np.abs(np.linalg.norm(few, axis=1) - 1).max() < 0.02
    assert np.abs(few - points[kept]).max() < 0.2
    upper = few[corners].mean(axis=1)[:, 1] > 0
    assert (upper == (labels[chosen] == 0)).mean() > 0.97


# --- all together ---


def test_write_outputs(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "folder"
    written = write_outputs(ball(), folder)
    names = {
        "labels": "labels.npz",
        "parts": "parts.glb",
        "painted": "painted.glb",
        "picture": "parts.png",
        "page": "parts.html",
        "summary": "summary.json",
    }
    assert written == {kind: folder / name for kind, name in names.items()}
    assert sorted(os.listdir(folder)) == sorted(names.values())
    assert json.loads(written["summary"].read_text())["model"] == "a model"
    assert load(written["parts"]).is_mesh and Image.open(written["picture"]).size == (1616, 1052)

    written = write_outputs(cloud(), tmp_path / "cloud", pictures=False, html=False)
    assert sorted(os.listdir(tmp_path / "cloud")) == ["labels.npz", "painted.ply", "parts.ply", "summary.json"]
    assert written["parts"].name == "parts.ply" and written.keys() == {"labels", "parts", "painted", "summary"}


def test_write_outputs_where_it_cannot(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(InputError, match="file is a file, not a folder; choose another output folder"):
        write_outputs(ball(), tmp_path / "file")
    with pytest.raises(InputError, match="is a file, not a folder"):
        write_outputs(ball(), tmp_path / "file" / "out")
    assert os.listdir(tmp_path) == ["file"]
