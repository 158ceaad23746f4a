"""Stage 2: the losses by hand, the batches, and a small run that learns, stops and goes on."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from pa3d.checkpoint import load  # noqa: E402
from pa3d.config import EncoderConfig  # noqa: E402
from pa3d.data.parts import PartCloud, write_shards  # noqa: E402
from pa3d.errors import InputError  # noqa: E402
from pa3d.train.augment import Augmentation, random_rotation  # noqa: E402
from pa3d.train.corpus import Corpus, TextBank, without_category  # noqa: E402
from pa3d.train.losses import alignment_loss, patch_targets  # noqa: E402
from pa3d.train.stage2 import Stage2Config, Trainer, learning_rate, read_groups, train, trainable  # noqa: E402

TINY = EncoderConfig(
    patches=8, patch_size=6, dim=24, depth=2, heads=2, mlp_hidden=48, embed=(8, 16, 16, 16), pos_hidden=8, text_dim=5
)


class Words:
    """A text encoder of five dimensions: a fixed unit vector a text."""

    space = "words"
    dim = 5

    def encode(self, texts: list[str]) -> np.ndarray:
        rows = [np.random.default_rng(sum(map(ord, text))).standard_normal(5) for text in texts]
        return np.stack([row / np.linalg.norm(row) for row in rows]).astype(np.float32)


def ball(seed: int, count: int = 300) -> PartCloud:
    """A ball whose upper and lower half are parts; the category is also a label, to be left out."""
    points = np.random.default_rng(seed).standard_normal((count, 3)).astype(np.float32)
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    top = points[:, 1] > 0
    return PartCloud(
        points, ["Top", "bottom", "ball"], np.stack([top, ~top, top | True]), "ball", "s", "MIT", f"b{seed}"
    )


def corpus(records: list[PartCloud], **options: object) -> Corpus:
    groups = {"balls": (1.0, [without_category(r) for r in records])}
    return Corpus(groups, TINY, TextBank(Words()), Augmentation(), sample=128, **options)  # type: ignore[arg-type]


def test_targets_are_fractions_of_a_patch() -> None:
    masks = torch.tensor([[1, 1, 0, 0], [0, 1, 1, 0]], dtype=torch.bool)
    members = torch.tensor([[0, 1], [1, 2], [3, 3]])
    assert patch_targets(masks, members).tolist() == [[1.0, 0.5], [0.5, 1.0], [0.0, 0.0]]


def hand_worked() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Three patches and two parts in the plane; float64."""
    features = torch.tensor([[[1.0, 0.0], [0.0, 1.0], [0.6, 0.8]]], dtype=torch.float64, requires_grad=True)
    text = torch.tensor([[[1.0, 0.0], [0.0, 1.0]]], dtype=torch.float64)
    targets = torch.tensor([[[1.0, 0.0], [0.25, 1.0], [0.5, 0.5]]], dtype=torch.float64)
    return features, text, targets


@pytest.mark.parametrize("kind", ["released", "paper"])
def test_losses_and_gradients_by_hand(kind: str) -> None:
    features, text, targets = hand_worked()
    valid = torch.ones(1, 2, dtype=torch.bool)
    cosine = [[1.0, 0.0], [0.0, 1.0], [0.6, 0.8]]
    total, slope = 0.0, [[0.0, 0.0] for _ in range(3)]
    for i in range(3):
        for j in range(2):
            y = float(targets[0, i, j])
            if kind == "released":  # two parts: the positive weight is max(1, 2 - 1) = 1
                x = 2.0 * cosine[i][j]
                p = 1 / (1 + math.exp(-x))
                total += -(y * math.log(p) + (1 - y) * math.log(1 - p)) / 6
                slope[i][j] = (p - y) * 2.0 / 6
            else:
                z, x = 2 * y - 1, cosine[i][j] / 0.1 - 10
                total += math.log1p(math.exp(-z * x))
                slope[i][j] = -z / (1 + math.exp(z * x)) / 0.1
    loss = alignment_loss(features, text, targets, valid, 2.0, kind)  # type: ignore[arg-type]
    loss.backward()
    assert math.isclose(float(loss.detach()), total, rel_tol=1e-12)
    assert features.grad is not None
    np.testing.assert_allclose(features.grad[0].numpy(), slope, rtol=1e-12)  # text is the identity


def test_positives_weigh_as_many_as_there_are_other_parts() -> None:
    features = torch.tensor([[[1.0, 0.0]]], dtype=torch.float64)
    text = torch.tensor([[[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]]], dtype=torch.float64)
    targets = torch.tensor([[[1.0, 0.0, 0.0]]], dtype=torch.float64)
    loss = alignment_loss(features, text, targets, torch.ones(1, 3, dtype=torch.bool), 1.0)
    expected = (2 * math.log1p(math.exp(-1)) + math.log(2) + math.log1p(math.exp(-1))) / 3
    assert math.isclose(float(loss), expected, rel_tol=1e-12)


