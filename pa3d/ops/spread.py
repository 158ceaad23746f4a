"""Logits of patches to labels and scores at any points.

    nearest      of the nearest centre
    membership   the mean over the patches that the nearest point the encoder saw is a member of; its nearest centre's
                 where there is none
    smooth       of the three nearest centres, weighted by inverse distance

Then scores = softmax(logits), and the label is the first of the largest logits, or -1 where its score is below
`none`. The C interface runs the same code, so its labels equal Python's to the bit. numpy alone; not differentiable.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pa3d.config import ASSIGN
from pa3d.ops._dispatch import check_floats, check_points, choose
from pa3d.ops.interpolate import interpolate_reference

Floats = NDArray[np.float32]


def spread(
    at: Floats,  # (N, 3)
    centers: Floats,  # (G, 3)
    members: NDArray[np.int64],  # (G, M) indices into points
    points: Floats,  # (P, 3) what the encoder saw
    logits: Floats,  # (G, K)
    assign: str = "nearest",
    none: float = 0.0,
    threads: int = 0,
) -> tuple[NDArray[np.int32], Floats]:  # (N,), (N, K)
    """Labels and scores at the points `at`.

    Raises TypeError for a wrong kind or dtype, ValueError for a wrong shape, layout, assign or index, or non-finite
    coordinates.
    """
    for name, array in (("at", at), ("centers", centers), ("points", points)):
        check_points(name, array, batched=False)
    check_floats("logits", logits)
    if choose(at, logits, op="spread") == "native":
        from pa3d import _C

        return _C.label_points(at, centers, members, points, logits, assign, none, threads)
    return spread_reference(at, centers, members, points, logits, assign, none)


def spread_reference(
    at: Floats,
    centers: Floats,
    members: NDArray[np.int64],
    points: Floats,
    logits: Floats,
    assign: str = "nearest",
    none: float = 0.0,
) -> tuple[NDArray[np.int32], Floats]:
    """The rule in plain array code."""
    if assign == "nearest":
        values = interpolate_reference(at, centers, logits)
    elif assign == "smooth":
        values = interpolate_reference(at, centers, logits, min(3, len(logits)))
    elif assign == "membership":
        total = np.zeros((len(points), logits.shape[1]), np.float64)
        count = np.zeros(len(points))
        for g in range(len(members)):
            mine = np.unique(members[g])  # patches of a small cloud repeat their points
            total[mine] += logits[g]
            count[mine] += 1
        covered = count > 0
        mean = interpolate_reference(points, centers, logits)
        mean[covered] = (total[covered] / count[covered, None]).astype(np.float32)
        values = interpolate_reference(at, points, mean)
    else:
        raise ValueError(f"assign: expected one of {', '.join(ASSIGN)}, got {assign!r}")
    scores = np.exp(values - values.max(axis=1, keepdims=True))
    scores /= scores.sum(axis=1, keepdims=True)
    labels = values.argmax(axis=1).astype(np.int32)
    labels[scores.max(axis=1) < none] = -1
    return labels, scores
