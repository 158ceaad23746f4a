"""The table of paraphrases: its form, what it covers, and what it must leave out."""

import re
from pathlib import Path

import numpy as np

import pa3d.data.paraphrases
from pa3d.data.creatures import CREATURES
from pa3d.data.paraphrases import HELD_OUT_PHRASES, get_paraphrases, load_paraphrases
from pa3d.data.procedural import CATEGORIES, synthesize

TABLE = load_paraphrases()


def test_lines_are_sorted_lower_case_names_with_several_paraphrases() -> None:
    path = Path(pa3d.data.paraphrases.__file__).with_name("paraphrases.tsv")
    lines = path.read_text(encoding="utf-8").splitlines()
    names = [line.split("\t")[0] for line in lines]
    assert names == sorted(set(names))
    assert len(TABLE) == len(lines)
    for line in lines:
        assert re.fullmatch(r"[a-z][a-z' -]*\t[a-z][a-z' -]*(\|[a-z][a-z' -]*){5,11}", line), line
        assert line == " ".join(line.split(" ")).strip() and "  " not in line, line


def test_no_paraphrase_repeats() -> None:
    for name, paraphrases in TABLE.items():
        assert len(set(paraphrases)) == len(paraphrases), name
        assert name not in paraphrases, name


def test_held_out_wordings_are_absent() -> None:
    exact = set(HELD_OUT_PHRASES)
    # "tree trunk" is a part name, so that word may stand within others; the rest may not.
    within = re.compile(r"\b(" + "|".join(phrase for phrase in HELD_OUT_PHRASES if phrase != "trunk") + r")s?\b")
    for name, paraphrases in TABLE.items():
        for text in (name, *paraphrases):
            assert text not in exact and not within.search(text), (name, text)
    assert "visor" not in {text for name in TABLE if "brim" in name for text in TABLE[name]}


def test_every_procedural_name_is_covered() -> None:
    names = {
        name
        for category in CATEGORIES
        for seed in range(8)
        for part in synthesize(category, seed).parts
        for name in part
    }
    assert sorted(names - set(TABLE) - set(HELD_OUT_PHRASES)) == []


def test_every_creature_name_is_covered() -> None:
    names = {
        name
        for creature in CREATURES.values()
        for seed in range(4)
        for synonyms in creature.make(np.random.default_rng(seed)).parts.values()
        for name in synonyms
    }
    assert sorted(names - set(TABLE) - set(HELD_OUT_PHRASES)) == []


def test_a_category_of_its_own_wins() -> None:
    assert get_paraphrases("head", "hammer") == TABLE["hammer head"]
    assert get_paraphrases("head", "dog") == TABLE["head"]
    assert get_paraphrases("no such part", "dog") == ()
