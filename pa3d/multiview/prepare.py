"""`pa3d prepare`: shapes to shards of training records. Resumable, and the same bytes every time.

`worker` prepares one source, in processes of this machine (pa3d.workers) or on a Ray cluster (pa3d.cluster). `store`
keeps what is done and writes the shards.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from pa3d.cluster import ray_results
from pa3d.errors import InputError
from pa3d.multiview.inputs import Source, list_sources
from pa3d.multiview.job import PrepareOptions, PrepareResult
from pa3d.multiview.store import Store
from pa3d.multiview.worker import PrepareTask
from pa3d.workers import Died, WorkerPool

__all__ = ["PrepareOptions", "Progress", "prepare"]

Progress = Callable[[int, int, int], None]  # shapes done, how many of them failed, shapes in all


def prepare(
    where: str | Path,
    out: str | Path,
    options: PrepareOptions | None = None,
    *,
    workers: int = 1,
    ray: str | None = None,
    fresh: bool = False,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Prepare every shape of `where` (see `list_sources`) into the folder `out`; returns the content of prepare.json.

    workers: processes of one thread each.
    ray: the address of a Ray cluster that does the work instead, or "auto" for the one this machine belongs to.
    fresh: start over. Otherwise an unfinished run of the same job in `out` is continued.
    progress: called after each shape.
    Raises InputError when the options cannot be used, the folder holds something else, another run is writing to it,
    or no shape could be prepared. Shapes that failed are listed under "failed".
    """
    options = options or PrepareOptions()
    if workers < 1:
        raise InputError(f"workers {workers}: expected at least 1")
    sources = list_sources(where, split=options.split)
    with Store(Path(out), options, sources, fresh) as store:
        done = store.result()
        if done is not None:
            return done
        pending = store.pending()
        began = time.perf_counter()
        results: list[PrepareResult] = []
        if progress:
            progress(len(sources) - len(pending), store.num_failed(), len(sources))
        for result in _run_all([(index, sources[index]) for index in pending], options, store, workers, ray):
            if result.fatal:
                raise InputError(result.error)
            store.add(result)
            results.append(replace(result, data=b""))
            if progress:
                progress(store.num_done(), store.num_failed(), len(sources))
        return store.finish(results, time.perf_counter() - began, workers if ray is None else 0)


def _run_all(
    work: Sequence[tuple[int, Source]], options: PrepareOptions, store: Store, workers: int, ray: str | None
) -> Iterator[PrepareResult]:
    task = PrepareTask(options, str(store.folder.absolute()))
    pool = WorkerPool(task, min(workers, len(work)))
    for number, result in pool.run(work) if ray is None else ray_results(task, work, ray):
        index, source = work[number]
        yield PrepareResult(index, error=f"{source}: {result.reason}") if isinstance(result, Died) else result
