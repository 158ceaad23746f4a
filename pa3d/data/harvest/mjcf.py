"""MJCF, the XML of MuJoCo: bodies, and the meshes and solids that are their visible geometry."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pa3d.data.harvest.pieces import NamedMesh, PieceBuilder
from pa3d.io import read_geometry
from pa3d.io._common import CorruptFileError, integer, parse_floats
from pa3d.rotations import axis_angle_rotation, axis_rotation, quaternion_rotation

LARGEST_SIZE = 1e9  # metres; a solid whose size is larger, infinite or not a number cannot be built


def parse_xml(path: Path) -> ElementTree.Element:
    try:
        return ElementTree.parse(path).getroot()
    except (ElementTree.ParseError, ValueError, LookupError) as error:  # the last two: of encodings
        raise CorruptFileError(f"not readable XML ({error})") from None


def parse_mjcf(path: Path, root: ElementTree.Element, category: str) -> NamedMesh:
    """The visible geometry of a MuJoCo model, turned from z up to y up, by mesh, geom, material or body name.

    Included files are followed, except those from a folder named "scene", which hold the floor and lights.
    By convention, geometry of group 3 and above is for collisions, and planes are floors: both are left out.

    Raises CorruptFileError.
    """
    _include(path.parent, root)
    radians = any(c.get("angle") == "radian" for c in root.iter("compiler"))
    meshdir = next((c.get("meshdir") for c in root.iter("compiler") if c.get("meshdir")), "")
    assets = {m.get("name") or Path(m.get("file", "")).stem: m for m in root.iter("mesh") if m.get("file")}
    defaults = _mjcf_defaults(root)
    builder = PieceBuilder()

    def walk(body: ElementTree.Element, frame: NDArray[np.float64], names: tuple[str, ...], inherited: str) -> None:
        for child in body:
            if child.tag == "body":
                own = child.get("name")
                walk(
                    child, frame @ _mjcf_frame(child, radians), ((own, *names) if own else names),
                    child.get("childclass", inherited),
                )  # fmt: skip
            elif child.tag == "geom":
                attributes = {**defaults.get(child.get("class", inherited), {}), **child.attrib}
                geom_mesh = _geom_mesh(attributes, assets, path.parent / (meshdir or ""), path.parent)
                if geom_mesh is None or integer(attributes.get("group", "0")) >= 3:
                    continue
                vertices, faces = geom_mesh
                placed = frame @ (_fromto_frame(attributes) if "fromto" in attributes else _mjcf_frame(child, radians))
                raw_names = tuple(
                    n for n in (attributes.get("mesh"), attributes.get("name"), attributes.get("material"), *names) if n
                )
                builder.add(vertices @ placed[:3, :3].T + placed[:3, 3], faces, raw_names)

    for world in root.iter("worldbody"):
        walk(world, np.eye(4), (), "")
    shape = builder.build(category, f"{path.parent.name}/{path.stem}")
    shape.vertices = shape.vertices[:, [0, 2, 1]] * (1, 1, -1)
    return shape


def _include(folder: Path, element: ElementTree.Element) -> None:
    """Replace <include file> by the children of that file's root, in place."""
    for index in reversed(range(len(element))):
        child = element[index]
        if child.tag != "include":
            _include(folder, child)
            continue
        element.remove(child)
        target = folder / child.get("file", "")
        if target.parent.name != "scene" and target.is_file():
            included = parse_xml(target)
            _include(folder, included)
            for offset, grandchild in enumerate(included):
                element.insert(index + offset, grandchild)


def _mjcf_defaults(root: ElementTree.Element) -> dict[str, dict[str, str]]:
    """Geom attributes of each default class. Nested classes inherit from the outer ones."""
    defaults: dict[str, dict[str, str]] = {}

    def walk(default: ElementTree.Element, inherited: dict[str, str]) -> None:
        geom = default.find("geom")
        attributes = {**inherited, **(geom.attrib if geom is not None else {})}
        defaults[default.get("class", "")] = attributes
        for child in default.findall("default"):
            walk(child, attributes)

    for outer in root.findall("default"):
        walk(outer, {})
    return defaults


