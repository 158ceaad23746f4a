"""pa3d synth."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from pa3d.cli.options import Debug, Json, Quiet
from pa3d.cli.output import print_files, print_json, replaced_folder, write_json
from pa3d.cli.progress import spinner
from pa3d.errors import InputError

MANIFEST = "synth.json"

Points = Annotated[int, typer.Option(min=1, max=1_000_000, metavar="N", help="Points per cloud.")]
Seed = Annotated[int, typer.Option(min=0, metavar="N", help="Random seed.")]
Force = Annotated[
    bool,
    typer.Option(
        "--force", help="Replace the folder of an earlier run of this command.  [default: stop with an error]"
    ),
]


def synth(
    category: Annotated[
        str | None,
        typer.Argument(metavar="CATEGORY", help="What to generate; --list shows all categories.", show_default=False),
    ] = None,
    count: Annotated[int, typer.Option("-n", "--count", min=1, metavar="N", help="How many shapes to generate.")] = 1,
    out: Annotated[
        Path | None,
        typer.Option("-o", "--out", metavar="FOLDER", help="The folder to write.  [default: ./CATEGORY]"),
    ] = None,
    shards: Annotated[bool, typer.Option("--shards", help="Write training shards instead of GLB files.")] = False,
    points: Points = 4096,
    seed: Seed = 0,
    list_all: Annotated[bool, typer.Option("--list", help="Show the categories and exit.")] = False,
    force: Force = False,
    quiet: Quiet = False,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Generate objects or creatures with named parts, as GLB files with one node per part, or as training shards.

    The shapes are those of the seeds SEED to SEED + N - 1. synth.json lists the names of every part, finest first.
    """
    from pa3d.data.synth import categories

    if list_all:
        if json:
            print_json({"objects": categories().objects, "creatures": categories().creatures})
            return
        typer.echo(f"objects: {', '.join(categories().objects)}\n\ncreatures: {', '.join(categories().creatures)}")
        return
    if category is None:
        raise InputError("no CATEGORY given; name one, such as pa3d synth chair, or see pa3d synth --list")
    from pa3d.data.parts import write_shards
    from pa3d.data.synth import draw_cloud, draw_mesh
    from pa3d.report.part_mesh import part_mesh_glb

    target = out if out is not None else Path(category.replace(" ", "-"))
    seeds = range(seed, seed + count)
    draw_mesh(category, seed)  # so that an unknown category is reported before anything is written
    rows: list[dict[str, Any]] = []
    progress = spinner(f"generating {category}", enabled=not (quiet or json))
    with replaced_folder(target, MANIFEST, force=force) as folder, progress:
        if shards:
            write_shards((draw_cloud(category, s, points) for s in seeds), folder)
        else:
            for s in seeds:
                mesh = draw_mesh(category, s)
                name = f"{category.replace(' ', '-')}-{s}.glb"
                (folder / name).write_bytes(part_mesh_glb(mesh))
                rows.append(
                    {"file": name, "category": mesh.category, "seed": s, "parts": [list(p) for p in mesh.parts]}
                )
        facts = {"category": category, "count": count, "seed": seed, "shards": shards}
        write_json(folder / MANIFEST, {**facts, **({"points": points} if shards else {"shapes": rows})})
    if json:
        print_json({**facts, "out": str(target)})
    elif not quiet:
        what = f"{count} clouds of {points} points in shards" if shards else f"{count} GLB files"
        print_files(target, f"{what}, {MANIFEST}")
