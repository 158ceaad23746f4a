"""Bad input: one line on stderr that says what was wrong and what to do, exit code 2, nothing written."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from meshes import CLOUD_SUFFIXES, MESH_SUFFIXES, write_shape
from official import official_state, save_pickle
from tiny import write_tiny

from pa3d.cli import main

Refused = Callable[..., None]


def tree(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()} | {
        str(path): b"folder" for path in folder.rglob("*") if path.is_dir()
    }


@pytest.fixture
def refused(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Refused:
    """Runs a command in tmp_path; its error line must match, and the folder must stay as it was."""
    monkeypatch.chdir(tmp_path)

    def run(*args: object, match: str) -> None:
        before = tree(tmp_path)
        code = main([str(a) for a in args])
        out, err = capsys.readouterr()
        assert code == 2, err
        assert out == ""
        assert err.startswith("error: ") and err.count("\n") == 1 and err.endswith("\n"), err
        assert re.search(match, err), err
        assert tree(tmp_path) == before

    return run


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return write_tiny(tmp_path / "tiny.safetensors")


@pytest.fixture
def ring(tmp_path: Path) -> Path:
    return write_shape(tmp_path / "ring.ply")


# The file.


@pytest.mark.parametrize("suffix", [*MESH_SUFFIXES, *CLOUD_SUFFIXES, ".las", ".laz"])
def test_missing_or_empty_file(refused: Refused, model: Path, suffix: str) -> None:
    refused(
        "segment",
        f"none{suffix}",
        "--parts",
        "a,b",
        "--model",
        model,
        match=rf"none\{suffix}: no such file; check the path",
    )
    Path(f"empty{suffix}").touch()
    message = rf"empty\{suffix}: the file is empty; export or copy it again"
    refused("segment", f"empty{suffix}", "--parts", "a,b", "--model", model, match=message)


# OBJ declares no counts: one that is cut between lines is whole.
TRUNCATED = {
    ".ply": "is truncated or damaged: it declares",
    ".stl": "is truncated, without triangles or not an STL file",
    ".off": "is truncated: it declares 288 vertices",
    ".glb": "is truncated: it declares",
    ".gltf": "is damaged or not a glTF file: its JSON cannot be read",
    ".pcd": "is truncated: it declares 288 points but holds 1\\d\\d",
    ".xyz": "is damaged after line 0",
    ".txt": "is damaged after line 0",
    ".csv": "is damaged after line 1",
    ".npy": "is damaged or not a valid NPY file",
    ".npz": r"is truncated or not an NPZ file \(a zip of arrays\)",
}


@pytest.mark.parametrize("suffix", TRUNCATED)
def test_truncated_file(refused: Refused, model: Path, suffix: str) -> None:
    path = write_shape(Path(f"cut{suffix}"))
    data = path.read_bytes()
    cut = data[: len(data) * 4 // 10]
    if suffix in (".xyz", ".txt", ".csv"):
        cut = cut[: cut.rfind(b"\n")]
        cut = cut[: max(cut.rfind(b" "), cut.rfind(b","))]  # within a row: what ends after one is whole
    path.write_bytes(cut)
    refused(
        "segment",
        path,
        "--parts",
        "a,b",
        "--model",
        model,
        match=rf"cut\{suffix}: .*{TRUNCATED[suffix]}.*; \w+",
    )


@pytest.mark.parametrize("suffix", [*MESH_SUFFIXES, *CLOUD_SUFFIXES])
def test_another_kind_of_file_under_the_suffix(refused: Refused, model: Path, suffix: str) -> None:
    Path(f"wrong{suffix}").write_bytes(b"\x00\x01These are not the bytes that you are looking for.\n" * 9)
    refused("segment", f"wrong{suffix}", "--parts", "a,b", "--model", model, match=rf"wrong\{suffix}: .*; \w+")


def test_las_without_or_with_its_reader(refused: Refused, model: Path) -> None:
    Path("scan.las").write_bytes(b"LASF, but not for long")
    try:
        import laspy  # noqa: F401
    except ImportError:
        message = r"scan\.las: is LAS or LAZ, which needs the package laspy; pip install 'pa3d\[las\]'"
    else:
        message = r"scan\.las: is damaged or not a LAS file"
    refused("segment", "scan.las", "--parts", "a,b", "--model", model, match=message)


def test_unsupported_files(refused: Refused, model: Path, tmp_path: Path) -> None:
    Path("shape.blend").write_bytes(b"BLENDER")
    Path("shape").write_bytes(b"x")
    common = ("--parts", "a,b", "--model", model)
    message = r"shape\.blend: unsupported suffix '\.blend'; expected one of \.dae, \.zae, \.fbx, \.glb, \.gltf, \.npy"
    refused("segment", "shape.blend", *common, match=message)
    refused("segment", "shape", *common, match="shape: unsupported suffix ''; expected one of")
    refused("segment", tmp_path, *common, match="-o FOLDER is missing; many files need a folder")
    refused("segment", "/dev/null", *common, match="/dev/null: is not a regular file; give a file")


# The shape.


def test_mesh_without_faces(refused: Refused, model: Path) -> None:
    Path("lines.obj").write_text("v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2\n")
    Path("lines.stl").write_text("solid nothing\nendsolid nothing\n")
    message = r"lines\.obj: the mesh has no faces; export it"
    refused("segment", "lines.obj", "--parts", "a,b", "--model", model, match=message)
    refused(
        "segment",
        "lines.stl",
        "--parts",
        "a,b",
        "--model",
        model,
        match=r"lines\.stl: no points; give a mesh with faces",
    )


@pytest.mark.parametrize("value", ["nan", "inf", "-inf"])
def test_coordinates_that_are_not_finite(refused: Refused, model: Path, value: str) -> None:
    Path("scan.xyz").write_text(f"0 0 0\n1 {value} 0\n0 1 0\n")
    message = r"scan\.xyz: 1 of 3 points have NaN or infinite coordinates; remove them first"
    refused("segment", "scan.xyz", "--parts", "a,b", "--model", model, "--nan", "error", match=message)
    refused("keypoints", "scan.xyz", "--names", "a", "--model", model, match=message)
    Path("mesh.off").write_text(f"OFF\n3 1 0\n0 0 0\n1 {value} 0\n0 1 0\n3 0 1 2\n")
    refused(
        "segment",
        "mesh.off",
        "--parts",
        "a,b",
        "--model",
        model,
        match=r"mesh\.off: 1 of 3 points have NaN or infinite",
    )


def test_shapes_without_extent(refused: Refused, model: Path) -> None:
    np.save("same.npy", np.full((9, 3), 2.5))
    np.save("one.npy", np.full((1, 3), 2.5))
    Path("flat.off").write_text("OFF\n3 1 0\n0 0 0\n1 0 0\n2 0 0\n3 0 1 2\n")
    common = ("--parts", "a,b", "--model", model)
    refused("segment", "same.npy", *common, match=r"same\.npy: all 9 points are equal; a shape needs an extent")
    refused("segment", "one.npy", *common, match=r"one\.npy: all 1 points are equal")
    refused("segment", "flat.off", *common, match=r"flat\.off: every face has zero area; a shape needs a surface")


def test_faces_of_missing_vertices(refused: Refused, model: Path) -> None:
    Path("wild.off").write_text("OFF\n3 1 0\n0 0 0\n1 0 0\n0 1 0\n3 0 1 7\n")
    refused(
        "segment",
        "wild.off",
        "--parts",
        "a,b",
        "--model",
        model,
        match=r"wild\.off: .*faces refer to vertices outside 0\.\.2",
    )


def test_fewer_points_than_patches_work(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    np.save(tmp_path / "few.npy", np.random.default_rng(0).random((5, 3)))
    args = [
        "segment",
        tmp_path / "few.npy",
        "--parts",
        "a,b",
        "--model",
        model,
        "-o",
        tmp_path / "out",
        "--no-pictures",
        "-q",
    ]
    assert main([str(a) for a in args]) == 0
    assert capsys.readouterr() == ("", "")
    with np.load(tmp_path / "out" / "labels.npz") as labels:
        assert labels["labels"].shape == (5,) and labels["scores"].shape == (5, 2)


# The names.


def test_part_names(refused: Refused, ring: Path, model: Path, tmp_path: Path) -> None:
    def parts(text: str, match: str) -> None:
        refused("segment", ring, "--model", model, "--parts", text, match=match)

    parts("", "no part names; give at least one, such as --parts")
    parts(" , ,", "no part names; give at least one")
    parts("seat, back, seat", "part name 'seat' is given twice; give every name once")
    parts(
        "Left_arm, left arm",
        r"part name 'left arm' is given twice \('Left_arm' and 'left arm' are equal after normalisation\)",
    )
    parts("seat, ?!", r"part name '\?!' is empty without its punctuation; give a word or a few words")
    parts("names.txt", r"--parts names\.txt: no such file; give a text file with one name per line")
    parts(str(tmp_path), "no such file; give a text file")
    Path("names.txt").write_text("# nothing but this\n\n  \n")
    parts("names.txt", r"no part names in names\.txt; give at least one")
    Path("names.txt").write_text("seat\nback\nseat\n")
    parts("names.txt", "part name 'seat' is given twice")
    Path("names.txt").write_bytes(b"\xffseat")
    parts("names.txt", r"--parts names\.txt: cannot be read \(it is not UTF-8 text\)")
    refused(
        "segment",
        ring,
        "--model",
        model,
        "--parts",
        "a",
        "--category",
        "...",
        match=r"category '\.\.\.' is empty without its",
    )


# Where the results go.


def test_output_folders(refused: Refused, ring: Path, model: Path) -> None:
    common = ("segment", ring, "--parts", "a,b", "--model", model, "-o")
    Path("taken").write_text("mine")
    refused(*common, "taken", match=r"taken: .*taken is a file, not a folder; choose another output folder")
    refused(
        *common,
        "taken/below",
        match=r"taken/below: .*taken is a file, not a folder; choose another output folder",
    )
    if os.path.isdir("/proc"):
        refused(*common, "/proc/pa3d", match=r"/proc/pa3d: cannot be written \(.+\); choose another output folder")
    Path("ring-parts").write_text("mine")
    refused(*common[:-1], match=r"ring-parts: .*is a file, not a folder")


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may write anywhere")
def test_read_only_output_folder(refused: Refused, ring: Path, model: Path, tmp_path: Path) -> None:
    (tmp_path / "locked").mkdir(mode=0o555)
    message = "locked: no permission to write in .*; choose another output folder"
    refused("segment", ring, "--parts", "a,b", "--model", model, "-o", "locked", match=message)


def test_the_output_folder_is_checked_first(refused: Refused, model: Path) -> None:
    Path("taken").touch()
    refused(
        "segment",
        "none.ply",
        "--parts",
        "a",
        "--model",
        model,
        "-o",
        "taken",
        match="taken is a file, not a folder",
    )


# The checkpoint.


def test_checkpoints(refused: Refused, ring: Path, model: Path) -> None:
    common = ("segment", ring, "--parts", "a,b", "--model")
    refused(
        *common,
        "none.safetensors",
        match=r"none\.safetensors: no such checkpoint; expected a \.safetensors file",
    )
    Path("stage2_last.pt").write_bytes(b"PK")
    message = r"stage2_last\.pt: a pickle; convert it first: pa3d convert stage2_last\.pt model\.safetensors"
    refused(*common, "stage2_last.pt", match=message)
    Path("cut.safetensors").write_bytes(model.read_bytes()[:5000])
    refused(
        *common,
        "cut.safetensors",
        match=r"cut\.safetensors: not a readable safetensors file .*; download or convert it again",
    )
    Path("empty.safetensors").touch()
    refused(*common, "empty.safetensors", match=r"empty\.safetensors: not a readable safetensors file")
    from safetensors.numpy import save_file

    save_file({"weight": np.zeros(3, np.float32)}, "other.safetensors")
    refused(
        *common,
        "other.safetensors",
        match="safetensors, but not a checkpoint of pa3d; use pa3d convert for the official one",
    )


def test_a_pickle_in_disguise(refused: Refused, ring: Path) -> None:
    import pickle

    Path("model.safetensors").write_bytes(pickle.dumps({"model": [1, 2, 3]}))
    message = r"model\.safetensors: not a readable safetensors file"
    refused("segment", ring, "--parts", "a,b", "--model", "model.safetensors", match=message)


def test_checkpoints_of_another_text_space(refused: Refused, ring: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PA3D_OPENCLIP_WEIGHTS", raising=False)
    common = ("segment", ring, "--parts", "a,b", "--model")
    write_tiny(Path("wide.safetensors"), text_dim=512)
    message = "has 512 dimensions, but its text encoder all-MiniLM-L6-v2 gives 384; use its own encoder"
    refused(*common, "wide.safetensors", match=message)
    write_tiny(Path("unknown.safetensors"), text_space="word2vec")
    refused(
        *common,
        "unknown.safetensors",
        match="text space 'word2vec' is unknown; expected all-MiniLM-L6-v2 .embedded. or open_clip/",
    )


def test_a_checkpoint_in_openclip_space(refused: Refused, ring: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    common = ("segment", ring, "--parts", "a,b", "--model", "clip.safetensors")
    write_tiny(Path("clip.safetensors"), text_space="open_clip/ViT-bigG-14/laion2b_s39b_b160k", text_dim=1280)
    monkeypatch.setitem(sys.modules, "open_clip", None)
    refused(*common, match=r"OpenCLIP text needs torch: pip install 'pa3d\[torch\]'")


def test_openclip_weights_that_are_not_there(refused: Refused, ring: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("open_clip")
    common = ("segment", ring, "--parts", "a,b", "--model", "clip.safetensors")
    write_tiny(Path("clip.safetensors"), text_space="open_clip/ViT-B-32/no_such_tag", text_dim=512)
    monkeypatch.delenv("PA3D_OPENCLIP_WEIGHTS", raising=False)
    refused(*common, match="'no_such_tag' is neither a file nor a tag of OpenCLIP's ViT-B-32")
    monkeypatch.setenv("PA3D_OPENCLIP_WEIGHTS", "none.bin")
    refused(*common, match=r"OpenCLIP weights 'none\.bin': no such file; give the path of a checkpoint")


# Converting.


def test_convert(refused: Refused, tmp_path: Path) -> None:
    pytest.importorskip("torch")
    good: dict[str, Any] = dict(official_state())

    def convert(state: dict[str, Any], match: str) -> None:
        save_pickle(tmp_path / "bad.pt", state)
        refused("convert", "bad.pt", "official.safetensors", match=match)

    model, proj = good["model"], good["proj"]
    missing = {k: v for k, v in model.items() if k != "cls_pos"}
    convert(
        {**good, "model": missing},
        r"bad\.pt: model: missing key cls_pos \(1 missing\); not a checkpoint of this encoder",
    )
    convert({**good, "model": {**model, "ema": np.zeros(1)}}, r"bad\.pt: model: extra key ema \(1 extra\)")
    convert({**good, "proj": {"proj.weight": proj["proj.weight"]}}, r"bad\.pt: proj: missing key proj\.bias")
    convert(
        {**good, "proj": {**proj, "proj.bias": np.zeros(4)}},
        r"bad\.pt: proj\.bias has shape \(4,\), expected \(1280,\)",
    )
    convert({"model": model}, r"bad\.pt: expected a dictionary with 'model' and 'proj', found \['model'\]")
    Path("text.pt").write_text("hello")
    refused(
        "convert",
        "text.pt",
        "official.safetensors",
        match=r"text\.pt: not a checkpoint that can be read without running code",
    )
    refused(
        "convert",
        "none.pt",
        "official.safetensors",
        match=r"none\.pt: no such file; expected a PatchAlign3D checkpoint",
    )


def test_convert_runs_no_code(refused: Refused, tmp_path: Path) -> None:
    pytest.importorskip("torch")

    class Touch:
        def __reduce__(self) -> tuple[Any, ...]:
            return Path.touch, (tmp_path / "touched",)

    save_pickle(tmp_path / "bad.pt", {"model": Touch(), "proj": {}})
    refused(
        "convert",
        "bad.pt",
        "official.safetensors",
        match=r"bad\.pt: not a checkpoint that can be read without running code",
    )


def test_convert_targets(refused: Refused) -> None:
    Path("last.pt").touch()
    refused("convert", "last.pt", "official.pt", match=r"official\.pt: expected a name that ends in \.safetensors")
    refused(
        "convert",
        "last.pt",
        "none/official.safetensors",
        match="the folder none does not exist; create it first",
    )
    Path("folder.safetensors").mkdir()
    refused(
        "convert",
        "last.pt",
        "folder.safetensors",
        match=r"folder\.safetensors: is a folder; give the name of a file",
    )
    if os.path.isdir("/proc"):
        refused("convert", "last.pt", "/proc/official.safetensors", match="/proc: cannot be written")


def test_convert_without_torch(refused: Refused, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("last.pt").touch()
    monkeypatch.setitem(sys.modules, "torch", None)
    message = r"reading a \.pt file needs torch; install it with pip install 'pa3d\[torch\]'"
    refused("convert", "last.pt", "official.safetensors", match=message)


# Options.


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--colour"], "No such option.*--colour.*; see pa3d --help"),
        (["--none", "1.5"], "Invalid value for '--none'.*; see pa3d --help"),
        (["--none", "few"], "Invalid value for '--none'"),
        (["--threads", "0"], "Invalid value for '--threads'"),
        (["--seed", "-1"], "Invalid value for '--seed'"),
        (["--sample", "0"], "--sample 0: expected an integer of at least 1, or all"),
        (["--sample", "some"], "--sample some: expected an integer"),
        (["--up", "w"], "up axis 'w' is unknown; give one of x, y, z, -x, -y, -z"),
        (["--assign", "best"], "assign is 'best'; expected one of nearest, membership, smooth"),
        (["--precision", "fp8"], "precision 'fp8' is not one of auto, fp32, bf16"),
        (["--device", "abacus"], "device 'abacus'"),
    ],
)
def test_options(refused: Refused, ring: Path, model: Path, options: list[str], message: str) -> None:
    refused("segment", ring, "--parts", "a,b", "--model", model, *options, match=message)


def test_missing_arguments(refused: Refused, ring: Path) -> None:
    refused("keypoints", match="Missing argument 'FILE'; see pa3d --help")
    refused("segment", "--parts", "a", match="no file was given; .*pa3d segment --help")
    refused("paint", match="No such command 'paint'")


def test_an_instruction_set_that_is_not_there(ring: Path, model: Path) -> None:
    args = ["segment", str(ring), "--parts", "a,b", "--model", str(model), "--no-pictures"]
    done = program(*args, cwd=ring.parent, PA3D_ISA="avx1024")
    assert done.returncode == 2 and re.match("error: PA3D_ISA=avx1024: this processor has .*\n$", done.stderr), (
        done.stderr
    )


def program(*args: str, cwd: Path, **env: str) -> subprocess.CompletedProcess[str]:
    """The command line in a process of its own."""
    command = [sys.executable, "-c", "import sys; from pa3d.cli import main; sys.exit(main())", *args]
    return subprocess.run(command, cwd=cwd, env={**os.environ, **env}, capture_output=True, text=True)


def test_in_a_process_of_its_own(ring: Path, model: Path, tmp_path: Path) -> None:
    before = tree(tmp_path)
    args = ["segment", "none.glb", "--parts", "a,b", "--model", str(model)]
    done = program(*args, cwd=tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (
        2,
        "",
        "error: none.glb: no such file; check the path\n",
    )
    traced = program(*args, "--debug", cwd=tmp_path)
    assert traced.returncode == 2 and traced.stderr.startswith("Traceback")
    assert traced.stderr.endswith("error: none.glb: no such file; check the path\n")
    assert tree(tmp_path) == before


def test_a_disk_that_fills_up_leaves_no_half_file(
    refused: Refused, ring: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last step fails: the files' renaming. Nothing may stay under any name."""

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    (tmp_path / "out").mkdir()
    monkeypatch.setattr(os, "replace", full)
    args = ("segment", ring, "--parts", "a,b", "--model", model, "-o", "out", "--no-pictures")
    refused(*args, match="cannot be written .No space left on device.; choose another folder")
