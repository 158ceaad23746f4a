"""The vectors of every name that training can ask for, computed once; other wordings of names."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pa3d.config import EncoderConfig
from pa3d.errors import InputError
from pa3d.text import TextEncoder, clean, embed_parts
from pa3d.train.records import Group

Key = tuple[str, str | None]  # name, category of the prompt or None


class TextBank:
    """Vectors by number. embed_parts keeps each on disk as well, so that a text is encoded once a machine."""

    def __init__(self, encoder: TextEncoder, keys: Iterable[Key]) -> None:
        by_category: dict[str | None, list[str]] = {}
        for name, category in sorted(set(keys), key=lambda key: (key[1] or "", key[0])):
            by_category.setdefault(category, []).append(name)
        self._rows: dict[Key, int] = {}
        blocks = [np.zeros((0, encoder.dim), np.float32)]
        for category, names in by_category.items():
            self._rows |= {(name, category): len(self._rows) + i for i, name in enumerate(names)}
            blocks.append(embed_parts(encoder, names, category))
        self.vectors: NDArray[np.float32] = np.concatenate(blocks)  # (V, D)

    def rows(self, names: Sequence[str], category: str | None) -> list[int]:
        return [self._rows[name, category] for name in names]

    def without_vectors(self) -> TextBank:
        """For processes that only number names."""
        small = object.__new__(TextBank)
        small._rows, small.vectors = self._rows, np.zeros((0, 0), np.float32)
        return small


class Paraphrases:
    """Other wordings: of a name, or of a name in one category ("hammer head")."""

    def __init__(self, table: dict[str, tuple[str, ...]]) -> None:
        self._table = table

    def of(self, name: str, category: str) -> tuple[str, ...]:
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
            name, tab, rest = line.partition("\t")
            if line.strip() and not line.startswith("#"):
                if not tab or not rest.strip():
                    raise InputError(f"{source}, line {number}: expected name TAB paraphrase|paraphrase...")
                table[clean(name)] = tuple(clean(text) for text in rest.split("|") if text.strip())
        return Paraphrases(table)


def named_categories(groups: Sequence[Group], minimum: int) -> set[str]:
    """Categories that enough records share to be named in prompts."""
    counts = Counter(group.header(i).category for group in groups for i in range(len(group)))
    return {category for category, count in counts.items() if category.strip() and count >= minimum}


def bank_keys(groups: Sequence[Group], paraphrases: Paraphrases, categories: set[str]) -> set[Key]:
    """Everything that a draw from these groups can ask for."""
    keys: set[Key] = set()
    for group in groups:
        for header in {group.header(i) for i in range(len(group))}:
            spoken = [None, header.category] if header.category in categories else [None]
            for name in header.names:
                texts = (name, *map(clean, paraphrases.of(name, header.category)))
                keys |= {(text, category) for text in texts for category in spoken}
    return keys


def check_width(encoder: TextEncoder, config: EncoderConfig) -> None:
    if encoder.dim != config.text_dim:
        raise InputError(
            f"encoder.text_dim is {config.text_dim}, but {encoder.space} has {encoder.dim} dimensions; "
            f"set encoder.text_dim={encoder.dim}"
        )
