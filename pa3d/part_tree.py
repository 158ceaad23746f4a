"""Parts without names: a shape is divided by what its patches look like and where its surface has creases.

    tree = seg.open("chair.glb").tree
    result = tree.segmentation(count=6)      # six parts, each with its likely name
    coarser, finer = tree.cut(level=0.2), tree.cut(level=0.8)
    leg = tree.select([(0.4, 0.1, 0.4)])     # the part under a click: a mask of faces

Regions of the surface are merged into ever larger ones (pa3d.ops.merge_regions), by the features of patches reduced to
their main directions on this shape. Undoing the last merges divides the shape into any number of parts.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache
from importlib.resources import files
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pa3d import _C
from pa3d.checkpoint import Checkpoint
from pa3d.errors import InputError
from pa3d.instances import element_weights
from pa3d.labelling import scatter_rows
from pa3d.ops import MergeTree, interpolate, merge_regions
from pa3d.profiling import Stopwatch
from pa3d.segmentation import PatchFeatures, Segmentation
from pa3d.shape import Shape

# The part under a click: how sharply a region ends, and its size, decide which of the regions around the click it is.
SMALLEST, LARGEST = 0.003, 0.7  # as shares of the shape
USUAL, SIZE_WEIGHT, OWN_COST = 0.15, 0.4, 0.5

DIRECTIONS = 16  # into which the features of patches are reduced
MOST_PARTS = 64  # at level 1
MOST_NATURAL = 16  # parts, of a count that was not given
NEIGHBORS = 3  # patch centres that give a place its features

Floats = NDArray[np.float32]


class Model(Protocol):
    """What trees use of a Segmenter."""

    checkpoint: Checkpoint
    threads: int

    def part_vectors(self, parts: Sequence[str], category: str | None, text_vectors: Any) -> Floats: ...
    def patch_logits(self, features: PatchFeatures, vectors: Floats) -> Floats: ...


@dataclass
class PartTree:
    """The parts of a shape at every granularity. Elements are the faces of a mesh, or the points of a cloud that have
    coordinates.

    shape: what was divided. elements (E,): of a cloud, which points the elements are; None if all. tree: regions of the
    elements. features (L, D): the feature at the middle of each leaf of the tree, a unit vector in the text space.
    weights (L,): the area of each leaf, or its number of points. encoded: the patches.
    """

    shape: Shape
    elements: NDArray[np.int64] | None
    tree: MergeTree
    features: NDArray[np.float32] = field(repr=False)
    weights: NDArray[np.float64] = field(repr=False)
    encoded: PatchFeatures = field(repr=False)
    model: Model = field(repr=False)
    timings: dict[str, float] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)

    def natural_count(self) -> int:
        """The number of parts, from 2 to 16, after which one more part would change least.

        That is where the cost of the next merge to be undone falls most. 1 for a shape of a single region.
        """
        costs = np.maximum(self.tree.costs[::-1].astype(np.float64), 1e-12)  # the last merge first
        most = min(MOST_NATURAL, len(costs))
        if most < 2:
            return len(costs) + 1
        # With c parts, c - 1 merges are undone: the last of them has costs[c - 2], the next one costs[c - 1].
        falls = costs[: most - 1] / costs[1:most]
        return int(falls.argmax()) + 2

    def count_at(self, level: float) -> int:
        """The number of parts at a level from 0 (two parts) to 1 (64), or of all regions if there are fewer."""
        if not 0 <= level <= 1:
            raise InputError(f"level is {level!r}; expected a number from 0 (coarse) to 1 (fine)")
        return min(round(2 * (MOST_PARTS / 2) ** level), self.tree.num_leaves)

    def cut(self, *, count: int | None = None, level: float | None = None) -> NDArray[np.int32]:  # (E,)
        """The part of every element, numbered in the order of their first elements.

        count: how many parts; or level, from 0 to 1. Without either, natural_count. There are fewer if the shape has
        not so many regions. Raises InputError for a number that cannot be used.
        """
        return self.tree.cut(self._count(count, level))

    def _count(self, count: int | None, level: float | None) -> int:
        if count is not None and level is not None:
            raise InputError("count and level were both given; expected one of them")
        if level is not None:
            return self.count_at(level)
        if count is None:
            return self.natural_count()
        if isinstance(count, bool) or not isinstance(count, int | np.integer) or count < 1:
            raise InputError(f"count is {count!r}; expected a number of parts of at least 1")
        return int(count)

    def select(
        self,
        positive: ArrayLike,  # (P, 3)
        negative: ArrayLike = (),  # (Q, 3)
    ) -> NDArray[np.bool_]:  # (E,)
        """The elements of the part under clicks.

        positive: places on the part, in the units and axes of the shape; negative: places beside it. The face or point
        nearest to each counts. Every positive click selects the one among the regions around it that stands out most,
        of those without a negative click. Raises InputError for clicks that cannot be told apart, or are not places.
        """
        wanted, unwanted = ({self.leaf_at(p) for p in _places(name, c)} for name, c in
                            (("positive", positive), ("negative", negative)))  # fmt: skip
        if not wanted:
            raise InputError("positive has no click; expected at least one place on the part")
        if wanted & unwanted:
            raise InputError(
                "a positive and a negative click are in the same smallest region of the shape; move one of them away"
            )
        chosen = np.zeros(self.tree.num_leaves, bool)
        for leaf in sorted(wanted):
            chosen |= self._leaves[self._standing_out(leaf, unwanted)]
        return chosen[self.tree.leaf]

    def leaf_at(self, place: NDArray[np.float64]) -> int:
        """The leaf of the element that is nearest to a place (3,)."""
        shape, place = self.shape, place - self.shape.origin
        if shape.faces is None:
            points = shape.points if self.elements is None else shape.points[self.elements]
            return int(self.tree.leaf[((points - place) ** 2).sum(axis=1).argmin()])
        # Only faces whose enclosing sphere comes as near as a point of another face can be the nearest.
        centers, radii = self._spheres
        distances = np.linalg.norm(centers - place, axis=1)
        near = np.flatnonzero(distances - radii <= (distances + radii).min() * (1 + 1e-9))
        nearest = _sq_distances(shape.points.astype(np.float64), shape.faces[near], place).argmin()
        return int(self.tree.leaf[near[nearest]])

    @cached_property
    def _spheres(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:  # (F, 3), (F,)
        """Of each face a sphere that encloses it, around the mean of its corners."""
        corners = self.shape.points.astype(np.float64)[self.shape.faces]  # (F, 3, 3)
        centers = corners.mean(axis=1)
        return centers, np.linalg.norm(corners - centers[:, None], axis=2).max(axis=1)

    @cached_property
    def _parents(self) -> NDArray[np.int64]:  # (2 L - 1,)
        parents = np.full(2 * self.tree.num_leaves - 1, -1)
        merges = self.tree.merges
        parents[merges.ravel()] = np.repeat(self.tree.num_leaves + np.arange(len(merges)), 2)
        return parents

    @cached_property
    def _shares(self) -> NDArray[np.float64]:  # (2 L - 1,)
        shares = np.concatenate([self.weights, np.zeros(len(self.tree.merges))])
        for t, (a, b) in enumerate(self.tree.merges):
            shares[self.tree.num_leaves + t] = shares[a] + shares[b]
        return np.asarray(shares / max(shares[-1], 1e-300))

    @cached_property
    def _leaves(self) -> _Leaves:
        return _Leaves(self.tree)

    def _around(self, leaf: int) -> list[int]:
        """The regions that a leaf is in, itself first."""
        regions = [leaf]
        while self._parents[regions[-1]] >= 0:
            regions.append(int(self._parents[regions[-1]]))
        return regions

    def _standing_out(self, leaf: int, unwanted: set[int]) -> int:
        """The best region around a leaf that has none of the unwanted leaves.

        A region stands out if merging it costs much more than the merge that made it.
        """
        excluded = {region for other in unwanted for region in self._around(other)}
        around = [region for region in self._around(leaf) if region not in excluded]
        costs = np.concatenate([np.zeros(self.tree.num_leaves), self.tree.costs]).tolist()
        best, best_score = around[0], -math.inf
        for region in around:
            parent, share = int(self._parents[region]), float(self._shares[region])
            if parent < 0 or not SMALLEST <= share <= LARGEST:
                continue
            ends = math.log(max(costs[parent], 1e-9)) - OWN_COST * math.log(max(costs[region], 1e-6))
            score = ends - SIZE_WEIGHT * math.log(share / USUAL) ** 2
            if score > best_score:
                best, best_score = region, score
        if best_score == -math.inf:  # all are too small or too large: the one whose size is nearest to that of a part
            best = min(around, key=lambda region: abs(math.log(max(float(self._shares[region]), 1e-12) / USUAL)))
        return best

    def names(self, labels: NDArray[np.int32], vocabulary: Sequence[str] | None = None) -> list[str]:
        """The likely name of each part of a cut.

        Parts that look alike get the same name and a number: leg, leg 2, leg 3. vocabulary: the names to choose from;
        the names that the embedded model was trained on if there are none.
        """
        words = list(vocabulary) if vocabulary is not None else default_vocabulary()
        best = self._part_logits(labels, vocabulary).argmax(axis=1)
        seen: dict[int, int] = {}
        names = []
        for word in best.tolist():
            seen[word] = seen.get(word, 0) + 1
            names.append(words[word] if seen[word] == 1 else f"{words[word]} {seen[word]}")
        return names

    def likely_names(
        self,
        part: NDArray[np.bool_],  # (E,)
        vocabulary: Sequence[str] | None = None,
        count: int = 5,
    ) -> list[tuple[str, float]]:
        """The words that fit a part best, with the probability of each against none of them.

        part: what `select` returns, not empty. vocabulary: as in `names`. count: how many to return, the best first.
        """
        words = list(vocabulary) if vocabulary is not None else default_vocabulary()
        logits = self._part_logits(np.where(part, 0, 1).astype(np.int32), vocabulary)[0]
        best = np.argsort(-logits, kind="stable")[:count]
        return [(words[i], float(1 / (1 + np.exp(-logits[i])))) for i in best]

    def _part_logits(
        self, labels: NDArray[np.int32], vocabulary: Sequence[str] | None
    ) -> NDArray[np.float32]:  # (E,) -> (parts, K)
        """The logits of words at the mean features of the parts."""
        of_leaf = np.zeros(self.tree.num_leaves, np.int64)
        of_leaf[self.tree.leaf] = labels
        order = np.argsort(of_leaf, kind="stable")
        starts = np.searchsorted(of_leaf[order], np.arange(int(labels.max()) + 1))
        weighted = np.add.reduceat(self._weighted[order], starts)
        norms = np.linalg.norm(weighted, axis=1, keepdims=True)
        means = np.ascontiguousarray(weighted / np.maximum(norms, 1e-30), np.float32)
        vectors = self._default_vectors if vocabulary is None else self.model.part_vectors(vocabulary, None, None)
        return self.model.patch_logits(replace(self.encoded, features=means), vectors)

    @cached_property
    def _weighted(self) -> NDArray[np.float64]:  # (L, D)
        return self.features * self.weights[:, None]

    @cached_property
    def _default_vectors(self) -> NDArray[np.float32]:  # (K, D)
        return self.model.part_vectors(default_vocabulary(), None, None)

    def segmentation(
        self,
        *,
        count: int | None = None,
        level: float | None = None,
        vocabulary: Sequence[str] | None = None,
    ) -> Segmentation:
        """A cut with likely names; every score is 1 for the part that an element belongs to."""
        labels = self.cut(count=count, level=level)
        names = self.names(labels, vocabulary)
        scores = np.zeros((len(labels), len(names)), np.float32)
        scores[np.arange(len(labels)), labels] = 1
        settings = {**self.settings, "count": len(names), "level": level}
        facts: Any = (dict(self.timings), self.model.checkpoint.name, settings)
        if self.shape.faces is None:
            if self.elements is not None:
                mask = np.zeros(len(self.shape.points), bool)
                mask[self.elements] = True
                labels, scores = scatter_rows(labels, mask, -1), scatter_rows(scores, mask, 0)
            return Segmentation(self.shape, names, labels, scores, None, None, *facts)
        point_labels, point_scores = vertex_labels(self.shape, labels, len(names))
        return Segmentation(self.shape, names, point_labels, point_scores, labels, scores, *facts)


class _Leaves:
    """The leaves below every region, as masks: leaves are put in an order in which those of a region follow each
    other."""

    def __init__(self, tree: MergeTree) -> None:
        count = tree.num_leaves
        self._size = np.ones(2 * count - 1, np.int64)
        for t, (a, b) in enumerate(tree.merges):
            self._size[count + t] = self._size[a] + self._size[b]
        self._start = np.zeros(2 * count - 1, np.int64)
        for t in range(len(tree.merges) - 1, -1, -1):
            a, b = tree.merges[t]
            self._start[a] = self._start[count + t]
            self._start[b] = self._start[a] + self._size[a]
        self._position = self._start[:count]

    def __getitem__(self, region: int) -> NDArray[np.bool_]:  # (L,)
        offset = self._position - self._start[region]
        return np.asarray((offset >= 0) & (offset < self._size[region]))


def vertex_labels(
    shape: Shape, labels: NDArray[np.int32], count: int
) -> tuple[NDArray[np.int32], NDArray[np.float32]]:  # (N,), (N, K)
    """For vertices, the part that most of the area of their faces belongs to; -1 for vertices without a face."""
    assert shape.faces is not None
    one_hot = np.zeros((len(labels), count), np.float32)
    one_hot[np.arange(len(labels)), labels] = 1
    mean = _C.mean_at_vertices(shape.points, shape.faces, one_hot, np.zeros((len(shape.points), count), np.float32))
    # A vertex whose faces have no area takes the part of one of them.
    corner_labels = np.full(len(shape.points), -1, np.int32)
    corner_labels[shape.faces.ravel()] = np.repeat(labels, 3)
    known = mean.any(axis=1)
    result = np.where(known, mean.argmax(axis=1), corner_labels).astype(np.int32)
    scores = np.zeros_like(mean)
    inside = np.flatnonzero(result >= 0)
    scores[inside, result[inside]] = 1
    return result, scores


def part_tree(
    model: Model,
    shape: Shape,
    finite: Shape,
    encoded: PatchFeatures,
    normalized: Callable[[Floats], Floats],
    settings: dict[str, Any],
    seconds: dict[str, float],
) -> PartTree:
    """The tree of a shape that was encoded; see OpenShape.tree.

    finite: the shape without points that have no coordinates. normalized: brings points of it into the frame of the
    encoder. settings, seconds: of the encoding.
    """
    clock = Stopwatch()
    with clock("divide"):
        centers = finite.points if finite.faces is None else finite.points[finite.faces].mean(axis=1, dtype=np.float64)
        places = normalized(centers.astype(np.float32))
        near = min(NEIGHBORS, len(encoded.centers))
        reduced = interpolate(places, encoded.centers, main_directions(encoded.features), near)
        tree = merge_regions(finite.points, finite.faces, reduced, threads=model.threads)
        weights = element_weights(finite)
        leaf_places = _means(places, tree.leaf, tree.num_leaves, np.maximum(weights, 1e-30))
        features = interpolate(leaf_places, encoded.centers, np.ascontiguousarray(encoded.features), near)
        features /= np.maximum(np.linalg.norm(features, axis=1, keepdims=True), 1e-30)
        leaf_weights = np.bincount(tree.leaf, weights, tree.num_leaves).astype(np.float64)
    missing = shape.missing()
    elements = None if missing is None else np.flatnonzero(~missing)
    return PartTree(
        shape, elements, tree, features, leaf_weights, encoded, model, {**seconds, **clock.seconds}, settings
    )


def main_directions(features: NDArray[np.float32]) -> NDArray[np.float32]:  # (G, D) -> (G, 16)
    """Features less their mean, in the coordinates of the directions in which they differ most (PCA)."""
    centered = features.astype(np.float64) - features.mean(axis=0, dtype=np.float64)
    if len(centered) > centered.shape[1]:
        vectors = np.linalg.eigh(centered.T @ centered)[1]
        return np.ascontiguousarray(centered @ vectors[:, -DIRECTIONS:], np.float32)
    values, vectors = np.linalg.eigh(centered @ centered.T)
    return np.ascontiguousarray((vectors * np.sqrt(np.maximum(values, 0)))[:, -DIRECTIONS:], np.float32)


@lru_cache(maxsize=1)
def default_vocabulary() -> tuple[str, ...]:
    """Names of parts that the embedded model has often seen in training, a few hundred."""
    lines = files("pa3d.weights").joinpath("part_names.txt").read_text(encoding="utf-8").splitlines()
    return tuple(line for line in lines if line and not line.startswith("#"))


def _places(name: str, clicks: ArrayLike) -> NDArray[np.float64]:  # (P, 3)
    try:
        places = np.asarray(clicks, np.float64)
    except (TypeError, ValueError) as error:
        raise InputError(f"{name} is {clicks!r}; expected a list of places (x, y, z)") from error
    places = places.reshape(-1, 3) if places.size == 0 or places.shape == (3,) else places
    if places.ndim != 2 or places.shape[1] != 3 or not np.isfinite(places).all():
        raise InputError(f"{name} has shape {places.shape}; expected a list of finite places (x, y, z)")
    return places


def _sq_distances(
    points: NDArray[np.float64], faces: NDArray[np.int32], place: NDArray[np.float64]
) -> NDArray[np.float64]:  # (F,)
    """The squared distance of a place from each triangle: from its plane where the foot of the perpendicular is inside,
    else from the nearest edge."""
    a, b, c = (points[faces[:, i]] - place for i in range(3))
    normal = np.cross(b - a, c - a)
    length = (normal**2).sum(axis=1)
    inside = length > 0
    best = np.full(len(faces), np.inf)
    for p, q in ((a, b), (b, c), (c, a)):
        edge = q - p
        along = np.clip(-(p * edge).sum(axis=1) / np.maximum((edge**2).sum(axis=1), 1e-300), 0, 1)
        best = np.minimum(best, ((p + along[:, None] * edge) ** 2).sum(axis=1))
        inside &= (np.cross(p, q) * normal).sum(axis=1) >= 0
    height = (a * normal).sum(axis=1) ** 2 / np.maximum(length, 1e-300)
    return np.where(inside, height, best)


def _means(
    values: NDArray[np.float32], group: NDArray[np.int32], count: int, weights: NDArray[np.float64]
) -> NDArray[np.float32]:  # (E, 3) -> (count, 3)
    total = np.bincount(group, weights, count)
    columns = [np.bincount(group, weights * column, count) / total for column in values.T]
    return np.ascontiguousarray(np.stack(columns, axis=1), np.float32)
