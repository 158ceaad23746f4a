"""What each operation declares for torch.library: its schema, its shapes for tracing, its gradient.

Nothing here needs torch. pa3d.ops._torch registers the operations with torch when torch first has to know of them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

Function = Callable[..., Any]


@dataclass(frozen=True)
class OpSpec:
    """The arguments of `register_op`."""

    schema: str
    run: Function
    fake: Function
    float64_impl: Function | None
    setup_context: Function | None
    backward: Function | None


OPS: list[OpSpec] = []
_subscribers: list[Callable[[OpSpec], None]] = []


def register_op(
    schema: str,
    run: Function,
    *,
    fake: Function,
    float64_impl: Function | None = None,
    setup_context: Function | None = None,
    backward: Function | None = None,
) -> None:
    """Declares torch.ops.pa3d.<name>, which torch.compile and torch.export treat as one node of their graph.

    schema: name, arguments and results as torch writes them: "knn(Tensor queries, Tensor points, int k) -> ...".
    run: takes plain tensors without gradients, checks them and chooses a backend: the operation itself as a rule.
    fake: takes tensors without values and returns empty results of the right shape and dtype.
    float64_impl: takes the place of run for float64, which no kernel takes; gradients are checked in it.
    setup_context, backward: as in torch.library.register_autograd. Without them there is no gradient.
    """
    spec = OpSpec(schema, run, fake, float64_impl, setup_context, backward)
    OPS.append(spec)
    for callback in _subscribers:
        callback(spec)


def subscribe(callback: Callable[[OpSpec], None]) -> None:
    """Calls the callback with every operation that is registered, now and later."""
    _subscribers.append(callback)
    for spec in OPS:
        callback(spec)
