"""Protocols, methods and the run: against plain computations, the same every time, resumable."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from pa3d.checkpoint import Checkpoint, save
from pa3d.cli import main
from pa3d.cli.evaluate import app
from pa3d.config import EncoderConfig
from pa3d.errors import InputError
from pa3d.evaluate import compare, evaluate, open_dataset
from pa3d.evaluate.methods import METHODS, Majority, PatchCeiling, Random, SegmenterMethod
from pa3d.evaluate.pages import report_html
from pa3d.evaluate.protocols import PROTOCOLS, Protocol, prepare, resolve, shape_seed
from pa3d.evaluate.score import predict, rotation_matrices
from pa3d.evaluate.summary import categories, summarize
from pa3d.rotations import random_rotation
from pa3d.segment import Segmentation, Segmenter
from pa3d.shape import Shape
from pa3d.text import text_encoder

CONFIG = EncoderConfig(
    patches=16,
    patch_size=8,
    dim=48,
    depth=2,
    heads=3,
    mlp_hidden=96,
    embed=(8, 16, 24, 32),
    pos_hidden=16,
    text_dim=384,
)
Array = np.ndarray


@pytest.fixture(scope="module")
def checkpoint() -> Checkpoint:
    """Small and random, but patches at different places get different answers."""
    rng = np.random.default_rng(0)
    tensors = {}
    for name, shape in CONFIG.shapes().items():
        values = rng.standard_normal(shape) * (0.02 if name.endswith("bias") else 0.2)
        if name.startswith("pos_embed"):
            values *= 10
        if name.endswith(("norm.weight", "norm1.weight", "norm2.weight", "conv.1.weight")):
            values += 1
        if name.endswith("running_var"):
            values = 0.5 + np.abs(values)
        tensors[name] = values.astype(np.float32)
    return Checkpoint(CONFIG, tensors, "all-MiniLM-L6-v2", 0.07, "part", name="tiny")


@pytest.fixture(scope="module")
def chairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six clouds of two categories; parts are slices of a box, the last points unlabelled."""
    root = tmp_path_factory.mktemp("clouds")
    rng = np.random.default_rng(1)
    for i in range(6):
        points = (rng.random((300, 3)) * [1, 2, 0.6]).astype(np.float32)
        names = ["seat", "back", "leg"] if i % 2 else ["blade", "handle"]
        part = np.minimum((points[:, 1] / 2 * len(names)).astype(int), len(names) - 1)
        part[290:] = -1
        category = np.array("Chair" if i % 2 else "Knife")
        np.savez(root / f"{i}.npz", points=points, labels=part, part_names=np.array(names), category=category)
    return root


class Heights:
    """Names parts by height, and counts its calls."""

    def __init__(self) -> None:
        self.calls = 0

    def segment(self, shape: Shape, parts: Sequence[str], *, category: str | None) -> Segmentation:
        self.calls += 1
        y = shape.points[:, 1]
        labels = np.minimum((y - y.min()) / (np.ptp(y) + 1e-6) * len(parts), len(parts) - 1).astype(np.int32)
        scores = np.full((len(y), len(parts)), 0.1, np.float32)
        scores[np.arange(len(y)), labels] = 0.8
        return Segmentation(shape, list(parts), labels, scores, timings={"encode": 0.001})


# ---- an independent computation of the patchalign3d preset, in float64 but for distances ----


def plain_forward(points: Array, tensors: dict[str, Array]) -> tuple[Array, Array]:
    """Centres (G, 3) and features (G, D) of points on the unit sphere, axes swapped."""
    p = np.ascontiguousarray(points, np.float32)
    distance = np.full(len(p), np.inf, np.float32)
    distance[(p * p).sum(axis=1) <= 1e-3] = -1
    chosen = [0]
    for _ in range(CONFIG.patches - 1):
        distance = np.minimum(distance, ((p - p[chosen[-1]]) ** 2).sum(axis=1))
        chosen.append(int(distance.argmax()))
    centers = p[chosen]
    order = np.argsort(((centers[:, None] - p[None]) ** 2).sum(axis=2), axis=1, kind="stable")
    patches = (p[order[:, : CONFIG.patch_size]] - centers[:, None]).astype(np.float64)
    w = {name: tensor.astype(np.float64) for name, tensor in tensors.items()}

    def conv(x: Array, name: str) -> Array:
        return x @ w[f"{name}.weight"][:, :, 0].T + w[f"{name}.bias"]

    def batch_norm(x: Array, name: str) -> Array:
        scale = w[f"{name}.weight"] / np.sqrt(w[f"{name}.running_var"] + 1e-5)
        return (x - w[f"{name}.running_mean"]) * scale + w[f"{name}.bias"]

    def linear(x: Array, name: str, bias: bool = True) -> Array:
        return x @ w[f"{name}.weight"].T + (w[f"{name}.bias"] if bias else 0)

    def layer_norm(x: Array, name: str) -> Array:
        x = x - x.mean(axis=-1, keepdims=True)
        return x / np.sqrt((x * x).mean(axis=-1, keepdims=True) + 1e-5) * w[f"{name}.weight"] + w[f"{name}.bias"]

    def gelu(x: Array) -> Array:
        erf = np.vectorize(__import__("math").erf)
        return x * 0.5 * (1 + erf(x / np.sqrt(2)))

    x = conv(
        np.maximum(batch_norm(conv(patches, "encoder.first_conv.0"), "encoder.first_conv.1"), 0),
        "encoder.first_conv.3",
    )
    pooled = np.broadcast_to(x.max(axis=1, keepdims=True), x.shape)
    x = conv(np.concatenate([pooled, x], axis=2), "encoder.second_conv.0")
    x = conv(np.maximum(batch_norm(x, "encoder.second_conv.1"), 0), "encoder.second_conv.3").max(axis=1)
    x = np.concatenate([w["cls_token"][0], linear(x, "reduce_dim")])
    pos = linear(gelu(linear(centers.astype(np.float64), "pos_embed.0")), "pos_embed.2")
    pos = np.concatenate([w["cls_pos"][0], pos])
    for i in range(CONFIG.depth):
        b = f"blocks.blocks.{i}"
        x = x + pos
        q, k, v = (
            linear(layer_norm(x, f"{b}.norm1"), f"{b}.attn.qkv", bias=False)
            .reshape(len(x), 3, CONFIG.heads, -1)
            .transpose(1, 2, 0, 3)
        )
        a = q @ k.transpose(0, 2, 1) / np.sqrt(q.shape[-1])
        a = np.exp(a - a.max(axis=-1, keepdims=True))
        a = (a / a.sum(axis=-1, keepdims=True)) @ v
        x = x + linear(a.transpose(1, 0, 2).reshape(len(x), -1), f"{b}.attn.proj")
        x = x + linear(gelu(linear(layer_norm(x, f"{b}.norm2"), f"{b}.mlp.fc1")), f"{b}.mlp.fc2")
    features = linear(layer_norm(x, "norm")[1:], "proj")
    return centers, features / np.linalg.norm(features, axis=1, keepdims=True)


