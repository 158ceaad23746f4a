"""Clean borders of parts: a Gaussian conditional random field over the faces of a mesh or the points of a cloud.

With p the scores of face i, a its share of the area and u = log(p + 0.01), the refined scores are softmax(x), where x
is the minimum, one column per part, of

    sum_i a_i |x_i - u_i|^2 + sum_ij w_ij |x_i - x_j|^2

A pair of faces that share an edge has w_ij = s^2 A g l / d, where s = 0.1, A is the area of the surface, l the length
of the edge, d the distance of the centroids by way of the middle of the edge, and

    g = exp(-angle max(1, 0.02 sqrt(A) / d) / sigma) + 0.001,    sigma = 0.1 for a concave edge, 5 for a convex one

So scores spread over flat and convex regions, up to a tenth of the root of the area, and stop at concave edges, where
people see the borders of parts (Hoffman and Richards, Parts of recognition, 1984). An angle per face counts as the
angle over the length 0.02 sqrt(A), so that it does not matter how finely the surface is cut. csrc/cpu/refine.h says
what holds for vertices with equal coordinates, edges of more than two faces, two-sided faces, meshes that are inside
out, clouds, and pieces.

The minimum is unique, so this is the exact inference of a Gaussian field (Tappen et al., CVPR 2007; Grady's random
walker, PAMI 2006, is the same system with other weights). The kernel approaches it by conjugate gradients, whose
preconditioner is a multigrid cycle over groups of faces (Vanek et al., Computing 1996); the reference solves it
directly. numpy arrays only; not differentiable.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pa3d.ops._dispatch import choose
from pa3d.ops.backends import reference
from pa3d.ops.checks import check, check_points
from pa3d.ops.knn import knn_reference

REACH, SCALE, CONCAVE, CONVEX, LEAST, FLOOR = 0.1, 0.02, 0.1, 5.0, 0.001, 0.01
POINT_COUPLING, POINT_NEIGHBORS, NORMAL_NEIGHBORS = 0.58, 6, 16

Floats = NDArray[np.float32]
Ids = NDArray[np.int32]


@dataclass
class Pieces:
    """Groups of faces or points that belong together.

    piece (F,) or (N,): the piece of each, -1 for none. bond (P,): how strongly the members of a piece hold together.
    evidence (P, K) and weight (P,): a value for each part that the piece is drawn to, and how strongly; both may be
    None.
    """

    piece: Ids
    bond: Floats
    evidence: Floats | None = None
    weight: Floats | None = None

    def with_column(self, value: float) -> Pieces:
        """The same with one more part, for which every piece has this value as evidence."""
        if self.evidence is None:
            return self
        column = np.full((len(self.evidence), 1), value, np.float32)
        return replace(self, evidence=np.concatenate([self.evidence, column], axis=1))


def refine(
    points: Floats,  # (N, 3)
    faces: Ids | None,  # (F, 3)
    scores: Floats,  # (F, K), or (N, K) of a cloud
    pieces: Pieces | None = None,
    *,
    reach: float = REACH,
    threads: int = 0,
) -> Floats:  # (F, K) or (N, K)
    """The refined scores; each row sums to one.

    reach: s above; 0 leaves only what the pieces do. The result does not depend on the number of threads.
    Raises TypeError for a wrong kind or dtype, ValueError for a wrong shape or layout, an index outside the points,
    numbers that are not finite, or negative scores, bonds or weights.
    """
    sizes = check_points("points", points, "N 3")
    if faces is not None:
        check("faces", faces, "F 3", "int32", sizes=sizes, empty=False)
    row = "N" if faces is None else "F"
    check("scores", scores, f"{row} K", sizes=sizes, empty=False)
    values = [("scores", scores)]
    if pieces is not None:
        check("piece", pieces.piece, row, "int32", sizes=sizes)
        check("bond", pieces.bond, "P", sizes=sizes, empty=False)
        values.append(("bond", pieces.bond))
        if pieces.evidence is not None and pieces.weight is not None:
            check("evidence", pieces.evidence, "P K", sizes=sizes)
            check("weight", pieces.weight, "P", sizes=sizes)
            values.append(("weight", pieces.weight))
            if not np.isfinite(pieces.evidence).all():
                raise ValueError("evidence: NaN or infinite values; expected finite numbers")
    for name, array in values:
        if not (np.isfinite(array).all() and (array >= 0).all()):
            raise ValueError(f"{name}: expected finite numbers of at least 0")
    if not 0 <= reach < float("inf"):
        raise ValueError(f"reach: expected a number of at least 0, got {reach!r}")
    extra = (None,) * 4 if pieces is None else (pieces.piece, pieces.bond, pieces.evidence, pieces.weight)
    return choose("refine", points).refine(points, faces, scores, *extra, reach, threads)


@reference.kernel("refine")
def refine_reference(
    points: Floats,
    faces: Ids | None,
    scores: Floats,
    piece: Ids | None = None,
    bond: Floats | None = None,
    evidence: Floats | None = None,
    weight: Floats | None = None,
    reach: float = REACH,
    threads: int = 0,
) -> Floats:
    """The minimum by a dense system of equations, in float64; on one thread, whatever `threads` says."""
    graph = face_graph(points, faces) if faces is not None else point_graph(points)
    node, area, pairs, coupling = graph.node, graph.area, graph.pairs, graph.coupling
    nodes, k = len(area), scores.shape[1]
    count = np.bincount(node, minlength=nodes)
    u = np.zeros((nodes, k))
    np.add.at(u, node, np.log(scores.astype(np.float64) + FLOOR) / count[node][:, None])
    coupling = reach * reach * nodes * coupling
    if piece is not None and bond is not None:
        inside = np.flatnonzero(piece >= 0)
        own, group = node[inside], piece[inside]
        share = area[own] / count[own]
        total = np.bincount(group, share, len(bond))
        pairs = np.concatenate([pairs, np.stack([own, nodes + group], axis=1)])
        coupling = np.concatenate([coupling, bond[group] * share])
        area = np.concatenate([area, np.maximum(0 if weight is None else weight * total, 1e-6)])
        u = np.concatenate([u, np.zeros((len(bond), k)) if evidence is None else evidence])
    system = np.diag(area.astype(np.float64))
    for (i, j), w in zip(pairs, coupling, strict=True):
        system[[i, j], [i, j]] += w
        system[[i, j], [j, i]] -= w
    x = np.linalg.solve(system, area[:, None] * u)[node]
    p = np.exp(x - x.max(axis=1, keepdims=True))
    return (p / p.sum(axis=1, keepdims=True)).astype(np.float32)


@dataclass
class Graph:
    """Neighbours among the faces of a mesh, or the places of a cloud, for references.

    node: the node of each face or point. area (n,): of the nodes, mean 1. pairs (E, 2): of nodes that are neighbours.
    openness (E,): exp(-angle max(1, ...) / sigma). ratio (E,): l / d. length (E,): l in roots of the surface's area.
    """

    node: NDArray[Any]
    area: NDArray[Any]
    pairs: NDArray[Any]
    openness: NDArray[Any]
    ratio: NDArray[Any]
    length: NDArray[Any]

    @property
    def coupling(self) -> NDArray[Any]:
        return (self.openness + LEAST) * self.ratio


_NO_PAIRS = (np.empty((0, 2), np.int64), np.empty(0), np.empty(0), np.empty(0))


def _openness(
    angle: NDArray[np.float64], distance: NDArray[np.float64], sigma: NDArray[np.float64] | float, root_area: float
) -> NDArray[np.float64]:
    over = np.maximum(1, SCALE * root_area / np.maximum(distance, 1e-12 * root_area))
    return np.exp(-angle * over / sigma)


def face_graph(points: Floats, faces: Ids) -> Graph:
    first: dict[tuple[float, ...], int] = {}  # of each place; -0 and 0 are equal as keys
    place = np.array([first.setdefault(tuple(p), i) for i, p in enumerate(points.tolist())])
    corners = place[faces]
    seen: dict[tuple[int, ...], int] = {}
    node = np.array([seen.setdefault(tuple(sorted(face)), len(seen)) for face in corners.tolist()])
    chosen = np.array([int(np.flatnonzero(node == n)[0]) for n in range(len(seen))])
    corners = corners[chosen]
    a, b, c = (points[corners[:, i]].astype(np.float64) for i in range(3))
    normal = np.cross(b - a, c - a)
    twice = np.linalg.norm(normal, axis=1)
    area, centroid = twice / 2, (a + b + c) / 3
    normal = normal / np.where(twice > 0, twice, np.inf)[:, None]
    root_area = float(np.sqrt(area.sum()))
    sign = _orientation(corners, area, normal, centroid, len(points))
    edges: dict[tuple[int, int], list[tuple[int, bool]]] = {}
    for f, face in enumerate(corners.tolist()):
        for e in range(3):
            p, q = face[e], face[(e + 1) % 3]
            if p != q:
                edges.setdefault((min(p, q), max(p, q)), []).append((f, p < q))
    pairs, ends, flipped = [], [], []
    for edge, members in edges.items():
        for (i, forward), (j, other) in pairwise(members):
            if i != j:
                pairs.append((i, j))
                ends.append(edge)
                flipped.append(forward == other)
    if not pairs:
        return Graph(node, np.maximum(area / area.sum() * len(area), 1e-6), *_NO_PAIRS)
    i, j = np.array(pairs).T
    p, q = (points[np.array(ends)[:, end]].astype(np.float64) for end in range(2))
    other_normal = np.where(np.array(flipped)[:, None], -normal[j], normal[j])
    middle = (p + q) / 2
    distance = np.linalg.norm(centroid[i] - middle, axis=1) + np.linalg.norm(centroid[j] - middle, axis=1)
    sine = np.linalg.norm(np.cross(normal[i], other_normal), axis=1)
    angle = np.arctan2(sine, (normal[i] * other_normal).sum(axis=1))
    concave = sign[i] * ((centroid[j] - centroid[i]) * (normal[i] - other_normal)).sum(axis=1) > 0
    openness = _openness(angle, distance, np.where(concave, CONCAVE, CONVEX), root_area)
    length = np.linalg.norm(p - q, axis=1)
    ratio = length / np.maximum(distance, 1e-9 * root_area)
    share = np.maximum(area / area.sum() * len(area), 1e-6)
    return Graph(node, share, np.array(pairs), openness, ratio, length / root_area)


def _orientation(
    corners: NDArray[np.int64],  # (F, 3) places
    area: NDArray[np.float64],
    normal: NDArray[np.float64],
    centroid: NDArray[np.float64],
    count: int,
) -> NDArray[np.int64]:  # (F,)
    """-1 for faces of a component that is inside out, else 1."""
    root = np.arange(count)
    while True:
        lowest = root[corners].min(axis=1)
        before = root.copy()
        for e in range(3):
            np.minimum.at(root, corners[:, e], lowest)
        if np.array_equal(root, before):
            break
    component = root[corners[:, 0]]
    sign = np.ones(len(corners), np.int64)
    for c in np.unique(component):
        faces = component == c
        total = area[faces].sum()
        if total == 0:
            continue
        away = centroid[faces] - (area[faces, None] * centroid[faces]).sum(axis=0) / total
        volume = (area[faces] * (normal[faces] * away).sum(axis=1)).sum()
        if volume < -0.05 * (area[faces] * np.linalg.norm(away, axis=1)).sum():
            sign[faces] = -1
    return sign


def point_graph(points: Floats) -> Graph:
    first: dict[tuple[float, ...], int] = {}
    node = np.array([first.setdefault(tuple(p), len(first)) for p in points.tolist()])
    places = points[[int(np.flatnonzero(node == n)[0]) for n in range(len(first))]]
    count = len(places)
    area = np.bincount(node, minlength=count) * (count / len(points))
    near = knn_reference(places[None], places[None], min(NORMAL_NEIGHBORS, count))[0][0]
    normal = np.zeros((count, 3))
    for i, neighbors in enumerate(near):
        away = places[neighbors].astype(np.float64) - places[neighbors].mean(axis=0, dtype=np.float64)
        values, vectors = np.linalg.eigh(away.T @ away)
        if values[1] - values[0] > 1e-9 * values.sum():  # else no direction has the least extent
            normal[i] = vectors[:, 0]
    linked = {(min(i, j), max(i, j)) for i, row in enumerate(near[:, : POINT_NEIGHBORS + 1].tolist()) for j in row}
    pairs = np.array(sorted((i, j) for i, j in linked if i != j), np.int64).reshape(-1, 2)
    if len(pairs) == 0:
        return Graph(node, area, *_NO_PAIRS)
    own, other = pairs.T
    distance = np.linalg.norm(places[own].astype(np.float64) - places[other], axis=1)
    root_area = float(np.sort(distance)[len(distance) // 2] * np.sqrt(count))
    sine = np.linalg.norm(np.cross(normal[own], normal[other]), axis=1)
    angle = np.arctan2(sine, np.abs((normal[own] * normal[other]).sum(axis=1)))
    openness = _openness(angle, distance, CONCAVE, root_area)
    ratio = np.full(len(pairs), POINT_COUPLING)
    return Graph(node, area, pairs, openness, ratio, ratio / np.sqrt(count))
