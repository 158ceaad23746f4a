"""The command line: pa3d segment, profile, eval, convert, info.

Only typer is imported at the top, so that help and wrong options answer at once; numpy, the engine, the
report and rich come with the command that needs them, and torch with `convert` and `--device` alone.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pa3d.data.command import harvest, synth
from pa3d.errors import InputError
from pa3d.evaluate.command import app as evaluation
from pa3d.keypoints_command import keypoints
from pa3d.multiview.prepare_command import prepare
from pa3d.multiview.render_command import render
from pa3d.train.command import app as training

if TYPE_CHECKING:
    from pa3d.segment import Segmentation

app = typer.Typer(
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Names the parts of 3D shapes from free text.",
)

app.add_typer(evaluation, name="eval")
app.add_typer(training, name="train")
app.command()(prepare)
app.command()(render)
app.command()(harvest)
app.command()(synth)
app.command()(keypoints)

Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing unless something goes wrong.")]
Json = Annotated[bool, typer.Option("--json", help="Print a summary as JSON and nothing else.")]
Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]
Patches = Annotated[
    int | None,
    typer.Option(min=1, metavar="N", help="Patches of a shape: more are finer and slower.  [default: 128]"),
]
Model = Annotated[
    Path | None,
    typer.Option("--model", metavar="FILE", help="A .safetensors checkpoint of pa3d in place of the embedded model."),
]


@app.command()
def segment(
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE",
            help="A mesh (OBJ, PLY, STL, OFF, GLB, glTF) or cloud (PLY, PCD, XYZ, CSV, NPY, NPZ, LAS, LAZ).",
            show_default=False,
        ),
    ],
    parts: Annotated[
        str,
        typer.Option(
            "--parts",
            metavar="NAMES",
            help='Part names, "seat, back, leg", or a text file with a name a line.',
            show_default=False,
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option("-o", "--out", metavar="FOLDER", help="Where the files go.  [default: ./NAME-parts]"),
    ] = None,
    category: Annotated[
        str | None, typer.Option(metavar="WORD", help='What the object is, if known, such as "chair".')
    ] = None,
    none: Annotated[
        float | None,
        typer.Option(min=0, max=1, metavar="T", help='Answer "none of these" where the best score is below T.'),
    ] = None,
    up: Annotated[
        str | None,
        typer.Option(
            metavar="x|y|z|auto", help="The axis of the file that points up; auto looks for it.  [default: y]"
        ),
    ] = None,
    sample: Annotated[
        str, typer.Option(metavar="N|all", help="How many points of the surface the encoder sees.")
    ] = "2048",
    assign: Annotated[
        str | None,
        typer.Option(
            metavar="smooth|nearest|membership",
            help="How points get the scores of patches.  [default: what the checkpoint says]",
        ),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, metavar="N", help="Seed of the surface samples.")] = 0,
    model: Model = None,
    precision: Annotated[
        str, typer.Option(metavar="auto|fp32|bf16|int8", help="What the encoder computes in.")
    ] = "auto",
    device: Annotated[str, typer.Option(help="cpu needs no torch; any other is a torch device.")] = "cpu",
    threads: Annotated[int | None, typer.Option(min=1, metavar="N", help="Threads of the encoder.")] = None,
    patches: Patches = None,
    no_pictures: Annotated[bool, typer.Option("--no-pictures", help="Leave out parts.png and parts.html.")] = False,
    quiet: Quiet = False,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Name the parts of a mesh or a point cloud.

    Writes labels.npz, parts.glb (parts.ply for a cloud), parts.png, parts.html and summary.json.
    """
    from pa3d.io import load

    names = part_names(parts)
    points = sample_size(sample)
    folder = out if out is not None else Path(f"{file.stem}-parts")
    check_can_write(folder)
    with spinner(f"segmenting {file.name}", enabled=not (quiet or json)):
        from pa3d.segment import Segmenter, Stopwatch, check_options
        from pa3d.text import check_names

        check_options(assign, none)
        check_names(names)
        clock = Stopwatch()
        with clock("load"):
            shape = load(file, up=None if up == "auto" else up)
        with clock("model"):
            segmenter = Segmenter.from_pretrained(
                model, precision=precision, device=device, threads=threads, patches=patches
            )
        result = segmenter.segment(
            shape,
            names,
            category=category,
            sample=points,
            assign=assign,  # type: ignore[arg-type]
            none=none,
            up="auto" if up == "auto" else None,
            seed=seed,
        )
        result.timings = {**clock.seconds, **{k: v for k, v in result.timings.items() if k != "load"}}
        from pa3d.report import summary, write_outputs

        with clock("write"):
            files = write_outputs(result, folder, pictures=not no_pictures, html=not no_pictures)
        result.timings = {**result.timings, "write": clock.seconds["write"]}
    if json:
        print_json({**summary(result), "files": {kind: str(path) for kind, path in files.items()}})
    elif not quiet:
        print_result(result, folder, files)


