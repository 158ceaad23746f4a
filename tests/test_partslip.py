"""PartSLIP: votes of scripted boxes worked out by hand, superpoints, instances, and whole clouds."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import numpy as np
import pytest

from pa3d.methods import load_method
from pa3d.methods.partslip import (
    FORMS,
    Evidence,
    PartSlip,
    PartSlipOptions,
    group_instances,
    inside,
    superpoint_labels,
    superpoint_scores,
)
from pa3d.methods.superpoints import _minimal_cut, cut_pursuit, edge_weights, superpoints
from pa3d.shape import Shape
from tests.tiny_networks import ScriptedDetector

Array = np.ndarray
NO_BOXES = (np.zeros((0, 4)), np.zeros(0, np.int64))


def evidence(*views: tuple[list[int], list[list[float]], list[int]], n: int = 6) -> Evidence:
    """Points at pixels (10 i + 5, 5). A view: the points it shows, its boxes, and their parts."""
    visible = np.zeros((len(views), n), bool)
    for row, (shown, _, _) in zip(visible, views, strict=True):
        row[shown] = True
    pixel = np.tile(np.column_stack([10.0 * np.arange(n) + 5, np.full(n, 5.0)]), (len(views), 1, 1))
    boxes = [(np.array(box, float).reshape(-1, 4), np.array(part, np.int64)) for _, box, part in views]
    return Evidence(visible, pixel, boxes)


def test_scores_by_hand() -> None:
    """Superpoint 0 is points 0 to 3, superpoint 1 is points 4 and 5."""
    piece = np.array([0, 0, 0, 0, 1, 1])
    seen = evidence(
        ([0, 1, 2, 4], [[0, 0, 20, 10], [10, 0, 20, 10]], [0, 0]),  # points 0 and 1, the second box adds nothing
        ([2, 3], [[0, 0, 35, 10], [30, 0, 60, 10]], [0, 1]),  # point 2; point 3, and 4 and 5, which are hidden
    )
    score = superpoint_scores(piece, seen, 2)
    # Superpoint 0 is seen 5 times: of part 0 points 0, 1 and 2; of part 1 point 3.
    np.testing.assert_allclose(score, [[3 / 5, 1 / 5], [0, 0]])
    assert superpoint_labels(score, ["seat", "back"], 0.5).tolist() == [0, -1]
    # Seen by no view: no score.
    nothing = superpoint_scores(piece, evidence(([0], [[0, 0, 60, 10]], [0])), 1)
    np.testing.assert_allclose(nothing, [[1], [0]])


def test_small_parts_go_first() -> None:
    score = np.array([[0.9, 0.6, 0.5], [0.9, 0.4, 0.4], [0.9, 0.6, 0.2], [0.4, 0.3, 0.49], [0.6, 0.7, 0.1]])
    parts = ["door", "Handle", "knob"]
    assert superpoint_labels(score, parts, 0.5).tolist() == [2, 0, 1, -1, 1]
    assert superpoint_labels(score, ["door", "frame", "panel"], 0.5).tolist() == [0, 0, 0, -1, 1]


def test_a_box_is_closed_to_the_left_and_open_to_the_right() -> None:
    pixel = np.array([[10.0, 5], [20.0, 5], [15, 0], [15, 10]])
    assert inside(pixel, np.array([10.0, 0, 20, 10])).tolist() == [True, False, True, False]


def test_weights_of_edges_by_hand() -> None:
    features = np.array([[0.0], [0], [3]])
    weight = edge_weights(features, np.array([[0, 1], [1, 2]]), np.array([1.0, 3.0]))
    # Lengths 1 and 3 have mean 2, changes 0 and 3 have mean 1.5.
    np.testing.assert_allclose(weight, [(1 / 1.5) ** 2, (1 / (1 + 1.5 + 2)) ** 2])


def test_a_minimal_cut_equals_a_search() -> None:
    rng = np.random.default_rng(0)
    for _ in range(10):
        cost = rng.random((8, 2))
        edge = np.array([(i, j) for i in range(8) for j in range(i) if rng.random() < 0.4])
        weight = rng.random(len(edge)) * 0.3

        def energy(side: Array, cost: Array = cost, edge: Array = edge, weight: Array = weight) -> float:
            cut = side[edge[:, 0]] != side[edge[:, 1]]
            return float(cost[np.arange(8), side].sum() + weight[cut].sum())

        best = min(energy(np.array(side)) for side in product((0, 1), repeat=8))
        assert energy(_minimal_cut(cost, edge, weight)) == pytest.approx(best, abs=1e-6)


def test_pieces_of_a_line() -> None:
    """Values 0, 0, 0, 1, 1, 1 on a line: a cut costs the weight of one edge and gains 6 / 4."""
    features = np.array([[0.0], [0], [0], [1], [1], [1]])
    edge = np.array([[i, i + 1] for i in range(5)])
    assert cut_pursuit(features, edge, np.full(5, 1.4)).tolist() == [0, 0, 0, 1, 1, 1]
    assert cut_pursuit(features, edge, np.full(5, 1.6)).tolist() == [0] * 6
    # Three values: two cuts, in two rounds.
    three = np.array([[0.0], [0], [1], [1], [5], [5]])
    assert len(np.unique(cut_pursuit(three, edge, np.full(5, 0.1)))) == 3
    # Points that are not connected are never one piece.
    assert len(np.unique(cut_pursuit(np.zeros((4, 1)), np.array([[0, 1], [2, 3]]), np.ones(2)))) == 2


def corner(n: int = 400) -> tuple[Array, Array]:
    """Two square walls at a right angle, and which of them each point is on."""
    rng = np.random.default_rng(0)
    a = np.column_stack([rng.random((n, 2)), np.zeros(n)])
    b = np.column_stack([np.zeros(n), rng.random((n, 2))]) + [0, 0, 0.02]
    return np.concatenate([a, b]).astype(np.float32), np.repeat([0, 1], n)


def test_superpoints_of_two_walls() -> None:
    points, wall = corner()
    piece = superpoints(points, np.full((len(points), 3), 128, np.uint8))
    for number in np.unique(piece):
        share = wall[piece == number].mean()
        assert min(share, 1 - share) < 0.1
    assert np.bincount(piece).min() > 10
    assert len(np.unique(piece)) < 30
    # Colours divide a wall too.
    colors = np.where(points[:, 1:2] > 0.5, [255, 0, 0], [0, 0, 255]).astype(np.uint8)
    red = points[:, 1] > 0.5
    pieces = superpoints(points, colors, color_weight=3.0)
    assert all(
        min(red[pieces == number].mean(), 1 - red[pieces == number].mean()) < 0.05 for number in np.unique(pieces)
    )


def test_superpoints_of_odd_clouds() -> None:
    grey = np.full((9, 3), 128, np.uint8)
    for points in (np.zeros((1, 3)), np.ones((4, 3)), np.eye(3), np.arange(27.0).reshape(9, 3)):
        piece = superpoints(points.astype(np.float32), grey[: len(points)])
        assert piece.shape == (len(points),)
        assert piece.min() == 0


def test_instances_by_hand() -> None:
    """Four superpoints of a part in a row, at x = 0, 1.01, 2.02 and 5, each two points one apart."""
    points = np.zeros((8, 3), np.float32)
    points[:, 0] = [0, 1, 1.01, 2.01, 2.02, 3.02, 5, 6]
    piece = np.repeat([0, 1, 2, 3], 2)
    labels = np.zeros(4, np.int32)
    everything = list(range(8))
    # A box of superpoints 0 and 1, and one of superpoint 2; the last superpoint has none.
    seen = evidence((everything, [[5, 5, 36, 6], [45, 5, 56, 6]], [0, 0]), n=8)
    seen.pixel[:, 1::2, 1] = 5.9  # so that boxes of instances have an area
    out = group_instances(points, piece, labels, seen, PartSlipOptions())
    assert out.tolist() == [0, 0, 0, 0, 1, 1, -1, -1]
    # A larger gap between the boxes in space than between the superpoints unites nothing.
    apart = group_instances(points, piece, labels, seen, PartSlipOptions(gap=0.005, overlap=0.2))
    assert apart[:6].tolist() == [0, 0, 1, 1, 2, 2]


def cube(n: int = 4000) -> tuple[Shape, Array]:
    """A box with a lid of another colour."""
    rng = np.random.default_rng(0)
    points = rng.random((n, 3))
    side = rng.integers(0, 3, n)
    points[np.arange(n), side] = rng.integers(0, 2, n)
    lid = (points[:, 1] > 0.7).astype(np.int32)
    colors = np.where(lid[:, None] > 0, [200, 30, 30], [30, 30, 200]).astype(np.uint8)
    return Shape(points.astype(np.float32), colors=colors), lid


def test_boxes_of_true_labels_label_a_cloud() -> None:
    shape, truth = cube()
    method = load_method("partslip", {"detector": "truth"})
    result = method.segment(shape, ["body", "lid"], truth=truth)
    assert (result.labels == truth).mean() > 0.8
    again = method.segment(shape, ["body", "lid"], truth=truth)
    assert again.labels.tobytes() == result.labels.tobytes()
    assert again.scores.tobytes() == result.scores.tobytes()
    assert (result.scores.sum(axis=1) <= 1 + 1e-6).all()
    labels, instance = method.instances(shape, ["body", "lid"], truth=truth)  # type: ignore[attr-defined]
    np.testing.assert_array_equal(labels, result.labels)
    assert instance.shape == truth.shape


def test_what_the_detector_is_asked() -> None:
    shape, _ = cube(500)
    detector = ScriptedDetector(lambda caption: [])
    result = PartSlip(FORMS["fair"], detector).segment(shape, ["body", "lid"], category="jar")
    assert detector.captions == ["body . lid"] * 10
    assert (result.labels == -1).all()
    assert detector.images[0].shape == (800, 800, 3)
    colors = {tuple(color) for color in detector.images[0].reshape(-1, 3)}
    assert colors == {(255, 255, 255), (200, 30, 30), (30, 30, 200)}
    detector = ScriptedDetector(lambda caption: [])
    PartSlip(FORMS["published"], detector).segment(shape, ["body", "lid"], category="jar")
    assert detector.captions == ["body . lid of a jar"] * 10


def test_boxes_of_the_whole_shape_and_weak_ones_do_not_count() -> None:
    shape, _ = cube(800)
    whole = ([0.0, 0.0, 800.0, 800.0], 0.9, 0)
    method = PartSlip(FORMS["fair"], ScriptedDetector(lambda caption: [whole]))
    assert (method.segment(shape, ["body", "lid"]).labels == -1).all()
    allowed = PartSlip(replace(FORMS["fair"], whole=1.1), ScriptedDetector(lambda caption: [whole]))
    assert (allowed.segment(shape, ["body", "lid"]).labels == 0).mean() > 0.9
    weak = ([0.0, 0.0, 800.0, 800.0], 0.5, 0)
    method = PartSlip(replace(FORMS["fair"], whole=1.1), ScriptedDetector(lambda caption: [weak]))
    assert (method.segment(shape, ["body", "lid"]).labels == -1).all()


def test_odd_clouds() -> None:
    everything = ([0.0, 0.0, 800.0, 800.0], 0.9, 1)
    method = PartSlip(replace(FORMS["fair"], whole=1.1), ScriptedDetector(lambda caption: [everything]))
    line = np.array([[0, 0, 0], [1, 0, 0]], np.float32)
    assert (method.segment(line, ["a", "b"]).labels == 1).all()
