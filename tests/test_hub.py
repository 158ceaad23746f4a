"""Models by folder and by their name on the hub: from a cache, and from a server on this machine. No network."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from clouds import cloud
from official import official_state, save_pickle
from tiny import TINY, random_checkpoint

from pa3d.checkpoint import EMBEDDED, convert_official, load
from pa3d.cli import main
from pa3d.errors import InputError
from pa3d.hub import OFFICIAL_NAME, load_pretrained
from pa3d.segment import Segmenter
from pa3d.text.vectors import TextVectors

pytest.importorskip("huggingface_hub")

COMMIT = "0123456789abcdef0123456789abcdef01234567"
NAMES = ["seat", "back", "leg"]
NOBODY = "http://127.0.0.1:9"  # refuses connections


def add_to_cache(cache: Path, repository: str, files: dict[str, Path], revision: str = "main") -> None:
    """The layout of huggingface_hub's cache: blobs, a snapshot of links, and the commit of the revision."""
    root = cache / f"models--{repository.replace('/', '--')}"
    snapshot = root / "snapshots" / COMMIT
    for folder in (root / "blobs", root / "refs", snapshot):
        folder.mkdir(parents=True, exist_ok=True)
    (root / "refs" / revision).write_text(COMMIT)
    for name, source in files.items():
        blob = root / "blobs" / hashlib.sha256(source.read_bytes()).hexdigest()
        blob.write_bytes(source.read_bytes())
        (snapshot / name).symlink_to(os.path.relpath(blob, snapshot))


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of the hub, a fresh cache of pa3d, and no network."""
    from huggingface_hub import constants

    folder = tmp_path / "hub"
    for name, value in (("HF_HUB_CACHE", str(folder)), ("ENDPOINT", NOBODY)):
        monkeypatch.setattr(constants, name, value)
    for name, value in (("HF_HUB_CACHE", str(folder)), ("HF_ENDPOINT", NOBODY), ("PA3D_CACHE", str(tmp_path / "kept"))):
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)
    return folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A saved model with text vectors."""
    Segmenter(random_checkpoint(TINY)).save_pretrained(tmp_path / "saved", NAMES)
    return tmp_path / "saved"


def labels(segmenter: Segmenter, **options: Any) -> Any:
    return segmenter.segment(cloud("random", 300), NAMES, **options).labels


# Folders.


def test_a_saved_folder(folder: Path) -> None:
    assert sorted(os.listdir(folder)) == ["README.md", "config.json", "model.safetensors", "text_vectors.safetensors"]
    again = Segmenter.from_pretrained(folder)
    assert again.checkpoint.name == "saved"
    assert np.array_equal(labels(again), labels(Segmenter(random_checkpoint(TINY))))
    config = json.loads((folder / "config.json").read_text())
    assert config["model_type"] == "pa3d" and config["encoder"]["patches"] == TINY.patches
    card = (folder / "README.md").read_text()
    assert card.startswith("---\nlibrary_name: pa3d\n") and "seat, back, leg" in card and "all-MiniLM-L6-v2" in card
    embedded = Segmenter.from_pretrained()
    embedded.save_pretrained(folder.with_name("embedded"))
    assert (
        "by the checkpoint: Apache-2.0, BSD-3-Clause, CC-BY-3.0, CC-BY-4.0, CC0-1.0, MIT."
        in (folder.with_name("embedded") / "README.md").read_text()
    )


def test_an_edited_card_stays_and_old_vectors_go(folder: Path) -> None:
    (folder / "README.md").write_text("mine")
    Segmenter(random_checkpoint(TINY)).save_pretrained(folder)
    assert (folder / "README.md").read_text() == "mine"
    assert sorted(os.listdir(folder)) == ["README.md", "config.json", "model.safetensors"]


