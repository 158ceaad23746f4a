"""Superpoints: pieces of a cloud whose points have alike normals and colours.

The energy is that of PartSLIP: with features f of the points and the edges of a graph of neighbours,

    sum_i |x_i - f_i|^2 + regularization * sum_ij w_ij [x_i != x_j],   w = (1 / (1 + d / mean d + |f_i - f_j| / mean))^2

d the length of an edge. Cut pursuit (Landrieu and Obozinski, "Cut Pursuit", SIAM Journal on Imaging Sciences, 2017)
lowers it by splitting pieces in two, each by a minimal cut, until no split helps. This is our own short form of it,
with the maximal flow of scipy; it has no step that unites pieces. The library of the authors is not on PyPI, and the
packages there that are named after the algorithm are marked as alpha.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pa3d.methods._common import pca_normals, require
from pa3d.ops import knn

_CAPACITY = 2**29  # the sum of all capacities, which scipy holds as int32


def superpoints(
    points: NDArray[np.float32],  # (N, 3)
    colors: NDArray[np.uint8],  # (N, 3)
    *,
    regularization: float = 0.05,
    neighbors: int = 10,
    color_weight: float = 0.3,
    smallest: int = 10,
    normal_radius: float = 0.1,
    normal_neighbors: int = 30,
) -> NDArray[np.int64]:  # (N,)
    """The superpoint of every point, numbered from 0. Those of at most `smallest` points join that of the nearest point
    of a larger one."""
    normals = pca_normals(points, normal_radius, normal_neighbors)
    features = np.concatenate([normals, color_weight * colors / 255.0], axis=1)
    near, sq_dist = knn(points, points, min(neighbors + 1, len(points)))
    start = np.repeat(np.arange(len(points)), near.shape[1])
    end, length = near.ravel(), np.sqrt(sq_dist.ravel().astype(np.float64))
    edge = np.sort(np.stack([start, end], axis=1), axis=1)
    edge, first = np.unique(edge, axis=0, return_index=True)
    length = length[first]
    other = edge[:, 0] != edge[:, 1]
    edge, length = edge[other], length[other]
    weight = edge_weights(features, edge, length)
    piece = cut_pursuit(features, edge, regularization * weight)
    return _joined(points, piece, smallest)


def edge_weights(
    features: NDArray[np.float64],  # (N, C)
    edge: NDArray[np.int64],  # (E, 2)
    length: NDArray[np.float64],  # (E,)
) -> NDArray[np.float64]:  # (E,)
    change = np.linalg.norm(features[edge[:, 0]] - features[edge[:, 1]], axis=1)
    relative = [x / x.mean() if len(x) and x.mean() > 0 else np.zeros_like(x) for x in (length, change)]
    return (1 / (1 + relative[0] + relative[1])) ** 2


def cut_pursuit(
    features: NDArray[np.float64],  # (N, C)
    edge: NDArray[np.int64],  # (E, 2)
    weight: NDArray[np.float64],  # (E,)
    *,
    rounds: int = 20,
    flow_steps: int = 4,
) -> NDArray[np.int64]:  # (N,)
    """The piece of every point. Pieces are connected in the graph."""
    piece = _connected(len(features), edge)
    settled = np.zeros(piece.max() + 1, bool)
    for _ in range(rounds):
        active = ~settled[piece]
        if not active.any():
            break
        side = _split(features, edge, weight, piece, active, flow_steps)
        whole = piece * 2 + side
        new = _connected(len(features), edge[whole[edge[:, 0]] == whole[edge[:, 1]]])
        parts = np.zeros(piece.max() + 1, np.int64)
        np.add.at(parts, piece[np.unique(new, return_index=True)[1]], 1)
        settled_before = settled | (parts == 1)  # what was not split now will not be split later
        settled = np.zeros(new.max() + 1, bool)
        settled[new] = settled_before[piece]
        piece = new
    return piece


def _split(
    features: NDArray[np.float64],
    edge: NDArray[np.int64],
    weight: NDArray[np.float64],
    piece: NDArray[np.int64],
    active: NDArray[np.bool_],
    flow_steps: int,
) -> NDArray[np.int64]:  # (N,) 0 or 1
    """The side of every point of the active pieces: that of two values which lower the energy, in turn with the cut."""
    side = np.zeros(len(features), np.int64)
    count = np.bincount(piece)
    mean = _means(features, piece, len(count))
    # Start: along the axis in which a piece varies most.
    variance = _means((features - mean[piece]) ** 2, piece, len(count))
    axis = variance.argmax(axis=1)[piece]
    value = np.take_along_axis(features - mean[piece], axis[:, None], axis=1)[:, 0]
    side[active] = (value > 0)[active]
    inner = active[edge[:, 0]] & (piece[edge[:, 0]] == piece[edge[:, 1]])
    for _ in range(flow_steps):
        cost = np.zeros((len(features), 2))
        for s in range(2):
            number = np.bincount(piece[side == s], minlength=len(count))
            total = np.zeros_like(mean)
            np.add.at(total, piece[side == s], features[side == s])
            center = np.where(number[:, None] > 0, total / np.maximum(number, 1)[:, None], mean)
            cost[:, s] = ((features - center[piece]) ** 2).sum(axis=1)
        before, side = side, np.where(active, _minimal_cut(cost, edge[inner], weight[inner]), 0)
        if (side == before).all():
            break
    # A split is kept only where it lowers the energy.
    cut = inner & (side[edge[:, 0]] != side[edge[:, 1]])
    price = np.bincount(piece[edge[cut, 0]], weight[cut], minlength=len(count))
    halves = _means(features, piece * 2 + side, 2 * len(count))
    gain = np.bincount(
        piece,
        ((features - mean[piece]) ** 2).sum(axis=1) - ((features - halves[piece * 2 + side]) ** 2).sum(axis=1),
        minlength=len(count),
    )
    return np.where((gain > price)[piece], side, 0)


def _minimal_cut(
    cost: NDArray[np.float64],  # (N, 2)
    edge: NDArray[np.int64],  # (E, 2)
    weight: NDArray[np.float64],  # (E,)
) -> NDArray[np.int64]:  # (N,)
    """The sides with the least sum of costs of the points and weights of the edges between the sides."""
    sparse, csgraph = require("scipy.sparse", "superpoints"), require("scipy.sparse.csgraph", "superpoints")
    n = len(cost)
    source, sink = n, n + 1
    difference = cost[:, 1] - cost[:, 0]  # above 0: side 0 is cheaper, so the point hangs on the source
    total = np.abs(difference).sum() + 2 * weight.sum()
    if not total > 0:
        return np.zeros(n, np.int64)
    scale = _CAPACITY / total
    to_source, to_sink = np.flatnonzero(difference > 0), np.flatnonzero(difference < 0)
    rows = [np.full(len(to_source), source), to_sink, edge[:, 0], edge[:, 1]]
    columns = [to_source, np.full(len(to_sink), sink), edge[:, 1], edge[:, 0]]
    values = [difference[to_source], -difference[to_sink], weight, weight]
    capacity = np.rint(np.concatenate(values) * scale).astype(np.int32)
    graph = sparse.csr_matrix((capacity, (np.concatenate(rows), np.concatenate(columns))), (n + 2, n + 2))
    flow = csgraph.maximum_flow(graph, source, sink).flow
    residual = graph - flow
    residual.data = np.where(residual.data > 0, 1, 0)
    residual.eliminate_zeros()
    reached = csgraph.breadth_first_order(residual, source, return_predecessors=False)
    side = np.ones(n + 2, np.int64)
    side[reached] = 0
    return side[:n]


def _connected(n: int, edge: NDArray[np.int64]) -> NDArray[np.int64]:
    sparse, csgraph = require("scipy.sparse", "superpoints"), require("scipy.sparse.csgraph", "superpoints")
    graph = sparse.coo_matrix((np.ones(len(edge), np.int8), (edge[:, 0], edge[:, 1])), (n, n))
    return csgraph.connected_components(graph, directed=False)[1].astype(np.int64)


def _means(values: NDArray[np.float64], group: NDArray[np.int64], groups: int) -> NDArray[np.float64]:  # (G, C)
    total = np.zeros((groups, values.shape[1]))
    np.add.at(total, group, values)
    return total / np.maximum(np.bincount(group, minlength=groups), 1)[:, None]


def _joined(points: NDArray[np.float32], piece: NDArray[np.int64], smallest: int) -> NDArray[np.int64]:
    small = np.bincount(piece)[piece] <= smallest
    if small.any() and not small.all():
        near = knn(points[small], np.ascontiguousarray(points[~small]), 1)[0][:, 0]
        piece = piece.copy()
        piece[small] = piece[~small][near]
    return np.unique(piece, return_inverse=True)[1].reshape(-1).astype(np.int64)
