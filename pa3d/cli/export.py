"""pa3d export."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pa3d.cli.options import Category, Debug, Model, Patches, Quiet, TextVectorsFile, check_choice, part_names
from pa3d.cli.output import check_can_write
from pa3d.cli.progress import spinner
from pa3d.errors import InputError


def export(
    target: Annotated[Path, typer.Argument(metavar="FILE", help="The .onnx file to write.")],
    inputs: Annotated[
        str,
        typer.Option(
            metavar="points|centers",
            help="points: the graph samples the patch centres and searches their neighbours. centers: it takes both as "
            "inputs, beside the points, as pa3d_encode of the C library returns them.",
        ),
    ] = "points",
    scores: Annotated[
        bool,
        typer.Option(
            "--scores", help="Also take text vectors (K, D), and return scores (N, K) and labels (N,) of all points."
        ),
    ] = False,
    parts: Annotated[
        str | None,
        typer.Option(
            "--parts",
            metavar="NAMES",
            help='Part names whose vectors the graph holds as the default of its text vectors: "seat, back, leg", or a '
            "text file with one name per line. Implies --scores.",
            show_default=False,
        ),
    ] = None,
    category: Category = None,
    text_vectors: TextVectorsFile = None,
    up: Annotated[str, typer.Option(metavar="x|y|z", help="Which axis of the points is up.")] = "y",
    assign: Annotated[
        str | None,
        typer.Option(
            metavar="smooth|nearest",
            help="How points get their scores from patches; see pa3d segment.  [default: as the checkpoint says]",
        ),
    ] = None,
    model: Model = None,
    patches: Patches = None,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Write the model as an ONNX graph. Needs pa3d[onnx].

    The graph takes points (N, 3), for any N, and returns the centres and features of the patches; with --scores or
    --parts also a score of each name and a label for every point. docs/embedding.md explains the inputs and outputs.
    """
    from pa3d.frames import UP_AXES
    from pa3d.onnx_export import ASSIGN, INPUTS, export_onnx

    if target.suffix != ".onnx":
        raise InputError(f"{target}: expected a name that ends in .onnx, such as encoder.onnx")
    check_choice("inputs", inputs, INPUTS)
    check_choice("up", up, UP_AXES)
    if assign is not None:
        check_choice("assign", assign, ASSIGN)
    if parts is None and (category or text_vectors):
        raise InputError("--category and --text-vectors belong to --parts; give the names, too")
    names = None if parts is None else part_names(parts)
    check_can_write(target.parent)
    with spinner(f"exporting {target.name}", enabled=not quiet):
        from pa3d.segment import Segmenter

        segmenter = Segmenter.from_pretrained(model, precision="fp32", patches=patches)
        vectors = None
        if names is not None:
            vectors = segmenter.part_vectors(names, category, text_vectors)
        export_onnx(
            target, segmenter.checkpoint, up=up, inputs=inputs, scores=scores, assign=assign, part_names=names,
            text_vectors=vectors,
        )  # fmt: skip
    if not quiet:
        typer.echo(f"{target}: {target.stat().st_size / 1e6:.1f} MB, text space {segmenter.checkpoint.text_space}")
