"""Writes a `PartMesh` as a GLB with one node per part, and draws contact sheets of many.

A contact sheet shows shapes in the colours of their parts, with the names beside them, so that a person can judge them.
"""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pa3d.colors import UNLABELED_COLOR, part_colors, to_rgb
from pa3d.data.parts import PartMesh
from pa3d.report.files import painted_glb
from pa3d.segment import Segmentation
from pa3d.shape import Shape, triangle_areas

if TYPE_CHECKING:
    from PIL.Image import Image

COLUMNS = 4
VIEW, PITCH, LEGEND = (232, 196), 14, 9  # pixels of a view (width, height) and of a line; lines of a legend
CELL = (2 * VIEW[0] + 12, 26 + VIEW[1] + LEGEND * PITCH + 12)
TEXT, MUTED, LINE = "#1F2328", "#6B7280", "#E5E7EB"


def part_mesh_glb(mesh: PartMesh) -> bytes:
    """A GLB with one node, mesh and material per part, named by the part's finest name."""
    names = [words[0] for words in mesh.parts]
    shape = Shape(mesh.vertices, mesh.faces, name=re.sub(r"\W+", "-", mesh.id or mesh.category) or "shape")
    scores = np.zeros((0, len(names)), np.float32)
    labels = np.zeros(len(mesh.vertices), np.int32)
    return painted_glb(Segmentation(shape, names, labels, scores, mesh.face_parts.astype(np.int32), scores))


def contact_sheet(meshes: Sequence[PartMesh]) -> bytes:
    """A PNG of every mesh from two sides, coloured by part, with the names of each part, finest first."""
    from PIL import Image

    rows = -(-len(meshes) // COLUMNS)
    sheet = Image.new("RGB", (COLUMNS * CELL[0], max(rows, 1) * CELL[1]), "white")
    for i, mesh in enumerate(meshes):
        sheet.paste(_draw_tile(mesh), (i % COLUMNS * CELL[0], i // COLUMNS * CELL[1]))
    out = io.BytesIO()
    # 256 colours of the sheet's own keep it a third of the size; the eye sees no difference.
    sheet.quantize(256, dither=Image.Dither.NONE).save(out, "PNG", optimize=True)
    return out.getvalue()


def views(mesh: PartMesh, labels: NDArray[np.int32], colors: list[str], size: tuple[int, int]) -> list[Image]:
    """Two views of a mesh, (width, height) each; labels (F,) index colors, -1 is grey."""
    from PIL import Image

    from pa3d.report.picture import Drawable, corner_normals, draw_views

    used, corners = np.unique(mesh.faces, return_inverse=True)
    points = mesh.vertices[used].astype(np.float64)
    faces: NDArray[np.int32] = corners.reshape(-1, 3).astype(np.int32)
    low, high = points.min(axis=0), points.max(axis=0)
    unit = ((points - (low + high) / 2) / max(float(np.linalg.norm(high - low)) / 2, 1e-12)).astype(np.float32)
    palette = (to_rgb([UNLABELED_COLOR, *colors]) / 255).astype(np.float32)
    drawable = Drawable(unit, faces, corner_normals(unit, faces), labels.astype(np.int32) + 1, palette)
    drawn = []
    for tile in draw_views(drawable)[:2]:
        image = Image.fromarray(tile)
        scale = min(size[0] / image.width, size[1] / image.height)
        image = image.resize(
            (max(1, int(image.width * scale)), max(1, int(image.height * scale))), Image.Resampling.BOX
        )
        view = Image.new("RGB", size, "white")
        view.paste(image, ((size[0] - image.width) // 2, (size[1] - image.height) // 2))
        drawn.append(view)
    return drawn


def _draw_tile(mesh: PartMesh) -> Image:
    from PIL import Image, ImageDraw

    from pa3d.report.picture import _font, _shorten

    cell = Image.new("RGB", CELL, "white")
    draw = ImageDraw.Draw(cell)
    draw.rectangle([0, 0, CELL[0] - 1, CELL[1] - 1], outline=LINE)
    title = f"{mesh.category} ({mesh.id})" if mesh.category else mesh.id
    draw.text((8, 6), _shorten(draw, title, CELL[0] - 110, 13), TEXT, _font(13))
    license = mesh.license or "unknown"
    draw.text((CELL[0] - 8 - draw.textlength(license, _font(11)), 8), license, MUTED, _font(11))
    colors = part_colors(len(mesh.parts))
    for i, view in enumerate(views(mesh, mesh.face_parts, colors, VIEW)):
        cell.paste(view, (6 + i * VIEW[0], 24))
    _legend(draw, mesh, colors)
    return cell


def _legend(draw: Any, mesh: PartMesh, colors: list[str]) -> None:
    """Two columns of swatches and names, the largest parts first, then how much of the surface has no name."""
    from pa3d.report.picture import _font, _shorten

    area = triangle_areas(mesh.vertices, mesh.faces)
    share = np.bincount(mesh.face_parts + 1, area, len(mesh.parts) + 1) / max(float(area.sum()), 1e-30)
    order = [int(i) for i in np.argsort(-share[1:], kind="stable") if share[1 + i] > 0]
    lines = [(colors[i], ", ".join(mesh.parts[i]), share[1 + i]) for i in order]
    room = 2 * LEGEND - (share[0] > 0)
    if len(lines) > room:
        lines = [
            *lines[: room - 1],
            ("#FFFFFF", f"and {len(lines) - room + 1} more", sum(share[1 + i] for i in order[room - 1 :])),
        ]
    if share[0] > 0:
        lines.append((UNLABELED_COLOR, "no name", share[0]))
    width = (CELL[0] - 16) // 2
    for i, (color, text, part) in enumerate(lines):
        x, y = 8 + i // LEGEND * width, 30 + VIEW[1] + i % LEGEND * PITCH
        draw.rectangle([x, y + 2, x + 9, y + 11], fill=color)
        figure = f"{100 * part:.0f} %"
        draw.text((x + 14, y), _shorten(draw, text, width - 56, 11), TEXT, _font(11))
        draw.text((x + width - 8 - draw.textlength(figure, _font(11)), y), figure, MUTED, _font(11))
