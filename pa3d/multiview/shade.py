"""Renders meshes and clouds in plain numpy: what `rasterize` finds is coloured, lit and averaged down to pixels.

Colours multiply: texture x face colour x vertex colour, as in glTF. A mesh without any is grey. The lights are a key
light over the viewer's left shoulder, a headlight, a sky light that is brighter from above, and ambient light. Surfaces
are two-sided: faces that point inwards are lit like the others.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from pa3d.cameras import Cameras, image_size
from pa3d.ops.knn import knn
from pa3d.ops.rasterize import rasterize, rasterize_points

Style = Literal["lit", "unlit", "depth", "normals"]
Floats = NDArray[np.floating]
Colors = NDArray[np.uint8]

GREY = 0.74
_KEY, _HEAD, _SKY, _AMBIENT = 0.46, 0.24, 0.20, 0.26
_KEY_DIRECTION = np.array([-0.45, -0.65, -0.62])  # camera frame: to the left, upwards, towards the viewer
_CREASE = np.cos(np.radians(40.0))


@dataclass(frozen=True)
class Texture:
    """Base-colour images of a mesh.

    corner_uv: (F, 3, 2) float32, u to the right and v upwards; (0, 0) is the lower left corner of the image.
        Coordinates outside 0..1 repeat the image. In glTF files v points downwards: pass 1 - v.
    images: (h, w, 3) or (h, w, 4) uint8 each, the top row first. Alpha is not used.
    face_image: (F,) integers, the image of each face, -1 for none.
    """

    corner_uv: NDArray[np.float32]
    images: list[NDArray[np.uint8]]
    face_image: NDArray[np.integer]


def render(
    vertices: NDArray[np.float32],  # (N, 3)
    faces: NDArray[np.int32],  # (F, 3)
    cameras: Cameras,
    size: int | tuple[int, int],
    *,
    face_colors: Colors | None = None,  # (F, 3)
    vertex_colors: Colors | None = None,  # (N, 3)
    texture: Texture | None = None,
    smooth: bool = True,
    style: Style = "lit",
    background: str | tuple[int, int, int] = "white",
    supersample: int = 2,
) -> Colors:  # (V, H, W, 3)
    """Images of a mesh, one per camera.

    smooth: average normals around vertices, except across edges sharper than 40 degrees. False shades every face flat.
    style: "lit"; "unlit", the base colours; "depth", from white for the nearest point of a view to dark for the
        farthest; "normals" in world coordinates, oriented towards the viewer, (n + 1) / 2 as RGB.
    background: "white", "black" or an RGB triple of 0..255.
    supersample: each pixel is the mean of supersample^2 samples.
    Raises TypeError or ValueError for colours or textures of the wrong shape or type, and as `rasterize` does.
    """
    height, width = image_size(size)
    _check_colors("face_colors", face_colors, len(faces))
    _check_colors("vertex_colors", vertex_colors, len(vertices))
    _check_supersample(supersample)
    background_rgb = _background(background)
    vertices, faces = np.ascontiguousarray(vertices), np.ascontiguousarray(faces)
    flat = corner_normals(vertices, faces, smooth=False)
    normals = corner_normals(vertices, faces) if smooth else flat
    out = np.empty((len(cameras), height, width, 3), np.uint8)
    for v in range(len(cameras)):
        view = cameras[v : v + 1]
        raster = rasterize(vertices, faces, view, (height * supersample, width * supersample))
        visible = raster.face_id[0] >= 0
        face, weights = raster.face_id[0][visible], raster.barycentric[0][visible]  # type: ignore[index]
        normal = _unit(interpolate_corners(normals, face, weights))
        if style in ("lit", "unlit"):
            albedo = base_color(faces, face, weights, face_colors, vertex_colors, texture)
        else:
            albedo = np.empty((len(face), 3))
        out[v] = _shade_view(
            view, visible, raster.depth[0], normal, flat[face, 0], albedo, style, background_rgb, supersample
        )
    return out


def render_points(
    points: NDArray[np.float32],  # (N, 3)
    cameras: Cameras,
    size: int | tuple[int, int],
    *,
    point_colors: Colors | None = None,  # (N, 3)
    normals: NDArray[np.floating] | None = None,  # (N, 3)
    radius: float | None = None,
    style: Style = "lit",
    background: str | tuple[int, int, int] = "white",
    supersample: int = 2,
) -> Colors:  # (V, H, W, 3)
    """Images of a cloud, with points as discs.

    radius: in the cloud's units. Default: the median distance to the sixth neighbour, which leaves no gaps in the
        surface of an evenly sampled cloud.
    normals: default: of the plane through the 16 nearest points.
    The other arguments are those of `render`.
    """
    height, width = image_size(size)
    _check_colors("point_colors", point_colors, len(points))
    _check_supersample(supersample)
    background_rgb = _background(background)
    points = np.ascontiguousarray(points)
    if radius is None:
        radius = disc_radius(points)
    estimated = normals is None
    if normals is None:
        normals = point_normals(points)
        neighbor_idx, _ = knn(points, points, min(24, len(points)))
    out = np.empty((len(cameras), height, width, 3), np.uint8)
    for v in range(len(cameras)):
        view = cameras[v : v + 1]
        raster = rasterize_points(points, radius, view, (height * supersample, width * supersample))
        visible = raster.point_id[0] >= 0
        point = raster.point_id[0][visible]
        albedo = np.full((len(point), 3), GREY) if point_colors is None else point_colors[point] / 255.0
        normal = normals[point]
        if estimated:
            # Normals of single planes are noisy at thin sheets and edges. Orient them towards the viewer and average.
            to_viewer = view.centers - points if view.perspective else -view.view[:, 2, :3]
            oriented = normals * np.where(np.sum(normals * to_viewer, axis=1) < 0, -1.0, 1.0)[:, None]
            normal = _unit(oriented[neighbor_idx].mean(axis=1))[point]
        out[v] = _shade_view(view, visible, raster.depth[0], normal, normal, albedo, style, background_rgb, supersample)
    return out


def interpolate_corners(
    values: Floats,  # (F, 3, C), one value per corner of each face
    face: NDArray[np.integer],  # (P,)
    weights: Floats,  # (P, 3)
) -> Floats:  # (P, C)
    """Corner values interpolated at the pixels by barycentric weights."""
    return np.einsum("pkc,pk->pc", values[face], weights)


def base_color(
    faces: NDArray[np.int32],  # (F, 3)
    face: NDArray[np.integer],  # (P,) the face of each pixel
    weights: Floats,  # (P, 3)
    face_colors: Colors | None = None,
    vertex_colors: Colors | None = None,
    texture: Texture | None = None,
) -> Floats:  # (P, 3) in 0..1
    """Colour before lighting."""
    color = np.ones((len(face), 3))
    if face_colors is not None:
        color *= face_colors[face] / 255.0
    if vertex_colors is not None:
        color *= np.einsum("pkc,pk->pc", vertex_colors[faces[face]] / 255.0, weights)
    untextured = np.full(len(face), face_colors is None and vertex_colors is None)
    if texture is not None:
        _check_texture(texture, len(faces))
        uv = interpolate_corners(texture.corner_uv, face, weights)
        image_index = texture.face_image[face]
        for i, image in enumerate(texture.images):
            mask = image_index == i
            color[mask] *= sample_texture(image, uv[mask])
        untextured &= image_index < 0
    color[untextured] = GREY
    return color


def sample_texture(image: NDArray[np.uint8], uv: Floats) -> Floats:  # (h, w, 3 or 4), (P, 2) -> (P, 3) in 0..1
    """Bilinear samples of a repeating image. Texel centres lie at (i + 0.5) / size; v points upwards."""
    h, w = image.shape[:2]
    x, y = uv[:, 0] * w - 0.5, (1.0 - uv[:, 1]) * h - 0.5
    x0, y0 = np.floor(x), np.floor(y)
    fx, fy = (x - x0)[:, None], (y - y0)[:, None]
    columns = np.mod(np.stack([x0, x0 + 1]), w).astype(np.int64)
    rows = np.mod(np.stack([y0, y0 + 1]), h).astype(np.int64)
    rgb = image[..., :3]
    upper = rgb[rows[0], columns[0]] * (1 - fx) + rgb[rows[0], columns[1]] * fx
    lower = rgb[rows[1], columns[0]] * (1 - fx) + rgb[rows[1], columns[1]] * fx
    return (upper * (1 - fy) + lower * fy) / 255.0


def corner_normals(
    vertices: NDArray[np.float32], faces: NDArray[np.int32], *, smooth: bool = True
) -> NDArray[np.float64]:  # (F, 3, 3)
    """Unit normals at the corners of each face; zeros for a face without area.

    smooth: the mean over the faces around a vertex, weighted by area. Vertices at the same position count as one. A
    corner keeps the normal of its face where the mean differs by more than 40 degrees.
    """
    a, b, c = (vertices[faces[:, i]].astype(np.float64) for i in range(3))
    with np.errstate(invalid="ignore"):
        area = np.nan_to_num(np.cross(b - a, c - a), nan=0.0, posinf=0.0, neginf=0.0)
    flat = np.repeat(_unit(area)[:, None], 3, axis=1)
    if not smooth or len(faces) == 0:
        return flat
    _, place = np.unique(vertices, axis=0, return_inverse=True)
    corner = place.reshape(-1)[faces]  # (F, 3)
    total = np.stack(
        [np.bincount(corner.reshape(-1), np.repeat(area[:, i], 3), place.max() + 1) for i in range(3)], axis=1
    )
    mean = _unit(total)[corner]
    close = np.einsum("fkc,fkc->fk", mean, flat) > _CREASE
    return np.where(close[..., None], mean, flat)


def point_normals(points: NDArray[np.float32], neighbors: int = 16) -> NDArray[np.float64]:  # (N, 3)
    """Unit normals of the planes through each point's nearest neighbours; the sign is arbitrary."""
    near, _ = knn(points, points, min(neighbors, len(points)))
    offsets = points[near].astype(np.float64)
    offsets -= offsets.mean(axis=1, keepdims=True)
    _, vectors = np.linalg.eigh(np.einsum("nki,nkj->nij", offsets, offsets))
    return vectors[:, :, 0]


