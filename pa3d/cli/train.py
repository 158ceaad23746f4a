"""pa3d train stage1, stage2 and joint."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pa3d.cli.arguments import for_typer
from pa3d.cli.options import Debug, Fresh, Json, Quiet
from pa3d.cli.output import print_json
from pa3d.errors import InputError

if TYPE_CHECKING:
    from pa3d.train.config import Stage

app = typer.Typer(
    rich_markup_mode=None,
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Train the encoder: stage1 on 2D features, stage2 on part names, or joint on both. Needs pa3d[torch].",
)


def _add_command(stage: Stage, description: str) -> None:
    """Each stage is a command with these options."""

    def command(
        config: Annotated[
            Path, typer.Argument(metavar="CONFIG.toml", help="Such as those in configs/.", show_default=False)
        ],
        out: Annotated[
            Path | None,
            typer.Option("-o", "--out", metavar="FOLDER", help="The folder of the run.  [default: ./runs/CONFIG]"),
        ] = None,
        data: Annotated[
            Path | None,
            typer.Option(
                metavar="FOLDER",
                help="Training data: shards, a folder of folders of shards, or the official layout. Sets data.train.",
            ),
        ] = None,
        val: Annotated[
            Path | None, typer.Option(metavar="FOLDER", help="Validation data, in the same forms. Sets data.val.")
        ] = None,
        init: Annotated[
            Path | None, typer.Option(metavar="FILE", help="A .safetensors checkpoint to start from.")
        ] = None,
        set_: Annotated[
            list[str] | None,
            typer.Option(
                "--set", metavar="FIELD=VALUE", help="Set any field, such as optimizer.lr=1e-4. May be repeated."
            ),
        ] = None,
        steps: Annotated[
            int | None, typer.Option(min=1, metavar="N", help="Length of the run in steps. Sets schedule.steps.")
        ] = None,
        minutes: Annotated[
            float | None,
            typer.Option(
                min=0.01,
                metavar="M",
                help="Length of the run in minutes; the number of steps follows from the speed at the start.",
            ),
        ] = None,
        seed: Annotated[int | None, typer.Option(min=0, metavar="N", help="Random seed. Sets seed.")] = None,
        threads: Annotated[
            int | None, typer.Option(min=1, metavar="N", help="Threads on the CPU. Sets run.threads.")
        ] = None,
        device: Annotated[
            str | None, typer.Option(metavar="auto|cpu|cuda", help="Where to compute. Sets run.device.")
        ] = None,
        fresh: Fresh = False,
        quiet: Quiet = False,
        json: Json = False,
        debug: Debug = False,
    ) -> None:
        try:
            import torch  # noqa: F401
        except ImportError as error:
            raise InputError("training needs torch; install it with pip install 'pa3d[torch]'") from error
        from dataclasses import replace

        from pa3d.train.config import load_config
        from pa3d.train.loop import BEST, LAST, train
        from pa3d.train.memory import keep_freed_memory

        keep_freed_memory()
        settings = load_config(config, stage, set_ or ())
        settings = replace(
            settings,
            seed=settings.seed if seed is None else seed,
            data=replace(
                settings.data,
                train=settings.data.train if data is None else str(data),
                val=settings.data.val if val is None else str(val),
            ),
            schedule=settings.schedule if steps is None else replace(settings.schedule, steps=steps),
            run=replace(
                settings.run,
                threads=settings.run.threads if threads is None else threads,
                device=settings.run.device if device is None else device,
            ),
        )
        folder = out if out is not None else Path("runs") / config.stem
        is_first_process = int(os.environ.get("RANK", 0)) == 0  # torchrun starts several

        def log(line: str) -> None:
            if is_first_process and not (quiet or json):
                typer.echo(line)
                sys.stdout.flush()

        checkpoint = train(settings, folder, init=init, minutes=minutes, fresh=fresh, log=log)
        if json and is_first_process:
            facts = {"stage": stage, "step": checkpoint.provenance["step"], "records": checkpoint.provenance["records"]}
            print_json({**facts, "last": str(folder / LAST), "best": str(folder / BEST)})
        else:
            log(f"{folder}{os.sep}: {LAST}, {BEST}, log.jsonl")

    app.command(stage, help=f"{description} The same command resumes a run that was interrupted.")(for_typer(command))


_add_command("stage1", "Train patches on the 2D features that pa3d prepare made.")
_add_command("stage2", "Train patches to agree with the names of their parts.")
_add_command("joint", "Train on both losses at once, for comparison.")
