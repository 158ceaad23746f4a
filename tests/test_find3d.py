"""Find3D: its preprocessing by hand, and Point Transformer V3 against dense computations of one block."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch.nn import functional as F

from pa3d.errors import InputError
from pa3d.evaluate.protocols import PROTOCOLS
from pa3d.methods import load_method
from pa3d.methods.find3d import FORMS, Find3D, Find3DOptions, boxed, one_per_voxel, to_model_axes
from pa3d.methods.networks.ptv3 import (
    Attention,
    Block,
    Down,
    Find3DNetwork,
    Ptv3Config,
    SubmanifoldConv,
    hilbert_code,
    load_find3d,
    make_voxels,
    z_code,
)
from pa3d.methods.networks.siglip import RandomText, SiglipText, load_siglip
from pa3d.profiling import Stopwatch
from pa3d.shape import Shape

Array = np.ndarray
TINY = Ptv3Config(
    depths=(1, 1, 1), channels=(8, 16, 32), heads=(1, 2, 4), decoder_depths=(1, 1), decoder_channels=(8, 16),
    decoder_heads=(1, 2), run=16, outputs=768,
)  # fmt: skip


def tiny(seed: int = 0) -> Find3DNetwork:
    torch.manual_seed(seed)
    network = Find3DNetwork(TINY).eval()
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm1d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 1.5)
    return network


def voxels(n: int = 120, side: int = 9, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    rng = np.random.default_rng(seed)
    cells = np.unique(rng.integers(0, side, (3 * n, 3)), axis=0)
    grid = cells[rng.permutation(len(cells))[:n]]
    return torch.from_numpy(grid), torch.from_numpy(rng.standard_normal((n, 6)).astype(np.float32))


def test_names_and_shapes_are_those_of_the_published_checkpoint() -> None:
    layout = json.loads((Path(__file__).parent / "data" / "find3d_layout.json").read_text())
    with torch.device("meta"):
        state = Find3DNetwork().state_dict()
    assert {name: list(value.shape) for name, value in state.items()} == layout


def cube(bits: int) -> torch.Tensor:
    side = torch.arange(1 << bits)
    return torch.cartesian_prod(side, side, side)


def test_the_z_curve_by_hand() -> None:
    assert z_code(torch.tensor([[0, 0, 1], [0, 1, 0], [1, 0, 0], [2, 0, 1], [3, 3, 3]]), 2).tolist() == [
        1,
        2,
        4,
        33,
        63,
    ]


@pytest.mark.parametrize("bits", [1, 2, 3, 4])
def test_the_hilbert_curve_visits_every_cell_once_and_goes_in_steps_of_one(bits: int) -> None:
    grid = cube(bits)
    code = hilbert_code(grid, bits)
    assert sorted(code.tolist()) == list(range(8**bits))
    path = grid[code.argsort()]
    assert ((path[1:] - path[:-1]).abs().sum(1) == 1).all()
    assert path[0].tolist() == [0, 0, 0]
    # Cells of a cube of 2 x 2 x 2 follow each other, so that a coarser grid keeps the order of its cubes.
    cubes = (path >> 1).view(-1, 8, 3)
    assert (cubes == cubes[:, :1]).all()


def test_a_submanifold_convolution_equals_a_dense_one() -> None:
    grid, features = voxels()
    for size in (3, 5):
        torch.manual_seed(size)
        conv = SubmanifoldConv(6, 4, size, bias=True)
        with torch.no_grad():
            conv.bias.normal_()  # type: ignore[union-attr]
            dense = torch.zeros(1, 6, 9, 9, 9)
            dense[0, :, grid[:, 0], grid[:, 1], grid[:, 2]] = features.T
            expected = F.conv3d(dense, conv.weight.permute(0, 4, 1, 2, 3), conv.bias, padding=size // 2)
            out = conv(features, make_voxels(grid, features))
        at_voxels = expected[0, :, grid[:, 0], grid[:, 1], grid[:, 2]].T
        np.testing.assert_allclose(out.numpy(), at_voxels.numpy(), atol=1e-5)


def plain_attention(attention: Attention, x: torch.Tensor, order: torch.Tensor, run: int) -> torch.Tensor:
    """Each row by itself, over the rows of its run, in float64."""
    n, heads = len(x), attention.heads
    place = order.argsort()
    qkv = (x.double() @ attention.qkv.weight.double().T + attention.qkv.bias.double()).view(n, 3, heads, -1)
    out = []
    for i in range(n):
        start = int(place[i]) // run * run
        rows = list(range(start, min(start + run, n)))
        if start and len(rows) < run:
            rows += range(start - (run - len(rows)), start)
        q, k, v = qkv[i, 0], qkv[order[rows], 1], qkv[order[rows], 2]
        weight = torch.softmax(torch.einsum("hd,khd->hk", q, k) / q.shape[-1] ** 0.5, dim=1)
        out.append(torch.einsum("hk,khd->hd", weight, v).flatten())
    return torch.stack(out) @ attention.proj.weight.double().T + attention.proj.bias.double()


@pytest.mark.parametrize("n", [5, 16, 17, 40, 48])
def test_attention_in_runs_equals_plain_attention(n: int) -> None:
    torch.manual_seed(0)
    attention, x, order = Attention(8, 2, 16), torch.randn(n, 8), torch.randperm(n)
    with torch.no_grad():
        np.testing.assert_allclose(
            attention(x, order).numpy(), plain_attention(attention, x, order, 16).numpy(), atol=1e-5
        )


def test_one_block_equals_a_dense_computation() -> None:
    grid, _ = voxels(40)
    torch.manual_seed(1)
    block, x = Block(8, 2, replace(TINY, run=16), curve=2), torch.randn(40, 8)
    with torch.no_grad():
        out = block(make_voxels(grid, x.clone())).features
        dense = torch.zeros(1, 8, 9, 9, 9)
        dense[0, :, grid[:, 0], grid[:, 1], grid[:, 2]] = x.T
        conv, linear, norm = block.cpe
        y = F.conv3d(dense, conv.weight.permute(0, 4, 1, 2, 3), conv.bias, padding=1)
        y = y[0, :, grid[:, 0], grid[:, 1], grid[:, 2]].T
        y = x + F.layer_norm(F.linear(y, linear.weight, linear.bias), (8,), norm.weight, norm.bias)
        order = hilbert_code(grid, 4).argsort()
        z = F.layer_norm(y, (8,), block.norm1[0].weight, block.norm1[0].bias)
        y = y + plain_attention(block.attn, z, order, 16).float()
        z = F.layer_norm(y, (8,), block.norm2[0].weight, block.norm2[0].bias)
        mlp = block.mlp[0]
        y = y + F.linear(F.gelu(F.linear(z, mlp.fc1.weight, mlp.fc1.bias)), mlp.fc2.weight, mlp.fc2.bias)
    np.testing.assert_allclose(out.numpy(), y.numpy(), atol=1e-5)


def test_going_down_takes_the_maximum_of_each_cube() -> None:
    grid = torch.tensor([[0, 0, 0], [1, 1, 1], [2, 0, 1], [3, 1, 0], [2, 2, 2]])
    torch.manual_seed(0)
    down, x = Down(2, 3).eval(), torch.randn(5, 2)
    with torch.no_grad():
        coarse, cube_of = down(make_voxels(grid, x), None)
        projected = down.proj(x)
        for i, at in enumerate([[0, 0, 0], [0, 0, 0], [1, 0, 0], [1, 0, 0], [1, 1, 1]]):
            assert coarse.grid[cube_of[i]].tolist() == at
            same = [j for j in range(5) if cube_of[j] == cube_of[i]]
            expected = F.gelu(down.norm[0](projected[same].amax(0)[None]))[0]
            np.testing.assert_allclose(coarse.features[cube_of[i]].numpy(), expected.numpy(), atol=1e-6)
    assert coarse.bits == 1
    assert sorted(coarse.codes[0].tolist()) == sorted(z_code(coarse.grid, 1).tolist())


def test_the_order_of_voxels_does_not_matter() -> None:
    grid, features = voxels()
    network = tiny()
    with torch.no_grad():
        out = network(grid, features)
        order = torch.randperm(len(grid), generator=torch.Generator().manual_seed(0))
        mixed = network(grid[order], features[order])
        np.testing.assert_allclose(mixed.numpy(), out[order].numpy(), atol=1e-5)
        shuffled = network(grid, features, torch.Generator().manual_seed(1))
        again = network(grid, features, torch.Generator().manual_seed(1))
    assert (shuffled - out).abs().max() > 1e-4
    np.testing.assert_array_equal(shuffled.numpy(), again.numpy())


def test_voxels_far_apart_and_a_single_one() -> None:
    network = tiny()
    with torch.no_grad():
        for grid in ([[0, 0, 0]], [[0, 0, 0], [200, 3, 77]], [[5, 5, 5], [5, 5, 6]]):
            out = network(torch.tensor(grid), torch.ones(len(grid), 6))
            assert out.shape == (len(grid), 768)
            assert out.isfinite().all()


# ---- the method ----


def test_axes_and_shifts_by_hand() -> None:
    points = np.array([[0, 0, 0], [2, 4, 6]], np.float32)
    # -x, z, y: (0, 0, 0) and (-2, 6, 4). The middle of x is -1, of y 3; z moves by half its minimum, which is 0.
    np.testing.assert_allclose(to_model_axes(points), [[1, -3, 0], [-1, 3, 4]])
    # With a minimum of -5 it moves by 2.5.
    np.testing.assert_allclose(to_model_axes(points - np.float32([0, 5, 0]))[:, 2], [-2.5, 1.5])
    np.testing.assert_allclose(boxed(points, 0.75), [[-0.25, -0.5, -0.75], [0.25, 0.5, 0.75]])


def test_one_point_of_each_voxel() -> None:
    rng = np.random.default_rng(0)
    points = rng.random((800, 3)) * 0.2
    kept, grid = one_per_voxel(points, Find3DOptions())
    cell = np.floor(points / 0.02).astype(int)
    cell -= cell.min(axis=0)
    assert len(np.unique(kept)) == len(kept) == len(np.unique(cell, axis=0))
    np.testing.assert_array_equal(cell[kept], grid)
    drawn, _ = one_per_voxel(points, Find3DOptions(points=300))
    assert len(drawn) < 300
    # As published, 5,000 are drawn with replacement, so that nearly all of 800 are among them.
    published, _ = one_per_voxel(points, FORMS["published"])
    assert len(published) >= 0.95 * len(kept)


class Direct:
    """Features say where a voxel is: the first channel is above 0 in the upper half."""

    ln_logit_scale = torch.tensor(2.0)

    def __call__(self, grid: torch.Tensor, features: torch.Tensor, shuffle: Any) -> torch.Tensor:
        self.features = features
        out = torch.zeros(len(grid), 768)
        out[:, 0] = torch.where(grid[:, 2] * 2 >= grid[:, 2].max(), 1.0, -1.0)
        return out


class Axes:
    """The first part is along the first channel, the second against it, but half as long."""

    name = "axes"

    def text(self, texts: list[str]) -> Array:
        self.asked = texts
        vectors = np.zeros((len(texts), 768), np.float32)
        vectors[0, 0] = 1
        if len(texts) > 1:
            vectors[1, :2] = -0.5, np.sqrt(0.75)
        return vectors


def test_predictions_by_hand() -> None:
    """Logits are e^2 times 1 and -0.5 above, -1 and 0.5 below."""
    rng = np.random.default_rng(0)
    points = rng.random((3000, 3)).astype(np.float32)
    text = Axes()
    method = Find3D(FORMS["fair"], Direct(), "direct", text)
    result = method.segment(Shape(points), ["top", "bottom"], category="jar")
    assert text.asked == ["top of a jar", "bottom of a jar"]
    high = points[:, 1] > 0.5
    assert (result.labels == np.where(high, 0, 1)).mean() > 0.95
    scale = np.exp(2.0)
    upper = np.exp([scale, -scale / 2]) / np.exp([scale, -scale / 2]).sum()
    np.testing.assert_allclose(
        result.scores[points[:, 1] > 0.6], np.tile(upper, ((points[:, 1] > 0.6).sum(), 1)), atol=1e-6
    )
    # With a column of 0 and the first part alone, the lower half is none of the parts.
    method.configure(PROTOCOLS["find3d"])
    with_zero = method.segment(Shape(points), ["top"])
    assert text.asked == ["top"]
    assert set(with_zero.labels[points[:, 1] < 0.4]) == {-1}
    assert set(with_zero.labels[points[:, 1] > 0.6]) == {0}
    np.testing.assert_allclose(with_zero.scores[points[:, 1] > 0.6], np.exp(scale) / (1 + np.exp(scale)), rtol=1e-5)


def test_colours_and_normals() -> None:
    """A flat square in the plane of x and z: its normals are along y, in the axes of the shape."""
    rng = np.random.default_rng(0)
    points = np.column_stack([rng.random(500), np.zeros(500), rng.random(500)]).astype(np.float32)
    network = Direct()
    method = Find3D(FORMS["fair"], network, "direct", Axes())
    method.segment(Shape(points), ["a"])
    np.testing.assert_allclose(network.features[:, :3], 0)
    np.testing.assert_allclose(network.features[:, 4].abs(), 1, atol=1e-5)
    method.segment(Shape(points, colors=np.tile(np.array([255, 0, 51], np.uint8), (500, 1))), ["a"])
    np.testing.assert_allclose(network.features[0, :3], [1, -1, -0.6], atol=1e-6)


@pytest.mark.parametrize("form", ["fair", "published"])
def test_results_repeat_and_odd_shapes_get_labels(form: str) -> None:
    method = Find3D(FORMS[form], tiny(), "tiny", RandomText())
    points = np.random.default_rng(0).standard_normal((600, 3)).astype(np.float32)
    a, b = (method.segment(Shape(points), ["leg", "seat", "back"]) for _ in range(2))
    assert a.scores.tobytes() == b.scores.tobytes()
    assert np.ptp(a.scores, axis=0).max() > 1e-4
    for odd in (np.zeros((1, 3), np.float32), np.ones((4, 3), np.float32)):
        shape = SimpleNamespace(points=odd, up="y", colors=None, name="odd")
        labels, scores = method.label_cloud(shape, ["a", "b"], None, None, Stopwatch())  # type: ignore[arg-type]
        assert labels.shape == (len(odd),)
        assert np.isfinite(scores).all()


@pytest.mark.slow
def test_a_network_of_full_size_takes_5000_points() -> None:
    network, name = load_find3d("random")
    assert name == "Find3D, random weights"
    method = Find3D(FORMS["fair"], network, name, RandomText())
    points = np.random.default_rng(0).standard_normal((5000, 3)).astype(np.float32)
    result = method.segment(Shape(points / np.linalg.norm(points, axis=1, keepdims=True)), ["leg", "seat"])
    assert np.isfinite(result.scores).all()


# ---- weights ----


def test_weights_from_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of spconv 2 as they are, of spconv 1 with exchanged axes."""
    monkeypatch.setattr("pa3d.methods.networks.ptv3.Ptv3Config", lambda: TINY)
    network = tiny(3)
    grid, features = voxels()
    state = network.state_dict()
    old = {k: v.permute(1, 2, 3, 4, 0).contiguous() if v.ndim == 5 else v for k, v in state.items()}
    for number, content in enumerate((state, old)):
        save_file(content, tmp_path / f"{number}.safetensors")
        loaded, name = load_find3d(tmp_path / f"{number}.safetensors")
        with torch.no_grad():
            np.testing.assert_array_equal(loaded(grid, features).numpy(), network(grid, features).numpy())
        assert name.startswith("Find3D, ")
    save_file({name: value for name, value in state.items() if name != "fc1.bias"}, tmp_path / "less.safetensors")
    with pytest.raises(InputError, match=r"another shape: fc1\.bias"):
        load_find3d(tmp_path / "less.safetensors")


