"""The encoder as an ONNX graph, for hosts that have onnxruntime, in any language or in a browser.

    points (N, 3) -> centers (G, 3), features (G, D); with text_vectors (K, D) also scores (N, K), labels (N,)

The graph does what `Segmenter.encode` does with float32 points, then what `Segmenter.segment(sample=None)` does with
the vectors: it normalises, samples the centres, searches their neighbours, encodes, and labels every point. Only
standard operators of opset 17 occur. Farthest point sampling is a Loop and the neighbours are a TopK in it, so the
graph is right for every cloud; no index is fixed. Coordinates and distances are computed in the order and precision of
pa3d.ops (float64 for the normalisation, then float32, (dx*dx + dy*dy) + dz*dz), so the centres are equal to pa3d's
where the runtime does not fuse products and sums; onnxruntime on a CPU does not.

The graph cannot refuse input: NaN or infinite coordinates, and points that are all equal, give NaN.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pa3d.atomic import atomic_write
from pa3d.checkpoint import Checkpoint
from pa3d.errors import InputError
from pa3d.frames import TO_MODEL_AXES, UP_AXES

if TYPE_CHECKING:
    import onnx

OPSET = 17  # the first with LayerNormalization; onnxruntime 1.12 and later
IR_VERSION = 8
INPUTS = ("points", "centers")
ASSIGN = ("nearest", "smooth")  # the rules of pa3d.ops.label_points that the graph has
NORM_EPS = BATCH_NORM_EPS = 1e-5
ALREADY_NORMALIZED = 1e-6  # csrc/cpu/segment.cpp: mean and radius of points that are normalised already
# What the graph takes from a checkpoint, or does not depend on. A field that is not here is refused if it is set.
_HANDLED = {"config", "tensors", "text_space", "temperature", "prompts", "provenance", "name", "precisions", "assign"}


def export_onnx(
    path: str | Path,
    checkpoint: Checkpoint,
    *,
    up: str = "y",
    inputs: str = "points",
    scores: bool = False,
    assign: str | None = None,
    part_names: Sequence[str] | None = None,
    text_vectors: ArrayLike | None = None,  # (K, D)
) -> onnx.ModelProto:
    """Write the encoder of a checkpoint as an ONNX file, atomically, and return it.

    up: which axis of the points is up.
    inputs: "points" (N, 3), float32. "centers": also centers (G, 3), float32, normalised and in the model's axes, and
        members (G, M), int64, indices into points, as `pa3d_encode` of csrc/pa3d.h and PatchFeatures have them; then
        the graph has no loop.
    scores: the graph has an input text_vectors (K, D), float32, which need not be normalised, and two more outputs:
        scores (N, K) and labels (N,) int32.
    assign: how points get their logits, "nearest" or "smooth"; None takes the checkpoint's rule.
    part_names, text_vectors: names and their vectors, which become the default of the input text_vectors. Implies
        scores.
    Raises InputError for an argument that cannot be used, a checkpoint with settings that the graph does not have, or
    when onnx is not installed.
    """
    model = build_model(
        checkpoint, up=up, inputs=inputs, scores=scores, assign=assign, part_names=part_names, text_vectors=text_vectors
    )
    with atomic_write(path) as file:
        file.write(model.SerializeToString())
    return model


def build_model(
    checkpoint: Checkpoint,
    *,
    up: str = "y",
    inputs: str = "points",
    scores: bool = False,
    assign: str | None = None,
    part_names: Sequence[str] | None = None,
    text_vectors: ArrayLike | None = None,
) -> onnx.ModelProto:
    """The graph of `export_onnx`, not written."""
    _check_handled(checkpoint)
    if up not in UP_AXES:
        raise InputError(f"up is {up!r}; expected {', '.join(UP_AXES)}")
    if inputs not in INPUTS:
        raise InputError(f"inputs is {inputs!r}; expected {' or '.join(INPUTS)}")
    assign_rule = assign or checkpoint.assign
    vectors = _check_vectors(checkpoint, part_names, text_vectors)
    if scores := scores or vectors is not None:
        _check_assign(assign_rule)
    g, c = Graph(), checkpoint.config
    points = normalize_points(g, g.input("points", np.float32, "N", 3), TO_MODEL_AXES[up])
    if inputs == "points":
        centers, members = sample_and_group(g, points, c.patches, c.patch_size, c.min_sq_norm)
        g.output("centers", centers, np.float32, c.patches, 3)
    else:
        centers = g.input("centers", np.float32, "G", 3)
        members = g.input("members", np.int64, "G", "M")
    features = Encoder(g, checkpoint).features(points, centers, members)
    g.output("features", features, np.float32, c.patches if inputs == "points" else "G", c.text_dim)
    if scores:
        text = g.input("text_vectors", np.float32, "K", c.text_dim, default=vectors)
        logits = patch_logits(g, features, text, checkpoint.temperature)
        label_points(g, points, centers, logits, assign_rule)
    metadata = {
        "model": checkpoint.name,
        "text_space": checkpoint.text_space,
        "prompts": checkpoint.prompts,
        "temperature": repr(checkpoint.temperature),
        "up": up,
        **({"assign": assign_rule} if scores else {}),
        **({"part_names": json.dumps(list(part_names or []), ensure_ascii=False)} if vectors is not None else {}),
    }
    return g.model(metadata)


def _check_handled(checkpoint: Checkpoint) -> None:
    """Raise InputError for settings of a checkpoint without which the graph would give other results than pa3d."""
    for item in fields(checkpoint):
        value = getattr(checkpoint, item.name)
        is_set = value is not None and not (isinstance(value, bool | int | float | str | tuple | dict) and not value)
        if item.name not in _HANDLED and is_set:
            raise InputError(
                f"checkpoint {checkpoint.name}: the ONNX graph does not have its {item.name}; "
                "export a checkpoint without it"
            )


def _check_assign(assign: str) -> None:
    if assign not in ASSIGN:
        raise InputError(f"assign is {assign!r}; the ONNX graph has {' and '.join(ASSIGN)}; choose one of them")


def _check_vectors(
    checkpoint: Checkpoint, part_names: Sequence[str] | None, text_vectors: ArrayLike | None
) -> NDArray[np.float32] | None:  # (K, D)
    if part_names is None and text_vectors is None:
        return None
    if part_names is None or text_vectors is None:
        raise InputError("part_names and text_vectors belong together; give both or neither")
    vectors = np.ascontiguousarray(text_vectors, np.float32)
    expected = (len(part_names), checkpoint.config.text_dim)
    if vectors.shape != expected or not len(vectors):
        raise InputError(f"text_vectors have shape {vectors.shape}, expected {expected}: one row per part name")
    if not (np.isfinite(vectors).all() and vectors.any(axis=1).all()):
        raise InputError("text_vectors: NaN, infinite or zero rows; expected unit vectors")
    return vectors


def normalize_points(g: Graph, points: str, axes: tuple[int, int, int]) -> str:
    """(N, 3) to the unit sphere and the model's axes, as pa3d.frames does, in float64."""
    exact = g.add("Cast", points, to=g.type(np.float64))
    count = g.add("Cast", g.add("Slice", g.add("Shape", points), g.ints(0), g.ints(1)), to=g.type(np.float64))
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
    scaled = g.add("Cast", g.add("Div", g.add("Sub", exact, center), radius), to=g.type(np.float32))
    return g.add("Gather", scaled, g.ints(*axes), axis=1)


