"""Score a method on every shape of a dataset, in one process or several. A run can be resumed, and its results are the
same every time.

Each shape is scored by itself, so neither the order of shapes nor the number of workers changes a result. The record of
a shape is appended to records.jsonl as soon as it is scored. results.json is written from the records at the end; times
are in timings.json only.
"""

from __future__ import annotations

import json
import os
import pickle
import platform
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from pa3d.atomic import atomic_write, check_writable_folder
from pa3d.errors import InputError, failure_reason
from pa3d.evaluate.datasets import Dataset
from pa3d.evaluate.labels import category_words
from pa3d.evaluate.methods import Method, as_method, baselines, configure, identity
from pa3d.evaluate.protocols import Protocol, resolve
from pa3d.evaluate.score import EvalTask, rotation_matrices, score_shape
from pa3d.evaluate.summary import categories, summarize
from pa3d.workers import Died, WorkerPool

FORMAT = "pa3d-eval-1"

Progress = Callable[[int, int], None]  # shapes done, shapes in all
# index, and either error, or: record; seconds, by stage; cpu, seconds of processor time; first, whether it was the
# first shape of its process.
Row = dict[str, Any]


def evaluate(
    dataset: Dataset,
    method: Method,
    protocol: str | Protocol = "pa3d",
    *,
    out: str | Path | None = None,
    workers: int = 0,
    rotations: int = 0,
    rotation_kind: str = "yaw",
    limit: int | None = None,
    fresh: bool = False,
    progress: Progress | None = None,
    **changes: Any,
) -> dict[str, Any]:
    """Score a method on a dataset; returns what results.json holds.

    method: a Segmenter, or any object with segment(shape, parts, category); see pa3d.evaluate.Method.
    protocol: the name of a preset, or a Protocol.
    out: folder for records.jsonl, results.json and timings.json. Shapes that it already has results for are not scored
        again, except those that failed; fresh starts over. None writes nothing.
    workers: processes of one thread each; 0 uses no other process.
    rotations: also score every shape under this many seeded rotations, "yaw" about the up axis or "any".
    limit: use only so many shapes, evenly spread over the dataset.
    changes: fields of the protocol to replace.

    A shape that cannot be read or segmented is left out and listed under "failed". Raises InputError when the options
    cannot be used, when `out` holds another evaluation, or when no shape could be scored.
    """
    if workers < 0 or rotations < 0 or (limit is not None and limit < 1):
        raise InputError(
            f"workers {workers}, rotations {rotations}, limit {limit}: expected 0 or more, limit at least 1"
        )
    resolved = resolve(protocol, dataset.name, **changes)
    chosen: Any = as_method(method)
    configure(chosen, resolved)
    matrices = rotation_matrices(rotations, rotation_kind, "y" if resolved.axes == "y" else dataset.up, resolved.seed)
    task = EvalTask(dataset, chosen, resolved, baselines(chosen, resolved), matrices)
    indices = _evenly_spaced(len(dataset), limit)
    config = {
        "format": FORMAT,
        "dataset": {"name": dataset.name, "split": dataset.split, "up": dataset.up, "shapes": len(indices)},
        "protocol": resolved.to_dict(),
        "method": identity(chosen),
        "rotations": {"count": rotations, "kind": rotation_kind} if rotations else None,
    }
    ids = [dataset.ids[index] for index in indices]
    store = ResultStore(Path(out), {**config, "ids": ids}, fresh) if out is not None else None
    rows: dict[int, Row] = store.rows(indices) if store else {}
    start = time.perf_counter()
    todo = [index for index in indices if "record" not in rows.get(index, {})]
    if todo and hasattr(chosen, "prepare"):
        chosen.prepare(_label_sets(task))
    prepare_seconds = time.perf_counter() - start
    for row in _score_all(task, todo, workers):
        rows[row["index"]] = row
        if store:
            store.append(row)
        if progress:
            progress(sum(index in rows for index in indices), len(indices))
    wall_seconds = time.perf_counter() - start
    results = {**config, **_results(rows, indices, dataset, resolved)}
    if store:
        store.write("results.json", results)
        if todo:
            store.write("timings.json", timings(list(rows.values()), wall_seconds, prepare_seconds, len(todo), workers))
    if not results["shapes"]:
        raise InputError(f"none of {len(indices)} shapes could be scored; the first: {results['failed'][0]['reason']}")
    return results


