"""Points in the graph: normalisation, centres and neighbours before the network, labels after it.

Coordinates and distances are computed in the order and precision of pa3d.ops and csrc/cpu, so that results are equal.
"""

from __future__ import annotations

import numpy as np

from pa3d.config import EncoderConfig
from pa3d.onnx_export.graph import Graph
from pa3d.passes import GOLDEN

ALREADY_NORMALIZED = 1e-6  # csrc/cpu/segment.cpp: mean and radius of points that are normalised already


def normalize_points(g: Graph, points: str, axes: tuple[int, int, int], keep: str | None = None) -> str:
    """(N, 3) to the unit sphere and the model's axes, as pa3d.frames does, in float64.

    keep (N,): which points decide about the sphere; None for all.
    """
    every = g.add("Cast", points, to=g.type(np.float64))
    exact = every if keep is None else g.add("Compress", every, keep, axis=0)
    count = g.add("Cast", g.add("Slice", g.add("Shape", exact), g.ints(0), g.ints(1)), to=g.type(np.float64))
    # A cumulative sum adds in the order of the points, as pa3d does; a ReduceSum may use any order.
    total = g.add("Gather", g.add("CumSum", exact, g.const(np.int64(0))), g.ints(-1), axis=0)
    center = g.add("Div", total, count)  # (1, 3)
    sq_norm = squared_norm(g, g.add("Sub", exact, center), axis=1)
    radius = g.add("Sqrt", g.add("ReduceMax", sq_norm, keepdims=1))  # (1, 1)
    tolerance = g.const(np.float64(ALREADY_NORMALIZED))
    offset = g.add("ReduceMax", g.add("Abs", center), keepdims=1)
    deviation = g.add("Abs", g.add("Sub", radius, g.const(np.float64(1))))
    is_normalized = g.add("And", g.add("LessOrEqual", offset, tolerance), g.add("LessOrEqual", deviation, tolerance))
    center = g.add("Where", is_normalized, g.const(np.float64(0)), center)
    radius = g.add("Where", is_normalized, g.const(np.float64(1)), radius)
    scaled = g.add("Cast", g.add("Div", g.add("Sub", every, center), radius), to=g.type(np.float32))
    ordered = g.add("Gather", scaled, g.ints(*(axis if axis >= 0 else ~axis for axis in axes)), axis=1)
    if min(axes) >= 0:
        return ordered
    return g.add("Mul", ordered, g.const(np.array([1 if axis >= 0 else -1 for axis in axes], np.float32)))


def squared_norm(g: Graph, difference: str, axis: int) -> str:
    """(x*x + y*y) + z*z; x, y and z are the three slices along the axis, which stays with size 1."""
    return sum_of_squares(g, *g.add("Split", difference, outputs=3, axis=axis))


def sum_of_squares(g: Graph, x: str, y: str, z: str) -> str:
    """(x*x + y*y) + z*z, the order of every backend."""
    xx, yy, zz = (g.add("Mul", d, d) for d in (x, y, z))
    return str(g.add("Add", g.add("Add", xx, yy), zz))


def sample_and_group(g: Graph, points: str, config: EncoderConfig) -> tuple[str, str]:  # centers (G, 3), members (G, M)
    """The patches of all passes (pa3d.passes). Those of a pass are those of pa3d.ops.sample_and_group.

    ArgMax and TopK take the lowest index of equal values, as pa3d does. B is the number of passes, P the points of
    each, G the patches of each until they are put together.
    """
    index = pass_indices(g, points, config.pass_points)  # (B, P)
    clouds = g.add("Gather", points, index, axis=0)  # (B, P, 3)
    by_axis = g.add("Transpose", clouds, perm=[0, 2, 1])  # (B, 3, P)
    sq_norm = squared_norm(g, by_axis, axis=1)  # (B, 1, P)
    eligible = g.add("Greater", sq_norm, g.const(np.float32(config.min_sq_norm if config.min_sq_norm > 0 else -1)))
    infinite = g.const(np.float32(np.inf))
    sq_dist = g.add("Where", eligible, infinite, g.const(np.float32(-1)))  # -1: never the farthest
    shape = g.add("Shape", index)
    passes = g.add("Slice", shape, g.ints(0), g.ints(1))
    available = g.add("Min", g.add("Slice", shape, g.ints(1), g.ints(2)), g.ints(config.patch_size))
    first = g.add("Expand", g.const(np.zeros((1, 1), np.int64)), g.add("Concat", passes, g.ints(1), axis=0))

    body = g.subgraph()
    body.input("step", np.int64)
    going_on = body.input("going_on", np.bool_)
    chosen = body.input("chosen", np.int64, "B", 1)
    so_far = body.input("sq_dist_so_far", np.float32, "B", 1, "P")
    center = body.add("GatherND", clouds, chosen, batch_dims=1)  # (B, 3)
    difference = body.add("Sub", by_axis, body.add("Unsqueeze", center, g.ints(2)))
    to_center = squared_norm(body, difference, axis=1)  # (B, 1, P)
    updated = body.add("Min", so_far, to_center)
    _, nearest = body.add("TopK", to_center, available, outputs=2, axis=2, largest=0, sorted=1)
    body.output("still_going_on", going_on, np.bool_)
    body.output("next_chosen", body.add("ArgMax", updated, axis=2, keepdims=0), np.int64, "B", 1)
    body.output("sq_dist_now", updated, np.float32, "B", 1, "P")
    body.output("center_index", chosen, np.int64, "B", 1)
    body.output("nearest_index", nearest, np.int64, "B", 1, "available")
    patches = config.patches // 2 if config.pass_points else config.patches
    _, _, chosen_index, neighbors = g.add(
        "Loop", g.const(np.int64(patches)), "", first, sq_dist, outputs=4, body=body.graph("sample")
    )  # (G, B, 1), (G, B, 1, available)

    def in_cloud(of_pass: str, width: int) -> str:  # (G, B, width) -> (B * G, width)
        """Indices into `points`, from indices into the points of a pass."""
        rows = g.add("Reshape", g.add("Transpose", of_pass, perm=[1, 0, 2]), g.ints(0, patches * width))
        return str(g.add("Reshape", g.add("GatherElements", index, rows, axis=1), g.ints(-1, width)))

    centers = g.add("Gather", points, g.add("Squeeze", in_cloud(chosen_index, 1), g.ints(1)), axis=0)
    # A cloud with fewer points than a patch repeats them, from the nearest on.
    position = g.add("Mod", g.const(np.arange(config.patch_size)), available)
    nearest_points = g.add("Gather", g.add("Squeeze", neighbors, g.ints(2)), position, axis=2)  # (G, B, M)
    return centers, in_cloud(nearest_points, config.patch_size)


