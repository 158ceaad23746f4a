"""Harvest files, archives and folders: every shape with named parts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from pa3d.data.harvest.archives import MAX_BYTES
from pa3d.data.harvest.judge import MIN_SURFACE, accept_or_reason, fingerprint, to_part_mesh
from pa3d.data.harvest.pieces import NamedMesh, SkippedShape
from pa3d.data.harvest.readers import READERS, Shapes, unreadable
from pa3d.data.harvest.report import HarvestReport
from pa3d.data.parts import PartMesh
from pa3d.data.rigged import RiggedCharacter
from pa3d.data.sources import corrections, guess_category, origin
from pa3d.errors import InputError
from pa3d.io._common import CorruptFileError, raise_as_input_error
from pa3d.io.gltf import FORMAT, Gltf


@dataclass
class Harvested:
    """A shape that was kept: its part mesh in the pose of the file, its rig if it has one, and its file."""

    mesh: PartMesh
    character: RiggedCharacter | None
    file: Path


def harvest(
    paths: str | Path | Iterable[str | Path],
    *,
    license: str = "",
    source: str = "",
    category: str = "",
    report: HarvestReport | None = None,
) -> Iterator[PartMesh]:
    """Records of every usable shape in files, archives and folders (searched whole), in sorted order.

    license, source and category hold for all of them; where empty, pa3d.data.sources and the file's name decide
    ("unknown" else). Unreadable and meaningless shapes are listed in the report, not raised.
    Raises InputError for a path that does not exist.
    """
    harvested = harvest_with_rigs(paths, license=license, source=source, category=category, report=report)
    return (shape.mesh for shape in harvested)


def harvest_with_rigs(
    paths: str | Path | Iterable[str | Path],
    *,
    license: str = "",
    source: str = "",
    category: str = "",
    min_surface: float = MIN_SURFACE,
    report: HarvestReport | None = None,
) -> Iterator[Harvested]:
    """As harvest, with the rig of skinned characters, so that they can be given other poses.

    min_surface: the fraction of the surface that named parts must cover.
    """
    report = report if report is not None else HarvestReport()
    seen: set[bytes] = set()
    for path in _files(paths):
        for shape in _shapes(path, category, report):
            known_source, known_license = origin(path, shape.copyright)
            character = shape if isinstance(shape, RiggedCharacter) else None
            if corrections(known_source, shape.id) is None:
                report.drop(shape.id, "excluded manually: misleading names")
                continue
            if isinstance(shape, RiggedCharacter):
                part_mesh, reason = accept_or_reason(shape.bind(), min_surface)
            else:
                part_mesh, reason = to_part_mesh(shape, report, known_source, min_surface)
            if part_mesh is not None:
                part_mesh.source, part_mesh.license = source or known_source, license or known_license
                digest = fingerprint(part_mesh)
                reason = "the same mesh as another shape" if digest in seen else ""
                seen.add(digest)
            if part_mesh is None or reason:
                report.drop(shape.id, reason)
                continue
            if character is not None:
                character.source, character.license = part_mesh.source, part_mesh.license
            report.keep(part_mesh)
            yield Harvested(part_mesh, character, path)


def characters(
    paths: str | Path | Iterable[str | Path], *, license: str = "", report: HarvestReport | None = None
) -> Iterator[RiggedCharacter]:
    """Every skinned glTF character of files and folders, to be posed at random. Other files are skipped."""
    report = report if report is not None else HarvestReport()
    for path in _files(paths):
        if path.suffix.lower() not in FORMAT.suffixes:
            continue
        try:
            with raise_as_input_error(str(path), "glTF"):
                gltf = Gltf.load(path)
                if not gltf.skins:
                    continue
                known_source, known_license = origin(path)
                character = RiggedCharacter.from_gltf(
                    gltf, category=guess_category(path), source=known_source, license=license or known_license,
                    id=f"{path.parent.name}/{path.stem}",
                )  # fmt: skip
        except InputError as error:
            report.drop(str(path), unreadable(error))
            continue
        yield character


def _files(paths: str | Path | Iterable[str | Path]) -> Iterator[Path]:
    roots = [Path(path) for path in ([paths] if isinstance(paths, (str, Path)) else paths)]
    for path in roots:
        if not path.exists():
            raise InputError(f"{path}: no such file or folder; expected shapes to harvest")
        if path.is_file() and path.suffix.lower() not in READERS:
            raise InputError(f"{path}: unsupported suffix {path.suffix!r}; expected one of {', '.join(READERS)}")
    yielded: set[Path] = set()
    for path in roots:
        files = sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
        for file in files:
            if file.suffix.lower() in READERS and (real := file.resolve()) not in yielded:
                yielded.add(real)
                yield file


def read_unnamed(path: Path) -> NamedMesh | None:
    """The mesh of an AC3D or MJCF file, whatever its pieces are called; None for XML that is not a model.

    Raises InputError when it cannot be read.
    """
    with raise_as_input_error(path.name, path.suffix[1:].upper()):
        shape = next(READERS[path.suffix.lower()](path, guess_category(path)), None)
    return shape if isinstance(shape, NamedMesh) else None


def _shapes(path: Path, category: str, report: HarvestReport) -> Iterator[NamedMesh | RiggedCharacter]:
    """The shapes of a file. Errors and skipped shapes go into the report."""
    shapes: Shapes | None = None
    while True:
        try:
            with raise_as_input_error(str(path), path.suffix[1:].upper()):
                if path.stat().st_size > MAX_BYTES:
                    raise CorruptFileError(f"larger than {MAX_BYTES >> 30} GiB", "split it")
                shapes = shapes or READERS[path.suffix.lower()](path, category)
                shape = next(shapes, None)
        except InputError as error:
            report.drop(str(path), unreadable(error))
            return
        if shape is None:
            return
        if isinstance(shape, SkippedShape):
            report.drop(shape.id, shape.reason)
        else:
            yield shape
