"""From a shape to the targets of stage 1: points, views, tokens, point features, patch targets.

Points: sampled from the surface by area (`pa3d.sampling.sample_surface`), with a seed from the shape's id, and
normalised to the unit sphere. This bounds their number and is what the encoder sees at inference. The published code
takes one point per face instead, which depends on how the modeller cut the surface into triangles.
Views: rendered triangles of a mesh, discs of a cloud.
Pixels to points: a pixel shows the point nearest to the place on the surface that it sees. Of a mesh, every second
pixel of every second row is used: about six per point and view, and eight times as dense as the tokens. Of a cloud,
every pixel is used.
Targets: patch centres by farthest point sampling; the feature of a patch is the mean of the unit features of the
points nearest to its centre, scaled to unit length.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pa3d.cameras import PRESETS, Cameras
from pa3d.data.parts import PartCloud, PartMesh
from pa3d.errors import InputError
from pa3d.frames import apply_normalization, normalization
from pa3d.multiview.backbones import Backbone
from pa3d.multiview.features import point_features
from pa3d.multiview.shade import Texture, disc_radius, render, render_points
from pa3d.ops import farthest_point_sample, knn
from pa3d.ops.rasterize import rasterize, rasterize_points
from pa3d.profiling import Stopwatch

RULES = ("pa3d", "released")
MAX_FACES = 400_000
_MAX_DISCS = 65_536
_PIXEL_STRIDE = 2


@dataclass(frozen=True)
class ViewOptions:
    """How a shape is sampled and rendered, and its targets are computed.

    views: a preset of `Cameras`, or the number of views: evenly spaced azimuths, elevations 30 and -20 in turn, as in
        around10.
    size: pixels per side of a view. points: sampled from the surface. seed: of the sampling.
    patches, patch_size: number of patches, and points per patch.
    rules: how points get features. "pa3d": the mean of their pixels, and, where no view shows them, of the nearest
        points that one shows. "released", as in PatchAlign3D's code: the last of their pixels, and of the shown ones
        among the nearest of all points, else 0; and the patch centres start at a random point.
    Raises InputError for a value that cannot be used.
    """

    views: str = "10"
    size: int = 518
    points: int = 8192
    patches: int = 128
    patch_size: int = 32
    seed: int = 0
    rules: str = "pa3d"

    def __post_init__(self) -> None:
        if self.rules not in RULES:
            raise InputError(f"rules {self.rules!r}: expected {' or '.join(RULES)}")
        if self.views not in PRESETS and not (self.views.isdecimal() and 1 <= int(self.views) <= 1000):
            raise InputError(f"views {self.views!r}: expected a number from 1 to 1000 or one of {', '.join(PRESETS)}")
        if not 32 <= self.size <= 4096:
            raise InputError(f"size {self.size}: expected 32 to 4096 pixels")
        if not 1 <= self.patch_size <= self.points or not 1 <= self.patches <= self.points:
            raise InputError(
                f"{self.patches} patches of {self.patch_size} points: expected at least 1, and not more than "
                f"the {self.points} points"
            )
        if self.points > 1_000_000 or self.seed < 0:
            raise InputError(f"points {self.points}, seed {self.seed}: expected at most 1000000, and 0 or more")

    def cameras(self) -> Cameras:
        if self.views in PRESETS:
            return Cameras.preset(self.views)
        count = int(self.views)
        elevation = np.resize([30.0, -20.0], count)
        return Cameras.orbit(
            -180.0 + 360.0 / count * np.arange(count), elevation, distance=3.0, fov=None, half_extent=1.0
        )


@dataclass
class RenderInput:
    """A shape to render, and its appearance: grey without colours and texture.

    colors: of a mesh's vertices or a cloud's points, (N, 3) uint8; face_colors: (F, 3) uint8.
    """

    shape: PartMesh | PartCloud
    colors: NDArray[np.uint8] | None = None
    face_colors: NDArray[np.uint8] | None = None
    texture: Texture | None = None


@dataclass
class RenderedViews:
    """What the views of a shape show.

    images: (V, H, W, 3) uint8; point_of_pixel: (V, H, W) int32 index of the record's points, -1 for none;
    face_of_pixel: (V, H, W) int32, and point_face: (P,) int32, the face of each point; None for clouds.
    """

    images: NDArray[np.uint8]
    point_of_pixel: NDArray[np.int32]
    face_of_pixel: NDArray[np.int32] | None = None
    point_face: NDArray[np.int32] | None = None


def prepare_shape(
    render_input: RenderInput, backbone: Backbone, options: ViewOptions, clock: Stopwatch | None = None
) -> tuple[PartCloud, RenderedViews]:
    """The record of a shape, in the unit sphere, y up, with patch targets; and its views.

    clock: gets the seconds per stage.
    Raises InputError when the shape has no surface or too many faces, or no view shows any of it.
    """
    clock = clock or Stopwatch()
    with clock("points"):
        record, face, vertices = sample_points(render_input.shape, options)
    if isinstance(render_input.shape, PartMesh):
        views = _mesh_views(render_input, record, vertices, face, options, clock)
    else:
        views = _cloud_views(render_input, record, vertices, options, clock)
    with clock("backbone"):
        tokens = extract_tokens(views.images, backbone)
    add_targets(record, tokens, views.point_of_pixel, options, clock)
    record.provenance |= {"backbone": backbone.name, "views": options.views, "size": options.size}
    return record, views


def extract_tokens(
    images: NDArray[np.uint8], backbone: Backbone
) -> NDArray[np.float32]:  # (V, H, W, 3) -> (V, gh, gw, C)
    """The backbone's tokens of all views. One view at a time: this bounds the memory."""
    return np.concatenate([backbone(images[v : v + 1]) for v in range(len(images))])


