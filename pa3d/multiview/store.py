"""The output folder of `pa3d prepare`: what is done, what is left, and the shards once all of their records exist.

Sources are numbered as they are listed. Shard k holds the records of sources k * S to (k + 1) * S - 1 in ascending
order, so that its content does not depend on the order in which they were made:

    OUT/.prepare/job.json        what is being made, with a hash of the list of sources
    OUT/.prepare/0000012.tar     a finished record, until its shard is written. In the official layout a record is a
                                 folder of its own, and 0000012.entry keeps its line of the split.
    OUT/.prepare/0000013.failed  why a source gave no record
    OUT/shard-00000.tar          its records one after the other; their files above are then removed
    OUT/prepare.json             at the end: the options, counts and failures; .prepare is then removed
    OUT/timings.json             seconds per stage, of the run that finished

In the official layout the split's name is added: .prepare-train, prepare-train.json, timings-train.json.

Every file appears complete under its name, by a rename. So a run that is killed at any moment leaves files that are
complete or absent. The next run makes what is absent, and nothing twice.
"""

from __future__ import annotations

import hashlib
import json
import tarfile
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any

import numpy as np

from pa3d.atomic import atomic_write, check_writable_folder, lock
from pa3d.data.official import write_split
from pa3d.errors import InputError
from pa3d.multiview.inputs import Source
from pa3d.multiview.job import PrepareOptions, PrepareResult

FORMAT = "pa3d-prepare-1"


