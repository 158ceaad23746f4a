"""Which shapes are worth keeping: two parts with names, over most of the surface."""

from __future__ import annotations

import hashlib

import numpy as np

from pa3d.data.harvest.pieces import NamedMesh
from pa3d.data.harvest.report import HarvestReport
from pa3d.data.names import BODY_PARTS, clean_words, is_body, part_names
from pa3d.data.parts import PartMesh
from pa3d.data.sources import corrections
from pa3d.shape import triangle_areas

MIN_NAMES = 2
MIN_SURFACE = 0.6
MAX_ONE_PART = 0.96
_MIN_SHARE = 0.003
_MAX_FACES = 400_000


def to_part_mesh(
    shape: NamedMesh, report: HarvestReport | None = None, source: str = "", min_surface: float = MIN_SURFACE
) -> tuple[PartMesh | None, str]:
    """The record of a named mesh, or None and the reason why there is none."""
    wrong = corrections(source, shape.id) or {}
    parts: dict[tuple[str, ...], int] = {}
    index = np.full(len(shape.names), -1, np.int32)
    found = [next((n for raw in raws if (n := part_names(raw, shape.category, source))), ()) for raws in shape.names]
    found = [part_names(wrong[names[0]], corpus=source) if names and names[0] in wrong else names for names in found]
    alive = is_body({names[0] for names in found if names})
    for piece, (raws, names) in enumerate(zip(shape.names, found, strict=True)):
        if names and not alive and (names[0] in BODY_PARTS or "clothes" in names):
            names = names[:1]
        if names:
            index[piece] = parts.setdefault(names, len(parts))
        elif report is not None and raws:
            report.unnamed[" ".join(clean_words(raws[0], source))] += 1
    record = PartMesh(
        shape.vertices.astype(np.float32), shape.faces.astype(np.int32), index[shape.piece].astype(np.int32),
        list(parts), category=shape.category, id=shape.id,
    )  # fmt: skip
    return judge(record, min_surface)


def judge(record: PartMesh, min_surface: float) -> tuple[PartMesh | None, str]:
    """Keep what has two names over that much of its surface; a name that all parts share does not count."""
    if not len(record.faces):
        return None, "no triangles"
    if len(record.faces) > _MAX_FACES:
        return None, f"more than {_MAX_FACES} faces"
    if not np.isfinite(record.vertices).all():
        return None, "vertices that are not finite"
    area = triangle_areas(record.vertices, record.faces)
    total = area.sum()
    if not total > 0:
        return None, "no surface"
    share = np.bincount(record.face_parts + 1, area, len(record.parts) + 1)[1:] / total
    if not record.parts:
        return None, "no meaningful part name"
    seen = [set(names) for names, part in zip(record.parts, share, strict=True) if part > _MIN_SHARE]
    shared = set.intersection(*seen) if seen else set()
    if len({frozenset(names - shared) for names in seen} - {frozenset()}) < MIN_NAMES:
        return None, "fewer than two meaningful part names"
    if share.sum() < min_surface:
        return None, f"named parts cover less than {min_surface:.0%} of the surface"
    if share.max() > MAX_ONE_PART * share.sum():
        return None, f"one part covers more than {MAX_ONE_PART:.0%} of what is named"
    return record, ""


def fingerprint(record: PartMesh) -> bytes:
    """Equal for meshes that are equal, whatever their names and place."""
    used = record.vertices[record.faces.ravel()]
    low, high = used.min(axis=0), used.max(axis=0)
    extent = max(float((high - low).max()), 1e-30)
    grid = np.rint((used - low) * (4096 / extent)).astype(np.int16)
    return hashlib.sha256(grid.tobytes() + record.face_parts.tobytes()).digest()
