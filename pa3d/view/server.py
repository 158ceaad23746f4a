"""viser's server, which only pages of this machine can reach."""

from __future__ import annotations

import contextlib
import io
import re
from collections.abc import Iterator
from functools import partial
from typing import Any

from pa3d.errors import InputError

HOST = "127.0.0.1"
# The pages that may connect: those of this server, also through a tunnel to this machine.
ORIGINS = re.compile(r"https?://(127\.0\.0\.1|localhost)(:\d+)?")


def start_server(port: int) -> Any:
    """A viser server on 127.0.0.1, at a port or the next one that is free. Raises InputError if viser is missing."""
    try:
        import viser
        import websockets.asyncio.server as websockets
    except ImportError as error:
        raise InputError("the viewer needs viser, which is not installed: pip install 'pa3d[view]'") from error
    # It prints its address, which is for the caller to do.
    with _own_pages_only(websockets), contextlib.redirect_stdout(io.StringIO()):
        server: Any = viser.ViserServer(host=HOST, port=port, label="pa3d", verbose=False)
    server.request_share_url = lambda *_, **__: None  # a page can ask for a tunnel to the internet
    return server


@contextlib.contextmanager
def _own_pages_only(websockets: Any) -> Iterator[None]:
    """Servers that start in this block refuse connections from pages of other origins.

    Any page that is open in a browser can connect to the ports of its machine. The package websockets can check where a
    connection comes from, but viser does not pass this option on.
    """
    serve = websockets.serve
    websockets.serve = partial(serve, origins=[ORIGINS])
    try:
        yield
    finally:
        websockets.serve = serve


def stop_server(server: Any) -> None:
    with contextlib.redirect_stdout(io.StringIO()):  # it says that it stops
        server.stop()
