"""refine: the kernel against the exact solution, and what it does to borders."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from clouds import cloud

from pa3d import _C
from pa3d.ops import Pieces, refine, refine_reference

# The kernel stops at a residual of 0.2 percent; on these shapes no score is further from the exact one.
TOLERANCE = 0.02


def tube(rings: int = 24, around: int = 16, waist: float = 0.3) -> tuple[np.ndarray, np.ndarray]:
    """Two bulges with a narrow waist at height 0, closed at both ends; outward faces."""
    height = np.linspace(-1, 1, rings)
    radius = waist + 0.7 * np.abs(np.sin(np.pi * height))
    turn = np.linspace(0, 2 * np.pi, around, endpoint=False)
    side = np.stack(
        [radius[:, None] * np.cos(turn), np.repeat(height[:, None], around, 1), -radius[:, None] * np.sin(turn)], -1
    ).reshape(-1, 3)
    points = np.concatenate([side, [[0, -1, 0], [0, 1, 0]]]).astype(np.float32)
    faces = []
    for i in range(rings - 1):
        for j in range(around):
            a, b = i * around + j, i * around + (j + 1) % around
            faces += [[a, b, b + around], [a, b + around, a + around]]
    last = (rings - 1) * around
    for j in range(around):
        k = (j + 1) % around
        faces += [[len(side), k, j], [len(side) + 1, last + j, last + k]]
    return points, np.array(faces, np.int32)


def noisy(points: np.ndarray, faces: np.ndarray | None, border: float, seed: int = 0) -> np.ndarray:
    """Scores of two parts with the border at a wrong height, and noise."""
    places = points if faces is None else points[faces].mean(axis=1)
    rng = np.random.default_rng(seed)
    first = np.clip(0.5 + 1.5 * (places[:, 1] - border) + 0.2 * rng.standard_normal(len(places)), 0.02, 0.98)
    return np.stack([first, 1 - first], axis=1).astype(np.float32)


def scores(rows: int, k: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).dirichlet(np.ones(k), rows).astype(np.float32)


def test_two_triangles_by_hand() -> None:
    """Two equal triangles in a plane: x is u moved to the mean by w / (1 / 2 + w), all in units of a face."""
    points = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [1, 1, 0]], np.float32)
    faces = np.array([[0, 1, 2], [1, 3, 2]], np.int32)
    p = np.array([[0.9, 0.1], [0.2, 0.8]], np.float32)
    u = np.log(p.astype(np.float64) + 0.01)
    length, distance = np.sqrt(2), 2 * np.linalg.norm([1 / 2 - 1 / 3, 1 / 2 - 1 / 3])
    w = 0.1**2 * 2 * 1.001 * length / distance  # two faces of area 1 in the unit of the mean
    mean, half = u.mean(axis=0), (u[0] - u[1]) / 2
    x = np.stack([mean + half / (1 + 2 * w), mean - half / (1 + 2 * w)])
    expected = np.exp(x) / np.exp(x).sum(axis=1, keepdims=True)
    assert refine(points, faces, p) == pytest.approx(expected, abs=1e-5)
    assert refine_reference(points, faces, p) == pytest.approx(expected, abs=1e-6)


@pytest.mark.usefixtures("isa")
@pytest.mark.parametrize("k", [1, 2, 4, 5, 8, 9, 13])
def test_equals_the_exact_solution(k: int) -> None:
    points, faces = tube()
    p = scores(len(faces), k)
    assert refine(points, faces, p) == pytest.approx(refine_reference(points, faces, p), abs=TOLERANCE)


def two_sided(faces: np.ndarray) -> np.ndarray:
    return np.concatenate([faces, faces[:, ::-1]])


def fan(points: np.ndarray, faces: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Five more faces at one edge, a face without area, and a vertex of its own."""
    apex = points.mean(axis=0) + np.random.default_rng(3).standard_normal((5, 3)).astype(np.float32)
    more = [[faces[0, 0], faces[0, 1], len(points) + i] for i in range(5)] + [[0, 0, 1]]
    return np.concatenate([points, apex, apex[:1] + 9]).astype(np.float32), np.concatenate([faces, more]).astype(
        np.int32
    )


