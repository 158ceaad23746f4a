"""Outliers in the graph, by the rule of pa3d.ops.outliers, which explains it.

Whether a place has four others within reach could be asked of every pair of places. Instead, places are first sorted
into cells so small that all places of a cell are linked. A place in a cell of five or more is no outlier; all pairs
are compared only for the others, the candidates, of which most clouds have few.
"""

from __future__ import annotations

import numpy as np

from pa3d.onnx_export.graph import Graph
from pa3d.onnx_export.points import squared_norm
from pa3d.ops.outliers import GROUP, MIN_PLACES, PROBES

CELLS = 2**20  # along an axis; places outside are candidates
SHIFTS = ((0.0, 0.0, 0.0), (0.5, 0.5, 0.0), (0.5, 0.0, 0.5), (0.0, 0.5, 0.5))  # of the grids, in cells
CELL_EDGE = 0.577  # of the limit; below 1 / sqrt(3), so that the diagonal of a cell is within the limit


def keep_points(g: Graph, points: str, factor: float) -> str:  # (N, 3) -> (N,) bool
    """Which points are no outliers."""
    places, _, place, _ = g.add("Unique", points, outputs=4, axis=0, sorted=1)  # sorted by x, y, z
    count = g.add("Slice", g.add("Shape", places), g.ints(0), g.ints(1))
    # Five places at infinity, so that every place has a fourth neighbour.
    infinite = g.const(np.full((3, GROUP + 1), np.inf, np.float32))
    by_axis = g.add("Concat", g.add("Transpose", places, perm=[1, 0]), infinite, axis=1)

    step = g.add("Max", g.ints(1), g.add("Div", count, g.ints(PROBES)))
    probes = g.add("Slice", places, g.ints(0), count, g.ints(0), step)
    limit, is_valid = _limit(g, _nearest(g, probes, by_axis, "probe")[0], factor)
    is_valid = g.add("And", is_valid, g.add("GreaterOrEqual", count, g.ints(MIN_PLACES)))

    candidate = _candidates(g, places, limit)  # (C,)
    sq_dist, nearest = _nearest(g, g.add("Gather", places, candidate, axis=0), by_axis, "candidate")
    linked = g.add("LessOrEqual", sq_dist, limit)  # (C, 5), the place itself among them
    own, others = g.ints(0), g.ints(GROUP)
    is_sparse = g.add("Not", g.add("Gather", linked, others, axis=1))  # (C, 1)
    own_column = g.add("Unsqueeze", candidate, g.ints(1))
    in_reach = g.add("Where", g.add("Slice", linked, own, others, g.ints(1)),
                     g.add("Slice", nearest, own, others, g.ints(1)), own_column)  # fmt: skip

    zeros = g.add("Expand", g.const(np.int64(0)), count)  # (P,)
    sparse = g.add("ScatterElements", zeros, candidate, _flat_int(g, is_sparse), axis=0)
    # Every place of a group takes the lowest index of the group, which is at most three links away.
    group = g.add("Range", g.const(np.int64(0)), g.add("Squeeze", count), g.const(np.int64(1)))
    for _ in range(GROUP):
        lowest = g.add("ReduceMin", g.add("Gather", group, in_reach), axes=[1], keepdims=1)
        moved = g.add("Where", is_sparse, lowest, own_column)
        group = g.add("ScatterElements", group, candidate, g.add("Squeeze", moved, g.ints(1)), axis=0)
    # A place with a link to another group, or to a place with many links, is part of something larger.
    own_group = g.add("Gather", group, candidate)  # (C,)
    other_group = g.add(
        "Not", g.add("Equal", g.add("Gather", group, in_reach), g.add("Unsqueeze", own_group, g.ints(1)))
    )
    crowded = g.add("Equal", g.add("Gather", sparse, in_reach), g.const(np.int64(0)))
    leaks = g.add("Cast", g.add("Or", other_group, crowded), to=g.type(np.int64))
    leaks = g.add("ReduceSum", leaks, g.ints(1), keepdims=0)  # (C,)
    size = g.add("ScatterElements", zeros, own_group, _flat_int(g, is_sparse), axis=0, reduction="add")
    leaks_of_group = g.add("ScatterElements", zeros, own_group, leaks, axis=0, reduction="add")
    is_small = g.add("LessOrEqual", g.add("Gather", size, own_group), g.ints(GROUP))
    is_closed = g.add("Equal", g.add("Gather", leaks_of_group, own_group), g.ints(0))
    outlier = g.add("And", g.add("Squeeze", is_sparse, g.ints(1)), g.add("And", is_small, is_closed))
    outlier = g.add("Cast", g.add("And", outlier, is_valid), to=g.type(np.int64))
    of_place = g.add("ScatterElements", zeros, candidate, outlier, axis=0)
    return str(g.add("Equal", g.add("Gather", of_place, place), g.ints(0)))


