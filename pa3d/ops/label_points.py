"""Logits of patches to labels and scores at any points.

    nearest      of the nearest centre
    membership   the mean over the patches that contain the nearest encoded point, or its nearest centre's logits if
                 there are none
    smooth       of the three nearest centres, weighted by inverse distance

Then scores = softmax(logits), and the label is the first of the largest logits, or -1 where its score is below the
threshold `none`. With the presence of the names, it is -1 where the probability among the names and "none of them",
whose logit is 0, times the presence of the name is below `none`. The C interface runs the same code, so its labels
equal Python's to the bit. numpy arrays only; not differentiable.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pa3d.config import ASSIGN
from pa3d.ops._dispatch import choose
from pa3d.ops.backends import reference
from pa3d.ops.checks import check, check_points
from pa3d.ops.interpolate import interpolate_reference

Floats = NDArray[np.float32]


def label_points(
    query_points: Floats,  # (N, 3)
    centers: Floats,  # (G, 3)
    members: NDArray[np.int64],  # (G, M) indices into points
    points: Floats,  # (P, 3) what the encoder saw
    logits: Floats,  # (G, K)
    assign: str = "nearest",
    none: float = 0.0,
    threads: int = 0,
    presence: Floats | None = None,  # (K,)
) -> tuple[NDArray[np.int32], Floats]:  # (N,), (N, K)
    """Labels and scores at the query points.

    assign: which logits a point gets, one of the three rules above.
    none: threshold; a point whose best score is below it gets label -1, none of the parts. 0 gives every point a part.
    threads: at most so many; 0 takes OMP_NUM_THREADS, or the processors of this process.
    Raises TypeError for a wrong kind or dtype, ValueError for a wrong shape, layout, assign or index, or non-finite
    coordinates.
    """
    for name, array in (("query_points", query_points), ("centers", centers), ("points", points)):
        check_points(name, array, "N 3")
    sizes = check("logits", logits, "G K")
    if presence is not None:
        check("presence", presence, "K", sizes=sizes)
    backend = choose("label_points", query_points, logits)
    return backend.label_points(query_points, centers, members, points, logits, assign, none, threads, presence)


@reference.kernel("label_points")
def label_points_reference(
    query_points: Floats,
    centers: Floats,
    members: NDArray[np.int64],
    points: Floats,
    logits: Floats,
    assign: str = "nearest",
    none: float = 0.0,
    threads: int = 0,
    presence: Floats | None = None,  # (K,)
) -> tuple[NDArray[np.int32], Floats]:
    """The rule in plain array code; on one thread, whatever `threads` says."""
    if assign == "nearest":
        values = interpolate_reference(query_points, centers, logits)
    elif assign == "smooth":
        values = interpolate_reference(query_points, centers, logits, min(3, len(logits)))
    elif assign == "membership":
        total = np.zeros((len(points), logits.shape[1]), np.float64)
        count = np.zeros(len(points))
        for g in range(len(members)):
            unique_members = np.unique(members[g])  # patches of a small cloud repeat their points
            total[unique_members] += logits[g]
            count[unique_members] += 1
        covered = count > 0
        mean = interpolate_reference(points, centers, logits)
        mean[covered] = (total[covered] / count[covered, None]).astype(np.float32)
        values = interpolate_reference(query_points, points, mean)
    else:
        raise ValueError(f"assign: expected one of {', '.join(ASSIGN)}, got {assign!r}")
    scores = np.exp(values - values.max(axis=1, keepdims=True))
    scores /= scores.sum(axis=1, keepdims=True)
    labels = values.argmax(axis=1).astype(np.int32)
    probability = scores.max(axis=1)
    if presence is not None:
        with np.errstate(over="ignore"):  # odds beyond float32 are infinite
            odds = np.exp(-values.max(axis=1))
        probability = probability / (1 + probability * odds) * presence[labels]
    labels[probability < none] = -1
    return labels, scores
