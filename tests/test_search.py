"""pa3d embed and pa3d search: what an index holds, how it is brought up to date, and what is found in it."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from test_segment_many import InProcess, write_box
from tiny import calibrated_checkpoint

from pa3d import InputError, Segmenter
from pa3d.checkpoint import Checkpoint, save
from pa3d.checkpoint import load as load_checkpoint
from pa3d.cli import main
from pa3d.search import EmbedOptions, ShapeIndex, embed_files, parse_query
from pa3d.search import embed as embed_module
from pa3d.search import index_file as index_file_module
from pa3d.search.index import singular
from pa3d.search.index_file import IndexFile, Row, write_index
from pa3d.search.sheet import sheet_size
from pa3d.search.vectors import REGIONS, ShapeVectors, embed_shape, region_vectors
from pa3d.shape_head import ShapeHead
from pa3d.workers import Died

ROOT = Path(__file__).resolve().parents[1]
EXAMPLES = ROOT / "examples"
CHAIR = EXAMPLES / "chair.glb"


def with_head(checkpoint: Checkpoint, seed: int = 0) -> Checkpoint:
    """With a shape head of random numbers."""
    rng, config = np.random.default_rng(seed), checkpoint.config
    shapes = ShapeHead.shapes(config.dim, 32, config.text_dim)
    head = {name: (rng.standard_normal(s) / np.sqrt(s[-1])).astype(np.float32) for name, s in shapes.items()}
    return replace(checkpoint, shape_head=head)


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embed_module, "WorkerPool", InProcess)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "tiny.safetensors"
    save(path, with_head(calibrated_checkpoint()))
    return path


@pytest.fixture(scope="module")
def tiny(model: Path) -> Segmenter:
    return Segmenter.from_pretrained(model, threads=1)


@pytest.fixture(scope="module")
def examples(tmp_path_factory: pytest.TempPathFactory) -> ShapeIndex:
    """The examples, embedded by the encoder of the package with a head of random numbers."""
    path = tmp_path_factory.mktemp("index") / "examples.safetensors"
    segmenter = Segmenter(with_head(load_checkpoint()), threads=1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(embed_module, "WorkerPool", InProcess)
        embed_files([*EXAMPLES.glob("*.glb"), *EXAMPLES.glob("*.ply")], segmenter, path)
    return ShapeIndex.load(path, segmenter)


def boxes(folder: Path, count: int) -> list[Path]:
    return [write_box(folder / f"{i:02d}.obj", 1 + i / 4) for i in range(count)]


# The index


def test_what_an_index_holds(tmp_path: Path, tiny: Segmenter, here: None) -> None:
    inside, outside = boxes(tmp_path / "in" / "models", 3), boxes(tmp_path / "out", 1)
    index = tmp_path / "in" / "index.safetensors"
    report = embed_files([*outside, *reversed(inside)], tiny, index)
    assert (report["shapes"], report["new"], report["failed"], report["gone"]) == (4, 4, [], [])
    tensors, files = load_file(index), sorted([*outside, *inside])
    names = tensors["paths"].tobytes().split(b"\0")
    assert names == [b"models/00.obj", b"models/01.obj", b"models/02.obj", os.fsencode(outside[0])]
    assert tensors["sizes"].tolist() == [path.stat().st_size for path in files]
    assert tensors["modified"].tolist() == [path.stat().st_mtime_ns for path in files]
    assert {name: (values.dtype, values.shape) for name, values in tensors.items()} == {
        "shapes": (np.float16, (4, 384)), "parts": (np.int8, (4, REGIONS, 384)), "shares": (np.float16, (4, REGIONS)),
        "sizes": (np.int64, (4,)), "modified": (np.int64, (4,)), "paths": (np.uint8, (len(b"\0".join(names)),)),
    }  # fmt: skip
    for i, path in enumerate(files):
        expected = tiny.embed_shape(path)
        assert np.allclose(tensors["shapes"][i].astype(np.float32), expected, atol=1e-3)
        assert tensors["shares"][i].sum() == pytest.approx(1, abs=2e-3)
    shutil.move(tmp_path / "in", tmp_path / "moved")  # a folder with its index may be moved
    assert IndexFile(tmp_path / "moved" / "index.safetensors").paths[0] == str(tmp_path / "moved/models/00.obj")


def test_regions(examples: ShapeIndex) -> None:
    """Region r is that of the cut; its vector is the mean of what is in it, by area."""
    tree = examples.open(CHAIR).tree
    vectors, shares = region_vectors(tree)
    cut, areas = tree.cut(count=REGIONS), tree.shape.face_areas()
    assert len(vectors) == REGIONS == cut.max() + 1
    assert np.allclose(shares, np.bincount(cut, areas) / areas.sum(), atol=1e-6)
    for region in (0, 7):
        leaves = np.unique(tree.tree.leaf[cut == region])
        mean = (tree.features[leaves] * tree.weights[leaves, None]).sum(axis=0)
        assert np.allclose(vectors[region], mean / np.linalg.norm(mean), atol=1e-5)
    kept = embed_shape(examples.open(CHAIR)).parts.astype(np.float32)
    cosines = (kept * vectors).sum(axis=1) / np.linalg.norm(kept, axis=1)
    assert cosines.min() > 0.999 and np.abs(kept).max(axis=1).tolist() == [127] * REGIONS


def test_brought_up_to_date(tmp_path: Path, tiny: Segmenter, here: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only what is new or has changed is embedded, what is gone is dropped; the bytes are those of a fresh index."""
    files, index = boxes(tmp_path / "in", 4), tmp_path / "index.safetensors"
    embedded: list[str] = []
    real = embed_module._EmbedFile.__call__
    monkeypatch.setattr(
        embed_module._EmbedFile, "__call__", lambda self, file: embedded.append(Path(file).name) or real(self, file)
    )
    embed_files(files[:3], tiny, index)
    before = index.read_bytes()
    report = embed_files(files[:3], tiny, index)
    assert (report["new"], index.read_bytes()) == (0, before) and embedded == ["00.obj", "01.obj", "02.obj"]
    embedded.clear()
    write_box(files[0], 9)
    files[1].unlink()
    report = embed_files(files[3:], tiny, index)
    assert (report["shapes"], report["new"], report["gone"]) == (3, 2, [str(files[1])])
    assert embedded == ["00.obj", "03.obj"]
    assert embed_files([], tiny, index)["new"] == 0
    embed_files([files[0], *files[2:]], tiny, tmp_path / "fresh.safetensors")
    assert index.read_bytes() == (tmp_path / "fresh.safetensors").read_bytes()


