"""The command line: what it prints, what it writes, and that it starts quickly."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from meshes import CLOUD_SUFFIXES, MESH_SUFFIXES, write_shape
from official import official_state, save_pickle
from tiny import calibrated_checkpoint, write_tiny

from pa3d import __version__
from pa3d.checkpoint import EMBEDDED, PresenceFit, load, save
from pa3d.cli import main
from pa3d.cli.info import EXTRAS
from pa3d.cli.options import part_names, sample_size
from pa3d.segment import Segmenter

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    write_tiny(tmp_path / "tiny.safetensors")
    write_shape(tmp_path / "ring.ply")
    return tmp_path


def pa3d(*args: object) -> int:
    return main([str(a) for a in args])


SEGMENT = ("segment", "ring.ply", "--parts", "inner side, outer side", "--model", "tiny.safetensors")


def test_segment(here: Path, capsys: Capture) -> None:
    assert pa3d(*SEGMENT, "-o", "out") == 0
    out, err = capsys.readouterr()
    assert err == ""
    lines = out.splitlines()
    assert lines[0] == "ring.ply: 288 vertices, 576 faces"
    assert lines[1].split() == ["part", "share", "of", "surface", "confidence"]
    assert [line.split("  ")[0].lstrip("\u2588 ") for line in lines[2:4]] == ["inner side", "outer side"]
    shares = [float(line.split("%")[0].split()[-1]) for line in lines[2:4]]
    assert sum(shares) == pytest.approx(100, abs=0.2)
    assert all(stage in lines[4] for stage in ("load", "model", "text", "points", "encode", "label", "write"))
    names = ["labels.npz", "parts.glb", "parts.ply", "painted.glb", "parts.png", "parts.html", "summary.json"]
    assert lines[5] == "out/: " + ", ".join(names) and len(lines) == 6
    assert sorted(os.listdir("out")) == sorted(names)


def test_the_files_hold_what_the_api_returns(here: Path) -> None:
    assert (
        pa3d(
            *SEGMENT,
            "-o",
            "out",
            "--no-pictures",
            "--quiet",
            "--assign",
            "smooth",
            "--seed",
            3,
            "--category",
            "toy",
        )
        == 0
    )
    r = Segmenter.from_pretrained("tiny.safetensors").segment(
        "ring.ply", ["inner side", "outer side"], assign="smooth", seed=3, category="toy"
    )
    with np.load("out/labels.npz") as file:
        assert file["part_names"].tolist() == r.part_names
        for name in ("labels", "scores", "face_labels", "face_scores"):
            assert np.array_equal(file[name], getattr(r, name))
    summary = json.loads(Path("out/summary.json").read_text())
    assert summary["settings"]["category"] == "toy" and summary["settings"]["seed"] == 3
    assert {"load", "model", "encode"} <= summary["seconds"].keys()


def test_the_same_command_twice_gives_equal_bytes(here: Path) -> None:
    for out, threads in (("one", 1), ("two", 1), ("three", 2)):
        assert pa3d(*SEGMENT, "-o", out, "--quiet", "--no-pictures", "--threads", threads) == 0
    for name in ("labels.npz", "parts.glb", "parts.ply", "painted.glb"):
        assert len({Path(out, name).read_bytes() for out in ("one", "two", "three")}) == 1


def test_json(here: Path, capsys: Capture) -> None:
    assert pa3d(*SEGMENT, "--json", "--none", 0.9) == 0
    out, err = capsys.readouterr()
    assert err == ""
    summary: dict[str, Any] = json.loads(out)
    assert [part["name"] for part in summary["parts"]] == ["inner side", "outer side"]
    assert sum(part["share"] for part in summary["parts"]) + summary["none"]["share"] == pytest.approx(1, abs=1e-5)
    assert summary["settings"]["none"] == 0.9
    assert summary["files"]["parts"] == "ring-parts/parts.glb"  # the default folder
    assert all(Path(path).is_file() for path in summary["files"].values())


def test_quiet(here: Path, capsys: Capture) -> None:
    assert pa3d(*SEGMENT, "--quiet", "--no-pictures") == 0
    assert capsys.readouterr() == ("", "")
    assert sorted(os.listdir("ring-parts")) == ["labels.npz", "painted.glb", "parts.glb", "parts.ply", "summary.json"]


def test_split_and_scores(here: Path) -> None:
    assert pa3d(*SEGMENT, "--quiet", "--no-pictures", "--split", "--scores") == 0
    with np.load("ring-parts/labels.npz") as arrays:
        found = np.unique(arrays["face_labels"]).tolist()
    assert sorted(os.listdir("ring-parts/split")) == [("inner-side.glb", "outer-side.glb")[label] for label in found]
    assert b"property float score_inner_side\n" in Path("ring-parts/parts.ply").read_bytes()


def test_none_of_these_has_a_row_where_it_happens(here: Path, capsys: Capture) -> None:
    assert pa3d(*SEGMENT, "--no-pictures") == 0
    assert "none of these" not in capsys.readouterr().out
    assert pa3d(*SEGMENT, "--no-pictures", "--none", 1) == 0
    assert "none of these" in capsys.readouterr().out


def test_a_part_that_is_nowhere_has_no_confidence(here: Path, capsys: Capture) -> None:
    np.save("two.npy", np.array([[0.0, 0, 0], [1, 2, 3]]))
    parts = ",".join(["seat", "back", "leg", "arm", "wheel", "door", "handle", "lid"])
    assert pa3d("segment", "two.npy", "--parts", parts, "--model", "tiny.safetensors", "--no-pictures") == 0
    absent = [line for line in capsys.readouterr().out.splitlines() if " 0.0 %" in line]
    assert absent and all(line.rstrip().endswith("%") for line in absent)


def test_presence_of_a_calibrated_model(here: Path, capsys: Capture) -> None:
    checkpoint = replace(calibrated_checkpoint(), presence=PresenceFit(0.4, -0.3, 1.1))
    save(here / "calibrated.safetensors", checkpoint)
    common = ("segment", "ring.ply", "--parts", "inner side, outer side", "--no-pictures")
    assert pa3d(*common, "--model", "calibrated.safetensors") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].split()[-2:] == ["confidence", "presence"]
    assert all("not found" in line for line in lines[2:4])
    save(here / "calibrated.safetensors", replace(checkpoint, presence=PresenceFit(0.4, -0.3, 0.0)))
    assert pa3d(*common, "--model", "calibrated.safetensors", "--json") == 0
    summary = json.loads(capsys.readouterr().out)
    assert all(0 < part["presence"] < 1 for part in summary["parts"])
    assert summary["not_found"] == [part["name"] for part in summary["parts"] if part["count"] == 0]


@pytest.mark.parametrize("suffix", [*MESH_SUFFIXES, *CLOUD_SUFFIXES])
def test_every_format(here: Path, suffix: str) -> None:
    write_shape(here / f"shape{suffix}")
    common = ("--parts", "a,b", "--model", "tiny.safetensors", "--quiet", "--no-pictures")
    assert pa3d("segment", f"shape{suffix}", *common) == 0
    with np.load("shape-parts/labels.npz") as file:
        assert ("face_labels" in file.files) == (suffix in MESH_SUFFIXES)
        assert len(file["labels"]) == (3 * 576 if suffix == ".stl" else 288)


def test_parts_from_a_file(here: Path) -> None:
    Path("names.txt").write_text("\ufeff# parts of a chair\nseat\n\n  back, upper  \nleg\n", encoding="utf-8")
    assert part_names("names.txt") == ["seat", "back, upper", "leg"]
    Path("names").write_text("arm")
    assert part_names("names") == ["arm"]
    assert part_names("seat, back ,,leg,") == ["seat", "back", "leg"]
    assert part_names("handle/grip") == ["handle/grip"]


def test_sample_sizes(here: Path, capsys: Capture) -> None:
    assert sample_size("all") is None and sample_size("64") == 64
    assert pa3d(*SEGMENT, "--sample", "all", "--json", "--no-pictures") == 0
    assert json.loads(capsys.readouterr().out)["settings"]["sample"] is None


def test_nothing_but_the_table_in_markup_like_names(here: Path, capsys: Capture) -> None:
    Path("ring.ply").rename("[red]ring.ply")
    common = ("--parts", "a [bold]b[/bold], c", "--model", "tiny.safetensors", "--no-pictures")
    assert pa3d("segment", "[red]ring.ply", *common) == 0
    out = capsys.readouterr().out
    assert "[red]ring.ply: 288 vertices" in out and "a [bold]b[/bold]" in out and "[red]ring-parts/: " in out


@pytest.mark.skipif(not EMBEDDED.exists(), reason="the embedded weights are not in this tree")
def test_the_embedded_model_is_the_default(here: Path, capsys: Capture) -> None:
    assert pa3d("segment", "ring.ply", "--parts", "inner side, outer side", "--json", "--no-pictures") == 0
    assert json.loads(capsys.readouterr().out)["model"] == "pa3d-embedded"


def test_convert(here: Path, capsys: Capture) -> None:
    pytest.importorskip("torch")
    save_pickle(here / "last.pt", dict(official_state()))
    assert pa3d("convert", "last.pt", "official.safetensors") == 0
    out, err = capsys.readouterr()
    assert out.startswith("official.safetensors: 22.35 M parameters, text space open_clip/ViT-bigG-14/") and err == ""
    assert load("official.safetensors").config.text_dim == 1280
    assert pa3d("convert", "last.pt", "again.safetensors", "--quiet") == 0
    assert capsys.readouterr() == ("", "")


def test_info(capsys: Capture) -> None:
    from pa3d import _C
    from pa3d.segment import Segmenter

    assert pa3d("info", "--json") == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["pa3d"] == __version__ and facts["isa"]["in_use"] == _C.isa()
    # what a segmenter of the embedded model would take here
    assert facts["precision"]["auto"] == Segmenter.from_pretrained().precision
    assert facts["precision"]["auto"] in facts["precision"]["available"] and "fp32" in facts["precision"]["available"]
    assert facts["text"]["encoder"] == "all-MiniLM-L6-v2"
    assert facts["model"]["file"] == str(EMBEDDED) and (facts["model"]["problem"] is None) == EMBEDDED.exists()
    assert facts["extras"].keys() == {key for key, *_ in EXTRAS}
    declared = set(importlib.metadata.metadata("pa3d").get_all("Provides-Extra") or [])
    assert {extra for _, _, extra, _ in EXTRAS} == declared - {"dev", "bench"}
    assert facts["gpu"].keys() == {"cuda", "triton"}
    assert pa3d("info") == 0
    out = capsys.readouterr().out
    assert f"pa3d          {__version__}" in out and f"instructions  {_C.isa()}" in out


def test_info_says_what_is_missing_and_how_to_get_it(monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    import importlib.metadata as metadata

    real = metadata.version

    def version(name: str) -> str:
        if name in ("torch", "laspy"):
            raise metadata.PackageNotFoundError(name)
        return real(name)

    monkeypatch.setattr(metadata, "version", version)
    assert pa3d("info") == 0
    out = capsys.readouterr().out
    assert "torch         not installed; pip install 'pa3d[torch]' (for convert, prepare, train, --device)" in out
    assert "laspy         not installed; pip install 'pa3d[las]' (for LAS and LAZ files)" in out


def test_info_says_why_gpu_kernels_cannot_run(monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    from pa3d.ops.backends import cuda, triton

    monkeypatch.setattr(cuda, "gpu_is_visible", lambda: False)
    monkeypatch.setattr(triton, "gpu_is_visible", lambda: False)
    monkeypatch.setattr(cuda, "LIBRARY", Path("nowhere") / "libpa3d_cuda.so")
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    assert pa3d("info") == 0
    out = capsys.readouterr().out
    assert "cuda          kernels cannot run: no NVIDIA GPU is visible; libpa3d_cuda.so is not built: " in out
    assert "triton        kernels cannot run: no NVIDIA GPU is visible" in out
    for module in (cuda, triton):
        monkeypatch.setattr(module, "unavailable_reason", lambda: None)
    assert pa3d("info") == 0
    out = capsys.readouterr().out
    assert "cuda          kernels can run" in out and "triton        kernels can run" in out


def test_version_and_help(capsys: Capture) -> None:
    assert pa3d("--version") == 0
    assert capsys.readouterr().out == f"pa3d {__version__}\n"
    for args in ([], ["--help"], ["-h"]):
        assert pa3d(*args) == 0
        out, err = capsys.readouterr()
        assert all(command in out for command in ("segment", "convert", "info")) and err == ""
    assert pa3d("segment", "--help") == 0
    out = capsys.readouterr().out
    options = (
        "parts out category none up sample assign seed model precision device threads no-pictures quiet json debug"
    )
    assert all(f"--{option}" in out for option in options.split())


def test_every_command_is_in_the_documentation() -> None:
    """docs/cli.md is what scripts/make_cli_docs.py writes."""
    root = Path(__file__).resolve().parents[1]
    spec = importlib.util.spec_from_file_location("make_cli_docs", root / "scripts" / "make_cli_docs.py")
    assert spec is not None and spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    assert (root / "docs" / "cli.md").read_text(encoding="utf-8") == script.document()


def test_interrupts(here: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Segmenter, "segment", interrupted)
    assert pa3d(*SEGMENT) == 130
    assert capsys.readouterr() == ("", "") and not Path("ring-parts").exists()


def test_bugs_are_told_from_bad_input(here: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    def broken(*_: object, **__: object) -> None:
        raise IndexError("list index\nout of range")

    monkeypatch.setattr(Segmenter, "segment", broken)
    assert pa3d(*SEGMENT) == 1
    message = "error: IndexError: list index out of range; this is a bug of pa3d, --debug shows where\n"
    assert capsys.readouterr() == ("", message)
    assert pa3d(*SEGMENT, "--debug") == 1
    assert capsys.readouterr().err.startswith("Traceback")


def test_too_little_memory(here: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    def huge(*_: object, **__: object) -> None:
        raise MemoryError

    monkeypatch.setattr(Segmenter, "segment", huge)
    assert pa3d(*SEGMENT) == 2
    assert capsys.readouterr().err == "error: not enough memory; decimate the shape or use a smaller --sample\n"


CODE = "import sys; from pa3d.cli import main; main(); print(*sorted(sys.modules), file=sys.stderr)"


def imported(*args: str, cwd: Path | None = None) -> set[str]:
    done = subprocess.run([sys.executable, "-c", CODE, *args], capture_output=True, text=True, cwd=cwd, check=True)
    return {name.split(".")[0] for name in done.stderr.split()}


def test_help_and_info_import_little(here: Path) -> None:
    assert not {"numpy", "rich", "torch", "plotly"} & imported("--help")
    assert not {"torch", "open_clip", "trimesh", "plotly", "PIL", "tokenizers"} & imported("info")
    heavy = {"torch", "open_clip", "trimesh", "plotly", "PIL", "scipy"}
    slow = {
        "typer",
        "click",
        "rich",
        "tokenizers",
        "safetensors",
        "pydantic",
        "tempfile",
        "secrets",
        "importlib.metadata",
    }
    assert not (heavy | slow) & imported(*SEGMENT, "--quiet", "--no-pictures", cwd=here)


def test_no_torch_for_pictures(here: Path) -> None:
    assert "torch" not in imported(*SEGMENT, "--quiet", cwd=here)


@pytest.mark.skipif(sys.platform == "win32", reason="needs a pseudo-terminal")
def test_a_spinner_on_a_terminal_when_it_takes_longer(tmp_path: Path) -> None:
    import pty

    def run(seconds: float) -> bytes:
        code = "import time; from pa3d.cli.progress import spinner\n"
        code += f"with spinner('segmenting x', enabled=True): time.sleep({seconds})"
        master, slave = pty.openpty()
        env = {**os.environ, "TERM": "xterm", "COLUMNS": "80"}
        subprocess.run([sys.executable, "-c", code], stderr=slave, check=True, env=env)
        os.close(slave)
        os.set_blocking(master, False)
        try:
            return os.read(master, 10_000)
        except (BlockingIOError, OSError):
            return b""
        finally:
            os.close(master)

    assert run(0.1) == b""
    assert b"segmenting x" in run(1.8)
