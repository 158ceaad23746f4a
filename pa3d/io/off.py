"""Geomview OFF: counts, vertices, polygons; COFF adds colours to the vertices, NOFF normals before them."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from pa3d.io._common import (
    CorruptFileError,
    Format,
    Geometry,
    byte_colors,
    numbers,
    polygons_or_none,
    text_lines,
    triangulate,
)


def read(path: Path) -> Geometry:
    lines = [words for raw in text_lines(path.read_bytes()) if (words := raw.split(b"#", 1)[0].split())]
    # The counts may follow the keyword on its own line; ModelNet has files in which no blank is between them.
    match = re.fullmatch(rb"(C?N?OFF)(\d*)", lines[0][0].upper()) if lines else None
    if match is None:
        raise CorruptFileError("is not an ASCII OFF file: it does not begin with OFF")
    keyword = match[1]
    first = [*([match[2]] if match[2] else []), *lines[0][1:]]
    body = [first, *lines[1:]] if first else lines[1:]
    header = numbers(b" ".join(body[0]), np.int64) if body else np.empty(0)
    if len(header) < 2 or (header < 0).any():
        raise CorruptFileError("is damaged: the numbers of vertices and faces do not follow OFF")
    n_vertices, n_faces = int(header[0]), int(header[1])
    vertices, polygons = body[1 : 1 + n_vertices], body[1 + n_vertices : 1 + n_vertices + n_faces]
    if len(vertices) < n_vertices or len(polygons) < n_faces:
        raise CorruptFileError(
            f"is truncated: it declares {n_vertices} vertices and {n_faces} faces "
            f"but has {len(vertices)} and {len(polygons)}"
        )

    values = numbers(b" ".join(word for words in vertices for word in words))
    width = len(values) // max(n_vertices, 1)
    if n_vertices and (width < 3 or len(values) != width * n_vertices):
        raise CorruptFileError("is damaged: its vertices have different or fewer than three numbers")
    values = values.reshape(n_vertices, width if n_vertices else 3)
    at = 6 if b"N" in keyword else 3
    colors = byte_colors(list(values[:, at : at + 3].T)) if b"C" in keyword and width >= at + 3 else None

    counts = numbers(b" ".join(words[0] for words in polygons), np.int64)
    if len(counts) != len(polygons) or (counts < 0).any():
        raise CorruptFileError("is damaged: a face does not begin with its number of vertices")
    corners = [word for words, count in zip(polygons, counts, strict=True) for word in words[1 : 1 + count]]
    if len(corners) != counts.sum():
        raise CorruptFileError("is damaged: a face has fewer vertex numbers than it declares")
    indices = numbers(b" ".join(corners), np.int64)
    if len(indices) != len(corners):
        raise CorruptFileError("is damaged: a face has vertex numbers that are not whole")
    if not n_faces:
        return Geometry(values[:, :3], None, colors)
    return Geometry(values[:, :3], triangulate(counts, indices), colors, face_polygon=polygons_or_none(counts))


FORMAT = Format("OFF", (".off",), read, "meshes, clouds", note="also COFF, NOFF, CNOFF; without faces a cloud")
