"""Instances: the connected pieces of a part, so that four legs are four.

A piece is a connected component of the faces, or points, of a part (pa3d.ops.components). It is an instance of its own
unless

- its area is below a twentieth of that of the part's largest piece: a crumb, which belongs to the nearest instance;
- or nine tenths of its bounding box lie in that of a larger piece: a hub in its tyre, which belongs to that one.

Instances of a part are numbered from 0, in the order of their first faces or points.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pa3d.errors import InputError
from pa3d.shape import Shape, compacted

CRUMB = 0.05  # of the largest piece
INSIDE = 0.9  # of a bounding box
DIRECTIONS = 256  # whose farthest points stand for a shape when its box is looked for


@dataclass(frozen=True, eq=False)
class OrientedBox:
    """A box: center (3,), axes (3, 3) with a unit vector in each row, right-handed, and extents (3,), its full lengths
    along them, longest first."""

    center: NDArray[np.float64]
    axes: NDArray[np.float64]
    extents: NDArray[np.float64]

    @property
    def corners(self) -> NDArray[np.float64]:  # (8, 3)
        signs = np.stack(np.meshgrid(*[[-0.5, 0.5]] * 3, indexing="ij"), axis=-1).reshape(8, 3)
        return self.center + (signs * self.extents) @ self.axes


@dataclass(frozen=True, eq=False)
class Region:
    """Some faces of a mesh, or points of a cloud.

    part: name of their part. elements (n,): indices of the faces of the mesh, or the points of the cloud, ascending.
    share: of the surface of the mesh, or of the points of the cloud. area: in squared units of the shape, None for a
    cloud. score: mean score of the part on them, weighted by area; NaN for no elements.
    """

    part: str
    elements: NDArray[np.int64] = field(repr=False)
    share: float
    area: float | None
    score: float
    shape: Shape = field(repr=False)

    @property
    def mask(self) -> NDArray[np.bool_]:  # (F,) or (N,)
        """Which of the faces of the mesh, or points of the cloud, belong to it."""
        mask = np.zeros(len(self.shape.points if self.shape.faces is None else self.shape.faces), bool)
        mask[self.elements] = True
        return mask

    @cached_property
    def centroid(self) -> NDArray[np.float64]:  # (3,)
        """Mean position of its surface or points, relative to the origin of the shape; NaN for no elements."""
        if len(self.elements) == 0:
            return np.full(3, np.nan)
        points, weights = element_points(self.shape, self.elements), element_weights(self.shape)[self.elements]
        return np.asarray(np.average(points, axis=0, weights=weights if weights.sum() > 0 else None))

    @cached_property
    def obb(self) -> OrientedBox:
        """A small oriented box around it (oriented_box). Raises InputError for no elements."""
        self._check()
        faces = self.shape.faces
        index = self.elements if faces is None else np.unique(faces[self.elements])
        return oriented_box(self.shape.points[index])

    def submesh(self) -> Shape:
        """It alone as a shape, with the points of the original that it uses. Raises InputError for no elements."""
        self._check()
        shape, faces, index = self.shape, self.shape.faces, self.elements
        if faces is not None:
            index, faces = compacted(shape.points, faces[self.elements])
        colors = None if shape.colors is None else shape.colors[index]
        structure: Any = {"pieces": (), "face_piece": None, "face_polygon": None, "file": None}
        name = f"{shape.name} {self._label()}"
        return replace(shape, points=shape.points[index], faces=faces, colors=colors, name=name, **structure)

    def _label(self) -> str:
        return self.part

    def _check(self) -> None:
        if len(self.elements) == 0:
            raise InputError(f"{self.shape.name}: nothing belongs to {self.part!r}; check that its share is above 0")


@dataclass(frozen=True, eq=False)
class Instance(Region):
    """One connected piece of a part; number: its place among those of the part, from 0."""

    number: int = 0

    def _label(self) -> str:
        return f"{self.part} {self.number + 1}"


@dataclass(frozen=True, eq=False)
class Part(Region):
    """All that belongs to a part name.

    label: index of the part. instances: its connected pieces. presence and found: as in Segmentation, None if the
    checkpoint is not calibrated.
    """

    label: int = 0
    instances: tuple[Instance, ...] = ()
    presence: float | None = None
    found: bool | None = None


def element_points(shape: Shape, elements: NDArray[np.int64]) -> NDArray[np.float64]:  # (n, 3)
    """The centroids of some faces of a mesh, or some points of a cloud."""
    if shape.faces is None:
        return shape.points[elements].astype(np.float64)
    return shape.points[shape.faces[elements]].mean(axis=1, dtype=np.float64)


def element_weights(shape: Shape) -> NDArray[np.float64]:  # (F,) or (N,)
    """The areas of the faces of a mesh, or ones for the points of a cloud."""
    return np.ones(len(shape.points)) if shape.faces is None else shape.face_areas()


def number_instances(shape: Shape, labels: NDArray[np.int32]) -> NDArray[np.int32]:  # (F,) or (N,) -> the same
    """The instance of its part that each face or point belongs to, from 0; -1 where the label is -1."""
    from pa3d.ops import components, knn

    missing = shape.missing()
    if missing is not None:
        numbers = np.full(len(labels), -1, np.int32)
        kept = np.flatnonzero(~missing)
        numbers[kept] = number_instances(replace(shape, points=shape.points[kept], colors=None), labels[kept])
        return numbers
    faces = shape.faces
    component = components(shape.points, faces, np.ascontiguousarray(labels, np.int32))
    members = np.argsort(component, kind="stable")
    members = members[(component < 0).sum() :]
    if len(members) == 0:
        return np.full(len(labels), -1, np.int32)
    begin = np.flatnonzero(np.diff(component[members], prepend=-1))
    low, high = _boxes(shape, members, begin)
    weights = element_weights(shape)
    area = np.add.reduceat(weights[members], begin)
    label_of = labels[members[begin]]
    instance = np.full(len(begin), -1, np.int32)
    for label in np.unique(label_of):
        own = np.flatnonzero(label_of == label)
        main = own[area[own] >= CRUMB * area[own].max()]
        heads = _outermost(main, area, low, high)
        instance[main] = np.searchsorted(np.unique(heads), heads)
        crumbs = own[instance[own] < 0]
        if len(crumbs):
            there = np.flatnonzero((labels == label) & (instance[component] >= 0))
            targets = element_points(shape, there).astype(np.float32)
            middle = ((low[crumbs] + high[crumbs]) / 2).astype(np.float32)
            nearest = knn(middle, np.ascontiguousarray(targets), 1)[0][:, 0]
            instance[crumbs] = instance[component[there[nearest]]]
    return np.where(component < 0, -1, instance[component]).astype(np.int32)


def _boxes(
    shape: Shape, members: NDArray[np.int64], begin: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:  # (C, 3) each
    """Lowest and highest coordinates of the components; begin: where each starts among the members."""
    corners = shape.points[members][:, None] if shape.faces is None else shape.points[shape.faces[members]]
    low, high = np.minimum.reduceat(corners.min(axis=1), begin), np.maximum.reduceat(corners.max(axis=1), begin)
    return low.astype(np.float64), high.astype(np.float64)


def _outermost(
    pieces: NDArray[np.int64], area: NDArray[np.float64], low: NDArray[np.float64], high: NDArray[np.float64]
) -> NDArray[np.int64]:  # as pieces
    """For each piece the largest one in whose box it lies, which may be itself."""
    margin = 1e-3 * (high[pieces].max(axis=0) - low[pieces].min(axis=0)).max()  # flat pieces have a box, too
    head = {}
    kept: list[int] = []
    for piece in pieces[np.argsort(-area[pieces], kind="stable")].tolist():
        size = high[piece] - low[piece] + 2 * margin
        if kept:
            common = np.minimum(high[piece], high[kept]) - np.maximum(low[piece], low[kept]) + 2 * margin
            inside = np.clip(common, 0, size).prod(axis=1) >= INSIDE * size.prod()
            if inside.any():
                head[piece] = kept[int(inside.argmax())]
                continue
        kept.append(piece)
        head[piece] = piece
    return np.array([head[piece] for piece in pieces.tolist()], np.int64)


def oriented_box(points: NDArray[np.float32]) -> OrientedBox:
    """A small box around points (N, 3), along the principal axes of its outermost points, turned about each axis in
    finer and finer steps. It holds all points; its volume is near the least, but not the least.
    """
    points = points.astype(np.float64)
    middle = (points.min(axis=0) + points.max(axis=0)) / 2
    outer = points - middle
    if len(points) > DIRECTIONS:
        i = np.arange(DIRECTIONS) + 0.5  # spread evenly over the sphere by the golden angle
        height, turn = 1 - 2 * i / DIRECTIONS, np.pi * (1 + 5**0.5) * i
        radius = np.sqrt(1 - height**2)
        directions = np.stack([radius * np.cos(turn), height, radius * np.sin(turn)])
        outer = outer[np.unique((outer @ directions).argmax(axis=0))]
    axes = np.linalg.svd(outer - outer.mean(axis=0), full_matrices=True)[2]
    for width in (90, 90, 20, 5, 5, 1):  # degrees, in which the best turn about each axis is looked for
        angles = np.radians(np.linspace(-width / 2, width / 2, 45))
        for axis in range(3):
            u, v = axes[(axis + 1) % 3], axes[(axis + 2) % 3]
            x, y = outer @ u, outer @ v
            spans = [
                np.ptp(np.outer(np.cos(angles), x) + np.outer(np.sin(angles), y), axis=1),
                np.ptp(np.outer(np.cos(angles), y) - np.outer(np.sin(angles), x), axis=1),
            ]
            floor = 1e-9 * (np.abs(outer).max() + 1e-300)  # of a line, the sum of the sides decides
            best = angles[int(((spans[0] + floor) * (spans[1] + floor)).argmin())]
            axes[(axis + 1) % 3], axes[(axis + 2) % 3] = (
                np.cos(best) * u + np.sin(best) * v,
                np.cos(best) * v - np.sin(best) * u,
            )
    along = (points - middle) @ axes.T
    low, high = along.min(axis=0), along.max(axis=0)
    order = np.argsort(low - high, kind="stable")
    axes, low, high = axes[order], low[order], high[order]
    axes *= np.where(axes[np.arange(3), np.abs(axes).argmax(axis=1)] < 0, -1.0, 1.0)[:, None]
    along = (points - middle) @ axes.T
    low, high = along.min(axis=0), along.max(axis=0)
    if np.linalg.det(axes) < 0:
        axes[2], low[2], high[2] = -axes[2], -high[2], -low[2]
    return OrientedBox(middle + (low + high) / 2 @ axes, axes, high - low)