@app.command()
def profile(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A mesh or a cloud.", show_default=False)],
    parts: Annotated[
        str, typer.Option("--parts", metavar="NAMES", help='Part names, "seat, back, leg".', show_default=False)
    ],
    calls: Annotated[int, typer.Option("-n", "--calls", min=1, metavar="N", help="How many calls are timed.")] = 50,
    sample: Annotated[
        str, typer.Option(metavar="N|all", help="How many points of the surface the encoder sees.")
    ] = "2048",
    assign: Annotated[
        str | None,
        typer.Option(
            metavar="smooth|nearest|membership",
            help="How points get the scores of patches.  [default: what the checkpoint says]",
        ),
    ] = None,
    model: Model = None,
    precision: Annotated[
        str, typer.Option(metavar="auto|fp32|bf16|int8", help="What the encoder computes in.")
    ] = "auto",
    device: Annotated[str, typer.Option(help="cpu needs no torch; any other is a torch device.")] = "cpu",
    threads: Annotated[int | None, typer.Option(min=1, metavar="N", help="Threads of the encoder.")] = None,
    patches: Patches = None,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Show where the time of `pa3d segment` goes, files written aside.

    Milliseconds a stage: the median of all calls but the first, their 90th and their 99th percentile.
    """
    from pa3d.io import load
    from pa3d.profiling import Stopwatch, measure, percentiles, table

    names, points = part_names(parts), sample_size(sample)
    clock = Stopwatch()
    with clock("read"):
        shape = load(file)
    with clock("model"):
        from pa3d.segment import Segmenter

        segmenter = Segmenter.from_pretrained(
            model, precision=precision, device=device, threads=threads, patches=patches
        )
    options: dict[str, Any] = {"sample": points, "assign": assign}
    with clock("first call"):
        measure(segmenter, shape, names, 1, **options)
    stages = percentiles(measure(segmenter, shape, names, calls, **options))
    if json:
        facts = {"name": shape.name, "points": len(shape.points), "parts": len(names), "calls": calls}
        print_json({**facts, "precision": segmenter.precision, "once": clock.seconds, "stages": stages})
        return
    typer.echo(f"{shape.name}: {len(shape.points):,} points, {segmenter.precision}, {calls} calls")
    typer.echo(table({p: {stage: found[p] for stage, found in stages.items()} for p in ("p50", "p90", "p99")}))
    typer.echo("once: " + ", ".join(f"{stage} {1e3 * spent:.1f} ms" for stage, spent in clock.seconds.items()))


@app.command()
def convert(
    source: Annotated[Path, typer.Argument(metavar="SOURCE", help="The published PatchAlign3D checkpoint (.pt).")],
    target: Annotated[Path, typer.Argument(metavar="TARGET", help="The .safetensors file to write.")],
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Turn the official checkpoint into safetensors, after checking names and shapes. Needs pa3d[torch]."""
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


@app.command()
def info(json: Json = False, debug: Debug = False) -> None:
    """Show the version, what this processor offers, the models, and which extras are installed."""
    facts = installation()
    if json:
        print_json(facts)
        return
    for name, text in describe(facts):
        typer.echo(f"{name:<14}{text}")


@app.callback(invoke_without_command=True)
def root(
    version: Annotated[bool, typer.Option("--version", help="Show the version and leave.")] = False,
) -> None:
    if version:
        from pa3d import __version__

        typer.echo(f"pa3d {__version__}")
        raise typer.Exit


def part_names(text: str) -> list[str]:
    """Names from a list with commas, or the lines of a file, less blank ones and those that begin with #."""
    is_file = os.path.isfile(text)
    if not is_file and (text.lower().endswith(".txt") or os.path.isdir(text)):
        raise InputError(f'--parts {text}: no such file; give a text file with a name a line, or "seat, back, leg"')
    names = text.split(",")
    if is_file:
        try:
            lines = Path(text).read_text(encoding="utf-8-sig").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
            raise InputError(
                f"--parts {text}: cannot be read ({reason}); give a text file with a name a line"
            ) from error
        names = [line for line in lines if not line.lstrip().startswith("#")]
    names = [name.strip() for name in names if name.strip()]
    if not names:
        where = f" in {text}" if is_file else ""
        raise InputError(f'no part names{where}; give at least one, such as --parts "seat, back, leg"')
    return names


def sample_size(text: str) -> int | None:
    if text == "all":
        return None
    if not text.isdecimal() or int(text) < 1:
        raise InputError(f"--sample {text}: expected a whole number of at least 1, or all")
    return int(text)


def check_can_write(folder: Path) -> None:
    """Raise InputError unless the folder can be written to, or can be created. Leaves nothing behind."""
    from tempfile import TemporaryFile

    from pa3d.atomic import check_writable_folder

    check_writable_folder(folder)
    existing = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.is_dir())
    try:
        # Permissions alone do not tell: to root all folders look writable, even those of /proc.
        with TemporaryFile(dir=existing) as file:
            file.write(b"pa3d")
    except OSError as error:
        raise InputError(f"{folder}: cannot be written ({error.strerror}); choose another output folder") from error


