"""One shape through one method: its record, and the seconds that took."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pa3d.errors import InputError
from pa3d.evaluate import metrics
from pa3d.evaluate.datasets import Dataset
from pa3d.evaluate.methods import Majority, Method, PatchOracle, SegmenterMethod, Uniform
from pa3d.evaluate.protocols import Case, Protocol, prepare
from pa3d.rotations import quaternion_rotation
from pa3d.segment import Stopwatch
from pa3d.shape import Shape

BOUNDARY_POINTS = 2048  # drawn from larger shapes, so that a boundary is about as wide on every shape
# Stages of a Segmentation's timings that are not part of another.
METHOD_STAGES = ("model", "text", "points", "encode", "spread")


@dataclass
class Job:
    """All that a worker needs. rotations: (R, 3, 3), each applied to every shape for a figure of its own."""

    dataset: Dataset
    method: Method
    protocol: Protocol
    rotations: list[list[list[float]]] = field(default_factory=list)


@dataclass
class Prediction:
    """predicted (P,) class of every scored point, -1 none; confidence (P,) of that; timings of the method."""

    predicted: NDArray[np.int32]
    confidence: NDArray[np.float64]
    timings: Mapping[str, float]


def baselines(method: Method, protocol: Protocol) -> dict[str, Method]:
    """What stands beside every figure: the ceiling of the method's patches, each shape's majority, chance."""
    oracle = PatchOracle(seed=protocol.seed)
    if isinstance(method, SegmenterMethod):
        oracle = PatchOracle(method.config, method.sample, method.seed)
    return {"oracle": oracle, "majority": Majority(), "random": Uniform(protocol.seed)}


def score_shape(job: Job, index: int) -> tuple[dict[str, Any], dict[str, float]]:
    """The record of a shape, ready for JSON and the same on every run, and seconds a stage.

    Raises InputError when the shape cannot be read, segmented or scored.
    """
    clock = Stopwatch()
    protocol = job.protocol
    with clock("read"):
        shape = job.dataset.load(index)
    with clock("prepare"):
        case = prepare(shape, protocol, job.dataset)
    with clock("method"):
        result = predict(job.method, case, protocol)
    with clock("score"):
        record: dict[str, Any] = {
            "id": shape.id,
            "category": shape.category,
            "parts": case.classes,
            "points": len(case.truth),
            "unlabelled": int((case.truth < 0).sum()),
            **figures(case, result, protocol),
        }
    with clock("baselines"):
        record["baselines"] = {
            name: mean_iou(case, predict(method, case, protocol), protocol)
            for name, method in baselines(job.method, protocol).items()
        }
    if job.rotations:
        with clock("rotations"):
            record["rotated"] = [
                mean_iou(case, predict(job.method, case, protocol, np.array(r)), protocol) for r in job.rotations
            ]
    spent = {stage: seconds for stage, seconds in result.timings.items() if stage in METHOD_STAGES}
    return record, {**clock.seconds, **{f"method.{stage}": seconds for stage, seconds in spent.items()}}


def predict(method: Method, case: Case, protocol: Protocol, rotation: NDArray[np.float64] | None = None) -> Prediction:
    """Run a method on a case, turned by a rotation (3, 3) if there is one. Raises InputError when what it
    returns does not fit the case."""
    cloud = case.cloud
    if rotation is not None:
        turned = (cloud.points.astype(np.float64) @ rotation.T).astype(np.float32)
        cloud = Shape(np.ascontiguousarray(turned), up=cloud.up, name=cloud.name)
    extra: dict[str, Any] = {}
    if getattr(method, "needs_truth", False):
        extra["truth"] = case.given_truth
    if protocol.unlabelled == "zero" and getattr(method, "zero", False):
        extra["zero"] = True
    result = method.segment(cloud, case.offered, category=case.category, **extra)
    n, k = len(cloud.points), len(case.offered)
    labels, scores = np.asarray(result.labels), np.asarray(result.scores)
    if labels.shape != (n,) or scores.shape != (n, k) or labels.min() < -1 or labels.max() >= k:
        raise InputError(
            f"{cloud.name}: the method gave labels {labels.shape} and scores {scores.shape} for {n} "
            f"points and {k} parts; expected one label in -1..parts-1 and a row of scores for every point"
        )
    of_label = scores[np.arange(n), np.maximum(labels, 0)].astype(np.float64)
    confidence = np.where(labels >= 0, of_label, 1 - scores.sum(axis=1, dtype=np.float64))
    predicted = np.append(case.class_of, -1)[labels].astype(np.int32)
    if case.nearest is not None:
        predicted, confidence = predicted[case.nearest], confidence[case.nearest]
    return Prediction(predicted, np.clip(confidence, 0, 1), result.timings)


def figures(case: Case, result: Prediction, protocol: Protocol) -> dict[str, Any]:
    """IoU of each part, boundary IoU, accuracy, confusion and calibration of one shape."""
    counts = counted(case, protocol)
    confusion = confusion_of(case, result, protocol)
    ious = metrics.part_ious(confusion, protocol.absent)
    bins = metrics.calibration_bins(result.confidence[counts], (result.predicted == case.truth)[counts])
    return {
        "miou": metrics.mean_counted(ious),
        "iou": [None if np.isnan(iou) else float(iou) for iou in ious],
        "boundary": boundary_iou(case, result, counts, protocol.seed),
        "accuracy": metrics.accuracy(confusion),
        "confusion": confusion.tolist(),
        "calibration": bins.tolist(),
    }


def counted(case: Case, protocol: Protocol) -> NDArray[np.bool_]:  # (P,)
    """The points that count: the labelled ones, or all where unlabelled ones stand for none of the parts."""
    return np.ones(len(case.truth), bool) if protocol.unlabelled == "zero" else case.truth >= 0


def confusion_of(case: Case, result: Prediction, protocol: Protocol) -> NDArray[np.int64]:
    counts = counted(case, protocol)
    return metrics.confusion_matrix(case.truth[counts], result.predicted[counts], len(case.classes))


def mean_iou(case: Case, result: Prediction, protocol: Protocol) -> float | None:
    return metrics.mean_counted(metrics.part_ious(confusion_of(case, result, protocol), protocol.absent))


def boundary_iou(case: Case, result: Prediction, counts: NDArray[np.bool_], seed: int) -> float | None:
    """Mean boundary IoU over parts with a boundary, on at most BOUNDARY_POINTS of the points that count."""
    index = np.flatnonzero(counts)
    if len(index) > BOUNDARY_POINTS:
        index = np.sort(np.random.default_rng(seed).choice(index, BOUNDARY_POINTS, replace=False))
    near = metrics.neighborhoods(np.ascontiguousarray(case.points[index]))
    ious = metrics.boundary_ious(case.truth[index], result.predicted[index], near, len(case.classes))
    return metrics.mean_counted(ious)


def rotation_matrices(count: int, kind: str, up: str, seed: int) -> list[list[list[float]]]:
    """`count` seeded rotations, the same for every shape: "yaw" turns about the up axis, "any" is uniform
    over all (Shoemake, Graphics Gems III, 1992)."""
    if kind not in ("yaw", "any"):
        raise InputError(f"rotations {kind!r} are unknown; expected yaw or any")
    rng = np.random.default_rng([seed, 7])
    out: list[list[list[float]]] = []
    for _ in range(count):
        if kind == "yaw":
            q = np.zeros(4)
            half = np.pi * rng.random()
            q[0], q["xyz".index(up) + 1] = np.cos(half), np.sin(half)
        else:
            u, a, b = rng.random(3) * [1, 2 * np.pi, 2 * np.pi]
            r, s = np.sqrt(1 - u), np.sqrt(u)
            q = np.array([r * np.sin(a), r * np.cos(a), s * np.sin(b), s * np.cos(b)])
        out.append(quaternion_rotation(q).tolist())
    return out
