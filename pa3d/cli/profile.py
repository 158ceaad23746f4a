"""pa3d profile."""

from __future__ import annotations

from typing import Annotated

from pa3d.cli.arguments import Option, echo
from pa3d.cli.options import (
    Assign,
    Columns,
    Debug,
    Device,
    Json,
    Model,
    PartNames,
    Patches,
    Precision,
    Sample,
    ShapeFile,
    Threads,
    part_names,
    sample_size,
)
from pa3d.cli.output import print_json


def profile(
    file: ShapeFile,
    parts: PartNames,
    calls: Annotated[int, Option("-n", "--calls", min=1, metavar="N", help="How many calls are timed.")] = 50,
    columns: Columns = None,
    sample: Sample = "2048",
    assign: Assign = None,
    model: Model = None,
    patches: Patches = None,
    precision: Precision = "auto",
    device: Device = "cpu",
    threads: Threads = None,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Show where the time of `pa3d segment` goes, without writing files.

    Prints the milliseconds of each stage: the median and the 90th and 99th percentile over all calls after the first.
    """
    from pa3d.io import load
    from pa3d.profiling import Stopwatch, measure, percentiles, table

    names, points = part_names(parts), sample_size(sample)
    timer = Stopwatch()
    with timer("read"):
        shape = load(file, columns=columns)
    with timer("model"):
        from pa3d.segment import Segmenter

        segmenter = Segmenter.from_pretrained(
            model, precision=precision, device=device, threads=threads, patches=patches
        )

    def call() -> dict[str, float]:
        return segmenter.segment(shape, names, sample=points, assign=assign).timings  # type: ignore[arg-type]

    with timer("first call"):
        call()
    stages = percentiles(measure(call, calls))
    if json:
        facts = {"name": shape.name, "points": len(shape.points), "parts": len(names), "calls": calls}
        print_json({**facts, "precision": segmenter.precision, "once": timer.seconds, "stages": stages})
        return
    echo(f"{shape.name}: {len(shape.points):,} points, {segmenter.precision}, {calls} calls")
    echo(table({p: {stage: found[p] for stage, found in stages.items()} for p in ("p50", "p90", "p99")}))
    echo("once: " + ", ".join(f"{stage} {1e3 * spent:.1f} ms" for stage, spent in timer.seconds.items()))
