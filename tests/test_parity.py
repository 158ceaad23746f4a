"""Agreement with numbers that the method's own code computed from the same weights and clouds.

Centres are equal to the bit, embeddings and logits within the bounds of tests/official.py, and predictions
equal on 99.9 % of points.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from official import (
    CLOUDS,
    EMBEDDING_TOLERANCE,
    LOGIT_TOLERANCE,
    PREDICTIONS_EQUAL,
    layout,
    official_state,
    parity,
    save_pickle,
)

from pa3d.checkpoint import Checkpoint, convert_official
from pa3d.config import EncoderConfig
from pa3d.segment import Segmenter

torch = pytest.importorskip("torch")

Encode = Callable[[np.ndarray], tuple[np.ndarray, ...]]  # points, y up -> centers, tokens, features


@pytest.fixture(scope="module")
def converted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("official")
    pickle = save_pickle(folder / "stage2_last.pt", {**official_state(), "temp": 0.07, "args": {}, "epoch": 9})
    convert_official(pickle, folder / "official.safetensors")
    return folder / "official.safetensors"


def check(name: str, centers: np.ndarray, tokens: np.ndarray, features: np.ndarray) -> None:
    p = parity()
    assert np.array_equal(centers, p[f"{name}.centers"].T)
    assert np.abs(tokens - p[f"{name}.patch_emb"].T).max() <= EMBEDDING_TOLERANCE
    logits = features @ p["text"].T / 0.07
    assert np.abs(logits - p[f"{name}.logits"]).max() <= LOGIT_TOLERANCE
    points = p[f"{name}.points"][:, [0, 2, 1]]
    nearest = np.linalg.norm(points[:, None] - centers[None], axis=2).argmin(axis=1)
    assert (logits[nearest].argmax(axis=1) == p[f"{name}.pred"]).mean() >= PREDICTIONS_EQUAL


@pytest.mark.parametrize("name", CLOUDS)
def test_torch_module(name: str) -> None:
    from pa3d.model import Encoder

    state = official_state()
    encoder = Encoder(EncoderConfig()).eval()
    encoder.load_state_dict({k: torch.from_numpy(v) for k, v in state["model"].items()})  # strict: every name, no other
    points = torch.from_numpy(parity()[f"{name}.points"][:, [0, 2, 1]].copy())[None]
    with torch.inference_mode():
        out = encoder(points)
        projected = out.tokens[0] @ torch.from_numpy(state["proj"]["proj.weight"]).T
        projected = projected + torch.from_numpy(state["proj"]["proj.bias"])
        features = torch.nn.functional.normalize(projected, dim=-1)
    check(name, out.centers[0].numpy(), out.tokens[0].numpy(), features.numpy())


@pytest.mark.parametrize("name", CLOUDS)
def test_native_engine(isa: str, converted: Path, name: str) -> None:
    segmenter = Segmenter.from_pretrained(converted, precision="fp32")
    out = segmenter.encode(parity()[f"{name}.points"])
    check(name, out.centers, out.tokens, out.features)


@pytest.mark.parametrize("name", CLOUDS)
def test_torch_device(converted: Path, name: str) -> None:
    from pa3d.checkpoint import load
    from pa3d.torch_encoder import TorchEncoder

    out = TorchEncoder(load(converted), device="cpu")(parity()[f"{name}.points"][:, [0, 2, 1]].copy())
    check(name, out.centers, out.tokens, out.features)


@pytest.mark.parametrize("name", CLOUDS)
def test_segment_with_text_vectors(isa: str, converted: Path, name: str) -> None:
    p = parity()
    segmenter = Segmenter.from_pretrained(converted)
    parts = ["a", "b", "c", "d", "e"]
    result = segmenter.segment(p[f"{name}.points"], parts, text_vectors=p["text"], sample=None, refine=False)
    assert (result.labels == p[f"{name}.pred"]).mean() >= PREDICTIONS_EQUAL
    query = segmenter.query(segmenter.encode(p[f"{name}.points"]), parts, text_vectors=p["text"])
    expected = np.exp(p[f"{name}.logits"] - p[f"{name}.logits"].max(axis=1, keepdims=True))
    # A softmax moves by at most half of what its logits move.
    assert np.abs(query - expected / expected.sum(axis=1, keepdims=True)).max() <= LOGIT_TOLERANCE


def test_names_and_shapes_are_the_published_ones() -> None:
    from pa3d.model import PatchAligner

    aligner = PatchAligner(EncoderConfig())
    proj = {f"proj.{k}": v for k, v in aligner.proj.state_dict().items()}
    for part, state in (("model", aligner.encoder.state_dict()), ("proj", proj)):
        assert {k: tuple(v.shape) for k, v in state.items()} == dict(layout()[part])
    floats = {name: shape for part in layout().values() for name, shape in part if "num_batches" not in name}
    assert EncoderConfig().shapes() == floats
    assert sum(p.numel() for p in aligner.encoder.parameters()) == 21_858_816


@pytest.mark.parametrize("seeds", [(3, 4), (5, 6)])
def test_native_equals_torch_on_other_weights_and_clouds(isa: str, seeds: tuple[int, int]) -> None:
    from pa3d.native import NativeEncoder
    from pa3d.torch_encoder import TorchEncoder

    state = official_state(*seeds)
    tensors = {k: v for part in state.values() for k, v in part.items() if "num_batches" not in k}
    checkpoint = Checkpoint(EncoderConfig(), tensors, "none", 0.07)
    native, reference = NativeEncoder(checkpoint, "fp32"), TorchEncoder(checkpoint, device="cpu")
    rng = np.random.default_rng(seeds[0])
    for n in (700, 2048, 9000):
        points = rng.standard_normal((n, 3)).astype(np.float32) * [0.4, 0.2, 0.05]
        points = np.ascontiguousarray(points / np.linalg.norm(points, axis=1).max(), np.float32)
        a, b = native(points), reference(points)
        assert np.array_equal(a.centers, b.centers) and np.array_equal(a.members, b.members)
        assert np.abs(a.tokens - b.tokens).max() <= EMBEDDING_TOLERANCE
        assert np.abs(a.features - b.features).max() <= LOGIT_TOLERANCE * 0.07
