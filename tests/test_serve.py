"""pa3d serve: answers, malformed requests, bounds, and its end."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pa3d import Segmenter

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Unix sockets")
EXAMPLES = Path(__file__).parents[1] / "examples"
PARTS = ["seat", "back", "leg"]


@contextlib.contextmanager
def serving(address: str, root: Path, *options: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    command = [sys.executable, "-m", "pa3d.cli", "serve", address, "--root", str(root), *options]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    pipes["preexec_fn"] = lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)  # a background job has it ignored
    process = subprocess.Popen(command, **pipes, env={**os.environ, "PA3D_CACHE": str(root.parent / "cache")})  # type: ignore[call-overload]
    try:
        line = process.stdout.readline()
        assert line.startswith("serving on "), line + process.stderr.read()
        yield process, line.split()[-1]
    finally:
        process.kill()
        process.communicate()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Files of clients, beside a file that they may not have."""
    base = tmp_path_factory.mktemp("serve")
    root = base / "root"
    root.mkdir()
    shutil.copy(EXAMPLES / "chair.glb", root)
    shutil.copy(EXAMPLES / "chair.glb", base / "secret.glb")
    (base / "secret.bin").write_bytes(bytes(36))
    (root / "link.glb").symlink_to(base / "secret.glb")
    (root / "inner.glb").symlink_to("chair.glb")
    (root / "circle.glb").symlink_to("circle.glb")
    (root / "up").symlink_to(base)
    os.mkfifo(root / "pipe.ply")
    (root / "refers.gltf").write_text(
        json.dumps(
            {
                "asset": {"version": "2.0"},
                "buffers": [{"uri": "../secret.bin", "byteLength": 36}],
                "bufferViews": [{"buffer": 0, "byteLength": 36}],
                "accessors": [{"bufferView": 0, "componentType": 5126, "count": 3, "type": "VEC3"}],
                "meshes": [{"primitives": [{"attributes": {"POSITION": 0}}]}],
                "nodes": [{"mesh": 0}],
                "scenes": [{"nodes": [0]}],
            }
        )
    )
    (root / "scene.usda").write_text("#usda 1.0\n")
    (root / "big.xyz").write_bytes(b"0 0 0\n" * 400_000)
    return root


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[str]:
    with serving(str(folder.parent / "s"), folder, "--timeout", "2", "--max-megabytes", "1", "-q") as (_, address):
        yield address


def connect(address: str) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX)
    connection.settimeout(20)
    connection.connect(address)
    return connection


def raw(address: str, data: bytes, *, half_close: bool = False) -> bytes:
    """The answer to these bytes."""
    with connect(address) as connection:
        with contextlib.suppress(BrokenPipeError):
            connection.sendall(data)
        if half_close:
            connection.shutdown(socket.SHUT_WR)
        received = b""
        with contextlib.suppress(ConnectionResetError):
            while block := connection.recv(65536):
                received += block
        return received


def ask(address: str, body: Any, path: str = "/segment", method: str = "POST", **headers: str) -> tuple[int, Any]:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    fields = {"Host": "pa3d", "Content-Length": str(len(data)), **headers}
    lines = "".join(f"{k.replace('_', '-')}: {v}\r\n" for k, v in fields.items())
    answer = raw(address, f"{method} {path} HTTP/1.1\r\n{lines}\r\n".encode() + data)
    head, _, content = answer.partition(b"\r\n\r\n")
    return int(head.split()[1]), json.loads(content)


