"""Files of text vectors: what is written is read back, and what does not fit is refused by name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from clouds import cloud
from safetensors.numpy import save_file
from tiny import TINY, random_checkpoint, write_tiny

from pa3d.cli import main
from pa3d.errors import InputError
from pa3d.segment import Segmenter
from pa3d.text.vectors import METADATA, TextVectors

NAMES = ("seat", "back", "left arm")
SPACE = "all-MiniLM-L6-v2"


@pytest.fixture(scope="module")
def segmenter() -> Segmenter:
    return Segmenter(random_checkpoint(TINY))


@pytest.fixture
def file(tmp_path: Path, segmenter: Segmenter) -> Path:
    TextVectors(NAMES, segmenter.embed_text(NAMES), SPACE).save(tmp_path / "names.safetensors")
    return tmp_path / "names.safetensors"


def test_round_trip(file: Path, segmenter: Segmenter) -> None:
    found = TextVectors.load(file)
    assert (found.names, found.space, found.category) == (NAMES, SPACE, None)
    assert np.array_equal(found.vectors, segmenter.embed_text(NAMES))
    assert np.array_equal(found.select(["Left_Arm", "seat"]), segmenter.embed_text(["left arm", "seat"]))
    again = file.with_name("again.safetensors")
    found.save(again)
    assert again.read_bytes() == file.read_bytes()


def test_in_place_of_the_text_encoder(file: Path, segmenter: Segmenter) -> None:
    points = cloud("random", 300)
    expected = segmenter.segment(points, ["back", "seat"])
    for source in (file, str(file), TextVectors.load(file)):
        found = segmenter.segment(points, ["back", "seat"], text_vectors=source)
        assert np.array_equal(found.scores, expected.scores)
    features = segmenter.encode(points)
    scores = segmenter.query(features, ["back", "seat"], text_vectors=file)
    assert np.array_equal(scores, segmenter.query(features, ["back", "seat"]))


def test_names_and_categories_that_are_missing(file: Path, tmp_path: Path, segmenter: Segmenter) -> None:
    points = cloud("random", 300)
    with pytest.raises(InputError, match=r"no vector of 'wheel', 'door'; it has seat, back, left arm \(3 names\)"):
        segmenter.segment(points, ["wheel", "seat", "door"], text_vectors=file)
    with pytest.raises(InputError, match=r"made for category None, not 'chair'; give the same category, or"):
        segmenter.segment(points, ["seat"], category="chair", text_vectors=file)
    chair = TextVectors(NAMES, segmenter.embed_text(NAMES, "chair"), SPACE, "chair")
    found = segmenter.segment(points, ["seat", "back"], category="Chair", text_vectors=chair)
    assert np.array_equal(found.scores, segmenter.segment(points, ["seat", "back"], category="chair").scores)
    with pytest.raises(InputError, match="made for category 'chair', not None"):
        segmenter.segment(points, ["seat"], text_vectors=chair)


def test_a_row_for_each_name() -> None:
    with pytest.raises(InputError, match=r"\(2, 3\) for 1 names; expected a row for each"):
        TextVectors(("seat",), np.eye(2, 3, dtype=np.float32), SPACE)


def test_another_text_space(file: Path) -> None:
    other = Segmenter(random_checkpoint(TINY, text_space="open_clip/ViT-bigG-14/laion2b_s39b_b160k"))
    with pytest.raises(InputError, match=r"vectors of text space all-MiniLM-L6-v2 with 384 dimensions, but the model"):
        other.segment(cloud("random", 300), ["seat"], text_vectors=file)


def test_a_missing_file(tmp_path: Path, segmenter: Segmenter) -> None:
    with pytest.raises(
        InputError, match=r"none\.safetensors: no such file of text vectors; make it with pa3d embed-text"
    ):
        segmenter.segment(cloud("random", 300), ["seat"], text_vectors=tmp_path / "none.safetensors")


def test_files_that_are_none(file: Path, tmp_path: Path) -> None:
    whole, bad = file.read_bytes(), tmp_path / "bad.safetensors"
    for data in (b"", b"hello, this is no safetensors file", whole[: len(whole) // 2]):
        bad.write_bytes(data)
        with pytest.raises(InputError, match="not a readable safetensors file"):
            TextVectors.load(bad)
    with pytest.raises(InputError, match="safetensors, but not text vectors of pa3d"):
        TextVectors.load(write_tiny(bad))


GOOD = {"format": 1, "space": SPACE, "category": None, "names": ["a", "b"]}


@pytest.mark.parametrize(
    ("meta", "vectors", "message"),
    [
        ("{", np.eye(2, 3), "damaged"),
        ("[" * 100_000, np.eye(2, 3), "damaged"),
        ([], np.eye(2, 3), "damaged"),
        ({**GOOD, "format": 2}, np.eye(2, 3), "format 2, this version reads 1"),
        ({**GOOD, "names": "ab"}, np.eye(2, 3), "names or space have the wrong type"),
        ({**GOOD, "names": ["a", 1]}, np.eye(2, 3), "part name 1 is not text"),
        ({**GOOD, "names": ["a", "A"]}, np.eye(2, 3), "is given twice"),
        ({**GOOD, "category": "..."}, np.eye(2, 3), "is empty without its punctuation"),
        ({**GOOD, "space": None}, np.eye(2, 3), "wrong type"),
        (GOOD, np.eye(3), r"vectors are float32 .3, 3., expected float32 .2, D."),
        (GOOD, np.zeros((2, 0)), r"expected float32 .2, D."),
        (GOOD, np.zeros((2, 3)), "vectors are not unit rows"),
        (GOOD, np.full((2, 3), np.nan), "vectors are not unit rows"),
        (GOOD, 2 * np.eye(2, 3), "vectors are not unit rows"),
    ],
)
def test_damaged_files(tmp_path: Path, meta: Any, vectors: np.ndarray, message: str) -> None:
    text = meta if isinstance(meta, str) else json.dumps(meta)
    save_file({"vectors": vectors.astype(np.float32)}, tmp_path / "x.safetensors", metadata={METADATA: text})
    with pytest.raises(InputError, match=message):
        TextVectors.load(tmp_path / "x.safetensors")


def test_without_the_tensor(tmp_path: Path) -> None:
    save_file({"other": np.eye(2, dtype=np.float32)}, tmp_path / "x.safetensors", metadata={METADATA: json.dumps(GOOD)})
    with pytest.raises(InputError, match="not a readable safetensors file"):
        TextVectors.load(tmp_path / "x.safetensors")


def test_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    write_tiny(Path("tiny.safetensors"))
    common = ["--parts", "seat, back", "--model", "tiny.safetensors"]
    assert main(["embed-text", "chair.safetensors", *common, "--category", "chair"]) == 0
    assert capsys.readouterr() == ("chair.safetensors: 2 names, text space all-MiniLM-L6-v2\n", "")
    np.save("cloud.npy", cloud("random", 300))
    for out, more in (("a", []), ("b", ["--text-vectors", "chair.safetensors"])):
        options = [*common, "--category", "chair", "--no-pictures", "-q", "-o", out, *more]
        assert main(["segment", "cloud.npy", *options]) == 0
    assert Path("a/labels.npz").read_bytes() == Path("b/labels.npz").read_bytes()
    assert main(["embed-text", "chair.txt", *common]) == 2
    assert "expected a name that ends in .safetensors" in capsys.readouterr().err
