"""Worker processes: every task comes out once, in any order or in that of the tasks, though workers die."""

from __future__ import annotations

import os
import pickle
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pa3d.workers import ATTEMPTS, Died, WorkerPool


def square(task: Any) -> Any:
    """task: a number, or what to do instead of answering."""
    if task == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    if task == "exit":
        os._exit(7)
    if task == "raise":
        raise KeyError("no such thing")
    if task == "raise unpicklable":
        raise type("Local", (ValueError,), {})("never seen there")
    if task == "unpicklable":
        return lambda: None
    if isinstance(task, Path):  # dies the first time only
        if not task.exists():
            task.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return "second try"
    if isinstance(task, float):
        time.sleep(task)
    return task * task


class Count:
    """How many tasks this copy has had."""

    def __init__(self) -> None:
        self.tasks = 0

    def __call__(self, task: int) -> int:
        self.tasks += 1
        return self.tasks


def test_every_task_once(tmp_path: Path) -> None:
    tasks = [1, "die", 3, tmp_path / "once", "exit", 6]
    found = list(WorkerPool(square, 2).run(tasks))
    assert sorted(number for number, _ in found) == list(range(6))
    results = dict(found)
    assert [results[i] for i in (0, 2, 3, 5)] == [1, 9, "second try", 36]
    assert results[1] == Died(f"killed its worker {ATTEMPTS} times (SIGKILL; it may need too much memory)")
    assert results[4] == Died(f"ended its worker {ATTEMPTS} times (exit code 7)")


def test_results_in_order_and_few_ahead(tmp_path: Path) -> None:
    taken: list[Any] = []

    def tasks() -> Iterator[Any]:
        for task in [0.5, 1, 2, tmp_path / "once", "die", 5, 6, 7, 8, 9, 10]:
            taken.append(task)
            yield task

    given = []
    for number, _ in WorkerPool(square, 2).run(tasks(), look_ahead=4):
        assert len(taken) <= number + 1 + 4
        given.append(number)
    assert given == list(range(11))


def test_a_worker_keeps_its_function() -> None:
    assert sorted(result for _, result in WorkerPool(Count(), 1).run(range(3))) == [1, 2, 3]


def test_no_tasks_no_worker() -> None:
    pool = WorkerPool(square, 2)
    assert list(pool.run([])) == [] and not pool._idle


@pytest.mark.parametrize(
    ("task", "error", "message"),
    [
        ("raise", KeyError, "no such thing"),
        ("raise unpicklable", RuntimeError, "Local: never seen there"),
        ("unpicklable", RuntimeError, "a result cannot be pickled: "),
    ],
)
def test_what_a_task_raises_ends_the_run(task: str, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message) as raised:
        list(WorkerPool(square, 1).run([task]))
    assert task == "unpicklable" or "in square" in raised.value.__notes__[0]  # where it happened


def test_the_workers_end_with_the_run() -> None:
    pool = WorkerPool(square, 2)
    results = pool.run([0.0, 0.1, 60.0])
    next(results)
    processes = [process for process, _ in pool._busy.values()]
    results.close()  # type: ignore[attr-defined]
    assert processes and not any(process.is_alive() for process in processes)


def test_a_function_that_cannot_be_sent() -> None:
    with pytest.raises((pickle.PicklingError, AttributeError)):
        list(WorkerPool(lambda task: task, 1).run([1]))
