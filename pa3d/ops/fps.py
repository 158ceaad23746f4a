"""Farthest point sampling.

After the start, each next point is the one farthest from those chosen so far:

    i_{t+1} = argmax_p min_{s <= t} |x_p - x_{i_s}|^2

Exact and equal on every backend: float32, (dx*dx + dy*dy) + dz*dz, the lowest index wins ties. Source: Eldar et al.,
"The farthest point strategy for progressive image sampling", 1997; used for patch centres by Point-BERT and
PatchAlign3D (arXiv 2601.02457). Not differentiable: the result is indices.
"""

from __future__ import annotations

import numpy as np

from pa3d import _C
from pa3d.ops._dispatch import choose
from pa3d.ops._library import register_op
from pa3d.ops.arrays import Array, array_namespace, is_traced
from pa3d.ops.backends import reference
from pa3d.ops.checks import check_count, check_points


def farthest_point_sample(
    points: Array,  # (B, N, 3) or (N, 3) float32
    k: int,
    *,
    start: int = 0,
    min_sq_norm: float = 0.0,
) -> Array:  # (B, k) or (k,) int64
    """Indices of k points, each the farthest from those before it, beginning with `start`.

    min_sq_norm: when above 0, points whose squared norm is <= this are never picked after the start. The sampler that
        the published weights were trained with uses 1e-3. If no point is eligible, index 0 is returned.
    k may exceed N: once every point coincides with a chosen one, the lowest eligible index repeats.
    Raises TypeError for a wrong kind or dtype, ValueError for a wrong shape, layout, k, start or NaN, infinite values.
    """
    if type(points) is np.ndarray and (type(k), type(start), type(min_sq_norm)) == (int, int, float):
        sampled = _C.farthest_point_sample_checked(points, k, start, min_sq_norm)
        if sampled is not None:
            return sampled
    if is_traced(points):
        from pa3d.ops import _torch

        return _torch.ops.farthest_point_sample(points, k, start, min_sq_norm)
    check_points("points", points)
    check_count("k", k, 1, None)
    check_count("start", start, 0, points.shape[-2] - 1)
    if not min_sq_norm >= 0:
        raise ValueError(f"min_sq_norm: expected a number >= 0, got {min_sq_norm}")
    backend = choose("farthest_point_sample", points)
    if points.ndim == 2:
        return backend.farthest_point_sample(points[None], k, start, min_sq_norm)[0]
    return backend.farthest_point_sample(points, k, start, min_sq_norm)


@reference.kernel("farthest_point_sample")
def farthest_point_sample_reference(
    points: Array,  # (B, N, 3)
    k: int,
    start: int = 0,
    min_sq_norm: float = 0.0,
) -> Array:  # (B, k)
    """The rule in plain array code; batches only."""
    xp = array_namespace(points)
    x, y, z = points[..., 0], points[..., 1], points[..., 2]
    sq_dist = xp.full_like(x, float("inf"))
    if min_sq_norm > 0:
        sq_dist[(x * x + y * y) + z * z <= min_sq_norm] = -1.0  # below every squared distance: never the farthest
    chosen = xp.zeros_like(sq_dist[:, :1], dtype=xp.int64) + start  # (B, 1)
    out = []
    for _ in range(k):
        out.append(chosen)
        dx, dy, dz = (a - _take(xp, a, chosen) for a in (x, y, z))
        sq_dist = xp.minimum(sq_dist, (dx * dx + dy * dy) + dz * dz)
        chosen = xp.argmax(sq_dist, 1)[:, None]
    return xp.concatenate(out, 1)


def _take(xp: Array, a: Array, index: Array) -> Array:
    return xp.take_along_axis(a, index, 1) if hasattr(xp, "take_along_axis") else xp.take_along_dim(a, index, 1)


def _run(points: Array, k: int, start: int = 0, min_sq_norm: float = 0.0) -> Array:
    return farthest_point_sample(points, k, start=start, min_sq_norm=min_sq_norm)


def _fake(points: Array, k: int, start: int = 0, min_sq_norm: float = 0.0) -> Array:
    return points.new_empty((*points.shape[:-2], k), dtype=array_namespace(points).int64)


register_op(
    "farthest_point_sample(Tensor points, int k, int start=0, float min_sq_norm=0.0) -> Tensor",
    _run,
    fake=_fake,
)
