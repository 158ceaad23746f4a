"""Muon: the orthogonalisation and a step by hand, which weights it takes, and runs that go on."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

from training import TINY, tiny_config, tiny_data  # noqa: E402

from pa3d.errors import InputError  # noqa: E402
from pa3d.train import muon  # noqa: E402
from pa3d.train.config import OptimizerConfig, TrainConfig, with_overrides  # noqa: E402
from pa3d.train.loop import STATE, train  # noqa: E402
from pa3d.train.model import TrainModel  # noqa: E402
from pa3d.train.muon import COEFFICIENTS, ITERATIONS, Muon, is_matrix, orthogonalize  # noqa: E402
from pa3d.train.optimizer import parameter_groups  # noqa: E402
from pa3d.train.trainer import Trainer  # noqa: E402

WIDE = replace(TINY, dim=64, heads=2, mlp_hidden=128, embed=(64, 64, 64, 64))


def polynomial(x: float) -> float:
    a, b, c = COEFFICIENTS
    for _ in range(ITERATIONS):
        x = a * x + b * x**3 + c * x**5
    return x


@pytest.mark.parametrize("shape", [(64, 64), (96, 64), (64, 200)])
@pytest.mark.parametrize("half", [False, True])
def test_singular_values_become_those_of_the_polynomial(shape: tuple[int, int], half: bool) -> None:
    """The matrix U S V^T becomes U p(S / |S|) V^T, p five times the polynomial of Jordan."""
    generator = torch.Generator().manual_seed(0)
    u, s, vt = torch.linalg.svd(torch.randn(*shape, generator=generator), full_matrices=False)
    s = s.clamp(min=1.0)
    found = orthogonalize(3 * (u * s) @ vt, half=half)
    wanted = torch.tensor([polynomial(float(x)) for x in s / s.norm()])
    assert found.dtype == torch.float32 and found.shape == shape
    torch.testing.assert_close(u.T @ found @ vt.T, torch.diag(wanted), rtol=0, atol=0.1 if half else 1e-4)
    assert float(wanted.min()) > 0.6 and float(wanted.max()) < 1.3


@pytest.mark.parametrize("decay", [0.0, 2.0, 6.0])
def test_long_matrices_take_the_gram_matrix(decay: float) -> None:
    """As five iterations in float64 on the matrix itself, with singular values from 1 down to 10^-decay.

    In the Gram matrix they are squared, so those below sqrt(2^-24) drown in its rounding. At that limit the result is
    0.1, and the rounding, enlarged by the iterations like the value itself, moves it by 2e-3 of that.
    """
    generator = torch.Generator().manual_seed(1)
    u, _, vt = torch.linalg.svd(torch.randn(64, 256, generator=generator, dtype=torch.float64), full_matrices=False)
    matrix = u * torch.logspace(0, -decay, 64, dtype=torch.float64) @ vt
    wanted = muon._iterate(matrix / matrix.norm())
    for found in (orthogonalize(matrix.float()), orthogonalize(matrix.float().T).T):
        torch.testing.assert_close(found.double(), wanted, rtol=0, atol=5e-4)


def test_two_by_two_by_hand() -> None:
    """diag(3, 4) has the norm 5: 0.6 and 0.8 go through the polynomial; a turn before it comes out as it is."""
    turn = torch.tensor([[0.0, -1.0], [1.0, 0.0]])
    wanted = turn @ torch.diag(torch.tensor([polynomial(0.6), polynomial(0.8)]))
    torch.testing.assert_close(orthogonalize(turn @ torch.diag(torch.tensor([3.0, 4.0]))), wanted, rtol=0, atol=1e-5)
    assert not orthogonalize(torch.zeros(3, 5)).any()


def test_a_step_by_hand() -> None:
    """Two steps of a matrix and of a vector: momentum, Nesterov, decay, the factor 0.2 sqrt(128), and AdamW's."""
    generator = torch.Generator().manual_seed(1)
    weight, bias = (torch.nn.Parameter(torch.randn(*s, generator=generator)) for s in ((64, 128), (64,)))
    other = torch.nn.Parameter(bias.detach().clone())
    groups = [
        {"params": [weight], "names": ["w"], "lr": 0.1, "weight_decay": 0.5, "muon": True},
        {"params": [bias], "names": ["b"], "lr": 0.1, "weight_decay": 0.5, "muon": False},
    ]
    optimizer = Muon(groups, momentum=0.9, betas=(0.9, 0.98), half=False)
    adamw = torch.optim.AdamW([other], lr=0.1, weight_decay=0.5, betas=(0.9, 0.98))
    expected, kept = weight.detach().clone(), torch.zeros(64, 128)
    for _ in range(2):
        gradient = torch.randn(64, 128, generator=generator)
        weight.grad, bias.grad = gradient, torch.randn(64, generator=generator)
        other.grad = bias.grad.clone()
        kept = 0.9 * kept + 0.1 * gradient
        step = orthogonalize(0.9 * kept + 0.1 * gradient)
        expected = expected * (1 - 0.1 * 0.5) - 0.1 * 0.2 * 128**0.5 * step
        optimizer.step(), adamw.step()
        torch.testing.assert_close(weight.detach(), expected, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(bias.detach(), other.detach(), rtol=1e-5, atol=1e-6)
    assert set(optimizer.state[weight]) == {"momentum"} and "exp_avg_sq" in optimizer.state[bias]
    optimizer.zero_grad()
    assert weight.grad is None and bias.grad is None


def test_matrices_of_64_by_64_go_to_muon() -> None:
    model = TrainModel(WIDE)
    groups = parameter_groups(model, OptimizerConfig(kind="muon"))
    muon = {name for group in groups if group["muon"] for name in group["names"]}
    assert {"encoder.blocks.blocks.0.attn.qkv.weight", "encoder.encoder.second_conv.0.weight", "proj.weight"} <= muon
    assert muon == {name for name, p in model.named_parameters() if is_matrix(p)}
    # Three coordinates in are no 64 columns, and a class token of one row is no matrix.
    assert not {"encoder.encoder.first_conv.0.weight", "encoder.cls_token", "logit_scale"} & muon
    assert not any(group["muon"] for group in parameter_groups(model, OptimizerConfig()))
    assert sum(len(group["names"]) for group in groups) == len(list(model.parameters()))


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_stopped_run_goes_on_byte_for_byte(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, precision: str) -> None:
    config = tiny_config(
        optimizer={"kind": "muon", "ema": 0.9}, schedule={"steps": 6}, run={"save_every": 3},
        augmentation={"kind": "free"},
    )  # fmt: skip
    config = replace(config, encoder=WIDE, precision=precision)  # type: ignore[arg-type]
    train(config, tmp_path / "whole", data=tiny_data(config))

    class Stopped(Exception):
        pass

    train_step = Trainer.train_step

    def stopping(self: Trainer, batch: object) -> object:
        if self.step == 4:
            raise Stopped
        return train_step(self, batch)  # type: ignore[arg-type]

    with monkeypatch.context() as patch, pytest.raises(Stopped):
        patch.setattr(Trainer, "train_step", stopping)
        train(config, tmp_path / "parts", data=tiny_data(config))
    train(config, tmp_path / "parts", data=tiny_data(config))
    for name in (STATE, "last.safetensors"):
        assert (tmp_path / "whole" / name).read_bytes() == (tmp_path / "parts" / name).read_bytes(), name


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("optimizer.kind=sgd", "optimizer.kind is 'sgd'; expected one of 'adamw', 'muon'"),
        ("optimizer.momentum=1.5", "optimizer.momentum is 1.5; expected a number from 0 to 1"),
    ],
)
def test_wrong_settings_are_named(text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        with_overrides(TrainConfig(), [text])
