"""Sources, licences and wrong names of harvested files.

The licence of a file comes from the first of these that has one:

- the caller
- the table of known sources
- a LICENSE or COPYING file in the folder of the file or above it, if it is a known licence
- the copyright entry of a glTF file

Otherwise it is "unknown". The tables are TSV files beside this module.
"""

from __future__ import annotations

import re
from functools import lru_cache
from pathlib import Path

from pa3d.data.tables import read_table

# A path pattern names a package's own folders, so that it matches no other file.
KNOWN_SOURCES = read_table("source_paths.tsv", "pattern", "source", "license")
KNOWN_CATEGORIES = read_table("source_categories.tsv", "pattern", "category", "source")
# The first pattern that matches counts, so narrower ones come first. Licences are SPDX identifiers.
LICENSE_TEXTS = read_table("license_texts.tsv", "pattern", "license")

_LICENSE_NAMES = re.compile(r"(un)?licen[cs]e|copying|copyright|notice", re.I)


def origin(path: Path, copyright: str = "") -> tuple[str, str]:
    """Source and licence of a file; copyright is what the file itself says."""
    where = path.absolute().as_posix().lower()
    matches = ((source, license) for pattern, source, license in KNOWN_SOURCES if re.search(pattern, where))
    return next(matches, (path.absolute().parent.name, _license_near(path.absolute().parent) or _spdx(copyright)))


def guess_category(path: Path) -> str:
    """The category of a file: that of its folder in the table, else the words of its name."""
    where = path.absolute().as_posix().lower()
    category = next((name for pattern, name, _ in KNOWN_CATEGORIES if re.search(pattern, where)), None)
    if category:
        return category
    words = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", path.stem)
    return " ".join(re.findall(r"[a-z]+", words.lower())) or path.stem


def corrections(source: str, id: str) -> dict[str, str] | None:
    """Wrong name -> right name ("" for none) of a shape's parts. {} for most shapes, None for one to leave out.

    The table is ``corrections.tsv``. Its rows were found by looking at every shape of these sources. The shape ``*``
    is every shape of the source. The name ``*`` with the replacement ``-`` leaves the shape out, because its names
    mislead throughout.
    """
    table = _corrections()
    return table[source, id] if (source, id) in table else table.get((source, "*"), {})


@lru_cache(maxsize=1)
def _corrections() -> dict[tuple[str, str], dict[str, str] | None]:
    table: dict[tuple[str, str], dict[str, str] | None] = {}
    for source, id, name, replacement in read_table("corrections.tsv", "source", "shape", "name", "replacement"):
        if (name, replacement) == ("*", "-"):
            table[source, id] = None
        else:
            names = table.setdefault((source, id), {})
            assert names is not None, f"corrections.tsv: {source} {id} is left out, but also has names"
            names[name] = replacement
    return table


@lru_cache(maxsize=4096)
def _license_near(folder: Path, above: int = 2) -> str:
    """The licence that a file in this folder, or up to two above it, states; "" when none is recognised."""
    try:
        names = sorted(p for p in folder.iterdir() if _LICENSE_NAMES.match(p.name) and p.is_file())
    except OSError:
        return ""
    for path in names:
        try:
            text = path.read_bytes()[:20_000].decode("utf-8", "replace")
        except OSError:
            continue
        license = _spdx(text, unknown="")
        if license:
            return license
    return _license_near(folder.parent, above - 1) if above and folder.parent != folder else ""


def _spdx(text: str, unknown: str = "unknown") -> str:
    return next((spdx for pattern, spdx in LICENSE_TEXTS if re.search(pattern, text, re.I)), unknown)
