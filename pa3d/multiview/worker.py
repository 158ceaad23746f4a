"""The work of `pa3d prepare` on one source, and a pool of processes that do it.

A worker turns a source into the bytes of its tar entries. It writes no file, apart from the folders of the official
layout: only the process that runs the whole job writes shards.
"""

from __future__ import annotations

import io
import multiprocessing
import re
import resource
import signal
import sys
import tarfile
import time
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import suppress
from functools import lru_cache
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

import numpy as np

from pa3d.data.official import OfficialRecord, OfficialViews, read_entry, read_views, write_entry
from pa3d.data.parts import PartCloud, record_members
from pa3d.errors import InputError
from pa3d.multiview.backbones import Backbone, load_backbone
from pa3d.multiview.inputs import Source, read_source
from pa3d.multiview.job import PrepareOptions, PrepareResult
from pa3d.multiview.targets import add_targets, extract_tokens, prepare_shape
from pa3d.profiling import Stopwatch
from pa3d.threads import one_thread_in_children

ATTEMPTS = 3  # for a source whose worker dies, before it counts as broken


class BackboneError(InputError):
    """The backbone cannot be loaded."""


def prepare_source(index: int, source: Source, options: PrepareOptions, folder: str) -> PrepareResult:
    """Prepare one source.

    The result depends only on the arguments and the file. A file that cannot be used gives a result with an error,
    whatever is in it; nothing is raised.
    """
    clock = Stopwatch()
    start = time.perf_counter()
    try:
        record, views = _make_record(source, options, clock)
        with clock("pack"):
            if options.layout == "official":
                record.id = f"{options.split}{index:07d}-{record.id}"
                data = write_entry(folder, OfficialRecord.from_part_cloud(record), views).encode()
            else:
                data = tar_entries(f"{index:07d}", record)
    except BackboneError as error:
        return PrepareResult(index, error=str(error), fatal=True)
    except InputError as error:
        return PrepareResult(index, error=" ".join(str(error).split()))
    except MemoryError:
        return PrepareResult(index, error=f"{source}: needs more memory than there is; simplify the shape")
    except Exception as error:  # a damaged file can make a library raise anything
        return PrepareResult(index, error=f"{source}: {type(error).__name__}: {' '.join(str(error).split())[:200]}")
    seconds = {**clock.seconds, "all": time.perf_counter() - start}
    return PrepareResult(index, data, seconds=seconds, peak_bytes=peak_memory())


def peak_memory() -> int:
    """The most bytes of memory that this process has used.

    On Linux, fork and exec pass ru_maxrss on, so that it would begin with the parent's; VmHWM is the process's own.
    """
    with suppress(OSError):
        status = Path("/proc/self/status").read_text()
        if found := re.search(r"^VmHWM:\s+(\d+) kB$", status, re.MULTILINE):
            return 1024 * int(found[1])
    unit = 1 if sys.platform == "darwin" else 1024
    return unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def _make_record(source: Source, options: PrepareOptions, clock: Stopwatch) -> tuple[PartCloud, OfficialViews | None]:
    if source.kind == "official":
        return _from_official(source, options, clock)
    backbone = _backbone(options.backbone, options.weights)
    with clock("read"):
        render_input = read_source(source, up=options.up, grey=options.grey)
    record, views = prepare_shape(render_input, backbone, options.views, clock)
    if views.face_of_pixel is None or views.point_face is None:
        return record, None
    return record, OfficialViews(views.images, views.face_of_pixel, views.point_face)


def _from_official(source: Source, options: PrepareOptions, clock: Stopwatch) -> tuple[PartCloud, OfficialViews | None]:
    """Points, masks and patch features as stored; missing features are computed from the stored images.

    As in the authors' code, a pixel counts for one point of its face, the first.
    """
    with clock("read"):
        record = read_entry(source.path, source.member).to_part_cloud()
        record.provenance["file"] = source.member
        if record.patch_features is not None:
            return record, None
        views = read_views(source.path, source.member)
    with clock("assign"):
        faces, first = np.unique(views.point2face, return_index=True)
        last = int(max(views.pix2face.max(), faces[-1]))
        point_of_face = np.full(last + 2, -1, np.int32)  # the last entry is what index -1 reads
        point_of_face[faces[faces >= 0]] = first[faces >= 0]
        point_of_pixel = point_of_face[np.where(views.pix2face >= 0, views.pix2face, -1)]
    backbone = _backbone(options.backbone, options.weights)
    with clock("backbone"):
        tokens = extract_tokens(views.images, backbone)
    add_targets(record, tokens, point_of_pixel, options.views, clock)
    record.provenance |= {"backbone": backbone.name, "views": len(views.images), "size": views.images.shape[1]}
    return record, views


