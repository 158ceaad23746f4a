"""The whole forward pass, a million points to labels, and `segment` on 50,000 faces, warm and from a cold start."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from _common import (
    MATRIX_FLOP,
    QUICK,
    THREADS,
    TORCH_VARIANTS,
    Race,
    Run,
    check,
    cut,
    encoder_flop,
    matrix_product,
    measure,
    native_precisions,
    official_checkpoint,
    random_cloud,
    torch_variants,
)
from _stages import LEAST_COSINE, NATIVE

from pa3d import _C
from pa3d.checkpoint import EMBEDDED, save
from pa3d.config import EncoderConfig
from pa3d.native import NativeEncoder
from pa3d.ops import farthest_point_sample_reference, interpolate_reference, knn_reference
from pa3d.ops.group import gather
from pa3d.segment import Segmenter
from pa3d.shape import Shape

LOWER_LEVELS = ["pa3d fp32, AVX2", "pa3d fp32, generic"]
PRODUCTS = {"oneDNN product fp32": "float32", "oneDNN product bf16": "bfloat16"}
SMOOTH = "pa3d fp32, three centres"
PARTS = ["handle", "body", "lid", "spout", "base"]
MILLION = 100_000 if QUICK else 1_000_000
CHUNK = 65_536


def at_level(level: str, run: Run) -> Run:
    def pinned() -> object:
        before = _C.isa()
        _C.set_isa(level)
        try:
            return run()
        finally:
            _C.set_isa(before)

    return pinned


@cache
def encoding() -> Race:
    checkpoint, points = official_checkpoint(), random_cloud(2048)
    work = encoder_flop(checkpoint.config)
    variants = torch_variants(checkpoint, lambda module: module, *cut(points, checkpoint.config))

    def whole(call: Callable[..., torch.Tensor]) -> Run:
        return lambda: call(*cut(points, checkpoint.config))

    runs = {name: whole(call) for name, call in variants.items()}
    expected = runs["torch eager fp32"]()[0].numpy()  # type: ignore[index]
    ours: dict[str, Run] = {}
    for precision in native_precisions():
        encoder = NativeEncoder(checkpoint, precision, THREADS)
        cosine = np.einsum("gd,gd->g", encoder(points).features, expected)
        check(cosine.min() > LEAST_COSINE[precision], f"{precision} differs from torch: cosine {cosine.min():.5f}")
        ours[f"pa3d {precision}"] = lambda encoder=encoder: encoder(points)
    for name, level in zip(LOWER_LEVELS, ("avx2", "generic"), strict=True):
        if _C.set_isa(level):
            encoder = NativeEncoder(checkpoint, "fp32", THREADS)
            check(np.abs(encoder(points).features - expected).max() < 1e-4, f"{level} differs from torch")
            ours[name] = at_level(level, lambda encoder=encoder: encoder(points))
        _C.set_isa(_C.best_isa())
    products = {name: matrix_product(dtype) for name, dtype in PRODUCTS.items()}
    amounts = {name: (work, "bf16" if "bf16" in name or "int8" in name else "fp32") for name in [*ours, *runs]}
    amounts |= {name: (MATRIX_FLOP, name[-4:]) for name in products}
    return Race("encode 2048 points, batch 1", {**ours, **runs, **products}, amounts)


def text_vectors() -> np.ndarray:
    vectors = np.random.default_rng(3).standard_normal((len(PARTS), 1280)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


@cache
def labelling() -> Race:
    """Labels by the nearest centre, as in the paper. The reference path is the torch module with plain tensor code
    around it; its encoder sees the same points.
    """
    checkpoint, points, vectors = official_checkpoint(), random_cloud(MILLION), text_vectors()
    c = checkpoint.config
    segmenters = {name: Segmenter(checkpoint, precision=name[5:], threads=THREADS) for name in NATIVE}
    used = torch.from_numpy(segmenters["pa3d fp32"].encode(points, sample=2048).points)[None]
    first = cut(used[0].numpy(), c)
    model = torch_variants(checkpoint, lambda module: module, *first, compiled=False)["torch eager fp32"]
    cloud, text = torch.from_numpy(points), torch.from_numpy(vectors)

    def reference() -> tuple[torch.Tensor, torch.Tensor]:
        center = cloud.double().mean(0)
        radius = (cloud - center).norm(dim=1).max()
        at = ((cloud - center) / radius).float()[:, [0, 2, 1]].contiguous()
        centers = gather(used, farthest_point_sample_reference(used, c.patches, min_sq_norm=c.min_sq_norm))
        members = knn_reference(centers, used, c.patch_size)[0]
        patches = gather(used, members.reshape(1, -1)).reshape(1, c.patches, c.patch_size, 3) - centers[:, :, None]
        logits = model(patches, centers)[0] @ text.T / checkpoint.temperature
        logits = torch.cat([interpolate_reference(chunk, centers[0], logits) for chunk in at.split(CHUNK)])
        return logits.argmax(1), logits.softmax(1)

    runs: dict[str, Run] = {
        name: lambda segmenter=segmenter: segmenter.segment(points, PARTS, text_vectors=vectors, assign="nearest")
        for name, segmenter in segmenters.items()
    }
    runs[SMOOTH] = lambda: segmenters["pa3d fp32"].segment(points, PARTS, text_vectors=vectors, assign="smooth")
    same = runs["pa3d fp32"]().labels == reference()[0].numpy()  # type: ignore[attr-defined]
    check(same.mean() > 0.99, f"labels agree with the reference path's on {same.mean():.2%}")
    return Race(f"{MILLION} points to labels, {len(PARTS)} parts", {**runs, "torch reference path": reference})


def bumpy_ball(n: int = 158) -> Shape:
    """2 n^2 faces."""
    rows, columns = np.linspace(0.01, np.pi - 0.01, n + 1), np.arange(n) * 2 * np.pi / n
    latitude, longitude = np.meshgrid(rows, columns, indexing="ij")
    r = 1 - 0.25 * np.sin(5 * longitude) ** 2 * np.sin(latitude)
    x, y, z = np.sin(latitude) * np.cos(longitude), np.cos(latitude), np.sin(latitude) * np.sin(longitude)
    vertices = np.stack([r * x, r * y, r * z], -1).reshape(-1, 3).astype(np.float32)
    i, j = (a.ravel() for a in np.meshgrid(np.arange(n), np.arange(n), indexing="ij"))
    a, b = i * n + j, i * n + (j + 1) % n
    faces = np.concatenate([np.c_[a, b, b + n], np.c_[a, b + n, a + n]]).astype(np.int32)
    return Shape(vertices, faces, name="bumpy ball")


@cache
def embedded_model() -> Path:
    """The embedded checkpoint, or one of its sizes with random weights where it is not there."""
    if EMBEDDED.is_file():
        return EMBEDDED
    from tiny import random_checkpoint

    path = Path(tempfile.mkdtemp(prefix="pa3d-bench-")) / "random.safetensors"
    save(path, random_checkpoint(EncoderConfig(128, 32, 256, 4, 4, 1024, (64, 128, 256, 256), 128, 384)))
    return path


@cache
def warm() -> Race:
    shape, model = bumpy_ball(), embedded_model()
    runs = {}
    for name in NATIVE:
        segmenter = Segmenter.from_pretrained(model, precision=name[5:], threads=THREADS)
        result = segmenter.segment(shape, PARTS)
        check(result.face_labels is not None and len(result.face_labels) == len(shape.faces), "faces without labels")
        runs[name] = lambda segmenter=segmenter: segmenter.segment(shape, PARTS)
    return Race("segment a mesh of 50,000 faces, warm", runs)


@cache
def cold() -> Race:
    """One process per call, with an empty cache of text vectors. The start of Python is a row for comparison."""
    import trimesh

    folder = Path(tempfile.mkdtemp(prefix="pa3d-bench-"))
    shape = bumpy_ball()
    trimesh.Trimesh(shape.points, shape.faces, process=False).export(folder / "ball.glb")
    command = [sys.executable, "-m", "pa3d.cli", "segment", str(folder / "ball.glb"), "--parts", ", ".join(PARTS)]
    command += ["--model", str(embedded_model()), "--no-pictures", "--quiet", "-o", str(folder / "out")]

    def run() -> None:
        with tempfile.TemporaryDirectory() as cache_folder:
            subprocess.run(command, check=True, env={**os.environ, "PA3D_CACHE": cache_folder})

    run()
    with np.load(folder / "out" / "labels.npz") as labels:
        check(len(labels[labels.files[0]]) > 0, "no labels were written")
    numpy = [sys.executable, "-c", "import numpy"]
    runs = {"pa3d segment --no-pictures": run, "python -c 'import numpy'": lambda: subprocess.run(numpy, check=True)}
    return Race("segment a mesh of 50,000 faces, cold start", runs)


RACES = {
    encoding: [*NATIVE, *LOWER_LEVELS, *TORCH_VARIANTS, *PRODUCTS],
    labelling: [*NATIVE, SMOOTH, "torch reference path"],
    warm: NATIVE,
    cold: ["pa3d segment --no-pictures", "python -c 'import numpy'"],
}


@pytest.mark.parametrize(
    ("make", "competitor"),
    [
        pytest.param(make, competitor, id=f"{make.__name__}-{competitor}")
        for make, competitors in RACES.items()
        for competitor in competitors
    ],
)
def test_segment(benchmark: object, make: Callable[[], Race], competitor: str) -> None:
    race = make()
    if competitor not in race.runs:
        pytest.skip("not on this machine, or left out of a quick run")
    measure(benchmark, race, competitor)
