"""What a Segmentation offers: parts, instances, masks, boxes, equality, and how it looks in a notebook."""

from __future__ import annotations

import copy
import pickle
import re
import zlib
from base64 import b64decode
from dataclasses import replace

import numpy as np
import pytest

from pa3d.errors import InputError
from pa3d.instances import number_instances, oriented_box
from pa3d.report import summary
from pa3d.segmentation import Segmentation
from pa3d.shape import Shape

BOX_FACES = np.array(
    [[0, 2, 1], [1, 2, 3], [4, 5, 6], [5, 7, 6], [0, 1, 4], [1, 5, 4], [2, 6, 3], [3, 6, 7], [0, 4, 2], [2, 4, 6]]
    + [[1, 3, 5], [3, 7, 5]]
)


def boxes(*corners: tuple[float, float, float, float, float, float]) -> tuple[np.ndarray, np.ndarray]:
    """Boxes from (x, y, z) to (x, y, z), each of its own eight vertices and twelve faces."""
    points = [
        [box[3 * x], box[3 * y + 1], box[3 * z + 2]] for box in corners for x in (0, 1) for y in (0, 1) for z in (0, 1)
    ]
    faces = np.concatenate([BOX_FACES + 8 * i for i in range(len(corners))])
    return np.array(points, np.float32), faces.astype(np.int32)


def table() -> Segmentation:
    """A top and four legs; the last leg is of two boxes that touch, and has a crumb beside it."""
    points, faces = boxes(
        (0, 1, 0, 2, 1.1, 1),
        (0, 0, 0, 0.1, 1, 0.1),
        (1.9, 0, 0, 2, 1, 0.1),
        (0, 0, 0.9, 0.1, 1, 1),
        (1.9, 0.5, 0.9, 2, 1, 1),
        (1.9, 0, 0.9, 2, 0.5, 1),
        (1.9, 0, 1.05, 1.92, 0.02, 1.07),
    )
    box = np.repeat(np.arange(7), 12)
    labels = np.where(box == 0, 0, 1).astype(np.int32)
    scores = np.where(labels[:, None] == np.arange(3), 0.8, 0.1).astype(np.float32)
    scores[12:24] = [0.1, 0.6, 0.3]  # the first leg
    vertex = np.repeat(labels[::12], 8)
    shape = Shape(points, faces, name="table")
    return Segmentation(shape, ["top", "leg", "drawer"], vertex, scores[::12].repeat(8, axis=0), labels, scores)


def test_instances_of_a_mesh() -> None:
    result = table()
    assert [len(part.instances) for part in result.parts] == [1, 4, 0]
    leg = result.part("leg")
    assert [instance.number for instance in leg.instances] == [0, 1, 2, 3]
    assert [len(instance.elements) for instance in leg.instances] == [12, 12, 12, 36]  # two boxes and the crumb
    assert [instance.part for instance in result.instances] == ["top", *["leg"] * 4]
    first = leg.instances[0]
    assert first.area == pytest.approx(4 * 0.1 + 2 * 0.01) and first.score == pytest.approx(0.6)
    assert first.centroid == pytest.approx([0.05, 0.5, 0.05], abs=1e-6)
    assert first.obb.extents == pytest.approx([1, 0.1, 0.1], abs=1e-6)
    assert first.obb.center == pytest.approx([0.05, 0.5, 0.05], abs=1e-6)
    assert leg.area == pytest.approx(sum(instance.area or 0 for instance in leg.instances))
    assert sum(part.share for part in result.parts) == pytest.approx(1)
    assert np.array_equal(np.flatnonzero(first.mask), np.arange(12, 24))
    assert set(result.element_instances[:12]) == {0} and result.element_instances[-1] == 3


