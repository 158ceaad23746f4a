"""The transformer block's training kernels against pa3d.model.Block in float64."""

from __future__ import annotations

from dataclasses import replace

import pytest

torch = pytest.importorskip("torch")

from pa3d import _C  # noqa: E402
from pa3d.config import EncoderConfig  # noqa: E402
from pa3d.model import Blocks  # noqa: E402
from pa3d.ops import train_block  # noqa: E402
from pa3d.ops.backends import native  # noqa: E402
from pa3d.train.model import TrainBlocks  # noqa: E402

Found = tuple[torch.Tensor, dict[str, torch.Tensor]]  # outputs; gradients by name
DEPTH = 2


@pytest.fixture(autouse=True)
def _threads() -> None:
    torch.set_num_threads(2)


def config(dim: int, heads: int, hidden: int) -> EncoderConfig:
    return replace(EncoderConfig(), dim=dim, heads=heads, mlp_hidden=hidden, depth=DEPTH, drop_path=0.5)


def weights(c: EncoderConfig) -> Blocks:
    torch.manual_seed(0)
    blocks = Blocks(c)
    for parameter in blocks.parameters():
        torch.nn.init.normal_(
            parameter, 0.5 if parameter.ndim == 1 else 0.0, 0.3 if parameter.ndim == 1 else c.dim**-0.5
        )
    return blocks


