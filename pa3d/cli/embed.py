"""pa3d embed."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

from pa3d.cli.arguments import Argument, Option, echo
from pa3d.cli.options import (
    Columns,
    Debug,
    Device,
    Json,
    Model,
    Patches,
    Precision,
    Quiet,
    Sample,
    SampleSeed,
    Threads,
    Up,
    sample_size,
)
from pa3d.cli.output import check_can_write, print_json
from pa3d.cli.progress import progress_with_rate
from pa3d.errors import InputError

LISTED = 20  # files that are printed of those that failed


def embed(
    files: Annotated[
        list[Path] | None,
        Argument(
            metavar="FILES",
            help="Meshes and point clouds; folders, which are searched with all subfolders; and lists (.txt, .lst) "
            "with one path per line. None brings an index up to date.",
            show_default=False,
        ),
    ] = None,
    *,
    out: Annotated[
        Path,
        Option(
            "-o",
            "--out",
            metavar="INDEX",
            help="The .safetensors file to write, or to bring up to date.",
            show_default=False,
        ),
    ],
    up: Up = None,
    nan: Annotated[
        str,
        Option(
            metavar="skip|error", help="Points of a cloud with NaN or infinite coordinates: skip, or refuse the file."
        ),
    ] = "skip",
    columns: Columns = None,
    sample: Sample = "2048",
    seed: SampleSeed = 0,
    model: Model = None,
    patches: Patches = None,
    precision: Precision = "auto",
    device: Device = "cpu",
    threads: Threads = None,
    list_file: Annotated[
        str | None,
        Option("--list", metavar="FILE", help="A list of files with one path per line; - reads it from stdin."),
    ] = None,
    workers: Annotated[
        int | None, Option(min=1, metavar="N", help="Processes of one thread each.  [default: one per processor]")
    ] = None,
    fresh: Annotated[
        bool,
        Option("--overwrite", "--fresh", help="Make the index again.  [default: embed what is new or has changed]"),
    ] = False,
    quiet: Quiet = False,
    json: Json = False,
    debug: Debug = False,
) -> int:
    """Write an index of shapes, in which pa3d search finds them by words, by another shape, or by their parts.

    With an index that is there already, it embeds only the files that are new or have changed, and drops those that do
    not exist any more. Files that fail are listed and are not in the index; the exit code is then 3.
    """
    if out.suffix != ".safetensors":
        raise InputError(f"{out}: expected a name that ends in .safetensors, such as models.safetensors")
    points = sample_size(sample)
    check_can_write(out.parent)
    given = list(files or [])
    paths: list[Path] = []
    if given or list_file is not None:
        from pa3d.cli.segment_many import find_shapes

        paths = list(find_shapes(given, list_file, out).values())
    elif fresh or not out.exists():
        raise InputError("no file was given; expected meshes, point clouds, folders or --list: see pa3d embed --help")
    from pa3d.search import EmbedOptions, embed_files
    from pa3d.segment import Segmenter
    from pa3d.threads import cpu_count

    options = EmbedOptions(up, nan, columns, points, seed)
    segmenter = Segmenter.from_pretrained(model, precision=precision, device=device, threads=threads, patches=patches)
    out.parent.mkdir(parents=True, exist_ok=True)
    is_shown = not (quiet or json) and sys.stderr.isatty()
    with progress_with_rate("embedding", enabled=is_shown) as progress:
        report = embed_files(
            paths, segmenter, out, options, workers=workers or cpu_count(), fresh=fresh, progress=progress
        )
    failed, gone = report["failed"], report["gone"]
    for row in failed[:LISTED]:
        echo(f"failed: {row['file']}: {row['reason']}", err=True)
    if len(failed) > LISTED:
        echo(f"failed: {len(failed) - LISTED:,} more; --json lists all", err=True)
    if gone:
        more = f" and {len(gone) - 1:,} more" if gone[1:] else ""
        echo(f"gone: {gone[0]}{more}; dropped from the index", err=True)
    if not report["shapes"]:
        first = f"{failed[0]['file']}: {failed[0]['reason']}" if failed else f"{gone[0]}: does not exist any more"
        raise InputError(f"none of {report['files'] or len(gone)} files could be embedded; the first: {first}")
    if json:
        print_json({**report, "index": out})
    elif not quiet:
        echo(f"{out}: {_counts(report)}")
    return 3 if failed else 0


def _counts(report: dict[str, Any]) -> str:
    """200 shapes; 180 new in 12.3 s (14.6 per second, 2 workers), 3 failed"""
    text = f"{report['shapes']:,} shapes; "
    new, seconds = report["new"], report["seconds"]
    if new:
        rate = new / max(seconds, 1e-9)
        text += f"{new:,} new in {seconds:.1f} s ({rate:.1f} per second, {report['workers']} workers)"
    else:
        text += "nothing new"
    return text + (f", {len(report['failed']):,} failed" if report["failed"] else "")
