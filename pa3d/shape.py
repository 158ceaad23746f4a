"""Shape: a mesh or a cloud with its up axis, the one type that files become."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from pa3d.errors import InputError
from pa3d.frames import UP_AXES
from pa3d.sampling import sample_surface


@dataclass
class Shape:
    """A triangle mesh or a point cloud in the units and axes of its source.

    points: (N, 3) float32, the vertices of a mesh or the points of a cloud, relative to ``origin``.
    faces: (F, 3) int32 indices into points, or None for a cloud.
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

    @property
    def is_mesh(self) -> bool:
        return self.faces is not None

    def validate(self) -> Shape:
        """Raise InputError unless this can be segmented: finite, of the right rank, with an extent, faces in range."""
        pts = self.points
        if pts.ndim != 2 or pts.shape[1] != 3:
            raise InputError(f"{self.name}: points have shape {pts.shape}; expected (N, 3)")
        if len(pts) == 0:
            raise InputError(f"{self.name}: no points; give a mesh with faces or a cloud with at least one point")
        if not np.isfinite(pts).all():
            bad = int((~np.isfinite(pts).all(axis=1)).sum())
            raise InputError(
                f"{self.name}: {bad} of {len(pts)} points have NaN or infinite coordinates; remove them first"
            )
        if self.up not in UP_AXES:
            raise InputError(f"{self.name}: up axis {self.up!r} is not one of x, y, z")
        if (pts == pts[0]).all():
            raise InputError(f"{self.name}: all {len(pts)} points are equal; a shape needs an extent")
        if self.faces is not None:
            faces = self.faces
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


def triangle_areas(vertices: NDArray[np.float32], faces: NDArray[np.int32]) -> NDArray[np.float64]:  # (F,)
    a, b, c = (vertices[faces[:, i]].astype(np.float64) for i in range(3))
    return 0.5 * np.linalg.norm(np.cross(b - a, c - a), axis=1)
