"""Native objects that are used again: a step takes over the memory of the step before it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, NamedTuple

from pa3d import _C


class Pooled(NamedTuple):
    """A native object, and what it was made for: the precision and the level of instructions."""

    kind: tuple[str, str]
    item: Any


class Pool:
    """Objects that `make` returns for a precision. Those of another level of instructions, which a process may pin, are
    not handed out, because they would sum in another order. Callable from several threads."""

    def __init__(self, make: Callable[[str], Any]) -> None:
        self._make, self._free = make, dict[tuple[str, str], list[Pooled]]()
        self._lock = threading.Lock()

    def acquire(self, half: bool) -> Pooled:
        """A free object, or a new one. half: of precision bf16, else fp32."""
        kind = ("bf16" if half else "fp32", _C.isa())
        with self._lock:
            free = self._free.get(kind)
            if free:
                return free.pop()
        return Pooled(kind, self._make(kind[0]))

    def release(self, pooled: Pooled) -> None:
        with self._lock:
            self._free.setdefault(pooled.kind, []).append(pooled)

    def clear(self) -> None:
        """Frees the memory of all objects that are not in use."""
        with self._lock:
            self._free.clear()

    def __len__(self) -> int:
        """How many objects are not in use."""
        with self._lock:
            return sum(map(len, self._free.values()))
