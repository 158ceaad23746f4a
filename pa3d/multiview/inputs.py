"""What `pa3d prepare` reads: files, members of archives and shapes of the official layout, one source a shape.

Where a file names parts (pa3d.data.harvest) its shape comes with them, else with its geometry alone, which is all that
stage 1 needs. Colours and textures of GLB, glTF and OBJ come along where both readers give the same faces. An .npz mesh
may hold labels of its own: face_labels (F,) with -1 for none, part_names, and category.
"""

from __future__ import annotations

import re
import tempfile
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from pa3d.data.harvest import NamedMesh, harvest, read_unnamed
from pa3d.data.harvest.archives import (
    CATALOGUE,
    catalogue,
    catalogue_rotation,
    open_archive,
    shape_members,
    unpack,
)
from pa3d.data.harvest.archives import SUFFIXES as ARCHIVES
from pa3d.data.official import is_official, official_entries
from pa3d.data.parts import PartCloud, PartMesh
from pa3d.data.sources import category_of, origin
from pa3d.errors import InputError
from pa3d.frames import UP_AXES
from pa3d.io import SUFFIXES, load
from pa3d.io._common import CorruptFileError, raise_as_input_error
from pa3d.multiview.materials import read_materials
from pa3d.multiview.shade import Texture
from pa3d.multiview.targets import Subject
from pa3d.ops import knn
from pa3d.shape import Shape

Kind = Literal["file", "member", "official"]

_NAMED = (".glb", ".gltf", ".obj", ".ac", ".xml", ".fbx")
# Tables may hold anything; in a folder they are taken for notes, by name they are read.
_NOTES = (".txt", ".csv", ".asc", ".npy")
_Y_UP = (".glb", ".gltf", ".ac", ".xml", ".sh3f")  # by their format, or by what reads them
_SAME_FACES = 0.99  # two faces back to back have one centre
# Columns of a y-up shape, and their signs, from one whose axis up is x or z: rotations by a quarter turn.
_TURNS = {"x": ((1, 0, 2), (-1, 1, 1)), "y": ((0, 1, 2), (1, 1, 1)), "z": ((0, 2, 1), (1, 1, -1))}


@dataclass(frozen=True)
class Source:
    """One shape: a file, the member of an archive, or a line of the split of an official layout at path."""

    path: str
    member: str = ""
    kind: Kind = "file"

    def __str__(self) -> str:
        return f"{self.path}:{self.member}" if self.member else self.path


def list_sources(where: str | Path, *, split: str = "train") -> list[Source]:
    """Every shape of a folder (searched whole, sorted), of one file, or of a text file with a path a line; once each.

    A folder in the official layout gives the shapes of a split. Lines of a list are relative to its folder; blank ones
    and those that begin with # are passed over. Raises InputError when there is no shape, or a path does not exist.
    """
    path = Path(where)
    if not path.exists():
        raise InputError(f"{path}: no such file or folder; give shapes, a folder of them, or a list with a path a line")
    if path.is_dir() and is_official(path):
        return [Source(str(path), entry, "official") for entry in dict.fromkeys(official_entries(path, split))]
    paths = _listed(path) if path.is_file() and _is_list(path) else [path]
    sources: dict[Source, None] = {}
    for given in paths:
        if not given.exists():
            raise InputError(f"{path}: lists {given}, which does not exist; correct the list")
        files = sorted(p for p in given.rglob("*") if _is_shape(p)) if given.is_dir() else [given]
        sources |= dict.fromkeys(source for file in files for source in _sources(file))
    if not sources:
        expected = ", ".join(sorted({*SUFFIXES, *_NAMED, *ARCHIVES} - {*_NOTES}))
        raise InputError(f"{path}: no shapes here; expected files such as {expected}")
    return list(sources)


def read_source(source: Source, *, up: str = "y", grey: bool = False) -> Subject:
    """The shape of a source, y up. up: the axis of files whose format does not say it; grey: without its colours.

    Raises InputError when it cannot be read or holds no shape. Not for official ones (pa3d.data.official).
    """
    if up not in UP_AXES:
        raise InputError(f"up axis {up!r} is unknown; give one of x, y, z")
    if source.kind == "member":
        subject = _read_member(source)
    else:
        path = Path(source.path)
        subject = _read_file(path, path.suffix.lower())
    if Path(source.path).suffix.lower() not in _Y_UP:
        _turn(subject.shape, up)
    if grey:
        subject = Subject(subject.shape)
    subject.shape.provenance["file"] = Path(source.path).name + (f":{source.member}" if source.member else "")
    return subject


def _is_list(path: Path) -> bool:
    """A .lst file, or a .txt one whose first entry is not a row of numbers."""
    if path.suffix.lower() not in (".txt", ".lst"):
        return False
    with path.open(encoding="utf-8", errors="replace") as file:
        first = next((line for line in file if line.strip() and not line.startswith("#")), "")
    return not all(re.fullmatch(r"[-+.\deE]+", word) for word in first.replace(",", " ").split())


def _listed(path: Path) -> list[Path]:
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError:
        raise InputError(f"{path}: is not UTF-8 text; give a list with a path a line") from None
    return [path.parent / line.strip() for line in lines if line.strip() and not line.startswith("#")]


def _is_shape(path: Path) -> bool:
    suffix = path.suffix.lower()
    if suffix in _NOTES or suffix not in (*SUFFIXES, *_NAMED, *ARCHIVES) or not path.is_file():
        return False
    if suffix != ".xml":
        return True
    with path.open("rb") as file:
        # Models are what begins so; fragments to be included begin with <mujocoinclude.
        return re.search(rb"<mujoco[\s>]", file.read(4096)) is not None