def test_half_size_where_nothing_is_lost(tmp_path: Path) -> None:
    embedded = Segmenter.from_pretrained()
    embedded.save_pretrained(tmp_path / "a")
    saved = load(tmp_path / "a" / "model.safetensors")
    assert all(np.array_equal(saved.tensors[name], t) for name, t in embedded.checkpoint.tensors.items())
    assert (tmp_path / "a" / "model.safetensors").stat().st_size < 1.01 * EMBEDDED.stat().st_size


def test_the_same_model_gives_the_same_files(folder: Path, tmp_path: Path) -> None:
    Segmenter(random_checkpoint(TINY)).save_pretrained(tmp_path / "again", NAMES)
    for name in os.listdir(folder):
        assert (folder / name).read_bytes() == (tmp_path / "again" / name).read_bytes()


def test_names_of_the_vocabulary_need_no_text_encoder(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = Segmenter(random_checkpoint(TINY)).embed_text(["leg", "seat"])
    segmenter = Segmenter.from_pretrained(folder)

    def fail(*_: Any, **__: Any) -> None:
        raise AssertionError("the text encoder was asked for")

    with monkeypatch.context() as patch:
        patch.setattr("pa3d.text.text_encoder", fail)
        assert np.array_equal(segmenter.embed_text(["leg", "Seat_"]), expected)
        with pytest.raises(AssertionError):
            segmenter.embed_text(["leg", "wheel"])
        with pytest.raises(AssertionError):
            segmenter.embed_text(["leg"], "chair")
    assert segmenter.embed_text(["leg", "wheel"]).shape == (2, 384)


def test_folders_that_are_no_models(tmp_path: Path, folder: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"empty: no model\.safetensors in this folder; expected one written by save"):
        Segmenter.from_pretrained(tmp_path / "empty")
    TextVectors(("a",), np.eye(1, 7, dtype=np.float32), "other").save(folder / "text_vectors.safetensors")
    with pytest.raises(InputError, match=r"text_vectors\.safetensors: vectors of text space other with 7 dimensions"):
        Segmenter.from_pretrained(folder)


# The hub.


def test_a_name_in_the_cache(cache: Path, folder: Path) -> None:
    add_to_cache(cache, "org/chairs", {name: folder / name for name in os.listdir(folder)})
    for source in ("org/chairs", Path("org/chairs"), "org/chairs@main", f"org/chairs@{COMMIT}"):
        segmenter = Segmenter.from_pretrained(source)
        assert segmenter.checkpoint.name == "chairs" and segmenter._vocabulary is not None
    assert np.array_equal(labels(segmenter), labels(Segmenter.from_pretrained(folder)))


def test_a_local_path_wins(cache: Path, folder: Path, tmp_path: Path) -> None:
    add_to_cache(cache, "org/chairs", {"model.safetensors": folder / "model.safetensors"})
    (tmp_path / "org").mkdir()
    folder.rename(tmp_path / "org" / "chairs")
    assert load_pretrained("org/chairs").text_vectors is not None  # which the one in the cache does not have


def test_the_command_line_takes_names(cache: Path, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    add_to_cache(cache, "org/chairs", {"model.safetensors": folder / "model.safetensors"})
    np.save("cloud.npy", cloud("random", 300))
    common = ["segment", "cloud.npy", "--parts", "seat, back, leg", "--json", "--no-pictures"]
    assert main([*common, "--model", "org/chairs"]) == 0
    out, err = capsys.readouterr()
    assert json.loads(out)["model"] == "chairs" and err == ""


@pytest.fixture(scope="module")
def official(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("torch")
    return save_pickle(tmp_path_factory.mktemp("official") / "patchalign3d.pt", dict(official_state()))


def test_official_weights_are_converted_once(
    cache: Path, official: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_to_cache(cache, OFFICIAL_NAME, {"patchalign3d.pt": official})
    found = load_pretrained(OFFICIAL_NAME).checkpoint
    expected = convert_official(official, tmp_path / "expected.safetensors")
    assert found.name == "patchalign3d-encoder" and found.assign == "nearest"
    assert found.config == expected.config and found.text_space == expected.text_space
    assert all(np.array_equal(found.tensors[name], tensor) for name, tensor in expected.tensors.items())

    def fail(*_: Any) -> None:
        raise AssertionError("converted again")

    monkeypatch.setattr("pa3d.hub.convert_official", fail)
    again = load_pretrained(OFFICIAL_NAME).checkpoint
    assert all(np.array_equal(again.tensors[name], tensor) for name, tensor in expected.tensors.items())
    (kept,) = (tmp_path / "kept" / "models").iterdir()
    kept.write_bytes(b"damaged")
    with pytest.raises(AssertionError, match="converted again"):
        load_pretrained(OFFICIAL_NAME)


def test_official_weights_are_checked(cache: Path, tmp_path: Path) -> None:
    pytest.importorskip("torch")
    state = official_state()
    del state["model"]["norm.bias"]
    add_to_cache(cache, OFFICIAL_NAME, {"patchalign3d.pt": save_pickle(tmp_path / "bad.pt", dict(state))})
    with pytest.raises(InputError, match=r"model: missing key norm\.bias \(1 missing\)"):
        load_pretrained(OFFICIAL_NAME)
    assert not list(tmp_path.glob("kept/models/*"))


def test_official_weights_without_a_text_encoder(cache: Path, official: Path, tmp_path: Path) -> None:
    """In a process where torch and OpenCLIP cannot be imported: converted before, and vectors from a file."""
    add_to_cache(cache, OFFICIAL_NAME, {"patchalign3d.pt": official})
    checkpoint = load_pretrained(OFFICIAL_NAME).checkpoint
    vectors = np.random.default_rng(1).standard_normal((3, 1280)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    TextVectors(tuple(NAMES), vectors, checkpoint.text_space).save("chair.safetensors")
    np.save("cloud.npy", cloud("random", 300))
    script = f"""
import sys
sys.modules |= {{"torch": None, "open_clip": None}}
from pa3d.cli import main
sys.exit(main(["segment", "cloud.npy", "--parts", "leg, seat", "--model", "{OFFICIAL_NAME}", "--text-vectors",
               "chair.safetensors", "--no-pictures", "-q", "-o", "out"]))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    expected = Segmenter(checkpoint).segment(cloud("random", 300), ["leg", "seat"], text_vectors=vectors[[2, 0]])
    with np.load("out/labels.npz") as file:
        assert np.array_equal(file["labels"], expected.labels)


# Without the network, and with a hub on this machine.


@pytest.mark.parametrize("environment", [{}, {"HF_HUB_OFFLINE": "1"}])
def test_offline_is_one_line(cache: Path, environment: dict[str, str]) -> None:
    np.save("cloud.npy", cloud("random", 300))
    command = [sys.executable, "-m", "pa3d.cli", "segment", "cloud.npy", "--parts", "a, b", "--model", "org/chairs"]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **environment}, timeout=60)
    assert done.returncode == 2 and done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: org/chairs: no such file or folder, not in the local cache of the hub")
    assert "hf download org/chairs" in line and len(line) < 400


def test_names_that_cannot_be_on_the_hub(cache: Path) -> None:
    for source in ("chairs", "a/b/c", "org/chairs.safetensors", "./org/chairs", "/org/chairs", "../org/chairs"):
        with pytest.raises(InputError, match="no such checkpoint; expected a"):
            load_pretrained(source)


def test_without_huggingface_hub(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(InputError, match=r"give a path or install it with pip install 'pa3d\[hub\]'"):
        load_pretrained("org/chairs")


class Hub:
    """The few answers of a hub that a download needs. `requests` has the paths that were asked for."""

    def __init__(self, repositories: dict[str, dict[str, bytes]]) -> None:
        self.requests: list[str] = []
        hub = self

        class Handler(BaseHTTPRequestHandler):
            def do_HEAD(self) -> None:
                self.do_GET()

            def do_GET(self) -> None:
                hub.requests.append(self.path)
                parts = self.path.partition("?")[0].strip("/").split("/")
                if parts[:2] == ["api", "models"]:
                    files = repositories.get("/".join(parts[2:4]))
                    if files is None:
                        self.answer(401, b"{}", {"X-Error-Code": "RepoNotFound"})
                    elif "tree" in parts:
                        rows = [{"type": "file", "path": n, "size": len(d), "oid": digest(d)} for n, d in files.items()]
                        self.answer(200, json.dumps(rows).encode())
                    else:
                        siblings = [{"rfilename": name} for name in files]
                        model = {"id": "/".join(parts[2:4]), "sha": COMMIT, "siblings": siblings}
                        self.answer(200, json.dumps(model).encode())
                    return
                data = repositories["/".join(parts[:2])][parts[-1]]
                self.answer(200, data, {"ETag": f'"{digest(data)}"', "X-Repo-Commit": COMMIT})

            def answer(self, code: int, data: bytes, headers: dict[str, str] | None = None) -> None:
                self.send_response(code)
                for name, value in {**(headers or {}), "Content-Length": str(len(data))}.items():
                    self.send_header(name, value)
                self.end_headers()
                if self.command == "GET":
                    self.wfile.write(data)

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


def digest(data: bytes) -> str:
    return hashlib.sha1(data).hexdigest()


@pytest.fixture
def hub(folder: Path) -> Iterator[Hub]:
    files = {name: (folder / name).read_bytes() for name in os.listdir(folder)}
    opened = Hub({"org/chairs": {**files, "other.bin": b"not asked for"}, "org/empty": {"notes.txt": b"nothing"}})
    yield opened
    opened.close()


def segment_from(hub: Hub, model: str) -> subprocess.CompletedProcess[str]:
    np.save("cloud.npy", cloud("random", 300))
    command = [sys.executable, "-m", "pa3d.cli", "segment", "cloud.npy", "--parts", "seat, leg", "--model", model]
    environment = {**os.environ, "HF_ENDPOINT": hub.url}
    more = ["--no-pictures", "-q"]
    return subprocess.run([*command, *more], capture_output=True, text=True, env=environment, timeout=120)


def test_a_download_and_then_the_cache(cache: Path, hub: Hub) -> None:
    done = segment_from(hub, "org/chairs")
    assert (done.returncode, done.stderr) == (0, "")
    asked = {path.partition("?")[0].rpartition("/")[2] for path in hub.requests if "/resolve/" in path}
    assert asked == {"model.safetensors", "config.json", "text_vectors.safetensors"}
    hub.requests.clear()
    done = segment_from(hub, "org/chairs")
    assert (done.returncode, done.stderr, hub.requests) == (0, "", [])


def test_only_the_weights_were_downloaded(cache: Path, hub: Hub) -> None:
    """The cache then knows that the repository has more files."""
    script = "import huggingface_hub as h; h.snapshot_download('org/chairs', allow_patterns=['model.safetensors'])"
    subprocess.run(
        [sys.executable, "-c", script], env={**os.environ, "HF_ENDPOINT": hub.url}, check=True, capture_output=True
    )
    found = load_pretrained("org/chairs")  # without the network
    assert found.checkpoint.name == "chairs" and found.text_vectors is None


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("org/unknown", "on the hub no such model, or it is private; check the name"),
        ("org/empty", "the repository has no model.safetensors or patchalign3d.pt; it is not a model of pa3d"),
    ],
)
def test_what_the_hub_does_not_have(cache: Path, hub: Hub, model: str, message: str) -> None:
    done = segment_from(hub, model)
    (line,) = done.stderr.splitlines()
    assert done.returncode == 2 and line.startswith(f"error: {model}: ") and line.endswith(message)
