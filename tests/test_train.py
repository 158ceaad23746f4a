"""What training is made of: the losses by hand, configurations, records, sampler, batches, augmentation."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from training import MINILM, TINY, ball, tiny_config, tiny_data  # noqa: E402

from pa3d.config import EncoderConfig  # noqa: E402
from pa3d.data.parts import PartCloud, write_shards  # noqa: E402
from pa3d.errors import InputError  # noqa: E402
from pa3d.rotations import random_rotation  # noqa: E402
from pa3d.text import text_encoder  # noqa: E402
from pa3d.train.augment import IDENTITY, sample_transform, visible_points  # noqa: E402
from pa3d.train.batches import disjoint_masks, part_fractions  # noqa: E402
from pa3d.train.config import AugmentationConfig, TrainConfig, load_config, save_config, with_overrides  # noqa: E402
from pa3d.train.loader import load_batches  # noqa: E402
from pa3d.train.losses import alignment_loss, category_loss, feature_distillation_loss, partition_loss  # noqa: E402
from pa3d.train.records import MemoryRecords, ShardRecords, mask_rows_by_name, merge_names, open_groups, usable_group  # noqa: E402
from pa3d.train.sampler import Sampler  # noqa: E402
from pa3d.train.text_bank import NegativeNameSampler, Paraphrases, TextBank, text_keys  # noqa: E402
from pa3d.train.trainer import Trainer  # noqa: E402
from pa3d.train.training_data import TrainingData  # noqa: E402

CONFIGS = Path(__file__).resolve().parents[1] / "configs"


# Losses


def test_targets_are_fractions_of_a_patch() -> None:
    masks = np.array([[1, 1, 0, 0], [0, 1, 1, 0]], bool)
    members = np.array([[0, 1], [1, 2], [3, 3]])
    assert part_fractions(masks, members).tolist() == [[1.0, 0.5], [0.5, 1.0], [0.0, 0.0]]


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
    total, slope, steepness = 0.0, [[0.0, 0.0] for _ in range(3)], 0.0
    for i in range(3):
        for j in range(2):
            y = float(targets[0, i, j])
            if kind == "released":  # two parts: the positive weight is max(1, 2 - 1) = 1
                x = 2.0 * cosine[i][j]
                p = 1 / (1 + math.exp(-x))
                total += -(y * math.log(p) + (1 - y) * math.log(1 - p)) / 6
                slope[i][j] = (p - y) * 2.0 / 6
                steepness += (p - y) * cosine[i][j] / 6
            else:
                z, x = 2 * y - 1, cosine[i][j] / 0.1 - 10
                total += math.log1p(math.exp(-z * x))
                slope[i][j] = -z / (1 + math.exp(z * x)) / 0.1
    scale = torch.tensor(2.0, dtype=torch.float64, requires_grad=True)
    loss = alignment_loss(features, text, targets, valid, scale, kind)  # type: ignore[arg-type]
    loss.backward()
    assert math.isclose(float(loss.detach()), total, rel_tol=1e-12)
    assert features.grad is not None
    np.testing.assert_allclose(features.grad[0].numpy(), slope, rtol=1e-12)  # text is the identity
    if kind == "released":
        assert scale.grad is not None and math.isclose(float(scale.grad), steepness, rel_tol=1e-12)


def test_the_visual_loss_and_its_gradient_by_hand() -> None:
    """Three patches; d cos / d f = (t / |t| - cos f / |f|) / |f|."""
    features = torch.tensor([[[1.0, 0.0], [0.0, 2.0], [3.0, 4.0]]], dtype=torch.float64, requires_grad=True)
    targets = torch.tensor([[[1.0, 0.0], [0.6, 0.8], [0.0, 5.0]]], dtype=torch.float64)
    loss = feature_distillation_loss(features, targets)
    loss.backward()
    assert math.isclose(float(loss.detach()), (0 + 0.2 + 0.2) / 3, rel_tol=1e-12)
    expected = [[0.0, 0.0], [-0.6 / 2 / 3, 0.0], [0.6 * 0.8 / 5 / 3, -(1 - 0.8 * 0.8) / 5 / 3]]
    assert features.grad is not None
    np.testing.assert_allclose(features.grad[0].numpy(), expected, atol=1e-15)


@pytest.mark.parametrize("kind", ["released", "paper"])
def test_losses_of_many_shapes_follow_the_formulas(kind: str) -> None:
    """Shapes of several numbers of parts in one batch, against the formulas one shape, patch and part at a time."""
    rng = np.random.default_rng(0)
    b, g, d, most, scale = 4, 5, 6, 4, 14.0
    counts = [1, 4, 2, 3]
    features, text = (torch.from_numpy(rng.standard_normal(s)) for s in ((b, g, d), (b, most, d)))
    features, text = (torch.nn.functional.normalize(x, dim=-1) for x in (features, text))
    targets = torch.from_numpy(rng.random((b, g, most)))
    valid = torch.tensor([[k < n for k in range(most)] for n in counts])
    expected = []
    for s, parts in enumerate(counts):
        terms = []
        for i in range(g):
            for j in range(parts):
                c, y = float(features[s, i] @ text[s, j]), float(targets[s, i, j])
                if kind == "released":
                    p = 1 / (1 + math.exp(-scale * c))
                    terms.append(-(max(1, parts - 1) * y * math.log(p) + (1 - y) * math.log(1 - p)))
                else:
                    terms.append(math.log1p(math.exp(-(2 * y - 1) * (c / 0.1 - 10))))
        expected.append(sum(terms) / (g * parts) if kind == "released" else sum(terms))
    found = alignment_loss(features, text, targets, valid, scale, kind)  # type: ignore[arg-type]
    assert math.isclose(float(found), sum(expected) / b, rel_tol=1e-12)


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


def test_category_loss_by_hand() -> None:
    """The second and third category are near each other, so neither is a negative of the other; -1 is no category."""
    text = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.6, 0.8]], dtype=torch.float64)
    features = torch.tensor([[0.6, 0.8], [0.0, 1.0], [0.0, 1.0]], dtype=torch.float64, requires_grad=True)
    first = math.log(math.exp(12) + math.exp(16) + math.exp(20)) - 12
    second = math.log1p(math.exp(-20))
    loss = category_loss(features, text, torch.tensor([0, 1, -1]))
    assert math.isclose(float(loss.detach()), (first + second) / 3, rel_tol=1e-12)
    loss.backward()
    assert features.grad is not None and features.grad[0].any() and not features.grad[2].any()


def test_partition_loss_by_hand() -> None:
    """The third name has no label, so it does not compete; the second shape has one name, so nothing does."""
    text = torch.eye(3, dtype=torch.float64).repeat(2, 1, 1)
    features = torch.tensor([[[0.6, 0.8, 0.0], [0.0, 0.0, 1.0]], [[1.0, 0.0, 0.0]] * 2], dtype=torch.float64)
    features.requires_grad_(True)
    labels = torch.tensor([[[0.5, 0.5, 0.0], [0.0, 1.0, 0.0]], [[1.0, 0.0, 0.0]] * 2], dtype=torch.float64)
    first, second = 0.5**-0.5, 1.5**-0.5  # the weights of the names
    own, other, tie = math.log1p(math.exp(0.4)), math.log1p(math.exp(-0.4)), math.log(2)
    sum_of_weights = 0.5 * first + 1.5 * second
    expected = (0.5 * first * own + 0.5 * second * other + second * tie) / sum_of_weights / 2
    loss = partition_loss(features, text, labels, 2.0)
    assert math.isclose(float(loss.detach()), expected, rel_tol=1e-12)
    loss.backward()
    assert features.grad is not None and features.grad.isfinite().all()
    assert features.grad[0, :, :2].any() and not features.grad[0, :, 2].any() and not features.grad[1].any()
    assert float(partition_loss(features.detach(), text, torch.zeros_like(labels), 2.0)) == 0


def test_the_finest_name_gets_the_points_of_a_partition() -> None:
    """Head and ears, with a synonym of the ears; an arm whose pieces leave next to nothing of it."""
    point = np.arange(100)
    head, ear, arm = point < 50, point < 10, point >= 50
    masks = np.stack([head, ear, ear, arm, (point >= 50) & (point < 75), point >= 78])
    seen = set()
    for seed in range(60):
        kept = disjoint_masks(masks, np.random.default_rng(seed))
        assert (kept <= masks).all() and kept.sum(axis=0).max() == 1
        sizes = tuple(kept.sum(axis=1).tolist())
        assert sizes[1] == 0 or sizes[2] == 0
        assert sizes[0] in (0, 40 if sizes[1] or sizes[2] else 50)
        assert sizes[3] == 0 or not (sizes[4] and sizes[5])
        seen.add(sizes)
    assert {(40, 10, 0, 0, 25, 22), (40, 0, 10, 0, 25, 22)} < seen  # either synonym, with all the names
    assert any(sizes[0] == 50 for sizes in seen) and any(sizes[3] == 50 for sizes in seen)  # coarse names win, too


def test_the_finest_name_wins_after_training() -> None:
    """A cap within the upper half of a ball: with the loss of partitions its patches are nearer to its name than to
    that of the half, by more than without."""
    margin = {weight: margin_of_the_finest(weight) for weight in (0.0, 1.0)}
    assert margin[1.0] > 0 and margin[1.0] > margin[0.0] + 0.05


def margin_of_the_finest(weight: float) -> float:
    """How much nearer the patches in the cap are to "cap" than to "top", in cosines, after training."""
    config = tiny_config(
        loss={"partition": weight}, data={"absent": 3}, optimizer={"batch": 8, "lr": 3e-3, "head_lr": 3e-3}
    )

    def capped(seed: int) -> PartCloud:
        record = ball(seed)
        height = record.points[:, 1]
        return replace(record, names=["top", "cap", "bottom"], masks=np.stack([height > 0, height > 0.5, height <= 0]))

    records = MemoryRecords([capped(seed) for seed in range(6)])
    data = TrainingData.from_groups(config, [usable_group("all", records, names=True, features=False)], [])
    assert data.text_bank is not None
    trainer = Trainer(config, text_vectors=torch.from_numpy(data.text_bank.vectors), total_steps=60)
    builder = data.batch_builder(config)
    for step in range(60):
        trainer.train_step(builder.batch(step, 0, 8))
    batch = builder.batch(100, 0, 8)
    assert batch.targets is not None and batch.text_ids is not None and (batch.labels is not None) == (weight > 0)
    assert batch.labels is None or (batch.labels.shape == batch.targets.shape and (batch.labels <= batch.targets).all())
    text = torch.from_numpy(data.text_bank.vectors)[batch.text_ids[:, :2]]  # top, cap
    cosines = trainer.model(batch.patches, batch.centers).projected @ text.transpose(1, 2)
    inside = batch.targets[..., 1] == 1  # patches that lie in the cap, and so in the upper half
    assert inside.any()
    return float((cosines[inside][:, 1] - cosines[inside][:, 0]).mean().detach())


def test_unknown_loss() -> None:
    features, text, targets = hand_worked()
    with pytest.raises(ValueError, match="expected released or paper, got 'other'"):
        alignment_loss(features, text, targets, torch.ones(1, 2, dtype=torch.bool), 1.0, "other")  # type: ignore[arg-type]


# Configurations


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.toml")), ids=lambda path: path.stem)
def test_shipped_configurations_read_back_equal(path: Path, tmp_path: Path) -> None:
    stage = path.stem.rpartition("-")[2]
    config = load_config(path, stage)  # type: ignore[arg-type]
    save_config(tmp_path / "again.toml", config)
    assert load_config(tmp_path / "again.toml", stage) == config  # type: ignore[arg-type]


def test_the_official_configurations_are_those_of_the_paper() -> None:
    first = load_config(CONFIGS / "official-stage1.toml", "stage1")
    second = load_config(CONFIGS / "official-stage2.toml", "stage2")
    assert first.encoder == replace(EncoderConfig(), text_dim=first.encoder.text_dim)
    assert second.encoder == EncoderConfig() and second.data.points == first.data.points == 2048
    o = first.optimizer
    assert (o.lr, o.head_lr, o.weight_decay, o.batch, first.schedule.epochs) == (1e-4, 5e-4, 0.05, 32, 100)
    assert (first.freeze, second.freeze, second.loss.alignment) == ("none", "official", "released")
    assert (first.data.frame, second.data.frame) == ("box", "box")
    a = second.augmentation
    assert (a.kind, a.probability, a.rotation, a.translation) == ("none", 0.9, 20.0, 0.02)
    assert (a.scale, a.jitter, a.jitter_clip) == ((0.9, 1.1), 0.01, 0.05)


def test_every_field_can_be_set() -> None:
    changed = with_overrides(
        TrainConfig(), ["optimizer.lr=2e-4", "encoder.embed=[8, 8, 8, 8]", "loss.alignment=paper", "data.weights.a=2"]
    )
    assert changed.optimizer.lr == 2e-4 and changed.encoder.embed == (8, 8, 8, 8)
    assert changed.loss.alignment == "paper" and changed.data.weights == {"a": 2.0}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("optimizer.rate=1", "unknown field optimizer.rate; expected one of accumulate, batch"),
        ("optimizer.lr=fast", "optimizer.lr is 'fast'; expected float"),
        ("optimizer.batch=1.5", "optimizer.batch is 1.5; expected int"),
        ("optimizer.batch=0", "optimizer.batch is 0; expected at least 1"),
        ("optimizer.accumulate=3", "optimizer.batch 32 is not a multiple of optimizer.accumulate 3"),
        ("loss.alignment=other", "loss.alignment is 'other'; expected one of 'released', 'paper'"),
        ("data=3", r"data is 3; expected a section \[data\]"),
        ("optimizer.lr", "expected section.field=value"),
        ("optimizer.ema=2", "optimizer.ema is 2.0; expected a number from 0 to 1"),
        ("augmentation.scale=[1]", r"augmentation.scale is \[1\]; expected a list of 2 numbers"),
        ("augmentation.view=2", "augmentation.view is 2.0; expected a number from 0 to 1"),
        ("augmentation.view_cells=[9, 3]", r"augmentation.view_cells are \[9.0, 3.0\]; expected two numbers"),
        ('data.densities={"2048" = 1.0}', "data.densities has '2048'; expected points/patches, such as 4096/256"),
        ('data.densities={"64/128" = 1.0}', "data.densities.64/128 = 1.0; expected no more patches than points"),
        ("augmentation.outliers=3", "augmentation.outliers is 3.0; expected a number from 0 to 1"),
        ("data.absent=-1", "data.absent is -1; expected at least 0"),
        ("encoder.heads=5", "EncoderConfig.dim 384 is not a multiple of heads 5"),
    ],
)
def test_wrong_settings_are_named(text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        with_overrides(TrainConfig(), [text])


def test_files_that_are_no_configuration(tmp_path: Path) -> None:
    path = tmp_path / "c.toml"
    with pytest.raises(InputError, match="cannot be read"):
        load_config(path, "stage1")
    path.write_text("a = [")
    with pytest.raises(InputError, match="not TOML"):
        load_config(path, "stage1")
    path.write_text('stage = "stage2"')
    with pytest.raises(InputError, match="made for 'stage2', not for stage1"):
        load_config(path, "stage1")


# Records


def test_labels_are_cleaned_united_and_lose_the_category() -> None:
    assert mask_rows_by_name(["Arm_L", "arm l", "BALL", "--", "leg"], "ball") == {"arm l": [0, 1], "leg": [4]}
    record = merge_names(ball(0))
    assert record.names == ["top", "bottom"]
    assert (record.masks[0] == (record.points[:, 1] > 0)).all()


def test_shards_are_read_by_number(tmp_path: Path) -> None:
    written = [ball(seed, 50 + seed) for seed in range(5)]
    write_shards(written, tmp_path / "balls", shard_size=2)
    records = ShardRecords(tmp_path / "balls")
    assert [h.names for h in records.infos] == [("top", "bottom")] * 5 and all(h.has_features for h in records.infos)
    for index in (4, 0, 3):
        record, expected = records[index], merge_names(written[index])
        assert record.id == expected.id and np.array_equal(record.points, expected.points)
        assert np.array_equal(record.masks, expected.masks)


def test_folders_of_shards_are_groups(tmp_path: Path) -> None:
    write_shards([ball(0), ball(1)], tmp_path / "balls")
    nameless = replace(ball(2), names=["ball"], masks=np.ones((1, 300), bool))
    write_shards([nameless], tmp_path / "nameless")
    groups = open_groups(tmp_path, "train", names=True, features=False)
    assert [(g.name, len(g)) for g in groups] == [("balls", 2)]
    assert [g.name for g in open_groups(tmp_path, "train", names=False, features=True)] == ["balls", "nameless"]


def test_folders_without_data(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such folder"):
        open_groups(tmp_path / "nowhere", "train", names=True, features=False)
    with pytest.raises(InputError, match="no training data"):
        open_groups(tmp_path, "train", names=True, features=False)
    record = ball(0)
    record.centers = record.patch_features = None
    write_shards([record], tmp_path)
    with pytest.raises(InputError, match=r"none of 1 records has 2D features \(pa3d prepare\)"):
        open_groups(tmp_path, "train", names=False, features=True)
    (tmp_path / "shard-00000.tar").write_bytes(b"rubbish")
    with pytest.raises(InputError, match="not a readable tar shard"):
        open_groups(tmp_path, "train", names=True, features=False)


# Draws and batches


@pytest.mark.parametrize(("sizes", "batch"), [([7], 4), ([100, 31], 8), ([3], 8), ([64, 64], 6)])
def test_an_epoch_takes_every_record_once(sizes: list[int], batch: int) -> None:
    sampler = Sampler(sizes, None, batch, 0)
    partition_steps = -(-sum(sizes) // sampler.num_partitions) // (batch // sampler.num_partitions) + 1
    drawn = [sampler.index(step, slot) for step in range(partition_steps) for slot in range(batch)]
    assert {(g, i) for g, size in enumerate(sizes) for i in range(size)} == set(drawn)
    width = batch // sampler.num_partitions
    for partition in range(sampler.num_partitions):
        mine = [
            drawn[step * batch + slot]
            for step in range(partition_steps)
            for slot in range(partition * width, (partition + 1) * width)
        ]
        begin, end = (sum(sizes) * i // sampler.num_partitions for i in (partition, partition + 1))
        assert len(set(mine[: end - begin])) == end - begin


def test_places_read_their_own_run_of_the_records() -> None:
    """So that processes, which make runs of places, read different shards."""
    sampler = Sampler([400], None, 8, 0)
    first = {sampler.index(step, slot)[1] for step in range(100) for slot in range(4)}
    second = {sampler.index(step, slot)[1] for step in range(100) for slot in range(4, 8)}
    assert max(first) < 200 <= min(second)


def test_weights_say_how_often_a_group_is_drawn() -> None:
    sampler = Sampler([5, 500, 50], [0.5, 0.3, 0.2], 10, 1)
    counts = np.bincount([sampler.index(step, slot)[0] for step in range(200) for slot in range(10)], minlength=3)
    np.testing.assert_allclose(counts / 2000, [0.5, 0.3, 0.2], atol=0.04)  # 3.5 deviations
    with pytest.raises(InputError, match="every group has weight 0"):
        Sampler([5], [0.0], 2, 0)


def equal(a: object, b: object) -> bool:
    names = ("patches", "centers", "targets", "text_ids", "valid", "visual_targets")
    return all(torch.equal(getattr(a, n), getattr(b, n)) for n in names if getattr(a, n) is not None)


def test_batches_follow_from_seed_step_and_place() -> None:
    config = tiny_config("joint", augmentation={"kind": "free"})
    batch_builder = tiny_data(config).batch_builder(config)
    whole, again, other = (batch_builder.batch(step, 0, 4) for step in (7, 7, 8))
    assert equal(whole, again) and not torch.equal(whole.patches, other.patches)
    assert equal(whole.slice(2, 4), tiny_data(config).batch_builder(config).batch(7, 2, 4))
    assert whole.patches.shape == (4, 8, 6, 3) and whole.targets is not None and whole.targets.shape == (4, 8, 2)
    assert whole.visual_targets is not None and whole.visual_targets.shape == (4, 8, 4)


@pytest.mark.parametrize("workers", [0, 2])
def test_batches_made_ahead_are_those_of_their_steps(workers: int) -> None:
    config = tiny_config()
    batch_builder = tiny_data(config).batch_builder(config)
    ahead = load_batches(batch_builder, 5, 1, 3, workers=workers, prefetch=2)
    assert all(equal(next(ahead), batch_builder.batch(step, 1, 3)) for step in (5, 6, 7))
    ahead.close()  # type: ignore[attr-defined]


def test_targets_belong_to_the_patches() -> None:
    """Of a ball cut at y = 0 in its middle, a patch's share of the top follows from its points; y is the model's z."""
    config = tiny_config()
    batch_builder = tiny_data(config).batch_builder(config)
    batch = batch_builder.batch(0, 0, 4)
    assert batch.targets is not None and batch.text_ids is not None
    record = merge_names(ball(int(batch.ids[0][1:])))
    middle = -record.points[:, 1].mean()  # where the cut is once the mean is at 0, up to the choice of points
    heights = (batch.patches + batch.centers[:, :, None])[0, :, :, 2].numpy()
    clear = np.abs(heights - middle).min(axis=1) > 0.2
    assert clear.any()
    np.testing.assert_array_equal(batch.targets[0, clear, 0].numpy(), (heights[clear] > middle).mean(axis=1))


def test_visual_targets_are_those_of_the_nearest_target_centre() -> None:
    """By brute force where nothing moves; the same ones after a rigid transform, which takes the centres along."""
    still = tiny_config("stage1", data={"points": 300})
    moving = tiny_config(
        "stage1", data={"points": 300}, augmentation={"kind": "paper", "jitter": 0.0, "probability": 1.0}
    )
    batch, moved = (tiny_data(config).batch_builder(config).batch(3, 0, 4) for config in (still, moving))
    assert batch.ids == moved.ids and batch.visual_targets is not None and moved.visual_targets is not None
    assert torch.equal(batch.visual_targets, moved.visual_targets) and not torch.equal(batch.centers, moved.centers)
    for i, name in enumerate(batch.ids):
        record = ball(int(name[1:]))
        assert record.centers is not None and record.patch_features is not None
        middle = record.points.mean(axis=0)
        radius = np.linalg.norm(record.points - middle, axis=1).max()
        taught = ((record.centers - middle) / radius)[:, [0, 2, 1]]
        distance = np.linalg.norm(batch.centers[i].numpy()[:, None] - taught, axis=2)
        np.testing.assert_array_equal(batch.visual_targets[i], record.patch_features[distance.argmin(axis=1)])


def test_the_frame_of_the_released_code() -> None:
    """The whole shape has mean 0 and largest coordinate 0.75, whichever points are drawn."""
    for patches in ("cut", "precomputed"):
        config = tiny_config("joint", data={"frame": "box", "patches": patches, "points": 64})
        data = tiny_data(config)
        builder = data.batch_builder(config)
        batch = builder.batch(0, 0, 4)
        for i in range(4):
            record = builder._groups[0][[f"b{n}" for n in range(6)].index(batch.ids[i])]
            moved = record.points - record.points.mean(axis=0, dtype=np.float64)
            moved = (moved * (0.75 / np.abs(moved).max()))[:, [0, 2, 1]]
            for center in batch.centers[i].numpy():
                assert np.abs(moved - center).sum(axis=1).min() < 1e-5
            assert not np.allclose(np.linalg.norm(moved, axis=1).max(), 1)


def test_small_parts_keep_their_share() -> None:
    record = ball(0, 4000)
    rare = np.zeros(4000, bool)
    rare[:20] = True
    record = PartCloud(record.points, ["all", "rare"], np.stack([~rare, rare]), "", "s", "MIT", "r")
    config = tiny_config(data={"subsample": "mask_aware", "points": 128})
    batch_builder = tiny_data(config).batch_builder(config)
    for seed in range(5):
        chosen = batch_builder._subsample(record.masks, np.arange(4000), 128, np.random.default_rng(seed))
        assert len(set(chosen.tolist())) == 128 and rare[chosen].sum() == 20


def test_precomputed_patches_move_as_cut_ones_do() -> None:
    config = tiny_config(
        data={"patches": "precomputed", "variants": 1},
        augmentation={"kind": "paper", "probability": 1.0, "jitter": 0.0},
    )
    batch_builder = tiny_data(config, count=1).batch_builder(config)
    a, b = batch_builder.batch(0, 0, 1), batch_builder.batch(1, 0, 1)
    assert not torch.equal(a.patches, b.patches)
    lengths = [x.patches.norm(dim=3) for x in (a, b)]
    ratio = lengths[0] / lengths[1].clamp(min=1e-9)
    torch.testing.assert_close(ratio[lengths[1] > 1e-6], ratio.median().expand(int((lengths[1] > 1e-6).sum())))
    with pytest.raises(InputError, match='"precomputed" goes with augmentation'):
        wrong = replace(config, augmentation=AugmentationConfig(kind="free"))
        tiny_data(config).batch_builder(wrong)


def test_a_degenerate_shape_is_named() -> None:
    config = tiny_config()
    some = tiny_data(config, count=1)
    some.train[0][0].points[:] = 0
    with pytest.raises(InputError, match=r"b0: cannot be used for training \(all sampled points are equal"):
        some.batch_builder(config).batch(0, 0, 1)


def test_unknown_groups_in_weights() -> None:
    config = tiny_config(data={"weights": {"cubes": 1.0}})
    with pytest.raises(InputError, match="no group 'cubes' with usable records; there are balls"):
        tiny_data(config).batch_builder(config)


# Text


def test_paraphrases_take_the_place_of_names(tmp_path: Path) -> None:
    table = tmp_path / "p.tsv"
    table.write_text("top\tupper half|lid\nbottom\tlid\n")
    config = tiny_config(data={"paraphrases": str(table), "paraphrase": 1.0})
    some = tiny_data(config)
    batch, seen = some.batch_builder(config).batch(0, 0, 4), set()
    assert some.text_bank is not None and batch.text_ids is not None
    words = {row: name for (name, _), row in some.text_bank._ids.items()}
    for names in batch.text_ids.tolist():
        pair = tuple(words[row] for row in names)
        assert pair[0] in ("upper half", "lid") and len(set(pair)) == 2  # two parts never share a wording
        seen.add(pair)
    table.write_text("top\n")
    with pytest.raises(InputError, match="line 1: expected name TAB"):
        Paraphrases.load(str(table))
    with pytest.raises(InputError, match="cannot be read"):
        Paraphrases.load(str(tmp_path / "nowhere"))


def test_the_bank_holds_what_pa3d_would_ask_with() -> None:
    from pa3d.text import embed_parts

    encoder = text_encoder(MINILM)
    bank = TextBank(encoder, [("seat", None), ("leg", "chair"), ("seat", "chair")])
    rows = bank.ids(["seat", "leg"], "chair")
    np.testing.assert_array_equal(bank.vectors[rows], embed_parts(encoder, ["seat", "leg"], "chair"))


def test_a_text_space_of_another_width() -> None:
    with pytest.raises(InputError, match=r"encoder.text_dim is 5, but all-MiniLM-L6-v2 has 384 dimensions"):
        config = tiny_config()
        tiny_data(replace(config, encoder=replace(TINY, text_dim=5)))


# Augmentation


def test_rotations_are_rotations() -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        r = random_rotation(rng)
        np.testing.assert_allclose(r @ r.T, np.eye(3), atol=1e-12)
        assert math.isclose(np.linalg.det(r), 1.0, rel_tol=1e-12)


def test_the_papers_augmentation_stays_within_its_limits() -> None:
    c = AugmentationConfig(kind="paper", probability=0.9)
    points = ball(0).points
    transforms = [sample_transform(c, points, np.random.default_rng(seed)) for seed in range(400)]
    still = sum(transform is IDENTITY for transform in transforms)
    assert 15 < still < 70  # a tenth of 400, five deviations
    for transform in transforms:
        if transform is IDENTITY:
            continue
        scale = np.linalg.norm(transform.linear, axis=1)
        np.testing.assert_allclose(scale, scale[0])
        assert 0.9 <= scale[0] <= 1.1 and np.abs(transform.translation).max() <= 0.02
        rotation = transform.linear / scale[0]
        assert math.isclose(np.linalg.det(rotation), 1.0, rel_tol=1e-9)
        # Three turns of at most 20 degrees make one of at most 60.
        assert math.degrees(math.acos((np.trace(rotation) - 1) / 2)) <= 60
        moved = transform.jitter(transform.apply(points), np.random.default_rng(1))
        assert np.abs(moved - transform.apply(points)).max() <= 0.05 + 1e-6


def test_no_augmentation_is_none() -> None:
    assert sample_transform(AugmentationConfig(), ball(0).points, np.random.default_rng(0)) is IDENTITY


def test_free_augmentation_can_be_turned_off_piece_by_piece() -> None:
    c = AugmentationConfig("free", yaw=False, tilt=0, any_orientation=0, stretch=0, mirror=0, free_jitter=0, crop=0)
    transform = sample_transform(c, ball(0).points, np.random.default_rng(0))
    np.testing.assert_allclose(transform.linear, np.eye(3), atol=1e-15)
    assert transform.jitter_std == 0 and transform.keep_mask is None and transform.extra_points is None


def test_a_camera_sees_the_near_half_of_a_ball() -> None:
    rng = np.random.default_rng(0)
    points = rng.standard_normal((100_000, 3))  # 20 per cell, so that no cell is empty
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    camera = np.array([0.0, 0.6, 0.8])
    seen = visible_points(points, camera, 40)
    near = points @ camera
    # Cells of 1/20 of the radius: where the slope is below 2 all lie within the three cells of the nearest.
    assert seen[near > 0.5].all() and not seen[near < -0.8].any() and seen[near < -0.4].mean() < 0.02
    # Two walls, one behind the other by half their width: the far one is hidden but for its rim.
    x, y = rng.uniform(-1, 1, (2, 5000))
    walls = np.concatenate([np.stack([x, y, 0 * x], 1), np.stack([x, y, 0 * x - 1], 1)])
    seen = visible_points(walls, np.array([0.0, 0.0, 1.0]), 10)
    assert seen[:5000].all() and seen[5000:].mean() < 0.02


def test_views_and_tables() -> None:
    """Kept points are some of the shape's, and a table is a plane at its lowest point that no part has."""
    c = AugmentationConfig("free", view=1.0, table=1.0, crop=0.5)
    record = ball(0, 3000)
    points = record.points * np.float32([1, 2, 1])
    for seed in range(10):
        transform = sample_transform(c, points, np.random.default_rng(seed))
        assert transform.keep_mask is not None and 0.05 < transform.keep_mask.mean() < 0.85
        assert transform.extra_points is not None and 0 < len(transform.extra_points) <= 0.7 * transform.keep_mask.sum()
        assert np.ptp(transform.extra_points[:, 1]) == 0 and transform.extra_points[0, 1] >= points[:, 1].min()
    assert sample_transform(replace(c, view=0.0), points, np.random.default_rng(0)).extra_points is None
    views = [
        sample_transform(replace(c, view=0.3, crop=0), points, np.random.default_rng(s)).keep_mask for s in range(300)
    ]
    assert 60 < sum(mask is not None for mask in views) < 120
    config = tiny_config(augmentation={"kind": "free", "view": 1.0, "table": 1.0})
    batch = tiny_data(config).batch_builder(config).batch(0, 0, 4)
    assert batch.targets is not None and batch.valid is not None
    covered = (batch.targets * batch.valid[:, None]).sum(dim=2)  # every point of a ball is of one of two parts
    assert bool((covered < 0.01).any()) and bool((covered > 0.99).any())


