"""Prompts: from the name of a part to the sentences whose mean vector stands for it.

The templates are those of PatchAlign3D (arXiv 2601.02457): part-only ones, ones with the object's category,
and the ensemble of both.
"""

from __future__ import annotations

import string
import unicodedata
from typing import Literal, get_args

from pa3d.errors import InputError

Mode = Literal["auto", "part", "category", "ensemble"]
MODES: tuple[str, ...] = get_args(Mode)

PART = ("{p}", "a {p}", "{p} part")
CATEGORY = ("a {p} of a {c}", "the {p} of a {c}", "{p} of {c}", "a {p} part of a {c}")


def clean(name: str) -> str:
    """The name as prompts use it: "Left_Arm." -> "left arm".

    Lower case, underscores to spaces, punctuation dropped, white space collapsed. Raises InputError when
    nothing remains.
    """
    return _clean(name, "part name")


def prompts(part: str, category: str | None = None, mode: Mode = "auto") -> list[str]:
    """The prompts of one part.

    mode: "part" (three part-only templates), "category" (four with the category) or "ensemble" (all seven);
        "auto" is "ensemble" where a category is given and "part" where none is.
    Raises InputError for an unknown mode, a mode that lacks its category, or a name that `clean` refuses.
    """
    if mode not in MODES:
        raise InputError(f"prompt mode {mode!r} is unknown; expected one of {', '.join(MODES)}")
    if mode == "auto":
        mode = "part" if category is None else "ensemble"
    p = clean(part)
    if mode == "part":
        return [t.format(p=p) for t in PART]
    if category is None:
        raise InputError(f"prompt mode {mode!r} needs the object's category; give one or use mode 'part'")
    c = _clean(category, "category")
    templates = CATEGORY if mode == "category" else PART + CATEGORY
    return [t.format(p=p, c=c) for t in templates]


def _clean(name: str, what: str) -> str:
    if not isinstance(name, str):
        raise InputError(f"{what} {name!r} is not text; give a word or a few words")
    kept = (ch for ch in name.lower().replace("_", " ") if not _is_punctuation(ch))
    cleaned = " ".join("".join(kept).split())
    if not cleaned:
        raise InputError(f"{what} {name!r} is empty without its punctuation; give a word or a few words")
    return cleaned


def _is_punctuation(ch: str) -> bool:
    return ch in string.punctuation or unicodedata.category(ch).startswith("P")
