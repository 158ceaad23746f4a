"""Tasks in worker processes of one thread each. A worker that dies is replaced, and its task is tried again.

pa3d.cluster runs the same tasks on a Ray cluster.
"""

from __future__ import annotations

import multiprocessing
import pickle
import signal
import traceback
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from typing import Any

from pa3d.threads import one_thread_in_children

ATTEMPTS = 3  # for a task whose worker dies, before it is given up


@dataclass(frozen=True)
class Died:
    """What comes instead of the result of a task whose worker died each time. reason: in words."""

    reason: str


class WorkerPool:
    """Processes that call a function, each on one task at a time.

    function: may be pickled; each worker gets a copy when it starts, and keeps it. It should return errors that belong
    to its task, because one that it raises ends the run.
    """

    def __init__(self, function: Callable[[Any], Any], workers: int) -> None:
        self._function, self._workers = function, workers
        self._context = multiprocessing.get_context("spawn")
        self._idle: list[tuple[Connection, Any]] = []
        self._busy: dict[Connection, tuple[Any, tuple[int, Any]]] = {}
        self._attempts: dict[int, int] = {}
        self._again: deque[tuple[int, Any]] = deque()

    def run(self, tasks: Iterable[Any], look_ahead: int | None = None) -> Iterator[tuple[int, Any]]:
        """The number and the result of every task, or Died.

        Tasks are taken one by one as workers become free. Results come as tasks end. With look_ahead they come in the
        order of the tasks, and no task starts that is so many after the next result, so that few results wait.
        """
        numbered, ended, given, taken = enumerate(tasks), False, 0, 0
        waiting: dict[int, Any] = {}  # results whose turn has not come
        task: tuple[int, Any] | None
        try:
            while True:
                while len(self._busy) < self._workers:
                    if self._again:
                        task = self._again.popleft()
                    elif look_ahead is not None and taken >= given + look_ahead:
                        break
                    elif (task := next(numbered, None)) is None:
                        ended = True
                        break
                    taken = max(taken, task[0] + 1)
                    self._give(task)
                for number, result in list(waiting.items()) if look_ahead is None else _in_turn(waiting, given):
                    del waiting[number]
                    given += 1
                    yield number, result
                if self._busy:
                    waiting |= self._received()
                elif ended and not self._again:
                    return
        finally:
            processes = [*self._idle, *((pipe, process) for pipe, (process, _) in self._busy.items())]
            for _, process in processes:
                process.kill()
            for pipe, process in processes:
                process.join()
                pipe.close()

    def _give(self, task: tuple[int, Any]) -> None:
        if not self._idle:
            parent_end, child_end = self._context.Pipe()
            process = self._context.Process(target=_worker_loop, args=(child_end, self._function), daemon=True)
            with one_thread_in_children():
                process.start()
            child_end.close()
            self._idle.append((parent_end, process))
        pipe, process = self._idle.pop()
        self._busy[pipe] = (process, task)
        with suppress(OSError):  # it has died; recv will say so
            pipe.send(task[1])

    def _received(self) -> dict[int, Any]:
        """The results that are there, at least one unless a worker has died."""
        results = {}
        for pipe in wait(list(self._busy)):
            assert isinstance(pipe, Connection)
            process, task = self._busy.pop(pipe)
            try:
                is_result, answer = pipe.recv()
            except (EOFError, OSError):
                process.join()
                pipe.close()
                number = task[0]
                self._attempts[number] = self._attempts.get(number, 0) + 1
                if self._attempts[number] < ATTEMPTS:
                    self._again.append(task)
                else:
                    results[number] = Died(_death(process.exitcode))
                continue
            self._idle.append((pipe, process))
            if not is_result:
                raise answer
            results[task[0]] = answer
        return results


def _in_turn(waiting: dict[int, Any], given: int) -> Iterator[tuple[int, Any]]:
    while given in waiting:
        yield given, waiting[given]
        given += 1


def _worker_loop(pipe: Connection, function: Callable[[Any], Any]) -> None:
    """The loop of a worker, until its parent closes the pipe or dies."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent handles an interrupt
    with suppress(EOFError, OSError):
        while True:
            result = answer(function, pipe.recv())
            try:
                pipe.send(result)
            except (pickle.PicklingError, AttributeError, TypeError) as error:  # before anything was sent
                pipe.send((False, RuntimeError(f"a result cannot be pickled: {error}")))


def answer(function: Callable[[Any], Any], task: Any) -> tuple[bool, Any]:
    """What a worker sends for a task: True and the result, or False and the exception."""
    try:
        return True, function(task)
    except Exception as error:
        text = "".join(traceback.format_exception(error))
        try:
            pickle.loads(pickle.dumps(error))
        except Exception:
            error = RuntimeError(f"{type(error).__name__}: {error}")
        error.add_note(f"in a worker:\n{text}")
        return False, error


def _death(code: int | None) -> str:
    if code is not None and code < 0:
        return f"killed its worker {ATTEMPTS} times ({signal.Signals(-code).name}; it may need too much memory)"
    return f"ended its worker {ATTEMPTS} times (exit code {code})"
