"""A reader that fails as its file says, for tests/test_formats.py: stands for a library in native code."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import numpy as np

from pa3d.io._common import CorruptFileError, Geometry
from pa3d.shape import Piece


def parse(path: Path) -> Geometry:
    what = path.read_text()
    print("a library prints this")
    if what == "crash":
        os.kill(os.getpid(), signal.SIGSEGV)
    if what == "hang":
        while True:
            pass
    if what == "memory":
        bytearray(1 << 40)
    if what == "corrupt":
        raise CorruptFileError("is damaged: this and that", "mend it")
    if what == "bug":
        raise TypeError("a bug")
    pieces = (Piece("one", parents=("above", "top")),)
    return Geometry(np.eye(3), np.array([[0, 1, 2]]), np.full((3, 3), 7, np.uint8), pieces, np.zeros(1, np.int64))
