"""pa3d/_C.pyi, which setup.py joins from csrc/bind*.cpp, says what the extension has."""

from __future__ import annotations

import ast
import gc
import inspect
import pickle
import re
import sys
from pathlib import Path

import numpy as np
import pytest

from pa3d import _C

STUB = Path(_C.__file__).resolve().parent / "_C.pyi"


def declared() -> dict[str, ast.stmt]:
    body = ast.parse(STUB.read_text()).body
    return {s.name: s for s in body if isinstance(s, ast.FunctionDef | ast.ClassDef)}


def test_the_stub_names_everything() -> None:
    names = {name for name in dir(_C) if not name.startswith("_") and name != "CUDA_ABI"}
    assert set(declared()) == names


def parameters(statement: ast.FunctionDef) -> list[tuple[str, object]]:
    """Names and defaults."""
    names = [a.arg for a in statement.args.args]
    defaults = [ast.literal_eval(d) for d in statement.args.defaults]
    return list(zip(names, [inspect.Parameter.empty] * (len(names) - len(defaults)) + defaults, strict=True))


def test_the_stub_names_every_parameter() -> None:
    checked = 0
    for name, statement in declared().items():
        functions = statement.body if isinstance(statement, ast.ClassDef) else [statement]
        for function in functions:
            if isinstance(function, ast.FunctionDef) and function.name != "__init__":
                owner = getattr(_C, name) if function is not statement else _C
                bound = inspect.signature(getattr(owner, function.name)).parameters.values()
                assert parameters(function) == [(p.name, p.default) for p in bound], (name, function.name)
                checked += 1
    assert checked > 30


def test_one_version_of_the_cuda_interface() -> None:
    header = STUB.parents[1] / "csrc" / "cuda" / "pa3d_cuda.h"
    if header.is_file():  # not in an installed package
        (number,) = re.findall(r"PA3D_CUDA_ABI = (\d+)", header.read_text())
        assert int(number) == _C.CUDA_ABI


POINTS = np.random.default_rng(0).random((1, 50, 3), np.float32)


@pytest.mark.parametrize(
    ("args", "named", "message"),
    [
        ((POINTS,), {}, "knn(): needs the argument 'points'"),
        ((POINTS, POINTS, 1, 1, 1), {}, "knn(): takes 4 arguments, got 5"),
        ((POINTS, POINTS, 1), {"q": 1}, "knn(): has no parameter 'q'"),
        ((POINTS, POINTS, 1), {"k": 1}, "knn(): got 'k' twice"),
        ((POINTS, POINTS, 1.0), {}, "knn(): argument 'k': expected an integer from "),
        ((POINTS, POINTS, 2**63), {}, "knn(): argument 'k': expected an integer from "),
        ((POINTS.astype(float), POINTS, 1), {}, "knn(): argument 'queries': expected a contiguous array of float32"),
        ((POINTS, "x", 1), {}, "knn(): argument 'points': expected a contiguous array of float32, got str"),
    ],
)
def test_wrong_arguments(args: tuple, named: dict, message: str) -> None:
    with pytest.raises(TypeError, match=re.escape(message)):
        _C.knn(*args, **named)


def test_arguments_by_name_and_copies_without_loss() -> None:
    expected = _C.knn(POINTS, POINTS, 3)
    for points in (POINTS[:, ::-1][:, ::-1], POINTS.astype(POINTS.dtype.newbyteorder())):
        found = _C.knn(k=np.int64(3), points=points, queries=points)
        assert all(np.array_equal(a, b) for a, b in zip(found, expected, strict=True))
    with pytest.raises(TypeError, match="expected a contiguous array of float32"):
        _C.unit_rows(POINTS[0, :, :2])  # declared noconvert: never copied


def test_classes() -> None:
    with pytest.raises(TypeError, match="SavedActivations is only made by functions"):
        _C.SavedActivations()
    with pytest.raises(TypeError, match="cannot pickle"):
        pickle.dumps(_C.EmbedTrainer(precision="fp32"))
    with pytest.raises(ValueError, match="precision: expected fp32 or bf16, got fp64"):
        _C.EmbedTrainer("fp64")
    with pytest.raises(TypeError, match="not an acceptable base type"):
        type("Derived", (_C.EmbedTrainer,), {})
    with pytest.raises(_C.FileError):
        _C.WordPiece("no/such/file")
    with pytest.raises(TypeError):
        _C.WordPiece.size(_C.EmbedTrainer("fp32"))


def test_references_and_memory_are_given_back() -> None:
    """Arguments, results, arrays in memory of C++, instances and errors."""
    tokens, pixels = np.ones((1, 2, 2, 3), np.float32), np.zeros((1, 4, 4), np.int32)

    def work() -> None:
        _C.knn(POINTS, points=POINTS, k=3)
        _C.backproject(tokens, pixels, 1000, "nearest")[0].sum()
        _C.EmbedTrainer("fp32")
        with pytest.raises(TypeError):
            _C.knn(POINTS, POINTS, POINTS)
        with pytest.raises(ValueError):
            _C.knn(POINTS, POINTS, 1000)

    work()
    before = [sys.getrefcount(x) for x in (POINTS, tokens, pixels)]
    blocks = sys.getallocatedblocks()
    for _ in range(300):
        work()
    gc.collect()
    assert [sys.getrefcount(x) for x in (POINTS, tokens, pixels)] == before
    assert sys.getallocatedblocks() - blocks < 250
