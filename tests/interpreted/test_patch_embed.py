from __future__ import annotations

import pytest
import torch
from torch import Tensor

from kernels import patch_embed as module
from pa3d.model import MiniPointNet
from pa3d.ops import sample_and_group


def network(widths: tuple[int, int, int, int]) -> MiniPointNet:
    """Weights and running statistics far from their initial ones."""
    torch.manual_seed(sum(widths))
    net = MiniPointNet(widths)
    with torch.no_grad():
        for name, x in net.state_dict().items():
            if x.is_floating_point():
                x.copy_(torch.rand(x.shape) + 0.5 if "running_var" in name else torch.randn(x.shape) * 0.3)
    return net.eval()


def patches(batch: int, n: int, g: int, m: int) -> tuple[Tensor, Tensor, Tensor]:
    torch.manual_seed(n + g + m)
    points = torch.rand(batch, n, 3) * 2 - 1
    return (points, *sample_and_group(points, g, m))


def check(widths: tuple[int, int, int, int], cloud: tuple[Tensor, Tensor, Tensor], dtype: torch.dtype, close) -> None:
    net, (points, centers, members) = network(widths), cloud
    weights = module.fold(net, dtype)
    batch = torch.arange(len(points))
    cut = points[batch[:, None, None], members] - points[batch[:, None], centers][:, :, None]
    with torch.no_grad():
        # the same rounded weights on both sides, so that only the arithmetic is compared
        exact = module.patch_embed_reference(
            points.double(), centers, members, module.FoldedWeights(*(w.double() for w in weights))
        )
        plain = module.patch_embed_reference(*cloud, weights)
        network_says = net.double()(cut.double())
    close(module.patch_embed(*cloud, weights), plain, exact)
    assert (exact - network_says).abs().max() <= 8 * torch.finfo(dtype).eps * network_says.abs().max()


@pytest.mark.parametrize("dtype", module.HALVES, ids=str)
def test_the_published_widths(dtype: torch.dtype, close):
    check((128, 256, 512, 256), patches(1, 200, 3, 32), dtype, close)


@pytest.mark.parametrize("m", [1, 15, 31, 32, 33, 127, 128])
def test_patch_sizes(m: int, close):
    check((16, 32, 48, 16), patches(1, 150, 3, m), torch.float16, close)


@pytest.mark.parametrize("widths", [(1, 1, 1, 1), (15, 17, 33, 31), (33, 31, 65, 40)])
def test_odd_widths_in_a_batch_of_three(widths: tuple[int, int, int, int], close):
    check(widths, patches(3, 40, 5, 8), torch.float16, close)


@pytest.mark.parametrize("config", module.CONFIGS, ids=str)
def test_every_configuration(config, use_config, close):
    use_config(module.kernel, config)
    check((40, 32, 80, 24), patches(1, 60, 5, 20), torch.float16, close)


def test_errors_by_name():
    cloud, weights = patches(1, 40, 5, 8), module.fold(network((4, 8, 8, 4)), torch.float16)
    with pytest.raises(TypeError, match="w2: expected bfloat16 or float16, got float32"):
        module.patch_embed(*cloud, module.fold(network((4, 8, 8, 4)), torch.float32))
    with pytest.raises(ValueError, match=r"w3: expected shape \(W2, 16\), got \(8, 8\)"):
        module.patch_embed(*cloud, weights._replace(w3=weights.w3[:, :8].contiguous()))
    with pytest.raises(TypeError, match="members: expected int64, got int32"):
        module.patch_embed(cloud[0], cloud[1], cloud[2].int(), weights)
    with pytest.raises(ValueError, match="members: expected at most 128 points per patch, got 129"):
        module.patch_embed(cloud[0], cloud[1], torch.zeros(1, 5, 129, dtype=torch.int64), weights)
    with pytest.raises(ValueError, match="points: requires a gradient"):
        module.patch_embed(cloud[0].clone().requires_grad_(), *cloud[1:], weights)
