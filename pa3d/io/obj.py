"""Wavefront OBJ. Vertices and faces keep the file's order, so that labels can be matched to its lines.

A library that builds render buffers splits vertices at texture seams and groups faces by material; here only
the ``v`` and ``f`` lines count, relative (negative) vertex numbers included.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pa3d.io._common import DamagedError, Geometry, byte_colors, numbers, triangulate


def read_obj(path: Path) -> Geometry:
    data = path.read_bytes().replace(b"\\\r\n", b" ").replace(b"\\\n", b" ")
    vertices: list[bytes] = []
    polygons: list[bytes] = []
    vertices_before: list[int] = []
    for line in data.split(b"\n"):
        line = line.strip()
        if line[:2] in (b"v ", b"v\t"):
            vertices.append(line[2:])
        elif line[:2] in (b"f ", b"f\t"):
            polygons.append(line[2:])
            vertices_before.append(len(vertices))
    if not vertices:
        raise DamagedError("has no vertices; expected lines such as 'v 0 0 1' and 'f 1 2 3'")
    points, colors = _vertices(vertices)
    if not polygons:
        return Geometry(points, np.empty((0, 3), np.int64), colors)

    counts = np.array([len(polygon.split()) for polygon in polygons])
    corners = numbers(re.sub(rb"/\S*", b"", b" ".join(polygons)), np.int64)
    if len(corners) != counts.sum() or (corners == 0).any():
        raise DamagedError("is damaged: a face has vertex numbers other than 1, 2, ... or -1, -2, ...")
    corners = np.where(corners > 0, corners - 1, corners + np.repeat(vertices_before, counts))
    return Geometry(points, triangulate(counts, corners), colors)


def _vertices(lines: list[bytes]) -> tuple[NDArray[np.float64], NDArray[np.uint8] | None]:
    """Positions, and the colours that some programs write after them."""
    for columns in (6, 3) if len(lines[0].split()) >= 6 else (3,):
        try:
            table = np.loadtxt(lines, usecols=range(columns), ndmin=2, encoding="latin-1")
        except ValueError:
            continue
        return table[:, :3], byte_colors(list(table[:, 3:].T)) if columns == 6 else None
    raise DamagedError("is damaged: a vertex has no three numbers")
