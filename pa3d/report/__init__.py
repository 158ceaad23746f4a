"""The files of a segmentation: labels, a coloured shape, a picture, a web page and a summary."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

from pa3d.atomic import check_writable_folder, write_files
from pa3d.report.files import labels_npz, parts_glb, parts_ply
from pa3d.report.table import (
    PartRow,
    not_found,
    part_rows,
    presence_text,
    share_text,
    size_text,
    summary,
    without_missing,
)

if TYPE_CHECKING:
    from pa3d.segment import Segmentation

__all__ = [
    "PartRow",
    "not_found",
    "part_rows",
    "presence_text",
    "result_files",
    "share_text",
    "size_text",
    "summary",
    "without_missing",
    "write_outputs",
]

OUTPUTS = ("labels.npz", "parts.glb", "parts.ply", "parts.png", "parts.html", "summary.json")


def write_outputs(
    result: Segmentation, folder: str | os.PathLike[str], *, pictures: bool = True, html: bool = True
) -> dict[str, Path]:
    """Write a result to a folder, which is created if needed. All files appear or none.
    Files of OUTPUTS that an earlier run wrote and this one does not are removed.

    Returns the path of each file by kind: "labels" (labels.npz, byte-equal for equal results), "parts" (parts.glb for a
    mesh, parts.ply for a cloud), "picture" (parts.png, if pictures), "page" (parts.html, if html) and "summary"
    (summary.json). Raises InputError when the folder cannot be written.
    """
    target = check_writable_folder(folder)
    contents = result_files(result, pictures=pictures, html=html)
    obsolete = [name for name in OUTPUTS if name not in contents]  # what an earlier run left would show another shape
    written = write_files(target, contents, obsolete)
    kinds = {"labels.npz": "labels", "parts.png": "picture", "parts.html": "page", "summary.json": "summary"}
    return {kinds.get(name, "parts"): path for name, path in written.items()}


def result_files(result: Segmentation, *, pictures: bool = True, html: bool = True) -> dict[str, bytes]:
    """The files that write_outputs writes, by name."""
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
    return contents
