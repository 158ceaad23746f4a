"""Write csrc/cpu/unicode_tables.inl: what the C++ tokenizer and the cleaning of names know about Unicode.

    python scripts/make_unicode_tables.py

The `tokenizers` library is called with one code point at a time, to see what BERT's normaliser does with it. So the
tables agree with that library, and do not depend on another version of Unicode. A folding (lower case, accents
stripped, compatibility ideographs) is kept only if its whole result is in the alphabet of the shipped vocabulary. With
any other result the word is unknown anyway. Hangul syllables are decomposed by rule. The tables of
`pa3d.text.clean_name` come from Python's own str.lower and unicodedata.
"""

from __future__ import annotations

import argparse
import json
import string
import unicodedata
from collections.abc import Iterable
from pathlib import Path

import tokenizers

ROOT = Path(__file__).resolve().parents[1]
TOKENIZER = ROOT / "pa3d" / "weights" / "minilm-tokenizer.json"
CODE_POINTS = [c for c in range(0x110000) if not 0xD800 <= c < 0xE000]
HANGUL = range(0xAC00, 0xD7A4)
UNKNOWN = 0xFFFF  # a noncharacter: in no vocabulary


def runs(points: Iterable[int]) -> list[tuple[int, int]]:
    out: list[tuple[int, int]] = []
    for point in sorted(points):
        if out and out[-1][1] == point - 1:
            out[-1] = (out[-1][0], point)
        else:
            out.append((point, point))
    return out


def shifts(mapping: dict[int, int]) -> list[tuple[int, int, int, int]]:
    """(first, last, step, delta): first, first + step, ... last all map to themselves plus delta."""
    out: list[tuple[int, int, int, int]] = []
    for point in sorted(mapping):
        delta = mapping[point] - point
        if out:
            first, last, step, before = out[-1]
            gap = point - last
            if before == delta and gap <= 2 and (first == last or gap == step):
                out[-1] = (first, point, gap, delta)
                continue
        out.append((point, point, 1, delta))
    return out


def bert_tables(path: Path) -> dict[str, list[tuple[int, ...]]]:
    tokenizer = tokenizers.Tokenizer.from_file(str(path))
    alphabet = set("".join(json.loads(path.read_text())["model"]["vocab"]))
    removed, spaces, ideographs, punctuation = [], [], [], []
    folds: dict[int, int] = {}
    pairs: list[tuple[int, int, int]] = []
    for point in CODE_POINTS:
        char = chr(point)
        became = tokenizer.normalizer.normalize_str(char)
        pieces = [text for text, _ in tokenizer.pre_tokenizer.pre_tokenize_str(f"a{char}a")]
        if pieces == ["a", char, "a"]:
            punctuation.append(point)
        if became == "":
            removed.append(point)
        elif became == " ":
            spaces.append(point)
        elif len(became) > 2 and became[0] == became[-1] == " ":
            ideographs.append(point)
        if point in HANGUL:
            assert became == unicodedata.normalize("NFD", char)
        became = became.strip()
        if became in ("", char) or point in HANGUL:
            continue
        if set(became) <= alphabet:
            assert len(became) <= 2
            if len(became) == 1:
                folds[point] = ord(became)
            else:
                pairs.append((point, ord(became[0]), ord(became[1])))
        elif char in alphabet:
            folds[point] = UNKNOWN
        else:  # as it stands it is as unknown as what it would become, if only it splits words as little
            assert pieces == [f"a{char}a"]
            assert len(tokenizer.pre_tokenizer.pre_tokenize_str(f"a{became}a")) == 1
    return {
        "kSpaces": runs(spaces),
        "kRemoved": runs(removed),
        "kIdeographs": runs(ideographs),
        "kPunctuation": runs(punctuation),
        "kFolds": shifts(folds),
        "kFoldPairs": pairs,
    }


def name_tables() -> dict[str, list[tuple[int, ...]]]:
    lower = {c: chr(c).lower() for c in CODE_POINTS if chr(c).lower() != chr(c)}
    assert [c for c, became in lower.items() if len(became) > 1] == [0x130]  # unicode.cpp knows this one
    del lower[0x130]
    dropped = [c for c in CODE_POINTS if unicodedata.category(chr(c))[0] == "P" or chr(c) in string.punctuation]
    return {
        "kLower": shifts({c: ord(became) for c, became in lower.items()}),
        "kNamePunctuation": runs(dropped),
        "kNameSpaces": runs(c for c in CODE_POINTS if chr(c).isspace()),
    }


TYPES = {2: "Range", 3: "FoldPair", 4: "Shift"}


def render(tables: dict[str, list[tuple[int, ...]]]) -> str:
    lines = [
        "// Written by scripts/make_unicode_tables.py from tokenizers "
        f"{tokenizers.__version__} and Python's Unicode {unicodedata.unidata_version}; do not edit.",
        "// clang-format off",
    ]
    for name, rows in tables.items():
        lines.append(f"const {TYPES[len(rows[0])]} {name}[] = {{")
        line = "   "
        for row in rows:
            # Short rows: decimal for steps and deltas, hexadecimal for code points.
            cells = [f"{v:#x}" for v in row[:2]] + [f"{v:#x}" if len(row) == 3 else str(v) for v in row[2:]]
            item = " {" + ",".join(cells) + "},"
            if len(line) + len(item) > 118:
                lines.append(line)
                line = "   "
            line += item
        lines += [line, "};"]
    return "\n".join([*lines, "// clang-format on", ""])


def main() -> None:
    parser = argparse.ArgumentParser(description="Write the Unicode tables of the C++ tokenizer.")
    parser.add_argument("--out", type=Path, default=ROOT / "csrc" / "cpu" / "unicode_tables.inl")
    args = parser.parse_args()
    text = render({**bert_tables(TOKENIZER), **name_tables()})
    args.out.write_text(text)
    print(f"wrote {args.out}, {len(text)} bytes")


if __name__ == "__main__":
    main()
