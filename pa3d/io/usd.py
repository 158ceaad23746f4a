"""USD (.usd, .usda, .usdc, .usdz), by the package usd-core: the composed stage at its first time, in metres and y up.

References, payloads, the chosen variants, instances and point instancers are resolved, skins are posed. What is
invisible, or a guide, is left out. Subdivision surfaces are their control meshes. Spheres, boxes, cylinders, cones,
capsules and planes become triangles; points are a cloud where there is nothing else; curves are left out.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pa3d.io._common import (
    CorruptFileError,
    Format,
    Geometry,
    byte_colors,
    missing_package,
    polygon_of_triangles,
    polygons_or_none,
    triangulate,
)
from pa3d.io._isolated import read_isolated
from pa3d.io._scene import TO_Y_UP, SceneObject, join_objects, placed

Matrix = NDArray[np.float64]  # (4, 4), of column vectors
_MATERIALS = (".mtlx",)  # files without geometry


def read(path: Path) -> Geometry:
    return read_isolated(path, __name__, "USD", factor=4)


def parse(path: Path) -> Geometry:
    """Reads in this process, which a damaged file may crash."""
    try:
        from pxr import Tf, Usd
    except ImportError:
        raise missing_package("is USD", "usd-core", "formats") from None
    try:
        return _read(Usd.Stage.Open(str(path)))
    except Tf.ErrorException as error:
        raise CorruptFileError(f"is damaged or not a USD file ({_reason(error)})") from error


def _read(stage: Any) -> Geometry:
    from pxr import UsdGeom

    for problem in map(str, stage.GetCompositionErrors()):
        missing = re.search(r"(?:asset|sublayer) @([^@]+)@", problem)
        if missing and not missing[1].endswith(_MATERIALS):
            raise CorruptFileError(
                f"needs the file {Path(missing[1]).name!r} beside it", "copy that, too, or export as USDZ"
            )
    up = str(UsdGeom.GetStageUpAxis(stage)).lower()
    if up not in TO_Y_UP:
        raise CorruptFileError(f"is damaged: its up axis is {up[:20]!r}, expected X, Y or Z")
    return join_objects(list(_Stage(stage).objects()), up, UsdGeom.GetStageMetersPerUnit(stage))


def first_time(stage: Any) -> Any:
    """The time code at which a stage is read."""
    from pxr import Usd

    first = Usd.TimeCode(stage.GetStartTimeCode())
    return first if stage.HasAuthoredTimeCodeRange() else Usd.TimeCode.EarliestTime()


class _Stage:
    """A walk over a stage. time: its first, for attributes with samples; others have one value."""

    def __init__(self, stage: Any) -> None:
        from pxr import UsdGeom, UsdSkel

        self.stage = stage
        self.time = first_time(stage)
        self.transforms = UsdGeom.XformCache(self.time)
        self.skeletons = UsdSkel.Cache()
        self.skins: dict[Any, tuple[Any, Any]] = {}  # of a mesh's path: queries of its skeleton and of its skin

    def objects(self) -> Iterator[SceneObject]:
        return self._under(self.stage.GetPseudoRoot(), np.eye(4), None)

    def _under(self, root: Any, to_scene: Matrix, frame: Any) -> Iterator[SceneObject]:
        """The objects under a prim, placed in the frame of another (None: of the scene), then moved by to_scene."""
        from pxr import Usd, UsdGeom, UsdSkel

        prims = iter(Usd.PrimRange(root, Usd.TraverseInstanceProxies()))
        for prim in prims:
            imageable = UsdGeom.Imageable(prim)
            if not imageable:
                continue
            if imageable.GetVisibilityAttr().Get(self.time) == UsdGeom.Tokens.invisible:
                prims.PruneChildren()
            elif prim.IsA(UsdGeom.PointInstancer):
                prims.PruneChildren()
                yield from self._instances(UsdGeom.PointInstancer(prim), to_scene @ self._matrix(prim, frame))
            elif prim.IsA(UsdSkel.Root):
                self._find_skins(UsdSkel.Root(prim))
            elif imageable.ComputePurpose() in (UsdGeom.Tokens.default_, UsdGeom.Tokens.render):
                yield from self._object(prim, to_scene, frame)

    def _matrix(self, prim: Any, frame: Any) -> Matrix:
        world = self.transforms.GetLocalToWorldTransform(prim)
        if frame is not None:
            world = world * self.transforms.GetLocalToWorldTransform(frame).GetInverse()
        return np.array(world).T

    def _instances(self, instancer: Any, matrix: Matrix) -> Iterator[SceneObject]:
        """The prototypes of a point instancer, once for each of its instances."""
        from pxr import UsdGeom

        numbers = instancer.GetProtoIndicesAttr().Get(self.time) or ()
        # Without the prototype's own transform, which _under applies.
        how = UsdGeom.PointInstancer.ExcludeProtoXform, UsdGeom.PointInstancer.IgnoreMask
        places = instancer.ComputeInstanceTransformsAtTime(self.time, self.time, *how)
        shown = instancer.ComputeMaskAtTime(self.time) or [True] * len(numbers)
        prototypes = [self.stage.GetPrimAtPath(path) for path in instancer.GetPrototypesRel().GetForwardedTargets()]
        if len(places) < len(numbers) or not all(0 <= n < len(prototypes) and prototypes[n] for n in numbers):
            raise CorruptFileError("is damaged: a point instancer has no places or prototypes for its instances")
        for number, place, there in zip(numbers, places, shown, strict=False):
            if there:
                prototype = prototypes[number]
                yield from self._under(prototype, matrix @ np.array(place).T, prototype.GetParent())

    def _find_skins(self, root: Any) -> None:
        from pxr import Usd

        instances = Usd.TraverseInstanceProxies()
        self.skeletons.Populate(root, instances)
        for binding in self.skeletons.ComputeSkelBindings(root, instances):
            skeleton = self.skeletons.GetSkelQuery(binding.GetSkeleton())
            self.skins |= {skin.GetPrim().GetPath(): (skeleton, skin) for skin in binding.GetSkinningTargets()}

    def _object(self, prim: Any, to_scene: Matrix, frame: Any) -> Iterator[SceneObject]:
        from pxr import UsdGeom

        faces: NDArray[np.int64] | None
        polygons = None
        if prim.IsA(UsdGeom.PointBased) and (prim.IsA(UsdGeom.Mesh) or prim.IsA(UsdGeom.Points)):
            points, stands = self._points(prim)
            faces, polygons = self._faces(UsdGeom.Mesh(prim)) if prim.IsA(UsdGeom.Mesh) else (None, None)
            colors = self._colors(prim, len(points))
        else:
            solid = self._solid(prim)
            if solid is None:
                return
            (points, faces), stands, colors = solid, prim, None
        found = placed(prim.GetName(), points, faces, to_scene @ self._matrix(stands, frame), colors)
        path = str(prim.GetPath()).strip("/").split("/")
        materials, face_material = self._materials(prim, faces, polygons)
        yield found._replace(
            parents=tuple(path[-2::-1]),
            materials=materials,
            face_material=face_material,
            face_polygon=polygons,
        )

    def _materials(
        self, prim: Any, faces: NDArray[np.int64] | None, polygons: NDArray[np.int64] | None
    ) -> tuple[tuple[str, ...], NDArray[np.int64] | None]:  # names, (F,)
        """Names of the materials that are bound to a prim or to subsets of its faces, and which each face has."""
        from pxr import UsdGeom, UsdShade

        if faces is None:
            return (), None
        names = [UsdShade.MaterialBindingAPI(prim).GetDirectBinding().GetMaterialPath().name]
        numbers = np.full(len(faces), 0 if names[0] else -1)
        polygons = np.arange(len(faces)) if polygons is None else polygons
        subsets = UsdShade.MaterialBindingAPI(prim).GetMaterialBindSubsets() if prim.IsA(UsdGeom.Mesh) else ()
        for subset in subsets:
            binding = UsdShade.MaterialBindingAPI(subset.GetPrim()).GetDirectBinding()
            numbers[np.isin(polygons, _numbers(subset.GetIndicesAttr().Get(self.time), np.int64))] = len(names)
            names.append(binding.GetMaterialPath().name or subset.GetPrim().GetName())
        return tuple(names), numbers

    def _points(self, prim: Any) -> tuple[NDArray[np.float64], Any]:  # (N, 3)
        """Points, posed by their skin, and the prim in whose frame they are: a skin's skeleton."""
        from pxr import UsdGeom

        points = _rows(UsdGeom.PointBased(prim).GetPointsAttr().Get(self.time), 3)
        skeleton, skin = self.skins.get(prim.GetPath(), (None, None))
        matrices = skeleton.ComputeSkinningTransforms(self.time) if skeleton else None
        if not matrices or not len(points):
            return points, prim
        return self._skinned(points, matrices, skeleton, skin), skeleton.GetPrim()

    def _skinned(
        self, points: NDArray[np.float64], matrices: Any, skeleton: Any, skin: Any
    ) -> NDArray[np.float64]:  # (N, 3)
        """Points moved by the weighted mean of their joints, in float64, where USD's own function rounds to float32."""
        if skin.GetJointOrder():  # a mesh may list its joints in another order than the skeleton
            place = {name: number for number, name in enumerate(skeleton.GetJointOrder())}
            matrices = [matrices[place[name]] for name in skin.GetJointOrder() if name in place]
        influences = skin.ComputeVaryingJointInfluences(len(points), self.time)
        joints, weights = (_numbers(values, np.float64) for values in influences or ((), ()))
        if not len(joints) or len(joints) % len(points) or len(weights) != len(joints):
            raise CorruptFileError("is damaged: the joints and weights of a skin do not fit its vertices")
        joints, weights = joints.astype(np.int64).reshape(len(points), -1), weights.reshape(len(points), -1)
        if joints.min() < 0 or joints.max() >= len(matrices):
            raise CorruptFileError("is damaged: a skin refers to joints that are not there")
        bound = skin.GetGeomBindTransform(self.time)
        columns = np.array([np.array(bound * matrix).T for matrix in matrices])  # (J, 4, 4)
        total = weights.sum(axis=1, keepdims=True)
        blend = ((weights / np.where(total > 0, total, 1))[:, None] @ columns.reshape(-1, 16)[joints]).reshape(-1, 4, 4)
        return np.asarray(np.einsum("nij,nj->ni", blend[:, :3, :3], points) + blend[:, :3, 3])

    def _faces(self, mesh: Any) -> tuple[NDArray[np.int64], NDArray[np.int64] | None]:  # (F, 3), (F,)
        """Triangles, and the polygon of each; None where every polygon is one."""
        from pxr import UsdGeom

        counts = _numbers(mesh.GetFaceVertexCountsAttr().Get(self.time), np.int64)
        corners = _numbers(mesh.GetFaceVertexIndicesAttr().Get(self.time), np.int64)
        holes = _numbers(mesh.GetHoleIndicesAttr().Get(self.time), np.int64)
        if (counts < 0).any() or counts.sum() != len(corners) or (holes.size and not 0 <= holes.max() < len(counts)):
            raise CorruptFileError("is damaged: the faces of a mesh do not fit its list of corners")
        faces, polygons = triangulate(counts, corners), polygons_or_none(counts)
        if holes.size:
            polygons = polygon_of_triangles(counts)
            kept = ~np.isin(polygons, holes)
            faces, polygons = faces[kept], polygons[kept]
        left_handed = mesh.GetOrientationAttr().Get(self.time) == UsdGeom.Tokens.leftHanded
        return (faces[:, ::-1] if left_handed else faces), polygons

    def _colors(self, prim: Any, count: int) -> NDArray[np.uint8] | None:  # (N, 3)
        """displayColor, where it is one colour for each vertex."""
        from pxr import UsdGeom

        values = _rows(UsdGeom.Gprim(prim).GetDisplayColorPrimvar().ComputeFlattened(self.time), 3)
        return byte_colors(list(np.clip(values, 0, 1).T)) if count > 1 and len(values) == count else None

    def _solid(self, prim: Any) -> tuple[NDArray[np.float64], NDArray[np.int64]] | None:
        """Vertices (V, 3) and faces (F, 3) of a sphere, box, cylinder, cone, capsule or plane; None for others."""
        kind = prim.GetTypeName()
        if kind not in _SOLIDS:
            return None
        sizes, make = _SOLIDS[kind]
        values = _numbers([prim.GetAttribute(name).Get(self.time) for name in sizes], np.float64)
        if not (np.isfinite(values) & (values > 0)).all():
            raise CorruptFileError(f"is damaged: a {kind} has no size above 0")
        points, faces = make(*values)
        axis = prim.GetAttribute("axis").Get(self.time) if prim.HasAttribute("axis") else "Z"
        # Turned from z to the axis by renaming the axes round, which keeps the faces outside.
        return np.roll(points, "ZXY".index(axis or "Z"), axis=1), faces


