"""The coefficient tables of csrc/cpu/math.inl are minimax fits: see scripts/fit_polynomials.py."""

from __future__ import annotations

import importlib.util
import re
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[1]
NAMES = ("vexp", "verf", "vgelu_approx", "vgelu_grad_approx")


@pytest.fixture(scope="module")
def fits() -> ModuleType:
    spec = importlib.util.spec_from_file_location("fit_polynomials", ROOT / "scripts" / "fit_polynomials.py")
    assert spec is not None and spec.loader is not None
    module = sys.modules["fit_polynomials"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_table_has_its_problem(fits: ModuleType) -> None:
    tables = re.findall(r"static inline vf (\w+)\(vf v\) {[^}]*?vf p = splat", fits.SOURCE.read_text())
    assert tuple(tables) == NAMES == tuple(problem.name for problem in fits.PROBLEMS)


@pytest.mark.parametrize("name", NAMES)
def test_a_table_is_a_minimax_fit(fits: ModuleType, name: str) -> None:
    problem = next(p for p in fits.PROBLEMS if p.name == name)
    table = fits.table_of(problem)
    low, high, _ = fits.bounds(problem, table)
    assert high <= 1.03 * low
    if fits.has_fit(problem):
        best = fits.fit(problem, table)
        assert fits.bounds(problem, best)[1] >= 0.97 * high
        assert all(abs(a - b) <= 3e-4 * abs(b) for a, b in zip(table, best, strict=True))
    if problem.end is not None:
        at, value = problem.end
        assert abs(problem.value(table, fits.mp.mpf(at)) - fits.mp.mpf(value)) <= 2**-22


def test_the_exponential_of_unit_h_has_the_same_table(fits: ModuleType) -> None:
    """unit.h is for what is compiled once, for every processor, and so has a scalar copy."""
    text = (ROOT / "csrc" / "cpu" / "unit.h").read_text()
    numbers = {fits.mp.mpf(n) for n in re.findall(r"p (?:\* r \+|=) ([-+.\de]+)f;", text)}
    assert set(fits.table_of(fits.PROBLEMS[0])) <= numbers
