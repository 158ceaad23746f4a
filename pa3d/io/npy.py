"""Arrays of numpy: NPY, and NPZ, which may also hold a mesh."""

from __future__ import annotations

import struct
import tokenize
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pa3d.io._common import COLUMNS_OPTION, CorruptFileError, Format, Geometry, byte_colors, byte_columns, first_line

try:
    from lzma import LZMAError
except ImportError:  # a Python without it, whose zipfile cannot raise it
    LZMA_ERRORS: tuple[type[Exception], ...] = ()
else:
    LZMA_ERRORS = (LZMAError,)

# What zipfile and its decompressors raise for damaged archives. RuntimeError: encrypted; NotImplementedError: a
# compression that zipfile does not know, both also with forged headers; ValueError: a place before the file's begin.
ARCHIVE_ERRORS: tuple[type[Exception], ...] = (
    zipfile.BadZipFile,
    zlib.error,
    *LZMA_ERRORS,
    EOFError,
    KeyError,
    NotImplementedError,
    RuntimeError,
    ValueError,
    struct.error,
)
# What numpy says of headers that it does not understand, which it parses as Python, and of pickled objects.
NUMPY_ERRORS: tuple[type[Exception], ...] = (SyntaxError, TypeError, tokenize.TokenError, *ARCHIVE_ERRORS)

POINT_KEYS = ("points", "vertices", "xyz", "pos", "positions", "coords")
# If the file also has faces, they are indices into one of these arrays.
VERTEX_KEYS = ("vertices", "verts", *POINT_KEYS)
FACE_KEYS = ("faces", "triangles")
COLOR_KEYS = ("colors", "rgb")
WIDEST_ROW = 12  # columns; an array of few long rows has its axes the other way round


def read(path: Path, columns: Sequence[str | int] = ()) -> Geometry:
    """columns: the names (of a structured array) or numbers (from 1) of those with x, y and z; empty finds them."""
    return (_read_npz if path.suffix.lower() == ".npz" else _read_npy)(path, columns)


def _read_npy(path: Path, columns: Sequence[str | int]) -> Geometry:
    """An array (N, 3 or more) of numbers, columns 4 to 6 as in text; or (3, N); or one with fields x, y and z."""
    # Memory-mapped, so that a header with a wrong size raises an error before memory is allocated for it.
    return _cloud(_loaded(path, mmap_mode="r"), "an array", columns)


def _read_npz(path: Path, columns: Sequence[str | int]) -> Geometry:
    """points, vertices or xyz (N, 3 or more), for a mesh also faces (F, 3), and colors (N, 3) if any."""
    if not zipfile.is_zipfile(path):
        raise CorruptFileError("is truncated or not an NPZ file (a zip of arrays)", "save it again")
    with _loaded(path) as archive:
        keys = {name.lower(): name for name in archive.files}
        faces_key = next((keys[key] for key in FACE_KEYS if key in keys), None)
        wanted = VERTEX_KEYS if faces_key is not None else POINT_KEYS
        points_key, colors_key = (next((keys[k] for k in w if k in keys), None) for w in (wanted, COLOR_KEYS))
        if points_key is None:
            held = ", ".join(archive.files[:8]) or "nothing"
            raise CorruptFileError(f"holds {held}; expected an array named {', '.join(POINT_KEYS)}", "save it again")
        geometry = _cloud(_member(archive, points_key), points_key, columns)
        if colors_key is not None:
            colors = _member(archive, colors_key)
            fits = colors.ndim == 2 and len(colors) == len(geometry.points) and colors.shape[1] >= 3
            if fits and colors.dtype.kind in "fiu":
                geometry = geometry._replace(colors=byte_colors(list(colors.T)))
        if faces_key is None:
            return geometry
        faces = _member(archive, faces_key)
    if faces.ndim != 2 or faces.shape[1] != 3 or faces.dtype.kind not in "iu":
        raise CorruptFileError(f"has faces {faces.shape} of {faces.dtype}; expected integers (F, 3)", "save it again")
    return geometry._replace(faces=faces.astype(np.int64))


def _loaded(path: Path, **options: Any) -> Any:
    try:
        return np.load(path, allow_pickle=False, **options)
    except NUMPY_ERRORS as error:
        kind = path.suffix[1:].upper()
        raise CorruptFileError(
            f"is damaged or not a valid {kind} file ({first_line(error)})", "save it again"
        ) from None


def _member(archive: Any, key: str) -> NDArray[Any]:
    try:
        array = archive[key]
    except NUMPY_ERRORS as error:
        raise CorruptFileError(f"is damaged or not an NPZ file ({first_line(error)})", "save it again") from None
    if not isinstance(array, np.ndarray):
        raise CorruptFileError(f"is damaged: {key} in it is not an array", "save it again")
    return array


def _cloud(array: NDArray[Any], name: str, columns: Sequence[str | int]) -> Geometry:
    if array.dtype.names:
        return Geometry(_fields(array, name, columns))
    rows, width = array.shape if array.ndim == 2 else (0, 0)
    if columns:
        return Geometry(_columns(array, name, columns))
    if rows == 3 and width > WIDEST_ROW:
        array = array.T
    elif rows <= WIDEST_ROW < 100 < width:
        raise CorruptFileError(f"has {name} {array.shape}; expected numbers (N, 3)", "transpose it and save it again")
    if array.ndim != 2 or array.shape[1] < 3 or array.dtype.kind not in "fiu":
        raise CorruptFileError(f"has {name} {array.shape} of {array.dtype}; expected numbers (N, 3)", "save it again")
    table = np.array(array[:, :6], np.float64)
    return Geometry(table[:, :3], None, byte_columns(table[:, 3:6]))


def _columns(array: NDArray[Any], name: str, columns: Sequence[str | int]) -> NDArray[np.float64]:
    width = array.shape[1] if array.ndim == 2 else 0
    numbers = [int(c) if str(c).strip().isdecimal() else 0 for c in columns]
    if array.dtype.kind not in "fiu" or not all(1 <= n <= width for n in numbers):
        raise CorruptFileError(
            f"has {name} {array.shape} of {array.dtype}, which has no columns {', '.join(map(str, columns))}",
            f"give numbers from 1 to {width}" if width else "save an array (N, 3 or more)",
        )
    return np.array(array[:, [n - 1 for n in numbers]], np.float64)


def _fields(array: NDArray[Any], name: str, columns: Sequence[str | int]) -> NDArray[np.float64]:
    """Three fields of a structured array."""
    names = list(array.dtype.names or ())
    wanted = [str(column) for column in columns or ("x", "y", "z")]
    by_name = {n.lower(): n for n in names}
    found = [
        by_name.get(w.lower()) or (names[int(w) - 1] if w.isdecimal() and 1 <= int(w) <= len(names) else "")
        for w in wanted
    ]
    if array.ndim != 1 or not all(f and array.dtype[f].kind in "fiu" and not array.dtype[f].shape for f in found):
        listed = ", ".join(names[:12])
        raise CorruptFileError(
            f"has {name} with the fields {listed}, not {', '.join(wanted)}", f"name three with {COLUMNS_OPTION}"
        )
    return np.stack([array[f].astype(np.float64) for f in found], axis=1)


FORMAT = Format(
    "NPY, NPZ",
    (".npy", ".npz"),
    read,
    "meshes, clouds",
    note="an array (N, 3), `--columns` of a wider one; NPZ: points, or vertices and faces",
    table=read,
)