def test_saved_now_and_then(tmp_path: Path, tiny: Segmenter, here: None, monkeypatch: pytest.MonkeyPatch) -> None:
    files, index = boxes(tmp_path / "in", 7), tmp_path / "index.safetensors"
    files[2].write_text("nothing")
    embed_files(files, tiny, index)
    monkeypatch.setattr(embed_module, "SAVE_EVERY", 2)
    sizes: list[int] = []
    real = embed_module.write_index
    monkeypatch.setattr(embed_module, "write_index", lambda *a: sizes.append(real(*a)) or sizes[-1])
    report = embed_files(files, tiny, tmp_path / "other.safetensors")
    assert sizes == [2, 3, 5, 6] and report["shapes"] == 6 and len(report["failed"]) == 1
    assert index.read_bytes() == (tmp_path / "other.safetensors").read_bytes()


@pytest.mark.parametrize("moment", ["embedding", "replacing"])
def test_killed(tmp_path: Path, tiny: Segmenter, here: None, moment: str) -> None:
    """A process that ends at once leaves the earlier index, and the next one makes what is missing."""
    files, index = boxes(tmp_path / "in", 5), tmp_path / "index.safetensors"
    embed_files(files[:2], tiny, index)
    before = index.read_bytes()
    process = os.fork()
    if process == 0:
        try:
            if moment == "replacing":
                os.replace = lambda *_: os._exit(9)  # type: ignore[assignment]
            else:
                real = embed_module.embed_shape
                embed_module.embed_shape = lambda shape: (  # type: ignore[assignment]
                    os._exit(9) if shape.shape.name == "03.obj" else real(shape)
                )
            embed_files(files, tiny, index)
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) == 9
    assert index.read_bytes() == before
    assert embed_files(files, tiny, index)["new"] == 3
    embed_files(files, tiny, tmp_path / "fresh.safetensors")
    assert index.read_bytes() == (tmp_path / "fresh.safetensors").read_bytes()


