"""pa3d/_C.pyi, which setup.py joins from csrc/bind*.cpp, says what the extension has."""

from __future__ import annotations

import ast
import inspect
import re
from pathlib import Path

from pa3d import _C

STUB = Path(_C.__file__).resolve().parent / "_C.pyi"


def declared() -> dict[str, ast.stmt]:
    body = ast.parse(STUB.read_text()).body
    return {s.name: s for s in body if isinstance(s, ast.FunctionDef | ast.ClassDef)}


def test_the_stub_names_everything() -> None:
    names = {name for name in dir(_C) if not name.startswith("_") and name != "CUDA_ABI"}
    assert set(declared()) == names


def test_the_stub_names_every_parameter() -> None:
    for name, statement in declared().items():
        if isinstance(statement, ast.ClassDef):
            continue
        text = (inspect.getdoc(getattr(_C, name)) or "").splitlines()[0]
        bound = re.findall(r"(?:\(|, )(\w+): ", text)
        assert [a.arg for a in statement.args.args] == bound or not bound, name


def test_one_version_of_the_cuda_interface() -> None:
    header = STUB.parents[1] / "csrc" / "cuda" / "pa3d_cuda.h"
    if header.is_file():  # not in an installed package
        (number,) = re.findall(r"PA3D_CUDA_ABI = (\d+)", header.read_text())
        assert int(number) == _C.CUDA_ABI
