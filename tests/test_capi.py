"""The C interface: built here with the compiler, run without Python, compared with Python to the bit."""

from __future__ import annotations

import ctypes as c
import json
import os
import re
import shutil
import subprocess
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from clouds import cloud
from tiny import (
    TINY,
    calibrated_checkpoint,
    head_with,
    random_checkpoint,
    random_kinds,
    random_lexicon,
    transposed_head,
    write_tiny,
)

import pa3d
from pa3d import _C
from pa3d.checkpoint import EMBEDDED, save
from pa3d.config import ASSIGN, EncoderConfig
from pa3d.frames import UP_AXES
from pa3d.passes import passes_for
from pa3d.sampling import sample_cloud
from pa3d.segment import Segmenter
from pa3d.shape import Shape
from pa3d.text import embed_parts
from pa3d.text.minilm import WEIGHTS, MiniLM

ROOT = Path(__file__).resolve().parents[1]
PARTS = ["Seat", "back_rest", "leg", "колесо"]
OK, INVALID, FILE, UNSUPPORTED = range(4)
# What pa3d_segment does; pa3d_refine does the rest.
ALONE: dict[str, Any] = {"refine": False, "structure": False}

pytestmark = [
    pytest.mark.slow,  # compiles the kernels again, without Python
    pytest.mark.skipif(not shutil.which("make") or not shutil.which("cc"), reason="needs make and a C compiler"),
]


class Options(c.Structure):
    _fields_ = (
        ("up", c.c_int),
        ("assign", c.c_int),
        ("none", c.c_float),
        ("sample", c.c_int64),
        ("seed", c.c_uint64),
        ("threads", c.c_int),
    )


class Info(c.Structure):
    _fields_ = (
        *((name, c.c_int64) for name in ("patches", "patch_size", "width", "text_width")),
        ("temperature", c.c_float),
        *((name, c.c_char_p) for name in ("text_space", "prompts", "precision")),
    )


@pytest.fixture(scope="module")
def built(capi_build: Path) -> Path:
    """A folder with libpa3d.so and the example program."""
    out = capi_build
    strict = ["-std=c99", "-Wall", "-Wextra", "-Wpedantic", "-Werror", "-Icsrc"]
    link = [f"-L{out}", "-lpa3d", f"-Wl,-rpath,{out}", "-o", str(out / "segment")]
    subprocess.run(["cc", *strict, "examples/embed/segment.c", *link], cwd=ROOT, check=True)
    return out


@pytest.fixture(scope="module")
def library(built: Path) -> c.CDLL:
    lib = c.CDLL(str(built / "libpa3d.so"))
    lib.pa3d_error_message.restype = lib.pa3d_version.restype = c.c_char_p
    lib.pa3d_default_options.restype = Options
    lib.pa3d_model_free.argtypes = lib.pa3d_text_free.argtypes = (c.c_void_p,)
    lib.pa3d_model_free.restype = lib.pa3d_text_free.restype = None
    return lib


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """tiny.safetensors in float32, half.safetensors with the same weights in float16, and calibrated.safetensors."""
    folder = tmp_path_factory.mktemp("weights")
    save(folder / "calibrated.safetensors", calibrated_checkpoint())
    write_tiny(folder / "tiny.safetensors")
    save(folder / "half.safetensors", random_checkpoint(TINY), half=True)
    return folder


class Native:
    """The library's functions on numpy arrays; raises RuntimeError(status, message)."""

    def __init__(self, lib: c.CDLL, model: Path, precision: str = "fp32") -> None:
        self.lib, self.model, self.text = lib, c.c_void_p(), c.c_void_p()
        self.check(lib.pa3d_model_load(str(model).encode(), precision.encode(), c.byref(self.model)))
        tokens = str(WEIGHTS / "minilm-tokenizer.json").encode()
        weights = str(WEIGHTS / "minilm-l6-v2.safetensors").encode()
        self.check(lib.pa3d_text_load(weights, tokens, c.byref(self.text)))
        self.info = Info()
        self.check(lib.pa3d_model_info(self.model, c.byref(self.info)))

    def __enter__(self) -> Native:
        return self

    def __exit__(self, *_: object) -> None:
        self.lib.pa3d_model_free(self.model)
        self.lib.pa3d_text_free(self.text)

    def check(self, status: int) -> None:
        if status != OK:
            raise RuntimeError(status, self.lib.pa3d_error_message().decode())

    def options(self, **values: Any) -> Options:
        options = self.lib.pa3d_default_options()
        options.sample = 0
        for name, value in values.items():
            setattr(options, name, value)
        return options

    def segment(
        self, points: np.ndarray, parts: Sequence[str], category: str | None = None, **values: Any
    ) -> tuple[np.ndarray, np.ndarray]:
        labels = np.full(len(points), -7, np.int32)
        scores = np.full((len(points), len(parts)), np.nan, np.float32)
        names, count = strings(parts), c.c_int64(len(parts))
        given = category.encode() if category else None
        self.check(
            self.lib.pa3d_segment(
                *(self.model, self.text, *cloud_of(points), names, count, given),
                *(c.byref(self.options(**values)), pointer(labels), pointer(scores)),
            )
        )
        return labels, scores

    def presence(self, points: np.ndarray, parts: Sequence[str], faces: np.ndarray | None = None, **values: Any) -> Any:
        out = np.full(len(parts), np.nan, np.float32)
        mesh = (None, c.c_int64(0)) if faces is None else cloud_of(faces)
        names, count, options = strings(parts), c.c_int64(len(parts)), c.byref(self.options(**values))
        given = (self.model, self.text, *cloud_of(points), *mesh, names, count, None, options)
        self.check(self.lib.pa3d_presence(*given, pointer(out)))
        return out

    def segment_vectors(self, points: np.ndarray, vectors: np.ndarray, **values: Any) -> np.ndarray:
        labels = np.full(len(points), -7, np.int32)
        count = c.c_int64(len(vectors))
        options = c.byref(self.options(**values))
        given = (*cloud_of(points), pointer(vectors), count)
        self.check(self.lib.pa3d_segment_vectors(self.model, *given, options, pointer(labels), None))
        return labels

    def embed(self, parts: Sequence[str], category: str | None = None, prompts: str | None = None) -> np.ndarray:
        out = np.full((len(parts), 384), np.nan, np.float32)
        given = [text.encode() if text else None for text in (category, prompts)]
        count = c.c_int64(len(parts))
        self.check(self.lib.pa3d_embed_text(self.text, strings(parts), count, *given, 1, pointer(out)))
        return out

    def encode(self, points: np.ndarray, **values: Any) -> tuple[np.ndarray, ...]:
        g, m = self.info.patches, self.info.patch_size
        out = (
            np.full((g, 3), np.nan, np.float32),
            np.full((g, m), -1, np.int64),
            np.full((g, self.info.width), np.nan, np.float32),
            np.full((g, self.info.text_width), np.nan, np.float32),
        )
        options = c.byref(self.options(**values))
        self.check(self.lib.pa3d_encode(self.model, *cloud_of(points), options, *map(pointer, out)))
        return out