def disc_radius(points: NDArray[np.float32]) -> float:
    """The median distance to the sixth neighbour (of at most 4096 points); 0.01 for a cloud of one point."""
    if len(points) < 2:
        return 0.01
    some = np.ascontiguousarray(points[:: max(1, len(points) // 4096)])
    _, distance = knn(some, points, min(7, len(points)))
    return float(np.sqrt(np.median(distance[:, -1])))


def downsample(image: Floats, factor: int) -> Floats:  # (H * factor, W * factor, C) -> (H, W, C)
    """Means over factor x factor squares."""
    h, w, c = image.shape
    return image.reshape(h // factor, factor, w // factor, factor, c).mean(axis=(1, 3))


def contact_sheet(
    views: Colors,  # (V, H, W, 3)
    columns: int | None = None,
    background: str | tuple[int, int, int] = "white",
) -> Colors:  # (rows * H, columns * W, 3)
    """The views as a grid, row by row. columns: default: about as many as rows."""
    n, h, w, _ = views.shape
    columns = columns or int(np.ceil(np.sqrt(n)))
    rows = -(-n // columns)
    sheet = np.empty((rows * columns, h, w, 3), np.uint8)
    sheet[:] = np.rint(_background(background) * 255)
    sheet[:n] = views
    return sheet.reshape(rows, columns, h, w, 3).swapaxes(1, 2).reshape(rows * h, columns * w, 3)


def _shade_view(
    camera: Cameras,
    visible: NDArray[np.bool_],  # (H, W)
    depth: NDArray[np.float32],  # (H, W)
    normal: Floats,  # (P, 3) world, for light
    geometry: Floats,  # (P, 3) world, decides which side is visible
    albedo: Floats,  # (P, 3)
    style: Style,
    background_rgb: NDArray[np.float64],  # (3,)
    supersample: int,
) -> Colors:
    image = np.empty((*visible.shape, 3))
    image[:] = background_rgb
    if style == "unlit":
        image[visible] = albedo
    elif style == "depth":
        z = depth[visible].astype(np.float64)
        span = max(float(np.ptp(z)), 1e-12) if len(z) else 1.0
        image[visible] = (1.0 - 0.85 * (z - z.min(initial=np.inf)) / span)[:, None]
    elif style in ("lit", "normals"):
        to_viewer = _to_viewer(camera, visible)
        oriented = normal * np.where(np.einsum("pc,pc->p", geometry, to_viewer) < 0, -1.0, 1.0)[:, None]
        image[visible] = (
            (oriented + 1) / 2 if style == "normals" else albedo * _light(camera, oriented, to_viewer)[:, None]
        )
    else:
        raise ValueError(f"style: expected lit, unlit, depth or normals, got {style!r}")
    return np.rint(np.clip(downsample(image, supersample), 0, 1) * 255).astype(np.uint8)


def _to_viewer(camera: Cameras, visible: NDArray[np.bool_]) -> Floats:  # (P, 3) world
    rotation = camera.view[0, :3, :3]
    if not camera.perspective:
        return np.broadcast_to(-rotation[2], (int(visible.sum()), 3))
    rows, columns = np.nonzero(visible)
    scale = camera.scale(visible.shape)
    x, y = (columns + 0.5 - visible.shape[1] / 2) / scale, (rows + 0.5 - visible.shape[0] / 2) / scale
    return _unit(-(np.stack([x, y, np.ones_like(x)], axis=1) @ rotation))


def _light(camera: Cameras, normal: Floats, to_viewer: Floats) -> Floats:  # (P,)
    key = _KEY_DIRECTION / np.linalg.norm(_KEY_DIRECTION) @ camera.view[0, :3, :3]
    # Wrapping the key light around by a third avoids a hard edge between light and shadow.
    wrapped = np.maximum((normal @ key + 0.33) / 1.33, 0)
    head = np.maximum(np.einsum("pc,pc->p", normal, to_viewer), 0)
    return _AMBIENT + _KEY * wrapped + _HEAD * head + _SKY * (0.5 + 0.5 * normal[:, 1])


def _unit(v: NDArray[Any]) -> NDArray[np.float64]:
    length = np.linalg.norm(v, axis=-1, keepdims=True)
    return v / np.where(length > 0, length, 1.0)


def _background(color: str | tuple[int, int, int]) -> NDArray[np.float64]:
    named = {"white": (255, 255, 255), "black": (0, 0, 0)}
    rgb = named.get(color) if isinstance(color, str) else color
    if rgb is None or len(rgb) != 3:
        raise ValueError(f"background: expected white, black or (red, green, blue), got {color!r}")
    return np.array(rgb) / 255.0


def _check_colors(name: str, colors: Colors | None, n: int) -> None:
    if colors is None:
        return
    if not isinstance(colors, np.ndarray) or colors.dtype != np.uint8:
        raise TypeError(f"{name}: expected a uint8 array, got {getattr(colors, 'dtype', type(colors).__name__)}")
    if colors.shape != (n, 3):
        raise ValueError(f"{name}: expected shape ({n}, 3), got {colors.shape}")


def _check_supersample(supersample: int) -> None:
    if not isinstance(supersample, int | np.integer) or supersample < 1:
        raise ValueError(f"supersample: expected an integer of at least 1, got {supersample!r}")


def _check_texture(texture: Texture, n_faces: int) -> None:
    if texture.corner_uv.shape != (n_faces, 3, 2):
        raise ValueError(f"texture.corner_uv: expected shape ({n_faces}, 3, 2), got {texture.corner_uv.shape}")
    if texture.face_image.shape != (n_faces,):
        raise ValueError(f"texture.face_image: expected shape ({n_faces},), got {texture.face_image.shape}")
    for i, image in enumerate(texture.images):
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] not in (3, 4):
            raise ValueError(f"texture.images[{i}]: expected (h, w, 3 or 4) uint8, got {image.shape} {image.dtype}")
