"""The files of a segmentation: labels, a coloured shape, a picture, a web page and a summary."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

from pa3d.atomic import check_writable_folder, write_files
from pa3d.report.asset import NAMES, SPLIT, asset_files
from pa3d.report.files import labels_npz, painted_glb, painted_ply
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

OUTPUTS = (
    *("labels.npz", *NAMES, "painted.glb", "painted.ply"),
    *("parts.png", "parts.html", "summary.json"),
)
KINDS = {
    **{"labels.npz": "labels", "painted.glb": "painted", "painted.ply": "painted"},
    **{"parts.png": "picture", "parts.html": "page", "summary.json": "summary"},
}


def write_outputs(
    result: Segmentation,
    folder: str | os.PathLike[str],
    *,
    pictures: bool = True,
    html: bool = True,
    split: bool = False,
    scores: bool = False,
) -> dict[str, Path]:
    """Write a result to a folder, which is created if needed. All files appear or none.
    Files of OUTPUTS, and of the folder "split", that an earlier run wrote and this one does not are removed.

    split: also write a file for each part, in the folder "split".
    scores: also write the score of each part at each vertex, face and point, where the format has a place for it.

    Returns the path of each file by kind: "labels" (labels.npz, byte-equal for equal results), "parts" (the shape in
    named parts: parts.glb for a mesh, parts.ply for a cloud), "painted" (painted.glb or painted.ply, in the colours of
    the parts), "picture" (parts.png, if pictures), "page" (parts.html, if html) and "summary" (summary.json). Others,
    such as parts.obj and its material libraries, have their name as kind; docs/results-files.md lists them.
    Raises InputError when the folder cannot be written.
    """
    target = check_writable_folder(folder)
    contents = result_files(result, pictures=pictures, html=html, split=split, scores=scores)
    parts = next(name for name in contents if name in NAMES)
    # Files that belong to the asset, such as textures, are there already where the folder is its own.
    contents = {name: data for name, data in contents.items() if not _same_file(target / name, result.shape.file, name)}
    obsolete = {name for name in OUTPUTS if name not in contents}  # what an earlier run left would show another shape
    obsolete |= {f"{path.parent.name}/{path.name}" for path in target.glob(f"{SPLIT}/*")} - contents.keys()
    written = write_files(target, contents, sorted(obsolete))
    kinds = {parts: "parts", **KINDS}
    return {kinds.get(name, name): path for name, path in written.items()}


def result_files(
    result: Segmentation, *, pictures: bool = True, html: bool = True, split: bool = False, scores: bool = False
) -> dict[str, bytes]:
    """The files that write_outputs writes, by name."""
    contents = {"labels.npz": labels_npz(result)}
    contents |= {
        name: data
        for name, data in asset_files(result, split=split, scores=scores).items()
        if name in NAMES or name not in OUTPUTS  # a material library may have any name
    }
    if result.shape.is_mesh:
        contents["painted.glb"] = painted_glb(result)
    else:
        contents["painted.ply"] = painted_ply(result)
    if pictures:
        from pa3d.report.picture import parts_png

        contents["parts.png"] = parts_png(without_missing(result))
    if html:
        from pa3d.report.page import parts_html

        contents["parts.html"] = parts_html(without_missing(result)).encode()
    contents["summary.json"] = (json.dumps(summary(result), indent=2, ensure_ascii=False, default=str) + "\n").encode()
    return contents


def _same_file(path: Path, file: Path | None, name: str) -> bool:
    """Whether a path is the file of this name beside another, and not one of OUTPUTS."""
    try:
        return file is not None and name not in OUTPUTS and os.path.samefile(path, file.parent / name)
    except OSError:
        return False
