"""PartSLIP (Liu et al., "PartSLIP: Low-Shot Part Segmentation for 3D Point Clouds via Pretrained Image-Language
Models", CVPR 2023, arXiv 2212.01558), without the training for each category.

A coloured cloud is drawn from ten views, and a detector (GLIP) looks for all parts in each. The cloud is divided into
superpoints (pa3d.methods.superpoints). For a part, a superpoint's score is the share of its visible points that lie in
any box of the part, over all views. A superpoint takes the part with the highest score, or none, label -1, if no score
reaches one half; small parts such as handles and buttons go before the larger ones that contain them. `instances` then
unites superpoints of a part that touch and lie in the same boxes.

"fair" asks for the plain names of the parts, and draws points as large as it takes to close the surface.
"published" asks for "... of a chair", and draws all points with one radius, made for clouds of 300,000 points.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pa3d.cameras import Cameras
from pa3d.errors import InputError
from pa3d.methods._common import CloudMethod, Labels, draw_discs, unit_sphere
from pa3d.methods.networks.detector import Detector, load_detector, truth_boxes
from pa3d.methods.superpoints import superpoints
from pa3d.multiview.shade import disc_radius
from pa3d.profiling import Stopwatch
from pa3d.shape import Shape
from pa3d.text import clean_name

WEIGHTS = {"detector": "a folder with a grounding detector, or truth for boxes from the true labels"}
# Elevation and azimuth in degrees.
VIEWS = (
    *((10.0, azimuth) for azimuth in (0.0, 90.0, 180.0, 270.0)),
    *((40.0, azimuth) for azimuth in (0.0, 120.0, 240.0)),
    *((-20.0, azimuth) for azimuth in (60.0, 180.0, 300.0)),
)
SMALL_PARTS = ("handle", "button", "wheel", "knob", "switch", "bulb", "shaft", "touchpad", "camera", "screw")
_GREY = 189


@dataclass(frozen=True)
class PartSlipOptions:
    """distance, fov (degrees), size (pixels): of the views. radius: of the points, where the picture is from -1 to 1;
    grow: larger, if the spacing of the points needs it. threshold: boxes with a lower score are left out. whole: boxes
    with such a share of all points are left out.
    least: score below which a superpoint is none of the parts. caption_with_category: the end of the caption.
    regularization, neighbors, color_weight, smallest: of the superpoints.
    gap, unlike, size_ratio: superpoints of one instance; overlap: IoU of an instance with a box.
    """

    distance: float = 2.2
    fov: float = 60.0
    size: int = 800
    radius: float = 0.005
    grow: bool = True
    threshold: float = 0.5
    whole: float = 0.98
    least: float = 0.5
    caption_with_category: str = ""
    regularization: float = 0.05
    neighbors: int = 10
    color_weight: float = 0.3
    smallest: int = 10
    gap: float = 0.02
    unlike: float = 0.2
    size_ratio: float = 100.0
    overlap: float = 0.5


FORMS = {
    "fair": PartSlipOptions(),
    "published": PartSlipOptions(grow=False, caption_with_category=" of a {category}"),
}


@dataclass
class Evidence:
    """What the views say about a cloud.

    visible (V, N) bool; pixel (V, N, 2), column before row; boxes: for every view its boxes (n, 4) and their parts
    (n,).
    """

    visible: NDArray[np.bool_]
    pixel: NDArray[np.float64]
    boxes: list[tuple[NDArray[np.float64], NDArray[np.int64]]]


class PartSlip(CloudMethod):
    """options and a detector; without one, boxes come from the true labels, and the result is a ceiling."""

    name = "partslip"
    gives_none = True

    def __init__(self, options: PartSlipOptions, detector: Detector | None) -> None:
        super().__init__(options, {"detector": "true labels" if detector is None else detector.name})
        self.options: PartSlipOptions = options
        self.detector = detector

    @property
    def needs_ground_truth(self) -> bool:
        return self.detector is None

    def label_cloud(
        self, cloud: Shape, parts: list[str], category: str | None, truth: NDArray[np.int32] | None, clock: Stopwatch
    ) -> Labels:
        piece, evidence = self._look(cloud, parts, category, truth, clock)
        with clock("label"):
            score = superpoint_scores(piece, evidence, len(parts))
            labels = superpoint_labels(score, parts, self.options.least)
            total = score.sum(axis=1, keepdims=True)
            shares = (score / np.maximum(np.maximum(total, score.max(axis=1, keepdims=True)), 1.0)).astype(np.float32)
        return labels[piece], shares[piece]

    def instances(
        self, cloud: Shape, parts: Sequence[str], category: str | None = None, *, truth: NDArray[np.int32] | None = None
    ) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
        """The part (N,) and the instance (N,) of every point of a cloud, -1 for none; instances are numbered from 0."""
        piece, evidence = self._look(cloud, list(parts), category, truth, Stopwatch())
        labels = superpoint_labels(superpoint_scores(piece, evidence, len(parts)), parts, self.options.least)
        points = unit_sphere(cloud.points, cloud.up)
        return labels[piece], group_instances(points, piece, labels, evidence, self.options)

    def _look(
        self, cloud: Shape, parts: list[str], category: str | None, truth: NDArray[np.int32] | None, clock: Stopwatch
    ) -> tuple[NDArray[np.int64], Evidence]:
        """The superpoint of every point, and what the views show."""
        o = self.options
        colors = np.full((len(cloud.points), 3), _GREY, np.uint8) if cloud.colors is None else cloud.colors
        with clock("points"):
            points = unit_sphere(cloud.points, cloud.up)
            elevation, azimuth = np.array(VIEWS).T
            cameras = Cameras.orbit(azimuth, elevation, distance=o.distance, fov=o.fov)
            spacing = disc_radius(points) / (o.distance * np.tan(np.radians(o.fov / 2)))
            radius = max(o.radius, spacing) if o.grow or self.detector is None else o.radius
            ids, _ = draw_discs(points, cameras, radius, o.size)
            pixel, _ = cameras.project(points, o.size)
        with clock("encode"):
            boxes = [
                self._boxes(view, colors, parts, category, truth, column_row)
                for view, column_row in zip(ids, pixel, strict=True)
            ]
        with clock("points"):
            piece = superpoints(
                points,
                colors,
                regularization=o.regularization,
                neighbors=o.neighbors,
                color_weight=o.color_weight,
                smallest=o.smallest,
            )
        visible = np.zeros((len(ids), len(points)), bool)
        for view, seen in zip(ids, visible, strict=True):
            seen[view[view >= 0]] = True
        return piece, Evidence(visible, pixel, boxes)

    def _boxes(
        self,
        view: NDArray[np.int32],
        colors: NDArray[np.uint8],
        parts: list[str],
        category: str | None,
        truth: NDArray[np.int32] | None,
        pixel: NDArray[np.float64],
    ) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """The boxes of a view and their parts, without those of nearly the whole shape."""
        o = self.options
        if self.detector is None:
            if truth is None:
                raise InputError("partslip has no detector, and no true labels to make boxes from; give one as weights")
            label = np.append(truth, np.int32(-1))[view]
            found = [truth_boxes(label, part) for part in range(len(parts))]
            box = np.concatenate(found)
            part = np.repeat(np.arange(len(parts)), [len(rows) for rows in found])
        else:
            image = np.append(colors, np.full((1, 3), 255, np.uint8), axis=0)[view]
            caption = " . ".join(parts)
            if category is not None:
                caption += o.caption_with_category.format(category=category)
            boxes = self.detector.detect(image, caption)
            keep = np.asarray(boxes.scores) > o.threshold
            box, part = (
                np.asarray(boxes.boxes, np.float64)[keep].reshape(-1, 4),
                np.asarray(boxes.phrases, np.int64)[keep],
            )
            box, part = box[part < len(parts)], part[part < len(parts)]
        small = (
            np.array([inside(pixel, b).mean() < o.whole for b in box], bool)
            if self.detector is not None
            else slice(None)
        )
        return box[small], part[small]


def inside(pixel: NDArray[np.float64], box: NDArray[np.float64]) -> NDArray[np.bool_]:  # (N, 2), (4,) -> (N,)
    """Which pixels lie in a box: left <= column < right, top <= row < bottom."""
    return np.asarray((pixel >= box[:2]).all(axis=1) & (pixel < box[2:]).all(axis=1))


def superpoint_scores(piece: NDArray[np.int64], evidence: Evidence, parts: int) -> NDArray[np.float64]:  # (S, K)
    """The share of each superpoint's visible points, over all views, that lie in any box of each part."""
    count = int(piece.max()) + 1
    seen, hit = np.zeros(count), np.zeros((count, parts))
    for visible, pixel, (boxes, part) in zip(evidence.visible, evidence.pixel, evidence.boxes, strict=True):
        seen += np.bincount(piece[visible], minlength=count)
        for k in range(parts):
            rows = boxes[part == k]
            if len(rows):
                within = visible & np.any([inside(pixel, box) for box in rows], axis=0)
                hit[:, k] += np.bincount(piece[within], minlength=count)
    return hit / np.maximum(seen, 1)[:, None]


