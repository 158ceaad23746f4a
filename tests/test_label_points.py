"""From patches to labels at points, and the arithmetic around the encoder that Python and C share."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from clouds import KINDS, cloud
from levels import LEVELS

from pa3d import _C
from pa3d.config import ASSIGN
from pa3d.ops.label_points import label_points, label_points_reference

Case = dict[str, Any]


def case(kind: str, n: int, seen: int, g: int, k: int, m: int = 8) -> Case:
    """A cloud, patches of some of its points, and logits of the range that cosines over 0.07 have."""
    rng = np.random.default_rng([n, seen, g, k])
    at = cloud(kind, n)
    points = cloud(kind, seen, 1)
    members = rng.integers(0, seen, (g, m))  # with repetitions
    centers = np.ascontiguousarray(points[members[:, 0]])
    logits = rng.uniform(-1 / 0.07, 1 / 0.07, (g, k)).astype(np.float32)
    return {"query_points": at, "centers": centers, "members": members, "points": points, "logits": logits}


def test_hand_worked() -> None:
    at = np.array([[0, 0, 0], [0.9, 0, 0], [3, 0, 0]], np.float32)
    centers = np.array([[0, 0, 0], [1, 0, 0]], np.float32)
    points = np.array([[0, 0, 0], [1, 0, 0], [3, 0, 0]], np.float32)
    members = np.array([[0, 1], [1, 1]])
    logits = np.log(np.array([[3, 1], [1, 4]], np.float32))
    arguments = (at, centers, members, points, logits)
    labels, scores = label_points(*arguments, "nearest")
    assert labels.tolist() == [0, 1, 1]
    np.testing.assert_allclose(scores, [[0.75, 0.25], [0.2, 0.8], [0.2, 0.8]], rtol=1e-6)
    # Point 1 is in both patches, counted once in each: the mean of the logits is log of (sqrt 3, sqrt 4). Point 2 is in
    # none and takes its nearest centre's.
    labels, scores = label_points(*arguments, "membership")
    assert labels.tolist() == [0, 1, 1]
    total = np.sqrt(3) + 2
    np.testing.assert_allclose(scores, [[0.75, 0.25], [np.sqrt(3) / total, 2 / total], [0.2, 0.8]], rtol=1e-6)
    # Two centres are all there are; at 0.9 they weigh 1/0.9 and 1/0.1.
    labels, scores = label_points(*arguments, "smooth")
    assert labels.tolist() == [0, 1, 1]
    logit = 0.9 * np.log([1, 4]) + 0.1 * np.log([3, 1])
    np.testing.assert_allclose(scores[1], np.exp(logit) / np.exp(logit).sum(), rtol=1e-5)
    assert label_points(*arguments, "nearest", none=0.78)[0].tolist() == [-1, 1, 1]


def test_the_first_of_equal_labels_wins() -> None:
    points = cloud("random", 40)
    members = np.zeros((3, 1), np.int64)
    for assign in ASSIGN:
        labels, scores = label_points(points, points[:3], members, points, np.zeros((3, 4), np.float32), assign)
        assert not labels.any() and (scores == 0.25).all()


@pytest.mark.parametrize("assign", ASSIGN)
@pytest.mark.parametrize("kind", KINDS)
def test_against_the_reference(isa: str, assign: str, kind: str) -> None:
    for n, seen, g, k in ((1, 1, 1, 1), (17, 15, 2, 3), (100, 63, 16, 1), (2000, 500, 128, 5)):
        c = case(kind, n, seen, g, k)
        labels, scores = label_points(**c, assign=assign)
        expected_labels, expected = label_points_reference(**c, assign=assign)
        assert labels.dtype == np.int32 and scores.dtype == np.float32
        # Logits up to 15 carry errors of some units of 2^-20, and a score moves by as much as its logit does.
        np.testing.assert_allclose(scores, expected, atol=2e-5)
        np.testing.assert_allclose(scores.sum(axis=1), 1, atol=1e-6)
        second = np.sort(expected, axis=1)[:, -2] if k > 1 else np.full(n, -1.0)
        clear = expected.max(axis=1) - second > 1e-4
        np.testing.assert_array_equal(labels[clear], expected_labels[clear])


@pytest.mark.parametrize("assign", ASSIGN)
def test_the_same_bits_everywhere(assign: str) -> None:
    c = case("random", 20_000, 3000, 128, 5)
    before = _C.isa()
    results = []
    for level in LEVELS:
        if not _C.set_isa(level):
            continue
        for threads in (1, 2, 5):
            labels, scores = label_points(**c, assign=assign, none=0.5, threads=threads)
            results.append(labels.tobytes() + scores.tobytes())
    _C.set_isa(before)
    assert len(set(results)) == 1
    some = {**c, "query_points": c["query_points"][777:1234].copy()}
    assert np.array_equal(label_points(**some, assign=assign)[1], label_points(**c, assign=assign)[1][777:1234])


def test_errors() -> None:
    c = case("random", 20, 10, 4, 2)
    for change, message in (
        ({"assign": "best"}, "assign: expected nearest, membership or smooth"),
        ({"logits": c["logits"][:3]}, "logits: expected one row per centre"),
        ({"members": c["members"][:3]}, "members: expected one row per centre"),
        ({"members": c["members"] + 10}, "members: an index lies outside the points"),
        ({"query_points": c["query_points"][:0]}, "query_points: expected at least one point"),
        ({"query_points": c["query_points"] * np.float32(np.nan)}, "query_points: NaN or infinite values"),
    ):
        with pytest.raises(ValueError, match=message):
            label_points(**{**c, **change})
    with pytest.raises(TypeError, match="logits: expected float32"):
        label_points(**{**c, "logits": c["logits"].astype(np.float64)})


def test_softmax() -> None:
    rng = np.random.default_rng(0)
    logits = rng.uniform(-90, 30, (500, 7)).astype(np.float32)
    exact = np.exp(logits.astype(np.float64) - logits.max(axis=1, keepdims=True))
    exact /= exact.sum(axis=1, keepdims=True)
    # 2e-7 of the exponential, as much again of the sum and the rounding of the difference (up to 120 * 2^-24 = 7e-6).
    np.testing.assert_allclose(_C.softmax(logits), exact, rtol=1e-5, atol=1e-37)
    assert _C.softmax(np.array([[0, -500]], np.float32))[0, 1] < 2e-38


def test_cosines() -> None:
    rng = np.random.default_rng(0)
    for g, k, d in ((1, 1, 1), (3, 2, 15), (5, 7, 17), (128, 5, 1280)):
        a, b = (rng.standard_normal((n, d)).astype(np.float32) for n in (g, k))
        a, b = _C.unit_rows(a), _C.unit_rows(b)
        np.testing.assert_allclose(np.linalg.norm(a, axis=1), 1, atol=1e-6)
        exact = a.astype(np.float64) @ b.T / np.float32(0.07)
        np.testing.assert_allclose(_C.cosine_logits(a, b, 0.07), exact, atol=1e-6 / 0.07)
        alone = [_C.cosine_logits(a, b[i : i + 1], 0.07) for i in range(k)]
        np.testing.assert_array_equal(_C.cosine_logits(a, b, 0.07), np.concatenate(alone, axis=1))


def test_unit_mean() -> None:
    rows = np.array([[3, 0], [0, 0.5]], np.float32)
    np.testing.assert_allclose(_C.unit_mean(rows), np.sqrt([0.5, 0.5]), rtol=1e-6)


def test_normalization() -> None:
    points = (cloud("random", 5000) * 7 + [100, -20, 3]).astype(np.float32)
    center, radius = _C.normalization(points)
    np.testing.assert_allclose(center, points.mean(axis=0, dtype=np.float64), rtol=1e-14)
    assert radius == pytest.approx(np.linalg.norm(points - center, axis=1).max(), rel=1e-14)
    out = _C.normalize(points, center, radius, (0, 2, 1), 3)
    np.testing.assert_array_equal(out, ((points - center) / radius).astype(np.float32)[:, [0, 2, 1]])
    assert _C.normalization(out)[1] == 1 and not _C.normalization(out)[0].any()  # normalised already
    assert _C.normalization(np.ones((4, 3), np.float32))[1] == 0
