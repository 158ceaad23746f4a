"""Segmenter: the contracts of its results, with a small checkpoint of random weights."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from clouds import cloud
from tiny import TINY, random_checkpoint, write_tiny

import pa3d
from pa3d.checkpoint import EMBEDDED, Checkpoint
from pa3d.config import ASSIGN
from pa3d.errors import InputError
from pa3d.segment import PatchFeatures, Segmentation, Segmenter
from pa3d.shape import Shape

PARTS = ["seat", "back", "leg"]


@pytest.fixture(scope="module")
def segmenter() -> Segmenter:
    return Segmenter(random_checkpoint(TINY))


@pytest.fixture(scope="module")
def vectors() -> np.ndarray:
    x = np.random.default_rng(5).standard_normal((3, 384)).astype(np.float32)
    return x / np.linalg.norm(x, axis=1, keepdims=True)


def torus(rings: int = 24, sides: int = 12) -> Shape:
    u, v = np.meshgrid(np.arange(rings), np.arange(sides), indexing="ij")
    a, b = 2 * np.pi * u / rings, 2 * np.pi * v / sides
    r = 1 + 0.3 * np.cos(b)
    points = np.stack([r * np.cos(a), 0.3 * np.sin(b) + 0.2, r * np.sin(a)], axis=2).reshape(-1, 3)
    at = lambda i, j: (i % rings) * sides + j % sides  # noqa: E731
    quads = [(at(u, v), at(u + 1, v), at(u + 1, v + 1)), (at(u, v), at(u + 1, v + 1), at(u, v + 1))]
    faces = np.concatenate([np.stack(q, axis=2).reshape(-1, 3) for q in quads])
    return Shape(points.astype(np.float32), faces.astype(np.int32), name="torus")


def equal(a: Segmentation, b: Segmentation) -> bool:
    pairs = [
        (a.labels, b.labels),
        (a.scores, b.scores),
        (a.face_labels, b.face_labels),
        (a.face_scores, b.face_scores),
    ]
    return all(x is y is None or x.tobytes() == y.tobytes() for x, y in pairs)


def softmax(x: np.ndarray) -> np.ndarray:
    e = np.exp(x - x.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def test_a_mesh(segmenter: Segmenter) -> None:
    shape = torus()
    r = segmenter.segment(shape, PARTS)
    n, f = len(shape.points), len(shape.faces)
    assert r.part_names == PARTS and r.shape is shape and r.model == "tiny"
    assert r.labels.shape == (n,) and r.labels.dtype == np.int32
    assert r.scores.shape == (n, 3) and r.scores.dtype == np.float32
    assert r.face_labels.shape == (f,) and r.face_scores.shape == (f, 3)
    for labels, scores in ((r.labels, r.scores), (r.face_labels, r.face_scores)):
        assert (scores >= 0).all() and np.allclose(scores.sum(axis=1), 1, atol=1e-6)
        assert np.array_equal(labels, scores.argmax(axis=1))
    assert {"load", "text", "points", "encode", "label"} <= r.timings.keys()
    assert all(seconds >= 0 for seconds in r.timings.values())
    assert r.settings["sample"] == 2048 and r.settings["up"] == "y" and r.settings["precision"] == "fp32"


def test_a_cloud(segmenter: Segmenter) -> None:
    points = cloud("random", 5000)
    r = segmenter.segment(points, PARTS)
    assert r.labels.shape == (5000,) and r.scores.shape == (5000, 3)
    assert r.face_labels is None and r.face_scores is None
    assert equal(r, segmenter.segment(points.astype(np.float64), PARTS))
    assert equal(r, segmenter.segment(points.tolist(), PARTS))
    assert equal(r, segmenter.segment(Shape(points), PARTS))


def test_a_file(segmenter: Segmenter, tmp_path: Path) -> None:
    points = cloud("random", 300)
    np.save(tmp_path / "points.npy", points)
    for path in (tmp_path / "points.npy", str(tmp_path / "points.npy")):
        assert equal(segmenter.segment(path, PARTS), segmenter.segment(points, PARTS))


def test_faces_are_labelled_at_their_centroids(segmenter: Segmenter) -> None:
    shape = torus()
    r = segmenter.segment(shape, PARTS, assign="nearest", refine=False)
    centroids = shape.points[shape.faces].mean(axis=1, dtype=np.float64).astype(np.float32)
    used = shape.sample(2048, 0)[0]
    center = used.mean(axis=0, dtype=np.float64)
    radius = np.linalg.norm(used - center, axis=1).max()
    f = segmenter.encode(used)
    at = ((centroids - center) / radius)[:, [0, 2, 1]]
    nearest = ((at[:, None] - f.centers) ** 2).sum(axis=2).argmin(axis=1)
    assert (segmenter.query(f, PARTS)[nearest].argmax(axis=1) == r.face_labels).mean() > 0.999


def test_none_of_these(segmenter: Segmenter) -> None:
    points = cloud("random", 3000)
    r = segmenter.segment(points, PARTS)
    best = r.scores.max(axis=1)
    threshold = float(np.median(best))
    t = segmenter.segment(points, PARTS, none=threshold)
    assert np.array_equal(t.scores, r.scores)
    assert np.array_equal(t.labels, np.where(best < threshold, -1, r.labels))
    assert 0 < (t.labels == -1).sum() < 3000
    assert equal(segmenter.segment(points, PARTS, none=0), r)
    alone = segmenter.segment(points, ["seat"], none=1.0)
    assert (alone.labels == 0).all() and (alone.scores == 1).all()


def test_repeatable(segmenter: Segmenter) -> None:
    mesh, points = torus(), cloud("random", 5000)
    for source in (mesh, points):
        first = segmenter.segment(source, PARTS)
        assert equal(first, segmenter.segment(source, PARTS))
        assert equal(first, segmenter.segment(source, PARTS, seed=0))
        assert not np.array_equal(first.scores, segmenter.segment(source, PARTS, seed=1).scores)
        assert equal(first, Segmenter(random_checkpoint(TINY)).segment(source, PARTS))


def test_one_thread_and_two_give_the_same() -> None:
    one, two = (Segmenter(random_checkpoint(TINY), threads=threads) for threads in (1, 2))
    points = cloud("random", 20_000)
    a, b = one.encode(points, sample=2048), two.encode(points, sample=2048)
    for name in ("centers", "members", "tokens", "features", "points"):
        assert getattr(a, name).tobytes() == getattr(b, name).tobytes()
    for source in (points, torus()):
        assert equal(one.segment(source, PARTS), two.segment(source, PARTS))


def test_threads_of_the_process_change_nothing(tmp_path: Path) -> None:
    """As above, through OMP_NUM_THREADS, which also rules numpy's BLAS, from text to labels."""
    model = write_tiny(tmp_path / "model.safetensors")
    np.save(tmp_path / "points.npy", cloud("random", 9000))
    code = (
        "import sys, hashlib, pa3d; m, p = sys.argv[1:]; "
        "r = pa3d.Segmenter.from_pretrained(m).segment(p, ['seat', 'back'], assign='smooth'); "
        "print(hashlib.sha256(r.labels.tobytes() + r.scores.tobytes()).hexdigest())"
    )
    digests = set()
    for threads in ("1", "2"):
        env = {
            "OMP_NUM_THREADS": threads,
            "OPENBLAS_NUM_THREADS": threads,
            "PA3D_CACHE": str(tmp_path / threads),
        }
        command = [sys.executable, "-c", code, str(model), str(tmp_path / "points.npy")]
        done = subprocess.run(command, capture_output=True, text=True, env={"PATH": "/usr/bin:/bin", **env}, check=True)
        digests.add(done.stdout)
    assert len(digests) == 1


