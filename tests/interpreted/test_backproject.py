from __future__ import annotations

import pytest
import torch
from torch import Tensor

from kernels import backproject as module

MODES = list(module.TAPS)


def views(v: int, grid: tuple[int, int], image: tuple[int, int], c: int, points: int) -> tuple[Tensor, Tensor]:
    torch.manual_seed(v + c + points)
    pixels = torch.randint(0, points, (v, *image))
    pixels[torch.rand(pixels.shape) < 0.8] = -1
    return torch.randn(v, *grid, c), pixels


def check(tokens: Tensor, pixels: Tensor, points: int, mode: str, close) -> None:
    total, count = module.backproject(tokens, pixels, points, mode)
    plain, expected = module.backproject_reference(tokens.float(), pixels, points, mode)
    exact, _ = module.backproject_reference(tokens.double(), pixels, points, mode)
    assert torch.equal(count, expected)
    close(total, plain, exact)


def test_by_hand():
    """One row of two tokens, doubled: bilinear weights are 1, 3/4, 1/4, 0."""
    tokens, pixels = torch.tensor([[[[0.0], [8.0]]]]), torch.tensor([[[0, 0, 1, -1]]])
    total, count = module.backproject(tokens, pixels, 3, "bilinear")
    assert total.tolist() == [[2.0], [6.0], [0.0]]
    assert count.tolist() == [2, 1, 0]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("c", [1, 15, 31, 32, 33, 127, 128, 129])
def test_widths(c: int, mode: str, close):
    check(*views(1, (3, 4), (9, 10), c, 6), 6, mode, close)


@pytest.mark.parametrize("points", [1, 15, 31, 33, 127, 129, 2048])
def test_numbers_of_points(points: int, close):
    check(*views(3, (3, 4), (9, 10), 2, points), points, "nearest", close)


def test_misaligned_tokens():
    tokens, pixels = views(1, (3, 4), (9, 10), 15, 6)
    room = torch.empty(tokens.numel() + 1)
    room[1:] = tokens.flatten()
    found, expected = (module.backproject(x, pixels, 6)[0] for x in (room[1:].view_as(tokens), tokens))
    assert torch.equal(found, expected)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("grid, image", [((1, 1), (5, 3)), ((7, 5), (7, 5)), ((5, 9), (4, 3)), ((3, 2), (16, 33))])
def test_grids_and_images(grid: tuple[int, int], image: tuple[int, int], mode: str, close):
    check(*views(3, grid, image, 4, 11), 11, mode, close)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_16_bit_tokens(dtype: torch.dtype, close):
    tokens, pixels = views(2, (4, 4), (12, 12), 33, 9)
    check(tokens.to(dtype), pixels, 9, "bicubic", close)


@pytest.mark.parametrize("config", module.CONFIGS, ids=str)
def test_every_configuration(config, use_config, close):
    use_config(module.kernel, config)
    check(*views(2, (4, 5), (14, 15), 70, 5), 5, "bicubic", close)


def test_constant_tokens_come_back():
    """Weights sum to one: every pixel adds the constant."""
    _, pixels = views(2, (3, 3), (10, 10), 2, 4)
    total, count = module.backproject(torch.full((2, 3, 3, 2), 1.5), pixels.int(), 4)
    assert torch.allclose(total, 1.5 * count[:, None].float(), rtol=1e-6)


def test_points_beyond_the_last_are_skipped():
    tokens, pixels = torch.ones(1, 2, 2, 1), torch.tensor([[[5, 0], [2, -7]]])
    total, count = module.backproject(tokens, pixels, 2, "nearest")
    assert total.tolist() == [[1.0], [0.0]] and count.tolist() == [1, 0]


def test_errors_by_name():
    tokens, pixels = torch.zeros(1, 2, 2, 1), torch.zeros(1, 4, 4, dtype=torch.int64)
    with pytest.raises(ValueError, match="mode: expected one of nearest, bilinear, bicubic, got 'area'"):
        module.backproject(tokens, pixels, 1, "area")
    with pytest.raises(ValueError, match=r"point_of_pixel: expected shape \(1, H, W\), got \(2, 4, 4\)"):
        module.backproject(tokens, pixels.repeat(2, 1, 1), 1)
    with pytest.raises(TypeError, match="point_of_pixel: expected int64 or int32, got float32"):
        module.backproject(tokens, pixels.float(), 1)
    with pytest.raises(ValueError, match="n_points: expected at least 1, got 0"):
        module.backproject(tokens, pixels, 0)