def test_dirt_can_be_asked_for() -> None:
    points = ball(0, 3000).points
    c = AugmentationConfig("free", crop=0, free_jitter=0)
    noisy, uneven, strewn = (
        sample_transform(replace(c, **{name: 1.0}), points, np.random.default_rng(3))
        for name in ("noise", "uneven", "outliers")
    )
    assert 0.004 <= noisy.jitter_std <= 0.02 and noisy.keep_mask is None and noisy.extra_points is None
    assert uneven.keep_mask is not None and 0.2 < uneven.keep_mask.mean() < 0.9
    middle = points[uneven.keep_mask].mean(axis=0)
    assert np.linalg.norm(middle) > 0.05  # the ball's mean is at its centre
    assert (
        strewn.extra_points is not None
        and 6 <= len(strewn.extra_points) <= 60
        and np.abs(strewn.extra_points).max() <= 1.5
    )
    clean = sample_transform(c, points, np.random.default_rng(3))
    assert clean.jitter_std == 0 and clean.keep_mask is None and clean.extra_points is None


def test_densities_change_from_batch_to_batch() -> None:
    config = tiny_config(data={"densities": {"128/8": 0.5, "64/4": 0.3, "300/16": 0.2, "8/8": 0.0}})
    batch_builder = tiny_data(config).batch_builder(config)
    sizes = [batch_builder.density(step) for step in range(400)]
    assert set(sizes) == {(128, 8), (64, 4), (300, 16)}
    assert abs(sizes.count((128, 8)) / 400 - 0.5) < 0.1
    for step in range(8):
        batch = batch_builder.batch(step, 0, 4)
        points, patches = sizes[step]
        assert batch.patches.shape == (4, patches, TINY.patch_size, 3) and points in (128, 64, 300)
    assert tiny_data(tiny_config()).batch_builder(tiny_config()).density(5) == (128, 8)
    with pytest.raises(InputError, match="expected no more patches than points"):
        with_overrides(config, ['data.densities={"4/8" = 1.0}'])