def plain_ious(
    points: Array, truth: Array, names: list[str], checkpoint: Checkpoint, absent: str, normalize: bool = True
) -> list[float | None]:
    if normalize:
        points = points.astype(np.float64)
        points = points - points.mean(axis=0)
        points = (points / np.sqrt((points**2).sum(axis=1)).max()).astype(np.float32)
    points = points[:, [0, 2, 1]]
    centers, features = plain_forward(points, checkpoint.tensors)
    encoder = text_encoder("all-MiniLM-L6-v2")
    text = []
    for name in names:
        vectors = encoder.encode([name, f"a {name}", f"{name} part"]).astype(np.float64)
        mean = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).mean(axis=0)
        text.append(mean / np.linalg.norm(mean))
    logits = features @ np.array(text).T / 0.07
    nearest = ((points[:, None].astype(np.float64) - centers[None]) ** 2).sum(axis=2).argmin(axis=1)
    predicted = logits[nearest].argmax(axis=1)
    ious: list[float | None] = []
    for part in range(len(names)):
        t, p = truth == part, predicted == part
        if t.any():
            ious.append((t & p).sum() / (t | p).sum())
        else:
            ious.append(None if absent == "skip" else float(not p.any()))
    return ious


def test_patchalign3d_equals_a_plain_computation_on_shapenetpart(tmp_path: Path, checkpoint: Checkpoint) -> None:
    """Caps and tables with more and with fewer than 2,048 points, of which always 2,048 are drawn with replacement; one
    table lacks its drawer."""
    rng = np.random.default_rng(2)
    (tmp_path / "train_test_split").mkdir()
    (tmp_path / "synsetoffset2category.txt").write_text("Cap\t1\nTable\t2\n")
    shapes = {"1/a": (6, 2, 2600), "1/b": (6, 2, 900), "2/c": (47, 3, 2300), "2/d": (47, 2, 2100)}
    for name, (first, parts, n) in shapes.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        points = rng.standard_normal((n, 3)) * [1, 0.5, 0.8] + [3, -2, 1]
        part = first + np.argsort(np.argsort(points[:, 1])) * parts // n
        np.savetxt(tmp_path / f"{name}.txt", np.column_stack([points, np.zeros((n, 3)), part]), fmt="%.7f")
    listed = [f"shape_data/{name}" for name in shapes]
    (tmp_path / "train_test_split" / "shuffled_test_file_list.json").write_text(json.dumps(listed))
    dataset = open_dataset("shapenetpart", tmp_path)
    results = evaluate(dataset, SegmenterMethod(checkpoint), "patchalign3d")
    records = {record["id"]: record for record in results["shapes"]}
    for i, name in enumerate(shapes):
        shape = dataset.load(i)
        used = np.sort(np.random.default_rng(shape_seed(name, 0)).integers(0, len(shape.labels), 2048))
        assert len(np.unique(used)) < 0.7 * 2048
        expected = plain_ious(shape.shape.points[used], shape.labels[used], shape.part_names, checkpoint, "skip")
        assert records[name]["iou"] == pytest.approx(expected, abs=1e-6)
        mean = np.mean([iou for iou in expected if iou is not None])
        assert records[name]["miou"] == pytest.approx(mean, abs=1e-6)
        assert np.count_nonzero(np.sum(records[name]["confusion"], axis=0)) > 1  # not one answer for all
    assert records["2/d"]["iou"][2] is None
    by_shape = [records[name]["miou"] for name in shapes]
    assert results["summary"]["miou"]["value"] == pytest.approx(np.mean(by_shape))
    ciou = (np.mean(by_shape[:2]) + np.mean(by_shape[2:])) / 2
    assert results["summary"]["ciou"]["value"] == pytest.approx(ciou)


def test_patchalign3d_equals_a_plain_computation_on_faust(tmp_path: Path, checkpoint: Checkpoint) -> None:
    """2,048 points of the surface, neither moved nor scaled; a part absent from both counts 1."""
    rng = np.random.default_rng(3)
    vertices = rng.standard_normal((60, 3)).astype(np.float32)
    faces = rng.permuted(np.tile(np.arange(60), (80, 1)), axis=1)[:, :3].astype(np.int32)
    labels = rng.integers(0, 2, 80).astype(np.int16)
    names = np.array(["arm", "head", "leg", "torso"])
    np.savez(
        tmp_path / "tr.npz",
        vertices=vertices,
        faces=faces,
        face_labels=labels,
        part_names=names,
        category="human",
    )
    dataset = open_dataset("faust", tmp_path)
    results = evaluate(dataset, SegmenterMethod(checkpoint), "patchalign3d")
    points, face = dataset.load(0).shape.sample(2048, shape_seed("tr", 0))
    expected = plain_ious(points, labels[face], list(names), checkpoint, "one", normalize=False)
    assert results["shapes"][0]["iou"] == pytest.approx(expected, abs=1e-6)
    assert results["shapes"][0]["points"] == 2048
    # These rules differ from those that normalise.
    other = evaluate(dataset, SegmenterMethod(checkpoint), "patchalign3d", normalize="sphere")
    sphere = plain_ious(points, labels[face], list(names), checkpoint, "one")
    assert other["shapes"][0]["iou"] == pytest.approx(sphere, abs=1e-6)
    assert max(abs(a - b) for a, b in zip(expected, sphere, strict=True) if a is not None and b is not None) > 0.01


