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
from pa3d.io.obj import decoded, texture_files
from pa3d.report.asset.cut import Cut, members

BYTE_ORDER_MARK = b"\xef\xbb\xbf"


class ObjLines:
    """The lines of a file as they are, what each of them is, and the material libraries that they name.

    kinds: "f" for a polygon, "g" for groups, "o" for an object, "" for anything else.
    """

    def __init__(self, data: bytes) -> None:
        if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
            data = data.decode("utf-16", "replace").encode()
        self.mark = BYTE_ORDER_MARK if data.startswith(BYTE_ORDER_MARK) else b""
        self.lines = data.removeprefix(self.mark).splitlines(keepends=True)
        self.kinds: list[str] = []
        self.libraries: list[str] = []
        continued = False
        for line in self.lines:
            kind = ""
            if not continued:
                start = line[:2] if line[:1] in b"vfgo" else line.lstrip()[:2]
                if start in (b"f ", b"f\t"):
                    kind = "f"
                elif start[:1] == b"g" and start.strip() == b"g":
                    kind = "g"
                elif start in (b"o ", b"o\t"):
                    kind = "o"
                elif start == b"mt":
                    key, *value = line.strip().split(None, 1)
                    self.libraries += [decoded(name) for name in value] if key == b"mtllib" else []
            self.kinds.append(kind)
            continued = line[-3:].rstrip(b"\r\n")[-1:] == b"\\"
        self.polygons = self.kinds.count("f")


def parts_obj(file: ObjLines, cut: Cut) -> bytes:
    """The file with groups; cut: of its polygons."""
    end = next((line[len(line.rstrip(b"\r\n")) :] for line in file.lines if line[-1:] in (b"\r", b"\n")), b"\n")
    out = [file.mark, *(b"# " + text.encode() + end for text in _descriptions(cut))]
    groups = [b"g " + group_name(piece.name).encode() + end for piece in cut.pieces]
    numbers = iter(cut.numbers.tolist())
    group = -1
    for line, kind in zip(file.lines, file.kinds, strict=True):
        if kind == "f":
            number = next(numbers)
            if number != group:
                group = number
                out.append(groups[group])
        elif kind == "g":
            line = b"# " + line
        elif kind == "o":
            group = -1  # an object begins without a group
        out.append(line)
    return b"".join(out)


def group_name(name: str) -> str:
    """A name as OBJ can hold it: blanks would part it into several groups."""
    return "_".join(name.split())


def _descriptions(cut: Cut) -> Iterator[str]:
    for number, elements in members(cut.numbers).items():
        piece, extras = cut.pieces[number], cut.extras(number, elements)
        score = f", score {extras['score']:.3f}" if "score" in extras else ""
        yield f"g {group_name(piece.name)}: part {' '.join(piece.part.split())}{score}"


def companions(path: Path, libraries: list[str]) -> dict[str, bytes]:
    """The material libraries of a file and their images, by their names relative to it.

    What cannot be read, or does not lie in the folder of the file, is left out.
    """
    found: dict[str, bytes] = {}
    # A line may name several; but one name may have blanks.
    names = [word for name in libraries for word in ([name] if (path.parent / name).is_file() else name.split())]
    for name in names:
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
