"""The examples of docs/embedding.md are run as they stand there."""

from __future__ import annotations

import http.server
import json
import os
import re
import shlex
import signal
import subprocess
import threading
from collections.abc import Sequence
from pathlib import Path
from queue import Empty, Queue
from typing import Any

import numpy as np
import pytest
from browser import chromium

from pa3d.cli import main
from pa3d.io import load
from pa3d.segment import Segmenter

ROOT = Path(__file__).resolve().parents[1]
DOCUMENT = (ROOT / "docs" / "embedding.md").read_text(encoding="utf-8")


def blocks(section: str, language: str) -> list[str]:
    """The fenced examples of a section, those of its subsections included."""
    (text,) = re.findall(rf"^## {section}\n(.*?)(?=^## |\Z)", DOCUMENT, re.M | re.S)
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.M | re.S)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    return tmp_path


def run_commands(text: str) -> None:
    for line in text.splitlines():
        program, *arguments = shlex.split(line)
        assert program == "pa3d" and main(arguments) == 0, line


def test_every_section_has_an_example() -> None:
    sections = re.findall(r"^## (.*)$", DOCUMENT, re.M)
    assert {"Python", "ONNX", "Browser"} <= set(sections)
    assert all(re.search(r"^```", DOCUMENT.split(f"\n## {name}\n")[1].split("\n## ")[0], re.M) for name in sections)


@pytest.mark.parametrize("index", range(len(blocks("Python", "python"))))
def test_python(here: Path, index: int) -> None:
    names: dict[str, Any] = {}
    exec(blocks("Python", "python")[index], names)
    assert set(names["result"].labels) <= {0, 1}


def test_text_vectors(here: Path) -> None:
    (commands,) = blocks("Python", "console")
    run_commands(commands)
    expected = Segmenter.from_pretrained().segment("examples/chair.glb", ["seat", "leg"], category="chair")
    with np.load("out/chair/labels.npz") as file:
        assert np.array_equal(file["labels"], expected.labels)


def test_onnx(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    (commands,) = blocks("ONNX", "console")
    run_commands(commands)
    assert sorted(path.name for path in here.glob("*.onnx")) == [
        "chair.onnx",
        "encoder.onnx",
        "patches.onnx",
        "scores.onnx",
    ]
    (example,) = blocks("ONNX", "python")
    names: dict[str, Any] = {}
    capsys.readouterr()
    exec(example, names)
    points, parts = names["points"], ["seat", "back", "leg"]
    expected = Segmenter.from_pretrained(precision="fp32").segment(
        points, parts, category="chair", sample=None, refine=False
    )
    assert (names["labels"] == expected.labels).mean() >= 0.999
    counts = np.bincount(names["labels"], minlength=3)
    assert capsys.readouterr().out.strip() == str(dict(zip(parts, counts.tolist(), strict=True)))


# The browser.

# Waits for the results of the page and sends them to the server of the test.
REPORT = """
<script>
  const send = (what) => fetch("/result", { method: "POST", body: JSON.stringify(what) });
  addEventListener("error", (event) => send({ error: event.message }));
  addEventListener("unhandledrejection", (event) => send({ error: String(event.reason) }));
  const wait = setInterval(() => {
    if (!globalThis.result) return;
    clearInterval(wait);
    const values = {};
    for (const [name, { data, dims }] of Object.entries(globalThis.result)) values[name] = { data: [...data], dims };
    send({ values, text: document.body.textContent });
  }, 50);
</script>
"""


def node_modules() -> Path:
    """Where onnxruntime-web is installed; `make browser` does it."""
    folder = Path(os.environ.get("PA3D_NODE_MODULES", ROOT / "build" / "browser" / "node_modules"))
    if not (folder / "onnxruntime-web").is_dir():
        pytest.skip("onnxruntime-web is not installed: make browser")
    return folder


def open_page(
    folder: Path, browser: str, timeout: float = 300, options: Sequence[str] = ("--disable-gpu",)
) -> dict[str, Any]:
    """What index.html of the folder reports."""
    results: Queue[dict[str, Any]] = Queue()

    class Handler(http.server.SimpleHTTPRequestHandler):
        extensions_map = {**http.server.SimpleHTTPRequestHandler.extensions_map, ".mjs": "text/javascript"}  # noqa: RUF012

        def __init__(self, *args: Any) -> None:
            super().__init__(*args, directory=str(folder))

        def do_POST(self) -> None:
            results.put(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_address[1]}/index.html"
    options = [*options, "--headless", "--no-sandbox", "--disable-dev-shm-usage", "--remote-debugging-port=0"]
    profile = f"--user-data-dir={folder / 'profile'}"
    # A session of its own: the command may be a shell script, whose end would leave the browser behind.
    process = subprocess.Popen(
        [browser, *options, profile, url], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    try:
        return results.get(timeout=timeout)
    except Empty:
        raise AssertionError(
            f"the page did not answer within {timeout} s; the browser ended: {process.poll()}"
        ) from None
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        server.shutdown()
        server.server_close()


@pytest.mark.slow
def test_browser(here: Path) -> None:
    """The graph in Chromium gives what pa3d gives: centres equal, features within 1e-4, labels of 99.9 %."""
    pytest.importorskip("onnx")
    modules, browser = node_modules(), chromium()
    install, export = blocks("Browser", "console")[0].splitlines()
    assert install == "npm install onnxruntime-web"
    run_commands(export)
    (page,) = blocks("Browser", "html")
    (here / "index.html").write_text(page + REPORT, encoding="utf-8")
    (here / "node_modules").symlink_to(modules)
    points, _ = load("examples/chair.glb").sample(2048)
    (here / "chair.f32").write_bytes(points.tobytes())
    answer = open_page(here, browser)
    assert "error" not in answer, answer
    found = {
        name: np.array(value["data"], np.int32 if name == "labels" else np.float32).reshape(value["dims"])
        for name, value in answer["values"].items()
    }
    names = ["seat", "back", "leg"]
    segmenter = Segmenter.from_pretrained(precision="fp32")
    encoded = segmenter.encode(points)
    shown = segmenter.segment(points, names, category="chair", sample=None, refine=False)
    assert np.array_equal(found["centers"], encoded.centers)
    assert np.abs(found["features"] - encoded.features).max() <= 1e-4
    assert (found["labels"] == shown.labels).mean() >= 0.999
    assert np.abs(found["scores"] - shown.scores).max() < 1e-3
    counts = np.bincount(found["labels"], minlength=3)
    assert answer["text"].strip() == ", ".join(f"{name}: {n}" for name, n in zip(names, counts, strict=True))
