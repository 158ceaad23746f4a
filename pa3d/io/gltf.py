"""glTF 2.0, binary (GLB) and JSON: the default scene in its rest pose, with the names, skins and materials in it.

`read` gives its triangles. `Gltf` gives everything that other modules need: nodes, primitives, skins, materials, and
`primitive_instances`, the primitives where they stand in the scene. Sparse accessors, strips and fans, morph targets,
skins, EXT_mesh_gpu_instancing, KHR_mesh_quantization, Draco and meshopt are read.

Specification: https://registry.khronos.org/glTF/specs/2.0/glTF-2.0.html
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pa3d.io._common import (
    CorruptFileError,
    Format,
    Geometry,
    byte_colors,
    check_faces,
    join_colors,
    strip_triangles,
    triangulate,
)
from pa3d.io._gltf_file import GltfFile, Json, mapping, non_negative_int, non_negative_ints, objects, vector
from pa3d.rotations import quaternion_rotation
from pa3d.shape import Piece

POINTS, TRIANGLES, STRIP, FAN = 0, 4, 5, 6
INSTANCING = "EXT_mesh_gpu_instancing"

Matrix = NDArray[np.float64]  # (4, 4)


@dataclass
class Node:
    """name, index of its parent (-1 at the top), mesh and skin (-1 for none); world_matrix: from node to scene."""

    name: str
    parent: int
    mesh: int
    skin: int
    children: list[int]
    json: Json = field(repr=False)
    world_matrix: Matrix = field(default_factory=lambda: np.eye(4))  # (4, 4)


class Skin(NamedTuple):
    """Indices of the joints' nodes, and for each joint the matrix from the mesh to the joint when it was bound."""

    joints: list[int]  # J
    inverse_bind: NDArray[np.float64]  # (J, 4, 4)


class Material(NamedTuple):
    """base_color: linear red, green, blue in 0..1. image: index of the base colour's image, -1 for none.

    uv_set: which TEXCOORD it uses; uv_transform: (2, 3), from those coordinates to the image's (KHR_texture_transform).
    """

    name: str
    base_color: NDArray[np.float64]  # (3,)
    image: int
    uv_set: int
    uv_transform: NDArray[np.float64]  # (2, 3)