def pointer(array: np.ndarray | None) -> c.c_void_p | None:
    return None if array is None else c.c_void_p(array.ctypes.data)


def strings(texts: Sequence[str]) -> Any:
    return (c.c_char_p * len(texts))(*(text.encode() for text in texts))


def cloud_of(points: np.ndarray) -> tuple[c.c_void_p | None, c.c_int64]:
    return pointer(points), c.c_int64(len(points))


def same(a: np.ndarray, b: np.ndarray) -> bool:
    return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()


def precisions() -> list[str]:
    return [name for name in ("fp32", "bf16", "int8") if _C.supports(name)]


def test_needs_neither_python_nor_torch(built: Path) -> None:
    ldd = shutil.which("ldd")
    if ldd is None:
        pytest.skip("needs ldd")
    for name in ("libpa3d.so", "segment"):
        needed = subprocess.run([ldd, str(built / name)], capture_output=True, text=True, check=True).stdout
        assert "not found" not in needed
        assert not any(word in needed.lower() for word in ("python", "torch", "c10", "mkl", "blas"))


def test_the_program_gives_the_labels_of_python(built: Path, tmp_path: Path) -> None:
    """At the published size, in every precision of this processor, with other numbers of threads."""
    model = tmp_path / "model.safetensors"
    save(model, random_checkpoint(EncoderConfig(text_dim=384)))
    points = cloud("random", 5000)
    points.tofile(tmp_path / "points.f32")
    for precision in precisions():
        segmenter = Segmenter.from_pretrained(model, precision=precision, threads=1)
        expected = segmenter.segment(points, PARTS, **ALONE).labels
        assert len(set(expected.tolist())) > 1
        for threads in ("1", "3"):
            run = subprocess.run(
                [built / "segment", model, WEIGHTS, tmp_path / "points.f32", precision, *PARTS],
                env=os.environ | {"OMP_NUM_THREADS": threads},
                capture_output=True,
                check=True,
            )
            assert run.stdout == expected.tobytes()
            lines = [line.split(maxsplit=1) for line in run.stderr.decode().splitlines()]
            assert [(int(n), part) for n, part in lines] == [
                (int((expected == i).sum()), part) for i, part in enumerate(PARTS)
            ]


def test_the_program_says_what_is_wrong(built: Path, files: Path, tmp_path: Path) -> None:
    np.zeros(300, np.float32).tofile(tmp_path / "equal.f32")
    cloud("random", 100).tofile(tmp_path / "good.f32")
    program, model = built / "segment", files / "tiny.safetensors"
    for arguments, message in (
        (
            [tmp_path / "absent", WEIGHTS, tmp_path / "equal.f32", "auto", "seat"],
            "model: .*absent: No such file",
        ),
        ([model, tmp_path, tmp_path / "equal.f32", "auto", "seat"], "text encoder: .*No such file"),
        ([model, WEIGHTS, tmp_path / "equal.f32", "auto", "seat"], "segment: all 100 points are equal"),
        ([model, WEIGHTS, tmp_path / "good.f32", "auto", "seat", "Seat"], "part name 'seat' is given twice"),
        ([model, WEIGHTS, tmp_path / "absent", "auto", "seat"], "absent: cannot be read"),
    ):
        run = subprocess.run([program, *arguments], capture_output=True, text=True)
        assert run.returncode == 1 and run.stdout == ""
        assert re.search(message, run.stderr), run.stderr
    assert subprocess.run([program], capture_output=True).returncode == 2


@pytest.mark.parametrize("file", ["tiny", "half", "calibrated"])
def test_every_option_equals_python(library: c.CDLL, files: Path, file: str) -> None:
    path = files / f"{file}.safetensors"
    for precision in precisions():
        segmenter = Segmenter.from_pretrained(path, precision=precision, threads=2)
        with Native(library, path, precision) as native:
            for n in (2, 20, 3000):
                points = cloud("random", n) * 3 + 5
                for i, assign in enumerate(ASSIGN):
                    for j, up in enumerate(UP_AXES):
                        none = [0.0, 0.3, 1.0][j % 3]
                        r = segmenter.segment(
                            *(points, PARTS),
                            **{"category": "chair", "sample": None, "assign": assign, "up": up, "none": none},
                            **ALONE,
                        )
                        labels, scores = native.segment(
                            points, PARTS, "chair", assign=i, up=j, none=none, threads=1 + j % 3
                        )
                        assert same(labels, r.labels) and same(scores, r.scores)


