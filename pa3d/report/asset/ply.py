"""parts.ply of a PLY file: the file itself, with an integer property `part` of its vertices and faces.

Everything else keeps its bytes. `part` is an index into the names that comments of the header list, -1 for none.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pa3d.io._common import CorruptFileError
from pa3d.io.ply import BYTE_ORDER_MARK, BYTE_ORDERS, Columns, Element, element_rows, parse_header, text_rows
from pa3d.report.asset.cut import Cut

Column = tuple[str, NDArray[Any]]  # name and values of a property


def parts_ply(data: bytes, vertices: Cut, faces: Cut | None, scores: bool = False) -> bytes | None:
    """The file with the property; None where it has other numbers of vertices or faces than the cuts.

    faces: of the polygons; None for a cloud. scores: also a property "score_NAME" for each part.
    """
    encoding, elements, at = parse_header(data)
    new: dict[str, list[Column]] = {"vertex": _columns(vertices, scores)}
    if faces is not None and any(element.name == "face" and element.count for element in elements):
        new["face"] = _columns(faces, scores)
    if any(len(new[e.name][0][1]) != e.count for e in elements if e.name in new):
        return None
    header = _header(data[:at], elements, new, vertices.part_names)
    if encoding == "ascii":
        body = _text(data[at:].removeprefix(BYTE_ORDER_MARK), elements, new)
    else:
        body = _binary(data, at, elements, new, BYTE_ORDERS[encoding])
    return header + body


def _columns(cut: Cut, scores: bool) -> list[Column]:
    found: list[Column] = [("part", cut.labels.astype("<i4"))]
    return found + list(cut.score_columns().items() if scores else ())


def _header(text: bytes, elements: list[Element], new: dict[str, list[Column]], part_names: Sequence[str]) -> bytes:
    """The header with the new properties at the end of their elements."""
    lines = text.splitlines(keepends=True)
    end = lines[0][len(lines[0].rstrip(b"\r\n")) :]
    out: list[bytes] = []
    current = ""

    def finish() -> None:
        for name, values in new.get(current, ()):
            out.append(f"property {'int' if values.dtype.kind == 'i' else 'float'} {name}".encode() + end)

    for line in lines:
        words = line.split()
        if words[:1] in ([b"element"], [b"end_header"]):
            finish()
            current = words[1].decode("latin-1") if words[0] == b"element" else ""
        elif words[:1] == [b"property"] and words[-1].lower().decode("latin-1") in dict(new.get(current, ())):
            continue
        out.append(line)
        if words[:1] == [b"format"]:
            out.append(b"comment part -1: none of the parts" + end)
            out += [f"comment part {i}: {' '.join(name.split())}".encode() + end for i, name in enumerate(part_names)]
    return b"".join(out)


def _binary(data: bytes, at: int, elements: list[Element], new: dict[str, list[Column]], order: str) -> bytes:
    out: list[bytes] = []
    for element in elements:
        columns, after = element_rows(element, data, at, order)
        if element.name in new and columns:
            out.append(_rows(element, columns, new[element.name], order))
        else:
            out.append(data[at:after])
        at = after
    return b"".join(out) + data[at:]


def _rows(element: Element, columns: Columns, new: list[Column], order: str) -> bytes:
    """The rows of an element with new values at their end; lists may have any lengths."""
    # For each value of a row: how many bytes it takes in each row, and the bytes of all rows in turn.
    fields: list[tuple[NDArray[np.int64], NDArray[np.uint8]]] = []
    for p in element.properties:
        if p.name in dict(new):
            continue
        column = columns[p.name]
        values = np.ascontiguousarray(column.values, order + p.type)
        if column.lengths is None:
            fields.append((np.full(element.count, values.itemsize), values.view(np.uint8)))
        else:
            lengths = column.lengths.astype(order + p.length_type)
            fields.append((np.full(element.count, lengths.itemsize), lengths.view(np.uint8)))
            fields.append((column.lengths * values.itemsize, values.view(np.uint8)))
    for _, values in new:
        stored = values.astype(order + values.dtype.str[1:])
        fields.append((np.full(element.count, stored.itemsize), stored.view(np.uint8)))
    sizes = np.stack([size for size, _ in fields], axis=1)
    starts = np.cumsum(sizes).reshape(sizes.shape) - sizes
    out = np.empty(int(sizes.sum()), np.uint8)
    for i, (size, data) in enumerate(fields):
        first = np.repeat(starts[:, i] - (np.cumsum(size) - size), size)
        out[first + np.arange(len(data))] = data
    return out.tobytes()


def _text(text: bytes, elements: list[Element], new: dict[str, list[Column]]) -> bytes:
    lines = text.splitlines(keepends=True)
    try:
        rows = list(text_rows(elements, lines))
    except CorruptFileError:  # rows that do not begin with a line each
        words = text.split()
        return _text(b"\n".join(_one_row_per_line(elements, words)), elements, new)
    filled = [line for line in lines if line.strip()]
    end = lines[0][len(lines[0].rstrip(b"\r\n")) :] or b"\n"
    added = {name: _words(columns) for name, columns in new.items()}
    replaced = {e.name: {p.name for p in e.properties} & dict(new[e.name]).keys() for e in elements if e.name in new}
    out: list[bytes] = []
    number, before = 0, ""
    for (element, words, needed), line in zip(rows, filled, strict=False):
        number = number + 1 if element.name == before else 0
        before = element.name
        if element.name not in new:
            out.append(line)
            continue
        if replaced[element.name] or len(words) != needed:
            line = b" ".join(_without(words[:needed], element, replaced[element.name]))
        out.append(line.rstrip() + added[element.name][number] + end)
    return b"".join([*out, *filled[len(rows) :]])


def _words(columns: list[Column]) -> list[bytes]:
    """What is added to each row."""
    texts = [[(b" %d" if v.dtype.kind == "i" else b" %.6g") % x for x in v.tolist()] for _, v in columns]
    return texts[0] if len(texts) == 1 else [b"".join(row) for row in zip(*texts, strict=True)]


def _without(words: list[bytes], element: Element, names: set[str]) -> list[bytes]:
    """The words of a row without those of some properties."""
    kept: list[bytes] = []
    at = 0
    for p in element.properties:
        width = 1 + int(float(words[at])) if p.length_type else 1
        kept += [] if p.name in names else words[at : at + width]
        at += width
    return kept


def _one_row_per_line(elements: list[Element], words: list[bytes]) -> list[bytes]:
    lines, at = [], 0
    for element in elements:
        for _ in range(element.count if element.properties else 0):
            start = at
            for p in element.properties:
                at += 1 + int(float(words[at])) if p.length_type else 1
            lines.append(b" ".join(words[start:at]))
    return lines
