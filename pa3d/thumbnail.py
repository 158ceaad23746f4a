"""A small picture of a segmentation for notebooks: two views in the colours of the parts, as PNG."""

from __future__ import annotations

import struct
import zlib

import numpy as np
from numpy.typing import NDArray

from pa3d.colors import UNLABELED_COLOR, part_colors, to_rgb
from pa3d.rotations import rotate, rotation_to_y
from pa3d.shape import Shape

SIZE = 360  # pixels, of a view
YAWS = (35.0, 215.0)  # degrees
ELEVATION = 20.0
MAX_POINTS = 20_000
AMBIENT = 0.45


def thumbnail(shape: Shape, labels: NDArray[np.int32], count: int) -> bytes:
    """The picture of a mesh by the labels of its faces, or of a cloud by those of its points, from 0 to count - 1 or
    -1.

    Needs nothing but numpy.
    """
    kept: NDArray[np.bool_] = np.asarray(np.isfinite(shape.points).all(axis=1))
    finite = np.where(kept[:, None], shape.points, 0).astype(np.float64)
    axis = np.eye(3)["xyz".index(shape.up[-1])] * (-1 if shape.up.startswith("-") else 1)
    points = rotate((finite - finite[kept].mean(axis=0)).astype(np.float32), rotation_to_y(axis))
    points = (points / (np.linalg.norm(points[kept], axis=1).max() * 1.03)).astype(np.float32)
    colors = to_rgb([*part_colors(count), UNLABELED_COLOR])  # -1 is the last
    tiles = [_view(points, shape.faces, labels, colors, yaw, kept) for yaw in YAWS]
    return _png(np.concatenate(tiles, axis=1))


def _view(
    points: NDArray[np.float32],
    faces: NDArray[np.int32] | None,
    labels: NDArray[np.int32],
    colors: NDArray[np.uint8],
    yaw: float,
    kept: NDArray[np.bool_],
) -> NDArray[np.uint8]:  # (SIZE, SIZE, 3)
    from pa3d.cameras import Cameras
    from pa3d.ops.rasterize import rasterize, rasterize_points

    camera = Cameras.orbit([yaw], [ELEVATION], fov=None, half_extent=1.0)
    image = np.full((SIZE, SIZE, 3), 255, np.uint8)
    if faces is not None:
        ids = rasterize(points, faces, camera, (SIZE, SIZE)).face_id[0]
        a, b, c = (points[faces[:, i]] for i in range(3))
        normal = np.cross(b - a, c - a)
        normal /= np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-30)
        turn, rise = np.radians(yaw), np.radians(ELEVATION + 15)
        light = np.array([np.sin(turn) * np.cos(rise), np.sin(rise), np.cos(turn) * np.cos(rise)])
        shade = AMBIENT + (1 - AMBIENT) * np.abs(normal @ light)
        image[ids >= 0] = (colors[labels] * shade[:, None])[ids[ids >= 0]].astype(np.uint8)
        return image
    chosen = np.flatnonzero(kept)
    chosen = chosen[:: max(1, len(chosen) // MAX_POINTS)]
    radius = np.full(len(chosen), 1.5 / np.sqrt(len(chosen)), np.float32)
    ids = rasterize_points(np.ascontiguousarray(points[chosen]), radius, camera, (SIZE, SIZE)).point_id[0]
    image[ids >= 0] = colors[labels[chosen]][ids[ids >= 0]]
    return image


def _png(image: NDArray[np.uint8]) -> bytes:
    """An image (H, W, 3) as PNG."""
    height, width, _ = image.shape
    rows = np.concatenate([np.zeros((height, 1), np.uint8), image.reshape(height, 3 * width)], axis=1)

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows.tobytes(), 6)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body