class Store:
    """The output folder of one run. A context manager: it holds the folder's lock, so that only one run writes to it.

    fresh: start over instead of continuing.
    Raises InputError when the folder cannot be written, holds something else, or is in use.
    """

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
        self._manifest = {
            "format": FORMAT,
            "options": asdict(options),
            "sources": {"count": len(sources), "sha256": hashlib.sha256(listed.encode()).hexdigest()},
        }
        self._fresh = fresh
        self._failed: dict[int, str] = {}
        self._pending: set[int] = set(range(len(sources)))
        self._lock: IO[bytes] | None = None

    def __enter__(self) -> Store:
        try:
            self._work.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"{self.folder}: cannot be created ({error.strerror}); choose another folder") from error
        self._lock = lock(self._work / "lock")
        if self._lock is None:
            raise InputError(f"{self.folder}: another pa3d prepare writes to it; wait for it or stop it")
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
                self._clear()  # nothing was made that another run could continue from
            if [path.name for path in self._work.iterdir()] == ["lock"]:
                self._work.joinpath("lock").unlink()
                self._work.rmdir()
                self.folder.rmdir()  # if it is empty
        self._lock.close()
        self._lock = None

    def result(self) -> dict[str, Any] | None:
        """prepare.json if the run is finished, else None."""
        path = self._name.with_suffix(".json")
        return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None

    def pending(self) -> list[int]:
        return sorted(self._pending)

    def num_done(self) -> int:
        return len(self._sources) - len(self._pending)

    def num_failed(self) -> int:
        return len(self._failed)

    def add(self, result: PrepareResult) -> None:
        """Save a result, and write the shard that it completes. A second result of the same source is ignored."""
        if result.index not in self._pending:
            return
        if result.error:
            self._failed[result.index] = result.error
            self._write(self._record_path(result.index, "failed"), result.error.encode())
        else:
            self._write(self._record_path(result.index, self._kind), result.data)
        self._pending.discard(result.index)
        self._write_shard_if_complete(result.index // self._options.shard_size)

    def finish(self, results: Sequence[PrepareResult], wall_seconds: float, workers: int) -> dict[str, Any]:
        """Write prepare.json and timings.json and remove the intermediate files."""
        count = len(self._sources) - len(self._failed)
        failed = [{"source": str(self._sources[i]), "reason": self._failed[i]} for i in sorted(self._failed)]
        result = {**self._manifest, "shapes": count, "failed": failed}
        if not count:
            self._clear()
            raise InputError(f"none of {len(failed)} shapes could be prepared; the first: {failed[0]['reason']}")
        if self._kind == "entry":
            entries = [path.read_text(encoding="utf-8") for path in sorted(self._work.glob("*.entry"))]
            write_split(self.folder, self._options.split, entries)
        if results:
            self._write(self._timings, _json(timings(results, wall_seconds, workers)))
        self._write(self._name.with_suffix(".json"), _json(result))
        self._clear()
        return result

    def _open(self) -> None:
        job, result = self._work / "job.json", self._name.with_suffix(".json")
        manifest = next((path for path in (result, job) if path.is_file()), None)
        written = self._shards() or [self.folder / "labeled" / "split" / f"{self._options.split}.txt"]
        if manifest is None and any(path.exists() for path in written):
            raise InputError(
                f"{self.folder}: holds {written[0].name}, which belongs to something else; choose another folder"
            )
        if manifest is not None and self._fresh:
            for path in [result, self._timings, *written]:
                path.unlink(missing_ok=True)
            self._clear()
            manifest = None
        if manifest is not None:
            saved = json.loads(manifest.read_text(encoding="utf-8"))
            differing = _difference(saved, json.loads(_json(self._manifest)))
            if differing:
                raise InputError(
                    f"{self.folder}: holds another job ({differing} differs); choose another folder or start over "
                    "with --fresh"
                )
        if result.is_file():
            self._clear()  # left by a run that was killed between its last two steps
            return
        for half in [*self.folder.glob(".*.tmp"), *self._work.glob(".*.tmp")]:
            half.unlink()
        if manifest is None:
            self._write(job, _json(self._manifest))
        self._scan()

    def _scan(self) -> None:
        size = self._options.shard_size
        done = {int(path.stem.partition("-")[2]) for path in self._shards()}
        saved: set[int] = set()
        for path in self._work.iterdir():
            if path.suffix == ".failed":
                self._failed[int(path.stem)] = path.read_text(encoding="utf-8")
            elif path.suffix == ".tar" and int(path.stem) // size in done:
                path.unlink()  # its shard was written, and then the run was killed
            elif path.suffix == f".{self._kind}":
                saved.add(int(path.stem))
        self._pending = {i for i in self._pending if not (i in saved or i in self._failed or i // size in done)}
        for shard in {i // size for i in saved}:
            self._write_shard_if_complete(shard)

    def _write_shard_if_complete(self, shard: int) -> None:
        """Write a shard if all of its sources are done and at least one gave a record."""
        size = self._options.shard_size
        indices = range(shard * size, min((shard + 1) * size, len(self._sources)))
        if self._kind == "entry" or any(i in self._pending for i in indices):
            return
        records = [self._record_path(i, "tar") for i in indices if i not in self._failed]
        if not records:
            return
        with atomic_write(self.folder / f"shard-{shard:05d}.tar") as file:
            for record in records:
                file.write(record.read_bytes())
            # Two blocks of zeros end a tar file; zeros fill it up to a multiple of 20 blocks.
            end = file.tell() + 2 * tarfile.BLOCKSIZE
            file.write(bytes(2 * tarfile.BLOCKSIZE + -end % tarfile.RECORDSIZE))
        for record in records:
            record.unlink()

    def _shards(self) -> list[Path]:
        return sorted(self.folder.glob("shard-*.tar")) if self._kind == "tar" else []

    def _record_path(self, index: int, kind: str) -> Path:
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


def timings(results: Sequence[PrepareResult], wall_seconds: float, workers: int) -> dict[str, Any]:
    """What timings.json holds, over the shapes that this run prepared. docs/files.md explains the keys."""
    good = [result for result in results if result.seconds]
    stages = list(dict.fromkeys(stage for result in good for stage in result.seconds))
    spent = {stage: [result.seconds.get(stage, 0.0) for result in good] for stage in stages}
    return {
        "shapes": len(good),
        "workers": workers,
        "wall": wall_seconds,
        "shapes_a_minute": 60 * len(good) / wall_seconds if wall_seconds > 0 else None,
        "stages": {s: {"mean": float(np.mean(v)), "median": float(np.median(v))} for s, v in spent.items()},
        "peak_bytes": max((result.peak_bytes for result in good), default=0),
    }


def _json(value: dict[str, Any]) -> bytes:
    return (json.dumps(value, indent=1, ensure_ascii=False) + "\n").encode()


def _difference(saved: dict[str, Any], expected: dict[str, Any]) -> str:
    """The first field that differs, such as options.views.size; "" when none does."""
    for key, value in expected.items():
        other = saved.get(key)
        if other != value:
            return f"{key}.{_difference(other, value)}" if isinstance(value, dict) and isinstance(other, dict) else key
    return ""