@lru_cache(maxsize=1)
def _backbone(name: str, weights: str | None) -> Backbone:
    """Loaded once per process. One thread, because the sums of a convolution depend on the number of threads."""
    try:
        backbone = load_backbone(name, weights)
    except InputError as error:
        raise BackboneError(" ".join(str(error).split())) from error
    import torch

    torch.set_num_threads(1)
    return backbone


def tar_entries(key: str, record: PartCloud) -> bytes:
    """The tar entries of a record, without the end of the archive. Equal records give equal bytes."""
    out = io.BytesIO()
    for kind, data in record_members(record).items():
        info = tarfile.TarInfo(f"{key}.{kind}")
        info.size = len(data)
        out.write(info.tobuf(tarfile.USTAR_FORMAT))
        out.write(data)
        out.write(bytes(-len(data) % tarfile.BLOCKSIZE))
    return out.getvalue()


class WorkerPool:
    """Worker processes that get one source at a time. One that dies is replaced, and its source is tried again."""

    def __init__(self, workers: int, options: PrepareOptions, folder: str) -> None:
        self._workers, self._options, self._folder = workers, options, folder
        self._context = multiprocessing.get_context("spawn")
        self._busy: dict[Connection, tuple[Any, tuple[int, Source] | None]] = {}

    def run(self, work: Iterable[tuple[int, Source]]) -> Iterator[PrepareResult]:
        """The result of every source, in any order. work: index and source."""
        waiting = deque(work)
        attempts: dict[int, int] = {}
        try:
            for _ in range(min(self._workers, len(waiting))):
                self._start(waiting)
            while any(task is not None for _, task in self._busy.values()):
                for pipe in wait([pipe for pipe, (_, task) in self._busy.items() if task is not None]):
                    assert isinstance(pipe, Connection)
                    process, task = self._busy[pipe]
                    assert task is not None
                    try:
                        result: PrepareResult = pipe.recv()
                    except (EOFError, OSError):
                        process.join()
                        del self._busy[pipe]
                        attempts[task[0]] = attempts.get(task[0], 0) + 1
                        if attempts[task[0]] < ATTEMPTS:
                            waiting.appendleft(task)
                        else:
                            yield PrepareResult(task[0], error=f"{task[1]}: {_death(process.exitcode)}")
                        if waiting:
                            self._start(waiting)
                        continue
                    self._send_next(pipe, process, waiting)
                    yield result
        finally:
            for process, _ in self._busy.values():
                process.kill()
            for pipe, (process, _) in self._busy.items():
                process.join()
                pipe.close()

    def _start(self, waiting: deque[tuple[int, Source]]) -> None:
        parent_end, child_end = self._context.Pipe()
        process = self._context.Process(target=_worker_loop, args=(child_end, self._options, self._folder), daemon=True)
        with one_thread_in_children():
            process.start()
        child_end.close()
        self._send_next(parent_end, process, waiting)

    def _send_next(self, pipe: Connection, process: Any, waiting: deque[tuple[int, Source]]) -> None:
        task = waiting.popleft() if waiting else None
        self._busy[pipe] = (process, task)
        if task is not None:
            with suppress(OSError):  # it has died; recv will say so
                pipe.send(task)


def _worker_loop(pipe: Connection, options: PrepareOptions, folder: str) -> None:
    """The loop of a worker, until its parent closes the pipe or dies."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent handles an interrupt
    with suppress(EOFError, OSError):
        while True:
            index, source = pipe.recv()
            pipe.send(prepare_source(index, source, options, folder))


def _death(code: int | None) -> str:
    if code is not None and code < 0:
        return f"killed its worker {ATTEMPTS} times ({signal.Signals(-code).name}; it may need too much memory)"
    return f"ended its worker {ATTEMPTS} times (exit code {code})"
