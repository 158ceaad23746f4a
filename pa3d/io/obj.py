"""Wavefront OBJ and its material libraries (MTL). Vertices and faces keep the file's order.

`read` gives the triangles, or the vertices of a file without faces as a cloud. `parse` gives everything that other
modules need: the group, object and material of each face, and texture coordinates. A library that builds render
buffers splits vertices at texture seams and groups faces by material; here labels can be matched to the file's lines.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pa3d.io._common import (
    CorruptFileError,
    Format,
    Geometry,
    byte_colors,
    check_faces,
    numbers,
    polygon_of_triangles,
    polygons_or_none,
    table,
    text_lines,
    triangulate,
)
from pa3d.shape import Piece

_TEXTURE = re.compile(r"map_\w+|bump|disp|decal|refl|norm")  # statements of a material library that name an image


@dataclass
class Material:
    """color: Kd as sRGB bytes, None where it is not said; texture: the file of map_Kd."""

    color: NDArray[np.uint8] | None = None  # (3,)
    texture: Path | None = None


@dataclass
class Obj:
    """A parsed file. faces: the triangles of its polygons; face_name_index: (F,) index into names; counts: corners of
    each polygon.

    names: (group, object, material) as the lines before the faces say, "" where they do not. libraries: of materials.
    Raises CorruptFileError, also when a property is read that is damaged.
    """

    points: NDArray[np.float64]  # (V, 3)
    colors: NDArray[np.uint8] | None  # (V, 3)
    faces: NDArray[np.int64]  # (F, 3)
    face_name_index: NDArray[np.int64]  # (F,)
    names: list[tuple[str, str, str]]
    libraries: list[str]
    counts: NDArray[np.int64]  # (P,)
    _polygons: list[bytes] = field(repr=False)
    _uv: list[bytes] = field(repr=False)
    _uv_starts: list[int] = field(repr=False)

    @cached_property
    def uv(self) -> NDArray[np.float64]:  # (T, 2)
        """All texture coordinates, v upwards; without any that have fewer than two numbers."""
        return table(self._uv, (0, 1)) if self._uv else np.empty((0, 2))

    @cached_property
    def corner_uv(self) -> NDArray[np.int64]:  # (F, 3)
        """The texture coordinates of each corner, as indices into `uv`; -1 where there are none that exist."""
        words = [polygon.split() for polygon in self._polygons]
        counts = np.array([len(polygon) for polygon in words], np.int64)
        corners = np.full(counts.sum(), -1)
        at = 0
        uv_before = np.searchsorted(self._uv_starts, np.arange(len(words)), side="right").tolist()
        for polygon, before in zip(words, uv_before, strict=True):
            for word in polygon:
                parts = word.split(b"/")
                if len(parts) > 1 and re.fullmatch(rb"[+-]?\d{1,18}", parts[1]):
                    number = int(parts[1])
                    corners[at] = number - 1 if number > 0 else before + number if number < 0 else -1
                at += 1
        corners[(corners < 0) | (corners >= len(self.uv))] = -1
        return triangulate(counts, corners)


def read(path: Path) -> Geometry:
    obj = parse(path.read_bytes())
    if not obj.names:
        return Geometry(obj.points, None, obj.colors)
    polygons = polygons_or_none(obj.counts)
    pieces = tuple(Piece(group, object_name, material) for group, object_name, material in obj.names)
    if pieces == (Piece(),):
        return Geometry(obj.points, obj.faces, obj.colors, face_polygon=polygons)
    return Geometry(obj.points, obj.faces, obj.colors, pieces, obj.face_name_index, polygons)


def parse(data: bytes) -> Obj:
    """Everything of a file but its materials. Raises CorruptFileError."""
    data = re.sub(rb"\\(\r\n|\n|\r)", b" ", data) if b"\\" in data else data
    vertices: list[bytes] = []
    polygons: list[bytes] = []
    vertices_before: list[int] = []
    uv: list[bytes] = []
    uv_starts: list[int] = []  # of each, how many polygons come before
    names: dict[tuple[str, str, str], int] = {}
    name_starts: list[int] = []  # of each run of polygons with one name, the first
    name_runs: list[int] = []
    libraries: list[str] = []
    group = object_name = material = ""
    current = -1
    for line in text_lines(data):
        line = line.strip()
        start = line[:2]
        if start in (b"v ", b"v\t"):
            vertices.append(line[2:])
        elif start in (b"f ", b"f\t"):
            if current < 0:
                current = names.setdefault((group, object_name, material), len(names))
                name_starts.append(len(polygons))
                name_runs.append(current)
            polygons.append(line[2:])
            vertices_before.append(len(vertices))
        elif start == b"vt":
            uv.append(line[2:])
            uv_starts.append(len(polygons))
        elif start in (b"g ", b"o ", b"g\t", b"o\t", b"us", b"mt", b"g", b"o"):
            key, value = _named(line)
            if key == "g":
                group = value
            elif key == "o":
                group, object_name = "", value
            elif key == "usemtl":
                material = value
            elif key == "mtllib":
                libraries.append(value)
            current = -1
    if not vertices:
        raise CorruptFileError("has no vertices; expected lines such as 'v 0 0 1' and 'f 1 2 3'")
    points, colors = _vertices(vertices)
    counts = np.array([len(polygon.split()) for polygon in polygons], np.int64)
    corners = numbers(re.sub(rb"/\S*", b"", b" ".join(polygons)), np.int64) if polygons else np.empty(0, np.int64)
    if len(corners) != counts.sum() or (corners == 0).any():
        raise CorruptFileError("is damaged: a face has vertex numbers other than 1, 2, ... or -1, -2, ...")
    corners = np.where(corners > 0, corners - 1, corners + np.repeat(vertices_before, counts).astype(np.int64))
    check_faces(corners, len(points))
    run = np.searchsorted(name_starts, polygon_of_triangles(counts), side="right") - 1
    face_name_index = np.array(name_runs, np.int64)[run]
    faces = triangulate(counts, corners)
    return Obj(points, colors, faces, face_name_index, list(names), libraries, counts, polygons, uv, uv_starts)


def parse_mtl(path: Path) -> dict[str, Material]:
    """The materials of a library. Raises OSError when it cannot be read."""
    found: dict[str, Material] = {}
    material = Material()
    for line in text_lines(path.read_bytes()):
        key, value = _named(line.strip())
        if key == "newmtl":
            material = found.setdefault(value, Material())
        elif key == "Kd":
            try:
                rgb = np.array([float(word) for word in value.split()[:3]])
            except ValueError:  # Kd may also name a file of a spectrum
                continue
            if rgb.shape == (3,) and np.isfinite(rgb).all():
                material.color = np.rint(np.clip(rgb, 0, 1) * 255).astype(np.uint8)
        elif key == "map_Kd":
            material.texture = path.parent / _texture_name(value)
    return found


def texture_files(lines: Iterable[bytes]) -> list[str]:
    """The images that a material library names."""
    found = dict.fromkeys(
        _texture_name(value) for key, value in map(_named, map(bytes.strip, lines)) if _TEXTURE.fullmatch(key.lower())
    )
    return [name for name in found if name]


def _texture_name(value: str) -> str:
    """The file of a statement such as map_Kd.

    Options come first, each a word that begins with "-" and its values; the name may hold blanks.
    """
    return re.sub(r"^(-\w+(\s+(on|off|[rgbmlz]|sphere|cube_\w+|[-+.\d]+))*\s+)*", "", value).replace("\\", "/")


def _named(line: bytes) -> tuple[str, str]:
    """The keyword of a line and the rest."""
    key, *rest = decoded(line).split(None, 1)[:2] or [""]
    return key, rest[0].strip() if rest else ""


def decoded(text: bytes) -> str:
    """Text in UTF-8 or, where that does not fit, Latin-1."""
    try:
        return text.decode("utf-8")
    except UnicodeDecodeError:
        return text.decode("latin-1")


def _vertices(lines: list[bytes]) -> tuple[NDArray[np.float64], NDArray[np.uint8] | None]:
    """Positions, and the colours that some programs write after them."""
    for columns in (6, 3) if len(lines[0].split()) >= 6 else (3,):
        try:
            values = table(lines, range(columns))
        except CorruptFileError:
            continue
        return values[:, :3], byte_colors(list(values[:, 3:].T)) if columns == 6 else None
    raise CorruptFileError("is damaged: a vertex does not have three numbers")


FORMAT = Format("OBJ", (".obj",), read, "meshes, clouds", note="polygons, vertex colours; without faces a cloud")
