"""A contact sheet: small pictures of the shapes that were found, with their names and scores."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import numpy as np

from pa3d.errors import failure_reason
from pa3d.search.index import Hit, ShapeIndex
from pa3d.search.vectors import REGIONS
from pa3d.thumbnail import SIZE, thumbnail

if TYPE_CHECKING:
    from PIL.Image import Image

COLUMNS, TILE, CAPTION, MARGIN, TITLE = 5, 240, 46, 16, 52  # pixels, but the number of columns
TEXT, MUTED = "#1F2328", "#6B7280"
GREY = 40  # largest difference of the channels of a pixel of a place that is no part


def sheet_size(count: int) -> tuple[int, int]:
    """Width and height in pixels of a sheet of so many shapes."""
    columns, rows = min(count, COLUMNS), -(-count // COLUMNS)
    return columns * TILE + (columns + 1) * MARGIN, TITLE + rows * (TILE + CAPTION + MARGIN)


def contact_sheet(index: ShapeIndex, hits: list[Hit], title: str) -> bytes:
    """The picture as PNG: the best first, from left to right. Parts that were asked for are coloured."""
    from PIL import Image, ImageDraw

    canvas = Image.new("RGB", sheet_size(len(hits)), "white")
    draw = ImageDraw.Draw(canvas)
    draw.text((MARGIN, 14), _shortened(draw, title, canvas.width - 2 * MARGIN, 22), TEXT, _font(22))
    for i, hit in enumerate(hits):
        left = MARGIN + i % COLUMNS * (TILE + MARGIN)
        top = TITLE + i // COLUMNS * (TILE + CAPTION + MARGIN)
        details = ", ".join(f"{part.name or 'part'} {part.score:.2f}" for part in hit.parts)
        score = f"{hit.score:.3f}" + (f"   {details}" if details and (hit.whole is not None or hit.parts[1:]) else "")
        try:
            canvas.paste(_tile(index, hit), (left, top))
        except Exception as error:  # the file may have changed or gone since it was embedded
            reason = failure_reason(error, hit.path.name)
            draw.text((left, top + TILE // 2), _shortened(draw, reason, TILE, 13), MUTED, _font(13))
        draw.text((left, top + TILE + 4), _shortened(draw, hit.path.name, TILE, 15), TEXT, _font(15))
        draw.text((left, top + TILE + 24), _shortened(draw, score, TILE, 13), MUTED, _font(13))
    out = io.BytesIO()
    canvas.save(out, "PNG")
    return out.getvalue()


def _tile(index: ShapeIndex, hit: Hit) -> Image:
    from PIL import Image

    opened = index.open(hit.path)
    shape = opened.shape
    labels = np.full(len(shape.points if shape.faces is None else shape.faces), -1, np.int32)
    if hit.parts:
        tree = opened.tree
        cut = tree.cut(count=REGIONS)
        elements = slice(None) if tree.elements is None else tree.elements
        for k, part in reversed(list(enumerate(hit.parts))):
            labels[elements] = np.where(cut == part.region, k, labels[elements])
    picture = Image.open(io.BytesIO(thumbnail(shape, labels, max(len(hit.parts), 1))))
    views = [picture.crop((left, 0, left + SIZE, SIZE)) for left in range(0, picture.width, SIZE)]
    return max(views, key=_colored).resize((TILE, TILE), Image.Resampling.LANCZOS)


def _colored(view: Image) -> int:
    """How many pixels are not grey: of two views, that which shows more of the parts is taken."""
    pixels = np.asarray(view).astype(np.int16)
    return int((pixels.max(axis=2) - pixels.min(axis=2) > GREY).sum())


def _font(size: int) -> Any:
    from PIL import ImageFont

    return ImageFont.load_default(size)


def _shortened(draw: Any, text: str, room: float, size: int) -> str:
    """The beginning of a text that fits, with an ellipsis if something was left out."""
    text = text[:400]
    font, kept = _font(size), len(text)
    while kept and draw.textlength(text[:kept] + ("..." if kept < len(text) else ""), font) > room:
        kept -= 1
    return text if kept == len(text) else text[:kept].rstrip() + "..."