def _box(x: float, y: float, z: float) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """A box around the origin; z = 0 gives a rectangle that faces upwards."""
    corners = np.array([(0, 0, 0), (1, 0, 0), (1, 1, 0), (0, 1, 0), (0, 0, 1), (1, 0, 1), (1, 1, 1), (0, 1, 1)])
    sides = [(4, 5, 6, 7), (3, 2, 1, 0), (0, 1, 5, 4), (1, 2, 6, 5), (2, 3, 7, 6), (3, 0, 4, 7)]
    points = (corners - 0.5) * [x, y, z]
    if z == 0:
        points, sides = points[:4], [(0, 1, 2, 3)]
    return points, triangulate(np.full(len(sides), 4), np.ravel(sides))


def _turned(radii: NDArray[np.float64], heights: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """What a profile from pole to pole, upwards, sweeps round the z axis: a ring for each inner row."""
    angles = 2 * np.pi * np.arange(_ROUND) / _ROUND
    circle = np.stack([np.cos(angles), np.sin(angles), np.zeros(_ROUND)], axis=1)
    rings = [r * circle + [0, 0, z] for r, z in zip(radii[1:-1], heights[1:-1], strict=True)]
    points = np.concatenate([[[0, 0, heights[0]]], *rings, [[0, 0, heights[-1]]]])
    here = 1 + np.arange(_ROUND)
    after = np.roll(here, -1)
    last = 1 + _ROUND * (len(rings) - 1)
    faces = [np.stack([np.zeros_like(here), after, here], axis=1)]
    for start in range(0, last - 1, _ROUND):
        low, low_after, high, high_after = here + start, after + start, here + start + _ROUND, after + start + _ROUND
        faces += [np.stack([low, low_after, high_after], axis=1), np.stack([low, high_after, high], axis=1)]
    faces.append(np.stack([here + last - 1, after + last - 1, np.full_like(here, len(points) - 1)], axis=1))
    return points, np.concatenate(faces)


def _capsule(radius: float, height: float) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Two half spheres `height` apart; a sphere for height 0."""
    angles = np.pi * (np.arange(_ROUND // 2 + 1) / (_ROUND // 2) - 0.5)
    lower = angles <= 0
    angles = np.concatenate([angles[lower], angles[~lower] if height == 0 else angles[angles >= 0]])
    shift = height / 2 * np.where(np.arange(len(angles)) < lower.sum(), -1, 1)
    return _turned(radius * np.cos(angles), radius * np.sin(angles) + shift)


_ROUND = 32  # corners of a circle
# Solids around the origin, along z: the attributes with their sizes, and what makes them.
_SOLIDS: dict[str, tuple[tuple[str, ...], Callable[..., tuple[NDArray[np.float64], NDArray[np.int64]]]]] = {
    "Cube": (("size",), lambda size: _box(size, size, size)),
    "Sphere": (("radius",), lambda radius: _capsule(radius, 0)),
    "Cylinder": (("radius", "height"), lambda r, h: _turned(np.array([0, r, r, 0]), np.array([-h, -h, h, h]) / 2)),
    "Cone": (("radius", "height"), lambda r, h: _turned(np.array([0, r, 0]), np.array([-h, -h, h]) / 2)),
    "Capsule": (("radius", "height"), _capsule),
    "Plane": (("width", "length"), lambda width, length: _box(width, length, 0)),
}


def _numbers(values: Any, dtype: type) -> NDArray[Any]:
    """An attribute's value as an array; empty where it has none."""
    try:
        return np.array(() if values is None else values, dtype)
    except (TypeError, ValueError):
        raise CorruptFileError("is damaged: an attribute is of another type than its schema says") from None


def _rows(values: Any, width: int) -> NDArray[np.float64]:  # (N, width)
    found = _numbers(values, np.float64)
    if found.size and found.shape != (len(found), width):
        raise CorruptFileError("is damaged: an attribute is of another type than its schema says")
    return found.reshape(-1, width)


def _reason(error: Exception) -> str:
    """What USD says of a file, without where in its own code it says so."""
    found = re.search(r" : '([^\n]+)", str(error))
    return (found[1].rstrip(" '") if found else " ".join(str(error).split()))[:200]


FORMAT = Format(
    "USD, USDZ",
    (".usd", ".usda", ".usdc", ".usdz"),
    read,
    "meshes, clouds",
    "y",
    "first frame, in metres; needs the extra `formats`",
)
