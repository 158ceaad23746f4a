"""What an index keeps of a shape: one vector of the whole, and one of each of its regions."""

from __future__ import annotations

import hashlib
import os
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pa3d.errors import InputError
from pa3d.frames import UP_AXES
from pa3d.inputs import check_nan
from pa3d.io import load
from pa3d.part_tree import PartTree
from pa3d.segment import Segmenter
from pa3d.session import OpenShape

REGIONS = 32  # into which a shape is divided; docs/search.md compares other numbers


class ShapeVectors(NamedTuple):
    """whole (D,) float16: a unit vector. parts (REGIONS, D) int8: the vector of each region, scaled so that its largest
    number is 127; zero where the shape has fewer regions. shares (REGIONS,) float16: of the surface or points."""

    whole: NDArray[np.float16]
    parts: NDArray[np.int8]
    shares: NDArray[np.float16]


@dataclass(frozen=True)
class EmbedOptions:
    """How files are read and sampled; see pa3d.io.load and Segmenter.open. The same for all shapes of an index."""

    up: str | None = None
    nan: str = "skip"
    columns: str | None = None
    sample: int | None = 2048
    seed: int = 0

    def __post_init__(self) -> None:
        """Raises InputError for options that no file could be read with."""
        if self.up is not None and self.up not in UP_AXES:
            raise InputError(f"up is {self.up!r}; expected {', '.join(UP_AXES)}, or None: the axis of the file")
        check_nan(self.nan)

    def open(self, segmenter: Segmenter, file: str | os.PathLike[str]) -> OpenShape:
        """Raises InputError for a file that cannot be read."""
        shape = load(file, up=self.up, nan=self.nan, columns=self.columns)
        return segmenter.open(shape, sample=self.sample, seed=self.seed, nan=self.nan)


def embed_shape(shape: OpenShape) -> ShapeVectors:
    """Raises InputError for a shape that cannot be encoded, or a model without a shape head."""
    whole = shape.embedding.astype(np.float16)
    vectors, shares = region_vectors(shape.tree)
    parts = np.zeros((REGIONS, vectors.shape[1]), np.int8)
    largest = np.maximum(np.abs(vectors).max(axis=1, keepdims=True), 1e-30)
    parts[: len(vectors)] = np.rint(vectors * (127 / largest))
    padded = np.zeros(REGIONS, np.float16)
    padded[: len(shares)] = shares
    return ShapeVectors(whole, parts, padded)


def region_vectors(
    tree: PartTree, count: int = REGIONS
) -> tuple[NDArray[np.float32], NDArray[np.float64]]:  # (R, D), (R,)
    """Unit vectors of the regions of a cut, and their shares. Region r is tree.cut(count=count) == r."""
    labels = tree.cut(count=count)
    of_leaf = np.zeros(tree.tree.num_leaves, np.int64)
    of_leaf[tree.tree.leaf] = labels
    weights = np.maximum(tree.weights, 1e-30)  # a region without area has a vector, too
    shares = np.bincount(of_leaf, weights)
    sums = np.zeros((len(shares), tree.features.shape[1]))
    np.add.at(sums, of_leaf, tree.features * weights[:, None])
    vectors = sums / np.maximum(np.linalg.norm(sums, axis=1, keepdims=True), 1e-300)
    return vectors.astype(np.float32), shares / shares.sum()


def index_facts(segmenter: Segmenter, options: EmbedOptions) -> dict[str, Any]:
    """What all vectors of an index depend on. Vectors of two models cannot be compared."""
    checkpoint = segmenter.checkpoint
    digest = hashlib.sha256((checkpoint.sha256() + segmenter.shape_head().sha256()).encode()).hexdigest()
    model = {"name": checkpoint.name, "sha256": digest, "text_space": checkpoint.text_space}
    return {
        "model": model,
        "options": {**asdict(options), "patches": segmenter.config.patches},
        "regions": REGIONS,
        "dim": segmenter.config.text_dim,
    }