def test_the_answer_is_that_of_the_command(server: str, folder: Path, tmp_path: Path) -> None:
    expected = Segmenter.from_pretrained().segment(folder / "chair.glb", PARTS, category="chair", none=0.5)
    status, found = ask(server, {"file": "chair.glb", "parts": PARTS, "category": "chair", "none": 0.5})
    assert status == 200
    np.testing.assert_array_equal(found["labels"], expected.labels)
    np.testing.assert_array_equal(found["face_labels"], expected.face_labels)

    def run(*options: str) -> dict[str, Any]:
        command = [sys.executable, "-m", "pa3d.cli", "segment", "chair.glb", "--parts", "seat, back, leg", *options]
        subprocess.run([*command, "--no-pictures", "-q", "-o", str(tmp_path)], cwd=folder, check=True)
        return json.loads((tmp_path / "summary.json").read_text())

    written = run("--category", "chair", "--none", "0.5")
    same = set(written) - {"seconds"}
    assert same | {"seconds", "labels", "face_labels"} == set(found)
    assert {key: found[key] for key in same} == {key: written[key] for key in same}
    data = (folder / "chair.glb").read_bytes()
    query = "/segment?name=chair.glb&parts=seat,back,leg&category=chair&none=0.5"
    status, sent = ask(server, data, query)
    assert status == 200 and {**sent, "seconds": 0} == {**found, "seconds": 0}
    status, short = ask(server, data, query + "&labels=false&sample=all&seed=7&up=y")
    assert status == 200 and "labels" not in short and short["settings"]["sample"] is None
    assert ask(server, b"", "/", "GET")[1]["model"] == "pa3d-embedded"


OK = {"file": "chair.glb", "parts": PARTS}


@pytest.mark.parametrize(
    ("body", "status", "message"),
    [
        (b"", 400, "not a request in JSON"),
        (b"{", 400, "not a request in JSON"),
        (b"\xff\xfe\x00", 400, "not a request in JSON"),
        (b"[" * 100_000, 400, "not a request in JSON"),
        (b'{"none": NaN}', 400, "NaN is no number"),
        (b"[1]", 400, "expected a JSON object"),
        ({"parts": PARTS}, 400, "file: expected the name"),
        ({**OK, "file": 3}, 400, "file: expected the name"),
        ({**OK, "parts": []}, 400, "parts: expected a list"),
        ({**OK, "parts": [1]}, 400, "parts: expected a list"),
        ({**OK, "parts": {"a": 1}}, 400, "parts: expected a list"),
        ({**OK, "parts": ["a\nb"]}, 400, "control characters"),
        ({**OK, "parts": ["\ud800"]}, 400, "control characters"),
        ({**OK, "parts": ["a"] * 1001}, 400, "the most is 1000"),
        ({**OK, "parts": ["a", "a"]}, 400, "given twice"),
        ({**OK, "category": "\ud800"}, 400, ""),
        ({**OK, "category": 3}, 400, "category: expected str, got int"),
        ({**OK, "none": True}, 400, "none: expected int or float, got bool"),
        ({**OK, "none": 2}, 400, "expected a probability"),
        ({**OK, "up": "w"}, 400, "up"),
        ({**OK, "nan": "w"}, 400, "nan"),
        ({**OK, "assign": "w"}, 400, "assign"),
        ({**OK, "columns": "1,2,3"}, 400, "columns"),
        ({**OK, "sample": 0}, 400, "sample: expected an integer from 1"),
        ({**OK, "sample": 10**9}, 400, "sample: expected an integer from 1"),
        ({**OK, "sample": "some"}, 400, "sample: expected an integer from 1"),
        ({**OK, "seed": -1}, 400, "seed"),
        ({**OK, "seed": 10**30}, 400, "seed"),
        ({**OK, "device": "cuda"}, 400, "'device': unknown"),
        ({**OK, "file": "none.glb"}, 404, "no such file"),
        ({**OK, "file": "."}, 400, "not a file"),
        ({**OK, "file": "pipe.ply"}, 400, "not a file"),
        ({**OK, "file": "../secret.glb"}, 404, "no such file"),
        ({**OK, "file": "/etc/passwd"}, 404, "no such file"),
        ({**OK, "file": "up/secret.glb"}, 404, "no such file"),
        ({**OK, "file": "link.glb"}, 404, "no such file"),
        ({**OK, "file": "circle.glb"}, 404, "no such file"),
        ({**OK, "file": "a\0b"}, 404, "no such file"),
        ({**OK, "file": "\ud800"}, 404, "no such file"),
        ({**OK, "file": "x" * 5000}, 404, "no such file"),
        ({**OK, "file": "refers.gltf"}, 400, "needs the file '../secret.bin' beside it"),
        ({**OK, "file": "scene.usda"}, 400, "reads no USD"),
        ({**OK, "file": "big.xyz"}, 413, "the most is 1000000"),
    ],
)
def test_refused(server: str, body: Any, status: int, message: str) -> None:
    found, answer = ask(server, body)
    assert found == status and message in answer["error"] and "bug" not in answer["error"], answer


