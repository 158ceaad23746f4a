"""SATR: scores of scripted boxes worked out by hand, neighbours, geodesics, and whole meshes and clouds."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from pa3d.errors import InputError
from pa3d.methods import load_method
from pa3d.methods.geodesics import Geodesics
from pa3d.methods.networks.detector import truth_boxes
from pa3d.methods.satr import FORMS, Satr, SatrOptions, Surface, normal_density, random_cameras, score_boxes
from pa3d.shape import Shape
from tests.tiny_networks import ScriptedDetector

Array = np.ndarray
PLAIN = SatrOptions(gaussian=False, smoothing=False)


def strip(n: int) -> tuple[Array, Array]:
    """n triangles in a row, each sharing an edge with the next."""
    vertices = np.array([[i / 2, i % 2, 0] for i in range(n + 2)], np.float32)
    return vertices, np.array([[i, i + 1, i + 2] for i in range(n)], np.int32)


def grid(n: int) -> tuple[Array, Array]:
    """A flat square from 0 to 1 of n x n cells, two triangles each."""
    x, y = np.meshgrid(np.linspace(0, 1, n + 1), np.linspace(0, 1, n + 1))
    vertices = np.column_stack([x.ravel(), y.ravel(), np.zeros(x.size)]).astype(np.float32)
    corner = (np.arange(n)[:, None] * (n + 1) + np.arange(n)).ravel()
    faces = np.concatenate([np.stack([corner, corner + 1, corner + n + 2], 1),
                            np.stack([corner, corner + n + 2, corner + n + 1], 1)])  # fmt: skip
    return vertices, faces.astype(np.int32)


VIEW = np.array([[[-1, 0, 0, 1], [-1, 0, 2, 1], [-1, 3, 2, 2], [-1, -1, -1, -1]]], np.int32)


def test_pixels_times_confidence_by_hand() -> None:
    """Columns 1 and 2 of rows 0 to 2: three pixels of face 0, two of face 2, one of face 3."""
    surface = Surface(*strip(4))
    score = score_boxes(
        surface, VIEW, [[(1, np.array([1.0, 0, 3, 3]), 0.5), (0, np.array([0.0, 0, 9, 9]), 1.0)]], 2, PLAIN
    )
    np.testing.assert_allclose(score[:, 1], [1.5, 0, 1.0, 0.5])
    np.testing.assert_allclose(score[:, 0], [3, 2, 3, 1])
    # The same box twice, in two views, counts twice; a box of the ground alone counts nothing.
    twice = score_boxes(surface, np.concatenate([VIEW, VIEW]), [[(1, np.array([1.0, 0, 3, 3]), 0.5)]] * 2, 2, PLAIN)
    np.testing.assert_allclose(twice[:, 1], [3, 0, 2, 1])
    assert not score_boxes(surface, VIEW, [[(0, np.array([0.0, 0, 1, 4]), 1.0)]], 2, PLAIN).any()


def test_the_share_of_neighbours_by_hand() -> None:
    """Faces 0, 2 and 3 of a strip of four are in the box; within one step, 0 has 0 and 1, 2 has 1, 2 and 3."""
    surface = Surface(*strip(4))
    o = replace(PLAIN, smoothing=True, ring=1)
    score = score_boxes(surface, VIEW, [[(0, np.array([1.0, 0, 3, 3]), 1.0)]], 1, o)
    np.testing.assert_allclose(score[:, 0], [3 * 1 / (2 + 1e-5), 0, 2 * 2 / (3 + 1e-5), 1 * 2 / (2 + 1e-5)])
    o = replace(o, ring=5)  # all of them
    score = score_boxes(surface, VIEW, [[(0, np.array([1.0, 0, 3, 3]), 1.0)]], 1, o)
    np.testing.assert_allclose(score[:, 0], np.array([3, 0, 2, 1]) * 3 / (4 + 1e-5))


def test_neighbours_equal_a_search() -> None:
    surface = Surface(*grid(5))
    edges = [{frozenset(edge) for edge in ((a, b), (b, c), (c, a))} for a, b, c in surface.corners]
    near = [{j for j in range(50) if edges[i] & edges[j]} for i in range(50)]
    reach = surface.reach(3).toarray()
    for i in range(50):
        found = {i}
        for _ in range(3):
            found |= set().union(*(near[j] for j in found))
        assert set(np.flatnonzero(reach[i])) == found


def test_the_normal_density_by_hand() -> None:
    deviation = np.sqrt(2 / 3)
    top = 1 / (deviation * np.sqrt(2 * np.pi))
    np.testing.assert_allclose(normal_density(np.array([0.0, 1, 2])), [top * np.exp(-0.75), top, top * np.exp(-0.75)])
    assert normal_density(np.array([2.0, 2.0])).tolist() == [1, 1]  # a deviation of 0 has no density


def test_distances_start_at_the_vertex_nearest_to_the_middle(monkeypatch: pytest.MonkeyPatch) -> None:
    """Areas weight the middle: of a small and a nine times larger triangle it lies in the larger."""
    vertices = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [10, 0, 0], [13, 0, 0], [10, 3, 0]], np.float32)
    surface = Surface(vertices, np.array([[0, 1, 2], [3, 4, 5]], np.int32))
    sources = []

    class Straight:
        def __init__(self, points: Array, faces: Array) -> None:
            self.points = points

        def __call__(self, source: int) -> Array:
            sources.append(source)
            return np.linalg.norm(self.points - self.points[source], axis=1)

    monkeypatch.setattr("pa3d.methods.satr.Geodesics", Straight)
    # The middle is (1/3, 1/3) * 0.1 + (11, 1) * 0.9 = (9.933, 0.933): nearest to vertex 3.
    np.testing.assert_allclose(surface.distances(np.array([0, 1])), [10, 0])
    assert sources == [3]
    view = np.array([[[0, 1]]], np.int32)
    o = replace(PLAIN, gaussian=True)
    score = score_boxes(surface, view, [[(0, np.array([0.0, 0, 2, 1]), 1.0)]], 1, o)
    np.testing.assert_allclose(score[:, 0], np.exp(-0.5) / (5 * np.sqrt(2 * np.pi)))


def test_geodesics_on_a_flat_square() -> None:
    vertices, faces = grid(20)
    distance = Geodesics(vertices, faces)(0)
    straight = np.linalg.norm(vertices, axis=1)
    assert np.abs(distance - straight).max() < 0.05
    # Faces that share no vertices are the same surface.
    soup = Geodesics(vertices[faces].reshape(-1, 3), np.arange(faces.size, dtype=np.int32).reshape(-1, 3))
    source = int(np.flatnonzero(faces.ravel() == 0)[0])
    np.testing.assert_allclose(soup(source), distance[faces.ravel()], atol=1e-6)


def test_geodesics_go_around_a_corner() -> None:
    """Two walls of a right angle: the path over the surface is 2, the straight line 1.41."""
    vertices, faces = grid(20)
    wall = vertices[:, [2, 1, 0]] * [1, 1, -1]
    both = np.concatenate([vertices, wall]).astype(np.float32)
    distance = Geodesics(both, np.concatenate([faces, faces + len(vertices)]).astype(np.int32))
    start = int(np.flatnonzero((vertices == [1, 0.5, 0]).all(axis=1))[0])
    end = len(vertices) + int(np.flatnonzero((wall == [0, 0.5, -1]).all(axis=1))[0])
    assert distance(start)[end] == pytest.approx(2, abs=0.1)


def test_other_pieces_are_at_the_distance_of_a_straight_line() -> None:
    vertices, faces = grid(4)
    both = np.concatenate([vertices, vertices + [0, 0, 3]]).astype(np.float32)
    distance = Geodesics(both, np.concatenate([faces, faces + len(vertices)]).astype(np.int32))(0)
    np.testing.assert_allclose(distance[len(vertices) :], np.linalg.norm(both[len(vertices) :], axis=1), rtol=1e-6)
    cloud = Geodesics(np.array([[0, 0, 0], [1, 0, 0], [3, 0, 0]], np.float32), None)
    np.testing.assert_allclose(cloud(0), [0, 1, 3])


def test_cameras_are_those_of_the_seed() -> None:
    cameras = random_cameras(SatrOptions())
    generator = torch.Generator().manual_seed(2023)
    elevation = torch.randn(10, generator=generator).numpy() * np.pi / 4
    azimuth = torch.randn(10, generator=generator).numpy() * 2 * np.pi / 4 + 3.14
    eye = 2 * np.stack([np.cos(elevation) * np.cos(azimuth), np.sin(elevation), np.cos(elevation) * np.sin(azimuth)], 1)
    np.testing.assert_allclose(cameras.centers, eye, atol=1e-6)


def two_walls() -> tuple[Shape, Array]:
    """A long flat box; the part of a face is whether its middle lies at x above 0."""
    vertices, faces = grid(12)
    vertices = (vertices - 0.5) * [2, 1, 1]
    back = vertices + [0, 0, 0.2]
    points = np.concatenate([vertices, back]).astype(np.float32)
    all_faces = np.concatenate([faces, faces[:, ::-1] + len(vertices)]).astype(np.int32)
    truth = (points[all_faces].mean(axis=1)[:, 0] > 0).astype(np.int32)
    return Shape(points, all_faces), truth


def test_boxes_of_true_labels_label_a_mesh() -> None:
    shape, truth = two_walls()
    method = load_method("satr", {"detector": "truth"}, views=6)
    assert method.needs_ground_truth  # type: ignore[attr-defined]
    result = method.segment(shape, ["left", "right"], truth=truth)
    assert result.face_labels is not None
    assert (result.face_labels == truth).mean() > 0.9
    again = method.segment(shape, ["left", "right"], truth=truth)
    assert again.face_scores.tobytes() == result.face_scores.tobytes()  # type: ignore[union-attr]
    assert result.settings["networks"] == {"detector": "true labels"}
    with pytest.raises(InputError, match="no true labels to make boxes from"):
        method.segment(shape, ["left", "right"])


def test_vertices_take_the_sum_or_the_last_face() -> None:
    """A fan of three faces around vertex 0: two of part 0, and the last of part 1."""
    points = np.array([[0, 0, 0], [1, 0, 0], [0.5, 1, 0], [-0.5, 1, 0], [-1, 0, 0], [9, 9, 9]], np.float32)
    shape = Shape(points, np.array([[0, 1, 2], [0, 2, 3], [0, 3, 4]], np.int32))

    def labels(vertices: str) -> list[int]:
        method = Satr(SatrOptions(vertices=vertices), ScriptedDetector(lambda caption: []))  # type: ignore[arg-type]
        score = np.array([[2.0, 0], [2, 0], [0, 3]])
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("pa3d.methods.satr.score_boxes", lambda *arguments: score.copy())
            return method.segment(shape, ["a", "b"]).labels.tolist()

    assert labels("sum") == [0, 0, 0, 1, 1, -1]
    assert labels("last") == [1, 0, 0, 1, 1, -1]


def test_captions_and_phrases() -> None:
    """Parts are asked for in alphabetical order; boxes of the second phrase, and weak ones, do not count."""
    shape, _ = two_walls()
    everything = [0.0, 0.0, 1024.0, 1024.0]

    def answer(caption: str) -> list:
        if caption.startswith("the leg"):
            return [(everything, 0.9, 1), (everything, 0.4, 0)]
        return [(everything, 0.8, 0)]

    detector = ScriptedDetector(answer)
    result = Satr(SatrOptions(views=2), detector).segment(shape, ["leg", "back"], category="chair")
    assert detector.captions[:2] == ["the back of a chair.", "the leg of a chair."]
    assert len(detector.captions) == 4
    assert detector.images[0].shape == (1024, 1024, 3)
    assert set(np.unique(result.face_labels)) == {1}
    # A caption without a category has one phrase, and boxes of any number count.
    detector = ScriptedDetector(answer)
    alone = Satr(SatrOptions(views=1), detector).segment(shape, ["leg"])
    assert detector.captions == ["the leg."]
    assert (alone.face_labels == 0).any()


def test_faces_without_a_score_are_unknown() -> None:
    shape, _ = two_walls()
    result = Satr(FORMS["published"], ScriptedDetector(lambda caption: [])).segment(shape, ["a", "b"])
    assert (result.face_labels == -1).all()
    assert (result.labels == -1).all()
    assert not result.scores.any()


def test_clouds_and_odd_shapes() -> None:
    rng = np.random.default_rng(0)
    points = (rng.random((800, 3)) * [2, 1, 0.2]).astype(np.float32)
    truth = (points[:, 0] > 1).astype(np.int32)
    method = load_method("satr", {"detector": "truth"})
    result = method.segment(points, ["a", "b"], truth=truth)
    assert (result.labels == truth).mean() > 0.8
    assert result.face_labels is None
    holes = points.copy()
    holes[5] = np.nan
    with_hole = method.segment(Shape(holes), ["a", "b"], truth=truth)
    assert with_hole.labels[5] == -1
    assert not with_hole.scores[5].any()
    line = np.array([[0, 0, 0], [1, 0, 0]], np.float32)
    assert method.segment(line, ["a", "b"], truth=np.array([0, 1], np.int32)).labels.shape == (2,)


def test_boxes_around_connected_regions() -> None:
    label = np.full((20, 30), -1, np.int32)
    label[2:8, 3:9] = 0
    label[8:12, 9:14] = 0  # touches at a corner
    label[0:20, 20:25] = 1
    label[15:18, 0:4] = 0  # 12 pixels: too few
    np.testing.assert_array_equal(truth_boxes(label, 0), [[3, 2, 14, 12]])
    np.testing.assert_array_equal(truth_boxes(label, 1), [[20, 0, 25, 20]])
    assert truth_boxes(label, 2).shape == (0, 4)


def test_without_a_detector() -> None:
    with pytest.raises(InputError, match="needs a detector"):
        load_method("satr")
    with pytest.raises(InputError, match=r"no config\.json"):
        load_method("satr", {"detector": "nowhere"})
    with pytest.raises(InputError, match="vertices 'first'"):
        load_method("satr", {"detector": "truth"}, vertices="first")
