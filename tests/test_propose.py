"""Parts without asking for names: the table of categories, the vector of whole shapes, propose, and pa3d segment."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from pa3d import InputError, Segmenter
from pa3d.categories import Category, categories, category_of, find_category, parse_categories
from pa3d.checkpoint import Checkpoint, load, save
from pa3d.cli import main
from pa3d.propose import category_vectors, rank_categories
from pa3d.shape_head import TEMPERATURE, ShapeHead, pool
from pa3d.text import clean_name

ROOT = Path(__file__).resolve().parents[1]
CHAIR = ROOT / "examples" / "chair.glb"
Capture = pytest.CaptureFixture[str]


def says(*names: str) -> Checkpoint:
    """The embedded model with a head that takes every shape for these categories, the first most."""
    vectors = category_vectors(Segmenter.from_pretrained())
    rows = {category.name: row for category, row in zip(categories(), vectors, strict=True)}
    checkpoint = load()
    shapes = ShapeHead.shapes(checkpoint.config.dim, 2, checkpoint.config.text_dim)
    head = {name: np.zeros(shape, np.float32) for name, shape in shapes.items()}
    head["out.bias"] = np.sum([rows[name] / (1 + i) for i, name in enumerate(names)], axis=0, dtype=np.float32)
    return replace(checkpoint, shape_head=head)


@pytest.fixture(scope="module")
def chair_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "chair.safetensors"
    save(path, says("chair"))
    return path


def test_the_table() -> None:
    table = categories()
    assert len(table) > 250
    names = Counter(name for category in table for name in category.names)
    assert [name for name, count in names.items() if count > 1] == []
    for category in table:
        words = [*category.names, *category.parts]
        assert [clean_name(word) for word in words] == words, category.name
        assert len(set(category.parts)) == len(category.parts) >= 2, category.name
        assert category.optional < set(category.parts)


def test_parts_that_may_be_missing_come_last() -> None:
    (chair,) = parse_categories("# furniture\n\nchair, seat: back?, seat, arm?, leg\n")
    assert chair == Category(("chair", "seat"), ("seat", "leg", "back", "arm"), frozenset({"back", "arm"}))
    assert chair.name == "chair"


@pytest.mark.parametrize("name", ["airplane", "Plane", " jet ", "airplanes", "AEROPLANE"])
def test_find_category(name: str) -> None:
    assert find_category(name).name == "airplane"


def test_find_category_names_those_that_are_alike() -> None:
    with pytest.raises(InputError, match=r"category 'aeroplan' is not one of .*names like it: aeroplane"):
        find_category("aeroplan")
    with pytest.raises(InputError, match="category 'xyzzy' is not one of"):
        find_category("xyzzy")


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("rocking chair with cushion", "chair"),
        ("office_chair", "office chair"),
        ("wall dimmer switch", "switch"),
        ("palm tree", "tree"),
        ("wooden", None),
        ("", None),
    ],
)
def test_category_of(text: str, name: str | None) -> None:
    found = category_of(text)
    assert (found.name if found else None) == name


def test_the_head_computes_what_it_says() -> None:
    rng = np.random.default_rng(0)
    shapes = ShapeHead.shapes(6, 5, 4)
    t = {name: rng.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}
    tokens = rng.standard_normal((7, 6)).astype(np.float32)
    x = np.array([f(tokens[:, c].astype(np.float64)) for f in (np.mean, np.max, np.std) for c in range(6)])
    np.testing.assert_allclose(pool(tokens), x, rtol=1e-5, atol=1e-6)
    y = t["out.weight"] @ np.maximum(t["hidden.weight"] @ x + t["hidden.bias"], 0) + t["out.bias"]
    np.testing.assert_allclose(ShapeHead(t)(tokens), y / np.linalg.norm(y), rtol=1e-4, atol=1e-5)


def test_a_checkpoint_keeps_its_head(tmp_path: Path) -> None:
    checkpoint = says("chair")
    save(tmp_path / "a.safetensors", checkpoint)
    again = load(tmp_path / "a.safetensors")
    assert again.shape_head is not None and checkpoint.shape_head is not None
    assert again.shape_head.keys() == checkpoint.shape_head.keys()
    assert all(np.array_equal(again.shape_head[k], v) for k, v in checkpoint.shape_head.items())
    assert again.sha256() == load().sha256()
    save(tmp_path / "b.safetensors", replace(checkpoint, shape_head=None, kinds=None, presence=None))
    assert load(tmp_path / "b.safetensors").shape_head is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"hidden.bias": None}, "shape_head.hidden.weight is float32"),
        ({"out.bias": None}, "shape_head.out.bias is missing"),
        ({"out.bias": np.zeros(3, np.float32)}, "shape_head.out.bias is float32"),
        ({"out.bias": np.full(384, np.nan, np.float32)}, "shape_head.out.bias is float32 .* or has NaN"),
        ({"skip": np.zeros(3, np.float32)}, "shape_head.skip is not a tensor of it"),
    ],
)
def test_a_damaged_head(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    checkpoint = says("chair")
    head = {name: tensor for name, tensor in {**checkpoint.shape_head, **change}.items() if tensor is not None}  # type: ignore[dict-item]
    save(tmp_path / "m.safetensors", replace(checkpoint, shape_head=head))
    with pytest.raises(InputError, match=message):
        load(tmp_path / "m.safetensors")


def test_categories_are_ranked() -> None:
    chair = Segmenter(says("chair")).open(CHAIR)
    ranked = rank_categories(chair)
    assert ranked[0][0].name == "chair"
    probabilities = np.array([probability for _, probability in ranked])
    order = np.array([probability / (1 + (category.name == "animal")) for category, probability in ranked])
    assert len(ranked) == len(categories()) and (np.diff(order) <= 0).all()
    np.testing.assert_allclose(probabilities.sum(), 1, rtol=1e-5)
    assert chair.categories(3) == [(category.name, probability) for category, probability in ranked[:3]]


@pytest.mark.parametrize(("share", "first"), [(0.4, "animal"), (0.6, "fish")])
def test_an_animal_is_a_fish_where_that_is_half_as_likely(share: float, first: str) -> None:
    from pa3d.propose import TEMPERATURE, Encoded

    model = Segmenter(says("chair"))
    vectors = category_vectors(model)
    names = [category.name for category in categories()]
    animal, fish = vectors[names.index("animal")], vectors[names.index("fish")]
    step = TEMPERATURE * np.log(share) / (1 - animal @ fish)  # the difference of the two logits is log(share)
    embedding = 0.9 * (animal + fish) / (1 + animal @ fish) + step / 2 * (fish - animal)
    ranked = rank_categories(cast(Encoded, SimpleNamespace(model=model, embedding=embedding)))
    found = {category.name: probability for category, probability in ranked}
    np.testing.assert_allclose(found["fish"] / found["animal"], share, rtol=1e-3)
    assert ranked[0][0].name == first


def test_propose_is_segment_with_the_parts_of_the_category() -> None:
    seg = Segmenter(says("chair"))
    result = seg.propose(CHAIR)
    asked = find_category("chair")
    proposed = result.settings["proposed"]
    assert proposed["category"] == "chair" and proposed["given"] is False
    assert proposed["categories"][0][0] == "chair" and len(proposed["categories"]) == 5
    assert set(asked.parts) - asked.optional <= set(result.part_names) <= set(asked.parts)
    assert [*result.part_names, *proposed["left_out"]] and set(proposed["left_out"]) <= asked.optional
    assert result == seg.segment(CHAIR, result.part_names)
    again = seg.propose(CHAIR, refine=False, none=0.2, seed=3)
    assert again == seg.segment(CHAIR, again.part_names, refine=False, none=0.2, seed=3)


def test_parts_that_the_shape_does_not_have_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those without presence are not asked for, and those that no place gets are not in the result."""
    seg, optional = Segmenter(says("chair")), find_category("chair").optional
    monkeypatch.setattr("pa3d.propose.OPTIONAL_FROM", 1.1)
    assert set(seg.propose(CHAIR).settings["proposed"]["left_out"]) == optional
    monkeypatch.setattr("pa3d.propose.OPTIONAL_FROM", 0.0)
    every = seg.segment(CHAIR, find_category("chair").parts)
    nowhere = {part.part for part in every.parts if not len(part.elements)} & optional
    assert nowhere and set(seg.propose(CHAIR).settings["proposed"]["left_out"]) == nowhere