@pytest.mark.parametrize("case", ["unwelded", "inside out", "two-sided", "more at an edge", "far", "tiny"])
def test_odd_meshes_equal_the_exact_solution(case: str) -> None:
    points, faces = tube(10, 9)
    if case == "unwelded":
        points, faces = points[faces].reshape(-1, 3), np.arange(faces.size, dtype=np.int32).reshape(-1, 3)
        points[points == 0] = -0.0  # which is the same place as 0
        points[::2] += np.float32(0)
    faces = {"inside out": faces[:, ::-1].copy(), "two-sided": two_sided(faces)}.get(case, faces)
    if case == "more at an edge":
        points, faces = fan(points, faces)
    points = np.ascontiguousarray(points * {"far": 1e6, "tiny": 1e-6}.get(case, 1), np.float32)
    p = scores(len(faces), 3)
    assert refine(points, faces, p) == pytest.approx(refine_reference(points, faces, p), abs=TOLERANCE)


def test_the_mesh_is_the_same_however_it_is_stored() -> None:
    """Unwelded, inside out, two-sided, scaled and moved: always the same surface, so the same scores."""
    points, faces = tube()
    p = noisy(points, faces, 0.15)
    expected = refine(points, faces, p)
    apart, own = (
        np.ascontiguousarray(points[faces].reshape(-1, 3)),
        np.arange(faces.size, dtype=np.int32).reshape(-1, 3),
    )
    assert refine(apart, own, p) == pytest.approx(expected, abs=TOLERANCE)
    assert refine(points, faces[:, ::-1].copy(), p) == pytest.approx(expected, abs=TOLERANCE)
    both = refine(points, two_sided(faces), np.concatenate([p, p]))
    assert both[: len(faces)] == pytest.approx(expected, abs=TOLERANCE)
    assert np.array_equal(both[: len(faces)], both[len(faces) :])
    assert refine(1000 * points, faces, p) == pytest.approx(expected, abs=TOLERANCE)


