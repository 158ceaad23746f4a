"""Prompts: a part name is put into several templates, and the mean vector of these texts is the vector of the part.

The templates are those of PatchAlign3D (arXiv 2601.02457): three with the part alone, four with the part and the
category of the object.
"""

from __future__ import annotations

import string
import unicodedata
from typing import Literal, get_args

from pa3d.errors import InputError

PromptMode = Literal["auto", "part", "category", "ensemble"]
MODES: tuple[str, ...] = get_args(PromptMode)

PART_TEMPLATES = ("{p}", "a {p}", "{p} part")
CATEGORY_TEMPLATES = ("a {p} of a {c}", "the {p} of a {c}", "{p} of {c}", "a {p} part of a {c}")


def quoted(name: object, most: int = 60) -> str:
    """A name for messages, which stay short whatever came in."""
    text = repr(name)
    return text if len(text) <= most else f"{text[:most]}...{text[-1]}"


def clean_name(name: str) -> str:
    """The name as prompts contain it: "Left_Arm." -> "left arm".

    Lower case, spaces for underscores, no punctuation, one space between words. Raises InputError when nothing is left.
    """
    return _clean(name, "part name")


def clean_category(category: str) -> str:
    """The same for the category of an object."""
    return _clean(category, "category")


def part_prompts(part: str, category: str | None = None, mode: PromptMode = "auto") -> list[str]:
    """The prompts of one part.

    mode: "part" (three templates with the part alone), "category" (four with the category) or "ensemble" (all seven);
        "auto" is "ensemble" when a category is given, else "part".
    Raises InputError for an unknown mode, a mode that needs a category, or a name that `clean_name` rejects.
    """
    if mode not in MODES:
        raise InputError(f"prompt mode {mode!r} is unknown; expected one of {', '.join(MODES)}")
    if mode == "auto":
        mode = "part" if category is None else "ensemble"
    p = clean_name(part)
    if mode == "part":
        return [t.format(p=p) for t in PART_TEMPLATES]
    if category is None:
        raise InputError(f"prompt mode {mode!r} needs the object's category; give one or use mode 'part'")
    c = clean_category(category)
    templates = CATEGORY_TEMPLATES if mode == "category" else PART_TEMPLATES + CATEGORY_TEMPLATES
    return [t.format(p=p, c=c) for t in templates]


def _clean(name: str, what: str) -> str:
    if not isinstance(name, str):
        raise InputError(f"{what} {quoted(name)} is not text; give a word or a few words")
    if any("\ud800" <= ch <= "\udfff" for ch in name):
        raise InputError(f"{what} {name[:60]!a} is not Unicode text; decode it as UTF-8")
    kept = (ch for ch in name.lower().replace("_", " ") if not _is_punctuation(ch))
    cleaned = " ".join("".join(kept).split())
    if not cleaned:
        raise InputError(f"{what} {quoted(name)} is empty without its punctuation; give a word or a few words")
    return cleaned


def _is_punctuation(ch: str) -> bool:
    return ch in string.punctuation or unicodedata.category(ch).startswith("P")
