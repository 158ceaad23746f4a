"""The vectors of every text that training can ask for, encoded once; paraphrases of part names."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pa3d.config import EncoderConfig
from pa3d.errors import InputError
from pa3d.text import TextEncoder, clean_name, embed_parts
from pa3d.train.records import Group

TextKey = tuple[str, str | None]  # part name, and the category that its prompts name or None


class TextBank:
    """A matrix of text vectors and the row of every key.

    vectors: (V, D) float32, unit rows. `embed_parts` keeps them on disk too, so a text is encoded once per machine.
    """

    def __init__(self, encoder: TextEncoder, keys: Iterable[TextKey]) -> None:
        by_category: dict[str | None, list[str]] = {}
        for name, category in sorted(set(keys), key=lambda key: (key[1] or "", key[0])):
            by_category.setdefault(category, []).append(name)
        self._ids: dict[TextKey, int] = {}
        blocks = [np.zeros((0, encoder.dim), np.float32)]
        for category, names in by_category.items():
            self._ids |= {(name, category): len(self._ids) + i for i, name in enumerate(names)}
            blocks.append(embed_parts(encoder, names, category))
        self.vectors: NDArray[np.float32] = np.concatenate(blocks)

    def __contains__(self, key: TextKey) -> bool:
        return key in self._ids

    def ids(self, names: Sequence[str], category: str | None) -> list[int]:
        """The row of each name in `vectors`."""
        return [self._ids[name, category] for name in names]

    def without_vectors(self) -> TextBank:
        """A bank without vectors, which knows only the rows: small enough to be sent to worker processes."""
        small = object.__new__(TextBank)
        small._ids, small.vectors = self._ids, np.zeros((0, 0), np.float32)
        return small


class Paraphrases:
    """Other names of parts. table: from a name, or from "category name" ("hammer head"), to its paraphrases."""

    def __init__(self, table: dict[str, tuple[str, ...]]) -> None:
        self._table = table

    def lookup(self, name: str, category: str) -> tuple[str, ...]:
        """The paraphrases for this category, else for any, else none."""
        return self._table.get(f"{category} {name}") or self._table.get(name, ())

    @staticmethod
    def load(source: str) -> Paraphrases:
        """source: "" for none, "builtin", or a file with lines name TAB paraphrase|paraphrase... Raises InputError."""
        if not source:
            return Paraphrases({})
        if source == "builtin":
            from pa3d.data.paraphrases import load_paraphrases

            return Paraphrases(load_paraphrases())
        try:
            lines = Path(source).read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"data.paraphrases {source}: cannot be read ({error}); give a file or builtin") from error
        table = {}
        for number, line in enumerate(lines, 1):
            name, tab, paraphrases = line.partition("\t")
            if line.strip() and not line.startswith("#"):
                if not tab or not paraphrases.strip():
                    raise InputError(f"{source}, line {number}: expected name TAB paraphrase|paraphrase...")
                table[clean_name(name)] = tuple(clean_name(text) for text in paraphrases.split("|") if text.strip())
        return Paraphrases(table)


class NegativeNameSampler:
    """Samples part names that a shape almost certainly does not have, from the names of all training shapes.

    A name qualifies if no shape of the same category has it, and if it is unrelated to every name of the shape. Two
    names are unrelated if all of this holds: the cosine of their vectors is below MAX_COSINE; they have no word in
    common (a plural counts as the same word); neither is a paraphrase of the other; they have no paraphrase in common.
    """

    MAX_COSINE = 0.5

    def __init__(self, groups: Sequence[Group], text_bank: TextBank, paraphrases: Paraphrases) -> None:
        infos = {group.info(i) for group in groups for i in range(len(group))}
        self.names = sorted({name for info in infos for name in info.names})
        self._index = {name: i for i, name in enumerate(self.names)}
        vectors = text_bank.vectors[text_bank.ids(self.names, None)]
        self._unrelated = vectors @ vectors.T < self.MAX_COSINE  # (V, V)
        related: dict[str, set[int]] = {}  # from a word or a text to the names that have it
        for i, name in enumerate(self.names):
            for word in name.split():
                related.setdefault(f"word {word.removesuffix('s')}", set()).add(i)
            for text in (name, *map(clean_name, paraphrases.lookup(name, ""))):
                related.setdefault(f"text {text}", set()).add(i)
        for indices in related.values():
            self._unrelated[np.ix_(list(indices), list(indices))] = False
        self._in_category: dict[str, NDArray[np.bool_]] = {}
        for info in infos:
            if not info.category.strip():  # shapes without a category are not of the same category
                continue
            in_category = self._in_category.setdefault(info.category, np.zeros(len(self.names), bool))
            in_category[[self._index[name] for name in info.names]] = True

    def sample(self, present: Sequence[str], category: str, count: int, rng: np.random.Generator) -> list[str]:
        """Up to `count` names, also unrelated to each other. present: all names of the shape."""
        candidates = ~self._in_category.get(category, np.zeros(len(self.names), bool))
        for name in present:
            candidates &= self._unrelated[self._index[name]]
        chosen: list[str] = []
        while len(chosen) < count and candidates.any():
            index = int(rng.choice(np.flatnonzero(candidates)))
            chosen.append(self.names[index])
            candidates &= self._unrelated[index]
        return chosen


def frequent_categories(groups: Sequence[Group], min_count: int) -> set[str]:
    """Categories of at least min_count records; prompts and the loss of categories may name these."""
    counts = Counter(group.info(i).category for group in groups for i in range(len(group)))
    return {category for category, count in counts.items() if category.strip() and count >= min_count}


def text_keys(groups: Sequence[Group], paraphrases: Paraphrases, categories: set[str]) -> set[TextKey]:
    """Every text that a batch from these groups can ask for."""
    keys: set[TextKey] = set()
    for group in groups:
        for info in {group.info(i) for i in range(len(group))}:
            prompted = [None, info.category] if info.category in categories else [None]
            for name in info.names:
                texts = (name, *map(clean_name, paraphrases.lookup(name, info.category)))
                keys |= {(text, category) for text in texts for category in prompted}
    return keys


def check_text_dim(encoder: TextEncoder, config: EncoderConfig) -> None:
    """Raises InputError when the encoder's vectors do not have config.text_dim numbers."""
    if encoder.dim != config.text_dim:
        raise InputError(
            f"encoder.text_dim is {config.text_dim}, but {encoder.space} has {encoder.dim} dimensions; "
            f"set encoder.text_dim={encoder.dim}"
        )
