"""COLLADA (.dae, and zipped .zae), by the package pycollada: the scene in its rest pose, in metres and y up."""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pa3d.io._common import (
    CorruptFileError,
    Format,
    Geometry,
    byte_colors,
    first_line,
    missing_package,
    polygons_or_none,
    triangulate,
)
from pa3d.io._scene import SceneObject, join_objects, placed

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

Matrix = NDArray[np.float64]  # (4, 4), of column vectors
Points = NDArray[np.float64]  # (N, 3)

# Elements that do not change where triangles are: pycollada does not see them, so that it reports only what matters.
_IGNORED = re.compile(
    r"(library_|instance_)(animations?|animation_clips|cameras?|lights?|images|effects?|materials?)|bind_material|extra|lines|linestrips"
)
_NUMBERS = ("float_array", "matrix", "translate", "rotate", "scale", "lookat", "bind_shape_matrix")
_DEEPEST = 200  # node within node
_MOST_PACKED = 1000  # how much larger the content of a ZIP may be


def read(path: Path) -> Geometry:
    try:
        import collada
    except ImportError:
        raise missing_package("is COLLADA", "pycollada", "formats") from None
    document = io.BytesIO(_prepared(_document(path)))
    try:
        with warnings.catch_warnings():
            # Of text that is no number, older numpy only warns, and pycollada takes what came before it.
            warnings.simplefilter("error", DeprecationWarning)
            parsed = collada.Collada(document)
    except MemoryError:
        raise
    except Exception as error:  # pycollada lets errors of every type through; nothing of pa3d runs in this block
        raise CorruptFileError(f"is damaged or not a COLLADA file ({first_line(error)})") from error
    scene = parsed.scene or next(iter(parsed.scenes), None)
    if scene is None:
        raise CorruptFileError("has no scene, so that nothing says where its meshes stand")
    up = {"X_UP": "x", "Z_UP": "z"}.get(parsed.assetInfo.upaxis, "y")
    return join_objects(list(_objects(scene)), up, parsed.assetInfo.unitmeter or 1.0)


def _document(path: Path) -> bytes:
    """The XML of a file; of a ZIP, that which its manifest names, or its only one."""
    data = path.read_bytes()
    if not data.startswith(b"PK"):
        return data
    import zipfile
    from urllib.parse import unquote
    from xml.etree import ElementTree

    from pa3d.io.npy import ARCHIVE_ERRORS

    damage: tuple[type[Exception], ...] = (*ARCHIVE_ERRORS, ElementTree.ParseError, OSError)
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            names = [name for name in archive.namelist() if name.lower().endswith(".dae")]
            if "manifest.xml" in archive.namelist():
                manifest = ElementTree.fromstring(archive.read("manifest.xml"))
                root = unquote(next((e.text or "" for e in manifest.iter() if _tag(e) == "dae_root"), "")).strip()
                names = [name for name in names if name.lstrip("./") == root.lstrip("./")] or names
            if not names:
                raise CorruptFileError("is a ZIP without a COLLADA document")
            if archive.getinfo(names[0]).file_size > _MOST_PACKED * len(data):
                raise CorruptFileError("is damaged: what it packs is unreasonably large")
            return archive.read(names[0])
    except damage as error:
        raise CorruptFileError(f"is a damaged ZIP ({first_line(error)})") from error


def _prepared(data: bytes) -> bytes:
    """The document without what does not matter, and with points for decimal commas, which some exporters write."""
    from xml.etree import ElementTree

    try:
        root = ElementTree.fromstring(data)
    except (ElementTree.ParseError, ValueError, LookupError) as error:  # the last two: an unknown encoding
        raise CorruptFileError(f"is damaged or not a COLLADA file (XML: {first_line(error)})") from error
    if _tag(root) != "COLLADA":
        raise CorruptFileError("is XML but not COLLADA")
    for element in list(root.iter()):
        if _tag(element) == "ph":
            raise CorruptFileError("has polygons with holes", "triangulate it and export it again")
        if _tag(element) in _NUMBERS:
            element.text = (element.text or "").replace(",", ".")
        if _tag(element) == "unit" and "meter" in element.attrib:
            element.set("meter", element.get("meter", "").replace(",", "."))
        for child in list(element):
            if _IGNORED.fullmatch(_tag(child)):
                element.remove(child)
    return ElementTree.tostring(root, "utf-8", xml_declaration=True)


def _tag(element: Element) -> str:
    return str(element.tag).rpartition("}")[2]


def _objects(scene: Any) -> Iterator[SceneObject]:
    nodes = [node for top in scene.nodes for node in _nodes(top, np.eye(4), (), ())]
    for place in nodes:
        for child in getattr(place.node, "children", ()):
            controller = getattr(child, "controller", None)
            if hasattr(child, "geometry"):
                yield from _meshes(place, child.geometry, place.world, None)
            elif controller is not None and hasattr(controller, "target_list"):
                yield from _meshes(place, controller.source_geometry, place.world, partial(_morphed, controller))
            elif controller is not None:
                # A skin places the mesh; the node's own transform is ignored.
                yield from _meshes(place, controller.geometry, np.eye(4), _pose(child, nodes))


def _nodes(node: Any, parent: Matrix, ids: tuple[str, ...], parents: tuple[str, ...]) -> Iterator[_Place]:
    """A node and those under it, also where they are instances of nodes elsewhere."""
    if not hasattr(node, "matrix"):
        return
    if len(ids) > _DEEPEST:
        raise CorruptFileError("is damaged: its nodes form a loop, or are too deep")
    node = getattr(node, "node", node)  # of an instance
    ids = (*ids, str(node.id))
    world = parent @ np.asarray(node.matrix, np.float64)
    place = _Place(node, world, ids, parents)
    yield place
    for child in node.children:
        yield from _nodes(child, world, ids, (place.name, *parents))


