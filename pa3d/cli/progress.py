"""Progress on stderr: a spinner and a bar on a terminal, lines elsewhere. rich is imported only when it draws."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

SECONDS_PER_LINE = 10.0  # between two lines, where there is no terminal to draw a bar on


@contextmanager
def spinner(message: str, *, enabled: bool) -> Iterator[None]:
    """A spinner on stderr after the block has run for a second, and only on a terminal."""
    if not enabled or not sys.stderr.isatty():
        yield
        return
    lock = threading.Lock()
    ended = False
    status: Any = None

    def show() -> None:
        nonlocal status
        from rich.console import Console

        with lock:
            if not ended:
                status = Console(stderr=True).status(message)
                status.start()

    timer = threading.Timer(1.0, show)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        with lock:
            ended = True
            if status is not None:
                status.stop()


@contextmanager
def progress_bar(message: str, *, enabled: bool) -> Iterator[Callable[[int, int], None] | None]:
    """A function of (done, total) that moves a bar on stderr; None when disabled or without a terminal."""
    if not enabled or not sys.stderr.isatty():
        yield None
        return
    with _bar(message) as update:
        yield lambda done, total: update(done, total, "")


@contextmanager
def progress_with_rate(message: str, *, enabled: bool) -> Iterator[Callable[[int, int, int], None] | None]:
    """A function of (done, broken, total): moves a bar on a terminal, prints a line now and then elsewhere."""
    if not enabled:
        yield None
    elif sys.stderr.isatty():
        rate = _Rate()
        with _bar(message) as update:
            yield lambda done, broken, total: update(
                done, total, f"{rate(done):.0f} per minute" + (f", {broken} broken" if broken else "")
            )
    else:
        yield _Lines()


@contextmanager
def _bar(message: str) -> Iterator[Callable[[int, int, str], None]]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[note]}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(message, total=None, note="")
        yield lambda done, total, note: bar.update(task, completed=done, total=total, note=note)


class _Rate:
    """Shapes per minute since the first call. Shapes that were done before it, by an earlier run, do not count."""

    def __init__(self) -> None:
        self._first: tuple[float, int] | None = None

    def __call__(self, done: int) -> float:
        now = time.monotonic()
        if self._first is None:
            self._first = (now, done)
        return 60 * (done - self._first[1]) / max(now - self._first[0], 1e-9)


class _Lines:
    """120/500 shapes, 63 per minute, 6 min left"""

    def __init__(self) -> None:
        self._rate = _Rate()
        self._next = 0.0

    def __call__(self, done: int, broken: int, total: int) -> None:
        rate = self._rate(done)
        if time.monotonic() < self._next and done < total:
            return
        self._next = time.monotonic() + SECONDS_PER_LINE
        speed = f", {rate:.0f} per minute, {(total - done) / rate:.1f} min left" if rate > 0 else ""
        print(f"{done}/{total} shapes{speed}" + (f", {broken} broken" if broken else ""), file=sys.stderr, flush=True)
