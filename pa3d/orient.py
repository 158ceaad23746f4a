"""Find the up direction of a shape: the one in which the given part names fit best.

The encoder was trained on upright shapes. In a shape that lies on its side or is upside down, patches often fit several
names about equally well. So the shape is rotated and encoded 26 times, each time with another direction up: those from
the centre of a cube to its faces, edges and corners. The direction whose patches are most certain of the names wins.
The measure is the mean entropy of the probabilities p_ij of name j at patch i:

    negative_entropy = mean_i sum_j p_ij log p_ij    <= 0

Files are rotated by 90 degrees more often than by 45. So an axis wins unless the entropy of another direction is lower
by 5 %.

It costs 26 forward passes. The result depends on shape and names together: it is a guess when the names fit in any
orientation, or when the shape looks the same upside down.
"""

from __future__ import annotations

import itertools
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

# Axes first, y before z before x, so that among equals the more common one wins.
_AXES = ((0, 1, 0), (0, 0, 1), (1, 0, 0), (0, -1, 0), (0, 0, -1), (-1, 0, 0))
_OTHERS = tuple(d for d in itertools.product((-1, 0, 1), repeat=3) if np.count_nonzero(d) > 1)


@lru_cache(maxsize=1)
def directions() -> NDArray[np.float64]:  # (26, 3)
    """The candidate up directions, unit vectors."""
    candidates = np.array([*_AXES, *_OTHERS], np.float64)
    return candidates / np.linalg.norm(candidates, axis=1, keepdims=True)


def best_direction(scores: NDArray[np.float64]) -> int:  # (26,), in the order of directions()
    """The index of the up direction, given the negative entropy of each."""
    return int(np.argmax(np.where(np.arange(len(scores)) < len(_AXES), scores, 1.05 * scores)))


def negative_entropy(probabilities: NDArray[np.float32]) -> float:  # (G, K), rows sum to one
    """How certain the patches are of their names: minus the mean entropy, at most 0."""
    p = probabilities.astype(np.float64)
    return float((p * np.log(np.maximum(p, 1e-30))).sum(axis=1).mean())
