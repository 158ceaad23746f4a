"""labels.npz, painted.glb and painted.ply. Equal results give equal bytes."""

from __future__ import annotations

import io
import zipfile
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pa3d.colors import UNLABELED_COLOR, part_colors, to_linear, to_rgb
from pa3d.report.glb import INDICES, VERTICES, index_type, join_views, pack_glb, position_accessor

if TYPE_CHECKING:
    from pa3d.segment import Segmentation
    from pa3d.shape import Shape

# Rotations of each up axis to glTF's y, as quaternions (x, y, z, w).
TO_Y_UP = {
    **{"x": [0, 0, 0.5**0.5, 0.5**0.5], "z": [-(0.5**0.5), 0, 0, 0.5**0.5]},
    **{"-x": [0, 0, -(0.5**0.5), 0.5**0.5], "-y": [1, 0, 0, 0], "-z": [0.5**0.5, 0, 0, 0.5**0.5]},
}


def labels_npz(result: Segmentation) -> bytes:
    """labels (N,) int32, scores (N, K) float32, part_names (K,); a mesh also has face_labels and face_scores."""
    arrays: dict[str, NDArray[Any]] = {
        "labels": np.asarray(result.labels, np.int32),
        "scores": np.asarray(result.scores, np.float32),
        "part_names": np.array(result.part_names, np.str_),
    }
    if result.face_labels is not None and result.face_scores is not None:
        arrays["face_labels"] = np.asarray(result.face_labels, np.int32)
        arrays["face_scores"] = np.asarray(result.face_scores, np.float32)
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for name, array in arrays.items():
            member = io.BytesIO()
            np.lib.format.write_array(member, np.ascontiguousarray(array), allow_pickle=False)
            # Not np.savez, because it writes the current time into the archive.
            info = zipfile.ZipInfo(f"{name}.npy", date_time=(1980, 1, 1, 0, 0, 0))
            info.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(info, member.getvalue())
    return out.getvalue()


def painted_glb(result: Segmentation) -> bytes:
    """The mesh as binary glTF, with one node, mesh and material per part, each named after the part.

    All meshes share the vertices of the input; each has its own faces. Both keep their order. Nodes have the part, its
    label and its number of faces as extras. A root node rotates the shape's up axis to glTF's y and restores the
    origin.
    """
    shape, labels = result.shape, result.face_labels
    if shape.faces is None or labels is None:
        raise TypeError("painted_glb: the shape is a cloud; write painted_ply instead")
    points = np.ascontiguousarray(shape.points, "<f4")
    component_type, dtype = index_type(len(points))
    blobs: list[tuple[bytes, dict[str, Any]]] = [(points.tobytes(), {"target": VERTICES})]
    accessors = [position_accessor(points)]
    root: dict[str, Any] = {**root_node(shape), "children": []}
    nodes, meshes, materials = [root], [], []
    names = [*result.part_names, "none"]
    colors = to_linear(to_rgb([*part_colors(len(result.part_names)), UNLABELED_COLOR]))
    for label, (name, color) in enumerate(zip(names, colors, strict=True)):
        code = label if label < len(result.part_names) else -1
        faces = shape.faces[labels == code]
        if len(faces) == 0:
            continue
        blobs.append((faces.astype(dtype).tobytes(), {"target": INDICES}))
        accessors.append(
            {"bufferView": len(blobs) - 1, "componentType": component_type, "count": faces.size, "type": "SCALAR"}
        )
        look = {
            "baseColorFactor": [*color.round(6).tolist(), 1.0],
            "metallicFactor": 0.0,
            "roughnessFactor": 0.8,
        }
        materials.append({"name": name, "pbrMetallicRoughness": look, "doubleSided": True})
        primitive = {
            "attributes": {"POSITION": 0},
            "indices": len(accessors) - 1,
            "material": len(materials) - 1,
        }
        meshes.append({"name": name, "primitives": [primitive]})
        root["children"].append(len(nodes))
        extras = {"part": name, "label": code, "faces": len(faces)}
        nodes.append({"name": name, "mesh": len(meshes) - 1, "extras": extras})

    binary, views = join_views(blobs)
    document = {
        **{"asset": {"version": "2.0", "generator": "pa3d"}, "scene": 0, "scenes": [{"nodes": [0]}]},
        **{"nodes": nodes, "meshes": meshes, "materials": materials},
        **{"accessors": accessors, "bufferViews": views, "buffers": [{"byteLength": len(binary)}]},
    }
    return pack_glb(document, binary)


def root_node(shape: Shape) -> dict[str, Any]:
    """A node of glTF that turns a shape's up axis to y and restores its origin."""
    root: dict[str, Any] = {"name": shape.name}
    if shape.up in TO_Y_UP:
        root["rotation"] = TO_Y_UP[shape.up]
    if shape.origin.any():
        root["translation"] = to_y_up(shape.origin[None], shape.up)[0].tolist()
    return root


def to_y_up(points: NDArray[Any], up: str) -> NDArray[Any]:  # (N, 3) -> (N, 3)
    """Points rotated so that their up axis becomes y."""
    x, y, z = np.asarray(points).T
    turned = {
        **{"x": (-y, x, z), "y": (x, y, z), "z": (x, z, -y)},
        **{"-x": (y, -x, z), "-y": (x, -y, -z), "-z": (x, -z, y)},
    }
    return np.stack(turned[up], axis=1)


def painted_ply(result: Segmentation) -> bytes:
    """The cloud as binary PLY: x y z, red green blue, label, confidence. x y z are double if there is an origin."""
    shape, labels = result.shape, np.asarray(result.labels)
    has_origin = bool(shape.origin.any())
    real, real_name = ("<f8", "double") if has_origin else ("<f4", "float")
    rows = np.empty(
        len(labels),
        [
            *((axis, real) for axis in "xyz"),
            *((channel, "u1") for channel in ("red", "green", "blue")),
            ("label", "<i4"),
            ("confidence", "<f4"),
        ],
    )
    for i, axis in enumerate("xyz"):
        rows[axis] = shape.points[:, i] + (shape.origin[i] if has_origin else np.float32(0))
    colors = to_rgb([*part_colors(len(result.part_names)), UNLABELED_COLOR])[labels]  # -1 is the last
    for i, channel in enumerate(("red", "green", "blue")):
        rows[channel] = colors[:, i]
    rows["label"] = labels
    rows["confidence"] = confidence(result.scores, labels)
    header = ["ply", "format binary_little_endian 1.0", "comment label -1: none of the parts"]
    for label, name in enumerate(result.part_names):
        header.append(f"comment label {label}: {' '.join(name.split())}")
    header += [f"element vertex {len(rows)}", *(f"property {real_name} {axis}" for axis in "xyz")]
    header += [*(f"property uchar {channel}" for channel in ("red", "green", "blue"))]
    header += ["property int label", "property float confidence", "end_header"]
    return "\n".join(header).encode() + b"\n" + rows.tobytes()


def confidence(scores: NDArray[np.float32], labels: NDArray[np.int32]) -> NDArray[np.float32]:  # (N,)
    """The score of the label of each point or face; the best score where the label is -1."""
    if len(labels) == 0:
        return np.empty(0, np.float32)
    own = np.take_along_axis(scores, np.maximum(labels, 0)[:, None], axis=1)[:, 0]
    return np.where(labels >= 0, own, scores.max(axis=1))
