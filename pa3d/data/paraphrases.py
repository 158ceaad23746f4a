"""Other wordings of part names, with which training varies the text that a part must answer to.

The table is ``paraphrases.tsv``: one line per name, ``name<TAB>paraphrase|paraphrase|...``. A name that means something
else in another category ("head" of a hammer) has a line of its own there, written with the category before it
("hammer head").
"""

from __future__ import annotations

from functools import lru_cache
from importlib.resources import files

from pa3d.data.procedural import HELD_OUT_PARTS

# Wordings that the table never uses, so that figures on them measure generalisation to unseen wording. A "visor" is
# a part name of caps and helmets; what is held out is the word for a brim. "Trunk" is held out for bodies.
HELD_OUT_PHRASES: tuple[str, ...] = (
    "upper limb",
    "lower limb",
    "upper limbs",
    "lower limbs",
    "skull",
    "trunk",
    "place to lean on",
    "support post",
    "side rest",
    *HELD_OUT_PARTS,
)


@lru_cache(maxsize=1)
def _table() -> dict[str, tuple[str, ...]]:
    text = files("pa3d.data").joinpath("paraphrases.tsv").read_text(encoding="utf-8")
    rows = (line.split("\t") for line in text.splitlines())
    return {name: tuple(paraphrases.split("|")) for name, paraphrases in rows}


def load_paraphrases() -> dict[str, tuple[str, ...]]:
    """Part name, lower case: its paraphrases, lower case, none of them the name itself or in `HELD_OUT_PHRASES`."""
    return dict(_table())


def get_paraphrases(name: str, category: str = "") -> tuple[str, ...]:
    """Paraphrases of a part of an object of this category; () for a name that the table does not have.

    >>> "part that hits the nail" in get_paraphrases("head", "hammer")
    True
    """
    table = _table()
    return table.get(f"{category} {name}") or table.get(name, ())