def test_links_within_the_folder_are_followed(server: str) -> None:
    assert ask(server, {**OK, "file": "inner.glb"})[0] == 200


@pytest.mark.parametrize(
    ("query", "body", "status", "message"),
    [
        ("name=x.glb&parts=a,b", b"", 400, ""),
        ("name=x.glb&parts=a,b", b"glTF", 400, ""),
        ("name=&parts=a,b", b"x", 400, "name: expected"),
        ("parts=a,b", b"x", 400, "name: expected"),
        ("name=x.txt&parts=a,b&seed=1e400", b"x", 400, "seed: expected int"),
        ("name=x.glb&parts=a&none=inf", b"x", 400, "none: expected"),
        ("name=x.glb&parts=a&none=x", b"x", 400, "could not convert"),
        ("name=x.glb&parts=a&x=1", b"x", 400, "'x': unknown"),
        ("name=" + "x" * 300 + ".glb&parts=a", b"x", 400, "name: cannot be"),
        ("name=a%00.glb&parts=a", b"x", 400, "name: cannot be"),
        ("name=..&parts=a", b"x", 400, ""),
        ("name=x.usdz&parts=a", b"x", 400, "reads no USD"),
        ("&".join(f"k{i}=1" for i in range(50)), b"x", 400, "not a request"),
        ("%", b"x", 400, "not a request"),
    ],
)
def test_refused_files(server: str, query: str, body: bytes, status: int, message: str) -> None:
    found, answer = ask(server, body, f"/segment?{query}")
    assert found == status and message in answer["error"] and "bug" not in answer["error"], answer


def test_a_sent_file_refers_to_nothing(server: str, folder: Path) -> None:
    body = (folder / "refers.gltf").read_bytes().replace(b"../secret.bin", str(folder.parent / "secret.bin").encode())
    status, answer = ask(server, body, "/segment?name=../../x.gltf&parts=a,b")
    assert status == 400 and "beside it" in answer["error"]


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"\r\n\r\n", None),
        (b"\0\1\2\3\n\n", 400),
        (b"GET / HTTP/9.9\r\n\r\n", 505),
        (b"GET " + b"x" * 70_000 + b" HTTP/1.1\r\n\r\n", 414),
        (b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 200 + b"\r\n", 431),
        (b"DELETE / HTTP/1.1\r\n\r\n", 405),
        (b"GET /segment HTTP/1.1\r\n\r\n", 405),
        (b"POST / HTTP/1.1\r\n\r\n", 405),
        (b"GET /../../etc/passwd HTTP/1.1\r\n\r\n", 404),
        (b"GET / HTTP/1.1\r\nOrigin: http://example.org\r\n\r\n", 403),
        (b"POST /segment HTTP/1.1\r\n\r\n", 411),
        (b"POST /segment HTTP/1.1\r\nContent-Length: -1\r\n\r\n", 411),
        (b"POST /segment HTTP/1.1\r\nContent-Length: x\r\n\r\n", 411),
        (b"POST /segment HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", 411),
        (b"POST /segment HTTP/1.1\r\nContent-Length: 99999999999\r\n\r\n", 413),
        (b"POST /segment?name=x HTTP/1.1\r\nContent-Length: 1000001\r\nExpect: 100-continue\r\n\r\n", 413),
        (b"POST /segment?name=x HTTP/1.1\r\nContent-Length: 2000000\r\n\r\n" + bytes(2_000_000), 413),
    ],
)
def test_broken_http(server: str, data: bytes, status: int | None) -> None:
    answer = raw(server, data, half_close=len(data) < 200)
    if status is None:
        assert answer == b""
    else:
        assert answer.split()[1] == str(status).encode(), answer
        assert "error" in json.loads(answer.partition(b"\r\n\r\n")[2])


