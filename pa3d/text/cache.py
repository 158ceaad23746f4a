"""Text vectors on disk, one small file a vector.

A file is named by the SHA-256 of the text space, the revision of the encoder's weights and the prompts, which
are the prompt set with the cleaned names filled in. It holds the SHA-256 of the vector and the vector,
float32 little-endian. Files appear whole or not at all, so any number of processes may share the folder; a
damaged file counts as absent and is written anew. A folder that cannot be written is no error: the vectors
are computed again.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

FORMAT = 1  # part of every key; raise it when equal prompts and weights come to give other vectors
DIGEST = 32  # bytes of SHA-256


def cache_folder() -> Path:
    """$PA3D_CACHE, else pa3d in the platform's folder for caches."""
    if own := os.environ.get("PA3D_CACHE"):
        return Path(own)
    if xdg := os.environ.get("XDG_CACHE_HOME"):
        return Path(xdg) / "pa3d"
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local") / "pa3d" / "cache"
    return Path.home() / ("Library/Caches" if sys.platform == "darwin" else ".cache") / "pa3d"


class VectorCache:
    """Vectors of one encoder. Without a revision nothing is found and nothing kept."""

    def __init__(self, space: str, revision: str) -> None:
        self._identity = [FORMAT, space, revision]
        self._folder: Path | None = None
        if revision:
            with contextlib.suppress(RuntimeError):  # no home folder
                self._folder = cache_folder() / "text" / re.sub(r"[^\w.-]+", "_", space)[-100:]

    def get(self, prompts: Sequence[str]) -> NDArray[np.float32] | None:  # (D,)
        if self._folder is None:
            return None
        try:
            data = self._path(self._folder, prompts).read_bytes()
        except OSError:
            return None
        digest, payload = data[:DIGEST], data[DIGEST:]
        if not payload or hashlib.sha256(payload).digest() != digest:
            return None
        return np.frombuffer(payload, "<f4").astype(np.float32)

    def put(self, prompts: Sequence[str], vector: NDArray[np.float32]) -> None:  # (D,)
        if self._folder is None:
            return
        payload = vector.astype("<f4").tobytes()
        path = self._path(self._folder, prompts)
        part = path.with_suffix(f".{os.urandom(8).hex()}.part")
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            part.write_bytes(hashlib.sha256(payload).digest() + payload)
            os.replace(part, path)
        except OSError:
            self._folder = None  # do not try again for every vector
            with contextlib.suppress(OSError):
                part.unlink()

    def _path(self, folder: Path, prompts: Sequence[str]) -> Path:
        key = json.dumps([*self._identity, *prompts])
        return folder / f"{hashlib.sha256(key.encode()).hexdigest()[:40]}.vec"
