"""Files to shapes: ``load`` for meshes and clouds."""

from __future__ import annotations

import os
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import numpy as np

from pa3d.errors import InputError
from pa3d.frames import UP_AXES
from pa3d.io._common import DamagedError, Geometry
from pa3d.shape import Shape

# Suffix -> module and function of its reader, imported only when a file needs it.
_READERS = {
    ".obj": ("obj", "read_obj"),
    ".ply": ("ply", "read_ply"),
    ".stl": ("stl", "read_stl"),
    ".off": ("off", "read_off"),
    ".glb": ("gltf", "read_gltf"),
    ".gltf": ("gltf", "read_gltf"),
    ".pcd": ("pcd", "read_pcd"),
    **dict.fromkeys((".xyz", ".txt", ".csv", ".asc", ".pts"), ("tables", "read_text")),
    ".npy": ("tables", "read_npy"),
    ".npz": ("tables", "read_npz"),
    **dict.fromkeys((".las", ".laz"), ("tables", "read_las")),
}
SUFFIXES = tuple(_READERS)

# Coordinates this many times larger than the shape leave fewer than 20 of float32's 24 bits for it.
_FAR_AWAY = 16


def load(path: str | os.PathLike[str], *, up: str | None = None) -> Shape:
    """The mesh or cloud in a file, with its vertices and faces in the file's order and units.

    Meshes: OBJ, PLY, STL, OFF, GLB, glTF (the default scene, transforms and rest-pose skins applied).
    Clouds: PLY without faces, PCD, XYZ/TXT/CSV/ASC/PTS, NPY, NPZ (a mesh when it holds faces), LAS and LAZ
    (extra ``las``). Polygons become triangle fans. Vertex colours are kept.

    up: the axis that points upwards. glTF is y-up by specification; no other format says, the default is y.

    Returns a validated Shape; coordinates far from zero are kept exact by its float64 ``origin``.
    Raises InputError when the file is missing, unsupported, damaged, empty or without an extent.
    """
    path = Path(path)
    if up is not None and up not in UP_AXES:
        raise InputError(f"up axis {up!r} is unknown; give one of x, y, z")
    read = _reader(path)
    try:
        with np.errstate(all="ignore"):
            return _to_shape(read(path), path, up or "y").validate()
    except InputError:
        raise
    except DamagedError as error:
        raise InputError(f"{path.name}: {error}") from None
    except MemoryError:
        raise InputError(f"{path.name}: needs more memory than there is; thin it out or export it again") from None
    except OSError as error:
        raise InputError(f"{path.name}: cannot be read ({error.strerror or error}); check the file") from None
    except Exception as error:
        # A parser of foreign bytes can stumble in more ways than it can list; all mean a damaged file.
        reason = (str(error).splitlines() or [""])[0][:120] or type(error).__name__
        wrong = f"is damaged or no {path.suffix[1:].upper()} file ({reason})"
        raise InputError(f"{path.name}: {wrong}; export it again") from error


def _reader(path: Path) -> Callable[[Path], Geometry]:
    supported = f"expected one of {', '.join(SUFFIXES)}"
    if not os.path.exists(path):  # unlike Path.exists never raises
        raise InputError(f"{path}: no such file; check the path")
    if os.path.isdir(path):
        raise InputError(f"{path}: is a folder; give a file, {supported}")
    if not os.path.isfile(path):
        raise InputError(f"{path}: is no regular file; give a file, {supported}")
    if path.suffix.lower() not in _READERS:
        raise InputError(f"{path.name}: unsupported suffix {path.suffix!r}; {supported}")
    if path.stat().st_size == 0:
        raise InputError(f"{path.name}: the file is empty; export or copy it again")
    module, function = _READERS[path.suffix.lower()]
    reader: Callable[[Path], Geometry] = getattr(import_module(f"pa3d.io.{module}"), function)
    return reader


def _to_shape(geometry: Geometry, path: Path, up: str) -> Shape:
    points, faces, colors = geometry
    if faces is not None and len(faces) and (faces.min() < 0 or faces.max() >= len(points)):
        # Checked before the cast to int32, which could bring a wild index back into range.
        raise DamagedError(f"is damaged: faces refer to vertices outside 0..{len(points) - 1}")
    origin = np.zeros(3)
    if len(points) and np.isfinite(points).all():
        low, high = points.min(axis=0), points.max(axis=0)
        extent = float((high - low).max())
        if np.abs([low, high]).max() > _FAR_AWAY * extent > 0:
            # A multiple of a power of two near the extent: few bits, so that subtracting it loses nothing.
            grid = 2.0 ** np.floor(np.log2(extent))
            origin = np.rint((low + high) / 2 / grid) * grid
    return Shape(
        points=np.ascontiguousarray(points - origin, np.float32),
        faces=None if faces is None else np.ascontiguousarray(faces, np.int32),
        colors=colors,
        up=up,
        name=path.name,
        source=str(path),
        origin=origin,
    )