def _sources(file: Path) -> Iterator[Source]:
    if file.suffix.lower() not in ARCHIVES:
        yield Source(str(file))
        return
    try:
        with open_archive(file) as archive:
            names = shape_members(archive)
    except CorruptFileError:
        names = [""]  # reported with the other broken ones, when its turn comes
    for name in names:
        yield Source(str(file), name, "member")


def _read_file(path: Path, suffix: str, license: str = "", source: str = "") -> Subject:
    if suffix in _NAMED and path.is_file():
        named = next(harvest([path], license=license, source=source), None)
        if named is not None:
            return _dressed(Subject(named), path)
    known_source, known_license = origin(path)
    about = (category_of(path), source or known_source, license or known_license, f"{path.parent.name}/{path.stem}")
    if suffix in (".ac", ".xml") and path.is_file():
        return Subject(_bare(read_unnamed(path), about))
    shape = load(path)
    # An origin away from zero only moves the shape, which is brought to the unit sphere anyway.
    if shape.faces is None:
        return Subject(PartCloud(shape.points, [], np.zeros((0, len(shape.points)), bool), *about), shape.colors)
    mesh = PartMesh(shape.points, shape.faces, np.full(len(shape.faces), -1, np.int32), [], *about)
    if suffix == ".npz":
        _add_labels(mesh, path)
    return _dressed(Subject(mesh, shape.colors), path, shape)


def _dressed(subject: Subject, path: Path, shape: Shape | None = None) -> Subject:
    """A mesh in the colours of its file, where its faces are those that `load` gives, in whatever order; else grey.

    shape: what `load` gave, if it was asked already.
    """
    mesh = subject.shape
    if not isinstance(mesh, PartMesh) or path.suffix.lower() not in (".glb", ".gltf", ".obj"):
        return subject
    order: slice | NDArray[np.int64] = slice(None)
    if shape is None:
        try:
            shape = load(path)
        except InputError:  # readers differ in what they take
            return subject
        if shape.faces is None or len(shape.faces) != len(mesh.faces):
            return subject  # cut finer, as rigged people are
        theirs = (shape.points + shape.origin).astype(np.float32)[shape.faces]  # (F, 3, 3)
        ours = mesh.vertices[mesh.faces]
        order = knn(np.ascontiguousarray(ours.mean(1)), np.ascontiguousarray(theirs.mean(1)), 1)[0][:, 0]
        apart = np.abs(theirs[order] - ours).max(axis=(1, 2))
        if not (apart <= 1e-4 * np.ptp(ours, axis=(0, 1)).max()).mean() > _SAME_FACES:
            return subject  # in another pose, or turned
    materials = read_materials(path, len(mesh.faces))
    if materials.face_colors is not None:
        subject.face_colors = materials.face_colors[order]
    if materials.texture is not None:
        look = materials.texture
        subject.texture = Texture(look.corner_uv[order], look.images, look.face_image[order])
    return subject


def _bare(shape: NamedMesh | None, about: tuple[str, str, str, str]) -> PartMesh:
    if shape is None or not len(shape.faces):
        raise InputError(f"{about[3]}: no triangles; expected a mesh")
    faces = shape.faces.astype(np.int32)
    return PartMesh(shape.vertices.astype(np.float32), faces, np.full(len(faces), -1, np.int32), [], *about)


def _add_labels(mesh: PartMesh, path: Path) -> None:
    with np.load(path, allow_pickle=False) as arrays:
        if not {"face_labels", "part_names"} <= set(arrays.files):
            return
        labels, names = arrays["face_labels"], [str(name) for name in arrays["part_names"]]
        mesh.category = str(arrays["category"]) if "category" in arrays.files else mesh.category
    if labels.shape != (len(mesh.faces),) or labels.min(initial=-1) < -1 or labels.max(initial=-1) >= len(names):
        raise InputError(f"{path.name}: expected face_labels ({len(mesh.faces)},) from -1 to {len(names) - 1}")
    mesh.face_parts, mesh.parts = labels.astype(np.int32), [(name,) for name in names]


def _read_member(source: Source) -> Subject:
    """The member unpacked beside its library's catalogue, into an archive of the same name with nothing else in it."""
    path, suffix = Path(source.path), Path(source.member).suffix.lower()
    known_source, known_license = origin(path)
    with tempfile.TemporaryDirectory(prefix="pa3d-") as folder:
        small = Path(folder) / path.name
        with (
            raise_as_input_error(str(source), "ZIP"),
            open_archive(path) as archive,
            zipfile.ZipFile(small, "w") as one,
        ):
            about = catalogue(archive).get(source.member, {})
            rotation = catalogue_rotation(about)
            data = unpack(archive, source.member)
            one.writestr(source.member, data)
            if about:
                one.writestr(CATALOGUE, unpack(archive, CATALOGUE))
        named = next(harvest([small], license=known_license, source=known_source), None)
        if named is not None:  # its materials stay in the archive
            return Subject(named)
        file = Path(folder) / Path(source.member).name
        file.write_bytes(data)
        subject = _read_file(file, suffix, known_license, known_source)
    shape = subject.shape
    shape.id = f"{path.stem}/{file.stem}"
    shape.category = " ".join(re.findall(r"\w+", about.get("name", "").lower())) or shape.category
    if "modelRotation" in about and isinstance(shape, PartMesh):
        shape.vertices = shape.vertices @ rotation.astype(np.float32).T
    return subject


def _turn(shape: PartMesh | PartCloud, up: str) -> None:
    columns, signs = _TURNS[up]

    def turned(points: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.ascontiguousarray(points[:, columns] * np.array(signs, np.float32))

    if isinstance(shape, PartMesh):
        shape.vertices = turned(shape.vertices)
    else:
        shape.points = turned(shape.points)
