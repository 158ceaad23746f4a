"""pa3d prepare. Imports nothing heavy until the command runs."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from pa3d.multiview.prepare import Progress

_LINE_EVERY = 10.0  # seconds, where there is no terminal to draw a bar on


def prepare(
    where: Annotated[
        Path,
        typer.Argument(
            metavar="DIR_OR_LIST",
            help="A folder of shapes (searched whole, archives too), one in the official layout, a text file with a "
            "path a line, or one shape.",
            show_default=False,
        ),
    ],
    out: Annotated[
        Path, typer.Option("-o", "--out", metavar="SHARDS", help="The folder to write.", show_default=False)
    ],
    backbone: Annotated[
        str,
        typer.Option(metavar="NAME", help="efficientnet-lite0, dinov2-small, dinov2-base or dinov2-large."),
    ] = "efficientnet-lite0",
    weights: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="The backbone's weights.  [default: as installed, or the hub's cache]"),
    ] = None,
    views: Annotated[
        str, typer.Option(metavar="N|PRESET", help="Views around the shape, or a preset such as icosahedral12.")
    ] = "10",
    size: Annotated[int, typer.Option(metavar="N", help="Pixels a side of a view.")] = 518,
    points: Annotated[int, typer.Option(metavar="N", help="Points drawn from a surface.")] = 8192,
    patches: Annotated[int, typer.Option(metavar="N", help="Patches that are given a target.")] = 128,
    patch_size: Annotated[int, typer.Option(metavar="N", help="Points of a patch.")] = 32,
    seed: Annotated[int, typer.Option(min=0, metavar="N", help="Seed of the points.")] = 0,
    up: Annotated[str, typer.Option(metavar="x|y|z", help="The axis that points up in files that do not say.")] = "y",
    grey: Annotated[bool, typer.Option("--grey", help="Leave colours and textures out of the views.")] = False,
    shard_size: Annotated[int, typer.Option(metavar="N", help="Shapes a shard.")] = 500,
    layout: Annotated[
        str, typer.Option(metavar="shards|official", help="WebDataset shards, or the official layout on disk.")
    ] = "shards",
    split: Annotated[str, typer.Option(metavar="NAME", help="The split of an official layout.")] = "train",
    workers: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Processes of one thread each.  [default: a processor each]")
    ] = None,
    ray: Annotated[
        str | None, typer.Option(metavar="auto|ADDRESS", help="A Ray cluster that does the work. Needs pa3d[ray].")
    ] = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Start over instead of going on.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing unless something goes wrong.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print a summary as JSON and nothing else.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
) -> None:
    """Turn shapes into training records: points, part masks, and patch targets from 2D features of many views.

    Interrupted or killed, it goes on where it stopped. Needs pa3d[views].
    """
    from pa3d.multiview.prepare import PrepareOptions
    from pa3d.multiview.prepare import prepare as run
    from pa3d.multiview.targets import ViewOptions
    from pa3d.threads import cpu_count

    seen = ViewOptions(views, size, points, patches, patch_size, seed)
    file = str(weights.absolute()) if weights is not None else None
    options = PrepareOptions(seen, backbone, file, up, grey, shard_size, layout, split)
    count = workers or cpu_count()
    with _progress(enabled=not (quiet or json)) as progress:
        result = run(where, out, options, workers=count, ray=ray, fresh=fresh, progress=progress)
    for row in result["failed"]:
        print(f"left out: {row['source']}: {row['reason']}", file=sys.stderr)
    if json:
        import json as encoder

        typer.echo(encoder.dumps(result, indent=2, ensure_ascii=False))
    elif not quiet:
        left = f", {len(result['failed'])} left out" if result["failed"] else ""
        typer.echo(f"{out}{os.sep}: {result['shapes']} shapes{left}")


@contextmanager
def _progress(*, enabled: bool) -> Iterator[Progress | None]:
    """What `prepare` reports to: a bar on a terminal, else a line now and then; on stderr."""
    if not enabled:
        yield None
    elif sys.stderr.isatty():
        with _bar() as bar:
            yield bar
    else:
        yield _Lines()


@contextmanager
def _bar() -> Iterator[Progress]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    columns = (
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
    )  # fmt: skip
    rate = _Rate()
    with Bar(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task("preparing", total=None, rate="")

        def update(done: int, broken: int, total: int) -> None:
            shown = f"{rate(done):.0f} a minute" + (f", {broken} broken" if broken else "")
            bar.update(task, completed=done, total=total, rate=shown)

        yield update


class _Rate:
    """Shapes a minute since the first call, whose shapes an earlier run did."""

    def __init__(self) -> None:
        self._first: tuple[float, int] | None = None

    def __call__(self, done: int) -> float:
        now = time.monotonic()
        if self._first is None:
            self._first = (now, done)
        return 60 * (done - self._first[1]) / max(now - self._first[0], 1e-9)


class _Lines:
    """120/500 shapes, 63 a minute, 6 min left"""

    def __init__(self) -> None:
        self._rate = _Rate()
        self._next = 0.0

    def __call__(self, done: int, broken: int, total: int) -> None:
        rate = self._rate(done)
        if time.monotonic() < self._next and done < total:
            return
        self._next = time.monotonic() + _LINE_EVERY
        left = f", {rate:.0f} a minute, {(total - done) / rate:.1f} min left" if rate > 0 else ""
        print(f"{done}/{total} shapes{left}" + (f", {broken} broken" if broken else ""), file=sys.stderr, flush=True)
