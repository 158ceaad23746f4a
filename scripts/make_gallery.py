"""Write docs/gallery.md and its pictures: shapes the model was not trained on, truth beside prediction.

    python scripts/make_gallery.py --shards SHARDS --shared SHARED --sources FOLDER ... [--model FILE]

Twenty shapes come from harvested folders and have categories that no training record has. Twenty have categories that
the model was trained on: new seeds of the generators, and real shapes of the evaluation folders. --shards are the
training records: they decide which categories count as seen. The choice depends on --seed and on the content of the
folders, not on the results. This takes a few minutes.
"""

from __future__ import annotations

import argparse
import io
import json
import re
import tarfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pa3d.atomic import atomic_write
from pa3d.colors import part_colors
from pa3d.data.creatures import CREATURES
from pa3d.data.harvest import harvest_with_rigs
from pa3d.data.parts import PartMesh
from pa3d.data.procedural import CATEGORIES
from pa3d.data.synth import categories, draw_mesh
from pa3d.errors import InputError
from pa3d.evaluate import metrics
from pa3d.evaluate.datasets import Dataset, LabelledShape, open_dataset
from pa3d.evaluate.methods import Majority, SegmenterMethod
from pa3d.evaluate.pages import side_by_side
from pa3d.evaluate.protocols import PreparedShape, prepare, resolve
from pa3d.evaluate.score import count_confusion, predict
from pa3d.shape import Shape

COUNT = 20
MIN_SURFACE = 0.3  # named share of a harvested shape; less than for training, because unnamed surface is not counted
# Words in file names that show a known category under another word: makes of cars and motorcycles, plants, a person,
# the scene of a dog.
SEEN_ANYWAY = {
    "chevrolet",
    "couch",
    "ficus",
    "humanoid",
    "maple",
    "peugeot",
    "rowboat",
    "scene",
    "sedan",
    "suv",
    "yamaha",
}
COLUMNS, PICTURE, PITCH, LINES = 4, (440, 184), 13, 6
INK, FADED, RULE = "#1F2328", "#6B7280", "#E5E7EB"
EVALUATION = (
    ("faust", "eval/faust", None),
    ("npz", "eval/partnet_objects", None),
    ("npz", "eval/partnet_chairs", None),
    ("shapenetpart", "eval/shapenetpart", "test"),
)

HEAD = """# Gallery

Shapes the model was not trained on. They were chosen at random with a fixed seed, and none was left out. Left: truth.
Right: zero-shot prediction with all part names of the shape and no category. The number is the mean IoU over present
parts in percent, protocol `pa3d` (10,000 surface points); the IoU of each part stands beside its name. "majority"
labels the whole shape with its largest part."""
TEXTS = {
    "never": """## Categories the model never saw

No training record and no generator has a word of these categories. The truth is what the shape's author named; surface
without a name is grey and not counted. The candidates are all shapes of the harvested folders whose file name has no
word of a known category. After a first choice, other words for known categories (couch, sedan, ficus) were added to the
list; a few known ones that remain (a mannequin, a futon, a flat television) were kept. The part names are the authors',
and some are doubtful (a robot's "wrist" for a whole hand).""",
    "seen": """## Categories it was trained on

New seeds of the generators, and real shapes of the evaluation sets, which are never used for training.""",
}


@dataclass
class Row:
    """A shape of the gallery: its case, predicted class of every point, IoU of each part, mean IoU of the majority."""

    shape: LabelledShape
    origin: str
    case: PreparedShape
    predicted: np.ndarray
    ious: list[float | None]
    majority: float

    @property
    def miou(self) -> float:
        return float(np.mean([iou for iou in self.ious if iou is not None]))


def words(text: str) -> set[str]:
    return {word.rstrip("s") for word in re.findall(r"[a-z]+", text.lower()) if len(word) > 2}


def seen_words(shards: Iterable[Path]) -> set[str]:
    """The words of all categories of the training records and of the generators."""
    found = set().union(*(words(name) for name in (*CATEGORIES, *CREATURES)))
    found |= set().union(*(words(name) for kind in CREATURES.values() for name in kind.categories)) | SEEN_ANYWAY
    for shard in sorted(path for folder in shards for path in folder.rglob("*.tar")):
        with tarfile.open(shard) as tar:
            for member in tar:
                stream = tar.extractfile(member) if member.name.endswith(".json") else None
                if stream is not None:
                    found |= words(json.load(stream).get("category", ""))
    return found