def inputs(c: EncoderConfig, shapes: int, tokens: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """x, pos, and a draw of stochastic depth that keeps the first block whole."""
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(shapes, tokens, c.dim, generator=generator)
    kept = (torch.rand(DEPTH, 2, shapes, generator=generator) < 0.6) / 0.6
    kept[0] = 1
    return x, torch.randn(shapes, tokens, c.dim, generator=generator) * 0.3, kept


def step(blocks: Blocks, x: torch.Tensor, pos: torch.Tensor, kept: torch.Tensor | None, half: bool = False) -> Found:
    blocks.zero_grad()
    x, pos = x.clone().requires_grad_(), pos.clone().requires_grad_()
    with torch.autocast("cpu", torch.bfloat16, enabled=half):
        y = blocks(x, pos, kept)
    factors = torch.randn(y.shape, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    (y * factors.to(y.dtype)).sum().backward()
    grads = {k: p.grad.clone() for k, p in blocks.named_parameters() if p.grad is not None}
    assert x.grad is not None and pos.grad is not None
    return y.detach(), {**grads, "x": x.grad, "pos": pos.grad}


def error(x: torch.Tensor, exact: torch.Tensor) -> float:
    return float((x.double() - exact).norm() / exact.norm())


@pytest.mark.parametrize(
    ("dim", "heads", "hidden", "shapes", "tokens"),
    [(32, 1, 32, 1, 1), (64, 2, 96, 9, 2), (64, 1, 32, 3, 13), (96, 3, 160, 5, 33), (384, 6, 1536, 6, 129)],
)
def test_is_as_exact_as_tensor_code(
    operands: tuple[str, bool],
    dim: int,
    heads: int,
    hidden: int,
    shapes: int,
    tokens: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Outputs and gradients: off by at most twice what tensor code of that precision is off by."""
    isa, half = operands
    if isa == "generic":
        # The rule that leaves this level to torch.
        monkeypatch.setattr(native, "training_unsupported_reason", lambda *_: None)
    c = config(dim, heads, hidden)
    start, (x, pos, kept) = weights(c), inputs(c, shapes, tokens)
    blocks = TrainBlocks(c)
    blocks.load_state_dict(start.state_dict())
    assert train_block.backend(half, heads, hidden, x, *blocks.parameters()) == "native"
    found, grads = step(blocks, x, pos, kept, half)
    monkeypatch.setenv("PA3D_BACKEND", "reference")
    plain, plain_grads = step(blocks, x, pos, kept, half)
    exact, exact_grads = step(start.double(), x.double(), pos.double(), kept.double())
    floor = 1e-6 if not half else 1e-3
    assert error(found, exact) <= 2 * error(plain, exact) + floor
    assert grads.keys() == exact_grads.keys()
    for name, value in grads.items():
        exact_value = exact_grads[name]
        if tokens == 1 and ("qkv" in name or "norm1" in name) and not exact_value.any():
            continue
        assert error(value, exact_value) <= 2 * error(plain_grads[name], exact_value) + floor, name


@pytest.mark.parametrize("dropped", [(0,), (1,), (0, 1)])
def test_branches_that_every_shape_drops(dropped: tuple[int, ...]) -> None:
    c = config(64, 2, 96)
    x, pos, kept = inputs(c, 3, 5)
    kept[1] = 1
    kept[1, list(dropped)] = 0
    blocks, start = TrainBlocks(c), weights(c)
    blocks.load_state_dict(start.state_dict())
    found, grads = step(blocks, x, pos, kept)
    exact, exact_grads = step(start.double(), x.double(), pos.double(), kept.double())
    assert error(found, exact) < 1e-6
    for name, value in grads.items():
        if exact_grads[name].any():
            assert error(value, exact_grads[name]) < 1e-5, name
        else:
            assert not value.any(), name
    branch = "attn" if 0 in dropped else "mlp"
    assert not grads[f"blocks.1.{branch}.{'qkv' if branch == 'attn' else 'fc1'}.weight"].any()


def test_frozen_weights_get_no_gradient_and_change_no_other() -> None:
    c = config(64, 2, 96)
    blocks, values = TrainBlocks(c), inputs(c, 5, 7)
    blocks.load_state_dict(weights(c).state_dict())
    _, grads = step(blocks, *values)
    blocks.blocks[0].requires_grad_(False)
    _, fewer = step(blocks, *values)
    assert {k for k in grads if k not in fewer} == {k for k in grads if k.startswith("blocks.0.")}
    for name, value in fewer.items():
        assert torch.equal(value, grads[name]), name


@pytest.mark.parametrize("half", [False, True])
@pytest.mark.parametrize("threads", [1, 2, 3, 5])
def test_threads(threads: int, half: bool) -> None:
    """The same numbers every time; outputs do not depend on threads, gradients of weights but for the order of sums."""
    if half and not _C.supports("bf16"):
        pytest.skip("this processor has no bf16")
    c = config(64, 2, 96)
    blocks, values = TrainBlocks(c), inputs(c, 7, 9)
    blocks.load_state_dict(weights(c).state_dict())
    torch.set_num_threads(1)
    alone, grads_alone = step(blocks, *values, half)
    torch.set_num_threads(threads)
    one, grads_one = step(blocks, *values, half)
    two, grads_two = step(blocks, *values, half)
    assert torch.equal(one, two) and torch.equal(one, alone)
    for name in grads_one:
        assert torch.equal(grads_one[name], grads_two[name]), name
        torch.testing.assert_close(grads_one[name], grads_alone[name], rtol=1e-3, atol=1e-5, msg=name)


@pytest.mark.usefixtures("training_kernels")
def test_nothing_is_kept_without_gradients_and_two_passes_may_be_open() -> None:
    c = config(64, 2, 96)
    blocks, (x, pos, kept) = TrainBlocks(c), inputs(c, 4, 5)
    blocks.load_state_dict(weights(c).state_dict())
    expected, grads = step(blocks, x, pos, kept)
    blocks.zero_grad()
    outs = [blocks(x * factor, pos, kept) for factor in (1.0, 2.0)]
    spare = len(train_block._activations)
    with torch.no_grad():
        for _ in range(3):
            assert torch.equal(blocks(x, pos, kept), expected)
    assert len(train_block._activations) <= spare + 1  # one, used by all
    factors = torch.randn(expected.shape, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    (outs[0] * factors.float()).sum().backward()
    for name, parameter in blocks.named_parameters():
        assert torch.equal(parameter.grad, grads[name]), name
    outs[1].sum().backward(retain_graph=True)
    with pytest.raises(RuntimeError, match="runs once"):
        outs[1].sum().backward()


def test_stochastic_depth_is_drawn_where_no_draw_is_given() -> None:
    c = config(64, 2, 96)
    x, pos, _ = inputs(c, 64, 3)
    blocks = TrainBlocks(c).train()
    blocks.load_state_dict(weights(c).state_dict())
    torch.manual_seed(0)
    drawn = blocks(x, pos)
    assert not torch.allclose(drawn, blocks(x, pos))
    assert torch.allclose(blocks.eval()(x, pos), blocks(x, pos))


@pytest.mark.usefixtures("training_kernels")
def test_what_the_kernels_do_not_take(monkeypatch: pytest.MonkeyPatch) -> None:
    x = torch.zeros(1, 2, 48)
    y = torch.zeros(1, 2, 64)
    assert train_block.backend(False, 1, 64, x) == "reference"
    assert train_block.backend(False, 1, 64, y) == "native"
    assert train_block.backend(False, 1, 64, y[:0]) == "reference"
    assert train_block.backend(False, 1, 64, y.half()) == "reference"
    assert train_block.backend(False, 1, 64, y.bfloat16()) == "native"
    assert train_block.backend(False, 1, 64, y, y.bfloat16()) == "reference"  # weights
    monkeypatch.setenv("PA3D_BACKEND", "native")
    with pytest.raises(ValueError, match="divisible by 32, not 48 in 1 heads, 64"):
        train_block.backend(False, 1, 64, x)
    with pytest.raises(ValueError, match=r"float32, not float16"):
        train_block.backend(False, 1, 64, y.half())
    vector, matrix = torch.zeros(32).numpy(), torch.zeros(32, 32).numpy()
    kernel = _C.BlockTrainer("fp32")
    short = [vector, vector, matrix, matrix, vector, vector, vector, matrix, vector, matrix, vector]
    with pytest.raises(ValueError, match="qkv: expected 3072 values, got 1024"):
        kernel.forward(short, 1, 1e-5, x.numpy(), x.numpy(), None, kernel.new_activations())