# Absent names


def test_absent_names_are_far_from_those_present(tmp_path: Path) -> None:
    table = tmp_path / "words.tsv"
    table.write_text("leg\tlower limb\nsupport\tlower limb\nsail\tcanvas\n")
    vocabularies = {"chair": ["leg", "seat"], "stool": ["chair leg", "cushion"], "ship": ["sail", "propeller", "legs"],
                    "lamp": ["support", "light bulb"]}  # fmt: skip
    masks = np.ones((1, 50), bool)
    points = np.random.default_rng(0).standard_normal((50, 3)).astype(np.float32)
    records = [
        PartCloud(points, names, np.repeat(masks, len(names), 0), category, "s", "MIT", category)
        for category, names in vocabularies.items()
    ]
    group = usable_group("all", MemoryRecords(records), names=True, features=False)
    paraphrases = Paraphrases.load(str(table))
    bank = TextBank(text_encoder(MINILM), text_keys([group], paraphrases, set()))
    absent = NegativeNameSampler([group], bank, paraphrases)
    drawn = [absent.sample(["leg"], "chair", 4, np.random.default_rng(s)) for s in range(40)]
    found = {name for names in drawn for name in names}
    assert {"sail", "propeller", "light bulb"} <= found
    assert not found & {"leg", "legs", "chair leg", "support", "seat"}  # words, paraphrases, names of the category
    assert all(len(set(names)) == len(names) and names for names in drawn)
    assert absent.sample(["leg"], "chair", 2, np.random.default_rng(1)) == absent.sample(
        ["leg"], "chair", 2, np.random.default_rng(1)
    )


