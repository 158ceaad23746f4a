"""Stage 2: patches learn to agree with the names of their parts.

    python -m pa3d.train.stage2 --data shards/ --out run/ --minutes 30

Reads folders of tar shards (one group a folder), trains a PatchAligner, keeps an exponential moving average of its
weights, writes a resumable state and the model as safetensors.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import threading
import time
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from queue import Queue
from typing import Any

import torch

from pa3d.checkpoint import Checkpoint, load, save
from pa3d.config import EncoderConfig
from pa3d.data.parts import PartCloud, read_shards
from pa3d.errors import InputError
from pa3d.io import atomic_write
from pa3d.model import PatchAligner
from pa3d.text import text_encoder
from pa3d.train.augment import Augmentation
from pa3d.train.corpus import Batch, Corpus, TextBank, usable, without_category
from pa3d.train.losses import AlignmentLoss, alignment_loss

EMBEDDED_CONFIG = EncoderConfig(
    dim=256, depth=4, heads=4, mlp_hidden=1024, embed=(64, 128, 256, 256), pos_hidden=128, text_dim=384, drop_path=0.05
)


@dataclass(frozen=True)
class Stage2Config:
    """One run. weights: how often each group (folder of shards) is drawn; a group not named gets 1.

    freeze: "none" trains everything; "official" the published recipe: last block, final norm, reduce_dim, class token
    and its position, projection and temperature. The learning rate rises over `warmup` steps and falls to zero,
    linearly, over the last `decay` of the run.
    """

    encoder: EncoderConfig = EMBEDDED_CONFIG
    text_space: str = "all-MiniLM-L6-v2"
    loss: AlignmentLoss = "released"
    freeze: str = "none"
    weights: dict[str, float] = field(default_factory=dict)
    steps: int = 2000
    batch: int = 24
    lr: float = 1e-3
    weight_decay: float = 0.05
    warmup: int = 100
    decay: float = 0.3
    clip: float = 1.0
    ema: float = 0.998
    seed: int = 0
    save_every: int = 100
    augmentation: Augmentation = field(default_factory=Augmentation)


def trainable(name: str, config: Stage2Config) -> bool:
    """Whether a parameter of PatchAligner moves."""
    if config.freeze == "none":
        return True
    last = f"encoder.blocks.blocks.{config.encoder.depth - 1}."
    open_names = (
        "encoder.norm.",
        "encoder.reduce_dim.",
        "encoder.cls_token",
        "encoder.cls_pos",
        "proj.",
        "logit_scale",
    )
    return name.startswith((last, *open_names))


def learning_rate(step: int, config: Stage2Config) -> float:
    up = min(1.0, (step + 1) / max(1, config.warmup))
    down = min(1.0, (config.steps - step) / max(1.0, config.decay * config.steps))
    return config.lr * up * down


class Trainer:
    """Model, optimiser and moving average; one call a step. Nothing here depends on wall time."""

    def __init__(self, config: Stage2Config, init: Checkpoint | None = None) -> None:
        torch.manual_seed(config.seed)
        self.config = config
        self.model = PatchAligner(config.encoder)
        if init is not None:
            self.model.load_tensors({k: torch.from_numpy(v) for k, v in init.tensors.items()})
        for name, parameter in self.model.named_parameters():
            parameter.requires_grad_(trainable(name, config))
        parameters = [p for p in self.model.parameters() if p.requires_grad]
        groups: list[dict[str, Any]] = [
            {"params": [p for p in parameters if p.ndim >= 2], "weight_decay": config.weight_decay},
            {"params": [p for p in parameters if p.ndim < 2], "weight_decay": 0.0},
        ]
        self.optimizer = torch.optim.AdamW(groups, lr=config.lr, betas=(0.9, 0.98), fused=True)
        self.average = {k: v.detach().clone() for k, v in self.model.state_dict().items()}
        self.step = 0

    def update(self, batch: Batch) -> float:
        """One optimiser step; returns the loss. Raises RuntimeError with the shapes' ids when it is not finite."""
        c = self.config
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(self.step, c)
        self.model.train()
        with torch.autocast("cpu", torch.bfloat16):
            features = self.model(batch.patches, batch.centers)
        loss = alignment_loss(features, batch.text, batch.targets, batch.valid, self.model.scale, c.loss)
        value = float(loss.detach())
        if not math.isfinite(value):
            raise RuntimeError(f"loss is {value} at step {self.step}; shapes: {', '.join(batch.ids)}")
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), c.clip)
        self.optimizer.step()
        self.step += 1
        keep = min(c.ema, (1 + self.step) / (10 + self.step))
        for name, value_now in self.model.state_dict().items():
            if value_now.is_floating_point():
                self.average[name].lerp_(value_now, 1 - keep)
            else:
                self.average[name].copy_(value_now)
        return value

    def state(self) -> dict[str, Any]:
        return {
            "model": self.model.state_dict(),
            "average": self.average,
            "optimizer": self.optimizer.state_dict(),
            "step": self.step,
            "random": torch.get_rng_state(),
        }

    def restore(self, state: dict[str, Any]) -> None:
        self.model.load_state_dict(state["model"])
        self.average = state["average"]
        self.optimizer.load_state_dict(state["optimizer"])
        self.step = state["step"]
        torch.set_rng_state(state["random"])

    def checkpoint(self, provenance: dict[str, Any]) -> Checkpoint:
        """The moving average as a checkpoint."""
        with torch.random.fork_rng(devices=[]):  # building a model draws numbers that training must not miss
            model = PatchAligner(self.config.encoder)
        model.load_state_dict(self.average)
        tensors = {k: v.float().numpy() for k, v in model.tensors().items()}
        temperature = 1.0 / float(model.scale.detach())
        return Checkpoint(self.config.encoder, tensors, self.config.text_space, temperature, "auto", provenance)