@pytest.mark.usefixtures("isa")
@pytest.mark.parametrize("n", [1, 2, 6, 7, 16, 17, 100, 700])
def test_clouds_equal_the_exact_solution(n: int) -> None:
    points = cloud("sphere", n)
    points = np.concatenate([points, points[: n // 5]])
    p = scores(len(points), 3)
    assert refine(points, None, p) == pytest.approx(refine_reference(points, None, p), abs=TOLERANCE)


@pytest.mark.parametrize("mesh", [True, False])
@pytest.mark.parametrize("reach", [0.1, 0.0])
def test_pieces_equal_the_exact_solution(mesh: bool, reach: float) -> None:
    points, faces = tube(12, 9)
    used, rows = (faces, len(faces)) if mesh else (None, len(points))
    rng = np.random.default_rng(1)
    pieces = Pieces(
        rng.integers(-1, 4, rows).astype(np.int32),
        np.array([0, 0.5, 3, 50], np.float32),
        rng.standard_normal((4, 3)).astype(np.float32),
        np.array([1, 0, 2, 0.5], np.float32),
    )
    p = scores(rows, 3)
    exact = refine_reference(points, used, p, pieces.piece, pieces.bond, pieces.evidence, pieces.weight, reach)
    assert refine(points, used, p, pieces, reach=reach) == pytest.approx(exact, abs=TOLERANCE)


def test_the_border_moves_to_the_waist() -> None:
    """The concave waist is at height 0; the scores put the border at 0.15 and are noisy."""
    points, faces = tube(40, 32)
    height = points[faces].mean(axis=1)[:, 1]
    before = noisy(points, faces, 0.15)
    after = refine(points, faces, before)
    truth = height < 0
    assert ((before[:, 1] > 0.5) == truth).mean() < 0.94
    assert ((after[:, 1] > 0.5) == truth).mean() > 0.98
    assert after.sum(axis=1) == pytest.approx(1, abs=1e-5)


def test_a_bond_joins_a_piece_and_evidence_names_it() -> None:
    points, faces = tube(12, 9)
    p = scores(len(faces), 2)
    piece = np.zeros(len(faces), np.int32)
    one = np.ones(1, np.float32)
    joined = refine(points, faces, p, Pieces(piece, 1000 * one), reach=0.0)
    assert np.ptp(joined, axis=0) == pytest.approx(0, abs=0.02)
    named = refine(points, faces, p, Pieces(piece, 1000 * one, np.array([[0, -5]], np.float32), 100 * one), reach=0.0)
    assert (named[:, 0] > 0.95).all()
    untouched = refine(points, faces, p, Pieces(piece, 0 * one), reach=0.0)
    shifted = p + 0.01
    assert untouched == pytest.approx(shifted / shifted.sum(axis=1, keepdims=True), abs=1e-5)


def test_a_large_mesh_is_near_the_exact_solution() -> None:
    """There the number of steps is limited: labels may differ where two parts are equally likely."""
    points, faces = tube(140, 140)
    p = noisy(points, faces, 0.1)
    after = refine(points, faces, p)
    height = points[faces].mean(axis=1)[:, 1]
    assert ((after[:, 1] > 0.5) == (height < 0)).mean() > 0.97


@pytest.mark.parametrize("mesh", [True, False])
def test_threads_change_nothing(mesh: bool) -> None:
    points, faces = tube(100, 100)
    used = faces if mesh else None
    p = scores(len(faces) if mesh else len(points), 5)
    expected = _C.refine(points, used, p, threads=1)
    for threads in (2, 3, 7):
        assert np.array_equal(_C.refine(points, used, p, threads=threads), expected)


def test_vertices_get_the_mean_of_their_faces() -> None:
    points = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [3, 0, 0], [9, 9, 9]], np.float32)
    faces = np.array([[0, 1, 2], [1, 3, 2]], np.int32)  # areas 1 / 2 and 1
    face_scores = np.array([[1, 0], [0, 1]], np.float32)
    own = np.full((5, 2), 0.5, np.float32)
    expected = [[1, 0], [1 / 3, 2 / 3], [1 / 3, 2 / 3], [0, 1], [0.5, 0.5]]
    assert _C.mean_at_vertices(points, faces, face_scores, own) == pytest.approx(np.array(expected), abs=1e-6)


MESH = tube(6, 6)
GOOD: dict[str, Any] = {"points": MESH[0], "faces": MESH[1], "scores": scores(len(MESH[1]), 2)}


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"points": MESH[0][::2]}, ValueError, "points: expected a contiguous array"),
        ({"points": MESH[0] * np.nan}, ValueError, "points: NaN or infinite"),
        ({"faces": MESH[1].astype(np.int64)}, TypeError, "faces: expected int32, got int64"),
        ({"faces": MESH[1] + 30}, ValueError, "faces: an index lies outside the points"),
        ({"scores": GOOD["scores"][1:]}, ValueError, r"scores: expected shape \(72, K\)"),
        ({"scores": -GOOD["scores"]}, ValueError, "scores: expected finite numbers of at least 0"),
        ({"reach": -1.0}, ValueError, "reach: expected a number of at least 0, got -1.0"),
        (
            {"pieces": Pieces(np.full(72, 2, np.int32), np.ones(2, np.float32))},
            ValueError,
            "piece: an index lies outside the bonds",
        ),
        (
            {"pieces": Pieces(np.zeros(72, np.int32), np.full(1, np.inf, np.float32))},
            ValueError,
            "bond: expected finite numbers of at least 0",
        ),
    ],
)
def test_errors(change: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        refine(**{**GOOD, **change})
