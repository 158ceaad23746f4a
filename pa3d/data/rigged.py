"""Skinned characters as an endless source of labelled shapes: random poses by linear blend skinning.

The skeleton gives both the labels (a vertex belongs to its dominant joint, a face to its vertices'
majority) and the deformation. With p_j a joint's bind position and R_j its random rotation, both in world
axes, a joint's motion is

    D_j = D_parent(j) T(p_j) R_j T(-p_j),        v' = sum_j w_vj D_j v,

so no rotation reproduces the bind vertices, whatever local axes the rig was made with. Characters are
brought to y up, left to +x and front to +z, from the sides that the joints' names state. Human parts follow
the usual coarse cut: the arm starts at the upper arm, the leg at the hip joint, clavicles and hips belong
to the torso.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pa3d.data.names import joint_names, joint_side, joint_words, part_names
from pa3d.data.parts import PartMesh
from pa3d.io._common import CorruptFileError, raise_as_input_error
from pa3d.io.gltf import Gltf
from pa3d.rotations import axis_angle_rotation

_ACCESSORIES = {
    "backpack",
    "sword",
    "weapon",
    "horn",
    "shield",
    "cape",
    "hat",
    "helmet",
    "hood",
    "gun",
    "antler",
}
_DETAILS = _ACCESSORIES | {
    "hair", "eye", "eyebrow", "beard", "mustache", "glasses", "hoof", "horn", "muzzle", "beak", "teeth",
    "tongue", "nose", "claw", "mane", "mask", "visor", "belt",
}  # fmt: skip
_HELD = re.compile(r"hand_?slot|weapon_?slot|^weapon", re.I)


@dataclass
class RiggedCharacter:
    """A skinned mesh in its bind pose and the skeleton that poses it.

    vertices: (V, 3) float64, y up; faces: (F, 3) int32; joints, weights: (V, K) index into the skeleton and
    weight; joint_names: raw names (J); parents: (J,) index or -1, parents before children in ``order``;
    pivots: (J, 3) bind positions; face_parts and parts as in PartMesh.
    """

    vertices: NDArray[np.float64]
    faces: NDArray[np.int32]
    joints: NDArray[np.int64]
    weights: NDArray[np.float64]
    joint_names: list[str]
    parents: NDArray[np.int64]
    pivots: NDArray[np.float64]
    face_parts: NDArray[np.int32]
    parts: list[tuple[str, ...]]
    category: str = ""
    source: str = ""
    license: str = ""
    id: str = ""
    copyright: str = ""

    def __post_init__(self) -> None:
        depth = np.zeros(len(self.parents), int)
        for joint in range(len(depth)):
            above = self.parents[joint]
            while above >= 0:
                depth[joint] += 1
                above = self.parents[above]
        self.order = np.argsort(depth, kind="stable")
        self._kinds = [joint_words(name) for name in self.joint_names]

    @classmethod
    def load(
        cls, path: str | Path, *, category: str = "", source: str = "", license: str = "", id: str = ""
    ) -> RiggedCharacter:
        """Read the skinned meshes of a .glb or .gltf file. Raises InputError when it has none."""
        path = Path(path)
        with raise_as_input_error(path.name, "glTF"):
            names = {"category": category or path.stem, "id": id or path.stem}
            return cls.from_gltf(Gltf.load(path), source=source, license=license, **names)

    @classmethod
    def from_gltf(
        cls, gltf: Gltf, *, category: str = "", source: str = "", license: str = "", id: str = ""
    ) -> RiggedCharacter:
        """The character of a parsed file; held weapons (alternatives laid over each other) are left out.

        source: the corpus that the file comes from; words that mean a part there alone count too.
        Raises CorruptFileError when it has none.
        """
        skeleton = _Skeleton(gltf)
        meshes = [_mesh_of_node(gltf, skeleton, index, source) for index in gltf.scene if gltf.nodes[index].mesh >= 0]
        pieces = [piece for mesh in meshes for piece in mesh]
        if not pieces:
            raise CorruptFileError("no skinned triangles", "expected a mesh with a skin")
        vertices, faces, joints, weights, details = _concatenate(pieces)
        pivots, frame = _upright(skeleton, vertices)
        vertices = vertices @ frame.T
        piece = np.repeat(np.arange(len(details)), [count for count, _, _ in details])
        hips = [i for i, names in enumerate(skeleton.part_of) if skeleton.human and names[:1] == ("upper leg",)]
        if hips:
            longest = 0.04 * float(np.ptp(vertices[:, 1]))
            vertices, faces, joints, weights, piece = _subdivided(vertices, faces, joints, weights, piece, longest)
        label = face_joints(faces, joints, weights)
        if hips:
            # A leg's weights reach up to the belt in sparse rigs; the coarse cut is at the hip joint.
            above = vertices[faces][:, :, 1].mean(1) > pivots[hips, 1].mean()
            torso = sorted((names[:1] != ("hips",), i) for i, names in enumerate(skeleton.part_of) if "torso" in names)
            if torso:
                label[above & np.isin(label, hips)] = torso[0][1]
        face_parts, parts = _label(label, piece, details, skeleton)
        return cls(
            vertices, faces, joints, weights, skeleton.names, _follow_feet(skeleton, pivots), pivots,
            face_parts, parts, category, source, license, id,
        )  # fmt: skip

    def bind(self) -> PartMesh:
        """The shape as its author modelled it."""
        return self._record(self.vertices)

    def pose(self, rng: np.random.Generator, *, amount: float | None = None) -> PartMesh:
        """A new random pose within plausible limits of each joint, upright.

        amount scales every rotation; None draws it from 0.25 to 1, so that calm poses are as common as wild
        ones.
        """
        scale = rng.uniform(0.25, 1.0) if amount is None else amount
        return self._record(self.posed(random_rotations(self, rng, scale)))

    def posed(self, rotations: NDArray[np.float64]) -> NDArray[np.float64]:  # (J, 3, 3) -> (V, 3)
        """Vertices after rotating every joint about its pivot, in world axes of the bind pose."""
        motion = np.zeros((len(self.parents), 3, 4))
        for joint in self.order:
            own = np.concatenate(
                [rotations[joint], (self.pivots[joint] - rotations[joint] @ self.pivots[joint])[:, None]], 1
            )
            above = self.parents[joint]
            if above >= 0:
                parent = motion[above]
                own = np.concatenate([parent[:, :3] @ own[:, :3], parent[:, :3] @ own[:, 3:] + parent[:, 3:]], 1)
            motion[joint] = own
        blended = np.zeros((len(self.vertices), 3, 4))
        for k in range(self.joints.shape[1]):
            blended += self.weights[:, k, None, None] * motion[self.joints[:, k]]
        return np.einsum("vij,vj->vi", blended[:, :, :3], self.vertices) + blended[:, :, 3]

    def _record(self, vertices: NDArray[np.float64]) -> PartMesh:
        return PartMesh(
            vertices.astype(np.float32), self.faces, self.face_parts, self.parts,
            self.category, self.source, self.license, self.id,
        )  # fmt: skip


# kind of joint: the most it turns, in degrees, about x (nod), y (turn) and z (tilt); the first match counts.
_LIMITS: tuple[tuple[str, tuple[float, float, float]], ...] = (
    (r"pole|target|\bpt\b|eye|weapon|gun", (0, 0, 0)),
    (r"shoulders|clavicle", (4, 4, 4)),
    (r"thumb|index|pinky|ring|middle|finger|palm|fist", (12, 8, 12)),
    (r"\bff|foot|toe|ankle", (20, 8, 8)),
    (r"hand|wrist", (20, 20, 20)),
    (r"shoulder|hip$", (6, 6, 6)),
    (r"(front|back) (upper leg|up leg)", (30, 8, 10)),
    (r"(front|back) (lower leg|low leg)", (25, 4, 4)),
    (r"leg", (18, 8, 10)),
    (r"ear", (15, 15, 15)),
    (r"tongue|mouth|jaw", (8, 3, 3)),
    (r"neck", (12, 14, 8)),
    (r"head|face", (18, 28, 14)),
    (r"tail", (12, 16, 6)),
    (r"wing", (8, 12, 30)),
    (r"flipper|fin", (12, 12, 20)),
    (r"abdomen|torso|chest|spine|back|belly", (7, 8, 6)),
    (r"root|body|hips|pelvis", (0, 0, 0)),
    (r"", (6, 6, 6)),
)


def random_rotations(character: RiggedCharacter, rng: np.random.Generator, amount: float) -> NDArray[np.float64]:
    """One rotation a joint, (J, 3, 3): limbs of humans by anatomy, every other joint within _LIMITS."""
    count = len(character.parents)
    rotations = np.tile(np.eye(3), (count, 1, 1))
    for joint in range(count):
        kind, side = character._kinds[joint], joint_side(character.joint_names[joint])
        along = _bone_direction(character, joint)
        if kind in ("upper arm", "arm", "up arm") and side:
            rotations[joint] = _shoulder_rotation(along, rng, amount)
        elif kind in ("lower arm", "fore arm") and side:
            axis = np.cross(along, [0.0, rng.uniform(-0.5, 0.8), 1.0])
            rotations[joint] = axis_angle_rotation(axis, amount * np.radians(rng.uniform(0, 130)))
        elif kind in ("upper leg", "up leg", "thigh") and side:
            raise_forward = axis_angle_rotation([1, 0, 0], amount * np.radians(rng.uniform(-75, 30)))
            spread = axis_angle_rotation([0, 0, 1], amount * np.radians(side * rng.uniform(-4, 35)))
            rotations[joint] = (
                spread @ raise_forward @ axis_angle_rotation([0, 1, 0], amount * np.radians(rng.uniform(-20, 20)))
            )
        elif kind in ("lower leg", "low leg", "shin", "calf") and side:
            rotations[joint] = axis_angle_rotation([1, 0, 0], amount * np.radians(rng.uniform(0, 95)))
        else:
            limits = next(limits for pattern, limits in _LIMITS if re.search(pattern, kind))
            turn = np.radians(limits) * rng.normal(0, 0.6, 3).clip(-1, 1) * amount
            rotations[joint] = axis_angle_rotation(turn, float(np.linalg.norm(turn)))
    return rotations


def _shoulder_rotation(along: NDArray[np.float64], rng: np.random.Generator, amount: float) -> NDArray[np.float64]:
    """From the bind direction to a random one: from hanging to overhead, swung forward or back, twisted."""
    now = np.arcsin(np.clip(along[1], -1, 1))
    target = np.radians(rng.uniform(-80, 70))
    lift = axis_angle_rotation(np.cross(along, [0, 1, 0]), (target - now) * amount)
    inward = -1.0 if along[0] > 0 else 1.0
    swing = axis_angle_rotation([0, 1, 0], inward * amount * np.radians(rng.uniform(-25, 75)))
    return swing @ lift @ axis_angle_rotation(along, amount * np.radians(rng.uniform(-50, 50)))


def _bone_direction(character: RiggedCharacter, joint: int) -> NDArray[np.float64]:
    children = np.flatnonzero(character.parents == joint)
    if len(children):
        along = character.pivots[children].mean(0) - character.pivots[joint]
    else:
        above = character.parents[joint]
        along = character.pivots[joint] - character.pivots[above] if above >= 0 else np.zeros(3)
    return along / max(float(np.linalg.norm(along)), 1e-9)


class _Skeleton:
    """Every joint of every skin, once, with its bind position in the scene's frame."""

    def __init__(self, gltf: Gltf) -> None:
        self.nodes: list[int] = []
        self.skins: list[tuple[NDArray[np.int64], NDArray[np.float64]]] = []  # joints here, mesh-to-scene placement
        positions: list[NDArray[np.float64]] = []
        for skin in gltf.skins:
            joints, inverse_bind = skin.joints, skin.inverse_bind
            # The rest pose may differ from the bind pose: the joint nearest the top places the whole mesh.
            top = min(range(len(joints)), key=lambda i: len(gltf.ancestors(joints[i])))
            placement = gltf.nodes[joints[top]].world_matrix @ inverse_bind[top]
            for node, inverse in zip(joints, inverse_bind, strict=True):
                if node not in self.nodes:
                    self.nodes.append(node)
                    positions.append((placement @ _inverse(inverse))[:3, 3])
            self.skins.append((np.array([self.nodes.index(j) for j in joints]), placement))
        self.names = [gltf.nodes[n].name for n in self.nodes]
        self.positions = np.array(positions).reshape(-1, 3)
        index = {node: i for i, node in enumerate(self.nodes)}
        self.parents = np.array(
            [next((index[a] for a in gltf.ancestors(n) if a in index), -1) for n in self.nodes], np.int64
        )
        self.part_of: list[tuple[str, ...]] = []
        self._name_joints()

    def _name_joints(self) -> None:
        """A joint that is no control and means nothing takes the names of the nearest one above.

        People's necks count as head, their coarse cut; animals' necks are parts of their own.
        """
        own = [joint_names(n) for n in self.names]
        self.human = any("upper arm" in names for names in own)
        for joint, names in enumerate(own):
            above = joint
            while not names and self.parents[above] >= 0 and joint_words(self.names[joint]) != "bone":
                above = self.parents[above]
                names = own[above]
            if self.human and names == ("neck",):
                names = ("neck", "head")
            self.part_of.append(names)


