"""LAS and LAZ, georeferenced scans, by the package laspy."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from pa3d.io._common import CorruptFileError, Format, Geometry, byte_colors, first_line


def read(path: Path) -> Geometry:
    try:
        import laspy
    except ImportError:
        raise CorruptFileError("is LAS or LAZ, which needs the package laspy", "pip install 'pa3d[las]'") from None
    try:
        las = laspy.read(path)
        points = np.asarray(las.xyz, np.float64)
        channels = [
            np.asarray(las[name]) for name in ("red", "green", "blue") if name in las.point_format.dimension_names
        ]
    except MemoryError:
        raise
    except Exception as error:  # laspy lists no errors of its own; nothing of pa3d runs in this block
        raise CorruptFileError(f"is damaged or no LAS file ({first_line(error)})") from error
    return Geometry(points, None, byte_colors(channels) if len(channels) == 3 else None)


FORMAT = Format("LAS, LAZ", (".las", ".laz"), read, "clouds", note="needs the extra `las`")
