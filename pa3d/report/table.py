"""A result in numbers: one row per part, and the summary that becomes summary.json."""

from __future__ import annotations

import platform
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pa3d.colors import UNLABELED_COLOR, part_colors
from pa3d.report.files import confidence

if TYPE_CHECKING:
    from pa3d.segment import Segmentation
    from pa3d.shape import Shape


@dataclass(frozen=True)
class PartRow:
    """One part of a result, or what belongs to none of the parts (label -1).

    share: of the surface of a mesh or of the points of a cloud, 0..1; mean_confidence: weighted in the same way, None
    for an absent part; count: number of faces of a mesh or points of a cloud; presence: 0..1, how sure it is that the
    shape has the part at all, and found: whether that is enough and some of the shape belongs to it, both None if the
    checkpoint is not calibrated.
    """

    name: str
    label: int
    color: str
    share: float
    mean_confidence: float | None
    count: int
    presence: float | None = None
    found: bool | None = None


def part_rows(result: Segmentation) -> list[PartRow]:
    """One row per part, in the order of part_names, and a last one for none of the parts (label -1)."""
    labels, scores, weights = result.labels, result.scores, np.ones(len(result.labels))
    if result.face_labels is not None and result.face_scores is not None:
        labels, scores, weights = result.face_labels, result.face_scores, result.shape.face_areas()
    n_parts = len(result.part_names)
    weight = np.bincount(labels + 1, weights, n_parts + 1)
    confidence_sum = np.bincount(labels + 1, weights * confidence(scores, labels), n_parts + 1)
    count = np.bincount(labels + 1, minlength=n_parts + 1)
    presence, found = result.presence, result.found
    names, colors = [*result.part_names, "none of these"], [*part_colors(n_parts), UNLABELED_COLOR]
    return [
        PartRow(
            name=name,
            label=label,
            color=color,
            share=round(float(weight[label + 1] / weight.sum()), 6),
            mean_confidence=round(float(confidence_sum[label + 1] / weight[label + 1]), 6)
            if weight[label + 1] > 0
            else None,
            count=int(count[label + 1]),
            presence=round(float(presence[label]), 6) if presence is not None and label >= 0 else None,
            found=bool(found[label] and count[label + 1]) if found is not None and label >= 0 else None,
        )
        for name, color, label in zip(names, colors, [*range(n_parts), -1], strict=True)
    ]


def instance_rows(result: Segmentation) -> list[dict[str, Any]]:
    """The instances of all parts, ready for JSON: part, number from 0, share, area of a mesh, mean score, centroid, and
    the oriented box with its center, axes (one per row) and extents, in the units and axes of the shape."""
    rows = []
    for instance in result.instances:
        box = instance.obb
        rows.append(
            {
                "part": instance.part,
                "number": instance.number,
                "share": round(instance.share, 6),
                **({} if instance.area is None else {"area": float(f"{instance.area:.6g}")}),
                "mean_confidence": round(instance.score, 6) if np.isfinite(instance.score) else None,
                "centroid": _rounded(instance.centroid),
                "box": {
                    "center": _rounded(box.center),
                    "axes": [_rounded(axis) for axis in box.axes],
                    "extents": _rounded(box.extents),
                },
            }
        )
    return rows


def _rounded(values: NDArray[np.float64]) -> list[float]:
    return [float(f"{value:.6g}") for value in values]


def not_found(rows: list[PartRow]) -> list[str]:
    """The names of the parts that the shape does not seem to have; none without a calibrated checkpoint."""
    return [row.name for row in rows if row.found is False]


def share_text(row: PartRow) -> str:
    """The share of a part in percent, or "not found" if none of the shape belongs to a part that it may lack.

    Without a calibrated checkpoint nothing is known of that, and the share is zero.
    """
    return "not found" if row.found is False and not row.count else f"{100 * row.share:.1f} %"


def presence_text(row: PartRow) -> str:
    """The presence of a part, and that it is too low, if some of the shape belongs to it nevertheless."""
    if row.presence is None:
        return ""
    return f"{row.presence:.2f}" + (", not found" if row.found is False and row.count else "")


def without_missing(result: Segmentation) -> Segmentation:
    """The result for the points that have coordinates."""
    missing = result.shape.missing()
    if missing is None:
        return result
    kept, colors = ~missing, result.shape.colors
    shape = replace(result.shape, points=result.shape.points[kept], colors=None if colors is None else colors[kept])
    return replace(result, shape=shape, labels=result.labels[kept], scores=result.scores[kept])


def size_text(shape: Shape) -> str:
    """The size of a shape in words: "1,234 points", or vertices and faces."""
    if shape.faces is None:
        return f"{len(shape.points):,} points"
    return f"{len(shape.points):,} vertices, {len(shape.faces):,} faces"


def summary(result: Segmentation) -> dict[str, Any]:
    """Parts, shape, model, settings, seconds per stage and versions, ready for JSON."""
    from pa3d import __version__

    shape, missing = result.shape, result.shape.missing()
    measured = without_missing(result)
    facts: dict[str, Any] = {
        "name": shape.name,
        "source": shape.source,
        "kind": "mesh" if shape.is_mesh else "cloud",
    }
    facts["vertices" if shape.is_mesh else "points"] = len(shape.points)
    if shape.faces is not None:
        facts["faces"] = len(shape.faces)
        facts["area"] = float(f"{shape.face_areas().sum():.6g}")
    facts["extent"] = [float(f"{e:.6g}") for e in np.ptp(measured.shape.points, axis=0)]
    if missing is not None:
        facts["missing"] = int(missing.sum())
    facts["up"], facts["origin"] = shape.up, shape.origin.tolist()
    *parts, unlabeled = (asdict(row) for row in part_rows(measured))
    return {
        "model": result.model,
        "settings": result.settings,
        "shape": facts,
        "share_of": "surface" if shape.is_mesh else "points",
        "count_of": "faces" if shape.is_mesh else "points",
        "parts": parts,
        "instances": instance_rows(measured),
        "not_found": [part["name"] for part in parts if part["found"] is False],
        "none": {key: unlabeled[key] for key in ("share", "count")},
        "seconds": {stage: round(seconds, 4) for stage, seconds in result.timings.items()},
        "versions": {
            **{"pa3d": __version__, "python": platform.python_version(), "numpy": np.__version__},
            "machine": f"{platform.system()} {platform.machine()}",
        },
    }
