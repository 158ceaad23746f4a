"""The files of a segmentation: labels, a coloured shape, a picture, a web page and a summary."""

from __future__ import annotations

import contextlib
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

from pa3d.atomic import atomic_write, check_writable_folder
from pa3d.errors import InputError
from pa3d.report.files import labels_npz, parts_glb, parts_ply
from pa3d.report.table import PartRow, not_found, part_rows, size_text, summary, without_missing

if TYPE_CHECKING:
    from pa3d.segment import Segmentation

__all__ = ["PartRow", "not_found", "part_rows", "size_text", "summary", "without_missing", "write_outputs"]


OUTPUTS = ("labels.npz", "parts.glb", "parts.ply", "parts.png", "parts.html", "summary.json")


def write_outputs(
    result: Segmentation, folder: str | os.PathLike[str], *, pictures: bool = True, html: bool = True
) -> dict[str, Path]:
    """Write a result to a folder, which is created if needed. Each file appears whole or not at all.
    Files of OUTPUTS that an earlier run wrote and this one does not are removed.

    Returns the path of each file by kind: "labels" (labels.npz, byte-equal for equal results), "parts" (parts.glb for a
    mesh, parts.ply for a cloud), "picture" (parts.png, if pictures), "page" (parts.html, if html) and "summary"
    (summary.json). Raises InputError when the folder cannot be written.
    """
    target = check_writable_folder(folder)
    contents = {"labels.npz": labels_npz(result)}
    if result.shape.is_mesh:
        contents["parts.glb"] = parts_glb(result)
    else:
        contents["parts.ply"] = parts_ply(result)
    if pictures:
        from pa3d.report.picture import parts_png

        contents["parts.png"] = parts_png(without_missing(result))
    if html:
        from pa3d.report.page import parts_html

        contents["parts.html"] = parts_html(without_missing(result)).encode()
    contents["summary.json"] = (json.dumps(summary(result), indent=2, ensure_ascii=False, default=str) + "\n").encode()

    try:
        target.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{target}: cannot be created ({error.strerror}); choose another output folder") from error
    kinds = {"labels.npz": "labels", "parts.png": "picture", "parts.html": "page", "summary.json": "summary"}
    written = {}
    for name, content in contents.items():
        with atomic_write(target / name) as file:
            file.write(content)
        written[kinds.get(name, "parts")] = target / name
    for name in OUTPUTS:  # what an earlier run left would show another shape
        if name not in contents:
            with contextlib.suppress(OSError):
                os.unlink(target / name)
    return written
