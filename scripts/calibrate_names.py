"""Adds to a checkpoint what it needs for dirty clouds, for names and for presence; run it after training.

    python scripts/calibrate_names.py pa3d/weights/pa3d-embedded.safetensors

All shapes are drawn by pa3d.data.procedural and pa3d.data.creatures, by seeds that no training uses. It writes

    outliers   the factor of pa3d.ops.find_outliers
    bank       features of ROWS patches of these shapes, in int8
    lexicon    the names of pa3d.data.paraphrases and their paraphrases, without those that nearly equal another one
    kinds      the table of pa3d.categories as vectors; only for a checkpoint with a shape head
    presence   the calibration of Segmentation.presence, fitted to names that shapes of the families of
               pa3d.data.procedural.everyday have, and to names that they do not have; parts count as not found below
               the presence that 95 % of the names of parts exceed

and prints the area under the curve of present against absent names on these families. Use --families all for weights
that were trained on the families of `everyday`: then the seeds alone are new.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pa3d import _C
from pa3d.categories import categories
from pa3d.checkpoint import Checkpoint, Kinds, Lexicon, PresenceFit, load, save
from pa3d.data.creatures import CREATURES, synthesize_creature
from pa3d.data.paraphrases import load_paraphrases
from pa3d.data.procedural import CATEGORIES, everyday, synthesize
from pa3d.known_names import KnownNames
from pa3d.propose import category_vectors
from pa3d.segment import Segmenter
from pa3d.segmentation import PatchFeatures
from pa3d.text import clean_name

FIRST_SEED = 90_000  # the corpora use seeds below 5,000 and from 100,000 on, check_held_out.py those from 20,000 on
OUTLIERS = 3.0
ROWS = 2560
MIN_SHARE = 0.005  # of the points: smaller parts may have no patch of their own
MAX_COSINE = 0.5  # between a name of a shape and one that counts as absent
MAX_ABSENT = 12
QUESTIONS = 4  # a shape
SAME_TEXT = 0.85  # cosine of paraphrases of a name, of which one is enough
# Of what is expected of a shape, beside the odds of its patches. A fit to drawn shapes would trust it more than it
# deserves on others, because the shape head has seen their families.
WEIGHT = 1.5
MISSED = 0.05  # share of the names of parts that count as not found


@dataclass
class Drawn:
    """A shape's category, the names of its parts, and its patches."""

    category: str
    names: list[str]
    patches: PatchFeatures


def draw(segmenter: Segmenter, each: int) -> list[Drawn]:
    """`each` shapes of every family and of every kind of creature."""
    rng = np.random.default_rng(FIRST_SEED)
    seeds = range(FIRST_SEED, FIRST_SEED + each)
    clouds = [synthesize(category, seed).sample(4096, rng) for category in sorted(CATEGORIES) for seed in seeds]
    clouds += [synthesize_creature(kind, seed, 4096) for kind in sorted(CREATURES) for seed in seeds]
    drawn = []
    for cloud in clouds:
        large = cloud.masks.mean(axis=1) > MIN_SHARE
        names = dict.fromkeys(clean_name(name) for name, is_large in zip(cloud.names, large, strict=True) if is_large)
        drawn.append(Drawn(cloud.category, list(names), segmenter.encode(cloud.points, sample=2048)))
    return drawn


def int8_rows(rows: NDArray[np.float32]) -> NDArray[np.int8]:
    """Each row scaled so that its largest number is 127."""
    return np.rint(127 * rows / np.abs(rows).max(axis=1, keepdims=True)).astype(np.int8)


