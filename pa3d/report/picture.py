"""parts.png: four views of a shape in the colours of its parts, and a legend with the share of each part.

The project's own rasterizer draws the views at twice their size. They are lit from the upper left and darkened in
crevices (depth minus blurred depth: Luft et al., "Image enhancement by unsharp masking the depth buffer", 2006), and
then averaged down.
"""

from __future__ import annotations

import io
from bisect import bisect_right
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pa3d.colors import UNLABELED_COLOR, part_colors, to_rgb
from pa3d.report.files import to_y_up
from pa3d.report.table import PartRow, part_rows, share_text, size_text
from pa3d.shape import compacted
from pa3d.threads import thread_count

if TYPE_CHECKING:
    from PIL.Image import Image

    from pa3d.cameras import Cameras
    from pa3d.segment import Segmentation

# Azimuth and elevation in degrees. From azimuth 0 one sees the front of a glTF model.
VIEWS = ((35.0, 20.0), (215.0, 20.0), (90.0, 5.0), (-35.0, 60.0))
FOV = 24.0  # degrees
TILES = ((470, 560), (940, 280))  # height and width in pixels: two by two, or four in a row for tall shapes
SUPERSAMPLING = 2
FILL = 0.9  # how much of its tile the largest view fills
MAX_POINTS = 60_000  # points of a cloud that are drawn
MAX_POINT_RADIUS = 0.06  # for a shape of radius 1

# Directions to the lights in camera axes (x right, y down, z forward), and their brightness.
KEY, KEY_LIGHT = np.array([-0.45, -0.65, -0.75]), 0.42
RIM, RIM_LIGHT = np.array([0.85, -0.10, -0.45]), 0.12
AMBIENT, SKY_LIGHT, SPECULAR = 0.60, 0.07, 0.08

LONGEST_TEXT = 1000  # characters; more than fit in any picture
LEGEND_WIDTH, MARGIN, TITLE_HEIGHT = 440, 28, 84
TEXT, MUTED, LINE, BAR_BACKGROUND = "#1F2328", "#6B7280", "#E5E7EB", "#EEF0F3"


@dataclass
class Drawable:
    """A shape in the unit sphere, y up, with normals and colours of its faces or points."""

    points: NDArray[np.float32]  # (N, 3)
    faces: NDArray[np.int32] | None  # (F, 3)
    normals: NDArray[np.float32]  # (F, 3, 3) at the corners of faces, or (N, 3)
    labels: NDArray[np.int32]  # (F,) or (N,), 0 is none
    colors: NDArray[np.float32]  # (K + 1, 3) in 0..1, by label
    radius: float = 0.0  # of a point


def parts_png(result: Segmentation) -> bytes:
    """The picture as PNG."""
    tiles = draw_views(_drawable(result))
    image = _compose(result, part_rows(result), tiles)
    out = io.BytesIO()
    image.save(out, "PNG", compress_level=3)
    return out.getvalue()


def draw_views(shape: Drawable) -> list[NDArray[np.uint8]]:  # (H, W, 3) each
    cameras, tile = _frame(shape.points)
    # numpy releases the interpreter lock in the long loops over pixels, so the views are drawn in parallel threads.
    with ThreadPoolExecutor(min(len(cameras), thread_count())) as pool:
        return list(pool.map(lambda i: _draw(shape, cameras[i], tile), range(len(cameras))))


def _drawable(result: Segmentation) -> Drawable:
    shape, points, faces = result.shape, result.shape.points, result.shape.faces
    if faces is not None:
        kept, faces = compacted(points, faces)  # or vertices that no face uses would make the picture smaller
        points = points[kept]
    points = to_y_up(points, shape.up).astype(np.float64)
    low, high = points.min(axis=0), points.max(axis=0)
    points = ((points - (low + high) / 2) / (np.linalg.norm(high - low) / 2)).astype(np.float32)
    colors = (to_rgb([UNLABELED_COLOR, *part_colors(len(result.part_names))]) / 255).astype(np.float32)
    if faces is not None and result.face_labels is not None:
        faces = np.ascontiguousarray(faces, np.int32)
        return Drawable(points, faces, corner_normals(points, faces), result.face_labels + 1, colors)
    labels = result.labels + 1
    if len(points) > MAX_POINTS:
        kept = np.sort(np.random.default_rng(0).choice(len(points), MAX_POINTS, replace=False))
        points, labels = points[kept], labels[kept]
    normals, spacing = point_normals(points)
    return Drawable(points, None, normals, labels, colors, radius=min(spacing, MAX_POINT_RADIUS))