def _inverse(matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    try:
        return np.asarray(np.linalg.inv(matrix), np.float64)
    except np.linalg.LinAlgError:
        raise CorruptFileError("is damaged: a joint's inverse bind matrix has no inverse") from None


_Piece = tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.int64], NDArray[np.float64], tuple[str, ...], str]


def _mesh_of_node(gltf: Gltf, skeleton: _Skeleton, index: int, corpus: str) -> list[_Piece]:
    """A mesh node's primitives in the scene's frame: skinned, or rigid under the joint it hangs from."""
    node = gltf.nodes[index]
    above = [a for a in gltf.ancestors(index) if a in skeleton.nodes]
    if node.skin < 0 and (not above or any(_HELD.search(gltf.nodes[a].name) for a in gltf.ancestors(index))):
        return []
    own = part_names(node.name, corpus=corpus)
    whole = own if own and _ACCESSORIES & set(own) else ()
    pieces: list[_Piece] = []
    for primitive in gltf.primitives(index):
        if primitive.faces is None:
            continue
        if primitive.skin_weights is not None and 0 <= node.skin < len(skeleton.skins):
            joint_map, placement = skeleton.skins[node.skin]
            joints, weights = primitive.skin_weights
            if joints.max(initial=0) >= len(joint_map):
                raise CorruptFileError("is damaged: the joints and weights of a skin do not fit its vertices")
            joints = joint_map[joints]
        elif above:
            placement = node.world_matrix
            joints = np.full((len(primitive.vertices), 4), skeleton.nodes.index(above[0]))
            weights = np.tile([1.0, 0, 0, 0], (len(primitive.vertices), 1))
        else:
            continue
        vertices = primitive.vertices @ placement[:3, :3].T + placement[:3, 3]
        material = part_names(gltf.material_name(primitive.material), corpus=corpus)
        pieces.append((vertices, primitive.faces, joints, weights, whole, material[0] if material else ""))
    return pieces


