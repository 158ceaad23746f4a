"""Files to shapes: `load` for meshes and clouds.

A format is a module of this folder that declares FORMAT (pa3d.io._common.Format): its suffixes, its reader and, if the
specification defines it, its up axis. `load`, `pa3d segment` and `pa3d prepare` find it there. Only suffixes whose
files often hold other data than shapes, such as .csv, are also named in pa3d/listing.py, which skips them in folders.
`python -m pa3d.io` prints the table of formats.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pa3d.errors import InputError
from pa3d.frames import UP_AXES
from pa3d.io._common import Format, Geometry, check_faces, raise_as_input_error
from pa3d.shape import Shape, centered

if TYPE_CHECKING:
    SUFFIXES: tuple[str, ...]


def load(
    path: str | os.PathLike[str],
    *,
    up: str | None = None,
    nan: str = "error",
    columns: str | Sequence[str | int] | None = None,
) -> Shape:
    """The mesh or cloud in a file, with its vertices and faces in the file's order and units.

    Polygons become triangle fans. Vertex colours are kept. docs/files.md lists the formats.

    up: the axis that points upwards. glTF is y-up by specification, and FBX, COLLADA and USD are turned to that; no
        other format says, the default is y.
    nan: "error" refuses points with NaN or infinite coordinates; "skip" keeps those of a cloud where they are.
    columns: which columns of a table are x, y and z, such as "1,2,4" or ["east", "north", "height"]: names from its
        header, or numbers from 1. None takes those that its header names, else the first three.

    Returns a validated Shape; coordinates far from zero are kept exact by its float64 ``origin``.
    Raises InputError when the file is missing, unsupported, damaged, empty or without an extent.
    """
    path = Path(path)
    if up is not None and up not in UP_AXES:
        raise InputError(f"up axis {up!r} is unknown; give one of {', '.join(UP_AXES)}")
    reader = _format_of(path)
    chosen = _column_list(columns)
    if chosen and reader.table is None:
        tables = ", ".join(format.name for format in formats() if format.table)
        raise InputError(f"{path.name}: columns were named, but only tables have them ({tables}); leave them out")
    with raise_as_input_error(path.name, path.suffix[1:].upper()):
        geometry = reader.table(path, chosen) if chosen and reader.table else reader.read(path)
        return _to_shape(geometry, path, up or "y").validate(nan)


@cache
def formats() -> tuple[Format, ...]:
    """Every format, meshes first: what the modules of this folder declare."""
    found = map(_declared, _modules())
    return tuple(sorted(found, key=lambda format: "meshes" not in format.kinds))


def formats_table() -> str:
    """The formats as a Markdown table, for docs/files.md."""
    rows = [
        f"| {f.name} | {f.kinds} | y{' by specification' if f.up else ''}, unless `--up` | {f.note} |"
        for f in formats()
    ]
    return "\n".join(["| format | kinds | up axis | |", "|---|---|---|---|", *rows])


def read_geometry(path: Path) -> Geometry:
    """What the format's reader gives, unchecked. Raises as `load` does, but CorruptFileError for damage."""
    return _format_of(path).read(path)


def __getattr__(name: str) -> Any:
    if name == "SUFFIXES":
        return tuple(suffix for format in formats() for suffix in format.suffixes)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def _modules() -> list[str]:
    files = os.listdir(os.path.dirname(__file__))
    return sorted(file.removesuffix(".py") for file in files if file.endswith(".py") and not file.startswith("_"))


def _declared(module: str) -> Format:
    declared: Format = import_module(f"{__name__}.{module}").FORMAT
    return declared


@cache
def _format_of_suffix(suffix: str) -> Format | None:
    """The format of a suffix. Imports modules until it is found, the most alike first, because few are needed."""
    names = sorted(_modules(), key=lambda name: (name != suffix[1:], name[:2] != suffix[1:3]))
    return next((found for found in map(_declared, names) if suffix in found.suffixes), None)


def _supported() -> str:
    return f"expected one of {', '.join(suffix for format in formats() for suffix in format.suffixes)}"


def _format_of(path: Path) -> Format:
    if not os.path.exists(path):  # unlike Path.exists never raises
        raise InputError(f"{path}: no such file; check the path")
    if os.path.isdir(path):
        raise InputError(f"{path}: is a folder; give a file, {_supported()}")
    if not os.path.isfile(path):
        raise InputError(f"{path}: is not a regular file; give a file, {_supported()}")
    format = _format_of_suffix(path.suffix.lower())
    if format is None:
        raise InputError(f"{path.name}: unsupported suffix {path.suffix!r}; {_supported()}")
    if path.stat().st_size == 0:
        raise InputError(f"{path.name}: the file is empty; export or copy it again")
    return format


def _column_list(columns: str | Sequence[str | int] | None) -> list[str | int]:
    """Three columns, or none. Raises InputError."""
    if columns is None:
        return []
    found = [c.strip() for c in re.split("[,;]", columns)] if isinstance(columns, str) else list(columns)
    named = [str(c).strip().lower() for c in found]
    if len(found) != 3 or len(set(named)) != 3 or not all(named):
        raise InputError(f"columns are {columns!r}; expected three different ones for x, y and z, such as 1,2,3")
    return found


def _to_shape(geometry: Geometry, path: Path, up: str) -> Shape:
    points, faces, colors = geometry.points, geometry.faces, geometry.colors
    if faces is not None:  # checked before the cast to int32, which could bring an out-of-range index back into range
        check_faces(faces, len(points))
    local, origin = centered(points, faces)
    if colors is not None and not colors.any():  # what programs write that have a place for colours but none
        colors = None
    return Shape(
        points=local,
        faces=_int32(faces),
        colors=colors,
        up=up,
        name=_printable(path.name),
        source=_printable(str(path)),
        origin=origin,
        pieces=geometry.pieces if geometry.face_piece is not None else (),
        face_piece=_int32(geometry.face_piece),
        face_polygon=_int32(geometry.face_polygon),
        file=path,
    )


def _int32(numbers: NDArray[Any] | None) -> NDArray[np.int32] | None:
    return None if numbers is None else np.ascontiguousarray(numbers, np.int32)


def _printable(name: str) -> str:
    """A file name as text that can be written: bytes that are not UTF-8 become the replacement character."""
    return name if name.isprintable() else os.fsencode(name).decode("utf-8", "replace")
