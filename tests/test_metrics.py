"""Metrics against values worked out by hand on six points, and against scikit-learn where it agrees."""

from __future__ import annotations

import numpy as np
import pytest

from pa3d.errors import InputError
from pa3d.evaluate.datasets import LabelledShape
from pa3d.evaluate.metrics import (
    accuracy,
    bootstrap_interval,
    boundary_ious,
    calibration_bins,
    confusion_matrix,
    expected_calibration_error,
    mean_over_groups,
    nan_mean,
    neighborhoods,
    part_ious,
)
from pa3d.evaluate.protocols import PROTOCOLS, prepare, resolve
from pa3d.evaluate.score import Prediction, shape_metrics
from pa3d.shape import Shape

NAN = float("nan")
# Six points, four parts. Part 0: 2 of 4 found, 1 false; part 1: 1 of 2 found, 1 false; part 2: absent,
# predicted once; part 3: absent from both.
TRUTH = np.array([0, 0, 0, 1, 1, 0], np.int32)
PREDICTED = np.array([0, 0, 2, 1, 0, 1], np.int32)


@pytest.mark.parametrize(
    ("rule", "ious", "mean"),
    [
        ("skip", [2 / 5, 1 / 3, NAN, NAN], 11 / 30),
        ("one", [2 / 5, 1 / 3, 0, 1], 13 / 30),
        ("union", [2 / 5, 1 / 3, 0, NAN], 11 / 45),
    ],
)
def test_absent_parts_by_hand(rule: str, ious: list[float], mean: float) -> None:
    confusion = confusion_matrix(TRUTH, PREDICTED, 4)
    assert confusion.tolist() == [
        [2, 1, 1, 0, 0],
        [1, 1, 0, 0, 0],
        [0, 0, 0, 0, 0],
        [0, 0, 0, 0, 0],
        [0, 0, 0, 0, 0],
    ]
    found = part_ious(confusion, rule)  # type: ignore[arg-type]
    np.testing.assert_allclose(found, ious, rtol=1e-15)
    assert nan_mean(found) == pytest.approx(mean, rel=1e-15)
    assert accuracy(confusion) == 0.5


class Set:
    """As much of a dataset as a protocol asks for."""

    name = "npz"
    label_sets = None


def six_points() -> LabelledShape:
    """Parts 0 0 1 1, then two unlabelled points; "rim" (2) is absent."""
    points = np.random.default_rng(0).random((6, 3)).astype(np.float32)
    labels = np.array([0, 0, 1, 1, -1, -1], np.int32)
    return LabelledShape("six", "Cup", Shape(points, name="six"), labels, ["body", "handle", "rim"], "test")


# Predictions: 0 right, 1 wrong, 2 right, 3 none of them; of the unlabelled points one is taken for part 0,
# one for the extra class or none.
@pytest.mark.parametrize("rule", ["skip", "one", "union"])
@pytest.mark.parametrize(
    ("unlabelled", "classes", "labelled_ious", "right"),
    [
        # body {0} of {0,1} found: 1/2; handle {2} found, 1 false, 3 missed: 1/3. Of 4 points 2 are right.
        ("ignored", ["body", "handle", "rim"], [1 / 2, 1 / 3], 2 / 4),
        # body gets a false point, the other class finds one of two: 1/3, 1/3, 1/2. Of 6 points 3 are right.
        ("other", ["body", "handle", "rim", "other"], [1 / 3, 1 / 3, 1 / 2], 3 / 6),
        ("background", ["body", "handle", "rim", "background"], [1 / 3, 1 / 3, 1 / 2], 3 / 6),
        ("category", ["body", "handle", "rim", "cup"], [1 / 3, 1 / 3, 1 / 2], 3 / 6),
        # The same, but none is not averaged.
        ("zero", ["body", "handle", "rim"], [1 / 3, 1 / 3], 3 / 6),
    ],
)
def test_unlabelled_points_by_hand(
    rule: str, unlabelled: str, classes: list[str], labelled_ious: list[float], right: float
) -> None:
    protocol = resolve("pa3d", "npz", unlabelled=unlabelled, absent=rule)
    case = prepare(six_points(), protocol, Set())  # type: ignore[arg-type]
    assert case.classes == classes
    extra = 3 if len(classes) == 4 else -1
    predicted = np.array([0, 1, 1, -1, 0, extra], np.int32)
    found = shape_metrics(case, Prediction(predicted, np.full(6, 0.5), {}), protocol)
    # "rim" is neither there nor predicted.
    of_rim = {"skip": None, "one": 1.0, "union": None}[rule]
    expected = [*labelled_ious[:2], of_rim, *labelled_ious[2:]]
    assert found["iou"] == pytest.approx(expected)
    assert found["miou"] == pytest.approx(np.mean([iou for iou in expected if iou is not None]))
    assert found["accuracy"] == pytest.approx(right)
    counted = 4 if unlabelled == "ignored" else 6
    assert np.sum(found["confusion"]) == counted
    assert np.sum(found["calibration"], axis=0)[0] == counted


