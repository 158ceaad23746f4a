"""A file for each part, in the folder "split"."""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from pa3d.io._common import FOREIGN_DATA_ERRORS, CorruptFileError
from pa3d.io.gltf import Gltf
from pa3d.io.stl import HEADER, TRIANGLE
from pa3d.report.asset.cloud import cloud_ply
from pa3d.report.asset.cut import NONE, Cut
from pa3d.report.asset.gltf import parts_glb
from pa3d.report.asset.mesh import mesh_glb
from pa3d.shape import Shape, compacted


def split_files(shape: Shape, cut: Cut, scores: bool = False) -> dict[str, bytes]:
    """A file for each part that has a face or a point: GLB, of an STL an STL, of a cloud a PLY.

    What comes from a glTF file has of it all that belongs to the part: materials, textures, skins, animations.
    """
    suffix = "" if shape.file is None else shape.file.suffix.lower()
    labels = sorted({piece.label for piece in cut.pieces}, key=lambda label: (label < 0, label))
    names = _file_names([cut.part_names[label] if label >= 0 else NONE for label in labels])
    kind = ".ply" if shape.faces is None else ".stl" if suffix == ".stl" else ".glb"
    if shape.file is not None and suffix in (".glb", ".gltf"):
        with suppress(CorruptFileError, OSError, *FOREIGN_DATA_ERRORS):  # changed since it was read
            gltf = Gltf.load(shape.file)
            contents = {f"split/{n}.glb": parts_glb(gltf, cut, label) for n, label in zip(names, labels, strict=True)}
            found = {name: data for name, data in contents.items() if data is not None}
            if len(found) == len(contents):
                return found
    found = {}
    for name, label in zip(names, labels, strict=True):
        chosen = cut.labels == label
        part = _selected(shape, chosen)
        if part.faces is None:
            data = cloud_ply(part, cut.select(chosen), scores)
        elif suffix == ".stl":
            data = _stl(part.points[part.faces] + shape.origin)
        else:
            data = mesh_glb(part, cut.select(chosen))
        found[f"split/{name}{kind}"] = data
    return found


def _selected(shape: Shape, chosen: NDArray[np.bool_]) -> Shape:
    """Some of the faces of a mesh, or of the points of a cloud."""
    faces = None
    rows = np.flatnonzero(chosen)
    if shape.faces is not None:
        rows, faces = compacted(shape.points, shape.faces[chosen])
    colors = None if shape.colors is None else shape.colors[rows]
    return replace(
        shape, points=shape.points[rows], faces=faces, colors=colors, pieces=(), face_piece=None, face_polygon=None
    )


def _stl(corners: NDArray[np.float64]) -> bytes:  # (F, 3, 3)
    """Binary STL."""
    rows = np.zeros(len(corners), TRIANGLE)
    rows["corners"] = corners
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    length = np.linalg.norm(normals, axis=1, keepdims=True)
    rows["normal"] = normals / np.where(length > 0, length, 1)
    return bytes(HEADER - 4) + len(rows).to_bytes(4, "little") + rows.tobytes()


def _file_names(names: Sequence[str]) -> list[str]:
    """A different file name for each part, without what file systems refuse."""
    found: list[str] = []
    for name in names:
        plain = re.sub(r"[^\w\-]+", "-", name).strip("-")[:100] or "part"
        free = (f"{plain}-{number}" if number > 1 else plain for number in range(1, len(names) + 2))
        found.append(next(name for name in free if name.lower() not in {taken.lower() for taken in found}))
    return found