def superpoint_labels(score: NDArray[np.float64], parts: Sequence[str], least: float) -> NDArray[np.int32]:  # (S,)
    """The best part, -1 if none reaches `least`. The last listed of the small parts that reach it goes first."""
    labels = np.where((score >= least).any(axis=1), score.argmax(axis=1), -1).astype(np.int32)
    for k, part in enumerate(parts):
        if clean_name(part) in SMALL_PARTS:
            labels[score[:, k] >= least] = k
    return labels


def group_instances(
    points: NDArray[np.float32],  # (N, 3)
    piece: NDArray[np.int64],  # (N,)
    labels: NDArray[np.int32],  # (S,)
    evidence: Evidence,
    o: PartSlipOptions,
) -> NDArray[np.int32]:  # (N,)
    """The instance of every point, -1 for none.

    Two superpoints of a part are united if the largest gap between their boxes in space, over the axes, is below `gap`;
    the sum of differences between their shares in the 2D boxes, over views that show both, is less than `unlike` of the
    larger sum; and neither has `size_ratio` times the points of the other. An instance is kept if the box of its
    visible points overlaps a box of its part in some view.
    """
    count = len(labels)
    size = np.bincount(piece, minlength=count)
    low, high = np.full((count, 3), np.inf), np.full((count, 3), -np.inf)
    np.minimum.at(low, piece, points)
    np.maximum.at(high, piece, points)
    instance, number = np.full(len(points), -1, np.int32), 0
    for part in range(int(labels.max(initial=-1)) + 1):
        members = np.flatnonzero(labels == part)
        shares, shown = _box_shares(piece, members, evidence, part, count)
        root = {int(m): int(m) for m in members}

        def find(m: int, root: dict[int, int] = root) -> int:
            while root[m] != m:
                m = root[m]
            return m

        for i, a in enumerate(members):
            for j in range(i):
                b = members[j]
                gap = np.maximum(low[a] - high[b], low[b] - high[a]).max()
                both = shown[i] & shown[j]
                larger = max(shares[i][both].sum(), shares[j][both].sum())
                unlike = np.abs(shares[i][both] - shares[j][both]).sum() / larger if larger > 0 else np.inf
                alike = max(size[a], size[b]) < o.size_ratio * min(size[a], size[b])
                if gap < o.gap and unlike < o.unlike and alike:
                    root[find(int(a))] = find(int(b))
        for first in members:
            if find(int(first)) != first:
                continue
            inside_it = np.isin(piece, [m for m in members if find(int(m)) == first])
            if _overlaps_a_box(inside_it, evidence, part, o.overlap):
                instance[inside_it] = number
                number += 1
    return instance


