"""The training loop of both stages and of `joint`: one step, its state on disk, and the run around it.

Everything random in step t follows from (seed, t): the shapes, their points and motion, the branches that are dropped.
A state therefore needs no random generators and no position of a loader, only t and what the steps before it made:
weights, moments of the optimiser, moving average, batch statistics.
"""

from __future__ import annotations

import json
import math
import time
import warnings
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as serialize
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from pa3d.atomic import atomic_write, check_writable_folder
from pa3d.checkpoint import OFFICIAL_TEMPERATURE, Checkpoint, load, save
from pa3d.errors import InputError
from pa3d.ops import train_block, train_embed
from pa3d.text import text_encoder
from pa3d.train.batches import Batch, Batcher, load_batches
from pa3d.train.config import ScheduleConfig, TrainConfig, config_from_dict, difference, save_config, to_dict
from pa3d.train.distributed import World
from pa3d.train.losses import alignment_loss, visual_loss
from pa3d.train.monitor import Monitor
from pa3d.train.records import Group, open_groups
from pa3d.train.student import Features, Student, parameter_groups
from pa3d.train.text import Paraphrases, TextBank, bank_keys, check_width, named_categories
from pa3d.train.validate import Validation

VISUAL_SPACE = "visual"  # text_space of a stage-1 checkpoint: its projection leads to 2D features
DROP = 4  # the random stream of dropped branches; batches.py has the others
STATE, LAST, BEST, CONFIG = "state.safetensors", "last.safetensors", "best.safetensors", "config.toml"
MEASURED = (20, 100, 400)  # steps after which --minutes sets the length of the run anew

Say = Callable[[str], None]


def rate(step: int, steps: int, c: ScheduleConfig) -> float:
    """What the learning rates are multiplied with."""
    up = min(1.0, (step + 1) / (c.warmup + 1)) if c.warmup else 1.0
    if c.kind == "constant":
        return up
    if c.kind == "linear":
        return up * min(1.0, (steps - step) / max(1.0, c.decay * steps))
    along = max(0, step - c.warmup) / max(1, steps - c.warmup)
    return up * 0.5 * (1 + math.cos(math.pi * min(1.0, along)))


@dataclass
class Update:
    """What a step tells: the loss of the global batch, the gradient's norm before clipping."""

    loss: float
    norm: float