def read_groups(folder: str | Path) -> dict[str, list[PartCloud]]:
    """Every subfolder with shards is a group; records without a usable name are left out."""
    root = Path(folder)
    groups: dict[str, list[PartCloud]] = {}
    for sub in sorted(p for p in root.iterdir() if p.is_dir()) if root.is_dir() else []:
        records = [without_category(r) for r in read_shards(sub)]
        groups[sub.name] = [r for r in records if usable(r)]
    if not any(groups.values()):
        raise InputError(f"{folder}: no groups of shards; expected subfolders that hold shard-*.tar")
    return groups


def train(
    config: Stage2Config,
    groups: dict[str, list[PartCloud]],
    out: str | Path,
    *,
    minutes: float | None = None,
    init: Checkpoint | None = None,
) -> Checkpoint:
    """Run to the last step, resuming from `out`; with `minutes`, the measured rate sets which step is the last."""
    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    config = _resumed_config(out) or config
    trainer = Trainer(config, init)
    state_file = out / "state.pt"
    if state_file.exists():
        trainer.restore(torch.load(state_file, weights_only=True))
    weighted = {name: (config.weights.get(name, 1.0), records) for name, records in groups.items()}
    corpus = Corpus(
        weighted, config.encoder, TextBank(text_encoder(config.text_space)), config.augmentation, seed=config.seed
    )
    _write_json(out / "config.json", asdict(config))
    queue: Queue[Batch | BaseException] = Queue(maxsize=4)
    stop = threading.Event()
    begun, first = time.monotonic(), trainer.step

    def produce() -> None:
        step = first
        try:
            while not stop.is_set():
                queue.put(corpus.batch(step, config.batch))
                step += 1
        except BaseException as error:  # handed to the training thread, which raises it
            queue.put(error)

    thread = threading.Thread(target=produce, daemon=True)
    thread.start()
    smooth: float | None = None
    log = (out / "log.jsonl").open("a")
    try:
        while trainer.step < trainer.config.steps:
            item = queue.get()
            if isinstance(item, BaseException):
                raise item
            loss = trainer.update(item)
            smooth = loss if smooth is None else 0.98 * smooth + 0.02 * loss
            done, seconds = trainer.step - first, time.monotonic() - begun
            if minutes is not None and done in (20, 100, 400):
                steps = first + max(done, int(done * minutes * 60 / seconds))
                trainer.config = replace(trainer.config, steps=steps)
                _write_json(out / "config.json", asdict(trainer.config))
            if trainer.step % 20 == 0:
                rate = done * config.batch / seconds
                left = (trainer.config.steps - trainer.step) * seconds / max(1, done) / 60
                line = {
                    "step": trainer.step,
                    "loss": round(smooth, 4),
                    "shapes_per_s": round(rate, 1),
                    "minutes_left": round(left, 1),
                }
                log.write(json.dumps(line) + "\n")
                log.flush()
                done_so_far = f"step {trainer.step}/{trainer.config.steps}  loss {smooth:.4f}"
                print(f"{done_so_far}  {rate:.1f} shapes/s  {left:.1f} min left", flush=True)
            if trainer.step % config.save_every == 0 or trainer.step == trainer.config.steps:
                _save_state(state_file, trainer.state())
                save(out / "model.safetensors", trainer.checkpoint(_provenance(trainer, groups)))
    finally:
        stop.set()
        while not queue.empty():
            queue.get_nowait()
        log.close()
    return trainer.checkpoint(_provenance(trainer, groups))