# ---- protocols ----


def test_pa3d_scores_every_point(chairs: Path) -> None:
    dataset = open_dataset("npz", chairs)
    case = prepare(dataset.load(1), resolve("pa3d", "npz"), dataset)
    assert len(case.truth) == len(case.cloud.points) == 300
    np.testing.assert_array_equal(case.cloud.points, dataset.load(1).shape.points)
    results = evaluate(dataset, Heights())
    assert [record["points"] for record in results["shapes"]] == [300] * 6
    assert [record["unlabelled"] for record in results["shapes"]] == [10] * 6
    assert all(sum(map(sum, record["confusion"])) == 290 for record in results["shapes"])


def test_meshes_are_scored_on_their_surface_or_vertices(tmp_path: Path) -> None:
    """Two triangles, one nine times the other: so are the points on them."""
    vertices = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [10, 0, 0], [13, 0, 0], [10, 3, 0]], np.float32)
    content: dict[str, Any] = {
        "vertices": vertices,
        "faces": np.array([[0, 1, 2], [3, 4, 5]]),
        "face_labels": np.array([0, 1]),
    }
    np.savez(tmp_path / "m.npz", part_names=np.array(["a", "b"]), category="x", **content)
    dataset = open_dataset("npz", tmp_path)
    case = prepare(dataset.load(0), resolve("pa3d", "npz"), dataset)
    assert np.bincount(case.truth).tolist() == [1000, 9000]
    assert ((case.points[:, 0] > 5) == case.truth).all()
    again = prepare(dataset.load(0), resolve("pa3d", "npz"), dataset)
    np.testing.assert_array_equal(case.points, again.points)
    other = prepare(dataset.load(0), resolve("pa3d", "npz", seed=1), dataset)
    assert (case.points != other.points).any()
    by_vertices = prepare(dataset.load(0), resolve("cops", "npz"), dataset)
    assert by_vertices.truth.tolist() == [0, 0, 0, 1, 1, 1]


def test_find3d_scores_points_that_the_method_never_saw(chairs: Path) -> None:
    dataset = open_dataset("npz", chairs)
    shape = dataset.load(1)
    case = prepare(shape, resolve("find3d", "npz", points=50), dataset)
    assert len(case.cloud.points) == 50
    assert len(case.truth) == 300
    assert case.category == "chair"
    assert np.abs(case.cloud.points).max() == pytest.approx(0.75)
    assert np.abs(case.cloud.points.mean(axis=0)).max() < 1e-6
    assert case.nearest is not None
    given = np.sort(np.random.default_rng(shape_seed(shape.id, 0)).integers(0, 300, 50))
    assert len(np.unique(given)) < 50
    gap = np.linalg.norm(shape.shape.points[:, None] - shape.shape.points[given][None], axis=2)
    np.testing.assert_array_equal(case.nearest, gap.argmin(axis=1))
    more = prepare(shape, resolve("find3d", "npz"), dataset)  # 5,000 points of a cloud with 300
    assert len(more.cloud.points) == 5000
    np.testing.assert_array_equal(more.given_truth[more.nearest], shape.labels)


class HeightsOrNone(Heights):
    """The lowest points are none of the parts where the protocol has such a column."""

    def configure(self, protocol: Protocol) -> None:
        self.none = protocol.unlabelled == "zero"

    def segment(self, shape: Shape, parts: Sequence[str], *, category: str | None) -> Segmentation:
        result = super().segment(shape, parts, category=category)
        if self.none:
            y = shape.points[:, 1]
            result.labels[y < y.min() + 0.1 * np.ptp(y)] = -1
        return result


def plain_heights(y: Array, parts: int, none: bool) -> Array:
    low, high = y.min(), y.max()
    labels = np.minimum((y - low) / (high - low + 1e-6) * parts, parts - 1).astype(int)
    labels[(y < low + 0.1 * (high - low)) & none] = -1
    return labels


def test_find3d_equals_a_plain_computation_on_shapenetpart(tmp_path: Path) -> None:
    """2,048 points are given and scored, under a random rotation; no column for none; a part absent from both is
    skipped; the mean over categories."""
    rng = np.random.default_rng(5)
    (tmp_path / "train_test_split").mkdir()
    (tmp_path / "synsetoffset2category.txt").write_text("Cap\t1\nTable\t2\n")
    sizes = {"1/a": (6, 2600), "1/b": (6, 900), "2/c": (47, 2300)}
    for name, (first, n) in sizes.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        points = rng.standard_normal((n, 3)) * [1, 0.5, 0.8]
        part = first + (points[:, 1] > 0)
        np.savetxt(tmp_path / f"{name}.txt", np.column_stack([points, np.zeros((n, 3)), part]), fmt="%.7f")
    listed = [f"shape_data/{name}" for name in sizes]
    (tmp_path / "train_test_split" / "shuffled_test_file_list.json").write_text(json.dumps(listed))
    dataset = open_dataset("shapenetpart", tmp_path)
    results = evaluate(dataset, HeightsOrNone(), "find3d")
    means: dict[str, list[float]] = {"Cap": [], "Table": []}
    for record, (name, (_, n)) in zip(results["shapes"], sizes.items(), strict=True):
        shape = dataset.load(list(sizes).index(name))
        turn = random_rotation(np.random.default_rng([shape_seed(name, 0), 1]))
        points, truth = shape.shape.points @ turn.T, shape.labels
        if n > 2048:
            chosen = np.random.default_rng(shape_seed(name, 0)).choice(n, 2048, replace=False)
            points, truth = points[chosen], truth[chosen]
        predicted = plain_heights(points[:, 1], len(shape.part_names), none=False)
        ious = []
        for part in range(len(shape.part_names)):
            union = ((predicted == part) | (truth == part)).sum()
            if union:
                ious.append(((predicted == part) & (truth == part)).sum() / union)
        assert record["points"] == min(n, 2048)
        assert record["miou"] == pytest.approx(np.mean(ious), abs=2e-3)  # a point on an edge may fall to either side
        means[shape.category].append(np.mean(ious))
    headline = results["summary"]["headline"]
    assert headline["name"] == "ciou"
    assert headline["value"] == pytest.approx(np.mean([np.mean(values) for values in means.values()]), abs=2e-3)


