"""Options that several commands share, and the parsing of their values. Imports no typer."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

from pa3d.cli.arguments import Argument, Option
from pa3d.errors import InputError
from pa3d.names import split_names, strip_name

Quiet = Annotated[bool, Option("--quiet", "-q", help="Print nothing unless something goes wrong.")]
Json = Annotated[bool, Option("--json", help="Print a summary as JSON and nothing else.")]
Debug = Annotated[bool, Option("--debug", help="Show the traceback of an error.")]
Fresh = Annotated[
    bool,
    Option("--fresh", help="Discard what an earlier run left in the folder, and start over.  [default: resume]"),
]

ShapeFile = Annotated[Path, Argument(metavar="FILE", help="A mesh or a point cloud.", show_default=False)]
PartNames = Annotated[
    str,
    Option(
        "--parts",
        metavar="NAMES",
        help='Part names: "seat, back, leg", or a text file with one name per line.',
        show_default=False,
    ),
]
PartNamesOrAuto = Annotated[
    str | None,
    Option(
        "--parts",
        metavar="NAMES|auto",
        help='Part names: "seat, back, leg", or a text file with one name per line. auto divides the shape by what it '
        "looks like, and gives each part a likely name.  [default: the parts that such a thing has, by what the shape "
        "seems to be]",
        show_default=False,
    ),
]
Category = Annotated[str | None, Option(metavar="WORD", help='What the object is, if you know it, such as "chair".')]
Up = Annotated[
    str | None,
    Option(
        metavar="AXIS",
        help="Which axis of the file points up: x, y, z, -x, -y or -z.  [default: y]",
        show_default=False,
    ),
]
Columns = Annotated[
    str | None,
    Option(
        metavar="X,Y,Z",
        help="Which columns of a table are x, y and z: names from its header, or numbers from 1.  [default: those "
        "named x, y, z, or the first three]",
        show_default=False,
    ),
]
Sample = Annotated[str, Option(metavar="N|all", help="How many surface points the encoder sees.")]
Assign = Annotated[
    str | None,
    Option(
        metavar="smooth|nearest|membership",
        help="How points get their scores from patches. nearest: from the nearest patch centre; smooth: from the three "
        "nearest centres, weighted by inverse distance; membership: the mean of the patches that contain the nearest "
        "sampled point.  [default: as the checkpoint says]",
    ),
]
SampleSeed = Annotated[int, Option(min=0, metavar="N", help="Random seed of the surface samples.")]

Model = Annotated[
    Path | None,
    Option(
        "--model",
        metavar="MODEL",
        help="Used instead of the embedded model: a .safetensors checkpoint of pa3d, a folder written by "
        "Segmenter.save_pretrained, or the name of a model on the Hugging Face hub, owner/name (needs pa3d[hub]).",
    ),
]
TextVectorsFile = Annotated[
    Path | None,
    Option(
        "--text-vectors",
        metavar="FILE",
        help="Take the vectors of the names from a file that pa3d embed-text wrote. The text encoder is not needed.",
    ),
]
Precision = Annotated[
    str, Option(metavar="auto|fp32|bf16|int8", help="Compute precision: the number format of the encoder.")
]
Device = Annotated[
    str, Option(metavar="DEVICE", help="cpu, which does not need torch, or a torch device such as cuda.")
]
Threads = Annotated[
    int | None,
    Option(min=1, metavar="N", help="Threads of the encoder.  [default: OMP_NUM_THREADS, or all processors]"),
]
Patches = Annotated[
    int | None,
    Option(
        min=1,
        metavar="N",
        help="How many patches (groups of neighbouring points) a shape is divided into. More patches find smaller "
        "parts and take longer. With the embedded model the number is even, and larger for 3,840 sampled points or "
        "more.  [default: as the checkpoint says; 128 for the embedded model]",
    ),
]


def part_names(text: str) -> list[str]:
    """Names from a list with commas or semicolons, or from a file or pipe: its lines, or the list on its only line.

    Blank lines and lines that begin with # are skipped. Raises InputError when the file cannot be read, a name is not
    text, or there is none.
    """
    is_folder = os.path.isdir(text)
    is_file = os.path.exists(text) and not is_folder  # or a pipe
    if not is_file and (text.lower().endswith(".txt") or is_folder):
        raise InputError(f'--parts {text}: no such file; give a text file with one name per line, or "seat, back, leg"')
    lines = [text]
    if is_file:
        try:
            data = Path(text).read_bytes()
            encoding = "utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
            lines = data.decode(encoding).splitlines()
        except (OSError, UnicodeDecodeError) as error:
            reason, hint = (
                (error.strerror, "give a text file with one name per line")
                if isinstance(error, OSError)
                else ("it is not UTF-8 text", "save it as UTF-8, one name per line")
            )
            raise InputError(f"--parts {text}: cannot be read ({reason}); {hint}") from error
        lines = [line for line in lines if line.strip() and not line.lstrip().startswith("#")]
    names = split_names(lines[0]) if len(lines) == 1 else [name for raw in lines if (name := strip_name(raw))]
    if not names:
        where = f" in {text}" if is_file else ""
        raise InputError(f'no part names{where}; give at least one, such as --parts "seat, back, leg"')
    for name in names:
        if not name.isascii() and any("\ud800" <= ch <= "\udfff" for ch in name):
            raise InputError(f"part name {name[:60]!a} is not UTF-8 text; use a terminal or script in UTF-8")
        if any(ch < " " or ch == "\x7f" for ch in name.replace("\t", " ")):
            raise InputError(f"part name {name[:60]!a} has control characters; give words")
    return names


def sample_size(text: str) -> int | None:
    """The number of points that --sample asks for, None for all. Raises InputError."""
    if text == "all":
        return None
    if not text.isdecimal() or int(text) < 1:
        raise InputError(f"--sample {text}: expected an integer of at least 1, or all")
    return int(text)


def check_choice(option: str, value: str, choices: tuple[str, ...]) -> None:
    """Raise InputError when the value of an option is not one of the choices."""
    if value not in choices:
        raise InputError(f"--{option} {value}: expected one of {', '.join(choices)}")
