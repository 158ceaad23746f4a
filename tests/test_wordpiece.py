"""The C++ tokenizer and prompts, which the C interface uses, against `tokenizers` and pa3d.text.prompts."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest
from tokenizers import Tokenizer

from pa3d import _C
from pa3d.errors import InputError
from pa3d.text.minilm import WEIGHTS
from pa3d.text.prompts import clean_name, part_prompts

FILE = WEIGHTS / "minilm-tokenizer.json"
TEXTS = [
    *("", " ", "\t\n", "seat", "Left_Arm", "propeller-driven aircraft", "a/b", "don't", "x1y2z3", "$5 <tag>"),
    *(
        "Äußerer Türgriff",
        "façade",
        "ÇEDİLLA",
        "ångström Å",
        "Ǆ ǆ ǅ",
        "ﬁn",
        "½ wheel",
        "ſ",
        "naïve café",
        "e\u0301",
    ),
    *("ΤΡΟΧΌΣ", "ῥόδον", "колесо", "Ёлка й", "колесо́", "крило́ літака їжак", "կառք", "გვირგვინი", "עגלה שָׁלוֹם"),
    *(
        "عَجَلَة",
        "चक्का",
        "ล้อรถ",
        "ปีก",
        "车轮",
        "後ろの車輪",
        "バックミラー",
        "が ぱ",
        "바퀴",
        "한글 손잡이",
        "ㄱ",
        "豈更車",
    ),
    *(
        "🛞",
        "🪑 leg",
        "👩\u200d🚀 helmet",
        "❤\ufe0f",
        "wheel\u00ad",
        "wheel\u200b seat",
        "a\u00a0b\u3000c",
        "\ufeffseat",
    ),
    *(
        "\u0000seat\ufffd",
        "a\u0085b\u001cc",
        "\u037e\u1fef",
        "…—«quoted»",
        "„tief“",
        "٪",
        "。",
        "\U0001d400",
        "\U0010ffff",
    ),
    *(
        "[CLS]",
        "a [SEP] b",
        "[MASK][PAD]",
        "[UNK]x",
        "[cls]",
        "[[CLS]]",
        "##ing",
        "a" * 100,
        "a" * 101,
        "wheel " * 400,
    ),
]


@pytest.fixture(scope="module")
def theirs() -> Tokenizer:
    return Tokenizer.from_file(str(FILE))


@pytest.fixture(scope="module")
def ours() -> _C.WordPiece:
    return _C.WordPiece(str(FILE))


def test_hand_worked(ours: _C.WordPiece) -> None:
    vocabulary = json.loads(FILE.read_text())["model"]["vocab"]
    pieces = ["[CLS]", "head", "##rest", ",", "cafe", "[SEP]"]
    assert ours.encode("Headrest, CAFÉ") == [vocabulary[piece] for piece in pieces]
    assert ours.size() == len(vocabulary)


def test_agrees_on_names(theirs: Tokenizer, ours: _C.WordPiece) -> None:
    for text in TEXTS:
        assert ours.encode(text) == theirs.encode(text).ids, text


def test_agrees_on_every_character(theirs: Tokenizer, ours: _C.WordPiece) -> None:
    """Every fifth one beyond the first two planes, to save time: those are ideographs, or unassigned."""
    points = [*range(0xD800), *range(0xE000, 0x20000), *range(0x20000, 0x110000, 5)]
    texts = [f"wheel{chr(point)}seat" for point in points]
    for text, encoding in zip(texts, theirs.encode_batch(texts), strict=True):
        assert ours.encode(text) == encoding.ids, ascii(text)


def test_agrees_on_random_text(theirs: Tokenizer, ours: _C.WordPiece) -> None:
    rng = random.Random(0)
    scripts = (
        (0x20, 0x7F),
        (0xA0, 0x250),
        (0x300, 0x600),
        (0x900, 0xA00),
        (0x1E00, 0x2100),
        (0x3000, 0x3100),
    )
    scripts += ((0x4E00, 0x5200), (0xAC00, 0xB000), (0xF900, 0x10000), (0x1F300, 0x1F700), (0xE000, 0x110000))
    texts = []
    for _ in range(20_000):
        mix = rng.choices(scripts, k=2)
        texts.append("".join(chr(rng.randrange(*rng.choice(mix))) for _ in range(rng.randrange(24))))
    for text, encoding in zip(texts, theirs.encode_batch(texts), strict=True):
        assert ours.encode(text) == encoding.ids, ascii(text)


def test_cleans_and_prompts_like_python() -> None:
    for name in TEXTS:
        try:
            expected = clean_name(name)
        except InputError:
            with pytest.raises(ValueError, match="is empty without its punctuation"):
                _C.clean_name(name)
            continue
        assert _C.clean_name(name) == expected
        assert _C.part_prompts(name) == part_prompts(name)
        for mode in ("auto", "part", "category", "ensemble"):
            assert _C.part_prompts("seat", name, mode) == part_prompts("seat", name, mode)  # type: ignore[arg-type]


def test_cleans_every_character_like_python() -> None:
    for point in [*range(0xD800), *range(0xE000, 0x20000)]:
        name = f"x{chr(point)}x"
        assert _C.clean_name(name) == clean_name(name), hex(point)


def test_final_sigma() -> None:
    for name in ("ΤΡΟΧΟΣ", "ΣΟΦΟΣ ΆΝΘΡΩΠΟΣ", "Σ", "ΑΣ.", "Α.Σ.Β", "ΟΣ_ΟΣ", "ΑΣ'", "1Σ", "ΣΣ"):
        assert _C.clean_name(name) == clean_name(name)


def test_prompts_refuse() -> None:
    with pytest.raises(ValueError, match="prompt mode 'category' needs the object's category"):
        _C.part_prompts("leg", None, "category")
    with pytest.raises(ValueError, match="prompt mode 'both' is unknown"):
        _C.part_prompts("leg", None, "both")
    with pytest.raises(ValueError, match=r"category '\.' is empty"):
        _C.part_prompts("leg", ".")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "No such file"),
        (b"", "not JSON at byte 0"),
        (b'{"model": [1, 2', "not JSON at byte 15"),
        (b'{"model": {}} x', "not JSON at byte 14"),
        (b'{"model": 01}', "not JSON at byte 11"),
        (b'{"model": "\\ud800"}', "not JSON at byte"),
        (b"[" * 100, "not JSON at byte"),
        (b"{}", 'the tokenizer has no "model"'),
        (
            b'{"model": {"type": "BPE"}, "normalizer": {}, "pre_tokenizer": {}}',
            "not an uncased BERT tokenizer",
        ),
    ],
)
def test_a_bad_tokenizer(tmp_path: Path, content: bytes | None, message: str) -> None:
    path = tmp_path / "tokenizer.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(_C.FileError, match=rf"tokenizer\.json: .*{message}"):
        _C.WordPiece(str(path))
    with pytest.raises(_C.FileError):
        _C.WordPiece(str(tmp_path))


def test_a_tokenizer_in_other_words(tmp_path: Path) -> None:
    """JSON with escapes, white space and other numbers reads the same."""
    path = tmp_path / "tokenizer.json"
    path.write_text(json.dumps(json.loads(FILE.read_text()), indent=1, ensure_ascii=True))
    assert _C.WordPiece(str(path)).encode("café 车轮 🛞") == _C.WordPiece(str(FILE)).encode("café 车轮 🛞")