def test_failures(tmp_path: Path, tiny: Segmenter, here: None, monkeypatch: pytest.MonkeyPatch) -> None:
    files, index = boxes(tmp_path / "in", 3), tmp_path / "index.safetensors"
    embed_files(files, tiny, index)
    files[1].write_text("v 0 0 0\nf 1 2 9\n")
    report = embed_files([*files, tmp_path / "in" / "nothing.obj"], tiny, index)
    assert [Path(row["file"]).name for row in report["failed"]] == ["01.obj", "nothing.obj"]
    assert "no such file" in report["failed"][1]["reason"]
    assert not any(row["reason"].startswith(("/", "01.obj")) for row in report["failed"])
    assert [Path(path).name for path in IndexFile(index).paths] == ["00.obj", "02.obj"]
    before = index.read_bytes()
    for file in files:
        file.write_text("nothing")
    assert embed_files(files, tiny, index)["shapes"] == 0 and index.read_bytes() == before

    class Deadly(InProcess):
        def run(self, tasks: list[Any], look_ahead: int | None = None) -> Iterator[tuple[int, Any]]:
            for i, task in enumerate(tasks):
                yield i, Died("killed its worker 3 times") if i else self.function(task)

    monkeypatch.setattr(embed_module, "WorkerPool", Deadly)
    report = embed_files(boxes(tmp_path / "in", 3), tiny, index)
    assert report["shapes"] == 1
    assert [row["reason"] for row in report["failed"]] == ["killed its worker 3 times"] * 2


def test_another_model(tmp_path: Path, tiny: Segmenter, here: None) -> None:
    """Refused, with what to do: another encoder, another head on the same encoder, other options, no head."""
    files, index = boxes(tmp_path / "in", 2), tmp_path / "index.safetensors"
    embed_files(files, tiny, index, EmbedOptions(up="z"))
    before = index.read_bytes()
    other = Segmenter(with_head(tiny.checkpoint, seed=1), threads=1)
    with pytest.raises(InputError, match=r"made by model tiny .* pa3d embed --overwrite"):
        embed_files(files, other, index)
    for query in ("chair", "with legs"):
        with pytest.raises(InputError, match=r"made by model tiny .*--model"):
            ShapeIndex.load(index, other).search(query)
    with pytest.raises(InputError, match=r"made with up z, not x"):
        embed_files(files, tiny, index, EmbedOptions(up="x"))
    with pytest.raises(InputError, match=r"made with patches 128, not 64"):
        embed_files(files, Segmenter(tiny.checkpoint, threads=1, patches=64), index)
    with pytest.raises(InputError, match="shape_head"):
        embed_files(files, Segmenter(replace(tiny.checkpoint, shape_head=None)), index)
    assert index.read_bytes() == before
    assert embed_files(files, tiny, index)["new"] == 0  # without options, those of the index
    assert embed_files(files, other, index, fresh=True)["new"] == 2
    assert ShapeIndex.load(index, other).search("chair")


def test_what_is_no_index(tmp_path: Path, tiny: Segmenter, model: Path, here: None) -> None:
    path = tmp_path / "index.safetensors"
    with pytest.raises(InputError, match="no such index; make it with pa3d embed"):
        ShapeIndex.load(path)
    with pytest.raises(InputError, match="not an index of shapes"):
        ShapeIndex.load(model)
    embed_files(boxes(tmp_path / "in", 2), tiny, path)
    good, tensors = path.read_bytes(), load_file(path)
    size = int.from_bytes(good[:8], "little")
    facts = json.loads(good[8 : 8 + size])["__metadata__"]["pa3d_shape_index"]
    for damaged in (good[:-5], good[:100], b"", b"\xff" * 64):
        path.write_bytes(damaged)
        with pytest.raises(InputError, match="not a readable safetensors file"):
            ShapeIndex.load(path)
    for changed, text in (
        ({"parts": tensors["parts"][:1]}, facts),
        ({"shapes": tensors["shapes"].astype(np.float32)}, facts),
        ({"paths": np.frombuffer(b"one", np.uint8)}, facts),
        ({}, facts.replace('"format": 1', '"format": 2')),
        ({}, facts.replace('"options": {', '"options": {"color": 1, ')),
        ({}, "[]"),
        ({}, "{"),
    ):
        save_file(tensors | changed, path, metadata={"pa3d_shape_index": text})
        with pytest.raises(InputError, match="the index is damaged"):
            ShapeIndex.load(path)


# Search