class Primitive:
    """The triangles, or the points, of one primitive of a mesh, in the mesh's own frame, morph targets applied.

    faces: (F, 3) indices into vertices, None for points. material: index, -1 for none. number: which of the mesh's
    primitives. What costs more is read when it is asked for. Raises CorruptFileError for data that do not fit together.
    """

    def __init__(self, gltf: Gltf, entry: Json, weights: list[float], number: int = 0) -> None:
        self._gltf = gltf
        self.number = number
        self.attributes = mapping(entry, "attributes")
        material = entry.get("material")
        self.material = material if isinstance(material, int) else -1
        self._decoded = gltf.file.draco(entry)
        positions = self._values("POSITION")
        if positions.shape[1] != 3:
            raise CorruptFileError("is damaged: its vertex positions are not three numbers")
        targets = zip(objects(entry, "targets"), weights, strict=False)
        morph_deltas = [(target["POSITION"], weight) for target, weight in targets if weight and "POSITION" in target]
        # Equal for primitives whose vertices are equal.
        compression = entry.get("extensions") if self._decoded else None
        names = "POSITION", "COLOR_0", "JOINTS_0", "WEIGHTS_0"
        self.vertices_key = str((morph_deltas, compression, *map(self.attributes.get, names)))
        self.vertices = self._morphed(positions, morph_deltas)  # (V, 3)
        self.faces = self._faces(entry)

    @cached_property
    def colors(self) -> NDArray[np.uint8] | None:  # (V, 3)
        if "COLOR_0" not in self.attributes:
            return None
        values = self._values("COLOR_0")
        if len(values) != len(self.vertices) or values.shape[1] not in (3, 4):
            raise CorruptFileError("is damaged: a mesh has different numbers of colours and vertices")
        return byte_colors(list(values.T))

    def uv(self, number: int) -> NDArray[np.float64] | None:  # (V, 2)
        """Texture coordinates of a set, v downwards; None where there are none that fit."""
        if f"TEXCOORD_{number}" not in self.attributes:
            return None
        values = self._values(f"TEXCOORD_{number}")
        return values.astype(np.float64) if values.shape == (len(self.vertices), 2) else None

    @cached_property
    def skin_weights(self) -> tuple[NDArray[np.int64], NDArray[np.float64]] | None:  # (V, K), (V, K)
        """Joints, as indices into the skin's list, and their weights, which sum to one; K is 4, 8, ..."""
        sets: list[list[NDArray[Any]]] = []
        while {f"JOINTS_{len(sets)}", f"WEIGHTS_{len(sets)}"} <= self.attributes.keys():
            sets.append([self._values(f"{kind}_{len(sets)}") for kind in ("JOINTS", "WEIGHTS")])
        if not sets:
            return None
        if any(values.shape != (len(self.vertices), 4) for pair in sets for values in pair):
            raise CorruptFileError("is damaged: the joints and weights of a skin do not fit its vertices")
        weights = np.hstack([weights for _, weights in sets]).astype(np.float64)
        # Exporters write rows of zeros and NaN; such vertices go to their first joint.
        weights = np.nan_to_num(weights, nan=0.0, posinf=0.0, neginf=0.0).clip(min=0.0)
        total = weights.sum(axis=1, keepdims=True)
        weights[total[:, 0] <= 0, 0] = 1.0
        weights /= np.where(total > 0, total, 1.0)
        joints = np.hstack([joints for joints, _ in sets]).astype(np.int64)
        return np.where(weights > 0, joints, 0), weights

    def _values(self, name: str) -> NDArray[Any]:  # (V, width)
        return self._decoded[name] if name in self._decoded else self._gltf.file.accessor(self.attributes[name])

    def _morphed(self, positions: NDArray[Any], morph_deltas: list[tuple[Any, float]]) -> NDArray[Any]:
        for number, weight in morph_deltas:
            delta = self._gltf.file.accessor(number)
            if delta.shape != positions.shape:
                raise CorruptFileError("is damaged: a morph target does not fit its mesh")
            positions = positions + weight * delta.astype(np.float64)
        return positions

    def _faces(self, entry: Json) -> NDArray[np.int64] | None:
        mode = non_negative_int(entry, "mode", TRIANGLES)
        if "indices" in self._decoded:
            indices = self._decoded["indices"][:, 0]
        elif "indices" in entry:
            indices = self._gltf.file.accessor(entry["indices"])[:, 0].astype(np.int64)
        else:
            indices = np.arange(len(self.vertices))
        check_faces(indices, len(self.vertices))
        if mode == POINTS:
            self.vertices = self.vertices[indices]
            return None
        if "indices" in self._decoded:
            return indices.reshape(-1, 3)  # also where the mode is a strip
        if mode == STRIP:
            return strip_triangles(indices)
        if mode == FAN:
            return triangulate(np.array([len(indices)]), indices)
        if len(indices) % 3:
            raise CorruptFileError(f"is damaged: it has {len(indices)} triangle corners, not a multiple of three")
        return indices.reshape(-1, 3)


class PrimitiveInstance(NamedTuple):
    """A primitive where it stands. faces: those of the primitive, flipped where the transform mirrors.

    vertices_key: equal for instances that have the same vertices at the same place. instance: of
    EXT_mesh_gpu_instancing, -1 for none.
    """

    node: int
    primitive: Primitive
    vertices: NDArray[np.float64]  # (V, 3)
    faces: NDArray[np.int64] | None  # (F, 3)
    vertices_key: tuple[Any, ...]
    instance: int = -1