def test_four_python_threads_at_once(segmenter: Segmenter) -> None:
    sources: list[Any] = [cloud("random", 3000, seed) for seed in range(6)] + [torus()]
    expected = [segmenter.segment(source, PARTS) for source in sources]
    with ThreadPoolExecutor(4) as pool:
        jobs = [(i % len(sources), pool.submit(segmenter.segment, sources[i % len(sources)], PARTS)) for i in range(40)]
        assert all(equal(job.result(), expected[i]) for i, job in jobs)


def test_the_first_query_may_come_from_several_threads() -> None:
    fresh, points = Segmenter(random_checkpoint(TINY)), cloud("random", 500)
    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(lambda _: fresh.segment(points, PARTS), range(4)))
    assert all(equal(r, results[0]) for r in results)


def test_up_axes(segmenter: Segmenter) -> None:
    """Whatever axis points up, it is the model's third."""
    points = cloud("random", 3000) * np.float32([1, 2, 0.5])
    center = points.mean(axis=0, dtype=np.float64)
    unit = (points - center) / np.linalg.norm(points - center, axis=1).max()
    for up, axes in {"x": [1, 2, 0], "y": [0, 2, 1], "z": [0, 1, 2]}.items():
        assert np.allclose(segmenter.encode(points, up=up).points, unit[:, axes], atol=1e-6)
    as_y = segmenter.segment(points, PARTS, sample=None)  # which points are drawn depends on the axes
    swapped = np.ascontiguousarray(points[:, [0, 2, 1]])
    as_z = segmenter.segment(swapped, PARTS, up="z", sample=None)
    assert np.array_equal(as_z.labels, as_y.labels) and as_z.settings["up"] == "z"
    assert equal(segmenter.segment(Shape(swapped, up="z"), PARTS, sample=None), as_z)


