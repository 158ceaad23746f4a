"""Point Transformer V3 (Wu et al., CVPR 2024, arXiv 2312.10035) as Find3D uses it, in plain torch, for one shape.

Voxels are put in order along four space-filling curves: the Z curve and the Hilbert curve, each also with x and y
exchanged. A block attends within runs of 1,024 voxels along one of the curves; the last run, if it is shorter, is
filled with the end of the one before it. Before that, a convolution over the 3 x 3 x 3 voxels around each adds what is
near (submanifold: only where there is a voxel). Between stages, the voxels of a cube of 2 x 2 x 2 become one, by the
maximum; the decoder goes back and adds what the encoder had. Published runs use CUDA libraries for the convolution and
the attention; here the convolution gathers the neighbours from a sorted list of voxels, one offset after another.

Modules and parameters have the names and shapes of the published checkpoint of Find3D (tests/data/find3d_layout.json).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pa3d.errors import InputError

CURVES = 4  # z, z with x and y exchanged, hilbert, hilbert with x and y exchanged


@dataclass(frozen=True)
class Ptv3Config:
    """Blocks, channels and heads by stage, of the encoder and the decoder; run: voxels that attend to each other."""

    inputs: int = 6
    depths: tuple[int, ...] = (2, 2, 2, 6, 2)
    channels: tuple[int, ...] = (32, 64, 128, 256, 512)
    heads: tuple[int, ...] = (2, 4, 8, 16, 32)
    decoder_depths: tuple[int, ...] = (2, 2, 2, 2)
    decoder_channels: tuple[int, ...] = (64, 64, 128, 256)
    decoder_heads: tuple[int, ...] = (4, 4, 8, 16)
    run: int = 1024
    mlp: int = 4
    outputs: int = 768


@dataclass
class Voxels:
    """Voxels of a stage: grid (N, 3) int64, not negative and no two equal; codes (4, N), their places along the curves
    of `bits` bits for each axis; features (N, C)."""

    grid: Tensor
    codes: Tensor
    bits: int
    features: Tensor
    _near: dict[int, list[tuple[Tensor, Tensor]]] = field(default_factory=dict)

    def order(self, curve: int) -> Tensor:  # (N,)
        return self.codes[curve].argsort()

    def neighbors(self, size: int) -> list[tuple[Tensor, Tensor]]:
        """For each offset of a cube of size^3, which voxels have a neighbour there, and which one it is."""
        if size not in self._near:
            reach = size // 2
            side = int(self.grid.max()) + 1 + 2 * reach
            weight = torch.tensor([side * side, side, 1])
            keys, at = ((self.grid + reach) @ weight).sort()
            near = []
            steps = torch.arange(-reach, reach + 1)
            for offset in torch.cartesian_prod(steps, steps, steps) @ weight:
                wanted = keys + offset
                place = torch.searchsorted(keys, wanted).clamp(max=len(keys) - 1)
                found = keys[place] == wanted
                near.append((at[found], at[place[found]]))
            self._near[size] = near
        return self._near[size]


def make_voxels(grid: Tensor, features: Tensor, permutation: Tensor | None = None) -> Voxels:
    """Voxels with their codes. permutation (4,): which curve takes the place of which."""
    bits = max(int(grid.max()).bit_length(), 1)
    swapped = grid[:, [1, 0, 2]]
    codes = torch.stack(
        [z_code(grid, bits), z_code(swapped, bits), hilbert_code(grid, bits), hilbert_code(swapped, bits)]
    )
    return Voxels(grid, codes if permutation is None else codes[permutation], bits, features)


def z_code(grid: Tensor, bits: int) -> Tensor:  # (N, 3) -> (N,)
    """Bits of x, y and z in turn, from the highest; x goes first."""
    code = torch.zeros_like(grid[:, 0])
    for bit in range(bits):
        for axis in range(3):
            code |= ((grid[:, axis] >> bit) & 1) << (3 * bit + 2 - axis)
    return code


def hilbert_code(grid: Tensor, bits: int) -> Tensor:  # (N, 3) -> (N,)
    """The place along Hilbert's curve, by Skilling's algorithm ("Programming the Hilbert curve", AIP 2004)."""
    axes = [grid[:, axis].clone() for axis in range(3)]
    for bit in range(bits - 1, 0, -1):
        lower = (1 << bit) - 1
        for axis in range(3):
            on = (axes[axis] >> bit) & 1 == 1
            exchange = torch.where(on, 0, (axes[0] ^ axes[axis]) & lower)
            axes[0] = torch.where(on, axes[0] ^ lower, axes[0] ^ exchange)
            axes[axis] = axes[axis] ^ exchange if axis else axes[0]
    code = z_code(torch.stack(axes, 1), bits)
    shift = 1
    while shift < 3 * bits:  # from a Gray code to a number
        code ^= code >> shift
        shift *= 2
    return code


class SubmanifoldConv(nn.Module):
    """A convolution whose outputs are where the inputs are. weight: (out, k, k, k, in), as spconv keeps it."""

    def __init__(self, inputs: int, outputs: int, size: int, bias: bool) -> None:
        super().__init__()
        self.size = size
        self.weight = nn.Parameter(torch.empty(outputs, size, size, size, inputs))
        self.bias = nn.Parameter(torch.zeros(outputs)) if bias else None
        nn.init.normal_(self.weight, std=(inputs * size**3) ** -0.5)

    def forward(self, features: Tensor, voxels: Voxels) -> Tensor:  # (N, in) -> (N, out)
        weight = self.weight.flatten(1, 3)  # (out, k^3, in)
        out = (
            features.new_zeros(len(features), len(weight)) if self.bias is None else self.bias.repeat(len(features), 1)
        )
        for i, (to, start) in enumerate(voxels.neighbors(self.size)):
            if len(to):
                out.index_add_(0, to, features[start] @ weight[:, i].T)
        return out


class Attention(nn.Module):
    def __init__(self, channels: int, heads: int, run: int) -> None:
        super().__init__()
        self.heads, self.run = heads, run
        self.qkv = nn.Linear(channels, 3 * channels)
        self.proj = nn.Linear(channels, channels)

    def forward(self, x: Tensor, order: Tensor) -> Tensor:  # (N, C)
        n = len(x)
        qkv = self.qkv(x)[order].unflatten(1, (3, self.heads, -1))  # (N, 3, H, D)
        out = torch.empty_like(x)
        for start in range(0, n, self.run):
            rows = torch.arange(start, min(start + self.run, n))
            own = len(rows)
            if start and own < self.run:
                rows = torch.cat([rows, torch.arange(start - self.run + own, start)])
            q, k, v = qkv[rows].permute(1, 2, 0, 3)  # (H, run, D) each
            mixed = F.scaled_dot_product_attention(q[None, :, :own], k[None], v[None])[0]
            out[order[start : start + own]] = mixed.transpose(0, 1).flatten(1)
        return self.proj(out)


class Mlp(nn.Module):
    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(channels, hidden), nn.Linear(hidden, channels)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(F.gelu(self.fc1(x)))


class Block(nn.Module):
    def __init__(self, channels: int, heads: int, config: Ptv3Config, curve: int) -> None:
        super().__init__()
        self.curve = curve
        self.cpe = nn.ModuleList(
            [SubmanifoldConv(channels, channels, 3, True), nn.Linear(channels, channels), nn.LayerNorm(channels)]
        )
        self.norm1 = nn.ModuleList([nn.LayerNorm(channels)])
        self.attn = Attention(channels, heads, config.run)
        self.norm2 = nn.ModuleList([nn.LayerNorm(channels)])
        self.mlp = nn.ModuleList([Mlp(channels, config.mlp * channels)])

    def forward(self, voxels: Voxels) -> Voxels:
        conv, linear, norm = self.cpe
        x = voxels.features
        x = x + norm(linear(conv(x, voxels)))
        x = x + self.attn(self.norm1[0](x), voxels.order(self.curve))
        voxels.features = x + self.mlp[0](self.norm2[0](x))
        return voxels


def _batch_norm(channels: int) -> nn.BatchNorm1d:
    return nn.BatchNorm1d(channels, eps=1e-3, momentum=0.01)


class Down(nn.Module):
    """The voxels of each cube of 2 x 2 x 2 become one: the maximum."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.proj = nn.Linear(inputs, outputs)
        self.norm = nn.ModuleList([_batch_norm(outputs)])

    def forward(self, voxels: Voxels, permutation: Tensor | None) -> tuple[Voxels, Tensor]:
        """The coarser voxels, and which of them each voxel lies in (N,)."""
        step = 1 if voxels.bits > 0 else 0
        codes = voxels.codes >> (3 * step)
        _, cube = codes[0].unique(return_inverse=True)
        count = int(cube.max()) + 1
        first = torch.full((count,), len(cube)).scatter_reduce_(0, cube, torch.arange(len(cube)), "amin")
        x = self.proj(voxels.features)
        pooled = x.new_full((count, x.shape[1]), -torch.inf)
        pooled = pooled.scatter_reduce_(0, cube[:, None].expand_as(x), x, "amax")
        coarse = Voxels(voxels.grid[first] >> step, codes[:, first], voxels.bits - step, F.gelu(self.norm[0](pooled)))
        if permutation is not None:
            coarse.codes = coarse.codes[permutation]
        return coarse, cube


