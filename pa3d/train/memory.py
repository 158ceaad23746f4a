"""How the C library treats freed memory in training."""

from __future__ import annotations

import ctypes


def keep_freed_memory() -> bool:
    """Make glibc keep large freed blocks for reuse instead of returning them to the system.

    Each training step frees some hundred megabytes and allocates them again. If the system has to provide new pages,
    their page faults take as long as the arithmetic of the mini-PointNet. Returns whether the C library accepted it.
    """
    trim_threshold, mmap_max = -1, -4  # M_TRIM_THRESHOLD, M_MMAP_MAX of malloc.h
    try:
        library = ctypes.CDLL(None)
        return bool(library.mallopt(mmap_max, 0) and library.mallopt(trim_threshold, 2**31 - 1))
    except (OSError, AttributeError, TypeError):  # not glibc
        return False