class Gltf:
    """A parsed file. nodes: as in the file; scene: indices of those in the default scene, depth first."""

    def __init__(self, data: bytes, folder: Path | None = None) -> None:
        self.file = GltfFile(data, folder)
        self.nodes, self.scene = self._tree()

    @classmethod
    def load(cls, path: Path) -> Gltf:
        data = path.read_bytes()
        if path.suffix.lower() == ".glb" and data[:4] != b"glTF":
            raise CorruptFileError(
                "is not a GLB file: it does not begin with 'glTF'", "check the suffix or export it again"
            )
        return cls(data, path.parent)

    @property
    def copyright(self) -> str:
        return str(self.file.document["asset"].get("copyright", ""))

    @cached_property
    def materials(self) -> list[Material]:
        return [self._material(entry) for entry in self.file.entries("materials")]

    @cached_property
    def skins(self) -> list[Skin]:
        return [self._skin(entry) for entry in self.file.entries("skins")]

    def mesh_name(self, mesh: int) -> str:
        return _name(self.file.entry("meshes", mesh))

    def image_name(self, image: int) -> str:
        return str(self.file.entry("images", image).get("name", image))

    def material_name(self, number: int) -> str:
        materials = self.file.entries("materials")
        return _name(materials[number]) if 0 <= number < len(materials) else ""

    def ancestors(self, node: int) -> list[int]:
        """The nodes above one, nearest first."""
        chain = []
        while (node := self.nodes[node].parent) >= 0:
            chain.append(node)
        return chain

    def primitives(self, node: int) -> list[Primitive]:
        """The triangle lists, strips and fans, and the points, of a node's mesh; lines are left out."""
        mesh = self.file.entry("meshes", self.nodes[node].mesh)
        weights = self.nodes[node].json.get("weights", mesh.get("weights", []))
        if not isinstance(weights, list) or not all(isinstance(w, (int, float)) for w in weights):
            raise CorruptFileError("is damaged: the weights of morph targets are not numbers")
        found = []
        for number, entry in enumerate(objects(mesh, "primitives")):
            mode = non_negative_int(entry, "mode", TRIANGLES)
            attributes = mapping(entry, "attributes")
            if mode not in (POINTS, TRIANGLES, STRIP, FAN) or "POSITION" not in attributes:
                continue
            found.append(Primitive(self, entry, weights, number))
        return found

    def primitive_instances(self) -> Iterator[PrimitiveInstance]:
        """Every primitive of the default scene in its rest pose: node after node, instance after instance."""
        for number in self.scene:
            node = self.nodes[number]
            if node.mesh < 0:
                continue
            joint_matrices = self._joint_matrices(node.skin) if node.skin >= 0 else None
            primitives = self.primitives(number)
            # A skin places the mesh; the node's own transform and instances are ignored (glTF 2.0, 3.7.3.3).
            matrices = self._instance_matrices(node) if joint_matrices is None else [node.world_matrix]
            instanced = joint_matrices is None and INSTANCING in mapping(node.json, "extensions")
            for copy, matrix in enumerate(matrices):
                mirrored = np.linalg.det(matrix[:3, :3]) < 0
                for primitive in primitives:
                    faces = primitive.faces
                    if joint_matrices is not None and primitive.skin_weights is not None:
                        vertices = _skinned(primitive.vertices, primitive.skin_weights, joint_matrices)
                        key: tuple[Any, ...] = ("skin", node.skin, primitive.vertices_key)
                        yield PrimitiveInstance(number, primitive, vertices, faces, key)
                        continue
                    vertices = primitive.vertices @ matrix[:3, :3].T + matrix[:3, 3]
                    # A mirroring transform turns triangles inside out unless their winding is flipped, too.
                    flipped = faces[:, ::-1] if mirrored and faces is not None else faces
                    key = (matrix.tobytes(), primitive.vertices_key)
                    yield PrimitiveInstance(number, primitive, vertices, flipped, key, copy if instanced else -1)

    def triangle_instances(self) -> list[PrimitiveInstance]:
        """The instances that have triangles."""
        return [instance for instance in self.primitive_instances() if instance.faces is not None]

    def geometry(self) -> Geometry:
        """The triangles of the scene; its points as a cloud where it has nothing else."""
        instances = list(self.primitive_instances())
        meshes = [instance for instance in instances if instance.faces is not None]
        # Primitives that share their vertices, as the materials of one mesh do, must not repeat them.
        first: dict[Any, int] = {}
        points: list[NDArray[np.float64]] = []
        colors: list[NDArray[np.uint8] | None] = []
        faces: list[NDArray[np.int64]] = []
        n_points = 0
        for instance in meshes or instances:
            if instance.faces is None or instance.vertices_key not in first:
                first[instance.vertices_key] = n_points
                n_points += len(instance.vertices)
                points.append(instance.vertices)
                colors.append(instance.primitive.colors)
            if instance.faces is not None:
                faces.append(instance.faces + first[instance.vertices_key])
        if not points:
            raise CorruptFileError("has no triangles and no points in its default scene", "export its meshes, too")
        joined = join_colors(points, colors)
        if not meshes:
            return Geometry(np.concatenate(points), None, joined)
        pieces = tuple(self.piece(instance) for instance in meshes)
        face_piece = np.repeat(np.arange(len(pieces)), [len(own) for own in faces])
        return Geometry(np.concatenate(points), np.concatenate(faces), joined, pieces, face_piece)

    def piece(self, instance: PrimitiveInstance) -> Piece:
        """What an instance is in the file."""
        node = self.nodes[instance.node]
        return Piece(
            node.name,
            self.mesh_name(node.mesh),
            self.material_name(instance.primitive.material),
            tuple(self.nodes[above].name for above in self.ancestors(instance.node)),
            instance.node,
            node.mesh,
            instance.primitive.number,
            instance.instance,
        )

    def _tree(self) -> tuple[list[Node], list[int]]:
        """All nodes with their transforms, and the default scene."""
        nodes = []
        for entry in self.file.entries("nodes"):
            mesh, skin = (non_negative_int(entry, key) if key in entry else -1 for key in ("mesh", "skin"))
            nodes.append(Node(_name(entry), -1, mesh, skin, non_negative_ints(entry, "children"), entry))
        for number, node in enumerate(nodes):
            for child in node.children:
                if child >= len(nodes) or nodes[child].parent >= 0 or child == number:
                    raise CorruptFileError(f"is damaged: node {child} is missing or has two parents")
                nodes[child].parent = number
        roots = [i for i, node in enumerate(nodes) if node.parent < 0]
        placed = _depth_first(nodes, roots)
        if len(placed) < len(nodes):
            raise CorruptFileError("is damaged: its nodes form a loop")
        for i in placed:
            parent_matrix = nodes[nodes[i].parent].world_matrix if nodes[i].parent >= 0 else np.eye(4)
            nodes[i].world_matrix = parent_matrix @ _local_matrix(nodes[i].json)
        scenes = self.file.entries("scenes")
        if scenes:
            roots = non_negative_ints(
                self.file.entry("scenes", non_negative_int(self.file.document, "scene", 0)), "nodes"
            )
            if max(roots, default=-1) >= len(nodes):
                raise CorruptFileError(f"is damaged: node {max(roots)} of its scene is missing")
        return nodes, _depth_first(nodes, roots)

    def _instance_matrices(self, node: Node) -> list[Matrix]:
        """Where a node's mesh stands: once, or as often as EXT_mesh_gpu_instancing says."""
        extension = mapping(mapping(node.json, "extensions"), INSTANCING)
        if not extension:
            return [node.world_matrix]
        defaults = {"TRANSLATION": (0.0, 0, 0), "ROTATION": (0.0, 0, 0, 1), "SCALE": (1.0, 1, 1)}
        attributes = mapping(extension, "attributes")
        found = {name: self.file.accessor(attributes[name]) for name in defaults if name in attributes}
        count = min(map(len, found.values()), default=1)
        if any(values.shape != (count, len(defaults[name])) for name, values in found.items()):
            raise CorruptFileError("is damaged: the instances of a mesh do not follow EXT_mesh_gpu_instancing")
        rows = [{name.lower(): values[i].tolist() for name, values in found.items()} for i in range(count)]
        return [node.world_matrix @ _local_matrix(row) for row in rows]

    def _joint_matrices(self, number: int) -> NDArray[np.float64]:  # (J, 4, 4)
        """From mesh to scene for each joint of a skin; the node's own transform is ignored (glTF 2.0, 3.7.3.3)."""
        self.file.entry("skins", number)
        skin = self.skins[number]
        return np.stack([self.nodes[joint].world_matrix for joint in skin.joints]) @ skin.inverse_bind

    def _skin(self, entry: Json) -> Skin:
        joints = non_negative_ints(entry, "joints")
        if not joints or max(joints) >= len(self.nodes):
            raise CorruptFileError("is damaged: a skin has no joints, or joints that are not nodes")
        if "inverseBindMatrices" not in entry:
            return Skin(joints, np.tile(np.eye(4), (len(joints), 1, 1)))
        values = self.file.accessor(entry["inverseBindMatrices"]).astype(np.float64)
        if values.shape[1] != 16 or len(values) < len(joints):
            raise CorruptFileError("is damaged: a skin has fewer inverse bind matrices than joints")
        return Skin(joints, values[: len(joints)].reshape(-1, 4, 4).transpose(0, 2, 1))

    def _material(self, entry: Json) -> Material:
        pbr = mapping(entry, "pbrMetallicRoughness")
        factor, texture = pbr.get("baseColorFactor", ()), pbr.get("baseColorTexture")
        spec_gloss = mapping(mapping(entry, "extensions"), "KHR_materials_pbrSpecularGlossiness")
        if not pbr and spec_gloss:
            factor, texture = spec_gloss.get("diffuseFactor", ()), spec_gloss.get("diffuseTexture")
        numeric = isinstance(factor, (list, tuple)) and all(isinstance(x, (int, float)) for x in factor)
        color = np.array([*(factor if numeric else ()), 1, 1, 1][:3], np.float64)
        if not isinstance(texture, dict):
            return Material(_name(entry), color, -1, 0, np.eye(2, 3))
        transform = mapping(mapping(texture, "extensions"), "KHR_texture_transform")
        uv_set = non_negative_int(transform if "texCoord" in transform else texture, "texCoord", 0)
        angle = float(vector({"rotation": [transform.get("rotation", 0.0)]}, "rotation", [0.0])[0])
        rotation = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
        matrix = np.column_stack([rotation * vector(transform, "scale", (1, 1)), vector(transform, "offset", (0, 0))])
        return Material(_name(entry), color, self._image(texture), uv_set, matrix)

    def _image(self, texture_info: Json) -> int:
        textures, images = self.file.entries("textures"), self.file.entries("images")
        number = texture_info.get("index")
        texture = textures[number] if isinstance(number, int) and 0 <= number < len(textures) else {}
        extensions = mapping(texture, "extensions").values()
        sources = [texture.get("source"), *(e.get("source") for e in extensions if isinstance(e, dict))]
        return next((s for s in sources if isinstance(s, int) and 0 <= s < len(images)), -1)


