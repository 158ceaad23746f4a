"""pa3d keypoints. Imports nothing heavy until it runs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from pa3d.keypoints import Keypoints


def keypoints(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A mesh or a cloud.", show_default=False)],
    names: Annotated[
        str | None,
        typer.Option("--names", metavar="NAMES", help='What to find, such as "tip of the leg, seat".'),
    ] = None,
    like: Annotated[
        list[Path] | None,
        typer.Option("--like", metavar="JSON", help="An annotated shape to go by, in place of names; may be repeated."),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("-o", "--out", metavar="FOLDER", help="Where the files go.  [default: ./NAME-keypoints]"),
    ] = None,
    category: Annotated[str | None, typer.Option(metavar="WORD", help='What the object is, such as "chair".')] = None,
    count: Annotated[int, typer.Option("-n", "--count", min=1, metavar="N", help="How many of each name.")] = 1,
    up: Annotated[
        str | None,
        typer.Option(metavar="x|y|z", help="The axis of the file that points up.  [default: y]"),
    ] = None,
    sample: Annotated[
        str, typer.Option(metavar="N|all", help="How many points of the surface the encoder sees.")
    ] = "2048",
    seed: Annotated[int, typer.Option(min=0, metavar="N", help="Seed of the surface samples.")] = 0,
    model: Annotated[
        Path | None,
        typer.Option("--model", metavar="FILE", help="A .safetensors checkpoint in place of the embedded model."),
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing unless something goes wrong.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print the keypoints as JSON and nothing else.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
) -> None:
    """Find named points of a shape, by text or like those of an annotated shape.

    Writes keypoints.json, which --like takes for the next shape, and keypoints.ply, the points in colours.
    """
    from pa3d.cli import check_can_write, part_names, print_json, sample_size, spinner

    asked = part_names(names) if names is not None else None
    points = sample_size(sample)
    folder = out if out is not None else Path(f"{file.stem}-keypoints")
    check_can_write(folder)
    with spinner(f"looking at {file.name}", enabled=not (quiet or json)):
        from pa3d.segment import Segmenter

        segmenter = Segmenter.from_pretrained(model)
        result = segmenter.keypoints(
            file, asked, like=like or None, category=category, count=count, sample=points, up=up, seed=seed
        )
        files = write(result, folder)
    if json:
        print_json({**result.to_dict(), "settings": result.settings, "files": {k: str(v) for k, v in files.items()}})
    elif not quiet:
        width = max(len(name) for name in result.names)
        for found in result.found:
            place = ", ".join(f"{value:.4g}" for value in found.position)
            typer.echo(f"{found.name:<{width}}  {found.score:.2f}  ({place})")
        typer.echo(f"{folder}/: {', '.join(path.name for path in files.values())}")


def write(result: Keypoints, folder: Path) -> dict[str, Path]:
    """keypoints.json and keypoints.ply; each appears whole or not at all."""
    import json

    import numpy as np

    from pa3d.atomic import atomic_write
    from pa3d.report.files import parts_ply
    from pa3d.segment import Segmentation
    from pa3d.shape import Shape

    labels = np.array([result.names.index(found.name) for found in result.found], np.int32)
    scores = np.zeros((len(labels), len(result.names)), np.float32)
    scores[np.arange(len(labels)), labels] = [found.score for found in result.found]
    places = np.stack([found.position for found in result.found]) - result.shape.origin
    cloud = Shape(places.astype(np.float32), up=result.shape.up, name="keypoints", origin=result.shape.origin)
    about: dict[str, Any] = {**result.to_dict(), "model": result.model, "settings": result.settings}
    about["file"] = str(Path(about["file"]).absolute())
    contents = {
        "keypoints": ("keypoints.json", (json.dumps(about, indent=2, ensure_ascii=False) + "\n").encode()),
        "points": ("keypoints.ply", parts_ply(Segmentation(cloud, result.names, labels, scores))),
    }
    folder.mkdir(parents=True, exist_ok=True)
    written = {}
    for kind, (name, content) in contents.items():
        with atomic_write(folder / name) as file:
            file.write(content)
        written[kind] = folder / name
    return written