def pass_indices(g: Graph, points: str, pass_points: int) -> str:  # (N, 3) -> (B, P)
    """The points of each pass, by the rule of pa3d.passes.pass_indices."""
    n = g.add("Slice", g.add("Shape", points), g.ints(0), g.ints(1))

    def indices(count: str) -> str:  # (1,) -> (count,)
        return str(g.add("Range", g.const(np.int64(0)), g.add("Squeeze", count), g.const(np.int64(1))))

    if not pass_points:
        return str(g.add("Unsqueeze", indices(n), g.ints(0)))
    rounded = g.add("Div", g.add("Add", g.add("Mul", n, g.ints(2)), g.ints(pass_points)), g.ints(2 * pass_points))
    passes = g.add("Max", rounded, g.ints(2))
    share = g.add("Div", g.add("Sub", g.add("Add", n, passes), g.ints(1)), passes)
    size = g.add("Min", n, g.add("Max", share, g.ints(pass_points)))
    key = g.add("Mod", g.add("Mul", indices(n), g.ints(GOLDEN)), g.ints(2**32))
    _, order = g.add("TopK", key, n, outputs=2, axis=0, largest=0, sorted=1)
    begin = g.add("Div", g.add("Mul", indices(passes), n), passes)
    place = g.add("Add", g.add("Unsqueeze", begin, g.ints(1)), g.add("Unsqueeze", indices(size), g.ints(0)))
    return str(g.add("Gather", order, g.add("Mod", place, n), axis=0))


def label_points(g: Graph, points: str, centers: str, logits: str, assign: str) -> None:
    """Adds the outputs scores (N, K) and labels (N,), by the rule of pa3d.ops.label_points."""
    x, y, z = (
        g.add("Sub", column, row)  # (N, 1) - (1, G)
        for column, row in zip(
            g.add("Split", points, outputs=3, axis=1),
            g.add("Split", g.add("Transpose", centers, perm=[1, 0]), outputs=3, axis=0),
            strict=True,
        )
    )
    sq_dist = sum_of_squares(g, x, y, z)  # (N, G)
    k = g.ints(1)
    if assign == "smooth":
        k = g.add("Min", g.add("Slice", g.add("Shape", centers), g.ints(0), g.ints(1)), g.ints(3))
    nearest_sq_dist, nearest = g.add("TopK", sq_dist, k, outputs=2, axis=1, largest=0, sorted=1)  # (N, k)
    if assign == "smooth":
        distance = g.add("Add", g.add("Sqrt", nearest_sq_dist), g.const(np.float32(1e-8)))
        weight = g.add("Reciprocal", distance)
        weight = g.add("Div", weight, g.add("ReduceSum", weight, g.ints(1), keepdims=1))
        rows = g.add("Gather", logits, nearest, axis=0)  # (N, k, K)
        values = g.add("ReduceSum", g.add("Mul", rows, g.add("Unsqueeze", weight, g.ints(2))), g.ints(1), keepdims=0)
        scores, labels = g.add("Softmax", values, axis=-1), g.add("ArgMax", values, axis=1, keepdims=0)
    else:  # once per patch
        index = g.add("Squeeze", nearest, g.ints(1))
        scores = g.add("Gather", g.add("Softmax", logits, axis=-1), index, axis=0)
        labels = g.add("Gather", g.add("ArgMax", logits, axis=1, keepdims=0), index, axis=0)
    g.output("scores", scores, np.float32, "N", "K")
    g.output("labels", g.add("Cast", labels, to=g.type(np.int32)), np.int32, "N")
