"""pa3d segment with more than one file: finds the files, runs the batch, and prints what came out."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pa3d.cli.arguments import echo
from pa3d.cli.output import check_can_write, print_files, print_json
from pa3d.cli.progress import progress_with_rate
from pa3d.errors import InputError

if TYPE_CHECKING:
    from pa3d.unnamed import Unnamed

SOME_FAILED = 3  # exit code
LISTED = 20  # failures that are printed


def segment_many(
    given: Sequence[Path],
    names: Sequence[str] | Unnamed,
    out: Path | None,
    options: tuple[dict[str, Any], dict[str, Any], dict[str, Any]],
    model: Path | None,
    model_options: dict[str, Any],
    *,
    list_file: str | None,
    text_vectors: Path | None,
    workers: int | None,
    ray: str | None,
    fresh: bool,
    quiet: bool,
    json: bool,
) -> int:
    """The exit code: 3 if some files failed. Raises InputError if all did, and for what cannot be used.

    names: of the parts, or how each shape gets its own. options: those of loading, segmenting and writing
    (pa3d.report.batch.FileOptions).
    """
    from pa3d.segment import Segmenter, check_options
    from pa3d.threads import cpu_count

    if out is None:
        raise InputError("-o FOLDER is missing; many files need a folder for their results")
    check_can_write(out)
    file_options = _file_options(options)
    check_options(file_options.segment["assign"], file_options.segment["none"])
    shapes = find_shapes(given, list_file, out)
    segmenter = Segmenter.from_pretrained(model, **model_options)
    if ray:  # other processors might choose another precision
        segmenter = Segmenter.from_pretrained(model, **{**model_options, "precision": segmenter.precision})
    is_shown = not (quiet or json) and sys.stderr.isatty()
    with progress_with_rate(f"segmenting {len(shapes):,} files", enabled=is_shown) as progress:
        from pa3d.report.batch import ROWS, TABLE, segment_files

        report = segment_files(
            shapes, segmenter, names, out, file_options,
            text_vectors=text_vectors, workers=workers or cpu_count(), ray=ray, fresh=fresh, progress=progress,
        )  # fmt: skip
    failed = report["failed"]
    for row in failed[:LISTED]:
        echo(f"failed: {row['file']}: {row['reason']}", err=True)
    if len(failed) > LISTED:
        echo(f"failed: {len(failed) - LISTED} more, listed in {out / ROWS}", err=True)
    if json:
        print_json(report)
    elif not quiet:
        print_report(report)
        print_files(out, f"{ROWS}, {TABLE}, and a folder for each file")
    if len(failed) == len(shapes):
        first = f"{failed[0]['file']}: {failed[0]['reason']}"
        raise InputError(f"none of {len(shapes)} files could be segmented; the first: {first}")
    if failed:
        return SOME_FAILED
    return 0


def find_shapes(given: Sequence[Path], list_file: str | None, out: Path) -> dict[str, Path]:
    """The files by the paths of their results, without those of the output folder. Raises InputError."""
    from pa3d.listing import entries, is_list, named_shapes, read_list

    for path in given:
        if not path.exists():
            raise InputError(f"{path}: no such file or folder; check the path")
    lists = [path for path in given if path.is_file() and is_list(path)]
    paths = [path for path in given if path not in lists]
    if list_file == "-":
        paths += map(Path, entries(sys.stdin))
    elif list_file is not None:
        lists.append(Path(list_file))
    for path in lists:
        paths += read_list(path)
    # A list of its own is read in its folder; whatever else is given, in the current one.
    within = lists[0].parent if len(lists) == 1 and len(given) <= 1 and not (given and list_file) else Path()
    shapes = named_shapes(paths, within, without=out)
    if not shapes:
        where = ", ".join(map(str, [*given, *([list_file] if list_file else [])]))
        raise InputError(f"{where or 'nothing given'}: no shapes here; give files, folders of them, or a list of paths")
    return shapes


def print_report(report: dict[str, Any]) -> None:
    """A table of the parts over all files, and where the time went."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("part")
    for heading in ("found in", "mean share", "confidence"):
        table.add_column(heading, justify="right")
    for part in report["parts"]:
        share, confidence = part["mean_share"], part["mean_confidence"]
        table.add_row(
            Text(part["name"]),
            f"{part['files']:,} of {report['segmented']:,} files",
            "" if share is None else f"{100 * share:.1f} %",
            "" if confidence is None else f"{confidence:.2f}",
        )
    console = Console(highlight=False, soft_wrap=True)
    console.print(table)
    console.print(Text(timings_text(report)))


def timings_text(report: dict[str, Any]) -> str:
    """200 files, 3 failed; 180 new in 12.3 s (14.6 per second, 2 workers): load 10 ms, encode 20 ms, ..., per file"""
    failed, new, seconds = len(report["failed"]), report["new"], report["seconds"]
    text = f"{report['files']:,} files" + (f", {failed:,} failed" if failed else "")
    if not new:
        return f"{text}; nothing to do" if not failed else text
    where = f"{report['workers']} workers" if report["workers"] else "Ray"
    stages = ", ".join(f"{stage} {1e3 * spent:.1f} ms" for stage, spent in seconds["per_file"].items())
    rate = new / max(seconds["all"], 1e-9)
    return f"{text}; {new:,} new in {seconds['all']:.1f} s ({rate:.1f} per second, {where}). Per file: {stages}"


def _file_options(options: tuple[dict[str, Any], dict[str, Any], dict[str, Any]]) -> Any:
    from pa3d.report.batch import FileOptions

    return FileOptions(*options)