def test_a_part_inside_another_piece_of_it_is_no_instance_of_its_own() -> None:
    """A hub in a tyre, two wheels: the tyres are boxes around smaller boxes."""
    points, faces = boxes(
        (0, 0, 0, 1, 1, 0.3), (0.3, 0.3, 0.05, 0.7, 0.7, 0.25), (4, 0, 0, 5, 1, 0.3), (4.3, 0.3, 0.05, 4.7, 0.7, 0.25)
    )
    numbers = number_instances(Shape(points, faces), np.zeros(48, np.int32))
    assert numbers.tolist() == [0] * 24 + [1] * 24


def test_labels_of_none_belong_to_no_instance() -> None:
    result = table()
    assert result.face_labels is not None
    labels = result.face_labels.copy()
    labels[12:24] = -1
    changed = replace(result, face_labels=labels)
    assert [len(part.instances) for part in changed.parts] == [1, 3, 0]
    assert (changed.element_instances[12:24] == -1).all()
    nothing = replace(result, face_labels=np.full_like(labels, -1))
    assert nothing.instances == [] and nothing.part("leg").share == 0


def test_absent_parts() -> None:
    drawer = table().part("drawer")
    assert drawer.instances == () and drawer.share == 0 and np.isnan(drawer.score) and np.isnan(drawer.centroid).all()
    for use in (lambda: drawer.obb, drawer.submesh):
        with pytest.raises(InputError, match="table: nothing belongs to 'drawer'"):
            use()
    with pytest.raises(InputError, match="no part 'wheel'; expected one of 'top', 'leg', 'drawer'"):
        table().part("wheel")


def test_instances_of_a_cloud() -> None:
    rng = np.random.default_rng(0)
    legs = np.concatenate([rng.random((400, 3)) * [0.1, 1, 0.1] + [x, 0, z] for x in (0, 2) for z in (0, 1)])
    top = rng.random((1500, 3)) * [2.1, 0.05, 1.1] + [0, 1, 0]
    points = np.concatenate([legs, top, [[np.nan] * 3]]).astype(np.float32)
    labels = np.repeat([1, 0, -1], [1600, 1500, 1]).astype(np.int32)
    scores = np.where(labels[:, None] == np.arange(2), 1, 0).astype(np.float32)
    result = Segmentation(Shape(points, name="scan"), ["top", "leg"], labels, scores)
    leg = result.part("leg")
    assert [len(instance.elements) for instance in leg.instances] == [400] * 4 and leg.area is None
    assert result.element_instances[-1] == -1
    assert result.part("top").share == pytest.approx(1500 / 3100)
    assert leg.instances[1].submesh().points.shape == (400, 3)
    assert leg.instances[0].obb.extents[0] == pytest.approx(1, abs=0.02)


def test_submesh() -> None:
    result = table()
    shape = result.shape
    leg = replace(result, shape=replace(shape, colors=np.full((len(shape.points), 3), 7, np.uint8))).part("leg")
    mesh = leg.instances[2].submesh().validate()
    assert mesh.faces is not None and mesh.colors is not None
    assert (len(mesh.points), len(mesh.faces), len(mesh.colors)) == (8, 12, 8) and mesh.name == "table leg 3"
    assert mesh.face_areas().sum() == pytest.approx(leg.instances[2].area)
    assert leg.submesh().name == "table leg"


def test_masks() -> None:
    result = table()
    masks = result.masks()
    assert list(masks) == ["top", "leg", "drawer"] and masks["top"].sum() == 12 and not masks["drawer"].any()
    assert np.array_equal(result.masks(vertices=True)["top"], result.labels == 0)


def test_presence_reaches_the_parts() -> None:
    result = replace(table(), presence=np.array([0.9, 0.8, 0.1], np.float32), found=np.array([True, True, False]))
    assert [part.found for part in result.parts] == [True, True, False]
    assert result.part("drawer").presence == pytest.approx(0.1)
    assert table().part("top").presence is None


