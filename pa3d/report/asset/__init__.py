"""What comes back of an asset: the file that was segmented, with everything in it, in named parts.

A module for each format. docs/results-files.md says what comes back of which.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from pa3d.io._common import FOREIGN_DATA_ERRORS, CorruptFileError
from pa3d.report.asset.cut import Cut

if TYPE_CHECKING:
    from pa3d.segment import Segmentation

# What this module can write; a run removes those that an earlier one left.
NAMES = ("parts.glb", "parts.obj", "parts.ply", "parts.3mf", "parts.usda", "parts.las", "parts.laz", "parts.pcd")
SPLIT = "split"  # the folder of files of single parts


def asset_files(result: Segmentation, *, split: bool = False, scores: bool = False) -> dict[str, bytes]:
    """The contents of the files that hold the shape in named parts, by their names.

    parts.glb of a mesh, or parts.ply of a cloud, comes first.
    Where the file that was segmented is no longer there, or holds another shape now, they are made from the shape.
    split: also a file for each part, in the folder "split". scores: also the score of each part at each vertex, face
    and point, where the format has a place for it.
    """
    cut = Cut.of(result)
    suffix = "" if result.shape.file is None else result.shape.file.suffix.lower()
    writer = _WRITERS.get(suffix)
    found: dict[str, bytes] = {}
    if writer is not None:
        try:
            found = writer(result, cut, scores)
        except (CorruptFileError, OSError, *FOREIGN_DATA_ERRORS):  # changed since it was read
            found = {}
    if result.shape.is_mesh and "parts.glb" not in found:
        from pa3d.report.asset.mesh import mesh_glb

        found = {"parts.glb": mesh_glb(result.shape, cut), **found}
    if not result.shape.is_mesh and not {"parts.glb", "parts.ply"} & found.keys():
        from pa3d.report.asset.cloud import cloud_ply

        found = {"parts.ply": cloud_ply(result.shape, cut, scores), **found}
    if split:
        from pa3d.report.asset.single import split_files

        found |= split_files(result.shape, cut, scores)
    return found


def _gltf(result: Segmentation, cut: Cut, scores: bool) -> dict[str, bytes]:
    from pa3d.io.gltf import Gltf
    from pa3d.report.asset.gltf import parts_glb

    assert result.shape.file is not None
    content = parts_glb(Gltf.load(result.shape.file), cut)
    return {} if content is None else {"parts.glb": content}


def _obj(result: Segmentation, cut: Cut, scores: bool) -> dict[str, bytes]:
    from pa3d.report.asset.obj import ObjLines, companions, parts_obj

    file = result.shape.file
    if file is None or not result.shape.is_mesh:
        return {}
    lines = ObjLines(file.read_bytes())
    polygons = _polygons(result, cut, lines.polygons)
    if polygons is None:
        return {}
    return {"parts.obj": parts_obj(lines, polygons), **companions(file, lines.libraries)}


def _ply(result: Segmentation, cut: Cut, scores: bool) -> dict[str, bytes]:
    from pa3d.report.asset.ply import parts_ply

    assert result.shape.file is not None
    shape, data = result.shape, result.shape.file.read_bytes()
    if not shape.is_mesh:
        content = parts_ply(data, cut, None, scores)
    else:
        import numpy as np

        from pa3d.io.ply import parse_header

        count = next((e.count for e in parse_header(data)[1] if e.name == "face"), 0)
        vertices = Cut(result.part_names, result.labels, result.scores, np.ones(len(result.labels)))
        polygons = _polygons(result, cut, count) if count else None
        content = parts_ply(data, vertices, polygons, scores) if polygons or not count else None
    return {} if content is None else {"parts.ply": content}


def _stl(result: Segmentation, cut: Cut, scores: bool) -> dict[str, bytes]:
    from pa3d.report.asset.threemf import parts_3mf

    return {"parts.3mf": parts_3mf(result.shape, cut)}


def _usd(result: Segmentation, cut: Cut, scores: bool) -> dict[str, bytes]:
    from pa3d.report.asset.usd import parts_usda

    return parts_usda(result.shape, cut) if result.shape.is_mesh else {}


def _las(result: Segmentation, cut: Cut, scores: bool) -> dict[str, bytes]:
    from pa3d.report.asset.cloud import parts_las

    assert result.shape.file is not None
    content = parts_las(result.shape.file, cut, scores)
    return {} if content is None else {f"parts{result.shape.file.suffix.lower()}": content}


def _pcd(result: Segmentation, cut: Cut, scores: bool) -> dict[str, bytes]:
    from pa3d.report.asset.pcd import parts_pcd

    assert result.shape.file is not None
    content = parts_pcd(result.shape.file.read_bytes(), cut, scores)
    return {} if content is None else {"parts.pcd": content}


def _polygons(result: Segmentation, cut: Cut, count: int) -> Cut | None:
    """The cut of the file's polygons; None where the file has fewer of them now."""
    polygon = result.shape.face_polygon
    fits = len(cut.numbers) == count if polygon is None else int(polygon.max(initial=-1)) < count
    return cut.of_polygons(polygon, count) if fits else None


_WRITERS: dict[str, Callable[[Segmentation, Cut, bool], dict[str, bytes]]] = {
    ".glb": _gltf,
    ".gltf": _gltf,
    ".obj": _obj,
    ".ply": _ply,
    ".stl": _stl,
    **dict.fromkeys((".usd", ".usda", ".usdc", ".usdz"), _usd),
    **dict.fromkeys((".las", ".laz"), _las),
    ".pcd": _pcd,
}
