"""parts.html: one file that needs no network. It shows the shape, its parts, and scores as a heat map.

The page is viewer/page.html with viewer/style.css and viewer/viewer.js, which draws with WebGL and needs no library.
The geometry is compressed, as base64 of its bytes. Coordinates are rounded to 1/65535 of each side of the bounding box,
less than a pixel at any zoom that shows the whole shape, and scores to 1/255.
"""

from __future__ import annotations

import base64
import html
import json
import re
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pa3d.report.files import to_y_up
from pa3d.report.table import not_found, part_rows, size_text
from pa3d.shape import compacted

if TYPE_CHECKING:
    from pa3d.segment import Segmentation

# With more than these the page grows by megabytes.
MAX_FACES = 150_000
MAX_POINTS = 120_000
MAX_GROUPS = 65_000  # instances of parts; more would be noise

VIEWER = Path(__file__).with_name("viewer")


def parts_html(
    result: Segmentation,
    instances: NDArray[Any] | None = None,  # (F,) or (N,)
) -> str:
    """The page of a result.

    instances: the number of the instance of its part that each face of a mesh, or point of a cloud, belongs to. None
        takes those of the result.
    """
    shape = result.shape
    if instances is None:
        instances = result.element_instances
    points, labels, scores, faces = to_y_up(shape.points, shape.up), result.labels, result.scores, shape.faces
    note = ""
    if faces is not None and result.face_labels is not None:
        labels = result.face_labels
        kept, faces = compacted(points, faces)  # or vertices that no face uses would make the picture smaller
        points = points[kept]
        if len(faces) > MAX_FACES:
            total = len(faces)
            points, faces, chosen, merged = simplify(points, faces, MAX_FACES)
            labels, kept = labels[chosen], kept[merged]
            instances = instances[chosen]
            note = f"Simplified for this page to {len(faces):,} of {total:,} faces."
        scores = scores[kept]
    elif len(points) > MAX_POINTS:
        kept = np.sort(np.random.default_rng(0).choice(len(points), MAX_POINTS, replace=False))
        note = f"Subsampled for this page to {len(kept):,} of {len(points):,} points."
        points, labels, scores = points[kept], labels[kept], scores[kept]
        instances = instances[kept]
    rows = part_rows(result)
    low, extent = points.min(axis=0).astype(np.float64), np.ptp(points.astype(np.float64), axis=0)
    unit = (points - low) / np.where(extent > 0, extent, 1)
    # What belongs to none of the parts has the last row.
    arrays: dict[str, NDArray[Any]] = {
        "points": np.rint(unit * 65535).astype("<u2"),
        "labels": np.where(labels < 0, len(rows) - 1, labels).astype("<u2"),
        "scores": np.rint(scores.T * 255).astype("u1"),
    }
    if faces is not None:
        arrays["faces"] = faces.astype("<u4" if len(points) > 65535 else "<u2")
    if instances.max(initial=0) < MAX_GROUPS // len(rows):
        arrays["instances"] = np.maximum(instances, 0).astype("<u2")
    data = {
        "shareOf": "of the surface" if shape.is_mesh else "of the points",
        "size": (extent / extent.max()).round(6).tolist(),
        "parts": [
            {
                "name": row.name,
                "color": row.color,
                "label": row.label,
                "count": row.count,
                "share": row.share,
                "confidence": row.mean_confidence,
                "presence": row.presence,
                "found": row.found,
            }
            for row in rows
        ],
        "arrays": [[name, array.dtype.str.strip("<|"), array.size] for name, array in arrays.items()],
        "blob": base64.b64encode(zlib.compress(b"".join(array.tobytes() for array in arrays.values()), 6)).decode(),
    }
    absent = not_found(rows)
    facts = "  ·  ".join(
        [
            size_text(shape),
            *([f"model {result.model}"] if result.model else []),
            *([f"not found: {', '.join(absent)}"] if absent else []),
            *([note] if note else []),
        ]
    )
    fields = {
        "TITLE": html.escape(shape.name),
        "FACTS": html.escape(facts),
        # "<" is escaped, so that no name can end the script element.
        "DATA": json.dumps(data, separators=(",", ":")).replace("<", "\\u003c"),
        "STYLE": _viewer("style.css"),
        "SCRIPT": _viewer("viewer.js"),
    }
    return re.sub("@([A-Z]+)@", lambda match: fields[match[1]], _viewer("page.html"))


def _viewer(name: str) -> str:
    return (VIEWER / name).read_text(encoding="utf-8")


def simplify(
    points: NDArray[Any],  # (N, 3)
    faces: NDArray[np.int32],  # (F, 3)
    max_faces: int,
) -> tuple[NDArray[np.float32], NDArray[np.int32], NDArray[np.int64], NDArray[np.int64]]:
    """Merge vertices in the same cell of a grid and remove faces without area, until at most `max_faces` are left.

    Returns points and faces, and the input face of each face and an input vertex in the cell of each point.
    """
    low, extent = points.min(axis=0), float(np.ptp(points, axis=0).max())
    cells = 1024.0
    while True:
        x, y, z = np.floor((points - low) / extent * cells).astype(np.int64).T
        _, kept, cell = np.unique((x << 42) + (y << 21) + z, return_index=True, return_inverse=True)
        corners = cell[faces]
        a, b, c = corners.T
        nondegenerate = np.flatnonzero((a != b) & (b != c) & (c != a))
        if len(nondegenerate) <= max_faces:
            break
        cells *= max(0.5, min(0.95, (max_faces / len(nondegenerate)) ** 0.5))
    count = np.bincount(cell)
    means = np.stack([np.bincount(cell, points[:, i]) / count for i in range(3)], axis=1)
    return means.astype(np.float32), corners[nondegenerate].astype(np.int32), nondegenerate, kept
