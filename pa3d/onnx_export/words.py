"""Words in the graph: what they mean, on every shape, and their logits at its patches (csrc/cpu/words.h, segment.h)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pa3d import _C
from pa3d.checkpoint import Checkpoint, Kinds, Lexicon
from pa3d.onnx_export.graph import Graph

NEAREST, SHARE = 32, 0.8  # of the lexicon
KNOWN, STRANGER, FRIEND = 0.92, 0.5, 0.65  # cosines with the nearest text: known words; no trust; all of it
KNOWN_SCALE, OTHER_SCALE = 0.01, 0.05  # of cosines with texts
KIND_SCALE, SUPPORT, LEAST_FIT, LEAST_SHARE = 0.05, 0.5, 0.03, 0.001
CANDIDATES, ROUNDS = 64, 3


def patch_logits(g: Graph, tokens: str, features: str, text_vectors: str, checkpoint: Checkpoint) -> str:
    """(G, C), (G, D), (K, D) -> (G, K): cosines divided by the temperature, and with a bank by the levels of the names.
    With a lexicon, the names are read through it, and with kinds by what the shape is as well."""
    unit = read = _unit_rows(g, text_vectors)
    if checkpoint.lexicon is not None:
        texts = _int8_rows(g, "lexicon", checkpoint.lexicon.rows)
        cosines = g.add("MatMul", unit, g.add("Transpose", texts, perm=[1, 0]))  # (K, R)
        read = _through_lexicon(g, unit, texts, cosines, checkpoint.lexicon)
        if checkpoint.kinds is not None and checkpoint.shape_head is not None:
            shape = _shape_vector(g, tokens, checkpoint)
            read = _on_shape(g, unit, read, texts, cosines, shape, features, checkpoint)
    return _logits(g, features, read, checkpoint)


def _logits(g: Graph, features: str, vectors: str, checkpoint: Checkpoint) -> str:  # (G, D), (K, D) -> (G, K)
    by_name = g.add("Transpose", vectors, perm=[1, 0])  # (D, K)
    logits = g.add("Div", g.add("MatMul", features, by_name), _float(g, checkpoint.temperature))
    bank = checkpoint.bank
    return str(logits if bank is None else g.add("Div", logits, _name_levels(g, by_name, bank)))


def _float(g: Graph, value: float) -> str:
    return g.const(np.float32(value))


def _unit_rows(g: Graph, rows: str) -> str:
    return str(g.add("Div", rows, g.add("ReduceL2", rows, axes=[1], keepdims=1)))


def _int8_rows(g: Graph, name: str, rows: NDArray[np.int8]) -> str:  # (R, D)
    """The rows, each divided by its norm."""
    norm = np.sqrt((rows.astype(np.int64) ** 2).sum(axis=1, keepdims=True).astype(np.float32))
    whole = g.add("Cast", g.stored(name, rows), to=g.type(np.float32))
    return str(g.add("Div", whole, g.stored(f"{name}.norm", norm)))


def _through_lexicon(
    g: Graph, unit: str, texts: str, cosines: str, lexicon: Lexicon
) -> str:  # (K, D), (R, D), (K, R) -> (K, D)
    """The rule of read_through_lexicon."""
    count = min(NEAREST, len(lexicon.rows))
    cosine, nearest = g.add("TopK", cosines, g.ints(count), outputs=2, axis=1, largest=1, sorted=1)
    weight = g.add("Softmax", g.add("Div", cosine, _scales(g, cosines)), axis=1)
    meaning = g.add("Gather", g.stored("lexicon.meaning", lexicon.meaning.astype(np.int64)), nearest, axis=0)
    weighted = g.add(
        "Mul", g.add("Gather", texts, meaning, axis=0), g.add("Unsqueeze", weight, g.ints(2))
    )  # (K, 32, D)
    return _mixed(g, unit, g.add("ReduceSum", weighted, g.ints(1), keepdims=0))


def _scales(g: Graph, cosines: str) -> str:  # (K, R) -> (K, 1)
    nearest = g.add("ReduceMax", cosines, axes=[1], keepdims=1)
    known = g.add("GreaterOrEqual", nearest, _float(g, KNOWN))
    return str(g.add("Where", known, _float(g, KNOWN_SCALE), _float(g, OTHER_SCALE)))


def _mixed(g: Graph, unit: str, names: str) -> str:  # (K, D), (K, D) -> (K, D)
    own = g.add("Mul", unit, _float(g, 1 - SHARE))
    return _unit_rows(g, g.add("Add", own, g.add("Mul", _unit_rows(g, names), _float(g, SHARE))))


def _name_levels(g: Graph, by_name: str, bank: NDArray[np.int8]) -> str:  # (D, K), (R, D) -> (1, K)
    """1 + 10 max(0, q), where q is the cosine that 95 % of the rows of the bank do not exceed (csrc/cpu/segment.h)."""
    cosines = g.add("MatMul", _int8_rows(g, "bank", bank), by_name)  # (R, K)
    rank = (len(bank) - 1) * 95 // 100
    largest, _ = g.add("TopK", cosines, g.ints(len(bank) - rank), outputs=2, axis=0, largest=1, sorted=1)
    q = g.add("Max", g.add("Gather", largest, g.ints(-1), axis=0), g.const(np.float32(0)))
    return str(g.add("Add", g.add("Mul", q, g.const(np.float32(10))), g.const(np.float32(1))))


def _shape_vector(g: Graph, tokens: str, checkpoint: Checkpoint) -> str:  # (G, C) -> (1, D)
    """The rule of shape_vector."""
    head = checkpoint.shape_head
    assert head is not None
    mean = g.add("ReduceMean", tokens, axes=[0], keepdims=1)
    off = g.add("Sub", tokens, mean)
    deviation = g.add("Sqrt", g.add("ReduceMean", g.add("Mul", off, off), axes=[0], keepdims=1))
    x = g.add("Concat", mean, g.add("ReduceMax", tokens, axes=[0], keepdims=1), deviation, axis=1)
    for layer in ("hidden", "out"):
        weight = g.weight(f"shape_head.{layer}.weight", np.asarray(head[f"{layer}.weight"]))
        bias = g.weight(f"shape_head.{layer}.bias", np.asarray(head[f"{layer}.bias"]))
        x = g.add("Gemm", x, weight, bias, transB=1)
        x = g.add("Relu", x) if layer == "hidden" else x
    return _unit_rows(g, x)


def _on_shape(
    g: Graph, unit: str, read: str, texts: str, cosines: str, shape: str, features: str, checkpoint: Checkpoint
) -> str:  # (K, D), (K, D), (R, D), (K, R), (1, D), (G, D) -> (K, D)
    """The rule of read_on_shape, by its steps."""
    lexicon, kinds = checkpoint.lexicon, checkpoint.kinds
    assert lexicon is not None and kinds is not None
    name_of, _, name_fits = _C.lexicon_names(lexicon.rows, lexicon.meaning, *kinds)
    rows = np.unique(lexicon.meaning).astype(np.int64)
    names = g.add("Gather", texts, g.stored("lexicon.names", rows), axis=0)  # (N, D)
    count = g.add("Slice", g.add("Shape", unit), g.ints(0), g.ints(1))
    nearest = g.add("ReduceMax", cosines, axes=[1], keepdims=1)  # (K, 1)
    known = g.add("GreaterOrEqual", nearest, _float(g, KNOWN))

    # 1. Kinds.
    support = g.add("Log", g.add("Add", _kind_fits(g, read, kinds), _float(g, LEAST_FIT)))  # (K, C)
    support = g.add("Mul", g.add("Where", known, support, _float(g, 0)), _float(g, SUPPORT))
    like = g.add("MatMul", shape, g.add("Transpose", _int8_rows(g, "kinds.rows", kinds.rows), perm=[1, 0]))
    logits = g.add("Add", g.add("Div", like, _float(g, KIND_SCALE)), g.add("ReduceSum", support, g.ints(0), keepdims=1))
    probabilities = g.add("Softmax", logits, axis=1)  # (1, C)

    # 2. Names.
    fits = g.add("Cast", g.stored("lexicon.fits", name_fits.astype(np.float16)), to=g.type(np.float32))
    prior = g.add("Log", g.add("Add", g.add("MatMul", probabilities, fits), _float(g, LEAST_FIT)))  # (1, N)
    size = g.ints(min(CANDIDATES, len(rows)))
    likely, candidates = g.add("TopK", prior, size, outputs=2, axis=1, largest=1, sorted=1)  # (1, 64)
    vectors = g.add("Gather", names, g.add("Squeeze", candidates, g.ints(0)), axis=0)
    alike = g.add("MatMul", features, g.add("Transpose", vectors, perm=[1, 0]))  # (G, 64)
    alike = g.add("Div", alike, _float(g, checkpoint.temperature))
    seen = g.add("Softmax", g.add("Add", alike, likely), axis=1)
    explained = g.add(
        "Where", g.add("Transpose", known, perm=[1, 0]), _logits(g, features, read, checkpoint), _float(g, -1e9)
    )
    none = g.add("Mul", g.add("ReduceMax", alike, axes=[1], keepdims=1), _float(g, 0))  # (G, 1)
    rest = g.add("Softmax", g.add("Concat", explained, none, axis=1), axis=1)
    rest = g.add("Slice", rest, g.ints(-1), g.ints(np.iinfo(np.int64).max), g.ints(1))
    share = g.add("ReduceMean", g.add("Mul", seen, rest), axes=[0], keepdims=1)  # (1, 64)
    shares = g.add("ScatterElements", g.add("Mul", prior, _float(g, 0)), candidates, share, axis=1)
    prior = g.add("Add", prior, g.add("Log", g.add("Add", shares, _float(g, LEAST_SHARE))))

    # 3. Weights of names.
    every = g.add("Expand", _float(g, 0), g.add("Concat", count, g.ints(len(rows)), axis=0))  # (K, N)
    index = g.add("Expand", g.stored("lexicon.name_of", name_of.astype(np.int64)[None]), g.add("Shape", cosines))
    near = g.add("Exp", g.add("Div", g.add("Sub", cosines, nearest), _scales(g, cosines)))
    closeness = g.add("Log", g.add("ScatterElements", every, index, near, axis=1, reduction="add"))
    trust = g.add("Div", g.add("Sub", nearest, _float(g, STRANGER)), _float(g, FRIEND - STRANGER))
    trust = g.add("Where", known, _float(g, 0), g.add("Clip", trust, _float(g, 0), _float(g, 1)))
    value = g.add("Add", closeness, g.add("Mul", trust, prior))
    kept = g.ints(min(NEAREST, len(rows)))
    top, at = g.add("TopK", value, kept, outputs=2, axis=1, largest=1, sorted=1)
    weights = g.add("Softmax", top, axis=1)  # (K, 32)

    # 4. Each name for one of the words. 5. Vectors.
    chosen = g.add("Gather", names, at, axis=0)  # (K, 32, D)
    entries = g.add("Reshape", chosen, g.ints(-1, lexicon.rows.shape[1]))  # (E, D)
    alike = g.add("Max", g.add("MatMul", entries, g.add("Transpose", entries, perm=[1, 0])), _float(g, 0))
    squared = g.add("Mul", alike, alike)
    alike = g.add("Mul", squared, squared)  # (E, E)
    by_word = g.add("Reshape", alike, g.add("Concat", g.ints(-1), g.add("Shape", weights), axis=0))  # (E, K, 32)
    for _ in range(ROUNDS):
        claims = g.add("ReduceSum", g.add("Mul", by_word, weights), g.ints(2), keepdims=0)  # (E, K)
        total = g.add("Max", g.add("ReduceSum", claims, g.ints(1), keepdims=1), _float(g, 1e-30))
        share = g.add("Div", claims, total)
        share = g.add("Reshape", share, g.add("Concat", g.add("Shape", weights), g.ints(-1), axis=0))  # (K, 32, K)
        own = g.add("EyeLike", g.add("MatMul", weights, g.add("Transpose", weights, perm=[1, 0])))  # (K, K)
        share = g.add("ReduceSum", g.add("Mul", share, g.add("Unsqueeze", own, g.ints(1))), g.ints(2), keepdims=0)
        changed = g.add("Mul", weights, share)
        scaled = g.add("Div", changed, g.add("ReduceSum", changed, g.ints(1), keepdims=1))
        weights = g.add("Where", known, weights, scaled)
    mean = g.add("ReduceSum", g.add("Mul", chosen, g.add("Unsqueeze", weights, g.ints(2))), g.ints(1), keepdims=0)
    return str(g.add("Where", known, read, _mixed(g, unit, mean)))


def _kind_fits(g: Graph, vectors: str, kinds: Kinds) -> str:  # (K, D) -> (K, C)
    """The rule of kind_fits. A row of indices has the parts of a kind, then the index of a column of 0."""
    parts = _int8_rows(g, "kinds.parts", kinds.parts)
    cosines = g.add("Max", g.add("MatMul", vectors, g.add("Transpose", parts, perm=[1, 0])), _float(g, 0))  # (K, P)
    none = g.add("Mul", g.add("ReduceMax", cosines, axes=[1], keepdims=1), _float(g, 0))
    of_kind = [kinds.has[kinds.has[:, 0] == kind, 1] for kind in range(len(kinds.rows))]
    index = np.full((len(kinds.rows), max(1, *map(len, of_kind))), len(kinds.parts), np.int64)
    for row, own in zip(index, of_kind, strict=True):
        row[: len(own)] = own
    found = g.add("Gather", g.add("Concat", cosines, none, axis=1), g.stored("kinds.has", index), axis=1)  # (K, C, M)
    fit = g.add("Min", g.add("ReduceMax", found, axes=[2], keepdims=0), _float(g, 1))
    for _ in range(3):  # to the power of 8
        fit = g.add("Mul", fit, fit)
    return str(fit)
