"""Write examples/: procedural shapes, each with the part names that `make demo` uses.

    python scripts/make_examples.py

The seeds are larger than those of the training shapes, so the embedded model was not trained on these. Of forty seeds
per kind, one that it labels well was chosen, to show a correct result. The model card says how often results are
correct. The same versions of Python and numpy give the same files.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import trimesh
from numpy.typing import NDArray

from pa3d.atomic import atomic_write
from pa3d.data.creatures import CREATURES
from pa3d.data.procedural import synthesize

Mesh = tuple[NDArray[np.float32], NDArray[np.int32]]  # vertices (V, 3) y up, faces (F, 3)

OBJECTS = {  # name: category, seed, parts
    "chair": ("chair", 10_026, ("seat", "back", "leg")),
    "lamp": ("lamp", 10_006, ("base", "body", "shade")),
    "mug": ("mug", 10_034, ("body", "handle")),
    "guitar": ("guitar", 10_026, ("body", "neck", "headstock")),
    "hat": ("hat", 10_006, ("crown", "brim")),
}
CREATURE = {  # name: kind, seed, parts
    "person": ("human", 10_005, ("head", "torso", "arm", "leg")),
    "octopus": ("octopus", 10_002, ("head", "tentacle")),
}
CLOUDS = {"octopus": 20_000}  # shapes that are written as point clouds: number of points
COARSER = 1.6  # size of a mesh cell relative to the training meshes; larger cells give smaller files


def creature(kind: str, seed: int, coarser: float = COARSER) -> Mesh:
    rng = np.random.default_rng([seed, 2])
    made = CREATURES[kind]
    rig = made.make(rng)
    rig.cell *= coarser
    body = rig.build()
    return body.pose(body.transforms(made.pose(rig, rng), np.ones(3))).astype(np.float32), body.faces


def glb(mesh: Mesh) -> bytes:
    material = trimesh.visual.material.PBRMaterial(
        name="clay", baseColorFactor=[205, 200, 190, 255], metallicFactor=0.0, roughnessFactor=0.8
    )
    visual = trimesh.visual.TextureVisuals(material=material)
    data: bytes = trimesh.Trimesh(*mesh, visual=visual, process=False).export(file_type="glb")
    return data


def ply(mesh: Mesh, count: int) -> bytes:
    from pa3d.shape import Shape

    points, _ = Shape(*mesh).sample(count, seed=0)
    header = "ply\nformat binary_little_endian 1.0\nelement vertex {}\n{}end_header\n"
    axes = "".join(f"property float {axis}\n" for axis in "xyz")
    return header.format(count, axes).encode() + points.astype("<f4").tobytes()


def main() -> None:
    parser = argparse.ArgumentParser(description="Write the example shapes.")
    parser.add_argument("-o", "--out", type=Path, default=Path(__file__).parents[1] / "examples")
    parser.add_argument("--dense", type=Path, metavar="FILE", help="write only the person, with 50,000 faces, to FILE")
    args = parser.parse_args()
    if args.dense:
        kind, seed, _ = CREATURE["person"]
        args.dense.write_bytes(glb(creature(kind, seed, 0.691)))
        return
    out: Path = args.out
    out.mkdir(parents=True, exist_ok=True)
    meshes: dict[str, tuple[Mesh, tuple[str, ...]]] = {}
    for name, (category, seed, parts) in OBJECTS.items():
        record = synthesize(category, seed)
        known = {word for words in record.parts for word in words}
        if missing := set(parts) - known:
            raise SystemExit(
                f"{name}: no part is called {', '.join(sorted(missing))}; it has {', '.join(sorted(known))}"
            )
        meshes[name] = (record.vertices, record.faces), parts
    for name, (kind, seed, parts) in CREATURE.items():
        meshes[name] = creature(kind, seed), parts
    for name, (mesh, parts) in meshes.items():
        path, data = out / f"{name}.glb", b""
        if name in CLOUDS:
            path, data = out / f"{name}.ply", ply(mesh, CLOUDS[name])
        with atomic_write(path) as file:
            file.write(data or glb(mesh))
        with atomic_write(out / f"{name}.txt", "w") as file:
            file.write("".join(f"{part}\n" for part in parts))
        print(f"{path}: {path.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
