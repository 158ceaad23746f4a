"""Reads the tables (``*.tsv``) that lie beside this module.

The first line names the columns. A column ``source`` holds the corpora that a row applies to, separated by commas, or
``*`` for all of them. Corpora are named as in ``source_paths.tsv``.
"""

from __future__ import annotations

from functools import lru_cache
from importlib.resources import files

EVERY_SOURCE = "*"


@lru_cache(maxsize=16)
def read_table(name: str, *columns: str) -> tuple[tuple[str, ...], ...]:
    """The rows of a table without its first line. Raises ValueError when the columns are not the expected ones."""
    text = files("pa3d.data").joinpath(name).read_text(encoding="utf-8")
    header, *rows = (tuple(line.split("\t")) for line in text.splitlines())
    if header != columns:
        raise ValueError(f"{name}: expected the columns {columns}, got {header}")
    for number, row in enumerate(rows, 2):
        if len(row) != len(columns):
            raise ValueError(f"{name}, line {number}: expected {len(columns)} columns, got {len(row)}")
    return tuple(rows)


def applies(sources: str, source: str) -> bool:
    """Whether a row with this entry in its column ``source`` applies to a corpus.

    >>> applies("flightgear,sweethome3d", "flightgear"), applies("*", ""), applies("flightgear", "")
    (True, True, False)
    """
    return sources == EVERY_SOURCE or source in sources.split(",")