def _provenance(trainer: Trainer, groups: dict[str, list[PartCloud]]) -> dict[str, Any]:
    return {
        "stage2": {k: v for k, v in asdict(trainer.config).items() if k != "encoder"},
        "step": trainer.step,
        "records": {name: len(records) for name, records in groups.items()},
        "licenses": sorted({r.license for records in groups.values() for r in records}),
    }


def _resumed_config(out: Path) -> Stage2Config | None:
    path = out / "config.json"
    if not (out / "state.pt").exists() or not path.exists():
        return None
    raw = json.loads(path.read_text())
    raw["encoder"] = EncoderConfig.from_dict(raw["encoder"])
    raw["augmentation"] = Augmentation(**raw["augmentation"])
    return Stage2Config(**raw)


def _write_json(path: Path, value: dict[str, Any]) -> None:
    with atomic_write(path) as stream:
        stream.write((json.dumps(value, indent=1) + "\n").encode())


def _save_state(path: Path, state: dict[str, Any]) -> None:
    partial = path.with_suffix(".part")
    torch.save(state, partial)
    os.replace(partial, path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--data", required=True, help="folder with one subfolder of shards a group")
    parser.add_argument("--out", required=True)
    parser.add_argument(
        "--options", default="{}", help='JSON: fields of Stage2Config, {"lr": 5e-4, "weights": {"synth": 2}}'
    )
    parser.add_argument("--steps", type=int)
    parser.add_argument("--minutes", type=float, help="set the number of steps from the measured rate")
    parser.add_argument("--init", help="checkpoint to start from")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    if args.threads:
        torch.set_num_threads(args.threads)
    options = json.loads(args.options)
    unknown = set(options) - set(Stage2Config.__dataclass_fields__)
    if unknown:
        raise SystemExit(f"--options: no such field {', '.join(sorted(unknown))}; see pa3d.train.stage2.Stage2Config")
    if "augmentation" in options:
        options["augmentation"] = Augmentation(**options["augmentation"])
    if "encoder" in options:
        options["encoder"] = EncoderConfig.from_dict(options["encoder"])
    config = replace(Stage2Config(**options), seed=args.seed)
    init = load(args.init) if args.init else None
    if init is not None:
        config = replace(config, encoder=init.config)
    if args.steps:
        config = replace(config, steps=args.steps)
    train(config, read_groups(args.data), args.out, minutes=args.minutes, init=init)


if __name__ == "__main__":
    main()
