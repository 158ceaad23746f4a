"""One small shape in every format that pa3d reads."""

from __future__ import annotations

from pathlib import Path

import numpy as np

MESH_SUFFIXES = (".obj", ".ply", ".stl", ".off", ".glb", ".gltf")
CLOUD_SUFFIXES = (".pcd", ".xyz", ".txt", ".csv", ".npy", ".npz")


def write_shape(path: Path) -> Path:
    """A ring as a mesh, or its 288 vertices where the format holds clouds."""
    import trimesh

    mesh = trimesh.creation.torus(1.0, 0.3, major_sections=24, minor_sections=12)
    points = mesh.vertices.astype(np.float32)
    match path.suffix:
        case ".gltf":
            files = trimesh.exchange.gltf.export_gltf(trimesh.Scene(mesh), embed_buffers=True)
            path.write_bytes(files["model.gltf"])
        case suffix if suffix in MESH_SUFFIXES:
            mesh.export(path)
        case ".pcd":
            n = len(points)
            header = f"FIELDS x y z\nSIZE 4 4 4\nTYPE F F F\nWIDTH {n}\nHEIGHT 1\nPOINTS {n}\nDATA binary\n"
            path.write_bytes(header.encode() + points.astype("<f4").tobytes())
        case ".npy":
            np.save(path, points)
        case ".npz":
            np.savez(path, points=points)
        case ".csv":
            np.savetxt(path, points, delimiter=",", header="x,y,z", comments="")
        case _:
            np.savetxt(path, points)
    return path