def _mjcf_frame(element: ElementTree.Element, radians: bool) -> NDArray[np.float64]:  # (4, 4)
    frame = np.eye(4)
    frame[:3, 3] = parse_floats(element.get("pos", "0 0 0"), 3)
    if element.get("quat"):
        quaternion = parse_floats(element.get("quat", ""), 4)
        length = np.linalg.norm(quaternion)
        if length > 0:
            frame[:3, :3] = quaternion_rotation(quaternion / length)
    elif element.get("axisangle"):
        x, y, z, angle = parse_floats(element.get("axisangle", ""), 4)
        frame[:3, :3] = axis_angle_rotation([x, y, z], angle if radians else float(np.radians(angle)))
    elif element.get("xyaxes"):
        first, second = parse_floats(element.get("xyaxes", ""), 6).reshape(2, 3)
        x_axis = first / max(float(np.linalg.norm(first)), 1e-12)
        y_axis = second - (second @ x_axis) * x_axis
        y_axis /= max(float(np.linalg.norm(y_axis)), 1e-12)
        frame[:3, :3] = np.stack([x_axis, y_axis, np.cross(x_axis, y_axis)], axis=1)
    elif element.get("zaxis"):
        frame[:3, :3] = _rotation_from_z(parse_floats(element.get("zaxis", ""), 3))
    elif element.get("euler"):
        angles = parse_floats(element.get("euler", ""), 3)
        for axis, angle in enumerate(angles if radians else np.radians(angles)):
            frame[:3, :3] = frame[:3, :3] @ axis_rotation(axis, angle)
    return frame


def _fromto_frame(attributes: dict[str, str]) -> NDArray[np.float64]:  # (4, 4)
    """The frame of a geom that extends from one point to another: origin in the middle, z along them."""
    a, b = parse_floats(attributes["fromto"], 6).reshape(2, 3)
    frame = np.eye(4)
    frame[:3, :3], frame[:3, 3] = _rotation_from_z(b - a), (a + b) / 2
    return frame


def _rotation_from_z(direction: NDArray[np.float64]) -> NDArray[np.float64]:  # (3, 3)
    """The smallest rotation that takes z to a direction."""
    z = direction / max(float(np.linalg.norm(direction)), 1e-12)
    axis = np.cross([0.0, 0.0, 1.0], z)
    if np.linalg.norm(axis) < 1e-9:  # along z, or against it
        return np.eye(3) if z[2] >= 0 else np.diag([1.0, -1.0, -1.0])
    return axis_angle_rotation(axis, float(np.arccos(np.clip(z[2], -1, 1))))


def _geom_mesh(
    attributes: dict[str, str], assets: dict[str, ElementTree.Element], meshes: Path, folder: Path
) -> tuple[NDArray[np.float64], NDArray[np.int64]] | None:
    """Vertices and faces of a geom in its own frame; None for a plane, and for a geom that cannot be read."""
    if attributes.get("mesh"):
        asset = assets.get(attributes["mesh"])
        if asset is None:
            return None
        file = next((p for p in (meshes / asset.get("file", ""), folder / asset.get("file", "")) if p.is_file()), None)
        if file is None:
            return None
        mesh = read_geometry(file)
        if mesh.faces is None:
            return None
        return mesh.points * parse_floats(asset.get("scale", "1 1 1"), 3), mesh.faces
    import trimesh

    kind, size = attributes.get("type", "sphere"), parse_floats(attributes.get("size", "0"))
    geom_mesh: Any
    if "fromto" in attributes:  # its two end points give the length
        a, b = parse_floats(attributes["fromto"], 6).reshape(2, 3)
        length = float(np.linalg.norm(b - a))
        size = np.array([*size[: 2 if kind in ("box", "ellipsoid") and len(size) > 1 else 1], length / 2])
        size = np.array([size[0], size[0], length / 2]) if kind in ("box", "ellipsoid") and len(size) == 2 else size
    if not (len(size) and (size > 0).all() and (size < LARGEST_SIZE).all()):
        return None
    if kind == "box" and len(size) == 3:
        geom_mesh = trimesh.creation.box(extents=2 * size)
    elif kind == "cylinder" and len(size) >= 2:
        geom_mesh = trimesh.creation.cylinder(radius=size[0], height=2 * size[1], sections=24)
    elif kind == "capsule" and len(size) >= 2:
        geom_mesh = trimesh.creation.capsule(radius=size[0], height=2 * size[1], count=[16, 16])
        geom_mesh.apply_translation(-geom_mesh.bounds.mean(axis=0))
    elif kind == "sphere":
        geom_mesh = trimesh.creation.icosphere(subdivisions=2, radius=size[0])
    elif kind == "ellipsoid" and len(size) == 3:
        geom_mesh = trimesh.creation.icosphere(subdivisions=2)
        geom_mesh.apply_scale(size)
    else:
        return None
    return np.asarray(geom_mesh.vertices, float), np.asarray(geom_mesh.faces, np.int64)
