"""Clouds as tables of numbers: text (XYZ, TXT, CSV and relatives), NPY, NPZ (also meshes), LAS and LAZ."""

from __future__ import annotations

import zipfile
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pa3d.io._common import DamagedError, Geometry, byte_colors

POINT_KEYS = ("points", "vertices", "xyz", "pos", "positions", "coords")
FACE_KEYS = ("faces", "triangles")
COLOR_KEYS = ("colors", "rgb")
LONGEST_HEADER = 100  # lines


def read_text(path: Path) -> Geometry:
    """Rows of x y z and more, separated by spaces, commas or semicolons, after any header lines.

    Columns 4 to 6 are colours when they are whole numbers up to 255, else ignored like all that follow.
    A header line that names x, y and z says where they are.
    """
    with path.open("rb") as binary:
        if b"\0" in binary.read(4096):
            raise DamagedError("is not text; expected rows 'x y z' of numbers")
    with path.open(encoding="utf-8-sig", errors="replace") as file:
        head = [line.rstrip("\n") for line in islice(file, LONGEST_HEADER)]
        skip = next((i for i, line in enumerate(head) if _leading_numbers(line) >= 3), None)
        if skip is None:
            raise DamagedError(f"has no row 'x y z' of numbers in its first {LONGEST_HEADER} lines")
        columns = _named_columns(head[skip - 1]) if skip else None
        if columns is None:
            columns = list(range(6 if _leading_numbers(head[skip]) >= 6 else 3))
        file.seek(0)
        try:
            table = np.loadtxt(file, delimiter=_separator(head[skip]), skiprows=skip, usecols=columns, ndmin=2)
        except ValueError as error:
            reason = str(error).split(";")[0].rstrip(".")
            raise DamagedError(f"is damaged after line {skip}: {reason}", "give every row x y z") from None
    return _from_table(table)


def _separator(line: str) -> str | None:
    return next((mark for mark in ",;" if mark in line), None)


def _leading_numbers(line: str) -> int:
    """How many numbers a line begins with."""
    count = 0
    for word in line.split(_separator(line)):
        try:
            float(word)
        except ValueError:
            break
        count += 1
    return count


def _named_columns(line: str) -> list[int] | None:
    """Where a header line such as 'id,x,y,z' puts the coordinates, and the colours if it names them."""
    for mark in "#/\"',;":
        line = line.replace(mark, " ")
    names = line.lower().split()
    for wanted in ("x y z red green blue", "x y z r g b", "x y z"):
        if set(wanted.split()) <= set(names):
            return [names.index(name) for name in wanted.split()]
    return None


def read_npy(path: Path) -> Geometry:
    """An array (N, 3 or more) of numbers; columns 4 to 6 as in text."""
    # Mapped, so that a header that lies about the size is refused before memory is taken for it.
    return _from_table(_as_table(np.load(path, mmap_mode="r", allow_pickle=False), "an array"))


def read_npz(path: Path) -> Geometry:
    """points, vertices or xyz (N, 3 or more), for a mesh also faces (F, 3), and colors (N, 3) if any."""
    if not zipfile.is_zipfile(path):
        raise DamagedError("is truncated or no NPZ file (a zip of arrays)", "save it again")
    with np.load(path, allow_pickle=False) as archive:
        keys = {name.lower(): name for name in archive.files}
        points_key, faces_key, colors_key = (
            next((keys[key] for key in wanted if key in keys), None) for wanted in (POINT_KEYS, FACE_KEYS, COLOR_KEYS)
        )
        if points_key is None:
            held = ", ".join(archive.files[:8]) or "nothing"
            raise DamagedError(f"holds {held}; expected an array named {', '.join(POINT_KEYS)}", "save it again")
        geometry = _from_table(_as_table(archive[points_key], points_key))
        if colors_key is not None:
            colors = archive[colors_key]
            if colors.ndim == 2 and len(colors) == len(geometry.points) and colors.shape[1] >= 3:
                geometry = geometry._replace(colors=byte_colors(list(colors.T)))
        if faces_key is None:
            return geometry
        faces = archive[faces_key]
    if faces.ndim != 2 or faces.shape[1] != 3 or faces.dtype.kind not in "iu":
        raise DamagedError(f"has faces {faces.shape} of {faces.dtype}; expected integers (F, 3)", "save it again")
    return geometry._replace(faces=faces.astype(np.int64))


def read_las(path: Path) -> Geometry:
    try:
        import laspy
    except ImportError:
        raise DamagedError("is LAS or LAZ, which needs the package laspy", "pip install 'pa3d[las]'") from None
    las = laspy.read(path)
    channels = ("red", "green", "blue")
    has_colors = set(las.point_format.dimension_names).issuperset(channels)
    colors = byte_colors([np.asarray(las[channel]) for channel in channels]) if has_colors else None
    return Geometry(np.asarray(las.xyz, np.float64), None, colors)


def _as_table(array: NDArray[Any], name: str) -> NDArray[np.float64]:
    if array.ndim != 2 or array.shape[1] < 3 or array.dtype.kind not in "fiu":
        raise DamagedError(f"has {name} {array.shape} of {array.dtype}; expected numbers (N, 3)", "save it again")
    return np.array(array[:, :6], np.float64)


def _from_table(table: NDArray[np.float64]) -> Geometry:
    rest = table[:, 3:6]
    if rest.size and rest.shape[1] == 3 and rest.max() > 1 and np.isin(rest, np.arange(256)).all():
        return Geometry(table[:, :3], None, rest.astype(np.uint8))
    return Geometry(table[:, :3])