class ResultStore:
    """records.jsonl: the evaluation on the first line, then one row per shape, each appended by a single write."""

    def __init__(self, folder: Path, config: dict[str, Any], fresh: bool) -> None:
        self.folder = check_writable_folder(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.path = self.folder / "records.jsonl"
        line = _json(config)
        lines = self.path.read_bytes().split(b"\n") if self.path.is_file() and not fresh else []
        if lines and lines[0] != line:
            raise InputError(
                f"{self.path}: holds another evaluation ({_difference(lines[0], config)} differs); "
                "choose another folder or start over with --fresh"
            )
        # An incomplete last line was interrupted while it was written.
        self._saved_rows = [json.loads(row) for row in lines[1:-1]]
        with atomic_write(self.path) as file:
            file.write(b"".join(row + b"\n" for row in (line, *lines[1:-1])))

    def rows(self, indices: list[int]) -> dict[int, Row]:
        """The last row of each shape that an earlier run scored, by index."""
        index_set = set(indices)
        return {row["index"]: row for row in self._saved_rows if row["index"] in index_set}

    def append(self, row: Row) -> None:
        with open(self.path, "ab", buffering=0) as file:
            file.write(_json(row) + b"\n")

    def write(self, name: str, content: dict[str, Any]) -> None:
        with atomic_write(self.folder / name) as file:
            file.write((json.dumps(content, indent=1, ensure_ascii=False) + "\n").encode())


def timings(
    rows: list[Row], wall_seconds: float, prepare_seconds: float, num_scored: int, workers: int
) -> dict[str, Any]:
    """What timings.json holds. All times are in seconds.

    wall: duration of this run, by the clock. names: the part of it in which the method prepared, such as by encoding
        the names of the dataset. scored: how many shapes this run scored.
    cpu: processor time of all shapes together. It hardly depends on other programs that run on the machine.
    stages: for each stage "cold", the mean over the first shape of each process; "warm_median" and "warm_p90", over all
        other shapes; "total", the sum over all shapes.
    """
    timed = [row for row in rows if "seconds" in row]
    stages = list(dict.fromkeys(stage for row in timed for stage in row["seconds"]))

    def statistics(stage: str) -> dict[str, float | None]:
        cold = [row["seconds"].get(stage, 0.0) for row in timed if row["first"]]
        warm = [row["seconds"].get(stage, 0.0) for row in timed if not row["first"]]
        return {
            "cold": float(np.mean(cold)) if cold else None,
            "warm_median": float(np.median(warm)) if warm else None,
            "warm_p90": float(np.quantile(warm, 0.9)) if warm else None,
            "total": float(np.sum(cold + warm)),
        }

    return {
        "wall": wall_seconds,
        "names": prepare_seconds,
        "cpu": float(sum(row["cpu"] for row in timed)),
        "scored": num_scored,
        "workers": workers,
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} processors",
        "python": platform.python_version(),
        "numpy": np.__version__,
        "stages": {stage: statistics(stage) for stage in stages},
    }


def _results(rows: dict[int, Row], indices: list[int], dataset: Dataset, protocol: Protocol) -> dict[str, Any]:
    records = [rows[index]["record"] for index in indices if "record" in rows[index]]
    failed = [{"id": dataset.ids[index], "reason": rows[index]["error"]} for index in indices if "error" in rows[index]]
    return {
        "summary": summarize(records, protocol),
        "categories": categories(records),
        "failed": failed,
        "shapes": records,
    }


def _label_sets(task: EvalTask) -> dict[str, list[str]]:
    """The names that the method will be given, by category; empty when each shape brings its own."""
    label_sets = {}
    for category, parts in (task.dataset.label_sets or {}).items():
        words = category_words(category)
        extra = {"category": [words], "other": ["other"], "background": ["background"]}
        label_sets[words] = [*parts, *extra.get(task.protocol.unlabelled, [])]
    return label_sets


def _score_all(task: EvalTask, indices: list[int], workers: int) -> Iterator[Row]:
    """The row of every shape, in any order."""
    scorer = _Scorer(task)
    if workers == 0 or not indices:
        yield from map(scorer, indices)
        return
    try:
        pickle.dumps(task.method)
    except Exception as error:  # whatever the method's own code raises
        name, reason = identity(task.method)["name"], f"{type(error).__name__}: {error}"
        raise InputError(f"{name} cannot be sent to other processes ({reason}); make it picklable") from error
    for number, row in WorkerPool(scorer, min(workers, len(indices))).run(indices):
        index = indices[number]
        died = isinstance(row, Died)
        yield {"index": index, "error": f"{task.dataset.ids[index]}: {row.reason}"} if died else row


class _Scorer:
    """The row of one shape: the function of a worker."""

    def __init__(self, task: EvalTask) -> None:
        self._task, self._is_cold = task, True

    def __call__(self, index: int) -> Row:
        is_cold, self._is_cold = self._is_cold, False
        start = time.process_time()
        try:
            record, seconds = score_shape(self._task, index)
        except InputError as error:
            return {"index": index, "error": failure_reason(error, self._task.dataset.ids[index])}
        cpu_seconds = time.process_time() - start
        return {"index": index, "record": record, "seconds": seconds, "cpu": cpu_seconds, "first": is_cold}


def _evenly_spaced(n: int, limit: int | None) -> list[int]:
    if limit is None or limit >= n:
        return list(range(n))
    return [int(index) for index in np.linspace(0, n - 1, limit).round()]


def _json(value: dict[str, Any]) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


def _difference(line: bytes, config: dict[str, Any]) -> str:
    """The first field in which a file's evaluation differs from this one."""
    try:
        saved_config = json.loads(line)
        return next(key for key in config if saved_config.get(key) != json.loads(_json(config))[key])
    except (ValueError, StopIteration, AttributeError):
        return "its first line"
