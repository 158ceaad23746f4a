from __future__ import annotations

import pytest
import torch
from torch import Tensor

from kernels import knn as module
from pa3d.ops import knn_reference


def equal(queries: Tensor, points: Tensor, k: int) -> None:
    index, distance = module.knn(queries, points, k)
    expected, squared = knn_reference(queries, points, k)
    assert torch.equal(index, expected)
    assert torch.equal(distance, squared)


def test_by_hand():
    points = torch.tensor([[[0.0, 0, 0], [3, 0, 0], [0, 1, 0], [0, 0, -1]]])
    index, distance = module.knn(torch.tensor([[[0.0, 0, 0]]]), points, 3)
    assert index.tolist() == [[[0, 2, 3]]]  # the two at distance 1: the lower index first
    assert distance.tolist() == [[[0.0, 1.0, 1.0]]]


@pytest.mark.parametrize("n", [1, 15, 31, 32, 33, 127, 128, 129, 2048])
@pytest.mark.parametrize("batch", [1, 3])
def test_equals_reference(n: int, batch: int):
    torch.manual_seed(n)
    equal(torch.randn(batch, 3, 3), torch.randn(batch, n, 3), min(n, 4))


def test_twenty_thousand_points():
    torch.manual_seed(0)
    equal(torch.randn(1, 2, 3), torch.randn(1, 20_000, 3), 4)


@pytest.mark.parametrize("k", [1, 2, 31, 33, 128])
def test_k(k: int):
    torch.manual_seed(k)
    equal(torch.randn(1, 3, 3), torch.randn(1, 129, 3), k)


@pytest.mark.parametrize("config", module.CONFIGS, ids=str)
def test_every_configuration(config, use_config):
    use_config(module.kernel, config)
    torch.manual_seed(1)
    equal(torch.randn(2, 5, 3), torch.randn(2, 300, 3), 10)


def test_misaligned_points():
    torch.manual_seed(3)
    room = torch.randn(1 + 3 * 33 * 3)
    equal(room[1 : 1 + 3 * 5 * 3].view(3, 5, 3), room[1:].view(3, 33, 3), 7)


def test_ties_go_to_the_lowest_index():
    """A lattice and its copy: every distance occurs many times."""
    axis = torch.arange(4.0)
    lattice = torch.cartesian_prod(axis, axis, axis)
    points = torch.cat([lattice, lattice])[None].contiguous()
    equal(points[:, ::31].contiguous(), points, 24)


def test_products_are_not_fused():
    """Coordinates whose squares do not fit a float: a fused multiply-add would order some of them otherwise."""
    torch.manual_seed(2)
    turn = torch.linspace(0, 6.28, 256)
    circle = torch.stack([turn.cos(), turn.sin(), torch.zeros(256)], -1) * 1.1
    equal(torch.zeros(1, 1, 3), circle[None].contiguous(), 128)


def test_overflowing_distances_keep_their_order():
    points = torch.tensor([[[3e38, 0, 0], [1.0, 0, 0], [-3e38, 0, 0]]])
    equal(torch.zeros(1, 1, 3), points, 3)


def test_errors_by_name():
    points, queries = torch.zeros(1, 4, 3), torch.zeros(1, 2, 3)
    with pytest.raises(ValueError, match=r"k: expected 1..4 \(the number of points, at most 128\), got 5"):
        module.knn(queries, points, 5)
    with pytest.raises(TypeError, match="points: expected float32, got float64"):
        module.knn(queries, points.double(), 1)
    with pytest.raises(ValueError, match=r"queries: expected shape \(1, Q, 3\), got \(2, 2, 3\)"):
        module.knn(queries.repeat(2, 1, 1), points, 1)
    with pytest.raises(ValueError, match="points: expected a contiguous tensor"):
        module.knn(queries, torch.zeros(1, 3, 4).transpose(1, 2), 1)
    with pytest.raises(ValueError, match="queries: expected no empty axis"):
        module.knn(torch.zeros(1, 0, 3), points, 1)
    with pytest.raises(TypeError, match="queries: expected a torch tensor, got list"):
        module.knn([[0, 0, 0]], points, 1)
    with pytest.raises(ValueError, match="points: expected a tensor on cpu, got one on meta"):
        module.knn(queries, points.to("meta"), 1)
