"""The torch encoder behind the same call as the native one: for GPUs, and as the reference of the native engine."""

from __future__ import annotations

import os
import time
from dataclasses import replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pa3d.checkpoint import Checkpoint
from pa3d.config import EncoderConfig
from pa3d.errors import InputError
from pa3d.native import EncoderOutput
from pa3d.passes import Passes, pass_indices, passes_for

if TYPE_CHECKING:
    from torch import Tensor


TOGETHER = 64  # passes in one batch, so that memory does not grow with the points


class TorchEncoder:
    """precision "auto" and "fp32" compute in float32, "bf16" in bfloat16 with float32 sums.

    On a CUDA device the forward pass is recorded as a CUDA graph, once for each number of points, and replayed in later
    calls; PA3D_CUDA_GRAPHS=0 launches every kernel instead. The passes of pa3d.passes are one batch. bf16 uses the
    fused kernels of pa3d.kernels.encoder where they can run, else autocast.
    """

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
        self.config = checkpoint.config
        of_pass = replace(self.config, patches=passes_for(self.config, 1).patches, pass_points=0)
        self.model = PatchAligner(of_pass)
        self.model.load_tensors({k: torch.from_numpy(v) for k, v in checkpoint.tensors.items()})
        self.model.eval().requires_grad_(False).to(self._device)
        self._fused = self._fused_kernels(of_pass)
        self._graphs: Any = None
        if self._device.type == "cuda" and os.environ.get("PA3D_CUDA_GRAPHS") != "0":
            from pa3d.graphs import Cuda, CudaGraphCache

            self._graphs = CudaGraphCache(self.forward, Cuda(self._device))

    def __call__(self, points: NDArray[np.float32]) -> EncoderOutput:  # (N, 3) in the model's axes
        start = time.perf_counter()
        passes = passes_for(self.config, len(points))
        index = _pass_indices(passes, len(points))
        chunks = [points[index[i : i + TOGETHER]] for i in range(0, passes.count, TOGETHER)]
        parts = zip(*(self._run(clouds) for clouds in chunks), strict=True)
        # Of all passes together, and members as indices into `points`.
        features, tokens, centers, members = (
            np.concatenate([array.reshape(-1, array.shape[-1]) for array in arrays]) for arrays in parts
        )
        members = index[np.repeat(np.arange(passes.count), passes.patches)[:, None], members]
        return EncoderOutput(centers, members, tokens, features, {"all": time.perf_counter() - start})

    def _run(self, clouds: NDArray[np.float32]) -> list[NDArray[Any]]:  # (B, N, 3)
        if self._graphs is not None:
            return list(self._graphs(clouds))
        import torch

        return [result.cpu().numpy() for result in self.forward(torch.from_numpy(clouds).to(self._device))]

    def encode_batch(self, clouds: list[NDArray[np.float32]]) -> list[EncoderOutput]:  # each (N, 3), N of any size
        return [self(points) for points in clouds]

    def forward(self, clouds: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:  # (B, N, 3) on the device
        """features (B, G, D), tokens (B, G, C), centers (B, G, 3), float32; members (B, G, M). Does not synchronize."""
        import torch
        import torch.nn.functional as F

        with torch.inference_mode():
            if self._fused is not None:
                return self._fused(clouds)
            # No cache of bfloat16 weights: autocast frees it afterwards, but a recorded graph would still read it.
            half = self.precision == "bf16"
            with torch.autocast(self._device.type, torch.bfloat16, enabled=half, cache_enabled=False):
                encoded = self.model.encoder(clouds)
                features = F.normalize(self.model.proj(encoded.tokens).float(), dim=-1)
            return features, encoded.tokens.float(), encoded.centers, encoded.members

    def _fused_kernels(self, config: EncoderConfig) -> Any:
        """The fused encoder if it supports this precision, device and model, else None."""
        from pa3d.ops.backends import triton

        allowed = self._device.type == "cuda" and self.precision == "bf16" and not os.environ.get("PA3D_BACKEND")
        if not allowed or triton.unavailable_reason() is not None:
            return None
        encoder = triton.kernels("encoder")
        return encoder.FusedEncoder(self.model) if encoder.unsupported_reason(config) is None else None


@lru_cache(maxsize=1)
def _pass_indices(passes: Passes, n: int) -> NDArray[np.int64]:  # (count, points), not to be changed
    return pass_indices(passes, n)