class Trainer:
    """Student, optimiser and moving average; one call a step."""

    def __init__(
        self,
        config: TrainConfig,
        *,
        world: World | None = None,
        text: Tensor | None = None,  # (V, D) the vectors of the bank
        feature_dim: int = 0,
        init: Checkpoint | None = None,
        steps: int | None = None,
    ) -> None:
        """text: needed but for stage 1. feature_dim: width of the 2D features, needed but for stage 2. steps: length of
        the run, schedule.steps if left out."""
        self.config, self.world = config, world or World(0, 1, torch.device("cpu"))
        self.steps, self.step = steps if steps is not None else config.schedule.steps, 0
        encoder = config.encoder if config.stage != "stage1" else replace(config.encoder, text_dim=feature_dim)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.seed)
            self.student = Student(encoder, visual=feature_dim if config.stage == "joint" else 0, frozen=config.freeze)
        if config.stage == "stage1" or config.loss.alignment == "paper":
            self.student.logit_scale.requires_grad_(False)
        if init is not None:
            self._start_from(init)
        self.student.to(self.world.device)
        self.text = None if text is None else text.to(self.world.device)
        self.optimizer = torch.optim.AdamW(
            parameter_groups(self.student, config.optimizer),
            betas=(config.optimizer.beta1, config.optimizer.beta2),
            fused=True,
        )
        self.average = {k: v.detach().clone() for k, v in self.student.state_dict().items()}
        self.module: nn.Module = self.student
        if self.world.size > 1:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", FutureWarning)  # the option's new name is not in older versions
                # Batch statistics are those of all processes already, so that none need be sent round.
                self.module = DistributedDataParallel(
                    self.student, broadcast_buffers=False, gradient_as_bucket_view=True
                )

    def _start_from(self, init: Checkpoint) -> None:
        """Weights of a checkpoint: all where its projection leads to the same space, else the encoder's."""
        mine = self.student.encoder.config
        if replace(init.config, text_dim=mine.text_dim, drop_path=mine.drop_path) != mine:
            theirs = init.config.to_dict()
            wrong = next(k for k, v in mine.to_dict().items() if k not in ("text_dim", "drop_path") and theirs[k] != v)
            raise InputError(
                f"--init {init.name}: its encoder has {wrong} {theirs[wrong]}, the configuration "
                f"{mine.to_dict()[wrong]}; set encoder.{wrong}={theirs[wrong]}"
            )
        space = VISUAL_SPACE if self.config.stage == "stage1" else self.config.text_space
        tensors = {k: torch.from_numpy(v) for k, v in init.tensors.items()}
        if init.text_space == space and init.config.text_dim == mine.text_dim:
            with torch.no_grad():
                self.student.logit_scale.fill_(math.log(1 / init.temperature))
        else:
            tensors |= {f"proj.{k}": v for k, v in self.student.proj.state_dict().items()}
        self.student.load_tensors(tensors)

    def losses(self, features: Features, batch: Batch) -> Tensor:
        """The loss of a part of a batch."""
        c = self.config
        if c.stage == "stage1":
            assert batch.visual is not None
            return visual_loss(features.text, batch.visual)
        assert self.text is not None and batch.names is not None and batch.targets is not None
        assert batch.valid is not None
        loss = alignment_loss(
            features.text, self.text[batch.names], batch.targets, batch.valid, self.student.scale, c.loss.alignment
        )
        if c.stage == "joint":
            assert features.visual is not None and batch.visual is not None
            loss = loss + c.loss.visual * visual_loss(features.visual, batch.visual)
        return loss

    def autocast(self) -> Any:
        return torch.autocast(self.world.device.type, torch.bfloat16, enabled=self.config.precision == "bf16")

    def update(self, batch: Batch) -> Update:
        """One step of the optimiser, batch being this process's share of the global one.

        Raises InputError with the ids of the batch's shapes when the loss or its gradient is not finite; the weights
        are then as they were.
        """
        c = self.config.optimizer
        factor = rate(self.step, self.steps, self.config.schedule)
        for group in self.optimizer.param_groups:
            group["lr"] = group["initial_lr"] * factor
        self.student.train()
        self.optimizer.zero_grad(set_to_none=True)
        begin, _ = self.world.share(c.batch)
        kept, size = self._kept(), len(batch) // c.accumulate
        total = torch.zeros((), device=self.world.device)
        for number in range(c.accumulate):
            low, high = number * size, (number + 1) * size
            part = batch.part(low, high).to(self.world.device)
            mine = None if kept is None else kept[:, :, begin + low : begin + high].to(self.world.device)
            last = number == c.accumulate - 1
            alone = nullcontext() if last or self.world.size == 1 else self.module.no_sync()  # type: ignore[operator]
            with alone:
                with self.autocast():
                    features = self.module(part.patches, part.centers, mine)
                loss = self.losses(features, part) / c.accumulate
                loss.backward()
            total += loss.detach()
        value = float(self.world.mean(total))
        moving = [p for p in self.student.parameters() if p.grad is not None]
        norm = torch.nn.utils.clip_grad_norm_(moving, c.clip or math.inf)
        if not (math.isfinite(value) and math.isfinite(float(norm))):
            ids = [name for names in self.world.gather(batch.ids) for name in names]
            what = f"loss is {value}" if not math.isfinite(value) else f"gradient has norm {float(norm)}"
            raise InputError(f"{what} at step {self.step}; shapes of the batch: {', '.join(ids)}")
        self.optimizer.step()
        self.step += 1
        self._follow()
        return Update(value, float(norm))

    def _kept(self) -> Tensor | None:
        seed = np.random.SeedSequence((self.config.seed, DROP, self.step)).generate_state(1, np.uint64)[0]
        generator = torch.Generator().manual_seed(int(seed >> np.uint64(1)))
        return self.student.keep_branches(generator, self.config.optimizer.batch)

    @torch.no_grad()
    def _follow(self) -> None:
        """The moving average, which forgets faster at the beginning."""
        now = self.student.state_dict()
        keep = min(self.config.optimizer.ema, (1 + self.step) / (10 + self.step))
        floats = [k for k, v in now.items() if v.is_floating_point()]
        if self.config.optimizer.ema == 0:
            floats = []
            self.average = now
        for name in now.keys() - set(floats):
            self.average[name] = now[name].detach().clone() if self.config.optimizer.ema else now[name].detach()
        if floats:
            torch._foreach_lerp_([self.average[k] for k in floats], [now[k] for k in floats], 1 - keep)

    def state(self) -> dict[str, Tensor]:
        """Everything that the next step depends on, as tensors by name."""
        tensors = {f"model.{k}": v for k, v in self.student.state_dict().items()}
        if self.config.optimizer.ema:
            tensors |= {f"average.{k}": v for k, v in self.average.items()}
        for group in self.optimizer.param_groups:
            for name, parameter in zip(group["names"], group["params"], strict=True):
                tensors |= {f"optimizer.{name}.{k}": v for k, v in self.optimizer.state[parameter].items()}
        return {k: v.detach().cpu().contiguous() for k, v in tensors.items()}

    def restore(self, tensors: dict[str, Tensor], step: int) -> None:
        def under(prefix: str) -> dict[str, Tensor]:
            return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}

        self.student.load_state_dict(under("model."))
        if self.config.optimizer.ema:
            self.average = {k: v.to(self.world.device) for k, v in under("average.").items()}
        else:
            self.average = self.student.state_dict()
        self.step = step
        for group in self.optimizer.param_groups:
            for name, parameter in zip(group["names"], group["params"], strict=True):
                kept = under(f"optimizer.{name}.")
                # The count of steps is a number of its own, which is on the CPU unless the optimiser is fused.
                self.optimizer.state[parameter] = {k: v.to(self.world.device) for k, v in kept.items()}

    def checkpoint(self, provenance: dict[str, Any]) -> Checkpoint:
        """What is saved to be used: the moving average, or the weights where there is none."""
        state = self.student.aligner_state(self.average)
        tensors = {k: v.detach().float().cpu().numpy() for k, v in state.items()}
        first = self.config.stage == "stage1"
        scale = float(self.average["logit_scale"].exp().clamp(max=100.0))
        temperature = {"stage1": OFFICIAL_TEMPERATURE}.get(self.config.stage, 1 / scale)
        if not first and self.config.loss.alignment == "paper":
            from pa3d.train.losses import SIGLIP_TEMPERATURE

            temperature = SIGLIP_TEMPERATURE
        space = VISUAL_SPACE if first else self.config.text_space
        return Checkpoint(self.student.encoder.config, tensors, space, temperature, "auto", provenance)


