"""What the readers share: their declaration, their result, their errors, and small conversions."""

from __future__ import annotations

import json
import struct
import warnings
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pa3d.errors import InputError
from pa3d.shape import Piece


class Geometry(NamedTuple):
    """What a file holds, before float32 and checks. faces is None for a cloud.

    pieces, face_piece, face_polygon: as in Shape.
    """

    points: NDArray[np.float64]  # (N, 3)
    faces: NDArray[np.int64] | None = None  # (F, 3)
    colors: NDArray[np.uint8] | None = None  # (N, 3)
    pieces: tuple[Piece, ...] = ()
    face_piece: NDArray[np.integer[Any]] | None = None  # (F,)
    face_polygon: NDArray[np.integer[Any]] | None = None  # (F,)


class Format(NamedTuple):
    """How a module of pa3d.io declares what it reads: as its constant FORMAT.

    name: for help and docs, "GLB, glTF"; kinds: "meshes", "clouds" or "meshes, clouds".
    up: the up axis, if the format's specification defines one, for docs.
    note: what is special, for docs.
    table: for files whose points are rows of numbers, reads the three columns that are named or numbered (from 1).
    """

    name: str
    suffixes: tuple[str, ...]
    read: Callable[[Path], Geometry]
    kinds: str
    up: str = ""
    note: str = ""
    table: Callable[[Path, Sequence[str | int]], Geometry] | None = None


# The folder that a file may not refer out of, None for no limit. The server sets it for the files of its clients.
WITHIN: ContextVar[Path | None] = ContextVar("WITHIN", default=None)

COLUMNS_OPTION = "--columns x,y,z or load(..., columns=...)"  # for messages


class CorruptFileError(Exception):
    """A file that a reader cannot use: the problem, and a hint what to do. `raise_as_input_error` adds the name."""

    def __init__(self, problem: str, hint: str = "export it again") -> None:
        super().__init__(f"{problem}; {hint}")
        self.problem, self.hint = problem, hint


def missing_package(problem: str, package: str, extra: str) -> CorruptFileError:
    """The error for a file that only an optional package can read. problem: "is compressed with Draco"."""
    return CorruptFileError(f"{problem}, which needs the package {package}", f"pip install 'pa3d[{extra}]'")


# What a parser may stumble over in foreign bytes where it does not check them itself. Any other exception, such as
# TypeError, AttributeError or a plain ValueError, is a bug of the parser and must be seen.
FOREIGN_DATA_ERRORS = (
    struct.error,
    zlib.error,
    json.JSONDecodeError,
    UnicodeDecodeError,
    IndexError,
    KeyError,
    OverflowError,
    RecursionError,
    EOFError,
)


@contextmanager
def raise_as_input_error(name: str, kind: str) -> Iterator[None]:
    """Turns what a reader raises for a file that it cannot use into InputError; bugs pass through.

    name: the file's, for the message; kind: of file that was expected, "GLB".
    """
    try:
        with np.errstate(all="ignore"):
            yield
    except CorruptFileError as error:
        raise InputError(f"{name}: {error}") from None
    except MemoryError:
        raise InputError(f"{name}: needs more memory than there is; decimate it or export it again") from None
    except OSError as error:
        raise InputError(f"{name}: cannot be read ({error.strerror or error}); check the file") from None
    except FOREIGN_DATA_ERRORS as error:
        reason = first_line(error)
        raise InputError(f"{name}: is damaged or not a valid {kind} file ({reason}); export it again") from error


def first_line(error: BaseException) -> str:
    """What an exception says, in one short line; its type where it says nothing."""
    return (getattr(error, "strerror", None) or (str(error).splitlines() or [""])[0])[:120] or type(error).__name__


def text_lines(data: bytes) -> list[bytes]:
    """Lines that end in LF, CR LF or CR, without a byte order mark. Other control bytes end no line.

    UTF-16, which a mark tells, becomes UTF-8.
    """
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        data = data.decode("utf-16", "replace").encode()
    return data.removeprefix(b"\xef\xbb\xbf").splitlines()


def triangulate(
    counts: NDArray[Any],  # (P,) corners of each polygon
    corners: NDArray[Any],  # (sum of counts,) vertex indices
) -> NDArray[np.int64]:  # (F, 3)
    """Fans from each polygon's first corner, in file order; fewer than three corners give nothing."""
    counts = np.asarray(counts, np.int64)
    triangles = np.maximum(counts - 2, 0)
    first = np.repeat(np.cumsum(counts) - counts, triangles)
    step = np.arange(triangles.sum()) - np.repeat(np.cumsum(triangles) - triangles, triangles)
    return np.asarray(corners, np.int64)[np.stack([first, first + step + 1, first + step + 2], axis=1)]


