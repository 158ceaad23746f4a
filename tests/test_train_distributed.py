"""Several gloo processes against one: batch normalisation and its gradients, and the losses of a run."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from pa3d.train.distributed import DistributedContext, SyncBatchNormFunction, update_running_stats  # noqa: E402

WORKER = Path(__file__).with_name("gloo_worker.py")
PROCESSES = 2


def launch(*arguments: str) -> None:
    """The worker in as many processes as there would be under torchrun."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    common = {**os.environ, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "WORLD_SIZE": str(PROCESSES)}
    common |= {"OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
    running = [
        subprocess.Popen(
            [sys.executable, str(WORKER), *arguments],
            env={**common, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(PROCESSES)
    ]
    errors = [process.communicate()[1] for process in running]
    assert [process.returncode for process in running] == [0] * PROCESSES, "\n".join(errors)


def losses(folder: Path) -> np.ndarray:
    rows = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    return np.array([row["loss"] for row in rows if "loss" in row])


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["", "reference"])
@pytest.mark.parametrize("stage", ["stage1", "stage2", "joint"])
def test_two_processes_train_as_one(stage: str, backend: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same global batch, at the official rates: losses within 1e-5 over 50 steps, statistics of all shapes
    included. (At ten times those rates rounding grows a thousandfold in as many steps, with or without kernels.)"""
    from gloo_worker import main

    monkeypatch.setenv("PA3D_BACKEND", backend)

    steps = 50
    launch(str(tmp_path / "two"), stage, str(steps))
    main(str(tmp_path / "one"), stage, str(steps))
    one, two = losses(tmp_path / "one"), losses(tmp_path / "two")
    assert len(one) == len(two) == steps and one[-1] < one[0]
    np.testing.assert_allclose(two, one, rtol=0, atol=1e-5)
    checked = [
        [row for row in map(json.loads, (tmp_path / run / "log.jsonl").read_text().splitlines()) if "val_loss" in row]
        for run in ("one", "two")
    ]
    assert abs(checked[0][-1]["val_loss"] - checked[1][-1]["val_loss"]) < 1e-4


@pytest.mark.slow
def test_two_processes_train_with_muon_as_one(tmp_path: Path) -> None:
    from gloo_worker import main

    launch(str(tmp_path / "two"), "stage2", "20", "muon")
    main(str(tmp_path / "one"), "stage2", "20", "muon")
    one, two = losses(tmp_path / "one"), losses(tmp_path / "two")
    assert len(one) == len(two) == 20 and one[-1] < one[0]
    np.testing.assert_allclose(two, one, rtol=0, atol=1e-5)


def test_batch_normalisation_over_processes_is_torchs_own_for_one() -> None:
    torch.manual_seed(0)
    norm = torch.nn.BatchNorm1d(5).double().train()
    torch.nn.init.normal_(norm.weight)
    x = torch.randn(40, 5, dtype=torch.float64, requires_grad=True)
    factors = torch.randn(40, 5, dtype=torch.float64)
    (norm(x) * factors).sum().backward()
    expected = [x.grad, norm.weight.grad, norm.bias.grad, norm.running_mean, norm.running_var]
    again = torch.nn.BatchNorm1d(5).double().train()
    again.load_state_dict({**norm.state_dict(), "running_mean": torch.zeros(5), "running_var": torch.ones(5)})
    y = x.detach().clone().requires_grad_()
    out, mean, variance, n = SyncBatchNormFunction.apply(y, again.weight, again.bias, again.eps)
    update_running_stats(again, mean, variance, n)
    (out * factors).sum().backward()
    found = [y.grad, again.weight.grad, again.bias.grad, again.running_mean, again.running_var]
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-12)


def test_processes_share_a_batch() -> None:
    from pa3d.errors import InputError

    contexts = [DistributedContext(rank, 4, torch.device("cpu")) for rank in range(4)]
    assert [context.local_range(8) for context in contexts] == [(0, 2), (2, 4), (4, 6), (6, 8)]
    with pytest.raises(InputError, match=r"optimizer\.batch 6 is not a multiple of the 4 processes"):
        contexts[0].local_range(6)