class Up(nn.Module):
    def __init__(self, inputs: int, skip: int, outputs: int) -> None:
        super().__init__()
        self.proj = nn.ModuleList([nn.Linear(inputs, outputs), _batch_norm(outputs)])
        self.proj_skip = nn.ModuleList([nn.Linear(skip, outputs), _batch_norm(outputs)])

    def forward(self, coarse: Voxels, fine: Voxels, cube: Tensor) -> Voxels:
        linear, norm = self.proj
        below = F.gelu(norm(linear(coarse.features)))
        linear, norm = self.proj_skip
        fine.features = F.gelu(norm(linear(fine.features))) + below[cube]
        return fine


class Stem(nn.Module):
    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.stem = nn.ModuleDict({"conv": SubmanifoldConv(inputs, outputs, 5, False), "norm": _batch_norm(outputs)})

    def forward(self, voxels: Voxels) -> Voxels:
        voxels.features = F.gelu(self.stem["norm"](self.stem["conv"](voxels.features, voxels)))
        return voxels


class PointTransformerV3(nn.Module):
    """The encoder and the decoder; evaluation only."""

    def __init__(self, config: Ptv3Config) -> None:
        super().__init__()
        c = config
        self.embedding = Stem(c.inputs, c.channels[0])
        self.enc, self.dec = nn.ModuleDict(), nn.ModuleDict()
        for s, (depth, channels, heads) in enumerate(zip(c.depths, c.channels, c.heads, strict=True)):
            stage = nn.ModuleDict({"down": Down(c.channels[s - 1], channels)} if s else {})
            stage.update({f"block{i}": Block(channels, heads, c, i % CURVES) for i in range(depth)})
            self.enc[f"enc{s}"] = stage
        widths = (*c.decoder_channels, c.channels[-1])
        for s in reversed(range(len(c.depths) - 1)):
            stage = nn.ModuleDict({"up": Up(widths[s + 1], c.channels[s], widths[s])})
            heads = c.decoder_heads[s]
            stage.update({f"block{i}": Block(widths[s], heads, c, i % CURVES) for i in range(c.decoder_depths[s])})
            self.dec[f"dec{s}"] = stage

    def forward(self, grid: Tensor, features: Tensor, shuffle: torch.Generator | None = None) -> Tensor:
        """Features (N, C) of voxels: grid (N, 3) int64, features (N, inputs). shuffle: exchanges the curves."""

        def permutation() -> Tensor | None:
            return None if shuffle is None else torch.randperm(CURVES, generator=shuffle)

        voxels = self.embedding(make_voxels(grid, features, permutation()))
        finer: list[tuple[Voxels, Tensor]] = []
        for stage in self.enc.values():
            assert isinstance(stage, nn.ModuleDict)
            for name, module in stage.items():
                if name == "down":
                    coarse, cube = module(voxels, permutation())
                    finer.append((voxels, cube))
                    voxels = coarse
                else:
                    voxels = module(voxels)
        for stage in self.dec.values():
            assert isinstance(stage, nn.ModuleDict)
            for name, module in stage.items():
                voxels = module(voxels, *finer.pop()) if name == "up" else module(voxels)
        return voxels.features


