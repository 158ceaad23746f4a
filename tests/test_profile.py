"""Seconds a stage: what segment reports, percentiles, the command, and the trace."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from clouds import cloud
from tiny import TINY, random_checkpoint, write_tiny

from pa3d import profiling
from pa3d.cli import main
from pa3d.profiling import Stopwatch, Trace, percentiles, table
from pa3d.segment import Segmenter

PARTS = ["seat", "leg"]
STAGES = ["load", "text", "points", "encode", "structure", "label"]
PARTS_OF_ENCODE = ["encode.sample", "encode.embed", "encode.blocks", "encode.project"]


def test_percentiles_are_measured_values() -> None:
    calls = [{"a": float(i)} for i in (7, 3, 1, 9, 5, 2, 8, 4, 10, 6)]
    assert percentiles(calls) == {"a": {"p50": 5.0, "p90": 9.0, "p99": 10.0}}
    assert percentiles([{"a": 2.0, "b": 3.0}])["b"] == {"p50": 3.0, "p90": 3.0, "p99": 3.0}


def test_parts_of_a_stage_stand_below_it() -> None:
    seconds = {"points": 0.001, "encode": 0.004, "label": 0.002, "encode.sample": 0.003}
    assert table({"p50": seconds, "p99": {**seconds, "points": 1.5}}).splitlines() == [
        "stage             p50 ms      p99 ms",
        "points             1.000    1500.000",
        "encode             4.000       4.000",
        "  sample           3.000       3.000",
        "label              2.000       2.000",
    ]


def test_a_stopwatch_adds_up_and_splits(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    trace = Trace(tmp_path / "trace.json")
    monkeypatch.setattr(profiling, "_trace", trace)
    clock = Stopwatch()
    for _ in range(2):
        with clock("work"):
            pass
    clock.split("work", {"first": 0.25, "second": 0.5})
    assert list(clock.seconds) == ["work", "work.first", "work.second"]
    assert clock.seconds["work.second"] == 0.5
    work, again, first, second = trace.events
    assert (work["name"], again["name"]) == ("work", "work") and again["ts"] >= work["ts"] + work["dur"] - 0.01
    assert first["ts"] == again["ts"] and first["dur"] == 0.25e6
    assert second["ts"] == pytest.approx(first["ts"] + 0.25e6, abs=1)


def test_segment_returns_and_prints_its_stages(capsys: pytest.CaptureFixture[str]) -> None:
    segmenter = Segmenter(random_checkpoint(TINY))
    result = segmenter.segment(cloud("random", 300), PARTS)
    assert capsys.readouterr().out == ""
    assert set(result.timings) == {*STAGES, *PARTS_OF_ENCODE}
    assert sum(result.timings[stage] for stage in PARTS_OF_ENCODE) <= result.timings["encode"]
    profiled = segmenter.segment(cloud("random", 300), PARTS, profile=True)
    assert np.array_equal(profiled.labels, result.labels)
    lines = capsys.readouterr().out.splitlines()
    shown = [line.split()[0] for line in lines]
    assert shown == ["stage", *STAGES[:4], "sample", "embed", "blocks", "project", *STAGES[4:]]


@pytest.fixture(scope="module")
def shape(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """A cloud's file and a checkpoint's."""
    folder = tmp_path_factory.mktemp("shape")
    np.save(folder / "cloud.npy", cloud("random", 500))
    return str(folder / "cloud.npy"), str(write_tiny(folder / "tiny.safetensors"))


def test_command(shape: tuple[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    file, model = shape
    assert main(["profile", file, "--parts", "seat, leg", "--model", model, "-n", "3"]) == 0
    out = capsys.readouterr().out
    assert "3 calls" in out and "p50 ms" in out and "p99 ms" in out
    for stage in (*STAGES, "sample", "all"):
        assert any(line.split()[:1] == [stage] for line in out.splitlines())


def test_command_as_json(shape: tuple[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    file, model = shape
    assert main(["profile", file, "--parts", "seat, leg", "--model", model, "-n", "2", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["calls"] == 2 and found["points"] == 500 and found["precision"] == "fp32"
    assert {"read", "model", "first call"} == set(found["once"])
    assert set(found["stages"]) == {*STAGES, *PARTS_OF_ENCODE, "all"}
    for seconds in found["stages"].values():
        assert 0 <= seconds["p50"] <= seconds["p90"] <= seconds["p99"]
    # Of stages the whole call is the sum, and no call was faster than its slowest stage.
    assert found["stages"]["all"]["p99"] >= found["stages"]["encode"]["p50"]


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["-n", "0"], "Invalid value for '-n'"),
        (["--sample", "few"], "--sample few: expected an integer"),
        (["--precision", "fp8"], "precision 'fp8' is not one of"),
    ],
)
def test_command_errors(
    shape: tuple[str, str], capsys: pytest.CaptureFixture[str], more: list[str], message: str
) -> None:
    file, model = shape
    assert main(["profile", file, "--parts", "seat", "--model", model, *more]) == 2
    assert message in capsys.readouterr().err


def run_traced(path: Path, shape: tuple[str, str]) -> subprocess.CompletedProcess[str]:
    file, model = shape
    command = ["profile", file, "--parts", "seat", "--model", model, "-n", "1", "--json"]
    environment = {**os.environ, "PA3D_TRACE": str(path)}
    return subprocess.run(
        [sys.executable, "-m", "pa3d.cli", *command], env=environment, capture_output=True, text=True, check=True
    )


def test_trace(shape: tuple[str, str], tmp_path: Path) -> None:
    path = tmp_path / "trace.json"
    run_traced(path, shape)
    events = json.loads(path.read_text())["traceEvents"]
    assert {*STAGES, *PARTS_OF_ENCODE} <= {event["name"] for event in events}
    for event in events:
        assert event["ph"] == "X" and event["ts"] > 0 and event["dur"] >= 0
        assert isinstance(event["pid"], int) and isinstance(event["tid"], int)
    encode = next(event for event in events if event["name"] == "encode")
    blocks = next(event for event in events if event["name"] == "encode.blocks")
    assert encode["ts"] <= blocks["ts"] and blocks["ts"] + blocks["dur"] <= encode["ts"] + encode["dur"]
    run_traced(path, shape)  # a second process adds its events
    both = json.loads(path.read_text())["traceEvents"]
    assert both[: len(events)] == events and len({event["pid"] for event in both}) == 2


def test_trace_leaves_other_files_alone(shape: tuple[str, str], tmp_path: Path) -> None:
    path = tmp_path / "notes.json"
    path.write_text("[1, 2")
    assert "holds something other than a trace" in run_traced(path, shape).stderr
    assert path.read_text() == "[1, 2"
    missing = tmp_path / "missing" / "trace.json"
    assert "cannot be written" in run_traced(missing, shape).stderr


def test_trace_tells_threads_apart(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    trace = Trace(tmp_path / "trace.json")
    monkeypatch.setattr(profiling, "_trace", trace)
    segmenter = Segmenter(random_checkpoint(TINY))
    ready = threading.Barrier(2)

    def call() -> None:
        ready.wait()
        segmenter.segment(cloud("random", 100), PARTS)

    callers = [threading.Thread(target=call) for _ in range(2)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert len({event["tid"] for event in trace.events}) == 2
    trace.write()
    assert len(json.loads(trace.path.read_text())["traceEvents"]) == 2 * len([*STAGES, *PARTS_OF_ENCODE])
