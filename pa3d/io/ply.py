"""PLY, ascii and binary of both byte orders: a mesh when there are faces or triangle strips, else a cloud.

Polygons of mixed sizes are read (trimesh 5.2 cannot in binary files), nothing is reordered, and a file that
holds less than its header declares is refused.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pa3d.io._common import (
    CorruptFileError,
    Format,
    Geometry,
    byte_colors,
    numbers,
    polygons_or_none,
    strip_triangles,
    triangulate,
)

# The letters are those of the struct module; numpy knows them, too.
TYPES = {
    **dict.fromkeys(("char", "int8"), "b"),
    **dict.fromkeys(("uchar", "uint8"), "B"),
    **dict.fromkeys(("short", "int16"), "h"),
    **dict.fromkeys(("ushort", "uint16"), "H"),
    **dict.fromkeys(("int", "int32"), "i"),
    **dict.fromkeys(("uint", "uint32"), "I"),
    **dict.fromkeys(("float", "float32"), "f"),
    **dict.fromkeys(("double", "float64"), "d"),
    "int64": "q",
    "uint64": "Q",
}
BYTE_ORDERS = {"binary_little_endian": "<", "binary_big_endian": ">", "ascii": "<"}
COLOR_NAMES = (("red", "green", "blue"), ("r", "g", "b"), ("diffuse_red", "diffuse_green", "diffuse_blue"))
BYTE_ORDER_MARK = b"\xef\xbb\xbf"
INDEX_NAMES = ("vertex_indices", "vertex_index")


@dataclass
class Property:
    name: str
    type: str
    length_type: str = ""  # of a list


@dataclass
class Element:
    name: str
    count: int
    properties: list[Property]


@dataclass
class Column:
    """All values of one property, row after row; for a list also how many each row has."""

    values: NDArray[Any]
    lengths: NDArray[np.int64] | None = None  # (count,)


Columns = dict[str, Column]


def read(path: Path) -> Geometry:
    data = path.read_bytes()
    encoding, elements, at = parse_header(data)
    columns: dict[str, Columns] = {}
    if encoding == "ascii":
        columns = _text_columns(elements, data[at:].removeprefix(BYTE_ORDER_MARK))
        elements = []
    for element in elements:
        columns[element.name], at = element_rows(element, data, at, BYTE_ORDERS[encoding])
        if "vertex" in columns and {"face", "tristrips"} & columns.keys():
            break
    vertex = {name: column.values for name, column in columns.get("vertex", {}).items()}
    if not vertex.keys() >= {"x", "y", "z"}:
        raise CorruptFileError("has no vertices with x, y and z")
    points = np.stack([vertex[axis] for axis in "xyz"], axis=1).astype(np.float64)
    channels = next(([vertex[c] for c in names] for names in COLOR_NAMES if vertex.keys() >= set(names)), None)
    if channels and encoding == "ascii" and max(channel.max() for channel in channels) > 1:
        channels = [channel.astype(np.int64) for channel in channels]
    colors = byte_colors(channels) if channels else None
    return Geometry(points, _faces(columns), colors, face_polygon=_polygons(columns))


def _text_columns(elements: list[Element], text: bytes) -> dict[str, Columns]:
    """As numbers in a row, text is a binary file in which everything is a double."""
    for p in (p for element in elements for p in element.properties):
        p.type, p.length_type = "d", p.length_type and "d"
    values = numbers(text)
    for trimmed in (False, True):
        data, at, columns = values.astype("<f8").tobytes(), 0, {}
        try:
            for element in elements:
                columns[element.name], at = element_rows(element, data, at, "<")
        except CorruptFileError:
            if trimmed:
                raise
            at = -1
        if at == len(data):
            return columns
        values = numbers(_trimmed(elements, text))  # some lines hold more than the header says
    return columns


def _trimmed(elements: list[Element], text: bytes) -> bytes:
    """Text without what lines hold beyond the properties of their element. Raises CorruptFileError."""
    rows = text_rows(elements, text.splitlines())
    return b" ".join(word for _, words, needed in rows for word in words[:needed])


def text_rows(elements: list[Element], lines: Iterable[bytes]) -> Iterator[tuple[Element, list[bytes], int]]:
    """The words of each row of text, and how many of them its properties have. Raises CorruptFileError."""
    rows = (words for line in lines if (words := line.split()))
    for element in elements:
        width, lists = len(element.properties), any(p.length_type for p in element.properties)
        for _ in range(element.count if element.properties else 0):  # rows of nothing take no lines
            words, needed = next(rows, []), width
            if lists:
                needed = 0
                for p in element.properties:
                    has_length = p.length_type and needed < len(words)
                    needed += 1 + (_length(float(words[needed]), element) if has_length else 0)
            if len(words) < needed:
                raise _truncated(element)
            yield element, words, needed


def _length(value: float, element: Element) -> int:
    """How many values a list declares. Raises CorruptFileError where that is not an integer."""
    if not (value >= 0 and value == int(value)):
        raise CorruptFileError(f"is damaged: a list of '{element.name}' declares {value:g} values")
    return int(value)


def _faces(elements: dict[str, Columns]) -> NDArray[np.int64] | None:  # (F, 3)
    name = "face" if elements.get("face") else "tristrips"
    columns = elements.get(name, {})
    index = index_column(columns)
    if index is None:
        return None
    if index.values.dtype.kind == "f" and (index.values != np.rint(index.values)).any():
        raise CorruptFileError("is damaged: a face has vertex numbers that are not whole")
    lengths = np.asarray(index.lengths)
    if name == "face":
        return triangulate(lengths, index.values)
    # A strip ends with its row, or where -1 stands.
    rows = np.split(index.values.astype(np.int64), np.cumsum(lengths)[:-1])
    runs = (run[run >= 0] for row in rows for run in np.split(row, np.flatnonzero(row < 0)))
    return np.concatenate([strip_triangles(run) for run in runs])


def _polygons(elements: dict[str, Columns]) -> NDArray[np.int64] | None:  # (F,)
    """The row of each face of `_faces`; None where every row is one, and for strips."""
    index = index_column(elements.get("face", {}))
    return None if index is None else polygons_or_none(np.asarray(index.lengths))


def index_column(columns: Columns) -> Column | None:
    """The list of vertex numbers among the columns of faces or strips; None where there is no list."""
    lists = [name for name in (*INDEX_NAMES, *columns) if name in columns and columns[name].lengths is not None]
    return columns[lists[0]] if lists else None


def parse_header(data: bytes) -> tuple[str, list[Element], int]:
    """Encoding, elements, and where the data begin."""
    start = len(BYTE_ORDER_MARK) if data.startswith(BYTE_ORDER_MARK) else 0
    first = re.compile(rb"ply[ \t]*(\r\n|\n|\r)").match(data, start)
    if first is None:
        raise CorruptFileError("is not a PLY file: it does not begin with 'ply'", "check the suffix or export it again")
    # Lines end as the first one does: behind the last one, binary data may begin with any byte.
    for newline in (first[1], rb"(?:\r\n|\n|\r)"):
        last = re.compile(newline + rb"end_header[ \t]*" + newline).search(data, first.end(1) - len(first[1]), 1 << 20)
        if last is not None:
            break
    else:
        raise CorruptFileError("is truncated: its PLY header is not complete")
    encoding, elements = "", []
    for raw in data[first.end() : last.start()].splitlines():
        line = raw.decode("latin-1")
        match line.split():
            case ["format", name, *_] if name in BYTE_ORDERS:
                encoding = name
            case ["element", name, count] if count.isdecimal():
                elements.append(Element(name, int(count), []))
            case ["property", "list", length, type_, name] if elements and {length, type_} <= TYPES.keys():
                elements[-1].properties.append(Property(name.lower(), TYPES[type_], TYPES[length]))
            case ["property", type_, name] if elements and type_ in TYPES:
                elements[-1].properties.append(Property(name.lower(), TYPES[type_]))
            case ["format" | "element" | "property", *_]:
                raise CorruptFileError(f"is damaged: its PLY header has the line {line[:60]!r}")
            case _:  # comment, obj_info, and remarks that some programs write without such a word
                pass
    if not encoding:
        raise CorruptFileError(f"names no known PLY format; expected one of {', '.join(BYTE_ORDERS)}")
    return encoding, elements, last.end()


def element_rows(element: Element, data: bytes, at: int, order: str) -> tuple[Columns, int]:
    """The columns of an element that begins at byte ``at``, and where the next one begins."""
    smallest_row = sum(struct.calcsize(order + (p.length_type or p.type)) for p in element.properties)
    if element.count * smallest_row > len(data) - at:
        raise _truncated(element)
    if element.count == 0 or not element.properties:
        return {}, at
    # Lists are mostly as long as in the first row: then all rows are one array.
    first, _ = _walk(replace(element, count=1), data, at, order)
    fields: list[tuple[Any, ...]] = []
    for i, p in enumerate(element.properties):
        if p.length_type:
            fields.append((f"length{i}", order + p.length_type))
        fields.append((f"value{i}", order + p.type, (len(first[p.name].values),)))
    row = np.dtype(fields)
    if element.count * row.itemsize > len(data) - at:
        return _walk(element, data, at, order)
    table = np.frombuffer(data, row, element.count, at)
    columns: Columns = {}
    for i, p in enumerate(element.properties):
        values = table[f"value{i}"]
        lengths = table[f"length{i}"] if p.length_type else None
        if lengths is not None and (lengths != values.shape[1]).any():
            return _walk(element, data, at, order)
        columns[p.name] = Column(values.reshape(-1), None if lengths is None else lengths.astype(np.int64))
    return columns, at + element.count * row.itemsize


def _walk(element: Element, data: bytes, at: int, order: str) -> tuple[Columns, int]:
    """Row by row, for lists of different lengths."""
    values: list[list[float]] = [[] for _ in element.properties]
    lengths: list[list[int]] = [[] for _ in element.properties]
    try:
        for _ in range(element.count):
            for p, value, length in zip(element.properties, values, lengths, strict=True):
                n = 1
                if p.length_type:
                    n = _length(struct.unpack_from(order + p.length_type, data, at)[0], element)
                    at += struct.calcsize(order + p.length_type)
                    length.append(n)
                value.extend(struct.unpack_from(f"{order}{n}{p.type}", data, at))
                at += n * struct.calcsize(order + p.type)
    except struct.error:
        raise _truncated(element) from None
    columns = {
        p.name: Column(np.array(value, order + p.type), np.array(length) if p.length_type else None)
        for p, value, length in zip(element.properties, values, lengths, strict=True)
    }
    return columns, at


def _truncated(element: Element) -> CorruptFileError:
    return CorruptFileError(
        f"is truncated or damaged: it declares {element.count} rows of '{element.name}' but holds fewer"
    )


FORMAT = Format("PLY", (".ply",), read, "meshes, clouds", note="ascii and binary, triangle strips, vertex colours")