def never_seen(sources: list[Path], seen: set[str]) -> Iterator[tuple[LabelledShape, str]]:
    """Harvested shapes whose category has no word in common with the seen ones, one per category and set of parts."""
    met: set[tuple[str, ...]] = set()
    for found in harvest_with_rigs(sources, min_surface=MIN_SURFACE):
        mesh = found.mesh
        kind = (mesh.category, *sorted(names[0] for names in mesh.parts))
        if words(mesh.category) and not words(mesh.category) & seen and kind not in met:
            met.add(kind)
            yield labelled(mesh), mesh.source


def seen(shared: Path | None, rng: np.random.Generator) -> Iterator[tuple[LabelledShape, str]]:
    """Half from the generators, with seeds that training does not use; half from the evaluation folders."""
    real = [
        (shape, f"{name}, {Path(folder).name}")
        for name, folder, split in EVALUATION
        if shared is not None and (shared / "data" / folder).is_dir()
        for shape in evaluation(name, shared / "data" / folder, split)
    ]
    chosen = [real[i] for i in sorted(rng.choice(len(real), min(COUNT // 2, len(real)), replace=False))]
    names = [*categories().objects, *categories().creatures]
    for name in rng.choice(names, COUNT - len(chosen), replace=False):
        yield labelled(draw_mesh(str(name), int(rng.integers(10**6, 2 * 10**6)))), "procedural, unseen seed"
    yield from chosen


def evaluation(name: str, folder: Path, split: str | None) -> Iterator[LabelledShape]:
    dataset: Dataset = open_dataset(name, folder, split=split)
    for index in range(len(dataset)):
        yield dataset.load(index)


def labelled(mesh: PartMesh) -> LabelledShape:
    """A record with one label per face: the finest name of its part."""
    names = sorted({names[0] for names in mesh.parts})
    number = np.array([names.index(words[0]) for words in mesh.parts] + [-1], np.int32)
    used, faces = np.unique(mesh.faces, return_inverse=True)
    shape = Shape(mesh.vertices[used], faces.reshape(-1, 3).astype(np.int32), name=mesh.id)
    return LabelledShape(mesh.id, mesh.category, shape.validate(), number[mesh.face_parts], names, "")


def rows(shapes: Iterable[tuple[LabelledShape, str]], method: SegmenterMethod) -> list[Row]:
    protocol = resolve("pa3d", "npz")
    out = []
    for shape, origin in shapes:
        case = prepare(shape, protocol, None)  # type: ignore[arg-type]  # without a dataset, only the shape's own names are offered
        found, majority = (predict(m, case) for m in (method, Majority()))
        ious, most = (metrics.part_ious(count_confusion(case, p, protocol), protocol.absent) for p in (found, majority))
        known = [None if np.isnan(iou) else float(iou) for iou in ious]
        out.append(Row(shape, origin, case, found.predicted, known, float(np.nanmean(most))))
    return out


def sheet(rows: list[Row]) -> bytes:
    from PIL import Image, ImageDraw

    width, height = PICTURE[0] + 8, 24 + PICTURE[1] + LINES * PITCH + 10
    canvas = Image.new("RGB", (COLUMNS * width, -(-len(rows) // COLUMNS) * height), "white")
    draw = ImageDraw.Draw(canvas)
    for i, row in enumerate(rows):
        x, y = i % COLUMNS * width, i // COLUMNS * height
        draw.rectangle([x, y, x + width - 1, y + height - 1], outline=RULE)
        title, figure = f"{row.shape.category}  ({row.shape.id})"[:52], f"{100 * row.miou:.0f}"
        draw.text((x + 6, y + 5), title, INK, font(13))
        draw.text((x + width - 8 - draw.textlength(figure, font(15)), y + 4), figure, INK, font(15))
        both = Image.open(io.BytesIO(side_by_side(row.case, row.predicted)))
        tile = both.width // 4  # truth from two sides, then the prediction from two sides
        for column in (0, 1):
            view = both.crop((2 * column * tile, 0, (2 * column + 1) * tile, both.height))
            scale = min(PICTURE[0] / 2 / view.width, PICTURE[1] / view.height)
            view = view.resize((int(view.width * scale), int(view.height * scale)), Image.Resampling.LANCZOS)
            left = x + 4 + column * PICTURE[0] // 2 + (PICTURE[0] // 2 - view.width) // 2
            canvas.paste(view, (left, y + 22 + (PICTURE[1] - view.height) // 2))
        for column, text in enumerate(("truth", "prediction")):
            draw.text((x + 8 + column * PICTURE[0] // 2, y + 22), text, FADED, font(10))
        legend(draw, row, x + 6, y + 26 + PICTURE[1], width - 12)
    out = io.BytesIO()
    canvas.quantize(160, dither=Image.Dither.NONE).save(out, "PNG", optimize=True)
    return out.getvalue()


def legend(draw, row: Row, x: int, y: int, width: int) -> None:
    """Swatch, name and IoU of every present part, the largest first, in three columns."""
    counts = np.bincount(row.case.truth[row.case.truth >= 0], minlength=len(row.case.classes))
    colors = part_colors(len(row.case.classes))
    order = [int(i) for i in np.argsort(-counts, kind="stable") if row.ious[i] is not None]
    for place, i in enumerate(order[: 3 * LINES]):
        at = x + place // LINES * width // 3, y + place % LINES * PITCH
        draw.rectangle([at[0], at[1] + 2, at[0] + 8, at[1] + 10], fill=colors[i])
        draw.text((at[0] + 12, at[1]), f"{row.case.classes[i][:17]} {100 * (row.ious[i] or 0):.0f}", INK, font(10))


def font(size: int):
    from PIL import ImageFont

    return ImageFont.load_default(size)


def page(groups: dict[str, list[Row]], model: str, seed: int) -> str:
    lines = [HEAD, "", f"Model {model}, seed {seed}. Written by `python scripts/make_gallery.py`."]
    for name, found in groups.items():
        mean, most = np.mean([row.miou for row in found]), np.mean([row.majority for row in found])
        lines += ["", TEXTS[name], "", f"Mean of {len(found)}: **{100 * mean:.1f}** (majority {100 * most:.1f}).", ""]
        lines += [f"![Truth and prediction of {len(found)} shapes](gallery-{name}.png)", ""]
        lines += ["| category | shape | from | mIoU | majority | IoU by part |", "|---|---|---|---|---|---|"]
        for row in found:
            pairs = zip(row.case.classes, row.ious, strict=True)
            parts = ", ".join(f"{part} {100 * iou:.0f}" for part, iou in pairs if iou is not None)
            shape = f"{row.shape.category} | {row.shape.id} | {row.origin}"
            lines.append(f"| {shape} | {100 * row.miou:.0f} | {100 * row.majority:.0f} | {parts} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shards", type=Path, nargs="+", required=True, help="folders of the training records")
    parser.add_argument(
        "--sources", type=Path, nargs="+", required=True, help="folders of shapes with names by their authors"
    )
    parser.add_argument("--shared", type=Path, help="folder that holds data/eval")
    parser.add_argument("--model", type=Path, help="a checkpoint instead of the embedded one")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("docs"))
    args = parser.parse_args()
    rng = np.random.default_rng(args.seed)
    pool = list(never_seen(args.sources, seen_words(args.shards)))
    if not pool:
        raise InputError("--sources: no shape of a category that the model was not trained on; add other folders")
    picked = [pool[i] for i in sorted(rng.choice(len(pool), min(COUNT, len(pool)), replace=False))]
    print(f"{len(pool)} shapes of unseen categories, {len(picked)} of them chosen", flush=True)
    method = SegmenterMethod(args.model)
    groups = {"never": rows(picked, method), "seen": rows(seen(args.shared, rng), method)}
    model = method.segmenter.checkpoint.name
    for name, found in groups.items():
        with atomic_write(args.out / f"gallery-{name}.png") as file:
            file.write(sheet(found))
        print(f"{name}: {100 * np.mean([row.miou for row in found]):.1f}", flush=True)
    with atomic_write(args.out / "gallery.md", "w") as file:
        file.write(page(groups, model, args.seed))


if __name__ == "__main__":
    main()
