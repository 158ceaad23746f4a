"""SATR (Abdelreheem et al., "SATR: Zero-Shot Semantic Segmentation of 3D Shapes", ICCV 2023, arXiv 2304.04909).

A mesh is drawn from ten random views, and a detector (GLIP) looks for each part in each view. A box scores the faces
that have pixels in it: number of pixels times confidence of the box times two factors. The first, g, is large for faces
whose geodesic distance from the middle of the box's faces is near the mean of these distances: the density of a normal
distribution at that distance. The middle is the vertex of these faces that is nearest to their mean centroid by area.
The second, v, is the share of a face's neighbours, within five steps over edges, that have pixels in the box too.
Scores are summed over boxes and views; a face takes the part with the largest sum, and is unknown, label -1, if there
is hardly any.

"fair": faces that no view shows take the scores of the nearest face that one shows, and a vertex takes the part with
the largest sum over its faces.
"published": faces that no view shows are unknown, and a vertex takes the part of the last face that has it.

Only for a mesh is this the paper. A point cloud is drawn as discs; its points stand for faces of equal area, and the 8
nearest points for neighbours.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from pa3d.cameras import Cameras
from pa3d.errors import InputError
from pa3d.methods._common import PublishedMethod, part_prompts, require, unit_sphere
from pa3d.methods.geodesics import Geodesics
from pa3d.methods.networks.detector import Detector, load_detector, truth_boxes
from pa3d.multiview.shade import disc_radius
from pa3d.ops import knn
from pa3d.ops.rasterize import rasterize, rasterize_points
from pa3d.profiling import Stopwatch
from pa3d.segment import Segmentation
from pa3d.shape import Shape, triangle_areas

WEIGHTS = {"detector": "a folder with a grounding detector, or truth for boxes from the true labels"}


@dataclass(frozen=True)
class SatrOptions:
    """views, seed, azimuth, elevation, spread: of the random cameras (radians); distance, fov (degrees), size (pixels).
    threshold: boxes with a lower score are left out. ring: steps to the neighbours. gaussian, smoothing: use g and v.
    unknown: faces with a smaller sum of scores have label -1. vertices: by the "sum" over their faces, or the "last"
    face.
    fill_unseen: faces that no view shows take the scores of the nearest one that is shown.
    caption, caption_with_category: for each part.
    """

    views: int = 10
    seed: int = 2023
    azimuth: float = 3.14
    elevation: float = 0.0
    spread: float = 4.0
    distance: float = 2.0
    fov: float = 60.0
    size: int = 1024
    threshold: float = 0.5
    ring: int = 5
    gaussian: bool = True
    smoothing: bool = True
    unknown: float = 1e-4
    vertices: Literal["sum", "last"] = "sum"
    fill_unseen: bool = True
    caption: str = "the {part}."
    caption_with_category: str = "the {part} of a {category}."

    def __post_init__(self) -> None:
        if self.vertices not in ("sum", "last") or self.views < 1 or self.ring < 0:
            raise InputError(
                f"vertices {self.vertices!r}, views {self.views}, ring {self.ring}: expected sum or last, at least 1, "
                "at least 0"
            )


FORMS = {"fair": SatrOptions(), "published": SatrOptions(vertices="last", fill_unseen=False)}


class Satr(PublishedMethod):
    """options and a detector; without one, boxes come from the true labels, and the result is a ceiling."""

    name = "satr"
    gives_none = True
    takes_mesh = True

    def __init__(self, options: SatrOptions, detector: Detector | None) -> None:
        super().__init__(options, {"detector": "true labels" if detector is None else detector.name})
        self.options: SatrOptions = options
        self.detector = detector

    @property
    def needs_ground_truth(self) -> bool:
        return self.detector is None

    def _segment(
        self, shape: Shape, parts: list[str], category: str | None, truth: NDArray[np.int32] | None, clock: Stopwatch
    ) -> Segmentation:
        o = self.options
        missing = shape.missing()
        keep = np.ones(len(shape.points), bool) if missing is None else ~missing
        with clock("points"):
            surface = Surface(unit_sphere(shape.points[keep], shape.up), shape.faces)
            cameras = random_cameras(o)
            ids = surface.draw(cameras, o.size)
        with clock("encode"):
            boxes = self._detect(
                surface, cameras, ids, parts, category, truth if missing is None or truth is None else truth[keep]
            )
        with clock("label"):
            score = score_boxes(surface, ids, boxes, len(parts), o)
            if o.fill_unseen:
                shown = np.bincount(ids[ids >= 0], minlength=len(surface)) > 0
                if shown.any() and not shown.all():
                    middle = surface.centroid.astype(np.float32)
                    near = knn(middle[~shown], np.ascontiguousarray(middle[shown]), 1)[0][:, 0]
                    score[~shown] = score[shown][near]
        if shape.faces is None:
            all_scores = np.zeros((len(keep), len(parts)))
            all_scores[keep] = score
            return Segmentation(shape, parts, *_labels(all_scores, o))
        face_labels, face_scores = _labels(score, o)
        if o.vertices == "sum":
            at_vertex = np.zeros((len(shape.points), len(parts)))
            for corner in shape.faces.T:
                np.add.at(at_vertex, corner, score)
            labels, scores = _labels(at_vertex, o)
        else:
            last = np.full(len(shape.points), -1)
            for corner in shape.faces.T:
                np.maximum.at(last, corner, np.arange(len(shape.faces)))
            labels = np.append(face_labels, np.int32(-1))[last]
            scores = np.append(face_scores, np.zeros((1, len(parts)), np.float32), axis=0)[last]
        return Segmentation(shape, parts, labels, scores, face_labels, face_scores)

    def _detect(
        self,
        surface: Surface,
        cameras: Cameras,
        ids: NDArray[np.int32],
        parts: list[str],
        category: str | None,
        truth: NDArray[np.int32] | None,
    ) -> list[list[tuple[int, NDArray[np.floating], float]]]:
        """For every view: part, box and score."""
        o = self.options
        out: list[list[tuple[int, NDArray[np.floating], float]]] = []
        if self.detector is None:
            if truth is None:
                raise InputError("satr has no detector, and no true labels to make boxes from; give one as weights")
            for view in ids:
                label = np.append(truth, np.int32(-1))[view]
                out.append([(p, box, 1.0) for p in range(len(parts)) for box in truth_boxes(label, p)])
            return out
        captions = part_prompts(parts, category, o.caption, o.caption_with_category)
        order = sorted(range(len(parts)), key=lambda part: parts[part])
        for view in range(len(cameras)):
            image = surface.shade(ids[view])
            found = []
            for part in order:
                for box, score, phrase in zip(*self.detector.detect(image, captions[part]), strict=True):
                    # A caption "the leg of a chair" has two phrases, and boxes of the chair do not count.
                    if score > o.threshold and (category is None or phrase == 0):
                        found.append((part, box, float(score)))
            out.append(found)
        return out


class Surface:
    """The faces of a mesh, or the points of a cloud, in the unit sphere: what boxes score."""

    def __init__(self, points: NDArray[np.float32], faces: NDArray[np.int32] | None) -> None:
        self.points, self.faces = points, faces
        if faces is None:
            self.corners = np.arange(len(points))[:, None]
            self.area = np.ones(len(points))
        else:
            self.corners = faces.astype(np.int64)
            self.area = triangle_areas(points, faces)
        self.centroid = points[self.corners].mean(axis=1, dtype=np.float64)
        self._geodesics: Geodesics | None = None
        self._reach: dict[int, Any] = {}

    def __len__(self) -> int:
        return len(self.corners)

    def draw(self, cameras: Cameras, size: int) -> NDArray[np.int32]:  # (V, size, size)
        """Which face or point each pixel shows, -1 for none."""
        if self.faces is not None:
            return rasterize(self.points, self.faces, cameras, size, barycentric=False).face_id
        return rasterize_points(self.points, disc_radius(self.points), cameras, size).point_id

    def shade(self, ids: NDArray[np.int32]) -> NDArray[np.uint8]:  # (H, W) -> (H, W, 3)
        """Grey on black, lit by spherical harmonics of the first two bands with coefficients 1."""
        if self.faces is None:
            normal = np.zeros((len(self), 3))
        else:
            a, b, c = (self.points[self.faces[:, i]].astype(np.float64) for i in range(3))
            normal = np.cross(b - a, c - a)
            normal /= np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-30)
        light = np.sqrt(1 / (4 * np.pi)) + np.sqrt(3 / (4 * np.pi)) * normal.sum(axis=1)
        value = np.append(np.clip(0.5 * light, 0, 1), 0.0)[ids]
        return np.repeat(np.clip(value * 256, 0, 255).astype(np.uint8)[..., None], 3, axis=2)

    def distances(self, members: NDArray[np.int64]) -> NDArray[np.float64]:
        """Geodesic distances of the first corners of some faces from the middle of these faces."""
        weight = self.area[members]
        total = weight.sum()
        weight = weight / total if total > 0 else np.full(len(members), 1 / len(members))
        middle = weight @ self.centroid[members]
        corners = np.unique(self.corners[members])
        source = corners[((self.points[corners] - middle) ** 2).sum(axis=1).argmin()]
        if self._geodesics is None:
            self._geodesics = Geodesics(self.points, self.faces)
        return self._geodesics(int(source))[self.corners[members, 0]]

    def reach(self, steps: int) -> Any:
        """Sparse (F, F): which faces are within so many steps over shared edges, the face itself among them."""
        if steps not in self._reach:
            sparse = require("scipy.sparse", "SATR")
            n = len(self)
            if self.faces is None:
                near = knn(self.points, self.points, min(9, n))[0]
                rows = np.repeat(np.arange(n), near.shape[1])
                adjacent = sparse.csr_matrix((np.ones(rows.size, np.float32), (rows, near.ravel())), (n, n))
                adjacent = adjacent + adjacent.T
            else:
                _, vertex = np.unique(self.points, axis=0, return_inverse=True)
                edges = np.sort(vertex.reshape(-1)[self.faces[:, [0, 1, 1, 2, 2, 0]]].reshape(-1, 2), axis=1)
                _, edge = np.unique(edges, axis=0, return_inverse=True)
                rows = np.repeat(np.arange(n), 3)
                incidence = sparse.csr_matrix((np.ones(3 * n, np.float32), (rows, edge.reshape(-1))))
                adjacent = incidence @ incidence.T
            step = adjacent + sparse.identity(n, np.float32, format="csr")
            step.data[:] = 1
            result = sparse.identity(n, np.float32, format="csr")
            for _ in range(steps):
                result = result @ step
                result.data[:] = 1
            self._reach[steps] = result
        return self._reach[steps]


def random_cameras(o: SatrOptions) -> Cameras:
    """Cameras that look at the origin, at angles drawn by torch, so that the seed gives the views of the paper."""
    torch = require("torch", "SATR")
    generator = torch.Generator().manual_seed(o.seed)
    elevation = torch.randn(o.views, generator=generator).double().numpy() * np.pi / o.spread + o.elevation
    azimuth = torch.randn(o.views, generator=generator).double().numpy() * 2 * np.pi / o.spread + o.azimuth
    x, z = np.cos(elevation) * np.cos(azimuth), np.cos(elevation) * np.sin(azimuth)
    return Cameras.look_at(o.distance * np.stack([x, np.sin(elevation), z], axis=1), fov=o.fov)


def score_boxes(
    surface: Surface,
    ids: NDArray[np.int32],  # (V, H, W)
    boxes: Sequence[Sequence[tuple[int, NDArray[np.floating], float]]],
    parts: int,
    o: SatrOptions,
) -> NDArray[np.float64]:  # (F, K)
    """The sum over views and boxes of n_f * s * g(f) * v(f)."""
    score = np.zeros((len(surface), parts))
    for view, found in zip(ids, boxes, strict=True):
        height, width = view.shape
        for part, box, confidence in found:
            left, top, right, bottom = (int(x) for x in box)
            inside = view[max(top, 0) : min(bottom, height), max(left, 0) : min(right, width)]
            pixels = np.bincount(inside[inside >= 0], minlength=len(surface))
            members = np.flatnonzero(pixels)
            if not len(members):
                continue
            value = pixels[members] * confidence
            if o.gaussian:
                value = value * normal_density(surface.distances(members))
            if o.smoothing:
                member = np.zeros(len(surface), np.float32)
                member[members] = 1
                reach = surface.reach(o.ring)
                value = value * (reach[members] @ member) / (np.diff(reach.indptr)[members] + 1e-5)
            score[members, part] += value
    return score


def normal_density(distance: NDArray[np.float64]) -> NDArray[np.float64]:
    """The density, at each value, of the normal distribution with the mean and deviation of all. 1 if all are equal."""
    mean, deviation = distance.mean(), distance.std()
    if not deviation > 1e-12 * max(abs(mean), 1.0):
        return np.ones_like(distance)
    return np.exp(-(((distance - mean) / deviation) ** 2) / 2) / (deviation * np.sqrt(2 * np.pi))


def _labels(score: NDArray[np.float64], o: SatrOptions) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    total = score.sum(axis=1)
    labels = np.where(total >= o.unknown, score.argmax(axis=1), -1).astype(np.int32)
    shares = score / np.where(total > 0, total, 1)[:, None]
    return labels, (shares * (labels >= 0)[:, None]).astype(np.float32)


def load(options: SatrOptions, weights: Mapping[str, Any]) -> Satr:
    return Satr(options, load_detector(weights.get("detector"), "satr"))
