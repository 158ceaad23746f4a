"""Scenes of named objects, as FBX, COLLADA, USD and 3MF hold them, brought into one frame: metres, y up, as in glTF."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pa3d.io._common import CorruptFileError, Geometry, check_faces, join_colors
from pa3d.shape import Piece

# For each up axis of a file, the rotation to y up, right-handed, that COLLADA 1.4 (asset, up_axis) and USD define.
TO_Y_UP = {
    "x": np.array([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]]),
    "y": np.eye(3),
    "z": np.array([[1.0, 0, 0], [0, 0, 1], [0, -1, 0]]),
}


class SceneObject(NamedTuple):
    """A mesh where it stands in the scene. name: of its node. faces: None for points. colors: of the vertices.

    parents: names of the nodes above, nearest first. materials: names, which face_material indexes; -1 and None for
    no material. face_polygon: which of its polygons each face was cut from; None where all are triangles.
    """

    name: str
    points: NDArray[np.float64]  # (N, 3)
    faces: NDArray[np.int64] | None  # (F, 3)
    colors: NDArray[np.uint8] | None = None  # (N, 3)
    mesh: str = ""
    parents: tuple[str, ...] = ()
    materials: tuple[str, ...] = ()
    face_material: NDArray[np.int64] | None = None  # (F,)
    face_polygon: NDArray[np.int64] | None = None  # (F,)

    def pieces(self) -> tuple[list[Piece], NDArray[np.int64]]:  # P, (F,)
        """What it shows of each material that it uses, and which of these pieces each face is in."""
        count = 0 if self.faces is None else len(self.faces)
        numbers = np.full(count, -1) if self.face_material is None else self.face_material
        numbers = np.where((numbers >= 0) & (numbers < len(self.materials)), numbers, -1)
        used, face_piece = np.unique(numbers, return_inverse=True)
        names = [self.materials[number] if number >= 0 else "" for number in used]
        return [Piece(self.name, self.mesh, name, self.parents) for name in names], face_piece.reshape(-1)


def placed(
    name: str,
    points: NDArray[Any],  # (N, 3)
    faces: NDArray[np.int64] | None,  # (F, 3)
    matrix: NDArray[np.float64],  # (4, 4), of column vectors
    colors: NDArray[np.uint8] | None = None,  # (N, 3)
) -> SceneObject:
    """A mesh moved by a matrix. Faces are flipped where it mirrors, so that they keep facing outwards."""
    if faces is not None:
        check_faces(faces, len(points))
        if np.linalg.det(matrix[:3, :3]) < 0:
            faces = faces[:, ::-1]
    return SceneObject(name, np.asarray(points, np.float64) @ matrix[:3, :3].T + matrix[:3, 3], faces, colors)


def join_objects(objects: Sequence[SceneObject], up: str = "y", metres: float = 1.0) -> Geometry:
    """All meshes of a scene as one; its points as a cloud where it has no mesh.

    up: the axis that points upwards in the scene, metres: its unit.
    """
    meshes = [o for o in objects if o.faces is not None]
    chosen = meshes or list(objects)
    if not chosen:
        raise CorruptFileError("has no triangles and no points in its scene", "export its meshes, too")
    starts = np.cumsum([0, *(len(o.points) for o in chosen)])
    faces = [o.faces + start for o, start in zip(chosen, starts, strict=False) if o.faces is not None]
    structure = [o.pieces() for o in meshes]
    first_pieces = np.cumsum([0, *(len(pieces) for pieces, _ in structure)])
    return Geometry(
        np.concatenate([o.points for o in chosen]) @ (metres * TO_Y_UP[up]).T,
        np.concatenate(faces) if meshes else None,
        join_colors([o.points for o in chosen], [o.colors for o in chosen]),
        tuple(piece for pieces, _ in structure for piece in pieces),
        np.concatenate([own + first for (_, own), first in zip(structure, first_pieces, strict=False)])
        if meshes
        else None,
        _join_polygons(meshes),
    )


def _join_polygons(meshes: Sequence[SceneObject]) -> NDArray[np.int64] | None:  # (F,)
    """The polygons of all meshes, numbered on from mesh to mesh; None where all are triangles."""
    if all(mesh.face_polygon is None for mesh in meshes):
        return None
    joined: list[NDArray[np.int64]] = []
    first = 0
    for mesh in meshes:
        if mesh.faces is not None:
            own = np.arange(len(mesh.faces)) if mesh.face_polygon is None else mesh.face_polygon
            joined.append(own + first)
            first += int(own.max(initial=-1)) + 1
    return np.concatenate(joined)
