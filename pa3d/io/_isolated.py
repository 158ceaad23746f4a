"""Reading in a process of its own, for formats whose libraries are native code that a damaged file can crash.

`read_isolated` starts a Python that calls the function `parse` of the format's module and writes the geometry to its
standard output. A crash, a hang or memory without bound ends that process, and is an error of the file.
"""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import traceback
from importlib import import_module
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from pa3d.io._common import FOREIGN_DATA_ERRORS, CorruptFileError, Geometry, first_line

SECONDS, SECONDS_PER_MEGABYTE = 60.0, 20.0
MEMORY, MEMORY_PER_BYTE = 3 << 30, 64  # of address space, more for large files
_PYTHON_FAILED = 1  # the exit code of an error that is not the file's


def read_isolated(path: Path, module: str, kind: str) -> Geometry:
    """What `parse` of pa3d.io.MODULE returns or raises for a file. kind: of file, for messages."""
    seconds = SECONDS + SECONDS_PER_MEGABYTE * path.stat().st_size / 1e6
    command = [sys.executable, "-P", "-c", f"from pa3d.io._isolated import main; main({module!r})", os.fspath(path)]
    # The packages that are found here are found there, but nothing of the current folder.
    places = [str(Path(__file__).parents[2]), *filter(None, sys.path)]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(places)}
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, env=environment, timeout=seconds)
    except subprocess.TimeoutExpired:
        raise CorruptFileError(f"is damaged or too complex: it was not read in {seconds:.0f} seconds") from None
    if done.returncode == _PYTHON_FAILED:
        raise RuntimeError(f"the reader of {kind} files failed:\n{done.stderr.decode(errors='replace')[-4000:]}")
    if done.returncode or not done.stdout:
        reason = f"signal {-done.returncode}" if done.returncode < 0 else f"exit code {done.returncode}"
        raise CorruptFileError(f"is damaged or no {kind} file: the library that reads it stopped with {reason}")
    return _decoded(io.BytesIO(done.stdout))


def main(module: str) -> None:
    """The child: reads the file that its command line names, and leaves without the destructors of libraries."""
    out = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints does not get into the answer
    path = Path(sys.argv[1])
    _limit_memory(MEMORY + MEMORY_PER_BYTE * path.stat().st_size)
    try:
        answer = _encoded(import_module(f"pa3d.io.{module}").parse(path))
    except CorruptFileError as error:
        answer = _saved({"problem": error.problem, "hint": error.hint})
    except (MemoryError, *FOREIGN_DATA_ERRORS) as error:
        answer = _saved({"problem": f"is damaged ({first_line(error)})", "hint": "export it again"})
    except Exception:
        traceback.print_exc()
        os._exit(_PYTHON_FAILED)
    with out:
        out.write(answer)
    os._exit(0)


def _encoded(geometry: Geometry) -> bytes:
    arrays = {"points": geometry.points, "faces": geometry.faces, "colors": geometry.colors}
    there = {name: array for name, array in arrays.items() if array is not None}
    return _saved({"arrays": list(there), "objects": geometry.objects}, *there.values())


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
    return Geometry(**arrays, objects=tuple((name, count) for name, count in header["objects"]))


def _limit_memory(size: int) -> None:
    try:
        import resource
    except ImportError:  # not on Windows
        return
    hard = resource.getrlimit(resource.RLIMIT_AS)[1]
    resource.setrlimit(resource.RLIMIT_AS, (size if hard == resource.RLIM_INFINITY else min(size, hard), hard))