def test_find3d_equals_a_plain_computation_on_partnete(tmp_path: Path) -> None:
    """5,000 points drawn with replacement under a random rotation, in a box of 0.75; all points are scored, the
    unlabelled ones in unions only; the mean over categories."""
    rng = np.random.default_rng(6)
    clouds = {"Bottle/1": 400, "Kettle/2": 6000}
    for name, n in clouds.items():
        (tmp_path / "test" / name).mkdir(parents=True)
        points = (rng.standard_normal((n, 3)) * [1, 0.5, 0.8] + 3).astype(np.float32)
        part = np.where(points[:, 0] > 3.5, 0, -1)
        header = f"ply\nformat ascii 1.0\nelement vertex {n}\nproperty float x\nproperty float y\nproperty float z\n"
        rows = "\n".join(" ".join(f"{x:.6f}" for x in row) for row in points)
        (tmp_path / "test" / name / "pc.ply").write_text(f"{header}end_header\n{rows}\n")
        np.save(tmp_path / "test" / name / "label.npy", {"semantic_seg": part}, allow_pickle=True)
    dataset = open_dataset("partnete", tmp_path)
    results = evaluate(dataset, HeightsOrNone(), "find3d")
    for i, record in enumerate(results["shapes"]):
        shape = dataset.load(i)
        n, count = len(shape.labels), len(shape.part_names)
        turn = random_rotation(np.random.default_rng([shape_seed(shape.id, 0), 1]))
        points = (shape.shape.points.astype(np.float64) @ turn.T).astype(np.float32)
        given = np.sort(np.random.default_rng(shape_seed(shape.id, 0)).integers(0, n, 5000))
        cloud = prepare(shape, resolve("find3d", "partnete"), dataset).cloud.points
        boxed = points[given] - points[given].mean(axis=0, dtype=np.float64)
        np.testing.assert_allclose(cloud, boxed * (0.75 / np.abs(boxed).max()), atol=1e-6)
        nearest = ((points[:, None] - points[given][None]) ** 2).sum(axis=2).argmin(axis=1)
        predicted = plain_heights(cloud[:, 1], count, none=True)[nearest]
        ious = []
        for part in range(count):
            union = ((predicted == part) | (shape.labels == part)).sum()
            if union:
                ious.append(((predicted == part) & (shape.labels == part)).sum() / union)
        assert record["points"] == n
        assert record["miou"] == pytest.approx(np.mean(ious), abs=1e-9)
    values = [record["miou"] for record in results["shapes"]]
    assert results["summary"]["headline"] == {**results["summary"]["ciou"], "name": "ciou"}
    assert results["summary"]["headline"]["value"] == pytest.approx(np.mean(values))


def test_find3d_on_objaverse_gives_all_points_and_averages_over_shapes() -> None:
    rules = resolve("find3d", "objaverse")
    assert (rules.points, rules.replacement, rules.averaging) == (None, False, "shapes")
    assert (rules.unlabelled, rules.absent, rules.rotation) == ("zero", "union", "none")


def test_cops_scores_2048_points_of_all_that_it_gives(tmp_path: Path) -> None:
    """Against a plain computation: all points of a cloud are given; a part absent from both counts 1."""
    rng = np.random.default_rng(7)
    points = rng.random((5000, 3)).astype(np.float32)
    part = np.where(points[:, 1] < 0.3, 0, 1).astype(np.int32)
    names = np.array(["low", "high", "top", "never"])
    np.savez(tmp_path / "c.npz", points=points, labels=part, part_names=names, category="x")

    class Halves(Heights):
        def segment(self, shape: Shape, parts: Sequence[str], *, category: str | None) -> Segmentation:
            assert len(shape.points) == 5000
            labels = (points[:, 1] > 0.5).astype(np.int32) + (points[:, 1] > 0.95)
            return Segmentation(shape, list(parts), labels.astype(np.int32), np.full((5000, 4), 0.25, np.float32))

    record = evaluate(open_dataset("npz", tmp_path), Halves(), "cops")["shapes"][0]
    chosen = np.random.default_rng(shape_seed("c", 0)).choice(5000, 2048, replace=False)
    y, truth = points[chosen, 1], part[chosen]
    predicted = (y > 0.5).astype(int) + (y > 0.95)
    expected = [((predicted == k) & (truth == k)).sum() / ((predicted == k) | (truth == k)).sum() for k in range(3)]
    assert record["points"] == 2048
    assert record["iou"] == pytest.approx([*expected, 1.0], abs=1e-12)
    assert expected[2] == 0.0


def test_scan_points_of_other_things_are_left_out_or_kept(tmp_path: Path) -> None:
    table = np.zeros((5, 11), np.float32)
    table[:, :3] = np.random.default_rng(0).random((5, 3))
    table[:, 10] = [3, 3, 3, 1, 1]
    (tmp_path / "bed").mkdir()
    np.concatenate([[5], table.ravel()]).astype("<f4").tofile(tmp_path / "bed" / "s.bin")
    part = np.column_stack([np.zeros(5), [1, 2, 0, 0, 1]]).ravel()
    np.concatenate([[5], part]).astype("<f4").tofile(tmp_path / "bed" / "s_part.bin")
    (tmp_path / "split_new.txt").write_text("s.txt\t10\tt\n")
    dataset = open_dataset("scanobjectnn", tmp_path)
    assert len(prepare(dataset.load(0), resolve("pa3d", dataset.name, scene=True), dataset).truth) == 5
    case = prepare(dataset.load(0), resolve("patchalign3d", dataset.name), dataset)
    assert case.classes == ["sleep area", "frame", "background"]
    assert case.truth.tolist() == [0, 1, 2]