def synthetic(path: Path, segmenter: Segmenter, count: int) -> dict[str, np.ndarray]:
    """An index of vectors of random numbers; some shapes have only a few regions."""
    rng = np.random.default_rng(0)

    def rows() -> Iterator[Row]:
        for i in range(count):
            whole = rng.standard_normal(384)
            parts = rng.integers(-127, 128, (REGIONS, 384)).astype(np.int8)
            parts[rng.integers(1, REGIONS + 1) :] = 0
            whole = (whole / np.linalg.norm(whole)).astype(np.float16)
            yield Row(f"/nowhere/{i:05d}.obj", 1, 1, ShapeVectors(whole, parts, rng.random(REGIONS).astype(np.float16)))

    assert write_index(path, embed_module.index_facts(segmenter, EmbedOptions()), rows()) == count
    return load_file(path)


def test_ranking(tmp_path: Path, tiny: Segmenter, monkeypatch: pytest.MonkeyPatch) -> None:
    """The order and the scores are those of a plain computation, in blocks of any size."""
    path = tmp_path / "index.safetensors"
    tensors = synthetic(path, tiny, 300)
    words = tiny.embed_words(["office chair", "arm", "wheel"])
    whole = tensors["shapes"].astype(np.float32) @ words[0]
    parts = tensors["parts"].astype(np.float64)
    norms = np.linalg.norm(parts, axis=2, keepdims=True)
    cosines = np.where(norms > 0, np.einsum("spd,kd->spk", parts, words[1:]) / np.maximum(norms, 1), -1)
    best = cosines.max(axis=1)
    for block in (10**9, 384 * REGIONS * 7, 1):
        monkeypatch.setattr(index_file_module, "BLOCK", block)
        index = ShapeIndex.load(path, tiny)
        for query, expected in (
            ("office chair", whole),
            ("office chair with arms, a wheel", (whole + 2 * best.mean(axis=1)) / 3),
            ("with arms and the wheel", best.mean(axis=1)),
        ):
            order = np.argsort(-expected)[:20]
            hits = index.search(query, top=20)
            assert [int(hit.path.stem) for hit in hits] == order.tolist()
            assert np.allclose([hit.score for hit in hits], expected[order], atol=1e-5)
        for hit in index.search("office chair", top=3, parts=["arms"]):
            i, (part,) = int(hit.path.stem), hit.parts
            assert part.region == cosines[i, :, 0].argmax() and part.share == tensors["shares"][i, part.region]
            assert hit.whole == pytest.approx(whole[i], abs=1e-5) and part.name == "arms"
    assert index.search(words[0] * 5)[0].path == index.search("office chair")[0].path
    assert index.search_part(words[1])[0].path == index.search_part("arm")[0].path
    assert len(index.search("chair", top=1000)) == len(index) == 300


def test_only_what_is_needed_is_read(tmp_path: Path, tiny: Segmenter, monkeypatch: pytest.MonkeyPatch) -> None:
    """Vectors of parts stay in the file unless parts are asked for; a million shapes have 12 GB of them."""
    path = tmp_path / "index.safetensors"
    synthetic(path, tiny, 50)
    read, largest = [], []
    real = IndexFile.blocks

    def blocks(self: IndexFile, name: str) -> Iterator[tuple[int, Any]]:
        read.append(name)
        for start, rows in real(self, name):
            largest.append(rows.size)
            yield start, rows

    monkeypatch.setattr(IndexFile, "blocks", blocks)
    monkeypatch.setattr(index_file_module, "BLOCK", 3 * REGIONS * 384)
    index = ShapeIndex.load(path, tiny)
    index.search("chair")
    assert read == ["shapes"]
    index.search("chair with legs")
    assert read == ["shapes", "shapes", "parts"] and max(largest) <= 3 * REGIONS * 384


def test_queries() -> None:
    for query, expected in {
        "office chair": ("office chair", []),
        "office  chair with arms": ("office chair", ["arms"]),
        "chair with arms, a wheel and the headrest": ("chair", ["arms", "wheel", "headrest"]),
        "Chair WITH arms; arms": ("Chair", ["arms"]),
        "with wheels": ("", ["wheels"]),
        "salt and pepper mill": ("salt and pepper mill", []),
        "chair without arms": ("chair without arms", []),
        "chair with": ("chair", []),
    }.items():
        assert parse_query(query) == expected
    for query in ("", " ", "with", "with , and"):
        with pytest.raises(InputError, match="has no words"):
            parse_query(query)