def test_a_body_that_ends_too_soon(server: str) -> None:
    answer = raw(server, b"POST /segment HTTP/1.1\r\nContent-Length: 100\r\n\r\n{}", half_close=True)
    assert answer.startswith(b"HTTP/1.1 400") and b"the body has 2 bytes, expected 100" in answer


def test_curl_waits_for_100_continue(server: str) -> None:
    with connect(server) as connection:
        body = json.dumps(OK).encode()
        head = f"POST /segment HTTP/1.1\r\nContent-Length: {len(body)}\r\nExpect: 100-continue\r\n\r\n"
        connection.sendall(head.encode())
        assert connection.recv(100).startswith(b"HTTP/1.1 100")
        connection.sendall(body)
        assert connection.recv(100).startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize("start", [b"", b"GET / HT", b"POST /segment HTTP/1.1\r\nContent-Length: 1000\r\n\r\n"])
def test_slow_clients_are_cut(server: str, start: bytes) -> None:
    """One byte every half second would never run into a limit on each read."""
    with connect(server) as connection:
        begin = time.monotonic()
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            connection.sendall(start)
            connection.settimeout(0.5)
            while time.monotonic() < begin + 10:
                try:
                    if connection.recv(1000) == b"":
                        break
                except TimeoutError:
                    connection.sendall(b"x")
        assert time.monotonic() - begin < 8


def test_many_clients(server: str) -> None:
    """Idle connections beyond the bound are refused, and the server answers again when they have gone."""
    idle = [connect(server) for _ in range(40)]
    time.sleep(0.5)
    refused = 0
    for connection in idle:
        connection.settimeout(0.05)
        with contextlib.suppress(TimeoutError, ConnectionResetError):
            refused += connection.recv(100).startswith(b"HTTP/1.1 503")
    assert refused >= 20
    for connection in idle:
        connection.close()
    time.sleep(1)
    assert ask(server, b"", "/", "GET")[0] == 200
    answers: list[Any] = []
    clients = [threading.Thread(target=lambda: answers.append(ask(server, OK))) for _ in range(6)]
    for client in clients:
        client.start()
    for client in clients:
        client.join()
    assert [status for status, _ in answers] == [200] * 6
    assert all(answer["labels"] == answers[0][1]["labels"] for _, answer in answers)


def refusal(*command: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "pa3d.cli", "serve", *command], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2 and done.stdout == "" and done.stderr.count("\n") == 1
    return done.stderr


def test_refused_addresses(server: str, folder: Path) -> None:
    assert "cannot listen there (Address already in use); choose another address" in refusal(server)
    assert os.path.exists(server)
    assert "is a file; choose another address" in refusal(str(folder / "chair.glb"))
    assert "cannot listen there" in refusal(str(folder / "no" / "folder"))
    assert "cannot listen there" in refusal(str(folder / ("x" * 200)))
    assert "cannot listen there" in refusal("99999")
    assert "no such folder" in refusal(str(folder / "t"), "--root", str(folder / "none"))


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_ends(folder: Path, number: signal.Signals, code: int) -> None:
    """After the shape that is being segmented; the socket goes. The socket of a killed server is taken over."""
    path = folder.parent / "e"
    with serving(str(path), folder) as (process, _):
        process.kill()
        process.wait()
    assert path.is_socket()
    with serving(str(path), folder) as (process, address):
        assert os.stat(path).st_mode & 0o777 == 0o600
        idle = connect(address)
        status = ask(address, OK)[0]
        process.send_signal(number)
        assert process.wait(20) == code and status == 200
        assert process.stderr.read().splitlines()[-1].startswith("POST /segment 200 ")
        idle.close()
    assert not path.exists()


