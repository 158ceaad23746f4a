"""Checkpoints: what is written is read back, what is not one of ours is refused. The official pickle."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from official import official_state, save_pickle
from safetensors.numpy import save_file
from tiny import TINY, random_checkpoint, write_tiny

from pa3d.checkpoint import OFFICIAL_SPACE, Checkpoint, convert_official, load, save
from pa3d.config import EncoderConfig
from pa3d.errors import InputError


def refuses(path: Path, message: str) -> None:
    with pytest.raises(InputError, match=message):
        load(path)


def test_round_trip(tmp_path: Path) -> None:
    before = random_checkpoint(TINY)
    before.provenance = {"seed": 3, "data": ["a", "b"]}
    before.prompts = "part"
    save(tmp_path / "model.safetensors", before)
    after = load(tmp_path / "model.safetensors")
    assert (after.config, after.text_space, after.temperature) == (TINY, "all-MiniLM-L6-v2", 0.07)
    assert (after.prompts, after.provenance, after.name) == ("part", before.provenance, "model")
    assert after.tensors.keys() == before.tensors.keys()
    assert all(
        np.array_equal(after.tensors[k], v) and after.tensors[k].dtype == np.float32 for k, v in before.tensors.items()
    )


def test_half_size(tmp_path: Path) -> None:
    before = random_checkpoint(TINY)
    save(tmp_path / "full.safetensors", before)
    save(tmp_path / "half.safetensors", before, half=True)
    after = load(tmp_path / "half.safetensors")
    assert all(
        np.array_equal(after.tensors[k], v.astype(np.float16).astype(np.float32)) for k, v in before.tensors.items()
    )
    assert (tmp_path / "half.safetensors").stat().st_size < 0.6 * (tmp_path / "full.safetensors").stat().st_size


def test_missing_extra_and_misshapen_tensors(tmp_path: Path) -> None:
    checkpoint = random_checkpoint(TINY)
    good = checkpoint.tensors
    cases: list[tuple[dict[str, Any], str]] = [
        ({k: v for k, v in good.items() if k != "norm.bias"}, r"missing key norm\.bias \(1 missing\)"),
        ({**good, "head.weight": good["norm.bias"]}, r"extra key head\.weight \(1 extra\)"),
        ({**good, "norm.bias": np.zeros(3, np.float32)}, r"norm\.bias has shape \(3,\), expected \(64,\)"),
    ]
    save(tmp_path / "good.safetensors", checkpoint)
    from safetensors import safe_open

    with safe_open(str(tmp_path / "good.safetensors"), framework="numpy") as file:
        meta = file.metadata()
    for tensors, message in cases:
        with pytest.raises(InputError, match=message):
            save(tmp_path / "new.safetensors", Checkpoint(TINY, tensors, "x", 0.07))
        assert not (tmp_path / "new.safetensors").exists()
        save_file(tensors, tmp_path / "bad.safetensors", metadata=meta)
        refuses(tmp_path / "bad.safetensors", message)


def test_files_that_are_no_checkpoints(tmp_path: Path) -> None:
    refuses(tmp_path / "none.safetensors", "no such checkpoint; expected a .safetensors file")
    refuses(tmp_path / "model.pt", "a pickle; convert it first: pa3d convert .*model.pt model.safetensors")
    whole = write_tiny(tmp_path / "whole.safetensors").read_bytes()
    for name, data in (
        ("cut", whole[: len(whole) // 2]),
        ("empty", b""),
        ("text", b"hello, this is no safetensors file"),
    ):
        (tmp_path / f"{name}.safetensors").write_bytes(data)
        refuses(tmp_path / f"{name}.safetensors", "not a readable safetensors file")
    save_file({"x": np.zeros(2, np.float32)}, tmp_path / "other.safetensors")
    refuses(tmp_path / "other.safetensors", "safetensors, but not a checkpoint of pa3d")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ("{", "its metadata is damaged"),
        ("[]", "its metadata is damaged"),
        ({"config": None}, "its metadata is damaged .'config'"),
        ({"format": 2}, "its metadata is damaged .format 2, this version reads 1"),
        ({"temperature": "warm"}, "its metadata is damaged"),
        ({"temperature": 0}, "its metadata is damaged .temperature"),
        ({"temperature": float("nan")}, "its metadata is damaged .temperature"),
        ({"config": {**TINY.to_dict(), "depth": 0}}, "EncoderConfig.depth is 0"),
        ({"config": {**TINY.to_dict(), "novel": 1}}, "unknown fields novel"),
    ],
)
def test_damaged_metadata(tmp_path: Path, changes: str | dict[str, object], message: str) -> None:
    from safetensors import safe_open

    path = write_tiny(tmp_path / "model.safetensors")
    if not isinstance(changes, str):
        with safe_open(str(path), framework="numpy") as file:
            meta = {**json.loads(file.metadata()["pa3d"]), **changes}
        changes = json.dumps({k: v for k, v in meta.items() if v is not None})
    save_file(random_checkpoint(TINY).tensors, path, metadata={"pa3d": changes})
    refuses(path, message)


def test_equal_checkpoints_are_equal_files(tmp_path: Path) -> None:
    files = [write_tiny(tmp_path / f"{i}.safetensors").read_bytes() for i in range(3)]
    assert files[0] == files[1] == files[2]


@pytest.mark.parametrize(
    ("verified", "expected"), [((), "fp32"), (("int8", "bf16"), "int8"), (("bf16",), "bf16"), (("unknown",), "fp32")]
)
def test_auto_takes_what_was_checked(verified: tuple[str, ...], expected: str) -> None:
    from pa3d import _C
    from pa3d.native import resolve_precision

    if expected != "fp32" and not _C.supports(expected):
        pytest.skip(f"this processor has no {expected}")
    assert resolve_precision("auto", verified) == expected


def test_weights_that_are_not_finite(tmp_path: Path) -> None:
    checkpoint = random_checkpoint(TINY)
    checkpoint.tensors["norm.bias"][3] = np.nan
    save(tmp_path / "model.safetensors", checkpoint)
    refuses(tmp_path / "model.safetensors", r"norm\.bias has NaN or infinite values; convert or train it again")


def test_embedded_checkpoint() -> None:
    from pa3d.checkpoint import EMBEDDED

    if not EMBEDDED.exists():
        pytest.skip("the embedded weights are not in this tree")
    checkpoint = load()
    assert checkpoint.text_space == "all-MiniLM-L6-v2" and checkpoint.config.text_dim == 384
    assert all(np.isfinite(tensor).all() for tensor in checkpoint.tensors.values())


# The official layout.


@pytest.fixture(scope="module")
def state() -> dict[str, Any]:
    pytest.importorskip("torch")
    return {**official_state(), "temp": 0.07, "args": argparse.Namespace(lr=1e-4), "epoch": 12}


def test_convert(tmp_path: Path, state: dict[str, Any]) -> None:
    convert_official(save_pickle(tmp_path / "last.pt", state), tmp_path / "official.safetensors")
    checkpoint = load(tmp_path / "official.safetensors")
    assert (checkpoint.config, checkpoint.text_space) == (EncoderConfig(), OFFICIAL_SPACE)
    assert checkpoint.provenance["epoch"] == "12" and checkpoint.temperature == 0.07
    for part in ("model", "proj"):
        for name, value in state[part].items():
            if "num_batches" not in name:
                assert np.array_equal(checkpoint.tensors[name], value)


def test_convert_refuses_another_layout(tmp_path: Path, state: dict[str, Any]) -> None:
    def without(part: str, key: str) -> dict[str, Any]:
        return {**state, part: {k: v for k, v in state[part].items() if k != key}}

    cases = [
        (
            without("model", "blocks.blocks.3.mlp.fc1.bias"),
            r"model: missing key blocks\.blocks\.3\.mlp\.fc1\.bias",
        ),
        (without("proj", "proj.bias"), r"proj: missing key proj\.bias"),
        ({**state, "model": {**state["model"], "tail": np.zeros(1)}}, "model: extra key tail"),
        ({**state, "proj": {**state["proj"], "proj.scale": np.zeros(1)}}, r"proj: extra key proj\.scale"),
        (
            {**state, "model": {**state["model"], "norm.bias": np.zeros(5)}},
            r"norm\.bias has shape \(5,\), expected \(384,\)",
        ),
        (
            {**state, "model": {**state["model"], "norm.bias": 3.0}},
            r"norm\.bias is a float, expected a tensor",
        ),
        ({"model": state["model"]}, r"expected a dictionary with 'model' and 'proj', found \['model'\]"),
        ({"state_dict": {}}, "expected a dictionary with 'model' and 'proj'"),
    ]
    target = tmp_path / "official.safetensors"
    for bad, message in cases:
        with pytest.raises(InputError, match=message):
            convert_official(save_pickle(tmp_path / "bad.pt", bad), target)
        assert not target.exists()


class Malicious:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


def test_convert_runs_no_code(tmp_path: Path, state: dict[str, Any]) -> None:
    touched = tmp_path / "touched"
    save_pickle(tmp_path / "bad.pt", {**state, "args": Malicious(touched)})
    with pytest.raises(InputError, match="not a checkpoint that can be read without running code"):
        convert_official(tmp_path / "bad.pt", tmp_path / "official.safetensors")
    assert not touched.exists() and not (tmp_path / "official.safetensors").exists()


def test_convert_wants_a_file(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    target = tmp_path / "official.safetensors"
    with pytest.raises(InputError, match="no such file; expected a PatchAlign3D checkpoint"):
        convert_official(tmp_path / "none.pt", target)
    for data in (b"", b"not a pickle", b"PK\x03\x04 cut"):
        (tmp_path / "bad.pt").write_bytes(data)
        with pytest.raises(InputError, match="not a checkpoint that can be read"):
            convert_official(tmp_path / "bad.pt", target)
    assert not target.exists()
