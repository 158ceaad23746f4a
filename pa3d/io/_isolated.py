"""Reading in a process of its own, for formats whose libraries are native code that a damaged file can crash.

`read_isolated` starts a Python that calls the function `parse` of the format's module and writes the geometry to its
standard output. A crash, a hang or memory without bound ends that process, and is an error of the file.
"""

from __future__ import annotations

import io
import json
import os
import signal
import sys
from dataclasses import asdict
from importlib import import_module
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from pa3d.io._common import FOREIGN_DATA_ERRORS, CorruptFileError, Geometry, first_line
from pa3d.shape import Piece

# What a process may take, and more for large files: seconds of processor time, and bytes of address space.
SECONDS, SECONDS_PER_MEGABYTE = 9, 60
MEMORY, MEMORY_PER_BYTE = 2 << 30, 64
WAIT = 20  # seconds of the clock for a second of processor time, when a machine is busy
_CODE = "from pa3d.io._isolated import main; main(*{})"
_PYTHON_FAILED = 1  # the exit code of an error that is not the file's


def read_isolated(path: Path, module: str, kind: str, factor: int = 1) -> Geometry:
    """What the function `parse` of a module returns or raises for a file.

    kind: of file, for messages. factor: how many times the usual limits, for files that refer to others.
    """
    import subprocess  # not with the formats, all of which are imported to find the one of a file

    size = path.stat().st_size
    seconds = factor * int(SECONDS + SECONDS_PER_MEGABYTE * size / 1e6)
    memory = factor * (MEMORY + MEMORY_PER_BYTE * size)
    command = [sys.executable, "-P", "-c", _CODE.format((module, seconds, memory)), os.fspath(path)]
    # The packages that are found here are found there, but nothing of the current folder.
    places = [str(Path(__file__).parents[2]), *filter(None, sys.path)]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(places)}
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, env=environment, timeout=WAIT * seconds
        )
    except subprocess.TimeoutExpired:
        raise _too_slow(seconds) from None
    if done.returncode == _PYTHON_FAILED:
        raise RuntimeError(f"the reader of {kind} files failed:\n{done.stderr.decode(errors='replace')[-4000:]}")
    if -done.returncode in (getattr(signal, "SIGXCPU", None), getattr(signal, "SIGKILL", None)):
        raise _too_slow(seconds)
    if done.returncode or not done.stdout:
        reason = f"signal {-done.returncode}" if done.returncode < 0 else f"exit code {done.returncode}"
        raise CorruptFileError(
            f"is damaged or not a valid {kind} file: the library that reads it stopped with {reason}"
        )
    return _decoded(io.BytesIO(done.stdout))


def _too_slow(seconds: int) -> CorruptFileError:
    return CorruptFileError(f"is damaged or too complex: it was not read in {seconds} seconds", "decimate it")


def main(module: str, seconds: int, memory: int) -> None:
    """The child: reads the file that its command line names, and leaves without the destructors of libraries."""
    out = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints does not get into the answer
    path = Path(sys.argv[1])
    _limit("RLIMIT_AS", memory)
    _limit("RLIMIT_CPU", seconds)
    try:
        answer = _encoded(import_module(module).parse(path))
    except CorruptFileError as error:
        answer = _saved({"problem": error.problem, "hint": error.hint})
    except MemoryError:
        answer = _saved({"problem": "is damaged or too complex: it needs too much memory", "hint": "decimate it"})
    except FOREIGN_DATA_ERRORS as error:
        answer = _saved({"problem": f"is damaged ({first_line(error)})", "hint": "export it again"})
    except Exception:
        import traceback

        traceback.print_exc()
        os._exit(_PYTHON_FAILED)
    with out:
        out.write(answer)
    os._exit(0)


def _encoded(geometry: Geometry) -> bytes:
    fields = geometry._asdict()
    pieces = [asdict(piece) for piece in fields.pop("pieces")]
    there = {name: array for name, array in fields.items() if array is not None}
    return _saved({"arrays": list(there), "pieces": pieces}, *there.values())


def _saved(header: dict[str, Any], *arrays: NDArray[Any]) -> bytes:
    answer = io.BytesIO()
    for array in (np.frombuffer(json.dumps(header).encode(), np.uint8), *arrays):
        np.save(answer, array, allow_pickle=False)
    return answer.getvalue()


def _decoded(answer: IO[bytes]) -> Geometry:
    header = json.loads(np.load(answer).tobytes())
    if "problem" in header:
        raise CorruptFileError(header["problem"], header["hint"])
    arrays = {name: np.load(answer) for name in header["arrays"]}
    pieces = (Piece(**fields | {"parents": tuple(fields["parents"])}) for fields in header["pieces"])
    return Geometry(**arrays, pieces=tuple(pieces))


def _limit(resource_name: str, limit: int) -> None:
    try:
        import resource
    except ImportError:  # not on Windows
        return
    number = getattr(resource, resource_name)
    hard = resource.getrlimit(number)[1]
    resource.setrlimit(number, (limit if hard == resource.RLIM_INFINITY else min(limit, hard), hard))
