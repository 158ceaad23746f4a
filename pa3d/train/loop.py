"""A run: training steps, and between them progress, validation, checkpoints and the state to resume from."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from pa3d.atomic import check_writable_folder
from pa3d.checkpoint import Checkpoint, load, save
from pa3d.errors import InputError
from pa3d.ops import train_block, train_embed
from pa3d.train.batches import Batch
from pa3d.train.config import TrainConfig, save_config, to_dict
from pa3d.train.distributed import DistributedContext
from pa3d.train.loader import load_batches
from pa3d.train.logger import MetricLogger
from pa3d.train.run_state import RunState, check_same_run, read_state, write_state
from pa3d.train.trainer import StepResult, Trainer
from pa3d.train.training_data import TrainingData
from pa3d.train.validation import Validator

STATE, LAST, BEST, CONFIG = "state.safetensors", "last.safetensors", "best.safetensors", "config.toml"
TIMED_STEPS = (20, 100, 400)  # after so many steps, the speed so far sets the length of a run with a time limit


def train(
    config: TrainConfig,
    out: str | Path,
    *,
    init: str | Path | Checkpoint | None = None,
    minutes: float | None = None,
    fresh: bool = False,
    data: TrainingData | None = None,
    log: Callable[[str], None] = lambda line: None,
) -> Checkpoint:
    """Train to the last step; returns the model of last.safetensors. An interrupted run resumes where it stopped.

    The provenance in the file also has "validation", the metrics of the last step, if the run validates.

    out: the folder of the run. It holds config.toml; state.safetensors, from which an interrupted run resumes;
        last.safetensors and best.safetensors, the models; log.jsonl, loss.png and TensorBoard events.
    init: a checkpoint to start from.
    minutes: time limit; the speed of the first steps sets the length of the run.
    fresh: start over instead of resuming.
    data: default what config.data names.
    log: called with every line of progress.
    Raises InputError when data, configuration or what `out` holds cannot be used, and when a loss is not finite.
    """
    context = DistributedContext.init(config.run.device)
    try:
        if config.run.threads:
            torch.set_num_threads(config.run.threads)
        return _train(config, Path(out), context, init, minutes, fresh, data, log)
    finally:
        train_embed.release()
        train_block.release()
        context.close()


def _train(
    config: TrainConfig,
    out: Path,
    context: DistributedContext,
    init: str | Path | Checkpoint | None,
    minutes: float | None,
    fresh: bool,
    data: TrainingData | None,
    log: Callable[[str], None],
) -> Checkpoint:
    begin, end = context.local_range(config.optimizer.batch)
    if (end - begin) % config.optimizer.accumulate:
        raise InputError(
            f"optimizer.accumulate {config.optimizer.accumulate} does not divide the {end - begin} shapes of a process;"
            " change optimizer.batch or optimizer.accumulate"
        )
    check_writable_folder(out)
    if isinstance(init, str | Path):
        init = load(init)
    state = None if fresh else read_state(out / STATE)
    data = data or TrainingData.open(config)
    batch_builder = data.batch_builder(config)
    epoch_steps = -(-batch_builder.sampler.num_records // batch_builder.sampler.batch_size)
    category_vectors = data.category_vectors()
    trainer = Trainer(
        config,
        context=context,
        text_vectors=None if data.text_bank is None else torch.from_numpy(data.text_bank.vectors),
        category_vectors=None if category_vectors is None else torch.from_numpy(category_vectors),
        feature_dim=data.feature_dim,
        init=init,
        total_steps=config.schedule.steps or config.schedule.epochs * epoch_steps,
    )
    if state is not None:
        check_same_run(out / STATE, state, config, data.record_counts(), ignore_steps=minutes is not None)
        trainer.load_state_dict(state.tensors, state.step)
        trainer.total_steps = state.total_steps
        if context.rank == 0:
            log(f"resuming at step {trainer.step} of {trainer.total_steps}")
    validator = Validator(config, data.val, data.text_bank, context) if data.val else None
    if context.rank == 0:
        out.mkdir(parents=True, exist_ok=True)
        for unfinished in out.glob(".*.tmp"):  # written by a run that was killed
            unfinished.unlink()
        save_config(out / CONFIG, config)
    loader = load_batches(
        batch_builder, trainer.step, begin, end, workers=config.data.workers, prefetch=config.data.prefetch
    )  # fmt: skip
    with MetricLogger(out if context.rank == 0 else None, config, trainer.step, log) as logger:
        run = _Run(config, out, trainer, data, validator, logger)
        if state is not None:
            run.best_metric, run.smoothed_loss = state.best_metric, state.smoothed_loss
        run.loop(loader, minutes)
    return trainer.checkpoint(run.provenance())


@dataclass
class _Run:
    """The loop over steps and what happens between them.

    best_metric: best value so far of the metric that run.best names. smoothed_loss: moving average of the loss, with
        a decay of 0.98 per step.
    """

    config: TrainConfig
    out: Path
    trainer: Trainer
    data: TrainingData
    validator: Validator | None
    logger: MetricLogger
    best_metric: float | None = None
    smoothed_loss: float | None = None

    def loop(self, batches: Iterator[Batch], minutes: float | None) -> None:
        trainer = self.trainer
        if trainer.total_steps == 0:
            raise InputError("the run has no steps; set schedule.steps or schedule.epochs")
        first_step, start = trainer.step, time.monotonic()
        try:
            while trainer.step < trainer.total_steps:
                result = trainer.train_step(next(batches))
                self._smooth(result.loss)
                done, seconds = trainer.step - first_step, time.monotonic() - start
                if minutes is not None and done in TIMED_STEPS:
                    total_steps = first_step + max(done, int(done * minutes * 60 / seconds))
                    trainer.total_steps = trainer.context.all_gather(total_steps)[0]  # the clock of rank 0 decides
                is_last = trainer.step == trainer.total_steps
                if trainer.step % self.config.run.log_every == 0 or is_last:
                    self._log(result, seconds / done)
                val_metrics = self._validate(is_last)
                if val_metrics or is_last or trainer.step % self.config.run.save_every == 0:
                    self._save(val_metrics)
        finally:
            batches.close()  # type: ignore[attr-defined]

    def _smooth(self, loss: float) -> None:
        smoothed = self.smoothed_loss
        self.smoothed_loss = loss if smoothed is None else 0.98 * smoothed + 0.02 * loss

    def _log(self, result: StepResult, seconds_per_step: float) -> None:
        """Logs "loss" of this step, "smooth", its moving average, "gradient", the norm before clipping, and "lr"."""
        trainer = self.trainer
        metrics = {
            "loss": result.loss,
            "smooth": self.smoothed_loss or 0.0,
            "gradient": result.grad_norm,
            "lr": max(group["lr"] for group in trainer.optimizer.param_groups),
        }
        shapes_per_second = self.config.optimizer.batch / seconds_per_step
        seconds_left = (trainer.total_steps - trainer.step) * seconds_per_step
        self.logger.log_step(trainer.step, trainer.total_steps, metrics, shapes_per_second, seconds_left)

    def _validate(self, is_last: bool) -> dict[str, float]:
        """The metrics of validation if it is due, else {}."""
        every = self.config.run.validate_every
        if self.validator is None or not (is_last or (every and self.trainer.step % every == 0)):
            return {}
        metrics = self.validator.validate(self.trainer)
        self.logger.log_validation(self.trainer.step, metrics)
        return metrics

    def _save(self, val_metrics: dict[str, float]) -> None:
        """The state is written last: a run that is killed before that repeats the steps since the state before it."""
        trainer = self.trainer
        if trainer.context.rank != 0:
            return
        provenance = self.provenance()
        if val_metrics:
            provenance["validation"] = val_metrics
        checkpoint = trainer.checkpoint(provenance)
        if self._is_best(val_metrics):
            save(self.out / BEST, checkpoint)
        save(self.out / LAST, checkpoint)
        state = RunState(
            trainer.state_dict(), trainer.step, trainer.total_steps, self.best_metric, self.smoothed_loss,
            self.data.record_counts(), to_dict(self.config),
        )  # fmt: skip
        write_state(self.out / STATE, state)
        self.logger.plot()

    def _is_best(self, val_metrics: dict[str, float]) -> bool:
        """Whether the metric of run.best was measured and is better than ever before; updates best_metric."""
        name = self.config.run.best
        if name == "auto":
            name = "loss"
            if self.validator is not None:
                name = "val_loss" if self.config.stage == "stage1" else "val_miou"
        value = self.smoothed_loss if name == "loss" else val_metrics.get(name)
        if value is None:
            return False
        best = self.best_metric
        if best is not None and not (value > best if name == "val_miou" else value < best):
            return False
        self.best_metric = value
        return True

    def provenance(self) -> dict[str, Any]:
        """How the model was trained, for its checkpoint."""
        config = to_dict(self.config)
        config["data"] = {k: v for k, v in config["data"].items() if k not in ("train", "val")}
        return {
            "stage": self.config.stage,
            "config": {k: v for k, v in config.items() if k not in ("encoder", "run")},
            "step": self.trainer.step,
            "records": self.data.record_counts(),
            "licenses": self.data.licenses(),
        }
