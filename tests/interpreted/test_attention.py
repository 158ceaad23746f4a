from __future__ import annotations

import pytest
import torch
from torch import Tensor

from kernels import attention as module
from kernels import report
from kernels._common import triton_type

SIZES = [1, 15, 31, 32, 33, 127, 128, 129]
HALVES = [torch.bfloat16, torch.float16]


def inputs(t: int, d: int, dtype: torch.dtype, batch: int = 1, heads: int | None = None) -> list[Tensor]:
    """q, k, v as a model has them: three views of one product. More heads where they are small, lest luck decide."""
    torch.manual_seed(t + d)
    heads = heads or (2 if t > 64 else 6)
    qkv = torch.randn(batch, t, 3, heads, d).to(dtype)
    return list(qkv.permute(2, 0, 3, 1, 4).unbind(0))


def check(q: Tensor, k: Tensor, v: Tensor, close) -> None:
    """Values and gradients against float64."""
    torch.manual_seed(7)
    grad = torch.randn(q.shape).to(q.dtype)
    results = []
    for attention, dtype in (
        (module.patch_attention, q.dtype),
        (module.patch_attention_reference, q.dtype),
        (module.patch_attention_reference, torch.float64),
    ):
        leaves = [x.detach().to(dtype).requires_grad_() for x in (q, k, v)]
        out = attention(*leaves)
        results.append([out.detach(), *torch.autograd.grad(out, leaves, grad.to(dtype))])
    # a gradient of a score is p (dP - rowsum): where one key takes it all, two equal numbers cancel
    cancelling = (grad.double() @ v.double().transpose(-1, -2)).abs().max().item() * q.shape[-1] ** -0.5
    # the backward pass makes p anew, exp(score - peak): where they are equal, the rounding of two scores is left
    scores = (q.double() @ k.double().transpose(-1, -2)).abs().max().item() * q.shape[-1] ** -0.5
    terms = [
        0.0,
        cancelling * k.abs().max().item(),
        cancelling * q.abs().max().item(),
        scores * grad.abs().max().item(),
    ]
    for actual, plain, exact, size in zip(*results, terms, strict=True):
        close(actual, plain, exact, size)


def test_by_hand():
    """Two keys with scores 0 and ln 3: weights 1/4 and 3/4."""
    q, k, v = (torch.zeros(1, 1, 2, 16) for _ in range(3))
    q[..., 0] = 4 * torch.log(torch.tensor(3.0))  # 4 is the square root of the width
    k[0, 0, 1, 0] = 1
    v[0, 0, :, 0] = torch.tensor([0.0, 4.0])
    out = module.patch_attention(q, k, v)
    assert torch.allclose(out[0, 0, :, 0], torch.tensor(3.0), atol=2e-6)
    assert out[..., 1:].abs().max() == 0


@pytest.mark.parametrize("t", SIZES)
@pytest.mark.parametrize("d", [32, 64])
def test_float32(t: int, d: int, close):
    check(*inputs(t, d, torch.float32), close)


@pytest.mark.parametrize("dtype", HALVES, ids=str)
@pytest.mark.parametrize("t", [15, 33, 129])
def test_16_bit(t: int, dtype: torch.dtype, close):
    check(*inputs(t, 64, dtype), close)


@pytest.mark.parametrize("d", [16, 64])
def test_other_head_widths_in_a_batch_of_three(d: int, close):
    check(*inputs(33, d, torch.float32, batch=3), close)


def test_long_input(close):
    q, k, v = inputs(300, 32, torch.float32, heads=1)
    exact = module.patch_attention_reference(q.double(), k.double(), v.double())
    close(module.patch_attention(q, k, v), module.patch_attention_reference(q, k, v), exact)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_every_configuration(dtype: torch.dtype, use_config, close):
    for variant in module.variants():
        if variant.name.endswith(f"{triton_type(dtype)} D=32"):
            for config in variant.configs:
                use_config(variant.kernel, config)
                check(*inputs(130, 32, dtype, heads=1), close)


def test_scores_far_from_zero(close):
    """Scores of thousands: without the running maximum they overflow, and keys past the end would dominate all others.

    Eighths, so that every scalar product is exact in whatever order it is summed.
    """
    q, k, v = inputs(33, 32, torch.float32)
    q, k = (q * 8).round() / 8, (k * 8).round() / 8
    offset = torch.zeros_like(q)
    offset[..., 0] = 100.0
    check(q + offset, k - offset, v, close)


def test_gradients_repeat_to_the_bit():
    q, k, v = (x.detach().requires_grad_() for x in inputs(65, 32, torch.float32))
    first, second = (torch.autograd.grad(module.patch_attention(q, k, v).square().sum(), (q, k, v)) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def test_output_joins_heads_without_a_copy():
    out = module.patch_attention(*inputs(5, 32, torch.float32, batch=2))
    assert out.transpose(1, 2).is_contiguous()


def test_errors_by_name():
    q = torch.zeros(1, 2, 3, 32)
    with pytest.raises(ValueError, match=r"k: expected shape \(1, 2, 3, 32\), got \(1, 2, 4, 32\)"):
        module.patch_attention(q, torch.zeros(1, 2, 4, 32), q)
    with pytest.raises(TypeError, match="v: expected float32, got bfloat16"):
        module.patch_attention(q, q, q.bfloat16())
    with pytest.raises(ValueError, match="q: expected a head width of 16, 32, 64, got 48"):
        module.patch_attention(*[torch.zeros(1, 2, 3, 48)] * 3)
    with pytest.raises(ValueError, match="q: expected a contiguous last axis"):
        module.patch_attention(*[torch.zeros(1, 2, 32, 32).transpose(2, 3)[:, :, :3]] * 3)


def test_nothing_is_measured_on_the_interpreter():
    with pytest.raises(RuntimeError, match=r"TRITON_INTERPRET is set: .* mean nothing; unset it"):
        next(report.rows())
