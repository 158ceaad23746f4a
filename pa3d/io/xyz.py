"""Clouds as tables of text: XYZ, TXT, CSV, ASC and PTS.

A row is a point. Fields are separated by commas, semicolons, tabs or blanks. A header line says which columns are x, y
and z; without one the first three are, unless the first only counts the rows. What cannot be told apart is refused.
"""

from __future__ import annotations

import re
from itertools import islice
from pathlib import Path

import numpy as np

from pa3d.io._common import CorruptFileError, Format, Geometry, byte_columns, first_line

LONGEST_HEADER = 100  # lines
WIDEST_ROW = 64  # columns that are still a point's, where there are only three rows
COLOR_NAMES = (("red", "green", "blue"), ("r", "g", "b"))
# Prefixes of names such as nx, ny, nz, which are no positions.
OTHER_VECTORS = re.compile(r"(.*[_. ])?(n|normals?|v|vel|velocity|a|acc)[:_. ]?$")


def read(path: Path) -> Geometry:
    with path.open("rb") as binary:
        if b"\0" in binary.read(4096):
            raise CorruptFileError("is not text; expected rows 'x y z' of numbers")
    with path.open(encoding="utf-8-sig", errors="replace") as file:
        head = [line.rstrip("\n") for line in islice(file, LONGEST_HEADER)]
        skip = next((i for i, line in enumerate(head) if _is_row(line)), None)
        if skip is None:
            raise CorruptFileError(f"has no row 'x y z' of numbers in its first {LONGEST_HEADER} lines")
        separator = _separator(head[skip])
        fields = _split(head[skip], separator)
        columns = _named_columns(head[:skip], separator, fields)
        if columns is None:
            columns = _first_columns(head[skip:], separator, fields, path.suffix.lower())
        file.seek(0)
        decimal_comma = separator == ";" and "," in "".join(fields[c] for c in columns)
        rows = (line.replace(",", ".") for line in file) if decimal_comma else file
        try:
            table = np.loadtxt(
                rows, delimiter=separator, skiprows=skip, usecols=columns, ndmin=2, quotechar='"', converters=_number
            )
        except ValueError as error:
            reason = first_line(error).split(";")[0].rstrip(".")
            raise CorruptFileError(f"is damaged after line {skip}: {reason}", "give every row x y z") from None
    if len(table) == 3 and len(fields) > WIDEST_ROW:
        raise CorruptFileError(
            f"has 3 rows of {len(fields)} numbers; expected a row 'x y z' for each point", "transpose it"
        )
    return Geometry(table[:, :3], None, byte_columns(table[:, 3:6]))


def _number(text: str) -> float:
    return float(text) if text.strip() else np.nan


def _is_number(text: str) -> bool:
    return re.fullmatch(r"[-+]?(\d+\.?\d*|[.,]\d+|\d+,\d+|nan|inf(inity)?)(e[-+]?\d+)?", text, re.I) is not None


def _separator(line: str) -> str | None:
    """None for blanks."""
    if ";" in line or "," in line:
        return ";" if ";" in line else ","
    fields = line.strip().split("\t")
    return "\t" if len(fields) >= 3 and all(_is_number(f.strip(' "')) for f in fields[:3]) else None


def _split(line: str, separator: str | None) -> list[str]:
    return [field.strip(" \t\"'") for field in line.strip().split(separator)]


def _is_row(line: str) -> bool:
    fields = _split(line, _separator(line))
    return not line.lstrip().startswith(("#", "//")) and sum(map(_is_number, fields)) >= 3


def _named_columns(lines: list[str], separator: str | None, row: list[str]) -> list[int] | None:
    """Where a header such as 'id,x,y,z' puts the coordinates, and the colours if it names them."""
    for line in reversed(lines):
        text = line.strip().lstrip("#/ \t").lower()
        # A header may be separated otherwise than its rows: COLMAP's has commas.
        for mark in dict.fromkeys((separator or ",", ",", None)):
            names = [re.sub(r"\s*[\[(].*", "", name) for name in _split(text, mark)]
            where = _axes(names)
            if where is None:
                continue
            if mark is None and len(names) > len(row) and where != [0, 1, 2]:
                raise _unclear(names, "has a header with more words than columns")
            if max(where) >= len(row):
                continue
            colors = next(([names.index(c) for c in rgb] for rgb in COLOR_NAMES if set(rgb) <= set(names)), [])
            return where + (colors if max(colors, default=0) < len(row) else [])
        if not line.lstrip().startswith(("#", "//")):
            names = _split(line, separator)
            if len(names) == len(row) > 3 and not any(map(_is_number, names)) and all(names):
                raise _unclear(names, "has a header that does not say which columns are x, y and z")
    return None


def _axes(names: list[str]) -> list[int] | None:
    """The columns called x, y, z, or px, py, pz, or points:0, points:1, points:2; None where there are more such."""
    if {"x", "y", "z"} <= set(names):
        return [names.index(axis) for axis in "xyz"]
    found = []
    for i, name in enumerate(names):
        for first, others in (("x", "yz"), ("0", "12")):
            at = name.rfind(first)
            rest = [name[:at] + other + name[at + 1 :] for other in others]
            is_position = at >= 0 and not OTHER_VECTORS.fullmatch(name[:at])
            if is_position and (first == "x" or name[:at].endswith(":")) and set(rest) <= set(names):
                found.append([i, *map(names.index, rest)])
    return found[0] if len(found) == 1 else None


def _first_columns(lines: list[str], separator: str | None, row: list[str], suffix: str) -> list[int]:
    """x, y, z first, then colours if any; after an intensity in PTS."""
    if not all(map(_is_number, row[:3])):
        raise _unclear(row, "has no header, and its first three columns are not numbers")
    first = [fields[0] for line in lines if _is_row(line) and (fields := _split(line, separator))]
    whole = [int(text) for text in first if re.fullmatch(r"\d{1,15}", text)]
    counts = len(whole) == len(first) > 2 and whole == list(range(whole[0], whole[0] + len(whole)))
    if counts and whole[0] in (0, 1) and len(row) > 3:
        raise _unclear(row, "has no header, and its first column only counts the rows")
    numeric = next((i for i, text in enumerate(row) if not _is_number(text)), len(row))
    colors = [4, 5, 6] if suffix == ".pts" and numeric >= 7 else [3, 4, 5]
    return [0, 1, 2, *(colors if numeric > colors[-1] else [])]


def _unclear(columns: list[str], why: str) -> CorruptFileError:
    listed = ", ".join(column[:20] for column in columns[:12]) + (", ..." if len(columns) > 12 else "")
    return CorruptFileError(f"{why} ({listed})", "give it a header line that names x, y and z")


FORMAT = Format(
    "XYZ, TXT, CSV, ASC, PTS",
    (".xyz", ".txt", ".csv", ".asc", ".pts"),
    read,
    "clouds",
    note="a row for each point; a header may name the columns",
)
