"""pa3d view."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pa3d.cli.arguments import Argument, Option, echo
from pa3d.cli.options import Category, Columns, Debug, Model, Sample, SampleSeed, Threads, part_names, sample_size
from pa3d.cli.progress import spinner


def view(
    files: Annotated[
        list[Path],
        Argument(metavar="FILES", help="Meshes and point clouds. The page lists them.", show_default=False),
    ],
    *,
    parts: Annotated[
        str | None,
        Option("--parts", metavar="NAMES", help='Names to begin with: "seat, back, leg", or a text file of them.'),
    ] = None,
    category: Category = None,
    none: Annotated[
        float | None,
        Option(min=0, max=1, metavar="T", help="The threshold to begin with, as --none of pa3d segment."),
    ] = None,
    up: Annotated[
        str | None,
        Option(metavar="AXIS|auto", help="As in pa3d segment.  [default: y]"),
    ] = None,
    columns: Columns = None,
    sample: Sample = "2048",
    seed: SampleSeed = 0,
    model: Model = None,
    threads: Threads = None,
    port: Annotated[
        int, Option(min=1, max=65535, metavar="N", help="The port of the page, or the next one that is free.")
    ] = 8080,
    debug: Debug = False,
) -> None:
    """Show shapes on a page of this machine: type words and see the parts at once.

    Type names, or one word to see how sure every place is of it; let the names be found; or divide the shape without
    names, coarser or finer. Click a place to select its part and see its likely names and what is like it. Hide parts,
    show one alone, show the file as it is, open other files, and download what pa3d segment writes. The page is at
    127.0.0.1, which other machines cannot reach, until Ctrl-C. Needs pa3d[view].
    """
    names = part_names(parts) if parts is not None else []
    points = sample_size(sample)
    with spinner(f"opening {files[0].name}", enabled=True):
        from pa3d.segment import Segmenter
        from pa3d.view import Viewer

        viewer = Viewer(
            Segmenter.from_pretrained(model, threads=threads), files, parts=names, category=category, none=none,
            sample=points, up=up, seed=seed, columns=columns, port=port,
        )  # fmt: skip
    with viewer:
        echo(f"{viewer.address} shows {files[0].name}; Ctrl-C ends it")
        try:
            viewer.wait()
        except KeyboardInterrupt:
            echo("")