def test_position_and_size_do_not_matter(segmenter: Segmenter) -> None:
    points = cloud("grid", 3000)
    moved = points * np.float32(64) + np.float32([128, -64, 32])  # exact in float32
    assert np.array_equal(segmenter.segment(points, PARTS).labels, segmenter.segment(moved, PARTS).labels)


def test_encode(segmenter: Segmenter) -> None:
    points = cloud("random", 4000)
    f = segmenter.encode(points)
    assert isinstance(f, PatchFeatures)
    assert f.centers.shape == (128, 3) and f.members.shape == (128, 32)
    assert f.tokens.shape == (128, 64) and f.features.shape == (128, 384)
    assert np.allclose(np.linalg.norm(f.features, axis=1), 1, atol=1e-6)
    assert f.points.shape == (4000, 3)
    assert np.linalg.norm(f.points, axis=1).max() == pytest.approx(1, abs=1e-6)
    assert np.allclose(f.points.mean(axis=0), 0, atol=1e-6)
    assert np.array_equal(f.centers, f.points[f.members[:, 0]])
    center = points.mean(axis=0, dtype=np.float64)
    expected = ((points - center) / np.linalg.norm(points - center, axis=1).max())[:, [0, 2, 1]]
    assert np.allclose(f.points, expected, atol=1e-6)


def test_another_number_of_patches(vectors: np.ndarray) -> None:
    """The same weights: as many patches as asked for, precisions unchecked, every point labelled."""
    checkpoint = replace(random_checkpoint(TINY), precisions=("bf16",))
    more = Segmenter(checkpoint, patches=TINY.patches + 7)
    points = cloud("random", 300)
    assert more.encode(points).features.shape[0] == TINY.patches + 7
    assert more.precision == "fp32" and more.checkpoint.precisions == ()
    assert len(more.segment(points, PARTS, text_vectors=vectors).labels) == len(points)
    same = Segmenter(checkpoint, patches=TINY.patches)
    assert same.checkpoint is checkpoint
    np.testing.assert_array_equal(same.encode(points).features, Segmenter(checkpoint).encode(points).features)
    for wrong in (0, -1, 5000, 2.5, True):
        with pytest.raises(InputError, match="expected an integer from 1 to 4096"):
            Segmenter(checkpoint, patches=wrong)  # type: ignore[arg-type]


