"""The embedded text encoder against the float32 original, and its promise of the same bits in any company."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from pa3d import _C
from pa3d.errors import InputError
from pa3d.text.minilm import WEIGHTS, MiniLM

ROOT = Path(__file__).resolve().parents[1]
TEXTS = [
    "seat",
    "a left front wheel of a sports car",
    "back",
    "thumbstick part",
    "",
    "propeller-driven aircraft",
    "leg",
]


@pytest.fixture(scope="module")
def encoder() -> MiniLM:
    return MiniLM()


@pytest.fixture(scope="module")
def original() -> dict[str, np.ndarray]:
    with np.load(ROOT / "tests" / "data" / "minilm_reference.npz") as file:
        arrays = dict(file)
    for key in ("part_vectors", "other_vectors"):
        vectors = arrays[key].astype(np.float32)
        arrays[key] = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return arrays


def test_cosine_to_the_original(encoder: MiniLM, original: dict[str, np.ndarray]) -> None:
    assert len(set(original["parts"].tolist())) == 200 and len(set(original["others"].tolist())) == 50
    for names, vectors in (("parts", "part_vectors"), ("others", "other_vectors")):
        cosine = (encoder.encode(original[names].tolist()) * original[vectors]).sum(axis=1)
        # Asked for is 0.995. Rounding the reference to float16 moves it by at most 2^-11 a component, hence a
        # cosine by 2^-23; the rest is float32 and the rounding of the weights.
        assert cosine.min() > 1 - 2e-6


def test_nearest_of_fifty_is_the_original_one(encoder: MiniLM, original: dict[str, np.ndarray]) -> None:
    parts, others = (encoder.encode(original[key].tolist()) for key in ("parts", "others"))
    np.testing.assert_array_equal((parts @ others.T).argmax(axis=1), original["nearest"])


def test_shape_type_and_norm(encoder: MiniLM) -> None:
    vectors = encoder.encode(TEXTS)
    assert vectors.shape == (len(TEXTS), encoder.dim) and vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)
    assert encoder.encode([]).shape == (0, encoder.dim)


def test_a_vector_does_not_depend_on_the_batch(encoder: MiniLM) -> None:
    alone = np.concatenate([encoder.encode([text]) for text in TEXTS])
    np.testing.assert_array_equal(encoder.encode(TEXTS), alone)
    np.testing.assert_array_equal(encoder.encode(TEXTS[::-1])[::-1], alone)
    many = TEXTS * 20  # 900 tokens: several batches of the engine
    np.testing.assert_array_equal(encoder.encode(many), np.tile(alone, (20, 1)))


@pytest.mark.parametrize("threads", ["1", "2", "3"])
def test_a_vector_does_not_depend_on_threads(encoder: MiniLM, threads: str) -> None:
    code = (
        "import sys; from pa3d.text.minilm import MiniLM; "
        "sys.stdout.write(MiniLM().encode(sys.argv[1:]).tobytes().hex())"
    )
    env = os.environ | {f"{library}_NUM_THREADS": threads for library in ("OMP", "OPENBLAS", "MKL")}
    run = subprocess.run([sys.executable, "-c", code, *TEXTS], env=env, capture_output=True, text=True, check=True)
    assert run.stdout == encoder.encode(TEXTS).tobytes().hex()


def test_every_level_follows_the_reference(isa: str) -> None:
    """Against float64: float32 through six layers keeps a component within 1e-6."""
    encoder = MiniLM(threads=2)
    texts = [*TEXTS, "the wheel of a car " * 60]  # with one of the full 256 tokens
    vectors = encoder.encode(texts)
    np.testing.assert_allclose(vectors, encoder.encode_reference(texts), atol=1e-6)
    alone = np.concatenate([MiniLM(threads=1).encode([text]) for text in texts])
    np.testing.assert_array_equal(vectors, alone)
    assert encoder.revision.endswith(isa)


def test_several_callers_at_once(encoder: MiniLM) -> None:
    expected = encoder.encode(TEXTS)
    with ThreadPoolExecutor(4) as pool:
        for vectors in pool.map(lambda _: encoder.encode(TEXTS), range(12)):
            np.testing.assert_array_equal(vectors, expected)


def test_the_engine_refuses(encoder: MiniLM) -> None:
    engine = encoder._engine
    for ids, lengths, message in (
        ([101, 30522], [2], "token 30522 is not in the vocabulary"),
        ([101, -1], [2], "token -1 is not in the vocabulary"),
        ([101, 102], [3], "lengths: out of range"),
        ([101, 102], [1], "lengths: expected a sum of 2, got 1"),
        ([101, 102], [2, 0], "a text has 0 tokens; expected 1 to 256"),
        ([101] * 257, [257], "a text has 257 tokens"),
    ):
        with pytest.raises(ValueError, match=message):
            engine.encode(np.array(ids, np.int32), np.array(lengths, np.int64))
    weights = dict(encoder._weights)
    with pytest.raises(ValueError, match=r"weights: positions has 384 values, expected 98304"):
        _C.TextEngine(weights | {"positions": weights["positions"][:1]})
    with pytest.raises(ValueError, match=r"weights: words has another type"):
        _C.TextEngine(weights | {"words": weights["positions"]})
    del weights["layers.5.down"]
    with pytest.raises(ValueError, match=r"weights: no tensor named layers\.5\.down"):
        _C.TextEngine(weights)


def test_long_text_is_cut(encoder: MiniLM) -> None:
    long = "wheel " * 400
    np.testing.assert_array_equal(encoder.encode([long]), encoder.encode(["wheel " * 254]))
    assert len(encoder._tokenizer.encode(long)) == 256


def test_weights_file_is_described() -> None:
    from safetensors import safe_open

    with safe_open(WEIGHTS / "minilm-l6-v2.safetensors", "np") as file:
        about = json.loads(file.metadata()["pa3d"])
        assert file.get_slice("words").get_shape() == [30522, 384]
    assert about["license"] == "Apache-2.0" and len(about["source_sha256"]) == 64
    assert MiniLM().revision == f"{about['revision']}-{_C.isa()}"
    assert "Apache License" in (WEIGHTS / "LICENSE-all-MiniLM-L6-v2.txt").read_text()


def test_the_reader_agrees_with_safetensors(encoder: MiniLM) -> None:
    from safetensors.numpy import load_file

    theirs = load_file(WEIGHTS / "minilm-l6-v2.safetensors")
    assert theirs.keys() == encoder._weights.keys()
    for name, tensor in theirs.items():
        np.testing.assert_array_equal(encoder._weights[name], tensor)


@pytest.mark.parametrize("content", [None, b"", b"\x10\0\0\0\0\0\0\0{}"])
def test_missing_or_damaged_weights(tmp_path: Path, content: bytes | None) -> None:
    encoder = MiniLM(tmp_path)
    with pytest.raises(InputError, match="tokenizer is missing or damaged; install pa3d again"):
        encoder.encode(["seat"])
    (tmp_path / "minilm-tokenizer.json").write_bytes((WEIGHTS / "minilm-tokenizer.json").read_bytes())
    if content is not None:
        (tmp_path / "minilm-l6-v2.safetensors").write_bytes(content)
    with pytest.raises(InputError, match="text encoder is missing or damaged; install"):
        encoder.encode(["seat"])
