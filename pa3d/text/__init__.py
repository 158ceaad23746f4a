"""Text: from part names to unit vectors, in the space in which they are compared with patch features.

    encoder = text_encoder("all-MiniLM-L6-v2")
    vectors = embed_parts(encoder, ["seat", "back", "leg"], category="chair")  # (3, 384)

A space is named after its encoder. "all-MiniLM-L6-v2" comes with the package and runs without torch.
"open_clip/NAME/PRETRAINED" is any OpenCLIP model and needs `pa3d[torch]`. It imports torch and loads its weights when
it encodes its first text. So parts whose vectors are in the cache on disk need neither.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence, Set
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from pa3d import _C
from pa3d.errors import InputError
from pa3d.text.cache import VectorCache
from pa3d.text.prompts import PromptMode, clean_category, clean_name, part_prompts, quoted

__all__ = [
    "TextEncoder",
    "check_distinct",
    "check_names",
    "check_readable",
    "clean_name",
    "embed_parts",
    "part_prompts",
    "text_encoder",
]

EMBEDDED = "all-MiniLM-L6-v2"
OFFICIAL = "open_clip/ViT-bigG-14/laion2b_s39b_b160k"


class TextEncoder(Protocol):
    """Turns texts into vectors.

    An encoder may also have `revision: str`, which names its exact weights. Without it, or when it is empty, no vector
    is cached on disk.
    """

    @property
    def space(self) -> str:
        """Name of the text space, as `text_encoder` takes it."""
        ...

    @property
    def dim(self) -> int:
        """Length of a vector."""
        ...

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:  # (n, dim), unit rows
        """The vector of a text must not depend on the other texts."""
        ...


def text_encoder(
    space: str, *, weights: str | None = None, device: str = "cpu", threads: int | None = None
) -> TextEncoder:
    """The encoder of a text space.

    space: "all-MiniLM-L6-v2" or "open_clip/NAME/PRETRAINED", PRETRAINED a tag of OpenCLIP or the path of a
        checkpoint.
    weights: for OpenCLIP, a local checkpoint to read instead of downloading that of the tag; the space stays the
        same. The environment variable PA3D_OPENCLIP_WEIGHTS does the same.
    device: for OpenCLIP, a torch device.
    threads: for all-MiniLM-L6-v2, how many a call may use; None is OMP_NUM_THREADS, or the processors of this process.
    Raises InputError for an unknown space.
    """
    if space == EMBEDDED:
        if weights is not None:
            raise InputError(f"the weights of {EMBEDDED} are embedded; leave `weights` out")
        from pa3d.text.minilm import MiniLM

        return MiniLM(threads=threads)
    family, _, rest = space.partition("/")
    name, _, pretrained = rest.partition("/")
    if family == "open_clip" and name and pretrained:
        from pa3d.text.openclip import OpenClip

        return OpenClip(name, pretrained, weights=weights, device=device)
    raise InputError(
        f"text space {space!r} is unknown; expected {EMBEDDED} (embedded) or open_clip/NAME/PRETRAINED, "
        f"for example {OFFICIAL}"
    )


def embed_parts(
    encoder: TextEncoder,
    parts: Sequence[str],  # K names
    category: str | None = None,
    mode: PromptMode = "auto",
    cache: bool = True,
) -> NDArray[np.float32]:  # (K, dim)
    """One unit vector per part: the vectors of its prompts, each normalized, are averaged and normalized again.

    mode: which prompts (`part_prompts`).
    cache: keep the vectors on disk (pa3d.text.cache); the result is bit-equal with and without.
    Raises InputError for an empty list, a name given twice, and what `part_prompts` rejects.
    """
    check_names(parts)
    prompts = [part_prompts(part, category, mode) for part in parts]
    disk_cache = VectorCache(encoder.space, getattr(encoder, "revision", "")) if cache else None
    vectors = [disk_cache.get(texts) if disk_cache else None for texts in prompts]
    missing = [i for i, vector in enumerate(vectors) if vector is None]
    if missing:
        encoded = encoder.encode([text for i in missing for text in prompts[i]])
        for i, block in zip(missing, np.split(encoded, len(missing)), strict=True):
            vectors[i] = vector = _C.unit_mean(np.ascontiguousarray(block, np.float32))
            if disk_cache:
                disk_cache.put(prompts[i], vector)
    return np.stack([vector for vector in vectors if vector is not None])


def check_names(parts: Sequence[str]) -> None:
    """Raises InputError unless parts is a list of at least one name, and no two are equal after normalisation."""
    if isinstance(parts, str):
        raise InputError(f"part names are a string, {quoted(parts)}; give a list such as ['seat', 'back']")
    if isinstance(parts, Mapping | Set) or not hasattr(parts, "__len__"):
        raise InputError(f"part names are a {type(parts).__name__}; give a list such as ['seat', 'back']")
    if len(parts) == 0:
        raise InputError("no part names; give at least one, such as 'seat'")
    seen: dict[str, str] = {}
    for part in parts:
        name = clean_name(part)
        if name in seen:
            equal = (
                f" ({quoted(seen[name])} and {quoted(part)} are equal after normalisation)"
                if seen[name] != part
                else ""
            )
            raise InputError(f"part name {quoted(name)} is given twice{equal}; give every name once")
        seen[name] = part


def check_readable(encoder: TextEncoder, parts: Sequence[str], category: str | None = None) -> None:
    """Raises InputError when the encoder can read none of the names or not the category, and warns when it cannot read
    some.

    An encoder may have a method `unsupported_reason(name) -> str`, which returns why it cannot read a name, or "". An
    encoder without it is not checked.
    """
    unsupported_reason = getattr(encoder, "unsupported_reason", None)
    if unsupported_reason is None:
        return
    if category is not None and (reason := unsupported_reason(clean_category(category))):
        raise InputError(f"category {quoted(category)}: {reason}; give an English word or leave it out")
    unreadable = {part: reason for part in parts if (reason := unsupported_reason(clean_name(part)))}
    if unreadable:
        part, reason = next(iter(unreadable.items()))
        message = f"part name {quoted(part)}: {reason}; give an English name, or vectors of another text encoder"
        if len(unreadable) == len(parts):
            raise InputError(message)
        warnings.warn(message, stacklevel=2)


def check_distinct(parts: Sequence[str], vectors: NDArray[np.float32]) -> None:
    """Raises InputError where two names have the same vector (K, dim): points could not be told apart by them."""
    seen: dict[bytes, str] = {}
    for part, vector in zip(parts, vectors, strict=True):
        other = seen.setdefault(vector.tobytes(), part)
        if other is not part:
            first, second = (ascii(name) if len(name) < 40 else ascii(name[:37]) + "..." for name in (other, part))
            raise InputError(
                f"part names {first} and {second} are the same for the text encoder, which ignores accents, invisible "
                "characters, words that it does not know and what follows its first few hundred tokens; rename one"
            )
