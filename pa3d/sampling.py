"""Samples the points that the encoder gets: some points of a cloud, or points on the surface of a mesh.

The code is csrc/cpu/sample.cpp, which the C interface runs too. Its generator is numpy's default_rng, so the same seed
gives the same points from Python and from C, on every processor.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pa3d import _C
from pa3d.errors import InputError

MAX_SEED = 2**64 - 1


def check_seed(seed: int) -> None:
    """Raises InputError unless seed is an integer from 0 to 2**64 - 1."""
    if isinstance(seed, bool) or not isinstance(seed, int | np.integer) or not 0 <= seed <= MAX_SEED:
        raise InputError(f"seed is {seed!r}; expected an integer from 0 to 2**64 - 1")


def sample_indices(n: int, count: int, seed: int) -> NDArray[np.int64]:  # (count,)
    """`count` of the indices 0..n-1 without repetition, ascending; all of them where count is n or more.

    Raises InputError for a seed out of range.
    """
    check_seed(seed)
    return np.arange(n) if count >= n else _C.sample_indices(n, count, int(seed))


def sample_cloud(points: NDArray[np.float32], count: int, seed: int) -> NDArray[np.int64]:  # (N, 3) -> (count,)
    """`count` of the points, ascending indices; all of them where count is N or more.

    They are spread evenly over the shape: every (N / count)-th along a Morton curve, from a random start. So what is
    drawn depends little on the seed. Each point is drawn with the same probability.
    Raises InputError for a seed out of range.
    """
    check_seed(seed)
    if count >= len(points):
        return np.arange(len(points))
    return _C.sample_cloud(np.ascontiguousarray(points, np.float32), count, int(seed))


def sample_surface(
    vertices: NDArray[np.float32],  # (V, 3)
    faces: NDArray[np.int32],  # (F, 3)
    count: int,
    seed: int | np.random.Generator,
    name: str = "mesh",
) -> tuple[NDArray[np.float32], NDArray[np.int32]]:  # (count, 3), (count,)
    """Points on the triangles, uniform over their area, and the face of each.

    The area is divided into `count` equal shares in the order of the faces, and point k is drawn from share k. So the
    points are more evenly distributed than independent ones.
    seed: an integer, or a generator to draw from. Raises InputError, which begins with `name`, when no face has an
    area; ValueError for a face that refers to a vertex that does not exist.
    """
    vertices, faces = np.ascontiguousarray(vertices, np.float32), np.ascontiguousarray(faces, np.int32)
    # An integer is recognised first, because numpy.random takes long to import.
    if not isinstance(seed, int | np.integer) and isinstance(seed, np.random.Generator):
        result = _C.surface_points(vertices, faces, seed.random((3, count)))
    else:
        check_seed(seed)
        result = _C.sample_surface(vertices, faces, count, int(seed))
    if result is None:
        raise InputError(f"{name}: every face has zero area; no surface to sample")
    return result
