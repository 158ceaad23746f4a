"""The kernels and the C interface on 64-bit Arm, compiled by a cross compiler and run by qemu: `make arm`.

qemu runs instructions, not their speed. Here they must exist, be detected, and give the right results.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from pa3d import Segmenter
from pa3d.checkpoint import EMBEDDED
from pa3d.io import load as load_shape

ROOT = Path(__file__).resolve().parents[1]
COMPILER, QEMU = os.environ.get("ARM_CXX", "aarch64-linux-gnu-g++"), "qemu-aarch64"
MISSING = [program for program in (COMPILER.split()[-1], QEMU, "make") if shutil.which(program) is None]

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(bool(MISSING), reason=f"{', '.join(MISSING)} not found"),
]

# Processors of qemu, and what runs on them: levels (they lack those above), and of the kernels those that have code of
# their own at the level.
PROCESSORS = [
    ("cortex-a72", ["generic", "neon"], []),
    ("neoverse-n1", ["neon_dotprod"], ["encoding"]),
    ("max", ["neon_bf16"], ["encoding", "training"]),
]
LEVELS = ("generic", "neon", "neon_dotprod", "neon_bf16")
# The least share of points that get the label of float32 on this machine; those of scripts/check_precisions.py.
BOUNDS = {"fp32": 0.999, "bf16": 0.995, "int8": 0.985}


@pytest.fixture(scope="module")
def built() -> Path:
    """The folder of the programs, which is kept, so that a second run compiles what has changed."""
    jobs = str(os.cpu_count() or 1)
    command = ["make", "-j", jobs, "-f", "tests/native/arm.mk", "arm-programs", f"ARM_CXX={COMPILER}"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return ROOT / "build" / "arm"


def levels(output: str) -> dict[str, str]:
    """The digest of the exact kernels' results for every level that the program ran."""
    return dict(re.findall(r"^(\w+): \d+ checks, exact results (\w+)$", output, re.M))


@pytest.fixture(scope="module")
def exact_results(built: Path) -> str:
    """The digest of this machine."""
    done = subprocess.run([built / "host-kernels", "generic"], capture_output=True, text=True, check=True)
    return levels(done.stdout)["generic"]


@pytest.mark.parametrize(("processor", "found", "kernels"), PROCESSORS, ids=[row[0] for row in PROCESSORS])
def test_every_level(built: Path, exact_results: str, processor: str, found: list[str], kernels: list[str]) -> None:
    """What `make sanitize` runs. A level that the processor lacks is not found. Exact results equal this machine's
    to the bit; above neon they come from the same code."""
    wanted = LEVELS[LEVELS.index(found[0]) :]
    command = [QEMU, "-cpu", processor, built / "kernels", *wanted, *kernels]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    digests = levels(done.stdout)
    assert list(digests) == found
    if not kernels:
        assert set(digests.values()) == {exact_results}


@pytest.mark.parametrize(
    ("name", "level", "precision"),
    [
        ("chair", "neon", "fp32"),
        ("person", "neon", "fp32"),
        ("chair", "neon_dotprod", "int8"),
        ("person", "neon_bf16", "int8"),
        ("person", "neon_bf16", "bf16"),
    ],
)
def test_the_embedded_model(built: Path, tmp_path: Path, name: str, level: str, precision: str) -> None:
    """The model that comes with pa3d, from points to labels, against float32 on this machine."""
    parts = (ROOT / "examples" / f"{name}.txt").read_text().split("\n")
    parts = [part for part in parts if part.strip()]
    points, _ = load_shape(ROOT / "examples" / f"{name}.glb").sample(2048)
    points.tofile(tmp_path / "points.f32")
    command = [QEMU, "-cpu", "max", built / "embedded", EMBEDDED, EMBEDDED.parent, tmp_path / "points.f32", precision]
    done = subprocess.run([*command, *parts], env=os.environ | {"PA3D_ISA": level}, capture_output=True)
    assert done.returncode == 0, done.stderr.decode()

    segmenter = Segmenter.from_pretrained(precision="fp32")
    expected = segmenter.encode(points)
    arrays = (
        expected.centers,
        expected.members,
        expected.features,
        segmenter.segment(points, parts, refine=False).labels,
    )
    ends = np.cumsum([array.nbytes for array in arrays])
    assert len(done.stdout) == ends[-1]
    centers, members, features, labels = (
        np.frombuffer(part, array.dtype).reshape(array.shape)
        for part, array in zip(np.split(np.frombuffer(done.stdout, np.uint8), ends[:-1]), arrays, strict=True)
    )
    assert np.array_equal(centers, expected.centers) and np.array_equal(members, expected.members)
    assert np.abs(features - expected.features).max() < (1e-5 if precision == "fp32" else 0.1)
    assert (labels == arrays[3]).mean() >= BOUNDS[precision]
