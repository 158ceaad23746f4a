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
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pa3d.atomic import atomic_write
from pa3d.checkpoint import Checkpoint
from pa3d.errors import InputError
from pa3d.frames import TO_MODEL_AXES, UP_AXES
from pa3d.onnx_export.graph import OPSET, Graph
from pa3d.onnx_export.network import Encoder
from pa3d.onnx_export.outliers import keep_points
from pa3d.onnx_export.points import label_points, normalize_points, sample_and_group
from pa3d.onnx_export.words import patch_logits

if TYPE_CHECKING:
    import onnx

__all__ = ["ASSIGN", "INPUTS", "OPSET", "build_model", "export_onnx"]

INPUTS = ("points", "centers")
ASSIGN = ("nearest", "smooth")  # the rules of pa3d.ops.label_points that the graph has
# What the graph takes from a checkpoint, or does not depend on. A field that is not here is refused if it is set.
# (presence changes labels only where there is a threshold; the graph has none.)
_HANDLED = {"config", "tensors", "text_space", "temperature", "prompts", "provenance", "name", "precisions", "assign"}
_HANDLED |= {"outliers", "bank", "presence", "shape_head", "lexicon", "kinds"}


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
        members (G, M), int64, indices into points, as PatchFeatures has them, and `pa3d_encode` of csrc/pa3d.h for
        clouds of one or two passes (pa3d.passes); then the graph has no loop.
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
    count = c.patches if inputs == "points" and not c.pass_points else "G"
    raw = g.input("points", np.float32, "N", 3)
    keep = keep_points(g, raw, checkpoint.outliers) if checkpoint.outliers else None
    points = normalize_points(g, raw, TO_MODEL_AXES[up], keep)
    if inputs == "points":
        seen = points if keep is None else g.add("Compress", points, keep, axis=0)
        centers, members = sample_and_group(g, seen, c)
        g.output("centers", centers, np.float32, count, 3)
    else:
        centers = g.input("centers", np.float32, "G", 3)
        members = g.input("members", np.int64, "G", "M")
        seen = points
    encoder = Encoder(g, checkpoint)
    tokens = encoder.tokens(seen, centers, members)
    features = encoder.features(tokens)
    g.output("features", features, np.float32, count, c.text_dim)
    if scores:
        text = g.input("text_vectors", np.float32, "K", c.text_dim, default=vectors)
        logits = patch_logits(g, tokens, features, text, checkpoint)
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