def test_encode_a_sample(segmenter: Segmenter) -> None:
    points = cloud("random", 4000)
    some = segmenter.encode(points, sample=1000)
    assert some.points.shape == (1000, 3)
    assert some.points.tobytes() == segmenter.encode(points, sample=1000, seed=0).points.tobytes()
    others = [segmenter.encode(points, sample=1000, seed=seed).points.tobytes() for seed in range(1, 12)]
    assert {some.points.tobytes()} < set(others)  # every fourth point is drawn: there are four samples
    assert segmenter.encode(points, sample=4000).points.tobytes() == segmenter.encode(points).points.tobytes()
    assert segmenter.encode(points, sample=9999).points.shape == (4000, 3)
    raw = segmenter.encode(points, normalize=False).points
    assert np.array_equal(raw, points[:, [0, 2, 1]])
    drawn = segmenter.encode(points, sample=1000, normalize=False).points
    assert len({tuple(p) for p in drawn.tolist()} & {tuple(p) for p in raw.tolist()}) == 1000


def test_query(segmenter: Segmenter, vectors: np.ndarray) -> None:
    f = segmenter.encode(cloud("random", 2048))
    text = segmenter.embed_text(PARTS)
    assert text.shape == (3, 384) and np.allclose(np.linalg.norm(text, axis=1), 1, atol=1e-6)
    scores = segmenter.query(f, PARTS)
    assert scores.shape == (128, 3)
    assert np.allclose(scores, softmax(f.features.astype(np.float64) @ text.T / 0.07), atol=1e-5)
    assert np.array_equal(segmenter.query(f, PARTS[::-1]).argmax(axis=1), 2 - scores.argmax(axis=1))
    given = segmenter.query(f, PARTS, text_vectors=vectors)
    assert np.allclose(given, softmax(f.features.astype(np.float64) @ vectors.T / 0.07), atol=1e-5)
    assert not np.allclose(text, segmenter.embed_text(PARTS, category="chair"), atol=1e-3)
    assert np.allclose(segmenter.query(f, PARTS, text_vectors=text), scores, atol=1e-5)


