"""Where the time goes: seconds per stage, percentiles over calls, and traces for Chrome's viewer.

With PA3D_TRACE=file.json in the environment, every stage becomes an event, and the file is written when the process
ends. Open it in chrome://tracing or ui.perfetto.dev. If the file already holds a trace, the events are added to it.
"""

from __future__ import annotations

import atexit
import json
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

PERCENTILES = (50, 90, 99)


class Stopwatch:
    """Seconds per stage. Each stage is also an event of the trace, if there is one."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._starts: dict[str, float] = {}

    @contextmanager
    def __call__(self, stage: str) -> Iterator[None]:
        start = self._starts[stage] = time.perf_counter()
        try:
            yield
        finally:
            self._add(stage, start, time.perf_counter() - start)

    def split(self, stage: str, seconds: Mapping[str, float]) -> None:
        """Add parts of a stage, which ran in this order from the start of the stage and were measured elsewhere."""
        start = self._starts[stage]
        for part, spent in seconds.items():
            self._add(f"{stage}.{part}", start, spent)
            start += spent

    def _add(self, stage: str, start: float, spent: float) -> None:
        self.seconds[stage] = self.seconds.get(stage, 0.0) + spent
        if _trace is not None:
            _trace.add(stage, start, spent)


class Trace:
    """Events of this process in Chrome's trace format, microseconds since 1970."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.events: list[dict[str, Any]] = []
        self._offset = time.time() - time.perf_counter()

    def add(self, name: str, start: float, seconds: float) -> None:
        """Add a stage of the calling thread; start is a value of time.perf_counter()."""
        event = {"name": name, "cat": "pa3d", "ph": "X", "pid": os.getpid(), "tid": threading.get_native_id()}
        times = {"ts": round(1e6 * (start + self._offset), 3), "dur": round(1e6 * seconds, 3)}
        self.events.append(event | times)

    def write(self) -> None:
        """Add the events to the file. A file that is not a trace is left as it is, with a message on stderr."""
        from pa3d.atomic import atomic_write
        from pa3d.errors import InputError

        try:
            before = json.loads(self.path.read_bytes())["traceEvents"] if self.path.exists() else []
            with atomic_write(self.path, "w") as file:
                json.dump({"traceEvents": before + self.events, "displayTimeUnit": "ms"}, file)
        except (InputError, OSError) as error:
            print(f"PA3D_TRACE: {error}", file=sys.stderr)
        except (ValueError, KeyError, TypeError):
            print(f"PA3D_TRACE={self.path}: holds something other than a trace; not written", file=sys.stderr)
        else:
            self.events = []


def _start_trace() -> Trace | None:
    path = os.environ.get("PA3D_TRACE")
    if not path:
        return None
    trace = Trace(path)
    atexit.register(trace.write)
    return trace


_trace = _start_trace()


def measure(call: Callable[[], Mapping[str, float]], calls: int) -> list[dict[str, float]]:
    """Seconds per stage of each of `calls` calls of a function that returns them; "all" is the whole call."""
    out = []
    for _ in range(calls):
        start = time.perf_counter()
        timings = call()
        out.append({**timings, "all": time.perf_counter() - start})
    return out


def percentiles(calls: Sequence[Mapping[str, float]]) -> dict[str, dict[str, float]]:
    """{stage: {"p50": seconds, "p90": ..., "p99": ...}}, each one of the measured values (nearest rank)."""
    out = {}
    for stage in calls[0]:
        sorted_seconds = sorted(call[stage] for call in calls)
        ranks = {f"p{p}": -(-len(sorted_seconds) * p // 100) for p in PERCENTILES}
        out[stage] = {name: sorted_seconds[rank - 1] for name, rank in ranks.items()}
    return out


def table(columns: Mapping[str, Mapping[str, float]]) -> str:
    """{column: {stage: seconds}} as text in milliseconds, one row per stage. Parts of a stage are indented below it."""
    stages = list(next(iter(columns.values())))
    rows = [["stage", *(f"{column} ms" for column in columns)]]
    for stage in sorted(stages, key=lambda stage: (stages.index(stage.split(".")[0]), "." in stage)):
        name = "  " + stage.split(".", 1)[1] if "." in stage else stage
        rows.append([name, *(f"{1e3 * column[stage]:.3f}" for column in columns.values())])
    return "\n".join(f"{row[0]:<12}" + "".join(f"{cell:>12}" for cell in row[1:]) for row in rows)
