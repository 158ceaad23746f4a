"""The fuzzer itself: every reader has valid seeds, its mutators change them, and it notices what must not happen."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

from pa3d import InputError
from pa3d.io import SUFFIXES

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE / "fuzz"))

import seeds  # noqa: E402
from mutators import MUTATORS  # noqa: E402
from targets import Target, targets  # noqa: E402


@pytest.fixture(scope="module")
def all_targets() -> dict[str, Target]:
    return {target.name: target for target in targets()}


def test_every_suffix_is_fuzzed_from_valid_files(all_targets: dict[str, Target], tmp_path: Path) -> None:
    assert {suffix[1:] for suffix in SUFFIXES} <= set(all_targets)
    for target in all_targets.values():
        found = target.seeds()
        assert found, target.name
        outcomes = []
        for data in found:
            (tmp_path / target.file).write_bytes(data)
            try:
                outcomes.append(target.run(tmp_path / target.file))
            except InputError as error:
                outcomes.append(f"refused: {error}")
        (tmp_path / target.file).unlink()
        assert any(not outcome.startswith("refused") for outcome in outcomes), (target.name, outcomes)


def test_mutators_keep_the_form(all_targets: dict[str, Target]) -> None:
    def change(data: bytes) -> bytes:
        return data[:-1] + bytes([data[-1] ^ 1])

    for target in all_targets.values():
        if not target.mutator:
            continue
        data = target.seeds()[0]
        changed = {MUTATORS[target.mutator](data, random.Random(i), change) for i in range(30)}
        assert len(changed - {None, data}) > 3, target.name
    glb = MUTATORS["glb"](seeds.glb(*seeds.rich_gltf()), random.Random(1), change)
    assert glb is not None and int.from_bytes(glb[8:12], "little") == len(glb)


@pytest.mark.slow
@pytest.mark.parametrize("fault", ["", "raise TypeError('x')", "import time; time.sleep(30)", "import os; os.abort()"])
def test_what_must_not_happen_is_noticed(tmp_path: Path, fault: str) -> None:
    pytest.importorskip("atheris")
    (tmp_path / "sitecustomize.py").write_text(
        "import pa3d.io.stl as stl\nread = stl.read\n"
        f"def broken(path):\n    if b'7' in path.read_bytes():\n        {fault or 'pass'}\n    return read(path)\n"
        "stl.FORMAT = stl.FORMAT._replace(read=broken)\n"
    )
    env = {**os.environ, "PYTHONPATH": f"{tmp_path}:{HERE.parent}", "PA3D_FUZZ_OUT": str(tmp_path / "out")}
    command = [sys.executable, str(HERE / "fuzz"), "--seconds", "8", "--jobs", "1", "stl"]
    answer = subprocess.run(command, capture_output=True, text=True, env=env, timeout=300)
    assert answer.returncode == bool(fault), answer.stdout + answer.stderr
    kinds = {"": "none", "raise": "TypeError", "import time": "hang", "import os": "exit"}
    assert next(kind for start, kind in reversed(kinds.items()) if fault.startswith(start)) in answer.stdout
    kept = [path for path in (tmp_path / "out").iterdir() if path.suffix != ".log"]
    assert bool(kept) == bool(fault)


def test_results_seed_is_of_this_version(all_targets: dict[str, Target]) -> None:
    assert json.loads(all_targets["results"].seeds()[0])["format"]
