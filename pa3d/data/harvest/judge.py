"""Which shapes a harvest keeps: those with two named parts or more, over most of the surface."""

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
    """The part mesh of a named mesh, or None and the reason why it is dropped."""
    name_corrections = corrections(source, shape.id) or {}
    parts: dict[tuple[str, ...], int] = {}
    index = np.full(len(shape.names), -1, np.int32)
    names_of_piece = [
        next((names for raw in raw_names if (names := part_names(raw, shape.category, source))), ())
        for raw_names in shape.names
    ]
    names_of_piece = [
        part_names(name_corrections[names[0]], corpus=source) if names and names[0] in name_corrections else names
        for names in names_of_piece
    ]
    is_body_shape = is_body({names[0] for names in names_of_piece if names})
    for piece, (raw_names, names) in enumerate(zip(shape.names, names_of_piece, strict=True)):
        if names and not is_body_shape and (names[0] in BODY_PARTS or "clothes" in names):
            names = names[:1]
        if names:
            index[piece] = parts.setdefault(names, len(parts))
        elif report is not None and raw_names:
            report.unnamed[" ".join(clean_words(raw_names[0], source))] += 1
    part_mesh = PartMesh(
        shape.vertices.astype(np.float32), shape.faces.astype(np.int32), index[shape.piece].astype(np.int32),
        list(parts), category=shape.category, id=shape.id,
    )  # fmt: skip
    return accept_or_reason(part_mesh, min_surface)


def accept_or_reason(part_mesh: PartMesh, min_surface: float) -> tuple[PartMesh | None, str]:
    """The mesh itself if at least two names cover that fraction of its surface, else None and the reason.

    A name that all parts have does not count.
    """
    if not len(part_mesh.faces):
        return None, "no triangles"
    if len(part_mesh.faces) > _MAX_FACES:
        return None, f"more than {_MAX_FACES} faces"
    if not np.isfinite(part_mesh.vertices).all():
        return None, "vertices that are not finite"
    area = triangle_areas(part_mesh.vertices, part_mesh.faces)
    total = area.sum()
    if not total > 0:
        return None, "no surface"
    share = np.bincount(part_mesh.face_parts + 1, area, len(part_mesh.parts) + 1)[1:] / total
    if not part_mesh.parts:
        return None, "no meaningful part name"
    name_sets = [set(names) for names, part in zip(part_mesh.parts, share, strict=True) if part > _MIN_SHARE]
    common_names = set.intersection(*name_sets) if name_sets else set()
    if len({frozenset(names - common_names) for names in name_sets} - {frozenset()}) < MIN_NAMES:
        return None, "fewer than two meaningful part names"
    if share.sum() < min_surface:
        return None, f"named parts cover less than {min_surface:.0%} of the surface"
    if share.max() > MAX_ONE_PART * share.sum():
        return None, f"one part covers more than {MAX_ONE_PART:.0%} of what is named"
    return part_mesh, ""


def fingerprint(part_mesh: PartMesh) -> bytes:
    """A hash of the shape and its division into parts. Names, position and scale do not change it."""
    corners = part_mesh.vertices[part_mesh.faces.ravel()]
    low, high = corners.min(axis=0), corners.max(axis=0)
    extent = max(float((high - low).max()), 1e-30)
    grid = np.rint((corners - low) * (4096 / extent)).astype(np.int16)
    return hashlib.sha256(grid.tobytes() + part_mesh.face_parts.tobytes()).digest()
