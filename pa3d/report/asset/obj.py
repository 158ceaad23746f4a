"""parts.obj: the file itself, line for line, with a group `g` for each piece before its polygons.

The order of polygons is the file's, so that a group may appear again. Groups of the file become comments, because a
polygon would be in both. Material libraries and the images that they name are copied.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path, PurePosixPath

from pa3d.io._common import text_lines
from pa3d.io.obj import texture_files
from pa3d.report.asset.cut import Cut

BYTE_ORDER_MARK = b"\xef\xbb\xbf"


def parts_obj(data: bytes, cut: Cut) -> bytes | None:
    """The file with groups; None where it has another number of polygons than the cut."""
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        data = data.decode("utf-16", "replace").encode()
    mark = BYTE_ORDER_MARK if data.startswith(BYTE_ORDER_MARK) else b""
    lines = data.removeprefix(mark).splitlines(keepends=True)
    end = next((line[len(line.rstrip(b"\r\n")) :] for line in lines if line[-1:] in (b"\r", b"\n")), b"\n")
    out = [mark, *(b"# " + text.encode() + end for text in _descriptions(cut))]
    group, polygon = -1, 0
    continued = False
    for line in lines:
        words = b"" if continued else line.strip()
        continued = line.rstrip(b"\r\n").endswith(b"\\")
        start = words[:2]
        if start in (b"f ", b"f\t", b"f\\"):
            if polygon >= len(cut.numbers):
                return None
            if cut.numbers[polygon] != group:
                group = int(cut.numbers[polygon])
                out.append(b"g " + group_name(cut.pieces[group].name).encode() + end)
            polygon += 1
        elif start in (b"g ", b"g\t", b"g"):
            line = b"# " + line
        elif start in (b"o ", b"o\t"):
            group = -1  # an object begins without a group
        out.append(line)
    return b"".join(out) if polygon == len(cut.numbers) else None


def group_name(name: str) -> str:
    """A name as OBJ can hold it: blanks would part it into several groups."""
    return "_".join(name.split())


def _descriptions(cut: Cut) -> Iterator[str]:
    for number, piece in enumerate(cut.pieces):
        extras = cut.extras(number, cut.numbers == number)
        score = f", score {extras['score']:.3f}" if "score" in extras else ""
        yield f"g {group_name(piece.name)}: part {' '.join(piece.part.split())}{score}"


def companions(path: Path, libraries: list[str]) -> dict[str, bytes]:
    """The material libraries of a file and their images, by their names relative to it.

    What cannot be read, or does not lie in the folder of the file, is left out.
    """
    found: dict[str, bytes] = {}
    for name in libraries:
        library = _inside(name)
        if library is None:
            continue
        with suppress(OSError, ValueError):
            found[library] = (path.parent / library).read_bytes()
            for image in texture_files(text_lines(found[library])):
                inside = _inside(str(PurePosixPath(library).parent / image))
                if inside is not None:
                    with suppress(OSError, ValueError):
                        found[inside] = (path.parent / inside).read_bytes()
    return found


def _inside(name: str) -> str | None:
    """A relative path without detours, or None if it leaves the folder."""
    path = PurePosixPath(name.replace("\\", "/"))
    inside = not path.is_absolute() and ".." not in path.parts and not re.match(r"[A-Za-z]:", name)
    return str(path) if inside and path.name else None
