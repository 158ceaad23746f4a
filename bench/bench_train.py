"""A step of training in the official configuration, against the plain formulation in torch, both under bf16 autocast.

The plain formulation follows the paper directly: farthest points and neighbors in tensor code, attention in three
products, AdamW. Its mini-PointNet has 1x1 convolutions over (B G, C, M), with the pooled feature repeated for every
point. The bench checks first that losses and gradients of both are equal in float32. A step takes clouds of 2,048
points and ends with the optimiser's update; clouds and targets are in memory.

The plain formulation is timed twice. In its own process it has torch's default memory handling. In this process freed
memory is kept (pa3d.train.memory.keep_freed_memory), so that the ratio compares the computation alone.

    OMP_NUM_THREADS=2 pytest bench/bench_train.py
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import pytest
from _common import QUICK, THREADS, Race, check, encoder_flop, measure, random_cloud, use_threads

BATCH = 4 if QUICK else 32
PARTS = 5
FEATURES = 768
STAGES = ("stage1", "stage2")
PLAIN, KEPT, OURS = "plain torch", "plain torch, freed memory kept", "pa3d"
HERE = Path(__file__).resolve()


def clouds(batch: int) -> Any:  # (B, 2048, 3)
    import numpy as np
    import torch

    return torch.from_numpy(np.stack([random_cloud(2048, seed) for seed in range(batch)]))


def configuration(stage: str, batch: int) -> Any:
    from pa3d.train.config import load_config

    config = load_config(HERE.parents[1] / "configs" / f"official-{stage}.toml", stage)  # type: ignore[arg-type]
    return replace(
        config, optimizer=replace(config.optimizer, batch=batch), schedule=replace(config.schedule, steps=10**9)
    )


def text_vectors() -> Any:  # (PARTS, 1280)
    """Random unit vectors as those of part names."""
    import torch

    generator = torch.Generator().manual_seed(0)
    return torch.nn.functional.normalize(torch.randn(PARTS, 1280, generator=generator), dim=1)


def targets(stage: str, points: Any, members: Any) -> Any:
    """Targets of the patches: features (B, G, D) for stage 1, fractions of parts (B, G, K) for stage 2.

    Parts are slabs of equal thickness.
    """
    import torch

    if stage == "stage1":
        generator = torch.Generator().manual_seed(1)
        return torch.nn.functional.normalize(torch.randn(*members.shape[:2], FEATURES, generator=generator), dim=2)
    part = ((points[..., 2] + 1) / 2 * PARTS).long().clamp(0, PARTS - 1)
    mine = part.gather(1, members.flatten(1)).reshape(members.shape)
    return torch.nn.functional.one_hot(mine, PARTS).float().mean(dim=2)


def ours(stage: str, batch: int, precision: str = "bf16") -> tuple[Any, Callable[[], float]]:
    """The trainer, and a step of it from clouds."""
    import torch

    from pa3d.ops import sample_and_group
    from pa3d.ops.group import gather, group
    from pa3d.train.batches import Batch
    from pa3d.train.trainer import Trainer

    config = replace(configuration(stage, batch), precision=precision)
    c = config.encoder
    trainer = Trainer(config, text_vectors=None if stage == "stage1" else text_vectors(), feature_dim=FEATURES)
    points, target = clouds(batch), patch_targets(stage, batch)
    text_ids, valid = torch.arange(PARTS).expand(batch, -1), torch.ones(batch, PARTS, dtype=torch.bool)

    def step() -> float:
        index, members = sample_and_group(points, c.patches, c.patch_size, min_sq_norm=c.min_sq_norm)
        made = Batch(group(points, index, members), gather(points, index), [""] * batch)
        if stage == "stage1":
            made.visual_targets = target
        else:
            made.targets, made.text_ids, made.valid = target, text_ids, valid
        return trainer.train_step(made).loss

    return trainer, step


@cache
def patch_targets(stage: str, batch: int) -> Any:
    from pa3d.config import EncoderConfig
    from pa3d.ops import sample_and_group

    c, points = EncoderConfig(), clouds(batch)
    return targets(stage, points, sample_and_group(points, c.patches, c.patch_size, min_sq_norm=c.min_sq_norm)[1])


def plain(
    stage: str, batch: int, precision: str = "bf16", *, drop_path: bool = True
) -> tuple[Any, Callable[[], float]]:
    """The plain module, and a step of it from clouds."""
    import torch
    import torch.nn.functional as F
    from torch import Tensor, nn

    config = configuration(stage, batch)
    c = config.encoder

    class PointNet(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            w0, w1, w2, w3 = c.embed
            self.first_conv = nn.Sequential(
                nn.Conv1d(3, w0, 1), nn.BatchNorm1d(w0), nn.ReLU(inplace=True), nn.Conv1d(w0, w1, 1)
            )
            self.second_conv = nn.Sequential(
                nn.Conv1d(2 * w1, w2, 1), nn.BatchNorm1d(w2), nn.ReLU(inplace=True), nn.Conv1d(w2, w3, 1)
            )

        def forward(self, patches: Tensor) -> Tensor:
            b, g, m, _ = patches.shape
            x = self.first_conv(patches.reshape(b * g, m, 3).transpose(2, 1))
            pooled = x.max(dim=2, keepdim=True)[0]
            x = self.second_conv(torch.cat([pooled.expand(-1, -1, m), x], dim=1))
            return x.max(dim=2)[0].reshape(b, g, -1)

    class Attention(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.qkv, self.proj = nn.Linear(c.dim, 3 * c.dim, bias=False), nn.Linear(c.dim, c.dim)

        def forward(self, x: Tensor) -> Tensor:
            b, t, d = x.shape
            q, k, v = self.qkv(x).reshape(b, t, 3, c.heads, d // c.heads).permute(2, 0, 3, 1, 4)
            weights = ((q @ k.transpose(-2, -1)) * (d // c.heads) ** -0.5).softmax(dim=-1)
            return self.proj((weights @ v).transpose(1, 2).reshape(b, t, d))

    class Mlp(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc1, self.act, self.fc2 = nn.Linear(c.dim, c.mlp_hidden), nn.GELU(), nn.Linear(c.mlp_hidden, c.dim)

        def forward(self, x: Tensor) -> Tensor:
            return self.fc2(self.act(self.fc1(x)))

    class Block(nn.Module):
        def __init__(self, rate: float) -> None:
            super().__init__()
            self.norm1, self.norm2, self.attn, self.mlp = nn.LayerNorm(c.dim), nn.LayerNorm(c.dim), Attention(), Mlp()
            self.rate = rate if drop_path else 0.0

        def drop(self, x: Tensor) -> Tensor:
            if self.rate == 0:
                return x
            return x * x.new_empty(len(x), 1, 1).bernoulli_(1 - self.rate) / (1 - self.rate)

        def forward(self, x: Tensor) -> Tensor:
            x = x + self.drop(self.attn(self.norm1(x)))
            return x + self.drop(self.mlp(self.norm2(x)))

    class Blocks(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.blocks = nn.ModuleList(Block(rate) for rate in torch.linspace(0, c.drop_path, c.depth).tolist())

        def forward(self, x: Tensor, pos: Tensor) -> Tensor:
            for block in self.blocks:
                x = block(x + pos)
            return x

    class Encoder(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.encoder, self.reduce_dim = PointNet(), nn.Linear(c.embed[3], c.dim)
            self.cls_token, self.cls_pos = (
                nn.Parameter(torch.zeros(1, 1, c.dim)),
                nn.Parameter(torch.zeros(1, 1, c.dim)),
            )
            self.pos_embed = nn.Sequential(nn.Linear(3, c.pos_hidden), nn.GELU(), nn.Linear(c.pos_hidden, c.dim))
            self.blocks, self.norm = Blocks(), nn.LayerNorm(c.dim)

        def forward(self, points: Tensor) -> Tensor:
            centers = points.gather(1, farthest(points)[..., None].expand(-1, -1, 3))
            distance = torch.cdist(centers, points)
            members = distance.topk(c.patch_size, dim=2, largest=False, sorted=False)[1]
            b, g, m = members.shape
            patches = points.gather(1, members.reshape(b, g * m, 1).expand(-1, -1, 3)).reshape(b, g, m, 3)
            x = self.reduce_dim(self.encoder(patches - centers[:, :, None]))
            x = torch.cat([self.cls_token.expand(b, -1, -1), x], dim=1)
            pos = torch.cat([self.cls_pos.expand(b, -1, -1), self.pos_embed(centers)], dim=1)
            return self.norm(self.blocks(x, pos))[:, 1:]

    def farthest(points: Tensor) -> Tensor:
        b, n, _ = points.shape
        rows, chosen = torch.arange(b), torch.zeros(b, c.patches, dtype=torch.long)
        distance = torch.full((b, n), 1e10)
        distance[(points**2).sum(dim=-1) <= c.min_sq_norm] = -1
        far = chosen[:, 0]
        for i in range(c.patches):
            chosen[:, i] = far
            distance = torch.minimum(distance, ((points - points[rows, far][:, None]) ** 2).sum(dim=-1))
            far = distance.argmax(dim=1)
        return chosen

    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.encoder = Encoder()
            self.proj = nn.Linear(c.dim, FEATURES if stage == "stage1" else c.text_dim)
            self.logit_scale = nn.Parameter(torch.tensor(1 / 0.07).log(), requires_grad=stage == "stage2")

        def forward(self, points: Tensor) -> Tensor:
            return F.normalize(self.proj(self.encoder(points)), dim=-1)

    model = Model()
    if stage == "stage2":
        trainable = (
            f"encoder.blocks.blocks.{c.depth - 1}.",
            "encoder.norm",
            "encoder.reduce_dim",
            "encoder.cls",
            "proj",
        )
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(name.startswith((*trainable, "logit_scale")))
    o = config.optimizer
    heads = [p for n, p in model.named_parameters() if p.requires_grad and n.startswith(("proj", "logit_scale"))]
    others = [p for n, p in model.named_parameters() if p.requires_grad and n.startswith("encoder")]
    optimizer = torch.optim.AdamW(
        [{"params": others, "lr": o.lr}, {"params": heads, "lr": o.head_lr}], weight_decay=o.weight_decay
    )
    points, target, text = clouds(batch), patch_targets(stage, batch), text_vectors()

    def step() -> float:
        model.train()
        if stage == "stage2":
            model.encoder.encoder.eval()  # frozen, its statistics too
        optimizer.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
            features = model(points)
        features = features.float()
        if stage == "stage1":
            loss = (1 - F.cosine_similarity(features, target, dim=-1)).mean()
        else:
            weight = torch.tensor(float(max(1, PARTS - 1)))
            logits = model.logit_scale.exp().clamp(max=100) * features @ text.T
            loss = F.binary_cross_entropy_with_logits(logits, target, pos_weight=weight)
        loss.backward()
        optimizer.step()
        return loss.item()

    return model, step


def check_equal(stage: str) -> None:
    """Check that losses and gradients are equal, for two shapes in float32 without dropped branches."""
    import torch

    trainer, step = ours(stage, 2, "fp32")
    for block in trainer.model.encoder.blocks.blocks:
        block.drop_path = 0.0
    model, plain_step = plain(stage, 2, "fp32", drop_path=False)
    model.load_state_dict(trainer.model.state_dict())
    a, b = step(), plain_step()
    check(abs(a - b) < 1e-5 * abs(b), f"{stage}: loss {a}, plain {b}")
    parameters, plain_parameters = dict(trainer.model.named_parameters()), dict(model.named_parameters())
    for name, parameter in plain_parameters.items():
        grad, other = parameter.grad, parameters[name].grad
        if grad is None or other is None:
            check(grad is None and other is None, f"{stage}: only one has a gradient of {name}")
            continue
        # The gradient of a bias before a normalisation is only rounding, so the scale is that of its layer.
        layer = plain_parameters.get(name.removesuffix("bias") + "weight")
        scale = max(float(p.grad.norm()) for p in (parameter, layer) if p is not None and p.grad is not None)
        check(float((grad - other).norm()) <= 1e-3 * scale, f"{stage}: gradients of {name} differ")
    torch.manual_seed(0)


def child(stage: str) -> Callable[[], float]:
    """Steps of the plain formulation in a separate process; each call returns the seconds of a step."""
    process = subprocess.Popen(
        [sys.executable, str(HERE), stage], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=HERE.parent
    )

    def run() -> float:
        assert process.stdin is not None and process.stdout is not None
        process.stdin.write("step\n")
        process.stdin.flush()
        return float(process.stdout.readline())

    return run


def serve(stage: str) -> None:
    use_threads()
    _, step = plain(stage, BATCH)
    for _ in sys.stdin:
        start = time.perf_counter()
        step()
        print(time.perf_counter() - start, flush=True)


def timed(step: Callable[[], float]) -> float:
    """The seconds of a step. A race needs this, because a step returns its loss, a float."""
    start = time.perf_counter()
    step()
    return time.perf_counter() - start


@cache
def training(stage: str) -> Race:
    from pa3d.config import EncoderConfig
    from pa3d.train.memory import keep_freed_memory

    check_equal(stage)
    keep_freed_memory()
    runs = {OURS: partial(timed, ours(stage, BATCH)[1]), KEPT: partial(timed, plain(stage, BATCH)[1])}
    runs[PLAIN] = child(stage)
    flop = BATCH * training_flop(stage, EncoderConfig())
    return Race(f"training, {stage} official, batch of {BATCH}", runs, dict.fromkeys(runs, (flop, "bf16")))


def training_flop(stage: str, c: Any) -> float:
    """FLOP per shape of the products of our kernels.

    In stage 1 everything trains: the backward pass has twice the products of the forward pass, except in the two layers
    that are followed by a maximum only. In stage 2 the mini-PointNet has no backward pass, and frozen blocks have one
    without gradients of weights.
    """
    w0, w1, w2, w3 = c.embed
    rows = 2.0 * c.patches * c.patch_size
    forward, maxima = encoder_flop(c), rows * (w0 * w1 + w2 * w3)
    return 3 * forward - 2 * maxima if stage == "stage1" else 2 * forward - maxima - rows * w0 * w2


@pytest.mark.parametrize("competitor", [OURS, PLAIN, KEPT])
@pytest.mark.parametrize("stage", STAGES)
def test_train(benchmark: object, stage: str, competitor: str) -> None:
    race = training(stage)
    measure(benchmark, race, competitor)
    benchmark.extra_info["shapes_per_second"] = BATCH / race.median(competitor)  # type: ignore[attr-defined]


def main() -> None:
    """Without arguments prints the table. With a stage it is the separate process of the plain formulation."""
    if len(sys.argv) > 1:
        serve(sys.argv[1])
        return
    use_threads()
    for stage in STAGES:
        race = training(stage)
        for name in race.runs:
            seconds = race.median(name)
            ratio = seconds / race.median(OURS)
            print(f"{race.name}, {THREADS} threads: {name:<30}{BATCH / seconds:7.2f} shapes/s  {ratio:.2f}", flush=True)


if __name__ == "__main__":
    main()
