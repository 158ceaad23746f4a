"""How the C library treats freed memory in training."""

from __future__ import annotations

import ctypes


def keep_freed_memory() -> bool:
    """Have glibc keep large freed blocks, instead of asking the system for zeroed pages at each step.

    A training step frees and takes the same hundreds of megabytes again. The page faults of fresh pages cost as much as
    the arithmetic of the mini-PointNet. Returns whether the C library accepted it.
    """
    trim_threshold, mmap_max = -1, -4  # M_TRIM_THRESHOLD, M_MMAP_MAX of malloc.h
    try:
        library = ctypes.CDLL(None)
        return bool(library.mallopt(mmap_max, 0) and library.mallopt(trim_threshold, 2**31 - 1))
    except (OSError, AttributeError, TypeError):  # not glibc
        return False
