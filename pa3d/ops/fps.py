"""Farthest point sampling.

After the start, each next point is the one farthest from those chosen so far:

    i_{t+1} = argmax_p min_{s <= t} |x_p - x_{i_s}|^2

Exact and equal on every backend: float32, (dx*dx + dy*dy) + dz*dz, the lowest index wins ties. Source: Eldar et al.,
"The farthest point strategy for progressive image sampling", 1997; used for patch centres by Point-BERT and
PatchAlign3D (arXiv 2601.02457). Not differentiable: the result is indices.
"""

from __future__ import annotations

from pa3d.ops._dispatch import Array, check_count, check_points, choose, is_traced, like, namespace, to_numpy


def farthest_point_sample(
    points: Array,  # (B, N, 3) or (N, 3) float32
    k: int,
    *,
    start: int = 0,
    min_sq_norm: float = 0.0,
) -> Array:  # (B, k) or (k,) int64
    """Indices of k points, each the farthest from those before it, beginning with `start`.

    min_sq_norm: when above 0, points whose squared norm is <= this are never picked after the start (the sampler that
        the published weights were trained with uses 1e-3); when none may be picked the index is 0.
    k may exceed N: once every point coincides with a chosen one, the lowest pickable index repeats.
    Raises TypeError for a wrong kind or dtype, ValueError for a wrong shape, layout, k, start or NaN, infinite values.
    """
    if is_traced(points):
        from pa3d.ops import _torch

        return _torch.farthest_point_sample(points, k, start, min_sq_norm)
    rank = check_points("points", points)
    n = points.shape[-2]
    check_count("k", k, 1, None)
    check_count("start", start, 0, n - 1)
    if not min_sq_norm >= 0:
        raise ValueError(f"min_sq_norm: expected a number >= 0, got {min_sq_norm}")
    batch = points if rank == 3 else points[None]
    backend = choose(points, op="farthest_point_sample")
    if backend == "native":
        from pa3d import _C

        out = like(_C.farthest_point_sample(to_numpy(batch), k, start, min_sq_norm), points)
    elif backend == "cuda":
        from pa3d.ops import _cuda

        out = _cuda.farthest_point_sample(batch, k, start, min_sq_norm)
    else:
        out = farthest_point_sample_reference(batch, k, start=start, min_sq_norm=min_sq_norm)
    return out if rank == 3 else out[0]


def farthest_point_sample_reference(
    points: Array,  # (B, N, 3)
    k: int,
    *,
    start: int = 0,
    min_sq_norm: float = 0.0,
) -> Array:  # (B, k)
    """The rule in plain array code; batches only."""
    xp = namespace(points)
    x, y, z = points[..., 0], points[..., 1], points[..., 2]
    distance = xp.full_like(x, float("inf"))
    if min_sq_norm > 0:
        distance[(x * x + y * y) + z * z <= min_sq_norm] = -1.0  # below every squared distance: never the farthest
    chosen = xp.zeros_like(distance[:, :1], dtype=xp.int64) + start  # (B, 1)
    out = []
    for _ in range(k):
        out.append(chosen)
        dx, dy, dz = (a - _take(xp, a, chosen) for a in (x, y, z))
        distance = xp.minimum(distance, (dx * dx + dy * dy) + dz * dz)
        chosen = xp.argmax(distance, 1)[:, None]
    return xp.concatenate(out, 1)


def _take(xp: Array, a: Array, index: Array) -> Array:
    return xp.take_along_axis(a, index, 1) if hasattr(xp, "take_along_axis") else xp.take_along_dim(a, index, 1)
