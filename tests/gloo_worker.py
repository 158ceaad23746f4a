"""One process of a distributed run: python gloo_worker.py OUT STAGE STEPS [OPTIMIZER].

The environment variables are those that torchrun sets.
"""

from __future__ import annotations

import sys
from dataclasses import replace

import torch
from training import tiny_config, tiny_data

from pa3d.train.loop import train


def main(out: str, stage: str, steps: str, optimizer: str = "adamw") -> None:
    torch.set_num_threads(1)
    config = tiny_config(
        stage,
        optimizer={"batch": 8, "lr": 1e-4, "head_lr": 5e-4, "kind": optimizer},
        schedule={"steps": int(steps)},
        augmentation={"kind": "paper"},
    )
    if optimizer == "muon":  # which trains matrices of at least 64 by 64
        wide = replace(config.encoder, dim=64, heads=2, mlp_hidden=128, embed=(64, 64, 64, 64))
        config = replace(config, encoder=wide)
    train(config, out, data=tiny_data(config, count=40, val=3))


if __name__ == "__main__":
    main(*sys.argv[1:])