def sample_points(
    shape: PartMesh | PartCloud, options: ViewOptions
) -> tuple[PartCloud, NDArray[np.int32], NDArray[np.float32]]:
    """A record of sampled points in the unit sphere; the face of each; and all vertices or points, normalised alike.

    A cloud with fewer points than asked for keeps them all. points * radius + center, both in the record's provenance,
    gives the coordinates of the source.
    """
    rng = np.random.default_rng([options.seed, zlib.crc32(shape.id.encode())])
    if isinstance(shape, PartMesh):
        if len(shape.faces) > MAX_FACES:
            raise InputError(f"{shape.id}: {len(shape.faces)} faces; expected at most {MAX_FACES}, simplify it first")
        if not np.isfinite(shape.vertices).all():
            raise InputError(f"{shape.id}: NaN or infinite coordinates; remove them first")
        record, face = shape.sample_with_faces(options.points, rng)
        vertices = shape.vertices
    else:
        vertices, face = shape.points, np.full(len(shape.points), -1, np.int32)
        chosen = np.arange(len(vertices))
        if len(chosen) > options.points:
            chosen = np.sort(rng.choice(len(vertices), options.points, replace=False))
        record = PartCloud(
            vertices[chosen], shape.names, shape.masks[:, chosen], shape.category, shape.source, shape.license, shape.id
        )
        face = face[chosen]
    center, radius = normalization(record.points)
    record.points = apply_normalization(record.points, center, radius)
    record.provenance = {**getattr(shape, "provenance", {}), "center": [float(c) for c in center], "radius": radius}
    return record, face, apply_normalization(np.ascontiguousarray(vertices), center, radius)


def add_targets(
    record: PartCloud,
    tokens: NDArray[np.float32],  # (V, gh, gw, C)
    point_of_pixel: NDArray[np.int32],  # (V, H, W)
    options: ViewOptions,
    clock: Stopwatch | None = None,
) -> None:
    """Set the record's patch centres and features. Raises InputError when no view shows any of its points."""
    clock = clock or Stopwatch()
    with clock("features"):
        released = options.rules == "released"
        features, seen = point_features(
            tokens,
            point_of_pixel,
            record.points,
            pixels="last" if released else "mean",
            fill="all" if released else "seen",
        )
    if not seen.any():
        raise InputError(f"{record.id}: no view shows any of it; check its scale and its faces")
    with clock("targets"):
        unit = _unit(features)
        patches, size = min(options.patches, len(unit)), min(options.patch_size, len(unit))
        start = 0
        if released:
            start = int(np.random.default_rng([options.seed, zlib.crc32(record.id.encode())]).integers(len(unit)))
        record.centers = record.points[farthest_point_sample(record.points[None], patches, start=start)[0]]
        members, _ = knn(record.centers, record.points, size)
        total = unit[members[:, 0]]
        for k in range(1, size):  # one member at a time: an array of G x C, not G x M x C
            total += unit[members[:, k]]
        record.patch_features = _unit(total)


def _mesh_views(
    render_input: RenderInput,
    record: PartCloud,
    vertices: NDArray[np.float32],
    face: NDArray[np.int32],
    options: ViewOptions,
    clock: Stopwatch,
) -> RenderedViews:
    mesh, cameras, size = render_input.shape, options.cameras(), options.size
    assert isinstance(mesh, PartMesh)
    faces = np.ascontiguousarray(mesh.faces, np.int32)
    with clock("render"):
        images = render(
            vertices, faces, cameras, size, vertex_colors=render_input.colors, face_colors=render_input.face_colors,
            texture=render_input.texture, supersample=1,
        )  # fmt: skip
    face_of_pixel = np.empty(images.shape[:3], np.int32)
    point_of_pixel = np.full(images.shape[:3], -1, np.int32)
    for v in range(len(cameras)):
        with clock("rasterize"):
            raster = rasterize(vertices, faces, cameras[v], size)
            face_of_pixel[v] = raster.face_id[0]
        with clock("assign"):
            assert raster.barycentric is not None
            grid = (slice(None, None, _PIXEL_STRIDE), slice(None, None, _PIXEL_STRIDE))
            hit, weights = raster.face_id[0][grid], raster.barycentric[0][grid]
            visible = hit >= 0
            positions = np.einsum("nkc,nk->nc", vertices[faces[hit[visible]]], weights[visible])
            if len(positions):
                nearest, _ = knn(np.ascontiguousarray(positions), record.points, 1)
                point_of_pixel[v][grid][visible] = nearest[:, 0]
    return RenderedViews(images, point_of_pixel, face_of_pixel, face)


def _cloud_views(
    render_input: RenderInput, record: PartCloud, points: NDArray[np.float32], options: ViewOptions, clock: Stopwatch
) -> RenderedViews:
    cameras, size = options.cameras(), options.size
    step = -(-len(points) // _MAX_DISCS)
    centers = np.ascontiguousarray(points[::step])
    colors = None if render_input.colors is None else render_input.colors[::step]
    radius = disc_radius(centers)
    with clock("render"):
        images = render_points(centers, cameras, size, point_colors=colors, radius=radius, supersample=1)
    with clock("rasterize"):
        disc = rasterize_points(centers, radius, cameras, size).point_id
    with clock("assign"):
        nearest, _ = knn(centers, record.points, 1)
        point_of_pixel = np.where(disc >= 0, nearest[:, 0].astype(np.int32)[disc], np.int32(-1))
    return RenderedViews(images, point_of_pixel)


def _unit(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    return rows / np.maximum(length, 1e-12)
