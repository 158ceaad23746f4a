"""What the methods share: from a shape to a cloud and back, prompts, votes of neighbours, and reproducible torch."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pa3d.cameras import Cameras
from pa3d.errors import InputError
from pa3d.frames import apply_normalization, normalization
from pa3d.inputs import as_shape
from pa3d.labelling import scatter_rows
from pa3d.ops import knn
from pa3d.ops.rasterize import rasterize_points
from pa3d.profiling import Stopwatch
from pa3d.report.files import to_y_up
from pa3d.segment import Segmentation
from pa3d.shape import Shape
from pa3d.text import check_names

SURFACE = 10_000  # points drawn from a mesh by methods that take clouds

Labels = tuple[NDArray[np.int32], NDArray[np.float32]]  # (N,) and (N, K)


class PublishedMethod(ABC):
    """A method from a paper. It can be evaluated: see pa3d.evaluate.Method.

    options: its parameters. form: "fair" or "published". networks: what runs in it, by role, for reports.
    """

    name: ClassVar[str]
    form = "fair"
    gives_none = False  # whether some points may be none of the parts

    def __init__(self, options: Any, networks: Mapping[str, str]) -> None:
        self.options, self.networks = options, dict(networks)

    def identity(self) -> dict[str, Any]:
        return {"name": self.name, "form": self.form, "networks": self.networks, "options": asdict(self.options)}

    def configure(self, protocol: Any) -> None:
        """Raises InputError for a protocol that needs points without a part, which only some methods have."""
        if protocol.unlabelled == "zero" and not self.gives_none:
            raise InputError(
                f"protocol {protocol.name} needs a column of logit 0, but {self.name} gives every point a part; "
                "choose another value of unlabelled"
            )

    def segment(
        self,
        path_or_shape_or_points: str | Shape | ArrayLike,
        parts: Sequence[str],
        category: str | None = None,
        *,
        truth: NDArray[np.int32] | None = None,
    ) -> Segmentation:
        """Name the parts of a file, a Shape or an array (N, 3), as pa3d.Segmenter.segment does.

        truth: the true part of every point, or of every face of a mesh, -1 for none; only what looks at labels needs
        it. Raises InputError for an argument that cannot be used.
        """
        shape = as_shape(path_or_shape_or_points, nan="skip")
        check_names(parts)
        clock = Stopwatch()
        result = self._segment(shape, list(parts), category, truth, clock)
        result.timings, result.model = clock.seconds, self.name
        result.settings = {"category": category, **self.identity()}
        return result

    @abstractmethod
    def _segment(
        self, shape: Shape, parts: list[str], category: str | None, truth: NDArray[np.int32] | None, clock: Stopwatch
    ) -> Segmentation: ...


class CloudMethod(PublishedMethod):
    """A method that labels clouds. From a mesh it gets points on the surface, and vertices and faces take the labels of
    the points nearest to them and to their centroids."""

    @abstractmethod
    def label_cloud(
        self, cloud: Shape, parts: list[str], category: str | None, truth: NDArray[np.int32] | None, clock: Stopwatch
    ) -> Labels:
        """Labels (N,), -1 for none, and scores (N, K) of a cloud of N finite points."""

    def _segment(
        self, shape: Shape, parts: list[str], category: str | None, truth: NDArray[np.int32] | None, clock: Stopwatch
    ) -> Segmentation:
        if shape.faces is None:
            missing = shape.missing()
            keep = slice(None) if missing is None else ~missing
            colors = None if shape.colors is None else shape.colors[keep]
            cloud = replace(shape, points=np.ascontiguousarray(shape.points[keep]), colors=colors)
            labels, scores = self.label_cloud(cloud, parts, category, None if truth is None else truth[keep], clock)
            if missing is not None:
                labels, scores = scatter_rows(labels, ~missing, -1), scatter_rows(scores, ~missing, 0)
            return Segmentation(shape, parts, labels, scores)
        with clock("points"):
            points, face = shape.sample(SURFACE, 0)
        cloud = Shape(points, up=shape.up, name=shape.name)
        labels, scores = self.label_cloud(cloud, parts, category, None if truth is None else truth[face], clock)
        with clock("label"):
            centroids = shape.points[shape.faces].mean(axis=1, dtype=np.float64).astype(np.float32)
            at_vertex, at_face = (knn(x, points, 1)[0][:, 0] for x in (shape.points, centroids))
        return Segmentation(shape, parts, labels[at_vertex], scores[at_vertex], labels[at_face], scores[at_face])


def upright(points: NDArray[np.float32], up: str) -> NDArray[np.float32]:  # (N, 3)
    """Points turned so that y points up."""
    return points if up == "y" else to_y_up(points, up)


def unit_sphere(points: NDArray[np.float32], up: str = "y") -> NDArray[np.float32]:  # (N, 3)
    """Upright points with mean 0 and largest norm 1. Equal points move to 0."""
    points = upright(points, up)
    if (points == points[:1]).all():
        return np.zeros_like(points)
    return apply_normalization(points, *normalization(points))


def draw(n: int, count: int | None, seed: int) -> NDArray[np.int64]:
    """`count` of n indices without replacement, ascending; all of them if there are no more, or count is None."""
    if count is None or count >= n:
        return np.arange(n)
    return np.sort(np.random.default_rng(seed).choice(n, count, replace=False))


def draw_discs(
    points: NDArray[np.float32],  # (N, 3)
    cameras: Cameras,
    radius: float,
    size: int,
) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """Which point each pixel shows (V, size, size), -1 for none, and its depth, infinity for none.

    Discs are equally large in the picture at any distance: radius 1 is half a side of it.
    """
    assert cameras.fov is not None
    half = np.tan(np.radians(cameras.fov) / 2)
    ids, depth = [], []
    for view in range(len(cameras)):
        camera = cameras[view]
        distance = points.astype(np.float64) @ camera.view[0, 2, :3] + camera.view[0, 2, 3]
        radii = (radius * half * np.maximum(distance, 0)).astype(np.float32)
        raster = rasterize_points(points, radii, camera, size)
        ids.append(raster.point_id[0])
        depth.append(raster.depth[0])
    return np.stack(ids), np.stack(depth)


def pca_normals(
    points: NDArray[np.float32],  # (N, 3)
    radius: float,
    neighbors: int,
    at: NDArray[np.int64] | None = None,  # (n,)
) -> NDArray[np.float64]:  # (N, 3), or (n, 3)
    """Unit normals of the planes through each point and its neighbours, at most so many and not farther than radius,
    but at least the 8 nearest. at: indices of the points whose normals are wanted; None for all.

    They point away from the mean of all points. With fewer than three points they are (0, 0, 1).
    """
    queries = points if at is None else np.ascontiguousarray(points[at])
    normals = np.empty((len(queries), 3))
    for rows in np.array_split(np.arange(len(queries)), max(1, len(queries) // 4096)):  # this bounds the memory
        near, sq_dist = knn(np.ascontiguousarray(queries[rows]), points, min(neighbors, len(points)))
        inside = sq_dist <= radius * radius
        inside[:, :8] = True
        offsets = (points[near] - queries[rows][:, None]).astype(np.float64) * inside[..., None]
        offsets -= (offsets.sum(axis=1) / inside.sum(axis=1)[:, None])[:, None]
        offsets *= inside[..., None]
        normals[rows] = np.linalg.eigh(np.einsum("nki,nkj->nij", offsets, offsets))[1][:, :, 0]
    if len(points) < 3:
        normals[:] = (0, 0, 1)
    outward = ((queries - points.mean(axis=0, dtype=np.float64)) * normals).sum(axis=1)
    return normals * np.where(outward < 0, -1.0, 1.0)[:, None]


def votes(labels: NDArray[np.integer], points: NDArray[np.float32], k: int, parts: int) -> NDArray[np.float32]:
    """The share of each part (N, K) among the k nearest points of each point, itself among them.

    Points with label -1 have no vote. The mode is the argmax: the lowest part wins among equals.
    """
    near = labels[knn(points, points, min(k, len(points)))[0]]
    counts = np.stack([(near == part).sum(axis=1) for part in range(parts)], axis=1)
    return (counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)).astype(np.float32)


def part_prompts(parts: Sequence[str], category: str | None, alone: str, with_category: str) -> list[str]:
    """One prompt for each part, from a template with {part}, or one with {part} and {category} if that is known."""
    if category is None:
        return [alone.format(part=part) for part in parts]
    return [with_category.format(part=part, category=category) for part in parts]


@contextmanager
def one_torch_thread() -> Iterator[None]:
    """The sums of a convolution depend on the number of threads; within the block there is one."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.inference_mode():
            yield
    finally:
        torch.set_num_threads(before)


def require(module: str, what: str) -> Any:
    """Import a module of the extra `methods`. Raises InputError when it is not installed."""
    import importlib

    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise InputError(f"{what} needs {module.split('.')[0]}; pip install 'pa3d[methods]' ({error})") from error


def load_pretrained(what: str, folder: Path, *classes: Any) -> list[Any]:
    """What these classes of transformers read from a folder. Raises InputError when one cannot."""
    try:
        return [kind.from_pretrained(folder, local_files_only=True) for kind in classes]
    except Exception as error:  # many readers, each with errors of its own
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise InputError(f"{what} {folder}: cannot be loaded ({reason})") from error
