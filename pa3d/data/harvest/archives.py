"""Archives of shapes: ZIP, and Sweet Home 3D libraries, whose catalogue gives the names and rotations of models."""

from __future__ import annotations

import re
import zipfile
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pa3d.io._common import CorruptFileError, first_line, parse_floats
from pa3d.io.npy import ARCHIVE_ERRORS

SUFFIXES = (".sh3f", ".zip")
MEMBER_SUFFIXES = (".glb", ".obj", ".ac")
CATALOGUE = "PluginFurnitureCatalog.properties"
MAX_BYTES = 1 << 30  # of a file, or of a member of an archive once unpacked

_UNPACKING_ERRORS: tuple[type[Exception], ...] = (OSError, *ARCHIVE_ERRORS)


@contextmanager
def open_archive(path: Path) -> Iterator[zipfile.ZipFile]:
    """Raises CorruptFileError when the file is not a zip archive."""
    try:
        archive = zipfile.ZipFile(path)
    except _UNPACKING_ERRORS as error:
        raise CorruptFileError(f"not a readable zip archive ({first_line(error)})", "download it again") from error
    with archive:
        yield archive


def shape_members(archive: zipfile.ZipFile) -> list[str]:
    """Names of the members that are shapes, sorted."""
    return sorted(name for name in archive.namelist() if Path(name).suffix.lower() in MEMBER_SUFFIXES)


def unpack(archive: zipfile.ZipFile, member: str) -> bytes:
    """The bytes of a member. Raises CorruptFileError when it is damaged, encrypted or larger than MAX_BYTES."""
    try:
        # zipfile unpacks no more than the size that is declared here.
        if archive.getinfo(member).file_size > MAX_BYTES:
            raise CorruptFileError(f"larger than {MAX_BYTES >> 30} GiB", "split it")
        return archive.read(member)
    except _UNPACKING_ERRORS as error:
        raise CorruptFileError(f"cannot be unpacked ({first_line(error)})", "download the archive again") from error


def catalogue(archive: zipfile.ZipFile) -> dict[str, dict[str, str]]:
    """Properties of every model of a Sweet Home 3D library, by the model's file; {} for other archives."""
    if CATALOGUE not in archive.namelist():
        return {}
    entries: dict[str, dict[str, str]] = defaultdict(dict)
    for line in re.split(r"\r\n|\n|\r", unpack(archive, CATALOGUE).decode("latin-1")):
        match = re.match(r"(\w+)#(\d+)\s*=\s*(.*)", line)
        if match:
            entries[match[2]][match[1]] = match[3].strip()
    return {entry["model"].lstrip("/"): entry for entry in entries.values() if "model" in entry}


def catalogue_rotation(catalog_entry: dict[str, str]) -> NDArray[np.float64]:  # (3, 3)
    """The rotation that sets a model of a catalogue upright."""
    return parse_floats(catalog_entry.get("modelRotation", "1 0 0 0 1 0 0 0 1"), 9).reshape(3, 3)
