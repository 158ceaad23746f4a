"""PCD of the Point Cloud Library: ascii, binary, and binary_compressed (LZF, field after field)."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pa3d.io._common import CorruptFileError, Format, Geometry, byte_colors, numbers

HEADER_KEYS = {
    *("VERSION", "FIELDS", "SIZE", "TYPE", "COUNT"),
    *("WIDTH", "HEIGHT", "VIEWPOINT", "POINTS", "DATA"),
}
SIZES = {"F": (4, 8), "I": (1, 2, 4, 8), "U": (1, 2, 4, 8)}
# Three bytes of LZF stand for 264 at most.
LARGEST_LZF_RATIO = 88

Layout = list[tuple[str, "np.dtype[Any]", int]]  # name, type and repetition of each field
Columns = dict[str, NDArray[Any]]


def read(path: Path) -> Geometry:
    data = path.read_bytes().removeprefix(b"\xef\xbb\xbf")
    header, offset = parse_header(data)
    count, layout = parse_layout(header)
    encoding = " ".join(header["DATA"]).lower()
    decoders = {"ascii": _ascii, "binary": _binary, "binary_compressed": _compressed}
    if encoding not in decoders:
        raise CorruptFileError(f"has DATA {encoding[:30]!r}; expected {', '.join(decoders)}")
    columns = decoders[encoding](data[offset:], layout, count)
    points = np.stack([columns[axis] for axis in "xyz"], axis=1).astype(np.float64)
    return Geometry(points, None, _unpack_colors(columns))


def parse_header(data: bytes) -> tuple[dict[str, list[str]], int]:
    """Words by key, and where the data begin."""
    header: dict[str, list[str]] = {}
    # Lines end as the first one does: behind the last one, binary data may begin with any byte.
    newline = (re.search(rb"\r\n|\n|\r", data[:4096]) or [b"\n"])[0]
    offset = 0
    while "DATA" not in header:
        end = data.find(newline, offset, offset + 4096)
        if end < 0:
            raise CorruptFileError("is truncated or not a PCD file: its header (VERSION ... DATA) is not complete")
        words = data[offset:end].decode("latin-1").split()
        offset = end + len(newline)
        if not words or words[0].startswith("#"):
            continue
        key = words[0].upper()
        if key not in HEADER_KEYS:
            raise CorruptFileError(f"is not a PCD file: its header has {words[0][:20]!r}", "check the suffix")
        header[key] = words[1:]
    return header, offset


def parse_layout(header: dict[str, list[str]]) -> tuple[int, Layout]:
    """Number of points, and what one point consists of."""
    try:
        names, types = [word.lower() for word in header["FIELDS"]], [word.upper() for word in header["TYPE"]]
        sizes = [int(word) for word in header["SIZE"]]
        repetitions = [int(word) for word in header.get("COUNT", ["1"] * len(names))]
        points = int((header.get("POINTS") or header["WIDTH"])[0])
        if "POINTS" not in header:
            points *= int(header["HEIGHT"][0])
    except (KeyError, ValueError, IndexError):
        raise CorruptFileError("is damaged: an entry of its PCD header is missing or not a number") from None
    counts_fit = all(0 <= n < 1 << 31 for n in repetitions) and points >= 0
    if not len(names) == len(types) == len(sizes) == len(repetitions) or not names or not counts_fit:
        raise CorruptFileError("is damaged: FIELDS, SIZE, TYPE and COUNT of its header do not fit together")
    if unknown := [f"{t} {s}" for t, s in zip(types, sizes, strict=True) if s not in SIZES.get(t, ())]:
        raise CorruptFileError(f"is damaged: it has a field of unknown TYPE and SIZE {unknown[0]}")
    stored = [name for name, n in zip(names, repetitions, strict=True) if n]
    if missing := [axis for axis in "xyz" if stored.count(axis) != 1]:
        raise CorruptFileError(f"has no field {missing[0]!r}; expected FIELDS x y z ...")
    kinds = [np.dtype(f"<{t.lower()}{s}") for t, s in zip(types, sizes, strict=True)]
    # A field of COUNT 0 takes no room: some drivers write it.
    return points, [field for field in zip(names, kinds, repetitions, strict=True) if field[2]]


def _ascii(body: bytes, layout: Layout, count: int) -> Columns:
    width = sum(n for _, _, n in layout)
    table = numbers(body)
    if len(table) < count * width:
        raise _truncated(count, len(table) // width)
    rows = table[: count * width].reshape(count, width)
    columns: Columns = {}
    offset = 0
    for name, kind, n in layout:
        # Coordinates stay as written: float32 would round what the file says.
        columns[name] = rows[:, offset] if name in ("x", "y", "z") else rows[:, offset].astype(kind)
        offset += n
    return columns


def _binary(body: bytes, layout: Layout, count: int) -> Columns:
    size = sum(kind.itemsize * n for _, kind, n in layout)
    if len(body) < count * size:
        raise _truncated(count, len(body) // size)
    table = np.frombuffer(body, np.uint8, count * size).reshape(count, size)
    columns: Columns = {}
    offset = 0
    for name, kind, n in layout:  # of several values of a field, the first
        columns[name] = np.ascontiguousarray(table[:, offset : offset + kind.itemsize]).view(kind)[:, 0]
        offset += kind.itemsize * n
    return columns


def _compressed(body: bytes, layout: Layout, count: int) -> Columns:
    packed, unpacked = (int(size) for size in np.frombuffer(body[:8].ljust(8, b"\0"), "<u4"))
    needed = count * sum(kind.itemsize * n for _, kind, n in layout)
    if len(body) < 8 + packed or unpacked != needed or unpacked > packed * LARGEST_LZF_RATIO:
        raise CorruptFileError(
            f"is truncated or damaged: its {count} points need {needed} bytes, and its compressed block "
            f"has {max(len(body) - 8, 0)} of {packed} bytes that hold {unpacked}"
        )
    plain = lzf_decompress(body[8 : 8 + packed], unpacked)
    columns: Columns = {}
    offset = 0
    for name, kind, n in layout:
        columns[name] = np.frombuffer(plain, kind, count * n, offset)[::n]
        offset += kind.itemsize * n * count
    return columns


def lzf_decompress(packed: bytes, size: int) -> bytes:
    """Unpack LZF as LibLZF writes it.

    A byte below 32 starts that many plus one literal bytes, any other a copy of 3 to 264 bytes from at most
    8 KiB back. Raises CorruptFileError unless exactly ``size`` bytes come out.
    """
    out = bytearray()
    offset, end = 0, len(packed)
    try:
        while offset < end and len(out) <= size:
            control = packed[offset]
            offset += 1
            if control < 32:
                out += packed[offset : offset + control + 1]
                offset += control + 1
                continue
            length = control >> 5
            if length == 7:
                length += packed[offset]
                offset += 1
            length += 2
            start = len(out) - ((control & 31) << 8) - packed[offset] - 1
            offset += 1
            if start < 0:
                raise IndexError
            chunk = out[start : start + length]
            # A copy may overlap what it writes: its bytes then repeat.
            out += (chunk * (length // len(chunk) + 1))[:length]
    except IndexError:
        raise CorruptFileError("is damaged: its compressed data cannot be unpacked") from None
    if len(out) != size or offset != end:
        raise CorruptFileError(f"is damaged: its compressed data hold {len(out)} bytes, not {size}")
    return bytes(out)


def _unpack_colors(columns: Columns) -> NDArray[np.uint8] | None:  # (N, 3)
    """PCL packs 0x00RRGGBB into four bytes, declared as a float or an unsigned integer."""
    packed = columns.get("rgb", columns.get("rgba"))
    if packed is None or packed.dtype.itemsize != 4:
        return None
    bits = np.ascontiguousarray(packed).view("<u4")
    return byte_colors([(bits >> shift & 255).astype(np.uint8) for shift in (16, 8, 0)])


def _truncated(declared: int, count: int) -> CorruptFileError:
    return CorruptFileError(f"is truncated: it declares {declared} points but holds {count}")


FORMAT = Format("PCD", (".pcd",), read, "clouds", note="ascii, binary and compressed")
