"""What nvcc makes of csrc/cuda, where there is one; and how the report works things out."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).resolve().parents[1] / "scripts"
sys.path.append(str(SCRIPTS))

import cuda_report  # noqa: E402


def test_occupancy_by_hand():
    limits = cuda_report.ARCHITECTURES["sm_90"]  # 64 warps, 65,536 registers, 228 KB
    occupancy = cuda_report.occupancy
    assert occupancy(256, cuda_report.Usage(32, 0, 0), limits) == 1.0  # 8 warps of 1,024 registers: 8 blocks
    assert occupancy(256, cuda_report.Usage(33, 0, 0), limits) == 0.75  # 40 a thread are handed out: 6 blocks
    assert occupancy(256, cuda_report.Usage(32, 0, 100 << 10), limits) == 0.25  # 101 KB a block: 2 blocks


def test_a_table_is_replaced_between_its_markers():
    text = "before <!-- x:begin -->old<!-- x:end --> after"
    assert cuda_report.replaced(text, "x", "new") == "before <!-- x:begin -->\nnew\n<!-- x:end --> after"
    with pytest.raises(SystemExit, match="the markers <!-- y:begin --> and <!-- y:end --> are missing"):
        cuda_report.replaced(text, "y", "new")


def test_without_nvcc_it_says_so():
    bare = {**os.environ, "PATH": str(Path(sys.executable).parent), "NVCC": ""}
    if shutil.which("nvcc", path=bare["PATH"]):
        pytest.skip("nvcc lies beside Python")
    command = [sys.executable, str(SCRIPTS / "cuda_report.py"), "--check"]
    done = subprocess.run(command, env=bare, capture_output=True, text=True)
    assert done.returncode == 1 and "nvcc not found: install the CUDA toolkit" in done.stderr


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("nvcc") is None, reason="nvcc is not installed")
def test_every_kernel_compiles_without_warnings_and_spills():
    command = [sys.executable, str(SCRIPTS / "cuda_report.py"), "--check", "--no-triton"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "CUDA kernels; no spills" in done.stderr
