"""`pa3d prepare --ray`: the same work on a Ray cluster, one task a shape.

Tasks read their source and give back the bytes of its record; they write nothing (but folders of the official layout),
so that Ray may run one again wherever its worker or machine was lost. Shards are written once, by the caller. Sources
must be readable under the same paths, and pa3d installed, on every machine.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from pa3d.errors import InputError
from pa3d.multiview.inputs import Source

_RETRIES = 5

if TYPE_CHECKING:
    from pa3d.multiview.prepare import Outcome, PrepareOptions


def ray_outcomes(
    work: Sequence[tuple[int, Source]], options: PrepareOptions, folder: str, address: str
) -> Iterator[Outcome]:
    """The outcome of every source, in any order; a source whose tasks failed again and again has none.

    address: of a running cluster, or "auto" for the one that this machine belongs to. Raises InputError when Ray is
    not installed or no cluster answers.
    """
    if find_spec("ray") is None:
        raise InputError("--ray needs Ray; pip install 'pa3d[ray]'")
    import ray

    ours = not ray.is_initialized()
    if ours:
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
        if ours:
            ray.shutdown()


def _run(work: Sequence[tuple[int, Source]], options: PrepareOptions, folder: str) -> Iterator[Outcome]:
    import ray

    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.max_errored_blocks = -1  # a task that fails too often costs its own shape, not the job
    rows = [{"index": index, "path": s.path, "member": s.member, "kind": s.kind} for index, s in work]
    data = ray.data.from_items(rows, override_num_blocks=len(rows))
    found = data.map(_Task(options, folder), num_cpus=1, ray_remote_args_fn=_remote_args)
    for row in found.iter_rows():
        yield row["outcome"]


def _remote_args() -> dict[str, Any]:
    """A task whose worker or machine dies runs again, so often; errors of a shape come back as its outcome."""
    return {"max_retries": _RETRIES}


class _Task:
    """What runs on a worker. Pickled by Ray with the options, loaded by name there."""

    def __init__(self, options: PrepareOptions, folder: str) -> None:
        self._options, self._folder = options, folder

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        from pa3d.multiview.prepare import outcome_of

        source = Source(row["path"], row["member"], row["kind"])
        return {"outcome": outcome_of(int(row["index"]), source, self._options, self._folder)}
