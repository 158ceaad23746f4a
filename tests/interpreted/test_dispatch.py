"""The operations of pa3d.ops, forced to the Triton kernels: through the seam to the same results."""

from __future__ import annotations

import pytest
import torch

from kernels import attention
from pa3d import ops
from pa3d.ops._torch import ops as registered
from pa3d.ops.attention import patch_attention
from pa3d.ops.backproject import backproject, backproject_reference


@pytest.fixture(autouse=True)
def forced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PA3D_BACKEND", "triton")


def test_knn():
    torch.manual_seed(0)
    queries, points = torch.randn(3, 4, 3), torch.randn(3, 70, 3)
    for got, want in zip(ops.knn(queries, points, 9), ops.knn_reference(queries, points, 9), strict=True):
        assert torch.equal(got, want)
    with pytest.raises(ValueError, match="=triton cannot run knn: it supports at most 128 neighbours, not 129"):
        ops.knn(torch.zeros(1, 1, 3), torch.zeros(1, 200, 3), 129)


@pytest.mark.parametrize("per_view", [False, True])
@pytest.mark.parametrize("mode", ["nearest", "bilinear", "bicubic"])
def test_backproject(mode: str, per_view: bool, close):
    torch.manual_seed(1)
    tokens, pixels = torch.randn(3, 4, 5, 33), torch.randint(-1, 7, (3, 12, 13), dtype=torch.int32)
    total, count = backproject(tokens, pixels, 7, mode=mode, per_view=per_view)
    plain, expected = backproject_reference(tokens, pixels, 7, mode=mode, per_view=per_view)
    exact, _ = backproject_reference(tokens.double(), pixels, 7, mode=mode, per_view=per_view)
    assert torch.equal(count, expected)
    close(total, plain, exact)


def test_attention_and_its_gradients(close):
    torch.manual_seed(2)
    results = []
    for function, dtype in (
        (patch_attention, torch.float32),
        (attention.patch_attention_reference, torch.float32),
        (attention.patch_attention_reference, torch.float64),
    ):
        torch.manual_seed(3)
        leaves = [x.to(dtype).requires_grad_() for x in torch.randn(3, 2, 2, 33, 16)]
        out = function(*leaves)
        results.append([out.detach(), *torch.autograd.grad(out.square().sum(), leaves)])
    for actual, plain, exact in zip(*results, strict=True):
        close(actual, plain, exact)


def test_the_registered_operation_on_the_kernel():
    q, k, v = (x.requires_grad_() for x in torch.randn(3, 1, 2, 17, 16))
    torch.library.opcheck(registered.patch_attention.default, (q, k, v), test_utils=("test_schema", "test_faketensor"))


def test_what_the_kernel_cannot_take_is_told():
    q = torch.zeros(1, 2, 3, 48)
    with pytest.raises(ValueError, match="patch_attention: it takes heads of 16, 32, 64 numbers, not 48"):
        patch_attention(q, q, q)
    q = torch.zeros(1, 2, 16, 16).transpose(2, 3)
    with pytest.raises(ValueError, match="cannot run patch_attention: it takes tensors whose last axis is contiguous"):
        patch_attention(q, q, q)
    with pytest.raises(ValueError, match="PA3D_BACKEND=triton: farthest_point_sample has no triton kernel"):
        ops.farthest_point_sample(torch.zeros(1, 4, 3), 2)
    with pytest.raises(ValueError, match="PA3D_BACKEND=triton takes torch tensors on cpu only, got a numpy array"):
        ops.knn(torch.zeros(1, 4, 3).numpy(), torch.zeros(1, 4, 3).numpy(), 2)
