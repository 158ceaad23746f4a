"""What shapes are, and finding them by words, without training on their categories.

    python scripts/evaluate_classification.py FOLDER [FOLDER ...] [--model MODEL] [--regions 8 16 32]

FOLDER: of labelled .npz shapes, as `pa3d eval npz --root` takes them. Classification: the category of a shape is among
those of pa3d.categories the first, or one of the first five, that pa3d.propose ranks; the mean over shapes. A category
that the table does not have counts as wrong, and is named on stderr. Search: each category of the folder is a query,
ranked by the cosine of its name with the vectors of whole shapes as pa3d search does; the precision among as many
shapes as the category has; the mean over categories, beside what chance gives. Parts: each part name that some of the
shapes have, but not all, is a query, ranked by the largest cosine with a region as pa3d search --part does; the average
precision, and the mean over names. Prints rows of a Markdown table.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np

from pa3d.categories import category_of
from pa3d.errors import InputError
from pa3d.evaluate.datasets import open_dataset
from pa3d.evaluate.labels import category_words
from pa3d.search.vectors import REGIONS, region_vectors
from pa3d.segment import Segmenter


def main(folders: list[Path], model: Path | None, regions: list[int]) -> None:
    segmenter = Segmenter.from_pretrained(model, precision="fp32")
    segmenter.shape_head()
    of_parts = [f"parts, {count} regions" for count in regions]
    headings = ["shapes", "first", "first five", "categories", "search", "by chance", *of_parts, "by chance"]
    print(f"| | {' | '.join(headings)} |\n|---|{'---|' * len(headings)}")
    for folder in folders:
        dataset = open_dataset("npz", folder)
        ranks, words, vectors = [], [], []
        shapes: list[tuple[set[str], list[np.ndarray]]] = []  # the names of the parts, and vectors of regions
        for index in range(len(dataset)):
            labelled = dataset.load(index)
            opened = segmenter.open(labelled.shape)
            words.append(category_words(labelled.category))
            vectors.append(opened.embedding)
            ranks.append(rank_of(words[-1], [name for name, _ in opened.categories(count=None)]))
            names = {labelled.part_names[label] for label in np.unique(labelled.labels[labelled.labels >= 0])}
            shapes.append((names, [region_vectors(opened.tree, count)[0] for count in regions]))
        unknown = sorted({word for word, rank in zip(words, ranks, strict=True) if rank is None})
        if unknown:
            print(f"{folder}: not in the table of categories: {', '.join(unknown)}", file=sys.stderr)
        first = np.mean([rank == 0 for rank in ranks])
        five = np.mean([rank is not None and rank < 5 for rank in ranks])
        values = [*precisions(segmenter, words, np.array(vectors)), *part_precisions(segmenter, shapes)]
        searched = "".join(f" {100 * value:.1f} |" if np.isfinite(value) else " - |" for value in values)
        print(
            f"| {folder.name} | {len(words)} | {100 * first:.1f} | {100 * five:.1f} | {len(set(words))} |{searched}",
            flush=True,
        )


def rank_of(category: str, ranked: list[str]) -> int | None:
    """The place of a category among those of the table, from 0; None if the table has no such thing."""
    known = category_of(category)
    return None if known is None else ranked.index(known.name)


def precisions(segmenter: Segmenter, words: list[str], vectors: np.ndarray) -> tuple[float, float]:
    """The mean over categories of the precision at the number of shapes of a category, and what chance gives.

    words: the category of each shape. vectors (n, D)."""
    found, chance = [], []
    for word in sorted(set(words)):
        right = np.array([other == word for other in words])
        order = np.argsort(-(vectors @ segmenter.embed_words([word])[0]), kind="stable")
        found.append(right[order[: right.sum()]].mean())
        chance.append(right.mean())
    return float(np.mean(found)), float(np.mean(chance))


def part_precisions(segmenter: Segmenter, shapes: list[tuple[set[str], list[np.ndarray]]]) -> list[float]:
    """The mean over part names of the average precision, for each number of regions, and what chance gives.

    NaN where all shapes have the same parts."""
    every = [name for names, _ in shapes for name in names]
    asked = sorted(name for name in set(every) if 2 <= every.count(name) < len(shapes))
    rows = []
    for name in asked:
        word = segmenter.embed_words([name])[0]
        right = np.array([name in names for names, _ in shapes])
        row = []
        for vectors in zip(*(vectors for _, vectors in shapes), strict=True):
            order = np.argsort([-float((regions @ word).max()) for regions in vectors], kind="stable")
            ranked = right[order]
            row.append(float((np.cumsum(ranked) / np.arange(1, len(ranked) + 1))[ranked].mean()))
        rows.append([*row, right.mean()])
    return np.mean(rows, axis=0).tolist() if rows else [np.nan] * (len(shapes[0][1]) + 1)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", type=Path, nargs="+", metavar="FOLDER")
    parser.add_argument("--model", type=Path, help="instead of the embedded model")
    parser.add_argument("--regions", type=int, nargs="+", default=[REGIONS], help="numbers of regions to compare")
    args = parser.parse_args()
    try:
        main(args.folders, args.model, args.regions)
    except InputError as error:
        sys.exit(f"error: {error}")