def _meshes(
    place: _Place, geometry: Any, matrix: Matrix, pose: Callable[[Points], Points] | None
) -> Iterator[SceneObject]:
    """The polygons of a geometry: one mesh for those that share their vertices, as several materials do."""
    sharing: dict[int, list[Any]] = {}
    for primitive in geometry.primitives:
        if primitive.vertex is not None:
            sharing.setdefault(id(primitive.vertex), []).append(primitive)
    for primitives in sharing.values():
        points = np.asarray(primitives[0].vertex, np.float64)
        counts = [_corner_counts(primitive) for primitive in primitives]
        corners = [np.ravel(primitive.vertex_index) for primitive in primitives]
        faces = [triangulate(own, indices) for own, indices in zip(counts, corners, strict=True)]
        colors = _colors(primitives, len(points))
        name, mesh = place.name, str(geometry.name or "")
        found = placed(name or mesh, pose(points) if pose else points, np.concatenate(faces), matrix, colors)
        yield found._replace(
            mesh=mesh,
            parents=place.parents,
            materials=tuple(str(primitive.material or "") for primitive in primitives),
            face_material=np.repeat(np.arange(len(primitives)), [len(own) for own in faces]),
            face_polygon=polygons_or_none(np.concatenate(counts)),
        )


def _corner_counts(primitive: Any) -> NDArray[np.int64]:  # (P,)
    """How many corners each polygon has."""
    corners = np.asarray(primitive.vertex_index, np.int64)
    if corners.ndim == 2:
        return np.full(len(corners), corners.shape[1])
    counts = np.asarray(primitive.vcounts, np.int64)
    if (counts < 0).any() or counts.sum() != len(corners):
        raise CorruptFileError("is damaged: its polygons do not fit their list of corners")
    return counts


def _colors(primitives: Sequence[Any], count: int) -> NDArray[np.uint8] | None:  # (N, 3)
    """Colours of vertices; those of a vertex's last corner where corners differ."""
    colors = np.full((count, 3), 255, np.uint8)
    found = False
    for primitive in primitives:
        for offset, _, _, _, source in primitive.sources.get("COLOR", [])[:1]:
            corners, numbers = np.ravel(primitive.vertex_index), np.ravel(primitive.index[..., offset])
            fits = (
                source.data.ndim == 2 and source.data.shape[1] in (3, 4) and numbers.max(initial=0) < len(source.data)
            )
            if fits and corners.max(initial=0) < count:
                colors[corners] = byte_colors(list(source.data.T))[numbers]
                found = True
    return colors if found else None


def _morphed(controller: Any, points: Points) -> Points:
    """Points moved by the weights that the file gives its morph targets."""
    deltas = np.zeros_like(points)
    for target, weight in controller.target_list:
        vertices = target.primitives[0].vertex if target.primitives else points
        if np.shape(vertices) != points.shape:
            raise CorruptFileError("is damaged: a morph target does not fit its mesh")
        deltas += float(weight) * (vertices - (0 if _is_relative(controller) else points))
    return points + deltas


def _is_relative(controller: Any) -> bool:
    return any(element.get("method") == "RELATIVE" for element in controller.xmlnode.iter())


def _pose(instance: Any, nodes: Sequence[_Place]) -> Callable[[Points], Points]:
    """What moves the vertices of a skin: the weighted mean of its joints' transforms."""
    skin = instance.controller
    roots = {str(e.text).strip().lstrip("#") for e in instance.xmlnode.iter() if _tag(e) == "skeleton"}
    joints: dict[str, Matrix] = {}
    for place in nodes:
        if not roots or roots.intersection(place.ids):
            for key in (place.node.id, place.node.xmlnode.get("sid")):
                joints.setdefault(str(key), place.world)
    names = [str(name) for name in np.ravel(skin.weight_joints.data)]
    missing = [name for name in names if name not in joints or name not in skin.joint_matrices]
    if missing:
        raise CorruptFileError(f"is damaged: the joint {missing[0][:40]!r} of a skin is no node of its skeleton")
    bind = np.asarray(skin.bind_shape_matrix, np.float64)
    matrices = np.array([joints[name] @ np.reshape(skin.joint_matrices[name], (4, 4)) @ bind for name in names])
    counts = [len(joint) for joint in skin.joint_index]
    vertex, joint = np.repeat(np.arange(len(counts)), counts), np.concatenate(skin.joint_index)
    weight = np.ravel(skin.weights.data)[np.concatenate(skin.weight_index)].astype(np.float64)

    def pose(points: Points) -> Points:
        total = np.bincount(vertex, weight, len(points))
        if len(counts) != len(points) or not (total > 0).all() or joint.min(initial=0) < -1:
            raise CorruptFileError("is damaged: the weights of a skin do not fit its vertices")
        # Joint -1 is the mesh where it was bound.
        blend = np.concatenate([matrices, bind[None]])[joint] * (weight / total[vertex])[:, None, None]
        moved = np.einsum("nij,nj->ni", blend[:, :3, :3], points[vertex]) + blend[:, :3, 3]
        return np.stack([np.bincount(vertex, moved[:, axis], len(points)) for axis in range(3)], axis=1)

    return pose


class _Place(NamedTuple):
    """A node, where it stands, the ids of the nodes from the top to it, and the names of those above, nearest first."""

    node: Any
    world: Matrix
    ids: tuple[str, ...]
    parents: tuple[str, ...]

    @property
    def name(self) -> str:
        return str(self.node.name or "")


FORMAT = Format("COLLADA", (".dae", ".zae"), read, "meshes", "y", "rest pose, in metres; needs the extra `formats`")
