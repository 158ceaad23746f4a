"""The file of an index: safetensors, read in blocks, so that only what is asked for is in memory.

    shapes    (S, D) float16     the vector of each whole shape
    parts     (S, P, D) int8     the vectors of its regions (pa3d.search.vectors)
    shares    (S, P) float16     of each region
    sizes     (S,) int64         of the files in bytes
    modified  (S,) int64         the times of modification of the files, in nanoseconds
    paths     (bytes,) uint8     the paths, with a zero byte between two: relative to the folder of the index for files
                                 below it, else absolute

Paths are no metadata, because a header of safetensors may have 100 MB and no more. The metadata are what all vectors
depend on: the model and the options. The rows are sorted by path, and equal shapes give equal bytes.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pa3d.atomic import atomic_write
from pa3d.errors import InputError
from pa3d.search.vectors import EmbedOptions, ShapeVectors

FORMAT = 1
METADATA = "pa3d_shape_index"  # the entry of the metadata
BLOCK = 2**18  # numbers that are read at a time: few enough to stay in the cache of a processor
HINT = "make it with pa3d embed FILES -o INDEX"
_DTYPES = {"sizes": "I64", "modified": "I64", "shapes": "F16", "shares": "F16", "parts": "I8", "paths": "U8"}


class Row(NamedTuple):
    """A file: its absolute path, size in bytes, time of modification in nanoseconds, and vectors."""

    path: str
    size: int
    modified: int
    vectors: ShapeVectors


class IndexFile:
    """An index that was opened for reading.

    facts: the model and options (pa3d.search.vectors.index_facts). options: how files were read and sampled; patches:
    how many the encoder had. sizes, modified (S,).
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        """Raises InputError for a file that is not an index."""
        from safetensors import SafetensorError, safe_open

        self.path = Path(path)
        if not self.path.is_file():
            raise InputError(f"{self.path}: no such index; {HINT}")
        try:
            self._file: Any = safe_open(str(self.path), framework="numpy")
            header = (self._file.metadata() or {}).get(METADATA)
            if header is None:
                raise InputError(f"{self.path}: safetensors, but not an index of shapes; {HINT}")
            self.facts: dict[str, Any] = json.loads(header)
            self._check()
        except (SafetensorError, OSError) as error:
            raise InputError(f"{self.path}: not a readable safetensors file ({error}); {HINT}") from error
        except (KeyError, ValueError, TypeError, RecursionError) as error:
            if isinstance(error, InputError):
                raise
            raise InputError(f"{self.path}: the index is damaged ({error}); {HINT}") from error

    def __len__(self) -> int:
        return len(self._names)

    @cached_property
    def paths(self) -> list[str]:
        """The absolute path of every row."""
        return [self.path_of(number) for number in range(len(self))]

    def path_of(self, number: int) -> str:
        return os.path.normpath(os.path.join(self._folder, os.fsdecode(self._names[number])))

    def check_made_with(self, facts: dict[str, Any]) -> None:
        """Raise InputError unless the index was made with this model and these options."""
        for option, wanted in facts["options"].items():
            made = self.facts["options"].get(option)
            if made != wanted:
                raise InputError(
                    f"{self.path}: made with {option} {made}, not {wanted}; give the same, choose another index, or "
                    "make it again with pa3d embed --overwrite"
                )
        self.check_model(facts)

    def check_model(self, facts: dict[str, Any]) -> None:
        """Raise InputError unless the index was made by this model."""
        made, now = self.facts["model"], facts["model"]
        if any(self.facts[key] != facts[key] for key in ("dim", "regions")) or made["sha256"] != now["sha256"]:
            raise InputError(
                f"{self.path}: made by model {made['name']} (sha256 {made['sha256'][:12]}), not by {now['name']} "
                f"({now['sha256'][:12]}), and their vectors cannot be compared; give that model with --model, or make "
                "the index again with pa3d embed --overwrite"
            )

    def _check(self) -> None:
        facts = self.facts
        if facts["format"] != FORMAT:
            raise ValueError(f"format {facts['format']}, this version reads {FORMAT}")
        for key in ("name", "sha256", "text_space"):
            if not isinstance(facts["model"][key], str):
                raise TypeError(f"model {key} is not text")
        dim, regions = int(facts["dim"]), int(facts["regions"])
        options = dict(facts["options"])
        self.patches = int(options.pop("patches"))
        self.options = EmbedOptions(**options)
        self._folder = os.path.dirname(os.path.abspath(self.path))
        text = self._file.get_tensor("paths").tobytes()
        self._names = text.split(b"\0")
        self.sizes: NDArray[np.int64] = self._file.get_tensor("sizes")
        self.modified: NDArray[np.int64] = self._file.get_tensor("modified")
        count = len(self._names)
        shapes = {
            "shapes": [count, dim], "parts": [count, regions, dim], "shares": [count, regions],
            "sizes": [count], "modified": [count], "paths": [len(text)],
        }  # fmt: skip
        for name, dtype in _DTYPES.items():
            found = self._file.get_slice(name)
            if found.get_shape() != shapes[name] or found.get_dtype() != dtype:
                raise ValueError(f"{name} is {found.get_dtype()} {found.get_shape()}, expected {dtype} {shapes[name]}")

    def blocks(self, name: str) -> Iterator[tuple[int, NDArray[Any]]]:
        """The first row and the rows of blocks of a tensor, one after the other."""
        tensor = self._file.get_slice(name)
        shape = tensor.get_shape()
        step = max(1, BLOCK // int(np.prod(shape[1:], dtype=np.int64)))
        for start in range(0, shape[0], step):
            yield start, tensor[start : min(start + step, shape[0])]

    def row(self, name: str, number: int) -> NDArray[Any]:
        """One row of a tensor."""
        found: NDArray[Any] = self._file.get_slice(name)[number : number + 1][0]
        return found

    def vectors(self, number: int) -> ShapeVectors:
        return ShapeVectors(*(self.row(name, number) for name in ("shapes", "parts", "shares")))


def write_index(path: str | os.PathLike[str], facts: dict[str, Any], rows: Iterable[Row]) -> int:
    """Write an index atomically; returns the number of rows. Nothing is written if there are none.

    The rows are kept in files without names beside the index until all are there. Raises InputError when they, or the
    index, cannot be written.
    """
    path = Path(path)
    folder = os.path.dirname(os.path.abspath(path))
    count = 0
    with ExitStack() as stack:
        with _writing(path):
            spools = {name: stack.enter_context(tempfile.TemporaryFile(dir=folder)) for name in _DTYPES}
        for row in rows:
            name = os.path.relpath(row.path, folder) if _is_below(row.path, folder) else row.path
            with _writing(path):
                spools["paths"].write((b"\0" if count else b"") + os.fsencode(name))
                spools["sizes"].write(np.int64(row.size).tobytes())
                spools["modified"].write(np.int64(row.modified).tobytes())
                for tensor, values in zip(("shapes", "parts", "shares"), row.vectors, strict=True):
                    spools[tensor].write(np.ascontiguousarray(values).tobytes())
            count += 1
        if count == 0:
            return 0
        dim, regions = facts["dim"], facts["regions"]
        shapes = {
            "sizes": [count], "modified": [count], "shapes": [count, dim], "shares": [count, regions],
            "parts": [count, regions, dim], "paths": [spools["paths"].tell()],
        }  # fmt: skip
        header: dict[str, Any] = {"__metadata__": {METADATA: json.dumps({"format": FORMAT, **facts}, sort_keys=True)}}
        offset = 0
        for name, spool in spools.items():
            end = offset + spool.tell()
            header[name] = {"dtype": _DTYPES[name], "shape": shapes[name], "data_offsets": [offset, end]}
            offset = end
        text = json.dumps(header, separators=(",", ":")).encode()
        text += b" " * (-len(text) % 8)
        with atomic_write(path) as file:
            file.write(len(text).to_bytes(8, "little") + text)
            for spool in spools.values():
                spool.seek(0)
                shutil.copyfileobj(spool, file, 2**20)
    return count


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        reason = error.strerror or error
        raise InputError(f"{path}: cannot be written ({reason}); make room or choose another folder") from error


def _is_below(path: str, folder: str) -> bool:
    return path.startswith(os.path.join(folder, ""))
