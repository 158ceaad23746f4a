"""Readers of the harvest by suffix: from a file to meshes in named pieces, or to skinned characters."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

from pa3d.data.harvest.ac3d import parse_ac3d
from pa3d.data.harvest.archives import SUFFIXES as ARCHIVE_SUFFIXES
from pa3d.data.harvest.archives import catalogue, catalogue_rotation, open_archive, shape_members, unpack
from pa3d.data.harvest.judge import MIN_NAMES
from pa3d.data.harvest.mjcf import parse_mjcf, parse_xml
from pa3d.data.harvest.pieces import NON_GEOMETRY, NamedMesh, PieceBuilder, SkippedShape
from pa3d.data.names import part_names
from pa3d.data.rigged import RiggedCharacter
from pa3d.data.sources import guess_category, origin
from pa3d.errors import InputError
from pa3d.io import gltf as gltf_format
from pa3d.io import obj as obj_format
from pa3d.io._common import CorruptFileError, raise_as_input_error
from pa3d.io.gltf import Gltf
from pa3d.io.obj import Obj, parse

Shapes = Iterator[NamedMesh | RiggedCharacter | SkippedShape]


def gltf_shape(gltf: Gltf, category: str, id: str, corpus: str = "") -> NamedMesh | RiggedCharacter:
    """A skinned character where the file has skins, else the pieces of its nodes."""
    shape: NamedMesh | RiggedCharacter
    if gltf.skins:
        shape = RiggedCharacter.from_gltf(gltf, category=category, source=corpus, id=id)
    else:
        shape = gltf_pieces(gltf, category, id)
    shape.copyright = gltf.copyright
    return shape


def gltf_pieces(gltf: Gltf, category: str, id: str) -> NamedMesh:
    """Mesh nodes of the scene with their transforms applied.

    A node takes its own name, else the name of a group above it. A node above that has a mesh itself is another part,
    not a group (the torso above an arm). A node above every mesh is the whole shape. Neither names a part.
    """
    meshes = [i for i in gltf.scene if gltf.nodes[i].mesh >= 0]
    below = Counter(a for i in meshes for a in gltf.ancestors(i))
    builder = PieceBuilder()
    for instance in gltf.primitive_instances():
        node = gltf.nodes[instance.node]
        if NON_GEOMETRY.search(node.name) or instance.faces is None:
            continue
        groups = [a for a in gltf.ancestors(instance.node) if gltf.nodes[a].mesh < 0 and below[a] < len(meshes)]
        names = (node.name, *(gltf.nodes[a].name for a in groups))
        material = gltf.material_name(instance.primitive.material)
        builder.add(instance.vertices, instance.faces, (*names, gltf.mesh_name(node.mesh), material))
    return builder.build(category, id)


def obj_pieces(obj: Obj, category: str, id: str) -> NamedMesh:
    """An OBJ file's faces by group, object and material."""
    return NamedMesh(obj.points, obj.faces, obj.face_name_index, list(obj.names), category, id)


def _read_member(data: bytes, suffix: str, category: str, id: str, corpus: str) -> NamedMesh | RiggedCharacter:
    """A shape that is one file of an archive. Raises CorruptFileError."""
    if suffix == ".glb":
        return gltf_shape(Gltf(data), category, id, corpus)
    if suffix == ".obj":
        return obj_pieces(parse(data), category, id)
    return parse_ac3d(data, category, id)


def _read_gltf(path: Path, category: str) -> Shapes:
    yield gltf_shape(Gltf.load(path), category or guess_category(path), _id(path), origin(path)[0])


def _read_obj(path: Path, category: str) -> Shapes:
    yield obj_pieces(parse(path.read_bytes()), category or guess_category(path), _id(path))


def _read_ac3d(path: Path, category: str) -> Shapes:
    yield parse_ac3d(path.read_bytes(), category or guess_category(path), _id(path))


def _read_mjcf(path: Path, category: str) -> Shapes:
    if b"<mujoco" not in path.read_bytes()[:4096]:
        return
    root = parse_xml(path)
    if root.tag == "mujoco" and not path.stem.endswith("dependencies"):
        yield parse_mjcf(path, root, category or guess_category(path))


def _read_fbx(path: Path, category: str) -> Shapes:
    """FBX files are listed, not read: the bindings on PyPI are alphas, and one crashed on a file of two meshes."""
    raise CorruptFileError("FBX is not read, export it as GLB", "Blender's importer reads it")


def _read_archive(path: Path, category: str) -> Shapes:
    """GLB, OBJ and AC3D members of a zip; a furniture library's catalogue gives category and rotation.

    A member that cannot be used is yielded as the reason why, so that the others are still read.
    """
    corpus = origin(path)[0]
    with open_archive(path) as archive:
        entries = catalogue(archive)
        for member in shape_members(archive):
            suffix = Path(member).suffix.lower()
            catalog_entry = entries.get(member, {})
            member_category = (
                category
                or re.sub(r"\W+", " ", catalog_entry.get("name", "")).strip().lower()
                or guess_category(path.parent / Path(member).name)
            )
            id = f"{path.stem}/{Path(member).stem}"
            shape: NamedMesh | RiggedCharacter | SkippedShape
            try:
                with raise_as_input_error(id, suffix[1:].upper()):
                    data = unpack(archive, member)
                    if suffix == ".obj" and not _has_two_part_names(data, member_category, corpus):
                        shape = SkippedShape(id, "fewer than two meaningful part names")
                    else:
                        shape = _read_member(data, suffix, member_category, id, corpus)
                    if "modelRotation" in catalog_entry and isinstance(shape, NamedMesh):
                        shape.vertices = shape.vertices @ catalogue_rotation(catalog_entry).T
            except InputError as error:
                shape = SkippedShape(f"{path}/{member}", unreadable(error))
            yield shape


def _has_two_part_names(data: bytes, category: str, source: str) -> bool:
    """Whether an OBJ file names two parts. Most files of a library do not, and parsing them takes long."""
    part_names_found: set[tuple[str, ...]] = set()
    for raw in set(re.findall(rb"^(?:g|o|usemtl) (.*?)\s*$", data, re.M)):
        part_names_found.add(part_names(raw.decode("utf-8", "replace"), category, source))
    return len(part_names_found - {()}) >= MIN_NAMES


def unreadable(error: InputError) -> str:
    """The reason that the report gives for a file that cannot be read."""
    return "unreadable: " + re.sub(r"^.*?: ", "", str(error)).partition(";")[0]


def _id(path: Path) -> str:
    return f"{path.parent.name}/{path.stem}"


# Suffix -> reader, which takes a path and the category of the shape.
READERS: dict[str, Callable[[Path, str], Shapes]] = {
    **dict.fromkeys(gltf_format.FORMAT.suffixes, _read_gltf),
    **dict.fromkeys(obj_format.FORMAT.suffixes, _read_obj),
    ".ac": _read_ac3d,
    ".xml": _read_mjcf,
    ".fbx": _read_fbx,
    **dict.fromkeys(ARCHIVE_SUFFIXES, _read_archive),
}
