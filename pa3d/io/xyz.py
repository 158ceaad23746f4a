"""Clouds as tables of text: XYZ, TXT, CSV, ASC and PTS.

A row is a point. Fields are separated by commas, semicolons, tabs or blanks. A header line says which columns are x, y
and z; without one the first three are, unless the first counts the rows or is the time. What cannot be told apart is
refused, unless the caller names the columns.
"""

from __future__ import annotations

import csv
import re
import warnings
from collections.abc import Iterator, Sequence
from itertools import islice, pairwise
from pathlib import Path
from typing import Any, TextIO

import numpy as np
from numpy.typing import NDArray

from pa3d.io._common import COLUMNS_OPTION, CorruptFileError, Format, Geometry, byte_columns, first_line

LONGEST_HEADER = 100  # lines
WIDEST_ROW = 64  # columns that are still a point's, where there are only three rows
LARGEST_METRES = 5e7
NO_NUMBER = ("", "na", "n/a", "null", "none", "-")
COLOR_NAMES = (("red", "green", "blue"), ("r", "g", "b"))
# Prefixes of names such as nx, ny, nz, which are no positions.
OTHER_VECTORS = re.compile(r"(.*[_. ])?(n|normals?|v|vel|velocity|a|acc)[:_. ]?$")


def read(path: Path, columns: Sequence[str | int] = ()) -> Geometry:
    """columns: the names or numbers (from 1) of those with x, y and z; empty finds them."""
    with path.open("rb") as binary:
        start = binary.read(4096)
    encoding = "utf-16" if start[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    if encoding != "utf-16" and b"\0" in start:
        raise CorruptFileError("is not text; expected rows 'x y z' of numbers")
    with path.open(encoding=encoding, errors="replace") as file:
        head = [line.rstrip("\n") for line in islice(file, LONGEST_HEADER)]
        skip = next((i for i, line in enumerate(head) if _is_row(line)), None)
        if skip is None:
            raise CorruptFileError(f"has no row 'x y z' of numbers in its first {LONGEST_HEADER} lines")
        separator = _separator(head[skip])
        fields = _split(head[skip], separator)
        rows = [row for line in head[skip:] if _is_row(line) and (row := _split(line, separator))]
        if columns:
            chosen = _chosen_columns(head[:skip], separator, rows, columns)
        else:
            chosen = _named_columns(head[:skip], separator, rows) or _first_columns(rows, path.suffix.lower())
        file.seek(0)
        decimal_comma = separator != "," and any("," in fields[c] for c in chosen)
        table = _numbers(file, decimal_comma, delimiter=separator, skiprows=skip, usecols=chosen)
    if len(table) == 3 and len(fields) > WIDEST_ROW:
        raise CorruptFileError(
            f"has 3 rows of {len(fields)} numbers; expected a row 'x y z' for each point", "transpose it"
        )
    return Geometry(table[:, :3], None, byte_columns(table[:, 3:6]))


def _numbers(file: TextIO, decimal_comma: bool, **layout: Any) -> NDArray[np.float64]:
    start = file.tell()
    for converters in (None, _number):  # the second is slower, and takes fields that say that there is no number
        file.seek(start)
        rows = (line.replace(",", ".") for line in file) if decimal_comma else file
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", UserWarning)  # of a file without rows
                return np.loadtxt(rows, ndmin=2, quotechar='"', converters=converters, **layout)
        except ValueError as error:
            reason = first_line(error).split(";")[0].rstrip(".")
    raise CorruptFileError(f"is damaged after line {layout['skiprows']}: {reason}", "give every row x y z")


def _number(text: str) -> float:
    return np.nan if text.strip().lower() in NO_NUMBER else float(text)


def _is_number(text: str) -> bool:
    return re.fullmatch(r"[-+]?(\d+\.?\d*|[.,]\d+|\d+,\d+|nan|inf(inity)?)(e[-+]?\d+)?", text, re.I) is not None


def _separator(line: str) -> str | None:
    """None for blanks."""
    if ";" in line:
        return ";"
    fields = [field.strip(' "') for field in line.strip().split("\t")]
    if len(fields) >= 3 and sum(map(_is_number, fields)) >= 3:
        return "\t"
    # In "0,5 1,5 2" commas are those of decimals.
    return "," if "," in line and sum(map(_is_number, line.split())) < 3 else None


def _split(line: str, separator: str | None) -> list[str]:
    if separator and '"' in line:  # which may hold the separator
        return [field.strip(" \t\"'") for field in next(csv.reader([line.strip()], delimiter=separator))]
    return [field.strip(" \t\"'") for field in line.strip().split(separator)]


def _is_row(line: str) -> bool:
    fields = _split(line, _separator(line))
    return not line.lstrip().startswith(("#", "//")) and sum(map(_is_number, fields)) >= 3


def _header_fields(lines: list[str], separator: str | None) -> Iterator[tuple[str, str | None, list[str]]]:
    """Lines before the rows, the last first, each split in every way, with its marks of comments taken off."""
    for line in reversed(lines):
        text = line.strip().lstrip("#/ \t").lower()
        # A header may be separated otherwise than its rows: COLMAP's has commas.
        for mark in dict.fromkeys((separator or ",", ",", None)):
            yield line, mark, _split(text, mark)


def _without_units(names: list[str]) -> list[str]:
    return [re.sub(r"\s*[\[(].*", "", name) for name in names]


def _named_columns(lines: list[str], separator: str | None, rows: list[list[str]]) -> list[int] | None:
    """Where a header such as 'id,x,y,z' puts the coordinates, and the colours if it names them."""
    row = rows[0]
    for line, mark, fields in _header_fields(lines, separator):
        names = _without_units(fields)
        where = _axes(names)
        if where is not None:
            if mark is None and len(names) > len(row) and where != [0, 1, 2]:
                raise _unclear(names, "has a header with more words than columns")
            # Some programs write a column of row names that the header leaves out.
            shift = int(len(names) + 1 == len(row) and (not _is_number(row[0]) or _first_counts(rows)))
            if max(where) + shift < len(row):
                return [i + shift for i in where + _colors(names, len(row) - shift)]
        elif mark is None and not line.lstrip().startswith(("#", "//")):
            names = _split(line, separator)
            if len(names) == len(row) > 3 and not any(map(_is_number, names)) and all(names):
                raise _unclear(names, "has a header that does not say which columns are x, y and z")
    return None


def _colors(names: list[str], width: int) -> list[int]:
    found = next(([names.index(c) for c in rgb] for rgb in COLOR_NAMES if set(rgb) <= set(names)), [])
    return found if max(found, default=0) < width else []


def _chosen_columns(
    lines: list[str], separator: str | None, rows: list[list[str]], columns: Sequence[str | int]
) -> list[int]:
    """The columns that were asked for, by name where a header has them all, else by number."""
    width = len(rows[0])
    wanted = [str(column).strip().lower() for column in columns]
    for _, _, fields in _header_fields(lines, separator):
        for names, asked in ((fields, wanted), (_without_units(fields), _without_units(wanted))):
            if set(asked) <= set(names) and len(names) <= width:
                return [*map(names.index, asked), *_colors(names, width)]
    if all(name.isdecimal() and 1 <= int(name) <= width for name in wanted):
        return [int(name) - 1 for name in wanted]
    header = next((f for _, _, f in _header_fields(lines, separator) if len(f) == width), rows[0])
    raise _unclear(header, f"has no columns {', '.join(map(str, columns))}")


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


def _first_columns(rows: list[list[str]], suffix: str) -> list[int]:
    """x, y, z first, then colours if any; after an intensity in PTS."""
    row = rows[0]
    if not all(map(_is_number, row[:3])):
        raise _unclear(row, "has no header, and its first three columns are not numbers")
    if len(row) > 3 and _first_counts(rows):
        raise _unclear(row, "has no header, and its first column only counts the rows")
    if len(row) > 3 and _first_is_time(rows):
        raise _unclear(row, "has no header, and its first column looks like the time")
    numeric = next((i for i, text in enumerate(row) if not _is_number(text)), len(row))
    colors = [4, 5, 6] if suffix == ".pts" and numeric >= 7 else [3, 4, 5]
    return [0, 1, 2, *(colors if numeric > colors[-1] else [])]


def _first_counts(rows: list[list[str]]) -> bool:
    """Whether the first column is 0, 1, 2, ... or 1, 2, 3, ..., or rises as numbers of rows do that were picked out."""
    whole = [int(row[0]) for row in rows if re.fullmatch(r"\d{1,15}", row[0])]
    if len(whole) < len(rows) or len(rows) < 3:
        return False
    if whole == list(range(whole[0], whole[0] + len(whole))):
        return whole[0] in (0, 1) or len(rows) > 10
    fractions = all(sum("." in row[c] for row in rows if c < len(row)) > len(rows) / 2 for c in (1, 2, 3))
    return fractions and all(a < b for a, b in pairwise(whole))


def _first_is_time(rows: list[list[str]]) -> bool:
    """Whether the first column never falls, and is larger than metres can be, as seconds since 1970 are."""
    times = [float(row[0].replace(",", ".")) for row in rows if _is_number(row[0])]
    return len(times) > 2 and times[0] > LARGEST_METRES and all(a <= b for a, b in pairwise(times))


def _unclear(columns: list[str], why: str) -> CorruptFileError:
    listed = ", ".join(column[:20] for column in columns[:12]) + (", ..." if len(columns) > 12 else "")
    return CorruptFileError(f"{why} ({listed})", f"name them with {COLUMNS_OPTION}, or in a header line")


FORMAT = Format(
    "XYZ, TXT, CSV, ASC, PTS",
    (".xyz", ".txt", ".csv", ".asc", ".pts"),
    read,
    "clouds",
    note="a row for each point; a header or `--columns` names those with x, y, z",
    table=read,
)
