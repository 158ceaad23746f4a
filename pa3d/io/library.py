"""What is left to trimesh, imported late for it loads slowly: glTF beyond its usual core."""

from __future__ import annotations

import logging
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from pa3d.io._common import Geometry, join_colors

if TYPE_CHECKING:
    import trimesh


def read_with_trimesh(path: Path) -> Geometry:
    """Every mesh of the file in world coordinates."""
    import trimesh

    log = logging.getLogger("trimesh")
    was_disabled, log.disabled = log.disabled, True
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            loaded = trimesh.load(path, process=False)
            geometries = loaded.dump() if isinstance(loaded, trimesh.Scene) else [loaded]
    finally:
        log.disabled = was_disabled
    meshes = [mesh for mesh in geometries if isinstance(mesh, trimesh.Trimesh)]
    if not meshes:
        return Geometry(np.empty((0, 3)), np.empty((0, 3), np.int64))
    points = [np.asarray(mesh.vertices, np.float64) for mesh in meshes]
    starts = np.cumsum([0, *map(len, points)])
    faces = [np.asarray(mesh.faces, np.int64) + start for mesh, start in zip(meshes, starts, strict=False)]
    return Geometry(np.concatenate(points), np.concatenate(faces), join_colors(points, [*map(_colors, meshes)]))


def _colors(mesh: trimesh.Trimesh) -> NDArray[np.uint8] | None:  # (N, 3)
    from trimesh.visual import ColorVisuals

    if not isinstance(mesh.visual, ColorVisuals) or mesh.visual.kind != "vertex":
        return None
    return np.asarray(mesh.visual.vertex_colors, np.uint8)[:, :3]
