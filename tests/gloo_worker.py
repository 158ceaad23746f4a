"""One process of a distributed run: python gloo_worker.py OUT STAGE STEPS, RANK and the like set as torchrun does."""

from __future__ import annotations

import sys

import torch
from training import tiny_config, tiny_data

from pa3d.train.loop import train


def main(out: str, stage: str, steps: str) -> None:
    torch.set_num_threads(1)
    config = tiny_config(
        stage,
        optimizer={"batch": 8, "lr": 1e-4, "head_lr": 5e-4},
        schedule={"steps": int(steps)},
        augmentation={"kind": "paper"},
    )
    train(config, out, data=tiny_data(config, count=40, val=3))


if __name__ == "__main__":
    main(*sys.argv[1:])