def corner_normals(
    points: NDArray[np.float32],  # (N, 3)
    faces: NDArray[np.int32],  # (F, 3)
    crease: float = 40.0,  # degrees
) -> NDArray[np.float32]:  # (F, 3, 3)
    """Unit normals at the corners of faces: smooth across shared positions, flat at edges sharper than crease."""
    a, b, c = (points[faces[:, i]] for i in range(3))
    flat = np.cross(b - a, c - a)
    # Equal positions get equal keys. If by chance two different positions do too, one edge is drawn smooth.
    bits = np.ascontiguousarray(points + np.float32(0)).view(np.int32).astype(np.int64)
    keys = bits @ np.array([73_856_093, 19_349_663, 83_492_791])
    _, vertex = np.unique(keys, return_inverse=True)
    corners = vertex[faces].ravel()
    total = np.stack([np.bincount(corners, np.repeat(flat[:, i], 3), len(points)) for i in range(3)], axis=1)
    weight = np.bincount(corners, np.repeat(np.linalg.norm(flat, axis=1), 3), len(points))
    # Where faces of opposite winding meet, their normals cancel: the sum is short and has no meaning.
    consistent_normals = np.linalg.norm(total, axis=1) > 0.8 * weight
    flat, smooth = _unit(flat), _unit(total.astype(np.float32))
    at_corners = smooth[corners].reshape(-1, 3, 3)
    agrees = np.einsum("fij,fj->fi", at_corners, flat) > np.cos(np.radians(crease))
    agrees &= consistent_normals[corners].reshape(-1, 3)
    return np.where(agrees[:, :, None], at_corners, flat[:, None]).astype(np.float32, copy=False)


def point_normals(points: NDArray[np.float32], k: int = 10) -> tuple[NDArray[np.float32], float]:  # (N, 3)
    """Unit normals, of either sign, of planes fitted to the k nearest of each point; median distance to the seventh.

    Discs of that radius leave almost no holes in a surface of random points.
    """
    from pa3d.ops import knn

    k = min(k, len(points))
    indices, squared = knn(points, points, k)
    near = points[indices]
    near = near - near.mean(axis=1, keepdims=True)
    covariance = np.einsum("nki,nkj->nij", near, near)
    _, vectors = np.linalg.eigh(covariance)
    return np.ascontiguousarray(vectors[:, :, 0]), float(np.sqrt(np.median(squared[:, min(7, k - 1)])))


