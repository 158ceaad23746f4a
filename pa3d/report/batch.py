"""`pa3d segment` for many files: a folder of results for each, a list of all, and what it cost.

A worker turns a file into the bytes of its result files. Only the process that runs the whole job writes:

    OUT/run.json             what all results depend on: model, names, options, version of pa3d
    OUT/chairs/a.glb/...     the result files of chairs/a.glb. Its summary.json has a hash of run.json as settings.run
    OUT/results.jsonl        at the end: a line for every file, in the order of their names, failed ones included
    OUT/results.csv          the same as a table
    OUT/.pa3d-segment        the lock, and what is being written; removed at the end

A folder of results appears complete under its name, by a rename. So a run that is killed at any moment leaves folders
that are complete or absent, and the next run makes what is absent, what is older than its file, and what failed. No
time is in any of these files, so that equal inputs give equal bytes.
"""

from __future__ import annotations

import csv
import errno
import hashlib
import json
import os
import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from pa3d.atomic import check_writable_folder, lock
from pa3d.categories import categories, find_category
from pa3d.checkpoint import Checkpoint, fit_numbers
from pa3d.cluster import ray_results
from pa3d.errors import InputError, failure_reason
from pa3d.io import load
from pa3d.many import with_names
from pa3d.part_tree import default_vocabulary
from pa3d.profiling import Stopwatch
from pa3d.report import result_files
from pa3d.shape_head import ShapeHead
from pa3d.unnamed import Divided, Proposed, Unnamed, facts
from pa3d.workers import Died, WorkerPool

FORMAT = "pa3d-segment-1"
STATE, RUN, ROWS, TABLE = ".pa3d-segment", "run.json", "results.jsonl", "results.csv"
# Errors of a path, not of the disk: they cost the file and not the run.
_BAD_PATH = (errno.ENAMETOOLONG, errno.ENOTDIR, errno.EEXIST, errno.EINVAL)

Progress = Callable[[int, int, int], None]  # files done, how many of them failed, files in all


@dataclass(frozen=True)
class FileOptions:
    """Arguments of pa3d.io.load, Segmenter.segment and pa3d.report.result_files, the same for every file."""

    load: dict[str, Any] = field(default_factory=dict)
    segment: dict[str, Any] = field(default_factory=dict)
    outputs: dict[str, Any] = field(default_factory=dict)


@dataclass
class FileResult:
    """The result files of a file, by name, or why there are none; seconds per stage."""

    files: dict[str, bytes] = field(default_factory=dict)
    error: str = ""
    seconds: dict[str, float] = field(default_factory=dict)


