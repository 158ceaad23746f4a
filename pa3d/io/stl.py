"""STL, binary and ascii. The format repeats every corner, so N = 3 F, in the file's order."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from pa3d.io._common import CorruptFileError, Format, Geometry, numbers

HEADER = 84  # bytes: 80 of text, the number of triangles
TRIANGLE = np.dtype([("normal", "<f4", 3), ("corners", "<f4", (3, 3)), ("attribute", "<u2")])


def read(path: Path) -> Geometry:
    data = path.read_bytes()
    declared = int.from_bytes(data[80:HEADER], "little") if len(data) >= HEADER else 0
    # Some binary files begin with "solid", too, so their length decides; some have more at the end.
    if declared and len(data) >= HEADER + declared * TRIANGLE.itemsize:
        points = np.frombuffer(data, TRIANGLE, declared, HEADER)["corners"].reshape(-1, 3)
    elif data.removeprefix(b"\xef\xbb\xbf").lstrip()[:5].lower() == b"solid":
        # Some programs write "end solid" in place of "endsolid", or leave out the last line; a file that was cut mostly
        # ends within a facet.
        if not re.search(rb"end\s*solid|end\s*facet\s*$", data[-4096:], re.IGNORECASE):
            raise CorruptFileError("is truncated: it has no 'endsolid' at its end")
        corners = re.findall(rb"vertex\s+(\S+\s+\S+\s+\S+)", data, re.IGNORECASE)
        points = numbers(b" ".join(corners))
        if len(points) % 9 or len(points) != 3 * len(corners):
            raise CorruptFileError("is damaged: its triangles do not all have three corners of three numbers")
        points = points.reshape(-1, 3)
    else:
        reason = f"it declares {declared} triangles and has {len(data)} bytes"
        raise CorruptFileError(f"is truncated, without triangles or not an STL file: {reason}")
    return Geometry(points.astype(np.float64), np.arange(len(points)).reshape(-1, 3))


FORMAT = Format("STL", (".stl",), read, "meshes", note="binary and ascii")
