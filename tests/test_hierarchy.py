"""merge_regions: the kernel against the plain rule, and what trees and cuts look like."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import trimesh
from clouds import cloud

from pa3d import _C
from pa3d.ops import MergeTree, merge_regions, merge_regions_reference


def boxes(*centers: tuple[float, float, float]) -> tuple[np.ndarray, np.ndarray]:
    """Cubes with edges of length 1, of 48 faces each."""
    meshes = []
    for center in centers:
        box = trimesh.creation.box().subdivide()
        box.apply_translation(center)
        meshes.append(box)
    mesh = trimesh.util.concatenate(meshes)
    return np.float32(mesh.vertices), np.int32(mesh.faces)


def dumbbell() -> tuple[np.ndarray, np.ndarray]:
    """Two balls joined by a thin bar, one surface; the creases where the bar begins are concave."""
    n, turn = 24, np.linspace(0, 2 * np.pi, 24, endpoint=False)
    height = np.concatenate([np.linspace(-1.9, -1.02, 14), np.linspace(-1, 1, 9), np.linspace(1.02, 1.9, 14)])
    ball = np.sqrt(np.clip(0.5**2 - (np.abs(height) - 1.45) ** 2, 0, None))
    radius = np.where(np.abs(height) > 1.01, np.maximum(ball, 0.02), 0.06)
    points = np.stack(
        [np.outer(radius, np.cos(turn)), np.repeat(height[:, None], n, 1), np.outer(radius, np.sin(turn))], -1
    )
    i, j = np.meshgrid(np.arange(len(height) - 1), np.arange(n), indexing="ij")
    a, b = i * n + j, i * n + (j + 1) % n
    faces = np.stack([np.stack([a, a + n, b], -1), np.stack([b, a + n, b + n], -1)], axis=2)
    return points.reshape(-1, 3).astype(np.float32), faces.reshape(-1, 3).astype(np.int32)


def random_features(rows: int, seed: int = 0, size: float = 0.5) -> np.ndarray:
    return np.float32(size * np.random.default_rng(seed).standard_normal((rows, 4)))


@pytest.mark.usefixtures("isa")
@pytest.mark.parametrize("case", ["one", "three apart", "unwelded", "two-sided", "many apart"])
def test_mesh_equals_the_plain_rule(case: str) -> None:
    points, faces = boxes(*{"one": [(0, 0, 0)], "many apart": [(2.0 * i, i % 3, 0.1 * i) for i in range(12)]}.get(
        case, [(0, 0, 0), (1.7, 0, 0), (0, 4, 0)]
    ))  # fmt: skip
    if case == "unwelded":
        points, faces = points[faces].reshape(-1, 3), np.arange(faces.size, dtype=np.int32).reshape(-1, 3)
    if case == "two-sided":
        faces = np.concatenate([faces, faces[:, ::-1]])
    features = random_features(len(faces))
    tree = merge_regions(points, faces, features, leaves=10**9)
    leaf, merges, costs = merge_regions_reference(points, faces, features)
    assert np.array_equal(tree.leaf, leaf) and np.array_equal(tree.merges, merges)
    assert tree.costs == pytest.approx(costs, rel=2e-3, abs=1e-5)


@pytest.mark.parametrize("n", [1, 2, 9, 150])
def test_cloud_equals_the_plain_rule(n: int) -> None:
    points = cloud("sphere", n)
    points = np.concatenate([points, points[: n // 5]])
    features = random_features(len(points))
    tree = merge_regions(points, None, features, leaves=10**9)
    leaf, merges, costs = merge_regions_reference(points, None, features)
    assert np.array_equal(tree.leaf, leaf) and np.array_equal(tree.merges, merges)
    assert tree.costs == pytest.approx(costs, rel=2e-3, abs=1e-5)


@pytest.mark.parametrize("leaves", [20, 200, 10**6])
def test_a_dumbbell_falls_into_balls_and_bar(leaves: int) -> None:
    points, faces = dumbbell()
    tree = merge_regions(points, faces, np.zeros((len(faces), 1), np.float32), leaves=leaves)
    labels = tree.cut(3)
    height = points[faces].mean(axis=1)[:, 1]
    truth = np.where(height < -1.005, 0, np.where(height > 1.005, 2, 1))  # the first rings are as wide as the balls
    for part in range(3):
        own = truth == part
        counts = np.bincount(labels[own], minlength=3)
        best = int(counts.argmax())
        assert counts[best] / ((labels == best) | own).sum() > 0.9


def test_features_decide_where_there_is_no_crease() -> None:
    points = np.float32(np.random.default_rng(0).random((600, 3)) * [2, 0, 1])
    features = np.float32(np.where(points[:, :1] < 0.7, 0, 1))
    labels = merge_regions(points, None, features).cut(2)
    assert (labels == labels[np.argmin(points[:, 0])]).tolist() == (points[:, 0] < 0.7).tolist()


def test_cuts_are_nested_and_numbered_by_first_members() -> None:
    points, faces = boxes((0, 0, 0), (3, 0, 0))
    tree = merge_regions(points, faces, random_features(len(faces)))
    assert tree.cut(1).tolist() == [0] * len(faces)
    before = tree.cut(1)
    for count in range(2, 30):
        labels = tree.cut(count)
        _, first = np.unique(labels, return_index=True)
        assert len(first) == count and np.array_equal(first, np.sort(first))
        assert len({*zip(labels.tolist(), before.tolist(), strict=True)}) == count  # each region lies in one of before
        before = labels
    assert len(np.unique(tree.cut(10**6))) == tree.num_leaves
    with pytest.raises(ValueError, match="count: expected at least 1, got 0"):
        tree.cut(0)


def test_threads_change_nothing() -> None:
    points, faces = dumbbell()
    features = random_features(len(faces))
    for used in (faces, None):
        rows = features[: len(points) if used is None else len(faces)]
        rows = random_features(len(points)) if used is None else rows
        expected = _C.merge_regions(points, used, rows, 100, 1)
        for threads in (2, 5):
            found = _C.merge_regions(points, used, rows, 100, threads)
            assert all(np.array_equal(a, b) for a, b in zip(found, expected, strict=True))


def test_a_mesh_without_area_is_one_tree() -> None:
    points = np.zeros((3, 3), np.float32)
    faces = np.int32([[0, 1, 2], [0, 0, 0]])
    tree = merge_regions(points, faces, np.zeros((2, 1), np.float32))
    assert tree.cut(1).tolist() == [0, 0]


POINTS, FACES = boxes((0, 0, 0))
GOOD: dict[str, Any] = {"points": POINTS, "faces": FACES, "features": random_features(len(FACES))}


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"features": GOOD["features"][1:]}, ValueError, "features: expected shape"),
        ({"features": GOOD["features"] * np.inf}, ValueError, "features: NaN or infinite"),
        ({"features": GOOD["features"].astype(np.float64)}, TypeError, "features: expected float32"),
        ({"faces": FACES + 100}, ValueError, "faces: an index lies outside"),
        ({"points": POINTS * np.nan}, ValueError, "points: NaN or infinite"),
        ({"leaves": 0}, ValueError, "leaves: expected at least 1, got 0"),
    ],
)
def test_errors(change: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        merge_regions(**{**GOOD, **change})


def test_a_tree_of_one_leaf() -> None:
    tree = MergeTree(np.zeros(4, np.int32), np.empty((0, 2), np.int32), np.empty(0, np.float32))
    assert tree.num_leaves == 1 and tree.cut(1).tolist() == tree.cut(3).tolist() == [0] * 4