def make_lexicon(segmenter: Segmenter) -> Lexicon:
    """The vectors of all names and of their paraphrases, and which name each means.

    A text that is a paraphrase of several names means the first. Left out are the paraphrases that are close to one of
    the same name, so that the file stays small.
    """
    table = load_paraphrases()
    meaning: dict[str, tuple[str, str]] = {}  # letters of a text -> the text, and the name that it means
    for name in sorted(table):
        meaning.setdefault(_letters(name), (name, name))
    for name in sorted(table):
        for text in table[name]:
            meaning.setdefault(_letters(text), (text, meaning[_letters(name)][1]))
    texts, means = zip(*sorted(meaning.values(), key=lambda pair: (pair[1], pair[0] != pair[1])), strict=True)
    vectors = np.concatenate([segmenter.embed_words(list(texts[i : i + 500])) for i in range(0, len(texts), 500)])
    kept: list[int] = []
    first: dict[str, int] = {}  # name -> its number among the kept ones
    of_name: list[int] = []  # the texts kept of the current name
    for i, name in enumerate(means):
        if name not in first:
            first[name], of_name = len(kept), []
        if not of_name or (vectors[of_name] @ vectors[i]).max() < SAME_TEXT:
            of_name.append(i)
            kept.append(i)
    return Lexicon(int8_rows(vectors[kept]), np.array([first[means[i]] for i in kept], np.int32))


def _letters(text: str) -> str:
    """What of a text the text encoder tells apart at least."""
    return "".join(c for c in text.lower() if c.isalnum())


def make_kinds(segmenter: Segmenter) -> Kinds:
    """The table of pa3d.categories: vectors of the kinds, and of their parts, read through the lexicon."""
    table = categories()
    parts = sorted({part for category in table for part in category.parts})
    number = {part: i for i, part in enumerate(parts)}
    has = [(kind, number[part]) for kind, category in enumerate(table) for part in category.parts]
    vectors = segmenter.embed_words(parts)
    lexicon = segmenter.checkpoint.lexicon
    known = vectors if lexicon is None else _C.read_through_lexicon(*lexicon, vectors)[0]
    return Kinds(int8_rows(category_vectors(segmenter)), int8_rows(known), np.array(has, np.int32))


def make_bank(shapes: Sequence[Drawn]) -> NDArray[np.int8]:  # (ROWS, D)
    """Random patches of the shapes."""
    features = np.concatenate([shape.patches.features for shape in shapes])
    chosen = np.random.default_rng(0).choice(len(features), min(ROWS, len(features)), replace=False)
    return int8_rows(features[np.sort(chosen)])


class AbsentNames:
    """Names of other shapes: of no shape of the category, and with no text close to that of a name of the shape."""

    def __init__(self, shapes: Sequence[Drawn], segmenter: Segmenter) -> None:
        self._names = sorted({name for shape in shapes for name in shape.names})
        self._index = {name: i for i, name in enumerate(self._names)}
        self.vectors = segmenter.embed_text(self._names)
        self._close = self.vectors @ self.vectors.T >= MAX_COSINE
        self._in_category: dict[str, set[str]] = {}
        for shape in shapes:
            self._in_category.setdefault(shape.category, set()).update(shape.names)

    def vectors_of(self, names: Sequence[str]) -> NDArray[np.float32]:
        return self.vectors[[self._index[name] for name in names]]

    def sample(self, shape: Drawn, count: int, rng: np.random.Generator) -> list[str]:
        taken = self._close[[self._index[name] for name in self._in_category[shape.category]]].any(axis=0)
        free = np.flatnonzero(~taken)
        return [self._names[i] for i in rng.choice(free, min(count, len(free)), replace=False)]