def segment_files(
    shapes: Mapping[str, Path],
    segmenter: Any,
    parts: Sequence[str] | Unnamed,
    out: str | os.PathLike[str],
    options: FileOptions | None = None,
    *,
    text_vectors: Any = None,
    workers: int = 1,
    ray: str | None = None,
    fresh: bool = False,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Segment files into folders of `out`; returns counts, failures, parts over all files, and seconds.

    shapes: the files, by the paths of their results within `out` (pa3d.listing.named_shapes).
    parts: names, the same for all, or how each shape gets its own (pa3d.unnamed).
    text_vectors: as in Segmenter.segment.
    workers: processes of one thread each.
    ray: the address of a Ray cluster that does the work instead, or "auto" for the one this machine belongs to.
    fresh: do everything again. Otherwise results of the same run that are there already are kept.
    progress: called after each file.
    Raises InputError when names or options cannot be used, the folder holds something else, another run is writing to
    it, or the disk is full. Files that cannot be segmented are listed under "failed".
    """
    options = options or FileOptions()
    if workers < 1:
        raise InputError(f"workers {workers}: expected at least 1")
    start = time.perf_counter()
    if isinstance(parts, Unnamed):
        _check_unnamed(segmenter, parts)
    else:
        segmenter, text_vectors = with_names(segmenter, parts, options.segment.get("category"), text_vectors)
    run = _run_facts(segmenter, parts, options, text_vectors)
    with _Results(Path(out), run, fresh) as results:
        pending = [name for name, file in shapes.items() if not results.is_done(name, file)]
        task = _SegmentFile(segmenter, parts, options, text_vectors, results.digest)
        failed: dict[str, str] = {}
        seconds, new = Counter[str](), 0
        done = len(shapes) - len(pending)
        if progress:
            progress(done, 0, len(shapes))
        sources = [os.path.abspath(shapes[name]) for name in pending]
        for number, result in _all_results(task, sources, workers, ray):
            name = pending[number]
            if isinstance(result, Died):
                result = FileResult(error=result.reason)
            clock = Stopwatch()
            with clock("save"):
                error = result.error or results.put(name, result.files)
            if error:
                failed[name] = _without_path(error, shapes[name])
                results.discard(name)
            else:
                new += 1
                stages = {stage: spent for stage, spent in result.seconds.items() if "." not in stage}
                seconds.update({**stages, **clock.seconds})
            done += 1
            if progress:
                progress(done, len(failed), len(shapes))
        summary = results.finish(shapes, failed, None if isinstance(parts, Unnamed) else parts)
    wall = time.perf_counter() - start
    return {
        "files": len(shapes),
        "segmented": len(shapes) - len(failed),
        "new": new,
        "failed": [{"file": name, "reason": failed[name]} for name in sorted(failed)],
        "parts": summary,
        "seconds": {"all": wall, "per_file": {stage: spent / new for stage, spent in seconds.items()}},
        "workers": None if ray else min(workers, max(len(pending), 1)),
    }


def _all_results(
    task: _SegmentFile, sources: Sequence[str], workers: int, ray: str | None
) -> Iterator[tuple[int, FileResult | Died]]:
    if not sources:
        return iter(())
    if ray is not None:
        return ray_results(task, sources, ray)
    return WorkerPool(task, min(workers, len(sources))).run(sources)


class _SegmentFile:
    """The result of one file: the function of a worker."""

    def __init__(
        self, segmenter: Any, parts: Sequence[str] | Unnamed, options: FileOptions, text_vectors: Any, digest: str
    ) -> None:
        self._segmenter, self._parts, self._options = segmenter, parts, options
        self._text_vectors, self._digest = text_vectors, digest

    def __call__(self, file: str) -> FileResult:
        """A file that cannot be used gives a result with an error, whatever is in it; nothing is raised."""
        clock = Stopwatch()
        try:
            with clock("load"):
                shape = load(file, **self._options.load)
            options = self._options.segment
            if isinstance(self._parts, Unnamed):
                result = self._parts.segment(self._segmenter, shape, options)
            else:
                result = self._segmenter.segment(shape, self._parts, text_vectors=self._text_vectors, **options)
            stages = {stage: spent for stage, spent in result.timings.items() if stage != "load"}
            result.timings = {}  # equal runs write equal files
            result.settings = {**result.settings, "run": self._digest}
            with clock("write"):
                files = result_files(result, **self._options.outputs)
        except Exception as error:
            return FileResult(error=failure_reason(error, file))
        return FileResult(files, seconds={"load": clock.seconds["load"], **stages, "write": clock.seconds["write"]})


def _without_path(error: str, file: Path) -> str:
    """A message without the path that it begins with, because it is listed beside the path."""
    for name in (os.path.abspath(file), file.name):
        error = error.removeprefix(f"{name}: ")
    return error


def _check_unnamed(segmenter: Any, unnamed: Unnamed) -> None:
    """Raises InputError before the first file for what no file can have."""
    if isinstance(unnamed, Proposed) and unnamed.category is not None:
        find_category(unnamed.category)
    elif isinstance(unnamed, Proposed):
        segmenter.shape_head()


def _knowledge(segmenter: Any, unnamed: Unnamed) -> str:
    """A hash of what names the parts where no names are given."""
    if isinstance(unnamed, Divided):
        known = repr(default_vocabulary())
    else:  # frozen sets have no order
        table = [(category.names, category.parts, sorted(category.optional)) for category in categories()]
        known = repr(table) + (segmenter.shape_head().sha256() if unnamed.category is None else "")
    return hashlib.sha256(known.encode()).hexdigest()


def _presence_facts(checkpoint: Checkpoint) -> dict[str, str]:
    """What presence depends on besides its numbers, if anything."""
    if checkpoint.kinds is None or checkpoint.shape_head is None:
        return {}
    digest = hashlib.sha256(ShapeHead(checkpoint.shape_head).sha256().encode())
    for tensor in checkpoint.kinds:
        digest.update(tensor.tobytes())
    return {"kinds": digest.hexdigest()}


def _run_facts(
    segmenter: Any, parts: Sequence[str] | Unnamed, options: FileOptions, text_vectors: Any
) -> dict[str, Any]:
    """What run.json holds."""
    from pa3d import __version__

    checkpoint = segmenter.checkpoint
    if isinstance(parts, Unnamed):
        asked: dict[str, Any] = {"parts": {**facts(parts), "knows": _knowledge(segmenter, parts)}}
    else:
        vectors = segmenter.part_vectors(parts, options.segment.get("category"), text_vectors)
        digest = hashlib.sha256(vectors.tobytes()).hexdigest()
        asked = {"parts": list(parts), "text_vectors": {"space": checkpoint.text_space, "sha256": digest}}
    return {
        "format": FORMAT,
        "pa3d": __version__,
        "model": {
            "name": checkpoint.name,
            "sha256": checkpoint.sha256(),
            "presence": None if checkpoint.presence is None else fit_numbers(checkpoint.presence),
            **_presence_facts(checkpoint),
            "assign": checkpoint.assign,
            "precision": segmenter.precision,
            "device": segmenter.device,
        },
        **asked,
        "load": options.load,
        "segment": options.segment,
        "outputs": options.outputs,
    }


class _Results:
    """The output folder of one run. A context manager: it holds the folder's lock, so that only one run writes to it.

    Raises InputError when the folder cannot be written, holds something else, or is in use.
    """

    def __init__(self, folder: Path, run: dict[str, Any], fresh: bool) -> None:
        self._folder, self._state = check_writable_folder(folder), folder / STATE
        self._run, self._fresh = json.loads(_json(run)), fresh
        self.digest = hashlib.sha256(_json(run)).hexdigest()[:16]
        self._lock: IO[bytes] | None = None

    def __enter__(self) -> _Results:
        try:
            self._check()
            self._state.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise _not_writable(self._folder, error) from error
        self._lock = lock(self._state / "lock")
        if self._lock is None:
            raise InputError(f"{self._folder}: another pa3d segment writes to it; wait for it or stop it")
        try:
            self._open()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        if self._lock is not None:
            shutil.rmtree(self._state, ignore_errors=True)
            with suppress(OSError):
                self._folder.rmdir()  # if it is empty
            self._lock.close()
            self._lock = None

    def is_done(self, name: str, file: Path) -> bool:
        """Whether this run, or an earlier one like it, made the result from this file since it was last changed."""
        path, source = self._folder / name / "summary.json", os.path.abspath(file)
        try:
            made, changed, summary = path.stat(), file.stat(), self._summary(name)
            same = summary["shape"]["source"] in (source, os.fsencode(source).decode("utf-8", "replace"))
            is_new = made.st_mtime_ns >= max(changed.st_mtime_ns, changed.st_ctime_ns)
            return is_new and same and summary["settings"].get("run") == self.digest
        except (OSError, ValueError, KeyError):
            return False

    def put(self, name: str, files: Mapping[str, bytes]) -> str:
        """Write the results of a file; returns why that is impossible for this file, or "".

        Raises InputError when no file can be written.
        """
        staging, target = self._state / "new", self._folder / name
        if self._state in target.parents:
            return "lies in a folder that pa3d itself uses; rename it"
        try:
            shutil.rmtree(staging, ignore_errors=True)
            for file, content in files.items():
                (staging / file).parent.mkdir(parents=True, exist_ok=True)
                (staging / file).write_bytes(content)
            target.parent.mkdir(parents=True, exist_ok=True)
            self.discard(name)
            os.rename(staging, target)
        except OSError as error:
            if error.errno in _BAD_PATH:
                return f"its results cannot be written ({error.strerror})"
            raise _not_writable(self._folder, error) from error
        return ""

    def discard(self, name: str) -> None:
        """Remove the results of a file, all at once."""
        old, target = self._state / "old", self._folder / name
        if os.path.isdir(target):
            os.rename(target, old)
            shutil.rmtree(old, ignore_errors=True)

    def finish(
        self, shapes: Mapping[str, Path], failed: Mapping[str, str], names: Sequence[str] | None
    ) -> list[dict[str, Any]]:
        """Write results.jsonl and results.csv, and remove what is intermediate; returns the parts over all files.

        names: of the parts; None collects those of all results, the most frequent first.
        The summaries are read one after the other, because there may be more than fit in memory.
        """
        try:
            parts = self._names(name for name in shapes if name not in failed) if names is None else names
            totals = {name: _PartTotal(name) for name in parts}
            with (
                open(self._state / ROWS, "wb") as lines,
                open(self._state / TABLE, "w", encoding="utf-8", errors="backslashreplace", newline="") as table,
            ):
                writer = csv.writer(table, lineterminator="\n")
                writer.writerow(["file", "kind", "points", "faces", *parts, "none of these", "not found", "error"])
                for name in shapes:
                    row: dict[str, Any] = {"file": name, "source": os.path.abspath(shapes[name])}
                    if name in failed:
                        row |= {"error": failed[name]}
                        writer.writerow([name, "", "", "", *("" for _ in parts), "", "", failed[name]])
                    else:
                        row |= _row(self._summary(name))
                        writer.writerow([name, *_cells(row, parts)])
                        for part in row["parts"]:
                            totals[part["name"]].add(part)
                    lines.write(_line(row))
            for file in (ROWS, TABLE):
                os.replace(self._state / file, self._folder / file)
        except OSError as error:
            raise _not_writable(self._folder, error) from error
        return [total.summary() for total in totals.values()]

    def _names(self, results: Iterable[str]) -> list[str]:
        counts = Counter(part["name"] for name in results for part in self._summary(name)["parts"])
        return sorted(counts, key=lambda name: (-counts[name], name))

    def _check(self) -> None:
        if not self._folder.is_dir() or (self._folder / RUN).is_file():
            return
        if any(path.name != STATE for path in self._folder.iterdir()):
            raise InputError(f"{self._folder}: holds other files; choose an empty or new folder")

    def _open(self) -> None:
        for path in self._state.iterdir():  # what a run that was killed was writing
            if path.name != "lock":
                shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink()
        run, content = self._folder / RUN, _json(self._run)
        try:
            if run.is_file() and run.read_bytes() != content and not self._fresh:
                different = _difference(json.loads(run.read_bytes()), self._run)
                raise InputError(
                    f"{self._folder}: holds the results of another run ({different} differs); choose another folder, "
                    "or --overwrite to replace them"
                )
            for name in (ROWS, TABLE):  # there is one when all is done
                (self._folder / name).unlink(missing_ok=True)
            if self._fresh:
                self._remove_all()
            (self._state / RUN).write_bytes(content)
            os.replace(self._state / RUN, run)
        except ValueError as error:
            if isinstance(error, InputError):
                raise
            raise InputError(f"{run}: is damaged ({error}); choose another folder, or --overwrite") from error
        except OSError as error:
            raise _not_writable(self._folder, error) from error

    def _remove_all(self) -> None:
        """Remove every result of an earlier run. Folders and files that are none stay."""
        for path in [*self._folder.rglob("summary.json")]:
            with suppress(OSError, ValueError, KeyError, TypeError):
                if "run" in json.loads(path.read_bytes())["settings"]:
                    self.discard(str(path.parent.relative_to(self._folder)))

    def _summary(self, name: str) -> dict[str, Any]:
        summary: dict[str, Any] = json.loads((self._folder / name / "summary.json").read_bytes())
        return summary


@dataclass
class _PartTotal:
    name: str
    files: int = 0
    share: float = 0.0
    confidence: float = 0.0

    def add(self, part: Mapping[str, Any]) -> None:
        if part["count"] and part["found"] is not False:
            self.files += 1
            self.share += part["share"]
            self.confidence += part["mean_confidence"] or 0.0

    def summary(self) -> dict[str, Any]:
        """In how many files the part is, and its mean share and confidence there."""
        means = (
            (round(self.share / self.files, 6), round(self.confidence / self.files, 6)) if self.files else (None,) * 2
        )
        return {"name": self.name, "files": self.files, "mean_share": means[0], "mean_confidence": means[1]}


def _row(summary: Mapping[str, Any]) -> dict[str, Any]:
    """What results.jsonl says of a file, from its summary."""
    shape = summary["shape"]
    parts = [{key: value for key, value in part.items() if key != "color"} for part in summary["parts"]]
    sizes = {key: shape[key] for key in ("kind", "vertices", "points", "faces") if key in shape}
    return {**sizes, "parts": parts, "not_found": summary["not_found"], "none": summary["none"]}


def _cells(row: Mapping[str, Any], names: Sequence[str]) -> list[Any]:
    """What results.csv says of a file: the shares of its parts, empty for those that were not found or asked for."""
    found = {part["name"]: part["share"] for part in row["parts"] if part["found"] is not False or part["count"]}
    shares = [found.get(name, "") for name in names]
    points = row.get("vertices", row.get("points"))
    return [row["kind"], points, row.get("faces", ""), *shares, row["none"]["share"], ", ".join(row["not_found"]), ""]


def _json(value: Mapping[str, Any]) -> bytes:
    return (json.dumps(value, indent=1, default=str) + "\n").encode()


def _line(row: Mapping[str, Any]) -> bytes:
    """A line of JSON. Bytes of a path that are not UTF-8 become escapes, which Python reads as the same path."""
    return (json.dumps(row, ensure_ascii=False, separators=(",", ":")) + "\n").encode("utf-8", "backslashreplace")


def _difference(saved: Any, expected: Any) -> str:
    """The first field that differs, such as segment.none."""
    if not isinstance(saved, dict) or not isinstance(expected, dict):
        return ""
    key = next(key for key in {**expected, **saved} if saved.get(key) != expected.get(key))
    return ".".join(filter(None, (key, _difference(saved.get(key), expected.get(key)))))


def _not_writable(folder: Path, error: OSError) -> InputError:
    reason = error.strerror or error
    return InputError(f"{error.filename or folder}: cannot be written ({reason}); make room or choose another folder")
