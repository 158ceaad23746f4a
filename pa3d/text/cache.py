"""Text vectors on disk, one small file per vector.

The name of a file is the SHA-256 of the text space, the revision of the encoder's weights, and the prompts. The file
holds the SHA-256 of the vector, then the vector as little-endian float32. Files are written atomically, so several
processes may share the folder. A damaged file counts as absent and is written again. A folder that cannot be written is
no error: the vectors are computed each time.
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

from pa3d.atomic import atomic_write
from pa3d.errors import InputError

FORMAT = (
    1  # part of every key; increment it when a change of the code gives other vectors for the same prompts and weights
)
DIGEST_BYTES = 32  # of SHA-256


def cache_folder() -> Path:
    """$PA3D_CACHE, else `pa3d` in the platform's folder for caches."""
    if folder := os.environ.get("PA3D_CACHE"):
        return Path(folder)
    if xdg := os.environ.get("XDG_CACHE_HOME"):
        return Path(xdg) / "pa3d"
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local") / "pa3d" / "cache"
    return Path.home() / ("Library/Caches" if sys.platform == "darwin" else ".cache") / "pa3d"


class VectorCache:
    """Vectors of one encoder. Without a revision it stays empty."""

    def __init__(self, space: str, revision: str) -> None:
        self._identity = [FORMAT, space, revision]
        self._folder: Path | None = None
        if revision:
            with contextlib.suppress(RuntimeError):  # no home folder
                self._folder = cache_folder() / "text" / re.sub(r"[^\w.-]+", "_", space)[-100:]

    def get(self, prompts: Sequence[str]) -> NDArray[np.float32] | None:  # (D,)
        """The vector of a part's prompts; None if it is not there."""
        if self._folder is None:
            return None
        try:
            data = self._path(self._folder, prompts).read_bytes()
        except OSError:
            return None
        digest, payload = data[:DIGEST_BYTES], data[DIGEST_BYTES:]
        if not payload or hashlib.sha256(payload).digest() != digest:
            return None
        return np.frombuffer(payload, "<f4").astype(np.float32)

    def put(self, prompts: Sequence[str], vector: NDArray[np.float32]) -> None:  # (D,)
        """Keep the vector of a part's prompts; does nothing when the folder cannot be written."""
        if self._folder is None:
            return
        payload = vector.astype("<f4").tobytes()
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            with atomic_write(self._path(self._folder, prompts)) as file:
                file.write(hashlib.sha256(payload).digest() + payload)
        except (OSError, InputError):
            self._folder = None  # do not try again for every vector

    def _path(self, folder: Path, prompts: Sequence[str]) -> Path:
        key = json.dumps([*self._identity, *prompts])
        return folder / f"{hashlib.sha256(key.encode()).hexdigest()[:40]}.vec"