def squared_norm(g: Graph, difference: str, axis: int) -> str:
    """(x*x + y*y) + z*z; x, y and z are the three slices along the axis, which stays with size 1."""
    x, y, z = g.add("Split", g.add("Mul", difference, difference), outputs=3, axis=axis)
    return g.add("Add", g.add("Add", x, y), z)


def sample_and_group(
    g: Graph, points: str, patches: int, patch_size: int, min_sq_norm: float
) -> tuple[str, str]:  # centers (G, 3), members (G, M)
    """The rule of pa3d.ops.sample_and_group. ArgMax and TopK take the lowest index of equal values, as pa3d does."""
    by_axis = g.add("Transpose", points, perm=[1, 0])  # (3, N)
    sq_norm = squared_norm(g, by_axis, axis=0)  # (1, N)
    eligible = g.add("Greater", sq_norm, g.const(np.float32(min_sq_norm if min_sq_norm > 0 else -1)))
    infinite = g.const(np.float32(np.inf))
    sq_dist = g.add("Where", eligible, infinite, g.const(np.float32(-1)))  # -1: never the farthest
    count = g.add("Slice", g.add("Shape", points), g.ints(0), g.ints(1))
    available = g.add("Min", count, g.ints(patch_size))

    body = g.subgraph()
    body.input("step", np.int64)
    going_on = body.input("going_on", np.bool_)
    chosen = body.input("chosen", np.int64, 1)
    so_far = body.input("sq_dist_so_far", np.float32, 1, "N")
    difference = body.add("Sub", by_axis, body.add("Gather", by_axis, chosen, axis=1))
    to_center = squared_norm(body, difference, axis=0)  # (1, N)
    updated = body.add("Min", so_far, to_center)
    _, nearest = body.add("TopK", to_center, available, outputs=2, axis=1, largest=0, sorted=1)
    body.output("still_going_on", going_on, np.bool_)
    body.output("next_chosen", body.add("ArgMax", updated, axis=1, keepdims=0), np.int64, 1)
    body.output("sq_dist_now", updated, np.float32, 1, "N")
    body.output("center_index", chosen, np.int64, 1)
    body.output("nearest_index", nearest, np.int64, 1, "available")
    _, _, index, neighbors = g.add(
        "Loop", g.const(np.int64(patches)), "", g.ints(0), sq_dist, outputs=4, body=body.graph("sample")
    )  # (G, 1), (G, 1, available)
    centers = g.add("Gather", points, g.add("Squeeze", index, g.ints(1)), axis=0)
    # A cloud with fewer points than a patch repeats them, from the nearest on.
    position = g.add("Mod", g.const(np.arange(patch_size)), available)
    return centers, g.add("Gather", g.add("Squeeze", neighbors, g.ints(1)), position, axis=1)


