"""The mini-PointNet's training kernels against pa3d.model.MiniPointNet in float64."""

from __future__ import annotations

import sys
import threading

import pytest

torch = pytest.importorskip("torch")

from pa3d import _C  # noqa: E402
from pa3d.model import MiniPointNet  # noqa: E402
from pa3d.ops import train_embed  # noqa: E402
from pa3d.ops._pool import Pool  # noqa: E402
from pa3d.ops.backends import native  # noqa: E402
from pa3d.train.model import TrainPointNet  # noqa: E402

WIDTHS = [(32, 64, 96, 32), (128, 256, 512, 256)]
Found = tuple[torch.Tensor, dict[str, torch.Tensor]]  # outputs; gradients and running statistics by name


@pytest.fixture(autouse=True)
def _threads() -> None:
    torch.set_num_threads(2)


def weights(widths: tuple[int, int, int, int], seed: int = 0) -> MiniPointNet:
    torch.manual_seed(seed)
    net = MiniPointNet(widths)
    for name, parameter in net.named_parameters():
        torch.nn.init.normal_(parameter, 1.0 if name.endswith("1.weight") else 0.0, 0.2)
    return net


def patches_of(patches: int, size: int, seed: int = 1) -> torch.Tensor:
    return torch.randn(1, patches, size, 3, generator=torch.Generator().manual_seed(seed)) * 0.2


def step(net: MiniPointNet, start: MiniPointNet, patches: torch.Tensor, half: bool = False) -> Found:
    """A training step from the weights of `start`, with a fixed gradient at the output."""
    net.load_state_dict(start.state_dict())
    net.train().zero_grad()
    with torch.autocast("cpu", torch.bfloat16, enabled=half):
        out = net(patches)
    factors = torch.randn(out.shape, generator=torch.Generator().manual_seed(2))
    (out * factors).sum().backward()
    kept = {k: p.grad for k, p in net.named_parameters()} | {k: v for k, v in net.named_buffers() if "running" in k}
    return out.detach(), kept  # type: ignore[return-value]


def error(x: torch.Tensor, exact: torch.Tensor) -> float:
    return float((x.double() - exact).norm() / exact.norm())


def has_no_gradient(name: str) -> bool:
    """Biases in front of a normalisation: nothing but rounding."""
    return name in ("first_conv.0.bias", "first_conv.3.bias", "second_conv.0.bias")


