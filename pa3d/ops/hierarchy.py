"""Parts without names: a tree of ever larger regions of a shape.

Regions are merged in the order of a cost, the cheapest pair of neighbours first. With the areas a and b of two regions
as shares of the whole, the distance f of their mean features, and the mean crease h of their common border,

    cost = (a b / (a + b))^0.5 (f^2 + 0.6 h + 0.02)

so small regions are merged before large ones, and regions that differ, or meet in a concave edge, late (Ward, Journal
of the American Statistical Association, 1963, has the first factor and f^2). The crease of a border is the mean over
its length of 1 - exp(-angle max(1, ...) / sigma), the angle and sigma being those of pa3d.ops.refine. Each region that
touches no other is the neighbour of the nearest one, as if they met in an edge of length 0.05 and crease 1 + 5 d, d
being the distance of their centroids as a share of the diagonal of the shape's box. When 64 regions are left, any two
of them may be merged, as if they met in an edge of crease 1: so both arms of a chair become one region, if they look
alike.

numpy arrays only; not differentiable.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from pa3d.ops._dispatch import choose
from pa3d.ops.backends import reference
from pa3d.ops.checks import check, check_points
from pa3d.ops.knn import knn_reference
from pa3d.ops.refine import face_graph, point_graph

CREASE, LEAST, GAP_LENGTH, GAP_CREASE, GAP_NEIGHBORS = 0.6, 0.02, 0.05, 5.0, 9
ANY_PAIR, APART_LENGTH, APART_CREASE = 64, 1e-6, 1.0
LEAVES = 8192


@dataclass(frozen=True)
class MergeTree:
    """leaf (E,) int32: the leaf that each face or point belongs to, numbered in the order of their first members.
    merges (L - 1, 2) int32: merge t makes region L + t of two earlier regions; regions below L are leaves. costs
    (L - 1,) float32."""

    leaf: NDArray[np.int32]
    merges: NDArray[np.int32]
    costs: NDArray[np.float32]

    @property
    def num_leaves(self) -> int:
        return len(self.merges) + 1

    def regions(self, count: int) -> NDArray[np.int32]:  # (L,)
        """The region of each leaf when the last count - 1 merges are undone; the leaves themselves if there are not so
        many."""
        leaves = self.num_leaves
        top = list(range(2 * leaves - 1))  # a list: numpy takes ten times as long for single numbers
        merges = self.merges[: max(0, len(self.merges) - (count - 1))].tolist()
        for t, (a, b) in zip(range(len(merges) - 1, -1, -1), reversed(merges), strict=True):
            top[a] = top[b] = top[leaves + t]
        return np.array(top[:leaves], np.int32)

    def cut(self, count: int) -> NDArray[np.int32]:  # (E,)
        """Labels 0 .. count - 1 of the faces or points, numbered in the order of their first members. Raises ValueError
        for a count below 1."""
        if count < 1:
            raise ValueError(f"count: expected at least 1, got {count}")
        region = self.regions(count)
        _, first, label = np.unique(region, return_index=True, return_inverse=True)
        order = np.empty(len(first), np.int32)
        order[np.argsort(first)] = np.arange(len(first))
        return order[label.ravel()][self.leaf]


def merge_regions(
    points: NDArray[np.float32],  # (N, 3)
    faces: NDArray[np.int32] | None,  # (F, 3)
    features: NDArray[np.float32],  # (F, D), or (N, D) of a cloud
    *,
    leaves: int = LEAVES,
    threads: int = 0,
) -> MergeTree:
    """The tree of the regions of a mesh or cloud.

    leaves: about how many regions to begin with; where there are more faces or points, groups of neighbours that no
        crease divides. There are more if the shape has more connected components.
    Raises TypeError for a wrong kind or dtype, ValueError for a wrong shape or layout, an index outside the points, or
    numbers that are not finite.
    """
    sizes = check_points("points", points, "N 3")
    if faces is not None:
        check("faces", faces, "F 3", "int32", sizes=sizes, empty=False)
    check("features", features, f"{'N' if faces is None else 'F'} D", sizes=sizes)
    if not np.isfinite(features).all():
        raise ValueError("features: NaN or infinite values; expected finite numbers")
    if leaves < 1:
        raise ValueError(f"leaves: expected at least 1, got {leaves}")
    return MergeTree(*choose("merge_regions", points).merge_regions(points, faces, features, leaves, threads))


@reference.kernel("merge_regions")
def merge_regions_reference(
    points: NDArray[np.float32],
    faces: NDArray[np.int32] | None,
    features: NDArray[np.float32],
    leaves: int = LEAVES,
    threads: int = 0,
) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.float32]]:
    """The rule in plain code, with every face or place as a leaf, whatever `leaves` says; on one thread."""
    graph = point_graph(points) if faces is None else face_graph(points, faces)
    node = graph.node.astype(np.int64)
    count = len(graph.area)
    places = (points if faces is None else points[faces].mean(axis=1)).astype(np.float64)
    diagonal = float(np.linalg.norm(np.ptp(places, axis=0)))
    members = np.bincount(node, minlength=count)
    mean = np.stack([np.bincount(node, column, count) / members for column in np.hstack([features, places]).T], axis=1)
    area = graph.area / graph.area.sum()
    areas, means = dict(enumerate(area)), dict(enumerate(mean))
    borders: dict[tuple[int, int], list[float]] = {}  # length, and length times crease

    def add(a: int, b: int, length: float, crease: float) -> None:
        border = borders.setdefault((min(a, b), max(a, b)), [0.0, 0.0])
        border[0] += length
        border[1] += length * crease

    def cost(pair: tuple[int, int]) -> float:
        a, b = pair
        length, crease = borders[pair]
        apart = ((means[a] - means[b])[:-3] ** 2).sum()
        size = np.sqrt(areas[a] * areas[b] / (areas[a] + areas[b]))
        return float(size * (apart + CREASE * crease / max(length, 1e-12) + LEAST))

    group = {i: i for i in range(count)}  # regions that are connected have the same value
    for (a, b), length, openness in zip(graph.pairs.tolist(), graph.length, graph.openness, strict=True):
        add(a, b, length, 1 - openness)
        old, new = group[a], group[b]
        group = {i: new if g == old else g for i, g in group.items()}
    merges: list[tuple[int, int]] = []
    any_pair = False
    costs: list[float] = []
    while len(areas) > 1:
        if not borders or not merges:
            alive = sorted(areas)
            middle = np.array([means[i][-3:] for i in alive], np.float32)[None]
            near, sq_distance = (x[0] for x in knn_reference(middle, middle, min(GAP_NEIGHBORS, len(alive))))
            for i, a in enumerate(alive):
                for j, sq in zip(near[i], sq_distance[i], strict=True):
                    b = alive[j]
                    if group[a] != group[b]:
                        add(a, b, GAP_LENGTH, 1 + GAP_CREASE * float(np.sqrt(sq)) / diagonal)
                        break
            if not borders:
                continue
        if not any_pair and len(areas) <= ANY_PAIR:
            any_pair = True
            for pair in combinations(sorted(areas), 2):
                if pair not in borders:
                    add(*pair, APART_LENGTH, APART_CREASE)
        a, b = min(borders, key=lambda pair: (cost(pair), pair))
        merges.append((a, b))
        costs.append(cost((a, b)))
        new = count + len(merges) - 1
        share = areas[a] / (areas[a] + areas[b])
        means[new] = share * means.pop(a) + (1 - share) * means.pop(b)
        areas[new] = areas.pop(a) + areas.pop(b)
        group[new] = group[a]
        old = group[b]
        group = {i: group[a] if g == old else g for i, g in group.items()}
        for pair in [p for p in borders if a in p or b in p]:
            length, crease = borders.pop(pair)
            for other in {*pair} - {a, b}:
                add(other, new, length, crease / max(length, 1e-300))
    numbers = np.array(merges, np.int32).reshape(-1, 2)
    return node.astype(np.int32), numbers, np.array(costs, np.float32)
