"""pa3d prepare."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from pa3d.cli.options import Debug, Fresh, Json, Quiet
from pa3d.cli.output import print_files, print_json
from pa3d.cli.progress import progress_with_rate


def prepare(
    where: Annotated[
        Path,
        typer.Argument(
            metavar="FOLDER_OR_LIST",
            help="A folder of shapes (searched with all subfolders and archives), a folder in the official layout, "
            "a text file with one path per line, or one shape.",
            show_default=False,
        ),
    ],
    out: Annotated[
        Path, typer.Option("-o", "--out", metavar="FOLDER", help="The folder to write.", show_default=False)
    ],
    backbone: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help="The 2D network that computes features of the views, such as efficientnet-lite0 or dinov2-base. "
            "The error message for an unknown name lists all names.",
        ),
    ] = "efficientnet-lite0",
    weights: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="The weights of the backbone.  [default: those installed, or the cache of the hub]"
        ),
    ] = None,
    views: Annotated[
        str, typer.Option(metavar="N|PRESET", help="Views around the shape, or a preset such as icosahedral12.")
    ] = "10",
    size: Annotated[int, typer.Option(metavar="N", help="Width and height of a view in pixels.")] = 518,
    points: Annotated[int, typer.Option(metavar="N", help="Points drawn from each surface.")] = 8192,
    patches: Annotated[
        int,
        typer.Option(
            metavar="N", help="Patches (groups of neighbouring points) per shape; each gets a target feature."
        ),
    ] = 128,
    patch_size: Annotated[int, typer.Option(metavar="N", help="Points per patch.")] = 32,
    seed: Annotated[int, typer.Option(min=0, metavar="N", help="Random seed of the points.")] = 0,
    rules: Annotated[
        str,
        typer.Option(
            metavar="pa3d|released",
            help="How points get features. pa3d: the mean of their pixels, and of the nearest points that a view "
            "shows. released: as in PatchAlign3D's code (docs/methods.md).",
        ),
    ] = "pa3d",
    up: Annotated[str, typer.Option(metavar="AXIS", help="Which axis points up, for files that do not say.")] = "y",
    grey: Annotated[bool, typer.Option("--grey", help="Draw the views without colours and textures.")] = False,
    shard_size: Annotated[int, typer.Option(metavar="N", help="Shapes per shard.")] = 500,
    layout: Annotated[
        str, typer.Option(metavar="shards|official", help="WebDataset shards, or the official layout on disk.")
    ] = "shards",
    split: Annotated[str, typer.Option(metavar="NAME", help="The split of an official layout.")] = "train",
    workers: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Processes of one thread each.  [default: one per processor]")
    ] = None,
    ray: Annotated[
        str | None, typer.Option(metavar="auto|ADDRESS", help="A Ray cluster to do the work. Needs pa3d[ray].")
    ] = None,
    fresh: Fresh = False,
    quiet: Quiet = False,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Turn shapes into training records: points, part masks, and patch targets from 2D features of many views.

    The same command resumes a run that was interrupted or killed. Needs pa3d[views].
    """
    from pa3d.multiview.prepare import PrepareOptions
    from pa3d.multiview.prepare import prepare as run
    from pa3d.multiview.targets import ViewOptions
    from pa3d.threads import cpu_count

    view_options = ViewOptions(views, size, points, patches, patch_size, seed, rules)
    file = str(weights.absolute()) if weights is not None else None
    options = PrepareOptions(view_options, backbone, file, up, grey, shard_size, layout, split)
    count = workers or cpu_count()
    with progress_with_rate("preparing", enabled=not (quiet or json)) as progress:
        result = run(where, out, options, workers=count, ray=ray, fresh=fresh, progress=progress)
    for row in result["failed"]:
        print(f"left out: {row['source']}: {row['reason']}", file=sys.stderr)
    if json:
        print_json(result)
    elif not quiet:
        failed = f", {len(result['failed'])} left out" if result["failed"] else ""
        print_files(out, f"{result['shapes']} shapes{failed}")