def test_absent_names_have_targets_of_zero() -> None:
    config = tiny_config(data={"absent": 3}, augmentation={"kind": "free"})
    balls = tiny_data(config).train[0]
    wheel = replace(ball(50), names=["wheel", "sail", "keyboard", "moustache"], masks=np.ones((4, 300), bool))
    group = usable_group("wheels", MemoryRecords([replace(wheel, category="wheels")]), names=True, features=False)
    both = TrainingData.from_groups(config, [balls, group], [])
    batch = both.batch_builder(config).batch(0, 0, 4)
    plain = both.batch_builder(with_overrides(config, ["data.absent=0"])).batch(0, 0, 4)
    assert batch.targets is not None and batch.valid is not None and plain.valid is not None
    assert plain.targets is not None
    for i, name in enumerate(batch.ids):
        shape, more = int(plain.valid[i].sum()), int(batch.valid[i].sum())
        assert name.startswith("b") and 0 < more - shape <= 3
        assert torch.equal(batch.targets[i, :, :shape], plain.targets[i, :, :shape])
        assert not batch.targets[i, :, shape:].any()


def test_class_token_learns_categories() -> None:
    """Two kinds of shapes that differ in form; names of too few shapes are not among the categories."""
    config = tiny_config(
        data={"points": 128, "category_min": 4},
        loss={"category": 1.0},
        optimizer={"batch": 8, "lr": 3e-3, "head_lr": 3e-3},
    )

    def stick(seed: int, category: str) -> PartCloud:
        record = ball(seed)
        return replace(
            record, points=record.points * np.float32([0.05, 1, 0.05]), category=category, id=f"{category}{seed}"
        )

    records = [*map(ball, range(6)), *(stick(i, "stick") for i in range(6)), stick(9, "rare")]
    data = TrainingData.from_groups(
        config, [usable_group("all", MemoryRecords(records), names=True, features=False)], []
    )
    assert data.shape_categories == ["ball", "stick"]
    vectors = data.category_vectors()
    assert vectors is not None
    trainer = Trainer(
        config,
        text_vectors=torch.from_numpy(data.text_bank.vectors),  # type: ignore[union-attr]
        category_vectors=torch.from_numpy(vectors),
        total_steps=40,
    )
    builder = data.batch_builder(config)
    for step in range(40):
        trainer.train_step(builder.batch(step, 0, 8))
    batch = builder.batch(100, 0, 8)
    assert batch.category_ids is not None
    expected = [{"b": 0, "s": 1, "r": -1}[name[0]] for name in batch.ids]
    assert batch.category_ids.tolist() == expected
    shape = trainer.model(batch.patches, batch.centers).shape
    assert shape is not None and shape.shape == (8, 384)
    nearest = (shape @ torch.from_numpy(vectors).T).argmax(dim=1)
    known = batch.category_ids >= 0
    assert torch.equal(nearest[known], batch.category_ids[known])


def test_without_the_loss_of_categories_there_are_none() -> None:
    config = tiny_config(data={"category_min": 1})
    data = tiny_data(config)
    assert data.shape_categories == [] and data.category_vectors() is None
    assert data.batch_builder(config).batch(0, 0, 4).category_ids is None
