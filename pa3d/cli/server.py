"""The HTTP server of pa3d serve (pa3d.cli.serve says what it answers)."""

from __future__ import annotations

import json
import math
import socket
import socketserver
import stat
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO, TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlsplit

from pa3d.errors import InputError
from pa3d.names import split_names

if TYPE_CHECKING:
    from pa3d.segment import Segmenter

MAX_CONNECTIONS = 16  # more are answered "busy"
MAX_JSON_BYTES = 1 << 20
MAX_SAMPLE = 1_000_000
# Their readers are libraries in C++ that open the files to which a file refers.
REFUSED_SUFFIXES = (".usd", ".usda", ".usdc", ".usdz")
# What a request may say, by type. A number is no bool.
SETTINGS: dict[str, tuple[type, ...]] = {
    "category": (str,),
    "none": (int, float),
    "up": (str,),
    "nan": (str,),
    "columns": (str,),
    "sample": (int, str),
    "assign": (str,),
    "seed": (int,),
    "labels": (bool,),
}


class RequestError(Exception):
    """An answer with this status and message."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class Server(socketserver.ThreadingMixIn, socketserver.BaseServer):
    """Requests in threads, shapes one after the other."""

    daemon_threads = True

    def __init__(
        self,
        listener: socket.socket,
        segmenter: Segmenter,
        root: Path,
        max_bytes: int,
        timeout: float,
        quiet: bool,
    ) -> None:
        super().__init__(listener.getsockname(), Handler)
        self.listener, self.segmenter, self.root = listener, segmenter, root
        self.max_bytes, self.seconds, self.quiet = max_bytes, timeout, quiet
        self.ending = False
        self._one_shape = threading.Lock()
        self._free = threading.Semaphore(MAX_CONNECTIONS)

    def fileno(self) -> int:
        return self.listener.fileno()

    def get_request(self) -> tuple[socket.socket, Any]:
        return self.listener.accept()

    def process_request(self, request: Any, client_address: Any) -> None:
        if self._free.acquire(blocking=False):
            super().process_request(request, client_address)
            return
        with suppress(OSError):
            request.settimeout(1)
            request.sendall(b"HTTP/1.1 503 Busy\r\nConnection: close\r\nRetry-After: 1\r\nContent-Length: 0\r\n\r\n")
            request.shutdown(socket.SHUT_WR)
        request.close()

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._free.release()

    def shutdown_request(self, request: Any) -> None:
        """Reads a little of what was refused, because a client may not see the answer if its data were not read."""
        with suppress(OSError):
            request.shutdown(socket.SHUT_WR)
            request.settimeout(0.5)
            for _ in range(16):
                if not request.recv(1 << 16):
                    break
        request.close()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """The client has gone, or was too slow; other errors were answered."""

    def end(self) -> None:
        """Wait for the shape that is being segmented; no other one begins."""
        self.ending = True
        self._one_shape.acquire()

    @contextmanager
    def turn(self) -> Iterator[None]:
        """The only one to load and segment a shape, which also bounds the memory."""
        if not self._one_shape.acquire(timeout=10 * self.seconds):
            raise RequestError(503, "busy; try again later")
        try:
            if self.ending:
                raise RequestError(503, "the server is ending")
            yield
        finally:
            self._one_shape.release()


class Handler(BaseHTTPRequestHandler):
    server: Server
    protocol_version = "HTTP/1.1"
    server_version, sys_version = "pa3d", ""

    def setup(self) -> None:
        self.started = time.perf_counter()
        self.request.settimeout(self.server.seconds)
        self._reading = self._deadline()
        super().setup()

    def finish(self) -> None:
        self._reading.cancel()
        super().finish()

    def _deadline(self) -> threading.Timer:
        """Cuts the connection of a client that sends or reads too slowly, however regularly."""

        def cut() -> None:
            with suppress(OSError):
                self.connection.shutdown(socket.SHUT_RDWR)

        timer = threading.Timer(self.server.seconds, cut)
        timer.daemon = True
        timer.start()
        return timer

    def handle_expect_100(self) -> bool:
        try:
            self._length()
        except RequestError as error:
            self._answer(error.status, {"error": str(error)})
            return False
        return super().handle_expect_100()

    def do_GET(self) -> None:
        self._run({"/": self._about})

    def do_POST(self) -> None:
        self._run({"/segment": self._segment})

    def _run(self, pages: dict[str, Any]) -> None:
        try:
            host = self.headers.get("Host", "").rsplit(":", 1)[0]
            if self.headers.get("Origin") is not None or (
                self.connection.family != socket.AF_UNIX and host not in ("127.0.0.1", "localhost")
            ):
                raise RequestError(403, "web pages may not use this server")
            page = urlsplit(self.path).path
            if page not in ("/", "/segment"):
                raise RequestError(404, "unknown path; POST /segment, or GET /")
            if page not in pages:
                raise RequestError(405, "POST /segment, or GET /")
            status, answer = 200, pages[page]()
        except RequestError as error:
            status, answer = error.status, {"error": str(error)}
        except InputError as error:
            status, answer = 400, {"error": " ".join(str(error).split())}
        except MemoryError:
            status, answer = 413, {"error": "not enough memory for this shape"}
        except OSError:
            raise  # the connection
        except Exception as error:
            status, answer = 500, {"error": f"{type(error).__name__}: {error}; this is a bug of pa3d"}
        self._answer(status, answer)

    def _about(self) -> dict[str, Any]:
        from pa3d import __version__

        segmenter = self.server.segmenter
        return {
            "pa3d": __version__,
            "model": segmenter.checkpoint.name,
            "precision": segmenter.precision,
            "max_bytes": self.server.max_bytes,
        }

    def _length(self) -> int:
        """The length of the body. Raises RequestError if it is not said, or too much."""
        text = self.headers.get("Content-Length", "")
        if not (text.isascii() and text.isdecimal() and len(text) < 16) or "Transfer-Encoding" in self.headers:
            raise RequestError(411, "a request needs its Content-Length")
        most = self.server.max_bytes if urlsplit(self.path).query else MAX_JSON_BYTES
        if int(text) > most:
            raise RequestError(413, f"{text} bytes; the most is {most}")
        return int(text)

    def _segment(self) -> dict[str, Any]:
        length, query = self._length(), urlsplit(self.path).query
        try:
            request = _from_query(query) if query else json.loads(self._body(length), parse_constant=_refuse_constant)
        except (ValueError, RecursionError) as error:
            raise RequestError(400, f"not a request in JSON: {error}") from None
        if not isinstance(request, dict):
            raise RequestError(400, 'expected a JSON object such as {"file": "chair.glb", "parts": ["seat", "back"]}')
        where = "name" if query else "file"
        name, parts = request.pop(where, None), _names(request.pop("parts", None))
        if not isinstance(name, str) or not name:
            raise RequestError(400, f"{where}: expected the name of a file")
        settings = _settings(request)
        if not query:
            path = self._inside(name)
            return self._result(path, self.server.root, parts, settings)
        with TemporaryDirectory(prefix="pa3d-") as folder:
            # Of the client's name, only the last part counts, so that it shows in the result.
            path = Path(folder).resolve() / (Path(name).name or "shape")
            try:
                file = open(path, "xb")  # noqa: SIM115
            except (OSError, ValueError):
                raise RequestError(400, "name: cannot be the name of a file") from None
            with file:
                self._body(length, file)
            return self._result(path, path.parent, parts, settings)

    def _body(self, length: int, file: IO[bytes] | None = None) -> bytes:
        """The body, or nothing when it goes to a file."""
        left, blocks = length, []
        while left > 0:
            block = self.rfile.read(min(left, 1 << 20))
            if not block:
                raise RequestError(400, f"the body has {length - left} bytes, expected {length}")
            left -= len(block)
            if file is None:
                blocks.append(block)
            else:
                file.write(block)
        self._reading.cancel()
        return b"".join(blocks)

    def _inside(self, name: str) -> Path:
        """The file of that name in the server's folder. Links are followed, but not out of it."""
        try:
            path = (self.server.root / name).resolve()
            if path.is_relative_to(self.server.root):
                found = path.stat()
                if not stat.S_ISREG(found.st_mode):
                    raise RequestError(400, f"{name}: not a file")
                if found.st_size > self.server.max_bytes:
                    raise RequestError(413, f"{name}: {found.st_size} bytes; the most is {self.server.max_bytes}")
                return path
        except (OSError, ValueError, RuntimeError):  # RuntimeError: links in a circle
            pass
        raise RequestError(404, f"{name[:100]}: no such file in the folder of the server")

    def _result(self, path: Path, within: Path, parts: list[str], settings: dict[str, Any]) -> dict[str, Any]:
        from pa3d.inputs import check_nan
        from pa3d.io import load
        from pa3d.io._common import WITHIN
        from pa3d.profiling import Stopwatch
        from pa3d.report import summary

        if path.suffix.lower() in REFUSED_SUFFIXES:
            raise RequestError(400, f"{path.name}: the server reads no USD; convert it to GLB")
        wants_labels = settings.pop("labels", True)
        reading = {"nan": settings.pop("nan", "skip"), "columns": settings.pop("columns", None)}
        up, timer = settings.pop("up", None), Stopwatch()
        check_nan(reading["nan"])
        with self.server.turn():
            token = WITHIN.set(within)
            try:
                with timer("load"):
                    shape = load(path, up=None if up == "auto" else up, **reading)
            finally:
                WITHIN.reset(token)
            result = self.server.segmenter.segment(shape, parts, up="auto" if up == "auto" else None, **settings)
        result.timings = {**timer.seconds, **{k: v for k, v in result.timings.items() if k != "load"}}
        answer = summary(result)
        answer["shape"]["source"] = path.name
        if wants_labels:
            answer["labels"] = result.labels.tolist()
            if result.face_labels is not None:
                answer["face_labels"] = result.face_labels.tolist()
        return answer

    def _answer(self, status: int, answer: dict[str, Any]) -> None:
        body = json.dumps(answer, default=str).encode() + b"\n"
        self._reading.cancel()
        self.close_connection = True
        writing = self._deadline()
        try:
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.send_header("Connection", "close")
            self.end_headers()
            self.wfile.write(body)
        finally:
            writing.cancel()

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """What http.server itself refuses: a damaged request line, too many headers, an unknown method."""
        status = 405 if code == 501 else int(code)
        self.request_version = self.protocol_version  # otherwise a damaged request would get no status line
        self._answer(status, {"error": message or "refused"})

    def log_request(self, code: Any = "-", size: Any = "-") -> None:
        if not self.server.quiet:
            seconds = time.perf_counter() - self.started
            what = f"{getattr(self, 'command', None) or '-'} {getattr(self, 'path', '-')[:100]}"
            print(f"{ascii(what)[1:-1]} {int(code)} {seconds:.3f} s", file=sys.stderr, flush=True)

    def log_message(self, format: str, *args: Any) -> None:
        pass


