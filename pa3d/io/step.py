"""STEP, by the package cascadio (Open CASCADE): surfaces become triangles, in metres and the axes of the file."""

from __future__ import annotations

from pathlib import Path

from pa3d.io._common import CorruptFileError, Format, Geometry, missing_package
from pa3d.io._isolated import read_isolated
from pa3d.io.gltf import Gltf
from pa3d.shape import Piece


def read(path: Path) -> Geometry:
    with path.open("rb") as file:
        if b"ISO-10303-21" not in file.read(4096):
            raise CorruptFileError("is not a STEP file: it does not begin with 'ISO-10303-21'", "check the suffix")
    return read_isolated(path, __name__, "STEP")


def parse(path: Path) -> Geometry:
    """Reads in this process, which a damaged file may crash."""
    try:
        import cascadio
    except ImportError:
        raise missing_package("is STEP", "cascadio", "formats") from None
    # Open CASCADE has its own limits for how far a triangle may be from the surface: 0.01 mm, and half a radian.
    glb = cascadio.load(path.read_bytes(), file_type="step", use_parallel=False)
    if not glb:
        raise CorruptFileError("is damaged or not a STEP file: Open CASCADE finds no shape in it")
    geometry = Gltf(glb).geometry()
    # Pieces are named as products: the nodes only number their occurrences (NAUO1).
    pieces = tuple(Piece(piece.mesh or piece.node, piece.mesh, piece.material) for piece in geometry.pieces)
    return geometry._replace(pieces=pieces)


FORMAT = Format(
    "STEP", (".step", ".stp"), read, "meshes", note="surfaces as triangles, in metres; needs the extra `formats`"
)
