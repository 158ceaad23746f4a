"""Makes an index of many files, or brings one up to date. Workers compute the vectors, and one process writes."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from pa3d.errors import InputError, failure_reason
from pa3d.search.index_file import IndexFile, Row, write_index
from pa3d.search.vectors import EmbedOptions, ShapeVectors, embed_shape, index_facts
from pa3d.segment import Segmenter
from pa3d.workers import Died, WorkerPool

LOOK_AHEAD = 4  # results per worker that may wait for an earlier one
SAVE_EVERY = 10_000  # new shapes, after which the index is written, so that a run that is killed loses no more

Progress = Callable[[int, int, int], None]  # files done, how many of them failed, files in all
State = tuple[int, int]  # the size of a file in bytes, and its time of modification in nanoseconds


def embed_files(
    files: Iterable[str | os.PathLike[str]],
    segmenter: Segmenter,
    index: str | os.PathLike[str],
    options: EmbedOptions | None = None,
    *,
    workers: int = 1,
    fresh: bool = False,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Write an index of shapes; returns counts, what is gone, failures and seconds.

    If there is an index, the files are added to it: only those are embedded that are new or whose size or time of
    modification has changed, also of those that are in it already. Files that do not exist any more are dropped.
    options: None takes those of the index.
    workers: processes of one thread each. fresh: replace an index instead of adding to it.
    progress: called after each file.
    Raises InputError when the model cannot embed shapes, the index was made by another model or with other options, or
    it cannot be written. Files that fail are listed under "failed", and are not in the index.
    """
    if workers < 1:
        raise InputError(f"workers {workers}: expected at least 1")
    start = time.perf_counter()
    earlier = None if fresh or not os.path.exists(index) else IndexFile(index)
    if options is None:
        options = EmbedOptions() if earlier is None else earlier.options
    facts = index_facts(segmenter, options)
    if earlier is not None:
        earlier.check_made_with(facts)
    known = {} if earlier is None else {path: i for i, path in enumerate(earlier.paths)}
    gone = [path for path in known if not os.path.isfile(path)]
    paths = sorted({os.path.abspath(file) for file in files} | (known.keys() - set(gone)))
    states = {path: _state(path) for path in paths}
    pending = [path for path in paths if path not in known or states[path] != _state_in(earlier, known[path])]
    done, failed = len(paths) - len(pending), dict[str, str]()
    if progress:
        progress(done, 0, len(paths))

    def rows(chunk: set[str], results: Iterator[ShapeVectors | str]) -> Iterator[Row]:
        """The rows of the index with those of the files in `chunk`; results are theirs, or why there is none."""
        nonlocal done
        for path in paths:
            if path in chunk:
                found = next(results)
                done += 1
                if isinstance(found, str):
                    failed[path] = found
                else:
                    yield Row(path, *states[path], found)
                if progress:
                    progress(done, len(failed), len(paths))
            elif earlier is not None and path in known and _state_in(earlier, known[path]) == states[path]:
                yield Row(path, *states[path], earlier.vectors(known[path]))

    shapes = len(known)
    if pending or gone:
        task = _EmbedFile(segmenter, options)
        for first in range(0, max(len(pending), 1), SAVE_EVERY):
            chunk = pending[first : first + SAVE_EVERY]
            shapes = write_index(index, facts, rows(set(chunk), _results(task, chunk, workers)))
            if shapes:
                earlier = IndexFile(index)
                known = {path: i for i, path in enumerate(earlier.paths)}
    return {
        "files": len(paths),
        "shapes": shapes,
        "new": len(pending) - len(failed),
        "gone": gone,
        "failed": [{"file": path, "reason": reason} for path, reason in failed.items()],
        "seconds": time.perf_counter() - start,
        "workers": min(workers, max(len(pending), 1)),
    }


def _state(path: str) -> State:
    try:
        found = os.stat(path)
        return found.st_size, found.st_mtime_ns
    except OSError:  # the reader will say why
        return -1, -1


def _state_in(index: IndexFile | None, row: int) -> State | None:
    return None if index is None else (int(index.sizes[row]), int(index.modified[row]))


def _results(task: _EmbedFile, paths: list[str], workers: int) -> Iterator[ShapeVectors | str]:
    if not paths:
        return
    workers = min(workers, len(paths))
    for _, result in WorkerPool(task, workers).run(paths, look_ahead=LOOK_AHEAD * workers):
        yield result.reason if isinstance(result, Died) else result


class _EmbedFile:
    """The vectors of one file, or why there are none: the function of a worker."""

    def __init__(self, segmenter: Segmenter, options: EmbedOptions) -> None:
        self._segmenter, self._options = segmenter, options

    def __call__(self, file: str) -> ShapeVectors | str:
        try:
            return embed_shape(self._options.open(self._segmenter, file))
        except Exception as error:
            reason = failure_reason(error, file)
            for name in (file, Path(file).name):  # it is listed beside the path
                reason = reason.removeprefix(f"{name}: ")
            return reason