def test_text_vectors_stand_in_for_the_text_encoder(vectors: np.ndarray) -> None:
    nowhere = Segmenter(random_checkpoint(TINY, text_space="open_clip/none/none"))
    points = cloud("random", 500)
    r = nowhere.segment(points, PARTS, text_vectors=vectors)
    longer = nowhere.segment(points, PARTS, text_vectors=(4 * vectors).tolist())
    assert np.allclose(r.scores, longer.scores, atol=1e-5)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (np.ones((2, 384)), r"text_vectors have shape \(2, 384\), expected \(3, 384\): one row per part"),
        (np.ones((3, 1280)), r"text_vectors have shape \(3, 1280\), expected \(3, 384\).*all-MiniLM-L6-v2"),
        (np.ones(384), r"text_vectors have shape \(384,\)"),
        (np.zeros((3, 384)), "text_vectors: NaN, infinite or zero rows"),
        (np.full((3, 384), np.nan), "text_vectors: NaN, infinite or zero rows"),
        ([["a"] * 384] * 3, "text_vectors: not numbers"),
        ([[1.0], [1.0, 2.0], [1.0]], "text_vectors: not numbers"),
    ],
)
def test_text_vector_errors(segmenter: Segmenter, given: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        segmenter.segment(cloud("random", 50), PARTS, text_vectors=given)


@pytest.mark.parametrize("assign", ASSIGN)
@pytest.mark.parametrize("n", [150, 3000])
def test_assign_modes(segmenter: Segmenter, vectors: np.ndarray, assign: Any, n: int) -> None:
    """Each way to assign, computed again from the patches in float64."""
    points = cloud("random", n)
    r = segmenter.segment(points, PARTS, text_vectors=vectors, assign=assign, sample=None, refine=False)
    f = segmenter.encode(points)
    logits = f.features.astype(np.float64) @ vectors.T.astype(np.float64) / 0.07
    distance = np.linalg.norm(f.points[:, None].astype(np.float64) - f.centers, axis=2)
    order = np.argsort(distance, axis=1, kind="stable")
    nearest = logits[order[:, 0]]
    if assign == "nearest":
        expected = nearest
    elif assign == "smooth":
        three = order[:, :3]
        weights = 1 / (np.take_along_axis(distance, three, axis=1) + 1e-8)
        expected = (weights[..., None] * logits[three]).sum(axis=1) / weights.sum(axis=1)[:, None]
    else:
        patches = [[g for g in range(128) if i in f.members[g]] for i in range(n)]
        assert n == 150 or any(not mine for mine in patches)
        expected = np.stack([logits[mine].mean(axis=0) if mine else nearest[i] for i, mine in enumerate(patches)])
    assert np.allclose(r.scores, softmax(expected), atol=2e-4)
    assert (r.labels == expected.argmax(axis=1)).mean() > 0.998


@pytest.mark.parametrize("assign", ASSIGN)
def test_clouds_of_few_points(segmenter: Segmenter, assign: Any) -> None:
    for n in (*range(2, 40), 63, 64, 65, 127, 128, 129, 200):
        r = segmenter.segment(cloud("random", n), PARTS, assign=assign)
        assert r.labels.shape == (n,) and np.allclose(r.scores.sum(axis=1), 1, atol=1e-6)
    with pytest.raises(InputError, match="all 1 points are equal; a shape needs an extent"):
        segmenter.segment(cloud("random", 1), PARTS, assign=assign)


@pytest.mark.parametrize("kind", ["duplicated", "collinear", "planar", "grid"])
def test_degenerate_clouds(segmenter: Segmenter, kind: str) -> None:
    r = segmenter.segment(cloud(kind, 1000), PARTS)
    assert np.isfinite(r.scores).all() and r.labels.min() >= 0


def test_coordinates_of_any_size(segmenter: Segmenter) -> None:
    points = cloud("grid", 500)
    expected = segmenter.segment(points, PARTS).labels
    for scale in (2.0**-60, 2.0**60):
        assert np.array_equal(segmenter.segment(points * np.float32(scale), PARTS).labels, expected)


def test_every_vertex_of_a_mesh(segmenter: Segmenter) -> None:
    shape = torus()
    r = segmenter.segment(shape, PARTS, sample=None, refine=False)
    assert np.array_equal(r.labels, segmenter.segment(shape.points, PARTS, sample=None, refine=False).labels)


def test_a_million_points(segmenter: Segmenter) -> None:
    points = cloud("random", 1_000_000)
    for assign in ASSIGN:
        r = segmenter.segment(points, PARTS, assign=assign)
        assert r.labels.shape == (1_000_000,) and np.isfinite(r.scores).all()
    assert segmenter.encode(points).members.max() < 1_000_000


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sample": 0}, "sample is 0; expected an integer of at least 1"),
        ({"sample": 2.5}, "sample is 2.5"),
        ({"assign": "best"}, "assign is 'best'; expected one of nearest, membership, smooth"),
        ({"none": 1.5}, "none is 1.5; expected a probability between 0 and 1"),
        ({"none": float("nan")}, "none is nan"),
        ({"up": "w"}, "up is 'w'; expected x, y, z, -x, -y, -z or auto"),
        ({"parts": []}, "no part names; give at least one"),
        ({"parts": "seat"}, "part names are a string"),
        ({"parts": ["seat", "Seat"]}, "part name 'seat' is given twice"),
        ({"parts": ["seat", " ?! "]}, "is empty without its punctuation"),
        ({"parts": ["seat", 3]}, "part name 3 is not text"),
        ({"category": ""}, "category '' is empty"),
        ({"seed": -1}, r"seed is -1; expected an integer from 0 to 2\*\*64 - 1"),
    ],
)
def test_option_errors(segmenter: Segmenter, options: dict[str, Any], message: str) -> None:
    for source in (cloud("random", 3000), torus()):
        with pytest.raises(InputError, match=message):
            segmenter.segment(source, **{"parts": PARTS, **options})