def test_a_million_points(library: c.CDLL, files: Path) -> None:
    points = cloud("random", 1_000_000)
    path = files / "tiny.safetensors"
    with Native(library, path) as native:
        labels, scores = native.segment(points, PARTS, sample=0)
    r = Segmenter.from_pretrained(path).segment(points, PARTS, sample=None, **ALONE)
    assert same(labels, r.labels) and same(scores, r.scores)


def test_the_sampled_points(library: c.CDLL, files: Path) -> None:
    """sample and seed choose the points that Python's do; members are indices of the caller's points."""
    path, points = files / "tiny.safetensors", cloud("random", 3000)
    segmenter = Segmenter.from_pretrained(path)
    with Native(library, path) as native:
        for sample, seed in ((700, 0), (700, 5), (3000, 0), (5000, 0), (700, 2**64 - 1)):
            chosen = sample_cloud(points, sample, seed)
            centers, members, tokens, features = native.encode(points, sample=sample, seed=seed)
            e = segmenter.encode(points, sample=sample, seed=seed)
            assert same(centers, e.centers) and same(tokens, e.tokens) and same(features, e.features)
            assert same(members, chosen[e.members])
        assert same(native.encode(points)[3], segmenter.encode(points).features)
        options = native.lib.pa3d_default_options()
        assert (options.up, options.assign, options.none, options.sample) == (1, 3, 0.0, 2048)


def test_more_passes_than_two(library: c.CDLL, tmp_path: Path) -> None:
    """Labels come from the patches of all passes. pa3d_encode gives the first of each, as many as info.patches says."""
    path, points = tmp_path / "passes.safetensors", cloud("random", 1000)
    checkpoint = replace(random_checkpoint(TINY), config=replace(TINY, pass_points=100))
    save(path, checkpoint)
    segmenter = Segmenter.from_pretrained(path)
    with Native(library, path) as native:
        for n in (80, 150, 249, 250, 470, 1000):
            some = np.ascontiguousarray(points[:n])
            e, passes = segmenter.encode(some), passes_for(checkpoint.config, n)
            cuts = TINY.patches * np.arange(passes.count + 1) // passes.count
            first = np.concatenate([i * passes.patches + np.arange(m) for i, m in enumerate(np.diff(cuts))])
            assert len(first) == TINY.patches == native.info.patches
            expected = (e.centers[first], e.members[first], e.tokens[first], e.features[first])
            assert all(map(same, native.encode(some, sample=0), expected))
            for alone, wanted in enumerate(expected):  # each output by itself, the others NULL
                out = [np.empty_like(array) if i == alone else None for i, array in enumerate(expected)]
                options = c.byref(native.options(sample=0))
                native.check(native.lib.pa3d_encode(native.model, *cloud_of(some), options, *map(pointer, out)))
                assert same(out[alone], wanted)
            r = segmenter.segment(some, PARTS, sample=None, **ALONE)
            labels, scores = native.segment(some, PARTS, sample=0)
            assert same(labels, r.labels) and same(scores, r.scores)


