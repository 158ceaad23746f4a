"""The ONNX graph in onnxruntime against pa3d: centres equal, features within 1e-4, labels equal."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from clouds import KINDS, cloud
from numpy.typing import NDArray
from official import official_state
from tiny import TINY, calibrated_checkpoint, random_checkpoint, random_lexicon, write_tiny

from pa3d.checkpoint import OFFICIAL_SPACE, OFFICIAL_TEMPERATURE, Checkpoint, load
from pa3d.cli import main
from pa3d.config import EncoderConfig
from pa3d.errors import InputError
from pa3d.onnx_export import OPSET, build_model, export_onnx
from pa3d.segment import Segmenter

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")

FEATURE_TOLERANCE = 1e-4
LABELS_EQUAL = 0.999
NAMES = ["seat", "back", "leg", "arm"]
Floats = NDArray[np.float32]


def session(model: Any) -> Any:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    data = str(model) if isinstance(model, Path) else model.SerializeToString()
    return onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])


def run(model: Any, **inputs: Any) -> dict[str, NDArray[Any]]:
    opened = model if hasattr(model, "get_outputs") else session(model)
    return dict(zip((output.name for output in opened.get_outputs()), opened.run(None, inputs), strict=True))


def unit_rows(count: int, dim: int, seed: int = 5) -> Floats:
    rows = np.random.default_rng(seed).standard_normal((count, dim))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def official_checkpoint() -> Checkpoint:
    """The published architecture with random weights."""
    state = official_state()
    tensors = {name: value for part in state.values() for name, value in part.items()}
    tensors = {name: value for name, value in tensors.items() if not name.endswith("num_batches_tracked")}
    return Checkpoint(EncoderConfig(), tensors, OFFICIAL_SPACE, OFFICIAL_TEMPERATURE, name="official")


@dataclass
class Pair:
    """A graph with scores and the segmenter that it was exported from."""

    graph: Any
    segmenter: Segmenter
    vectors: Floats

    def check(self, points: Floats, up: str = "y") -> None:
        out = run(self.graph, points=points, text_vectors=self.vectors)
        encoded = self.segmenter.encode(points, up=up)
        shown = self.segmenter.segment(points, NAMES, text_vectors=self.vectors, sample=None, up=up, refine=False)
        assert np.array_equal(out["centers"], encoded.centers)
        assert np.abs(out["features"] - encoded.features).max() <= FEATURE_TOLERANCE
        assert (out["labels"] == shown.labels).mean() >= LABELS_EQUAL
        assert np.abs(out["scores"] - shown.scores).max() < 1e-3 and out["labels"].dtype == np.int32


@cache
def pair(kind: str) -> Pair:
    checkpoint = {
        "embedded": load,
        "official": official_checkpoint,
        "tiny": lambda: random_checkpoint(TINY),
    }[kind]()
    segmenter = Segmenter(checkpoint, precision="fp32", threads=1)
    graph = session(build_model(checkpoint, scores=True))
    return Pair(graph, segmenter, unit_rows(len(NAMES), checkpoint.config.text_dim))


def fifty_clouds() -> Iterator[tuple[str, Floats]]:
    """Of 500 to 20,000 points: five kinds in six sizes, and some of them moved, scaled, stretched or already normal."""
    sizes = (500, 777, 2048, 5000, 8192, 20000)
    for kind in KINDS:
        for n in sizes:
            yield f"{kind} {n}", cloud(kind, n)
    for n, kind in zip((500, 2048, 6000, 20000), KINDS, strict=False):
        base = cloud(kind, n, seed=1)
        yield f"far away {kind} {n}", base + np.float32([1e4, -3e3, 5])
        yield f"tiny {kind} {n}", base * np.float32(1e-20)
        yield f"huge {kind} {n}", base * np.float32(1e18)
        yield f"flat {kind} {n}", base * np.float32([1, 1e-3, 1])
    grid = np.stack(np.meshgrid(*[np.arange(12)] * 3, indexing="ij"), -1).reshape(-1, 3).astype(np.float32)
    yield "integer grid", grid
    yield "centred grid", (grid - 5.5) / np.float32(5.5 * 3**0.5)  # is normalised already, up to rounding
    sphere = np.random.default_rng(3).standard_normal((3000, 3))
    sphere /= np.linalg.norm(sphere, axis=1, keepdims=True)
    yield "normalised sphere", np.concatenate([sphere, -sphere]).astype(np.float32)
    yield "two clusters", np.concatenate([cloud("random", 600), cloud("random", 600, 2) + np.float32(1e3)])


def test_there_are_fifty() -> None:
    clouds = dict(fifty_clouds())
    assert len(clouds) == 50 and all(500 <= len(points) <= 20000 for points in clouds.values())
    assert all(points.dtype == np.float32 for points in clouds.values())


@pytest.mark.slow
@pytest.mark.parametrize("architecture", ["embedded", "official"])
def test_fifty_clouds(architecture: str) -> None:
    for name, points in fifty_clouds():
        try:
            pair(architecture).check(points)
        except AssertionError as error:
            raise AssertionError(f"{name}: {error}") from error


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("n", [50, 700])
def test_a_few_clouds(kind: str, n: int) -> None:
    pair("tiny").check(cloud(kind, n))


@pytest.mark.parametrize("n", [2, 3, 31, 32, 33, 127, 128, 129])
def test_clouds_smaller_than_the_patches(n: int) -> None:
    pair("tiny").check(cloud("random", n))


@pytest.mark.parametrize("n", [500, 2048, 9000])
def test_points_with_many_ties(n: int) -> None:
    """Points of a coarse lattice, in any order: most distances occur many times, and so do most points."""
    lattice = np.random.default_rng(n).integers(0, 5, (n, 3)).astype(np.float32)
    pair("tiny").check(lattice)


@pytest.mark.parametrize("up", ["x", "y", "z", "-x", "-y", "-z"])
def test_up_axes(up: str) -> None:
    checkpoint = random_checkpoint(TINY)
    segmenter = Segmenter(checkpoint, precision="fp32")
    graph = session(build_model(checkpoint, up=up, scores=True))
    Pair(graph, segmenter, unit_rows(len(NAMES), TINY.text_dim)).check(cloud("random", 400), up)


@pytest.mark.parametrize("assign", ["nearest", "smooth"])
@pytest.mark.parametrize(("patches", "patch_size", "min_sq_norm"), [(2, 5, 0.0), (1, 1, 1e-3), (40, 64, 0.5)])
def test_other_sizes(assign: str, patches: int, patch_size: int, min_sq_norm: float) -> None:
    """With 0.5, most points are no centres; with fewer than three patches, `smooth` takes those that there are."""
    config = replace(TINY, patches=patches, patch_size=patch_size, min_sq_norm=min_sq_norm)
    checkpoint = replace(random_checkpoint(config), assign=assign)
    graph = session(build_model(checkpoint, scores=True))
    made = Pair(graph, Segmenter(checkpoint, precision="fp32"), unit_rows(len(NAMES), TINY.text_dim))
    for n in (20, 300):
        made.check(cloud("random", n))


def test_several_threads_and_no_optimization() -> None:
    """Neither changes the order of the arithmetic that decides about centres."""
    model, points = build_model(random_checkpoint(TINY)), cloud("random", 6000)
    expected = run(model, points=points)["centers"]
    for threads, level in ((2, "ORT_ENABLE_ALL"), (1, "ORT_DISABLE_ALL")):
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.graph_optimization_level = getattr(onnxruntime.GraphOptimizationLevel, level)
        found = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        assert np.array_equal(found.run(["centers"], {"points": points})[0], expected)


@pytest.mark.parametrize("n", [20, 3000])
def test_centers_and_members_as_inputs(n: int) -> None:
    """What pa3d_encode of the C library returns, from the same points."""
    segmenter, points = pair("tiny").segmenter, cloud("random", n)
    model = build_model(segmenter.checkpoint, inputs="centers", scores=True)
    assert not [node for node in model.graph.node if node.op_type == "Loop"]
    encoded, vectors = segmenter.encode(points), pair("tiny").vectors
    out = run(model, points=points, centers=encoded.centers, members=encoded.members, text_vectors=vectors)
    shown = segmenter.segment(points, NAMES, text_vectors=vectors, sample=None, refine=False)
    assert np.abs(out["features"] - encoded.features).max() <= FEATURE_TOLERANCE
    assert (out["labels"] == shown.labels).mean() >= LABELS_EQUAL and sorted(out) == ["features", "labels", "scores"]


def test_names_in_the_graph() -> None:
    segmenter, points = pair("tiny").segmenter, cloud("random", 300)
    vectors = segmenter.embed_text(NAMES)
    model = build_model(segmenter.checkpoint, part_names=NAMES, text_vectors=vectors)
    out = run(model, points=points)
    assert (out["labels"] == segmenter.segment(points, NAMES, sample=None, refine=False).labels).mean() >= LABELS_EQUAL
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    assert json.loads(metadata["part_names"]) == NAMES and metadata["text_space"] == "all-MiniLM-L6-v2"
    assert run(model, points=points, text_vectors=vectors[:2])["scores"].shape == (300, 2)  # other names


def test_vectors_need_not_be_unit() -> None:
    made, points = pair("tiny"), cloud("random", 300)
    scaled = made.vectors * np.float32([[3], [0.5], [1e-3], [100]])
    expected = run(made.graph, points=points, text_vectors=made.vectors)["scores"]
    assert np.allclose(run(made.graph, points=points, text_vectors=scaled)["scores"], expected, atol=1e-6)


@pytest.mark.parametrize("inputs", ["points", "centers"])
@pytest.mark.parametrize("scores", [False, True])
def test_only_standard_operators(inputs: str, scores: bool) -> None:
    model = build_model(random_checkpoint(TINY), inputs=inputs, scores=scores)
    onnx.checker.check_model(model, full_check=True)
    assert [(entry.domain, entry.version) for entry in model.opset_import] == [("", OPSET)]
    assert {node.domain for node in model.graph.node} == {""}
    outputs = [output.name for output in model.graph.output]
    assert outputs == ["centers"] * (inputs == "points") + ["features"] + ["scores", "labels"] * scores


def test_float16_only_where_nothing_is_lost() -> None:
    """The embedded weights come from float16: their file is half as large, and gives the same features."""
    from onnx import numpy_helper

    checkpoint = load()
    half = {w.name: numpy_helper.to_array(w) for w in build_model(checkpoint).graph.initializer}
    name = "blocks.blocks.0.mlp.fc1.weight"
    assert half[name].dtype == np.float16 and np.array_equal(half[name], checkpoint.tensors[name])
    full = {w.name: numpy_helper.to_array(w) for w in build_model(random_checkpoint(TINY)).graph.initializer}
    assert full[name].dtype == np.float32


def test_the_same_model_gives_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a.onnx", "b.onnx"):
        export_onnx(tmp_path / name, random_checkpoint(TINY), scores=True)
    assert (tmp_path / "a.onnx").read_bytes() == (tmp_path / "b.onnx").read_bytes()


@dataclass
class NewerCheckpoint(Checkpoint):
    """As a later version may have it: a setting that changes results."""

    sharpen: float = 0.0
    table: NDArray[np.float32] | None = None


def test_settings_that_the_graph_does_not_have() -> None:
    plain = NewerCheckpoint(**vars(random_checkpoint(TINY)))
    assert build_model(plain).graph.output
    for changes in ({"sharpen": 0.5}, {"table": np.zeros(3, np.float32)}):
        with pytest.raises(
            InputError, match=f"checkpoint tiny: the ONNX graph does not have its {next(iter(changes))}"
        ):
            build_model(replace(plain, **changes))


def test_arguments_that_cannot_be_used(monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoint = random_checkpoint(TINY)
    vectors = unit_rows(2, 384)
    cases: list[tuple[dict[str, Any], str]] = [
        ({"up": "w"}, "up is 'w'; expected x, y, z"),
        ({"inputs": "faces"}, "inputs is 'faces'; expected points or centers"),
        ({"scores": True, "assign": "membership"}, "assign is 'membership'; the ONNX graph has nearest and smooth"),
        ({"part_names": NAMES}, "part_names and text_vectors belong together"),
        ({"part_names": NAMES, "text_vectors": vectors}, r"shape \(2, 384\), expected \(4, 384\): one row per part"),
        ({"part_names": ["a", "b"], "text_vectors": 0 * vectors}, "NaN, infinite or zero rows"),
    ]
    for arguments, message in cases:
        with pytest.raises(InputError, match=message):
            build_model(checkpoint, **arguments)
    with pytest.raises(InputError, match="assign is 'membership'"):
        build_model(replace(checkpoint, assign="membership"), scores=True)
    assert build_model(replace(checkpoint, assign="membership")).graph.output  # it has no labels
    monkeypatch.setitem(__import__("sys").modules, "onnx", None)
    with pytest.raises(InputError, match=r"install it with pip install 'pa3d\[onnx\]'"):
        build_model(checkpoint)


def test_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    write_tiny(Path("tiny.safetensors"))
    segmenter, points = Segmenter.from_pretrained("tiny.safetensors", precision="fp32"), cloud("random", 300)
    expected = segmenter.segment(points, ["seat", "leg"], category="chair", sample=None, up="z", refine=False).labels
    assert main(["embed-text", "names.safetensors", "--parts", "leg, seat", "--category", "chair", "-q"]) == 0
    common = ["--model", "tiny.safetensors", "--parts", "seat, leg", "--category", "chair", "--up", "z"]
    assert main(["export", "a.onnx", *common]) == 0
    out, err = capsys.readouterr()
    assert out.startswith("a.onnx: ") and out.endswith(" MB, text space all-MiniLM-L6-v2\n") and err == ""
    assert main(["export", "b.onnx", *common, "--text-vectors", "names.safetensors", "-q"]) == 0
    for name in ("a.onnx", "b.onnx"):
        assert (run(Path(name), points=points)["labels"] == expected).mean() >= LABELS_EQUAL
    assert main(["export", "c.onnx", "--model", "tiny.safetensors", "--patches", "16", "-q"]) == 0
    assert run(Path("c.onnx"), points=points)["centers"].shape == (16, 3)
    for arguments, message in (
        (["x.txt"], "x.txt: expected a name that ends in .onnx"),
        (["x.onnx", "--inputs", "faces"], "--inputs faces: expected one of points, centers"),
        (["x.onnx", "--up", "w"], "--up w: expected one of x, y, z"),
        (["x.onnx", "--assign", "membership"], "--assign membership: expected one of nearest, smooth"),
        (["x.onnx", "--category", "chair"], "belong to --parts; give the names, too"),
    ):
        assert main(["export", *arguments]) == 2
        assert message in capsys.readouterr().err and not list(tmp_path.glob("x.*"))


def with_strays(n: int, seed: int = 0) -> Floats:
    """A sphere, a chain and a patch of five points beside it, and strays: alone, in pairs, in fours, far away."""
    rng = np.random.default_rng([n, seed])
    sphere = rng.standard_normal((n, 3))
    sphere /= np.linalg.norm(sphere, axis=1, keepdims=True)
    gap = 4 / n**0.5  # a little more than the distance between neighbours
    chain = [[1 + gap * i, 0, 0] for i in range(12)]
    groups = [
        center + gap / 2 * rng.standard_normal((size, 3))
        for size, center in zip((1, 2, 3, 4, 5, 1), 3 * rng.standard_normal((6, 3)), strict=True)
    ]
    points = np.concatenate([sphere, chain, *groups, [[1e3, 0, 0]], sphere[:20]])
    return points[rng.permutation(len(points))].astype(np.float32)


@pytest.mark.parametrize("kind", [*KINDS, "strays"])
@pytest.mark.parametrize("n", [10, 31, 32, 40, 400, 2500])
def test_outliers(kind: str, n: int) -> None:
    """The points that the graph leaves out are those of pa3d."""
    from pa3d.onnx_export.graph import Graph
    from pa3d.onnx_export.outliers import keep_points
    from pa3d.ops import find_outliers

    for factor in (1.0, 3.0):
        g = Graph()
        g.output("keep", keep_points(g, g.input("points", np.float32, "N", 3), factor), np.bool_, "N")
        opened = session(g.model({}))
        for seed in range(3):
            points = with_strays(n, seed) if kind == "strays" else cloud(kind, n, seed)
            assert np.array_equal(run(opened, points=points)["keep"], ~find_outliers(points, factor))


@pytest.mark.parametrize("inputs", ["points", "centers"])
def test_outliers_and_levels(inputs: str) -> None:
    """A checkpoint with both: its centres are those without the strays, and its names are levelled."""
    from pa3d.ops import find_outliers

    bank = np.random.default_rng(2).integers(-127, 128, (200, TINY.text_dim)).astype(np.int8)
    lexicon = random_lexicon(80, TINY.text_dim)
    checkpoint = replace(random_checkpoint(TINY), outliers=3.0, bank=bank, lexicon=lexicon)
    segmenter, points = Segmenter(checkpoint, precision="fp32"), with_strays(600)
    outlier = find_outliers(points, 3.0)
    assert 5 < outlier.sum() < 20
    vectors = unit_rows(len(NAMES), TINY.text_dim)
    encoded = segmenter.encode(points)
    members = np.flatnonzero(~outlier)[encoded.members]
    more = {} if inputs == "points" else {"centers": encoded.centers, "members": members}
    out = run(build_model(checkpoint, inputs=inputs, scores=True), points=points, text_vectors=vectors, **more)
    shown = segmenter.segment(points, NAMES, text_vectors=vectors, sample=None, refine=False)
    assert inputs == "centers" or np.array_equal(out["centers"], encoded.centers)
    assert np.abs(out["features"] - encoded.features).max() <= FEATURE_TOLERANCE
    assert np.abs(out["scores"] - shown.scores).max() < 1e-3
    assert (out["labels"] == shown.labels).mean() >= LABELS_EQUAL and len(out["labels"]) == len(points)
    for without in ({"bank": None}, {"lexicon": None}):
        plain = run(build_model(replace(checkpoint, **without), scores=True), points=points, text_vectors=vectors)
        assert np.abs(out["scores"] - plain["scores"]).max() > 0.01


def test_words_that_are_read_on_the_shape() -> None:
    """Known words, those near to texts, and strangers: the graph reads them as pa3d does, by what each cloud is."""
    checkpoint = calibrated_checkpoint()
    assert checkpoint.lexicon is not None
    texts = checkpoint.lexicon.rows.astype(np.float32)
    noise = np.random.default_rng(0).standard_normal(texts.shape[1]).astype(np.float32)
    vectors = np.stack([texts[5], texts[10] + 70 * noise, texts[30] - 60 * noise, noise])
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    graphs = {}
    for name, other in (("kinds", checkpoint), ("without", replace(checkpoint, kinds=None))):
        graphs[name] = session(build_model(other, scores=True))
    for kind, n in (("random", 300), ("planar", 900), ("sphere", 40)):
        points = cloud(kind, n)
        shown = Segmenter(checkpoint, precision="fp32").segment(
            points, NAMES[:4], text_vectors=vectors, sample=None, refine=False
        )
        out = run(graphs["kinds"], points=points, text_vectors=vectors)
        assert np.abs(out["scores"] - shown.scores).max() < 1e-3
        assert (
            np.abs(out["scores"] - run(graphs["without"], points=points, text_vectors=vectors)["scores"]).max() > 0.01
        )


@pytest.mark.slow
def test_words_that_the_embedded_model_never_saw() -> None:
    from pa3d.data.creatures import synthesize_creature

    segmenter, words = Segmenter(load(), precision="fp32"), ["skull", "trunk", "upper limb", "lower limb", "foot"]
    vectors, graph = segmenter.embed_text(words), pair("embedded").graph
    for seed in range(3):
        points = np.ascontiguousarray(synthesize_creature("human", seed, 2048).points)
        shown = segmenter.segment(points, words, sample=None, refine=False)
        out = run(graph, points=points, text_vectors=vectors)
        assert np.abs(out["scores"] - shown.scores).max() < 1e-3
        assert (out["labels"] == shown.labels).mean() >= LABELS_EQUAL


@pytest.mark.parametrize("n", [2, 30, 99, 150, 249, 250, 1000])
@pytest.mark.parametrize("inputs", ["points", "centers"])
def test_passes(n: int, inputs: str) -> None:
    """Of a model that encodes 100 points at a time: every size is right, whatever number of passes it needs."""
    checkpoint = replace(random_checkpoint(TINY), config=replace(TINY, pass_points=100))
    points = cloud("random", n)
    encoded = Segmenter(checkpoint, precision="fp32").encode(points)
    more = {} if inputs == "points" else {"centers": encoded.centers, "members": encoded.members}
    out = run(_passes_model(inputs), points=points, text_vectors=unit_rows(len(NAMES), TINY.text_dim), **more)
    assert inputs == "centers" or np.array_equal(out["centers"], encoded.centers)
    assert np.abs(out["features"] - encoded.features).max() <= FEATURE_TOLERANCE
    assert out["labels"].shape == (n,)


@cache
def _passes_model(inputs: str) -> Any:
    checkpoint = replace(random_checkpoint(TINY), config=replace(TINY, pass_points=100))
    return build_model(checkpoint, inputs=inputs, scores=True)
