"""Where the time goes: seconds a stage, percentiles over calls, and traces for Chrome's viewer.

With PA3D_TRACE=file.json in the environment every stage becomes an event, and the file is written when the process
ends; open it in chrome://tracing or ui.perfetto.dev. Events are added to those of a trace that is there already.
"""

from __future__ import annotations

import atexit
import json
import os
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pa3d.segment import Segmenter
    from pa3d.shape import Shape

PERCENTILES = (50, 90, 99)


class Stopwatch:
    """Seconds a stage; each is an event of the trace, too, when there is one."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._began: dict[str, float] = {}

    @contextmanager
    def __call__(self, stage: str) -> Iterator[None]:
        start = self._began[stage] = time.perf_counter()
        try:
            yield
        finally:
            self._add(stage, start, time.perf_counter() - start)

    def split(self, stage: str, seconds: Mapping[str, float]) -> None:
        """Parts of a stage that ran in this order from its beginning, measured by whoever ran them."""
        start = self._began[stage]
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
        """A stage of the calling thread; start as time.perf_counter() tells it."""
        event = {"name": name, "cat": "pa3d", "ph": "X", "pid": os.getpid(), "tid": threading.get_native_id()}
        at = {"ts": round(1e6 * (start + self._offset), 3), "dur": round(1e6 * seconds, 3)}
        self.events.append(event | at)

    def write(self) -> None:
        """Add the events to the file. What is no trace is left as it is, with a word on stderr."""
        from pa3d.atomic import atomic_write
        from pa3d.errors import InputError

        try:
            before = json.loads(self.path.read_bytes())["traceEvents"] if self.path.exists() else []
            with atomic_write(self.path, "w") as file:
                json.dump({"traceEvents": before + self.events, "displayTimeUnit": "ms"}, file)
        except (InputError, OSError) as error:
            print(f"PA3D_TRACE: {error}", file=sys.stderr)
        except (ValueError, KeyError, TypeError):
            print(f"PA3D_TRACE={self.path}: holds something else than a trace; not written", file=sys.stderr)
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


def measure(
    segmenter: Segmenter, shape: Shape, parts: Sequence[str], calls: int, **options: Any
) -> list[dict[str, float]]:
    """Seconds a stage of each of `calls` calls of segment; "all" is the whole call."""
    out = []
    for _ in range(calls):
        start = time.perf_counter()
        timings = segmenter.segment(shape, parts, **options).timings
        out.append({**timings, "all": time.perf_counter() - start})
    return out


def percentiles(calls: Sequence[Mapping[str, float]]) -> dict[str, dict[str, float]]:
    """{stage: {"p50": seconds, "p90": ..., "p99": ...}}, each a value that was measured (nearest rank)."""
    out = {}
    for stage in calls[0]:
        sorted_seconds = sorted(call[stage] for call in calls)
        ranks = {f"p{p}": -(-len(sorted_seconds) * p // 100) for p in PERCENTILES}
        out[stage] = {name: sorted_seconds[rank - 1] for name, rank in ranks.items()}
    return out


def table(columns: Mapping[str, Mapping[str, float]]) -> str:
    """{column: {stage: seconds}} in milliseconds, a stage a row; parts of a stage stand indented below it."""
    stages = list(next(iter(columns.values())))
    rows = [["stage", *(f"{column} ms" for column in columns)]]
    for stage in sorted(stages, key=lambda stage: (stages.index(stage.split(".")[0]), "." in stage)):
        name = "  " + stage.split(".", 1)[1] if "." in stage else stage
        rows.append([name, *(f"{1e3 * column[stage]:.3f}" for column in columns.values())])
    return "\n".join(f"{row[0]:<12}" + "".join(f"{cell:>12}" for cell in row[1:]) for row in rows)
