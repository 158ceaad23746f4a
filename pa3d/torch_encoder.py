"""The torch encoder behind the same call as the native one: for GPUs, and as the reference of the native engine."""

from __future__ import annotations

import time

import numpy as np
from numpy.typing import NDArray

from pa3d.checkpoint import Checkpoint
from pa3d.errors import InputError
from pa3d.native import Forward


class TorchEncoder:
    """precision "auto" and "fp32" compute in float32, "bf16" under autocast."""

    def __init__(self, checkpoint: Checkpoint, precision: str = "auto", device: str = "cuda") -> None:
        try:
            import torch

            from pa3d.model import PatchAligner
        except ImportError as error:
            raise InputError(f"device {device!r} needs torch; install it with pip install 'pa3d[torch]'") from error
        if precision not in ("auto", "fp32", "bf16"):
            raise InputError(f"precision {precision!r} is not one of auto, fp32, bf16")
        try:
            self._device = torch.device(device)
            torch.zeros(1, device=self._device)
        except (RuntimeError, AssertionError) as error:
            reason = str(error).splitlines()[0]
            raise InputError(f"device {device!r} cannot be used ({reason}); use device='cpu'") from error
        self.precision = "fp32" if precision == "auto" else precision
        self._model = PatchAligner(checkpoint.config)
        self._model.load_tensors({k: torch.from_numpy(v) for k, v in checkpoint.tensors.items()})
        self._model.eval().requires_grad_(False).to(self._device)

    def __call__(self, points: NDArray[np.float32]) -> Forward:  # (N, 3) in the model's axes
        import torch
        import torch.nn.functional as F

        start = time.perf_counter()
        with (
            torch.inference_mode(),
            torch.autocast(self._device.type, torch.bfloat16, enabled=self.precision == "bf16"),
        ):
            cloud = torch.from_numpy(points).to(self._device)[None]
            encoded = self._model.encoder(cloud)
            features = F.normalize(self._model.proj(encoded.tokens).float(), dim=-1)[0].cpu().numpy()
        tokens, centers, members = (
            a[0].cpu().numpy() for a in (encoded.tokens.float(), encoded.centers, encoded.members)
        )
        return Forward(centers, members, tokens, features, {"all": time.perf_counter() - start})

    def many(self, clouds: list[NDArray[np.float32]]) -> list[Forward]:  # each (N, 3), N of any size
        return [self(points) for points in clouds]
