"""The Triton kernels on the interpreter, and their compilation for a GPU that need not be there."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
INTERPRETED = ROOT / "tests" / "interpreted"


@pytest.fixture(scope="module", autouse=True)
def triton_is_here() -> None:
    pytest.importorskip("torch")
    pytest.importorskip("triton.compiler", reason="triton is not installed")


def run(*command: str, interpret: bool) -> str:
    """In a process of its own: Triton decides once, at import, whether it interprets."""
    environment = {k: v for k, v in os.environ.items() if k not in ("TRITON_INTERPRET", "PYTEST_ADDOPTS")}
    environment |= {"TRITON_INTERPRET": "1"} if interpret else {}
    done = subprocess.run([sys.executable, *command], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    return done.stdout


@pytest.mark.parametrize("name", ["attention", "backproject", "block", "knn", "patch_embed"])
@pytest.mark.slow
def test_on_the_interpreter(name: str):
    run("-m", "pytest", "-q", "-p", "no:cacheprovider", str(INTERPRETED / f"test_{name}.py"), interpret=True)


def test_one_of_each_on_the_interpreter():
    """The quick part: every kernel once."""
    chosen = "test_by_hand or (test_whole_block and float32) or (test_patch_sizes and 15)"
    out = run("-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", chosen, str(INTERPRETED), interpret=True)
    assert "passed" in out


def test_importing_pa3d_does_not_import_triton():
    run("-c", "import sys, pa3d.ops, kernels; assert not {'triton', 'torch'} & set(sys.modules)", interpret=False)


def test_distances_compile_without_fused_multiply_add():
    """A fused product keeps digits that the reference rounds away, and neighbours would change order."""
    code = "from kernels.report import rows; r = next(rows('knn k=32')); print(r.registers, r.spills, r.fused)"
    registers, spills, fused = map(int, run("-c", code, interpret=False).split())
    assert 0 < registers < 256 and spills == 0 and fused == 0


@pytest.mark.slow
def test_no_configuration_spills():
    code = "from kernels.report import rows; print([(r.kernel, r.config, r.spills) for r in rows() if r.spills])"
    assert run("-c", code, interpret=False).strip() == "[]"