def _unit(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    length = np.sqrt(np.einsum("...i,...i->...", vectors, vectors))[..., None]
    return vectors / np.maximum(length, np.float32(1e-30))


def _frame(points: NDArray[np.float32]) -> tuple[Cameras, tuple[int, int]]:
    """The cameras, and the tile size (height, width), of the arrangement of TILES that shows the shape largest."""
    framed = [(*_cameras(points, tile), tile) for tile in TILES]
    _, cameras, tile = max(framed, key=lambda f: f[0])
    return cameras, tile


def _cameras(points: NDArray[np.float32], tile: tuple[int, int]) -> tuple[float, Cameras]:
    """Pixels per unit of the shape, and the cameras.

    All cameras have the same distance, as near as the largest view allows. Each is aimed at the middle of its view.
    """
    from pa3d.cameras import Cameras

    azimuth, elevation = np.radians(np.array(VIEWS)).T
    away = np.stack(
        [np.cos(elevation) * np.sin(azimuth), np.sin(elevation), np.cos(elevation) * np.cos(azimuth)], axis=1
    )
    targets, distance = np.zeros_like(away), 1.1 / np.sin(np.radians(FOV / 2))
    cameras = Cameras.look_at(targets + distance * away, targets, fov=FOV)
    # The points farthest out in each view, and some of the others.
    reach = points @ cameras.view[:, :2, :3].reshape(-1, 3).T.astype(np.float32)
    sample = np.concatenate([points[:: max(1, len(points) // 2000)], points[reach.argmin(0)], points[reach.argmax(0)]])
    middle = np.array(tile[::-1]) / 2
    for _ in range(4):
        pixels, _ = cameras.project(sample, tile)
        low, high = pixels.min(axis=1), pixels.max(axis=1)  # (V, 2)
        offset = ((low + high) / 2 - middle) * distance / cameras.scale(tile)
        targets = targets + np.einsum("vi,vij->vj", offset, cameras.view[:, :2, :3])
        distance *= float(((high - low) / (2 * FILL * middle)).max())
        cameras = Cameras.look_at(targets + distance * away, targets, fov=FOV)
    return cameras.scale(tile) / distance, cameras


def _draw(shape: Drawable, camera: Cameras, tile: tuple[int, int]) -> NDArray[np.uint8]:  # (H, W, 3)
    from pa3d.ops.rasterize import rasterize, rasterize_points

    size = (tile[0] * SUPERSAMPLING, tile[1] * SUPERSAMPLING)
    light = _light(shape, camera)
    weights: NDArray[np.float32] | None = None
    if shape.faces is not None:
        raster = rasterize(shape.points, shape.faces, camera, size)
        ids, depth, weights = raster.face_id[0], raster.depth[0], np.asarray(raster.barycentric)[0]
    else:
        ids, depth = (image[0] for image in rasterize_points(shape.points, shape.radius, camera, size))
    canvas = np.full((*tile, 3), 255, np.uint8)
    window = _window(ids >= 0)
    if window is None:
        return canvas
    ids, depth = ids[window], depth[window]
    hit = np.flatnonzero(ids >= 0)
    seen = ids.ravel()[hit]
    lit = light[seen]
    if weights is not None:
        lit = np.einsum("pi,pi->p", weights[window].reshape(-1, 3)[hit], lit)

    labels = np.full(ids.shape, -1, np.int32)
    labels.ravel()[hit] = shape.labels[seen]
    lit *= _outline_factor(labels, depth).ravel()[hit]
    image = np.ones((ids.size, 3), np.float32)
    image[hit] = shape.colors[shape.labels[seen]] * lit[:, None]
    image = _halve(image.reshape(*ids.shape, 3))
    cover = _halve((ids >= 0).astype(np.float32))
    image *= (1 - cover * (1 - _ambient_occlusion(depth[::2, ::2])))[:, :, None]
    rows, columns = (slice(s.start // 2, s.stop // 2) for s in window)
    canvas[rows, columns] = np.clip(image * 255 + 0.5, 0, 255)
    return canvas


def _window(hit: NDArray[np.bool_]) -> tuple[slice, slice] | None:
    """The rows and columns that contain all hit pixels, with a margin; both ends are even."""
    if not hit.any():
        return None
    window = []
    for axis in (1, 0):
        where = np.flatnonzero(hit.any(axis=axis))
        length = hit.shape[1 - axis]
        window.append(slice(max(where[0] // 2 * 2 - 2, 0), min(where[-1] // 2 * 2 + 4, length)))
    return window[0], window[1]


def _light(shape: Drawable, camera: Cameras) -> NDArray[np.float32]:  # (F, 3) or (N,)
    """Brightness of the corners of faces, or of points. Surfaces are lit on the side that the camera sees."""
    to_eye = (camera.centers[0] - shape.points).astype(np.float32)
    if shape.faces is not None:
        behind = np.einsum("fij,fj->f", shape.normals, to_eye[shape.faces[:, 0]]) < 0
    else:
        behind = np.einsum("nj,nj->n", shape.normals, to_eye) < 0
    normals = shape.normals @ camera.view[0, :3, :3].T.astype(np.float32)
    normals[behind] *= -1
    half = KEY / np.linalg.norm(KEY) + np.array([0, 0, -1.0])  # between the light and the eye
    key, rim, specular = (
        np.clip(normals @ (towards / np.linalg.norm(towards)).astype(np.float32), 0, 1) for towards in (KEY, RIM, half)
    )
    light = AMBIENT + KEY_LIGHT * key + RIM_LIGHT * rim + SPECULAR * specular**24 - SKY_LIGHT * normals[..., 1]
    return np.asarray(light, np.float32)


def _outline_factor(labels: NDArray[np.int32], depth: NDArray[np.float32]) -> NDArray[np.float32]:  # (H, W)
    """A factor per pixel: darker along the edges of parts and of nearer pieces of surface."""
    near = np.where(labels > 0, depth, np.float32(1e3))
    line = np.zeros(labels.shape, bool)
    edge = np.zeros(labels.shape, bool)
    for a, b in (
        ((slice(None), slice(1, None)), (slice(None), slice(-1))),
        ((slice(1, None),), (slice(-1),)),
    ):
        line[a] |= labels[a] != labels[b]
        line[b] |= labels[a] != labels[b]
        step = near[a] - near[b]
        edge[a] |= step < -0.06
        edge[b] |= step > 0.06
    line &= labels > 0
    edge &= labels > 0
    return np.where(edge, np.float32(0.55), np.where(line, np.float32(0.72), np.float32(1)))


def _ambient_occlusion(depth: NDArray[np.float32], reach: int = 9) -> NDArray[np.float32]:  # (H, W)
    """A factor per pixel: 1 on open surface, down to 0.55 where the surface lies behind its surroundings."""
    valid = np.isfinite(depth)
    value = np.where(valid, depth, 0)
    mean = _blur(value, reach) / np.maximum(_blur(valid.astype(np.float32), reach), 1e-6)
    behind = np.where(valid, np.clip(value - mean, 0, 0.12), 0)
    return 1 - 0.45 / 0.12 * _blur(behind, 1)


def _blur(image: NDArray[Any], radius: int) -> NDArray[np.float32]:
    """Mean over squares with sides of 2 radius + 1 pixels; outside the image counts as zero."""
    width = 2 * radius + 1
    rows = np.cumsum(np.pad(image, ((radius + 1, radius), (radius + 1, radius))), axis=0, dtype=np.float64)
    columns = np.cumsum(rows[width:] - rows[:-width], axis=1)
    return np.asarray((columns[:, width:] - columns[:, :-width]) / width**2, np.float32)


def _halve(image: NDArray[np.float32]) -> NDArray[np.float32]:
    total = image[::2, ::2] + image[1::2, ::2] + image[::2, 1::2] + image[1::2, 1::2]
    return total / np.float32(4)


def _compose(result: Segmentation, rows: list[PartRow], tiles: list[NDArray[np.uint8]]) -> Image:
    from PIL import Image, ImageDraw

    tile_height, tile_width = tiles[0].shape[:2]
    height, width = 2 * TILES[0][0], 2 * TILES[0][1]
    canvas = Image.new("RGB", (width + LEGEND_WIDTH + 2 * MARGIN, TITLE_HEIGHT + height + MARGIN), "white")
    per_row = width // tile_width
    for i, tile in enumerate(tiles):
        at = (MARGIN + i % per_row * tile_width, TITLE_HEIGHT + i // per_row * tile_height)
        canvas.paste(Image.fromarray(tile), at)
    draw = ImageDraw.Draw(canvas)
    shape = result.shape
    facts = [size_text(shape), *([f"model {result.model}"] if result.model else [])]
    draw.text((MARGIN, 22), _shorten(draw, shape.name, width - 40, 26), TEXT, _font(26))
    draw.text((MARGIN, 56), _shorten(draw, "   ·   ".join(facts), width - 40, 15), MUTED, _font(15))
    _legend(draw, rows, shape.is_mesh, (width + MARGIN + 16, canvas.width - MARGIN), canvas.height - MARGIN)
    return canvas


def _legend(draw: Any, rows: list[PartRow], is_mesh: bool, x: tuple[int, int], bottom: int) -> None:
    """Colour, name, share and mean confidence of each part, between x[0] and x[1] in pixels."""
    left, right = x
    top = TITLE_HEIGHT + 8
    draw.text((left, 26), "Parts", TEXT, _font(22))
    heading = _font(13)
    share_right, confidence_right = right - 96, right
    for text, at in (
        ("share of surface" if is_mesh else "share of points", share_right),
        ("confidence", confidence_right),
    ):
        draw.text((at - draw.textlength(text, heading), 60), text, MUTED, heading)
    draw.line([(left, top - 4), (right, top - 4)], LINE, 1)
    shown = [row for row in rows if row.label >= 0 or row.count]
    pitch = max(26, min(52, (bottom - top - 8) // max(len(shown), 1)))
    room = (bottom - top - 8) // pitch
    if len(shown) > room:
        hidden = len(shown) - room + 1
        shown = sorted(shown, key=lambda row: -row.share)[: room - 1]
        draw.text((left, top + 8 + (room - 1) * pitch), f"and {hidden} more with smaller shares", MUTED, _font(15))
    size = min(19, pitch - 10)
    for i, row in enumerate(shown):
        y = top + 8 + i * pitch
        middle = y + size * 0.62
        draw.rounded_rectangle([left, middle - size / 2, left + size, middle + size / 2], 4, row.color)
        present = row.count > 0 and row.found is not False
        share = share_text(row)
        confidence = f"{row.mean_confidence:.2f}" if row.mean_confidence is not None and row.label >= 0 else "-"
        if row.count and row.found is False:
            confidence = "not found"
        small = _font(size - 2)
        draw.text((share_right - draw.textlength(share, small), y + 1), share, TEXT if present else MUTED, small)
        draw.text(
            (confidence_right - draw.textlength(confidence, small), y + 1),
            confidence,
            TEXT if present else MUTED,
            small,
        )
        name = _shorten(draw, row.name, share_right - left - size - 96, size)
        draw.text((left + size + 12, y), name, TEXT if present else MUTED, _font(size))
        if pitch >= 40:
            bar = y + size + 10
            draw.rounded_rectangle([left, bar, right, bar + 4], 2, BAR_BACKGROUND)
            if row.share > 0.004:
                draw.rounded_rectangle([left, bar, left + (right - left) * row.share, bar + 4], 2, row.color)


def _font(size: int) -> Any:
    from PIL import ImageFont

    return ImageFont.load_default(size)


def _shorten(draw: Any, text: str, room: float, size: int) -> str:
    """The text, or its beginning and an ellipsis if it does not fit."""
    font = _font(size)
    text = text[:LONGEST_TEXT]
    if draw.textlength(text, font) <= room:
        return text
    fits = bisect_right(range(len(text)), room, key=lambda n: draw.textlength(text[:n] + "...", font))
    return text[: max(fits - 1, 0)].rstrip() + "..."
