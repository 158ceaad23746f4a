"""Geodesic distances by the heat method (Crane, Weischedel, Wardetzky, "Geodesics in heat", 2013), from potpourri3d.

One factorisation for a shape, then one sparse solve for each source. Equal positions are one vertex, as otherwise a
mesh whose faces share no vertices would have no paths. The distance to what no path reaches is that of a straight line.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pa3d.methods._common import require


class Geodesics:
    """Of a mesh (vertices and faces), or of a cloud (faces None)."""

    def __init__(self, points: NDArray[np.float32], faces: NDArray[np.int32] | None) -> None:
        sparse, csgraph = require("scipy.sparse", "SATR"), require("scipy.sparse.csgraph", "SATR")
        self._points = points.astype(np.float64)
        self._merged, self._vertex = np.unique(self._points, axis=0, return_inverse=True)
        self._vertex = self._vertex.reshape(-1)
        self._faces = np.zeros((0, 3), np.int64)
        if faces is not None:
            merged = self._vertex[faces]
            a, b, c = merged.T
            self._faces = merged[(a != b) & (b != c) & (c != a)]
        self._piece = np.zeros(len(self._merged), np.int64)
        self._solver: list[tuple[object, NDArray[np.int64]] | None] = []
        if faces is None:
            self._solver = [None]
            return
        edges = np.concatenate([self._faces[:, [0, 1]], self._faces[:, [1, 2]]])
        n = len(self._merged)
        graph = sparse.coo_matrix((np.ones(len(edges)), (edges[:, 0], edges[:, 1])), shape=(n, n))
        count, self._piece = csgraph.connected_components(graph, directed=False)
        self._solver = [None] * count

    def __call__(self, source: int) -> NDArray[np.float64]:  # (N,)
        """The distance of every point from one of them."""
        start = self._vertex[source]
        distance = np.linalg.norm(self._merged - self._merged[start], axis=1)
        piece = int(self._piece[start])
        if self._solver[piece] is None:
            self._solver[piece] = self._prepare(piece)
        prepared = self._solver[piece]
        assert prepared is not None
        solver, members = prepared
        if solver is not None:
            local = int(np.searchsorted(members, start))
            found = np.asarray(solver.compute_distance(local))  # type: ignore[attr-defined]
            usable = np.isfinite(found)
            distance[members[usable]] = found[usable]
        return distance[self._vertex]

    def _prepare(self, piece: int) -> tuple[object, NDArray[np.int64]]:
        """The solver of a connected piece and its vertices, ascending; no solver where the piece is too small."""
        potpourri3d = require("potpourri3d", "SATR")
        members = np.flatnonzero(self._piece == piece)
        points = np.ascontiguousarray(self._merged[members])
        if not len(self._faces) and len(members) > 3:
            return _or_none(potpourri3d.PointCloudHeatSolver, points), members
        faces = self._faces[self._piece[self._faces[:, 0]] == piece] if len(self._faces) else self._faces
        if not len(faces):
            return None, members
        local = np.searchsorted(members, faces)
        return _or_none(potpourri3d.MeshHeatMethodDistanceSolver, points, local), members


def _or_none(solver: type, *arguments: NDArray[np.generic]) -> object:
    """potpourri3d raises RuntimeError or ValueError for pieces that its Laplacian cannot be built on."""
    try:
        return solver(*arguments)
    except (RuntimeError, ValueError):
        return None
