"""Find3D (Ma et al., "Find Any Part in 3D", 2024, arXiv 2411.13550): a network on points, trained on parts that images
name.

A cloud with colours and normals is scaled into a box, thinned to 5,000 points and then to one point in each voxel, and
Point Transformer V3 gives every voxel a feature in the space of SigLIP's texts. The logit of a part is the product of
feature and text, which is not divided by the length of the feature. A point takes the logits of the nearest point that
was kept, and the part with the largest; where the protocol has points of no part, those without a logit above 0 are
none.

"fair" draws without replacement, and the curves that put voxels in order are not exchanged at random.
"published" draws 5,000 points with replacement unless there are 5,000 exactly, and exchanges the curves at random, as
the authors' code does also after training. Both draw with a seed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pa3d.frames import apply_normalization, box_normalization
from pa3d.methods._common import CloudMethod, Labels, draw, one_torch_thread, part_prompts, pca_normals, upright
from pa3d.ops import knn
from pa3d.profiling import Stopwatch
from pa3d.shape import Shape

WEIGHTS = {
    "model": "the checkpoint ziqima/find3d-checkpt0",
    "text": "a folder with SigLIP base, google/siglip-base-patch16-224",
}


@dataclass(frozen=True)
class Find3DOptions:
    """points: how many are drawn with `seed`, with or without `replacement`. box: largest coordinate. voxel: side.
    normal_radius, normal_neighbors: of the planes that give normals, in the unit sphere.
    shuffle: exchange the curves at random. prompt, prompt_with_category: for each part.
    """

    points: int = 5000
    seed: int = 23
    replacement: bool = False
    box: float = 0.75
    voxel: float = 0.02
    normal_radius: float = 0.1
    normal_neighbors: int = 300
    shuffle: bool = False
    prompt: str = "{part}"
    prompt_with_category: str = "{part} of a {category}"


FORMS = {"fair": Find3DOptions(), "published": Find3DOptions(replacement=True, shuffle=True)}


class Find3D(CloudMethod):
    """options; the network (pa3d.methods.networks.ptv3); and a text encoder with a method `text`."""

    name = "find3d"
    gives_none = True

    def __init__(self, options: Find3DOptions, network: Any, network_name: str, text: Any) -> None:
        super().__init__(options, {"model": network_name, "text": text.name})
        self.options: Find3DOptions = options
        self.network, self.text = network, text
        self._zero_column = False

    def configure(self, protocol: Any) -> None:
        self._zero_column = protocol.unlabelled == "zero"

    def label_cloud(
        self, cloud: Shape, parts: list[str], category: str | None, truth: NDArray[np.int32] | None, clock: Stopwatch
    ) -> Labels:
        import torch

        o = self.options
        with clock("text"), one_torch_thread():
            prompts = part_prompts(parts, category, o.prompt, o.prompt_with_category)
            vectors = np.asarray(self.text.text(prompts))
        with clock("points"):
            points = boxed(upright(cloud.points, cloud.up), o.box)
            color = np.zeros((len(points), 3)) if cloud.colors is None else cloud.colors / 255.0 / 0.5 - 1
            kept, grid = one_per_voxel(to_model_axes(points), o)
            # The network was trained on normals whose axes are not those of the coordinates.
            normal = pca_normals(np.ascontiguousarray(points / o.box), o.normal_radius, o.normal_neighbors, kept)
            inputs = np.concatenate([color[kept], normal], axis=1).astype(np.float32)
        with clock("encode"), one_torch_thread():
            shuffle = torch.Generator().manual_seed(o.seed) if o.shuffle else None
            features = self.network(torch.from_numpy(grid), torch.from_numpy(inputs), shuffle).numpy()
            scale = float(self.network.ln_logit_scale.exp())
        with clock("label"):
            logits = scale * (features.astype(np.float64) @ vectors.T.astype(np.float64))
            with_zero = np.concatenate([np.zeros((len(logits), 1 if self._zero_column else 0)), logits], axis=1)
            share = np.exp(with_zero - with_zero.max(axis=1, keepdims=True))
            share /= share.sum(axis=1, keepdims=True)
            labels = share.argmax(axis=1) - (1 if self._zero_column else 0)
            scores = share[:, 1:] if self._zero_column else share
            near = knn(points, np.ascontiguousarray(points[kept]), 1)[0][:, 0]
        return labels[near].astype(np.int32), scores[near].astype(np.float32)


def boxed(points: NDArray[np.float32], box: float) -> NDArray[np.float32]:  # (N, 3)
    """Mean 0, and the largest coordinate `box`. Equal points move to 0."""
    if (points == points[:1]).all():
        return np.zeros_like(points)
    return apply_normalization(points, *box_normalization(points, box))


def to_model_axes(points: NDArray[np.float32]) -> NDArray[np.float64]:  # (N, 3)
    """Axes -x, z, y; then x and y are moved to the middle of their range, and z by half its minimum."""
    x, y, z = points.astype(np.float64).T
    turned = np.stack([-x, z, y], axis=1)
    low, high = turned.min(axis=0), turned.max(axis=0)
    high[2] = 0
    return turned - (low + high) / 2


def one_per_voxel(points: NDArray[np.float64], o: Find3DOptions) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Which points are kept, one of each voxel, ordered by voxel; and the voxels (n, 3), from 0."""
    rng = np.random.default_rng(o.seed)
    if o.replacement and len(points) != o.points:
        drawn = rng.integers(len(points), size=o.points)
    else:
        drawn = draw(len(points), o.points, o.seed)
    cell = np.floor(points[drawn] / o.voxel).astype(np.int64)
    cell -= cell.min(axis=0)
    mixed = rng.permutation(len(drawn))  # the first of a voxel in a random order is a random one of it
    grid, first = np.unique(cell[mixed], axis=0, return_index=True)
    return drawn[mixed[first]], grid


def load(options: Find3DOptions, weights: Mapping[str, Any]) -> Find3D:
    from pa3d.methods._common import require

    require("torch", "Find3D")
    from pa3d.methods.networks.ptv3 import load_find3d
    from pa3d.methods.networks.siglip import load_siglip

    return Find3D(options, *load_find3d(weights.get("model")), load_siglip(weights.get("text")))
