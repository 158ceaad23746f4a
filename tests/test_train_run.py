"""Runs: they learn, freeze, stop and go on, and come out of the command line as models that segment."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from training import MINILM, TINY, ball, tiny_config, tiny_data  # noqa: E402

from pa3d.checkpoint import load  # noqa: E402
from pa3d.cli import main  # noqa: E402
from pa3d.data.official import write_tiny_official  # noqa: E402
from pa3d.errors import InputError  # noqa: E402
from pa3d.model import MiniPointNet  # noqa: E402
from pa3d.train import loop  # noqa: E402
from pa3d.train.config import ScheduleConfig, TrainConfig, load_config  # noqa: E402
from pa3d.train.loop import train  # noqa: E402
from pa3d.train.model import TrainModel, TrainPointNet  # noqa: E402
from pa3d.train.optimizer import lr_factor, parameter_groups  # noqa: E402
from pa3d.train.trainer import Trainer  # noqa: E402
from pa3d.train.validation import finest_labels  # noqa: E402

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def trainer(config: TrainConfig, **options: object) -> Trainer:
    some = tiny_data(config)
    text = None if some.text_bank is None else torch.from_numpy(some.text_bank.vectors)
    return Trainer(config, text_vectors=text, feature_dim=some.feature_dim, **options)  # type: ignore[arg-type]


# The module


def test_the_trained_pointnet_computes_the_published_formula() -> None:
    """Outputs, gradients and running statistics of the plain formulation, in float64."""
    torch.manual_seed(0)
    widths = (8, 16, 24, 16)
    plain, ours = MiniPointNet(widths).double().train(), TrainPointNet(widths).double().train()
    for norm in (plain.first_conv[1], plain.second_conv[1]):
        torch.nn.init.normal_(norm.weight, 1.0, 0.2)
        torch.nn.init.normal_(norm.bias)
    ours.load_state_dict(plain.state_dict())
    patches = torch.randn(3, 5, 7, 3, dtype=torch.float64) * 0.1
    factors = torch.randn(3, 5, 16, dtype=torch.float64)
    found = []
    for module in (plain, ours):
        for _ in range(2):
            y = module(patches)
        (y * factors).sum().backward()
        found.append((y, {k: p.grad for k, p in module.named_parameters()}, dict(module.named_buffers())))
    (y, grads, buffers), (z, ours_grads, ours_buffers) = found
    torch.testing.assert_close(z, y, rtol=1e-10, atol=1e-12)
    for name, expected in grads.items():
        torch.testing.assert_close(ours_grads[name], expected, rtol=1e-8, atol=1e-10, msg=name)
    for name, expected in buffers.items():
        torch.testing.assert_close(ours_buffers[name], expected, rtol=1e-10, atol=1e-12, msg=name)
    torch.testing.assert_close(ours.eval()(patches), plain.eval()(patches), rtol=1e-10, atol=1e-12)


def test_branches_are_dropped_whole_and_the_mean_stays() -> None:
    model = TrainModel(replace(TINY, drop_path=0.5))
    kept = model.sample_drop_path_scale(torch.Generator().manual_seed(0), 4000)
    assert kept is not None and kept.shape == (2, 2, 4000)
    assert kept[0].unique().tolist() == [1.0] and kept[1].unique().tolist() == [0.0, 2.0]
    assert abs(float(kept[1].mean()) - 1) < 5 / 8000**0.5
    assert TrainModel(replace(TINY, drop_path=0.0)).sample_drop_path_scale(torch.Generator(), 4) is None


def test_heads_and_encoder_have_their_own_rates() -> None:
    config = tiny_config(optimizer={"lr": 1e-4, "head_lr": 5e-4, "decay_vectors": False})
    groups = parameter_groups(TrainModel(TINY), config.optimizer)
    by_name = {name: g for g in groups for name in g["names"]}
    assert by_name["proj.weight"]["lr"] == by_name["logit_scale"]["lr"] == 5e-4
    assert by_name["encoder.blocks.blocks.0.attn.qkv.weight"]["lr"] == 1e-4
    assert by_name["proj.weight"]["weight_decay"] == 0.05 and by_name["proj.bias"]["weight_decay"] == 0
    assert len(by_name) == len(dict(TrainModel(TINY).named_parameters()))


def test_rates_rise_stay_and_fall() -> None:
    linear = ScheduleConfig(kind="linear", warmup=9, decay=0.5)
    rates = [lr_factor(step, 100, linear) for step in range(101)]
    assert rates[0] == 0.1 and rates[9] == rates[50] == 1.0 and rates[75] == 0.5 and rates[100] == 0.0
    assert [lr_factor(step, 100, ScheduleConfig()) for step in (0, 50, 99)] == [1.0, 1.0, 1.0]
    cosine = ScheduleConfig(kind="cosine")
    assert (
        lr_factor(0, 100, cosine) == 1.0
        and abs(lr_factor(50, 100, cosine) - 0.5) < 1e-12
        and lr_factor(100, 100, cosine) == 0.0
    )


# Steps


def test_freezing_leaves_every_frozen_tensor_as_it_was() -> None:
    config = replace(tiny_config(optimizer={"batch": 4}), freeze="official")
    one = trainer(config)
    before = {k: v.clone() for k, v in one.model.state_dict().items()}
    batch_builder = tiny_data(config).batch_builder(config)
    for step in range(3):
        one.train_step(batch_builder.batch(step, 0, 4))
    last = f"encoder.blocks.blocks.{TINY.depth - 1}."
    moving = (
        last,
        "encoder.norm.",
        "encoder.reduce_dim.",
        "encoder.cls_token",
        "encoder.cls_pos",
        "proj.",
        "logit_scale",
    )
    for name, now in one.model.state_dict().items():
        assert torch.equal(before[name], now) != name.startswith(moving), name


def test_freezing_as_released_changes_statistics_and_no_other_frozen_tensor() -> None:
    """The frozen layers normalise by the statistics of the batch, and keep a running mean of them; weight decay reaches
    the temperature."""
    official = replace(tiny_config(optimizer={"batch": 4}), freeze="official")
    released = replace(official, freeze="as released")
    one, other = trainer(released), trainer(official)
    before = {k: v.clone() for k, v in one.model.state_dict().items()}
    batch = tiny_data(released).batch_builder(released).batch(0, 0, 4)
    one.model.train()
    other.model.train()
    a, b = (t.model(batch.patches, batch.centers).projected for t in (one, other))
    assert (a - b).abs().max() > 1e-3
    one.train_step(batch)
    changed = {k for k, v in one.model.state_dict().items() if not torch.equal(before[k], v)}
    statistics = {k for k in before if k.endswith(("running_mean", "running_var", "num_batches_tracked"))}
    assert statistics and statistics <= changed
    trainable = {name for name, parameter in one.model.named_parameters() if parameter.requires_grad}
    assert changed - statistics <= trainable
    assert trainable == {name for name, p in other.model.named_parameters() if p.requires_grad}
    decay = [group["weight_decay"] for group in one.optimizer.param_groups if "logit_scale" in group["names"]]
    assert decay == [0.05]


def test_without_freezing_everything_moves() -> None:
    """But for biases that a normalisation takes away again: their gradients are 0 to the bit."""
    config = tiny_config()
    one = trainer(config)
    before = {k: v.clone() for k, v in one.model.state_dict().items()}
    batch_builder = tiny_data(config).batch_builder(config)
    for step in range(2):
        one.train_step(batch_builder.batch(step, 0, 4))
    still = {k for k, v in one.model.state_dict().items() if torch.equal(before[k], v)}
    net = "encoder.encoder."
    assert still == {f"{net}first_conv.0.bias", f"{net}first_conv.3.bias", f"{net}second_conv.0.bias"}


def test_accumulated_parts_make_the_gradient_of_the_whole() -> None:
    """With batch statistics frozen, which are those of a part otherwise."""
    found = []
    for accumulate in (1, 2):
        config = replace(tiny_config(optimizer={"accumulate": accumulate, "batch": 4}), freeze="official")
        one = trainer(config)
        one.train_step(tiny_data(config).batch_builder(config).batch(0, 0, 4))
        found.append({k: p.grad for k, p in one.model.named_parameters() if p.grad is not None})
    for name, expected in found[0].items():
        torch.testing.assert_close(found[1][name], expected, rtol=1e-4, atol=1e-6, msg=name)


def test_gradients_are_clipped_to_a_norm() -> None:
    config = tiny_config(optimizer={"clip": 1e-3})
    one = trainer(config)
    result = one.train_step(tiny_data(config).batch_builder(config).batch(0, 0, 4))
    squares = [float(p.grad.square().sum()) for p in one.model.parameters() if p.grad is not None]
    assert result.grad_norm > 1e-3 and sum(squares) ** 0.5 <= 1.0001e-3


def test_the_average_lags_behind_and_is_what_is_saved() -> None:
    config = tiny_config(optimizer={"ema": 0.9})
    one, batch_builder = trainer(config), tiny_data(config).batch_builder(config)
    expected = {k: v.clone() for k, v in one.model.state_dict().items()}
    for step in range(3):
        one.train_step(batch_builder.batch(step, 0, 4))
        keep = min(0.9, (2 + step) / (11 + step))
        for name, now in one.model.state_dict().items():
            if now.is_floating_point():
                expected[name] += (now - expected[name]) * (1 - keep)
    saved = one.checkpoint({}).tensors["blocks.blocks.0.mlp.fc1.weight"]
    np.testing.assert_allclose(saved, expected["encoder.blocks.blocks.0.mlp.fc1.weight"], rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("what", ["loss", "gradient"])
def test_what_is_not_finite_stops_with_the_shapes_and_changes_nothing(
    what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tiny_config()
    one = trainer(config)
    batch = tiny_data(config).batch_builder(config).batch(0, 0, 4)
    assert batch.targets is not None
    if what == "loss":
        batch.targets[0] = float("nan")
    else:
        one.model.proj.weight.register_hook(lambda grad: grad * float("inf"))
    before = {k: v.clone() for k, v in one.model.named_parameters()}
    with pytest.raises(InputError, match=rf"(loss is nan|gradient has norm \w+) at step 0; .*: {', '.join(batch.ids)}"):
        one.train_step(batch)
    assert all(torch.equal(before[k], v) for k, v in one.model.named_parameters())


# Runs


@pytest.mark.parametrize("stage", ["stage1", "stage2", "joint"])
def test_a_small_run_learns(stage: str, tmp_path: Path) -> None:
    config = tiny_config(
        stage,
        optimizer={"lr": 3e-3, "head_lr": 3e-3, "batch": 8, "ema": 0.9},
        schedule={"steps": 60},
        run={"validate_every": 30},
    )
    logged: list[str] = []
    train(config, tmp_path, data=tiny_data(config, val=3), log=logged.append)
    rows = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    losses = [row["loss"] for row in rows if "loss" in row]
    assert len(losses) == 60 and np.mean(losses[-5:]) < 0.8 * losses[0]
    checked = [row for row in rows if "val_loss" in row]
    assert [row["step"] for row in checked] == [30, 60] and ("val_miou" in checked[0]) == (stage != "stage1")
    assert "shapes/s" in logged[0] and "min left" in logged[0]
    for name in ("last", "best"):
        checkpoint = load(tmp_path / f"{name}.safetensors")
        assert checkpoint.text_space == ("visual" if stage == "stage1" else MINILM)
        assert checkpoint.provenance["records"] == {"balls": 6} and checkpoint.provenance["licenses"] == ["MIT"]
    if stage == "stage2":
        assert checked[-1]["val_miou"] > 0.6  # two halves of a ball; 0.33 by chance


def test_the_best_weights_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    values = iter([0.4, 0.9, 0.6])
    monkeypatch.setattr(loop.Validator, "validate", lambda self, one: {"val_loss": 1.0, "val_miou": next(values)})
    config = tiny_config(run={"validate_every": 2})
    train(config, tmp_path, data=tiny_data(config, val=1))
    best, last = (load(tmp_path / f"{name}.safetensors") for name in ("best", "last"))
    assert best.provenance["step"] == 4 and last.provenance["step"] == 6
    assert best.provenance["validation"]["val_miou"] == 0.9


@pytest.mark.parametrize("ema", [0.0, 0.95])
def test_a_stopped_run_goes_on_as_if_it_had_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ema: float) -> None:
    config = tiny_config(
        "joint",
        optimizer={"ema": ema},
        schedule={"steps": 12, "kind": "cosine"},
        run={"save_every": 4, "validate_every": 6},
        augmentation={"kind": "free"},
    )
    config = replace(config, precision="bf16")
    train(config, tmp_path / "whole", data=tiny_data(config, val=2))

    class Stopped(Exception):
        pass

    update = Trainer.train_step
    for steps in (6, 3):

        def stopping(self: Trainer, batch: object, left: list[int] = [steps]) -> object:  # noqa: B006
            left[0] -= 1
            if left[0] < 0:
                raise Stopped
            return update(self, batch)  # type: ignore[arg-type]

        with monkeypatch.context() as patch, pytest.raises(Stopped):
            patch.setattr(Trainer, "train_step", stopping)
            train(config, tmp_path / "parts", data=tiny_data(config, val=2))
    train(config, tmp_path / "parts", data=tiny_data(config, val=2))
    for name in ("last", "best", "state"):
        a, b = ((tmp_path / run / f"{name}.safetensors").read_bytes() for run in ("whole", "parts"))
        assert a == b, name
    logs = [[json.loads(line) for line in (tmp_path / run / "log.jsonl").read_text().splitlines()] for run in
            ("whole", "parts")]  # fmt: skip
    for row in (row for log in logs for row in log):
        row.pop("shapes_per_s", None), row.pop("minutes_left", None)
    assert logs[0] == logs[1]


def test_a_run_goes_on_only_as_what_it_was(tmp_path: Path) -> None:
    config = tiny_config(schedule={"steps": 2})
    train(config, tmp_path, data=tiny_data(config))
    with pytest.raises(InputError, match=r"another value of optimizer\.lr"):
        train(tiny_config(schedule={"steps": 2}, optimizer={"lr": 5.0}), tmp_path, data=tiny_data(config))
    with pytest.raises(InputError, match="another value of the number of records"):
        train(config, tmp_path, data=tiny_data(config, count=3))
    train(tiny_config(schedule={"steps": 3}), tmp_path, data=tiny_data(config), fresh=True)
    assert load(tmp_path / "last.safetensors").provenance["step"] == 3
    (tmp_path / "state.safetensors").write_bytes(b"rubbish")
    with pytest.raises(InputError, match="not a state of a run"):
        train(config, tmp_path, data=tiny_data(config))


def test_minutes_set_the_length(tmp_path: Path) -> None:
    config = tiny_config(schedule={"steps": 10_000})
    train(config, tmp_path, data=tiny_data(config), minutes=1e-6)
    assert load(tmp_path / "last.safetensors").provenance["step"] == 20


def test_starting_from_a_checkpoint(tmp_path: Path) -> None:
    first = tiny_config("stage1", schedule={"steps": 2})
    train(first, tmp_path / "one", data=tiny_data(first))
    init = load(tmp_path / "one" / "last.safetensors")
    second = tiny_config()
    fresh, started = trainer(second), trainer(second, init=init)
    name = "blocks.blocks.0.attn.qkv.weight"
    assert np.array_equal(started.checkpoint({}).tensors[name], init.tensors[name])
    assert torch.equal(started.model.proj.weight, fresh.model.proj.weight)  # of another space
    init = replace(started.checkpoint({}), temperature=0.05)
    again = trainer(second, init=init)
    assert torch.equal(again.model.proj.weight, started.model.proj.weight)
    assert abs(float(again.model.scale.detach()) - 20) < 1e-4
    with pytest.raises(InputError, match=r"its encoder has depth 2, the configuration 3; set encoder\.depth=2"):
        trainer(replace(second, encoder=replace(TINY, depth=3)), init=init)


def test_the_scale_stays_at_most_100() -> None:
    model = TrainModel(TINY)
    with torch.no_grad():
        model.logit_scale.fill_(9.0)
    assert float(model.scale.detach()) == 100.0


def test_labels_of_overlapping_masks_are_the_finest() -> None:
    record = ball(0, 10)
    record.names = ["arm", "hand", "unused"]
    record.masks = np.zeros((3, 10), bool)
    record.masks[0, :6], record.masks[1, 4:6] = True, True
    names, truth = finest_labels(record)
    assert names == ["arm", "hand"] and truth.tolist() == [0] * 4 + [1] * 2 + [-1] * 4


# The command line

SMALL = {
    "encoder.dim": 48, "encoder.depth": 2, "encoder.heads": 3, "encoder.mlp_hidden": 96,
    "encoder.embed": "[8,16,16,16]", "encoder.patches": 16, "encoder.patch_size": 12, "data.points": 400,
    "optimizer.batch": 4, "schedule.epochs": 3, "run.log_every": 1, "run.threads": 1,
}  # fmt: skip


def options(**more: object) -> list[str]:
    values = {**SMALL, **{k.replace("__", "."): v for k, v in more.items()}}
    return [word for key, value in values.items() for word in ("--set", f"{key}={value}")]


def test_official_data_train_both_stages_and_segment(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_tiny_official(tmp_path / "data")
    official, first, second = ROOT / "configs", tmp_path / "first", tmp_path / "second"
    words = [
        "train",
        "stage1",
        str(official / "official-stage1.toml"),
        "--data",
        str(tmp_path / "data"),
        "-o",
        str(first),
    ]
    assert main([*words, *options()]) == 0, capsys.readouterr().err
    assert load_config(first / "config.toml", "stage1").encoder.dim == 48
    space = options(text_space=MINILM, encoder__text_dim=384)
    words = ["train", "stage2", str(official / "official-stage2.toml"), "--data", str(tmp_path / "data")]
    words += ["--init", str(first / "last.safetensors"), "-o", str(second)]
    assert main([*words, *space]) == 0, capsys.readouterr().err
    assert "val_miou" in capsys.readouterr().out
    model, chair = str(second / "last.safetensors"), str(ROOT / "examples" / "chair.glb")
    out = tmp_path / "parts"
    assert (
        main(["segment", chair, "--parts", "seat, back, leg", "--model", model, "-o", str(out), "--no-pictures"]) == 0
    )
    assert set(np.unique(np.load(out / "labels.npz")["labels"])) <= {0, 1, 2}
    # What is frozen is as stage 1 left it.
    before, after = load(first / "last.safetensors").tensors, load(second / "last.safetensors").tensors
    frozen = [k for k in before if not k.startswith(("blocks.blocks.1.", "norm.", "reduce_dim.", "cls_", "proj."))]
    assert len(frozen) > 20 and all(np.array_equal(before[k], after[k]) for k in frozen)
    assert not np.array_equal(before["reduce_dim.weight"], after["reduce_dim.weight"])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "no training data; give --data FOLDER"),
        (["--data", "nowhere"], "nowhere: no such folder"),
        (["--set", "optimizer.speed=1"], "unknown field optimizer.speed"),
        (["--init", "nothing.safetensors", "--data", "."], "nothing.safetensors: no such checkpoint"),
        (["--device", "abacus"], "device 'abacus' cannot be used"),
    ],
)
def test_wrong_commands(words: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = str(ROOT / "configs" / "official-stage1.toml")
    assert main(["train", "stage1", config, "-o", str(tmp_path / "run"), *words]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_events_and_pictures(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    pytest.importorskip("tensorboard")
    config = tiny_config(run={"tensorboard": "on", "plot": True})
    train(config, tmp_path, data=tiny_data(config, val=1))
    assert (tmp_path / "loss.png").read_bytes().startswith(b"\x89PNG")
    assert list((tmp_path / "events").glob("events.out.*"))
