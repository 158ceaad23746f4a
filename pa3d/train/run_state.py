"""state.safetensors: what a run needs to resume."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save as serialize
from torch import Tensor

from pa3d.atomic import atomic_write
from pa3d.errors import InputError
from pa3d.train.config import TrainConfig, config_from_dict, first_difference

METADATA_KEY = "pa3d-train"


@dataclass
class RunState:
    """
    tensors: the trainer's state dict after `step` of `total_steps` steps.
    best_metric: best value so far of the metric that run.best names. smoothed_loss: moving average of the loss.
    record_counts: number of training records by group.
    """

    tensors: dict[str, Tensor]
    step: int
    total_steps: int
    best_metric: float | None
    smoothed_loss: float | None
    record_counts: dict[str, int]
    config: dict[str, Any]


def write_state(path: Path, state: RunState) -> None:
    """Raises InputError when the file cannot be written."""
    metadata = {
        "step": state.step,
        "steps": state.total_steps,
        "best": state.best_metric,
        "smooth": state.smoothed_loss,
        "records": state.record_counts,
        "config": state.config,
    }
    data = serialize(state.tensors, metadata={METADATA_KEY: json.dumps(metadata, sort_keys=True)})
    with atomic_write(path) as file:
        file.write(data)


def read_state(path: Path) -> RunState | None:
    """None where there is no file. Raises InputError for a damaged one."""
    if not path.is_file():
        return None
    try:
        with safe_open(str(path), framework="pt") as file:
            m = json.loads((file.metadata() or {})[METADATA_KEY])
            tensors = {k: file.get_tensor(k) for k in file.keys()}  # noqa: SIM118
        return RunState(tensors, m["step"], m["steps"], m["best"], m["smooth"], m["records"], m["config"])
    except (SafetensorError, OSError, KeyError, ValueError) as error:
        raise InputError(f"{path}: not a state of a run ({error}); start over with --fresh") from error


def check_same_run(
    path: Path, state: RunState, config: TrainConfig, record_counts: dict[str, int], *, ignore_steps: bool
) -> None:
    """Raises InputError unless the state at `path` belongs to a run of this configuration and these records.

    ignore_steps: the length of the run may differ, because a time limit sets it.
    """
    saved_config = config_from_dict(state.config, str(path))
    if ignore_steps:
        saved_config = replace(saved_config, schedule=replace(saved_config.schedule, steps=config.schedule.steps))
    changed = first_difference(saved_config, config)
    if changed is None and state.record_counts != record_counts:
        changed = f"the number of records ({state.record_counts}, now {record_counts})"
    if changed:
        raise InputError(
            f"{path.parent}: holds a run with another value of {changed}; use the same value, choose another folder, "
            "or start over with --fresh"
        )
