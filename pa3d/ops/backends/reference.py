"""The plain references as a backend. Each is defined in the module of its operation, which adds it with `kernel`."""

from __future__ import annotations

import contextlib
import functools
import sys
from collections.abc import Callable
from typing import Any, TypeVar

DEVICE = "cpu"

Function = TypeVar("Function", bound=Callable[..., Any])


def unavailable_reason() -> None:
    """It runs everywhere."""


def kernel(op: str) -> Callable[[Function], Function]:
    """Adds a function to this module under the name of the operation.

    The kernel records no gradient, as no other backend's does. An operation that has a gradient declares it, so that it
    is the same on every backend.
    """

    def add(function: Function) -> Function:
        @functools.wraps(function)
        def run(*arguments: Any, **options: Any) -> Any:
            torch = sys.modules.get("torch")
            with contextlib.nullcontext() if torch is None else torch.no_grad():
                return function(*arguments, **options)

        globals()[op] = run
        return function

    return add