def test_names_of_other_categories_can_be_offered(tmp_path: Path) -> None:
    """All 50 parts of ShapeNetPart, which share names; what is no part of the category counts as none."""
    (tmp_path / "train_test_split").mkdir()
    (tmp_path / "synsetoffset2category.txt").write_text("Cap\t1\n")
    (tmp_path / "1").mkdir()
    points = np.random.default_rng(0).random((4, 3))
    np.savetxt(tmp_path / "1" / "a.txt", np.column_stack([points, np.zeros((4, 3)), [6, 6, 7, 7]]))
    (tmp_path / "train_test_split" / "shuffled_test_file_list.json").write_text('["shape_data/1/a"]')
    dataset = open_dataset("shapenetpart", tmp_path)
    case = prepare(dataset.load(0), resolve("pa3d", dataset.name, offered="dataset"), dataset)
    assert len(case.offered) == len(set(case.offered)) < 50
    assert [case.offered[i] for i in np.flatnonzero(case.class_of >= 0)] == ["brim", "crown"]

    class AlwaysBrim(Heights):
        def segment(self, shape: Shape, parts: Sequence[str], *, category: str | None) -> Segmentation:
            labels = np.array([parts.index("brim"), parts.index("wheel")] * 2, np.int32)
            return Segmentation(shape, list(parts), labels, np.full((4, len(parts)), 1 / len(parts), np.float32))

    found = predict(AlwaysBrim(), case)
    assert found.predicted.tolist() == [1, -1, 1, -1]


def test_a_class_of_unlabelled_points_never_doubles_a_part(chairs: Path, tmp_path: Path) -> None:
    content = dict(np.load(chairs / "0.npz"))
    np.savez(tmp_path / "0.npz", **{**content, "category": np.array("Blade")})
    dataset = open_dataset("npz", tmp_path)
    case = prepare(dataset.load(0), resolve("pa3d", "npz", unlabelled="category"), dataset)
    assert case.classes == ["blade", "handle"]
    assert (case.truth < 0).sum() == 10


# ---- methods ----


def test_the_zero_column_equals_logits_with_a_zero(chairs: Path, checkpoint: Checkpoint) -> None:
    points = open_dataset("npz", chairs).load(1).shape.points
    method = SegmenterMethod(checkpoint, assign="nearest")
    method.configure(resolve("find3d", "npz"))
    method.prompts = "part"
    names = ["seat", "back", "leg"]
    segmenter = Segmenter(checkpoint, threads=1)
    features = segmenter.encode(points)
    logits = features.features @ segmenter.embed_text(names).T / np.float32(0.07)
    # Random features point anywhere, so some patches like no name at all.
    logits = np.concatenate([logits, np.zeros((len(logits), 1))], axis=1)
    gap = ((features.points[:, None].astype(np.float64) - features.centers[None]) ** 2).sum(axis=2)
    at_points = logits[gap.argmin(axis=1)]
    expected = np.where(at_points.argmax(axis=1) == 3, -1, at_points.argmax(axis=1))
    result = method.segment(Shape(points), names)
    assert (expected < 0).sum() > 0
    np.testing.assert_array_equal(result.labels, expected)
    share = np.exp(at_points - at_points.max(axis=1, keepdims=True))
    np.testing.assert_allclose(result.scores, (share / share.sum(axis=1, keepdims=True))[:, :3], atol=1e-5)


def test_prompts_follow_the_protocol(chairs: Path, checkpoint: Checkpoint) -> None:
    """Each mode gives its own vectors, whatever the checkpoint's default is."""
    method = SegmenterMethod(checkpoint)
    vectors = {}
    for mode in ("part", "category", "ensemble"):
        evaluate(open_dataset("npz", chairs), method, "pa3d", prompts=mode, limit=1)
        assert method.prompts == mode
        vectors[mode] = method.embed(["blade"], "knife" if mode != "part" else None)
    assert not np.allclose(vectors["part"], vectors["category"])
    assert not np.allclose(vectors["ensemble"], vectors["category"])


def test_a_segmenter_is_evaluated_like_its_method(chairs: Path, checkpoint: Checkpoint) -> None:
    dataset = open_dataset("npz", chairs)
    assert evaluate(dataset, Segmenter(checkpoint)) == evaluate(dataset, SegmenterMethod(checkpoint))


def test_baselines_by_hand() -> None:
    shape = Shape(np.random.default_rng(0).random((8, 3)).astype(np.float32), name="s")
    truth = np.array([1, 1, 1, 0, 0, -1, -1, -1], np.int32)
    majority = Majority().segment(shape, ["a", "b", "c"], truth=truth)
    assert majority.labels.tolist() == [1] * 8
    assert majority.scores.tolist() == [[0, 1, 0]] * 8
    # As many patches as points, one point each: the ceiling knows every point.
    one = EncoderConfig(patches=8, patch_size=1, min_sq_norm=0)
    assert PatchCeiling(one).segment(shape, ["a", "b"], truth=truth).labels.tolist() == truth.tolist()
    # One patch of all points: three of five labelled points are b. With zeros four of eight are none.
    whole = EncoderConfig(patches=1, patch_size=8)
    assert PatchCeiling(whole).segment(shape, ["a", "b"], truth=truth).labels.tolist() == [1] * 8
    mostly_none = np.array([1, 1, 0, 0, -1, -1, -1, -1], np.int32)
    ceiling = PatchCeiling(whole)
    ceiling.configure(PROTOCOLS["find3d"])
    assert ceiling.segment(shape, ["a", "b"], truth=mostly_none).labels.tolist() == [-1] * 8
    many = Shape(np.random.default_rng(0).random((3000, 3)).astype(np.float32), name="s")
    guessed = Random().segment(many, ["a", "b", "c"])
    # Three standard deviations of a binomial count.
    assert (np.abs(np.bincount(guessed.labels) - 1000) < 3 * np.sqrt(3000 * 2 / 9)).all()
    again = Random().segment(many, ["a", "b", "c"])
    np.testing.assert_array_equal(guessed.labels, again.labels)


class Wrong(Heights):
    def segment(self, shape: Shape, parts: Sequence[str], *, category: str | None) -> Segmentation:
        result = super().segment(shape, parts, category=category)
        result.labels = result.labels[:-1]
        return result


