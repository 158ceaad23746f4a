"""COPS (Garosi et al., "3D Part Segmentation via Geometric Aggregation of 2D Visual Features", WACV 2025).

Ten depth pictures of a cloud are drawn as discs, and a 2D backbone (DINOv2) describes their patches. The features are
enlarged to the pixels and gathered at the points, a point taking the mean of the views that show it. Then the features
are made even over the surface, twice: 256 points, the farthest from each other, take the mean feature of their 10
nearest points in space, and every point takes the feature of the nearest of the 256; the second time it is the mean of
the 90 nearest in the space of features. k-means divides the points into as many clusters as another method,
PointCLIPv2, finds parts, and each cluster gets the name of the part that it overlaps best, by the assignment with the
largest sum of IoUs. At last a point takes the mode of its 7 nearest points.

"fair" takes the last features of the backbone and the mean of a point's pixels in a view. It fills points that no view
shows from the nearest points that one shows, keeps of ten runs of k-means the one that agrees best with the labels of
the naming method, and gives a cluster that no part is assigned to the most frequent label in it.
"published" takes what the authors ran: features before the first block, the last of a point's pixels, a filling
from the seen ones among the 20 nearest of all points, the run of k-means that fits the TRUE labels best, and the first
part for clusters without one. Its figures cannot be compared with those of methods that do not look at the truth.

Any backbone of pa3d.multiview.backbones can describe the pictures, and any method can name the clusters.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from pa3d.cameras import Cameras
from pa3d.errors import InputError
from pa3d.methods._common import (
    CloudMethod,
    Labels,
    draw,
    draw_discs,
    one_torch_thread,
    require,
    unit_sphere,
    votes,
)
from pa3d.multiview.features import point_features
from pa3d.ops import farthest_point_sample, knn
from pa3d.profiling import Stopwatch
from pa3d.shape import Shape

if TYPE_CHECKING:
    from pa3d.multiview.backbones import Backbone

Floats = NDArray[np.float32]

WEIGHTS = {
    "backbone": "weights of DINOv2 base, or the name of a backbone such as efficientnet-lite0",
    "clip": "OpenAI's CLIP ViT-B/16, for PointCLIPv2, which names the clusters; without it pa3d's own model does",
}
AZIMUTHS = (45.0, 135.0, -135.0, -45.0, 0.0, 90.0, 180.0, -90.0, 0.0, 0.0)
ELEVATIONS = (20.0,) * 8 + (-75.0, 70.0)


@dataclass(frozen=True)
class CopsOptions:
    """points: at most so many are rendered; late_points: at most so many get features; labelled: so many of them are
    named. All are drawn with `seed`, and what is not drawn takes the label of the nearest point that is.
    size: pixels a side. radius, late_radius: of the discs, where the picture is from -1 to 1, in the pictures and, if
    points were left out late, in the second drawing that says which pixel shows which point.
    layer: blocks of the backbone, None for all of them and its last norm.
    pixels: "mean" of a point's pixels in a view, or the "last" in row order.
    fill: points that no view shows take the mean of their 20 nearest "seen" points, or of those among their 20 nearest
    of "all" points that are seen, else 0.
    centers: how many points collect features; near, alike: from so many points in space, then in features.
    iterations, restarts: of k-means. select: the run that is kept, by agreement with the "labels" of the naming method,
    by "inertia" (sum of squared distances), or by mIoU with the "truth".
    unmatched: a cluster without a part gets its "majority", or the "first" part.
    refine: points whose mode is the last label.
    """

    points: int = 100_000
    late_points: int = 10_000
    labelled: int = 2048
    seed: int = 0
    size: int = 224
    radius: float = 0.04
    late_radius: float = 0.01
    layer: int | None = None
    pixels: Literal["mean", "last"] = "mean"
    fill: Literal["seen", "all"] = "seen"
    centers: int = 256
    near: int = 10
    alike: int = 90
    iterations: int = 50
    restarts: int = 10
    select: Literal["labels", "inertia", "truth"] = "labels"
    unmatched: Literal["majority", "first"] = "majority"
    refine: int = 7

    def __post_init__(self) -> None:
        choices = {"pixels": ("mean", "last"), "fill": ("seen", "all"), "select": ("labels", "inertia", "truth")}
        for name, expected in {**choices, "unmatched": ("majority", "first")}.items():
            if getattr(self, name) not in expected:
                raise InputError(f"{name} is {getattr(self, name)!r}; expected one of {', '.join(expected)}")


FORMS = {
    "fair": CopsOptions(),
    "published": CopsOptions(layer=0, pixels="last", fill="all", select="truth", unmatched="first"),
}


class Cops(CloudMethod):
    """options; a backbone of images; and the method that names the clusters."""

    name = "cops"

    def __init__(self, options: CopsOptions, backbone: Backbone, naming: Any, naming_name: str) -> None:
        super().__init__(options, {"backbone": backbone.name, "naming": naming_name})
        self.options: CopsOptions = options
        self.backbone, self.naming = backbone, naming

    @property
    def needs_ground_truth(self) -> bool:
        return self.options.select == "truth"

    def configure(self, protocol: Any) -> None:
        super().configure(protocol)
        if hasattr(self.naming, "configure"):
            self.naming.configure(protocol)

    def label_cloud(
        self, cloud: Shape, parts: list[str], category: str | None, truth: NDArray[np.int32] | None, clock: Stopwatch
    ) -> Labels:
        o = self.options
        with clock("points"):
            rendered = draw(len(cloud.points), o.points, o.seed)
            points = unit_sphere(np.ascontiguousarray(cloud.points[rendered]), cloud.up)
            pictures, point_of_pixel = depth_pictures(points, o)
            late = draw(len(points), o.late_points, o.seed)
            if len(late) < len(points):
                points = np.ascontiguousarray(points[late])
                point_of_pixel = draw_points(points, o.late_radius, o.size)[0]
        with clock("encode"), one_torch_thread():
            tokens = np.concatenate([self._tokens(picture[None]) for picture in pictures])
            features, _ = point_features(tokens, point_of_pixel, points, pixels=o.pixels, fill=o.fill)
        chosen = rendered[late]
        named = draw(len(points), o.labelled, o.seed)
        with clock("text"):
            some = Shape(np.ascontiguousarray(cloud.points[chosen[named]]), up=cloud.up, name=cloud.name)
            names = self._name(some, parts, category)
        with clock("label"):
            group, group_features = aggregate(points, features, o)
            true = None if truth is None else truth[chosen]
            labels = self._cluster(group, group_features, named, names, true, len(parts))
            scores = votes(labels, points, o.refine, len(parts))
            if len(points) < len(cloud.points):
                near = knn(cloud.points, np.ascontiguousarray(cloud.points[chosen]), 1)[0][:, 0]
                scores = scores[near]
        return scores.argmax(axis=1).astype(np.int32), scores

    def _tokens(self, images: NDArray[np.uint8]) -> Floats:
        if self.options.layer is None:
            return self.backbone(images)
        return self.backbone(images, layer=self.options.layer)  # type: ignore[call-arg]

    def _name(self, some: Shape, parts: list[str], category: str | None) -> NDArray[np.int32]:
        if (some.points == some.points[:1]).all():  # which a method that normalises cannot take
            return np.zeros(len(some.points), np.int32)
        return np.asarray(self.naming.segment(some, parts, category=category).labels, np.int32)

    def _cluster(
        self,
        group: NDArray[np.int64],  # (N,)
        features: Floats,  # (G, C)
        named: NDArray[np.int64],  # (n,) indices of points
        names: NDArray[np.int32],  # (n,)
        truth: NDArray[np.int32] | None,  # (N,)
        parts: int,
    ) -> NDArray[np.int32]:  # (N,)
        """The label of every point, before the last step."""
        o = self.options
        k = max(len(np.unique(names[names >= 0])), 1)
        rng = np.random.default_rng(o.seed)
        weight = np.bincount(group, minlength=len(features))
        best, best_value = None, -np.inf
        for _ in range(o.restarts):
            start = group[rng.choice(len(group), min(k, len(group)), replace=False)]
            cluster, inertia = k_means(features, weight, features[start], o.iterations)
            of_point = cluster[group]
            labels = name_clusters(of_point[named], names, of_point, parts, k, o.unmatched)
            if o.select == "inertia":
                value = -inertia
            elif o.select == "labels":
                value = _mean_iou(labels[named], names, parts)
            elif truth is None:
                raise InputError("COPS as published keeps the clusters that fit the true labels; it needs `truth`")
            else:
                value = _mean_iou(labels[truth >= 0], truth[truth >= 0], parts)
            if value > best_value:
                best, best_value = labels, value
        assert best is not None
        return best


def depth_pictures(points: Floats, o: CopsOptions) -> tuple[NDArray[np.uint8], NDArray[np.int32]]:
    """Pictures (V, size, size, 3) and which point a pixel shows (V, size, size), -1 for none.

    255 is the ground, the nearest point about 128, the farthest 0.
    """
    point_of_pixel, depth = draw_points(points, o.radius, o.size)
    pictures = np.empty((*point_of_pixel.shape, 3), np.uint8)
    for picture, ids, d in zip(pictures, point_of_pixel, depth, strict=True):
        above = np.where(ids >= 0, d, np.float32(-1)) + 1  # the ground is -1, and the smallest
        top = above.max()
        picture[:] = (255 - 255 * (above / top if top > 0 else above)).astype(np.uint8)[..., None]
    return pictures, point_of_pixel


def draw_points(points: Floats, radius: float, size: int) -> tuple[NDArray[np.int32], Floats]:
    """Which point each pixel of each view shows (V, size, size), -1 for none, and its depth."""
    return draw_discs(points, Cameras.orbit(AZIMUTHS, ELEVATIONS, distance=2.0, fov=60.0), radius, size)


def aggregate(points: Floats, features: Floats, o: CopsOptions) -> tuple[NDArray[np.int64], Floats]:
    """Features made even over the surface: the group of every point (N,), and the feature of every group (G, C)."""
    rng = np.random.default_rng(o.seed)
    count, n = min(o.centers, len(points)), len(points)
    first = farthest_point_sample(points, count, start=int(rng.integers(n)))
    near = knn(np.ascontiguousarray(points[first]), points, min(o.near, n))[0]
    group_features = features[near].mean(axis=1, dtype=np.float64)
    group = knn(points, np.ascontiguousarray(points[first]), 1)[0][:, 0]
    # From here on points of a group have equal features: the nearest in features are whole groups, the last one in
    # part.
    size = np.bincount(group, minlength=count)
    second = farthest_point_sample(points, count, start=int(rng.integers(n)))
    sq_dist = _squared_distances(group_features[group[second]], group_features)
    means = np.empty((count, features.shape[1]))
    for i, row in enumerate(sq_dist):
        order = np.argsort(row, kind="stable")
        before = np.cumsum(size[order]) - size[order]
        taken = np.clip(min(o.alike, n) - before, 0, size[order])
        means[i] = taken @ group_features[order] / taken.sum()
    group = knn(points, np.ascontiguousarray(points[second]), 1)[0][:, 0]
    return group, means.astype(np.float32)


def k_means(
    rows: Floats,  # (n, C)
    weight: NDArray[np.integer],  # (n,) how often each row occurs
    centers: Floats,  # (k, C)
    iterations: int,
) -> tuple[NDArray[np.int64], float]:
    """The cluster of every row, and the sum of squared distances, after so many iterations. An empty cluster keeps its
    centre."""
    data, means = rows.astype(np.float64), centers.astype(np.float64)
    before = None
    for _ in range(iterations):
        cluster = _squared_distances(data, means).argmin(axis=1)
        if before is not None and (cluster == before).all():
            break  # the means would be the same again
        before = cluster
        for c in range(len(means)):
            inside = cluster == c
            total = weight[inside].sum()
            if total:
                means[c] = weight[inside] @ data[inside] / total
    sq_dist = _squared_distances(data, means)
    return sq_dist.argmin(axis=1), float(weight @ sq_dist.min(axis=1))


def name_clusters(
    cluster: NDArray[np.int64],  # (n,) of the named points
    names: NDArray[np.int32],  # (n,)
    of_point: NDArray[np.int64],  # (N,)
    parts: int,
    clusters: int,
    unmatched: str,
) -> NDArray[np.int32]:  # (N,)
    """Labels of all points: each cluster takes a part, so that the sum of IoUs is largest. A spare part and a spare
    cluster, which overlap nothing, let a cluster stay without a part."""
    optimize = require("scipy.optimize", "the assignment of clusters to parts")
    overlap = np.zeros((parts + 1, clusters + 1))
    for part in range(parts):
        for c in range(clusters):
            union = ((names == part) | (cluster == c)).sum()
            overlap[part, c] = ((names == part) & (cluster == c)).sum() / union if union else 0.0
    rows, columns = optimize.linear_sum_assignment(overlap, maximize=True)
    part_of = np.zeros(clusters, np.int32)
    for c in range(clusters):
        inside = names[(cluster == c) & (names >= 0)]
        if unmatched == "majority" and len(inside):
            part_of[c] = np.bincount(inside).argmax()
    for part, c in zip(rows, columns, strict=True):
        if part < parts and c < clusters and overlap[part, c] > 0:
            part_of[c] = part
    return part_of[of_point]


def _mean_iou(labels: NDArray[np.int32], names: NDArray[np.int32], parts: int) -> float:
    """Over the parts that are in either."""
    ious = []
    for part in range(parts):
        union = ((labels == part) | (names == part)).sum()
        if union:
            ious.append(((labels == part) & (names == part)).sum() / union)
    return float(np.mean(ious)) if ious else 0.0


def _squared_distances(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:  # (n, m)
    """By differences, not by the product of the arrays, whose rounding depends on the library."""
    return np.stack([((a - row) ** 2).sum(axis=1) for row in b], axis=1)


def load(options: CopsOptions, weights: Mapping[str, Any]) -> Cops:
    """Without weights: EfficientNet-Lite0, which is embedded, describes the pictures, and pa3d's model names the
    clusters."""
    from pa3d.multiview.backbones import DEFAULT, NAMES, load_backbone

    backbone = weights.get("backbone", DEFAULT)
    if isinstance(backbone, str) and backbone in NAMES:
        backbone = load_backbone(backbone)
    elif not callable(backbone):
        backbone = load_backbone("dinov2-base", backbone)
    if options.layer is not None and not hasattr(backbone, "depth"):
        raise InputError(f"{backbone.name} has no layers to choose; give DINOv2, or the parameter layer=None")
    if "clip" in weights:
        from pa3d.methods.pointclipv2 import FORMS as POINTCLIP_FORMS
        from pa3d.methods.pointclipv2 import load as load_pointclip

        naming = load_pointclip(POINTCLIP_FORMS["published" if options.select == "truth" else "fair"], weights)
        return Cops(options, backbone, naming, f"pointclipv2, {naming.clip.name}")
    from pa3d.methods._naming import EmbeddedNaming

    return Cops(options, backbone, EmbeddedNaming(), "pa3d-embedded")
