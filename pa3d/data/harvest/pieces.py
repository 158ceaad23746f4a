"""Meshes in pieces, as their authors divided and named them: the result of every reader of a harvest."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

# Names of objects that are no surface of the shape: motion blur, light cones, shadows, collision geometry.
NON_GEOMETRY = re.compile(
    r"prop.?(disc|disk|blur)|disque|blur|shadow|ombre|light.?(cone|map)|halo|flare|^flash|collision|contrail|vapou?r|"
    r"flame|afterburner|touch_?point|giro",
    re.I,
)


@dataclass
class NamedMesh:
    """A mesh in pieces, as its author divided it. faces: (F, 3); piece: (F,) index into names.

    names: for every piece the raw names that may tell what it is, most specific first.
    copyright: as the file states it.
    """

    vertices: NDArray[np.float64]  # (V, 3), y up
    faces: NDArray[np.int64]  # (F, 3)
    piece: NDArray[np.int64]  # (F,)
    names: list[tuple[str, ...]]
    category: str
    id: str
    copyright: str = ""


@dataclass
class SkippedShape:
    """A file or member from which a reader made no shape, and the reason."""

    id: str
    reason: str


class PieceBuilder:
    """Collects pieces of a mesh: vertices, triangles and raw names."""

    def __init__(self) -> None:
        self.vertices: list[NDArray[np.float64]] = []
        self.faces: list[NDArray[np.int64]] = []
        self.piece: list[NDArray[np.int64]] = []
        self.names: dict[tuple[str, ...], int] = {}
        self.count = 0

    def add(self, vertices: NDArray[np.float64], faces: NDArray[np.int64], names: tuple[str, ...]) -> None:
        number = self.names.setdefault(names, len(self.names))
        self.vertices.append(vertices)
        self.faces.append(faces + self.count)
        self.piece.append(np.full(len(faces), number))
        self.count += len(vertices)

    def build(self, category: str, id: str) -> NamedMesh:
        vertices = np.concatenate(self.vertices) if self.vertices else np.zeros((0, 3))
        faces = np.concatenate(self.faces) if self.faces else np.zeros((0, 3), np.int64)
        piece = np.concatenate(self.piece) if self.piece else np.zeros(0, np.int64)
        return NamedMesh(vertices, faces, piece, list(self.names), category, id)
