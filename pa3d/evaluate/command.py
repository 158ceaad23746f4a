"""pa3d eval DATASET and pa3d eval compare. Imports nothing heavy until a command runs."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from pa3d.errors import InputError

DATASETS = ("shapenetpart", "partnete", "faust", "scanobjectnn", "objaverse", "npz")
METHODS = ("model", "oracle", "majority", "random")


class DatasetOrCommand(TyperGroup):
    """`pa3d eval faust` is `pa3d eval run faust`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if args and args[0] not in (*self.commands, "-h", "--help"):
            args = ["run", *args]
        return super().parse_args(ctx, args or ["--help"])


app = typer.Typer(
    cls=DatasetOrCommand,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Measure a model on a labelled dataset: pa3d eval DATASET --root FOLDER. Or compare two results.",
)


@app.command()
def run(
    dataset: Annotated[
        str, typer.Argument(metavar="DATASET", help=f"One of {', '.join(DATASETS)}.", show_default=False)
    ],
    root: Annotated[Path, typer.Option("--root", metavar="FOLDER", help="Where the dataset lies.", show_default=False)],
    out: Annotated[
        Path | None,
        typer.Option("-o", "--out", metavar="FOLDER", help="Where results go.  [default: ./DATASET-PROTOCOL]"),
    ] = None,
    protocol: Annotated[str, typer.Option(metavar="pa3d|patchalign3d|cops|find3d", help="Whose rules.")] = "pa3d",
    split: Annotated[str | None, typer.Option(metavar="NAME", help="Split; papers' own if left out.")] = None,
    up: Annotated[str, typer.Option(metavar="x|y|z", help="The dataset's axis that points up.")] = "y",
    method: Annotated[str, typer.Option(metavar="|".join(METHODS), help="What is measured.")] = "model",
    model: Annotated[
        Path | None,
        typer.Option("--model", metavar="FILE", help="A .safetensors checkpoint in place of the embedded one."),
    ] = None,
    precision: Annotated[
        str, typer.Option(metavar="auto|fp32|bf16|int8", help="What the encoder computes in.")
    ] = "auto",
    device: Annotated[str, typer.Option(help="cpu, or a torch device.")] = "cpu",
    sample: Annotated[int, typer.Option(min=1, metavar="N", help="Points that the encoder sees.")] = 2048,
    patches: Annotated[int | None, typer.Option(min=1, metavar="N", help="Patches, in place of the model's.")] = None,
    assign: Annotated[
        str | None,
        typer.Option(metavar="smooth|nearest|membership", help="How points get scores, in place of the protocol's."),
    ] = None,
    prompts: Annotated[
        str | None, typer.Option(metavar="part|category|ensemble", help="In place of the protocol's.")
    ] = None,
    absent: Annotated[str | None, typer.Option(metavar="skip|one|union", help="In place of the protocol's.")] = None,
    unlabelled: Annotated[
        str | None,
        typer.Option(metavar="ignored|other|background|category|zero", help="In place of the protocol's."),
    ] = None,
    offered: Annotated[str | None, typer.Option(metavar="category|dataset", help="In place of the protocol's.")] = None,
    rotations: Annotated[int, typer.Option(min=0, metavar="N", help="Also score under N seeded rotations.")] = 0,
    rotation_kind: Annotated[str, typer.Option(metavar="yaw|any", help="About the up axis, or any.")] = "yaw",
    limit: Annotated[int | None, typer.Option(min=1, metavar="N", help="Only N shapes, evenly spread.")] = None,
    workers: Annotated[int, typer.Option(min=1, metavar="N", help="Processes of one thread each.")] = 1,
    fresh: Annotated[bool, typer.Option("--fresh", help="Start over instead of going on.")] = False,
    no_pictures: Annotated[bool, typer.Option("--no-pictures", help="Leave pictures out of report.html.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing unless something goes wrong.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print the summary as JSON and nothing else.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
) -> None:
    """Measure a model on a dataset.

    Writes results.json (every shape), timings.json, table.txt and report.html. Interrupted, it goes on where
    it stopped.
    """
    from pa3d.atomic import atomic_write
    from pa3d.evaluate.datasets import open_dataset
    from pa3d.evaluate.run import evaluate

    if method not in METHODS:
        raise InputError(f"--method {method}: expected one of {', '.join(METHODS)}")
    opened = open_dataset(dataset, root, split=split, up=up)
    chosen = _method(method, model, precision, device, sample, assign, patches)
    changes = {"prompts": prompts, "absent": absent, "unlabelled": unlabelled, "offered": offered}
    folder = out if out is not None else Path(f"{dataset}-{protocol}")
    with progress_bar(f"{dataset}, {protocol}", enabled=not (quiet or json)) as progress:
        results = evaluate(
            opened,
            chosen,
            protocol,
            out=folder,
            workers=workers,
            rotations=rotations,
            rotation_kind=rotation_kind,
            limit=limit,
            fresh=fresh,
            progress=progress,
            **{name: value for name, value in changes.items() if value is not None},
        )
    text = table(results)
    with atomic_write(folder / "table.txt", "w") as file:
        file.write(text)
    with atomic_write(folder / "report.html", "w") as file:
        file.write(_page(folder, results, opened, chosen, pictures=not no_pictures))
    for row in results["failed"]:
        print(f"left out: {row['reason']}", file=sys.stderr)
    if json:
        import json as encoder

        typer.echo(encoder.dumps({**results["summary"], "failed": results["failed"]}, indent=2))
    elif not quiet:
        typer.echo(f"{text}{folder}/: results.json, timings.json, table.txt, report.html")


@app.command()
def compare(
    a: Annotated[Path, typer.Argument(metavar="A.json", help="results.json of the one before.", show_default=False)],
    b: Annotated[Path, typer.Argument(metavar="B.json", help="results.json of the one after.", show_default=False)],
    json: Annotated[bool, typer.Option("--json", help="Print JSON and nothing else.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
) -> None:
    """Show by how much B differs from A, shape by shape, with its interval."""
    from pa3d.evaluate.paired import compare as paired

    found = paired(a, b)
    if json:
        import json as encoder

        typer.echo(encoder.dumps(found, indent=2))
        return
    typer.echo(f"{found['a']['name']} -> {found['b']['name']}, {found['shapes']} shapes, {found['protocol']}")
    if found["unpaired"]:
        typer.echo(f"{found['unpaired']} shapes are in one of them only and left out")
    for key, label in (("miou", "mIoU"), ("ciou", "cIoU")):
        interval = found[key]["interval"]
        between = f"  ({100 * interval[0]:+.2f} to {100 * interval[1]:+.2f})" if interval else ""
        typer.echo(f"{label:<6}{100 * found[key]['difference']:+.2f}{between}")
    typer.echo(f"better {found['better']}, worse {found['worse']}, equal {found['equal']}")
    for name, row in found["categories"].items():
        typer.echo(f"{name:<20}{100 * row['difference']:+7.2f}  {row['shapes']:>5} shapes")


def table(results: dict[str, Any]) -> str:
    """The figures as text, percent."""
    from pa3d.evaluate.pages import FIGURES, between, percent

    summary, head = results["summary"], results["dataset"]
    lines = [
        f"{results['method']['name']} on {head['name']} ({head['split']}), protocol "
        f"{results['protocol']['name']}: {summary['shapes']} shapes, {len(results['failed'])} left out",
        "",
    ]
    for key, label in FIGURES.items():
        interval = between(summary[key])
        mark = "  headline" if key == summary["headline"]["name"] else ""
        line = f"{label:<24}{percent(summary[key]['value']):>6}"
        lines.append(line + (f"  ({interval})" if interval else "") + mark)
    lines.append(f"{'calibration error':<24}{percent(summary['calibration_error']):>6}")
    if "rotations" in summary:
        turned = summary["rotations"]
        worst = percent(turned["worst"])
        lines.append(f"{'mIoU over rotations':<24}{percent(turned['mean']):>6}  (worst {worst})")
    lines += ["", f"{'':<24}{'mIoU':>6}{'cIoU':>8}"]
    for name, both in summary["baselines"].items():
        lines.append(f"{name:<24}{percent(both['miou']):>6}{percent(both['ciou']):>8}")
    lines += ["", f"{'category':<24}{'mIoU':>6}{'oracle':>8}{'shapes':>8}"]
    for name, row in results["categories"].items():
        oracle = percent(row["baselines"]["oracle"])
        lines.append(f"{name:<24}{percent(row['miou']):>6}{oracle:>8}{row['shapes']:>8}")
    return "\n".join(lines) + "\n"


def _method(
    name: str,
    model: Path | None,
    precision: str,
    device: str,
    sample: int,
    assign: str | None,
    patches: int | None,
) -> Any:
    from dataclasses import replace

    from pa3d.config import EncoderConfig
    from pa3d.evaluate import methods

    if name == "model":
        how: Any = assign  # SegmenterMethod checks it
        return methods.SegmenterMethod(
            model, precision=precision, device=device, sample=sample, assign=how, patches=patches
        )
    if name == "oracle" and patches is not None:
        return methods.PatchOracle(replace(EncoderConfig(), patches=patches))
    return {"oracle": methods.PatchOracle, "majority": methods.Majority, "random": methods.Uniform}[name]()


def _page(folder: Path, results: dict[str, Any], dataset: Any, method: Any, *, pictures: bool) -> str:
    import json as decoder

    from pa3d.evaluate.pages import report_html, shape_pictures

    timings = folder / "timings.json"
    measured = decoder.loads(timings.read_text()) if timings.is_file() else None
    return report_html(results, measured, shape_pictures(results, dataset, method) if pictures else ())


@contextmanager
def progress_bar(message: str, *, enabled: bool) -> Iterator[Any]:
    """What `evaluate` reports to; a bar on stderr, and only on a terminal."""
    if not enabled or not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(message, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
