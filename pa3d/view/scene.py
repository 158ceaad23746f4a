"""What the viewer draws: groups of faces or points of one colour; and the place under a click. Without viser."""

from __future__ import annotations

import json
import struct
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pa3d.colors import UNLABELED_COLOR, part_colors, to_rgb
from pa3d.shape import Shape, compacted

HEAT_STEPS = 32
# Viridis, as in parts.html (Smith and van der Walt, 2015).
HEAT_COLORS = ("#440154", "#472d7b", "#3b528b", "#2c728e", "#21918c", "#28ae80", "#5ec962", "#addc30", "#fde725")
POINT_REACH = 0.02  # how far from a point of a cloud a click may be, for a shape of radius 1
# Extensions of glTF whose decoders the page would load from the network.
NEED_DECODER = {"KHR_draco_mesh_compression", "EXT_meshopt_compression", "KHR_texture_basisu"}

Rgb = tuple[int, int, int]
SELECTED_COLOR: Rgb = (232, 28, 140)  # no colour of parts is like it
ON_COLOR, BESIDE_COLOR = (30, 160, 60), (200, 30, 30)  # of clicks on a part, and beside it


class Group(NamedTuple):
    """Elements (faces of a mesh, points of a cloud) of one colour. label: of the part, -1 for none, None for heat."""

    color: Rgb
    elements: NDArray[np.int64]
    label: int | None = None


class Hit(NamedTuple):
    """The face or point under a click, and the place (3,) in the axes of the shape, relative to its origin."""

    element: int
    position: NDArray[np.float64]


def part_groups(labels: NDArray[np.int32], count: int) -> list[Group]:
    """One group for each part that has elements, and for none of them."""
    colors = [*map(as_rgb, part_colors(count)), as_rgb(UNLABELED_COLOR)]
    order = np.argsort(labels, kind="stable")
    bounds = np.searchsorted(labels[order], np.arange(-1, count + 1))
    parts = {label: order[bounds[label + 1] : bounds[label + 2]] for label in range(-1, count)}
    return [Group(colors[label], elements, label) for label, elements in parts.items() if len(elements)]


def selected_groups(mask: NDArray[np.bool_], alone: bool = False) -> list[Group]:
    """A selection in its colour, and the rest in grey unless it is alone."""
    groups = [Group(SELECTED_COLOR, np.flatnonzero(mask))]
    return groups if alone or mask.all() else [*groups, Group(as_rgb(UNLABELED_COLOR), np.flatnonzero(~mask))]


def without(groups: list[Group], mask: NDArray[np.bool_]) -> list[Group]:
    """Groups without the elements of a mask."""
    left = [group._replace(elements=group.elements[~mask[group.elements]]) for group in groups]
    return [group for group in left if len(group.elements)]


def heat_groups(heat: NDArray[np.float32], least: float = 0.0) -> list[Group]:
    """Groups by heat from 0 to 1, in steps; what is below `least` is grey."""
    steps = np.clip((heat * HEAT_STEPS).astype(np.int64), 0, HEAT_STEPS - 1)
    steps[heat < least] = -1
    ramp = to_rgb(list(HEAT_COLORS)).astype(np.float64)
    groups = []
    for step in np.unique(steps):
        elements = np.flatnonzero(steps == step)
        if step < 0:
            groups.append(Group(as_rgb(UNLABELED_COLOR), elements))
            continue
        place = (step + 0.5) / HEAT_STEPS * (len(ramp) - 1)
        low = int(place)
        rgb = ramp[low] + (ramp[low + 1] - ramp[low]) * (place - low)
        red, green, blue = (round(value) for value in rgb.tolist())
        groups.append(Group((red, green, blue), elements))
    return groups


def as_rgb(color: str) -> Rgb:
    red, green, blue = to_rgb([color])[0].tolist()
    return red, green, blue


def enclosing_sphere(shape: Shape) -> tuple[NDArray[np.float64], float]:
    """The middle (3,) of the bounding box of what is seen of a shape, and the largest distance from it."""
    points = shape.points if shape.faces is None else shape.points[compacted(shape.points, shape.faces)[0]]
    points = points[np.isfinite(points).all(axis=1)].astype(np.float64)
    center = (points.min(axis=0) + points.max(axis=0)) / 2
    return center, float(np.linalg.norm(points - center, axis=1).max())


def place_under(
    shape: Shape,
    shown: NDArray[np.bool_],  # (E,) faces or points
    origin: NDArray[np.float64],  # (3,)
    direction: NDArray[np.float64],  # (3,) unit
    reach: float,
) -> Hit | None:
    """The first shown face that a ray meets, or the first shown point within `reach` of it; None if there is none.

    The ray is in the axes of the shape, relative to its origin. Faces: Moeller and Trumbore, 1997.
    """
    if shape.faces is None:
        points = shape.points.astype(np.float64) - origin
        along = points @ direction
        aside = np.linalg.norm(points - along[:, None] * direction, axis=1)
        near = np.flatnonzero(shown & (along > 0) & (aside < reach))  # a NaN compares as false
        if not len(near):
            return None
        element = int(near[along[near].argmin()])
        return Hit(element, shape.points[element].astype(np.float64))
    index = np.flatnonzero(shown)
    a, b, c = (shape.points[shape.faces[index, i]].astype(np.float64) for i in range(3))
    first, second = b - a, c - a
    p = np.cross(direction, second)
    area = (first * p).sum(axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):  # a face along the ray, or without area
        from_a = origin - a
        u = (from_a * p).sum(axis=1) / area
        q = np.cross(from_a, first)
        v = (q @ direction) / area
        t = (second * q).sum(axis=1) / area
        met = np.flatnonzero((u >= 0) & (v >= 0) & (u + v <= 1) & (t > 0))
    if not len(met):
        return None
    best = met[t[met].argmin()]
    return Hit(int(index[best]), origin + t[best] * direction)


def original_glb(shape: Shape) -> bytes | None:
    """The file itself if it is a GLB that the browser can show without a network, and was not turned; else None."""
    if shape.file is None or shape.file.suffix.lower() != ".glb":
        return None
    try:
        data = shape.file.read_bytes()
        length = struct.unpack_from("<I", data, 12)[0]
        content = json.loads(data[20 : 20 + length])
    except (OSError, ValueError, struct.error):  # it was changed since
        return None
    outside = any("uri" in item and not item["uri"].startswith("data:") for item in _resources(content))
    used = set(content.get("extensionsUsed", ())) | set(content.get("extensionsRequired", ()))
    return None if outside or used & NEED_DECODER else data


def _resources(content: dict[str, list[dict[str, str]]]) -> list[dict[str, str]]:
    return [*content.get("buffers", []), *content.get("images", [])]