def test_methods_that_cannot_be_scored_are_refused(chairs: Path) -> None:
    dataset = open_dataset("npz", chairs)
    with pytest.raises(InputError, match=r"none of 6 shapes could be scored; the first: 0: the method gave labels"):
        evaluate(dataset, Wrong())
    with pytest.raises(InputError, match="find3d needs a column of logit 0, which Heights cannot give"):
        evaluate(dataset, Heights(), "find3d")
    with pytest.raises(InputError, match="npz has no names common to all shapes"):
        evaluate(dataset, Heights(), offered="dataset")
    with pytest.raises(InputError, match="expected 0 or more"):
        evaluate(dataset, Heights(), workers=-1)


class Recorder(Heights):
    """Has every optional part of a method, and records what it is given."""

    needs_ground_truth = True

    def __init__(self) -> None:
        super().__init__()
        self.given: list[Any] = []

    def configure(self, protocol: Protocol) -> None:
        self.given.append(protocol.name)

    def prepare(self, label_sets: dict[str, list[str]]) -> None:
        self.given.append(label_sets)

    def ceiling(self) -> Heights:
        return Heights()

    def identity(self) -> dict[str, Any]:
        return {"name": "recorder", "size": 3}

    def segment(self, shape: Shape, parts: Sequence[str], category: str | None, truth: Array) -> Segmentation:  # type: ignore[override]
        assert len(truth) == len(shape.points)
        return super().segment(shape, parts, category=category)


def test_what_a_method_may_have(tmp_path: Path, chairs: Path) -> None:
    method = Recorder()
    results = evaluate(open_dataset("npz", chairs), method)
    assert method.given == ["pa3d", {}]
    assert results["method"] == {"name": "recorder", "size": 3}
    for record in results["shapes"]:
        assert record["baselines"]["oracle"] == record["miou"]
    method = Recorder()
    points = np.random.default_rng(0).random((40, 3)).astype(np.float32)
    np.savez(tmp_path / "a.npz", vertices=points, faces=np.arange(39).reshape(-1, 3), face_labels=np.arange(13) % 4,
             part_names=["arm", "head", "leg", "torso"], category="human")  # fmt: skip
    evaluate(open_dataset("faust", tmp_path), method, unlabelled="other")
    assert method.given == ["pa3d", {"human": ["arm", "head", "leg", "torso", "other"]}]


@pytest.mark.parametrize(
    ("result", "message"),
    [
        (None, "the method returned NoneType; expected an object with labels and scores"),
        (SimpleNamespace(labels=np.zeros(300), scores=np.ones((300, 2))), "gave labels of float64"),
        (SimpleNamespace(labels=np.zeros(300, int), scores=np.full((300, 2), np.nan)), "finite floating-point scores"),
        (
            SimpleNamespace(labels=np.zeros(300, int), scores=np.ones((300, 3))),
            r"scores \(300, 3\) for 300 points and 2",
        ),
        (SimpleNamespace(labels=np.full(300, 2), scores=np.ones((300, 2))), "expected one label in -1..parts-1"),
    ],
)
def test_results_that_cannot_be_scored(chairs: Path, result: object, message: str) -> None:
    method = SimpleNamespace(segment=lambda shape, parts, category: result)
    with pytest.raises(InputError, match=message):
        evaluate(open_dataset("npz", chairs), method, limit=1)  # type: ignore[arg-type]


def test_objects_that_are_no_methods(chairs: Path) -> None:
    with pytest.raises(InputError, match=r"dict has no method segment\(shape, parts, category\)"):
        evaluate(open_dataset("npz", chairs), {})  # type: ignore[arg-type]
    method = SimpleNamespace(segment=lambda shape, parts, category: None)
    with pytest.raises(InputError, match="cannot be sent to other processes"):
        evaluate(open_dataset("npz", chairs), method, workers=1)  # type: ignore[arg-type]


# ---- the run ----


def test_results_do_not_depend_on_workers_or_on_the_run(tmp_path: Path, chairs: Path, checkpoint: Checkpoint) -> None:
    dataset = open_dataset("npz", chairs)
    model = tmp_path / "tiny.safetensors"
    save(model, checkpoint)
    for name, workers in (("one", 1), ("again", 1), ("two", 2), ("none", 0)):
        evaluate(dataset, SegmenterMethod(model), out=tmp_path / name, workers=workers, rotations=1)
    first = (tmp_path / "one" / "results.json").read_bytes()
    for name in ("again", "two", "none"):
        assert (tmp_path / name / "results.json").read_bytes() == first
    assert b"seconds" not in first
    timings = json.loads((tmp_path / "two" / "timings.json").read_text())
    assert timings["scored"] == 6
    assert timings["workers"] == 2
    assert timings["cpu"] > 0
    for stage in ("read", "prepare", "method", "method.encode", "score", "baselines", "rotations"):
        assert timings["stages"][stage]["total"] > 0


def test_an_interrupted_run_goes_on_and_gives_the_same_file(tmp_path: Path, chairs: Path) -> None:
    dataset = open_dataset("npz", chairs)
    evaluate(dataset, Heights(), out=tmp_path / "whole")

    def interrupt(done: int, total: int) -> None:
        assert total == 6
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        evaluate(dataset, Heights(), out=tmp_path / "broken", progress=interrupt)
    records = tmp_path / "broken" / "records.jsonl"
    assert len(records.read_bytes().splitlines()) == 4
    assert not (tmp_path / "broken" / "results.json").exists()
    with records.open("ab") as file:
        file.write(b'{"index":3,"reco')  # cut off in the middle of a row
    method = Heights()
    evaluate(dataset, method, out=tmp_path / "broken")
    assert method.calls == 3
    whole = (tmp_path / "whole" / "results.json").read_bytes()
    assert (tmp_path / "broken" / "results.json").read_bytes() == whole
    method = Heights()
    evaluate(dataset, method, out=tmp_path / "broken")
    assert method.calls == 0
    evaluate(dataset, method, out=tmp_path / "broken", fresh=True)
    assert method.calls == 6
    assert (tmp_path / "broken" / "results.json").read_bytes() == whole
    with pytest.raises(InputError, match=r"holds another evaluation \(protocol differs\); choose another folder"):
        evaluate(dataset, Heights(), out=tmp_path / "broken", absent="one")


