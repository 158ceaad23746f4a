"""pa3d segment for many files: names of results, what is resumed, that a run may be killed anywhere, what fails."""

from __future__ import annotations

import csv
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pa3d import InputError, Segmentation, Segmenter
from pa3d.cli import main
from pa3d.listing import named_shapes
from pa3d.report import batch
from pa3d.report.batch import FileOptions, FileResult, segment_files
from pa3d.workers import Died

ROOT = Path(__file__).resolve().parents[1]
CHAIR = ROOT / "examples" / "chair.glb"
PARTS = ["seat", "back", "leg"]
ARGUMENTS = ("--parts", "seat, back, leg", "--no-pictures")


def write_box(path: Path, size: float = 1.0) -> Path:
    """An OBJ of a tetrahedron; no two sizes have the same labels and scores."""
    path.parent.mkdir(parents=True, exist_ok=True)
    points = [(0, 0, 0), (size, 0, 0), (0, 1, 0), (0, 0, 1)]
    text = "".join(f"v {x} {y} {z}\n" for x, y, z in points) + "f 1 2 3\nf 1 2 4\nf 1 3 4\nf 2 3 4\n"
    path.write_text(text)
    return path


def boxes(folder: Path, count: int) -> Path:
    for i in range(count):
        write_box(folder / f"{i % 3}" / f"{i:03d}.obj", 1 + i / 10)
    return folder


def content(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


class InProcess:
    """The pool's work in this process, without the seconds that it takes to start workers."""

    def __init__(self, function: Callable[[Any], Any], workers: int) -> None:
        self.function = function

    def run(self, tasks: list[Any], look_ahead: int | None = None) -> Iterator[tuple[int, Any]]:
        return enumerate(map(self.function, tasks))


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch, "WorkerPool", InProcess)


@pytest.fixture(scope="module")
def segmenter() -> Segmenter:
    return Segmenter.from_pretrained(threads=1)


# Names


def names(paths: list[Path], within: Path, without: Path | None = None) -> dict[str, str]:
    return {name: str(path) for name, path in named_shapes(paths, within, without).items()}


def test_names_of_a_folder(tmp_path: Path) -> None:
    for name in (
        "a/model.gltf",
        "b/model.gltf",
        "b/x.obj",
        "b/x.stl",
        "notes.txt",
        "table.csv",
        "a/model.bin",
        "c.npy",
    ):
        (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "in" / name).touch()
    for hidden in (".git/x.obj", "b/._x.obj", "out/y.obj"):
        (tmp_path / "in" / hidden).parent.mkdir(exist_ok=True)
        (tmp_path / "in" / hidden).touch()
    (tmp_path / "in" / "a" / "loop").symlink_to(tmp_path / "in")
    (tmp_path / "in" / "a" / "dot").symlink_to(".")
    (tmp_path / "in" / "a" / "link.obj").symlink_to(tmp_path / "in" / "b" / "x.obj")
    (tmp_path / "in" / "a" / "dead.obj").symlink_to("nowhere")
    (tmp_path / "in" / "folder.obj").mkdir()
    found = names([tmp_path / "in"], tmp_path, without=tmp_path / "in" / "out")
    assert list(found) == ["a/link.obj", "a/model.gltf", "b/model.gltf", "b/x.obj", "b/x.stl"]
    assert all(path == str(tmp_path / "in" / name) for name, path in found.items())


def test_names_of_paths(tmp_path: Path) -> None:
    a, b, c = (write_box(tmp_path / name) for name in ("one/model.obj", "two/model.obj", "two/deep/x.obj"))
    assert list(names([a, b], tmp_path)) == ["one/model.obj", "two/model.obj"]
    assert list(names([b, a], tmp_path / "elsewhere")) == ["one/model.obj", "two/model.obj"]
    assert list(names([a, tmp_path / "two"], tmp_path)) == ["one/model.obj", "two/deep/x.obj", "two/model.obj"]
    assert list(names([b, c, tmp_path / "two" / "deep" / ".." / "model.obj"], tmp_path / "two")) == [
        "deep/x.obj",
        "model.obj",
    ]
    assert list(names([c], tmp_path / "one")) == ["x.obj"]
    assert names([], tmp_path) == {} == names([tmp_path / "none"] if (tmp_path / "none").is_dir() else [], tmp_path)


