"""Bodies from skeletons: primitives on bones, blended to one surface, meshed, skinned and posed.

A `Rig` is a tree of bones in a rest pose with primitives around them. Its signed distance field is the
smooth union of the primitives, d = min(a, b) - max(k - |a - b|, 0)^2 / 4k. Surface nets (Gibson, "Constrained
elastic surface nets", 1998) turn it into a mesh once, the `Body`. The primitives in the rest pose decide the part
and the skinning weights of each vertex, so that the boundaries of parts move with the skin. `Body.sample` poses the
body by linear blend skinning and draws points on its outside. A point inside a limb that it does not belong to is
left out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pa3d.rotations import AXES, axis_angle_rotation

Array = NDArray[np.float32]
Rotations = Mapping[str, NDArray[np.float64]]  # bone -> (3, 3), relative to its parent, axes of the rest pose
Motion = dict[str, tuple[tuple[float, float, float], tuple[float, float, float]]]  # bone -> mean, deviation (degrees)
Relabel = Callable[[Array, list[str], NDArray[np.int64]], None]  # vertices, keys, key of each vertex (edited in place)


@dataclass
class Limb:
    """A tapered capsule from a to b, with the radii at both ends.

    t runs from 0 at a to 1 at b.
    key: the part it belongs to. cuts: (t, key) in ascending order; from that t on it belongs to that part instead.
    bulge: added to the radius at t = bulge_at, less towards the ends.
    flat: scale along axis; less than 1 is flatter.
    k: width over which it blends with earlier primitives of its group.
    """

    bone: str
    key: str
    a: NDArray[np.float64]
    b: NDArray[np.float64]
    radius: tuple[float, float]
    k: float = 0.02
    group: str = "trunk"
    bulge: float = 0.0
    bulge_at: float = 0.5
    flat: float = 1.0
    axis: tuple[float, float, float] = (0.0, 0.0, 1.0)
    cuts: tuple[tuple[float, str], ...] = ()

    def distance(self, points: Array) -> tuple[Array, Array]:  # (N, 3) -> (N,), t (N,)
        p = points - self.a.astype(np.float32)
        along = (self.b - self.a).astype(np.float32)
        if self.flat != 1.0:
            side = np.asarray(self.axis, np.float64)
            side = side - along * (side @ along) / max(float(along @ along), 1e-12)
            normal = (side / max(float(np.linalg.norm(side)), 1e-9)).astype(np.float32)
            p = p + (p @ normal * np.float32(1 / self.flat - 1))[:, None] * normal
        t = np.clip(p @ along / np.float32(max(float(along @ along), 1e-12)), 0, 1)
        rest = p - t[:, None] * along
        radius = np.float32(self.radius[0]) + np.float32(self.radius[1] - self.radius[0]) * t
        if self.bulge:
            s = t ** np.float32(np.log(0.5) / np.log(self.bulge_at))
            radius = radius + np.float32(4 * self.bulge) * s * (1 - s)
        return np.sqrt(np.einsum("ij,ij->i", rest, rest)) - radius, t

    def box(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        reach = (max(self.radius) + self.bulge) * max(self.flat, 1)
        return np.minimum(self.a, self.b) - reach, np.maximum(self.a, self.b) + reach


@dataclass
class Ball:
    """An ellipsoid with its half axes and rotation. power: 2 for an ellipsoid, more makes it like a box."""

    bone: str
    key: str
    centre: NDArray[np.float64]
    radii: tuple[float, float, float]
    k: float = 0.02
    group: str = "trunk"
    rotation: NDArray[np.float64] | None = None
    power: int = 2
    cuts: tuple[tuple[float, str], ...] = ()

    def distance(self, points: Array) -> tuple[Array, Array]:  # (N, 3) -> (N,), t (N,) all 0
        p = points - self.centre.astype(np.float32)
        if self.rotation is not None:
            p = p @ self.rotation.astype(np.float32)
        q = p / np.asarray(self.radii, np.float32)
        if self.power == 2:
            inner = np.sqrt(np.einsum("ij,ij->i", q, q))
        else:
            inner = (np.abs(q) ** self.power).sum(1) ** np.float32(1 / self.power)
        q /= np.asarray(self.radii, np.float32)
        slope = np.sqrt(np.einsum("ij,ij->i", q, q))
        small = np.float32(min(self.radii))
        scale = np.minimum(inner, 4) / np.maximum(slope, 1e-6)
        return np.where(inner > 1e-3, (inner - 1) * np.maximum(scale, small * 0.5), -small), np.zeros_like(inner)

    def box(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        reach = np.asarray(self.radii, np.float64)
        if self.rotation is not None:
            reach = np.abs(self.rotation) @ reach
        return self.centre - reach, self.centre + reach


@dataclass
class Plate:
    """A flat outline (M, 2) in the plane of the unit vectors u and v through origin, with rounded edges: a fin.

    half: half its thickness, at least 0.9 cells of the rig.
    """

    bone: str
    key: str
    origin: NDArray[np.float64]
    u: NDArray[np.float64]
    v: NDArray[np.float64]
    outline: NDArray[np.float64]
    half: float
    k: float = 0.02
    group: str = "trunk"
    cuts: tuple[tuple[float, str], ...] = ()

    def distance(self, points: Array) -> tuple[Array, Array]:  # (N, 3) -> (N,), t (N,) all 0
        """Exact within 0.12 of the outline's rectangle, and the distance from that rectangle beyond."""
        p = points - self.origin.astype(np.float32)
        frame = np.stack([self.u, self.v, np.cross(self.u, self.v)], 1).astype(np.float32)
        q = p @ frame
        flat, off = q[:, :2], np.abs(q[:, 2])
        low, high = self.outline.min(0).astype(np.float32), self.outline.max(0).astype(np.float32)
        gap = np.maximum(np.maximum(low - flat, flat - high), 0)
        edge = np.sqrt(np.einsum("ij,ij->i", gap, gap))
        near = np.flatnonzero((edge < 0.12) & (off < 0.12 + self.half))
        edge[near] = _outline_distance(flat[near], self.outline.astype(np.float32))
        off -= np.float32(0.3 * self.half)
        rounded = np.hypot(np.maximum(edge, 0), np.maximum(off, 0)) + np.minimum(np.maximum(edge, off), 0)
        return rounded - np.float32(0.7 * self.half), np.zeros(len(points), np.float32)

    def box(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        corners = self.origin + self.outline[:, :1] * self.u + self.outline[:, 1:] * self.v
        return corners.min(0) - self.half, corners.max(0) + self.half


def _outline_distance(points: Array, outline: Array) -> Array:  # (N, 2), (M, 2) -> (N,), below 0 inside
    best = np.full(len(points), np.inf, np.float32)
    inside = np.zeros(len(points), bool)
    x, y = points[:, 0], points[:, 1]
    for a, b in zip(outline, np.roll(outline, -1, 0), strict=True):
        ex, ey = float(b[0] - a[0]), float(b[1] - a[1])
        t = np.clip(((x - a[0]) * ex + (y - a[1]) * ey) / max(ex * ex + ey * ey, 1e-12), 0, 1)
        np.minimum(best, (x - a[0] - t * ex) ** 2 + (y - a[1] - t * ey) ** 2, out=best)
        if ey:
            inside ^= ((y > a[1]) != (y > b[1])) & (x < a[0] + (y - a[1]) * (ex / ey))
    return np.where(inside, -1, 1).astype(np.float32) * np.sqrt(best)


@dataclass
class Rig:
    """Bones (name -> parent and joint, parents first) and primitives, in the rest pose."""

    bones: dict[str, tuple[str | None, NDArray[np.float64]]] = field(default_factory=dict)
    primitives: list[Limb | Ball | Plate] = field(default_factory=list)
    parts: dict[str, tuple[str, ...]] = field(default_factory=dict)  # key -> names
    blend: dict[str, float] = field(default_factory=dict)  # group -> k towards the groups before it
    cell: float = 0.009
    weight_falloff: float = 0.02
    relabel: Relabel | None = None
    categories: tuple[str, ...] = ()  # words for what this one is; the kind's own when empty
    motion: Motion = field(default_factory=dict)
    presets: list[Motion] = field(default_factory=list)  # poses such as sitting; each replaces the motion of some bones

    def bone(self, name: str, parent: str | None, joint: ArrayLike) -> NDArray[np.float64]:
        where = np.asarray(joint, np.float64)
        self.bones[name] = (parent, where)
        return where

    def field(self, points: Array) -> Array:  # (N, 3) -> (N,)
        groups: dict[str, Array] = {}
        for primitive in self.primitives:
            d, _ = primitive.distance(points)
            name = primitive.group
            groups[name] = _union(groups[name], d, primitive.k) if name in groups else d
        names = iter(groups)
        total = groups[next(names)]
        for name in names:
            total = _union(total, groups[name], self.blend.get(name, 0.02))
        return total

    def build(self) -> Body:
        """The mesh of this rig, with a part for each face and skinning weights."""
        low, high = (np.stack(side) for side in zip(*(p.box() for p in self.primitives), strict=True))
        margin = 3 * self.cell
        vertices, faces = surface_nets(self.field, low.min(0) - margin, high.max(0) + margin, self.cell)
        names = list(self.bones)
        keys = list(self.parts)
        column = {name: i for i, name in enumerate(names)}
        distance = np.full((len(names), len(vertices)), np.inf, np.float32)
        best = np.full(len(vertices), np.inf, np.float32)
        key = np.zeros(len(vertices), np.int64)
        for primitive in self.primitives:
            d, t = primitive.distance(vertices)
            row = distance[column[primitive.bone]]
            np.minimum(row, d, out=row)
            mine = np.full(len(vertices), keys.index(primitive.key))
            for start, other in primitive.cuts:
                mine[t >= start] = keys.index(other)
            key = np.where(d < best, mine, key)
            best = np.minimum(best, d)
        if self.relabel is not None:
            self.relabel(vertices, keys, key)
        hops = self._hops()
        nearest_bone = distance.argmin(0)
        distance -= distance.min(0)
        distance[hops[nearest_bone].T > 2] = np.inf
        weights = np.exp(-distance / self.weight_falloff)
        weights /= weights.sum(0)
        return Body(self, vertices, faces, key[faces[:, 0]], weights.T.copy(), nearest_bone, hops)

    def _hops(self) -> NDArray[np.int64]:
        names = list(self.bones)
        hops = np.full((len(names), len(names)), 99)
        np.fill_diagonal(hops, 0)
        for i, name in enumerate(names):
            parent = self.bones[name][0]
            if parent is not None:
                j = names.index(parent)
                hops[i, :i] = hops[j, :i] + 1
                hops[:i, i] = hops[i, :i]
        return hops


@dataclass
class Body:
    """A meshed rig.

    vertices: (V, 3); faces: (F, 3); face_keys: (F,) index of the face's part; weights: (V, B) of each bone;
    nearest_bone: (V,); hops: (B, B) number of joints between two bones.
    """

    rig: Rig
    vertices: Array
    faces: NDArray[np.int32]
    face_keys: NDArray[np.int64]
    weights: Array
    nearest_bone: NDArray[np.int64]
    hops: NDArray[np.int64]

    def transforms(self, rotations: Rotations, scale: NDArray[np.float64]) -> NDArray[np.float64]:
        """(B, 3, 4) matrices from rest pose to this pose, one per bone; scale (3,) stretches the rest pose first."""
        out = np.zeros((len(self.rig.bones), 3, 4))
        index = {name: i for i, name in enumerate(self.rig.bones)}
        for i, (name, (parent, joint)) in enumerate(self.rig.bones.items()):
            joint = joint * scale
            local = rotations.get(name, np.eye(3))
            if parent is None:
                out[i, :, :3], origin = local, joint
            else:
                up = out[index[parent]]
                out[i, :, :3], origin = up[:, :3] @ local, up[:, :3] @ joint + up[:, 3]
            out[i, :, 3] = origin - out[i, :, :3] @ joint
        out[:, :, :3] *= scale
        return out

    def pose(self, transforms: NDArray[np.float64]) -> Array:  # (B, 3, 4) -> (V, 3)
        blended = (self.weights @ transforms.reshape(len(transforms), 12).astype(np.float32)).reshape(-1, 3, 4)
        return np.einsum("vij,vj->vi", blended[:, :, :3], self.vertices) + blended[:, :, 3]

    def sample(
        self, n: int, transforms: NDArray[np.float64], rng: np.random.Generator
    ) -> tuple[Array, NDArray[np.int64], float]:
        """Random points on the outside of the posed body.

        Returns the points (n, 3), the part key of each (n,), and the fraction of drawn points that lay inside a limb.
        """
        posed = self.pose(transforms)
        a, b, c = (posed[self.faces[:, i]] for i in range(3))
        cumulative = np.cumsum(np.linalg.norm(np.cross(b - a, c - a), axis=1).astype(np.float64))
        points, keys, hidden = [], [], 0.0
        need = n
        while need > 0:
            count = int(need * 1.15) + 32
            where = (np.arange(count) + rng.random(count)) / count * cumulative[-1]
            face = np.minimum(np.searchsorted(cumulative, where, side="right"), len(cumulative) - 1)
            r1 = np.sqrt(rng.random(count, dtype=np.float32))[:, None]
            r2 = rng.random(count, dtype=np.float32)[:, None]
            p = (1 - r1) * a[face] + r1 * (1 - r2) * b[face] + r1 * r2 * c[face]
            inside = self._inside(p, self.nearest_bone[self.faces[face, 0]], transforms)
            hidden = max(hidden, float(inside.mean()))
            seen = rng.permutation(np.flatnonzero(~inside))[:need]
            points.append(p[seen])
            keys.append(self.face_keys[face[seen]])
            need -= len(seen)
        return np.concatenate(points), np.concatenate(keys), hidden

    def _inside(
        self, points: Array, nearest_bone: NDArray[np.int64], transforms: NDArray[np.float64]
    ) -> NDArray[np.bool_]:
        out = np.zeros(len(points), bool)
        for i, name in enumerate(self.rig.bones):
            far = np.flatnonzero(self.hops[i][nearest_bone] > 1)
            mine = [p for p in self.rig.primitives if p.bone == name]
            if not mine or not len(far):
                continue
            back = np.linalg.inv(transforms[i, :, :3])
            local = ((points[far] - transforms[i, :, 3]) @ back.T).astype(np.float32)
            low, high = (np.stack(side) for side in zip(*(p.box() for p in mine), strict=True))
            near = ((local > low.min(0)) & (local < high.max(0))).all(1)
            far, local = far[near], local[near]
            depth = np.where(self.hops[i][nearest_bone[far]] > 2, 1, 2) * np.float32(-0.7 * self.rig.cell)
            for primitive in mine:
                out[far] |= primitive.distance(local)[0] < depth
        return out


def surface_nets(
    field_of: Callable[[Array], Array], low: NDArray[np.float64], high: NDArray[np.float64], cell: float
) -> tuple[Array, NDArray[np.int32]]:
    """The zero set of a distance field in a box, as a closed mesh that faces outwards: vertices (V, 3), faces (F, 3).

    The field is first evaluated in the middle of each block of 4 x 4 x 4 nodes; blocks far from it are skipped.
    """
    blocks = np.ceil((high - low) / (4 * cell)).astype(int)
    grid: NDArray[np.int64] = np.indices(tuple(blocks))
    middle = low + (np.stack(list(grid), axis=-1).reshape(-1, 3) * 4 + 1.5) * cell
    coarse = field_of(middle.astype(np.float32))
    near = np.flatnonzero(np.abs(coarse) < 6.5 * cell)
    offsets = (np.stack(list(np.indices((4, 4, 4))), axis=-1).reshape(-1, 3) - 1.5) * cell
    fine = field_of((middle[near, None] + offsets).reshape(-1, 3).astype(np.float32))
    packed = np.repeat(coarse[:, None], 64, 1)
    packed[near] = fine.reshape(-1, 64)
    shape = tuple(blocks * 4)
    value = packed.reshape(*blocks, 4, 4, 4).transpose(0, 3, 1, 4, 2, 5).reshape(shape)

    inside = value < 0
    corners = list(np.ndindex(2, 2, 2))
    window = [tuple(slice(o, s - 1 + o) for o, s in zip(c, shape, strict=True)) for c in corners]
    count = sum(inside[w].astype(np.int8) for w in window)
    cells = np.argwhere((count > 0) & (count < 8))
    corner_values = np.stack([value[tuple((cells + c).T)] for c in corners], 1)
    total, crossings = np.zeros((len(cells), 3)), np.zeros(len(cells))
    for i, first in enumerate(corners):
        for axis in range(3):
            if first[axis]:
                continue
            second = tuple(1 if x == axis else v for x, v in enumerate(first))
            va, vb = corner_values[:, i], corner_values[:, corners.index(second)]
            cut = np.flatnonzero((va < 0) != (vb < 0))
            at = np.tile(np.asarray(first, float), (len(cut), 1))
            at[:, axis] = va[cut] / (va[cut] - vb[cut])
            total[cut] += at
            crossings[cut] += 1
    vertices = low + (cells + total / crossings[:, None]) * cell
    number = np.full(tuple(s - 1 for s in shape), -1, np.int32)
    number[tuple(cells.T)] = np.arange(len(cells), dtype=np.int32)

    faces = []
    for axis in range(3):
        ahead = [slice(1, -1)] * 3
        ahead[axis] = slice(0, -1)
        beyond = list(ahead)
        beyond[axis] = slice(1, None)
        here = inside[tuple(ahead)]
        start = np.argwhere(here != inside[tuple(beyond)])
        leaving = here[tuple(start.T)]
        start += [0 if x == axis else 1 for x in range(3)]
        unit = np.eye(3, dtype=np.int64)
        u, v = unit[(axis + 1) % 3], unit[(axis + 2) % 3]
        quad = np.stack([number[tuple((start - s).T)] for s in (u + v, v, 0 * u, u)], axis=1)
        quad[~leaving] = quad[~leaving][:, ::-1]
        faces += [quad[:, [0, 1, 2]], quad[:, [0, 2, 3]]]
    return vertices.astype(np.float32), np.concatenate(faces)


def rotation(axis: str | ArrayLike, degrees: float) -> NDArray[np.float64]:
    """(3, 3) rotation by degrees about "x", "y" or "z", or about a vector (3,)."""
    vector = np.eye(3)[AXES[axis]] if isinstance(axis, str) else axis
    return axis_angle_rotation(vector, np.radians(degrees))


def align_vectors(source: ArrayLike, target: ArrayLike) -> NDArray[np.float64]:
    """(3, 3) smallest rotation from the direction source (3,) to the direction target (3,)."""
    a, b = np.asarray(source, np.float64), np.asarray(target, np.float64)
    a, b = a / np.linalg.norm(a), b / np.linalg.norm(b)
    axis = np.cross(a, b)
    if np.linalg.norm(axis) < 1e-9:
        return np.eye(3) if a @ b > 0 else rotation(np.cross(a, [0.3, 0.5, 0.8]), 180)
    return rotation(axis, float(np.degrees(np.arctan2(np.linalg.norm(axis), a @ b))))


def _union(a: Array, b: Array, k: float) -> Array:
    overlap = np.maximum(np.float32(k) - np.abs(a - b), 0)
    return np.minimum(a, b) - overlap * overlap * np.float32(0.25 / k)
