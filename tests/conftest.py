"""Fixtures that several test modules share."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


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


LEVELS = ("generic", "avx2", "avx512", "avx512_bf16")


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


@pytest.fixture(params=[*((level, False) for level in LEVELS), (LEVELS[-1], True)], ids=str)
def operands(request: pytest.FixtureRequest) -> Iterator[tuple[str, bool]]:
    """Every level with float32 operands, and the last, which alone has them, with bf16."""
    with pinned(request.param[0]):
        yield request.param