def test_a_port_of_this_machine(folder: Path) -> None:
    with serving("0", folder, "-q") as (_, address):
        host, port = address.removeprefix("http://").split(":")
        assert host == "127.0.0.1"
        connection = http.client.HTTPConnection(host, int(port), timeout=20)
        connection.request("POST", "/segment", json.dumps(OK))
        assert json.loads(connection.getresponse().read())["model"] == "pa3d-embedded"
        connection = http.client.HTTPConnection(host, int(port), timeout=20)
        connection.request("GET", "/", headers={"Host": "rebound.example.org"})
        assert connection.getresponse().status == 403
        assert "Address already in use" in refusal(port)


def test_the_example_of_the_docs(tmp_path: Path) -> None:
    if shutil.which("curl") is None:
        pytest.skip("no curl")
    text = (Path(__file__).parents[1] / "docs" / "embedding.md").read_text(encoding="utf-8")
    (section,) = re.findall(r"^## Server\n(.*?)(?=^## |\Z)", text, re.M | re.S)
    (example,) = re.findall(r"^```sh\n(.*?)^```$", section, re.M | re.S)
    (tmp_path / "examples").symlink_to(EXAMPLES)
    (tmp_path / "pa3d").write_text(f'#!/bin/sh\nexec {sys.executable} -m pa3d.cli "$@"\n')
    (tmp_path / "pa3d").chmod(0o755)
    env = {**os.environ, "PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}"}
    subprocess.run(["sh", "-e", "-c", example], cwd=tmp_path, env=env, check=True, timeout=120)
    answer, sent = (json.loads((tmp_path / name).read_text()) for name in ("answer.json", "sent.json"))
    assert [part["name"] for part in answer["parts"]] == PARTS
    assert answer["labels"] == sent["labels"] and len(answer["labels"]) == answer["shape"]["vertices"]


def test_random_requests(server: str, folder: Path) -> None:
    """Damaged JSON, files, queries and headers never look like a bug, and the server lives on."""
    numbers = np.random.default_rng(0)
    chair = (folder / "chair.glb").read_bytes()
    words = ["a,b", "1", "-1", "%ff", "inf", "nan", "true", "all", "x.glb", "..", "%00"]

    def damaged(data: bytes, most: int) -> bytes:
        changed = bytearray(data)
        for at in numbers.integers(len(changed), size=numbers.integers(1, most)):
            changed[at] = numbers.integers(256)
        return bytes(changed)

    def post(path: str, body: bytes) -> bytes:
        return f"POST {path} HTTP/1.1\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body

    for _ in range(100):
        keys = numbers.choice(["name", "none", "up", "columns", "sample", "seed", "labels", "x"], 2)
        query = "&".join(f"{key}={numbers.choice(words)}" for key in keys)
        suffix = numbers.choice(["glb", "ply", "obj", "gltf", "stl", "xyz", "npy"])
        request = [
            post("/segment", damaged(json.dumps({**OK, "none": 0.1, "seed": 3}).encode(), 5)),
            post(f"/segment?name=x.{suffix}&parts=a,b&{query}", damaged(chair, 9)),
            damaged(b"POST /segment HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nExpect: y\r\n\r\n{}", 6),
        ][numbers.integers(3)]
        answer = raw(server, request, half_close=True)
        assert not answer.startswith(b"HTTP/1.1 500") and b"bug" not in answer, (request[:300], answer)
    assert ask(server, OK)[0] == 200
