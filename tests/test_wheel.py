"""make wheel: one wheel for every Python from 3.11 on, and a source distribution that builds.

Environments are made for each Python that is found: on PATH, and where pyenv and uv put theirs. In them pip takes only
wheels, and there is no compiler on PATH.
"""

from __future__ import annotations

import glob
import os
import re
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.skipif(sys.platform != "linux", reason="manylinux wheels")]
ROOT = Path(__file__).parents[1]
SEGMENT = ["segment", str(ROOT / "examples" / "chair.glb"), "--parts", "seat, back, leg", "--no-pictures", "-q"]


def run(*command: str | Path, **env: str) -> str:
    done = subprocess.run(
        [str(part) for part in command],
        env={**{k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "MAKEFLAGS")}, **env},
        capture_output=True,
        text=True,
        check=False,
        cwd=env.get("PWD", ROOT),
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    return done.stdout


def pythons() -> dict[tuple[int, int], str]:
    """The first working interpreter of each version from 3.11 to 3.14; of this version, the one that runs the tests."""
    pyenv = os.environ.get("PYENV_ROOT", os.path.expanduser("~/.pyenv"))
    uv = os.environ.get("UV_PYTHON_INSTALL_DIR", os.path.expanduser("~/.local/share/uv/python"))
    folders = [*os.environ.get("PATH", "").split(os.pathsep), *glob.glob(f"{pyenv}/versions/*/bin")]
    folders += glob.glob(f"{uv}/*/bin")
    found = {sys.version_info[:2]: sys.executable}
    code = "import sys, venv, ensurepip; print(*sys.version_info[:2], sys.implementation.name, 't' in sys.abiflags)"
    for folder in folders:
        for minor in range(11, 15):
            python = os.path.join(folder, f"python3.{minor}")
            if (3, minor) not in found and os.access(python, os.X_OK):
                done = subprocess.run([python, "-c", code], capture_output=True, text=True, check=False)
                if done.stdout.split() == ["3", str(minor), "cpython", "False"]:
                    found[3, minor] = python
    return found


@pytest.fixture(scope="module")
def dist() -> Iterator[Path]:
    run("make", "-o", ".venv-dev/installed", "wheel", f"DEV={Path(sys.executable).parent}")
    yield ROOT / "dist"


@pytest.fixture(scope="module")
def wheel(dist: Path) -> Path:
    (found,) = dist.glob("*.whl")
    return found


def test_name_size_and_content(wheel: Path) -> None:
    from pa3d import __version__

    assert re.fullmatch(rf"pa3d-{re.escape(__version__)}-cp311-abi3-manylinux_\d_\d+_\w+\.whl", wheel.name)
    assert wheel.stat().st_size < 100e6
    names = zipfile.ZipFile(wheel).namelist()
    assert [name for name in names if name.startswith("pa3d/_C")] == ["pa3d/_C.abi3.so", "pa3d/_C.pyi"]
    assert {name.split("/")[0] for name in names} <= {"pa3d", "pa3d.libs", f"pa3d-{__version__}.dist-info"}


def test_only_the_stable_abi(wheel: Path) -> None:
    run(sys.executable, "-m", "abi3audit", "--strict", wheel)


def install(python: str, where: Path, *what: str | Path, **env: str) -> Path:
    run(python, "-m", "venv", where)
    run(where / "bin" / "python", "-m", "pip", "install", "--no-compile", "--disable-pip-version-check", *what, **env)
    return where / "bin"


@pytest.mark.parametrize("version", [(3, minor) for minor in range(11, 15)], ids=lambda v: f"{v[0]}.{v[1]}")
def test_installs_and_runs_without_a_compiler(version: tuple[int, int], wheel: Path, tmp_path: Path) -> None:
    python = pythons().get(version)
    if python is None:
        pytest.skip(f"no Python {version[0]}.{version[1]}")
    env = {"PATH": "", "PWD": str(tmp_path), "PA3D_CACHE": str(tmp_path / "cache"), "PA3D_ISA": "generic"}
    bin_folder = install(python, tmp_path / "env", "--only-binary", ":all:", wheel, PWD=str(tmp_path))
    run(bin_folder / "pa3d", *SEGMENT, "-o", tmp_path / "out", **env)
    run(sys.executable, "-m", "pa3d.cli", *SEGMENT, "-o", tmp_path / "here", **{**env, "PWD": str(ROOT)})
    assert (tmp_path / "out" / "labels.npz").read_bytes() == (tmp_path / "here" / "labels.npz").read_bytes()


def test_the_source_distribution_builds(dist: Path, tmp_path: Path) -> None:
    """Without optimisation, which takes a third of the time."""
    (source,) = dist.glob("*.tar.gz")
    env = {"PA3D_CXXFLAGS": "-O0", "PA3D_CUDA": "0", "PWD": str(tmp_path)}
    bin_folder = install(sys.executable, tmp_path / "env", source, **env)
    run(bin_folder / "pa3d", *SEGMENT, "-o", tmp_path / "out", PA3D_CACHE=str(tmp_path / "cache"), PWD=str(tmp_path))
    assert (tmp_path / "out" / "labels.npz").is_file()