def test_parts_are_singular() -> None:
    for name, expected in {
        "arms": "arm", "front wheels": "front wheel", "shelves": "shelf", "batteries": "battery",
        "leg": "leg", "lens": "lens", "glass": "glass", "zorps": "zorps", "": "",
    }.items():  # fmt: skip
        assert singular(name) == expected


def test_bad_queries(tmp_path: Path, tiny: Segmenter) -> None:
    path = tmp_path / "index.safetensors"
    synthetic(path, tiny, 3)
    index = ShapeIndex.load(path, tiny)
    for call, message in (
        (lambda: index.search("!!!"), "part name"),
        (lambda: index.search("chair", top=0), "top is 0"),
        (lambda: index.search(np.zeros(384)), "finite numbers that are not all 0"),
        (lambda: index.search(np.full(384, np.nan)), "finite numbers"),
        (lambda: index.search(np.ones(7)), "expected 384"),
        (lambda: index.search_part([]), "no part was given"),
        (lambda: index.like("nothing.glb"), "no such file"),
    ):
        with pytest.raises(InputError, match=message):
            call()


def test_like_finds_itself_first(examples: ShapeIndex) -> None:
    for path in (CHAIR, EXAMPLES / "octopus.ply"):
        hits = examples.like(path)
        assert hits[0].path == path and hits[0].score == pytest.approx(1, abs=1e-3) and hits[1].score < 0.999
        hits = examples.like(path, "leg")
        assert hits[0].path == path and hits[0].score == pytest.approx(1, abs=2e-3) and hits[0].whole is None


def test_the_legs_of_the_chair(examples: ShapeIndex) -> None:
    """The region that fits "leg" best is low; that of "backrest" is high. The chair is among the first with legs, and
    before what has none."""
    found = {}
    for word in ("chair leg", "backrest"):
        (hit,) = [hit for hit in examples.search_part(word) if hit.path == CHAIR]
        opened = examples.open(CHAIR)
        shape = opened.shape
        faces = shape.faces[opened.tree.cut(count=REGIONS) == hit.parts[0].region]
        found[word] = float(shape.points[faces][..., 1].mean())
    height = np.ptp(shape.points[:, 1])
    low = shape.points[:, 1].min()
    assert found["chair leg"] < low + 0.4 * height and found["backrest"] > low + 0.6 * height
    order = [hit.path.stem for hit in examples.search_part("chair leg")]
    assert order.index("chair") < min(order.index(name) for name in ("mug", "hat"))


# The commands


