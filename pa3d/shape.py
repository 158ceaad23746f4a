"""Shape: a mesh or a cloud with its up axis, the one type that files become."""

from __future__ import annotations

from dataclasses import dataclass, field
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


@dataclass
class Shape:
    """A triangle mesh or a point cloud in the units and axes of its source.

    points: (N, 3) float32, the vertices of a mesh or the points of a cloud, relative to ``origin``. May be given as any
        numbers: float64 that is far from zero moves into ``origin`` before it is rounded to float32. May also be given
        as a mesh or point cloud of trimesh or open3d, with its faces and colours.
    faces: (F, 3) int32 indices into points, or None for a cloud. May be given as any whole numbers.
    colors: (N, 3) uint8 or None.
    up: the axis that points upwards in the source.
    origin: (3,) float64, added to points to get world coordinates; not zero only where float32 would lose
        precision (georeferenced scans).
    """

    points: NDArray[np.float32]
    faces: NDArray[np.int32] | None = None
    colors: NDArray[np.uint8] | None = None
    up: str = "y"
    name: str = "shape"
    source: str | None = None
    origin: NDArray[np.float64] = field(default_factory=lambda: np.zeros(3))

    def __post_init__(self) -> None:
        given = self.points
        if isinstance(given, np.ndarray) and given.dtype == np.float32:
            self.points = np.ascontiguousarray(given)
        else:
            if self.faces is None and not isinstance(given, np.ndarray | list | tuple):
                given, self.faces, own_colors = _geometry_of(given)
                self.colors = own_colors if self.colors is None else self.colors
            self.points, moved = centered(
                _numbers(given, self.name if self.name == "points" else f"{self.name}: points")
            )
            self.origin = np.asarray(self.origin, np.float64) + moved
        if self.faces is not None:
            self.faces = _whole_numbers(self.faces, f"{self.name}: faces")
        if self.colors is not None and not isinstance(self.colors, np.ndarray):
            self.colors = np.asarray(self.colors)

    @property
    def is_mesh(self) -> bool:
        return self.faces is not None

    def missing(self) -> NDArray[np.bool_] | None:  # (N,)
        """Which points have NaN or infinite coordinates, as organised clouds mark what was not measured; None if no
        point has."""
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
            rest = pts[~missing]
            if nan == "error" or self.is_mesh or (rest == rest[:1]).all():  # one point or none is left
                raise InputError(
                    f"{self.name}: {bad} of {len(pts)} points have NaN or infinite coordinates; remove them first"
                )
            pts = rest
        if self.up not in UP_AXES:
            raise InputError(f"{self.name}: up axis {self.up!r} is not one of x, y, z")
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


def centered(points: NDArray[Any]) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """Points as float32, relative to the origin (3,) that is returned with them.

    The origin is zero unless float32 would lose precision because the points lie far from zero.
    """
    origin = np.zeros(3)
    if points.ndim == 2 and points.shape[1] == 3 and len(points):
        low, high = points.min(axis=0), points.max(axis=0)
        if not np.isfinite([low, high]).all():  # NaN is what min and max of a NaN give
            finite = points[np.isfinite(points).all(axis=1)]
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


def _geometry_of(given: Any) -> tuple[Any, Any, Any]:
    """Points, faces and colours of a mesh or cloud of trimesh or open3d; anything else as it is, without the others."""
    triangles = getattr(given, "triangles", None) if hasattr(given, "vertex_colors") else getattr(given, "faces", None)
    if hasattr(given, "vertices"):  # Trimesh, PointCloud of trimesh, TriangleMesh of open3d
        visual = getattr(given, "visual", None)
        colors = getattr(given, "vertex_colors", getattr(given, "colors", None))
        if getattr(visual, "kind", None) == "vertex":
            colors = getattr(visual, "vertex_colors", None)
        return given.vertices, triangles, _byte_colors(colors, len(given.vertices))
    if type(given).__module__.startswith("open3d") and hasattr(given, "points"):
        return given.points, None, _byte_colors(getattr(given, "colors", None), len(given.points))
    return given, None, None


def _byte_colors(colors: Any, count: int) -> NDArray[np.uint8] | None:
    """Red, green, blue of `count` points, from bytes or from floats of 0 to 1; None where there are none."""
    values = np.zeros((0, 3)) if colors is None else np.asarray(colors)
    if values.ndim != 2 or values.shape[0] != count or values.shape[1] not in (3, 4):
        return None
    if values.dtype.kind == "f":
        values = np.rint(255 * np.clip(values, 0, 1))
    return np.ascontiguousarray(values[:, :3], np.uint8)


def _numbers(given: Any, what: str) -> NDArray[Any]:
    try:
        if given is None:
            raise TypeError("None")
        array = np.asarray(given)
        if array.dtype.kind not in "fiub":
            array = array.astype(np.float64, casting="unsafe" if array.dtype.kind in "OUS" else "safe")
        return array if array.dtype.kind == "f" and array.dtype.itemsize > 4 else array.astype(np.float64)
    except (TypeError, ValueError, RuntimeError) as error:  # RuntimeError: a tensor that requires a gradient
        kind = "" if isinstance(given, np.ndarray | list | tuple) else f"{type(given).__name__}, "
        reason = (str(error).splitlines() or [""])[0]
        raise InputError(f"{what}: {kind}not numbers ({reason}); {_EXPECTED}") from error


def _whole_numbers(given: Any, what: str) -> NDArray[np.int32]:
    if isinstance(given, np.ndarray) and given.dtype == np.int32:
        return np.ascontiguousarray(given)
    values = _numbers(given, what)
    with np.errstate(invalid="ignore"):
        whole = (values == np.rint(values)).all() and (np.abs(values) < 2**31).all()
    if not whole:
        raise InputError(f"{what}: not whole numbers below 2**31; expected indices of vertices, of shape (F, 3)")
    return np.ascontiguousarray(values, np.int32)


def triangle_areas(vertices: NDArray[np.float32], faces: NDArray[np.int32]) -> NDArray[np.float64]:  # (F,)
    a, b, c = (vertices[faces[:, i]].astype(np.float64) for i in range(3))
    return 0.5 * np.linalg.norm(np.cross(b - a, c - a), axis=1)
