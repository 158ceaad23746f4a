"""Solves the minimax problems behind the coefficients of csrc/cpu/math.inl, and checks the tables there.

    python scripts/fit_polynomials.py        prints each fit beside its table; fails when a table is not a minimax fit

Each table approximates a function on an interval so that its largest error, weighted as given here, is as small as
possible. By Chebyshev's theorem the error of such a fit with n free coefficients takes its largest magnitude at n + 1
points with alternating signs. By de la Vallee Poussin's theorem, the largest error of any coefficients is at least the
smallest of n + 1 alternating errors. So the two bounds of `bounds` say how close a table is to the best possible.
Polynomials without a fixed end are also fitted anew, with the Remez exchange algorithm (E. Remez, 1934) in 40 digits.
The tables agree with these fits in five to seven digits, which is more than their errors depend on.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import mpmath as mp

SOURCE = Path(__file__).resolve().parent.parent / "csrc" / "cpu" / "math.inl"
Function = Callable[[mp.mpf], mp.mpf]

mp.mp.dps = 40


@dataclass(frozen=True)
class Problem:
    """sum of c_k powers_k (and, for a rational function, divided by 1 + sum of d_k denominator_k) close to `function`.

    fixed: part of the function that has no free coefficient. end: a point where the fit must take a given value, which
    takes one degree of freedom.
    """

    name: str  # the function of math.inl that has the table
    function: Function
    powers: tuple[int, ...]
    low: mp.mpf
    high: mp.mpf
    weight: Function
    denominator: tuple[int, ...] = ()
    fixed: Function = lambda x: mp.mpf(0)
    end: tuple[int, str] | None = None

    def value(self, table: list[mp.mpf], x: mp.mpf) -> mp.mpf:
        n = len(self.powers)
        top = self.fixed(x) + sum(c * x**p for c, p in zip(table, self.powers, strict=False))
        return top / (1 + sum(d * x**p for d, p in zip(table[n:], self.denominator, strict=True)))

    def error(self, table: list[mp.mpf]) -> Function:
        return lambda x: self.weight(x) * (self.value(table, x) - self.function(x))


def phi(x: mp.mpf) -> mp.mpf:
    """The normal distribution function less 1/2."""
    return mp.erf(x / mp.sqrt(2)) / 2


def gelu_grad(x: mp.mpf) -> mp.mpf:
    """The derivative of GELU less 1/2."""
    return phi(x) + x * mp.npdf(x)


ODD = tuple(range(1, 16, 2))
PROBLEMS = (
    # exp(r) = 1 + r + r^2 (c_0 + ... + c_4 r^4) on |r| <= log(2) / 2, relative error.
    Problem(
        "vexp", mp.exp, (2, 3, 4, 5, 6), -mp.log(2) / 2, mp.log(2) / 2, lambda x: mp.exp(-x), fixed=lambda x: 1 + x
    ),
    # erf as an odd rational function on [0, 3.9], absolute error.
    Problem("verf", mp.erf, tuple(range(1, 14, 2)), mp.mpf(0), mp.mpf("3.9"), lambda x: mp.mpf(1), (2, 4, 6, 8)),
    # GELU(v) = v (1/2 + odd polynomial) on [0, 4], absolute error of GELU; the polynomial is 1/2 at 4.
    Problem("vgelu_approx", phi, ODD, mp.mpf(0), mp.mpf(4), lambda x: x, end=(4, "0.5")),
    # The derivative of GELU less 1/2 as an odd polynomial on [0, 4], absolute error.
    Problem("vgelu_grad_approx", gelu_grad, ODD, mp.mpf(0), mp.mpf(4), lambda x: mp.mpf(1)),
)


def table_of(problem: Problem) -> list[mp.mpf]:
    """The coefficients in math.inl: of the numerator, lowest power first, then of the denominator without its 1."""
    body = re.search(rf"static inline vf {problem.name}\(vf v\) {{\n(.*?)\n}}", SOURCE.read_text(), re.S)
    if body is None:
        raise SystemExit(f"{SOURCE}: no function {problem.name}")
    found: dict[str, list[mp.mpf]] = {"p": [], "q": []}
    for line in body[1].splitlines():
        match = re.match(r"  (?:vf )?([pq]) = (?:\1 \* [ur] \+ )?splat\(([-+.\de]+)f\);", line)
        if match:
            found[match[1]].insert(0, mp.mpf(match[2]))
    return found["p"] + found["q"][1:]


def extrema(error: Function, low: mp.mpf, high: mp.mpf, steps: int = 240) -> list[mp.mpf]:
    """Where |error| is largest between two changes of its sign."""
    xs = [(low + high) / 2 - (high - low) / 2 * mp.cos(mp.pi * i / steps) for i in range(steps + 1)]
    values = [error(x) for x in xs]
    best: list[int] = []
    for i, value in enumerate(values):
        if value == 0:
            continue
        if best and (value > 0) == (values[best[-1]] > 0):
            best[-1] = max(best[-1], i, key=lambda j: abs(values[j]))
        else:
            best.append(i)
    return [_peak(error, xs[i - 1], xs[i + 1]) if 0 < i < steps else xs[i] for i in best]


def _peak(error: Function, low: mp.mpf, high: mp.mpf) -> mp.mpf:
    ratio = (mp.sqrt(5) - 1) / 2
    for _ in range(40):
        a, b = high - ratio * (high - low), low + ratio * (high - low)
        low, high = (low, b) if abs(error(a)) > abs(error(b)) else (a, high)
    return (low + high) / 2


def bounds(problem: Problem, table: list[mp.mpf]) -> tuple[mp.mpf, mp.mpf, int]:
    """The least largest error that any table could have, that of this table, and the number of its alternations."""
    error = problem.error(table)
    points = reference(problem, error)
    errors = [abs(error(x)) for x in points]
    return min(errors), max(abs(error(x)) for x in extrema(error, problem.low, problem.high)), len(points)


def reference(problem: Problem, error: Function) -> list[mp.mpf]:
    """The n + 1 neighbouring extrema with the largest errors."""
    points, wanted = extrema(error, problem.low, problem.high), len(problem.powers) + len(problem.denominator) + 1
    if problem.end is not None:
        points = [x for x in points if x < problem.end[0]]
        wanted -= 2  # the fixed end takes a coefficient, and its error is the alternation that is left
    while len(points) > wanted:
        points.pop(0 if abs(error(points[0])) < abs(error(points[-1])) else -1)
    return points


def fit(problem: Problem, start: list[mp.mpf]) -> list[mp.mpf]:
    """The minimax polynomial: Remez exchanges from a table that is nearly one."""
    table = start
    for _ in range(6):
        points = reference(problem, problem.error(table))
        rows, right = mp.matrix(len(points), len(points)), mp.matrix(len(points), 1)
        for i, x in enumerate(points):
            weight = problem.weight(x)
            for j, power in enumerate(problem.powers):
                rows[i, j] = weight * x**power
            rows[i, len(points) - 1] = (-1) ** i
            right[i] = weight * (problem.function(x) - problem.fixed(x))
        table = list(mp.lu_solve(rows, right))[:-1]
    return table


def has_fit(problem: Problem) -> bool:
    """Whether `fit` solves the problem: not rational ones, nor those whose largest error is that of the fixed end."""
    return not problem.denominator and problem.end is None


def main() -> None:
    bad = []
    for problem in PROBLEMS:
        table = table_of(problem)
        low, high, count = bounds(problem, table)
        errors = f"largest error {mp.nstr(high, 5)}, at best {mp.nstr(low, 5)}"
        print(f"{problem.name}: {errors}, {count} alternations")
        best = fit(problem, table) if has_fit(problem) else table
        for given, found in zip(table, best, strict=True):
            print(f"  {mp.nstr(given, 10):>18} {mp.nstr(found, 10):>18}")
        if high > low * mp.mpf("1.03"):
            bad.append(problem.name)
    if bad:
        sys.exit(f"not minimax fits: {', '.join(bad)}")


if __name__ == "__main__":
    main()
