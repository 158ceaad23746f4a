"""The benches of a GPU where there is none: what they refuse, how they time, and the page they write."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")

BENCH = Path(__file__).resolve().parents[1] / "bench"
sys.path.append(str(BENCH))

import gpu  # noqa: E402
import report  # noqa: E402


class Ticks:
    """A clock on which every call of `run` below takes a second."""

    def __init__(self) -> None:
        self.now, self.begun = 0.0, 0.0

    def start(self) -> None:
        self.begun = self.now

    def stop(self) -> float:
        return self.now - self.begun

    def run(self) -> None:
        self.now += 1


def test_seconds_are_those_of_one_call():
    clock = Ticks()
    assert gpu.timed(clock.run, clock)() == 1.0 and clock.now == gpu.CALLS


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        ({"TRITON_INTERPRET": "1"}, "TRITON_INTERPRET is set: times on Triton's interpreter mean nothing; unset it"),
        ({"PA3D_BACKEND": "native"}, "PA3D_BACKEND=native forces one backend, and this compares them; unset it"),
    ],
)
def test_what_would_mean_nothing_is_refused(environment: dict[str, str], message: str, monkeypatch: pytest.MonkeyPatch):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert gpu.unsupported_reason() == message


def test_kernels_that_cannot_run_are_named(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(gpu, "unavailable_reason", lambda backend: "not built" if backend == "cuda" else None)
    assert gpu.unsupported_reason() == "the cuda kernels cannot run: not built"
    monkeypatch.setattr(gpu, "unavailable_reason", lambda backend: None)
    assert gpu.unsupported_reason() is None


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_nothing_is_written(tmp_path: Path):
    command = [sys.executable, str(BENCH / "report.py"), "--device", "cuda", "--quick", "--out", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 1 and "--device cuda: torch" in done.stderr and "finds no GPU here" in done.stderr
    assert "Traceback" not in done.stderr and not list(tmp_path.iterdir())


def test_the_page_names_the_card_and_measures_against_it():
    facts: dict[str, Any] = {"median": 2e-6, "turns": [1e-6, 2e-6, 4e-6], "work_per_second": 1e12, "bound": "copy"}
    card = {"card": "A card, 7 SMs, 5 GiB", "driver": "1.2", "cuda": "3.4"}
    machine = {"processor": "p", "system": "s", "python": "3", "versions": {"torch": "9"}, "commit": "abc"}
    peak = {"fp32": 1e12, "bf16": 2e12, "copy": 4e12}
    page = report.write_gpu(card, machine, peak, {"fps": {"pa3d": facts}}, quick=False)
    assert "A card, 7 SMs, 5 GiB; driver 1.2, CUDA 3.4; p; s, Python 3, torch 9; commit abc." in page
    assert "| pa3d | 2 us | 1 us-4 us | 1.00 | 1000.0 GB/s | 25 % (copy) |" in page and "quick run" not in page


def test_the_report_runs_every_bench():
    assert sorted(BENCH.glob("bench_*.py")) == list(report.BENCHES)
    for file in report.BENCHES:
        assert "def test_" in file.read_text(), f"{file.name}: pytest finds no bench in it"


def test_results_are_checked_before_they_are_timed():
    exact = torch.linspace(-1, 1, 100, dtype=torch.float64)
    plain = exact.float()
    gpu.within(plain, plain, exact, "kernel")
    with pytest.raises(AssertionError, match=r"kernel: error 0\.01, a plain version has .*; nothing is timed"):
        gpu.within(plain + 0.01, plain, exact, "kernel")
