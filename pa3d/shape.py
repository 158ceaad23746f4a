"""Shape: a mesh or a point cloud with its up axis. `pa3d.io.load` returns one for every file format."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pa3d.errors import InputError
from pa3d.frames import UP_AXES
from pa3d.sampling import sample_surface

# Coordinates this many times larger than the shape leave fewer than 20 of float32's 24 bits for it.
_FAR_AWAY = 16
_STRAY = 1000  # times the extent of most points: what lies farther away is no part of the shape
_EXPECTED = "expected numbers of shape (N, 3), or a mesh or point cloud of trimesh or open3d"


@dataclass(frozen=True)
class Piece:
    """A piece of a mesh as its author made it: what one node shows with one material.

    node: name of the node of glTF, FBX, COLLADA or 3MF, of the prim of USD, of the group of OBJ. mesh: name of the
        mesh, or of the object of OBJ. material: its name. "" for what the file does not name or does not have.
    parents: names of the nodes above, nearest first.
    node_index, mesh_index, primitive_index: where it is in a glTF file: number of the node, of its mesh, and of the
        primitive within the mesh. instance_index: which of the instances of EXT_mesh_gpu_instancing. -1 for none.
    """

    node: str = ""
    mesh: str = ""
    material: str = ""
    parents: tuple[str, ...] = ()
    node_index: int = -1
    mesh_index: int = -1
    primitive_index: int = -1
    instance_index: int = -1


@dataclass
class Shape:
    """A triangle mesh or a point cloud in the units and axes of its source.

    points: (N, 3) float32, the vertices of a mesh or the points of a cloud, relative to ``origin``. May be given as any
        numbers: float64 that is far from zero moves into ``origin`` before it is rounded to float32. May also be given
        as a mesh or point cloud of trimesh or open3d, with its faces and colours.
    faces: (F, 3) int32 indices into points, or None for a cloud. May be given as integers of any type, or as floats
        without a fraction.
    colors: (N, 3) uint8 or None.
    up: the axis that points upwards in the source.
    origin: (3,) float64, added to points to get world coordinates; not zero only where float32 would lose
        precision (georeferenced scans).
    pieces: the file's own structure, in the file's order; () where it has none (STL, PLY, clouds).
    face_piece: (F,) int32, the piece of each face; None without pieces.
    face_polygon: (F,) int32, the polygon of the file that each face was cut from; None where every face is one.
    file: the file that it was read from, whose name need not be text as `source` is; None if from memory.
    """

    points: NDArray[np.float32]
    faces: NDArray[np.int32] | None = None
    colors: NDArray[np.uint8] | None = None
    up: str = "y"
    name: str = "shape"
    source: str | None = None
    origin: NDArray[np.float64] = field(default_factory=lambda: np.zeros(3))
    pieces: tuple[Piece, ...] = field(default=(), repr=False)
    face_piece: NDArray[np.int32] | None = field(default=None, repr=False)
    face_polygon: NDArray[np.int32] | None = field(default=None, repr=False)
    file: Path | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        source: Any = self.points
        if isinstance(source, np.ndarray) and source.dtype == np.float32:
            self.points = np.ascontiguousarray(source)
        else:
            if self.faces is None and not isinstance(source, np.ndarray | list | tuple):
                source, self.faces, source_colors = _get_geometry(source)
                self.colors = source_colors if self.colors is None else self.colors
            numbers = _numbers(source, self.name if self.name == "points" else f"{self.name}: points")
            if self.faces is not None:
                self.faces = _integers(self.faces, f"{self.name}: faces")
            self.points, offset = centered(numbers, self.faces)
            self.origin = np.asarray(self.origin, np.float64) + offset
        if self.faces is not None:
            self.faces = _integers(self.faces, f"{self.name}: faces")
        if self.colors is not None and not isinstance(self.colors, np.ndarray):
            self.colors = np.asarray(self.colors)

    @property
    def is_mesh(self) -> bool:
        return self.faces is not None

    def missing(self) -> NDArray[np.bool_] | None:  # (N,)
        """Which points have NaN or infinite coordinates; None if there is no such point.

        Organised clouds, which store a scan as an image, mark with them the pixels that were not measured.
        """
        if np.isfinite(self.points).all():
            return None
        return np.asarray(~np.isfinite(self.points).all(axis=1))

    def validate(self, nan: str = "error") -> Shape:
        """Raise InputError unless this can be segmented: finite, of the right rank, with an extent, faces in range.

        nan: "error", or "skip" to accept a cloud some of whose points have NaN or infinite coordinates.
        """
        pts = self.points
        if pts.ndim != 2 or pts.shape[1] != 3:
            hint = "; give points.T" if pts.ndim == 2 and pts.shape[0] == 3 else ""
            raise InputError(f"{self.name}: points have shape {pts.shape}; expected (N, 3){hint}")
        if len(pts) == 0:
            raise InputError(f"{self.name}: no points; give a mesh with faces or a cloud with at least one point")
        missing = self.missing()
        if missing is not None:
            bad = int(missing.sum())
            valid = pts[~missing]
            if nan == "error" or self.is_mesh or (valid == valid[:1]).all():  # at most one position is left
                raise InputError(
                    f"{self.name}: {bad} of {len(pts)} points have NaN or infinite coordinates; remove them first"
                )
            pts = valid
        if self.up not in UP_AXES:
            raise InputError(f"{self.name}: up axis {self.up!r} is not one of {', '.join(UP_AXES)}")
        if (pts == pts[0]).all():
            raise InputError(f"{self.name}: all {len(pts)} points are equal; a shape needs an extent")
        if self.faces is not None:
            faces = self.faces
            if faces.ndim != 2 or faces.shape[1] != 3:
                raise InputError(
                    f"{self.name}: faces have shape {faces.shape}; expected (F, 3): cut polygons into triangles"
                )
            if len(faces) == 0:
                raise InputError(f"{self.name}: the mesh has no faces; export it with triangles or load it as a cloud")
            if faces.min() < 0 or faces.max() >= len(pts):
                raise InputError(f"{self.name}: faces refer to vertices outside 0..{len(pts) - 1}; the file is damaged")
            if not self.face_areas().sum() > 0:
                raise InputError(f"{self.name}: every face has zero area; a shape needs a surface")
            if self.face_piece is not None and (
                self.face_piece.shape != (len(faces),)
                or self.face_piece.min() < 0
                or self.face_piece.max() >= len(self.pieces)
            ):
                raise InputError(f"{self.name}: face_piece does not say for each face which of the pieces it is in")
        return self

    def face_areas(self) -> NDArray[np.float64]:  # (F,)
        """Area of every face in squared source units, float64."""
        if self.faces is None:
            raise InputError(f"{self.name}: a cloud has no faces")
        return triangle_areas(self.points, self.faces)

    def sample(self, n: int, seed: int = 0) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
        """n points on the surface, uniform over its area: points (n, 3) float32 and the face of each (n,) int32.

        The same seed gives the same points on every processor.
        """
        if self.faces is None:
            raise InputError(f"{self.name}: a cloud has no faces")
        return sample_surface(self.points, self.faces, n, seed, self.name)


def compacted(points: NDArray[Any], faces: NDArray[np.int32]) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    """Which of the points (N, 3) any face uses, and the faces (F, 3) as indices into those."""
    used = np.zeros(len(points), bool)
    used[faces.ravel()] = True
    if used.all():
        return np.arange(len(points)), faces
    return np.flatnonzero(used), (np.cumsum(used, dtype=np.int32) - 1)[faces]


def centered(
    points: NDArray[Any],  # (N, 3)
    faces: NDArray[Any] | None = None,  # (F, 3)
) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """Points as float32, relative to the origin (3,) that is returned with them.

    The origin is zero unless float32 would lose precision because the points lie far from zero. Of a mesh, only points
    that faces use count.
    """
    origin = np.zeros(3)
    if points.ndim == 2 and points.shape[1] == 3 and len(points):
        used = points
        if faces is not None and faces.size and faces.min() >= 0 and faces.max() < len(points):
            used = points[compacted(points, faces)[0]]
        low, high = used.min(axis=0), used.max(axis=0)
        if not np.isfinite([low, high]).all():  # min and max of an array with a NaN are NaN
            finite = used[np.isfinite(used).all(axis=1)]
            low, high = (finite.min(axis=0), finite.max(axis=0)) if len(finite) else (origin, origin)
        extent = float((high - low).max())
        some = points[:: max(1, len(points) // 1024)]
        some = some[np.isfinite(some).all(axis=1)]
        if len(some):
            inner_low, inner_high = np.quantile(some, [0.05, 0.95], axis=0)
            inner_extent = float((inner_high - inner_low).max())
            # A few points far away, such as a (0, 0, 0) in a georeferenced scan, do not say where the shape is.
            if extent > _STRAY * inner_extent > 0:
                low, high, extent = inner_low, inner_high, inner_extent
        if np.abs([low, high]).max() > _FAR_AWAY * extent > 0:
            # A multiple of a power of two near the extent: few bits, so that subtracting it loses nothing.
            grid = 2.0 ** np.floor(np.log2(extent))
            origin = np.rint((low + high) / 2 / grid) * grid
    with np.errstate(over="ignore", invalid="ignore"):  # too large for float32: infinite, which validate refuses
        moved = points - origin if origin.any() else points
        return np.ascontiguousarray(moved, np.float32), origin


def _get_geometry(source: Any) -> tuple[Any, Any, Any]:
    """Points, faces and colours of a mesh or cloud of trimesh or open3d; (source, None, None) for anything else."""
    faces = getattr(source, "triangles", None) if hasattr(source, "vertex_colors") else getattr(source, "faces", None)
    if hasattr(source, "vertices"):  # Trimesh, PointCloud of trimesh, TriangleMesh of open3d
        visual = getattr(source, "visual", None)
        colors = getattr(source, "vertex_colors", getattr(source, "colors", None))
        if getattr(visual, "kind", None) == "vertex":
            colors = getattr(visual, "vertex_colors", None)
        return source.vertices, faces, _byte_colors(colors, len(source.vertices))
    if type(source).__module__.startswith("open3d") and hasattr(source, "points"):
        return source.points, None, _byte_colors(getattr(source, "colors", None), len(source.points))
    return source, None, None


def _byte_colors(colors: Any, count: int) -> NDArray[np.uint8] | None:
    """Red, green, blue of `count` points, from bytes or from floats of 0 to 1; None where there are none."""
    values = np.zeros((0, 3)) if colors is None else np.asarray(colors)
    if values.ndim != 2 or values.shape[0] != count or values.shape[1] not in (3, 4):
        return None
    if values.dtype.kind == "f":
        values = np.rint(255 * np.clip(values, 0, 1))
    return np.ascontiguousarray(values[:, :3], np.uint8)


def _numbers(source: Any, what: str) -> NDArray[Any]:
    try:
        if source is None:
            raise TypeError("None")
        array = np.asarray(source)
        if array.dtype.kind not in "fiub":
            array = array.astype(np.float64, casting="unsafe" if array.dtype.kind in "OUS" else "safe")
        return array if array.dtype.kind == "f" and array.dtype.itemsize > 4 else array.astype(np.float64)
    except (TypeError, ValueError, RuntimeError) as error:  # RuntimeError: a tensor that requires a gradient
        kind = "" if isinstance(source, np.ndarray | list | tuple) else f"{type(source).__name__}, "
        reason = (str(error).splitlines() or [""])[0]
        raise InputError(f"{what}: {kind}not numbers ({reason}); {_EXPECTED}") from error


def _integers(source: Any, what: str) -> NDArray[np.int32]:
    if isinstance(source, np.ndarray) and source.dtype == np.int32:
        return np.ascontiguousarray(source)
    values = _numbers(source, what)
    with np.errstate(invalid="ignore"):
        are_integers = (values == np.rint(values)).all() and (np.abs(values) < 2**31).all()
    if not are_integers:
        raise InputError(f"{what}: not integers below 2**31; expected indices of vertices, of shape (F, 3)")
    return np.ascontiguousarray(values, np.int32)


def triangle_areas(vertices: NDArray[np.float32], faces: NDArray[np.int32]) -> NDArray[np.float64]:  # (F,)
    a, b, c = (vertices[faces[:, i]].astype(np.float64) for i in range(3))
    return 0.5 * np.linalg.norm(np.cross(b - a, c - a), axis=1)
