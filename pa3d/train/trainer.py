"""One training step and its state: model, optimizer and EMA, the exponential moving average of the weights.

Everything random in step t follows from (seed, t): the shapes, their points and augmentation, the dropped branches. The
state therefore holds no random generators and no position in the data, only t and what the steps before it computed:
weights, moments of the optimizer, EMA, batch statistics.
"""

from __future__ import annotations

import math
import warnings
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from pa3d.checkpoint import OFFICIAL_TEMPERATURE, Checkpoint
from pa3d.errors import InputError
from pa3d.train.batches import Batch
from pa3d.train.config import TrainConfig
from pa3d.train.distributed import DistributedContext
from pa3d.train.losses import (
    SIGLIP_TEMPERATURE,
    alignment_loss,
    category_loss,
    feature_distillation_loss,
    partition_loss,
)
from pa3d.train.model import Features, TrainModel
from pa3d.train.optimizer import build_optimizer, lr_factor
from pa3d.train.random_streams import Stream, torch_generator

VISUAL_SPACE = "visual"  # text_space of a stage-1 checkpoint: its projection gives 2D features


@dataclass
class StepResult:
    """loss: mean over the global batch. grad_norm: norm of the gradient before clipping."""

    loss: float
    grad_norm: float


class Trainer:
    """Model, optimizer and EMA; `train_step` makes one step.

    model: the module that trains. wrapped_model: the same in DistributedDataParallel where there are several processes.
    ema: EMA of the model's state dict; the state dict itself where optimizer.ema is 0.
    step: number of steps done. total_steps: length of the run.
    """

    def __init__(
        self,
        config: TrainConfig,
        *,
        context: DistributedContext | None = None,
        text_vectors: Tensor | None = None,
        category_vectors: Tensor | None = None,
        feature_dim: int = 0,
        init: Checkpoint | None = None,
        total_steps: int | None = None,
    ) -> None:
        """
        text_vectors: (V, D), the vectors of the text bank; stage 1 needs none.
        category_vectors: (U, D), the vectors of the categories; only loss.category needs them.
        feature_dim: width of the 2D features; stage 2 needs none.
        init: weights to start from.
        total_steps: default schedule.steps.
        Raises InputError when init has another architecture than config.encoder.
        """
        self.config, self.context = config, context or DistributedContext(0, 1, torch.device("cpu"))
        self.step, self.total_steps = 0, total_steps if total_steps is not None else config.schedule.steps
        encoder = config.encoder if config.stage != "stage1" else replace(config.encoder, text_dim=feature_dim)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.seed)
            visual_dim = feature_dim if config.stage == "joint" else 0
            self.model = TrainModel(
                encoder, visual_dim=visual_dim, class_token=category_vectors is not None, freeze=config.freeze
            )
        if config.stage == "stage1" or config.loss.alignment == "paper":
            self.model.logit_scale.requires_grad_(False)
        if init is not None:
            self._load_initial_weights(init)
        self.model.to(self.context.device)
        self.text_vectors = None if text_vectors is None else text_vectors.to(self.context.device)
        self.category_vectors = None if category_vectors is None else category_vectors.to(self.context.device)
        self.optimizer = build_optimizer(self.model, config.optimizer, half=config.precision == "bf16")
        self.ema = {k: v.detach().clone() for k, v in self.model.state_dict().items()}
        self.wrapped_model: nn.Module = self.model
        if self.context.size > 1:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", FutureWarning)  # the option's new name is not in older versions
                # Batch statistics are those of all processes already, so they need no broadcast.
                self.wrapped_model = DistributedDataParallel(
                    self.model, broadcast_buffers=False, gradient_as_bucket_view=True
                )

    def _load_initial_weights(self, init: Checkpoint) -> None:
        """All weights where the checkpoint's projection has the same target space, else only those of the encoder."""
        own_config, init_config = self.model.encoder.config, init.config
        free = {name: getattr(own_config, name) for name in ("text_dim", "drop_path", "pass_points")}
        if replace(init_config, **free) != own_config:
            expected, actual = own_config.to_dict(), init_config.to_dict()
            field = next(k for k in expected if k not in free and actual[k] != expected[k])
            raise InputError(
                f"--init {init.name}: its encoder has {field} {actual[field]}, the configuration {expected[field]}; "
                f"set encoder.{field}={actual[field]}"
            )
        space = VISUAL_SPACE if self.config.stage == "stage1" else self.config.text_space
        tensors = {k: torch.from_numpy(v) for k, v in init.tensors.items()}
        if init.text_space == space and init_config.text_dim == own_config.text_dim:
            with torch.no_grad():
                self.model.logit_scale.fill_(math.log(1 / init.temperature))
        else:
            tensors |= {f"proj.{k}": v for k, v in self.model.proj.state_dict().items()}
        self.model.load_tensors(tensors)

    def autocast(self) -> torch.autocast:
        return torch.autocast(self.context.device.type, torch.bfloat16, enabled=self.config.precision == "bf16")

    def compute_loss(self, features: Features, batch: Batch) -> Tensor:  # ()
        """The mean loss of a batch's shapes."""
        c = self.config
        if c.stage == "stage1":
            assert batch.visual_targets is not None
            return feature_distillation_loss(features.projected, batch.visual_targets)
        assert self.text_vectors is not None and batch.text_ids is not None
        assert batch.targets is not None and batch.valid is not None
        text = self.text_vectors[batch.text_ids]
        loss = alignment_loss(features.projected, text, batch.targets, batch.valid, self.model.scale, c.loss.alignment)
        if batch.labels is not None:
            loss = loss + c.loss.partition * partition_loss(features.projected, text, batch.labels, self.model.scale)
        if c.stage == "joint":
            assert features.visual is not None and batch.visual_targets is not None
            loss = loss + c.loss.visual * feature_distillation_loss(features.visual, batch.visual_targets)
        if features.shape is not None and batch.category_ids is not None:
            assert self.category_vectors is not None
            loss = loss + c.loss.category * category_loss(features.shape, self.category_vectors, batch.category_ids)
        return loss

    def train_step(self, batch: Batch) -> StepResult:
        """Forward, backward and one step of the optimizer.

        batch: the part of the global batch that this process computes.
        Raises InputError with the ids of the batch's shapes when the loss or its gradient is not finite; the weights
        are then unchanged.
        """
        c = self.config.optimizer
        factor = lr_factor(self.step, self.total_steps, self.config.schedule)
        for group in self.optimizer.param_groups:
            group["lr"] = group["initial_lr"] * factor
        self.model.train()
        self.optimizer.zero_grad(set_to_none=True)
        loss = float(self.context.all_reduce_mean(self._accumulate_gradients(batch)))
        with_grad = [p for p in self.model.parameters() if p.grad is not None]
        grad_norm = float(torch.nn.utils.clip_grad_norm_(with_grad, c.clip or math.inf))
        if not (math.isfinite(loss) and math.isfinite(grad_norm)):
            ids = [name for names in self.context.all_gather(batch.ids) for name in names]
            what = f"loss is {loss}" if not math.isfinite(loss) else f"gradient has norm {grad_norm}"
            raise InputError(f"{what} at step {self.step}; shapes of the batch: {', '.join(ids)}")
        self.optimizer.step()
        self.step += 1
        self._update_ema()
        return StepResult(loss, grad_norm)

    def _accumulate_gradients(self, batch: Batch) -> Tensor:  # ()
        """Forward and backward pass of every micro-batch; returns the mean of their losses."""
        c = self.config.optimizer
        generator = torch_generator(self.config.seed, Stream.DROP_PATH, self.step)
        drop_path_scale = self.model.sample_drop_path_scale(generator, c.batch)
        first, _ = self.context.local_range(c.batch)
        size = len(batch) // c.accumulate
        total = torch.zeros((), device=self.context.device)
        for number in range(c.accumulate):
            begin, end = number * size, (number + 1) * size
            micro_batch = batch.slice(begin, end).to(self.context.device)
            scale = drop_path_scale
            if scale is not None:
                scale = scale[:, :, first + begin : first + end].to(self.context.device)
            is_last = number == c.accumulate - 1
            # Gradients are averaged over the processes once, in the last backward pass.
            sync = is_last or self.context.size == 1
            with nullcontext() if sync else self.wrapped_model.no_sync():  # type: ignore[operator]
                with self.autocast():
                    features = self.wrapped_model(micro_batch.patches, micro_batch.centers, scale)
                loss = self.compute_loss(features, micro_batch) / c.accumulate
                loss.backward()
            total += loss.detach()
        return total

    @torch.no_grad()
    def _update_ema(self) -> None:
        """The decay is smaller in the first steps, so that the EMA forgets the initial weights."""
        state = self.model.state_dict()
        if self.config.optimizer.ema == 0:
            self.ema = {k: v.detach() for k, v in state.items()}
            return
        decay = min(self.config.optimizer.ema, (1 + self.step) / (10 + self.step))
        float_names = [k for k, v in state.items() if v.is_floating_point()]
        for name in state.keys() - set(float_names):
            self.ema[name] = state[name].detach().clone()
        torch._foreach_lerp_([self.ema[k] for k in float_names], [state[k] for k in float_names], 1 - decay)

    def state_dict(self) -> dict[str, Tensor]:
        """Everything that the next step depends on besides its number, on the CPU.

        "model.*": the weights; "average.*": their EMA, if there is one; "optimizer.*": the moments of the optimizer.
        """
        tensors = {f"model.{k}": v for k, v in self.model.state_dict().items()}
        if self.config.optimizer.ema:
            tensors |= {f"average.{k}": v for k, v in self.ema.items()}
        for group in self.optimizer.param_groups:
            for name, parameter in zip(group["names"], group["params"], strict=True):
                tensors |= {f"optimizer.{name}.{k}": v for k, v in self.optimizer.state[parameter].items()}
        return {k: v.detach().cpu().contiguous() for k, v in tensors.items()}

    def load_state_dict(self, tensors: dict[str, Tensor], step: int) -> None:
        """Restore the state after `step` steps."""

        def with_prefix(prefix: str) -> dict[str, Tensor]:
            return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}

        self.model.load_state_dict(with_prefix("model."))
        if self.config.optimizer.ema:
            self.ema = {k: v.to(self.context.device) for k, v in with_prefix("average.").items()}
        else:
            self.ema = self.model.state_dict()
        self.step = step
        for group in self.optimizer.param_groups:
            for name, parameter in zip(group["names"], group["params"], strict=True):
                moments = with_prefix(f"optimizer.{name}.")
                # The optimizer's step count is a tensor as well; it is on the CPU unless the optimizer is fused.
                self.optimizer.state[parameter] = {k: v.to(self.context.device) for k, v in moments.items()}

    def checkpoint(self, provenance: dict[str, Any]) -> Checkpoint:
        """The model for inference: the EMA of the weights, or the weights if optimizer.ema is 0."""
        tensors = {k: v.detach().float().cpu().numpy() for k, v in self.model.aligner_tensors(self.ema).items()}
        if self.config.stage == "stage1":
            space, temperature = VISUAL_SPACE, OFFICIAL_TEMPERATURE
        elif self.config.loss.alignment == "paper":
            space, temperature = self.config.text_space, SIGLIP_TEMPERATURE
        else:
            space, temperature = self.config.text_space, 1 / float(self.ema["logit_scale"].exp().clamp(max=100.0))
        return Checkpoint(self.model.encoder.config, tensors, space, temperature, "auto", provenance)
