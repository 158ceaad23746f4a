"""pa3d harvest and pa3d synth. Imports nothing heavy until a command runs."""

from __future__ import annotations

import os
import secrets
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pa3d.errors import InputError

if TYPE_CHECKING:
    from pa3d.data.harvest import Harvested, HarvestReport
    from pa3d.data.parts import PartCloud, PartMesh

REPORT = "harvest.json"
MANIFEST = "synth.json"
SHEET_SHAPES = 20

Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing unless something goes wrong.")]
Json = Annotated[bool, typer.Option("--json", help="Print a summary as JSON and nothing else.")]
Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]
Points = Annotated[int, typer.Option(min=1, max=1_000_000, metavar="N", help="Points of a cloud.")]
Seed = Annotated[int, typer.Option(min=0, metavar="N", help="Seed of everything that is drawn.")]


def harvest(
    paths: Annotated[
        list[Path],
        typer.Argument(
            metavar="FILES_OR_FOLDERS...",
            help="GLB, glTF, OBJ, AC3D, MJCF, Sweet Home 3D libraries, ZIP; folders are searched whole.",
            show_default=False,
        ),
    ],
    out: Annotated[
        Path, typer.Option("-o", "--out", metavar="SHARDS", help="The folder of shards to write.", show_default=False)
    ],
    points: Points = 4096,
    draws: Annotated[int, typer.Option(min=1, metavar="N", help="Clouds drawn from each shape.")] = 1,
    poses: Annotated[
        int, typer.Option(min=0, metavar="N", help="Clouds of each rigged character, each in a random pose.")
    ] = 0,
    seed: Seed = 0,
    category: Annotated[str, typer.Option(metavar="WORD", help="What all shapes are.  [default: by file]")] = "",
    source: Annotated[str, typer.Option(metavar="NAME", help="Where all come from.  [default: by folder]")] = "",
    license: Annotated[str, typer.Option(metavar="SPDX", help="The licence of all.  [default: as found]")] = "",
    sheet: Annotated[
        Path | None,
        typer.Option(metavar="PNG", help=f"Also draw {SHEET_SHAPES} of the kept shapes, chosen by --seed."),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace the folder of an earlier harvest.")] = False,
    quiet: Quiet = False,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Make training shards of shapes whose authors named their parts.

    Writes shard-*.tar and harvest.json, which lists every shape kept and why each other was left; files that
    cannot be read are named on stderr and skipped. docs/harvest.md has the rules.
    """
    from pa3d.data.harvest import HarvestReport, survey
    from pa3d.data.parts import write_shards

    if sheet is not None:
        _check_picture(sheet)
    report, kept, chosen = HarvestReport(), list[dict[str, Any]](), _Sample(SHEET_SHAPES if sheet else 0, seed)

    def records() -> Iterator[PartCloud]:
        for shape in survey(paths, license=license, source=source, category=category, report=report):
            kept.append(_described(shape))
            chosen.offer(shape.mesh)
            yield from clouds(shape, points, draws, poses, seed)

    with replaced(out, REPORT, force=force) as folder, _spinner("harvesting", quiet or json):
        written = write_shards(records(), folder)
        if not kept:
            reasons = ", ".join(f"{count} {reason}" for reason, count in report.dropped.most_common(4))
            where = ", ".join(map(str, paths))
            raise InputError(
                f"no shape with two named parts in {where} ({reasons or 'no files of a known kind'}); "
                "see docs/harvest.md for what counts as a name"
            )
        settings = {"points": points, "draws": draws, "poses": poses, "seed": seed}
        facts = _facts(report, written, settings)
        _write_json(folder / REPORT, {**facts, "shapes": kept, "left": report.left})
        if sheet is not None:
            from pa3d.atomic import atomic_write
            from pa3d.report.part_mesh import contact_sheet

            with atomic_write(sheet) as file:
                file.write(contact_sheet(chosen.sample))
    for where, reason in report.unreadable:
        print(f"left out: {where}: {reason.removeprefix('unreadable: ')}", file=sys.stderr)
    if json:
        _print_json({**facts, "out": str(out)})
    elif not quiet:
        typer.echo(report)
        typer.echo(f"{out}{os.sep}: {written} clouds of {points} points in shards, {REPORT}")


def synth(
    category: Annotated[
        str | None, typer.Argument(metavar="CATEGORY", help="What to draw; --list names them all.", show_default=False)
    ] = None,
    count: Annotated[int, typer.Option("-n", "--count", min=1, metavar="N", help="How many.")] = 1,
    out: Annotated[
        Path | None,
        typer.Option("-o", "--out", metavar="DIR", help="The folder to write.  [default: ./CATEGORY]"),
    ] = None,
    shards: Annotated[bool, typer.Option("--shards", help="Write training shards in place of GLB files.")] = False,
    points: Points = 4096,
    seed: Seed = 0,
    list_all: Annotated[bool, typer.Option("--list", help="Name the categories and leave.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace the folder of an earlier run.")] = False,
    quiet: Quiet = False,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Draw objects or creatures with named parts: as GLB files with a node a part, or as training shards.

    The shapes are those of the seeds SEED to SEED + N - 1; synth.json holds every part's names, finest first.
    """
    from pa3d.data.synth import categories

    if list_all:
        if json:
            _print_json({"objects": categories().objects, "creatures": categories().creatures})
            return
        typer.echo(f"objects: {', '.join(categories().objects)}\n\ncreatures: {', '.join(categories().creatures)}")
        return
    if category is None:
        raise InputError("no CATEGORY given; name one, such as pa3d synth chair, or see pa3d synth --list")
    from pa3d.data.parts import write_shards
    from pa3d.data.synth import draw_cloud, draw_mesh
    from pa3d.report.part_mesh import named_glb

    target = out if out is not None else Path(category.replace(" ", "-"))
    seeds = range(seed, seed + count)
    draw_mesh(category, seed)  # an unknown category is told before anything is written
    rows: list[dict[str, Any]] = []
    with replaced(target, MANIFEST, force=force) as folder, _spinner(f"drawing {category}", quiet or json):
        if shards:
            write_shards((draw_cloud(category, s, points) for s in seeds), folder)
        else:
            for s in seeds:
                mesh = draw_mesh(category, s)
                name = f"{category.replace(' ', '-')}-{s}.glb"
                (folder / name).write_bytes(named_glb(mesh))
                rows.append(
                    {"file": name, "category": mesh.category, "seed": s, "parts": [list(p) for p in mesh.parts]}
                )
        facts = {"category": category, "count": count, "seed": seed, "shards": shards}
        _write_json(folder / MANIFEST, {**facts, **({"points": points} if shards else {"shapes": rows})})
    if json:
        _print_json({**facts, "out": str(target)})
    elif not quiet:
        what = f"{count} clouds of {points} points in shards" if shards else f"{count} GLB files"
        typer.echo(f"{target}{os.sep}: {what}, {MANIFEST}")


def clouds(shape: Harvested, points: int, draws: int, poses: int, seed: int) -> Iterator[PartCloud]:
    """Clouds of a harvested shape; what is drawn depends on the seed and the shape's id alone."""
    import zlib

    import numpy as np

    rng = np.random.default_rng([seed, zlib.crc32(shape.mesh.id.encode())])
    if shape.character is not None and poses:
        for _ in range(poses):
            yield shape.character.pose(rng).sample(points, rng)
        return
    for _ in range(draws):
        yield shape.mesh.sample(points, rng)


@contextmanager
def replaced(target: Path, mark: str, *, force: bool) -> Iterator[Path]:
    """A folder to fill, which takes the place of `target` when the block ends without an error.

    mark: the file by which a folder written by the same command is known; only such a one is ever replaced, and
    only with force. Raises InputError for any other folder that holds something.
    """
    from pa3d.atomic import check_writable_folder

    check_writable_folder(target)
    if target.is_dir() and any(target.iterdir()):
        if not (target / mark).is_file():
            raise InputError(f"{target}: holds other files; choose an empty or new folder")
        if not force:
            raise InputError(f"{target}: holds an earlier result; choose another folder, or --force to replace it")
    beside = target.absolute().parent / f".{target.name}.{secrets.token_hex(4)}.tmp"
    try:
        try:
            beside.mkdir(parents=True)
        except OSError as error:
            raise InputError(f"{target}: cannot be created ({error.strerror}); choose another folder") from error
        yield beside
        if target.is_dir():
            old = beside.with_suffix(".old")
            os.replace(target, old)
            os.replace(beside, target)
            shutil.rmtree(old)
        else:
            os.replace(beside, target)
    except OSError as error:
        raise InputError(f"{target}: cannot be written ({error.strerror or error}); choose another folder") from error
    finally:
        shutil.rmtree(beside, ignore_errors=True)


class _Sample:
    """`size` of a stream of unknown length, each as likely (reservoir sampling, Vitter's algorithm R)."""

    def __init__(self, size: int, seed: int) -> None:
        import numpy as np

        self.sample: list[PartMesh] = []
        self._size, self._seen, self._rng = size, 0, np.random.default_rng(seed)

    def offer(self, mesh: PartMesh) -> None:
        self._seen += 1
        if len(self.sample) < self._size:
            self.sample.append(mesh)
        elif (place := int(self._rng.integers(self._seen))) < self._size:
            self.sample[place] = mesh


def _described(shape: Harvested) -> dict[str, Any]:
    mesh = shape.mesh
    return {
        "id": mesh.id,
        "file": str(shape.file),
        "category": mesh.category,
        "source": mesh.source,
        "license": mesh.license,
        "rigged": shape.character is not None,
        "parts": [list(names) for names in mesh.parts],
    }


def _facts(report: HarvestReport, written: int, settings: dict[str, Any]) -> dict[str, Any]:
    return {
        "kept": report.kept.total(),
        "clouds": written,
        "names": len(report.names),
        "names_in_5_shapes": len(report.common_names()),
        "sources": dict(report.kept.most_common()),
        "licenses": dict(report.licenses.most_common()),
        "dropped": dict(report.dropped.most_common()),
        "settings": settings,
        "shapes_a_name": dict(report.names.most_common()),
    }


def _check_picture(path: Path) -> None:
    from pa3d.atomic import check_writable_folder

    if path.suffix.lower() != ".png":
        raise InputError(f"--sheet {path}: expected a name that ends in .png")
    if path.is_dir() or not path.absolute().parent.is_dir():
        raise InputError(f"--sheet {path}: expected a file in a folder that exists")
    check_writable_folder(path.absolute().parent)


def _write_json(path: Path, value: dict[str, Any]) -> None:
    import json

    path.write_text(json.dumps(value, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def _print_json(value: dict[str, Any]) -> None:
    from pa3d.cli import print_json

    print_json(value)


def _spinner(message: str, silent: bool) -> Any:
    from pa3d.cli import spinner

    return spinner(message, enabled=not silent)
