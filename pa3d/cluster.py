"""The tasks of pa3d.workers on a Ray cluster.

A task returns its result and writes nothing, so Ray may run it again when its worker or machine is lost. On every
machine pa3d must be installed, and files must be readable under the same paths.
"""

from __future__ import annotations

import logging
import os
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from importlib.util import find_spec
from typing import Any

from pa3d.errors import InputError
from pa3d.workers import Died, answer

RETRIES = 5  # when the worker or the machine of a task is lost
QUEUED = 3  # tasks submitted per processor, so that none waits for the next


def ray_results(function: Callable[[Any], Any], tasks: Iterable[Any], address: str) -> Iterator[tuple[int, Any]]:
    """The number and the result of every task as they end, or Died.

    address: of a running cluster, or "auto" for the one this machine belongs to.
    Raises InputError when Ray is not installed or no cluster answers, and what the function raises.
    """
    if find_spec("ray") is None:
        raise InputError("--ray needs Ray; pip install 'pa3d[ray]'")
    import ray

    started_here = not ray.is_initialized()
    if started_here:
        try:
            ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
        except (ConnectionError, ValueError, RuntimeError) as error:
            raise InputError(
                f"--ray {address}: no Ray cluster answers ({' '.join(str(error).split())[:120]}); start one with "
                "`ray start --head` and give its address"
            ) from error
    try:
        yield from _run(function, tasks)
    finally:
        if started_here:
            ray.shutdown()


def _run(function: Callable[[Any], Any], tasks: Iterable[Any]) -> Iterator[tuple[int, Any]]:
    import ray

    stored = [ray.put(function)]  # in a list, because Ray would send the function itself with every task
    remote = ray.remote(num_cpus=1, max_retries=RETRIES)(_answer)
    limit = max(QUEUED, QUEUED * int(ray.cluster_resources().get("CPU", 1)))
    running: dict[Any, tuple[int, Any]] = {}
    failures: Counter[int] = Counter()  # by task: of its worker, before it began
    numbered = enumerate(tasks)
    while True:
        while len(running) < limit and (task := next(numbered, None)) is not None:
            running[remote.remote(stored, task[1])] = task
        if not running:
            return
        for reference in ray.wait(list(running))[0]:
            task = running.pop(reference)
            try:
                is_result, value = ray.get(reference)
            except ray.exceptions.RayError as error:
                if isinstance(error, ray.exceptions.RayTaskError) and failures[task[0]] < RETRIES:
                    failures[task[0]] += 1
                    running[remote.remote(stored, task[1])] = task
                    continue
                is_result, value = True, Died(_reason(error))
            if not is_result:
                raise value
            failures.pop(task[0], None)
            yield task[0], value


def _reason(error: Exception) -> str:
    """What Ray says of a task that gave no result, in one line."""
    import ray

    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    if isinstance(
        error, ray.exceptions.RayTaskError
    ):  # an error of Ray or of unpickling, because answer() returns ours
        return f"could not begin, {RETRIES + 1} times ({lines[-1][:300]})"
    return f"was lost with its worker {RETRIES + 1} times ({lines[0][:300]})"


_functions: dict[Any, Callable[[Any], Any]] = {}  # that this process got, so that a model is loaded once


def _answer(stored: list[Any], task: Any) -> tuple[bool, Any]:
    import ray

    (reference,) = stored
    if reference not in _functions:
        _functions.clear()
        try:
            _functions[reference] = ray.get(reference)
        except Exception:
            # The state of this process may be the reason: it ends after its reply, and the next task gets another.
            threading.Timer(1, os._exit, (1,)).start()
            raise
    return answer(_functions[reference], task)
