"""One stage of our encoder, checked against the whole forward pass in torch. Shared by the benches of stages."""

from __future__ import annotations

from typing import Any

import numpy as np
from _common import THREADS, Run, check, native_precisions, torch_variants
from numpy.typing import NDArray

from pa3d.native import NativeEncoder

NATIVE = [f"pa3d {precision}" for precision in native_precisions()]
LEAST_COSINE = {"fp32": 0.99999, "bf16": 0.99, "int8": 0.9}  # between rows of features; the weights are random


def native_stage(
    stage: str, flop: float, checkpoint: Any, points: NDArray[np.float32], patches: Any, centers: Any
) -> tuple[dict[str, Run], dict[str, tuple[float, str]]]:
    """Runs by name, which call the whole encoder and return the seconds of the stage; and their work by name."""
    whole = torch_variants(checkpoint, lambda module: module, patches, centers, compiled=False)
    expected = whole["torch eager fp32"](patches, centers)[0].numpy()
    runs: dict[str, Run] = {}
    work = {}
    for precision in native_precisions():
        encoder = NativeEncoder(checkpoint, precision, THREADS)
        cosine = np.einsum("gd,gd->g", encoder(points).features, expected)
        check(cosine.min() > LEAST_COSINE[precision], f"{precision} differs from torch: cosine {cosine.min():.5f}")
        runs[f"pa3d {precision}"] = lambda encoder=encoder: encoder(points).seconds[stage]
        work[f"pa3d {precision}"] = (flop, "fp32" if precision == "fp32" else "bf16")
    return runs, work
