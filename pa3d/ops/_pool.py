"""Native objects that are reused: steps reuse the memory of earlier steps."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, NamedTuple

from pa3d import _C


class Pooled(NamedTuple):
    """A native object, and what it was made for: the precision and the instruction set (ISA)."""

    key: tuple[str, str]
    object: Any


class Pool:
    """Objects that `make` returns for a precision. Those of another instruction set, which a process may select, are
    not handed out, because they would sum in another order. Callable from several threads."""

    def __init__(self, make: Callable[[str], Any]) -> None:
        self._make, self._free = make, dict[tuple[str, str], list[Pooled]]()
        self._lock = threading.Lock()

    def acquire(self, bf16: bool) -> Pooled:
        """A free object, or a new one. bf16: of precision bf16, else fp32."""
        key = ("bf16" if bf16 else "fp32", _C.isa())
        with self._lock:
            free = self._free.get(key)
            if free:
                return free.pop()
        return Pooled(key, self._make(key[0]))

    def release(self, pooled: Pooled) -> None:
        with self._lock:
            self._free.setdefault(pooled.key, []).append(pooled)

    def clear(self) -> None:
        """Frees the memory of all objects that are not in use."""
        with self._lock:
            self._free.clear()

    def __len__(self) -> int:
        """How many objects are not in use."""
        with self._lock:
            return sum(map(len, self._free.values()))
