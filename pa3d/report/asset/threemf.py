"""parts.3mf: one object for each piece, in the colours of the parts. For shapes without names, such as STL.

Specification: https://github.com/3MFConsortium/spec_core. STL says no unit; millimetres are what 3MF takes without one.
"""

from __future__ import annotations

import io
import zipfile
from xml.sax.saxutils import quoteattr

import numpy as np
from numpy.typing import NDArray

from pa3d.colors import UNLABELED_COLOR, part_colors
from pa3d.report.asset.cut import Cut, members
from pa3d.shape import Shape, compacted

CORE = "http://schemas.microsoft.com/3dmanufacturing/core/2015/02"
_TYPES = """<?xml version="1.0" encoding="UTF-8"?>
<Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types">
<Default Extension="rels" ContentType="application/vnd.openxmlformats-package.relationships+xml"/>
<Default Extension="model" ContentType="application/vnd.ms-package.3dmanufacturing-3dmodel+xml"/>
</Types>
"""
_RELATIONS = """<?xml version="1.0" encoding="UTF-8"?>
<Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships">
<Relationship Target="/3D/3dmodel.model" Id="rel0"
 Type="http://schemas.microsoft.com/3dmanufacturing/2013/01/3dmodel"/>
</Relationships>
"""


def parts_3mf(shape: Shape, cut: Cut) -> bytes:
    """A mesh as 3MF. Corners at the same place become one vertex; triangles that have no area then are left out."""
    if shape.faces is None:
        raise TypeError("parts_3mf: the shape is a cloud")
    colors = [*part_colors(len(cut.part_names)), UNLABELED_COLOR]
    model = ['<?xml version="1.0" encoding="UTF-8"?>', f'<model unit="millimeter" xml:lang="en-US" xmlns="{CORE}">']
    model += ["<resources>", '<basematerials id="1">']
    names = [*cut.part_names, "none"]
    model += [f"<base name={quoteattr(n)} displaycolor={quoteattr(c)}/>" for n, c in zip(names, colors, strict=True)]
    model.append("</basematerials>")
    items = []
    points, vertex = _unique(shape.points + np.float32(0))  # of two zeros, one
    for number, elements in members(cut.numbers).items():
        piece = cut.pieces[number]
        faces = vertex[shape.faces[elements]].astype(np.int32)
        faces = faces[(faces != np.roll(faces, 1, axis=1)).all(axis=1)]
        if not len(faces):
            continue
        used, faces = compacted(points, faces)
        material = piece.label if piece.label >= 0 else len(cut.part_names)
        identifier = number + 2
        model.append(
            f'<object id="{identifier}" name={quoteattr(piece.name)} type="model" pid="1" pindex="{material}">'
        )
        model += ["<mesh>", "<vertices>", _lines(points[used] + shape.origin, '<vertex x="%.9g" y="%.9g" z="%.9g"/>')]
        model += ["</vertices>", "<triangles>", _lines(faces, '<triangle v1="%d" v2="%d" v3="%d"/>')]
        model += ["</triangles>", "</mesh>", "</object>"]
        items.append(f'<item objectid="{identifier}"/>')
    model += ["</resources>", "<build>", *items, "</build>", "</model>", ""]
    files = {"[Content_Types].xml": _TYPES, "_rels/.rels": _RELATIONS, "3D/3dmodel.model": "\n".join(model)}
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, text in files.items():
            info = zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))
            info.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(info, text.encode(), compresslevel=1)
    return out.getvalue()


def _unique(points: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.int64]]:  # (N, 3)
    """The different points, and which of them each is. Sorts a hash, which takes a tenth of the time of the rows."""
    factors = np.array([0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9], np.uint64)
    key = (np.ascontiguousarray(points).view(np.uint32).astype(np.uint64) * factors).sum(axis=1, dtype=np.uint64)
    _, first, vertex = np.unique(key, return_index=True, return_inverse=True)
    vertex = vertex.reshape(-1)
    if (points[first][vertex] != points).any():  # two points have one hash
        found, vertex = np.unique(points, axis=0, return_inverse=True)
        return found, vertex.reshape(-1)
    return points[first], vertex


def _lines(rows: NDArray[np.generic], form: str) -> str:
    """A line of text for each row of three numbers."""
    return "\n".join([form] * len(rows)) % tuple(rows.ravel().tolist())
