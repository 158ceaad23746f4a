"""3MF, by the package lib3mf: what its build places, in metres and the axes of the file.

The z axis of 3MF points away from the print bed, which need not be upwards for the shape: as with STL, `up` says that.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pa3d.io._common import CorruptFileError, Format, Geometry, first_line, missing_package
from pa3d.io._isolated import read_isolated
from pa3d.io._scene import SceneObject, join_objects, placed

METRES = (1e-6, 1e-3, 1e-2, 0.0254, 0.3048, 1.0)  # of lib3mf's ModelUnit: micron, millimetre, centimetre, inch, foot, m
SUPPORTS = (2, 3)  # of lib3mf's ObjectType: what is printed only to hold the shape
_DEEPEST = 100  # component within component


def read(path: Path) -> Geometry:
    import zipfile  # not with the formats, all of which are imported to find the one of a file

    if not zipfile.is_zipfile(path):
        raise CorruptFileError("is damaged or not a 3MF file: it is no ZIP")
    return read_isolated(path, __name__, "3MF")


def parse(path: Path) -> Geometry:
    """Reads in this process, which a damaged file may crash."""
    try:
        import lib3mf
    except ImportError:
        raise missing_package("is 3MF", "lib3mf", "formats") from None
    try:
        model = lib3mf.get_wrapper().CreateModel()
        model.QueryReader("3mf").ReadFromFile(str(path))
    except lib3mf.ELib3MFException as error:
        raise CorruptFileError(f"is damaged or not a 3MF file ({first_line(error)})") from error
    return join_objects(list(_objects(model)), "y", METRES[int(model.GetUnit())])


def _objects(model: Any) -> Iterator[SceneObject]:
    items = model.GetBuildItems()
    while items.MoveNext():
        item = items.GetCurrent()
        yield from _under(item.GetObjectResource(), _matrix(item) if item.HasObjectTransform() else np.eye(4), ())


def _under(resource: Any, matrix: NDArray[np.float64], parents: tuple[str, ...]) -> Iterator[SceneObject]:
    """The mesh of an object, or those of its components."""
    if len(parents) > _DEEPEST:
        raise CorruptFileError("is damaged: its components are too deep")
    if int(resource.GetType()) in SUPPORTS:
        return
    if resource.IsMeshObject():
        points = _rows(resource.GetVertices(), np.float32)
        faces = _rows(resource.GetTriangleIndices(), np.uint32).astype(np.int64)
        yield placed(resource.GetName(), points, faces, matrix)._replace(parents=parents)
    elif resource.IsComponentsObject():
        for number in range(resource.GetComponentCount()):
            part = resource.GetComponent(number)
            inner = _matrix(part) if part.HasTransform() else np.eye(4)
            yield from _under(part.GetObjectResource(), matrix @ inner, (resource.GetName(), *parents))


def _rows(structures: list[Any], dtype: type) -> NDArray[Any]:  # (N, 3)
    """C structures of three numbers as an array."""
    return np.frombuffer(b"".join(map(bytes, structures)), dtype).reshape(-1, 3)


def _matrix(placed_at: Any) -> NDArray[np.float64]:  # (4, 4), of column vectors
    """The transform of a build item or component, which 3MF writes as four rows for row vectors."""
    transform = placed_at.GetObjectTransform() if hasattr(placed_at, "GetObjectTransform") else placed_at.GetTransform()
    matrix = np.eye(4)
    matrix[:3] = np.array(transform.Fields, np.float64).T
    return matrix


FORMAT = Format("3MF", (".3mf",), read, "meshes", note="in metres; needs the extra `formats`")