def test_broken_shapes_are_left_out_and_counted(tmp_path: Path, chairs: Path) -> None:
    for path in chairs.glob("*.npz"):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    healthy = (tmp_path / "2.npz").read_bytes()
    (tmp_path / "2.npz").write_bytes(b"PK\3\4 broken")
    out = tmp_path / "out"
    results = evaluate(open_dataset("npz", tmp_path), Heights(), out=out)
    assert results["summary"]["shapes"] == 5
    assert [row["id"] for row in results["failed"]] == ["2"]
    assert "2: cannot be read" in results["failed"][0]["reason"]
    assert "1 shapes could not be scored" in report_html(results, None)
    # Repaired, it alone is scored on the next run.
    (tmp_path / "2.npz").write_bytes(healthy)
    method = Heights()
    results = evaluate(open_dataset("npz", tmp_path), method, out=out)
    assert method.calls == 1
    assert (results["summary"]["shapes"], results["failed"]) == (6, [])


def test_limit_spreads_over_the_dataset(chairs: Path) -> None:
    results = evaluate(open_dataset("npz", chairs), Heights(), limit=3)
    assert [record["id"] for record in results["shapes"]] == ["0", "2", "5"]


@pytest.mark.parametrize("kind", ["yaw", "any"])
def test_rotations_are_fixed_and_proper(kind: str) -> None:
    matrices = np.array(rotation_matrices(5, kind, "y", seed=0))
    np.testing.assert_array_equal(matrices, rotation_matrices(5, kind, "-y", seed=0))
    np.testing.assert_array_equal(matrices, rotation_matrices(5, kind, "y", seed=0))
    np.testing.assert_allclose(
        matrices @ matrices.transpose(0, 2, 1), np.broadcast_to(np.eye(3), (5, 3, 3)), atol=1e-12
    )
    np.testing.assert_allclose(np.linalg.det(matrices), 1, atol=1e-12)
    up = np.array([0, 1, 0])
    kept = np.allclose(matrices @ up, up)
    assert kept == (kind == "yaw")
    with pytest.raises(InputError, match="expected yaw or any"):
        rotation_matrices(1, "roll", "y", 0)


def test_rotations_are_scored_for_themselves(chairs: Path) -> None:
    """A method that looks at heights does not care for yaw, and suffers from any other rotation."""
    dataset = open_dataset("npz", chairs)
    turned = evaluate(dataset, Heights(), rotations=2)
    for record in turned["shapes"]:
        assert record["rotated"] == [record["miou"]] * 2
    assert turned["summary"]["rotations"]["mean"] == pytest.approx(turned["summary"]["miou"]["value"])
    tumbled = evaluate(dataset, Heights(), rotations=2, rotation_kind="any")
    assert tumbled["summary"]["rotations"]["worst"] < turned["summary"]["miou"]["value"] - 0.1


def record(name: str, category: str, iou: list[float | None], parts: list[str]) -> dict[str, Any]:
    n = len(parts) + 1
    return {
        "id": name,
        "category": category,
        "parts": parts,
        "miou": float(np.mean([i for i in iou if i is not None])),
        "iou": iou,
        "boundary": 0.5,
        "accuracy": 0.75,
        "confusion": np.eye(n, dtype=int).tolist(),
        "calibration": [[4.0, 3.0, 2.0]],
        "baselines": {"oracle": 0.9, "majority": 0.3, "random": None},
    }


def test_averages_by_hand() -> None:
    records = [
        record("a", "Cap", [0.4, 0.8], ["crown", "brim"]),
        record("b", "Cap", [0.6, None], ["crown", "brim"]),
        record("c", "Mug", [0.9, 0.7], ["handle", "cup"]),
    ]
    summary = summarize(records, PROTOCOLS["pa3d"])
    assert summary["miou"]["value"] == pytest.approx((0.6 + 0.6 + 0.8) / 3)
    assert summary["ciou"]["value"] == pytest.approx((0.6 + 0.8) / 2)
    # Crown 0.5 and brim 0.8 in caps, handle 0.9 and cup 0.7 in mugs.
    assert summary["part_miou"]["value"] == pytest.approx((0.65 + 0.8) / 2)
    assert summary["headline"]["name"] == "miou"
    assert summary["calibration_error"] == pytest.approx(3 / 12)
    assert summary["baselines"]["oracle"] == pytest.approx({"miou": 0.9, "ciou": 0.9})
    assert summary["baselines"]["random"] == {"miou": None, "ciou": None}
    assert summarize(records, resolve("find3d", "npz"))["headline"]["value"] == summary["ciou"]["value"]
    by_category = categories(records)
    assert by_category["Cap"]["parts"]["brim"] == {"iou": 0.8, "shapes": 1}
    assert by_category["Cap"]["confusion"] == [[2, 0, 0], [0, 2, 0], [0, 0, 2]]


def test_compare_pairs_shapes(tmp_path: Path, chairs: Path) -> None:
    dataset = open_dataset("npz", chairs)
    evaluate(dataset, Heights(), out=tmp_path / "a")
    evaluate(dataset, Majority(), out=tmp_path / "b")
    a, b = (tmp_path / name / "results.json" for name in "ab")
    found = compare(a, b)
    first, second = (json.loads(path.read_text()) for path in (a, b))
    expected = second["summary"]["miou"]["value"] - first["summary"]["miou"]["value"]
    assert found["miou"]["difference"] == pytest.approx(expected)
    low, high = found["miou"]["interval"]
    assert low <= expected <= high < 0
    assert (found["worse"], found["better"], found["shapes"], found["unpaired"]) == (6, 0, 6, 0)
    assert compare(a, a)["miou"] == {"difference": 0.0, "interval": (0.0, 0.0)}
    second["shapes"].pop()
    second["method"]["name"] = "less"
    b.write_text(json.dumps(second))
    assert (compare(a, b)["shapes"], compare(a, b)["unpaired"]) == (5, 1)
    evaluate(dataset, Majority(), out=tmp_path / "c", absent="one")
    with pytest.raises(InputError, match=r"differ in protocol \(absent\)"):
        compare(a, tmp_path / "c" / "results.json")
    with pytest.raises(InputError, match="not written by this version"):
        (tmp_path / "d.json").write_text("{}")
        compare(a, tmp_path / "d.json")