def test_commands(tmp_path: Path, model: Path, here: None, capsys: pytest.CaptureFixture[str]) -> None:
    index = str(tmp_path / "index.safetensors")
    files = boxes(tmp_path / "in", 3)
    files[2].write_text("nothing")
    embed = ["embed", str(tmp_path / "in"), "-o", index, "--model", str(model)]
    assert main([*embed]) == 3
    out, err = capsys.readouterr()
    assert "2 shapes; 2 new in" in out and "1 failed" in out and f"failed: {files[2]}: " in err
    write_box(files[2], 5)
    files[0].unlink()
    assert main([*embed, "--json"]) == 0
    out, err = capsys.readouterr()
    report = json.loads(out)
    assert (report["shapes"], report["new"], report["gone"]) == (2, 1, [str(files[0])])
    assert f"gone: {files[0]}; dropped from the index" in err
    assert main(["embed", "-o", index, "--model", str(model), "-q"]) == 0
    assert capsys.readouterr() == ("", "")
    search = ["search", "--model", str(model)]
    assert main([*search, "box", "with", "legs", index, "--json", "--top", "1"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["query"] == {"words": "box", "like": None, "parts": ["legs"]} and found["shapes"] == 2
    (row,) = found["results"]
    part = row["parts"][0]
    assert row["score"] == pytest.approx((row["whole"] + 2 * part["score"]) / 3, abs=2e-6) and part["name"] == "legs"
    assert row["file"] in map(str, files)
    assert main([*search, "box with legs", index, "--part", "arm, wheel"]) == 0
    assert capsys.readouterr().out.split()[:6] == ["score", "whole", "legs", "arm", "wheel", "file"]
    assert main([*search, index, "--like", str(files[2])]) == 0
    assert capsys.readouterr().out.splitlines()[1].split()[0] == "1.000"
    assert main([*search, index, "--part", "leg", "--like", str(files[1]), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["results"][0]["file"] == str(files[1])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["search", "INDEX"], "nothing to look for"),
        (["search", "chair", "nowhere.safetensors"], "no such index"),
        (["search", "chair", "INDEX", "--like", "a.obj"], "both given"),
        (["search", "chair", "INDEX", "--sheet", "a.jpg"], r"expected a name that ends in \.png"),
        (["search", "chair", "INDEX", "--top", "0"], "top"),
        (["search", "chair", "INDEX"], "pa3d-embedded"),
        (["embed", "-o", "new.safetensors"], "no file was given"),
        (["embed", "nothing", "-o", "INDEX"], "no such file or folder"),
        (["embed", "INDEX", "-o", "index.npz"], r"ends in \.safetensors"),
        (["embed", "INDEX", "-o", "INDEX", "--sample", "0"], "--sample 0"),
        (["embed", "BROKEN", "-o", "new.safetensors", "--up", "auto"], "up is 'auto'; expected"),
        (["embed", "BROKEN", "-o", "new.safetensors", "--nan", "drop"], "'drop'"),
        (["embed", "BROKEN", "-o", "new.safetensors", "--model", "MODEL"], "none of 1 files could be embedded"),
    ],
)
def test_what_the_commands_refuse(
    arguments: list[str],
    message: str,
    tmp_path: Path,
    model: Path,
    tiny: Segmenter,
    here: None,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    synthetic(tmp_path / "index.safetensors", tiny, 2)
    Path("broken.obj").write_text("nothing")
    places = {"INDEX": "index.safetensors", "MODEL": str(model), "BROKEN": "broken.obj"}
    assert main([places.get(argument, argument) for argument in arguments]) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("error: ")
    assert re.search(message, error), error
    assert not Path("new.safetensors").exists() and not Path("a.jpg").exists()


def test_contact_sheet(tmp_path: Path, model: Path, here: None) -> None:
    """It has a tile for each shape, also for one that cannot be read any more."""
    from PIL import Image

    index, sheet = str(tmp_path / "index.safetensors"), tmp_path / "new" / "sheet.png"
    files = [*boxes(tmp_path / "in", 6), Path(shutil.copy(EXAMPLES / "octopus.ply", tmp_path / "in"))]
    assert main(["embed", str(tmp_path / "in"), "-o", index, "--model", str(model), "-q"]) == 0
    files[1].write_text("nothing")
    for arguments, count in ((["box with legs"], 7), (["box", "--top", "2"], 2)):
        words, *options = arguments
        assert main(["search", words, index, "--model", str(model), "--sheet", str(sheet), *options]) == 0
        assert sheet.read_bytes().startswith(b"\x89PNG")
        with Image.open(sheet) as image:
            assert image.size == sheet_size(count)
            pixels = np.asarray(image.convert("RGB")).astype(int)
        colored = (np.ptp(pixels, axis=2) > 60).sum()  # parts that were asked for have colours, other shapes are grey
        assert colored > 500 if count == 7 else colored == 0


@pytest.mark.skipif(sys.platform != "linux", reason="workers are killed by signals of Linux")
def test_workers(tmp_path: Path, model: Path) -> None:
    """Two processes write the bytes that one does, and leave nothing else behind."""
    boxes(tmp_path / "in", 4)
    embed = [sys.executable, "-m", "pa3d.cli", "embed", "in", "--model", str(model), "-q", "-o"]
    for name, workers in (("one", "1"), ("two", "2")):
        subprocess.run([*embed, f"{name}.safetensors", "--workers", workers], cwd=tmp_path, check=True)
    assert (tmp_path / "one.safetensors").read_bytes() == (tmp_path / "two.safetensors").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in", "one.safetensors", "two.safetensors"]


def test_nothing_heavy_is_imported() -> None:
    code = "import sys, pa3d, pa3d.cli; print([m for m in sys.modules if m.split('.')[0] in ('PIL', 'safetensors', " \
        "'rich', 'numpy') or m.startswith('pa3d.search')])"  # fmt: skip
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_evaluation_needs_its_folder() -> None:
    script = ROOT / "scripts" / "evaluate_classification.py"
    done = subprocess.run([sys.executable, str(script), "nowhere"], capture_output=True, text=True)
    assert done.returncode == 1 and done.stderr.startswith("error: ")
