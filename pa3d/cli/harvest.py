"""pa3d harvest."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pa3d.cli.options import Debug, Json, Quiet
from pa3d.cli.output import print_files, print_json, replaced_folder, write_json
from pa3d.cli.progress import spinner
from pa3d.cli.synth import Force, Points, Seed
from pa3d.errors import InputError

if TYPE_CHECKING:
    from pa3d.data.harvest import Harvested, HarvestReport
    from pa3d.data.parts import PartCloud, PartMesh

REPORT = "harvest.json"
SHEET_SHAPES = 20


def harvest(
    paths: Annotated[
        list[Path],
        typer.Argument(
            metavar="FILES_OR_FOLDERS...",
            help="GLB, glTF, OBJ, AC3D, MJCF, Sweet Home 3D libraries, ZIP. Folders are searched with all subfolders.",
            show_default=False,
        ),
    ],
    out: Annotated[
        Path, typer.Option("-o", "--out", metavar="FOLDER", help="The folder of shards to write.", show_default=False)
    ],
    points: Points = 4096,
    draws: Annotated[int, typer.Option(min=1, metavar="N", help="Clouds to draw from each shape.")] = 1,
    poses: Annotated[
        int, typer.Option(min=0, metavar="N", help="Clouds of each rigged character, each in its own random pose.")
    ] = 0,
    seed: Seed = 0,
    category: Annotated[
        str, typer.Option(metavar="WORD", help="The category of all shapes.  [default: from the name of each file]")
    ] = "",
    source: Annotated[
        str, typer.Option(metavar="NAME", help="The source of all shapes.  [default: from the path of each file]")
    ] = "",
    license: Annotated[
        str, typer.Option(metavar="SPDX", help="The licence of all shapes.  [default: as found in or beside each file]")
    ] = "",
    sheet: Annotated[
        Path | None,
        typer.Option(
            metavar="PNG", help=f"Also draw {SHEET_SHAPES} of the kept shapes as one picture; --seed chooses them."
        ),
    ] = None,
    force: Force = False,
    quiet: Quiet = False,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Make training shards from shapes whose authors named their parts.

    Writes shard-*.tar and harvest.json, which lists every shape that was kept and why each other shape was left out.
    Files that cannot be read are named on stderr and skipped. docs/harvest.md has the rules.
    """
    from pa3d.data.harvest import HarvestReport, harvest_with_rigs
    from pa3d.data.parts import write_shards

    if sheet is not None:
        _check_picture(sheet)
    report, kept, chosen = HarvestReport(), list[dict[str, Any]](), _Reservoir(SHEET_SHAPES if sheet else 0, seed)

    def records() -> Iterator[PartCloud]:
        for shape in harvest_with_rigs(paths, license=license, source=source, category=category, report=report):
            kept.append(_described(shape))
            chosen.offer(shape.mesh)
            yield from clouds(shape, points, draws, poses, seed)

    working = spinner("harvesting", enabled=not (quiet or json))
    with replaced_folder(out, REPORT, force=force) as folder, working:
        written = write_shards(records(), folder)
        if not kept:
            reasons = ", ".join(f"{count} {reason}" for reason, count in report.drop_reasons.most_common(4))
            where = ", ".join(map(str, paths))
            raise InputError(
                f"no shape with two named parts in {where} ({reasons or 'no files of a known kind'}); "
                "see docs/harvest.md for what counts as a name"
            )
        settings = {"points": points, "draws": draws, "poses": poses, "seed": seed}
        facts = _facts(report, written, settings)
        write_json(folder / REPORT, {**facts, "shapes": kept, "left": report.dropped})
        if sheet is not None:
            from pa3d.atomic import atomic_write
            from pa3d.report.part_mesh import contact_sheet

            with atomic_write(sheet) as file:
                file.write(contact_sheet(chosen.sample))
    for where, reason in report.unreadable:
        print(f"left out: {where}: {reason.removeprefix('unreadable: ')}", file=sys.stderr)
    if json:
        print_json({**facts, "out": str(out)})
    elif not quiet:
        typer.echo(report)
        print_files(out, f"{written} clouds of {points} points in shards, {REPORT}")


def clouds(shape: Harvested, points: int, draws: int, poses: int, seed: int) -> Iterator[PartCloud]:
    """Clouds of a harvested shape. They depend only on the seed and the shape's id."""
    import zlib

    import numpy as np

    rng = np.random.default_rng([seed, zlib.crc32(shape.mesh.id.encode())])
    if shape.character is not None and poses:
        for _ in range(poses):
            yield shape.character.pose(rng).sample(points, rng)
        return
    for _ in range(draws):
        yield shape.mesh.sample(points, rng)


class _Reservoir:
    """A uniform sample of `size` items from a stream of unknown length (reservoir sampling, Vitter's algorithm R)."""

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
        "dropped": dict(report.drop_reasons.most_common()),
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
