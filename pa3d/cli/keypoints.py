"""pa3d keypoints."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pa3d.cli.arguments import Option, echo
from pa3d.cli.options import (
    Category,
    Columns,
    Debug,
    Json,
    Model,
    Quiet,
    Sample,
    SampleSeed,
    ShapeFile,
    Up,
    part_names,
    sample_size,
)
from pa3d.cli.output import check_can_write, print_files, print_json
from pa3d.cli.progress import spinner


def keypoints(
    file: ShapeFile,
    names: Annotated[
        str | None,
        Option("--names", metavar="NAMES", help='What to find, such as "tip of the leg, seat".'),
    ] = None,
    like: Annotated[
        list[Path] | None,
        Option(
            "--like",
            metavar="JSON",
            help="An annotated shape: find the points that are like its points, instead of names. May be repeated.",
        ),
    ] = None,
    out: Annotated[
        Path | None,
        Option("-o", "--out", metavar="FOLDER", help="Where the files go.  [default: ./NAME-keypoints]"),
    ] = None,
    category: Category = None,
    count: Annotated[
        int, Option("-n", "--count", min=1, metavar="N", help="How many keypoints to find for each name.")
    ] = 1,
    up: Up = None,
    columns: Columns = None,
    sample: Sample = "2048",
    seed: SampleSeed = 0,
    model: Model = None,
    quiet: Quiet = False,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Find named points of a shape, by text or by the example of an annotated shape.

    Writes keypoints.json, which --like takes for the next shape, and keypoints.ply, the points in colours.
    """
    asked = part_names(names) if names is not None else None
    points = sample_size(sample)
    folder = out if out is not None else Path(f"{file.stem}-keypoints")
    check_can_write(folder)
    with spinner(f"looking at {file.name}", enabled=not (quiet or json)):
        from pa3d.io import load
        from pa3d.report.keypoints import write_keypoints
        from pa3d.segment import Segmenter

        segmenter = Segmenter.from_pretrained(model)
        result = segmenter.keypoints(
            load(file, up=up, columns=columns),
            asked,
            like=like or None,
            category=category,
            count=count,
            sample=points,
            up=up,
            seed=seed,
        )
        files = write_keypoints(result, folder)
    if json:
        print_json({**result.to_dict(), "settings": result.settings, "files": {k: str(v) for k, v in files.items()}})
    elif not quiet:
        width = max(len(name) for name in result.names)
        for keypoint in result.found:
            position = ", ".join(f"{value:.4g}" for value in keypoint.position)
            echo(f"{keypoint.name:<{width}}  {keypoint.score:.2f}  ({position})")
        print_files(folder, ", ".join(path.name for path in files.values()))