def _nearest(g: Graph, queries: str, by_axis: str, name: str) -> tuple[str, str]:  # (Q, 3), (3, P) -> (Q, 5), (Q, 5)
    """Squared distances and indices of the five places nearest to each query."""
    body = g.subgraph()
    step = body.input("step", np.int64)
    going_on = body.input("going_on", np.bool_)
    query = body.add("Unsqueeze", body.add("Gather", queries, step, axis=0), body.ints(1))  # (3, 1)
    to_query = squared_norm(body, body.add("Sub", by_axis, query), axis=0)
    sq_dist, index = body.add("TopK", to_query, body.ints(GROUP + 1), outputs=2, axis=1, largest=0, sorted=1)
    body.output("still_going_on", going_on, np.bool_)
    body.output("sq_dist", body.add("Squeeze", sq_dist, body.ints(0)), np.float32, GROUP + 1)
    body.output("index", body.add("Squeeze", index, body.ints(0)), np.int64, GROUP + 1)
    trips = g.add("Gather", g.add("Shape", queries), g.const(np.int64(0)))
    found = g.add("Loop", trips, "", outputs=2, body=body.graph(f"nearest_of_{name}"))
    return found[0], found[1]


def _limit(g: Graph, sq_dist: str, factor: float) -> tuple[str, str]:  # (n, 5) -> (), (1,) bool
    """The squared distance up to which places are linked, and whether it is a number above 0; 1 where it is not."""
    fourth = g.add("Gather", sq_dist, g.const(np.int64(GROUP)), axis=1)  # (n,)
    n = g.add("Shape", fourth)
    ascending, _ = g.add("TopK", fourth, n, outputs=2, axis=0, largest=0, sorted=1)
    last = g.add("Sub", n, g.ints(1))
    low = g.add("Gather", ascending, g.add("Div", last, g.ints(5)))  # (1,)
    high = g.add("Gather", ascending, g.add("Div", g.add("Mul", last, g.ints(4)), g.ints(5)))
    unevenness = g.add("Div", high, g.add("Mul", g.const(np.float32(4)), low))
    unevenness = g.add("Max", g.const(np.float32(1)), unevenness)
    limit = g.add("Mul", g.const(np.float32(factor) * np.float32(factor)), high)
    limit = g.add("Mul", limit, g.add("Mul", unevenness, unevenness))
    is_above = g.add("Greater", limit, g.const(np.float32(0)))
    is_valid = g.add("And", is_above, g.add("Less", limit, g.const(np.float32(np.inf))))
    return g.add("Where", is_valid, limit, g.const(np.float32(1))), is_valid


def _candidates(g: Graph, places: str, limit: str) -> str:  # (P, 3), (1,) -> (C,)
    """Indices of the places that share no cell with four others, in any of several grids."""
    exact = g.add("Cast", places, to=g.type(np.float64))
    edge = g.add("Mul", g.add("Sqrt", g.add("Cast", limit, to=g.type(np.float64))), g.const(np.float64(CELL_EDGE)))
    lowest = g.add("ReduceMin", exact, axes=[0], keepdims=1)
    scaled = g.add("Div", g.add("Sub", exact, lowest), edge)  # (P, 3)
    inside = g.add("Min", scaled, g.const(np.float64(CELLS)))
    shares = g.const(np.array(False))
    for shift in SHIFTS:
        cell = g.add("Cast", g.add("Floor", g.add("Add", inside, g.const(np.array(shift)))), to=g.type(np.int64))
        key = g.add("ReduceSum", g.add("Mul", cell, g.ints((2 * CELLS) ** 2, 2 * CELLS, 1)), g.ints(1), keepdims=0)
        _, _, which, counts = g.add("Unique", key, outputs=4, sorted=1)
        shares = g.add("Or", shares, g.add("Greater", g.add("Gather", counts, which), g.ints(GROUP)))
    is_outside = g.add("GreaterOrEqual", g.add("ReduceMax", scaled, axes=[1], keepdims=0), g.const(np.float64(CELLS)))
    return str(g.add("Squeeze", g.add("NonZero", g.add("Or", g.add("Not", shares), is_outside)), g.ints(0)))


def _flat_int(g: Graph, column: str) -> str:  # (C, 1) bool -> (C,) int64
    return str(g.add("Cast", g.add("Squeeze", column, g.ints(1)), to=g.type(np.int64)))
