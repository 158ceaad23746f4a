"""What each operation declares for torch.library: its schema, its shapes for tracing, its gradient.

Nothing here needs torch. pa3d.ops._torch registers what is declared when torch first has to know of it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

Function = Callable[..., Any]


@dataclass(frozen=True)
class Declared:
    schema: str
    run: Function
    fake: Function
    exact: Function | None
    save: Function | None
    backward: Function | None


DECLARED: list[Declared] = []
_listeners: list[Callable[[Declared], None]] = []


def declare(
    schema: str,
    run: Function,
    *,
    fake: Function,
    exact: Function | None = None,
    save: Function | None = None,
    backward: Function | None = None,
) -> None:
    """Declares torch.ops.pa3d.<name>, a node that torch.compile and torch.export need not look into.

    schema: name, arguments and results as torch writes them: "knn(Tensor queries, Tensor points, int k) -> ...".
    run: takes plain tensors without gradients, checks them and chooses a backend: the operation itself as a rule.
    fake: takes tensors without values and returns empty results of the right shape and dtype.
    exact: takes the place of run for float64, which no kernel takes; gradients are checked in it.
    save, backward: setup_context and backward of torch.library.register_autograd. Without them there is no gradient.
    """
    declared = Declared(schema, run, fake, exact, save, backward)
    DECLARED.append(declared)
    for listen in _listeners:
        listen(declared)


def listen(listener: Callable[[Declared], None]) -> None:
    """Calls the listener with everything that is declared, now and later."""
    _listeners.append(listener)
    for declared in DECLARED:
        listener(declared)
