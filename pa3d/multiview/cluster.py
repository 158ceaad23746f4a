"""`pa3d prepare --ray`: the same work on a Ray cluster, one task per shape.

A task reads its source and returns the bytes of its record. It writes nothing, apart from folders of the official
layout, so Ray may run it again when its worker or machine is lost. The caller alone writes the shards. On every machine
pa3d must be installed, and the sources must be readable under the same paths.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from typing import Any

from pa3d.errors import InputError
from pa3d.multiview.inputs import Source
from pa3d.multiview.job import PrepareOptions, PrepareResult
from pa3d.multiview.worker import prepare_source

_RETRIES = 5


def ray_results(
    work: Sequence[tuple[int, Source]], options: PrepareOptions, folder: str, address: str
) -> Iterator[PrepareResult]:
    """The result of every source, in any order. A source whose task failed in every retry has none.

    work: index and source. address: of a running cluster, or "auto" for the one this machine belongs to.
    Raises InputError when Ray is not installed or no cluster answers.
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
        yield from _run(work, options, folder)
    finally:
        if started_here:
            ray.shutdown()


def _run(work: Sequence[tuple[int, Source]], options: PrepareOptions, folder: str) -> Iterator[PrepareResult]:
    import ray

    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.max_errored_blocks = -1  # a task that fails too often loses its own shape, not the whole job
    rows = [{"index": index, "path": s.path, "member": s.member, "kind": s.kind} for index, s in work]
    data = ray.data.from_items(rows, override_num_blocks=len(rows))
    results = data.map(_Task(options, folder), num_cpus=1, ray_remote_args_fn=_remote_args)
    for row in results.iter_rows():
        yield row["result"]


def _remote_args() -> dict[str, Any]:
    """How often a task runs again when its worker or machine dies. Errors of a shape are part of its result."""
    return {"max_retries": _RETRIES}


class _Task:
    """What runs on a worker. Ray pickles it with the options."""

    def __init__(self, options: PrepareOptions, folder: str) -> None:
        self._options, self._folder = options, folder

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        source = Source(row["path"], row["member"], row["kind"])
        return {"result": prepare_source(int(row["index"]), source, self._options, self._folder)}
