"""Validation during training: the loss on held-out shapes, and the mIoU that pa3d.segment reaches on them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from pa3d.data.parts import PartCloud
from pa3d.evaluate.metrics import confusion_matrix, nan_mean, part_ious
from pa3d.segment import Segmenter
from pa3d.shape import Shape
from pa3d.train.batches import BatchBuilder, collate, last_mask
from pa3d.train.config import AugmentationConfig, DataConfig, TrainConfig
from pa3d.train.distributed import DistributedContext
from pa3d.train.model import TrainModel
from pa3d.train.records import Group
from pa3d.train.text_bank import TextBank
from pa3d.train.trainer import Trainer

BATCH_SIZE = 8  # of the forward passes that give the loss


class Validator:
    """Measures the same shapes and points every time, divided among the processes.

    groups: held-out records, of which at most run.val_shapes are used. text_bank: None for stage 1.
    """

    def __init__(
        self, config: TrainConfig, groups: Sequence[Group], text_bank: TextBank | None, context: DistributedContext
    ) -> None:
        self._config, self._groups, self._text_bank, self._context = config, groups, text_bank, context
        self._shapes = [(g, i) for g, group in enumerate(groups) for i in range(len(group))]
        if len(self._shapes) > config.run.val_shapes:
            chosen = np.linspace(0, len(self._shapes) - 1, config.run.val_shapes).round().astype(int)
            self._shapes = [self._shapes[i] for i in chosen]
        self._batch_builder = BatchBuilder(
            groups,
            DataConfig(points=config.data.points, subsample=config.data.subsample),
            AugmentationConfig(),
            config.encoder,
            1,
            config.seed,
            text_bank=text_bank,
            visual_targets=config.stage != "stage2",
        )

    def validate(self, trainer: Trainer) -> dict[str, float]:
        """val_loss, and in stage 2 and `joint` val_miou: the mean over shapes of the mean IoU of their parts."""
        local_shapes = self._shapes[self._context.rank :: self._context.size]
        losses = self._losses(trainer, local_shapes)
        mious = self._mious(trainer, local_shapes) if self._text_bank is not None else []
        results = self._context.all_gather((losses, mious))
        metrics = {"val_loss": float(np.mean([loss for losses, _ in results for loss in losses]))}
        miou = nan_mean([miou for _, mious in results for miou in mious]) if self._text_bank is not None else None
        return metrics if miou is None else metrics | {"val_miou": miou}

    def _losses(self, trainer: Trainer, shapes: list[tuple[int, int]]) -> list[float]:
        """One loss per shape, by the EMA of the weights."""
        with torch.random.fork_rng(devices=[]):  # its random initial weights are replaced
            visual = trainer.model.visual
            model = TrainModel(
                trainer.model.encoder.config, visual_dim=visual.out_features if visual is not None else 0
            )
        model.load_state_dict(trainer.ema)
        model.to(self._context.device).eval()
        losses: list[float] = []
        for begin in range(0, len(shapes), BATCH_SIZE):
            examples = [self._batch_builder.validation_example(*shape) for shape in shapes[begin : begin + BATCH_SIZE]]
            batch = collate(examples).to(self._context.device)
            with torch.no_grad(), trainer.autocast():
                features = model(batch.patches, batch.centers)
            for i in range(len(batch)):
                one = type(features)(*(None if f is None else f[i : i + 1] for f in features))
                losses.append(float(trainer.compute_loss(one, batch.slice(i, i + 1)).detach()))
        return losses

    def _mious(self, trainer: Trainer, shapes: list[tuple[int, int]]) -> list[float]:
        """One mean IoU per shape that has a label; NaN where no part counts."""
        assert self._text_bank is not None
        device = "cpu" if self._context.device.type == "cpu" else str(self._context.device)
        segmenter = Segmenter(trainer.checkpoint({}), device=device, threads=torch.get_num_threads())
        mious = []
        for group, index in shapes:
            record = self._groups[group][index]
            names, labels = finest_labels(record)
            if not names:
                continue
            text_vectors = self._text_bank.vectors[self._text_bank.ids(names, None)]
            shape = Shape(np.ascontiguousarray(record.points, np.float32), up="y", name=record.id)
            segmentation = segmenter.segment(
                shape, names, text_vectors=text_vectors, sample=self._config.data.points, assign="nearest"
            )
            ious = part_ious(confusion_matrix(labels, segmentation.labels, len(names)), "skip")
            miou = nan_mean(ious)
            mious.append(np.nan if miou is None else miou)
        return mious


def finest_labels(record: PartCloud) -> tuple[list[str], NDArray[np.int64]]:
    """Where masks overlap, the smallest mask gives the label.

    Returns the K names that label a point, and the label (P,) of every point: an index into the names, -1 for none.
    """
    rows = last_mask(record.masks, np.argsort(-record.masks.sum(axis=1), kind="stable"))
    label_rows = np.unique(rows[rows >= 0])
    label_of_row = np.full(len(record.names) + 1, -1, np.int64)  # the last entry is that of row -1
    label_of_row[label_rows] = np.arange(len(label_rows))
    return [record.names[i] for i in label_rows], label_of_row[rows]