@dataclass
class Sources:
    """What a run reads: groups to train on and to validate with, and the words they need."""

    train: list[Group]
    val: list[Group]
    bank: TextBank | None
    paraphrases: Paraphrases
    categories: set[str]
    feature_dim: int

    @staticmethod
    def open(config: TrainConfig) -> Sources:
        data, needs = config.data, {"names": config.stage != "stage1", "features": config.stage != "stage2"}
        if not data.train:
            raise InputError("no training data; give --data FOLDER or data.train in the configuration")
        train = open_groups(data.train, "train", **needs)
        val: list[Group] = []
        if data.val:
            val = open_groups(data.val, "val", **needs)
        else:
            from pa3d.data.official import is_official

            lists = Path(data.train) / ("split" if Path(data.train).name == "labeled" else "labeled/split")
            if is_official(data.train) and (lists / "val.txt").is_file() and (lists / "val.txt").read_text().strip():
                val = open_groups(data.train, "val", **needs)
        return Sources.of(config, train, val)

    @staticmethod
    def of(config: TrainConfig, train: list[Group], val: list[Group]) -> Sources:
        paraphrases = Paraphrases.load(config.data.paraphrases)
        categories = named_categories(train, config.data.category_min) if config.data.category_prompts > 0 else set()
        bank = None
        if config.stage != "stage1":
            encoder = text_encoder(config.text_space)
            check_width(encoder, config.encoder)
            keys = bank_keys(train, paraphrases, categories) | bank_keys(val, Paraphrases({}), set())
            bank = TextBank(encoder, keys)
        width = 0
        if config.stage != "stage2":
            features = train[0][0].patch_features
            assert features is not None
            width = features.shape[1]
        return Sources(train, val, bank, paraphrases, categories, width)

    def batcher(self, config: TrainConfig) -> Batcher:
        return Batcher(
            self.train,
            config.data,
            config.augmentation,
            config.encoder,
            config.optimizer.batch,
            config.seed,
            bank=None if self.bank is None else self.bank.without_vectors(),
            paraphrases=self.paraphrases,
            categories=self.categories,
            visual=config.stage != "stage2",
        )

    def counts(self) -> dict[str, int]:
        return {group.name: len(group) for group in self.train}


