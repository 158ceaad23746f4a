"""The pictures and listings of docs/results-files.md: what comes back of a rigged man, a car and a chair of quads.

    python scripts/make_results_files.py CesiumMan.glb sedan.glb

CesiumMan is one of the sample models of Khronos, the sedan one of Kenney's cars, both of which others publish, too; the
chair is made here. Each picture shows the file as it looks, parts.glb pulled apart by its pieces as it looks, and
painted.glb.
"""

from __future__ import annotations

import argparse
import re
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pa3d.cameras import Cameras
from pa3d.io import load
from pa3d.io.gltf import Gltf
from pa3d.multiview.materials import read_materials
from pa3d.multiview.shade import Texture, render
from pa3d.report import write_outputs
from pa3d.segment import Segmenter

DOCS = Path(__file__).resolve().parents[1] / "docs"
SIZE = 300  # pixels of a picture's width and height
APART = 0.45  # how far pieces move from the middle, as a share of their distance from it


def draw(path: Path, apart: float) -> NDArray[np.uint8]:  # (H, W, 3)
    """A mesh in the look of its file."""
    shape = load(path)
    faces = shape.faces
    assert faces is not None
    corners = shape.points[faces].astype(np.float64)  # (F, 3, 3)
    low, high = corners.min(axis=(0, 1)), corners.max(axis=(0, 1))
    middle = (low + high) / 2
    if shape.face_piece is not None and apart:
        names = [piece.node for piece in shape.pieces]
        of_name = np.array([names.index(name) for name in names])[shape.face_piece]
        for number in np.unique(of_name):
            own = of_name == number
            corners[own] += apart * (corners[own].mean(axis=(0, 1)) - middle)
    scale = 1 / np.linalg.norm(high - low) * (2 if not apart else 1.55)
    points = ((corners - middle) * scale).reshape(-1, 3).astype(np.float32)
    materials = read_materials(path, len(faces))
    texture: Texture | None = materials.texture
    own_faces = np.arange(len(points), dtype=np.int32).reshape(-1, 3)
    camera = Cameras.rings([18.0], 12)[1:2]
    return render(
        points, own_faces, camera, SIZE, face_colors=materials.face_colors, texture=texture, smooth=False, supersample=3
    )[0]


def picture(source: Path, out: Path) -> Image.Image:
    panels = [draw(source, 0), draw(out / "parts.glb", APART), draw(out / "painted.glb", 0)]
    if source.suffix == ".obj":  # parts.glb of an OBJ has no materials
        panels[1] = draw(out / "parts.obj", APART)
    return Image.fromarray(np.concatenate(panels, axis=1))


def tree(path: Path) -> list[str]:
    """The nodes of the scene that have meshes, and what pieces say, below those that they hang on."""
    gltf = Gltf.load(path)
    shown = {number for number in gltf.scene if gltf.nodes[number].mesh >= 0}
    shown |= {above for number in shown for above in gltf.ancestors(number)}
    lines = []
    for number in gltf.scene:
        if number in shown:
            node = gltf.nodes[number]
            extras: dict[str, Any] = node.json.get("extras", {})
            said = f"    part {extras['part']}, score {extras['score']:.2f}" if "part" in extras else ""
            lines.append("  " * len(gltf.ancestors(number)) + (node.name or f"(node {number})") + said)
    return lines


def ring(points: list[str], faces: list[str], outline: NDArray[np.float64], low: float, high: float) -> None:
    """A prism: quads around, and a polygon at each end."""
    first, n = len(points) + 1, len(outline)
    for y in (low, high):
        points += [f"v {x:.4f} {y:.4f} {z:.4f}" for x, z in outline]
    faces += [f"f {first + i} {first + n + i} {first + n + (i + 1) % n} {first + (i + 1) % n}" for i in range(n)]
    faces.append("f " + " ".join(str(first + i) for i in range(n)))
    faces.append("f " + " ".join(str(first + n + i) for i in reversed(range(n))))


def chair() -> str:
    """A chair of quads and polygons, in two materials."""
    points: list[str] = []
    wood: list[str] = []
    steel: list[str] = []
    angle = -2 * np.pi * np.arange(12) / 12
    for x in (-0.35, 0.35):
        for z in (-0.35, 0.35):
            leg = 0.035 * np.stack([np.cos(angle), np.sin(angle)], axis=1) + [x, z]
            for low in np.arange(0, 0.8, 0.1):
                ring(points, steel, leg, low, low + 0.1)
    seat = np.array([[-0.45, -0.45], [-0.45, 0.45], [0.45, 0.45], [0.45, -0.45]])
    ring(points, wood, seat, 0.8, 0.88)
    for x in np.linspace(-0.35, 0.35, 5):
        for low in np.arange(0.88, 1.6, 0.12):
            ring(
                points,
                wood,
                np.array([[-0.05, -0.03], [-0.05, 0.03], [0.05, 0.03], [0.05, -0.03]]) + [x, -0.4],
                low,
                low + 0.12,
            )
    rail = np.array([[-0.45, -0.44], [-0.45, -0.36], [0.45, -0.36], [0.45, -0.44]])
    ring(points, wood, rail, 1.6, 1.75)
    return "\n".join(["mtllib chair.mtl", *points, "usemtl steel", *steel, "usemtl wood", *wood, ""])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("man", type=Path)
    parser.add_argument("sedan", type=Path)
    arguments = parser.parse_args()
    segmenter = Segmenter.from_pretrained()
    text = (DOCS / "results-files.md").read_text(encoding="utf-8")
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        (folder / "chair.obj").write_text(chair())
        (folder / "chair.mtl").write_text("newmtl steel\nKd 0.35 0.38 0.42\nnewmtl wood\nKd 0.62 0.4 0.22\n")
        cases = {
            "man": (arguments.man, ["head", "torso", "arm", "leg", "foot"], "person"),
            "sedan": (arguments.sedan, ["wheel", "body"], "car"),
            "chair": (folder / "chair.obj", ["seat", "back", "leg"], "chair"),
        }
        for name, (source, parts, category) in cases.items():
            result = segmenter.segment(source, parts, category=category)
            out = folder / name
            write_outputs(result, out, pictures=False, html=False)
            image = picture(source, out).quantize(64, dither=Image.Dither.NONE)
            image.save(DOCS / f"results-files-{name}.png", optimize=True)
            if source.suffix == ".obj":
                found = (out / "parts.obj").read_text().splitlines()
                lines = [
                    line
                    for i, line in enumerate(found)
                    if line[:2] != "v " and not (line[:2] == found[i - 1][:2] == "f ")
                ]
            else:
                lines = tree(out / "parts.glb")
            block = "\n".join(lines)
            pattern = rf"(<!-- {name} -->\n\n```\n).*?(```\n)"
            text, count = re.subn(pattern, lambda m, block=block: f"{m[1]}{block}\n{m[2]}", text, flags=re.S)
            assert count == 1, name
    (DOCS / "results-files.md").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
