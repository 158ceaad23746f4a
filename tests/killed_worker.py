"""A run that says which step it is at, to be killed: python killed_worker.py OUT STAGE."""

from __future__ import annotations

import sys

import torch
from training import tiny_config, tiny_data

from pa3d.train.loop import train

STEPS = 150


def main(out: str, stage: str) -> None:
    torch.set_num_threads(1)
    config = tiny_config(
        stage,
        optimizer={"ema": 0.95, "clip": 1.0},
        schedule={"steps": STEPS, "kind": "linear", "warmup": 5},
        augmentation={"kind": "free"},
        run={"save_every": 3, "validate_every": 20},
    )
    train(config, out, data=tiny_data(config, val=2), log=lambda line: print(line, flush=True))


if __name__ == "__main__":
    main(*sys.argv[1:])