def _box_shares(
    piece: NDArray[np.int64], members: NDArray[np.int64], evidence: Evidence, part: int, count: int
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """For each member and each box of a part: the share of its visible points in the box, and whether the view shows
    any of them; both (M, B)."""
    shares, shown = [], []
    for visible, pixel, (boxes, part_of) in zip(evidence.visible, evidence.pixel, evidence.boxes, strict=True):
        seen = np.bincount(piece[visible], minlength=count)
        for box in boxes[part_of == part]:
            hit = np.bincount(piece[visible & inside(pixel, box)], minlength=count)
            shares.append((hit / np.maximum(seen, 1))[members])
            shown.append((seen > 0)[members])
    if not shares:
        return np.zeros((len(members), 0)), np.zeros((len(members), 0), bool)
    return np.stack(shares, axis=1), np.stack(shown, axis=1)


def _overlaps_a_box(member: NDArray[np.bool_], evidence: Evidence, part: int, overlap: float) -> bool:
    for visible, pixel, (boxes, part_of) in zip(evidence.visible, evidence.pixel, evidence.boxes, strict=True):
        shown = pixel[visible & member]
        if len(shown):
            own = np.concatenate([shown.min(axis=0), shown.max(axis=0)])
            if any(_iou(own, box) > overlap for box in boxes[part_of == part]):
                return True
    return False


def _iou(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    def area(box: NDArray[np.float64]) -> float:
        return float(np.prod(np.maximum(box[2:] - box[:2], 0)))

    common = area(np.concatenate([np.maximum(a[:2], b[:2]), np.minimum(a[2:], b[2:])]))
    union = area(a) + area(b) - common
    return common / union if union > 0 else 0.0


def load(options: PartSlipOptions, weights: Mapping[str, Any]) -> PartSlip:
    return PartSlip(options, load_detector(weights.get("detector"), "partslip"))
