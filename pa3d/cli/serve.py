"""pa3d serve: a segmenter that stays loaded, over HTTP on a Unix socket or on this machine only.

    POST /segment                     JSON: {"file": "chair.glb", "parts": ["seat", "back"], ...}
    POST /segment?name=chair.glb&...  the body is the file itself
    GET /                             what the server runs

Answers are JSON: what `pa3d segment` writes to summary.json, with labels and face_labels; or {"error": "..."}.
A request has bounds on its size and its time, and their number is bounded, too. Shapes are segmented one at a time,
each with all the threads. A file is read only if it lies in the folder of the server, and so does what it refers to.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pa3d.cli.arguments import Argument, Option, echo
from pa3d.cli.options import Debug, Device, Model, Patches, Precision, Quiet, Threads
from pa3d.errors import InputError

if TYPE_CHECKING:
    import socket


def serve(
    address: Annotated[
        str,
        Argument(
            metavar="ADDRESS",
            help="The path of a Unix socket, or a port of 127.0.0.1; 0 takes any free port.",
            show_default=False,
        ),
    ],
    root: Annotated[Path, Option("--root", metavar="FOLDER", help="Clients may name the files of this folder.")] = Path(
        "."
    ),
    max_megabytes: Annotated[int, Option(min=1, metavar="N", help="The largest file, in megabytes.")] = 256,
    timeout: Annotated[
        int,
        Option(min=1, metavar="SECONDS", help="The time for a client to send a request, and to read its answer."),
    ] = 30,
    model: Model = None,
    patches: Patches = None,
    precision: Precision = "auto",
    device: Device = "cpu",
    threads: Threads = None,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Keep the model loaded and segment shapes for other programs, over HTTP.

    Prints one line when it is ready. Ctrl-C or SIGTERM ends it after the shape that is being segmented. Examples are in
    docs/embedding.md.
    """
    from pa3d.cli.server import Server
    from pa3d.segment import Segmenter

    if not root.is_dir():
        raise InputError(f"--root {root}: no such folder")
    with listening(address) as listener:
        segmenter = Segmenter.from_pretrained(
            model, precision=precision, device=device, threads=threads, patches=patches
        )
        segmenter.segment(_cube(), ["part"])  # the first call is slower
        server = Server(listener, segmenter, root.resolve(), max_megabytes * 10**6, timeout, quiet)
        name = listener.getsockname()
        echo(f"serving on {name if isinstance(name, str) else f'http://{name[0]}:{name[1]}'}")
        try:
            server.serve_forever(poll_interval=60)
        finally:
            server.end()


@contextmanager
def listening(address: str) -> Iterator[socket.socket]:
    """A socket that listens on a port of 127.0.0.1 or a path; only this user may connect to a path.

    A socket file that a dead server left is replaced. Raises InputError if another server uses the address.
    """
    import socket

    if not address:
        raise InputError("the address is empty; expected the path of a socket, or a port")
    port = int(address) if address.isascii() and address.isdecimal() and len(address) <= 6 else None
    listener = socket.socket(socket.AF_INET if port is not None else socket.AF_UNIX)
    made: os.stat_result | None = None
    try:
        try:
            if port is not None:
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                listener.bind(("127.0.0.1", port))
            else:
                _remove_dead_socket(address)
                previous = os.umask(0o177)
                try:
                    listener.bind(address)
                finally:
                    os.umask(previous)
                made = os.lstat(address)
            listener.listen()
        except InputError:
            raise
        except (OSError, OverflowError, ValueError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            raise InputError(f"{address}: cannot listen there ({reason}); choose another address") from error
        yield listener
    finally:
        listener.close()
        with suppress(OSError):
            if made is not None and os.path.samestat(made, os.lstat(address)):
                os.unlink(address)


def _remove_dead_socket(path: str) -> None:
    import socket

    try:
        mode = os.lstat(path).st_mode
    except (OSError, ValueError):
        return  # bind says what is wrong, if anything is
    if not stat.S_ISSOCK(mode):
        raise InputError(f"{path}: is a file; choose another address")
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.settimeout(1)
            probe.connect(path)
        except ConnectionRefusedError:
            os.unlink(path)
        except OSError:
            pass  # bind says what is wrong


def _cube() -> Any:
    import numpy as np

    return np.indices((2, 2, 2)).reshape(3, 8).T.astype(np.float32).repeat(20, axis=0)
