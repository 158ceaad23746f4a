"""What the readers share: their result and their error, polygons to triangles, colours to bytes."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray


class Geometry(NamedTuple):
    """What a file holds, before float32 and checks. faces is None for a cloud."""

    points: NDArray[np.float64]  # (N, 3)
    faces: NDArray[np.int64] | None = None  # (F, 3)
    colors: NDArray[np.uint8] | None = None  # (N, 3)


class DamagedError(Exception):
    """What a reader cannot use, and what to do about it. ``load`` puts the file's name in front."""

    def __init__(self, wrong: str, do: str = "export it again") -> None:
        super().__init__(f"{wrong}; {do}")


def triangulate(
    counts: NDArray[Any],  # (P,) corners of each polygon
    corners: NDArray[Any],  # (sum of counts,) vertex indices
) -> NDArray[np.int64]:  # (F, 3)
    """Fans from each polygon's first corner, in file order; fewer than three corners give nothing."""
    counts = np.asarray(counts, np.int64)
    triangles = np.maximum(counts - 2, 0)
    first = np.repeat(np.cumsum(counts) - counts, triangles)
    step = np.arange(triangles.sum()) - np.repeat(np.cumsum(triangles) - triangles, triangles)
    return np.asarray(corners, np.int64)[np.stack([first, first + step + 1, first + step + 2], axis=1)]


def numbers(text: bytes, dtype: type = np.float64) -> NDArray[Any]:
    """All numbers of a whitespace-separated text; DamagedError when something else is among them."""
    with warnings.catch_warnings():
        # Older numpy only warns about text that is no number, and returns what came before it.
        warnings.simplefilter("error", DeprecationWarning)
        try:
            return np.fromstring(text, dtype, sep=" ")
        except (DeprecationWarning, ValueError):
            raise DamagedError("is damaged: it has text where numbers are expected") from None


def byte_colors(channels: Sequence[NDArray[Any]]) -> NDArray[np.uint8]:  # (N, 3)
    """Red, green, blue as uint8 from bytes, 16-bit integers, or floats of 0..1 or 0..255."""
    colors = np.stack(list(channels[:3]), axis=1)
    if colors.dtype == np.uint8 or len(colors) == 0:
        return colors.astype(np.uint8)
    values = np.nan_to_num(colors.astype(np.float64))
    if colors.dtype.kind == "f" and values.max() <= 1:
        values *= 255
    elif values.max() > 255:
        values /= 257
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


def join_colors(
    points: Sequence[NDArray[Any]],  # each (N, 3)
    colors: Sequence[NDArray[np.uint8] | None],  # each (N, 3)
) -> NDArray[np.uint8] | None:
    """The colours of several meshes as one, white where a mesh has none; None when no mesh has any."""
    if all(c is None for c in colors):
        return None
    return np.concatenate(
        [np.full(p.shape, 255, np.uint8) if c is None else c for p, c in zip(points, colors, strict=True)]
    )
