"""Write docs/names.png: the example shapes as `pa3d segment FILE` without part names divides them.

python scripts/make_names_gallery.py
"""

from __future__ import annotations

import io
from pathlib import Path

from PIL import Image

from pa3d import Segmenter
from pa3d.atomic import atomic_write
from pa3d.report import result_files

ROOT = Path(__file__).resolve().parents[1]
WIDTH, COLUMNS = 480, 2


def main() -> None:
    segmenter = Segmenter.from_pretrained(precision="fp32")
    pictures = []
    for file in sorted((ROOT / "examples").glob("*.glb")) + sorted((ROOT / "examples").glob("*.ply")):
        result = segmenter.propose(file)
        name, probability = result.settings["proposed"]["categories"][0]
        print(f"| {file.name} | {name} ({probability:.2f}) | {', '.join(result.part_names)} |")
        picture = Image.open(io.BytesIO(result_files(result, html=False)["parts.png"])).convert("RGB")
        pictures.append(
            picture.resize((WIDTH, round(picture.height * WIDTH / picture.width)), Image.Resampling.LANCZOS)
        )
    rows = [pictures[i : i + COLUMNS] for i in range(0, len(pictures), COLUMNS)]
    heights = [max(picture.height for picture in row) for row in rows]
    sheet = Image.new("RGB", (COLUMNS * WIDTH, sum(heights)), "white")
    for i, row in enumerate(rows):
        for j, picture in enumerate(row):
            sheet.paste(picture, (j * WIDTH, sum(heights[:i])))
    buffer = io.BytesIO()
    sheet.quantize(96).save(buffer, "PNG", optimize=True)
    with atomic_write(ROOT / "docs" / "names.png") as stream:
        stream.write(buffer.getvalue())


if __name__ == "__main__":
    main()