def _from_query(query: str) -> dict[str, Any]:
    """name=chair.glb&parts=seat,back&none=0.2 as the JSON would be."""
    found = dict(parse_qsl(query, keep_blank_values=True, strict_parsing=True, max_num_fields=20))
    request: dict[str, Any] = {}
    for key, text in found.items():
        kinds = SETTINGS.get(key, (str,))
        numeric = int in kinds and (text.isascii() and text.isdecimal() and len(text) < 19)
        if bool in kinds and text in ("true", "false"):
            request[key] = text == "true"
        elif numeric:
            request[key] = int(text)
        elif float in kinds:
            request[key] = float(text)
        else:
            request[key] = text
    return request


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no number")


def _names(parts: Any) -> list[str]:
    if isinstance(parts, str):
        parts = split_names(parts)
    if not isinstance(parts, list) or not parts or not all(isinstance(part, str) for part in parts):
        raise RequestError(400, 'parts: expected a list of names such as ["seat", "back"]')
    if len(parts) > 1000:
        raise RequestError(400, f"parts: {len(parts)} names; the most is 1000")
    for part in parts:
        if any("\ud800" <= ch <= "\udfff" or ch < " " for ch in part):
            raise RequestError(400, f"parts: {part[:60]!a} has control characters; give words")
    return parts


def _settings(request: dict[str, Any]) -> dict[str, Any]:
    """The other fields of a request, as Segmenter.segment and load take them. null is the default."""
    found = {}
    for key, value in request.items():
        if key not in SETTINGS:
            raise RequestError(400, f"{key[:60]!a}: unknown; expected file or name, parts, {', '.join(SETTINGS)}")
        if value is None:
            continue
        kinds = SETTINGS[key]
        number_is_bool = isinstance(value, bool) and bool not in kinds
        if not isinstance(value, kinds) or number_is_bool or (isinstance(value, float) and not math.isfinite(value)):
            expected = " or ".join(kind.__name__ for kind in kinds)
            raise RequestError(400, f"{key}: expected {expected}, got {type(value).__name__}")
        found[key] = value
    sample: Any = found.get("sample", 1)
    if sample != "all" and (isinstance(sample, str) or not 1 <= sample <= MAX_SAMPLE):
        raise RequestError(400, f'sample: expected an integer from 1 to {MAX_SAMPLE}, or "all"')
    if sample == "all":
        found["sample"] = None
    return found
