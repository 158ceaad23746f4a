"""Geomview OFF: counts, vertices, polygons; COFF adds colours to the vertices, NOFF normals before them."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from pa3d.io._common import DamagedError, Geometry, byte_colors, numbers, triangulate


def read_off(path: Path) -> Geometry:
    lines = [words for raw in path.read_bytes().split(b"\n") if (words := raw.split(b"#", 1)[0].split())]
    keyword = lines[0][0].upper() if lines else b""
    if keyword not in (b"OFF", b"COFF", b"NOFF", b"CNOFF"):
        raise DamagedError("is no ASCII OFF file: it does not begin with OFF")
    # The counts may follow the keyword on its own line.
    body = [lines[0][1:], *lines[1:]] if len(lines[0]) > 1 else lines[1:]
    header = numbers(b" ".join(body[0]), np.int64) if body else np.empty(0)
    if len(header) < 2 or (header < 0).any():
        raise DamagedError("is damaged: the numbers of vertices and faces do not follow OFF")
    n_vertices, n_faces = int(header[0]), int(header[1])
    vertices, polygons = body[1 : 1 + n_vertices], body[1 + n_vertices : 1 + n_vertices + n_faces]
    if len(vertices) < n_vertices or len(polygons) < n_faces:
        raise DamagedError(
            f"is truncated: it announces {n_vertices} vertices and {n_faces} faces "
            f"but has {len(vertices)} and {len(polygons)}"
        )

    table = numbers(b" ".join(word for words in vertices for word in words))
    width = len(table) // max(n_vertices, 1)
    if n_vertices and (width < 3 or len(table) != width * n_vertices):
        raise DamagedError("is damaged: its vertices have different or fewer than three numbers")
    table = table.reshape(n_vertices, width if n_vertices else 3)
    at = 6 if b"N" in keyword else 3
    colors = byte_colors(list(table[:, at : at + 3].T)) if b"C" in keyword and width >= at + 3 else None

    counts = numbers(b" ".join(words[0] for words in polygons), np.int64)
    corners = [word for words, count in zip(polygons, counts, strict=True) for word in words[1 : 1 + count]]
    if len(corners) != counts.sum():
        raise DamagedError("is damaged: a face has fewer vertex numbers than it announces")
    return Geometry(table[:, :3], triangulate(counts, numbers(b" ".join(corners), np.int64)), colors)
