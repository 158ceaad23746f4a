"""Text: part names to unit vectors in the space that the patch features are compared in.

    encoder = text_encoder("all-MiniLM-L6-v2")
    vectors = embed_parts(encoder, ["seat", "back", "leg"], category="chair")  # (3, 384)

A space is named after its encoder: "all-MiniLM-L6-v2" is embedded and runs without torch;
"open_clip/NAME/PRETRAINED" is any OpenCLIP model and needs `pa3d[torch]`. Encoders load their weights at the
first text they have to encode, so that a part whose vector is in the cache on disk costs neither.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from pa3d import _C
from pa3d.errors import InputError
from pa3d.text.cache import VectorCache
from pa3d.text.prompts import Mode, clean, prompts

__all__ = ["TextEncoder", "check_names", "clean", "embed_parts", "prompts", "text_encoder"]

EMBEDDED = "all-MiniLM-L6-v2"
OFFICIAL = "open_clip/ViT-bigG-14/laion2b_s39b_b160k"


class TextEncoder(Protocol):
    """What turns sentences into vectors.

    An encoder may also have `revision: str`, which names its exact weights; without it, or with an empty one,
    nothing is cached on disk.
    """

    @property
    def space(self) -> str: ...

    @property
    def dim(self) -> int: ...

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:  # (n, dim), unit rows
        """A text's vector must not depend on the other texts."""
        ...


def text_encoder(
    space: str, *, weights: str | None = None, device: str = "cpu", threads: int | None = None
) -> TextEncoder:
    """The encoder of a text space.

    space: "all-MiniLM-L6-v2" or "open_clip/NAME/PRETRAINED", PRETRAINED a tag of OpenCLIP or the path of a
        checkpoint.
    weights: for OpenCLIP, a local checkpoint to read in place of downloading the tag's; the space stays the
        same. The environment variable PA3D_OPENCLIP_WEIGHTS does this too.
    device: for OpenCLIP, a torch device.
    threads: for the embedded encoder, how many a call may use; None takes what OpenMP would.
    Raises InputError for a space that is neither.
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
    mode: Mode = "auto",
    cache: bool = True,
) -> NDArray[np.float32]:  # (K, dim)
    """One unit vector a part, float32: its prompts' vectors, each normalised, averaged and normalised again.

    cache: keep the vectors on disk (pa3d/text/cache.py); the result is the same to the bit either way.
    Raises InputError for no parts, a part given twice, and what `prompts` refuses.
    """
    check_names(parts)
    prompt_sets = [prompts(part, category, mode) for part in parts]
    store = VectorCache(encoder.space, getattr(encoder, "revision", "")) if cache else None
    vectors = [store.get(texts) if store else None for texts in prompt_sets]
    missing = [i for i, vector in enumerate(vectors) if vector is None]
    if missing:
        encoded = encoder.encode([text for i in missing for text in prompt_sets[i]])
        for i, block in zip(missing, np.split(encoded, len(missing)), strict=True):
            vectors[i] = vector = _C.unit_mean(np.ascontiguousarray(block, np.float32))
            if store:
                store.put(prompt_sets[i], vector)
    return np.stack([vector for vector in vectors if vector is not None])


def check_names(parts: Sequence[str]) -> None:
    if isinstance(parts, str):
        raise InputError(f"part names came as one text, {parts!r}; give a list such as ['seat', 'back']")
    if len(parts) == 0:
        raise InputError("no part names; give at least one, such as 'seat'")
    seen: dict[str, str] = {}
    for part in parts:
        name = clean(part)
        if name in seen:
            alike = f" ({seen[name]!r} and {part!r} read the same)" if seen[name] != part else ""
            raise InputError(f"part name {name!r} is given twice{alike}; give every name once")
        seen[name] = part