def _concatenate(
    pieces: list[_Piece],
) -> tuple[
    NDArray[np.float64],
    NDArray[np.int32],
    NDArray[np.int64],
    NDArray[np.float64],
    list[tuple[int, tuple[str, ...], str]],
]:
    width = max(piece[2].shape[1] for piece in pieces)
    starts = np.cumsum([0] + [len(piece[0]) for piece in pieces])
    padded = [
        (np.pad(j, ((0, 0), (0, width - j.shape[1]))), np.pad(w, ((0, 0), (0, width - w.shape[1]))))
        for _, _, j, w, _, _ in pieces
    ]
    faces = np.concatenate([piece[1] + start for piece, start in zip(pieces, starts, strict=False)]).astype(np.int32)
    details = [(len(piece[1]), piece[4], piece[5]) for piece in pieces]
    return (
        np.concatenate([piece[0] for piece in pieces]),
        faces,
        np.concatenate([j for j, _ in padded]),
        np.concatenate([w for _, w in padded]),
        details,
    )


def _upright(skeleton: _Skeleton, vertices: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Joint positions and the rotation that bring left to +x and head above feet to +y."""
    positions = skeleton.positions
    sides = np.array([joint_side(n) for n in skeleton.names])
    stems = [joint_words(n) for n in skeleton.names]
    pairs = [
        positions[i] - positions[j]
        for i in np.flatnonzero(sides > 0)
        for j in np.flatnonzero(sides < 0)
        if stems[i] == stems[j] and _digits(skeleton.names[i]) == _digits(skeleton.names[j])
    ]
    lateral = np.sum(pairs, axis=0) if pairs else np.zeros(3)
    extent = float(np.ptp(vertices, axis=0).max())
    up = np.array([0.0, 1.0, 0.0])
    if np.linalg.norm(lateral) < 1e-3 * extent:
        return positions, np.eye(3)
    lateral = lateral - lateral @ up * up
    lateral /= np.linalg.norm(lateral)
    frame = np.stack([lateral, up, np.cross(lateral, up)])
    return positions @ frame.T, frame


def _digits(name: str) -> str:
    return "".join(re.findall(r"\d", name))


def _follow_feet(skeleton: _Skeleton, pivots: NDArray[np.float64]) -> NDArray[np.int64]:
    """Parents in which feet that hang from the root (inverse kinematics) follow the end of their own leg."""
    parents = skeleton.parents.copy()
    kinds = [joint_words(n) for n in skeleton.names]
    sides = [joint_side(n) for n in skeleton.names]
    for joint, kind in enumerate(kinds):
        if not re.search(r"foot|^ik\b", kind) or re.search(r"pole|target|knee|elbow|hand", kind):
            continue
        if parents[joint] >= 0 and "leg" in skeleton.part_of[parents[joint]]:
            continue
        place = next((p for p in ("front", "back") if p in kind), "")
        legs = [
            k
            for k, other in enumerate(kinds)
            if "leg" in other
            and place in other
            and not re.search(r"foot|^ik\b|pole", other)
            and sides[k] == sides[joint]
        ]
        ends = [k for k in legs if not any(parents[other] == k for other in legs)]
        if ends:
            parents[joint] = min(ends, key=lambda k: float(np.linalg.norm(pivots[k] - pivots[joint])))
    return parents


def _subdivided(
    vertices: NDArray[np.float64],
    faces: NDArray[np.int32],
    joints: NDArray[np.int64],
    weights: NDArray[np.float64],
    piece: NDArray[np.int64],
    longest: float,
    *,
    most: int = 3,
) -> tuple[NDArray[np.float64], NDArray[np.int32], NDArray[np.int64], NDArray[np.float64], NDArray[np.int64]]:
    """Quarter every face with an edge over ``longest``, so that cuts between parts run fine.

    New vertices take the mean position and the mean weights of their edge's ends. Neighbours of quartered
    faces keep their long edge: the surface is the same, and it is only sampled.
    """
    width = joints.shape[1]
    for _ in range(most):
        edges = np.linalg.norm(vertices[faces] - vertices[np.roll(faces, -1, 1)], axis=2)
        long = edges.max(1) > longest
        if not long.any():
            break
        split = faces[long]
        ends = np.sort(np.concatenate([split[:, [0, 1]], split[:, [1, 2]], split[:, [2, 0]]]), 1)
        ends, middle = np.unique(ends, axis=0, return_inverse=True)
        a, b = ends.T
        ab, bc, ca = (len(vertices) + middle.reshape(3, -1)).astype(np.int32)
        mixed = np.concatenate([joints[a], joints[b]], 1)
        share = np.concatenate([weights[a], weights[b]], 1) / 2
        same = mixed[:, :, None] == mixed[:, None, :]
        first = ~np.tril(same, -1).any(2)
        share = np.where(first, (same * share[:, None, :]).sum(2), 0.0)
        strongest = np.argsort(-share, axis=1, kind="stable")[:, :width]
        share = np.take_along_axis(share, strongest, 1)
        vertices = np.concatenate([vertices, (vertices[a] + vertices[b]) / 2])
        joints = np.concatenate([joints, np.take_along_axis(mixed, strongest, 1)])
        weights = np.concatenate([weights, share / share.sum(1, keepdims=True)])
        corner = split.T
        quarters = [(corner[0], ab, ca), (ab, corner[1], bc), (ca, bc, corner[2]), (ab, bc, ca)]
        faces = np.concatenate([faces[~long], *(np.stack(q, 1) for q in quarters)])
        piece = np.concatenate([piece[~long], *(piece[long] for _ in quarters)])
    return vertices, faces, joints, weights, piece


def face_joints(
    faces: NDArray[np.int32], joints: NDArray[np.int64], weights: NDArray[np.float64]
) -> NDArray[np.int64]:  # (F,)
    """The joint that dominates most of a face's corners, the first corner's when all differ."""
    dominant = joints[np.arange(len(joints)), weights.argmax(1)]
    corner = dominant[faces]
    return np.where(corner[:, 1] == corner[:, 2], corner[:, 1], corner[:, 0])


def _label(
    label: NDArray[np.int64],
    piece: NDArray[np.int64],
    details: list[tuple[int, tuple[str, ...], str]],
    skeleton: _Skeleton,
) -> tuple[NDArray[np.int32], list[tuple[str, ...]]]:
    """Part of every face, and the parts: a joint's names, before them what a material adds (hair, hoof)."""
    parts: dict[tuple[str, ...], int] = {}
    face_parts = np.full(len(label), -1, np.int32)
    for number, joint in np.unique(np.stack([piece, label], 1), axis=0):
        _, whole, material = details[number]
        names = whole or skeleton.part_of[joint]
        if not whole and material in _DETAILS:
            names = (material, *names)
        names = tuple(dict.fromkeys(names))
        if names:
            face_parts[(piece == number) & (label == joint)] = parts.setdefault(names, len(parts))
    return face_parts, list(parts)
