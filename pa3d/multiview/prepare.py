"""`pa3d prepare`: shapes to shards of training records, resumable, the same bytes every time.

Sources are numbered as they are listed; shard k holds the records of sources k * S to (k + 1) * S - 1, by ascending
key, so that what a shard holds depends on nothing that happens on the way. Worker processes turn a source into the
bytes of its tar entries and touch no file (of shards); only the caller writes:

    OUT/.prepare/job.json        what is being made, with a digest of the list of sources
    OUT/.prepare/0000012.tar     a finished record, until its shard is written (in the official layout its line of
                                 the split, 0000012.entry, for there a record is a folder of its own)
    OUT/.prepare/0000013.failed  why a source gave none
    OUT/shard-00000.tar          its records one after the other; then they are removed above
    OUT/prepare.json             at the end: the options, the counts, the failures; then .prepare is removed
    OUT/timings.json             seconds a stage, of the run that came to the end

In the official layout the split's name joins these: .prepare-train, prepare-train.json, timings-train.json.

Every file appears complete under its name, by a rename. Whatever was there when a run was killed is either complete or
made again, and nothing is made twice.
"""

from __future__ import annotations

import hashlib
import io
import json
import multiprocessing
import re
import resource
import signal
import sys
import tarfile
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from functools import lru_cache
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

import numpy as np

from pa3d.atomic import atomic_write, check_writable_folder
from pa3d.data.official import OfficialRecord, OfficialViews, read_entry, read_views, write_entry, write_split
from pa3d.data.parts import PartCloud, record_members
from pa3d.errors import InputError
from pa3d.frames import UP_AXES
from pa3d.multiview.backbones import DEFAULT, NAMES, Backbone, load_backbone
from pa3d.multiview.inputs import Source, list_sources, read_source
from pa3d.multiview.targets import ViewOptions, add_targets, prepare_shape, tokens_of
from pa3d.profiling import Stopwatch
from pa3d.threads import one_thread_in_children

FORMAT = "pa3d-prepare-1"
LAYOUTS = ("shards", "official")
ATTEMPTS = 3  # of a source whose worker dies, before it counts as broken

Progress = Callable[[int, int, int], None]  # shapes done, of them broken, shapes in all
_BLOCK = 512  # bytes, of tar


@dataclass(frozen=True)
class PrepareOptions:
    """views: how shapes are seen and targets are cut; weights: a file of the backbone's; up: the axis of files that do
    not say theirs; grey: colours and textures are left out; shard_size: sources a shard; layout: shards, or the
    official layout on disk; split: of it.
    """

    views: ViewOptions = field(default_factory=ViewOptions)
    backbone: str = DEFAULT
    weights: str | None = None
    up: str = "y"
    grey: bool = False
    shard_size: int = 500
    layout: str = "shards"
    split: str = "train"

    def __post_init__(self) -> None:
        if self.up not in UP_AXES:
            raise InputError(f"up axis {self.up!r} is unknown; give one of {', '.join(UP_AXES)}")
        if self.backbone not in NAMES:
            raise InputError(f"backbone {self.backbone!r} is unknown; expected one of {', '.join(NAMES)}")
        if self.layout not in LAYOUTS:
            raise InputError(f"layout {self.layout!r}: expected one of {', '.join(LAYOUTS)}")
        if self.shard_size < 1:
            raise InputError(f"shard size {self.shard_size}: expected at least 1")
        if not self.split.isidentifier():
            raise InputError(f"split {self.split!r}: expected a word such as train or val")


class BackboneError(InputError):
    """The backbone cannot be loaded."""