def test_without_weights() -> None:
    with pytest.raises(InputError, match="no weights of Find3D"):
        load_method("find3d")
    with pytest.raises(InputError, match="no text encoder"):
        load_method("find3d", {"model": tiny()})
    with pytest.raises(InputError, match=r"no config\.json"):
        load_siglip("nowhere")


def test_siglip_text_is_padded_and_of_unit_length() -> None:
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    config = transformers.SiglipTextConfig(
        vocab_size=50, hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2,
        max_position_embeddings=8, projection_size=16,
    )  # fmt: skip
    model = transformers.SiglipTextModel(config)

    def tokenizer(texts: list[str], padding: str, truncation: bool, return_tensors: str) -> dict[str, torch.Tensor]:
        assert (padding, truncation, return_tensors) == ("max_length", True, "pt")
        ids = torch.ones(1, 8, dtype=torch.long)
        ids[0, : len(texts[0].split())] = torch.tensor([2 + len(word) for word in texts[0].split()])
        return {"input_ids": ids}

    text = SiglipText(model, tokenizer, "tiny")
    both = text.text(["leg of a chair", "seat"])
    np.testing.assert_allclose(np.linalg.norm(both, axis=1), 1, atol=1e-6)
    np.testing.assert_array_equal(both[1:], text.text(["seat"]))
    with torch.inference_mode():
        ids = torch.tensor([[6, 1, 1, 1, 1, 1, 1, 1]])
        expected = model(input_ids=ids).pooler_output[0].numpy()
    np.testing.assert_allclose(both[1], expected / np.linalg.norm(expected), atol=1e-6)
