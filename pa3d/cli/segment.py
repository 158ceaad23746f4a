"""pa3d segment."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pa3d.cli.method_options import Method, MethodForm, MethodSetting, MethodWeights, segment_by
from pa3d.cli.options import (
    Assign,
    Category,
    Columns,
    Debug,
    Device,
    Json,
    Model,
    PartNames,
    Patches,
    Precision,
    Quiet,
    Sample,
    SampleSeed,
    TextVectorsFile,
    Threads,
    check_choice,
    part_names,
    sample_size,
)
from pa3d.cli.output import check_can_write, print_files, print_json, writes_unicode
from pa3d.cli.progress import spinner

if TYPE_CHECKING:
    from pa3d.segment import Segmentation


def segment(
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE",
            help="A mesh (GLB, OBJ, PLY, STL ...) or a point cloud (PLY, PCD, XYZ, NPY ...): see docs/files.md.",
            show_default=False,
        ),
    ],
    parts: PartNames,
    out: Annotated[
        Path | None,
        typer.Option("-o", "--out", metavar="FOLDER", help="Where the files go.  [default: ./NAME-parts]"),
    ] = None,
    category: Category = None,
    none: Annotated[
        float | None,
        typer.Option(
            min=0,
            max=1,
            metavar="T",
            help="Threshold from 0 to 1: points whose best probability is below T get label -1, none of the parts. The "
            "embedded model takes the probability among the names and 'none of them', times the presence of the name.  "
            "[default: every point gets a part]",
        ),
    ] = None,
    up: Annotated[
        str | None,
        typer.Option(
            metavar="x|y|z|auto",
            help="Which axis of the file points up. auto tries 26 directions and takes the one in which the names "
            "fit best; the encoder runs 26 times.  [default: y]",
        ),
    ] = None,
    nan: Annotated[
        str,
        typer.Option(
            metavar="skip|error",
            help="Points of a cloud with NaN or infinite coordinates: label them -1, or refuse the file.",
        ),
    ] = "skip",
    columns: Columns = None,
    sample: Sample = "2048",
    assign: Assign = None,
    seed: SampleSeed = 0,
    model: Model = None,
    text_vectors: TextVectorsFile = None,
    patches: Patches = None,
    precision: Precision = "auto",
    device: Device = "cpu",
    threads: Threads = None,
    method: Method = None,
    weights: MethodWeights = None,
    form: MethodForm = "fair",
    setting: MethodSetting = None,
    no_pictures: Annotated[bool, typer.Option("--no-pictures", help="Do not write parts.png and parts.html.")] = False,
    quiet: Quiet = False,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Name the parts of a mesh or a point cloud.

    Writes labels.npz, parts.glb (parts.ply for a point cloud), parts.png, parts.html and summary.json.
    """
    from pa3d.inputs import NAN
    from pa3d.io import load

    names = part_names(parts)
    points = sample_size(sample)
    check_choice("nan", nan, NAN)
    folder = out if out is not None else Path(f"{file.stem}-parts")
    check_can_write(folder)
    with spinner(f"segmenting {file.name}", enabled=not (quiet or json)):
        from pa3d.profiling import Stopwatch
        from pa3d.segment import Segmenter, check_options
        from pa3d.text import check_names

        check_options(assign, none)
        check_names(names)
        timer = Stopwatch()
        with timer("load"):
            shape = load(file, up=None if up == "auto" else up, nan=nan, columns=columns)
        with timer("model"):
            segmenter = (
                Segmenter.from_pretrained(model, precision=precision, device=device, threads=threads, patches=patches)
                if method is None
                else segment_by(method, weights, form, setting)
            )
        result = segmenter.segment(
            shape,
            names,
            category=category,
            text_vectors=text_vectors,
            sample=points,
            assign=assign,  # type: ignore[arg-type]
            none=none,
            up="auto" if up == "auto" else None,
            seed=seed,
        )
        result.timings = {**timer.seconds, **{k: v for k, v in result.timings.items() if k != "load"}}
        from pa3d.report import summary, write_outputs

        with timer("write"):
            files = write_outputs(result, folder, pictures=not no_pictures, html=not no_pictures)
        result.timings = {**result.timings, "write": timer.seconds["write"]}
    missing = shape.missing()
    if missing is not None:
        count = f"{missing.sum():,} of {len(missing):,} points"
        typer.echo(f"{shape.name}: {count} have no finite coordinates; their label is -1", err=True)
    if json:
        print_json({**summary(result), "files": {kind: str(path) for kind, path in files.items()}})
    elif not quiet:
        print_result(result, folder, files)


def print_result(result: Segmentation, folder: Path, files: dict[str, Path]) -> None:
    """The shape, a table of its parts, seconds per stage, and the files."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from pa3d.report import part_rows, size_text, without_missing

    shape = result.shape
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("part")
    block = "\u2588\u2588 " if writes_unicode() else "## "
    table.add_column("share of " + ("surface" if shape.is_mesh else "points"), justify="right")
    table.add_column("confidence", justify="right")
    if result.presence is not None:
        table.add_column("presence", justify="right")
    for row in part_rows(without_missing(result)):
        if row.label < 0 and row.count == 0:
            continue
        confidence = "" if row.mean_confidence is None else f"{row.mean_confidence:.2f}"
        name = Text.assemble((block, row.color), row.name)
        presence = "" if row.presence is None else f"{row.presence:.2f}" if row.found else "not found"
        cells = (confidence, presence) if result.presence is not None else (confidence,)
        table.add_row(name, f"{100 * row.share:.1f} %", *cells)
    stages = {stage: seconds for stage, seconds in result.timings.items() if "." not in stage}
    out = Console(highlight=False, soft_wrap=True)
    out.print(Text(f"{shape.name}: {size_text(shape)}"))
    out.print(table)
    out.print(Text(f"{sum(stages.values()):.2f} s: " + ", ".join(f"{k} {v:.2f}" for k, v in stages.items())))
    print_files(folder, ", ".join(path.name for path in files.values()))
