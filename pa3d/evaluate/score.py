"""Score a method on one shape: the record of results.json, and seconds per stage."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pa3d.errors import InputError
from pa3d.evaluate import metrics
from pa3d.evaluate.datasets import Dataset
from pa3d.evaluate.methods import Method
from pa3d.evaluate.protocols import PreparedShape, Protocol, prepare
from pa3d.profiling import Stopwatch
from pa3d.rotations import quaternion_rotation, rotate
from pa3d.shape import Shape

BOUNDARY_POINTS = 2048  # drawn from larger shapes, so that a boundary is about equally wide on every shape
# The stages in a Segmentation's timings that are not part of another stage.
METHOD_STAGES = ("model", "text", "points", "encode", "label")


@dataclass
class EvalTask:
    """All that a worker needs.

    baselines: methods that are scored in addition, by the key of their result. rotations (R, 3, 3): every shape
    is also scored under each of them.
    """

    dataset: Dataset
    method: Method
    protocol: Protocol
    baselines: dict[str, Method]
    rotations: list[list[list[float]]] = field(default_factory=list)


@dataclass
class Prediction:
    """predicted (P,): the class of every scored point, -1 for none; confidence (P,): its probability; timings: seconds
    per stage of the method."""

    predicted: NDArray[np.int32]
    confidence: NDArray[np.float64]
    timings: Mapping[str, float]


def score_shape(task: EvalTask, index: int) -> tuple[dict[str, Any], dict[str, float]]:
    """The record of a shape, ready for JSON and the same on every run, and seconds per stage.

    Raises InputError when the shape cannot be read, segmented or scored.
    """
    clock = Stopwatch()
    protocol = task.protocol
    with clock("read"):
        shape = task.dataset.load(index)
    with clock("prepare"):
        prepared = prepare(shape, protocol, task.dataset)
    with clock("method"):
        result = predict(task.method, prepared)
    with clock("score"):
        record: dict[str, Any] = {
            "id": shape.id,
            "category": shape.category,
            "parts": prepared.classes,
            "points": len(prepared.truth),
            "unlabelled": int((prepared.truth < 0).sum()),
            **shape_metrics(prepared, result, protocol),
        }
    with clock("baselines"):
        record["baselines"] = {
            name: mean_iou(prepared, predict(method, prepared), protocol) for name, method in task.baselines.items()
        }
    if task.rotations:
        with clock("rotations"):
            record["rotated"] = [
                mean_iou(prepared, predict(task.method, prepared, np.array(r)), protocol) for r in task.rotations
            ]
    method_seconds = {stage: seconds for stage, seconds in result.timings.items() if stage in METHOD_STAGES}
    return record, {**clock.seconds, **{f"method.{stage}": seconds for stage, seconds in method_seconds.items()}}


def predict(method: Any, prepared: PreparedShape, rotation: NDArray[np.float64] | None = None) -> Prediction:
    """Run a method on a prepared shape, rotated by a matrix (3, 3) if there is one.

    Raises InputError when the method does not return labels and scores that fit the shape.
    """
    cloud, truth = prepared.cloud, prepared.given_truth
    by_mesh = getattr(method, "takes_mesh", False) and prepared.mesh is not None
    if by_mesh:
        assert prepared.mesh is not None and prepared.mesh_truth is not None
        cloud, truth = prepared.mesh, prepared.mesh_truth
    if rotation is not None:
        cloud = replace(cloud, points=rotate(cloud.points, rotation))
    known = {"truth": truth} if getattr(method, "needs_ground_truth", False) else {}
    result = method.segment(cloud, prepared.offered, category=prepared.category, **known)
    kind = "faces" if by_mesh and prepared.on_faces else "points"
    labels, scores = _checked(result, cloud, len(prepared.offered), kind)
    if by_mesh:
        labels, scores = labels[prepared.element], scores[prepared.element]
    label_score = scores[np.arange(len(labels)), np.maximum(labels, 0)].astype(np.float64)
    confidence = np.where(labels >= 0, label_score, 1 - scores.sum(axis=1, dtype=np.float64))
    predicted = np.append(prepared.class_of, -1)[labels].astype(np.int32)
    if prepared.nearest is not None:
        predicted, confidence = predicted[prepared.nearest], confidence[prepared.nearest]
    return Prediction(predicted, np.clip(confidence, 0, 1), getattr(result, "timings", {}))


def _checked(result: Any, cloud: Shape, k: int, kind: str) -> tuple[NDArray[np.integer], NDArray[np.floating]]:
    """The labels (N,) and scores (N, K) of points, or those of faces, that a method returned. Raises InputError when
    they cannot be scored."""
    names = ("face_labels", "face_scores") if kind == "faces" else ("labels", "scores")
    if any(getattr(result, name, None) is None for name in names):
        raise InputError(
            f"{cloud.name}: the method returned {type(result).__name__}; expected an object with {names[0]} and "
            f"{names[1]}, such as a pa3d.Segmentation"
        )
    n = len(cloud.faces) if kind == "faces" and cloud.faces is not None else len(cloud.points)
    labels, scores = (np.asarray(getattr(result, name)) for name in names)
    if labels.shape != (n,) or scores.shape != (n, k) or labels.min() < -1 or labels.max() >= k:
        raise InputError(
            f"{cloud.name}: the method gave labels {labels.shape} and scores {scores.shape} for {n} "
            f"{kind} and {k} parts; expected one label in -1..parts-1 and a row of scores for every {kind[:-1]}"
        )
    if labels.dtype.kind not in "iu" or scores.dtype.kind != "f" or not np.isfinite(scores).all():
        raise InputError(
            f"{cloud.name}: the method gave labels of {labels.dtype} and scores of {scores.dtype}; "
            "expected integer labels and finite floating-point scores"
        )
    return labels, scores


def shape_metrics(prepared: PreparedShape, result: Prediction, protocol: Protocol) -> dict[str, Any]:
    """Mean IoU, IoU of each part, boundary IoU, accuracy, confusion and calibration of one shape."""
    scored = scored_points(prepared, protocol)
    confusion = count_confusion(prepared, result, protocol)
    ious = metrics.part_ious(confusion, protocol.absent)
    bins = metrics.calibration_bins(result.confidence[scored], (result.predicted == prepared.truth)[scored])
    return {
        "miou": metrics.nan_mean(ious),
        "iou": [None if np.isnan(iou) else float(iou) for iou in ious],
        "boundary": boundary_iou(prepared, result, scored, protocol.seed),
        "accuracy": metrics.accuracy(confusion),
        "confusion": confusion.tolist(),
        "calibration": bins.tolist(),
    }


def scored_points(prepared: PreparedShape, protocol: Protocol) -> NDArray[np.bool_]:  # (P,)
    """Which points count: the labelled ones, or all when unlabelled points stand for none of the parts."""
    return np.ones(len(prepared.truth), bool) if protocol.unlabelled == "zero" else prepared.truth >= 0


def count_confusion(
    prepared: PreparedShape, result: Prediction, protocol: Protocol
) -> NDArray[np.int64]:  # (C + 1, C + 1)
    scored = scored_points(prepared, protocol)
    return metrics.confusion_matrix(prepared.truth[scored], result.predicted[scored], len(prepared.classes))


def mean_iou(prepared: PreparedShape, result: Prediction, protocol: Protocol) -> float | None:
    return metrics.nan_mean(metrics.part_ious(count_confusion(prepared, result, protocol), protocol.absent))


def boundary_iou(prepared: PreparedShape, result: Prediction, scored: NDArray[np.bool_], seed: int) -> float | None:
    """Mean boundary IoU over the parts with a boundary, on at most BOUNDARY_POINTS of the scored points."""
    index = np.flatnonzero(scored)
    if len(index) > BOUNDARY_POINTS:
        index = np.sort(np.random.default_rng(seed).choice(index, BOUNDARY_POINTS, replace=False))
    neighbor_idx = metrics.neighborhoods(np.ascontiguousarray(prepared.points[index]))
    ious = metrics.boundary_ious(prepared.truth[index], result.predicted[index], neighbor_idx, len(prepared.classes))
    return metrics.nan_mean(ious)


def rotation_matrices(count: int, kind: str, up: str, seed: int) -> list[list[list[float]]]:
    """`count` random rotations (3, 3) from a seed, the same for every shape: "yaw" is about the up axis, "any" is
    uniform over all rotations (Shoemake, Graphics Gems III, 1992)."""
    if kind not in ("yaw", "any"):
        raise InputError(f"rotations {kind!r} are unknown; expected yaw or any")
    rng = np.random.default_rng([seed, 7])
    out: list[list[list[float]]] = []
    for _ in range(count):
        if kind == "yaw":
            q = np.zeros(4)
            half = np.pi * rng.random()
            q[0], q["xyz".index(up.removeprefix("-")) + 1] = np.cos(half), np.sin(half)
        else:
            u, a, b = rng.random(3) * [1, 2 * np.pi, 2 * np.pi]
            r, s = np.sqrt(1 - u), np.sqrt(u)
            q = np.array([r * np.sin(a), r * np.cos(a), s * np.sin(b), s * np.cos(b)])
        out.append(quaternion_rotation(q).tolist())
    return out