@pytest.mark.parametrize("seed", range(5))
def test_the_box_of_a_turned_box(seed: int) -> None:
    rng = np.random.default_rng(seed)
    axes = np.linalg.qr(rng.standard_normal((3, 3)))[0]
    points = (rng.random((3000, 3)) - 0.5) * [3, 2, 0.5] @ axes + [5, 6, 7]
    box = oriented_box(points.astype(np.float32))
    assert box.extents == pytest.approx([3, 2, 0.5], rel=0.05)
    assert box.center == pytest.approx([5, 6, 7], abs=0.05)
    assert np.linalg.det(box.axes) == pytest.approx(1)
    inside = (points - box.center) @ box.axes.T
    assert (np.abs(inside) <= box.extents / 2 + 1e-5).all()
    assert box.corners.shape == (8, 3)
    assert (box.corners.mean(axis=0) == pytest.approx(box.center)) and np.linalg.norm(
        box.corners[0] - box.corners[7]
    ) == pytest.approx(np.linalg.norm(box.extents))


@pytest.mark.parametrize("points", [[[1, 2, 3]], [[0, 0, 0], [0, 0, 2]], [[0, 0, 0], [1, 0, 0], [0, 1, 0]]])
def test_boxes_of_flat_things(points: list[list[float]]) -> None:
    box = oriented_box(np.array(points, np.float32))
    assert np.isfinite(box.axes).all() and (box.extents >= 0).all()
    assert box.extents[len(points) - 1 :] == pytest.approx(0, abs=1e-6)
    assert np.linalg.det(box.axes) == pytest.approx(1)


def test_equality() -> None:
    one, other = table(), table()
    assert one == other and one == pickle.loads(pickle.dumps(one)) and one == copy.deepcopy(one)
    assert one == replace(other, timings={"load": 1.0}, model="x")
    assert one != replace(other, part_names=["top", "leg", "door"])
    assert one != replace(other, presence=np.ones(3, np.float32))
    assert one.face_scores is not None
    assert one != replace(other, face_scores=one.face_scores + 1)
    assert one != replace(other, shape=replace(one.shape, points=one.shape.points + 1))
    assert one != "table" and one in [other]
    with pytest.raises(TypeError):
        hash(one)


def test_repr_is_short() -> None:
    text = repr(table())
    assert re.fullmatch(r"<Segmentation of table, 84 faces: top \d+\.\d %, leg \d+\.\d %, drawer 0\.0 %>", text)


@pytest.mark.parametrize("up", ["y", "-y", "z"])
@pytest.mark.parametrize("mesh", [True, False])
def test_html_has_a_picture(mesh: bool, up: str) -> None:
    result = replace(table(), part_names=["top", "<leg>", "drawer"])
    result = replace(result, shape=replace(result.shape, up=up))
    if not mesh:
        points = np.random.default_rng(0).random((500, 3)).astype(np.float32)
        points[3] = np.nan
        labels = np.random.default_rng(0).integers(-1, 3, 500).astype(np.int32)
        result = Segmentation(Shape(points, up=up), result.part_names, labels, np.zeros((500, 3), np.float32))
    html = result._repr_html_()
    assert "&lt;leg&gt;" in html and "<leg>" not in html
    found = re.search(r"data:image/png;base64,([^\"]+)", html)
    assert found is not None
    png = b64decode(found[1])
    assert png.startswith(b"\x89PNG")
    body = png[png.index(b"IDAT") + 4 :]
    pixels = np.frombuffer(zlib.decompressobj().decompress(body), np.uint8).reshape(360, -1)[:, 1:].reshape(360, 720, 3)
    assert 0.05 < (pixels != 255).any(axis=2).mean() < 0.95
    assert len(np.unique(pixels.reshape(-1, 3), axis=0)) > 3


def test_the_summary_lists_instances() -> None:
    rows = summary(table())["instances"]
    assert [(row["part"], row["number"]) for row in rows] == [("top", 0), *(("leg", i) for i in range(4))]
    assert rows[1]["box"]["extents"] == pytest.approx([1, 0.1, 0.1], abs=1e-5)
    assert set(rows[0]) == {"part", "number", "share", "area", "mean_confidence", "centroid", "box"}
