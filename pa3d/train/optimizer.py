"""Parameter groups, the optimizer, and the schedule of its learning rates."""

from __future__ import annotations

import math
from typing import Any

import torch

from pa3d.train.config import OptimizerConfig, ScheduleConfig
from pa3d.train.model import TrainModel
from pa3d.train.muon import Muon, is_matrix

HEADS = ("proj.", "visual.", "logit_scale")  # prefixes of the parameters that train at optimizer.head_lr


def build_optimizer(model: TrainModel, c: OptimizerConfig, *, half: bool) -> torch.optim.AdamW | Muon:
    """half: whether Muon computes in bfloat16."""
    groups, betas = parameter_groups(model, c), (c.beta1, c.beta2)
    if c.kind == "muon":
        return Muon(groups, momentum=c.momentum, betas=betas, half=half)
    return torch.optim.AdamW(groups, betas=betas, fused=True)


def parameter_groups(model: TrainModel, c: OptimizerConfig) -> list[dict[str, Any]]:
    """The trainable parameters in groups: encoder or heads, with or without weight decay, for Muon or for AdamW.

    Each group has "params" and their "names", its "weight_decay", "initial_lr", which the schedule scales to "lr", and
    "muon".
    """
    groups: dict[tuple[bool, bool, bool], dict[str, Any]] = {}
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        head, decayed = name.startswith(HEADS), c.decay_vectors or parameter.ndim >= 2
        lr = c.head_lr if head else c.lr
        weight_decay = c.weight_decay if decayed else 0.0
        muon = c.kind == "muon" and is_matrix(parameter)
        new = {"params": [], "names": [], "weight_decay": weight_decay, "lr": lr, "initial_lr": lr, "muon": muon}
        group = groups.setdefault((head, decayed, muon), new)
        group["params"].append(parameter)
        group["names"].append(name)
    return list(groups.values())


def lr_factor(step: int, total_steps: int, c: ScheduleConfig) -> float:
    """The factor of the initial learning rates at a step, in [0, 1]."""
    warmup = min(1.0, (step + 1) / (c.warmup + 1)) if c.warmup else 1.0
    if c.kind == "constant":
        return warmup
    if c.kind == "linear":
        return warmup * min(1.0, (total_steps - step) / max(1.0, c.decay * total_steps))
    progress = max(0, step - c.warmup) / max(1, total_steps - c.warmup)
    return warmup * 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))