def read(path: Path) -> Geometry:
    gltf = Gltf.load(path)
    if not gltf.file.uses_draco:
        return gltf.geometry()
    from pa3d.io._isolated import read_isolated

    # Damaged Draco data can take minutes and gigabytes.
    return read_isolated(path, __name__, "glTF", factor=1 if path.suffix.lower() == ".glb" else 4)


def parse(path: Path) -> Geometry:
    """Reads in this process."""
    return Gltf.load(path).geometry()


def _name(entry: Json) -> str:
    return str(entry.get("name", ""))


def _depth_first(nodes: list[Node], roots: list[int]) -> list[int]:
    order: list[int] = []
    visited: set[int] = set()
    stack = list(reversed(roots))
    while stack:
        number = stack.pop()
        if number in visited:
            raise CorruptFileError(f"is damaged: node {number} of its scene appears twice")
        visited.add(number)
        order.append(number)
        stack += reversed(nodes[number].children)
    return order


def _local_matrix(entry: Json) -> Matrix:
    if "matrix" in entry:
        return vector(entry, "matrix", np.eye(4).ravel().tolist()).reshape(4, 4).T
    matrix = np.eye(4)
    x, y, z, w = vector(entry, "rotation", (0, 0, 0, 1))
    length = np.linalg.norm([x, y, z, w])
    if length > 0:
        matrix[:3, :3] = quaternion_rotation(np.array([w, x, y, z]) / length)
    matrix[:3, :3] *= vector(entry, "scale", (1, 1, 1))
    matrix[:3, 3] = vector(entry, "translation", (0, 0, 0))
    return matrix


def _skinned(
    vertices: NDArray[Any],  # (V, 3)
    skin_weights: tuple[NDArray[np.int64], NDArray[np.float64]],  # (V, K), (V, K)
    joint_matrices: NDArray[np.float64],  # (J, 4, 4)
) -> NDArray[np.float64]:
    """Vertices moved by the weighted mean of their joints' matrices."""
    joints, weights = skin_weights
    if joints.max(initial=0) >= len(joint_matrices):
        raise CorruptFileError("is damaged: the joints and weights of a skin do not fit its vertices")
    blend = (weights[:, None] @ joint_matrices.reshape(len(joint_matrices), 16)[joints]).reshape(len(joints), 4, 4)
    return np.asarray(np.einsum("nij,nj->ni", blend[:, :3, :3], vertices) + blend[:, :3, 3])


FORMAT = Format(
    "GLB, glTF",
    (".glb", ".gltf"),
    read,
    "meshes, clouds",
    "y",
    "default scene in its rest pose; Draco, meshopt: extra `gltf`",
)
