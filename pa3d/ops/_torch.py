"""Registers the operations with torch, as torch.ops.pa3d.*.

torch.compile and torch.export cannot look into C++ or Triton: a registered operation is one node of their graphs, and
chooses its backend when the node runs. Imported by an operation when it is traced or differentiated, never without
torch. It has to be an import: torch.compile runs imports while it traces, where it would trace into a call.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.library import custom_op

from pa3d.ops._library import OpSpec, subscribe

ops = torch.ops.pa3d


def _register(spec: OpSpec) -> None:
    name, _, signature = spec.schema.partition("(")

    def run(*arguments: Any) -> Any:
        plain = [x.detach() if isinstance(x, Tensor) else x for x in arguments]
        is_float64 = any(isinstance(x, Tensor) and x.dtype == torch.float64 for x in plain[:1])
        return spec.float64_impl(*plain) if is_float64 and spec.float64_impl is not None else spec.run(*plain)

    op = custom_op(f"pa3d::{name}", run, mutates_args=(), schema=f"({signature}")
    op.register_fake(spec.fake)
    if spec.backward is not None:
        op.register_autograd(spec.backward, setup_context=spec.setup_context)
    else:
        op.register_autograd(_constant, setup_context=_save_nothing)


def _save_nothing(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
    """Marks all results as constants: without this they would claim a gradient, and fail when it is asked for."""
    ctx.mark_non_differentiable(*(output if isinstance(output, tuple) else (output,)))
    ctx.n_inputs = len(inputs)


def _constant(ctx: Any, *_: Tensor) -> tuple[None, ...]:
    return (None,) * ctx.n_inputs


subscribe(_register)
