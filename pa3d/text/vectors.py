"""Text vectors in a file: a fixed vocabulary for machines that do not have the text encoder.

    names = ("seat", "back", "leg")
    TextVectors(names, segmenter.embed_text(names), segmenter.checkpoint.text_space).save("chair.safetensors")
    TextVectors.load("chair.safetensors").select(["leg", "seat"])  # (2, D)

The file is safetensors with one tensor, `vectors` (K, D) float32, unit rows. Its metadata say which names the rows
belong to, the text space, and the category that the prompts named, if any.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pa3d import _C
from pa3d.errors import InputError
from pa3d.text import check_names
from pa3d.text.prompts import clean_category, clean_name, quoted

FORMAT = 1
METADATA = "pa3d_text_vectors"  # the entry of the metadata
REPORTED = 5  # names that a message lists


@dataclass(frozen=True)
class TextVectors:
    """Names, their unit vectors (K, D), the text space, and the category of their prompts or None.

    source: where they were read, for messages.
    """

    names: tuple[str, ...]
    vectors: NDArray[np.float32]
    space: str
    category: str | None = None
    source: str = "text vectors"

    def __post_init__(self) -> None:
        if self.vectors.ndim != 2 or len(self.vectors) != len(self.names):
            raise InputError(
                f"{self.source}: {self.vectors.shape} for {len(self.names)} names; expected a row for each"
            )

    def select(self, names: Sequence[str], category: str | None = None) -> NDArray[np.float32]:  # (len(names), D)
        """The vectors of these names, which are compared as prompts contain them ("Left_Arm" is "left arm").

        Raises InputError when a name is missing or the category is another one.
        """
        missing = self.missing(names)
        if missing:
            listed = ", ".join(quoted(name) for name in missing[:REPORTED]) + (", ..." if missing[REPORTED:] else "")
            known = ", ".join(self.names[:REPORTED]) + (", ..." if self.names[REPORTED:] else "")
            raise InputError(
                f"{self.source}: no vector of {listed}; it has {known} ({len(self.names)} names). "
                "Make one with all names: pa3d embed-text FILE --parts NAMES"
            )
        if self._key(category) != self._key(self.category):
            raise InputError(
                f"{self.source}: made for category {self.category!r}, not {category!r}; give the same category, or "
                "make one for it: pa3d embed-text FILE --parts NAMES --category WORD"
            )
        rows = {clean_name(name): row for row, name in enumerate(self.names)}
        return self.vectors[[rows[clean_name(name)] for name in names]]

    def missing(self, names: Sequence[str]) -> list[str]:
        """The names that have no vector here."""
        known = {clean_name(name) for name in self.names}
        return [name for name in names if clean_name(name) not in known]

    def has(self, names: Sequence[str], category: str | None = None) -> bool:
        """Whether `select` would return vectors."""
        return self._key(category) == self._key(self.category) and not self.missing(names)

    def check_space(self, space: str, dim: int) -> None:
        """Raise InputError unless the vectors lie in this text space and have `dim` numbers."""
        found = self.vectors.shape[1]
        if (self.space, found) != (space, dim):
            raise InputError(
                f"{self.source}: vectors of text space {self.space} with {found} dimensions, but the model needs "
                f"{space} with {dim}; make them for this model: pa3d embed-text FILE --parts NAMES --model MODEL"
            )

    @staticmethod
    def _key(category: str | None) -> str | None:
        return None if category is None else clean_category(category)

    def to_bytes(self) -> bytes:
        """The content of the file; equal vectors give equal bytes."""
        from safetensors.numpy import save

        meta = {"format": FORMAT, "space": self.space, "category": self.category, "names": list(self.names)}
        vectors = np.ascontiguousarray(self.vectors, np.float32)
        return save({"vectors": vectors}, metadata={METADATA: json.dumps(meta, sort_keys=True)})

    def save(self, path: str | Path) -> None:
        """Write atomically. Raises InputError when the file cannot be written."""
        from pa3d.atomic import atomic_write

        with atomic_write(path) as file:
            file.write(self.to_bytes())

    @classmethod
    def load(cls, path: str | Path) -> TextVectors:
        """Read a file that `save` wrote. Raises InputError for any other."""
        from safetensors import SafetensorError, safe_open

        path = Path(path)
        hint = "make it with pa3d embed-text FILE --parts NAMES"
        if not path.is_file():
            raise InputError(f"{path}: no such file of text vectors; {hint}")
        try:
            with safe_open(str(path), framework="numpy") as file:
                header = (file.metadata() or {}).get(METADATA)
                if header is None:
                    raise InputError(f"{path}: safetensors, but not text vectors of pa3d; {hint}")
                vectors = file.get_tensor("vectors")
        except (SafetensorError, OSError) as error:
            raise InputError(f"{path}: not a readable safetensors file ({error}); {hint}") from error
        try:
            return cls._checked(json.loads(header), vectors, str(path))
        except (KeyError, ValueError, TypeError, RecursionError) as error:
            raise InputError(f"{path}: text vectors are damaged ({error}); {hint}") from error

    @classmethod
    def _checked(cls, meta: dict[str, Any], vectors: NDArray[Any], source: str) -> TextVectors:
        """Raises ValueError, KeyError or TypeError for what `to_bytes` does not write."""
        if meta["format"] != FORMAT:
            raise ValueError(f"format {meta['format']}, this version reads {FORMAT}")
        names, space, category = meta["names"], meta["space"], meta["category"]
        if not isinstance(names, list) or not isinstance(space, str):
            raise TypeError("names or space have the wrong type")
        check_names(names)
        if category is not None:
            clean_category(category)
        if vectors.dtype != np.float32 or vectors.ndim != 2 or len(vectors) != len(names) or vectors.shape[1] == 0:
            raise ValueError(f"vectors are {vectors.dtype} {vectors.shape}, expected float32 ({len(names)}, D)")
        unit = _C.unit_rows(np.ascontiguousarray(vectors))
        if not np.isfinite(unit).all() or np.abs(unit - vectors).max() > 1e-3:
            raise ValueError("vectors are not unit rows")
        return cls(tuple(names), vectors, space, category, source)


def part_vectors(
    source: Any, names: Sequence[str], category: str | None, space: str, dim: int
) -> NDArray[np.float32]:  # (len(names), dim), unit rows
    """What a caller gives instead of the text encoder, checked: an array, TextVectors, or a file of them.

    Raises InputError for vectors of another shape or text space, rows that cannot be normalised, a file that cannot be
    used, or a name that it does not have.
    """
    check_names(names)
    found = TextVectors.load(source) if isinstance(source, str | Path) else source
    if isinstance(found, TextVectors):
        found.check_space(space, dim)
        return found.select(names, category)
    try:
        vectors = np.asarray(found, dtype=np.float32)
    except (TypeError, ValueError) as error:
        raise InputError(f"text_vectors: not numbers ({error}); expected an array of shape (K, D)") from error
    if vectors.shape != (len(names), dim):
        raise InputError(
            f"text_vectors have shape {vectors.shape}, expected {(len(names), dim)}: one row per part in the text "
            f"space of this checkpoint, {space}"
        )
    unit = _C.unit_rows(np.ascontiguousarray(vectors))
    if not np.isfinite(unit).all():
        raise InputError("text_vectors: NaN, infinite or zero rows; expected unit vectors")
    return unit
