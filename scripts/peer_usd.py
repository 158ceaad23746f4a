"""USD for scripts/peer_readings.py: prims, with transforms, instancers and skins worked out by the letter."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import trimesh
from peer_readings import UP, Reading, Summary, joined, summary_of


def usd_by_hand(file: Path) -> Summary:
    """What is compared, in metres and y up."""
    read, boxes = _walked(file)
    if not boxes:
        return summary_of(read)
    # Solids become triangles as each reader likes: only the box is compared.
    corners = np.concatenate([*boxes, read.points])
    return Summary(-1, (), corners.min(axis=0), corners.max(axis=0), 1e-2)


def read_usd(file: Path) -> Reading:
    """The meshes of a file."""
    return _walked(file)[0]


def _walked(file: Path) -> tuple[Reading, list[np.ndarray]]:
    """The meshes, or points, and the corners of each solid's bounding box."""
    from pxr import Usd, UsdGeom

    stage = Usd.Stage.Open(str(file))
    first = stage.GetStartTimeCode()
    time = Usd.TimeCode(first) if stage.HasAuthoredTimeCodeRange() else Usd.TimeCode.EarliestTime()
    meshes: list[tuple[np.ndarray, np.ndarray | None]] = []
    boxes: list[np.ndarray] = []
    clouds: list[tuple[np.ndarray, np.ndarray | None]] = []

    def value(prim: Any, name: str, default: Any = ()) -> np.ndarray:
        found = prim.GetAttribute(name).Get(time) if prim.HasAttribute(name) else None
        return np.array(default if found is None else found)

    def walk(prim: Any, parent: np.ndarray, purpose: str) -> None:
        if prim.HasAttribute("visibility") and prim.GetAttribute("visibility").Get(time) == "invisible":
            return
        world = parent
        if prim.IsA(UsdGeom.Xformable):
            local = np.array(UsdGeom.Xformable(prim).GetLocalTransformation(time)).T
            world = local if UsdGeom.Xformable(prim).GetResetXformStack() else parent @ local
        own = prim.GetAttribute("purpose").Get() if prim.HasAttribute("purpose") else None
        purpose = own if own not in (None, "default") and purpose == "default" else purpose
        kind = prim.GetTypeName()
        if kind == "PointInstancer":
            instance(prim, world, purpose)
            return
        if purpose in ("default", "render"):
            if kind == "Mesh":
                points = skinned(prim, world)
                counts, corners = (
                    value(prim, "faceVertexCounts").astype(int),
                    value(prim, "faceVertexIndices").astype(int),
                )
                holes = set(value(prim, "holeIndices").astype(int).tolist())
                polygons = np.split(corners, np.cumsum(counts)[:-1]) if len(counts) else []
                polygons = [polygon for i, polygon in enumerate(polygons) if i not in holes]
                fans = [(p[0], p[i], p[i + 1]) for p in polygons for i in range(1, len(p) - 1)]
                meshes.append((points, np.array(fans, np.int64).reshape(-1, 3)))
            elif kind == "Points":
                clouds.append((moved(value(prim, "points"), world), None))
            elif kind in ("Cube", "Sphere", "Cylinder", "Cone", "Capsule"):
                boxes.append(solid(prim, kind, world))
        for child in prim.GetFilteredChildren(Usd.TraverseInstanceProxies()):
            walk(child, world, purpose)

    def moved(points: np.ndarray, matrix: np.ndarray) -> np.ndarray:
        return np.asarray(points, np.float64).reshape(-1, 3) @ matrix[:3, :3].T + matrix[:3, 3]

    def instance(prim: Any, world: np.ndarray, purpose: str) -> None:
        numbers, at = value(prim, "protoIndices"), value(prim, "positions")
        turns, scales = prim.GetAttribute("orientations").Get(time), value(prim, "scales")
        targets = prim.GetRelationship("prototypes").GetForwardedTargets()
        for i, number in enumerate(numbers):
            matrix = np.eye(4)
            if turns:
                w, (x, y, z) = turns[i].GetReal(), turns[i].GetImaginary()
                matrix[:3, :3] = trimesh.transformations.quaternion_matrix([w, x, y, z])[:3, :3]
            if len(scales):
                matrix[:3, :3] *= scales[i]
            matrix[:3, 3] = at[i]
            walk(prim.GetStage().GetPrimAtPath(targets[number]), world @ matrix, purpose)

    def solid(prim: Any, kind: str, world: np.ndarray) -> np.ndarray:
        """The bounding box (2, 3) of a solid, which is round about its axis, or a cube."""
        radius = float(value(prim, "size", 2.0)) / 2 if kind == "Cube" else float(value(prim, "radius", 1.0))
        half = float(value(prim, "height", 2.0)) / 2 if kind in ("Cylinder", "Cone", "Capsule") else 0.0
        axis = "XYZ".index(str(prim.GetAttribute("axis").Get(time))) if half else 2
        rows, center = world[:3, :3], world[:3, 3]
        along, round_about = rows[:, axis] * half, np.delete(rows, axis, axis=1) * radius
        if kind == "Cube":
            reach = np.abs(rows).sum(axis=1) * radius
        elif kind in ("Sphere", "Capsule"):
            reach = np.linalg.norm(rows, axis=1) * radius + np.abs(along)
        else:
            reach = np.linalg.norm(round_about, axis=1) + np.abs(along)
        low, high = center - reach, center + reach
        if kind == "Cone":  # its top has no width
            base = np.linalg.norm(round_about, axis=1)
            low, high = (
                np.minimum(center - along - base, center + along),
                np.maximum(center - along + base, center + along),
            )
        return np.stack([low, high])

    def skinned(prim: Any, world: np.ndarray) -> np.ndarray:
        """Points in the scene; those of a skin by its joints, as UsdSkel defines it."""
        points = value(prim, "points")
        holder = prim
        while holder and not holder.IsPseudoRoot() and not holder.GetRelationship("skel:skeleton").GetTargets():
            holder = holder.GetParent()
        joints = value(prim, "primvars:skel:jointIndices").astype(int)
        if not holder or holder.IsPseudoRoot() or not len(joints):
            return moved(points, world)
        skeleton = prim.GetStage().GetPrimAtPath(holder.GetRelationship("skel:skeleton").GetTargets()[0])
        order = [str(name) for name in skeleton.GetAttribute("joints").Get()]
        local = [np.array(m).T for m in skeleton.GetAttribute("restTransforms").Get() or []]
        bind = [np.array(m).T for m in skeleton.GetAttribute("bindTransforms").Get()]
        source = (
            skeleton.GetRelationship("skel:animationSource").GetTargets()
            or holder.GetRelationship("skel:animationSource").GetTargets()
        )
        if source:
            animation = prim.GetStage().GetPrimAtPath(source[0])
            names = [str(name) for name in animation.GetAttribute("joints").Get()]
            turns, shifts, sizes = (
                animation.GetAttribute(n).Get(time) for n in ("rotations", "translations", "scales")
            )
            for i, name in enumerate(names):
                w, (x, y, z) = turns[i].GetReal(), turns[i].GetImaginary()
                matrix = np.eye(
                    4
                )  # of the quaternion as it is, as UsdSkel does, although it may not quite be of length 1
                matrix[:3, :3] = [
                    [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
                    [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
                    [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
                ]
                matrix[:3, :3] *= np.array(sizes[i], np.float64)
                matrix[:3, 3] = shifts[i]
                local[order.index(name)] = matrix
        whole: dict[str, np.ndarray] = {}
        for name, matrix in zip(order, local, strict=True):
            whole[name] = whole.get(name.rpartition("/")[0], np.eye(4)) @ matrix
        own = value(prim, "skel:joints")
        used = [str(name) for name in own] if len(own) else order
        to_bind = np.array(value(prim, "primvars:skel:geomBindTransform", np.eye(4))).T
        matrices = np.array([whole[n] @ np.linalg.inv(bind[order.index(n)]) @ to_bind for n in used])
        count = prim.GetAttribute("primvars:skel:jointIndices").GetMetadata("elementSize") or 1
        weights = value(prim, "primvars:skel:jointWeights").astype(np.float64).reshape(-1, count)
        joints = joints.reshape(-1, count)
        weights = weights / np.maximum(weights.sum(axis=1, keepdims=True), 1e-30)
        blend = (weights[..., None, None] * matrices[joints]).sum(axis=1)
        blend = np.broadcast_to(blend, (len(points), 4, 4))
        posed = np.einsum("nij,nj->ni", blend[:, :3, :3], points) + blend[:, :3, 3]
        at = np.eye(4)
        above = [skeleton]
        while above[-1].GetParent() and not above[-1].GetParent().IsPseudoRoot():
            above.append(above[-1].GetParent())
        for ancestor in reversed(above):
            if ancestor.IsA(UsdGeom.Xformable):
                at = at @ np.array(UsdGeom.Xformable(ancestor).GetLocalTransformation(time)).T
        return moved(posed, at)

    walk(stage.GetPseudoRoot(), np.eye(4), "default")
    up = str(UsdGeom.GetStageUpAxis(stage))
    turn = np.transpose(UP[up]) * UsdGeom.GetStageMetersPerUnit(stage)
    empty = [(np.empty((0, 3)), None)]
    read = joined(meshes or clouds or empty)
    return Reading(read.points @ turn, read.faces), [box @ turn for box in boxes]
