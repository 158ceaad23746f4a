"""The ONNX graph in onnxruntime against pa3d: centres equal, features within 1e-4, labels equal."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from clouds import KINDS, cloud
from numpy.typing import NDArray
from official import official_state
from tiny import TINY, random_checkpoint

from pa3d.checkpoint import OFFICIAL_SPACE, OFFICIAL_TEMPERATURE, Checkpoint, load
from pa3d.config import EncoderConfig
from pa3d.onnx_export import build_model
from pa3d.segment import Segmenter

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")

FEATURE_TOLERANCE = 1e-4
LABELS_EQUAL = 0.999
NAMES = ["seat", "back", "leg", "arm"]
Floats = NDArray[np.float32]


def session(model: Any) -> Any:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    data = str(model) if isinstance(model, Path) else model.SerializeToString()
    return onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])


def run(model: Any, **inputs: Any) -> dict[str, NDArray[Any]]:
    opened = model if hasattr(model, "get_outputs") else session(model)
    return dict(zip((output.name for output in opened.get_outputs()), opened.run(None, inputs), strict=True))


def unit_rows(count: int, dim: int, seed: int = 5) -> Floats:
    rows = np.random.default_rng(seed).standard_normal((count, dim))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def official_checkpoint() -> Checkpoint:
    """The published architecture with random weights."""
    state = official_state()
    tensors = {name: value for part in state.values() for name, value in part.items()}
    tensors = {name: value for name, value in tensors.items() if not name.endswith("num_batches_tracked")}
    return Checkpoint(EncoderConfig(), tensors, OFFICIAL_SPACE, OFFICIAL_TEMPERATURE, name="official")


@dataclass
class Pair:
    """A graph with scores and the segmenter that it was exported from."""

    graph: Any
    segmenter: Segmenter
    vectors: Floats

    def check(self, points: Floats, up: str = "y") -> None:
        out = run(self.graph, points=points, text_vectors=self.vectors)
        encoded = self.segmenter.encode(points, up=up)
        shown = self.segmenter.segment(points, NAMES, text_vectors=self.vectors, sample=None, up=up)
        assert np.array_equal(out["centers"], encoded.centers)
        assert np.abs(out["features"] - encoded.features).max() <= FEATURE_TOLERANCE
        assert (out["labels"] == shown.labels).mean() >= LABELS_EQUAL
        assert np.abs(out["scores"] - shown.scores).max() < 1e-3 and out["labels"].dtype == np.int32


@cache
def pair(kind: str) -> Pair:
    checkpoint = {
        "embedded": load,
        "official": official_checkpoint,
        "tiny": lambda: random_checkpoint(TINY),
    }[kind]()
    segmenter = Segmenter(checkpoint, precision="fp32", threads=1)
    graph = session(build_model(checkpoint, scores=True))
    return Pair(graph, segmenter, unit_rows(len(NAMES), checkpoint.config.text_dim))


def fifty_clouds() -> Iterator[tuple[str, Floats]]:
    """Of 500 to 20,000 points: five kinds in six sizes, and some of them moved, scaled, stretched or already normal."""
    sizes = (500, 777, 2048, 5000, 8192, 20000)
    for kind in KINDS:
        for n in sizes:
            yield f"{kind} {n}", cloud(kind, n)
    for n, kind in zip((500, 2048, 6000, 20000), KINDS, strict=False):
        base = cloud(kind, n, seed=1)
        yield f"far away {kind} {n}", base + np.float32([1e4, -3e3, 5])
        yield f"tiny {kind} {n}", base * np.float32(1e-20)
        yield f"huge {kind} {n}", base * np.float32(1e18)
        yield f"flat {kind} {n}", base * np.float32([1, 1e-3, 1])
    grid = np.stack(np.meshgrid(*[np.arange(12)] * 3, indexing="ij"), -1).reshape(-1, 3).astype(np.float32)
    yield "integer grid", grid
    yield "centred grid", (grid - 5.5) / np.float32(5.5 * 3**0.5)  # is normalised already, up to rounding
    sphere = np.random.default_rng(3).standard_normal((3000, 3))
    sphere /= np.linalg.norm(sphere, axis=1, keepdims=True)
    yield "normalised sphere", np.concatenate([sphere, -sphere]).astype(np.float32)
    yield "two clusters", np.concatenate([cloud("random", 600), cloud("random", 600, 2) + np.float32(1e3)])


def test_there_are_fifty() -> None:
    clouds = dict(fifty_clouds())
    assert len(clouds) == 50 and all(500 <= len(points) <= 20000 for points in clouds.values())
    assert all(points.dtype == np.float32 for points in clouds.values())


@pytest.mark.slow
@pytest.mark.parametrize("architecture", ["embedded", "official"])
def test_fifty_clouds(architecture: str) -> None:
    for name, points in fifty_clouds():
        try:
            pair(architecture).check(points)
        except AssertionError as error:
            raise AssertionError(f"{name}: {error}") from error


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("n", [50, 700])
def test_a_few_clouds(kind: str, n: int) -> None:
    pair("tiny").check(cloud(kind, n))


@pytest.mark.parametrize("n", [2, 3, 31, 32, 33, 127, 128, 129])
def test_clouds_smaller_than_the_patches(n: int) -> None:
    pair("tiny").check(cloud("random", n))
