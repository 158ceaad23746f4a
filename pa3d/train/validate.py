"""Validation during training: the loss on held-out shapes, and mIoU as pa3d.segment would reach it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from pa3d.data.parts import PartCloud
from pa3d.evaluate.metrics import confusion_matrix, nan_mean, part_ious
from pa3d.segment import Segmenter
from pa3d.shape import Shape
from pa3d.train.batches import Batcher, collate
from pa3d.train.config import AugmentationConfig, DataConfig, TrainConfig
from pa3d.train.distributed import World
from pa3d.train.student import Student

if TYPE_CHECKING:
    from pa3d.train.loop import Sources, Trainer

CHUNK = 8  # shapes that the loss is computed on at once


class Validation:
    """The same shapes and points every time, shared out among the processes."""

    def __init__(self, config: TrainConfig, sources: Sources, world: World) -> None:
        self._config, self._bank, self._world = config, sources.bank, world
        self._places = [(g, i) for g, group in enumerate(sources.val) for i in range(len(group))]
        if len(self._places) > config.run.val_shapes:
            chosen = np.linspace(0, len(self._places) - 1, config.run.val_shapes).round().astype(int)
            self._places = [self._places[i] for i in chosen]
        self._groups = sources.val
        self._batcher = Batcher(
            sources.val,
            DataConfig(points=config.data.points, subsample=config.data.subsample),
            AugmentationConfig(),
            config.encoder,
            1,
            config.seed,
            bank=sources.bank,
            visual=config.stage != "stage2",
        )

    def measure(self, trainer: Trainer) -> dict[str, float]:
        """val_loss; and val_miou unless in stage 1: mean over shapes of the mean IoU over present parts."""
        mine = self._places[self._world.rank :: self._world.size]
        losses = self._losses(trainer, mine)
        scores = self._scores(trainer, mine) if self._bank is not None else []
        everything = self._world.gather((losses, scores))
        found = {"val_loss": float(np.mean([loss for pair in everything for loss in pair[0]]))}
        mean = nan_mean([score for pair in everything for score in pair[1]]) if self._bank is not None else None
        return found if mean is None else found | {"val_miou": mean}

    def _losses(self, trainer: Trainer, places: list[tuple[int, int]]) -> list[float]:
        with torch.random.fork_rng(devices=[]):
            student = Student(
                trainer.student.encoder.config,
                visual=trainer.student.visual.out_features if trainer.student.visual is not None else 0,
            )
        student.load_state_dict(trainer.average)
        student.to(self._world.device).eval()
        losses: list[float] = []
        for begin in range(0, len(places), CHUNK):
            some = places[begin : begin + CHUNK]
            batch = collate([self._batcher.fixed(*place) for place in some]).to(self._world.device)
            with torch.no_grad(), trainer.autocast():
                features = student(batch.patches, batch.centers)
            for i in range(len(some)):
                one = type(features)(*(None if f is None else f[i : i + 1] for f in features))
                losses.append(float(trainer.losses(one, batch.part(i, i + 1)).detach()))
        return losses

    def _scores(self, trainer: Trainer, places: list[tuple[int, int]]) -> list[float]:
        assert self._bank is not None
        device = "cpu" if self._world.device.type == "cpu" else str(self._world.device)
        segmenter = Segmenter(trainer.checkpoint({}), device=device, threads=torch.get_num_threads())
        scores = []
        for group, index in places:
            record = self._groups[group][index]
            names, truth = finest(record)
            if not names:
                continue
            vectors = self._bank.vectors[self._bank.rows(names, None)]
            cloud = Shape(np.ascontiguousarray(record.points, np.float32), up="y", name=record.id)
            found = segmenter.segment(
                cloud, names, text_vectors=vectors, sample=self._config.data.points, assign="nearest"
            )
            ious = part_ious(confusion_matrix(truth, found.labels, len(names)), "skip")
            scores.append(float(np.nan if (mean := nan_mean(ious)) is None else mean))
        return scores


def finest(record: PartCloud) -> tuple[list[str], NDArray[np.int64]]:
    """The names that label a point when masks overlap, the smallest first, and every point's label, -1 for none."""
    truth = np.full(len(record.points), -1, np.int64)
    for row in np.argsort(-record.masks.sum(axis=1), kind="stable"):
        truth[record.masks[row]] = row
    used = np.unique(truth[truth >= 0])
    number = np.full(len(record.names) + 1, -1, np.int64)
    number[used] = np.arange(len(used))
    return [record.names[i] for i in used], number[truth]
