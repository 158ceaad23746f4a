"""pa3d train stage1, stage2 and joint. Imports nothing heavy until a command runs."""

from __future__ import annotations

import ctypes
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pa3d.errors import InputError

if TYPE_CHECKING:
    from pa3d.train.config import Stage

app = typer.Typer(
    rich_markup_mode=None,
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Train the encoder: stage1 on 2D features, stage2 on part names, or joint on both. Needs pa3d[torch].",
)

Config = Annotated[Path, typer.Argument(metavar="CONFIG.toml", help="Such as those of configs/.", show_default=False)]
Out = Annotated[
    Path | None, typer.Option("-o", "--out", metavar="FOLDER", help="The run.  [default: ./runs/NAME-OF-CONFIG]")
]
Data = Annotated[
    Path | None,
    typer.Option(metavar="FOLDER", help="Shards, folders of shards, or the official layout; for data.train."),
]
Val = Annotated[Path | None, typer.Option(metavar="FOLDER", help="The same, for data.val.")]
Init = Annotated[Path | None, typer.Option(metavar="FILE", help="A .safetensors checkpoint to start from.")]
Set = Annotated[
    list[str] | None, typer.Option("--set", metavar="FIELD=VALUE", help="Any field, such as optimizer.lr=1e-4.")
]
Steps = Annotated[int | None, typer.Option(min=1, metavar="N", help="Length of the run; for schedule.steps.")]
Minutes = Annotated[float | None, typer.Option(min=0.01, help="Set the length from the rate measured at the start.")]
Seed = Annotated[int | None, typer.Option(min=0, metavar="N", help="For seed.")]
Threads = Annotated[int | None, typer.Option(min=1, metavar="N", help="For run.threads.")]
Device = Annotated[str | None, typer.Option(help="For run.device: auto, cpu, cuda.")]
Fresh = Annotated[bool, typer.Option("--fresh", help="Start over instead of going on.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing unless something goes wrong.")]
Json = Annotated[bool, typer.Option("--json", help="Print a summary as JSON and nothing else.")]
Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]


@app.command()
def stage1(
    config: Config,
    out: Out = None,
    data: Data = None,
    val: Val = None,
    init: Init = None,
    set_: Set = None,
    steps: Steps = None,
    minutes: Minutes = None,
    seed: Seed = None,
    threads: Threads = None,
    device: Device = None,
    fresh: Fresh = False,
    quiet: Quiet = False,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Patches learn the 2D features that pa3d prepare made. Interrupted, it goes on where it stopped."""
    _run("stage1", config, out, data, val, init, set_, steps, minutes, seed, threads, device, fresh, quiet, json)


@app.command()
def stage2(
    config: Config,
    out: Out = None,
    data: Data = None,
    val: Val = None,
    init: Init = None,
    set_: Set = None,
    steps: Steps = None,
    minutes: Minutes = None,
    seed: Seed = None,
    threads: Threads = None,
    device: Device = None,
    fresh: Fresh = False,
    quiet: Quiet = False,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Patches learn to agree with the names of their parts. Interrupted, it goes on where it stopped."""
    _run("stage2", config, out, data, val, init, set_, steps, minutes, seed, threads, device, fresh, quiet, json)


@app.command()
def joint(
    config: Config,
    out: Out = None,
    data: Data = None,
    val: Val = None,
    init: Init = None,
    set_: Set = None,
    steps: Steps = None,
    minutes: Minutes = None,
    seed: Seed = None,
    threads: Threads = None,
    device: Device = None,
    fresh: Fresh = False,
    quiet: Quiet = False,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Both at once, for comparison. Interrupted, it goes on where it stopped."""
    _run("joint", config, out, data, val, init, set_, steps, minutes, seed, threads, device, fresh, quiet, json)


def _run(
    stage: Stage,
    path: Path,
    out: Path | None,
    data: Path | None,
    val: Path | None,
    init: Path | None,
    overrides: list[str] | None,
    steps: int | None,
    minutes: float | None,
    seed: int | None,
    threads: int | None,
    device: str | None,
    fresh: bool,
    quiet: bool,
    json: bool,
) -> None:
    try:
        import torch  # noqa: F401
    except ImportError as error:
        raise InputError("training needs torch; install it with pip install 'pa3d[torch]'") from error
    from dataclasses import replace

    from pa3d.train.config import load_config
    from pa3d.train.loop import BEST, LAST, train

    keep_freed_memory()
    config = load_config(path, stage, overrides or ())
    config = replace(
        config,
        seed=config.seed if seed is None else seed,
        data=replace(
            config.data,
            train=config.data.train if data is None else str(data),
            val=config.data.val if val is None else str(val),
        ),
        schedule=config.schedule if steps is None else replace(config.schedule, steps=steps),
        run=replace(
            config.run,
            threads=config.run.threads if threads is None else threads,
            device=config.run.device if device is None else device,
        ),
    )
    folder = out if out is not None else Path("runs") / path.stem
    first = int(os.environ.get("RANK", 0)) == 0
    silent = quiet or json or not first

    def log(line: str) -> None:
        if not silent:
            typer.echo(line)
            sys.stdout.flush()

    checkpoint = train(config, folder, init=init, minutes=minutes, fresh=fresh, log=log)
    if json and first:
        import json as encoder

        facts = {"stage": stage, "step": checkpoint.provenance["step"], "records": checkpoint.provenance["records"]}
        typer.echo(encoder.dumps({**facts, "last": str(folder / LAST), "best": str(folder / BEST)}, indent=2))
    else:
        log(f"{folder}{os.sep}: {LAST}, {BEST}, log.jsonl")


def keep_freed_memory() -> bool:
    """Have glibc keep large blocks that are freed, in place of asking the system for zeroed pages at each step.

    A step of training frees and takes the same hundreds of megabytes again; the faults of fresh pages cost as much as
    the arithmetic of the mini-PointNet. Returns whether the C library took it.
    """
    trim_threshold, mmap_max = -1, -4  # M_TRIM_THRESHOLD, M_MMAP_MAX of malloc.h
    try:
        library = ctypes.CDLL(None)
        return bool(library.mallopt(mmap_max, 0) and library.mallopt(trim_threshold, 2**31 - 1))
    except (OSError, AttributeError, TypeError):  # not glibc
        return False
