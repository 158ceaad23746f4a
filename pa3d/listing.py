"""The shapes in files, folders and lists of paths, for commands that take many.

A name is a path that tells a shape from all others of a run, so that its results can lie under it.
"""

from __future__ import annotations

import hashlib
import os
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from pa3d.errors import InputError
from pa3d.io import SUFFIXES

# Files of these suffixes may hold anything, so those in a folder are skipped. A path that is given or listed is read.
SKIPPED_IN_FOLDERS = (".txt", ".csv", ".asc", ".npy")


def files_below(folder: Path, without: Path | None = None) -> list[Path]:
    """Every file of a folder and its subfolders, sorted.

    Hidden files and folders are left out: they belong to the system or to a program. Links to files count as files;
    links to folders are not followed, because they may lead in circles. without: a folder that is left out.
    Raises InputError when a folder cannot be read.
    """

    def refuse(error: OSError) -> None:
        raise InputError(f"{error.filename}: cannot be read ({error.strerror}); change its permissions") from error

    left_out = None if without is None else os.path.realpath(without)
    found = []
    for parent, folders, names in os.walk(folder, onerror=refuse):
        folders[:] = [
            name
            for name in folders
            if not name.startswith(".") and (left_out is None or os.path.realpath(Path(parent, name)) != left_out)
        ]
        found += [Path(parent, name) for name in names if not name.startswith(".")]
    return sorted(path for path in found if path.is_file())


def is_shape(path: Path) -> bool:
    """Whether a file in a folder is taken for a shape, by its suffix."""
    suffix = path.suffix.lower()
    return suffix in SUFFIXES and suffix not in SKIPPED_IN_FOLDERS


def is_list(path: Path) -> bool:
    """A .lst file, or a .txt one whose first entry is a path: it exists, or ends like a shape."""
    suffix = path.suffix.lower()
    if suffix != ".txt":
        return suffix == ".lst"
    with path.open(encoding="utf-8-sig", errors="replace") as file:
        first = next(entries(file), "")
    try:
        return first != "" and (Path(first).suffix.lower() in SUFFIXES or (path.parent / first).exists())
    except (OSError, ValueError):  # too long for a path, or with a null byte
        return False


def read_list(path: Path) -> list[Path]:
    """The paths of a text file with one per line, relative to its folder. Blank lines and those with # are skipped."""
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); give a list with one path per line") from error
    except UnicodeDecodeError:
        raise InputError(f"{path}: is not UTF-8 text; give a list with one path per line") from None
    return [path.parent / entry for entry in entries(lines)]


def entries(lines: Iterable[str]) -> Iterator[str]:
    """What a list names, one path per line."""
    return (line.strip() for line in lines if line.strip() and not line.startswith("#"))


def named_shapes(paths: Sequence[Path], within: Path, without: Path | None = None) -> dict[str, Path]:
    """The shapes of files and folders, by their names, sorted; each shape once.

    The name of a shape is its path relative to the folder, if one folder alone is given; else relative to `within`, or,
    if some lie elsewhere, to the folder that all have in common. Of names that differ in upper and lower case only, and
    would be the same file on some systems, all but the first get a suffix. A file that does not exist is listed, too.
    without: a folder that is left out.
    """
    folders = [path for path in paths if path.is_dir()]
    files: dict[str, Path] = {}
    for path in paths:
        below = [file for file in files_below(path, without) if is_shape(file)] if path.is_dir() else [path]
        for file in below:
            files.setdefault(os.path.abspath(file), file)
    if not files:
        return {}
    if len(paths) == len(folders) == 1:
        base = os.path.abspath(folders[0])
    else:
        base = os.path.abspath(within)
        if any(os.path.commonpath([base, file]) != base for file in files):
            base = os.path.commonpath([os.path.dirname(file) for file in files])
    relative = {os.path.relpath(path, base): file for path, file in files.items()}
    return dict(sorted(zip(_distinct(sorted(relative)), (relative[name] for name in sorted(relative)), strict=True)))


def _distinct(names: Sequence[str]) -> list[str]:
    """The names, with a suffix where one is equal to another, or to a folder of another, but for case or accents.

    The suffix depends on the name alone, so that it stays the same when others come or go.
    """
    folders = {_folded(parent) for name in names for parent in _parents(name)}
    used: set[str] = set()
    out = []
    for name in names:
        if _folded(name) in used or _folded(name) in folders:
            name += "~" + hashlib.sha256(os.fsencode(name)).hexdigest()[:8]
        used.add(_folded(name))
        out.append(name)
    return out


def _parents(name: str) -> Iterator[str]:
    while name := os.path.dirname(name):
        yield name


def _folded(name: str) -> str:
    """Equal for names that some file systems take for the same."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())
