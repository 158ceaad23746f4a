"""pa3d convert."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pa3d.cli.options import Debug, Quiet
from pa3d.cli.output import check_can_write
from pa3d.cli.progress import spinner
from pa3d.errors import InputError


def convert(
    source: Annotated[Path, typer.Argument(metavar="SOURCE", help="The published PatchAlign3D checkpoint (.pt).")],
    target: Annotated[Path, typer.Argument(metavar="TARGET", help="The .safetensors file to write.")],
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Convert the official checkpoint to safetensors, after checking its names and shapes. Needs pa3d[torch]."""
    if target.suffix != ".safetensors":
        raise InputError(f"{target}: expected a name that ends in .safetensors, such as official.safetensors")
    if target.is_dir():
        raise InputError(f"{target}: is a folder; give the name of a file that ends in .safetensors")
    if not target.absolute().parent.is_dir():
        raise InputError(f"{target}: the folder {target.parent} does not exist; create it first")
    check_can_write(target.parent)
    from pa3d.checkpoint import convert_official

    with spinner(f"converting {source.name}", enabled=not quiet):
        checkpoint = convert_official(source, target)
    if not quiet:
        millions = sum(tensor.size for tensor in checkpoint.tensors.values()) / 1e6
        typer.echo(f"{target}: {millions:.2f} M parameters, text space {checkpoint.text_space}")
