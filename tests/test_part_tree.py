"""Parts without names: cuts, counts, likely names, clicks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import trimesh

from pa3d.errors import InputError
from pa3d.part_tree import MOST_PARTS, PartTree, _sq_distances, default_vocabulary, main_directions
from pa3d.segment import Segmenter
from pa3d.shape import Shape

EXAMPLES = Path(__file__).parents[1] / "examples"


@pytest.fixture(scope="module")
def segmenter() -> Segmenter:
    return Segmenter.from_pretrained(precision="fp32")


@pytest.fixture(scope="module")
def chair(segmenter: Segmenter) -> PartTree:
    return segmenter.open(EXAMPLES / "chair.glb").tree


def test_a_cut_is_a_segmentation(chair: PartTree) -> None:
    result = chair.segmentation(count=6)
    assert result.face_labels is not None and result.face_scores is not None
    assert len(result.part_names) == 6 == len(set(result.part_names))
    assert np.array_equal(np.unique(result.face_labels), np.arange(6))
    assert np.array_equal(result.face_scores.argmax(axis=1), result.face_labels)
    assert (result.face_scores.sum(axis=1) == 1).all()
    faces = result.shape.faces
    assert faces is not None
    inner = (result.face_labels[:, None] == result.labels[faces]).all(axis=1)  # faces inside a part
    assert inner.mean() > 0.5
    for vertex in np.unique(faces)[::97]:
        around = result.face_labels[(faces == vertex).any(axis=1)]
        assert result.labels[vertex] in around
    assert result.settings["count"] == 6 and result.timings["encode"] > 0


def test_levels_and_counts(chair: PartTree) -> None:
    assert chair.count_at(0) == 2 and chair.count_at(1) == MOST_PARTS
    counts = [chair.count_at(level) for level in np.linspace(0, 1, 20)]
    assert counts == sorted(counts)
    assert len(np.unique(chair.cut(level=0.5))) == chair.count_at(0.5)
    assert 2 <= chair.natural_count() <= 16
    assert len(np.unique(chair.cut())) == chair.natural_count()
    assert chair.cut(count=1).max() == 0


def test_names_come_from_the_vocabulary_and_are_distinct(chair: PartTree) -> None:
    names = chair.names(chair.cut(count=8), ["seat", "leg"])
    assert len(names) == len(set(names)) == 8
    assert {name.split(" ")[0] for name in names} <= {"seat", "leg"}
    assert "seat 2" in names or "leg 2" in names
    assert len(default_vocabulary()) > 300 and not any(name.startswith("#") for name in default_vocabulary())


def test_the_same_twice(segmenter: Segmenter, chair: PartTree) -> None:
    other = segmenter.open(EXAMPLES / "chair.glb").tree
    assert np.array_equal(other.tree.merges, chair.tree.merges)
    assert other.segmentation(count=5) == chair.segmentation(count=5)


def test_a_click_selects_what_is_apart(segmenter: Segmenter) -> None:
    """Two balls side by side: one click takes one of them, and a second one takes both."""
    one, other = trimesh.creation.icosphere(subdivisions=3), trimesh.creation.icosphere(subdivisions=2, radius=0.8)
    other.apply_translation([3, 0, 0])
    mesh = trimesh.util.concatenate([one, other])
    tree = segmenter.open(Shape(np.float32(mesh.vertices), np.int32(mesh.faces))).tree
    left = mesh.triangles_center[:, 0] < 1.5
    assert np.array_equal(tree.select([(0, 1, 0)]), left)
    assert np.array_equal(tree.select([(3, 0.8, 0)]), ~left)
    assert np.array_equal(segmenter.select(tree.shape, [(0, 1, 0)]), left)
    assert tree.select([(0, 1, 0), (3, 0.8, 0)]).all()
    without = tree.select([(0, 1, 0)], [(0, -1, 0)])
    assert without.any() and not without[~left].any()
    assert not without[np.argmin(mesh.triangles_center[:, 1] + 9 * ~left)]  # where the negative click was


def test_clicks_are_in_the_units_of_the_file(segmenter: Segmenter) -> None:
    """Far from zero, a shape keeps its points relative to an origin."""
    mesh = trimesh.creation.box(extents=[1, 2, 3]).subdivide().subdivide()
    far = np.array([5e6, 0, -5e6])
    shape = Shape(mesh.vertices + far, np.int32(mesh.faces)).validate()
    place = np.array([0.5, 0.2, 0.1])
    tree = segmenter.open(shape).tree
    face = np.flatnonzero(tree.tree.leaf == tree.leaf_at(place + far))
    assert np.abs(mesh.triangles_center[face] - place).max(axis=1).min() < 0.5


def test_distance_from_triangles_equals_trimesh() -> None:
    rng = np.random.default_rng(0)
    points = rng.standard_normal((60, 3))
    faces = rng.integers(0, 60, (200, 3)).astype(np.int32)
    faces = faces[(np.diff(np.sort(faces, axis=1), axis=1) > 0).all(axis=1)]
    for place in rng.standard_normal((20, 3)):
        nearest = trimesh.triangles.closest_point(points[faces], np.tile(place, (len(faces), 1)))
        expected = ((nearest - place) ** 2).sum(axis=1)
        assert _sq_distances(points, faces, place) == pytest.approx(expected, abs=1e-9)


def test_clouds_with_missing_points(segmenter: Segmenter) -> None:
    rng = np.random.default_rng(0)
    points = np.float32(rng.standard_normal((3000, 3)))
    points[::10] = np.nan
    result = segmenter.parts(points, count=4)
    missing = np.isnan(points[:, 0])
    assert result.face_labels is None and (result.labels[missing] == -1).all()
    assert np.array_equal(np.unique(result.labels[~missing]), np.arange(4))
    chosen = segmenter.select(points, [points[1]])
    assert chosen.shape == (3000,) and chosen[1] and not chosen[missing].any()
    assert not result.scores[missing].any() and (result.scores[~missing].sum(axis=1) == 1).all()


@pytest.mark.parametrize("shape", [(128, 384), (900, 40), (3, 384)])
def test_main_directions_keep_distances(shape: tuple[int, int]) -> None:
    rng = np.random.default_rng(0)
    low = rng.standard_normal((shape[0], 10)) @ rng.standard_normal((10, shape[1]))
    reduced = main_directions(np.float32(low)).astype(np.float64)
    assert reduced.shape[1] <= 16
    for i, j in rng.integers(0, shape[0], (20, 2)):
        expected = np.linalg.norm(low[i] - low[j])
        assert np.linalg.norm(reduced[i] - reduced[j]) == pytest.approx(expected, rel=1e-3, abs=1e-3)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda t: t.cut(count=0), "count is 0; expected a number of parts of at least 1"),
        (lambda t: t.cut(count=True), "count is True"),
        (lambda t: t.cut(count=2, level=0.5), "count and level were both given"),
        (lambda t: t.cut(level=1.5), "level is 1.5; expected a number from 0"),
        (lambda t: t.select([]), "positive has no click"),
        (lambda t: t.select([(0, 0)]), r"positive has shape \(1, 2\)"),
        (lambda t: t.select([(0, 0, np.nan)]), "expected a list of finite places"),
        (lambda t: t.select("here"), "expected a list of places"),
        (lambda t: t.select([(0, 0, 0)], [(0, 0, 0)]), "in the same smallest region"),
    ],
)
def test_errors(chair: PartTree, call: object, message: str) -> None:
    with pytest.raises(InputError, match=message):
        call(chair)  # type: ignore[operator]


def test_auto_needs_names(segmenter: Segmenter) -> None:
    with pytest.raises(InputError, match="up is 'auto', which needs part names"):
        segmenter.parts(EXAMPLES / "chair.glb", up="auto")
