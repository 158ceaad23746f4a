"""The C++ encoder seen from Python: numpy in, numpy out, no torch."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pa3d import _C
from pa3d.checkpoint import Checkpoint
from pa3d.errors import InputError

PRECISIONS = ("auto", "fp32", "bf16", "int8")


class EncoderOutput(NamedTuple):
    """centers (G, 3); members (G, M) indices into points; tokens (G, C); features (G, D) unit; seconds per stage."""

    centers: NDArray[np.float32]
    members: NDArray[np.int64]
    tokens: NDArray[np.float32]
    features: NDArray[np.float32]
    seconds: dict[str, float]


def resolve_precision(precision: str, verified: tuple[str, ...] = ()) -> str:
    """The precision that will run: what was asked for, never a lower one. Raises InputError when it cannot run here.

    verified: what a checkpoint's labels were checked at, fastest first; "auto" takes the first that runs here, or fp32.
    """
    if precision not in PRECISIONS:
        raise InputError(f"precision {precision!r} is not one of {', '.join(PRECISIONS)}")
    if precision == "auto":
        return next((p for p in verified if p in PRECISIONS and _C.supports(p)), "fp32")
    if not _C.supports(precision):
        raise InputError(
            f"precision {precision} needs {_C.requirement(precision)}; the instruction set in use is {_C.isa()}; "
            "use fp32 or auto"
        )
    return precision


class NativeEncoder:
    """Weights packed once for this processor. Safe to call from several threads at once."""

    def __init__(self, checkpoint: Checkpoint, precision: str = "auto", threads: int | None = None) -> None:
        unsupported = _C.unsupported_isa()
        if unsupported is not None:
            raise InputError(
                f"PA3D_ISA={unsupported}: this processor has {_C.best_isa()}; "
                f"expected {_C.isa_choices()}, not above that"
            )
        self.precision = resolve_precision(precision, checkpoint.precisions)
        self.threads = threads or 0
        self._engine = _C.Engine(checkpoint.config.to_dict(), self.precision, checkpoint.tensors)

    def __call__(self, points: NDArray[np.float32]) -> EncoderOutput:  # (N, 3) in the model's axes
        center_idx, members, tokens, features, seconds = self._engine.forward(points, self.threads)
        return EncoderOutput(points[center_idx], members, tokens, features, seconds)

    def encode_batch(self, clouds: list[NDArray[np.float32]]) -> list[EncoderOutput]:  # each (N, 3), N of any size
        """The same results, to the bit, as one call per cloud. Where there are enough clouds they run in parallel."""
        results = self._engine.forward_many(clouds, self.threads)
        return [
            EncoderOutput(points[center_idx], members, tokens, features, seconds)
            for points, (center_idx, members, tokens, features, seconds) in zip(clouds, results, strict=True)
        ]