def test_equals_scikit_learn_on_random_labels() -> None:
    sklearn = pytest.importorskip("sklearn.metrics")
    rng = np.random.default_rng(1)
    for classes in (2, 3, 7):
        truth, predicted = rng.integers(classes, size=(2, 500)).astype(np.int32)
        confusion = confusion_matrix(truth, predicted, classes)
        expected = sklearn.jaccard_score(truth, predicted, average=None, labels=range(classes))
        for rule in ("skip", "one", "union"):  # all parts are there, so the rules agree
            np.testing.assert_allclose(part_ious(confusion, rule), expected, rtol=1e-14)
        assert accuracy(confusion) == pytest.approx(sklearn.accuracy_score(truth, predicted), rel=1e-14)
        absent = sklearn.jaccard_score(truth, predicted, average=None, labels=range(classes + 1), zero_division=1)
        wider = part_ious(confusion_matrix(truth, predicted, classes + 1), "one")
        np.testing.assert_allclose(wider, absent, rtol=1e-14)


def test_labels_out_of_range_are_refused() -> None:
    with pytest.raises(InputError, match=r"true labels are 0\.\.1; expected -1\.\.0"):
        confusion_matrix(TRUTH, PREDICTED, 1)
    with pytest.raises(InputError, match="expected one length"):
        confusion_matrix(TRUTH, PREDICTED[:5], 4)
    with pytest.raises(InputError, match="rule 'all' is unknown"):
        part_ious(confusion_matrix(TRUTH, PREDICTED, 4), "all")  # type: ignore[arg-type]


def test_boundary_iou_by_hand() -> None:
    """Six points in a row, with the three nearest of each, itself among them, as neighbours."""
    points = np.zeros((6, 3), np.float32)
    points[:, 0] = [0, 1.0, 2.1, 3.3, 4.6, 6.0]
    near = neighborhoods(points, 3)
    assert [sorted(row) for row in near.tolist()] == [
        [0, 1, 2],
        [0, 1, 2],
        [1, 2, 3],
        [2, 3, 4],
        [3, 4, 5],
        [3, 4, 5],
    ]
    truth = np.array([0, 0, 0, 1, 1, 1])
    # True boundaries {2} and {3}. Predicted 0 0 1 1 1 1: {0, 1} and {2}, as 0 has 2 among its three nearest.
    ious = boundary_ious(truth, np.array([0, 0, 1, 1, 1, 1]), near, 3)
    np.testing.assert_array_equal(ious, [0, 0, NAN])
    np.testing.assert_array_equal(boundary_ious(truth, truth, near, 3), [1, 1, NAN])
    # Predicted 0 0 0 2 1 1: the boundary of part 0 stays {2}; of part 1 it is {4, 5}.
    np.testing.assert_array_equal(boundary_ious(truth, np.array([0, 0, 0, 2, 1, 1]), near, 3), [1, 0, NAN])


def test_calibration_by_hand() -> None:
    """Two bins: three points of confidence 0.4 with one right, three of 0.9 with two right."""
    confidence = np.array([0.4, 0.4, 0.4, 0.9, 0.9, 0.9])
    bins = calibration_bins(confidence, np.array([True, False, False, True, True, False]), bins=2)
    np.testing.assert_allclose(bins, [[3, 1.2, 1], [3, 2.7, 2]])
    assert expected_calibration_error(bins) == pytest.approx(0.5 * (0.4 - 1 / 3) + 0.5 * (0.9 - 2 / 3))
    edge = calibration_bins(np.array([0.0, 0.5, 1.0]), np.ones(3, bool), bins=2)
    assert edge[:, 0].tolist() == [2, 1]
    assert expected_calibration_error(np.zeros((2, 3))) is None


def test_means_over_shapes_and_categories() -> None:
    values, groups = [0.2, 0.4, 0.9], ["Cap", "Cap", "Bag"]
    assert mean_over_groups(values) == pytest.approx(0.5)
    assert mean_over_groups(values, groups) == pytest.approx((0.3 + 0.9) / 2)
    assert mean_over_groups([]) is None


def test_bootstrap_is_seeded_and_covers_what_it_should() -> None:
    rng = np.random.default_rng(3)
    values = rng.normal(0.5, 0.1, 400)
    low, high = bootstrap_interval(values, seed=5)  # type: ignore[misc]
    assert (low, high) == bootstrap_interval(values, seed=5)
    assert (low, high) != bootstrap_interval(values, seed=6)
    # The normal interval is 1.96 standard errors to each side; 2,000 draws know its ends to a few percent.
    error = values.std() / 20
    assert low == pytest.approx(values.mean() - 1.96 * error, abs=0.2 * error)
    assert high == pytest.approx(values.mean() + 1.96 * error, abs=0.2 * error)
    # Differences between groups are no uncertainty of the mean over them.
    groups = ["a"] * 200 + ["b"] * 200
    shifted = values + np.repeat([0, 10], 200)
    low, high = bootstrap_interval(shifted, groups)  # type: ignore[misc]
    assert high - low < 5 * error
    assert bootstrap_interval([]) is None
    assert bootstrap_interval([0.3]) is None
    assert bootstrap_interval([0.3, 0.4, 0.5], ["a", "a", "b"]) is None


def test_presets_are_valid_and_resolve_by_dataset() -> None:
    assert resolve("patchalign3d", "faust").absent == "one"
    assert resolve("patchalign3d", "shapenetpart").absent == "skip"
    assert resolve("cops", "shapenetpart").absent == "one"
    assert resolve("find3d", "objaverse").absent == "union"
    assert resolve("patchalign3d", "faust", absent="union").absent == "union"
    assert all(protocol.description for protocol in PROTOCOLS.values())
    with pytest.raises(InputError, match="protocol 'iou' is unknown"):
        resolve("iou", "faust")
    with pytest.raises(InputError, match="absent is 'never'; expected one of skip, one, union"):
        resolve("pa3d", "faust", absent="never")
