"""pa3d embed-text."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pa3d.cli.options import Category, Debug, Model, PartNames, Quiet, part_names
from pa3d.cli.output import check_can_write
from pa3d.cli.progress import spinner
from pa3d.errors import InputError


def embed_text(
    target: Annotated[Path, typer.Argument(metavar="FILE", help="The .safetensors file to write.")],
    parts: PartNames,
    category: Category = None,
    model: Model = None,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Write the text vectors of part names to a file.

    With it, `pa3d segment --text-vectors` needs no text encoder. The vectors are those of the model's text encoder.
    """
    if target.suffix != ".safetensors":
        raise InputError(f"{target}: expected a name that ends in .safetensors, such as chair.safetensors")
    check_can_write(target.parent)
    names = part_names(parts)
    with spinner("encoding names", enabled=not quiet):
        from pa3d.segment import Segmenter
        from pa3d.text.vectors import TextVectors

        segmenter = Segmenter.from_pretrained(model)
        space = segmenter.checkpoint.text_space
        TextVectors(tuple(names), segmenter.embed_text(names, category), space, category).save(target)
    if not quiet:
        typer.echo(f"{target}: {len(names)} names, text space {space}")
