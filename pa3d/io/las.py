"""LAS and LAZ, georeferenced scans, by the package laspy."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import numpy as np

from pa3d.io._common import CorruptFileError, Format, Geometry, byte_colors, first_line

SMALLEST_RECORD, SMALLEST_EXTENDED = 54, 60  # bytes of a variable length record (VLR) and of an extended one (EVLR)
# Points of the largest scans pack to a tenth or less; where all are alike, to less than a thousandth.
LARGEST_LAZ_RATIO, MOST_UNPACKED = 5_000, 1 << 28


def read(path: Path) -> Geometry:
    las = parse(path)
    points = np.asarray(las.xyz, np.float64)
    channels = [np.asarray(las[name]) for name in ("red", "green", "blue") if name in las.point_format.dimension_names]
    return Geometry(points, None, byte_colors(channels) if len(channels) == 3 else None)


def parse(path: Path) -> Any:
    """Everything of a file, as laspy gives it. Raises CorruptFileError."""
    try:
        import laspy
    except ImportError:
        raise CorruptFileError("is LAS or LAZ, which needs the package laspy", "pip install 'pa3d[las]'") from None
    _check_header(path)
    try:
        # The parallel decompressor also ends the process where a chunk lies about its size.
        one_thread = laspy.LazBackend.Lazrs
        return laspy.read(path, **({"laz_backend": one_thread} if one_thread.is_available() else {}))
    except (MemoryError, KeyboardInterrupt, SystemExit):
        raise
    # laspy lists no errors of its own, and a panic of its decompressor in Rust is not an Exception. No code of pa3d
    # runs in this block.
    except BaseException as error:
        raise CorruptFileError(f"is damaged or not a LAS file ({first_line(error)})") from error


def _check_header(path: Path) -> None:
    """Raises CorruptFileError where a file declares more points than it can hold: laspy would look for it for hours."""
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(375)
    if head[:4] != b"LASF" or len(head) < 227:
        raise CorruptFileError("is damaged or not a LAS file: it does not begin with LASF and its header")
    at, records, kind, length, count = struct.unpack_from("<IIBHI", head, 96)
    extended_at = extended = 0
    if head[25] >= 4 and len(head) >= 255:
        extended_at, extended, count_64 = struct.unpack_from("<QIQ", head, 235)
        count = max(count, count_64)
    if at > size or records * SMALLEST_RECORD > at or (extended and extended_at + extended * SMALLEST_EXTENDED > size):
        raise CorruptFileError("is truncated or damaged: its records do not fit in it")
    announced = count * length
    packed = kind & 0x80 or path.suffix.lower() == ".laz"
    if announced > (max(size * LARGEST_LAZ_RATIO, MOST_UNPACKED) if packed else size - at):
        raise CorruptFileError(f"is truncated: it declares {count} points and has {size} bytes")
    if packed:
        _check_chunks(path, at, size)


def _check_chunks(path: Path, at: int, size: int) -> None:
    """The number of chunks of a LAZ file whose points begin at byte `at`: lazrs ends the process where it lies."""
    with path.open("rb") as file:
        file.seek(at)
        table = int.from_bytes(file.read(8), "little", signed=True)
        if table < at:  # written as a stream: the place of the table is at the end
            file.seek(max(size - 8, 0))
            table = int.from_bytes(file.read(8), "little", signed=True)
        file.seek(min(max(table, 0), size))
        chunks = int.from_bytes(file.read(8)[4:], "little")
    if not at <= table <= size - 8 or chunks > size:
        raise CorruptFileError("is truncated or damaged: its table of chunks does not fit in it")


FORMAT = Format("LAS, LAZ", (".las", ".laz"), read, "clouds", note="needs the extra `las`")
