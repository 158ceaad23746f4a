"""The results of a dataset, from the records of its shapes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from pa3d.evaluate import metrics
from pa3d.evaluate.metrics import bootstrap_interval, mean_over_groups, nan_mean
from pa3d.evaluate.protocols import Protocol

Record = dict[str, Any]
BASELINES = ("oracle", "majority", "random")


def summarize(records: Sequence[Record], protocol: Protocol) -> dict[str, Any]:
    """The results of a dataset, each mean with its 95 % interval.

    miou: mean over shapes. ciou: mean over the categories of their mIoU. part_miou: each part over its shapes, then
        over the parts of a category, then over categories. headline: the one of these that the protocol reports.
    by_rule: mIoU and cIoU of the same predictions under each rule for absent parts.
    baselines: mIoU and cIoU of the ceiling, under the key "oracle", and of the two trivial methods.
    """
    scored = [record for record in records if record["miou"] is not None]
    shape_categories = [record["category"] for record in scored]
    mious = [record["miou"] for record in scored]
    summary: dict[str, Any] = {
        "shapes": len(scored),
        "miou": _with_interval(mious, None, protocol.seed),
        "ciou": _with_interval(mious, shape_categories, protocol.seed),
        "part_miou": {"value": part_miou(scored)},
    }
    headline = {"shapes": "miou", "categories": "ciou", "parts": "part_miou"}[protocol.averaging]
    summary["headline"] = {"name": headline, **summary[headline]}
    for name, key in (("accuracy", "accuracy"), ("boundary_iou", "boundary")):
        values = [record[key] for record in scored if record[key] is not None]
        summary[name] = _with_interval(values, None, protocol.seed)
    bins = np.sum([record["calibration"] for record in scored], axis=0) if scored else np.zeros((1, 3))
    summary["calibration_error"] = metrics.expected_calibration_error(bins)
    summary["calibration"] = bins.tolist()
    summary["by_rule"] = {rule: _by_absent_rule(rule, scored, shape_categories) for rule in metrics.ABSENT}
    summary["baselines"] = {
        name: _miou_and_ciou([record["baselines"][name] for record in scored], shape_categories) for name in BASELINES
    }
    if scored and "rotated" in scored[0]:
        columns = zip(*(record["rotated"] for record in scored), strict=True)
        rotated = [
            value for column in columns if (value := _miou_and_ciou(column, shape_categories)["miou"]) is not None
        ]
        summary["rotations"] = {"mious": rotated, "mean": float(np.mean(rotated)), "worst": min(rotated)}
    return summary


def categories(records: Sequence[Record]) -> dict[str, Any]:
    """By category: number of shapes, mIoU, accuracy, baselines, parts and confusion.

    parts: the IoU of each part and the number of shapes in which it counted.
    confusion: the sum of the confusion matrices. Rows are true parts, columns predicted ones; the last of both is none.
    """
    out: dict[str, Any] = {}
    for name in sorted({record["category"] for record in records}):
        members = [record for record in records if record["category"] == name]
        parts, confusion = _total_confusion(members)
        ious = _part_ious(members)
        out[name] = {
            "shapes": len(members),
            "miou": nan_mean([r["miou"] for r in members if r["miou"] is not None]),
            "accuracy": nan_mean([r["accuracy"] for r in members if r["accuracy"] is not None]),
            "baselines": {b: nan_mean([r["baselines"][b] for r in members]) for b in BASELINES},
            "parts": {p: {"iou": nan_mean(ious.get(p, [])), "shapes": len(ious.get(p, []))} for p in parts},
            "confusion": confusion,
        }
    return out


def part_miou(records: Sequence[Record]) -> float | None:
    """Each part over the shapes where it counts, then over the parts of a category, then over categories."""
    means = []
    for name in sorted({record["category"] for record in records}):
        ious = _part_ious([record for record in records if record["category"] == name])
        means.append(float(np.mean([np.mean(values) for values in ious.values()])))
    return float(np.mean(means)) if means else None


def _part_ious(records: Sequence[Record]) -> dict[str, list[float]]:
    ious: dict[str, list[float]] = {}
    for record in records:
        for part, iou in zip(record["parts"], record["iou"], strict=True):
            if iou is not None:
                ious.setdefault(part, []).append(iou)
    return ious


def _total_confusion(records: Sequence[Record]) -> tuple[list[str], list[list[int]]]:
    """All part names of a category in the order of their first record, and the sum of its confusion matrices."""
    parts = list(dict.fromkeys(part for record in records for part in record["parts"]))
    total = np.zeros((len(parts) + 1, len(parts) + 1), np.int64)
    for record in records:
        index = [*(parts.index(part) for part in record["parts"]), len(parts)]
        total[np.ix_(index, index)] += np.array(record["confusion"], np.int64)
    return parts, total.tolist()


def _by_absent_rule(rule: str, records: Sequence[Record], shape_categories: Sequence[str]) -> dict[str, float | None]:
    means = [
        metrics.nan_mean(metrics.part_ious(np.array(record["confusion"]), rule))  # type: ignore[arg-type]
        for record in records
    ]
    return _miou_and_ciou(means, shape_categories)


def _miou_and_ciou(values: Sequence[float | None], shape_categories: Sequence[str]) -> dict[str, float | None]:
    known = [(value, name) for value, name in zip(values, shape_categories, strict=True) if value is not None]
    numbers, names = [value for value, _ in known], [name for _, name in known]
    return {"miou": mean_over_groups(numbers), "ciou": mean_over_groups(numbers, names)}


def _with_interval(values: Sequence[float], shape_categories: Sequence[str] | None, seed: int) -> dict[str, Any]:
    interval = bootstrap_interval(values, shape_categories, seed=seed)
    return {"value": mean_over_groups(values, shape_categories), "interval": list(interval) if interval else None}
