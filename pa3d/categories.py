"""Kinds of things and the parts that they have: the table weights/categories.txt.

A line names a kind, then other names of it or of a kind of it, and after a colon its parts. A part that may be missing
on one has a question mark.
"""

from __future__ import annotations

from dataclasses import dataclass
from difflib import get_close_matches
from functools import lru_cache
from importlib.resources import files

from pa3d.errors import InputError


@dataclass(frozen=True)
class Category:
    """names: the usual one first. parts: those that nearly every such thing has, then those that may be missing."""

    names: tuple[str, ...]
    parts: tuple[str, ...]
    optional: frozenset[str]

    @property
    def name(self) -> str:
        return self.names[0]


def parse_categories(text: str) -> tuple[Category, ...]:
    """The categories of a text like weights/categories.txt. Lines that are empty or begin with # are skipped."""
    found = []
    for line in text.splitlines():
        if not line.strip() or line.startswith("#"):
            continue
        names, _, parts = line.partition(":")
        marked = [part.strip() for part in parts.split(",")]
        found.append(
            Category(
                tuple(name.strip() for name in names.split(",")),
                tuple(part.removesuffix("?") for part in sorted(marked, key=lambda part: part.endswith("?"))),
                frozenset(part.removesuffix("?") for part in marked if part.endswith("?")),
            )
        )
    return tuple(found)


@lru_cache(maxsize=1)
def categories() -> tuple[Category, ...]:
    """All categories of the table."""
    return parse_categories((files("pa3d") / "weights" / "categories.txt").read_text(encoding="utf-8"))


@lru_cache(maxsize=1)
def _by_name() -> dict[str, Category]:
    return {name: category for category in categories() for name in category.names}


def category_of(name: str) -> Category | None:
    """The category whose name, or another name of it, stands in `name` as whole words: the longest, of equal ones the
    last ("rocking chair with cushion" is a chair). None if there is none."""
    by_name = _by_name()
    words = name.lower().replace("_", " ").split()
    best: tuple[int, int, Category] | None = None
    for start in range(len(words)):
        for end in range(start + 1, len(words) + 1):
            category = by_name.get(" ".join(words[start:end]))
            if category is not None and (best is None or (end - start, end) >= best[:2]):
                best = end - start, end, category
    return None if best is None else best[2]


def find_category(name: str) -> Category:
    """The category with a name, or another name of it. Raises InputError that lists names like it."""
    wanted = " ".join(name.lower().replace("_", " ").split())
    by_name = _by_name()
    for form in (wanted, wanted.removesuffix("s"), wanted.removesuffix("es")):
        if form in by_name:
            return by_name[form]
    near = get_close_matches(wanted, by_name, n=5)
    hint = f"; names like it: {', '.join(near)}" if near else ""
    raise InputError(
        f"category {name!r} is not one of the {len(categories())} whose parts are known{hint}; "
        "give the part names yourself (--parts), or one of pa3d info --categories"
    )
