"""For `pytest bench/bench_fps.py`: each row is a competitor in a race (bench/_common.py)."""

from __future__ import annotations

from typing import Any

import pytest


@pytest.fixture(scope="session", autouse=True)
def _threads() -> None:
    from _common import use_threads

    use_threads()


def pytest_benchmark_update_machine_info(config: Any, machine_info: dict[str, Any]) -> None:
    from _common import machine, roofline

    machine_info["pa3d"] = machine() | {"roofline": roofline()}
