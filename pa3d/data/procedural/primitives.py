"""Small watertight-enough meshes to build everyday objects from; numpy only, y up.

Points are (x, y, z) with x to the right, y up and z to the front. Angles are in degrees. Every function
returns a `Mesh`; `Mesh.translate`, `.rotate`, `.scale` and `+` compose them. Faces serve area-weighted sampling, so a
part may run into its neighbour as it does in hand-made models.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pa3d.rotations import AXES, axis_rotation

Array = NDArray[np.float64]
Point = Sequence[float] | Array


def rotation(axis: str, degrees: float) -> Array:  # (3, 3), right-handed
    return axis_rotation(axis, np.radians(degrees))


class Mesh(NamedTuple):
    vertices: Array  # (V, 3)
    faces: NDArray[np.int64]  # (F, 3)

    def translate(self, x: float = 0, y: float = 0, z: float = 0) -> Mesh:
        return Mesh(self.vertices + (x, y, z), self.faces)

    def rotate(self, axis: str, degrees: float, about: Point = (0, 0, 0)) -> Mesh:
        pivot = np.asarray(about, float)
        return Mesh((self.vertices - pivot) @ rotation(axis, degrees).T + pivot, self.faces)

    def scale(self, x: float, y: float | None = None, z: float | None = None) -> Mesh:
        return Mesh(self.vertices * (x, x if y is None else y, x if z is None else z), self.faces)

    def mirror(self, axis: str = "x") -> Mesh:
        sign = np.ones(3)
        sign[AXES[axis]] = -1
        return Mesh(self.vertices * sign, self.faces[:, ::-1])

    def deform(self, move: Callable[[Array], Array]) -> Mesh:
        """The mesh with every vertex moved: move takes and gives (V, 3)."""
        return Mesh(move(self.vertices.copy()), self.faces)

    def __add__(self, other: Mesh) -> Mesh:  # type: ignore[override]
        return Mesh(
            np.concatenate([self.vertices, other.vertices]),
            np.concatenate([self.faces, other.faces + len(self.vertices)]),
        )


def union(meshes: Sequence[Mesh]) -> Mesh:
    offsets = np.cumsum([0] + [len(m.vertices) for m in meshes[:-1]])
    faces = np.concatenate([m.faces + o for m, o in zip(meshes, offsets, strict=True)])
    return Mesh(np.concatenate([m.vertices for m in meshes]), faces)


def grid(points: ArrayLike, wrap_u: bool = False, wrap_v: bool = False) -> Mesh:  # (U, V, 3)
    """Two triangles per cell of a lattice of points."""
    p = np.asarray(points, float)
    n, m = p.shape[:2]
    index = np.arange(n * m).reshape(n, m)
    if wrap_u:
        index = np.concatenate([index, index[:1]])
    if wrap_v:
        index = np.concatenate([index, index[:, :1]], 1)
    a, b, c, d = index[:-1, :-1], index[1:, :-1], index[1:, 1:], index[:-1, 1:]
    faces = np.concatenate([np.stack(t, -1).reshape(-1, 3) for t in ((a, b, c), (a, c, d))])
    return Mesh(p.reshape(-1, 3), faces)


def loft(loops: ArrayLike, caps: bool = True) -> Mesh:  # (N, M, 3)
    """The skin over closed loops, the first and last filled by a fan about their centre."""
    p = np.asarray(loops, float)
    mesh = grid(p, wrap_v=True)
    if not caps:
        return mesh
    n, m = p.shape[:2]
    ring = np.arange(m)
    turn = np.roll(ring, -1)
    last = (n - 1) * m
    low = np.stack([np.full(m, n * m), ring, turn], 1)
    high = np.stack([np.full(m, n * m + 1), last + turn, last + ring], 1)
    vertices = np.concatenate([mesh.vertices, [p[0].mean(0), p[-1].mean(0)]])
    return Mesh(vertices, np.concatenate([mesh.faces, low, high]))


def rounded_rectangle(w: float, d: float, radius: float = 0, steps: int = 4) -> Array:  # (M, 2), centred
    r = min(max(radius, 0), w / 2, d / 2)
    if r < 1e-6:
        return np.array([[w, d], [-w, d], [-w, -d], [w, -d]]) / 2
    angle = np.radians(np.linspace(0, 90, steps)[None] + 90 * np.arange(4)[:, None])  # (4, steps)
    corner = np.array([[1, 1], [-1, 1], [-1, -1], [1, -1]]) * (w / 2 - r, d / 2 - r)
    return (corner[:, None] + r * np.stack([np.cos(angle), np.sin(angle)], -1)).reshape(-1, 2)


def ellipse(a: float, b: float, steps: int = 24) -> Array:  # (M, 2)
    angle = 2 * np.pi * np.arange(steps) / steps
    return np.stack([a * np.cos(angle), b * np.sin(angle)], 1)


def stack(outline: ArrayLike, levels: Iterable[Sequence[float]], caps: bool = True) -> Mesh:  # (M, 2)
    """An outline in x, z lifted through levels, each (y, scale) or (y, scale x, scale z)."""
    shape = np.asarray(outline, float)
    rows = np.array([(level[0], level[1], level[-1]) for level in levels], float)
    loops = np.empty((len(rows), len(shape), 3))
    loops[..., 0] = shape[:, 0] * rows[:, 1:2]
    loops[..., 1] = rows[:, :1]
    loops[..., 2] = shape[:, 1] * rows[:, -1:]
    return loft(loops, caps)


def box(
    w: float, h: float, d: float, at: Point = (0, 0, 0), bevel: float = 0, top: float = 1, corner: float = 0
) -> Mesh:
    """A box about its centre; bevel rounds all edges, corner the vertical ones, top scales the upper face."""
    b = min(bevel, w / 2.01, h / 2.01, d / 2.01)
    outline = rounded_rectangle(w, d, max(b, corner))
    if b <= 1e-6:
        mesh = stack(outline, [(-h / 2, 1), (h / 2, top)])
    else:
        inset = b * 0.7
        sx, sz = 1 - 2 * inset / w, 1 - 2 * inset / d
        rows = [(-h / 2, sx, sz), (-h / 2 + b * 0.3, 1 - 0.6 * b / w, 1 - 0.6 * b / d), (-h / 2 + b, 1, 1)]
        rows += [(h / 2 - b, top, top), (h / 2 - b * 0.3, top * (1 - 0.6 * b / w), top * (1 - 0.6 * b / d))]
        mesh = stack(outline, [*rows, (h / 2, sx * top, sz * top)])
    return mesh.translate(*at)


def lathe(profile: ArrayLike, segments: int = 24, arc: float = 360) -> Mesh:  # (N, 2): radius, y
    """A profile turned about the y axis; start and end at radius 0 to close it."""
    p = np.asarray(profile, float)
    whole = arc >= 360
    angle = np.radians(np.linspace(0, arc, segments + (not whole), endpoint=not whole))
    points = np.empty((len(p), len(angle), 3))
    points[..., 0] = p[:, :1] * np.sin(angle)
    points[..., 1] = p[:, 1:]
    points[..., 2] = p[:, :1] * np.cos(angle)
    return grid(points, wrap_v=whole)


def cylinder(
    r: float, h: float, at: Point = (0, 0, 0), top: float | None = None, axis: str = "y", segments: int = 20
) -> Mesh:
    """A cylinder, frustum (top radius) or cone (top 0) about its centre."""
    end = r if top is None else top
    mesh = lathe([(0, -h / 2), (r, -h / 2), (end, h / 2), (0, h / 2)], segments)
    return along(mesh, axis).translate(*at)


def along(mesh: Mesh, axis: str) -> Mesh:
    """A mesh built along y laid along another axis."""
    return mesh if axis == "y" else mesh.rotate("z", -90) if axis == "x" else mesh.rotate("x", 90)


def ellipsoid(
    rx: float,
    ry: float,
    rz: float,
    at: Point = (0, 0, 0),
    low: float = -90,
    high: float = 90,
    segments: int = 20,
) -> Mesh:
    """An ellipsoid between two latitudes (degrees)."""
    angle = np.radians(np.linspace(low, high, 13))
    return lathe(np.stack([np.cos(angle), np.sin(angle)], 1), segments).scale(rx, ry, rz).translate(*at)


def sphere(r: float, at: Point = (0, 0, 0), segments: int = 20) -> Mesh:
    return ellipsoid(r, r, r, at, segments=segments)


def torus(big: float, small: float, at: Point = (0, 0, 0), axis: str = "y", segments: int = 28) -> Mesh:
    angle = np.linspace(0, 2 * np.pi, 11)
    mesh = lathe(np.stack([big + small * np.cos(angle), small * np.sin(angle)], 1), segments)
    return along(mesh, axis).translate(*at)


def hollow(profile: ArrayLike, thickness: float, segments: int = 24, floor: float | None = None) -> Mesh:
    """A vessel: the outer profile (radius, y; bottom to rim) and an inner wall that ends in a floor."""
    outer = np.asarray(profile, float)
    inner = outer[::-1] - (thickness, 0)
    inner[:, 0] = np.maximum(inner[:, 0], 0)
    bottom = outer[0, 1] + (thickness if floor is None else floor)
    inner[:, 1] = np.maximum(inner[:, 1], bottom)
    ends = [(0, outer[0, 1])], [(0, bottom)]
    return lathe(np.concatenate([ends[0], outer, inner, ends[1]]), segments)


def hollow_box(
    w: float, h: float, d: float, wall: float, at: Point = (0, 0, 0), corner: float = 0, top: float = 1
) -> Mesh:
    """An open-topped box about its centre; top scales the rim."""
    outline = rounded_rectangle(w, d, corner)
    sx, sz = 1 - 2 * wall / w, 1 - 2 * wall / d
    rows = [(-h / 2, 1, 1), (h / 2, top, top), (h / 2, top * sx, top * sz), (-h / 2 + wall, sx, sz)]
    return stack(outline, rows).translate(*at)


def sweep(
    path: ArrayLike,
    section: ArrayLike,
    up: Point | None = None,
    sizes: ArrayLike | float = 1,
    closed: bool = False,
) -> Mesh:
    """A closed section (M, 2) carried along a path (N, 3).

    Its second axis leans to `up` where given; else frames are transported along the path without twist.
    """
    p, shape = np.asarray(path, float), np.asarray(section, float)
    ahead = np.roll(p, -1, 0) - np.roll(p, 1, 0)
    if not closed:
        ahead[0], ahead[-1] = p[1] - p[0], p[-1] - p[-2]
    ahead /= np.maximum(np.linalg.norm(ahead, axis=1, keepdims=True), 1e-12)
    second = np.empty_like(p)
    guess = np.asarray(up, float) if up is not None else np.eye(3)[np.argmin(np.abs(ahead[0]))]
    for i, t in enumerate(ahead):
        v = guess - t * (guess @ t)
        second[i] = v / max(float(np.sqrt(v @ v)), 1e-12)
        if up is None:
            guess = second[i]
    first = np.cross(second, ahead)
    size = np.broadcast_to(np.asarray(sizes, float).reshape(-1, 1, 1), (len(p), 1, 1))
    loops = p[:, None] + size * (shape[None, :, :1] * first[:, None] + shape[None, :, 1:] * second[:, None])
    return grid(loops, wrap_u=True, wrap_v=True) if closed else loft(loops)


def tube(path: ArrayLike, r: ArrayLike | float, segments: int = 10, closed: bool = False) -> Mesh:
    """A round tube along a path (N, 3); r is one radius, or one per point."""
    return sweep(path, ellipse(1, 1, segments), sizes=r, closed=closed)


def rod(a: Point, b: Point, r: float, end: float | None = None, segments: int = 10) -> Mesh:
    return tube(np.array([a, b]), [r, r if end is None else end], segments)


def bar(a: Point, b: Point, w: float, d: float, up: Point = (0, 1, 0.001), round_: float = 0) -> Mesh:
    """A straight bar from a to b with a rectangular section, d along `up`."""
    return sweep(np.array([a, b]), rounded_rectangle(w, d, round_), up=up)


def bezier(*control: Point, steps: int = 14) -> Array:  # (steps, 3)
    p = np.asarray(control, float)[None]
    t = np.linspace(0, 1, steps)[:, None, None]
    while p.shape[1] > 1:
        p = (1 - t) * p[:, :-1] + t * p[:, 1:]
    return p[:, 0]


def arc(
    r: float,
    start: float,
    stop: float,
    at: Point = (0, 0, 0),
    plane: str = "xy",
    steps: int = 16,
    r2: float | None = None,
) -> Array:
    """Points of an arc (r2: radius of the second axis) in a plane of two named axes."""
    angle = np.radians(np.linspace(start, stop, steps))
    p = np.tile(np.asarray(at, float), (steps, 1))
    p[:, AXES[plane[0]]] += r * np.cos(angle)
    p[:, AXES[plane[1]]] += (r if r2 is None else r2) * np.sin(angle)
    return p


def sheet(surface: Callable[[Array, Array], Array], thickness: float, nu: int = 9, nv: int = 9) -> Mesh:
    """A plate with edges over surface(u, v): u and v in 0..1 as (nu, nv) lattices -> (nu, nv, 3)."""
    u, v = np.meshgrid(np.linspace(0, 1, nu), np.linspace(0, 1, nv), indexing="ij")
    p = surface(u, v)
    normal = np.cross(np.gradient(p, axis=0), np.gradient(p, axis=1))
    normal /= np.maximum(np.linalg.norm(normal, axis=-1, keepdims=True), 1e-12)
    a, b = p + normal * thickness / 2, p - normal * thickness / 2
    rim = [np.concatenate([x[0], x[1:, -1], x[-1, -2::-1], x[-2:0:-1, 0]]) for x in (a, b)]
    back = grid(b)
    return union([grid(a), Mesh(back.vertices, back.faces[:, ::-1]), grid(np.stack(rim), wrap_v=True)])


def extrude(outline: ArrayLike, depth: float, axis: str = "z", at: Point = (0, 0, 0)) -> Mesh:
    """A simple polygon (M, 2) as a plate about its plane.

    The outline lies in x, y for axis z; in z, y for axis x; in x, z for axis y.
    """
    p = np.asarray(outline, float)
    triangles = triangulate(p)
    n = len(p)
    flat = {"z": (0, 1, 2), "x": (2, 1, 0), "y": (0, 2, 1)}[axis]
    vertices = np.empty((2 * n, 3))
    for side, half in ((0, -depth / 2), (1, depth / 2)):
        rows = slice(side * n, side * n + n)
        vertices[rows, flat[0]], vertices[rows, flat[1]], vertices[rows, flat[2]] = p[:, 0], p[:, 1], half
    i = np.arange(n)
    j = (i + 1) % n
    wall = np.concatenate([np.stack([i, j, j + n], 1), np.stack([i, j + n, i + n], 1)])
    faces = np.concatenate([triangles[:, ::-1], triangles + n, wall])
    return Mesh(vertices, faces).translate(*at)


def triangulate(polygon: Array) -> NDArray[np.int64]:  # (M, 2) -> (M - 2, 3)
    """Ear clipping of a simple polygon of either orientation."""
    x, y = polygon[:, 0].tolist(), polygon[:, 1].tolist()
    index = list(range(len(x)))
    area = sum(x[i - 1] * y[i] - x[i] * y[i - 1] for i in index)
    if area < 0:
        index.reverse()

    def cross(i: int, j: int, k: int) -> float:
        return (x[j] - x[i]) * (y[k] - y[i]) - (y[j] - y[i]) * (x[k] - x[i])

    triangles = []
    while len(index) > 3:
        for at in range(len(index)):
            i, j, k = index[at - 1], index[at], index[(at + 1) % len(index)]
            if cross(i, j, k) <= 0:
                continue
            rest = (p for p in index if p not in (i, j, k))
            if any(cross(i, j, p) >= 0 and cross(j, k, p) >= 0 and cross(k, i, p) >= 0 for p in rest):
                continue
            break
        else:
            at = 0
        triangles.append((index[at - 1], index[at], index[(at + 1) % len(index)]))
        del index[at]
    triangles.append((index[0], index[1], index[2]))
    return np.array(triangles)


def blade(chords: ArrayLike, thickness: float = 0.1, segments: int = 12) -> Mesh:
    """A wing through stations (N, 5): x, y, z of the mid chord, chord along z, thickness scale."""
    rows = np.asarray(chords, float)
    angle = 2 * np.pi * np.arange(segments) / segments
    z = np.cos(angle) / 2
    y = thickness / 2 * np.sin(angle) * (0.55 + 0.45 * np.cos(angle))
    loops = np.empty((len(rows), segments, 3))
    loops[..., 0] = rows[:, :1]
    loops[..., 1] = rows[:, 1:2] + rows[:, 3:4] * rows[:, 4:5] * y
    loops[..., 2] = rows[:, 2:3] + rows[:, 3:4] * z
    return loft(loops)
