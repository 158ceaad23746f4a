"""Fixtures that several test modules share."""

from __future__ import annotations

import contextlib
import importlib
import os
import subprocess
import sys
import types
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from levels import LEVELS


@pytest.fixture(scope="session")
def shared() -> Path:
    """Research shapes outside the repository; PA3D_SHARED says where they lie (default ../shared)."""
    root = Path(os.environ.get("PA3D_SHARED", Path(__file__).resolve().parents[2] / "shared"))
    if not (root / "data" / "eval").is_dir():
        pytest.skip(f"research data not found at {root}; set PA3D_SHARED")
    return root


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Text vectors of tests stay out of the user's cache."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PA3D_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session")
def ray_address() -> Iterator[str]:
    """Two nodes of one processor each, which import pa3d and the tests from here."""
    pytest.importorskip("ray")
    from ray.cluster_utils import Cluster

    root = Path(__file__).resolve().parents[1]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join([str(root), str(root / "tests")]))
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
        cluster.add_node(num_cpus=1)
        try:
            yield cluster.address
        finally:
            cluster.shutdown()


@pytest.fixture(scope="session")
def capi_build(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with libpa3d.so, built by make: the kernels once more, without Python."""
    out = tmp_path_factory.mktemp("capi")
    make = ["make", "-s", "-j", str(os.cpu_count() or 1), "-f", "csrc/capi.mk", f"CAPI_OUT={out}", "capi"]
    subprocess.run(make, cwd=Path(__file__).resolve().parents[1], check=True)
    return out


@contextmanager
def pinned(level: str) -> Iterator[None]:
    from pa3d import _C

    before = _C.isa()
    if not _C.set_isa(level):
        pytest.skip(f"this processor has {_C.best_isa()}")
    yield
    _C.set_isa(before)


@pytest.fixture(params=LEVELS)
def isa(request: pytest.FixtureRequest) -> Iterator[str]:
    """Every level of the processor, one after the other; those it lacks are skipped."""
    with pinned(request.param):
        yield request.param


@pytest.fixture
def training_kernels() -> Iterator[None]:
    """A level with kernels of training, which the generic level leaves to torch; PA3D_ISA may have chosen that one."""
    from pa3d import _C

    with pinned(LEVELS[1] if _C.isa() == "generic" else _C.isa()):
        yield


@pytest.fixture(params=[*((level, False) for level in LEVELS), (LEVELS[-1], True)], ids=str)
def operands(request: pytest.FixtureRequest) -> Iterator[tuple[str, bool]]:
    """Every level with float32 operands, and the last, which alone has them, with bf16."""
    with pinned(request.param[0]):
        yield request.param


@pytest.fixture(scope="session")
def cuda_host_library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """csrc/cuda, all of it, built by the host compiler; PA3D_CUDA_HOST_LIBRARY names one that is already built."""
    import cuda_host

    given = os.environ.get("PA3D_CUDA_HOST_LIBRARY")
    if not sys.platform.startswith("linux") or (given is None and cuda_host.compiler() is None):
        pytest.skip("the shim needs Linux and a C++ compiler")
    return Path(given) if given else cuda_host.build(tmp_path_factory.mktemp("cuda_host"))


@pytest.fixture
def kernels(cuda_host_library: Path) -> Any:
    """The CUDA kernels on the CPU, with numpy arrays."""
    import cuda_host

    out = cuda_host.Kernels(cuda_host_library)
    out.seed(1)
    return out


@pytest.fixture
def torch_on_host(kernels: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """torch, with pa3d.ops on the CUDA kernels that the host runs: tensors on the CPU stand for those of a GPU."""
    torch = pytest.importorskip("torch")
    from cuda_host import workspace

    from pa3d.ops import arrays
    from pa3d.ops.backends import cuda

    def host_workspace(like: object, name: str, *sizes: int) -> Any:
        return torch.from_numpy(workspace(kernels.bytes_for(name, *sizes)))

    monkeypatch.setattr(cuda, "DEVICE", "cpu")
    monkeypatch.setattr(cuda, "library", lambda: kernels.library)
    monkeypatch.setattr(cuda, "unavailable_reason", lambda: None)
    monkeypatch.setattr(cuda, "_workspace", host_workspace)
    monkeypatch.setattr(torch.cuda, "device", lambda _: contextlib.nullcontext())
    monkeypatch.setattr(torch.cuda, "current_stream", lambda _: types.SimpleNamespace(cuda_stream=0))
    for name in ("checks", "backproject", "rasterize"):
        monkeypatch.setattr(importlib.import_module(f"pa3d.ops.{name}"), "is_cuda", arrays.is_tensor)
    monkeypatch.setenv("PA3D_BACKEND", "cuda")
    return torch
