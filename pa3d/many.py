"""Many shapes through one Segmenter, in this process or in workers. The names are encoded once."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from pa3d.errors import InputError
from pa3d.workers import Died, WorkerPool

LOOK_AHEAD = 4  # results per worker that may wait for an earlier one


def segment_many(
    segmenter: Any,
    shapes: Iterable[Any],
    parts: Sequence[str],
    *,
    workers: int = 0,
    return_exceptions: bool = False,
    category: str | None = None,
    text_vectors: Any = None,
    **options: Any,
) -> Iterator[Any]:
    """The results of many shapes, in their order, each as Segmenter.segment gives it.

    shapes: anything that can be iterated over, also without end. Only a few shapes are taken ahead of the results.
    workers: processes of one thread each; 0 uses this process and its threads. A worker that dies costs only its
        shape.
    return_exceptions: give the exception in place of the result of a shape that cannot be segmented, and go on.
    The other arguments are those of Segmenter.segment.
    Raises InputError for names or vectors that cannot be used and TypeError for an unknown option at once, not when
    the first result is asked for.
    """
    if isinstance(workers, bool) or not isinstance(workers, int) or workers < 0:
        raise InputError(f"workers is {workers!r}; expected a number of processes, 0 for none but this")
    if isinstance(shapes, str | Path):
        raise InputError(f"{shapes}: one path; give a list of them, or use segment")
    inspect.signature(segmenter.segment).bind("", parts, **options)
    prepared, vectors = with_names(segmenter, parts, category, text_vectors)
    task = _Segment(prepared, parts, {"category": category, "text_vectors": vectors, **options}, return_exceptions)
    return map(task, shapes) if workers == 0 else _from_workers(task, shapes, workers)


def with_names(segmenter: Any, parts: Sequence[str], category: str | None, text_vectors: Any) -> tuple[Any, Any]:
    """A copy of the Segmenter, which may be pickled, that knows the vectors of the names; and text_vectors, read.

    The copy needs no text encoder for these names, wherever it is used. Raises InputError for names or vectors that
    cannot be used.
    """
    from pa3d.text.vectors import TextVectors

    if isinstance(text_vectors, str | Path):
        text_vectors = TextVectors.load(text_vectors)
    vectors = segmenter.part_vectors(parts, category, text_vectors)
    segmenter = copy.copy(segmenter)
    if text_vectors is None:
        space = segmenter.checkpoint.text_space
        segmenter._vocabulary = TextVectors(tuple(parts), vectors, space, category)
    return segmenter, text_vectors


class _Segment:
    """The result of one source: the function of a worker."""

    def __init__(self, segmenter: Any, parts: Sequence[str], options: dict[str, Any], return_exceptions: bool) -> None:
        self._segmenter, self._parts, self._options = segmenter, parts, options
        self.return_exceptions = return_exceptions

    def __call__(self, source: Any) -> Any:
        try:
            return self._segmenter.segment(source, self._parts, **self._options)
        except Exception as error:
            if self.return_exceptions:
                return error
            raise


def _from_workers(task: _Segment, shapes: Iterable[Any], workers: int) -> Iterator[Any]:
    results = WorkerPool(task, workers).run(shapes, look_ahead=LOOK_AHEAD * workers)
    for number, result in results:
        if isinstance(result, Died):
            result = InputError(f"shape {number}: {result.reason}")
            if not task.return_exceptions:
                results.close()  # type: ignore[attr-defined]
                raise result
        yield result
