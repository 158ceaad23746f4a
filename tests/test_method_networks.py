"""CLIP's patch tokens through OpenCLIP, and detectors through transformers, on small networks with random weights."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import open_clip
import pytest
import torch

from pa3d.errors import InputError
from pa3d.methods.networks import clip as clip_module
from pa3d.methods.networks.clip import Clip, load_clip
from pa3d.methods.networks.detector import TransformersDetector, load_detector, phrase_of_tokens

TINY = {
    "embed_dim": 8,
    "quick_gelu": True,
    "vision_cfg": {"image_size": 64, "layers": 2, "width": 64, "head_width": 32, "patch_size": 16},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 1},
}


@pytest.fixture()
def tiny_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    (tmp_path / "pa3d-tiny-clip.json").write_text(json.dumps(TINY))
    open_clip.add_model_config(tmp_path)
    monkeypatch.setattr(clip_module, "MODEL", "pa3d-tiny-clip")
    torch.manual_seed(0)
    return open_clip.create_model("pa3d-tiny-clip", force_quick_gelu=True).eval()


def test_every_patch_is_projected_as_the_class_token_is(tiny_model: Any) -> None:
    images = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    tokens = Clip(tiny_model, None, "tiny").tokens(images)
    assert tokens.shape == (2, 4, 4, 8)
    tiny_model.visual.output_tokens = True
    with torch.inference_mode():
        _, normed = tiny_model.visual(images)  # after the last norm, without the class token
        expected = torch.nn.functional.normalize(normed @ tiny_model.visual.proj, dim=-1)
    np.testing.assert_allclose(tokens.numpy(), expected.reshape(2, 4, 4, 8).numpy(), atol=1e-6)


def test_clip_from_a_file(tiny_model: Any, tmp_path: Path) -> None:
    torch.save(tiny_model.state_dict(), tmp_path / "clip.pt")
    loaded = load_clip(tmp_path / "clip.pt")
    assert loaded.name.startswith("pa3d-tiny-clip, ")
    images = torch.rand(1, 3, 64, 64)
    assert torch.equal(loaded.tokens(images), Clip(tiny_model, None, "tiny").tokens(images))
    with torch.inference_mode():
        expected = tiny_model.encode_text(open_clip.get_tokenizer("pa3d-tiny-clip")(["a seat", "a leg"]))
    both = loaded.text(["a seat", "a leg"])
    np.testing.assert_allclose(both.numpy(), torch.nn.functional.normalize(expected, dim=-1).numpy(), atol=1e-6)
    assert torch.equal(both[1:], loaded.text(["a leg"]))
    assert torch.equal(load_clip("random").tokens(images), load_clip("random").tokens(images))
    (tmp_path / "other.pt").write_bytes(b"not a checkpoint")
    with pytest.raises(InputError, match="not a checkpoint of OpenCLIP's"):
        load_clip(tmp_path / "other.pt")
    with pytest.raises(InputError, match="no such file"):
        load_clip(tmp_path / "nothing.pt")


class Words:
    """A tokenizer with one token for each word and point."""

    all_special_ids = (0, 1)

    def __init__(self) -> None:
        self.words = ["[CLS]", "[SEP]"]

    def encode(self, text: str) -> list[int]:
        tokens = text.replace(".", " .").split()
        self.words += [word for word in dict.fromkeys(tokens) if word not in self.words]
        return [0, *(self.words.index(word) for word in tokens), 1]

    def convert_ids_to_tokens(self, ids: list[int]) -> list[str]:
        return [self.words[i] for i in ids]


@pytest.mark.parametrize(
    ("text", "phrases"),
    [
        ("seat. chair leg. arm.", [-1, 0, -1, 1, 1, -1, 2, -1, -1]),
        ("the leg of a chair.", [-1, 0, 0, -1, -1, 1, -1, -1]),
        ("top of table. leg of a chair.", [-1, 0, 0, 0, -1, 1, -1, -1, 2, -1, -1]),
        ("seat.", [-1, 0, -1, -1]),
    ],
)
def test_phrases_of_tokens(text: str, phrases: list[int]) -> None:
    words = Words()
    assert phrase_of_tokens(words, words.encode(text)).tolist() == phrases


def test_boxes_and_scores_by_hand() -> None:
    """Two queries: the first likes the second phrase most, and the ground more than any phrase."""
    words = Words()
    logits = torch.full((1, 2, 256), -9.0)
    logits[0, 0, 1], logits[0, 0, 3], logits[0, 0, 2] = 0.0, 1.0, 5.0
    logits[0, 1, 1] = 2.0
    boxes = torch.tensor([[[0.5, 0.5, 0.5, 1.0], [0.25, 0.5, 0.1, 0.2]]])
    asked: dict[str, Any] = {}

    def processor(images: Any, text: str, return_tensors: str, size: dict[str, int]) -> dict[str, torch.Tensor]:
        asked.update(text=text, size=size)
        return {"input_ids": torch.tensor([words.encode(text)])}

    processor.tokenizer = words  # type: ignore[attr-defined]
    model = SimpleNamespace(eval=lambda: lambda **inputs: SimpleNamespace(logits=logits, pred_boxes=boxes))
    detector = TransformersDetector(model, processor, "scripted")
    found = detector.detect(np.zeros((100, 200, 3), np.uint8), "Seat . leg")
    assert asked == {"text": "seat. leg.", "size": {"shortest_edge": 800, "longest_edge": 8000}}
    np.testing.assert_allclose(found.boxes, [[50, 0, 150, 100], [40, 40, 60, 60]], atol=1e-4)
    np.testing.assert_allclose(found.scores, 1 / (1 + np.exp([-1.0, -2.0])), rtol=1e-6)
    assert found.phrases.tolist() == [1, 0]


@pytest.mark.slow
def test_a_grounding_dino_of_random_weights(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", ".", "?", "the", "leg", "seat", "of", "a", "chair"]
    text = transformers.BertConfig(
        vocab_size=len(vocabulary), hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16
    )
    image = transformers.SwinConfig(
        image_size=64, embed_dim=8, depths=[1, 1, 1, 1], num_heads=[1, 1, 1, 1], window_size=2,
        out_features=["stage2", "stage3", "stage4"],
    )  # fmt: skip
    config = transformers.GroundingDinoConfig(
        backbone_config=image, text_config=text, d_model=32, encoder_layers=1, decoder_layers=2, num_queries=5,
        encoder_ffn_dim=16, decoder_ffn_dim=16, encoder_attention_heads=2, decoder_attention_heads=2,
    )  # fmt: skip
    torch.manual_seed(0)
    transformers.GroundingDinoForObjectDetection(config).save_pretrained(tmp_path)
    tokenizer = transformers.BertTokenizerFast(vocab={word: i for i, word in enumerate(vocabulary)})
    transformers.GroundingDinoProcessor(transformers.GroundingDinoImageProcessor(), tokenizer).save_pretrained(tmp_path)
    detector = load_detector(tmp_path, "satr")
    assert detector is not None
    picture = np.random.default_rng(0).integers(0, 255, (64, 96, 3)).astype(np.uint8)
    first, second = (detector.detect(picture, "the leg of a chair.") for _ in range(2))
    assert first.boxes.shape == (5, 4)
    assert set(first.phrases) <= {0, 1}
    np.testing.assert_array_equal(first.boxes, second.boxes)
    assert ((first.scores >= 0) & (first.scores <= 1)).all()


def test_folders_that_hold_no_detector(tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(InputError, match="cannot be loaded"):
        load_detector(tmp_path, "satr")
