"""Shapes ranked by words, by another shape, or by their parts."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pa3d.categories import categories
from pa3d.errors import InputError
from pa3d.part_tree import default_vocabulary
from pa3d.search.index_file import IndexFile
from pa3d.search.vectors import EmbedOptions, index_facts, region_vectors
from pa3d.segment import Segmenter
from pa3d.session import OpenShape

Floats = NDArray[np.float32]

# Of the mean cosine of parts beside the cosine of the whole shape. Cosines with parts differ less from shape to shape.
PARTS_WEIGHT = 2.0

_PLURALS = (("s", ""), ("es", ""), ("ies", "y"), ("ves", "f"), ("ves", "fe"))
_WITH = re.compile(r"\bwith\b", re.IGNORECASE)
_BETWEEN_PARTS = re.compile(r"[,;]|\band\b", re.IGNORECASE)
_ARTICLE = re.compile(r"^(an?|the|some)\s+", re.IGNORECASE)


class FoundPart(NamedTuple):
    """The region of a shape that fits a part best. name: the word, or "" for a vector. score: the cosine. share: of
    the surface or points. region: its number (pa3d.search.vectors.region_vectors)."""

    name: str
    score: float
    share: float
    region: int


@dataclass(frozen=True)
class Hit:
    """A shape that was found. path: absolute. whole: the cosine with the whole shape, None if only parts were asked
    for. score: of both, by which hits are sorted; see ShapeIndex.search."""

    path: Path
    score: float
    whole: float | None
    parts: tuple[FoundPart, ...] = ()


class ShapeIndex:
    """An index that pa3d embed has written. Vectors stay in the file, and are read in blocks."""

    def __init__(
        self, file: IndexFile, model: Segmenter | str | os.PathLike[str] | None = None, threads: int | None = None
    ) -> None:
        """See load."""
        self._file, self._model, self._threads = file, model, threads
        self._checked: Segmenter | None = None

    @classmethod
    def load(
        cls,
        path: str | os.PathLike[str],
        model: Segmenter | str | os.PathLike[str] | None = None,
        threads: int | None = None,
    ) -> ShapeIndex:
        """model: that made the index; the embedded one, or a path or name as Segmenter.from_pretrained takes it. It is
        loaded when words or files are asked for. threads: of the encoder; None for all processors. Raises InputError
        for a file that is not an index."""
        return cls(IndexFile(path), model, threads)

    def __len__(self) -> int:
        return len(self._file)

    @property
    def paths(self) -> list[str]:
        """The absolute paths of the shapes, sorted as the rows are."""
        return self._file.paths

    @property
    def options(self) -> EmbedOptions:
        """How the files were read and sampled."""
        return self._file.options

    @property
    def segmenter(self) -> Segmenter:
        """The model. Raises InputError if it is not the one that made the index."""
        if self._checked is None:
            model = self._model
            if not isinstance(model, Segmenter):
                path = None if model is None else Path(model)
                model = Segmenter.from_pretrained(path, threads=self._threads, patches=self._file.patches)
            self._file.check_model(index_facts(model, self.options))
            self._checked = model
        return self._checked

    def open(self, file: str | os.PathLike[str]) -> OpenShape:
        """A file, read and encoded as those of the index were."""
        return self.options.open(self.segmenter, file)

    def search(self, query: str | ArrayLike, top: int = 10, *, parts: Sequence[str] = ()) -> list[Hit]:
        """The shapes that fit words, or a vector (D,) in the space of the text, best first.

        Words are compared with whole shapes by their cosine. "X with Y, Z and W" also looks for parts: of each the
        region with the largest cosine counts. The score is then (cosine of X + 2 mean of those of the parts) / 3.
        parts: others to look for. Raises InputError for words that the text encoder cannot read, or a
        vector of another length.
        """
        if isinstance(query, str):
            thing, of_query = parse_query(query)
            names = list(dict.fromkeys([*of_query, *parts]))
            whole = self._words([thing])[0] if thing else None
        else:
            whole, names = self._vector(query), list(parts)
        return self._ranked(whole, names, self._part_words(names), top)

    def search_part(self, part: str | Sequence[str] | NDArray[np.floating], top: int = 10) -> list[Hit]:
        """The shapes that have a part: words, several of them, or a vector (D,). The score is the mean of the largest
        cosines."""
        if isinstance(part, np.ndarray):
            return self._ranked(None, [""], self._vector(part)[None], top)
        names = [part] if isinstance(part, str) else list(part)
        if not names:
            raise InputError("no part was given; give a word, such as 'leg'")
        return self._ranked(None, names, self._part_words(names), top)

    def like(self, file: str | os.PathLike[str], part: str | Sequence[str] | None = None, top: int = 10) -> list[Hit]:
        """The shapes that are like a file, or have parts like those that words name on this file.

        Of each word it is the region of the file with the largest cosine. Raises InputError for a file that cannot be
        read, or words that the text encoder cannot read.
        """
        shape = self.open(file)
        if part is None:
            return self.search(shape.embedding, top)
        names = [part] if isinstance(part, str) else list(part)
        vectors = region_vectors(shape.tree)[0]
        best = (self._part_words(names) @ vectors.T).argmax(axis=1)
        return self._ranked(None, names, vectors[best], top)

    def _words(self, words: Sequence[str]) -> Floats:  # (n, D)
        # One by one: that two parts are the same to the encoder does not matter here.
        vectors = [self.segmenter.embed_text([word])[0] for word in words]
        return np.array(vectors, np.float32).reshape(len(words), self._file.facts["dim"])

    def _part_words(self, names: Sequence[str]) -> Floats:  # (n, D)
        return self._words([singular(name) for name in names])

    def _vector(self, values: ArrayLike) -> Floats:  # (D,)
        vector, dim = np.asarray(values, np.float32), self._file.facts["dim"]
        norm = float(np.linalg.norm(vector)) if vector.shape == (dim,) else 0.0
        if not 0 < norm < np.inf:
            raise InputError(f"the vector has shape {vector.shape}; expected {dim} finite numbers that are not all 0")
        return vector / np.float32(norm)

    def _ranked(self, whole: Floats | None, names: Sequence[str], vectors: Floats, top: int) -> list[Hit]:
        """whole (D,), vectors (K, D) of the parts."""
        if isinstance(top, bool) or not isinstance(top, int) or top < 1:
            raise InputError(f"top is {top!r}; expected an integer of at least 1")
        cosines = None if whole is None else self._whole_cosines(whole)
        scores = cosines
        if len(vectors):
            of_parts, regions = self._part_cosines(vectors)
            scores = of_parts.mean(axis=1)
            if cosines is not None:
                scores = (cosines + PARTS_WEIGHT * scores) / (1 + PARTS_WEIGHT)
        assert scores is not None  # a query has a whole or parts
        hits = []
        for i in np.argsort(-scores, kind="stable")[:top].tolist():
            found: list[FoundPart] = []
            if len(vectors):
                shares = self._file.row("shares", i)
                found = [
                    FoundPart(name, float(of_parts[i, k]), float(shares[regions[i, k]]), int(regions[i, k]))
                    for k, name in enumerate(names)
                ]
            one = None if cosines is None else float(cosines[i])
            hits.append(Hit(Path(self._file.path_of(i)), float(scores[i]), one, tuple(found)))
        return hits

    def _whole_cosines(self, vector: Floats) -> Floats:  # (S,)
        cosines = np.empty(len(self), np.float32)
        for start, rows in self._file.blocks("shapes"):
            cosines[start : start + len(rows)] = rows.astype(np.float32) @ vector
        return cosines

    def _part_cosines(self, vectors: Floats) -> tuple[Floats, NDArray[np.int32]]:  # (K, D) -> (S, K), (S, K)
        """Of each part the largest cosine with a region of a shape, and which region it is."""
        cosines = np.empty((len(self), len(vectors)), np.float32)
        regions = np.empty(cosines.shape, np.int32)
        for start, block in self._file.blocks("parts"):
            rows = block.astype(np.float32)  # (B, P, D)
            norms = np.sqrt(np.einsum("bpd,bpd->bp", rows, rows))
            products = (rows @ vectors.T) / np.maximum(norms, 1e-9)[:, :, None]  # (B, P, K)
            products[norms == 0] = -1
            cosines[start : start + len(rows)] = products.max(axis=1)
            regions[start : start + len(rows)] = products.argmax(axis=1)
        return cosines, regions


def singular(name: str) -> str:
    """A name of a part with its last word in the singular, if that is a part that is known: one region is one wheel.

    Names in training were singular, and "wheels" fits a wheel less than "wheel" does.
    """
    *before, last = name.split() or [""]
    known = _known_words()
    if last.lower() not in known:
        word = last.lower()
        forms = [word[: -len(ending)] + end for ending, end in _PLURALS if word.endswith(ending)]
        last = next((form for form in forms if form in known), last)
    return " ".join([*before, last])


@lru_cache(maxsize=1)
def _known_words() -> frozenset[str]:
    """The last words of names of parts."""
    names = [*default_vocabulary(), *(part for category in categories() for part in category.parts)]
    return frozenset(name.split()[-1] for name in names)


def parse_query(query: str) -> tuple[str, list[str]]:
    """The thing and its parts: "chair with arms, wheels and a headrest" is chair, [arms, wheels, headrest].

    The thing is empty in "with wheels". Raises InputError for a query without words.
    """
    thing, *rest = _WITH.split(query, maxsplit=1)
    parts = [_ARTICLE.sub("", part.strip()) for part in _BETWEEN_PARTS.split(rest[0])] if rest else []
    parts = list(dict.fromkeys(part for part in parts if part))
    thing = " ".join(thing.split())
    if not thing and not parts:
        raise InputError(f'the query {query!r} has no words; give some, such as "office chair with arms"')
    return thing, parts
