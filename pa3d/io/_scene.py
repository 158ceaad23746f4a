"""Scenes of named objects, as FBX, COLLADA, USD and 3MF hold them, brought into one frame: metres, y up, as in glTF."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pa3d.io._common import CorruptFileError, Geometry, check_faces, join_colors

# For each up axis of a file, the rotation to y up, right-handed, that COLLADA 1.4 (asset, up_axis) and USD define.
TO_Y_UP = {
    "x": np.array([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]]),
    "y": np.eye(3),
    "z": np.array([[1.0, 0, 0], [0, 0, 1], [0, -1, 0]]),
}


class SceneObject(NamedTuple):
    """A mesh where it stands in the scene. faces: None for points. colors: of the vertices, None for none.

    vertices_of: equal for objects that share the same vertices at the same place, as the materials of one mesh do.
    """

    name: str
    points: NDArray[np.float64]  # (N, 3)
    faces: NDArray[np.int64] | None  # (F, 3)
    colors: NDArray[np.uint8] | None = None  # (N, 3)


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
    return Geometry(
        np.concatenate([o.points for o in chosen]) @ (metres * TO_Y_UP[up]).T,
        np.concatenate(faces) if meshes else None,
        join_colors([o.points for o in chosen], [o.colors for o in chosen]),
        tuple((o.name, len(o.faces)) for o in meshes if o.faces is not None),
    )
