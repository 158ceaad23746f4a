"""Train the vector of whole shapes (pa3d.shape_head) of a checkpoint on the categories of training records.

    python scripts/train_shape_head.py MODEL --families FOLDER [--families ...] --features CACHE -o OUT

The encoder stays as it is. Each record is encoded DRAWS times: 2,048 of its points, at times turned about the up axis,
stretched along the axes, tilted a little, noisy. What the head sees of them is kept in CACHE, by family, so that
training again takes a minute.
The loss is the cross entropy over the names of the categories of pa3d.categories, those whose
vectors are alike left out, as in pa3d.train.losses.category_loss.
"""

from __future__ import annotations

import argparse
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from pa3d.categories import categories, category_of
from pa3d.checkpoint import load, save
from pa3d.propose import category_vectors
from pa3d.rotations import axis_rotation
from pa3d.segment import Segmenter
from pa3d.shape_head import TEMPERATURE, pool
from pa3d.train.records import ShardRecords

POINTS, BATCH = 2048, 512
MOST_RECORDS = 60  # of a category and family
TOGETHER = 64  # clouds encoded in one call
STRETCH, TILT = 0.4, 10.0  # largest factor minus 1, degrees
JITTER = 0.015  # largest standard deviation of noise, of the largest extent
RELATED = 0.7  # cosine of names that are no negatives of each other


def augmented(points: np.ndarray, rng: np.random.Generator) -> np.ndarray:  # (N, 3) y up
    """Some of the points, half of the time turned about y, half of the time stretched and tilted."""
    used = points[rng.choice(len(points), min(POINTS, len(points)), replace=False)].astype(np.float64)
    if rng.random() < 0.5:
        used = used @ axis_rotation("y", rng.uniform(0, 2 * np.pi)).T
    if rng.random() < 0.5:
        used *= np.exp(rng.uniform(-1, 1, 3) * np.log(1 + STRETCH))
        for axis in "xz":
            used = used @ axis_rotation(axis, np.radians(rng.uniform(-TILT, TILT))).T
    if rng.random() < 0.5:
        used += rng.standard_normal(used.shape) * rng.uniform(0, JITTER) * np.ptp(used, axis=0).max()
    return used.astype(np.float32)


def read_family(segmenter: Segmenter, folder: Path, draws: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """What the head sees of each draw (n, 3C) float16, and the names of the categories (n,)."""
    records, rng, count = ShardRecords(folder), np.random.default_rng(seed), Counter[str]()
    chosen: list[tuple[int, str]] = []
    for number in rng.permutation(len(records.infos)).tolist():
        category = category_of(records.infos[number].category)
        if category is not None and count[category.name] < MOST_RECORDS:
            count[category.name] += 1
            chosen += [(number, category.name)] * draws
    seen = []
    for start in range(0, len(chosen), TOGETHER):
        clouds = [augmented(np.asarray(records[i].points), rng) for i, _ in chosen[start : start + TOGETHER]]
        seen += [pool(encoded.tokens).astype(np.float16) for encoded in segmenter.encode(clouds)]
    names = [name for _, name in chosen]
    return np.array(seen), np.array(names)


class Head(nn.Module):
    """pa3d.shape_head in torch, on what it sees divided by its spread; `tensors` is the head without that."""

    def __init__(self, seen: torch.Tensor, hidden: int, text_dim: int, dropout: float) -> None:
        super().__init__()
        self.mean, self.spread = seen.mean(dim=0), seen.std(dim=0) + 1e-3
        self.hidden, self.out = nn.Linear(seen.shape[1], hidden), nn.Linear(hidden, text_dim)
        self.dropout = dropout

    def forward(self, seen: torch.Tensor, noise: float = 0.0) -> torch.Tensor:  # (B, 3C) -> (B, D)
        x = (seen - self.mean) / self.spread
        x = F.relu(self.hidden(x + noise * torch.randn_like(x)))
        return F.normalize(self.out(F.dropout(x, self.dropout, self.training)), dim=-1)

    @torch.no_grad()
    def tensors(self) -> dict[str, Any]:
        weight = self.hidden.weight / self.spread
        return {
            "hidden.weight": weight.numpy(),
            "hidden.bias": (self.hidden.bias - weight @ self.mean).numpy(),
            "out.weight": self.out.weight.numpy(),
            "out.bias": self.out.bias.numpy(),
        }


def train(seen: torch.Tensor, labels: torch.Tensor, text: torch.Tensor, args: argparse.Namespace) -> Head:
    """labels (n,) index into text (V, D). Rare categories are drawn more often than they occur: by the square root."""
    torch.manual_seed(args.seed)
    head = Head(seen, args.hidden, text.shape[1], args.dropout)
    related = text @ text.T >= RELATED
    weights = torch.bincount(labels, minlength=len(text))[labels].double() ** -0.5
    optimizer = torch.optim.AdamW(head.parameters(), args.rate, weight_decay=args.decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, args.rate, total_steps=args.steps)
    for step in range(args.steps):
        chosen = torch.multinomial(weights, BATCH, replacement=True)
        own = labels[chosen]
        ignored = related[own].scatter(1, own[:, None], False)
        logits = head(seen[chosen], args.noise) @ text.T / TEMPERATURE
        loss = F.cross_entropy(logits.masked_fill(ignored, -torch.inf), own)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        schedule.step()
        if (step + 1) % 200 == 0:
            print(f"step {step + 1}  loss {loss.item():.3f}", flush=True)
    return head.eval()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--families", type=Path, action="append", required=True, help="a folder of shards; repeatable")
    parser.add_argument("--features", type=Path, required=True, help="keeps what the head sees of each family")
    parser.add_argument("-o", "--out", type=Path, required=True)
    parser.add_argument("--draws", type=int, default=2, help="of each record")
    parser.add_argument("--hidden", type=int, default=1024)
    parser.add_argument("--dropout", type=float, default=0.5)
    parser.add_argument("--noise", type=float, default=1.5)
    parser.add_argument("--decay", type=float, default=0.3)
    parser.add_argument("--rate", type=float, default=2e-3)
    parser.add_argument("--steps", type=int, default=800)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    checkpoint = load(args.model)
    segmenter = Segmenter(checkpoint, precision="fp32")
    args.features.mkdir(parents=True, exist_ok=True)
    seen, names = [], []
    for seed, folder in enumerate(args.families):
        kept = args.features / f"{folder.name}.npz"
        if not kept.is_file():
            found = read_family(segmenter, folder, args.draws, seed)
            np.savez(kept, seen=found[0], names=found[1])
        with np.load(kept) as data:
            if len(data["names"]):
                seen.append(torch.from_numpy(data["seen"].astype(np.float32)))
                names += data["names"].tolist()
        print(f"{folder.name}: {len(names)} in all", flush=True)
    number = {category.name: i for i, category in enumerate(categories())}
    labels = torch.tensor([number[name] for name in names])
    print(f"{len(labels)} draws of {len(Counter(names))} categories")
    text = torch.from_numpy(category_vectors(segmenter))
    head = train(torch.cat(seen), labels, text, args)
    # What was fitted with the head before: scripts/calibrate_names.py makes it again.
    save(args.out, replace(checkpoint, shape_head=head.tensors(), kinds=None, presence=None), half=True)
    print(f"{args.out}: {args.out.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