def questions(
    segmenter: Segmenter, shapes: Sequence[Drawn], absent: AbsentNames
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """For every name asked for, the logarithm of its highest odds, plus WEIGHT times what is expected of the shape, if
    there are kinds; and whether the shape has the part."""
    rng, odds, present = np.random.default_rng(1), [], []
    names_of = KnownNames(segmenter.checkpoint, segmenter.threads)
    for shape in shapes:
        for number in range(QUESTIONS):
            count = int(rng.integers(1, len(shape.names) + 1)) if number % 2 else len(shape.names)
            names = [str(name) for name in rng.permutation(shape.names)[:count]]
            names += absent.sample(shape, int(rng.integers(0, MAX_ABSENT + 1)), rng)
            vectors = np.ascontiguousarray(absent.vectors_of(names))
            logits = segmenter.patch_logits(shape.patches, vectors)
            expected = names_of.expectation(shape.patches, vectors)
            small = 0.1  # so that none is 0 or 1
            probability = _C.presence(logits, small, 0.0, small * WEIGHT, expected).astype(np.float64)
            odds.append(np.log(probability / (1 - probability)) / small)
            present.append(np.arange(len(names)) < count)
    return np.concatenate(odds), np.concatenate(present)


def fit_presence(odds: NDArray[np.float64], present: NDArray[np.bool_], kinds: bool) -> PresenceFit:
    """A logistic regression that counts present and absent names the same. kinds: whether `odds` contain what is
    expected."""
    x = np.stack([odds, np.ones_like(odds)], axis=1)
    weight = np.where(present, 0.5 / present.mean(), 0.5 / (1 - present.mean()))
    beta = np.zeros(2)
    for _ in range(50):  # Newton's method
        p = 1 / (1 + np.exp(-x @ beta))
        hessian = (x * (weight * p * (1 - p))[:, None]).T @ x + 1e-9 * np.eye(2)
        beta += np.linalg.solve(hessian, x.T @ (weight * (present - p)))
    lowest = np.quantile(1 / (1 + np.exp(-x[present] @ beta)), MISSED)
    return PresenceFit(*(round(float(value), 6) for value in (*beta, lowest, WEIGHT * beta[0] if kinds else 0)))


def area_under_curve(score: NDArray[np.float64], present: NDArray[np.bool_]) -> float:
    """How often a present name scores higher than an absent one; ties count half."""
    high, low = score[present][:, None], score[~present][None]
    return float((high > low).mean() + 0.5 * (high == low).mean())


def calibrate(checkpoint: Checkpoint, each: int, families: str) -> tuple[Checkpoint, float]:
    """The checkpoint with what this script adds; and the area under the curve of present against absent names."""
    checkpoint = replace(checkpoint, outliers=OUTLIERS, bank=None, presence=None, lexicon=None, kinds=None)
    segmenter = Segmenter(checkpoint, precision="fp32")
    shapes = draw(segmenter, each)
    checkpoint = replace(checkpoint, bank=make_bank(shapes), lexicon=make_lexicon(segmenter))
    segmenter = Segmenter(checkpoint, precision="fp32")
    if checkpoint.shape_head is not None:
        checkpoint = replace(checkpoint, kinds=make_kinds(segmenter))
        segmenter = Segmenter(checkpoint, precision="fp32")
    absent = AbsentNames(shapes, segmenter)
    own = {name for name, family in CATEGORIES.items() if family.draw.__module__ == everyday.__name__}
    asked = [shape for shape in shapes if families == "all" or shape.category in own]
    answers = questions(segmenter, asked, absent)
    fit = fit_presence(*answers, checkpoint.kinds is not None)
    return replace(checkpoint, presence=fit), area_under_curve(*answers)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("-o", "--out", type=Path, help="where to write; the checkpoint itself if left out")
    parser.add_argument("--each", type=int, default=2, help="shapes of every family")
    parser.add_argument(
        "--families", choices=("everyday", "all"), default="everyday", help="what presence is fitted to"
    )
    args = parser.parse_args()
    checkpoint, area = calibrate(load(args.checkpoint), args.each, args.families)
    save(args.out or args.checkpoint, checkpoint, half=True)
    assert checkpoint.bank is not None and checkpoint.lexicon is not None
    print(f"bank {checkpoint.bank.shape}, lexicon {checkpoint.lexicon.rows.shape}")
    kinds = checkpoint.kinds
    print("no shape head, so no kinds" if kinds is None else f"kinds {kinds.rows.shape}, parts {kinds.parts.shape}")
    print(f"presence {checkpoint.presence}, present against absent names {area:.3f}")


if __name__ == "__main__":
    main()