@pytest.mark.parametrize(
    "given",
    [
        ("Chair.obj", "chair.obj"),
        ("caf\u00e9.obj", "cafe\u0301.obj"),
        ("stra\u00dfe.obj", "STRASSE.obj"),
        ("chair.obj", "CHAIR.obj/leg.obj"),
        ("a/chair.obj", "A/chair.obj/x/leg.obj"),
    ],
)
def test_names_that_some_systems_take_for_the_same(tmp_path: Path, given: tuple[str, str]) -> None:
    found = names([tmp_path / name for name in given], tmp_path)
    assert sorted(found.values()) == sorted(str(tmp_path / name) for name in given) and len(found) == 2
    changed = [name for name in found if "~" in name]
    assert len(changed) == 1
    other = names([tmp_path / name for name in (*given, "another.obj")], tmp_path)
    assert other.items() >= found.items()  # stays when others come


def test_a_list(
    tmp_path: Path, here: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_box(tmp_path / "in" / "a" / "x.obj"), write_box(tmp_path / "in" / "b" / "x.obj", 2)
    (tmp_path / "in" / "list.txt").write_text("# two\n\na/x.obj\nb/x.obj\na/x.obj\na/none.obj\n")
    for i, arguments in enumerate((["in/list.txt"], ["--list", "in/list.txt"])):
        monkeypatch.chdir(tmp_path)
        assert main(["segment", *arguments, *ARGUMENTS, "-o", f"out{i}"]) == 3
        assert "failed: a/none.obj: no such file" in capsys.readouterr().err
    assert content(tmp_path / "out0") == content(tmp_path / "out1")
    rows = [json.loads(line) for line in (tmp_path / "out0" / "results.jsonl").read_text().splitlines()]
    assert [row["file"] for row in rows] == ["a/none.obj", "a/x.obj", "b/x.obj"]
    import io

    monkeypatch.setattr(sys, "stdin", io.StringIO("in/a/x.obj\n"))
    assert main(["segment", "--list", "-", *ARGUMENTS, "-o", "out2", "-q"]) == 0
    assert (tmp_path / "out2" / "in" / "a" / "x.obj" / "labels.npz").is_file()


def test_a_cloud_in_a_text_file_is_no_list(tmp_path: Path) -> None:
    points = np.random.default_rng(0).random((50, 3))
    np.savetxt(tmp_path / "scan.txt", points, header="x y z", comments="")
    assert main(["segment", str(tmp_path / "scan.txt"), *ARGUMENTS, "-o", str(tmp_path / "out"), "-q"]) == 0
    assert (tmp_path / "out" / "parts.ply").is_file()


# Results


def test_the_results_are_those_of_single_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With two workers, pictures included; summary.json differs in its times, its path and the run."""
    (tmp_path / "in" / "b").mkdir(parents=True)
    shutil.copy(CHAIR, tmp_path / "in" / "model.glb")
    shutil.copy(CHAIR, tmp_path / "in" / "b" / "model.glb")
    (tmp_path / "in" / "broken.obj").write_text("v 0 0 0\nf 1 2 9\n")
    arguments = ["--parts", "seat, back, leg", "--category", "chair"]
    assert main(["segment", str(tmp_path / "in"), *arguments, "-o", str(tmp_path / "many"), "--workers", "2"]) == 3
    printed = capsys.readouterr()
    assert "seat  2 of 2 files" in printed.out and "3 files, 1 failed; 2 new in" in printed.out
    assert printed.err == "failed: broken.obj: is damaged: faces refer to vertices outside 0..0; export it again\n"
    assert main(["segment", str(tmp_path / "in" / "model.glb"), *arguments, "-o", str(tmp_path / "one"), "-q"]) == 0
    one = content(tmp_path / "one")
    for name in ("model.glb", "b/model.glb"):
        many = content(tmp_path / "many" / name)
        assert many.keys() == one.keys()
        assert all(many[file] == one[file] for file in one if file != "summary.json")
        summary, single = json.loads(many["summary.json"]), json.loads(one["summary.json"])
        assert summary["parts"] == single["parts"] and summary["seconds"] == {}
        assert summary["settings"] == {**single["settings"], "run": summary["settings"]["run"]}

    rows = [json.loads(line) for line in (tmp_path / "many" / "results.jsonl").read_text().splitlines()]
    assert [row["file"] for row in rows] == ["b/model.glb", "broken.obj", "model.glb"]
    assert rows[1] == {
        "file": "broken.obj",
        "source": str(tmp_path / "in" / "broken.obj"),
        "error": "is damaged: faces refer to vertices outside 0..0; export it again",
    }
    assert rows[2]["parts"][0]["share"] == single["parts"][0]["share"] and rows[2]["faces"] == 808
    with open(tmp_path / "many" / "results.csv", newline="") as file:
        table = list(csv.DictReader(file))
    assert [row["file"] for row in table] == [row["file"] for row in rows]
    assert float(table[0]["seat"]) == single["parts"][0]["share"] and table[1]["error"] == rows[1]["error"]
    assert not (tmp_path / "many" / ".pa3d-segment").exists()


def test_what_is_resumed(tmp_path: Path, segmenter: Segmenter, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, out, made = boxes(tmp_path / "in", 4), tmp_path / "out", []

    class Counted(InProcess):
        def run(self, tasks: list[Any], look_ahead: int | None = None) -> Iterator[tuple[int, Any]]:
            made.extend(Path(task).name for task in tasks)
            return super().run(tasks)

    monkeypatch.setattr(batch, "WorkerPool", Counted)
    options = FileOptions(segment={"none": None, "seed": 0}, outputs={"pictures": False, "html": False})

    def run(**changes: Any) -> dict[str, Any]:
        made.clear()
        return segment_files(named_shapes([folder], tmp_path), segmenter, PARTS, out, **{"options": options, **changes})

    run()
    first = content(out)
    assert made == ["000.obj", "003.obj", "001.obj", "002.obj"]
    assert run()["new"] == 0 and content(out) == first
    # A file that is new or was changed, and one that failed, are done; others are kept.
    write_box(folder / "0" / "000.obj", 9)
    (folder / "new.obj").write_text("v 0 0 0\nf 1 2 9\n")
    assert run()["failed"][0]["file"] == "new.obj" and made == ["000.obj", "new.obj"]
    write_box(folder / "new.obj", 8)
    assert run()["failed"] == [] and made == ["new.obj"]
    # A file that cannot be read any more has no results any more.
    (folder / "new.obj").write_text("v 0 0 0\nf 1 2 9\n")
    run()
    assert not (out / "new.obj").exists() and (out / "0" / "000.obj").exists()
    (folder / "new.obj").unlink()
    # Other files of the same names have results of their own.
    made.clear()
    other = named_shapes([shutil.copytree(folder, tmp_path / "other")], tmp_path)
    assert segment_files(other, segmenter, PARTS, out, options)["new"] == 4
    assert run()["new"] == 4
    # Other options, names or models are not mixed with these.
    made.clear()
    before = content(out)
    for changes, field in (
        ({"options": FileOptions(segment={"none": 0.5, "seed": 0}, outputs=options.outputs)}, "segment.none"),
        ({"options": FileOptions(segment=options.segment)}, "outputs.pictures"),
        ({"text_vectors": np.eye(3, 384)}, "text_vectors.sha256"),
    ):
        with pytest.raises(InputError, match=f"holds the results of another run \\({field} differs\\).*--overwrite"):
            run(**changes)
        assert content(out) == {**before} and not made
    assert run(options=FileOptions(segment={"none": 0.5, "seed": 0}, outputs=options.outputs), fresh=True)["new"] == 4
    assert run(fresh=True)["new"] == 4


def test_folders_that_hold_something_else(tmp_path: Path, here: None, capsys: pytest.CaptureFixture[str]) -> None:
    folder = boxes(tmp_path / "in", 1)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("x")
    for more in ([], ["--overwrite"]):
        assert main(["segment", str(folder), *ARGUMENTS, "-o", str(tmp_path / "out"), *more]) == 2
        assert "holds other files; choose an empty or new folder" in capsys.readouterr().err
    assert content(tmp_path / "out") == {"mine.txt": b"x"}
    assert main(["segment", str(folder), *ARGUMENTS, "--none", "2"]) == 2  # and leaves nothing
    assert main(["segment", str(folder), *ARGUMENTS]) == 2 and "-o FOLDER is missing" in capsys.readouterr().err
    (tmp_path / "empty").mkdir()
    assert main(["segment", str(tmp_path / "empty"), *ARGUMENTS, "-o", str(tmp_path / "o")]) == 2
    assert "no shapes here" in capsys.readouterr().err and not (tmp_path / "o").exists()
    assert main(["segment", str(tmp_path / "none"), str(folder), *ARGUMENTS, "-o", str(tmp_path / "o")]) == 2
    assert "no such file or folder" in capsys.readouterr().err
    assert main(["segment", str(folder), "--parts", "a, a", "-o", str(tmp_path / "o")]) == 2
    assert not (tmp_path / "o").exists()


def test_results_in_the_folder_of_the_files(tmp_path: Path, here: None) -> None:
    """They are not taken for shapes when the command runs again."""
    folder = boxes(tmp_path / "in", 2)
    for _ in range(2):
        assert main(["segment", str(folder), *ARGUMENTS, "-o", str(folder / "out"), "-q"]) == 0
        assert len((folder / "out" / "results.jsonl").read_text().splitlines()) == 2


def test_when_every_file_fails(tmp_path: Path, here: None, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "broken.obj").write_text("v 0 0 0\nf 1 2 9\n")
    assert main(["segment", str(tmp_path / "in"), *ARGUMENTS, "-o", str(tmp_path / "out")]) == 2
    assert "none of 1 files could be segmented; the first: broken.obj: is damaged" in capsys.readouterr().err
    assert "is damaged" in (tmp_path / "out" / "results.jsonl").read_text()


def test_a_file_whose_worker_dies(tmp_path: Path, segmenter: Segmenter, monkeypatch: pytest.MonkeyPatch) -> None:
    class Dies(InProcess):
        def run(self, tasks: list[Any], look_ahead: int | None = None) -> Iterator[tuple[int, Any]]:
            return ((i, Died("killed its worker") if i == 1 else result) for i, result in super().run(tasks))

    monkeypatch.setattr(batch, "WorkerPool", Dies)
    shapes = named_shapes([boxes(tmp_path / "in", 3)], tmp_path)
    report = segment_files(shapes, segmenter, PARTS, tmp_path / "out", FileOptions(outputs={"html": False}))
    assert report["failed"] == [{"file": "1/001.obj", "reason": "killed its worker"}] and report["segmented"] == 2


def test_one_run_at_a_time(tmp_path: Path) -> None:
    with (
        batch._Results(tmp_path, {}, False),
        pytest.raises(InputError, match="another pa3d segment writes to it"),
        batch._Results(tmp_path, {}, False),
    ):
        pass


# Killed


def fake_run(folder: Path, shapes: dict[str, Path], fresh: bool = False) -> None:
    """A whole run without a model: every file has three result files, and the third file fails."""
    with batch._Results(folder, {"format": 1}, fresh) as results:
        failed = {}
        for i, (name, file) in enumerate(shapes.items()):
            if i == 2:
                failed[name] = "is damaged"
                results.discard(name)
            elif not results.is_done(name, file):
                shape = {"kind": "mesh", "vertices": 4, "faces": 4, "source": str(file)}
                summary = {"settings": {"run": results.digest}, "shape": shape, "parts": [], "not_found": []}
                text = json.dumps({**summary, "none": {"share": 0.0, "count": 0}})
                results.put(name, {"labels.npz": name.encode(), "split/a.glb": b"x", "summary.json": text.encode()})
        results.finish(shapes, failed, [])


def run_until(call: Callable[[], None], limit: int, after: bool) -> int:
    """The exit code of a process that runs until rename or removal number `limit`: 1 if it was ended, else 0."""
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    steps = 0

    def counted(real: Callable[..., Any]) -> Callable[..., Any]:
        def replacement(*arguments: Any, **keywords: Any) -> Any:
            nonlocal steps
            steps += 1
            if steps == limit and not after:
                os._exit(1)
            try:
                return real(*arguments, **keywords)
            finally:
                if steps == limit:
                    os._exit(1)

        return replacement

    try:
        for function in ("rename", "replace", "unlink", "rmdir", "mkdir"):
            setattr(os, function, counted(getattr(os, function)))
        call()
        os._exit(0)
    finally:
        os._exit(2)


@pytest.mark.parametrize("fresh", [False, True])
def test_killed_between_any_two_steps(tmp_path: Path, fresh: bool) -> None:
    """Every change of the disk is once the last thing that a run does, and once the first that it does not do."""
    shapes = {name: write_box(tmp_path / "in" / name) for name in ("a.obj", "b/c.obj", "b/d.obj", "e.obj")}
    fake_run(tmp_path / "whole", shapes)
    expected = content(tmp_path / "whole")
    assert len(expected) == 3 + 3 * 3
    for after in (False, True):
        for limit in range(1, 1000):
            out = tmp_path / f"{limit}{after}"
            if fresh:
                fake_run(out, shapes)
            code = run_until(lambda out=out: fake_run(out, shapes, fresh), limit, after)  # type: ignore[misc]
            assert code in (0, 1)
            torn = [path for path in out.rglob("labels.npz") if not path.with_name("summary.json").exists()]
            assert all(".pa3d-segment" in str(path) for path in torn)
            fake_run(out, shapes)
            assert content(out) == expected, f"killed {'after' if after else 'before'} step {limit}"
            assert not (out / ".pa3d-segment").exists()
            if code == 0:
                break
        assert limit > 15


@pytest.mark.slow
def test_twenty_kills(tmp_path: Path) -> None:
    """The whole command on 200 files, its workers with it or one of them alone, killed at twenty random moments."""
    folder = boxes(tmp_path / "in", 200)
    for i in range(5):
        (folder / f"broken{i}.obj").write_text(f"v 0 0 {i}\nf 1 2 9\n")
    command = [sys.executable, "-m", "pa3d.cli", "segment", str(folder), *ARGUMENTS, "--workers", "2", "-q", "-o"]
    assert subprocess.run([*command, str(tmp_path / "whole")], stderr=subprocess.DEVNULL).returncode == 3
    out, rng, kills = tmp_path / "killed", random.Random(0), 0
    while kills < 20:
        before = finished(out)
        process = subprocess.Popen([*command, str(out)], stderr=subprocess.DEVNULL, start_new_session=True)
        target, delay = before + rng.randint(0, 6), 0.05 * rng.random()
        while finished(out) < target and process.poll() is None:
            time.sleep(0.005)
        time.sleep(delay)
        assert process.poll() is None, f"ended by itself after {kills} kills"
        if kills % 3 == 2:  # a worker alone, and later the others
            for child in children(process.pid)[-1:]:
                os.kill(child, signal.SIGKILL)
            time.sleep(0.3 * rng.random())
        (os.kill if kills % 2 else os.killpg)(process.pid, signal.SIGKILL)
        process.wait()
        kills += 1
    assert subprocess.run([*command, str(out)], stderr=subprocess.DEVNULL).returncode == 3
    assert content(out) == content(tmp_path / "whole")
    assert len((out / "results.jsonl").read_text().splitlines()) == 205


def finished(out: Path) -> int:
    return len(list(out.glob("[012]/*/summary.json")))


def children(pid: int) -> list[int]:
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


# Memory


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="memory is read from Linux's /proc")
def test_memory_stays_flat(tmp_path: Path, segmenter: Segmenter) -> None:
    """Of a worker: 100 more files take less than 20 kilobytes each."""
    task = batch._SegmentFile(segmenter, PARTS, FileOptions(outputs={"pictures": False, "html": False}), None, "run")
    file = str(write_box(tmp_path / "a.obj"))

    def used() -> int:
        for _ in range(100):
            result: FileResult = task(file)
            assert not result.error
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    used()
    before = used()
    assert used() - before < 2_000_000


def test_memory_of_the_process_that_writes(
    tmp_path: Path, segmenter: Segmenter, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It keeps no result: 2,000 of 20 kilobytes take less than a tenth of their size."""
    import tracemalloc

    part = {"label": 0, "share": 1.0, "mean_confidence": 0.5, "count": 4, "presence": 0.9, "found": True}
    shape = {"kind": "mesh", "vertices": 4, "faces": 4}
    summary = {"shape": shape, "parts": [{"name": name, **part} for name in PARTS], "not_found": []}
    text = json.dumps({**summary, "none": {"share": 0.0, "count": 0}}).encode()

    class Fake(InProcess):
        def run(self, tasks: list[Any], look_ahead: int | None = None) -> Iterator[tuple[int, FileResult]]:
            return ((i, FileResult({"summary.json": text, "large": bytes(20_000)})) for i in range(len(tasks)))

    monkeypatch.setattr(batch, "WorkerPool", Fake)

    def progress(done: int, failed: int, total: int) -> None:
        if done == 1:
            tracemalloc.start()

    shapes = {f"{i:05d}.obj": tmp_path / "none.obj" for i in range(2000)}
    report = segment_files(shapes, segmenter, PARTS, tmp_path / "out", progress=progress)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert report["segmented"] == 2000 and peak < 4_000_000


# From Python


def test_segment_many(segmenter: Segmenter) -> None:
    """Any iterable, in order, the same from workers; one at a time; exceptions as values if asked for."""
    taken: list[Any] = []

    def shapes() -> Iterator[Any]:
        for shape in (CHAIR, np.random.default_rng(0).random((300, 3)), "nothing.glb", CHAIR):
            taken.append(shape)
            yield shape

    results = segmenter.segment_many(shapes(), PARTS, category="chair", return_exceptions=True)
    first = next(results)
    assert len(taken) == 1 and first.part_names == PARTS
    expected = segmenter.segment(CHAIR, PARTS, category="chair")
    rest = list(results)
    there = list(segmenter.segment_many(shapes(), PARTS, category="chair", workers=2, return_exceptions=True))
    for found in ([first, *rest], there):
        assert [type(result) for result in found] == [Segmentation, Segmentation, InputError, Segmentation]
        assert "nothing.glb: no such file" in str(found[2])
        for result in (found[0], found[3]):
            assert np.array_equal(result.scores, expected.scores) and np.array_equal(result.labels, expected.labels)
    assert np.array_equal(rest[0].scores, there[1].scores)
    for workers in (0, 1):
        results = segmenter.segment_many(["nothing.glb", CHAIR], PARTS, workers=workers)
        with pytest.raises(InputError, match=r"nothing\.glb: no such file"):
            next(results)


def test_segment_many_refuses_at_once(segmenter: Segmenter) -> None:
    for shapes, parts, options, error, message in (
        ("chair.glb", PARTS, {}, InputError, "one path; give a list"),
        ([CHAIR], PARTS, {"workers": -1}, InputError, "workers is -1"),
        ([CHAIR], [], {}, InputError, "part"),
        ([CHAIR], PARTS, {"text_vectors": np.zeros((2, 384))}, InputError, "text_vectors have shape"),
        ([CHAIR], PARTS, {"smaple": 3}, TypeError, "smaple"),
    ):
        with pytest.raises(error, match=message):
            segmenter.segment_many(shapes, parts, **options)  # type: ignore[arg-type]


def test_the_names_are_encoded_once(segmenter: Segmenter, monkeypatch: pytest.MonkeyPatch) -> None:
    from pa3d import text

    calls = []
    monkeypatch.setattr(text, "embed_parts", lambda *a, real=text.embed_parts, **k: calls.append(a) or real(*a, **k))
    assert len(list(segmenter.segment_many([CHAIR] * 3, PARTS))) == 3
    assert [call[1] for call in calls] == [PARTS, ["clay"]]  # the chair's material is evidence, too
