"""Killed at random steps, a run ends with the bytes that it would have ended with."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytest.importorskip("torch")

WORKER = Path(__file__).with_name("killed_worker.py")
KILLS = 20


def start(out: Path, stage: str) -> subprocess.Popen[str]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, str(WORKER), str(out), stage], env=environment, stdout=subprocess.PIPE, text=True
    )


@pytest.mark.slow
@pytest.mark.parametrize("stage", ["stage1", "stage2"])
def test_twenty_kills_change_nothing(stage: str, tmp_path: Path) -> None:
    whole = start(tmp_path / "whole", stage)
    whole.communicate()
    assert whole.returncode == 0
    rng, kills = random.Random(0), 0
    while True:
        run = start(tmp_path / "killed", stage)
        assert run.stdout is not None
        wanted = rng.randint(2, 9) if kills < KILLS else None  # lines of progress until it is killed
        for number, _ in enumerate(run.stdout):
            if number == wanted:
                time.sleep(rng.random() * 0.03)  # anywhere in a step, the writing of files included
                run.send_signal(signal.SIGKILL)
                break
        run.stdout.close()
        code = run.wait()
        if code == 0:
            break
        assert code == -signal.SIGKILL
        kills += 1
    assert kills == KILLS
    for name in ("state", "last", "best"):
        a, b = ((tmp_path / folder / f"{name}.safetensors").read_bytes() for folder in ("whole", "killed"))
        assert a == b, name
    assert list((tmp_path / "killed").glob(".*")) == []  # what a kill left half written