@pytest.mark.parametrize(("patches", "size"), [(6, 2), (3, 32), (5, 6), (9, 34)])
@pytest.mark.parametrize("widths", WIDTHS)
def test_is_as_exact_as_tensor_code(
    operands: tuple[str, bool],
    widths: tuple[int, int, int, int],
    patches: int,
    size: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Outputs, gradients and running statistics: off by at most twice what tensor code of that precision is off by."""
    isa, half = operands
    if isa == "generic":
        # The rule that leaves this level to torch.
        monkeypatch.setattr(native, "training_unsupported_reason", lambda *_: None)
    start, points = weights(widths), patches_of(patches, size)
    net = TrainPointNet(widths)
    assert train_embed.backend(half, widths, points) == "native"
    found, kept = step(net, start, points, half)
    monkeypatch.setenv("PA3D_BACKEND", "reference")
    plain, plain_kept = step(net, start, points, half)
    exact, exact_kept = step(MiniPointNet(widths).double(), start, points.double())
    floor = 1e-6 if not half else 2e-3
    assert error(found, exact) <= 2 * error(plain, exact) + floor
    for name, value in kept.items():
        if has_no_gradient(name):
            assert not value.any()
        else:
            bound = 2 * error(plain_kept[name], exact_kept[name]) + floor
            assert error(value, exact_kept[name]) <= bound, name


def test_of_equal_rows_one_gets_the_gradient() -> None:
    """Every point twice, so that all maxima are ties: what the weights of the last layer get is what they would get of
    either, not of both. Moments of doubled rows are those of the rows."""
    start, points = weights(WIDTHS[0]), patches_of(5, 6)
    _, kept = step(TrainPointNet(WIDTHS[0]), start, points.repeat_interleave(2, dim=2))
    _, once = step(MiniPointNet(WIDTHS[0]).double(), start, points.double())
    for name in ("second_conv.3.weight", "second_conv.1.weight", "first_conv.3.weight", "first_conv.0.weight"):
        assert error(kept[name], once[name]) < 1e-5, name


def test_frozen_statistics(isa: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if isa == "generic":
        monkeypatch.setattr(native, "training_unsupported_reason", lambda *_: None)
    start = weights(WIDTHS[0])
    points = patches_of(7, 6)
    step(start, start, points)  # moves the statistics
    net = TrainPointNet(WIDTHS[0])
    net.load_state_dict(start.state_dict())
    with torch.no_grad():
        assert train_embed.backend(False, WIDTHS[0], points, *net.parameters()) == "native"
        found = net.eval()(points)
        exact = start.double().eval()(points.double())
    assert error(found, exact) < 1e-6


@pytest.mark.parametrize("half", [False, True])
@pytest.mark.parametrize("threads", [1, 2, 3, 5])
def test_threads(threads: int, half: bool) -> None:
    """The same numbers every time; of another number of threads, the same up to the order of sums."""
    if half and not _C.supports("bf16"):
        pytest.skip("this processor has no bf16")
    start, points, net = weights(WIDTHS[0]), patches_of(11, 6), TrainPointNet(WIDTHS[0])
    torch.set_num_threads(1)
    alone, kept_alone = step(net, start, points, half)
    kept_alone = {k: v.clone() for k, v in kept_alone.items()}
    torch.set_num_threads(threads)
    one, kept_one = step(net, start, points, half)
    kept_one = {k: v.clone() for k, v in kept_one.items()}
    two, kept_two = step(net, start, points, half)
    assert torch.equal(one, two)
    for name in kept_one:
        assert torch.equal(kept_one[name], kept_two[name]), name
    if half:  # where the last bit of a moment moves the rounding of an operand
        return
    torch.testing.assert_close(one, alone, rtol=1e-5, atol=1e-5)
    for name in kept_one:
        torch.testing.assert_close(kept_one[name], kept_alone[name], rtol=1e-3, atol=1e-4, msg=name)


@pytest.mark.usefixtures("training_kernels")
def test_two_forward_passes_before_their_backward_passes() -> None:
    start, net = weights(WIDTHS[0]), TrainPointNet(WIDTHS[0])
    batches = [patches_of(4, 6, seed) for seed in (3, 4)]
    expected = []
    for points in batches:
        net.load_state_dict(start.state_dict())
        net.zero_grad()
        net(points).square().sum().backward()
        expected.append({k: p.grad.clone() for k, p in net.named_parameters() if p.grad is not None})
    net.load_state_dict(start.state_dict())
    outs = [net(points) for points in batches]
    for out, one in zip(outs, expected, strict=True):
        net.zero_grad()
        out.square().sum().backward()
        for name, parameter in net.named_parameters():
            assert torch.equal(parameter.grad, one[name]), name


@pytest.mark.usefixtures("training_kernels")
def test_a_second_backward_pass_is_refused() -> None:
    out = TrainPointNet(WIDTHS[0])(patches_of(2, 4)).sum()
    out.backward(retain_graph=True)
    with pytest.raises(RuntimeError, match="runs once"):
        out.backward()


def test_what_the_kernels_do_not_take(monkeypatch: pytest.MonkeyPatch) -> None:
    points, odd, good = torch.zeros(2, 4, 3), torch.zeros(2, 3, 3), (32, 64, 96, 32)
    assert train_embed.backend(False, (32, 64, 48, 32), points) == "reference"
    assert train_embed.backend(False, good, odd) == "reference"
    assert train_embed.backend(False, good, points.double()) == "reference"
    assert train_embed.backend(False, good, points, torch.zeros(3).bfloat16()) == "reference"
    assert train_embed.backend(False, good, points[:0]) == "reference"
    assert train_embed.backend(False, good, points.clone().requires_grad_()) == "reference"
    with torch.autocast("cpu", torch.float16):
        assert train_embed.backend(True, good, points) == "reference"
    monkeypatch.setattr(_C, "isa", lambda: "generic")
    assert train_embed.backend(False, good, points) == "reference"
    monkeypatch.setenv("PA3D_BACKEND", "native")
    with pytest.raises(ValueError, match="multiples of 32, not 32, 64, 48, 32"):
        train_embed.backend(False, (32, 64, 48, 32), points)
    with pytest.raises(ValueError, match="even number of points per patch, not 3"):
        train_embed.backend(False, good, odd)
    monkeypatch.setattr(_C, "supports", lambda _: False)
    with pytest.raises(ValueError, match="no bf16"):
        train_embed.backend(True, good, points)


def test_points_that_want_a_gradient_get_it() -> None:
    points = patches_of(3, 6).requires_grad_()
    TrainPointNet(WIDTHS[0])(points).square().sum().backward()
    assert points.grad is not None and points.grad.abs().sum() > 0


def test_calls_out_of_order_are_refused() -> None:
    kernel, vector = _C.EmbedTrainer("fp32"), torch.zeros(32).numpy()
    with pytest.raises(ValueError, match="in this order"):
        kernel.finish(vector, vector)
    with pytest.raises(ValueError, match="in this order"):
        kernel.backward_sums(vector)


def test_arrays_of_a_wrong_size_are_refused() -> None:
    floats = torch.zeros(32, 32).numpy()
    vector = torch.zeros(32).numpy()
    kernel = _C.EmbedTrainer("fp32")
    with pytest.raises(ValueError, match="w3_max: expected 1024 values, got 32"):
        kernel.moments(
            torch.zeros(1, 2, 3).numpy(), torch.zeros(32, 3).numpy(), vector, floats, floats, vector, floats, vector
        )
    with pytest.raises(ValueError, match="multiple of 2, got 3"):
        kernel.moments(
            torch.zeros(1, 3, 3).numpy(), torch.zeros(32, 3).numpy(), vector, floats, floats, floats, floats, vector
        )
    with pytest.raises(ValueError, match="expected fp32 or bf16, got int8"):
        _C.EmbedTrainer("int8")


def test_two_threads_never_get_one_object() -> None:
    """Threads that acquire and release at once: no object is handed out twice, and none is lost."""
    made: list[object] = []

    def make(precision: str) -> object:
        made.append(object())
        return made[-1]

    pool, in_use, twice = Pool(make), set[int](), list[int]()

    def work() -> None:
        for _ in range(2000):
            pooled = pool.acquire(False)
            if id(pooled.object) in in_use:
                twice.append(id(pooled.object))
            in_use.add(id(pooled.object))
            in_use.discard(id(pooled.object))
            pool.release(pooled)

    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    sys.setswitchinterval(before)
    assert not twice and len(pool) == len(made) <= 4
    pool.clear()
    assert len(pool) == 0
