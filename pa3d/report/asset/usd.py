"""parts.usda: a layer over a USD file, in which each piece of a mesh is a GeomSubset with a semantic label.

The file is the sublayer, unchanged. It is copied, with the files that it refers to, into the folder "asset". Nothing of
it is flattened: variants, payloads, animation and materials stay. Prims that are instances stop being instances where
they are cut, because USD keeps instances alike.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pa3d.io._common import CorruptFileError, missing_package, polygon_of_triangles
from pa3d.io.usd import first_time
from pa3d.report.asset.cut import Cut
from pa3d.shape import Piece, Shape

NAME = "parts.usda"
FOLDER = "asset"  # of the file and those that it refers to
FAMILY = "parts"  # of the subsets


def parts_usda(shape: Shape, cut: Cut) -> dict[str, bytes]:
    """The layer and what it needs beside it, by name; {} where the file has other faces than the cut."""
    try:
        from pxr import Sdf, Tf, Usd
    except ImportError:
        raise missing_package("is USD", "usd-core", "formats") from None
    path = shape.file
    if path is None:
        return {}
    try:
        layer = Sdf.Layer.CreateAnonymous(".usda")
        layer.subLayerPaths.append(str(path.absolute()))
        source = Usd.Stage.Open(str(path))
        stage = Usd.Stage.Open(layer)
        time = first_time(source)
        prims = _faces_of_prims(shape)
        if not prims or not all(_split(stage, time, name, faces, cut) for name, faces in prims.items()):
            return {}
        for key in ("defaultPrim", "upAxis", "metersPerUnit", "startTimeCode", "endTimeCode", "timeCodesPerSecond"):
            if source.HasAuthoredMetadata(key):
                stage.SetMetadata(key, source.GetMetadata(key))
        name, copies = _with_dependencies(path)
        layer.subLayerPaths[0] = f"./{name}"
        text = layer.ExportToString()
    except Tf.ErrorException as error:
        raise CorruptFileError(f"is damaged or not a USD file ({error})") from error
    return {NAME: text.encode(), **copies}


def _faces_of_prims(shape: Shape) -> dict[str, NDArray[np.int64]]:
    """The faces of each prim, by its path; of several instances of a prototype, one after the other."""
    if shape.face_piece is None:
        return {}
    numbers: dict[str, list[int]] = {}
    for number, piece in enumerate(shape.pieces):
        numbers.setdefault(_path(piece), []).append(number)
    return {path: np.flatnonzero(np.isin(shape.face_piece, own)) for path, own in numbers.items()}


def _path(piece: Piece) -> str:
    return "/" + "/".join((*reversed(piece.parents), piece.node))


def _split(stage: Any, time: Any, path: str, faces: NDArray[np.int64], cut: Cut) -> bool:
    """Give a prim its subsets, or one label where it has no polygons. False where its faces are others."""
    from pxr import Sdf, UsdGeom

    for above in Sdf.Path(path).GetPrefixes():
        if stage.GetPrimAtPath(above).IsInstance():
            stage.GetPrimAtPath(above).SetInstanceable(False)
    prim = stage.GetPrimAtPath(path)
    if not prim:
        return False
    if not prim.IsA(UsdGeom.Mesh):  # a sphere, a cylinder ...
        whole = cut.select(np.isin(np.arange(len(cut.numbers)), faces))
        best = int(np.bincount(whole.numbers, whole.weights).argmax())
        _describe(prim, whole, best, whole.numbers == best)
        return True
    mesh = UsdGeom.Mesh(prim)
    counts = np.array(mesh.GetFaceVertexCountsAttr().Get(time) or (), np.int64)
    polygon = polygon_of_triangles(counts)
    polygon = polygon[~np.isin(polygon, np.array(mesh.GetHoleIndicesAttr().Get(time) or (), np.int64))]
    if not len(polygon) or len(faces) % len(polygon):
        return False
    chosen = np.zeros(len(cut.numbers), bool)
    chosen[faces[: len(polygon)]] = True  # of instances of a prototype, the first decides
    own = cut.select(chosen).of_polygons(polygon.astype(np.int32), len(counts))
    for number, piece in enumerate(own.pieces):
        members = own.numbers == number
        if piece.label >= 0:
            name = _free_name(prim, piece.name)
            indices = np.flatnonzero(members).tolist()
            subset = UsdGeom.Subset.CreateGeomSubset(
                mesh, name, UsdGeom.Tokens.face, indices, FAMILY, UsdGeom.Tokens.nonOverlapping
            )
            _describe(subset.GetPrim(), own, number, members)
    return True


def _describe(prim: Any, cut: Cut, number: int, members: NDArray[np.bool_]) -> None:
    from pxr import UsdSemantics

    labels = UsdSemantics.LabelsAPI.Apply(prim, "part")
    labels.CreateLabelsAttr([cut.pieces[number].part])
    for key, value in cut.extras(number, members).items():
        prim.SetCustomDataByKey(key, value)


def _free_name(prim: Any, name: str) -> str:
    """A name of a child that USD allows and that is not there."""
    from pxr import Tf

    plain = Tf.MakeValidIdentifier(name)
    number = 1
    while prim.GetChild(plain if number == 1 else f"{plain}_{number}"):
        number += 1
    return str(plain if number == 1 else f"{plain}_{number}")


def _with_dependencies(path: Path) -> tuple[str, dict[str, bytes]]:
    """The name of the file in the folder of copies, and the copies: it and what it refers to, placed as they are."""
    from pxr import UsdUtils

    layers, assets, _ = UsdUtils.ComputeAllDependencies(str(path))
    named = [path, *(Path(layer.realPath) for layer in layers if layer.realPath), *map(Path, assets)]
    files = dict.fromkeys(file.absolute() for file in named if file.is_file())  # what is within a USDZ is no file
    root = Path(os.path.commonpath([file.parent for file in files]))
    found: dict[str, bytes] = {}
    for file in files:
        with suppress(OSError):
            found[f"{FOLDER}/{file.relative_to(root).as_posix()}"] = file.read_bytes()
    return f"{FOLDER}/{path.absolute().relative_to(root).as_posix()}", found
