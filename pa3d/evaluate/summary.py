"""Records of shapes to the figures of a dataset."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from pa3d.evaluate import metrics
from pa3d.evaluate.metrics import bootstrap_interval, grouped_mean, mean_counted
from pa3d.evaluate.protocols import Protocol

Record = dict[str, Any]
BASELINES = ("oracle", "majority", "random")


def summarize(records: Sequence[Record], protocol: Protocol) -> dict[str, Any]:
    """The dataset's figures, each mean with its 95 % interval.

    miou: mean over shapes; ciou: mean over categories of that; part_miou: each part over its shapes, then
    over the parts of a category, then over categories. headline: the one that the protocol reports. by_rule:
    mIoU and cIoU of the same predictions under each absent-part rule. baselines: the ceiling of the patches
    and the two trivial answers.
    """
    scored = [record for record in records if record["miou"] is not None]
    by_category = [record["category"] for record in scored]
    mious = [record["miou"] for record in scored]
    figures: dict[str, Any] = {
        "shapes": len(scored),
        "miou": _with_interval(mious, None, protocol.seed),
        "ciou": _with_interval(mious, by_category, protocol.seed),
        "part_miou": {"value": part_miou(scored)},
    }
    headline = {"shapes": "miou", "categories": "ciou", "parts": "part_miou"}[protocol.averaging]
    figures["headline"] = {"name": headline, **figures[headline]}
    for name, key in (("accuracy", "accuracy"), ("boundary_iou", "boundary")):
        values = [record[key] for record in scored if record[key] is not None]
        figures[name] = _with_interval(values, None, protocol.seed)
    bins = np.sum([record["calibration"] for record in scored], axis=0) if scored else np.zeros((1, 3))
    figures["calibration_error"] = metrics.expected_calibration_error(bins)
    figures["calibration"] = bins.tolist()
    figures["by_rule"] = {rule: _under(rule, scored, by_category) for rule in metrics.ABSENT}
    figures["baselines"] = {
        name: _both([record["baselines"][name] for record in scored], by_category) for name in BASELINES
    }
    if scored and "rotated" in scored[0]:
        columns = zip(*(record["rotated"] for record in scored), strict=True)
        turned = [value for column in columns if (value := _both(column, by_category)["miou"]) is not None]
        figures["rotations"] = {"mious": turned, "mean": float(np.mean(turned)), "worst": min(turned)}
    return figures


def categories(records: Sequence[Record]) -> dict[str, Any]:
    """By category: shapes, mIoU, accuracy, baselines, the IoU of each part with how many shapes it counted
    on, and the summed confusion (rows true, columns predicted, the last of both none)."""
    out: dict[str, Any] = {}
    for name in sorted({record["category"] for record in records}):
        mine = [record for record in records if record["category"] == name]
        parts, confusion = _united(mine)
        ious = _part_ious(mine)
        out[name] = {
            "shapes": len(mine),
            "miou": mean_counted([r["miou"] for r in mine if r["miou"] is not None]),
            "accuracy": mean_counted([r["accuracy"] for r in mine if r["accuracy"] is not None]),
            "baselines": {b: mean_counted([r["baselines"][b] for r in mine]) for b in BASELINES},
            "parts": {p: {"iou": mean_counted(ious.get(p, [])), "shapes": len(ious.get(p, []))} for p in parts},
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


def _united(records: Sequence[Record]) -> tuple[list[str], list[list[int]]]:
    """All part names of a category in the order met, and the sum of its confusions over them."""
    parts = list(dict.fromkeys(part for record in records for part in record["parts"]))
    total = np.zeros((len(parts) + 1, len(parts) + 1), np.int64)
    for record in records:
        where = [*(parts.index(part) for part in record["parts"]), len(parts)]
        total[np.ix_(where, where)] += np.array(record["confusion"], np.int64)
    return parts, total.tolist()


def _under(rule: str, records: Sequence[Record], by_category: Sequence[str]) -> dict[str, float | None]:
    means = [
        metrics.mean_counted(metrics.part_ious(np.array(record["confusion"]), rule))  # type: ignore[arg-type]
        for record in records
    ]
    return _both(means, by_category)


def _both(values: Sequence[float | None], by_category: Sequence[str]) -> dict[str, float | None]:
    kept = [(value, name) for value, name in zip(values, by_category, strict=True) if value is not None]
    numbers, names = [value for value, _ in kept], [name for _, name in kept]
    return {"miou": grouped_mean(numbers), "ciou": grouped_mean(numbers, names)}


def _with_interval(values: Sequence[float], by_category: Sequence[str] | None, seed: int) -> dict[str, Any]:
    interval = bootstrap_interval(values, by_category, seed=seed)
    return {"value": grouped_mean(values, by_category), "interval": list(interval) if interval else None}
