"""Detectors of boxes by text: Grounding DINO (Liu et al., arXiv 2303.05499) and others that transformers can run; and
boxes from true labels, in the place of a detector, which show the best that a method could reach."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from pa3d.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

TRUTH = "truth"  # in place of weights: boxes from the true labels
MIN_PIXELS = 16  # of a box from true labels


class Boxes(NamedTuple):
    """boxes (n, 4): left, top, right, bottom in pixels, where pixel c covers c to c + 1; scores (n,), 0 to 1; phrases
    (n,): for which phrase of the caption each box is, counted from 0."""

    boxes: NDArray[np.floating]
    scores: NDArray[np.floating]
    phrases: NDArray[np.integer]


class Detector(Protocol):
    """name: for reports.

    A caption is "phrase . phrase . phrase". The last may end with " of a category": the category is one more phrase.
    """

    name: str

    def detect(self, image: NDArray[np.uint8], caption: str) -> Boxes: ...  # (H, W, 3)


class TransformersDetector:
    """A grounding detector of the library transformers.

    A box belongs to the phrase that has the token with the largest probability, and this is its score, as in GLIP.
    """

    def __init__(self, model: Any, processor: Any, name: str, *, shorter_side: int = 800) -> None:
        self.model, self.processor, self.name = model.eval(), processor, name
        self.shorter_side = shorter_side

    def detect(self, image: NDArray[np.uint8], caption: str) -> Boxes:
        import torch

        text = ". ".join(phrase.strip() for phrase in caption.lower().split(".") if phrase.strip()) + "."
        size = {"shortest_edge": self.shorter_side, "longest_edge": 10 * self.shorter_side}
        inputs = self.processor(images=image, text=text, return_tensors="pt", size=size)
        phrase = phrase_of_tokens(self.processor.tokenizer, inputs["input_ids"][0].tolist())
        with torch.inference_mode():
            out = self.model(**inputs)
        probability = out.logits[0].sigmoid().numpy()[:, : len(phrase)]  # (queries, tokens)
        token = np.where(phrase >= 0, probability, -1).argmax(axis=1)
        x, y, width, height = out.pred_boxes[0].numpy().astype(np.float64).T  # shares of the image, from its centre
        corners = np.stack([x - width / 2, y - height / 2, x + width / 2, y + height / 2], axis=1)
        rows, columns = image.shape[:2]
        return Boxes(corners * [columns, rows, columns, rows], probability[np.arange(len(token)), token], phrase[token])


def phrase_of_tokens(tokenizer: Any, ids: Sequence[int]) -> NDArray[np.int64]:
    """The phrase of each token, counted from 0; -1 for points, for the "of a" before a category at the end, and for
    special tokens."""
    words = tokenizer.convert_ids_to_tokens(list(ids))
    special = set(tokenizer.all_special_ids) - {getattr(tokenizer, "unk_token_id", None)}
    points = [i for i, word in enumerate(words) if word == "."]
    last = points[-2] if len(points) > 1 else 0
    of = max((i for i in range(last, len(words) - 1) if words[i] == "of" and words[i + 1] in ("a", "an")), default=-1)
    out, phrase = np.full(len(words), -1, np.int64), 0
    for i, word in enumerate(words):
        if word == "." or i == of:
            phrase += 1
        elif ids[i] not in special and (of < 0 or i != of + 1):
            out[i] = phrase
    return out


def truth_boxes(label_of_pixel: NDArray[np.int32], part: int) -> NDArray[np.float64]:  # (H, W) -> (n, 4)
    """The boxes of a part in a view: one around each connected region (8 neighbours) of at least MIN_PIXELS pixels."""
    from pa3d.methods._common import require

    ndimage = require("scipy.ndimage", "boxes from true labels")
    regions, _ = ndimage.label(label_of_pixel == part, structure=np.ones((3, 3), int))
    sizes = np.bincount(regions.ravel())
    boxes = []
    for number, found in enumerate(ndimage.find_objects(regions), 1):
        if found is not None and sizes[number] >= MIN_PIXELS:
            rows, columns = found
            boxes.append((columns.start, rows.start, columns.stop, rows.stop))
    return np.array(boxes, np.float64).reshape(-1, 4)


def load_detector(weights: str | Path | Detector | None, for_what: str) -> Detector | None:
    """A detector from a folder that transformers wrote; None for "truth". Raises InputError."""
    if weights is None:
        raise InputError(
            f"{for_what} needs a detector; give the folder of a Grounding DINO as transformers saves it: --weights "
            "detector=FOLDER, or detector=truth for boxes from the true labels in an evaluation"
        )
    if not isinstance(weights, str | Path):
        return weights
    if str(weights) == TRUTH:
        return None
    folder = Path(weights)
    if not (folder / "config.json").is_file():
        raise InputError(
            f"detector {folder}: no config.json in it; give a folder that transformers' save_pretrained wrote"
        )
    from pa3d.methods._common import load_pretrained, require

    transformers = require("transformers", "a detector")
    kinds = transformers.AutoProcessor, transformers.AutoModelForZeroShotObjectDetection
    processor, model = load_pretrained("detector", folder, *kinds)
    return TransformersDetector(model, processor, f"{type(model).__name__}, {folder.name}")
