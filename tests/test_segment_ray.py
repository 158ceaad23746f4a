"""pa3d segment on a Ray cluster of two workers on this machine, one of them killed in the middle."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import pytest
from ray_cluster import kill_one
from test_segment_many import ARGUMENTS, PARTS, boxes, content

from pa3d import Segmenter
from pa3d.cli import main
from pa3d.cluster import ray_results
from pa3d.listing import named_shapes
from pa3d.report.batch import FileOptions, segment_files
from pa3d.workers import Died


def test_without_ray(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    from pa3d import cluster

    monkeypatch.setattr(cluster, "find_spec", lambda name: None)
    arguments = ["segment", str(boxes(tmp_path / "in", 1)), *ARGUMENTS, "-o", str(tmp_path / "out"), "--ray", "auto"]
    assert main(arguments) == 2 and "pip install 'pa3d[ray]'" in capsys.readouterr().err


@pytest.mark.slow
def test_a_worker_of_the_cluster_is_killed(tmp_path: Path, ray_address: str) -> None:
    """The results are those of this machine, byte for byte."""
    folder = boxes(tmp_path / "in", 60)
    (folder / "broken.obj").write_text("v 0 0 0\nf 1 2 9\n")
    shapes, options = named_shapes([folder], tmp_path), FileOptions(outputs={"pictures": False, "html": False})
    segmenter = Segmenter.from_pretrained()
    segment_files(shapes, segmenter, PARTS, tmp_path / "here", options, workers=2)
    killed: list[int] = []

    def progress(done: int, failed: int, total: int) -> None:
        if done >= 5 and len(killed) < 2:
            killed.extend(kill_one())

    report = segment_files(shapes, segmenter, PARTS, tmp_path / "there", options, ray=ray_address, progress=progress)
    assert killed, "no worker was found to be killed"
    assert len(report["failed"]) == 1 and report["segmented"] == 60
    assert content(tmp_path / "there") == content(tmp_path / "here")


class BeginsTheThirdTime:
    """A function that cannot be unpickled in the first two workers."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __setstate__(self, state: dict[str, Path]) -> None:
        self.__dict__.update(state)
        for attempt in ("first", "second"):
            with suppress(FileExistsError):
                (self.folder / attempt).touch(exist_ok=False)
                raise RuntimeError(f"the {attempt} worker is not ready")

    def __call__(self, task: int) -> int:
        return task * task


class NeverBegins(BeginsTheThirdTime):
    def __setstate__(self, state: dict[str, Path]) -> None:
        raise RuntimeError("this machine has no model")


@pytest.mark.slow
def test_workers_that_cannot_begin(tmp_path: Path, ray_address: str) -> None:
    """Their tasks go to others; if there are none, the reason is said."""
    assert sorted(ray_results(BeginsTheThirdTime(tmp_path), range(9), ray_address)) == [(i, i * i) for i in range(9)]
    assert (tmp_path / "second").exists()
    ((_, died),) = ray_results(NeverBegins(tmp_path), [1], ray_address)
    assert died == Died("could not begin, 6 times (RuntimeError: this machine has no model)")
