"""pa3d segment."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pa3d.cli.arguments import Argument, Option, echo
from pa3d.cli.method_options import Method, MethodForm, MethodSetting, MethodWeights, segment_by
from pa3d.cli.options import (
    Assign,
    Category,
    Columns,
    Debug,
    Device,
    Json,
    Model,
    PartNamesOrAuto,
    Patches,
    Precision,
    Quiet,
    Sample,
    SampleSeed,
    TextVectorsFile,
    Threads,
    check_choice,
    part_names,
    sample_size,
)
from pa3d.cli.output import check_can_write, print_files, print_json, writes_unicode
from pa3d.cli.progress import spinner
from pa3d.errors import InputError

OTHERS_FROM, UNSURE_BELOW = 0.02, 0.3  # probabilities of categories
AUTO = "auto"  # in place of part names: the shape is divided by itself

if TYPE_CHECKING:
    from pa3d.segment import Segmentation
    from pa3d.unnamed import Unnamed


def segment(
    files: Annotated[
        list[Path] | None,
        Argument(
            metavar="FILES",
            help="A mesh (GLB, OBJ, PLY, STL ...) or a point cloud (PLY, PCD, XYZ, NPY ...): see docs/files.md. Or "
            "many: files, folders, which are searched with all subfolders, and lists (.txt, .lst) with one path per "
            "line.",
            show_default=False,
        ),
    ] = None,
    *,
    parts: PartNamesOrAuto = None,
    out: Annotated[
        Path | None,
        Option(
            "-o",
            "--out",
            metavar="FOLDER",
            help="Where the files go. Of many, each has a folder here, named by its path.  [default: ./NAME-parts]",
        ),
    ] = None,
    count: Annotated[
        int | None,
        Option(
            min=1,
            metavar="K",
            help="With --parts auto: how many parts.  [default: as many as the shape falls into most clearly]",
        ),
    ] = None,
    level: Annotated[
        float | None,
        Option(
            min=0,
            max=1,
            metavar="X",
            help="With --parts auto, instead of --count: how fine, from 0 (two parts) to 1 (64 parts).",
        ),
    ] = None,
    max_parts: Annotated[
        int | None, Option(min=1, metavar="K", help="Without --parts: ask for at most so many parts.")
    ] = None,
    category: Category = None,
    none: Annotated[
        float | None,
        Option(
            min=0,
            max=1,
            metavar="T",
            help="Threshold from 0 to 1: points whose best probability is below T get label -1, none of the parts. The "
            "embedded model takes the probability among the names and 'none of them', times the presence of the name.  "
            "[default: every point gets a part]",
        ),
    ] = None,
    up: Annotated[
        str | None,
        Option(
            metavar="AXIS|auto",
            help="Which axis of the file points up: x, y, z, -x, -y or -z. auto tries 26 directions and takes the "
            "one in which the names fit best; the encoder runs 26 times.  [default: y]",
        ),
    ] = None,
    nan: Annotated[
        str,
        Option(
            metavar="skip|error",
            help="Points of a cloud with NaN or infinite coordinates: label them -1, or refuse the file.",
        ),
    ] = "skip",
    columns: Columns = None,
    sample: Sample = "2048",
    assign: Assign = None,
    seed: SampleSeed = 0,
    model: Model = None,
    text_vectors: TextVectorsFile = None,
    patches: Patches = None,
    precision: Precision = "auto",
    device: Device = "cpu",
    threads: Threads = None,
    method: Method = None,
    weights: MethodWeights = None,
    form: MethodForm = "fair",
    setting: MethodSetting = None,
    no_refine: Annotated[
        bool, Option("--no-refine", help="Do not clean the borders of parts: label every face and point alone.")
    ] = False,
    no_structure: Annotated[
        bool, Option("--no-structure", help="Do not use the pieces of the mesh and the names of nodes and materials.")
    ] = False,
    no_pictures: Annotated[bool, Option("--no-pictures", help="Do not write parts.png and parts.html.")] = False,
    split: Annotated[bool, Option("--split", help="Also write a file for each part.")] = False,
    scores: Annotated[bool, Option("--scores", help="Also write the score of each part in the PLY files.")] = False,
    list_file: Annotated[
        str | None,
        Option("--list", metavar="FILE", help="A list of files with one path per line; - reads it from stdin."),
    ] = None,
    workers: Annotated[
        int | None,
        Option(min=1, metavar="N", help="For many files: processes of one thread each.  [default: one per processor]"),
    ] = None,
    ray: Annotated[
        str | None,
        Option(metavar="ADDRESS", help="For many files: the Ray cluster that does the work, or auto; needs pa3d[ray]."),
    ] = None,
    fresh: Annotated[
        bool,
        Option(
            "--overwrite",
            "--fresh",
            help="For many files: replace the results that an earlier run left in the folder.  [default: resume]",
        ),
    ] = False,
    quiet: Quiet = False,
    json: Json = False,
    debug: Debug = False,
) -> int:
    """Name the parts of a mesh or a point cloud, or of many. Without --parts it also finds out what to ask for: what
    the shape is, or --category, and the parts that such a thing has.

    Writes parts.glb (parts.ply for a point cloud), the file itself in named parts; painted.glb (painted.ply), in their
    colours; labels.npz, parts.png, parts.html and summary.json.

    Of many files (a folder, a list, several files, or --workers or --ray), each has these in a folder of its own, named
    by its path relative to the folder that was given, else to the current one or that of the list. results.jsonl and
    results.csv list all. The same command continues a run that was stopped, and makes what is new or has changed.
    """
    from pa3d.inputs import NAN

    names = None if parts is None else part_names(parts)
    asked = names if names is not None and names != [AUTO] else _unnamed(names, category, count, level, max_parts)
    if not isinstance(asked, list):
        need_names: dict[str, object] = {"--text-vectors": text_vectors, "--method": method}
        if names is not None:  # the shape is divided by itself
            need_names |= {"--none": none, "--assign": assign, "--category": category}
            need_names |= {"--no-refine": no_refine or None, "--no-structure": no_structure or None}
        need_names["--up auto"] = True if up == "auto" else None
        for option, value in need_names.items():
            if value is not None:
                raise InputError(f"{option} needs part names; give them with --parts, or leave it out")
    elif count is not None or level is not None or max_parts is not None:
        raise InputError("--count, --level and --max-parts are for shapes without --parts or with --parts auto")
    points = sample_size(sample)
    check_choice("nan", nan, NAN)
    load_options = {"up": None if up == "auto" else up, "nan": nan, "columns": columns}
    segment_options = {
        **({"category": category} if isinstance(asked, list) else {}),
        "sample": points,
        "assign": assign,
        "none": none,
        "up": "auto" if up == "auto" else None,
        "seed": seed,
        "refine": not no_refine,
        "structure": not no_structure,
    }
    output_options = {"pictures": not no_pictures, "html": not no_pictures, "split": split, "scores": scores}
    model_options = {"precision": precision, "device": device, "threads": threads, "patches": patches}
    given = list(files or [])
    if not given and list_file is None:
        raise InputError(
            "no file was given; expected a mesh, a point cloud, a folder or --list: see pa3d segment --help"
        )
    if list_file is not None or workers or ray or len(given) != 1 or _is_many(given[0]):
        from pa3d.cli.segment_many import segment_many

        if method is not None:
            raise InputError("--method takes one file; call it once for each")
        options = load_options, segment_options, output_options
        return segment_many(
            given, asked, out, options, model, model_options,
            list_file=list_file, text_vectors=text_vectors, workers=workers, ray=ray, fresh=fresh,
            quiet=quiet, json=json,
        )  # fmt: skip
    if fresh:
        raise InputError("--overwrite is for many files; the results of one file always replace earlier ones")
    (file,) = given
    folder = out if out is not None else Path(f"{file.stem}-parts")
    check_can_write(folder)
    with spinner(f"segmenting {file.name}", enabled=not (quiet or json)):
        from pa3d.io import load
        from pa3d.profiling import Stopwatch
        from pa3d.segment import Segmenter, check_options
        from pa3d.text import check_names

        check_options(assign, none)
        if isinstance(asked, list):
            check_names(asked)
        timer = Stopwatch()
        with timer("load"):
            shape = load(file, **load_options)  # type: ignore[arg-type]
        with timer("model"):
            segmenter = (
                Segmenter.from_pretrained(model, **model_options)  # type: ignore[arg-type]
                if method is None
                else segment_by(method, weights, form, setting)
            )
        if isinstance(asked, list):
            result = segmenter.segment(shape, asked, text_vectors=text_vectors, **segment_options)  # type: ignore[arg-type]
        else:
            result = asked.segment(segmenter, shape, segment_options)
        result.timings = {**timer.seconds, **{k: v for k, v in result.timings.items() if k != "load"}}
        from pa3d.report import summary, write_outputs

        with timer("write"):
            paths = write_outputs(result, folder, **output_options)
        result.timings = {**result.timings, "write": timer.seconds["write"]}
    missing = shape.missing()
    if missing is not None:
        skipped = f"{missing.sum():,} of {len(missing):,} points"
        echo(f"{shape.name}: {skipped} have no finite coordinates; their label is -1", err=True)
    if json:
        print_json({**summary(result), "files": {kind: str(path) for kind, path in paths.items()}})
    elif not quiet:
        print_result(result, folder, paths)
    return 0


def _unnamed(
    names: list[str] | None, category: str | None, count: int | None, level: float | None, max_parts: int | None
) -> Unnamed:
    """How a shape gets its part names: names is None, or [AUTO]."""
    from pa3d.unnamed import Divided, Proposed

    if names is None:
        if count is not None or level is not None:
            raise InputError("--count and --level go with --parts auto; without --parts it is --max-parts")
        return Proposed(category, max_parts)
    if max_parts is not None:
        raise InputError("--max-parts goes without --parts; with --parts auto it is --count")
    if count is not None and level is not None:
        raise InputError("--count and --level were both given; expected one of them")
    return Divided(count, level)


def _is_many(path: Path) -> bool:
    """Whether a path holds more than one shape: a folder or a list."""
    if path.is_dir():
        return True
    if path.suffix.lower() not in (".txt", ".lst") or not path.is_file():
        return False
    from pa3d.listing import is_list

    return is_list(path)


def print_result(result: Segmentation, folder: Path, files: dict[str, Path]) -> None:
    """The shape, a table of its parts, seconds per stage, and the files."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from pa3d.report import part_rows, presence_text, share_text, size_text, without_missing

    shape = result.shape
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("part")
    block = "\u2588\u2588 " if writes_unicode() else "## "
    table.add_column("share of " + ("surface" if shape.is_mesh else "points"), justify="right")
    table.add_column("confidence", justify="right")
    if result.presence is not None:
        table.add_column("presence", justify="right")
    for row in part_rows(without_missing(result)):
        if row.label < 0 and row.count == 0:
            continue
        confidence = "" if row.mean_confidence is None else f"{row.mean_confidence:.2f}"
        name = Text.assemble((block, row.color), row.name)
        cells = (confidence, presence_text(row)) if result.presence is not None else (confidence,)
        table.add_row(name, share_text(row), *cells)
    stages = {stage: seconds for stage, seconds in result.timings.items() if "." not in stage}
    out = Console(highlight=False, soft_wrap=True)
    out.print(Text(f"{shape.name}: {size_text(shape)}"))
    if "proposed" in result.settings:
        out.print(Text(proposed_text(result.settings["proposed"])))
    out.print(table)
    out.print(Text(f"{sum(stages.values()):.2f} s: " + ", ".join(f"{k} {v:.2f}" for k, v in stages.items())))
    print_files(folder, ", ".join(path.name for path in files.values()))


def proposed_text(proposed: dict[str, Any]) -> str:
    """taken for: armchair (0.62); or chair (0.20), couch (0.05): choose with --category"""
    if proposed["given"]:
        return f"parts of: {proposed['category']}"
    (name, probability), *others = proposed["categories"]
    likely = [f"{other} ({p:.2f})" for other, p in others if p >= OTHERS_FROM]
    text = f"taken for: {name} ({probability:.2f})" + ", which is not sure" * (probability < UNSURE_BELOW)
    return text + (f"; or {', '.join(likely)}: choose with --category" if likely else "")