class Find3DNetwork(nn.Module):
    """The network with Find3D's head: features in the space of texts, not of unit length."""

    def __init__(self, config: Ptv3Config | None = None) -> None:
        super().__init__()
        config = config or Ptv3Config()
        width = config.decoder_channels[0]
        self.extractor = PointTransformerV3(config)
        self.ln_logit_scale = nn.Parameter(torch.tensor(1 / 0.07).log())
        self.fc1, self.fc2, self.fc3 = (nn.Linear(width, width) for _ in range(3))
        self.fc4 = nn.Linear(width, config.outputs)

    def forward(self, grid: Tensor, features: Tensor, shuffle: torch.Generator | None = None) -> Tensor:
        x = self.extractor(grid, features, shuffle)
        for layer in (self.fc1, self.fc2, self.fc3):
            x = F.relu(layer(x))
        return self.fc4(x)


def load_find3d(weights: str | Path | nn.Module | None) -> tuple[Any, str]:
    """Find3D's network from a file, one that is loaded already, or "random"; and its name for reports.

    Raises InputError when there are no weights, or those of another network.
    """
    from pa3d.methods.networks.clip import file_digest
    from pa3d.multiview.backbones import read_weights

    if weights is None:
        raise InputError(
            "no weights of Find3D; fetch them once with `hf download ziqima/find3d-checkpt0 model.safetensors` and "
            "give the file: --weights model=FILE"
        )
    if not isinstance(weights, str | Path):
        return weights, getattr(weights, "name", type(weights).__name__)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = Find3DNetwork().eval()
    if str(weights) == "random":
        return network, "Find3D, random weights"
    state = read_weights(weights)
    expected = {name: tuple(value.shape) for name, value in network.state_dict().items()}
    for name, value in state.items():
        # Before version 2, spconv kept (k, k, k, in, out).
        if value.ndim == 5 and value.shape[0] == value.shape[1] and tuple(value.shape) != expected.get(name):
            state[name] = value.permute(4, 0, 1, 2, 3).contiguous()
    found = {name: tuple(value.shape) for name, value in state.items()}
    if found != expected:
        odd = sorted(name for name in expected.keys() | found.keys() if expected.get(name) != found.get(name))
        raise InputError(f"{weights}: not the weights of Find3D; unexpected, missing or of another shape: {odd[0]}")
    network.load_state_dict(state)
    return network, f"Find3D, {file_digest(weights)}"
