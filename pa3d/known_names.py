"""What a checkpoint makes of names: their logits at the patches of a shape, and how sure it is that the shape has them.

Names are read through the lexicon, their logits are divided by their levels, and presence counts what such things have
(csrc/cpu/segment.h). Words that the lexicon does not have are read anew on each shape, by what it seems to be and by
the other words (csrc/cpu/words.h). What depends on the names alone is computed once for a set of names.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

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
    """given (K, D): as they were given. vectors (K, D): read through the lexicon, if there is one. levels (K,): None
    without a bank. nearest (K,), closeness (K, N): to the texts and the names of the lexicon; None if each of the words
    is known or the checkpoint cannot tell what a shape is. fits (C, K): with the kinds of things; None until needed."""

    given: Floats
    vectors: Floats
    levels: Floats | None
    nearest: Floats | None = None
    closeness: Floats | None = None
    fits: Floats | None = None


class KnownNames:
    """The names that a checkpoint was asked for. May be used from several threads at once."""

    def __init__(self, checkpoint: Checkpoint, threads: int) -> None:
        self._checkpoint, self._threads = checkpoint, threads
        self._known: dict[bytes, _Names] = {}
        self._head = None if checkpoint.shape_head is None else ShapeHead(checkpoint.shape_head)

    def logits(self, encoded: PatchFeatures, vectors: Floats) -> Floats:  # (K, D) -> (G, K)
        """Logits of names with unit vectors at each patch: cosine / temperature / level."""
        names = self._on_shape(encoded, self._read(vectors))
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
        kinds = self._checkpoint.kinds
        if kinds is None or self._head is None:
            return None
        fits = self._fits(self._read(vectors))
        return _C.expectation(kinds.rows, self._head(encoded.tokens, self._threads), fits)

    @cached_property
    def _lexicon_names(self) -> tuple[NDArray[np.int32], Floats, Floats] | None:
        """Name of each text of the lexicon (R,), vectors of the names (N, D), their fits with the kinds (C, N). None if
        the checkpoint cannot tell what a shape is, or has no lexicon."""
        lexicon, kinds = self._checkpoint.lexicon, self._checkpoint.kinds
        if lexicon is None or kinds is None or self._head is None:
            return None
        return _C.lexicon_names(lexicon.rows, lexicon.meaning, *kinds, self._threads)

    def _fits(self, names: _Names) -> Floats:  # (C, K)
        if names.fits is None:
            assert self._checkpoint.kinds is not None
            names.fits = _C.kind_fits(*self._checkpoint.kinds, names.vectors, self._threads)
        return names.fits

    def _on_shape(self, encoded: PatchFeatures, names: _Names) -> _Names:
        """Names with what they mean on a shape, if some of them are not known."""
        if names.nearest is None or names.closeness is None:
            return names
        checkpoint = self._checkpoint
        assert self._lexicon_names is not None and checkpoint.kinds is not None and self._head is not None
        _, name_vectors, name_fits = self._lexicon_names
        vectors = _C.read_on_shape(
            name_vectors,
            name_fits,
            checkpoint.kinds.rows,
            names.given,
            names.vectors,
            names.levels,
            self._fits(names),
            names.nearest,
            names.closeness,
            self._head(encoded.tokens, self._threads),
            encoded.features,
            checkpoint.temperature,
            self._threads,
        )
        return _Names(names.given, vectors, self._levels(vectors))

    def _levels(self, vectors: Floats) -> Floats | None:  # (K, D) -> (K,)
        bank = self._checkpoint.bank
        return None if bank is None else _C.name_levels(bank, vectors, self._threads)

    def _read(self, vectors: Floats) -> _Names:  # (K, D)
        vectors = np.ascontiguousarray(vectors)
        checkpoint = self._checkpoint
        lexicon = checkpoint.lexicon
        if checkpoint.bank is None and lexicon is None and checkpoint.kinds is None:
            return _Names(vectors, vectors, None)
        key = vectors.tobytes()
        known = self._known.get(key)
        if known is None:
            if len(self._known) >= MAX_NAMES:
                self._known = {}  # of another thread, too: it computes them again
            given = vectors.copy()
            if lexicon is None:
                known = _Names(given, given, self._levels(given))
            else:
                read, nearest = _C.read_through_lexicon(*lexicon, given, self._threads)
                known = _Names(given, read, self._levels(read))
                if not _C.all_known(nearest) and self._lexicon_names is not None:
                    name_of, names, _ = self._lexicon_names
                    known.nearest = nearest
                    known.closeness = _C.closeness_to_names(lexicon.rows, name_of, len(names), given, self._threads)
            self._known[key] = known
        return known
