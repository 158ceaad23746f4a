"""pa3d eval DATASET and pa3d eval compare."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from pa3d.cli.arguments import for_typer
from pa3d.cli.method_options import MethodForm, MethodSetting, MethodWeights, method_settings, method_weights
from pa3d.cli.options import Debug, Device, Fresh, Json, Model, Patches, Precision, Quiet
from pa3d.cli.output import print_files, print_json
from pa3d.cli.progress import progress_bar
from pa3d.errors import InputError
from pa3d.evaluate.layouts import LAYOUTS


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
@for_typer
def run(
    dataset: Annotated[
        str, typer.Argument(metavar="DATASET", help=f"One of {', '.join(LAYOUTS)}.", show_default=False)
    ],
    root: Annotated[
        Path, typer.Option("--root", metavar="FOLDER", help="The folder of the dataset.", show_default=False)
    ],
    out: Annotated[
        Path | None,
        typer.Option("-o", "--out", metavar="FOLDER", help="Where results go.  [default: ./DATASET-PROTOCOL]"),
    ] = None,
    protocol: Annotated[
        str,
        typer.Option(
            metavar="pa3d|patchalign3d|cops|find3d",
            help="The rules of the evaluation: which points and names the method gets, and how its labels are scored "
            "(docs/results.md).",
        ),
    ] = "pa3d",
    split: Annotated[
        str | None, typer.Option(metavar="NAME", help="The split.  [default: the one that papers report]")
    ] = None,
    up: Annotated[str, typer.Option(metavar="AXIS", help="Which axis of the dataset points up.")] = "y",
    method: Annotated[
        str,
        typer.Option(
            metavar="model|ceiling|majority|random|cops|find3d|partslip|pointclipv2|satr|MODULE:CLASS",
            help="What is measured: the model, its ceiling (true labels on its patches), a baseline, a method of a "
            "paper (docs/methods.md), or a class of your own (docs/results.md).",
        ),
    ] = "model",
    weights: MethodWeights = None,
    form: MethodForm = "fair",
    setting: MethodSetting = None,
    model: Model = None,
    patches: Patches = None,
    precision: Precision = "auto",
    device: Device = "cpu",
    sample: Annotated[int, typer.Option(min=1, metavar="N", help="How many points the encoder sees.")] = 2048,
    assign: Annotated[
        str | None,
        typer.Option(
            metavar="smooth|nearest|membership",
            help="How points get their scores from patches, as in pa3d segment.  [default: as the protocol says]",
        ),
    ] = None,
    prompts: Annotated[
        str | None,
        typer.Option(
            metavar="part|category|ensemble",
            help='Which prompts stand for a name: of the part alone ("a seat"), with the category '
            '("a seat of a chair"), or both.  [default: as the protocol says]',
        ),
    ] = None,
    absent: Annotated[
        str | None,
        typer.Option(
            metavar="skip|one|union",
            help="How a part counts that has no true point on a shape. skip: not; one: as 1 if it is not predicted "
            "either, else as 0; union: not if it is not predicted either, else as 0.  [default: as the protocol says]",
        ),
    ] = None,
    unlabelled: Annotated[
        str | None,
        typer.Option(
            metavar="ignored|other|background|category|zero",
            help="How points without a true label count. ignored: not; other, background, category: as one more part "
            "of this name, or of the name of the category; zero: as a class of logit 0.  "
            "[default: as the protocol says]",
        ),
    ] = None,
    offered: Annotated[
        str | None,
        typer.Option(
            metavar="category|dataset",
            help="Which names are offered, that is, which names the method chooses from: the parts of the shape's "
            "category, or of all categories of the dataset.  [default: as the protocol says]",
        ),
    ] = None,
    rotations: Annotated[
        int,
        typer.Option(min=0, metavar="N", help="Also score every shape under N random rotations, the same each time."),
    ] = 0,
    rotation_kind: Annotated[
        str, typer.Option(metavar="yaw|any", help="Rotate about the up axis only, or about any axis.")
    ] = "yaw",
    limit: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Use only N shapes, evenly spread over the dataset.")
    ] = None,
    workers: Annotated[int, typer.Option(min=1, metavar="N", help="Processes of one thread each.")] = 1,
    fresh: Fresh = False,
    no_pictures: Annotated[bool, typer.Option("--no-pictures", help="Leave pictures out of report.html.")] = False,
    quiet: Quiet = False,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Measure a model on a dataset.

    Writes results.json (every shape), timings.json, table.txt and report.html. The same command resumes a run that was
    interrupted.
    """
    from pa3d.atomic import atomic_write
    from pa3d.evaluate.datasets import open_dataset
    from pa3d.evaluate.methods import make_method
    from pa3d.evaluate.run import evaluate
    from pa3d.evaluate.table import table_text

    measured_method = make_method(
        method, model=model, precision=precision, device=device, sample=sample, assign=assign, patches=patches,
        weights=method_weights(weights), form=form, changes=method_settings(setting),
    )  # fmt: skip
    opened_dataset = open_dataset(dataset, root, split=split, up=up)
    changes = {"prompts": prompts, "absent": absent, "unlabelled": unlabelled, "offered": offered}
    folder = out if out is not None else Path(f"{dataset}-{protocol}")
    with _method_errors(method), progress_bar(f"{dataset}, {protocol}", enabled=not (quiet or json)) as progress:
        results = evaluate(
            opened_dataset,
            measured_method,
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
    text = table_text(results)
    with atomic_write(folder / "table.txt", "w") as file:
        file.write(text)
    with atomic_write(folder / "report.html", "w") as file:
        file.write(_report(folder, results, opened_dataset, measured_method, pictures=not no_pictures))
    for row in results["failed"]:
        print(f"left out: {row['reason']}", file=sys.stderr)
    if json:
        print_json({**results["summary"], "failed": results["failed"]})
    elif not quiet:
        typer.echo(text, nl=False)
        print_files(folder, "results.json, timings.json, table.txt, report.html")


@app.command()
@for_typer
def compare(
    a: Annotated[
        Path, typer.Argument(metavar="A.json", help="results.json of the first evaluation.", show_default=False)
    ],
    b: Annotated[
        Path, typer.Argument(metavar="B.json", help="results.json of the second evaluation.", show_default=False)
    ],
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Show how much B differs from A on the same shapes, with a 95 % interval."""
    from pa3d.evaluate.paired import compare as compare_results
    from pa3d.evaluate.table import method_text

    comparison = compare_results(a, b)
    if json:
        print_json(comparison)
        return
    names = f"{method_text(comparison['a'])} -> {method_text(comparison['b'])}"
    typer.echo(f"{names}, {comparison['shapes']} shapes, {comparison['protocol']}")
    if comparison["unpaired"]:
        typer.echo(f"{comparison['unpaired']} shapes are in only one of them and are left out")
    for key, label in (("miou", "mIoU"), ("ciou", "cIoU")):
        interval = comparison[key]["interval"]
        between = f"  ({100 * interval[0]:+.2f} to {100 * interval[1]:+.2f})" if interval else ""
        typer.echo(f"{label:<6}{100 * comparison[key]['difference']:+.2f}{between}")
    typer.echo(f"better {comparison['better']}, worse {comparison['worse']}, equal {comparison['equal']}")
    for name, row in comparison["categories"].items():
        typer.echo(f"{name:<20}{100 * row['difference']:+7.2f}  {row['shapes']:>5} shapes")


@contextmanager
def _method_errors(method: str) -> Iterator[None]:
    """Report an error in the code of a class from outside as such, not as a bug of pa3d."""
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        if ":" not in method:
            raise
        reason = f"{type(error).__name__}: {error}"
        raise InputError(f"--method {method} failed: {reason}; --debug shows where") from error


def _report(folder: Path, results: dict[str, Any], dataset: Any, method: Any, *, pictures: bool) -> str:
    import json as decoder

    from pa3d.evaluate.pages import report_html, shape_pictures

    timings = folder / "timings.json"
    measured = decoder.loads(timings.read_text()) if timings.is_file() else None
    return report_html(results, measured, shape_pictures(results, dataset, method) if pictures else ())