def train(
    config: TrainConfig,
    out: str | Path,
    *,
    init: str | Path | Checkpoint | None = None,
    minutes: float | None = None,
    fresh: bool = False,
    sources: Sources | None = None,
    say: Say = lambda line: None,
) -> Checkpoint:
    """Run to the last step, going on from what `out` holds of this run; returns what last.safetensors holds.

    out: config.toml; state.safetensors, from which the run goes on; last.safetensors and best.safetensors, to be used;
        log.jsonl, loss.png and TensorBoard events.
    init: a checkpoint to start from. minutes: the measured rate sets the length of the run. fresh: start over.
    Raises InputError when data, configuration or what `out` holds cannot be used, and when a loss is not finite.
    """
    world = World.join(config.run.device)
    try:
        if config.run.threads:
            torch.set_num_threads(config.run.threads)
        return _train(config, Path(out), world, init, minutes, fresh, sources, say)
    finally:
        train_embed.release()
        train_block.release()
        world.leave()


def _train(
    config: TrainConfig,
    out: Path,
    world: World,
    init: str | Path | Checkpoint | None,
    minutes: float | None,
    fresh: bool,
    sources: Sources | None,
    say: Say,
) -> Checkpoint:
    begin, end = world.share(config.optimizer.batch)
    if (end - begin) % config.optimizer.accumulate:
        raise InputError(
            f"optimizer.accumulate {config.optimizer.accumulate} does not divide the {end - begin} shapes of a process"
        )
    check_writable_folder(out)
    if isinstance(init, str | Path):
        init = load(init)
    kept = None if fresh else read_state(out / STATE)
    sources = sources or Sources.open(config)
    batcher = sources.batcher(config)
    steps = config.schedule.steps or config.schedule.epochs * -(-batcher.draws.total // batcher.draws.batch)
    text = None if sources.bank is None else torch.from_numpy(sources.bank.vectors)
    trainer = Trainer(config, world=world, text=text, feature_dim=sources.feature_dim, init=init, steps=steps)
    progress = Progress(best=None, smooth=None)
    if kept is not None:
        facts, tensors = kept
        _check_same_run(out, config, sources, facts, minutes)
        trainer.restore(tensors, facts["step"])
        trainer.steps = facts["steps"]
        progress = Progress(facts["best"], facts["smooth"])
        if world.rank == 0:
            say(f"going on at step {trainer.step} of {trainer.steps}")
    validation = Validation(config, sources, world) if sources.val else None
    if world.rank == 0:
        out.mkdir(parents=True, exist_ok=True)
        for left in out.glob(".*.tmp"):  # half written when a run was killed
            left.unlink()
        save_config(out / CONFIG, config)
    with Monitor(out if world.rank == 0 else None, config, trainer.step, say) as monitor:
        run = Run(config, out, trainer, sources, validation, monitor, progress)
        run.loop(load_batches(
            batcher, trainer.step, begin, end, workers=config.data.workers, prefetch=config.data.prefetch
        ), minutes)  # fmt: skip
    return trainer.checkpoint(run.provenance())


@dataclass
class Progress:
    """best: the best value of the metric so far; smooth: moving average of the loss."""

    best: float | None
    smooth: float | None


@dataclass
class Run:
    """The steps of a run and what happens between them."""

    config: TrainConfig
    out: Path
    trainer: Trainer
    sources: Sources
    validation: Validation | None
    monitor: Monitor
    progress: Progress

    def loop(self, batches: Any, minutes: float | None) -> None:
        c, trainer = self.config.run, self.trainer
        first, started = trainer.step, time.monotonic()
        if trainer.step == 0 and trainer.steps == 0:
            raise InputError("the run has no steps; set schedule.steps or schedule.epochs")
        try:
            while trainer.step < trainer.steps:
                batch = next(batches)
                found = trainer.update(batch)
                smooth = self.progress.smooth
                self.progress.smooth = found.loss if smooth is None else 0.98 * smooth + 0.02 * found.loss
                done, seconds = trainer.step - first, time.monotonic() - started
                if minutes is not None and done in MEASURED:
                    planned = first + max(done, int(done * minutes * 60 / seconds))
                    trainer.steps = trainer.world.gather(planned)[0]  # one clock decides for all
                last = trainer.step == trainer.steps
                if trainer.step % c.log_every == 0 or last:
                    self._log(
                        found,
                        done * self.config.optimizer.batch / seconds,
                        (trainer.steps - trainer.step) * seconds / done,
                    )
                checked = self._validate(last)
                if checked or last or trainer.step % c.save_every == 0:
                    self._save(checked)
        finally:
            batches.close()

    def _log(self, found: Update, shapes: float, left: float) -> None:
        rates = {f"lr_{i}": group["lr"] for i, group in enumerate(self.trainer.optimizer.param_groups)}
        self.monitor.step(
            self.trainer.step,
            self.trainer.steps,
            {
                "loss": found.loss,
                "smooth": self.progress.smooth or 0.0,
                "gradient": found.norm,
                "lr": max(rates.values()),
            },
            shapes,
            left,
        )

    def _validate(self, last: bool) -> dict[str, float]:
        every = self.config.run.validate_every
        if self.validation is None or not (last or (every and self.trainer.step % every == 0)):
            return {}
        found = self.validation.measure(self.trainer)
        self.monitor.validation(self.trainer.step, found)
        return found

    def _save(self, checked: dict[str, float]) -> None:
        """Best weights first, the state last: a run killed in between does the same again."""
        if self.trainer.world.rank != 0:
            return
        checkpoint = self.trainer.checkpoint(self.provenance() | ({"validation": checked} if checked else {}))
        metric, value = self._metric(checked)
        if value is not None:
            better = self.progress.best is None or (
                value > self.progress.best if metric == "val_miou" else value < self.progress.best
            )
            if better:
                self.progress.best = value
                save(self.out / BEST, checkpoint)
        save(self.out / LAST, checkpoint)
        facts = {
            "step": self.trainer.step,
            "steps": self.trainer.steps,
            "best": self.progress.best,
            "smooth": self.progress.smooth,
            "records": self.sources.counts(),
            "config": to_dict(self.config),
        }
        write_state(self.out / STATE, self.trainer.state(), facts)
        self.monitor.plot()

    def _metric(self, checked: dict[str, float]) -> tuple[str, float | None]:
        """What weights are kept by, and its value now, if it was measured."""
        wanted = self.config.run.best
        if wanted == "auto":
            wanted = "loss"
            if self.validation is not None:
                wanted = "val_loss" if self.config.stage == "stage1" else "val_miou"
        return wanted, self.progress.smooth if wanted == "loss" else checked.get(wanted)

    def provenance(self) -> dict[str, Any]:
        licenses = {group.header(i).license for group in self.sources.train for i in range(len(group))}
        values = to_dict(self.config)
        values["data"] = {k: v for k, v in values["data"].items() if k not in ("train", "val")}
        return {
            "stage": self.config.stage,
            "config": {k: v for k, v in values.items() if k not in ("encoder", "run")},
            "step": self.trainer.step,
            "records": self.sources.counts(),
            "licenses": sorted(licenses),
        }


def write_state(path: Path, tensors: dict[str, Tensor], facts: dict[str, Any]) -> None:
    data = serialize(tensors, metadata={"pa3d-train": json.dumps(facts, sort_keys=True)})
    with atomic_write(path) as file:
        file.write(data)


def read_state(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]] | None:
    """Facts and tensors; None where there is no state. Raises InputError for a damaged one."""
    if not path.is_file():
        return None
    try:
        with safe_open(str(path), framework="pt") as file:
            facts = json.loads((file.metadata() or {})["pa3d-train"])
            return facts, {k: file.get_tensor(k) for k in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, KeyError, ValueError) as error:
        raise InputError(f"{path}: not a state of a run ({error}); start over with --fresh") from error


def _check_same_run(
    out: Path, config: TrainConfig, sources: Sources, facts: dict[str, Any], minutes: float | None
) -> None:
    before = config_from_dict(facts["config"], str(out / STATE))
    if minutes is not None:
        before = replace(before, schedule=replace(before.schedule, steps=config.schedule.steps))
    changed = difference(before, config)
    if changed is None and facts["records"] != sources.counts():
        changed = f"the number of records ({facts['records']}, now {sources.counts()})"
    if changed:
        raise InputError(
            f"{out}: holds a run with another value of {changed}; go on with the same, choose another folder, or start "
            "over with --fresh"
        )
