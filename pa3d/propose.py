"""Parts without asking for names: what a shape is, which parts such things have, and which of them this one has.

    result = seg.propose("bicycle.glb")
    result.part_names                     # wheel, frame, seat, handlebar, pedal
    result.settings["proposed"]           # what it was taken for, and what else it may be

The categories of pa3d.categories are ranked by the cosine of their names with the vector of the whole shape
(pa3d.shape_head). The names of the parts are those of the first. A part that may be missing is asked for if some patch
is likely to be it, and left out again if no place gets it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from pa3d import _C
from pa3d.categories import Category, categories, find_category
from pa3d.checkpoint import Checkpoint
from pa3d.errors import InputError
from pa3d.profiling import Stopwatch
from pa3d.segmentation import Segmentation
from pa3d.shape_head import TEMPERATURE

Floats = NDArray[np.float32]

# Of a part that may be missing, for it to be asked for: its probability among the parts and "none of them", at the
# patch where it is highest. This is not its presence, which counts that such things may have it.
OPTIONAL_FROM = 0.2
# Kinds of kinds, which their kinds look like, too: where a fish is as likely as an animal, it is a fish.
GENERIC, GENERIC_SHARE = ("animal",), 0.5  # their probability counts by this much in the order
LISTED = 5  # categories in settings["proposed"]


class Model(Protocol):
    """What is used of a Segmenter."""

    checkpoint: Checkpoint

    def embed_words(self, words: list[str]) -> Floats: ...


class Encoded(Protocol):
    """What is used of an OpenShape."""

    @property
    def model(self) -> Model: ...
    @property
    def embedding(self) -> Floats: ...
    def patch_logits(self, words: Sequence[str]) -> Floats: ...
    @property
    def segment(self) -> Callable[..., Segmentation]: ...


def category_vectors(model: Model) -> Floats:  # (n, D)
    """Unit vectors of the categories of the table: of each the mean of its names."""
    table = categories()
    words = [name for category in table for name in category.names]
    ends = np.cumsum([len(category.names) for category in table])
    means = np.stack([rows.mean(axis=0) for rows in np.split(model.embed_words(words), ends[:-1])])
    unit: Floats = means / np.linalg.norm(means, axis=1, keepdims=True)
    return unit


def rank_categories(shape: Encoded) -> list[tuple[Category, float]]:
    """All categories with their probabilities, the likeliest first; one that is GENERIC stands behind a kind that is at
    least half as likely."""
    table = categories()
    logits = category_vectors(shape.model) @ shape.embedding / TEMPERATURE
    odds = np.exp(logits - logits.max())
    probabilities = odds / odds.sum()
    order = probabilities * [GENERIC_SHARE if category.name in GENERIC else 1.0 for category in table]
    return [(table[i], float(probabilities[i])) for i in np.argsort(-order, kind="stable")]


def propose(shape: Encoded, category: str | None, max_parts: int | None, options: dict[str, Any]) -> Segmentation:
    """See OpenShape.propose.

    settings["proposed"] is {"category": name, "given": bool, "categories": [[name, probability], ...] (empty if the
    category was given), "left_out": [part, ...] those of the category that were not asked for}.
    """
    for name in ("category", "text_vectors"):
        if name in options:
            raise TypeError(f"propose() got an unexpected keyword argument {name!r}")
    if max_parts is not None and (isinstance(max_parts, bool) or not isinstance(max_parts, int) or max_parts < 1):
        raise InputError(f"max_parts is {max_parts!r}; expected an integer of at least 1, or None")
    clock = Stopwatch()
    with clock("propose"):
        ranked = [] if category is not None else rank_categories(shape)
        found = find_category(category) if category is not None else ranked[0][0]
        asked = _present_parts(shape, found)[:max_parts]
    result = shape.segment(asked, **options)
    occur = set(np.unique(result.element_labels).tolist())
    used = [part for i, part in enumerate(asked) if i in occur or part not in found.optional]
    if used != asked:
        asked, result = used, shape.segment(used, **options)
    result.timings = {**clock.seconds, **result.timings}
    result.settings["proposed"] = {
        "category": found.name,
        "given": category is not None,
        "categories": [[known.name, round(probability, 4)] for known, probability in ranked[:LISTED]],
        "left_out": [part for part in found.parts if part not in asked],
    }
    return result


def _present_parts(shape: Encoded, category: Category) -> list[str]:
    """The parts of a category that this shape seems to have, those that may be missing last."""
    if shape.model.checkpoint.presence is None:
        return list(category.parts)
    found = _C.presence(shape.patch_logits(category.parts), 1.0, 0.0) >= OPTIONAL_FROM
    return [
        part
        for part, there in zip(category.parts, found.tolist(), strict=True)
        if there or part not in category.optional
    ]