def test_a_category_that_is_given() -> None:
    result = Segmenter(says("airplane")).propose(CHAIR, category="dining chairs", max_parts=2)
    assert result.part_names == list(find_category("chair").parts[:2])
    assert result.settings["proposed"]["given"] is True and result.settings["proposed"]["categories"] == []


def test_what_propose_refuses() -> None:
    seg = Segmenter(says("chair"))
    for max_parts in (0, -1, 2.5, True, "3"):
        with pytest.raises(InputError, match="max_parts is"):
            seg.propose(CHAIR, max_parts=max_parts)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="is not one of"):
        seg.propose(CHAIR, category="xyzzy")
    with pytest.raises(TypeError, match="text_vectors"):
        seg.propose(CHAIR, text_vectors=np.eye(3))
    with pytest.raises(InputError, match="up is 'auto'"):
        seg.propose(CHAIR, up="auto")
    none = Segmenter(replace(load(), shape_head=None))
    with pytest.raises(InputError, match="makes no vector of a whole shape"):
        none.propose(CHAIR)
    assert none.propose(CHAIR, category="chair").part_names  # which needs no vector


def test_the_vector_of_a_shape() -> None:
    seg = Segmenter.from_pretrained()
    vector = seg.embed_shape(CHAIR)
    np.testing.assert_allclose(np.linalg.norm(vector), 1, rtol=1e-5)
    assert np.array_equal(vector, seg.open(CHAIR).embedding)
    assert seg.open(CHAIR).categories(5)[0][0] in ("chair", "armchair", "office chair")