class Encoder:
    """The network. The arithmetic of the mini-PointNet is that of csrc/cpu/patch_embed.inl."""

    def __init__(self, g: Graph, checkpoint: Checkpoint) -> None:
        self.g, self.config, self.tensors = g, checkpoint.config, checkpoint.tensors

    def features(self, points: str, centers: str, members: str) -> str:  # (N, 3), (G, 3), (G, M) -> (G, D), unit rows
        g, c = self.g, self.config
        patches = g.add("Sub", g.add("Gather", points, members, axis=0), g.add("Unsqueeze", centers, g.ints(1)))
        pooled = self.mini_pointnet(patches)
        position = self.linear("pos_embed.2", self.gelu(self.linear("pos_embed.0", centers)))
        x = g.add("Concat", self.row("cls_token"), self.linear("reduce_dim", pooled), axis=0)  # (1 + G, C)
        position = g.add("Concat", self.row("cls_pos"), position, axis=0)
        for i in range(c.depth):
            x = self.block(f"blocks.blocks.{i}", g.add("Add", x, position))
        tokens = g.add("Slice", self.layer_norm("norm", x), g.ints(1), g.ints(np.iinfo(np.int64).max))
        projected = self.linear("proj", tokens)
        norm = g.add("ReduceL2", projected, axes=[-1], keepdims=1)
        return g.add("Div", projected, g.add("Max", norm, g.const(np.float32(1e-12))))

    def mini_pointnet(self, patches: str) -> str:  # (G, M, 3) -> (G, W3)
        g, widths = self.g, self.config.embed
        weight1, bias1 = self.folded_batch_norm("first")
        weight3, bias3 = self.folded_batch_norm("second")
        weight2, bias2 = self.matrix("encoder.first_conv.3"), self.tensors["encoder.first_conv.3.bias"].astype(float)
        of_max, of_point = weight3[:, : widths[1]], weight3[:, widths[1] :]
        x = self.affine("embed.1", patches, weight1, bias1, relu=True)
        pooled = self.max_over_patch(self.affine("embed.2", x, weight2, bias2))
        global_term = self.affine("embed.3.max", pooled, of_max, bias3 + of_point @ bias2)
        local_term = self.affine("embed.3.point", x, of_point @ weight2)
        hidden = g.add("Relu", g.add("Add", local_term, g.add("Unsqueeze", global_term, g.ints(1))))
        weight4, bias4 = self.matrix("encoder.second_conv.3"), self.tensors["encoder.second_conv.3.bias"]
        return self.max_over_patch(self.affine("embed.4", hidden, weight4, bias4))

    def folded_batch_norm(self, layer: str) -> tuple[NDArray[Any], NDArray[Any]]:
        """Weight and bias of a layer with its BatchNorm, in float64."""
        t, norm = self.tensors, f"encoder.{layer}_conv.1"
        scale = t[f"{norm}.weight"] / np.sqrt(t[f"{norm}.running_var"].astype(float) + BATCH_NORM_EPS)
        bias = t[f"encoder.{layer}_conv.0.bias"].astype(float) - t[f"{norm}.running_mean"]
        return scale[:, None] * self.matrix(f"encoder.{layer}_conv.0"), t[f"{norm}.bias"] + bias * scale

    def matrix(self, layer: str) -> NDArray[Any]:
        return self.tensors[f"{layer}.weight"][..., 0].astype(float)  # of a 1x1 convolution

    def max_over_patch(self, x: str) -> str:  # (G, M, W) -> (G, W)
        return self.g.add("ReduceMax", x, axes=[1], keepdims=0)

    def affine(
        self, name: str, x: str, weight: NDArray[Any], bias: NDArray[Any] | None = None, relu: bool = False
    ) -> str:
        """A layer whose weight was computed here."""
        g = self.g
        y = g.add("MatMul", x, g.weight(f"{name}.weight", weight.T))
        y = y if bias is None else g.add("Add", y, g.weight(f"{name}.bias", bias))
        return g.add("Relu", y) if relu else y

    def linear(self, name: str, x: str) -> str:  # (rows, in) -> (rows, out)
        bias = [self.parameter(f"{name}.bias")] if f"{name}.bias" in self.tensors else []
        return self.g.add("Gemm", x, self.parameter(f"{name}.weight"), *bias, transB=1)

    def layer_norm(self, name: str, x: str) -> str:
        parameters = self.parameter(f"{name}.weight"), self.parameter(f"{name}.bias")
        return self.g.add("LayerNormalization", x, *parameters, axis=-1, epsilon=NORM_EPS)

    def parameter(self, name: str) -> str:
        return self.g.weight(name, self.tensors[name])

    def row(self, name: str) -> str:  # (1, C)
        return self.g.weight(name, self.tensors[name][0])

    def gelu(self, x: str) -> str:
        g = self.g
        erf = g.add("Erf", g.add("Div", x, g.const(np.float32(np.sqrt(2)))))
        return g.add("Mul", g.add("Mul", x, g.add("Add", erf, g.const(np.float32(1)))), g.const(np.float32(0.5)))

    def block(self, name: str, x: str) -> str:
        g = self.g
        x = g.add("Add", x, self.attention(f"{name}.attn", self.layer_norm(f"{name}.norm1", x)))
        hidden = self.gelu(self.linear(f"{name}.mlp.fc1", self.layer_norm(f"{name}.norm2", x)))
        return g.add("Add", x, self.linear(f"{name}.mlp.fc2", hidden))

    def attention(self, name: str, x: str) -> str:  # (T, C) -> (T, C)
        g, heads, size = self.g, self.config.heads, self.config.dim // self.config.heads
        qkv = g.add("Reshape", self.linear(f"{name}.qkv", x), g.ints(0, 3 * heads, size))
        q, k, v = g.add("Split", g.add("Transpose", qkv, perm=[1, 0, 2]), outputs=3, axis=0)  # each (heads, T, size)
        scaled = g.add("Mul", q, g.const(np.float32(size**-0.5)))
        weights = g.add("Softmax", g.add("MatMul", scaled, g.add("Transpose", k, perm=[0, 2, 1])), axis=-1)
        out = g.add("Transpose", g.add("MatMul", weights, v), perm=[1, 0, 2])
        return self.linear(f"{name}.proj", g.add("Reshape", out, g.ints(0, self.config.dim)))


