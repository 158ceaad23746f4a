"""parts.pcd of a PCD file: the file itself with an integer field `part`, in its encoding."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pa3d.io.pcd import Layout, lzf_decompress, parse_header, parse_layout
from pa3d.report.asset.cut import Cut

_PER_FIELD = ("FIELDS", "SIZE", "TYPE", "COUNT")


def parts_pcd(data: bytes, cut: Cut, scores: bool = False) -> bytes | None:
    """The file with the field, and score_NAME for each part if asked; None where it has other points than the cut.

    A file that has such a field already keeps it where it is, with new values, if it is of the same type; else None.
    """
    data = data.removeprefix(b"\xef\xbb\xbf")
    header, at = parse_header(data)
    count, layout = parse_layout(header)
    columns: dict[str, NDArray[Any]] = {"part": cut.labels.astype("<i4"), **(cut.score_columns() if scores else {})}
    there = {name: (kind, n) for name, kind, n in layout}
    if count != len(cut.labels) or any(there.get(n, (v.dtype, 1)) != (v.dtype, 1) for n, v in columns.items()):
        return None
    new = {name: values for name, values in columns.items() if name not in there}
    encoding = header["DATA"][0].lower()
    if encoding == "ascii":
        body = _text(data[at:], layout, columns)
    else:
        body = _binary(data[at:], layout, columns, count, encoding == "binary_compressed")
    return _header(data[:at], new, "COUNT" in header) + body


def _header(text: bytes, new: dict[str, NDArray[Any]], has_count: bool) -> bytes:
    kinds = [(name, "4", "I" if values.dtype.kind == "i" else "F", "1") for name, values in new.items()]
    added = dict(zip(_PER_FIELD, zip(*kinds, strict=True), strict=True)) if kinds else {}
    out = []
    for line in re.findall(rb"[^\r\n]*(?:\r\n|\n|\r)", text):
        words = line.split()
        key = words[0].decode("latin-1").upper() if words else ""
        if key in added and not line.lstrip().startswith(b"#"):
            end = line[len(line.rstrip(b"\r\n")) :]
            line = b" ".join([line.rstrip(), *(word.encode() for word in added[key])]) + end
        out.append(line)
    return b"".join(out)


def _text(body: bytes, layout: Layout, columns: dict[str, NDArray[Any]]) -> bytes:
    places, width = {}, 0
    for name, _, n in layout:
        places[name] = width
        width += n
    words = body.split()
    rows = []
    for number in range(len(next(iter(columns.values())))):
        row = words[number * width : (number + 1) * width]
        for name, values in columns.items():
            word = (b"%d" if values.dtype.kind == "i" else b"%.6g") % values[number]
            if name in places:
                row[places[name]] = word
            else:
                row.append(word)
        rows.append(b" ".join(row))
    return b"\n".join([*rows, b""])


def _binary(body: bytes, layout: Layout, columns: dict[str, NDArray[Any]], count: int, compressed: bool) -> bytes:
    """Point after point, or field after field if compressed."""
    if compressed:
        packed, unpacked = np.frombuffer(body[:8], "<u4").tolist()
        plain = lzf_decompress(body[8 : 8 + packed], unpacked)
    else:
        size = sum(kind.itemsize * n for _, kind, n in layout)
        table = np.frombuffer(body, np.uint8, count * size).reshape(count, size)
    blocks, offset = [], 0
    for name, kind, n in layout:
        width = kind.itemsize * n
        if name in columns:
            block = columns[name].view(np.uint8).reshape(count, -1)
        elif compressed:
            block = np.frombuffer(plain, np.uint8, count * width, offset * count).reshape(count, width)
        else:
            block = table[:, offset : offset + width]
        blocks.append(block)
        offset += width
    there = {name for name, _, _ in layout}
    blocks += [values.view(np.uint8).reshape(count, -1) for name, values in columns.items() if name not in there]
    if not compressed:
        return np.concatenate(blocks, axis=1).tobytes() + body[count * size :]
    joined = b"".join(block.tobytes() for block in blocks)
    stored = lzf_store(joined)
    return np.array([len(stored), len(joined)], "<u4").tobytes() + stored


def lzf_store(data: bytes) -> bytes:
    """LZF without compression: runs of up to 32 bytes, each behind a byte that says how many."""
    full = len(data) // 32
    runs = np.full((full, 33), 31, np.uint8)
    runs[:, 1:] = np.frombuffer(data, np.uint8, full * 32).reshape(full, 32)
    rest = data[full * 32 :]
    return runs.tobytes() + (bytes([len(rest) - 1]) + rest if rest else b"")
