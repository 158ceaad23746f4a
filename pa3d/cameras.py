"""Cameras: positions from which views of a shape are taken, and their projection.

World frame: y up, the shape inside the unit sphere. Camera frame: x right, y down, z forward, so depth is z.
Pixels: column c and row r cover [c, c + 1) x [r, r + 1), the image centre is (width / 2, height / 2). A
camera at azimuth a and elevation e sits at distance * (cos e sin a, sin e, cos e cos a): azimuth 0 looks
along -z from +z.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

PRESETS = ("around10", "rings", "icosahedral12", "icosahedral20", "front")

_FOV = 40.0  # degrees
_MARGIN = 1.05  # the unit sphere fills 1 / 1.05 of the shorter side


@dataclass(frozen=True)
class Cameras:
    """V cameras with one common projection.

    view: (V, 4, 4) float64, world to camera.
    fov: full angle across the shorter image side in degrees; None for orthographic.
    half_extent: orthographic only, half the shorter image side in world units.
    near: positive, world units; nothing closer is drawn.
    """

    view: NDArray[np.float64]
    fov: float | None = _FOV
    half_extent: float = _MARGIN
    near: float = 0.01

    def __post_init__(self) -> None:
        view = np.ascontiguousarray(self.view, np.float64)
        if view.ndim != 3 or view.shape[1:] != (4, 4) or len(view) == 0:
            raise ValueError(f"view: expected shape (V, 4, 4) with V >= 1, got {view.shape}")
        if not np.isfinite(view).all():
            raise ValueError("view: NaN or infinite values; expected finite matrices")
        if self.fov is not None and not 0 < self.fov < 180:
            raise ValueError(f"fov: expected degrees between 0 and 180, got {self.fov}")
        if not 0 < self.half_extent < np.inf:
            raise ValueError(f"half_extent: expected a positive number, got {self.half_extent}")
        if not 0 < self.near < np.inf:
            raise ValueError(f"near: expected a positive number, got {self.near}")
        object.__setattr__(self, "view", view)

    def __len__(self) -> int:
        return len(self.view)

    def __getitem__(self, index: int | slice) -> Cameras:
        chosen = slice(index, index + 1 or None) if isinstance(index, int) else index
        return Cameras(self.view[chosen], self.fov, self.half_extent, self.near)

    @property
    def perspective(self) -> bool:
        return self.fov is not None

    @property
    def centers(self) -> NDArray[np.float64]:  # (V, 3)
        """Camera positions in the world."""
        return -np.einsum("vij,vi->vj", self.view[:, :3, :3], self.view[:, :3, 3])

    def scale(self, size: int | tuple[int, int]) -> float:
        """Pixels per world unit: at depth 1 for perspective cameras, at any depth for orthographic ones."""
        half = min(image_size(size)) / 2
        return half / float(np.tan(np.radians(self.fov) / 2)) if self.fov is not None else half / self.half_extent

    def matrices(self, size: int | tuple[int, int]) -> NDArray[np.float64]:  # (V, 3, 4)
        """Matrices from world points (x, y, z, 1) to (X, Y, depth).

        Pixels are (X, Y) / depth for perspective cameras, (X, Y) for orthographic ones.
        """
        height, width = image_size(size)
        out = self.view[:, :3].copy()
        out[:, :2] *= self.scale(size)
        center = np.array([width / 2, height / 2])
        if self.perspective:
            out[:, :2] += center[:, None] * self.view[:, 2:3]
        else:
            out[:, :2, 3] += center
        return out

    def project(
        self, points: ArrayLike, size: int | tuple[int, int]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Points (N, 3) to pixels (V, N, 2), column then row, and depths (V, N).

        Behind a camera the depth is <= 0, and the pixel has no meaning.
        """
        p = np.asarray(points, np.float64)
        m = self.matrices(size)
        xyz = np.einsum("vij,nj->vni", m[:, :, :3], p) + m[:, None, :, 3]
        depth = xyz[..., 2]
        with np.errstate(divide="ignore", invalid="ignore"):
            pixels = xyz[..., :2] / depth[..., None] if self.perspective else xyz[..., :2]
        return pixels, depth

    @staticmethod
    def look_at(
        eye: ArrayLike,  # (3,) or (V, 3)
        target: ArrayLike = (0.0, 0.0, 0.0),
        up: ArrayLike = (0.0, 1.0, 0.0),
        *,
        fov: float | None = _FOV,
        half_extent: float = _MARGIN,
        near: float = 0.01,
    ) -> Cameras:
        """Cameras at `eye` with `target` in the middle of the image and `up` pointing up in it.

        A camera that looks along `up` takes the axis least aligned with its view instead. Raises ValueError when an eye
        equals its target.
        """
        eyes = np.atleast_2d(np.asarray(eye, np.float64))
        views = np.zeros((len(eyes), 4, 4))
        targets = np.broadcast_to(np.asarray(target, np.float64), eyes.shape)
        for view, e, t in zip(views, eyes, targets, strict=True):
            forward = t - e
            length = np.linalg.norm(forward)
            if not length > 0:
                raise ValueError(f"eye: expected a position away from the target, got {e.tolist()} for both")
            forward = forward / length
            right = np.cross(forward, np.asarray(up, np.float64))
            if np.linalg.norm(right) < 1e-6:
                right = np.cross(forward, np.eye(3)[2 if abs(forward[2]) < 0.9 else 0])
            right /= np.linalg.norm(right)
            rotation = np.stack([right, np.cross(forward, right), forward])
            view[:3, :3], view[:3, 3], view[3, 3] = rotation, -rotation @ e, 1.0
        return Cameras(views, fov, half_extent, near)

    @staticmethod
    def orbit(
        azimuth: ArrayLike,  # degrees, (V,) or a number
        elevation: ArrayLike,  # degrees, (V,) or a number
        *,
        distance: float | None = None,
        fov: float | None = _FOV,
        half_extent: float = _MARGIN,
    ) -> Cameras:
        """Cameras around the origin.

        distance: default: 1.05 / sin(fov / 2) for perspective cameras (3.07 at 40 degrees), so that the unit sphere
        just fits; 3 for orthographic ones.
        """
        a, e = np.broadcast_arrays(np.radians(azimuth), np.radians(elevation))
        direction = np.stack([np.cos(e) * np.sin(a), np.sin(e), np.cos(e) * np.cos(a)], axis=-1).reshape(-1, 3)
        return Cameras.look_at(direction * _fit(distance, fov), fov=fov, half_extent=half_extent)

    @staticmethod
    def rings(
        elevations: Sequence[float] = (-25.0, 15.0, 50.0),
        count: int = 8,
        *,
        distance: float | None = None,
        fov: float | None = _FOV,
        half_extent: float = _MARGIN,
    ) -> Cameras:
        """`count` cameras at each elevation (degrees), azimuths 360 / count apart.

        Every other ring is turned by half a step, so that neighbouring rings see different sides.
        """
        if count < 1 or len(elevations) == 0:
            raise ValueError(
                f"rings: expected at least one elevation and one camera, got {len(elevations)} and {count}"
            )
        step = 360.0 / count
        azimuth = [step * (i + 0.5 * (ring % 2)) for ring in range(len(elevations)) for i in range(count)]
        return Cameras.orbit(azimuth, np.repeat(elevations, count), distance=distance, fov=fov, half_extent=half_extent)

    @staticmethod
    def icosahedral(
        count: int = 12,
        *,
        distance: float | None = None,
        fov: float | None = _FOV,
        half_extent: float = _MARGIN,
    ) -> Cameras:
        """Cameras in the directions of an icosahedron's 12 vertices or 20 faces."""
        golden = (1 + 5**0.5) / 2
        signs = [(i, j) for i in (-1.0, 1.0) for j in (-1.0, 1.0)]
        directions: list[tuple[float, ...]]
        if count == 12:
            directions = [(0.0, i, j * golden) for i, j in signs]
        elif count == 20:
            directions = [(0.0, i / golden, j * golden) for i, j in signs]
        else:
            raise ValueError(f"count: expected 12 (vertices) or 20 (faces), got {count}")
        directions = [tuple(np.roll(d, shift)) for shift in range(3) for d in directions]
        if count == 20:
            directions += [(i, j, k) for i, j in signs for k in (-1.0, 1.0)]
        unit = np.array(directions)
        unit /= np.linalg.norm(unit, axis=1, keepdims=True)
        return Cameras.look_at(unit * _fit(distance, fov), fov=fov, half_extent=half_extent)

    @staticmethod
    def preset(name: str) -> Cameras:
        """A set of views by name.

        around10: 10 orthographic views, azimuths -180, -144, ..., 144, elevations 30 and -20 in turn,
            distance 3, the image spans [-1, 1]; Find3D's data engine (arXiv 2411.13550) renders these at 500
            x 500.
        rings: 24 perspective views, 8 at each of the elevations -25, 15 and 50.
        icosahedral12, icosahedral20: perspective views from the vertices or faces of an icosahedron.
        front: one perspective view from azimuth 35, elevation 20, for pictures.
        """
        if name == "around10":
            azimuth = -180.0 + 36.0 * np.arange(10)
            return Cameras.orbit(azimuth, np.tile([30.0, -20.0], 5), distance=3.0, fov=None, half_extent=1.0)
        if name == "rings":
            return Cameras.rings()
        if name in ("icosahedral12", "icosahedral20"):
            return Cameras.icosahedral(int(name[-2:]))
        if name == "front":
            return Cameras.orbit(35.0, 20.0)
        raise ValueError(f"name: expected one of {', '.join(PRESETS)}, got {name!r}")


def image_size(size: int | tuple[int, int]) -> tuple[int, int]:
    """An image size, one number or (height, width), as (height, width). Raises TypeError or ValueError."""
    pair = (size, size) if isinstance(size, int | np.integer) else size
    if not isinstance(pair, tuple | list) or len(pair) != 2 or not all(isinstance(s, int | np.integer) for s in pair):
        raise TypeError(f"size: expected an integer or (height, width), got {size!r}")
    height, width = int(pair[0]), int(pair[1])
    if not (1 <= height <= 16384 and 1 <= width <= 16384):
        raise ValueError(f"size: expected 1 to 16384 pixels a side, got {height} x {width}")
    return height, width


def _fit(distance: float | None, fov: float | None) -> float:
    if distance is not None:
        if not 0 < distance < np.inf:
            raise ValueError(f"distance: expected a positive number, got {distance}")
        return distance
    return _MARGIN / float(np.sin(np.radians(fov) / 2)) if fov is not None else 3.0
