from __future__ import annotations

import pytest
import torch
from torch import Tensor

from kernels import block as module
from pa3d.config import EncoderConfig
from pa3d.model import Block

DTYPES = [torch.float32, torch.bfloat16, torch.float16]


def layer(n: int, width: int, rows: int, dtype: torch.dtype) -> dict[str, Tensor]:
    torch.manual_seed(n + width + rows)
    sizes = {"x": (1, rows, width), "weight": (n, width), "bias": (n,), "gamma": (width,), "beta": (width,)}
    made = {name: torch.randn(*size).to(dtype) for name, size in sizes.items()} | {
        "residual": torch.randn(1, rows, n).to(dtype)
    }
    made["x"] = (made["x"].float() * 2 + 3).to(dtype)  # a mean that a one-pass variance would cancel against
    return made


def run(
    function, parts: dict[str, Tensor], dtype: torch.dtype, norm: bool, gelu: bool, bias: bool, residual: bool
) -> Tensor:
    p = {name: x.to(dtype) for name, x in parts.items()}
    return function(
        p["x"], p["weight"], p["bias"] if bias else None, norm=(p["gamma"], p["beta"]) if norm else None,
        gelu=gelu, residual=p["residual"] if residual else None,
    )  # fmt: skip


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize(
    "flags",
    [
        (True, False, False, False),
        (True, True, True, False),
        (False, False, True, True),
        (True, True, True, True),
    ],
)
def test_parts(flags: tuple[bool, ...], dtype: torch.dtype, close):
    parts = layer(33, 96, 17, dtype)
    actual, plain = (
        run(module.linear, parts, dtype, *flags),
        run(module.linear_reference, parts, dtype, *flags),
    )
    close(actual, plain, run(module.linear_reference, parts, torch.float64, *flags))


@pytest.mark.parametrize("size", [1, 15, 31, 32, 33, 127, 128, 129])
def test_sizes(size: int, close):
    for n, width, rows in ((size, 33, 3), (17, size, 3), (3, 33, size)):
        parts, flags = layer(n, width, rows, torch.float32), (width > 1, True, True, True)
        plain = run(module.linear_reference, parts, torch.float32, *flags)
        close(
            run(module.linear, parts, torch.float32, *flags),
            plain,
            run(module.linear_reference, parts, torch.float64, *flags),
        )


@pytest.mark.parametrize("config", module.CONFIGS_32 + module.CONFIGS_16, ids=str)
def test_every_configuration(config, use_config, close):
    use_config(module.linear_kernel, config)
    parts, flags = layer(130, 100, 70, torch.bfloat16), (True, True, True, True)
    plain = run(module.linear_reference, parts, torch.bfloat16, *flags)
    close(
        run(module.linear, parts, torch.bfloat16, *flags),
        plain,
        run(module.linear_reference, parts, torch.float64, *flags),
    )


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_whole_block(dtype: torch.dtype, close):
    torch.manual_seed(3)
    block = Block(EncoderConfig(dim=64, heads=2, mlp_hidden=96), drop_path=0.1).eval()
    x = torch.randn(2, 33, 64).to(dtype)
    with torch.no_grad():
        exact = block.double()(x.double())
        plain = block.to(dtype)(x)
        close(module.transformer_block(x, module.BlockWeights.of(block, dtype)), plain, exact)


def test_errors_by_name():
    x, weight = torch.zeros(1, 2, 8), torch.zeros(4, 8)
    with pytest.raises(ValueError, match=r"weight: expected shape \(N, 8\), got \(8, 4\)"):
        module.linear(x, torch.zeros(8, 4), None)
    with pytest.raises(ValueError, match=r"bias: expected shape \(4,\), got \(8,\)"):
        module.linear(x, weight, torch.zeros(8))
    with pytest.raises(TypeError, match="norm bias: expected float32, got float16"):
        module.linear(x, weight, None, norm=(torch.zeros(8), torch.zeros(8).half()))
    with pytest.raises(ValueError, match="weight: requires a gradient, but this kernel is for inference"):
        module.linear(x, weight.clone().requires_grad_(), None)
    with pytest.raises(ValueError, match="heads: expected a divisor of 8"):
        module.norm_qkv(x, torch.ones(8), torch.zeros(8), torch.zeros(24, 8), 3)