@contextmanager
def spinner(message: str, *, enabled: bool) -> Iterator[None]:
    """A spinner on stderr once the block has run for a second, and only on a terminal."""
    if not enabled or not sys.stderr.isatty():
        yield
        return
    lock = threading.Lock()
    ended = False
    status: Any = None

    def show() -> None:
        nonlocal status
        from rich.console import Console

        with lock:
            if not ended:
                status = Console(stderr=True).status(message)
                status.start()

    timer = threading.Timer(1.0, show)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        with lock:
            ended = True
            if status is not None:
                status.stop()


def print_json(value: dict[str, Any]) -> None:
    import json

    typer.echo(json.dumps(value, indent=2, ensure_ascii=False, default=str))


def print_result(result: Segmentation, folder: Path, files: dict[str, Path]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from pa3d.report import part_rows

    shape = result.shape
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("part")
    table.add_column("share of " + ("surface" if shape.is_mesh else "points"), justify="right")
    table.add_column("confidence", justify="right")
    for row in part_rows(result):
        if row.label < 0 and row.count == 0:
            continue
        confidence = "" if row.mean_confidence is None else f"{row.mean_confidence:.2f}"
        name = Text.assemble(("\u2588\u2588 ", row.color), row.name)
        table.add_row(name, f"{100 * row.share:.1f} %", confidence)
    stages = {stage: seconds for stage, seconds in result.timings.items() if "." not in stage}
    size = f"{len(shape.points):,} points"
    if shape.faces is not None:
        size = f"{len(shape.points):,} vertices, {len(shape.faces):,} faces"
    out = Console(highlight=False, soft_wrap=True)
    out.print(Text(f"{shape.name}: {size}"))
    out.print(table)
    out.print(Text(f"{sum(stages.values()):.2f} s: " + ", ".join(f"{k} {v:.2f}" for k, v in stages.items())))
    out.print(Text(f"{folder}{os.sep}: " + ", ".join(path.name for path in files.values())))


def installation() -> dict[str, Any]:
    """What `pa3d info` tells."""
    import platform

    from pa3d import _C, __version__
    from pa3d.checkpoint import EMBEDDED, load
    from pa3d.native import PRECISIONS, resolve_precision
    from pa3d.ops._dispatch import unavailable
    from pa3d.text.cache import cache_folder
    from pa3d.text.minilm import MiniLM

    model: dict[str, Any] = {"file": str(EMBEDDED)}
    checked: tuple[str, ...] = ()
    try:
        checkpoint = load()
        checked = checkpoint.precisions
        parameters = sum(tensor.size for tensor in checkpoint.tensors.values())
        model |= {"parameters": parameters, "text_space": checkpoint.text_space, "problem": None}
    except InputError as error:
        model["problem"] = str(error)
    return {
        "pa3d": __version__,
        "python": platform.python_version(),
        "machine": f"{platform.system()} {platform.machine()}",
        "isa": {"in_use": _C.isa(), "best": _C.best_isa(), "rejected": _C.rejected_isa()},
        "threads": _C.max_threads(),
        "precision": {
            "auto": resolve_precision("auto", checked),
            "available": [precision for precision in PRECISIONS if precision != "auto" and _C.supports(precision)],
        },
        "model": model,
        "text": {"encoder": MiniLM.space, "dim": MiniLM.dim, "cache": str(cache_folder())},
        "extras": {
            "torch": extra("torch", "torch", "convert, --device, training"),
            "open_clip": extra("open-clip-torch", "torch", "the text of the official weights"),
            "laspy": extra("laspy", "las", "LAS and LAZ files"),
        },
        "gpu": {name: unavailable(name) for name in ("cuda", "triton")},  # why its kernels cannot run, or None
    }


def extra(package: str, name: str, purpose: str) -> dict[str, str | None]:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return {"version": version(package), "for": purpose, "problem": None}
    except PackageNotFoundError:
        return {"version": None, "for": purpose, "problem": f"not installed; pip install 'pa3d[{name}]'"}


def describe(facts: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """The installation in rows."""
    isa, model, text = facts["isa"], facts["model"], facts["text"]
    yield "pa3d", f"{facts['pa3d']}, Python {facts['python']}, {facts['machine']}"
    pinned = "" if isa["in_use"] == isa["best"] else f" (this processor has {isa['best']})"
    if isa["rejected"]:
        pinned += f"; PA3D_ISA={isa['rejected']} cannot be used here"
    yield "instructions", isa["in_use"] + pinned
    yield "threads", str(facts["threads"])
    precision = facts["precision"]
    yield "precision", f"auto is {precision['auto']}; available: {', '.join(precision['available'])}"
    known = (
        "" if model["problem"] else f"{model['parameters'] / 1e6:.2f} M parameters, text space {model['text_space']}"
    )
    yield "model", model["problem"] or known
    yield "text encoder", f"{text['encoder']} ({text['dim']}-d), vectors kept in {text['cache']}"
    for name, found in facts["extras"].items():
        yield name, f"{found['version'] or found['problem']} (for {found['for']})"
    for name, problem in facts["gpu"].items():
        yield name, f"kernels cannot run: {problem}" if problem else "kernels can run"


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit code: 0, 1 for a bug, 2 for bad input, 130 when interrupted."""
    args = list(sys.argv[1:] if argv is None else argv) or ["--help"]
    debug = "--debug" in args  # read here, for it must hold for errors of the options, too
    try:
        code = app(args, prog_name="pa3d", standalone_mode=False)
        sys.stdout.flush()
        return code if isinstance(code, int) else 0
    except KeyboardInterrupt:
        return 130
    except typer.Abort:
        return 130
    except BrokenPipeError:
        # Whoever read the output has left; Python would complain when it closes it.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except MemoryError as error:
        return fail(error, "not enough memory; thin the shape out or use a smaller --sample", 2, debug)
    except InputError as error:
        return fail(error, str(error), 2, debug)
    except Exception as error:
        if hasattr(error, "format_message"):  # typer's own, which names the wrong option
            return fail(error, f"{error.format_message().rstrip('.')}; see pa3d --help", 2, debug)
        what = f"{type(error).__name__}: {error}"
        return fail(error, f"{what}; this is a bug of pa3d, --debug shows where", 1, debug)


def fail(error: BaseException, message: str, code: int, debug: bool) -> int:
    if debug:
        import traceback

        traceback.print_exception(error)
    print(f"error: {' '.join(message.split())}", file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main())
