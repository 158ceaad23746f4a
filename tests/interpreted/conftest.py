"""Triton kernels on Triton's interpreter: collected only where TRITON_INTERPRET=1, in a process of their own."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

sys.path.append(str(Path(__file__).resolve().parents[2]))

collect_ignore_glob = [] if os.environ.get("TRITON_INTERPRET") == "1" else ["test_*.py"]


@pytest.fixture(autouse=True, scope="session")
def whole_arrays_for_xor() -> None:
    """The interpreter folds xor, on which Triton's sorting networks rest, element by element: minutes a test."""
    import triton.language as tl
    from triton.runtime.interpreter import ReduceOps

    one_by_one = ReduceOps.apply_impl

    def apply(self: Any, input: Any) -> Any:
        if self.combine_fn is not tl.standard._xor_combine:
            return one_by_one(self, input)
        x = input[0] if isinstance(input, tuple) else input
        folded = np.bitwise_xor.reduce(x.handle.data, axis=self.axis, keepdims=self.keep_dims)
        return self.to_tensor(folded, x.dtype)

    ReduceOps.apply_impl = apply


@pytest.fixture(autouse=True)
def poisoned_outputs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fresh memory holds NaN, or a number no index has: what a kernel forgets to write shows."""
    empty = torch.empty

    def poisoned(*args: Any, **kwargs: Any) -> Tensor:
        x = empty(*args, **kwargs)
        return x.fill_(float("nan") if x.is_floating_point() else -(2**31))

    monkeypatch.setattr(torch, "empty", poisoned)


@pytest.fixture
def use_config(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Any, Any], None]]:
    """Makes a tuned kernel run with one of its configurations."""
    yield lambda kernel, config: monkeypatch.setattr(kernel, "configs", [config])


@pytest.fixture
def close() -> Callable[..., None]:
    """The error against float64, root mean square, is at most twice a plain version's, or the rounding of the result.

    terms: the largest of the terms a result is the sum of, where those cancel: their rounding counts then.
    """

    def check(actual: Tensor, plain: Tensor, exact: Tensor, terms: float = 0.0) -> None:
        assert exact.dtype == torch.float64 and actual.dtype == plain.dtype and actual.shape == exact.shape
        assert bool(actual.isfinite().all())
        rounding = torch.finfo(actual.dtype).eps / 2 * max(terms, exact.abs().max().item())
        ours, theirs = ((x.double() - exact).square().mean().sqrt().item() for x in (actual, plain))
        assert ours <= max(2 * theirs, rounding), f"error {ours:.3g} against {theirs:.3g} of the plain version"

    return check
