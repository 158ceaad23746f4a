"""Rasterization: which face, or which point of a cloud, each pixel of each view shows.

A pixel shows a face when its centre lies in the face's projection. Corners are projected in float64 and
snapped to 1/1024 pixel, where edge functions E_i are exact integers. A centre on an edge belongs to one of the two
faces by the top-left rule. So closed surfaces have no holes, and no pixel is drawn by two faces of a fan. With the
inverse depth q = 1 / depth (perspective) or -depth (orthographic), both affine on the screen, the largest

    float32((E_0 q_0 + E_1 q_1 + E_2 q_2) / area)

wins, the lowest id among equals. Faces are two-sided; they are clipped at the near plane and 32768 pixels
outwards. Ids and depths are equal to the bit on every backend and for any number of threads. Source of the
rule: Pineda, "A parallel algorithm for polygon rasterization", SIGGRAPH 1988. Not differentiable.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from pa3d.cameras import Cameras, image_size
from pa3d.ops._dispatch import choose
from pa3d.ops._library import register_op
from pa3d.ops.arrays import Array, array_namespace, from_numpy, is_cuda, is_tensor, is_traced
from pa3d.ops.backends import reference
from pa3d.ops.checks import check, check_finite, check_same_device

if TYPE_CHECKING:
    from numpy.typing import NDArray

_SUBPIXELS = 1024
_GUARD_BAND = 32768.0  # pixels


class Raster(NamedTuple):
    face_id: Array  # (V, H, W) int32, -1 where there is none
    depth: Array  # (V, H, W) float32, distance along the view direction, infinity where there is none
    barycentric: Array | None  # (V, H, W, 3) float32, perspective-correct corner weights, zero where none


class PointRaster(NamedTuple):
    point_id: Array  # (V, H, W) int32, -1 where there is none
    depth: Array  # (V, H, W) float32, infinity where there is none


def rasterize(
    vertices: Array,  # (N, 3) float32
    faces: Array,  # (F, 3) int32
    cameras: Cameras,
    size: int | tuple[int, int],  # one side, or height and width
    *,
    barycentric: bool = True,
) -> Raster:
    """Face id, depth and barycentric coordinates of every pixel of every view.

    Faces with a NaN or infinite corner, without area or behind the camera are left out; barycentric=False
    leaves the weights out, which is fastest. Arrays come back as the kind of `vertices`. Raises TypeError
    for a wrong kind or dtype, ValueError for a wrong shape, size or indices out of range.
    """
    height, width = image_size(size)
    if is_traced(vertices, faces):
        from pa3d.ops import _torch

        ids, depth, weights = _torch.ops.rasterize(vertices, faces, *_fields(cameras), height, width, barycentric)
        return Raster(ids, depth, weights if barycentric else None)
    check("vertices", vertices, "N 3")
    check("faces", faces, "F 3", "int32")
    check_same_device(vertices=vertices, faces=faces)
    if not is_cuda(faces):  # the CUDA kernel leaves such faces out; looking at them here would wait for the GPU
        _check_indices(faces, len(vertices))
    backend = choose("rasterize", vertices, faces)
    return Raster(*backend.rasterize(vertices, faces, cameras, (height, width), barycentric))


def rasterize_points(
    points: Array,  # (N, 3) float32
    radius: float | Array,  # world units, one or (N,) float32
    cameras: Cameras,
    size: int | tuple[int, int],
) -> PointRaster:
    """Point id and depth of every pixel, every point drawn as a disc that faces the camera.

    A disc covers the pixels whose centres lie in it, and always the pixel its own centre falls into. Points
    that are not finite or lie before the near plane are left out. Raises as `rasterize` does.
    """
    height, width = image_size(size)
    if is_traced(points):
        from pa3d.ops import _torch

        radii = array_namespace(points).full_like(points[:, 0], radius) if isinstance(radius, int | float) else radius
        return PointRaster(*_torch.ops.rasterize_points(points, radii, *_fields(cameras), height, width))
    check("points", points, "N 3")
    if isinstance(radius, int | float):
        with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinite, and is refused as that
            _check_radii(*[float(np.float32(radius))] * 2)
        radius = array_namespace(points).full_like(points[:, 0], radius)
    else:
        check("radius", radius, "N")
        check_same_device(points=points, radius=radius)
        if len(radius) != len(points):
            raise ValueError(f"radius: expected a number or shape ({len(points)},), got {tuple(radius.shape)}")
        if len(radius) and not is_cuda(radius):
            check_finite("radius", radius)
            _check_radii(float(radius.min()), float(radius.max()))
    backend = choose("rasterize_points", points)
    return PointRaster(*backend.rasterize_points(points, radius, cameras, (height, width)))


@reference.kernel("rasterize")
def _on_host(vertices: Array, faces: Array, cameras: Cameras, size: tuple[int, int], barycentric: bool) -> Raster:
    host = _host(faces)
    _check_indices(host, len(vertices))
    ids, depth, weights = rasterize_reference(_host(vertices), host, cameras, size)
    barycentrics = _same_kind(weights, vertices) if barycentric and weights is not None else None
    return Raster(_same_kind(ids, vertices), _same_kind(depth, vertices), barycentrics)


@reference.kernel("rasterize_points")
def _points_on_host(points: Array, radius: Array, cameras: Cameras, size: tuple[int, int]) -> PointRaster:
    raster = rasterize_points_reference(_host(points), _host(radius), cameras, size)
    return PointRaster(*(_same_kind(x, points) for x in raster))


def rasterize_reference(
    vertices: NDArray[np.float32], faces: NDArray[np.int32], cameras: Cameras, size: tuple[int, int]
) -> Raster:
    """The rule in plain numpy, one face at a time."""
    height, width = size
    ids = np.full((len(cameras), height, width), -1, np.int32)
    inverse_depth = np.full(ids.shape, -np.inf, np.float32)
    weights = np.zeros((*ids.shape, 3), np.float32)
    for v, matrix in enumerate(cameras.matrices(size)):
        points = _transform(matrix, vertices)
        for f, face in enumerate(faces):
            for corners in _triangles_on_screen(points[face], cameras.perspective, cameras.near):
                rows, columns, value = _covered(corners, height, width)
                wins = value > inverse_depth[v, rows, columns]
                rows, columns = rows[wins], columns[wins]
                inverse_depth[v, rows, columns] = value[wins]
                ids[v, rows, columns] = f
                weights[v, rows, columns] = _weights(points[face], cameras.perspective, columns + 0.5, rows + 0.5)
    return Raster(ids, _depth(inverse_depth, ids, cameras.perspective), weights)


def rasterize_points_reference(
    points: NDArray[np.float32], radius: NDArray[np.float32], cameras: Cameras, size: tuple[int, int]
) -> PointRaster:
    """The rule for discs in plain numpy, one point at a time."""
    height, width = size
    ids = np.full((len(cameras), height, width), -1, np.int32)
    inverse_depth = np.full(ids.shape, -np.inf, np.float32)
    y, x = np.mgrid[:height, :width]
    scale = cameras.scale(size)
    for v, matrix in enumerate(cameras.matrices(size)):
        for i, p in enumerate(_transform(matrix, points)):
            if not (_plane_distances(p[None], cameras.perspective, cameras.near) >= 0).all():
                continue
            column, row, q = _snap(p, cameras.perspective)
            r = _round(float(radius[i]) * scale * (q if cameras.perspective else 1.0))
            dx, dy = x * _SUBPIXELS + _SUBPIXELS // 2 - column, y * _SUBPIXELS + _SUBPIXELS // 2 - row
            disc = dx * dx + dy * dy <= r * r
            disc |= (x == column // _SUBPIXELS) & (y == row // _SUBPIXELS)
            wins = disc & (np.float32(q) > inverse_depth[v])
            inverse_depth[v][wins], ids[v][wins] = q, i
    return PointRaster(ids, _depth(inverse_depth, ids, cameras.perspective))


def _transform(matrix: NDArray[np.float64], points: NDArray[np.float32]) -> NDArray[np.float64]:
    x, y, z = points.astype(np.float64).T
    with np.errstate(invalid="ignore"):
        return np.stack([m[0] * x + m[1] * y + m[2] * z + m[3] for m in matrix], axis=1)


def _plane_distances(points: NDArray[np.float64], perspective: bool, near: float) -> NDArray[np.float64]:  # (n, 5)
    """Signed distances to the near plane and the four guard planes; inside is >= 0."""
    x, y, z = points.T
    reach = _GUARD_BAND * z if perspective else np.full_like(z, _GUARD_BAND)
    with np.errstate(invalid="ignore"):
        return np.stack([z - near, reach + x, reach - x, reach + y, reach - y], axis=1)


def _round(pixels: float) -> int:
    limit = _GUARD_BAND * _SUBPIXELS
    return int(np.rint(min(max(pixels * _SUBPIXELS, -limit), limit)))


def _snap(p: NDArray[np.float64], perspective: bool) -> tuple[int, int, float]:
    """Column and row in subpixels, and the inverse depth."""
    if not perspective:
        return _round(p[0]), _round(p[1]), float(-p[2])
    q = 1.0 / p[2]
    return _round(p[0] * q), _round(p[1] * q), float(q)


def _triangles_on_screen(
    corners: NDArray[np.float64], perspective: bool, near: float
) -> list[list[tuple[int, int, float]]]:
    """A face as snapped triangles: itself, or the fan of what clipping leaves of it."""
    if not np.isfinite(corners).all():
        return []
    polygon = list(corners)
    for plane in range(5):
        distance = _plane_distances(np.array(polygon), perspective, near)[:, plane]
        clipped = []
        for i, p in enumerate(polygon):
            j = (i + 1) % len(polygon)
            if distance[i] >= 0:
                clipped.append(p)
            if (distance[i] >= 0) != (distance[j] >= 0):
                # From the inner to the outer end, so that both faces of an edge get the same corner.
                inner, outer = (i, j) if distance[i] >= 0 else (j, i)
                t = distance[inner] / (distance[inner] - distance[outer])
                cut = polygon[inner] + t * (polygon[outer] - polygon[inner])
                if plane == 0:
                    cut[2] = near
                clipped.append(cut)
        polygon = clipped
        if len(polygon) < 3:
            return []
    snapped = [_snap(np.array([p[0], p[1], max(p[2], near)]), perspective) for p in polygon]
    return [[snapped[0], snapped[k - 1], snapped[k]] for k in range(2, len(snapped))]


def _covered(
    corners: list[tuple[int, int, float]], height: int, width: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]:
    """Rows, columns and inverse depth of the pixels a snapped triangle covers."""
    a, b, c = corners
    area = (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])
    if area < 0:
        b, c, area = c, b, -area
    top = min(range(3), key=lambda i: ((a, b, c)[i][1], (a, b, c)[i][0]))
    a, b, c = (a, b, c)[top:] + (a, b, c)[:top]
    (u0, u1), (v0, v1) = (sorted(p[axis] for p in (a, b, c))[::2] for axis in (0, 1))
    x = np.arange(max(u0 // _SUBPIXELS, 0), min(u1 // _SUBPIXELS + 1, width), dtype=np.int64)
    y = np.arange(max(v0 // _SUBPIXELS, 0), min(v1 // _SUBPIXELS + 1, height), dtype=np.int64)
    rows, columns = (g.ravel() for g in np.meshgrid(y, x, indexing="ij"))
    inside = np.full(rows.shape, area > 0)
    total = np.zeros(rows.shape)
    for q, start, end in ((a[2], b, c), (b[2], c, a), (c[2], a, b)):
        dx, dy = end[0] - start[0], end[1] - start[1]
        px, py = columns * _SUBPIXELS + _SUBPIXELS // 2, rows * _SUBPIXELS + _SUBPIXELS // 2
        edge = dx * (py - start[1]) - dy * (px - start[0])
        inside &= edge >= (0 if dy < 0 or (dy == 0 and dx > 0) else 1)
        total = total + edge * q
    rows, columns, total = rows[inside], columns[inside], total[inside]
    return rows, columns, (total * (1.0 / area if area else 0.0)).astype(np.float32)


def _weights(
    corners: NDArray[np.float64], perspective: bool, px: NDArray[np.float64], py: NDArray[np.float64]
) -> NDArray[np.float32]:  # (n, 3)
    """Perspective-correct barycentric coordinates: areas of the corners in homogeneous pixels, seen from the
    centre.
    """
    w = corners[:, 2] if perspective else np.ones(3)
    x, y = corners[:, 0] - px[:, None] * w, corners[:, 1] - py[:, None] * w  # (n, 3)
    areas = np.stack([x[:, i - 2] * y[:, i - 1] - y[:, i - 2] * x[:, i - 1] for i in range(3)], axis=1)
    areas = np.maximum(areas * np.where(areas.sum(1, keepdims=True) < 0, -1.0, 1.0), 0.0)
    total = areas.sum(1, keepdims=True)
    usable = (total > 0) & np.isfinite(total)
    return np.where(usable, areas / np.where(usable, total, 1.0), 1 / 3).astype(np.float32)


def _depth(inverse_depth: NDArray[np.float32], ids: NDArray[np.int32], perspective: bool) -> NDArray[np.float32]:
    with np.errstate(divide="ignore"):
        depth = np.float32(1) / inverse_depth if perspective else -inverse_depth
    return np.where(ids >= 0, depth, np.float32(np.inf))


def _check_indices(faces: Array, n: int) -> None:
    if len(faces) and (int(faces.min()) < 0 or int(faces.max()) >= n):
        raise ValueError(f"faces: expected indices from 0 to {n - 1}, got {int(faces.min())} to {int(faces.max())}")


def _fields(cameras: Cameras) -> tuple[Array, float | None, float, float]:
    """Cameras as a registered operation takes them."""
    return sys.modules["torch"].from_numpy(cameras.view), cameras.fov, cameras.half_extent, cameras.near


def _check_radii(low: float, high: float) -> None:
    if not (low >= 0 and high < np.inf):
        raise ValueError(f"radius: expected finite numbers >= 0, got {low} to {high}")


def _host(x: Array) -> np.ndarray:
    return x.detach().cpu().numpy() if is_tensor(x) else x


def _same_kind(x: np.ndarray, other: Array) -> Array:
    return from_numpy(x, other).to(other.device) if is_tensor(other) else x


# Cameras travel as their fields: `view` (V, 4, 4) float64, always on the CPU.
_CAMERAS = "Tensor view, float? fov, float half_extent, float near, int height, int width"


def _run_rasterize(
    vertices: Array,
    faces: Array,
    view: Array,
    fov: float | None,
    half_extent: float,
    near: float,
    height: int,
    width: int,
    barycentric: bool = True,
) -> tuple[Array, Array, Array]:
    """Without weights the last result is empty."""
    cameras = Cameras(view.numpy(), fov, half_extent, near)
    ids, depth, weights = rasterize(vertices, faces, cameras, (height, width), barycentric=barycentric)
    return ids, depth, vertices.new_empty(0, 3) if weights is None else weights


def _fake_rasterize(
    vertices: Array,
    faces: Array,
    view: Array,
    fov: float | None,
    half_extent: float,
    near: float,
    height: int,
    width: int,
    barycentric: bool = True,
) -> tuple[Array, Array, Array]:
    images = (view.shape[0], height, width)
    weights = vertices.new_empty((*images, 3) if barycentric else (0, 3))
    return vertices.new_empty(images, dtype=array_namespace(vertices).int32), vertices.new_empty(images), weights


def _run_rasterize_points(
    points: Array,
    radius: Array,
    view: Array,
    fov: float | None,
    half_extent: float,
    near: float,
    height: int,
    width: int,
) -> tuple[Array, Array]:
    ids, depth = rasterize_points(points, radius, Cameras(view.numpy(), fov, half_extent, near), (height, width))
    return ids, depth


def _fake_rasterize_points(
    points: Array,
    radius: Array,
    view: Array,
    fov: float | None,
    half_extent: float,
    near: float,
    height: int,
    width: int,
) -> tuple[Array, Array]:
    images = (view.shape[0], height, width)
    return points.new_empty(images, dtype=array_namespace(points).int32), points.new_empty(images)


register_op(
    f"rasterize(Tensor vertices, Tensor faces, {_CAMERAS}, bool barycentric=True) -> (Tensor, Tensor, Tensor)",
    _run_rasterize,
    fake=_fake_rasterize,
)
register_op(
    f"rasterize_points(Tensor points, Tensor radius, {_CAMERAS}) -> (Tensor, Tensor)",
    _run_rasterize_points,
    fake=_fake_rasterize_points,
)
