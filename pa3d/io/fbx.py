"""FBX, binary and ASCII, by the package ufbx: every mesh of the scene in its rest pose, in metres and y up."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pa3d.io._common import (
    CorruptFileError,
    Format,
    Geometry,
    byte_colors,
    missing_package,
    polygon_of_triangles,
    polygons_or_none,
    triangulate,
)
from pa3d.io._isolated import read_isolated
from pa3d.io._scene import SceneObject, join_objects, placed

# ufbx 0.0.5 gives the same object again when it is asked twice for a mesh, even if that has been freed. So nothing is
# freed; the process ends soon.
_kept: list[Any] = []


def read(path: Path) -> Geometry:
    return read_isolated(path, __name__, "FBX")


def parse(path: Path) -> Geometry:
    """Reads in this process, which a damaged file may crash."""
    try:
        import ufbx
    except ImportError:
        raise missing_package("is FBX", "ufbx", "formats") from None
    try:
        scene = ufbx.load_file(
            str(path),
            evaluate_skinning=True,
            ignore_animation=True,
            target_axes=ufbx.axes_right_handed_y_up,
            target_unit_meters=1.0,
        )
    except ufbx.UfbxError as error:
        raise CorruptFileError(f"is damaged or not an FBX file ({error})") from error
    nodes = [(node, node.mesh) for node in scene.nodes]
    _kept.append((scene, nodes))
    return join_objects([_object(node, mesh) for node, mesh in nodes if mesh is not None and node.visible])


def _object(node: Any, mesh: Any) -> SceneObject:
    name = node.name or mesh.name
    # A skin places the vertices in the world; morph targets leave them in the frame of the mesh.
    vertices = _rows(mesh.skinned_position.values, 3)
    matrix = np.eye(4)
    if mesh.skinned_is_local:
        matrix[:3] = np.array(node.geometry_to_world).T
    corners = np.fromiter(mesh.vertex_indices, np.int64)
    first, counts = _rows(mesh.faces, 2).astype(np.int64).T
    # Polygons need not follow each other in the list of corners.
    order = np.repeat(first - np.cumsum(counts) + counts, counts) + np.arange(counts.sum())
    faces = triangulate(counts, corners[order])
    found = placed(name, vertices, faces, matrix, _colors(mesh, corners))
    polygon = polygon_of_triangles(counts)
    materials = np.fromiter(mesh.face_material, np.int64)
    return found._replace(
        mesh=mesh.name,
        parents=tuple(_parents(node)),
        materials=tuple(material.name for material in mesh.materials),
        face_material=materials[polygon] if len(materials) == len(counts) else None,
        face_polygon=polygons_or_none(counts),
    )


def _parents(node: Any) -> Iterator[str]:
    """Names of the nodes above, nearest first, without the scene's root."""
    while (node := node.parent) is not None and node.parent is not None:
        yield node.name


def _rows(values: Any, width: int) -> NDArray[np.float64]:  # (N, width)
    """Vectors as an array, one after the other: ufbx 0.0.5 crashes where its memory is shared with numpy."""
    return np.array(list(values), np.float64).reshape(-1, width)


def _colors(mesh: Any, corners: NDArray[np.int64]) -> NDArray[np.uint8] | None:  # (V, 3)
    """Colours of vertices; those of a vertex's last corner where corners differ."""
    values = _rows(mesh.vertex_color.values, 4)
    numbers = np.fromiter(mesh.vertex_color.indices, np.int64)
    if not len(values) or len(numbers) != len(corners):
        return None
    colors = np.full((len(mesh.vertices), 3), 255, np.uint8)
    colors[corners] = byte_colors(list(values.T))[numbers]
    return colors


FORMAT = Format("FBX", (".fbx",), read, "meshes", "y", "rest pose, in metres; needs the extra `formats`")
