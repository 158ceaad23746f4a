"""Clouds: parts.ply of one whose file is no PLY, with coordinates, colours and parts, and parts.las of a LAS."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np

from pa3d.io._common import CorruptFileError, first_line
from pa3d.report.asset.cut import Cut
from pa3d.shape import Shape


def cloud_ply(shape: Shape, cut: Cut, scores: bool = False) -> bytes:
    """A cloud as binary PLY: x y z, red green blue if it has colours, part, and score_NAME if asked.

    x y z are double where the shape has an origin, which they include.
    """
    real = np.dtype("<f8" if shape.origin.any() else "<f4")
    columns = {axis: (shape.points[:, i] + shape.origin[i].astype(real)).astype(real) for i, axis in enumerate("xyz")}
    if shape.colors is not None:
        columns |= {name: shape.colors[:, i] for i, name in enumerate(("red", "green", "blue"))}
    columns["part"] = cut.labels.astype("<i4")
    if scores:
        columns |= cut.score_columns()
    rows = np.empty(len(shape.points), [(name, values.dtype) for name, values in columns.items()])
    for name, values in columns.items():
        rows[name] = values
    types = {"<f8": "double", "<f4": "float", "|u1": "uchar", "<i4": "int"}
    header = ["ply", "format binary_little_endian 1.0", "comment part -1: none of the parts"]
    header += [f"comment part {i}: {' '.join(name.split())}" for i, name in enumerate(cut.part_names)]
    header.append(f"element vertex {len(rows)}")
    header += [f"property {types[values.dtype.str]} {name}" for name, values in columns.items()]
    return "\n".join([*header, "end_header"]).encode() + b"\n" + rows.tobytes()


def parts_las(path: Path, cut: Cut, scores: bool = False) -> bytes | None:
    """A LAS or LAZ file with the extra dimension `part`, and score_NAME if asked; None where it has other points."""
    from laspy import ExtraBytesParams, LaspyException

    from pa3d.io.las import parse

    las = parse(path)
    try:
        columns = {"part": cut.labels.astype(np.int32), **(cut.score_columns() if scores else {})}
        columns = {name[:32]: values for name, values in columns.items()}
        if len(las.points) != len(cut.labels):
            return None
        las.remove_extra_dims([name for name in las.point_format.extra_dimension_names if name in columns])
        las.add_extra_dims([ExtraBytesParams(name, values.dtype) for name, values in columns.items()])
        for name, values in columns.items():
            las[name] = values
        out = io.BytesIO()
        las.write(out, do_compress=path.suffix.lower() == ".laz")
    except (LaspyException, ValueError) as error:
        raise CorruptFileError(f"cannot be written with parts ({first_line(error)})") from error
    return out.getvalue()