def polygon_of_triangles(counts: NDArray[Any]) -> NDArray[np.int64]:  # (F,)
    """The polygon that each triangle of `triangulate` comes from."""
    counts = np.asarray(counts, np.int64)
    return np.repeat(np.arange(len(counts)), np.maximum(counts - 2, 0))


def polygons_or_none(counts: NDArray[Any]) -> NDArray[np.int64] | None:  # (F,)
    """`polygon_of_triangles` where any polygon is not a triangle; None where each gives one."""
    return None if (np.asarray(counts) == 3).all() else polygon_of_triangles(counts)


def strip_triangles(corners: NDArray[Any]) -> NDArray[np.int64]:  # (n,) -> (n - 2, 3)
    """The triangles of a strip, every second one turned so that all face the same way."""
    corners = np.asarray(corners, np.int64)
    first = np.arange(max(len(corners) - 2, 0))
    odd = first % 2
    return corners[np.stack([first, first + 1 + odd, first + 2 - odd], axis=1)]


def check_faces(faces: NDArray[np.int64], n_points: int) -> None:
    """Raises CorruptFileError where faces refer to vertices that do not exist."""
    if len(faces) and (faces.min() < 0 or faces.max() >= n_points):
        raise CorruptFileError(f"is damaged: faces refer to vertices outside 0..{n_points - 1}")


def numbers(text: bytes, dtype: type = np.float64) -> NDArray[Any]:
    """All numbers of a whitespace-separated text; CorruptFileError when something else is among them."""
    with warnings.catch_warnings():
        # Older numpy only warns about text that is not a number, and returns what came before it.
        warnings.simplefilter("error", DeprecationWarning)
        try:
            return np.fromstring(text, dtype, sep=" ")
        except (DeprecationWarning, ValueError):
            raise CorruptFileError("is damaged: it has text where numbers are expected") from None


def table(rows: list[bytes], columns: Sequence[int]) -> NDArray[np.float64]:
    """Some columns of rows of text as numbers, (rows, columns). Raises CorruptFileError, which names the row."""
    try:
        values = np.loadtxt(rows, usecols=columns, ndmin=2, encoding="latin-1", comments=None)
    except ValueError as error:
        raise CorruptFileError(f"is damaged: {first_line(error).split(';')[0].rstrip('.')}") from None
    if len(values) != len(rows):
        raise CorruptFileError("is damaged: a row of numbers is empty")
    return values


def byte_colors(channels: Sequence[NDArray[Any]]) -> NDArray[np.uint8]:  # (N, 3)
    """Red, green, blue as uint8 from bytes, 16-bit integers, or floats of 0..1 or 0..255."""
    colors = np.stack(list(channels[:3]), axis=1)
    if colors.dtype == np.uint8 or len(colors) == 0:
        return colors.astype(np.uint8)
    values = np.nan_to_num(colors.astype(np.float64))
    if colors.dtype.kind == "f" and values.max() <= 1:
        values *= 255
    elif values.max() > 255:
        values /= 257
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


def join_colors(
    points: Sequence[NDArray[Any]],  # each (N, 3)
    colors: Sequence[NDArray[np.uint8] | None],  # each (N, 3)
) -> NDArray[np.uint8] | None:
    """The colours of several meshes as one, white where a mesh has none; None when no mesh has any but zeros."""
    if not any(c is not None and c.any() for c in colors):
        return None
    return np.concatenate(
        [np.full(p.shape, 255, np.uint8) if c is None else c for p, c in zip(points, colors, strict=True)]
    )


def byte_columns(columns: NDArray[np.float64]) -> NDArray[np.uint8] | None:  # (N, up to 3) -> (N, 3)
    """What follows x, y, z in a table, as colours: three columns of integers up to 255; None for anything else."""
    if columns.size and columns.shape[1] == 3 and columns.max() > 1 and np.isin(columns, np.arange(256)).all():
        return columns.astype(np.uint8)
    return None


def parse_floats(text: str, count: int | None = None) -> NDArray[np.float64]:  # (count,)
    """The numbers of a short text; CorruptFileError when something else is among them, or their count is another."""
    try:
        values = np.array(text.split(), np.float64)
    except ValueError:
        raise CorruptFileError(f"is damaged: {text[:30]!r} found where numbers are expected") from None
    if count is not None and len(values) != count:
        raise CorruptFileError(f"is damaged: {text[:30]!r} is not {count} numbers")
    return values


def integer(text: str, base: int = 10) -> int:
    try:
        return int(text, base)
    except ValueError:
        raise CorruptFileError(f"is damaged: {text[:30]!r} found where an integer is expected") from None
