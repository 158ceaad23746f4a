"""Fixtures that several test modules share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def shared() -> Path:
    """Research shapes that are not part of the repository; PA3D_SHARED says where they lie (default ../shared)."""
    root = Path(os.environ.get("PA3D_SHARED", Path(__file__).resolve().parents[2] / "shared"))
    if not (root / "data" / "eval").is_dir():
        pytest.skip(f"research data not found at {root}; set PA3D_SHARED")
    return root
