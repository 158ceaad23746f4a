"""What a checkpoint makes of names: their logits at the patches of a shape, and how sure it is that the shape has them.

Names are read through the lexicon, their logits are divided by their levels, and presence counts what such things have
(csrc/cpu/segment.h). What depends on the names alone is computed once for a set of names.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pa3d import _C
from pa3d.checkpoint import Checkpoint
from pa3d.segmentation import PatchFeatures
from pa3d.shape_head import ShapeHead

Floats = NDArray[np.float32]

MAX_NAMES = 256  # sets of names of which a KnownNames keeps what it computed


@dataclass
class _Names:
    """vectors (K, D): read through the lexicon, if there is one. levels (K,): None without a bank. fits (C, K): with
    the kinds of things; None until it is needed."""

    vectors: Floats
    levels: Floats | None
    fits: Floats | None = None


class KnownNames:
    """The names that a checkpoint was asked for. May be used from several threads at once."""

    def __init__(self, checkpoint: Checkpoint, threads: int) -> None:
        self._checkpoint, self._threads = checkpoint, threads
        self._known: dict[bytes, _Names] = {}

    def logits(self, encoded: PatchFeatures, vectors: Floats) -> Floats:  # (K, D) -> (G, K)
        """Logits of names with unit vectors at each patch: cosine / temperature / level."""
        names = self._read(vectors)
        return _C.cosine_logits(encoded.features, names.vectors, self._checkpoint.temperature, names.levels)

    def presence(
        self, encoded: PatchFeatures, logits: Floats, vectors: Floats
    ) -> Floats | None:  # (G, K), (K, D) -> (K,)
        """How sure it is that a shape has each of the parts, by the logits of its patches and by what such things have:
        see Segmentation.presence. None for a checkpoint without a calibration, or whose calibration needs kinds or a
        shape head that it does not have."""
        fit = self._checkpoint.presence
        if fit is None:
            return None
        expected = self.expectation(encoded, vectors) if fit.weight else None
        if fit.weight and expected is None:
            return None
        return _C.presence(logits, fit.slope, fit.offset, fit.weight, expected)

    def expectation(self, encoded: PatchFeatures, vectors: Floats) -> Floats | None:  # (K, D) -> (K,)
        """How well names with unit vectors fit what a shape seems to be, as logarithms of numbers from 0.03 to 1.03.
        None for a checkpoint without kinds or without a shape head."""
        kinds, head = self._checkpoint.kinds, self._checkpoint.shape_head
        if kinds is None or head is None:
            return None
        names = self._read(vectors)
        if names.fits is None:
            names.fits = _C.kind_fits(*kinds, names.vectors, self._threads)
        return _C.expectation(kinds.rows, ShapeHead(head)(encoded.tokens, self._threads), names.fits)

    def _read(self, vectors: Floats) -> _Names:  # (K, D)
        vectors = np.ascontiguousarray(vectors)
        checkpoint = self._checkpoint
        bank, lexicon = checkpoint.bank, checkpoint.lexicon
        if bank is None and lexicon is None and checkpoint.kinds is None:
            return _Names(vectors, None)
        key = vectors.tobytes()
        known = self._known.get(key)
        if known is None:
            if len(self._known) >= MAX_NAMES:
                self._known = {}  # of another thread, too: it computes them again
            read = vectors.copy() if lexicon is None else _C.read_through_lexicon(*lexicon, vectors, self._threads)
            levels = None if bank is None else _C.name_levels(bank, read, self._threads)
            self._known[key] = known = _Names(read, levels)
        return known
