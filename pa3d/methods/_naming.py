"""pa3d's own model in the role that another method has in a paper: it names points, and nothing has to be fetched."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pa3d.segment import Segmentation, Segmenter
from pa3d.shape import Shape


class EmbeddedNaming:
    """A Segmenter of one thread, which is loaded when it is first used; pickles hold none."""

    def __init__(self) -> None:
        self._segmenter: Segmenter | None = None
        self._vectors: dict[tuple[str, ...], Any] = {}

    def __getstate__(self) -> dict[str, Any]:
        return {"_segmenter": None, "_vectors": self._vectors}

    def segment(self, shape: Shape, parts: Sequence[str], category: str | None = None) -> Segmentation:
        if self._segmenter is None:
            self._segmenter = Segmenter.from_pretrained(threads=1)
        key = (*parts, category or "")
        if key not in self._vectors:
            self._vectors[key] = self._segmenter.embed_text(parts, category)
        return self._segmenter.segment(shape, parts, category=category, text_vectors=self._vectors[key])
