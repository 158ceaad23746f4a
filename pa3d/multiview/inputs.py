"""What `pa3d prepare` reads: files, members of archives and shapes of the official layout, one source per shape.

If a file names parts (pa3d.data.harvest), its shape has them; else it has its geometry alone, which is all that stage 1
needs. Colours and textures of GLB, glTF and OBJ are kept if the reader of names and `load` give the same faces. An .npz
mesh may hold labels of its own: face_labels (F,) with -1 for none, part_names, and category.
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
from pa3d.data.sources import guess_category, origin
from pa3d.errors import InputError
from pa3d.frames import UP_AXES
from pa3d.io import SUFFIXES, formats, load
from pa3d.io._common import CorruptFileError, raise_as_input_error
from pa3d.listing import SKIPPED_IN_FOLDERS, files_below, is_list, read_list
from pa3d.multiview.materials import read_materials
from pa3d.multiview.shade import Texture
from pa3d.multiview.targets import RenderInput
from pa3d.ops import knn
from pa3d.shape import Shape

Kind = Literal["file", "member", "official"]

_NAMED = (".glb", ".gltf", ".obj", ".ac", ".xml", ".fbx")
# y-up by the specification of their format, or because their reader turns them.
_Y_UP = (*(suffix for format in formats() if format.up == "y" for suffix in format.suffixes), ".ac", ".xml", ".sh3f")
_SAME_FACES = 0.99  # two faces back to back have one centre
# By up axis: the columns, and their signs, that make a shape y-up. Each is a rotation by a quarter turn, or none.
_TO_Y_UP = {
    **{"x": ((1, 0, 2), (-1, 1, 1)), "y": ((0, 1, 2), (1, 1, 1)), "z": ((0, 2, 1), (1, 1, -1))},
    **{"-x": ((1, 0, 2), (1, -1, 1)), "-y": ((0, 1, 2), (1, -1, -1)), "-z": ((0, 2, 1), (1, -1, 1))},
}


@dataclass(frozen=True)
class Source:
    """One shape: a file, the member of an archive, or a line of the split of an official layout at path."""

    path: str
    member: str = ""
    kind: Kind = "file"

    def __str__(self) -> str:
        return f"{self.path}:{self.member}" if self.member else self.path


def list_sources(where: str | Path, *, split: str = "train") -> list[Source]:
    """Every shape of a folder, of one file, or of a text file with one path per line; each shape once.

    Subfolders are searched, too; paths are sorted. A folder in the official layout gives the shapes of a split. Lines
    of a list are relative to its folder; blank ones and those that begin with # are skipped. Raises InputError when
    there is no shape, or a path does not exist.
    """
    path = Path(where)
    if not path.exists():
        raise InputError(f"{path}: no such file or folder; give shapes, a folder of them, or a list of paths")
    if path.is_dir() and is_official(path):
        return [Source(str(path), entry, "official") for entry in dict.fromkeys(official_entries(path, split))]
    paths = read_list(path) if path.is_file() and is_list(path) else [path]
    sources: dict[Source, None] = {}
    for entry in paths:
        if not entry.exists():
            raise InputError(f"{path}: lists {entry}, which does not exist; correct the list")
        files = [file for file in files_below(entry) if _is_shape(file)] if entry.is_dir() else [entry]
        sources |= dict.fromkeys(source for file in files for source in _sources(file))
    if not sources:
        expected = ", ".join(sorted({*SUFFIXES, *_NAMED, *ARCHIVES} - {*SKIPPED_IN_FOLDERS}))
        raise InputError(f"{path}: no shapes here; expected files such as {expected}")
    return list(sources)


def read_source(source: Source, *, up: str = "y", grey: bool = False) -> RenderInput:
    """The shape of a source, y up.

    up: the up axis of files whose format does not define one. grey: leave colours and textures out.

    Raises InputError when it cannot be read or holds no shape. Sources of the official layout are read by
    pa3d.data.official instead.
    """
    if up not in UP_AXES:
        raise InputError(f"up axis {up!r} is unknown; give one of {', '.join(UP_AXES)}")
    if source.kind == "member":
        render_input = _read_member(source)
    else:
        path = Path(source.path)
        render_input = _read_file(path, path.suffix.lower())
    if Path(source.path).suffix.lower() not in _Y_UP:
        _make_y_up(render_input.shape, up)
    if grey:
        render_input = RenderInput(render_input.shape)
    render_input.shape.provenance["file"] = Path(source.path).name + (f":{source.member}" if source.member else "")
    return render_input


def _is_shape(path: Path) -> bool:
    suffix = path.suffix.lower()
    if suffix in SKIPPED_IN_FOLDERS or suffix not in (*SUFFIXES, *_NAMED, *ARCHIVES):
        return False
    if suffix != ".xml":
        return True
    with path.open("rb") as file:
        # A model begins with <mujoco; a fragment, which models include, begins with <mujocoinclude.
        return re.search(rb"<mujoco[\s>]", file.read(4096)) is not None


def _sources(file: Path) -> Iterator[Source]:
    if file.suffix.lower() not in ARCHIVES:
        yield Source(str(file))
        return
    try:
        with open_archive(file) as archive:
            names = shape_members(archive)
    except CorruptFileError:
        names = [""]  # reported as a damaged file when it is prepared
    for name in names:
        yield Source(str(file), name, "member")


def _read_file(path: Path, suffix: str, license: str = "", source: str = "") -> RenderInput:
    if suffix in _NAMED and path.is_file():
        named = next(harvest([path], license=license, source=source), None)
        if named is not None:
            return _with_materials(RenderInput(named), path)
    known_source, known_license = origin(path)
    # category, source, license and id of the record
    description = (
        guess_category(path),
        source or known_source,
        license or known_license,
        f"{path.parent.name}/{path.stem}",
    )
    if suffix in (".ac", ".xml") and path.is_file():
        return RenderInput(_without_parts(read_unnamed(path), description))
    shape = load(path)
    # An origin away from zero only moves the shape, which is brought to the unit sphere anyway.
    if shape.faces is None:
        return RenderInput(
            PartCloud(shape.points, [], np.zeros((0, len(shape.points)), bool), *description), shape.colors
        )
    mesh = PartMesh(shape.points, shape.faces, np.full(len(shape.faces), -1, np.int32), [], *description)
    if suffix == ".npz":
        _add_labels(mesh, path)
    return _with_materials(RenderInput(mesh, shape.colors), path, shape)


def _with_materials(render_input: RenderInput, path: Path, shape: Shape | None = None) -> RenderInput:
    """The mesh with the colours and textures of its file.

    They belong to the faces that `load` gives. If the mesh has other faces, it stays grey; their order does not matter.
    shape: the result of `load`, if the file was loaded already.
    """
    mesh = render_input.shape
    if not isinstance(mesh, PartMesh) or path.suffix.lower() not in (".glb", ".gltf", ".obj"):
        return render_input
    order: slice | NDArray[np.int64] = slice(None)
    if shape is None:
        try:
            shape = load(path)
        except InputError:  # the readers of the harvest accept some files that `load` does not
            return render_input
        if shape.faces is None or len(shape.faces) != len(mesh.faces):
            return render_input  # the harvest subdivided it, as it does with rigged people
        loaded_corners = (shape.points + shape.origin).astype(np.float32)[shape.faces]  # (F, 3, 3)
        mesh_corners = mesh.vertices[mesh.faces]
        centroids, loaded_centroids = (np.ascontiguousarray(c.mean(1)) for c in (mesh_corners, loaded_corners))
        order = knn(centroids, loaded_centroids, 1)[0][:, 0]
        distance = np.abs(loaded_corners[order] - mesh_corners).max(axis=(1, 2))
        if not (distance <= 1e-4 * np.ptp(mesh_corners, axis=(0, 1)).max()).mean() > _SAME_FACES:
            return render_input  # in another pose, or rotated
    materials = read_materials(path, len(mesh.faces))
    if materials.face_colors is not None:
        render_input.face_colors = materials.face_colors[order]
    if materials.texture is not None:
        texture = materials.texture
        render_input.texture = Texture(texture.corner_uv[order], texture.images, texture.face_image[order])
    return render_input


def _without_parts(shape: NamedMesh | None, description: tuple[str, str, str, str]) -> PartMesh:
    if shape is None or not len(shape.faces):
        raise InputError(f"{description[3]}: no triangles; expected a mesh")
    faces = shape.faces.astype(np.int32)
    return PartMesh(shape.vertices.astype(np.float32), faces, np.full(len(faces), -1, np.int32), [], *description)


def _add_labels(mesh: PartMesh, path: Path) -> None:
    with np.load(path, allow_pickle=False) as arrays:
        if not {"face_labels", "part_names"} <= set(arrays.files):
            return
        labels, names = arrays["face_labels"], [str(name) for name in arrays["part_names"]]
        mesh.category = str(arrays["category"]) if "category" in arrays.files else mesh.category
    if labels.shape != (len(mesh.faces),) or labels.min(initial=-1) < -1 or labels.max(initial=-1) >= len(names):
        raise InputError(f"{path.name}: expected face_labels ({len(mesh.faces)},) from -1 to {len(names) - 1}")
    mesh.face_parts, mesh.parts = labels.astype(np.int32), [(name,) for name in names]


def _read_member(source: Source) -> RenderInput:
    """Reads one member of an archive.

    The harvest reads whole archives. So the member is copied into a temporary archive of the same name, together with
    the catalogue of the library, which has the name and the rotation of the model.
    """
    path, suffix = Path(source.path), Path(source.member).suffix.lower()
    known_source, known_license = origin(path)
    with tempfile.TemporaryDirectory(prefix="pa3d-") as folder:
        small = Path(folder) / path.name
        with (
            raise_as_input_error(str(source), "ZIP"),
            open_archive(path) as archive,
            zipfile.ZipFile(small, "w") as one,
        ):
            properties = catalogue(archive).get(source.member, {})
            rotation = catalogue_rotation(properties)
            data = unpack(archive, source.member)
            one.writestr(source.member, data)
            if properties:
                one.writestr(CATALOGUE, unpack(archive, CATALOGUE))
        named = next(harvest([small], license=known_license, source=known_source), None)
        if named is not None:  # its materials are not unpacked
            return RenderInput(named)
        file = Path(folder) / Path(source.member).name
        file.write_bytes(data)
        render_input = _read_file(file, suffix, known_license, known_source)
    shape = render_input.shape
    shape.id = f"{path.stem}/{file.stem}"
    shape.category = " ".join(re.findall(r"\w+", properties.get("name", "").lower())) or shape.category
    if "modelRotation" in properties and isinstance(shape, PartMesh):
        shape.vertices = shape.vertices @ rotation.astype(np.float32).T
    return render_input


def _make_y_up(shape: PartMesh | PartCloud, up: str) -> None:
    columns, signs = _TO_Y_UP[up]

    def rotated(points: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.ascontiguousarray(points[:, columns] * np.array(signs, np.float32))

    if isinstance(shape, PartMesh):
        shape.vertices = rotated(shape.vertices)
    else:
        shape.points = rotated(shape.points)
