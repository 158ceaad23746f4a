"""Which way is up, for shapes that come without an axis: the way in which the names asked for fit best.

The encoder knows upright shapes. One that stands on its head, or lies, gives vague answers: its patches fit several
names about as well. So a shape is encoded with each of 26 directions turned upright (the faces, edges and corners of a
cube), and the direction wins whose patches are surest of the names, by the mean entropy of their probabilities:

    fit = mean_i sum_j p_ij log p_ij    <= 0

Files are turned by quarter turns more often than by an eighth: an axis wins unless another direction's entropy is less
by a twentieth.

It costs 26 forward passes. It is a guess about shape and names together: names that fit any way up, or shapes that look
alike upside down, give no hold.
"""

from __future__ import annotations

import itertools
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

# Axes first, y before z before x, so that the likelier direction wins among equals.
_AXES = ((0, 1, 0), (0, 0, 1), (1, 0, 0), (0, -1, 0), (0, 0, -1), (-1, 0, 0))
_OTHERS = tuple(d for d in itertools.product((-1, 0, 1), repeat=3) if np.count_nonzero(d) > 1)


@lru_cache(maxsize=1)
def directions() -> NDArray[np.float64]:  # (26, 3)
    """Unit vectors that may be up."""
    found = np.array([*_AXES, *_OTHERS], np.float64)
    return found / np.linalg.norm(found, axis=1, keepdims=True)


def likeliest(fits: NDArray[np.float64]) -> int:  # (26,), in the order of directions()
    """The direction that is up, by how well each fits."""
    return int(np.argmax(np.where(np.arange(len(fits)) < len(_AXES), fits, 1.05 * fits)))


def fit(probabilities: NDArray[np.float32]) -> float:  # (G, K), rows sum to one
    """How sure patches are of their names: minus the mean entropy, at most 0."""
    p = probabilities.astype(np.float64)
    return float((p * np.log(np.maximum(p, 1e-30))).sum(axis=1).mean())
