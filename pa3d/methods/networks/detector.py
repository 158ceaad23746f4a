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
    """caption_of: joins phrases to a caption, from which `detect` tells them apart again. name: for reports."""

    name: str

    def detect(self, image: NDArray[np.uint8], caption: str) -> Boxes: ...  # (H, W, 3)


class TransformersDetector:
    """A grounding detector of the library transformers, from a folder with its model and processor.

    The caption is "phrase. phrase. ..." or one phrase. A box belongs to the phrase with the largest probability over
    its tokens, and this is its score, as in GLIP.
    """

    def __init__(self, model: Any, processor: Any, name: str, *, shorter_side: int = 800) -> None:
        self.model, self.processor, self.name = model.eval(), processor, name
        self.shorter_side = shorter_side

    def detect(self, image: NDArray[np.uint8], caption: str) -> Boxes:
        import torch

        phrases = [phrase.strip() for phrase in caption.replace(" . ", ".").split(".") if phrase.strip()]
        text = ". ".join(phrases).lower() + "."
        size = {"shortest_edge": self.shorter_side, "longest_edge": 10 * self.shorter_side}
        inputs = self.processor(images=image, text=text, return_tensors="pt", size=size)
        spans = phrase_spans(text)
        with torch.inference_mode():
            out = self.model(**inputs)
        probability = out.logits[0].sigmoid().numpy()  # (queries, tokens)
        of_token = token_phrases(self.processor.tokenizer, inputs["input_ids"][0].tolist(), spans)
        scores = np.stack(
            [probability[:, : len(of_token)][:, of_token == p].max(axis=1, initial=0.0) for p in range(len(spans))],
            axis=1,
        )
        center_x, center_y, width, height = out.pred_boxes[0].numpy().astype(np.float64).T
        rows, columns = image.shape[:2]
        boxes = np.stack(
            [
                (center_x - width / 2) * columns,
                (center_y - height / 2) * rows,
                (center_x + width / 2) * columns,
                (center_y + height / 2) * rows,
            ],
            axis=1,
        )
        best = scores.argmax(axis=1)
        return Boxes(boxes, scores[np.arange(len(best)), best], best)


def phrase_spans(text: str) -> list[tuple[int, int]]:
    """The characters (first, end) of each phrase in "phrase. phrase."."""
    spans, start = [], 0
    for end, ch in enumerate(text):
        if ch == ".":
            first = start + len(text[start:end]) - len(text[start:end].lstrip())
            spans.append((first, end))
            start = end + 1
    return spans


def token_phrases(tokenizer: Any, ids: Sequence[int], spans: Sequence[tuple[int, int]]) -> NDArray[np.int64]:
    """The phrase of each token, -1 for points and special tokens: a point ends a phrase."""
    point = tokenizer.convert_tokens_to_ids(".")
    special = set(tokenizer.all_special_ids)
    out, phrase = [], 0
    for token in ids:
        if token == point:
            out.append(-1)
            phrase += 1
        else:
            out.append(-1 if token in special or phrase >= len(spans) else phrase)
    return np.array(out, np.int64)


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
    from pa3d.methods._common import require

    transformers = require("transformers", "a detector")
    try:
        processor = transformers.AutoProcessor.from_pretrained(folder, local_files_only=True)
        model = transformers.AutoModelForZeroShotObjectDetection.from_pretrained(folder, local_files_only=True)
    except Exception as error:  # many readers, each with errors of its own
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise InputError(f"detector {folder}: cannot be loaded ({reason})") from error
    return TransformersDetector(model, processor, f"{type(model).__name__}, {folder.name}")