@pytest.mark.parametrize(
    ("points", "message"),
    [
        (np.zeros((0, 3)), "points: no points"),
        (np.zeros((5, 2)), r"points: points have shape \(5, 2\); expected \(N, 3\)"),
        (np.zeros((5, 3)), "all 5 points are equal"),
        ([[0, 0, 0], [1, np.nan, 0]], "1 of 2 points have NaN or infinite coordinates"),
        ([[0, 0, 0], [1, 1e39, 0]], "1 of 2 points have NaN or infinite coordinates"),
        ([["a", "b", "c"]], "points: not numbers"),
        ([[1, 2], [1, 2, 3]], "points: not numbers"),
        (None, "points"),
    ],
)
def test_point_errors(segmenter: Segmenter, points: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        segmenter.segment(points, PARTS)
    with pytest.raises(InputError, match=message):
        segmenter.encode(points)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"precision": "fp8"}, "precision 'fp8' is not one of auto, fp32, bf16"),
        ({"threads": 0}, "threads is 0; expected an integer of at least 1"),
        ({"threads": 1.5}, "threads is 1.5"),
        ({"device": "abacus"}, "device 'abacus'"),
    ],
)
def test_construction_errors(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Segmenter(random_checkpoint(TINY), **options)


def test_cached_vectors_need_no_openclip(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from pa3d.text import openclip, part_prompts, text_encoder
    from pa3d.text.cache import VectorCache

    def not_installed() -> tuple[Any, Any]:
        raise InputError("OpenCLIP text needs torch")

    monkeypatch.setenv("PA3D_CACHE", str(tmp_path))
    monkeypatch.delenv("PA3D_OPENCLIP_WEIGHTS", raising=False)
    monkeypatch.setattr(openclip, "_libraries", not_installed)
    checkpoint = random_checkpoint(TINY, text_space="open_clip/ViT-B-32/some-tag")
    encoder = text_encoder(checkpoint.text_space)
    cache = VectorCache(encoder.space, encoder.revision)  # type: ignore[attr-defined]
    vectors = np.eye(2, TINY.text_dim, dtype=np.float32)
    for name, vector in zip(("seat", "back"), vectors, strict=True):
        cache.put(part_prompts(name), vector)
    segmenter = Segmenter(checkpoint)
    np.testing.assert_array_equal(segmenter.embed_text(["seat", "back"]), vectors)
    with pytest.raises(InputError, match="OpenCLIP text needs torch"):
        segmenter.embed_text(["seat", "leg"])


def test_a_text_space_that_does_not_fit() -> None:
    from dataclasses import replace

    segmenter = Segmenter(random_checkpoint(replace(TINY, text_dim=100)))
    with pytest.raises(InputError, match="has 100 dimensions, but its text encoder all-MiniLM-L6-v2 gives 384"):
        segmenter.segment(cloud("random", 50), PARTS)


def test_bf16_where_the_processor_has_it() -> None:
    from pa3d import _C

    if not _C.supports("bf16"):
        with pytest.raises(InputError, match="precision bf16 needs AVX-512"):
            Segmenter(random_checkpoint(TINY), precision="bf16")
        return
    points = cloud("random", 3000)
    low, full = (Segmenter(random_checkpoint(TINY), precision=p).segment(points, PARTS) for p in ("bf16", "fp32"))
    assert low.settings["precision"] == "bf16" and (low.labels == full.labels).mean() > 0.95


def test_from_pretrained(tmp_path: Path) -> None:
    path = write_tiny(tmp_path / "model.safetensors")
    for given in (path, str(path)):
        segmenter = Segmenter.from_pretrained(given)
        assert isinstance(segmenter.checkpoint, Checkpoint) and segmenter.precision == "fp32"
    assert segmenter.segment(cloud("random", 100), PARTS).model == "model"


@pytest.mark.skipif(not EMBEDDED.exists(), reason="the embedded weights are not in this tree")
def test_the_embedded_model() -> None:
    r = pa3d.Segmenter.from_pretrained().segment(torus(), PARTS, category="chair")
    assert r.part_names == PARTS and np.allclose(r.scores.sum(axis=1), 1, atol=1e-6)


def test_importing_and_segmenting_never_import_torch(tmp_path: Path) -> None:
    model = write_tiny(tmp_path / "model.safetensors")
    code = (
        "import sys, pa3d; assert 'numpy' not in sys.modules; "
        f"seg = pa3d.Segmenter.from_pretrained({str(model)!r}); "
        "seg.segment([[0, 0, 0], [1, 2, 3], [3, 1, 0]], ['a', 'b']); "
        "print(sorted({'torch', 'trimesh', 'plotly', 'PIL', 'scipy', 'matplotlib'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