def test_the_temperature_of_training_is_that_of_the_answer() -> None:
    from pa3d.train.losses import CATEGORY_TEMPERATURE

    assert TEMPERATURE == CATEGORY_TEMPERATURE


def test_segment_without_names(tmp_path: Path, chair_model: Path, capsys: Capture) -> None:
    out = tmp_path / "out"
    assert main(["segment", str(CHAIR), "--model", str(chair_model), "-o", str(out), "--no-pictures"]) == 0
    printed = capsys.readouterr().out
    assert "taken for: chair (" in printed and "armchair (" in printed and "choose with --category" in printed
    summary = json.loads((out / "summary.json").read_text())
    assert summary["settings"]["proposed"]["category"] == "chair"
    assert {"backrest", "seat", "leg"} <= {part["name"] for part in summary["parts"]}
    arguments = ["--model", str(chair_model), "--category", "stool", "--max-parts", "2", "-o", str(out)]
    assert main(["segment", str(CHAIR), *arguments, "--no-pictures"]) == 0
    assert "parts of: stool" in capsys.readouterr().out
    assert [part["name"] for part in json.loads((out / "summary.json").read_text())["parts"]] == ["seat", "leg"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--count", "3"], "--count and --level go with --parts auto"),
        (["--parts", "auto", "--max-parts", "3"], "with --parts auto it is --count"),
        (["--parts", "auto", "--count", "3", "--level", "0.5"], "--count and --level were both given"),
        (["--parts", "auto", "--category", "chair"], "--category needs part names"),
        (["--parts", "auto", "--no-refine"], "--no-refine needs part names"),
        (["--parts", "auto", "--none", "0.5"], "--none needs part names"),
        (["--parts", "seat", "--max-parts", "3"], "are for shapes without --parts"),
        (["--up", "auto"], "--up auto needs part names"),
        (["--method", "cops"], "--method needs part names"),
        (["--category", "xyzzy"], "category 'xyzzy' is not one of"),
    ],
)
def test_options_that_need_names(tmp_path: Path, capsys: Capture, arguments: list[str], message: str) -> None:
    assert main(["segment", str(CHAIR), *arguments, "-o", str(tmp_path / "out")]) == 2
    assert message in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "out").exists()


def test_many_files_without_names(tmp_path: Path, chair_model: Path) -> None:
    """Each has its own names; the table has a column for every name, and a second run finds all done."""
    files = [str(ROOT / "examples" / name) for name in ("chair.glb", "mug.glb")]
    options = ["--model", str(chair_model), "-o", str(tmp_path / "out"), "--no-pictures", "--workers", "1"]
    assert main(["segment", *files, *options]) == 0
    with open(tmp_path / "out" / "results.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 2 and {"backrest", "seat", "leg"} <= rows[0].keys()
    made = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("summary.json")}
    assert main(["segment", *files, *options]) == 0
    assert made == {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("summary.json")}
    assert main(["segment", *files, *options, "--max-parts", "1"]) == 2  # another run's folder


def test_another_process_continues_the_run() -> None:
    """What run.json says does not depend on the order in which Python keeps sets."""
    code = """
from pa3d import Segmenter
from pa3d.report.batch import FileOptions, _run_facts
from pa3d.unnamed import Divided, Proposed
seg = Segmenter.from_pretrained()
print([_run_facts(seg, asked, FileOptions(), None) for asked in (Proposed(), Proposed("chair"), Divided(3))])
"""
    said = [
        subprocess.run([sys.executable, "-c", code], env={**os.environ, "PYTHONHASHSEED": seed}, capture_output=True)
        for seed in ("1", "2")
    ]
    assert [done.returncode for done in said] == [0, 0], said
    assert said[0].stdout == said[1].stdout != b""


def test_many_files_divided_by_themselves(tmp_path: Path) -> None:
    files = [str(ROOT / "examples" / name) for name in ("chair.glb", "mug.glb")]
    options = ["-o", str(tmp_path / "out"), "--no-pictures", "--workers", "1", "--parts", "auto", "--count", "3"]
    assert main(["segment", *files, *options]) == 0
    lines = (tmp_path / "out" / "results.jsonl").read_text().splitlines()
    assert [len(json.loads(line)["parts"]) for line in lines] == [3, 3]
    chair = json.loads(lines[0])["parts"]
    expected = Segmenter.from_pretrained().parts(CHAIR, count=3)
    assert [part["name"] for part in chair] == expected.part_names


def test_info_lists_the_categories(capsys: Capture) -> None:
    assert main(["info", "--categories"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(categories()) and any(line.startswith("chair, ") for line in lines)
    assert main(["info", "--categories", "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)["categories"]) == len(categories())