# ---- command and report ----


def test_command(tmp_path: Path, chairs: Path, checkpoint: Checkpoint) -> None:
    model = tmp_path / "tiny.safetensors"
    save(model, checkpoint)
    out = tmp_path / "out"
    command = ["npz", "--root", str(chairs), "--model", str(model), "--out", str(out), "--limit", "2"]
    result = CliRunner().invoke(app, command, catch_exceptions=False)
    assert result.exit_code == 0
    assert "tiny on npz (test), protocol pa3d: 2 shapes, 0 left out" in result.output
    names = {path.name for path in out.iterdir()}
    assert names == {"records.jsonl", "results.json", "timings.json", "table.txt", "report.html"}
    page = (out / "report.html").read_text()
    for text in (
        "ceiling: ground-truth label per patch",
        "most frequent part",
        "uniform at random",
        "mIoU",
        "warm median",
    ):
        assert text in page
    assert page.count("data:image/png;base64,") == 3
    assert "http" not in page
    results = str(out / "results.json")
    compared = CliRunner().invoke(app, ["compare", results, results], catch_exceptions=False)
    assert "mIoU  +0.00  (+0.00 to +0.00)\ncIoU  +0.00\n" in compared.output
    summary = CliRunner().invoke(app, [*command, "--json", "--no-pictures"], catch_exceptions=False)
    assert json.loads(summary.stdout)["shapes"] == 2


def example_in_the_documentation() -> str:
    text = (Path(__file__).resolve().parents[1] / "docs" / "results.md").read_text()
    [code] = [block.split("```")[0] for block in text.split("```python\n")[1:]]
    return code


def pa3d_in(folder: Path, *args: object) -> subprocess.CompletedProcess[str]:
    """pa3d as from the shell, in a folder: heights.py there is not on Python's own path."""
    code = "import sys; sys.path.remove(''); from pa3d.cli import main; sys.exit(main())"
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[1])}
    command = [sys.executable, "-c", code, *map(str, args)]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)


def test_the_method_in_the_documentation(tmp_path: Path, chairs: Path) -> None:
    """Exactly as docs/results.md shows it: saved in a folder, and named on the command line there."""
    (tmp_path / "heights.py").write_text(example_in_the_documentation())
    command = ("eval", "npz", "--root", chairs, "--method", "heights:Heights", "-o", "out", "--no-pictures")
    done = pa3d_in(tmp_path, *command)
    assert done.returncode == 0, done.stderr
    assert "Heights on npz (test), protocol pa3d: 6 shapes, 0 left out" in done.stdout
    results = json.loads((tmp_path / "out" / "results.json").read_text())
    assert results["method"] == {"name": "Heights"}
    # The parts of these shapes are slices of equal height.
    assert results["summary"]["miou"]["value"] > 0.95


OUTSIDE = """
class Heights:
    def segment(self, shape, parts, category):
        raise OSError("no such model")

class Sized:
    def __init__(self, size):
        pass

class Nothing:
    pass
"""


def test_methods_that_cannot_be_found(
    tmp_path: Path, chairs: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    Path("outside_methods.py").write_text(OUTSIDE)
    Path("broken_method.py").write_text("import missing_package")
    Path("wrong_method.py").write_text("1 / 0")
    for name, message in {
        "median": f"--method median: expected one of {', '.join(METHODS)}, or a class as package.module:Class",
        "a:b:C": "--method a:b:C: expected package.module:Class, such as",
        "no_such_package.module:C": "there is no module no_such_package; install it, or run pa3d in the folder",
        "outside_methods.more:C": "there is no module outside_methods.more;",
        "broken_method:C": "broken_method cannot be imported (No module named 'missing_package')",
        "wrong_method:C": "wrong_method cannot be imported (ZeroDivisionError: division by zero)",
        "outside_methods:Height": "outside_methods has no class Height; its classes with a method segment: Heights",
        "outside_methods:Sized": "Sized() failed (TypeError: ",
        "outside_methods:Nothing": "Nothing has no method segment(shape, parts, category)",
        "outside_methods:Heights": "--method outside_methods:Heights failed: OSError: no such model",
    }.items():
        assert main(["eval", "npz", "--root", str(chairs), "--method", name, "-o", "out"]) == 2
        err = capsys.readouterr().err
        assert message in err and err.count("\n") == 1
        assert not Path("out", "results.json").exists()


def test_the_help_names_all_methods() -> None:
    assert "|".join(METHODS) + "|MODULE:CLASS" in CliRunner().invoke(app, ["run", "--help"]).output


def test_names_are_escaped_in_the_report(chairs: Path, tmp_path: Path) -> None:
    content = dict(np.load(chairs / "1.npz"))
    hostile = {"part_names": np.array(["<b>", "a&b", "leg"]), "category": np.array("<script>x</script>")}
    np.savez(tmp_path / "1.npz", **{**content, **hostile})
    page = report_html(evaluate(open_dataset("npz", tmp_path), Heights()), None)
    assert "<script>" not in page
    assert "&lt;script&gt;" in page
    assert "a&amp;b" in page


def test_the_command_is_light_to_import() -> None:
    """`pa3d segment` must not pay for it."""
    code = "import sys, pa3d.cli.evaluate; print(sorted({'numpy', 'torch', 'rich'} & set(sys.modules)))"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "numpy" not in ran.stdout
    assert "torch" not in ran.stdout


def test_real_shapes_have_the_ceilings_of_128_patches(shared: Path) -> None:
    """128 patches leave about 5 points of 100 on people and 10 on caps; the floors are far below."""
    for name, folder, low in (("faust", "faust", 0.90), ("shapenetpart", "shapenetpart", 0.85)):
        dataset = open_dataset(name, shared / "data" / "eval" / folder)
        summary = evaluate(dataset, PatchCeiling(), limit=5)["summary"]
        assert low < summary["baselines"]["oracle"]["miou"] == summary["miou"]["value"] < 0.99
        assert summary["baselines"]["majority"]["miou"] < 0.5
        assert summary["baselines"]["random"]["miou"] < 0.4