def test_padding_changes_nothing() -> None:
    features, text, targets = hand_worked()
    bare = alignment_loss(features, text, targets, torch.ones(1, 2, dtype=torch.bool), 3.0)
    padded_text = torch.cat([text, torch.full((1, 2, 2), 7.0, dtype=torch.float64)], dim=1)
    padded_targets = torch.cat([targets, torch.ones(1, 3, 2, dtype=torch.float64)], dim=2)
    valid = torch.tensor([[True, True, False, False]])
    padded = alignment_loss(features, padded_text, padded_targets, valid, 3.0)
    assert float(bare.detach()) == float(padded.detach())


def test_unknown_loss() -> None:
    features, text, targets = hand_worked()
    with pytest.raises(ValueError, match="expected released or paper, got 'other'"):
        alignment_loss(features, text, targets, torch.ones(1, 2, dtype=torch.bool), 1.0, "other")  # type: ignore[arg-type]


def test_rotations_are_rotations() -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        r = random_rotation(rng)
        np.testing.assert_allclose(r @ r.T, np.eye(3), atol=1e-12)
        assert math.isclose(np.linalg.det(r), 1.0, rel_tol=1e-12)


def test_augmentation_off_only_copies() -> None:
    points = ball(0).points
    still = Augmentation(yaw=False, tilt=0, any_orientation=0, stretch=0, mirror=0, jitter=0, crop=0)
    moved, keep = still(points, np.random.default_rng(0))
    assert (moved == points).all() and keep.all()


def test_batches_follow_from_seed_and_step() -> None:
    records = [ball(i) for i in range(4)]
    first, again, other = (corpus(records, seed=3).batch(step, 5) for step in (7, 7, 8))
    for name in ("patches", "centers", "targets", "text", "valid"):
        assert torch.equal(getattr(first, name), getattr(again, name)), name
    assert not torch.equal(first.patches, other.patches)
    assert first.patches.shape == (5, 8, 6, 3) and first.targets.shape == (5, 8, 2)


def test_labels_equal_to_the_category_are_left_out() -> None:
    record = without_category(ball(0))
    assert record.names == ["top", "bottom"] and len(record.masks) == 2


def test_learning_rate_rises_stays_and_falls() -> None:
    config = Stage2Config(steps=100, warmup=10, decay=0.5, lr=1.0)
    rates = [learning_rate(step, config) for step in range(101)]
    assert rates[0] == 0.1 and rates[9] == rates[50] == 1.0 and rates[75] == 0.5 and rates[100] == 0.0


def test_freezing_leaves_frozen_weights_as_they_were() -> None:
    config = Stage2Config(encoder=TINY, freeze="official", steps=4, batch=4, warmup=1)
    trainer = Trainer(config)
    before = {k: v.clone() for k, v in trainer.model.named_parameters()}
    data = corpus([ball(i) for i in range(4)])
    for step in range(3):
        trainer.update(data.batch(step, 4))
    for name, now in trainer.model.named_parameters():
        assert torch.equal(before[name], now) != trainable(name, config), name


def test_a_loss_that_is_not_finite_names_the_shapes() -> None:
    trainer = Trainer(Stage2Config(encoder=TINY, steps=4))
    batch = corpus([ball(0)]).batch(0, 2)
    batch.targets[0] = float("nan")
    with pytest.raises(RuntimeError, match="step 0; shapes: b0, b0"):
        trainer.update(batch)


@pytest.fixture
def words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pa3d.train.stage2.text_encoder", lambda space: Words())


def test_a_small_run_learns(tmp_path: Path, words: None) -> None:
    torch.set_num_threads(1)
    config = Stage2Config(encoder=TINY, text_space="words", steps=60, batch=8, warmup=5, lr=3e-3, save_every=30)
    train(config, {"balls": [without_category(ball(i)) for i in range(6)]}, tmp_path)
    losses = [json.loads(line)["loss"] for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert losses[-1] < 0.8 * losses[0]
    checkpoint = load(tmp_path / "model.safetensors")
    assert checkpoint.config == TINY and checkpoint.text_space == "words"
    assert checkpoint.provenance["records"] == {"balls": 6}


def test_a_stopped_run_goes_on_as_if_it_had_not(tmp_path: Path, words: None) -> None:
    torch.set_num_threads(1)
    config = Stage2Config(encoder=TINY, text_space="words", steps=12, batch=4, warmup=2, save_every=4)
    groups = {"balls": [without_category(ball(i)) for i in range(4)]}
    whole = train(config, groups, tmp_path / "whole")

    class Stopped(Exception):
        pass

    steps = iter(range(6))
    update = Trainer.update

    def stopping(self: Trainer, batch: object) -> float:
        if next(steps, None) is None:
            raise Stopped
        return update(self, batch)  # type: ignore[arg-type]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Trainer, "update", stopping)
        with pytest.raises(Stopped):
            train(config, groups, tmp_path / "parts")
    resumed = train(replace(config, steps=99), groups, tmp_path / "parts")  # what was saved counts, not what is given
    for name, tensor in whole.tensors.items():
        assert (tensor == resumed.tensors[name]).all(), name


def test_folders_of_shards_are_groups(tmp_path: Path) -> None:
    write_shards([ball(0), ball(1)], tmp_path / "balls")
    groups = read_groups(tmp_path)
    assert list(groups) == ["balls"] and [r.id for r in groups["balls"]] == ["b0", "b1"]
    with pytest.raises(InputError, match="no groups of shards"):
        read_groups(tmp_path / "nowhere")