@dataclass
class Outcome:
    """What became of a source: its entries of a shard (the line of the split, in the official layout), or an error.

    fatal: the error is not the source's, and will be every other's, too: the backbone cannot be loaded.
    """

    index: int
    data: bytes = b""
    error: str = ""
    fatal: bool = False
    seconds: dict[str, float] = field(default_factory=dict)
    peak: int = 0  # bytes that the process held at most


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
    """Prepare every shape of `where` (see `list_sources`) into `out`; returns what prepare.json holds.

    workers: processes of one thread each. ray: the address of a Ray cluster, or "auto", that does the work instead.
    A folder that holds an unfinished run of the same job goes on where that stopped; fresh starts over.
    Raises InputError when the options cannot be used, the folder holds something else, another run writes to it now,
    or not a single shape could be prepared. Broken shapes are listed under "failed".
    """
    options = options or PrepareOptions()
    if workers < 1:
        raise InputError(f"workers {workers}: expected at least 1")
    sources = list_sources(where, split=options.split)
    with Store(Path(out), options, sources, fresh) as store:
        done = store.result()
        if done is not None:
            return done
        todo = store.todo()
        began = time.perf_counter()
        outcomes: list[Outcome] = []
        if progress:
            progress(len(sources) - len(todo), store.broken(), len(sources))
        for outcome in _outcomes(sources, todo, options, store, workers, ray):
            if outcome.fatal:
                raise InputError(outcome.error)
            store.add(outcome)
            outcomes.append(replace(outcome, data=b""))
            if progress:
                progress(store.finished(), store.broken(), len(sources))
        for index in store.todo():  # a cluster gave up on them
            store.add(Outcome(index, error=f"{sources[index]}: the worker died on it, again and again"))
        return store.finish(outcomes, time.perf_counter() - began, workers if ray is None else 0)


def _outcomes(
    sources: Sequence[Source], todo: Sequence[int], options: PrepareOptions, store: Store, workers: int, ray: str | None
) -> Iterator[Outcome]:
    folder = str(store.folder.absolute())
    if ray is not None:
        from pa3d.multiview.cluster import ray_outcomes

        yield from ray_outcomes([(index, sources[index]) for index in todo], options, folder, ray)
    else:
        yield from Pool(min(workers, len(todo)), options, folder).run([(index, sources[index]) for index in todo])