@pytest.mark.parametrize("file", ["calibrated", "embedded"])
def test_dirty_clouds_and_presence_equal_python(library: c.CDLL, files: Path, file: str) -> None:
    """Stray points, levels and presence, in one session after the other with other names and clouds."""
    path = EMBEDDED if file == "embedded" else files / f"{file}.safetensors"
    rng = np.random.default_rng(0)
    segmenter = Segmenter.from_pretrained(path, precision="fp32")
    without_kinds = Segmenter(replace(segmenter.checkpoint, kinds=None), precision="fp32")
    with Native(library, path) as native:
        for n, parts in ((500, PARTS), (5000, PARTS[:2]), (3000, PARTS), (3000, PARTS[::-1]), (40, ["leg"])):
            points = np.concatenate([cloud("planar", n), rng.uniform(-9, 9, (n // 20, 3)).astype(np.float32)])
            points = points[rng.permutation(len(points))]
            for sample, none in ((0, 0.0), (2048, 0.0), (2048, 0.35)):
                r = segmenter.segment(points, parts, sample=sample or None, none=none, **ALONE)
                labels, scores = native.segment(points, parts, sample=sample, none=none)
                assert same(labels, r.labels) and same(scores, r.scores)
                assert same(native.presence(points, parts, sample=sample), r.presence)
            chosen = sample_cloud(points, 300, 0)
            given = segmenter.encode(points, sample=300)
            centers, members, _, features = native.encode(points, sample=300)
            assert same(centers, given.centers) and same(features, given.features)
            kept = chosen[~_C.find_outliers(points[chosen], 3.0)]
            assert n < 100 or len(kept) < len(chosen)
            assert same(members, kept[given.members])
            words = ["lower limb", parts[0], "trunk"]  # the first and the last are in no lexicon
            logits = [m.patch_logits(given, m.embed_text(words)) for m in (segmenter, without_kinds)]
            assert not same(*logits)
            r = segmenter.segment(points, words, none=0.35, **ALONE)
            labels, scores = native.segment(points, words, none=0.35, sample=2048)
            assert same(labels, r.labels) and same(scores, r.scores)
            assert same(native.presence(points, words, sample=2048), r.presence)
        points, faces = cloud("random", 500), rng.integers(0, 500, (900, 3)).astype(np.int32)
        r = segmenter.segment(Shape(points, faces), PARTS, **ALONE)
        assert same(native.presence(points, PARTS, faces, sample=2048), r.presence)


def test_presence_needs_a_calibration(library: c.CDLL, files: Path) -> None:
    with (
        Native(library, files / "tiny.safetensors") as native,
        pytest.raises(RuntimeError, match="the model has no calibration of presence") as error,
    ):
        native.presence(cloud("random", 100), PARTS)
    assert error.value.args[0] == INVALID


def test_damaged_calibrations(library: c.CDLL, tmp_path: Path) -> None:
    path = tmp_path / "damaged.safetensors"
    for change, message in (
        ({"bank": np.zeros((3, 384), np.int8)}, "bank has a zero row"),
        ({"bank": np.zeros((0, 384), np.int8)}, "bank is not I8 with rows of 384"),
        ({"bank": np.ones((3, 40), np.int8)}, "bank is not I8 with rows of 384"),
        ({"lexicon": random_lexicon(5, 40)}, "lexicon.rows is not I8 with rows of 384"),
        (
            {"lexicon": random_lexicon(5, 384)._replace(meaning=np.arange(5, dtype=np.int32) - 1)},
            "lexicon.meaning has a number that is no row",
        ),
        (
            {"lexicon": random_lexicon(5, 384)._replace(meaning=np.arange(4, dtype=np.int32))},
            "lexicon.meaning is not I32 with 5 numbers",
        ),
        ({"outliers": -1.0}, "outliers is below 0"),
        ({"presence": (1.0, 2.0)}, "presence does not have 3 or 4 numbers"),
        ({"kinds": random_kinds(5, 5, 40)}, "kinds.rows is not I8 with rows of 384"),
        ({"kinds": random_kinds(5, 5, 384)._replace(has=np.int32([[0, 5]]))}, "kinds.has has a number that is no row"),
        ({"kinds": random_kinds(5, 5, 384)._replace(has=np.int32([0, 1]))}, "kinds.has is not I32 with rows of 2"),
        ({"kinds": random_kinds(5, 5, 384)._replace(has=np.int32([[-1, 0]]))}, "kinds.has has a number that is no row"),
        ({"kinds": None}, "its presence needs kinds.rows, kinds.parts, kinds.has, which are missing"),
        ({"presence": (1.0, 2.0, 0.5, 1.0, 1.0)}, "presence does not have 3 or 4 numbers"),
        ({"shape_head": None}, "kinds.rows without a shape head"),
        ({"shape_head": head_with(np.float32(0.0))}, "shape_head.hidden"),
        ({"shape_head": head_with(np.zeros(0, np.float32))}, "shape_head.hidden.bias is empty"),
        ({"shape_head": transposed_head()}, "shape_head.hidden.weight has another shape than the model needs"),
    ):
        save(path, replace(calibrated_checkpoint(), **change))  # type: ignore[arg-type]
        status, said = load(library, tmp_path, path.read_bytes())
        assert status == FILE and message in said


@pytest.mark.parametrize("n", [1000, 2048, 2049, 20_000, 200_000])
def test_default_options_equal_those_of_python(library: c.CDLL, n: int) -> None:
    """Clouds and meshes of the embedded model, with nothing said in either language."""
    points = cloud("random", n)
    faces = np.random.default_rng(n).integers(0, n, (2 * n, 3)).astype(np.int32)
    segmenter = Segmenter.from_pretrained()
    with Native(library, EMBEDDED, "auto") as native:
        r = segmenter.segment(points, PARTS, **ALONE)
        labels, scores = np.full(n, -7, np.int32), np.full((n, len(PARTS)), np.nan, np.float32)
        head, tail = (native.model, native.text), (strings(PARTS), c.c_int64(len(PARTS)), None, None)
        out = (pointer(labels), pointer(scores))
        native.check(library.pa3d_segment(*head, *cloud_of(points), *tail, *out))
        assert same(labels, r.labels) and same(scores, r.scores)

        r = segmenter.segment(Shape(points, faces), PARTS, **ALONE)
        labels[:], scores[:] = -7, np.nan
        face_labels = np.full(len(faces), -7, np.int32)
        face_scores = np.full((len(faces), len(PARTS)), np.nan, np.float32)
        out = (pointer(labels), pointer(scores), pointer(face_labels), pointer(face_scores))
        native.check(library.pa3d_segment_mesh(*head, *cloud_of(points), *cloud_of(faces), *tail, *out))
        assert same(labels, r.labels) and same(scores, r.scores)
        assert same(face_labels, r.face_labels) and same(face_scores, r.face_scores)


@pytest.mark.parametrize("is_mesh", [False, True])
def test_refine_equals_python(library: c.CDLL, files: Path, is_mesh: bool) -> None:
    path, n = files / "tiny.safetensors", 900
    points, rng = cloud("sphere", n), np.random.default_rng(3)
    faces = rng.integers(0, n, (700, 3)).astype(np.int32) if is_mesh else None
    segmenter, shape = Segmenter.from_pretrained(path), Shape(points, faces)
    alone, expected = (segmenter.segment(shape, PARTS, refine=refine, structure=False) for refine in (False, True))
    scores, labels = alone.scores.copy(), np.full(n, -7, np.int32)
    face_scores = None if alone.face_scores is None else alone.face_scores.copy()
    face_labels = np.full(len(faces), -7, np.int32) if faces is not None else None
    mesh = (None, c.c_int64(0)) if faces is None else cloud_of(faces)
    with Native(library, path) as native:
        head = (*cloud_of(points), *mesh, c.c_int64(len(PARTS)))
        for threads in (1, 2):
            scores[:], face_scores = alone.scores, None if face_scores is None else alone.face_scores.copy()
            results = (pointer(labels), pointer(scores), pointer(face_labels), pointer(face_scores))
            native.check(library.pa3d_refine(*head, c.c_int(threads), *results))
            assert same(labels, expected.labels) and same(scores, expected.scores)
            if face_labels is not None and face_scores is not None:
                assert same(face_labels, expected.face_labels) and same(face_scores, expected.face_scores)
        bad = np.full((n, len(PARTS)), -1, np.float32)
        results = (pointer(labels), pointer(bad), None, pointer(bad))
        assert library.pa3d_refine(*head, c.c_int(0), *results) == INVALID
        assert b"negative, NaN or infinite" in library.pa3d_error_message()


def test_meshes_with_every_option(library: c.CDLL, files: Path) -> None:
    path, n = files / "tiny.safetensors", 900
    points, rng = cloud("random", n), np.random.default_rng(3)
    faces = rng.integers(0, n, (700, 3)).astype(np.int32)
    vectors = rng.standard_normal((3, 384)).astype(np.float32)
    segmenter = Segmenter.from_pretrained(path)
    with Native(library, path) as native:
        for i, assign in enumerate(ASSIGN):
            for sample, seed in ((None, 0), (300, 8)):
                r = segmenter.segment(
                    *(Shape(points, faces, up="z"), ["a", "b", "c"]),
                    **{"text_vectors": vectors, "assign": assign, "sample": sample, "seed": seed, "none": 0.4},
                    **ALONE,
                )
                options = native.options(up=2, assign=i, none=0.4, sample=sample or 0, seed=seed)
                labels, face_labels = np.full(n, -7, np.int32), np.full(len(faces), -7, np.int32)
                given = (*cloud_of(points), *cloud_of(faces), pointer(vectors), c.c_int64(3), c.byref(options))
                for results in ((labels, face_labels), (labels, None), (None, face_labels), (None, None)):
                    out = (pointer(results[0]), None, pointer(results[1]), None)
                    native.check(library.pa3d_segment_mesh_vectors(native.model, *given, *out))
                assert same(labels, r.labels) and same(face_labels, r.face_labels)


@pytest.mark.parametrize(
    ("faces", "message"),
    [
        ([[0, 1, 5]], "faces refer to vertices outside 0..4"),
        ([[0, -1, 2]], "faces refer to vertices outside 0..4"),
        ([[0, 1, 1]], "every face has zero area; a shape needs a surface"),
        ([], "n_faces is 0; expected at least one face"),
        (None, "faces is NULL"),
    ],
)
def test_bad_meshes(library: c.CDLL, files: Path, faces: Any, message: str) -> None:
    points, labels = cloud("random", 5), np.zeros(5, np.int32)
    given = (None, c.c_int64(1)) if faces is None else cloud_of(np.array(faces, np.int32).reshape(-1, 3))
    with Native(library, files / "tiny.safetensors") as native:
        status = library.pa3d_segment_mesh(
            *(native.model, native.text, *cloud_of(points), *given, strings(PARTS), c.c_int64(len(PARTS))),
            *(None, None, pointer(labels), None, None, None),
        )
        assert status == INVALID
        assert message in library.pa3d_error_message().decode()


def test_embedding_equals_python(library: c.CDLL, files: Path) -> None:
    with Native(library, files / "tiny.safetensors") as native:
        for category, mode in (
            (None, "part"),
            ("Chair", "category"),
            ("chair", "ensemble"),
            ("chair", "auto"),
        ):
            expected = embed_parts(MiniLM(), PARTS, category, mode, cache=False)  # type: ignore[arg-type]
            assert same(native.embed(PARTS, category, mode), expected)
        assert same(native.embed(PARTS), embed_parts(MiniLM(), PARTS, cache=False))
        long = ["wheel " * 300, "seat"]
        assert same(native.embed(long), embed_parts(MiniLM(), long, cache=False))


def test_own_vectors(library: c.CDLL, tmp_path: Path) -> None:
    """In any text space; of any length."""
    path = write_tiny(tmp_path / "other.safetensors", text_space="open_clip/ViT-B-32/openai", text_dim=40)
    points = cloud("random", 500)
    vectors = np.random.default_rng(0).standard_normal((3, 40)).astype(np.float32) * 9
    with Native(library, path) as native:
        expected = Segmenter.from_pretrained(path).segment(
            points, PARTS[:3], text_vectors=vectors, sample=None, **ALONE
        )
        assert same(native.segment_vectors(points, vectors), expected.labels)
        with pytest.raises(RuntimeError, match="text space open_clip/ViT-B-32/openai of 40 dimensions"):
            native.segment(points, PARTS)
        for bad in (np.zeros((1, 40)), np.full((1, 40), np.nan), np.full((1, 40), np.inf)):
            with pytest.raises(RuntimeError, match="vectors: NaN, infinite or zero rows"):
                native.segment_vectors(points, bad.astype(np.float32))


def test_info_and_version(library: c.CDLL, tmp_path: Path) -> None:
    assert library.pa3d_version().decode() == pa3d.__version__
    path = tmp_path / "verified.safetensors"
    save(path, replace(random_checkpoint(TINY), precisions=("int8", "bf16")))
    for precision in ("auto", *precisions()):
        with Native(library, path, precision) as native:
            i = native.info
            assert (i.patches, i.patch_size, i.width, i.text_width) == (128, 32, TINY.dim, 384)
            assert i.temperature == np.float32(0.07)
            assert (i.text_space, i.prompts) == (b"all-MiniLM-L6-v2", b"auto")
            assert i.precision.decode() == Segmenter.from_pretrained(path, precision=precision).precision


def test_one_handle_for_several_threads(library: c.CDLL, files: Path) -> None:
    clouds = [cloud("random", 400 + 100 * i) for i in range(4)]
    with Native(library, files / "tiny.safetensors") as native, ThreadPoolExecutor(4) as pool:
        alone = [native.segment(points, PARTS) for points in clouds]
        for i, (labels, scores) in enumerate(pool.map(lambda p: native.segment(p, PARTS), clouds * 5)):
            assert same(labels, alone[i % 4][0]) and same(scores, alone[i % 4][1])


def test_wrong_arguments(library: c.CDLL, files: Path) -> None:
    good = cloud("random", 50)
    broken = good.copy()
    broken[3, 1] = np.nan
    labels = np.zeros(50, np.int32)
    with Native(library, files / "tiny.safetensors") as native:
        for points, parts, values, message in (
            (broken, PARTS, {}, "1 of 50 points have NaN or infinite"),
            (np.ones((5, 3), np.float32), PARTS, {}, "all 5 points are equal; a shape needs an extent"),
            (good[:0], PARTS, {}, "n is 0; expected at least one point"),
            (good, [], {}, "count is 0; expected at least one part"),
            (good, ["leg", "Leg"], {}, "part name 'leg' is given twice; give every name once"),
            (good, ["?!"], {}, r"part name '\?!' is empty without its punctuation"),
            (good, PARTS, {"up": 6}, "up is not one of"),
            (good, PARTS, {"assign": -1}, "assign is not one of"),
            (good, PARTS, {"none": 1.5}, "none is 1.5"),
            (good, PARTS, {"none": float("nan")}, "none is"),
            (good, PARTS, {"sample": -1}, "sample is -1; expected 0 for every point"),
            (good, PARTS, {"threads": -1}, "threads is -1; expected 0 or more"),
        ):
            with pytest.raises(RuntimeError, match=message) as error:
                native.segment(points, parts, **values)
            assert error.value.args[0] == INVALID
        with pytest.raises(RuntimeError, match="prompt mode 'category' needs the object's category"):
            native.embed(PARTS, None, "category")
        lib, model, text = library, native.model, native.text
        names, count, one = strings(PARTS), c.c_int64(4), c.c_int64(1)
        bytes_ = (c.c_char_p * 1)(b"\xff")
        at = pointer(labels)
        for status, message in (
            (
                lib.pa3d_segment(None, text, *cloud_of(good), names, count, None, None, at, None),
                "model is NULL",
            ),
            (
                lib.pa3d_segment(model, None, *cloud_of(good), names, count, None, None, at, None),
                "text is NULL",
            ),
            (lib.pa3d_segment(model, text, None, one, names, count, None, None, at, None), "points is NULL"),
            (
                lib.pa3d_segment(model, text, *cloud_of(good), None, count, None, None, at, None),
                "parts is NULL",
            ),
            (
                lib.pa3d_segment(model, text, *cloud_of(good), names, count, None, None, None, None),
                "labels is NULL",
            ),
            (
                lib.pa3d_segment(model, text, *cloud_of(good), bytes_, one, None, None, at, None),
                "not UTF-8 at byte 0",
            ),
            (lib.pa3d_embed_text(None, names, count, None, None, 1, at), "text is NULL"),
            (lib.pa3d_encode(None, *cloud_of(good), None, None, None, None, None), "model is NULL"),
            (lib.pa3d_segment_vectors(model, *cloud_of(good), None, one, None, at, None), "vectors is NULL"),
            (lib.pa3d_model_info(model, None), "info is NULL"),
            (lib.pa3d_model_load(b"x", None, None), "model is NULL"),
            (lib.pa3d_model_load(None, None, c.byref(c.c_void_p())), "path is NULL"),
            (lib.pa3d_text_load(None, b"x", c.byref(c.c_void_p())), "weights is NULL"),
        ):
            assert status == INVALID, message
        assert lib.pa3d_error_message() == b"weights is NULL"
        assert lib.pa3d_segment(model, text, *cloud_of(good), bytes_, one, None, None, at, None) == INVALID
        assert lib.pa3d_error_message() == b"part name: text is not UTF-8 at byte 0"
        # NULL options are the defaults; NULL results are left out.
        assert lib.pa3d_segment(model, text, *cloud_of(good), names, count, None, None, at, None) == OK
        assert lib.pa3d_encode(model, *cloud_of(good), None, None, None, None, None) == OK
    library.pa3d_model_free(None)
    library.pa3d_text_free(None)


def test_names_with_one_vector(library: c.CDLL, files: Path) -> None:
    points = cloud("random", 60)
    with Native(library, files / "tiny.safetensors") as native:
        for names in (["si\u00e8ge", "sie\u0300ge"], ["leg", "leg\u200b"], ["leg " * 300 + "a", "leg " * 300 + "b"]):
            for call in (lambda n=names: native.segment(points, n), lambda n=names: native.embed(n)):
                with pytest.raises(RuntimeError, match="are the same for the text encoder") as error:
                    call()
                assert error.value.args[0] == INVALID


@pytest.mark.parametrize("offset", [(0, 0, 0), (500_123.0, 4_512_345.0, 210.0), (-1e12, 3.0, 1e9), (1e300, 0, 0)])
def test_centring_equals_python(library: c.CDLL, offset: tuple[float, float, float]) -> None:
    points = np.random.default_rng(1).normal(size=(200, 3)) * 3 + np.array(offset)
    points[7, 1] = np.nan
    right = Shape(points)
    centered, origin = np.zeros((200, 3), np.float32), np.zeros(3)
    assert library.pa3d_center(*cloud_of(points), pointer(centered), pointer(origin)) == OK
    assert same(centered, right.points) and np.array_equal(origin, right.origin)


def test_centring_refuses(library: c.CDLL) -> None:
    points, centered, origin = np.zeros((3, 3)), np.zeros((3, 3), np.float32), np.zeros(3)
    at = (pointer(centered), pointer(origin))
    assert library.pa3d_center(*cloud_of(points), *at) == OK  # that they are equal is for the others to say
    for given in ((None, c.c_int64(3), *at), (*cloud_of(points), None, at[1]), (*cloud_of(points), at[0], None)):
        assert library.pa3d_center(*given) == INVALID
        assert library.pa3d_error_message().endswith(b"is NULL")
    for count in (0, -1, 2**31 - 1, -(2**63)):
        assert library.pa3d_center(pointer(points), c.c_int64(count), *at) == INVALID
        assert library.pa3d_error_message().startswith(b"n is ")


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("count", [1, 49])
def test_points_that_are_missing(library: c.CDLL, files: Path, bad: float, count: int) -> None:
    points = cloud("random", 50)
    points[:count, 2] = bad
    with Native(library, files / "tiny.safetensors") as native:
        for call in (lambda: native.segment(points, PARTS), lambda: native.encode(points)):
            with pytest.raises(RuntimeError, match=f"{count} of 50 points have NaN or infinite") as error:
                call()
            assert error.value.args[0] == INVALID


def test_counts_out_of_range(library: c.CDLL, files: Path) -> None:
    points, labels = cloud("random", 50), np.zeros(50, np.int32)
    vectors = np.ones((2, 384), np.float32)
    with Native(library, files / "tiny.safetensors") as native:
        for n in (0, -1, 2**31 - 1, 2**62, -(2**63)):
            given = (pointer(points), c.c_int64(n), strings(PARTS), c.c_int64(4), None, None, pointer(labels), None)
            assert library.pa3d_segment(native.model, native.text, *given) == INVALID
        for count in (0, -1, 2**31 - 1, 2**62, -(2**63)):
            wanted = c.c_int64(count)
            given = (*cloud_of(points), strings(PARTS), wanted, None, None, pointer(labels), None)
            assert library.pa3d_segment(native.model, native.text, *given) == INVALID
            given = (*cloud_of(points), pointer(vectors), wanted, None, pointer(labels), None)
            assert library.pa3d_segment_vectors(native.model, *given) == INVALID
            assert (
                library.pa3d_embed_text(native.text, strings(PARTS), wanted, None, None, 1, pointer(vectors)) == INVALID
            )
        null = (c.c_char_p * 2)(b"seat", None)
        given = (*cloud_of(points), null, c.c_int64(2), None, None, pointer(labels), None)
        assert library.pa3d_segment(native.model, native.text, *given) == INVALID
        assert library.pa3d_error_message() == b"a part name is NULL"


def test_bad_models(library: c.CDLL, files: Path, tmp_path: Path) -> None:
    good = (files / "tiny.safetensors").read_bytes()
    size = int.from_bytes(good[:8], "little")
    header, data = json.loads(good[8 : 8 + size]), good[8 + size :]
    about = json.loads(header["__metadata__"]["pa3d"])
    config = about["config"]

    def packed(header: dict[str, Any], data: bytes = data) -> bytes:
        text = json.dumps(header).encode()
        text += b" " * (-len(text) % 8)
        return len(text).to_bytes(8, "little") + text + data

    def meta(**values: Any) -> dict[str, Any]:
        return header | {"__metadata__": {"pa3d": json.dumps(about | values)}}

    def entry(name: str, **values: Any) -> dict[str, Any]:
        return header | {name: header[name] | values}

    last = max((v["data_offsets"], k) for k, v in header.items() if k != "__metadata__")[1]
    assert load(library, tmp_path, packed(header)) == (OK, "")
    cases = [
        (b"", "not a safetensors file, or cut short"),
        (good[:7], "cut short"),
        (good[: 8 + size // 2], "cut short"),
        (good[:-4], "lies beyond the end of the file"),
        (good + b"\0\0\0\0", "extra bytes"),
        (b"\xff" * 16, "cut short"),
        (packed({}), "extra bytes"),
        (packed({k: v for k, v in header.items() if k != "__metadata__"}), "not a checkpoint of pa3d"),
        (packed(header | {"__metadata__": {"pa3d": "{,}"}}), r"its metadata is damaged \(not JSON"),
        (packed(meta(format=2)), "another version's format"),
        (packed(meta(temperature="warm")), r"its metadata is damaged \(temperature is not a number"),
        (packed(header, data[:-4] + b"\0\0\xc0\x7f"), "has NaN or infinite values"),
        (packed(meta(temperature=0)), "temperature is not above 0"),
        (packed(meta(config={})), r"has \d+ values, expected"),
        (packed(meta(config=[])), "the configuration is not an object"),
        (packed(meta(config=config | {"new": 1})), "an unknown field new"),
        (packed(meta(config=config | {"depth": 1.5})), "depth is not an integer"),
        (packed(meta(config=config | {"depth": 0})), "depth is out of range"),
        (packed(meta(config=config | {"heads": 3})), "dim 64 is not a multiple of heads 3"),
        (packed(meta(config=config | {"depth": 3})), "no tensor named blocks.blocks.2"),
        (packed(meta(config=config | {"depth": 1})), "tensors that are not this encoder's"),
        (packed(entry(last, dtype="Q4")), "has the unknown type Q4"),
        (packed(entry(last, shape=[-1])), "has an impossible shape"),
        (packed(entry(last, shape=[2**40, 2**40])), "has an impossible shape"),
        (packed(entry(last, shape=[1])), "its size does not fit its shape"),
        (packed(entry(last, data_offsets=[0, 4])), "its size does not fit its shape"),
        (packed(entry(last, dtype="I32")), "is I32, expected F32 or F16"),
        (packed({k: v for k, v in header.items() if k != last}), "extra bytes|leave gaps"),
    ]
    for content, message in cases:
        status, said = load(library, tmp_path, content)
        assert status == FILE, message
        assert re.search(message, said), said
    model = c.c_void_p(1)
    assert library.pa3d_model_load(str(tmp_path / "absent").encode(), None, c.byref(model)) == FILE
    assert not model.value and b"absent: No such file" in library.pa3d_error_message()
    assert library.pa3d_model_load(str(tmp_path).encode(), None, c.byref(model)) == FILE
    path = str(files / "tiny.safetensors").encode()
    assert library.pa3d_model_load(path, b"fp64", c.byref(model)) == INVALID
    assert b"precision 'fp64' is not one of auto, fp32, bf16, int8" in library.pa3d_error_message()


def load(library: c.CDLL, folder: Path, content: bytes) -> tuple[int, str]:
    path = folder / "model.safetensors"
    path.write_bytes(content)
    model = c.c_void_p()
    status = library.pa3d_model_load(str(path).encode(), None, c.byref(model))
    assert bool(model.value) == (status == OK)
    library.pa3d_model_free(model)
    return status, library.pa3d_error_message().decode() if status else ""


def test_bad_text_encoders(library: c.CDLL, files: Path, tmp_path: Path) -> None:
    weights, tokenizer = WEIGHTS / "minilm-l6-v2.safetensors", WEIGHTS / "minilm-tokenizer.json"
    cut = tmp_path / "cut.safetensors"
    cut.write_bytes(weights.read_bytes()[:1_000_000])
    text = c.c_void_p(1)
    for first, second, message in (
        (tmp_path / "absent", tokenizer, "absent: No such file"),
        (weights, tmp_path / "absent", "absent: No such file"),
        (cut, tokenizer, "lies beyond the end of the file"),
        (tokenizer, tokenizer, "not a safetensors file"),
        (weights, weights, "not JSON"),
        (files / "tiny.safetensors", tokenizer, "no tensor named words"),
    ):
        assert library.pa3d_text_load(str(first).encode(), str(second).encode(), c.byref(text)) == FILE
        assert not text.value and message in library.pa3d_error_message().decode()


@pytest.mark.parametrize(("level", "status"), [("avx512_bf17", UNSUPPORTED), ("generic", OK)])
def test_pinned_levels(built: Path, files: Path, tmp_path: Path, level: str, status: int) -> None:
    cloud("random", 100).tofile(tmp_path / "points.f32")
    command = [built / "segment", files / "tiny.safetensors", WEIGHTS, tmp_path / "points.f32"]
    env = os.environ | {"PA3D_ISA": level}
    run = subprocess.run([*command, "fp32", *PARTS], env=env, capture_output=True)
    assert (run.returncode == 0) == (status == OK)
    refused = subprocess.run([*command, "bf16", *PARTS], env=env, capture_output=True, text=True)
    assert refused.returncode == 1
    assert ("needs AVX-512" if status == OK else "PA3D_ISA=avx512_bf17: this processor has") in refused.stderr


def test_a_locale_with_decimal_commas(built: Path, files: Path, tmp_path: Path) -> None:
    """The temperature is written 0.07, whatever the host program's locale is."""
    known = subprocess.run(["locale", "-a"], capture_output=True, text=True).stdout.split()
    name = next((n for n in known if n.startswith(("de_", "fr_"))), None)
    if name is None:
        pytest.skip("no locale with decimal commas is installed")
    code = (
        "import ctypes, locale, sys; locale.setlocale(locale.LC_ALL, sys.argv[1]); m = ctypes.c_void_p(); "
        "print(ctypes.CDLL(sys.argv[2]).pa3d_model_load(sys.argv[3].encode(), None, ctypes.byref(m)))"
    )
    command = ["python3", "-c", code, name, str(built / "libpa3d.so"), str(files / "tiny.safetensors")]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "0\n"


def test_the_makefile_compiles_as_setup_does() -> None:
    """Both read csrc/flags.mk; which sources are `fast` is said in their first line."""
    dry = ["make", "-n", "-B", "-f", "csrc/capi.mk", "CAPI_OUT=out", "capi"]
    text = subprocess.run(dry, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    flags = dict(re.findall(r"^FLAGS_(\w+) := (.*)$", (ROOT / "csrc" / "flags.mk").read_text(), re.M))
    compiled = re.findall(r"^.* -c (\S+) -o .*$", text, re.M)
    assert len(compiled) > 10 and not any("train_" in source for source in compiled)
    for source in compiled:
        line = next(line for line in text.splitlines() if f" -c {source} " in line)
        fast = (ROOT / source).read_text().startswith(flags["FAST_MARK"] + "\n")
        assert fast == (Path(source).stem in ("encoder", "refine_kernels", "text"))
        assert flags["FAST" if fast else "EXACT"] in line and flags["OPTIMIZE"] in line
    setup = (ROOT / "setup.py").read_text()
    assert "flags.mk" in setup and "-ffp-contract" not in setup
