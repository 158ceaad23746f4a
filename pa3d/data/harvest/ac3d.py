"""AC3D, the format of FlightGear's aircraft: objects in groups, each with a name."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from pa3d.data.harvest.pieces import NON_GEOMETRY, NamedMesh, PieceBuilder
from pa3d.io._common import CorruptFileError, check_faces, integer, parse_floats, text_lines, triangulate


def parse_ac3d(data: bytes, category: str, id: str) -> NamedMesh:
    """An AC3D file (y up): every polygon object with its own name, else the name of a group above it.

    Lines, and objects that show motion blur or light, are left out. Raises CorruptFileError.
    """
    lines = (line.decode("latin-1") for line in text_lines(data))
    builder = PieceBuilder()
    if not next(lines, "").startswith("AC3D"):
        raise CorruptFileError("is not an AC3D file: it does not begin with AC3D")
    for line in lines:
        if line.startswith("OBJECT"):
            _add_object(lines, np.zeros(3), np.eye(3), (), builder)
    return builder.build(category, id)


def _add_object(
    lines: Iterator[str],
    offset: NDArray[np.float64],
    parent_rotation: NDArray[np.float64],
    group_names: tuple[str, ...],
    builder: PieceBuilder,
) -> None:
    name, local, rotation = "", np.zeros(3), np.eye(3)
    vertices = np.zeros((0, 3))
    corners: list[int] = []
    sizes: list[int] = []
    num_children, polygon = 0, True
    for line in lines:
        key, _, value = line.strip().partition(" ")
        if key == "name":
            name = value.strip('" ')
        elif key == "data":
            _line(lines)
        elif key == "loc":
            local = parse_floats(value, 3)
        elif key == "rot":
            rotation = parse_floats(value, 9).reshape(3, 3)
        elif key == "numvert":
            rows = [" ".join(_line(lines).split()[:3]) for _ in range(integer(value))]
            vertices = parse_floats(" ".join(rows), 3 * len(rows)).reshape(-1, 3)
        elif key == "SURF":
            polygon = integer(value, 16) & 0xF == 0
        elif key == "refs":
            refs = [integer(_line(lines).partition(" ")[0]) for _ in range(integer(value))]
            if polygon:
                corners.extend(refs)
                sizes.append(len(refs))
        elif key == "kids":
            num_children = integer(value)
            break
    # Rows of rot are the images of the axes: a row vector is multiplied from the left.
    world_rotation, world_offset = rotation @ parent_rotation, local @ parent_rotation + offset
    if sizes and not NON_GEOMETRY.search(name):
        faces = triangulate(np.array(sizes), np.array(corners, np.int64))
        check_faces(faces, len(vertices))
        builder.add(vertices @ world_rotation + world_offset, faces, (name, *group_names))
    group = group_names if sizes or name in ("", "world") else (name, *group_names)
    for _ in range(num_children):
        for line in lines:
            if line.startswith("OBJECT"):
                break
        else:
            return  # fewer than declared
        _add_object(lines, world_offset, world_rotation, group, builder)


def _line(lines: Iterator[str]) -> str:
    line = next(lines, None)
    if line is None:
        raise CorruptFileError("is truncated: it ends within an object")
    return line.strip()