class Store:
    """The output folder: what is done, what is left, and the shards once their records are there."""

    def __init__(self, folder: Path, options: PrepareOptions, sources: Sequence[Source], fresh: bool) -> None:
        self.folder = check_writable_folder(folder)
        official = options.layout == "official"
        # Splits of the official layout share a folder.
        self._work, self._name = (
            folder / f"{dot}prepare{'-' + options.split if official else ''}" for dot in (".", "")
        )
        self._kind = "entry" if official else "tar"
        self._options = options
        self._sources = sources
        listed = "\n".join(f"{s.kind}\t{s.path}\t{s.member}" for s in sources)
        self._head = {
            "format": FORMAT,
            "options": asdict(options),
            "sources": {"count": len(sources), "sha256": hashlib.sha256(listed.encode()).hexdigest()},
        }
        self._fresh = fresh
        self._failed: dict[int, str] = {}
        self._left: set[int] = set(range(len(sources)))  # of which nothing is known yet
        self._lock: io.BufferedWriter | None = None

    def __enter__(self) -> Store:
        try:
            self._work.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"{self.folder}: cannot be created ({error.strerror}); choose another folder") from error
        self._take_lock()
        try:
            self._open()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        if self._lock is None:
            return
        with suppress(OSError):
            if {path.name for path in self._work.iterdir()} <= {"lock", "job.json"} and not self._shards():
                self._clear()  # nothing was done that one could go on with
            if [path.name for path in self._work.iterdir()] == ["lock"]:
                self._work.joinpath("lock").unlink()
                self._work.rmdir()
                self.folder.rmdir()  # if it is empty
        self._lock.close()
        self._lock = None

    def result(self) -> dict[str, Any] | None:
        """prepare.json of a finished run, None before."""
        path = self._name.with_suffix(".json")
        return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None

    def todo(self) -> list[int]:
        return sorted(self._left)

    def finished(self) -> int:
        return len(self._sources) - len(self._left)

    def broken(self) -> int:
        return len(self._failed)

    def add(self, outcome: Outcome) -> None:
        """Keep an outcome; the shard that it completes is written. One that is there already changes nothing."""
        if outcome.index not in self._left:
            return
        if outcome.error:
            self._failed[outcome.index] = outcome.error
            self._write(self._piece(outcome.index, "failed"), outcome.error.encode())
        else:
            self._write(self._piece(outcome.index, self._kind), outcome.data)
        self._left.discard(outcome.index)
        self._complete(outcome.index // self._options.shard_size)

    def finish(self, outcomes: Sequence[Outcome], wall: float, workers: int) -> dict[str, Any]:
        """Write prepare.json and timings.json and remove what was kept to go on with."""
        count = len(self._sources) - len(self._failed)
        failed = [{"source": str(self._sources[i]), "reason": self._failed[i]} for i in sorted(self._failed)]
        result = {**self._head, "shapes": count, "failed": failed}
        if not count:
            self._clear()
            raise InputError(f"none of {len(failed)} shapes could be prepared; the first: {failed[0]['reason']}")
        if self._kind == "entry":
            entries = [path.read_text(encoding="utf-8") for path in sorted(self._work.glob("*.entry"))]
            write_split(self.folder, self._options.split, entries)
        if outcomes:
            self._write(self._timings, _json(timings(outcomes, wall, workers)))
        self._write(self._name.with_suffix(".json"), _json(result))
        self._clear()
        return result

    def _open(self) -> None:
        job, result = self._work / "job.json", self._name.with_suffix(".json")
        mine = next((path for path in (result, job) if path.is_file()), None)
        written = self._shards() or [self.folder / "labeled" / "split" / f"{self._options.split}.txt"]
        if mine is None and any(path.exists() for path in written):
            raise InputError(
                f"{self.folder}: holds {written[0].name}, which is of something else; choose another folder"
            )
        if mine is not None and self._fresh:
            for path in [result, self._timings, *written]:
                path.unlink(missing_ok=True)
            self._clear()
            mine = None
        if mine is not None:
            found = json.loads(mine.read_text(encoding="utf-8"))
            differing = _difference(found, json.loads(_json(self._head)))
            if differing:
                raise InputError(
                    f"{self.folder}: holds another job ({differing} differs); choose another folder or start over "
                    "with --fresh"
                )
        if result.is_file():
            self._clear()  # of a run that was killed between its last two steps
            return
        for half in [*self.folder.glob(".*.tmp"), *self._work.glob(".*.tmp")]:
            half.unlink()
        if mine is None:
            self._write(job, _json(self._head))
        self._take_stock()

    def _take_stock(self) -> None:
        size = self._options.shard_size
        done = {int(path.stem.partition("-")[2]) for path in self._shards()}
        kept: set[int] = set()
        for path in self._work.iterdir():
            if path.suffix == ".failed":
                self._failed[int(path.stem)] = path.read_text(encoding="utf-8")
            elif path.suffix == ".tar" and int(path.stem) // size in done:
                path.unlink()  # its shard was written, and the run killed before this
            elif path.suffix == f".{self._kind}":
                kept.add(int(path.stem))
        self._left = {i for i in self._left if not (i in kept or i in self._failed or i // size in done)}
        for shard in {i // size for i in kept}:
            self._complete(shard)

    def _complete(self, shard: int) -> None:
        """Write a shard if all of its sources are done and it holds anything."""
        size = self._options.shard_size
        indices = range(shard * size, min((shard + 1) * size, len(self._sources)))
        if self._kind == "entry" or any(i in self._left for i in indices):
            return
        pieces = [self._piece(i, "tar") for i in indices if i not in self._failed]
        if not pieces:
            return
        with atomic_write(self.folder / f"shard-{shard:05d}.tar") as file:
            for piece in pieces:
                file.write(piece.read_bytes())
            # Two blocks of zeros end a tar file, which fills a record of twenty.
            end = file.tell() + 2 * _BLOCK
            file.write(bytes(2 * _BLOCK + -end % tarfile.RECORDSIZE))
        for piece in pieces:
            piece.unlink()

    def _shards(self) -> list[Path]:
        return sorted(self.folder.glob("shard-*.tar")) if self._kind == "tar" else []

    def _piece(self, index: int, kind: str) -> Path:
        return self._work / f"{index:07d}.{kind}"

    def _clear(self) -> None:
        for path in [*self._work.iterdir()]:
            if path.name != "lock":
                path.unlink()

    @property
    def _timings(self) -> Path:
        return self._name.with_name(self._name.name.replace("prepare", "timings") + ".json")

    def _write(self, path: Path, data: bytes) -> None:
        with atomic_write(path) as file:
            file.write(data)

    def _take_lock(self) -> None:
        """Only one run at a time writes here; the system drops the lock of a run that was killed."""
        import fcntl

        self._lock = open(self._work / "lock", "wb")  # noqa: SIM115
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self._lock.close()
            self._lock = None
            raise InputError(f"{self.folder}: another pa3d prepare writes to it; wait for it or stop it") from None


class Pool:
    """Worker processes that are given one source at a time. One that dies is replaced, and its source tried again."""

    def __init__(self, workers: int, options: PrepareOptions, folder: str) -> None:
        self._count, self._options, self._folder = workers, options, folder
        self._context = multiprocessing.get_context("spawn")
        self._busy: dict[Connection, tuple[Any, tuple[int, Source] | None]] = {}

    def run(self, work: Iterable[tuple[int, Source]]) -> Iterator[Outcome]:
        """The outcome of every source, in any order."""
        waiting = deque(work)
        tried: dict[int, int] = {}
        try:
            for _ in range(min(self._count, len(waiting))):
                self._start(waiting)
            while any(given is not None for _, given in self._busy.values()):
                for pipe in wait([pipe for pipe, (_, given) in self._busy.items() if given is not None]):
                    assert isinstance(pipe, Connection)
                    process, given = self._busy[pipe]
                    assert given is not None
                    try:
                        outcome: Outcome = pipe.recv()
                    except (EOFError, OSError):
                        process.join()
                        del self._busy[pipe]
                        tried[given[0]] = tried.get(given[0], 0) + 1
                        if tried[given[0]] < ATTEMPTS:
                            waiting.appendleft(given)
                        else:
                            yield Outcome(given[0], error=f"{given[1]}: {_death(process.exitcode)}")
                        if waiting:
                            self._start(waiting)
                        continue
                    self._give(pipe, process, waiting)
                    yield outcome
        finally:
            for process, _ in self._busy.values():
                process.kill()
            for pipe, (process, _) in self._busy.items():
                process.join()
                pipe.close()

    def _start(self, waiting: deque[tuple[int, Source]]) -> None:
        ours, theirs = self._context.Pipe()
        process = self._context.Process(target=_work, args=(theirs, self._options, self._folder), daemon=True)
        with one_thread_in_children():
            process.start()
        theirs.close()
        self._give(ours, process, waiting)

    def _give(self, pipe: Connection, process: Any, waiting: deque[tuple[int, Source]]) -> None:
        given = waiting.popleft() if waiting else None
        self._busy[pipe] = (process, given)
        if given is not None:
            with suppress(OSError):  # it died in the meantime, which recv will tell
                pipe.send(given)


def _work(pipe: Connection, options: PrepareOptions, folder: str) -> None:
    """The life of a worker: until whoever started it closes the pipe or dies."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # an interrupt is the caller's to handle
    with suppress(EOFError, OSError):
        while True:
            index, source = pipe.recv()
            pipe.send(outcome_of(index, source, options, folder))


def outcome_of(index: int, source: Source, options: PrepareOptions, folder: str) -> Outcome:
    """Prepare one source. Depends on nothing but its arguments and the file; never raises for what the file holds."""
    clock = Stopwatch()
    start = time.perf_counter()
    try:
        record, views = _prepared(source, options, clock)
        with clock("pack"):
            if options.layout == "official":
                record.id = f"{options.split}{index:07d}-{record.id}"
                data = write_entry(folder, OfficialRecord.from_part_cloud(record), views).encode()
            else:
                data = tar_entries(f"{index:07d}", record)
    except BackboneError as error:
        return Outcome(index, error=str(error), fatal=True)
    except InputError as error:
        return Outcome(index, error=" ".join(str(error).split()))
    except MemoryError:
        return Outcome(index, error=f"{source}: needs more memory than there is; simplify it")
    except Exception as error:  # foreign bytes can make a library stumble in more ways than it can list
        return Outcome(index, error=f"{source}: {type(error).__name__}: {' '.join(str(error).split())[:200]}")
    seconds = {**clock.seconds, "all": time.perf_counter() - start}
    return Outcome(index, data, seconds=seconds, peak=peak_memory())


def peak_memory() -> int:
    """The most bytes of memory that this process held. ru_maxrss alone would do, if it did not begin, on Linux, with
    that of the process which started this one: fork and exec hand it on."""
    with suppress(OSError):
        status = Path("/proc/self/status").read_text()
        if found := re.search(r"^VmHWM:\s+(\d+) kB$", status, re.MULTILINE):
            return 1024 * int(found[1])
    unit = 1 if sys.platform == "darwin" else 1024
    return unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def _prepared(source: Source, options: PrepareOptions, clock: Stopwatch) -> tuple[PartCloud, OfficialViews | None]:
    if source.kind == "official":
        return _from_official(source, options, clock)
    backbone = _backbone(options.backbone, options.weights)
    with clock("read"):
        subject = read_source(source, up=options.up, grey=options.grey)
    record, seen = prepare_shape(subject, backbone, options.views, clock)
    if seen.face_of_pixel is None or seen.point_face is None:
        return record, None
    return record, OfficialViews(seen.images, seen.face_of_pixel, seen.point_face)


def _from_official(source: Source, options: PrepareOptions, clock: Stopwatch) -> tuple[PartCloud, OfficialViews | None]:
    """Points, masks and patch features as they lie there; features are made from its pictures where there are none.

    As its authors do it, a pixel counts for one representative point of its face, the first.
    """
    with clock("read"):
        found = read_entry(source.path, source.member)
        record = found.to_part_cloud()
        record.provenance["file"] = source.member
        if record.patch_features is not None:
            return record, None
        seen = read_views(source.path, source.member)
    with clock("assign"):
        faces, first = np.unique(seen.point2face, return_index=True)
        last = int(max(seen.pix2face.max(), faces[-1]))
        point_of_face = np.full(last + 2, -1, np.int32)  # one more, which index -1 reads
        point_of_face[faces[faces >= 0]] = first[faces >= 0]
        point_of_pixel = point_of_face[np.where(seen.pix2face >= 0, seen.pix2face, -1)]
    backbone = _backbone(options.backbone, options.weights)
    with clock("backbone"):
        tokens = tokens_of(seen.images, backbone)
    add_targets(record, tokens, point_of_pixel, options.views, clock)
    record.provenance |= {"backbone": backbone.name, "views": len(seen.images), "size": seen.images.shape[1]}
    return record, seen


@lru_cache(maxsize=1)
def _backbone(name: str, weights: str | None) -> Backbone:
    """Loaded once a process, on one thread: sums of a convolution depend on how many share it."""
    try:
        backbone = load_backbone(name, weights)
    except InputError as error:
        raise BackboneError(" ".join(str(error).split())) from error
    import torch

    torch.set_num_threads(1)
    return backbone


def tar_entries(key: str, record: PartCloud) -> bytes:
    """A record's members as they lie in a tar file, without its end: equal records give equal bytes."""
    out = io.BytesIO()
    for kind, data in record_members(record).items():
        info = tarfile.TarInfo(f"{key}.{kind}")
        info.size = len(data)
        out.write(info.tobuf(tarfile.USTAR_FORMAT))
        out.write(data)
        out.write(bytes(-len(data) % _BLOCK))
    return out.getvalue()


def timings(outcomes: Sequence[Outcome], wall: float, workers: int) -> dict[str, Any]:
    """Of the shapes that this run prepared: seconds a stage, shapes a minute, the most memory that a process held."""
    good = [outcome for outcome in outcomes if outcome.seconds]
    stages = list(dict.fromkeys(stage for outcome in good for stage in outcome.seconds))
    spent = {stage: [outcome.seconds.get(stage, 0.0) for outcome in good] for stage in stages}
    return {
        "shapes": len(good),
        "workers": workers,
        "wall": wall,
        "shapes_a_minute": 60 * len(good) / wall if wall > 0 else None,
        "stages": {s: {"mean": float(np.mean(v)), "median": float(np.median(v))} for s, v in spent.items()},
        "peak_bytes": max((outcome.peak for outcome in good), default=0),
    }


def _death(code: int | None) -> str:
    if code is not None and code < 0:
        return f"killed its worker {ATTEMPTS} times ({signal.Signals(-code).name}; it may need too much memory)"
    return f"ended its worker {ATTEMPTS} times (exit code {code})"


def _json(value: dict[str, Any]) -> bytes:
    return (json.dumps(value, indent=1, ensure_ascii=False) + "\n").encode()


def _difference(found: dict[str, Any], wanted: dict[str, Any]) -> str:
    """The first thing that differs, such as options.views.size; "" for nothing."""
    for key, value in wanted.items():
        other = found.get(key)
        if other != value:
            return f"{key}.{_difference(other, value)}" if isinstance(value, dict) and isinstance(other, dict) else key
    return ""
