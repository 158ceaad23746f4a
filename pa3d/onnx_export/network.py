"""The network in the graph: from patches to unit vectors in the text space."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pa3d.checkpoint import Checkpoint
from pa3d.onnx_export.graph import Graph

NORM_EPS = BATCH_NORM_EPS = 1e-5


class Encoder:
    """The network. The arithmetic of the mini-PointNet is that of csrc/cpu/patch_embed.inl."""

    def __init__(self, g: Graph, checkpoint: Checkpoint) -> None:
        self.g, self.config, self.tensors = g, checkpoint.config, checkpoint.tensors

    def tokens(self, points: str, centers: str, members: str) -> str:  # (N, 3), (G, 3), (G, M) -> (G, C)
        g, c = self.g, self.config
        patches = g.add("Sub", g.add("Gather", points, members, axis=0), g.add("Unsqueeze", centers, g.ints(1)))
        pooled = self.mini_pointnet(patches)
        position = self.linear("pos_embed.2", self.gelu(self.linear("pos_embed.0", centers)))
        # The rows of all passes (B, 1 + G, C), but (B * (1 + G), C) for the matrix products.
        x, shape = self.with_class_row("cls_token", self.linear("reduce_dim", pooled))
        position, _ = self.with_class_row("cls_pos", position)
        for i in range(c.depth):
            x = self.block(f"blocks.blocks.{i}", g.add("Add", x, position), shape)
        tokens = g.add("Reshape", self.layer_norm("norm", x), shape)
        tokens = g.add("Slice", tokens, g.ints(1), g.ints(np.iinfo(np.int64).max), g.ints(1))
        return str(g.add("Reshape", tokens, g.ints(-1, c.dim)))

    def features(self, tokens: str) -> str:  # (G, C) -> (G, D), unit rows
        g = self.g
        projected = self.linear("proj", tokens)
        norm = g.add("ReduceL2", projected, axes=[-1], keepdims=1)
        return str(g.add("Div", projected, g.add("Max", norm, g.const(np.float32(1e-12)))))

    def with_class_row(self, name: str, rows: str) -> tuple[str, str]:  # (B * G, C) -> (B * (1 + G), C), (3,)
        """Rows with that of the class token before those of each pass, and the shape (B, 1 + G, C)."""
        g, c = self.g, self.config
        size = g.ints(-1, c.patches // 2, c.dim) if c.pass_points else g.ints(1, -1, c.dim)
        by_pass = g.add("Reshape", rows, size)
        passes = g.add("Slice", g.add("Shape", by_pass), g.ints(0), g.ints(1))
        expanded = g.add("Expand", self.row(name), g.add("Concat", passes, g.ints(1, c.dim), axis=0))
        together = g.add("Concat", expanded, by_pass, axis=1)
        return g.add("Reshape", together, g.ints(-1, c.dim)), g.add("Shape", together)

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

    def block(self, name: str, x: str, shape: str) -> str:
        g = self.g
        x = g.add("Add", x, self.attention(f"{name}.attn", self.layer_norm(f"{name}.norm1", x), shape))
        hidden = self.gelu(self.linear(f"{name}.mlp.fc1", self.layer_norm(f"{name}.norm2", x)))
        return g.add("Add", x, self.linear(f"{name}.mlp.fc2", hidden))

    def attention(self, name: str, x: str, shape: str) -> str:  # (B * T, C) -> (B * T, C)
        g, heads, size = self.g, self.config.heads, self.config.dim // self.config.heads
        by_pass = g.add("Slice", shape, g.ints(0), g.ints(2))  # (B, T)
        qkv = g.add("Reshape", self.linear(f"{name}.qkv", x), g.add("Concat", by_pass, g.ints(3 * heads, size), axis=0))
        q, k, v = g.add("Split", g.add("Transpose", qkv, perm=[0, 2, 1, 3]), outputs=3, axis=1)  # (B, heads, T, size)
        scaled = g.add("Mul", q, g.const(np.float32(size**-0.5)))
        weights = g.add("Softmax", g.add("MatMul", scaled, g.add("Transpose", k, perm=[0, 1, 3, 2])), axis=-1)
        out = g.add("Transpose", g.add("MatMul", weights, v), perm=[0, 2, 1, 3])
        return self.linear(f"{name}.proj", g.add("Reshape", out, g.ints(-1, self.config.dim)))