def patch_logits(g: Graph, features: str, text_vectors: str, temperature: float) -> str:  # (G, D), (K, D) -> (G, K)
    """Cosines divided by the temperature."""
    unit = g.add("Div", text_vectors, g.add("ReduceL2", text_vectors, axes=[1], keepdims=1))
    cosines = g.add("MatMul", features, g.add("Transpose", unit, perm=[1, 0]))
    return g.add("Div", cosines, g.const(np.float32(temperature)))


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
    xx, yy, zz = (g.add("Mul", d, d) for d in (x, y, z))
    sq_dist = g.add("Add", g.add("Add", xx, yy), zz)  # (N, G)
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


class Graph:
    """Collects nodes and weights; every value is known by its name."""

    def __init__(self, prefix: str = "") -> None:
        self.onnx = _import_onnx()
        self._prefix = prefix
        self._nodes: list[Any] = []
        self._inputs: list[Any] = []
        self._outputs: list[Any] = []
        self._weights: dict[str, Any] = {}
        self._constants: dict[tuple[str, tuple[int, ...], bytes], str] = {}
        self._subgraphs = 0

    def type(self, dtype: Any) -> int:
        return int(self.onnx.helper.np_dtype_to_tensor_dtype(np.dtype(dtype)))

    def add(self, op: str, *inputs: str, outputs: int = 1, **attributes: Any) -> Any:
        """A node; returns the name of its output, or a list of names."""
        stem = f"{self._prefix}{op}_{len(self._nodes)}"
        names = [stem] if outputs == 1 else [f"{stem}_{i}" for i in range(outputs)]
        self._nodes.append(self.onnx.helper.make_node(op, list(inputs), names, name=stem, **attributes))
        return names[0] if outputs == 1 else names

    def input(self, name: str, dtype: Any, *shape: int | str, default: NDArray[Any] | None = None) -> str:
        """An input; one with a default may be left out by the caller."""
        self._inputs.append(self.onnx.helper.make_tensor_value_info(name, self.type(dtype), shape))
        if default is not None:
            self._weights[name] = self.onnx.numpy_helper.from_array(default, name)
        return name

    def output(self, name: str, value: str, dtype: Any, *shape: int | str) -> None:
        self._nodes.append(self.onnx.helper.make_node("Identity", [value], [name], name=f"{self._prefix}{name}"))
        self._outputs.append(self.onnx.helper.make_tensor_value_info(name, self.type(dtype), shape))

    def weight(self, name: str, value: NDArray[Any]) -> str:
        """A float32 weight. A matrix that float16 holds without loss is stored so; a runtime casts it once, at load."""
        array = np.ascontiguousarray(value, np.float32)
        with np.errstate(over="ignore"):
            half = array.astype(np.float16)
        if array.ndim > 1 and np.array_equal(half.astype(np.float32), array):
            self._weights[name] = self.onnx.numpy_helper.from_array(half, name)
            return str(self.add("Cast", name, to=self.type(np.float32)))
        self._weights[name] = self.onnx.numpy_helper.from_array(array, name)
        return name

    def const(self, value: Any) -> str:
        """A small constant of the dtype of `value`; equal ones are one."""
        array = np.asarray(value)
        key = (array.dtype.str, array.shape, array.tobytes())
        if key not in self._constants:
            name = self._constants[key] = f"{self._prefix}const_{len(self._constants)}"
            self._weights[name] = self.onnx.numpy_helper.from_array(array, name)
        return self._constants[key]

    def ints(self, *values: int) -> str:
        return self.const(np.array(values, np.int64))

    def subgraph(self) -> Graph:
        """The body of a loop. It may use values of this graph."""
        self._subgraphs += 1
        return Graph(f"{self._prefix}body_{self._subgraphs}_")

    def graph(self, name: str) -> Any:
        weights = list(self._weights.values())
        return self.onnx.helper.make_graph(self._nodes, name, self._inputs, self._outputs, weights)

    def model(self, metadata: dict[str, str]) -> onnx.ModelProto:
        from pa3d import __version__

        opset = self.onnx.helper.make_opsetid("", OPSET)
        model = self.onnx.helper.make_model(
            self.graph("pa3d"), opset_imports=[opset], ir_version=IR_VERSION, producer_name="pa3d",
            producer_version=__version__,
        )  # fmt: skip
        self.onnx.helper.set_model_props(model, metadata)
        return model


def _import_onnx() -> Any:
    try:
        import onnx
        import onnx.helper
        import onnx.numpy_helper
    except ImportError as error:
        raise InputError("exporting needs onnx; install it with pip install 'pa3d[onnx]'") from error
    return onnx
