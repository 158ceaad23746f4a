"""Random numbers of training: every draw has its own generator, seeded by its purpose and its place in the run.

No generator lives longer than one draw. A resumed run therefore draws what an uninterrupted run would.
"""

from __future__ import annotations

from enum import IntEnum

import numpy as np
import torch


class Stream(IntEnum):
    """What a draw is for. The numbers are part of every seed: changing one changes every run."""

    SAMPLER = 1  # which record is at an index of a batch
    EXAMPLE = 2  # points, augmentation and names of one shape of a batch
    VARIANT = 3  # a precomputed subsample of a record
    DROP_PATH = 4  # branches dropped by stochastic depth
    VALIDATION = 5  # points of a validation shape
    DENSITY = 6  # number of points and patches of the shapes of a batch


def numpy_generator(seed: int, stream: Stream, *key: int) -> np.random.Generator:
    """key: integers that tell the draws of one stream apart, such as step and batch_index."""
    return np.random.default_rng((seed, stream, *key))


def torch_generator(seed: int, stream: Stream, *key: int) -> torch.Generator:
    """The same for torch, on the CPU."""
    state = np.random.SeedSequence((seed, stream, *key)).generate_state(1, np.uint64)[0]
    return torch.Generator().manual_seed(int(state >> np.uint64(1)))  # torch takes 63 bits
