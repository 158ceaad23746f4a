"""Outliers of a cloud: single points, and groups of up to four, that lie far from all others.

Points with the same coordinates are one place. The places are sorted by x, y, z, and every s-th of them, where
s = max(1, count // 256), is a probe. low and high are the distances to the fourth neighbour that one fifth and four
fifths of the probes do not exceed. Two places are linked if they are at most factor * high * max(1, (high / (2 low))^2)
apart. Places that links join to a group of at most four are outliers. Clouds of fewer than 32 places have none.

So thin parts stay, because their points are linked to each other in a chain, and so do small separate parts of at
least five points. Stray points are left out up to about a fifth of the cloud. If more points than that lie far from
the others, `high` is large and they all stay. For random points on a surface, high / low is 1.55. Where it is larger,
density varies, as it does among the vertices of a mesh, and a point in a sparse region is no outlier yet.

Exact and equal on every instruction level: distances are squared, in float32, (dx*dx + dy*dy) + dz*dz. Statistical
outlier removal (PCL, Open3D) compares mean distances instead and has no groups. numpy arrays only; not differentiable.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pa3d.ops._dispatch import choose
from pa3d.ops.backends import reference
from pa3d.ops.checks import check_points
from pa3d.ops.knn import knn_reference

MIN_PLACES, GROUP, PROBES = 32, 4, 256


def find_outliers(
    points: NDArray[np.float32],  # (N, 3)
    factor: float,
    threads: int = 0,
) -> NDArray[np.bool_]:  # (N,)
    """Which points are outliers.

    factor: multiple of the usual distance between points, above 0. Raises TypeError for a wrong kind or dtype,
    ValueError for a wrong shape or layout, a factor that is not above 0, or non-finite coordinates.
    """
    check_points("points", points, "N 3")
    if not 0 < factor < float("inf"):
        raise ValueError(f"factor: expected a number above 0, got {factor!r}")
    return choose("find_outliers", points).find_outliers(points, factor, threads)


@reference.kernel("find_outliers")
def find_outliers_reference(points: NDArray[np.float32], factor: float, threads: int = 0) -> NDArray[np.bool_]:
    """The rule in plain array code, with all distances at once; on one thread, whatever `threads` says."""
    places, place = np.unique(points, axis=0, return_inverse=True)  # sorted by x, y, z
    if len(places) < MIN_PLACES:
        return np.zeros(len(points), bool)
    probes = places[:: max(1, len(places) // PROBES)]
    fourth = np.sort(knn_reference(probes[None], places[None], GROUP + 1)[1][0, :, GROUP])
    low, high = fourth[(len(fourth) - 1) // 5], fourth[(len(fourth) - 1) * 4 // 5]  # squares
    with np.errstate(all="ignore"):
        unevenness = np.maximum(np.float32(1), high / (4 * low))
        limit = np.float32(factor) * np.float32(factor) * high * (unevenness * unevenness)
    with np.errstate(over="ignore"):  # distances beyond float32 are infinite
        dx, dy, dz = (places[:, None, axis] - places[None, :, axis] for axis in range(3))
        linked = (dx * dx + dy * dy) + dz * dz <= limit
    reached = linked.copy()
    for _ in range(GROUP):  # everything within as many links as a small group can have
        reached = (reached.astype(np.float32) @ linked.astype(np.float32)) > 0
    return (reached.sum(axis=1) <= GROUP)[place.reshape(-1)] & (limit > 0) & np.isfinite(limit)
