"""The operations as torch sees them: registered, traceable, differentiable."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from pa3d import ops  # noqa: E402
from pa3d.cameras import Cameras  # noqa: E402
from pa3d.config import EncoderConfig  # noqa: E402
from pa3d.model import Encoder  # noqa: E402
from pa3d.ops._library import OPS  # noqa: E402
from pa3d.ops._torch import ops as nodes  # noqa: E402
from pa3d.ops.attention import patch_attention, patch_attention_reference  # noqa: E402
from pa3d.ops.backproject import backproject  # noqa: E402
from pa3d.ops.rasterize import rasterize, rasterize_points  # noqa: E402

TINY = EncoderConfig(8, 4, dim=32, depth=2, heads=2, mlp_hidden=48, embed=(8, 16, 24, 16), pos_hidden=8)


def cloud(*shape: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.randn(*shape, 3, generator=torch.Generator().manual_seed(sum(shape)), dtype=dtype)


def indices(*shape: int, below: int) -> torch.Tensor:
    return torch.randint(0, below, shape, generator=torch.Generator().manual_seed(sum(shape)))


def heads(dtype: torch.dtype, *shape: int) -> list[torch.Tensor]:
    made = torch.randn(3, *shape, generator=torch.Generator().manual_seed(5), dtype=dtype)
    return [x.clone().requires_grad_() for x in made]


def mesh() -> tuple[torch.Tensor, torch.Tensor]:
    return cloud(12), torch.arange(12, dtype=torch.int32).reshape(4, 3)


def view() -> tuple[torch.Tensor]:
    return (torch.from_numpy(Cameras.preset("around10")[:2].view),)


def images() -> tuple[torch.Tensor, torch.Tensor]:  # tokens of two views, points of their pixels
    generator = torch.Generator().manual_seed(3)
    pixels = torch.randint(-1, 6, (2, 9, 11), generator=generator, dtype=torch.int32)
    return torch.randn(2, 3, 4, 5, generator=generator), pixels


@pytest.fixture(autouse=True)
def fresh_graphs() -> None:
    torch._dynamo.reset()


CASES: dict[str, tuple[Any, Callable[[], tuple[Any, ...]]]] = {
    "farthest_point_sample": (nodes.farthest_point_sample, lambda: (cloud(2, 20), 5, 1, 1e-3)),
    "farthest_point_sample without a batch": (nodes.farthest_point_sample, lambda: (cloud(20), 5)),
    "knn": (nodes.knn, lambda: (cloud(2, 6), cloud(2, 20), 4)),
    "sample_and_group": (nodes.sample_and_group, lambda: (cloud(2, 20), 5, 4, 0, 0.0)),
    "sample_and_group of too few": (nodes.sample_and_group, lambda: (cloud(1, 3), 5, 7)),
    "group": (
        nodes.group,
        lambda: (cloud(2, 9).requires_grad_(), indices(2, 3, below=9), indices(2, 3, 4, below=9)),
    ),
    "interpolate 1": (nodes.interpolate, lambda: (cloud(11), cloud(5), cloud(5).requires_grad_(), 1)),
    "interpolate 3": (nodes.interpolate, lambda: (cloud(11), cloud(5), cloud(5).requires_grad_(), 3)),
    "rasterize": (nodes.rasterize, lambda: (*mesh(), *view(), 40.0, 1.05, 0.01, 9, 11)),
    "rasterize without weights": (nodes.rasterize, lambda: (*mesh(), *view(), None, 1.05, 0.01, 9, 11, False)),
    "rasterize_points": (
        nodes.rasterize_points,
        lambda: (cloud(20), torch.full((20,), 0.1), *view(), 40.0, 1.05, 0.01, 9, 11),
    ),
    "backproject": (nodes.backproject, lambda: (*images(), 6)),
    "backproject bfloat16": (nodes.backproject, lambda: (images()[0].bfloat16(), images()[1], 6, "nearest", True)),
    "patch_attention": (nodes.patch_attention, lambda: tuple(heads(torch.float32, 2, 3, 9, 16))),
    "patch_attention bfloat16": (nodes.patch_attention, lambda: tuple(torch.ones(3, 1, 2, 5, 8).bfloat16())),
}


def test_every_declared_operation_is_checked():
    checked = {op._qualified_op_name for op, _ in CASES.values()} | {"pa3d::patch_attention_backward"}
    declared = {f"pa3d::{one.schema.partition('(')[0]}" for one in OPS}
    assert checked == declared and len(declared) == 10


@pytest.mark.parametrize("case", CASES)
def test_opcheck(case: str):
    op, arguments = CASES[case]
    torch.library.opcheck(op.default, arguments())


def test_opcheck_of_the_attention_backward():
    q, k, v = (x.detach() for x in heads(torch.float32, 2, 3, 9, 16))
    out, stats = nodes.patch_attention(q, k, v)
    torch.library.opcheck(nodes.patch_attention_backward.default, (torch.ones_like(out), q, k, v, out, stats))


def test_gradients_against_finite_differences():
    wide = torch.float64
    points, centers = cloud(9, dtype=wide), cloud(5, dtype=wide)
    values = cloud(5, dtype=wide).requires_grad_()
    for k in (1, 3):
        assert torch.autograd.gradcheck(lambda v, k=k: nodes.interpolate(points, centers, v, k), values)
    index, members = indices(2, 3, below=7), indices(2, 3, 4, below=7)
    assert torch.autograd.gradcheck(lambda p: nodes.group(p, index, members), cloud(2, 7, dtype=wide).requires_grad_())
    assert torch.autograd.gradcheck(lambda *x: nodes.patch_attention(*x)[0], heads(wide, 1, 2, 5, 4))


@pytest.mark.parametrize("k", [1, 3])
def test_interpolate_gradient_equals_that_of_the_reference(k: int):
    points, centers, values = cloud(50), cloud(7), cloud(7).requires_grad_()
    grad = cloud(50)
    for result in (ops.interpolate(points, centers, values, k), nodes.interpolate(points, centers, values, k)):
        expected = ops.interpolate_reference(points, centers, values, k)
        ours, theirs = (torch.autograd.grad(x, values, grad)[0] for x in (result, expected))
        assert torch.allclose(ours, theirs, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("backend", ["native", "reference"])
def test_what_has_no_gradient_has_none_on_any_backend(backend: str, monkeypatch: pytest.MonkeyPatch):
    """Distances of neighbours are constants, and so are the weights that interpolation makes of them."""
    monkeypatch.setenv("PA3D_BACKEND", backend)
    points, queries, values = (cloud(n).requires_grad_() for n in (9, 4, 9))
    constants = values.detach()
    found = [
        ops.knn(queries, points, 3)[1],
        torch.compile(lambda q, p: ops.knn(q, p, 3)[1], fullgraph=True, backend="aot_eager")(queries, points),
        ops.interpolate(queries, points, constants, 3),
        rasterize(points, mesh()[1][:3], Cameras.preset("front"), 9).depth,
        backproject(images()[0].requires_grad_(), images()[1], 6)[0],
    ]
    assert not any(x.requires_grad for x in found)
    out = ops.interpolate(queries, points, values, 3)
    grads = torch.autograd.grad(out.sum(), (queries, points, values), allow_unused=True)
    assert grads[0] is None and grads[1] is None and grads[2].abs().sum() > 0
    _, squared = nodes.knn(queries, points, 3)
    assert not squared.requires_grad and torch.equal(squared, found[0])


@pytest.mark.parametrize("t", [1, 33, 129])
def test_attention_op_against_float64(t: int):
    """Error of values and gradients: at most twice that of the plain float32 version."""
    results = []
    for attention, dtype in (
        (lambda *x: nodes.patch_attention(*x)[0], torch.float32),
        (patch_attention_reference, torch.float32),
        (patch_attention_reference, torch.float64),
    ):
        leaves = [x.detach().to(dtype).requires_grad_() for x in heads(torch.float32, 1, 6, t, 16)]
        out = attention(*leaves)
        results.append([out, *torch.autograd.grad(out.square().sum(), leaves)])
    for actual, plain, exact in zip(*results, strict=True):
        ours, theirs = ((x.double() - exact).square().mean().sqrt() for x in (actual, plain))
        # the gradients of a single token's q and k are differences of equal numbers of this size
        rounding = torch.finfo(torch.float32).eps * 8.0
        assert ours <= max(2 * theirs, rounding)


@pytest.mark.parametrize("numpy", [False, True])
def test_patch_attention_function(numpy: bool):
    q, k, v = (x.detach() for x in heads(torch.float32, 2, 3, 9, 16))
    expected = torch.nn.functional.scaled_dot_product_attention(q.double(), k.double(), v.double())
    out = patch_attention(*(x.numpy() if numpy else x for x in (q, k, v)))
    assert torch.allclose(torch.as_tensor(out).double(), expected, atol=1e-5)


def test_patch_attention_errors_by_name():
    q = torch.zeros(1, 2, 3, 4)
    with pytest.raises(ValueError, match=r"k: expected shape \(1, 2, 3, 4\), got \(1, 2, 4, 4\)"):
        patch_attention(q, torch.zeros(1, 2, 4, 4), q)
    with pytest.raises(TypeError, match="v: expected float32 or bfloat16 or float16, got float64"):
        patch_attention(q, q, q.double())
    with pytest.raises(ValueError, match=r"q: expected shape \(B, H, T, D\)"):
        patch_attention(q[0], q[0], q[0])
    with pytest.raises(TypeError, match="q: expected a numpy array or a torch tensor, got list"):
        patch_attention([0], q, q)
    with pytest.raises(ValueError, match="q on cpu, k on numpy"):
        patch_attention(q, q.numpy(), q)


def pipeline(points: torch.Tensor) -> torch.Tensor:
    """All operations in one graph."""
    start = ops.farthest_point_sample(points, 6)
    centers, members = ops.sample_and_group(points, 6, 4, min_sq_norm=1e-3)
    patches = ops.group(points, centers, members)
    near, _ = ops.knn(points, points, 2)
    spread = ops.interpolate(points[0], points[0, :6].contiguous(), patches[0].flatten(1), 3)
    return spread.sum() + patches.square().sum() + (start.sum() + near.sum()).float()


def test_all_operations_compile_into_one_graph():
    points = cloud(2, 20)
    compiled = torch.compile(pipeline, fullgraph=True, backend="aot_eager")
    assert torch.equal(compiled(points), pipeline(points))


def test_attention_compiles_into_one_graph():
    q, k, v = (x.detach() for x in heads(torch.float32, 2, 3, 9, 16))
    compiled = torch.compile(patch_attention, fullgraph=True, backend="aot_eager")
    assert torch.allclose(compiled(q, k, v), patch_attention(q, k, v), atol=1e-6)


def test_attention_on_a_gpu_is_one_node(monkeypatch: pytest.MonkeyPatch):
    """Traced there, it leaves the choice of a kernel to the moment when it runs."""
    monkeypatch.setattr(sys.modules["pa3d.ops.attention"], "is_cuda", lambda x: True)
    q, k, v = (x.detach() for x in heads(torch.float32, 2, 3, 9, 16))
    graphs = []

    def keep(graph: torch.fx.GraphModule, _: Any) -> Any:
        graphs.append(graph)
        return graph

    found = torch.compile(patch_attention, fullgraph=True, backend=keep)(q, k, v)
    assert any("pa3d.patch_attention" in str(node.target) for node in graphs[0].graph.nodes)
    assert torch.allclose(found, patch_attention_reference(q, k, v), atol=1e-6)


def test_views_compile_into_one_graph():
    """Drawing and carrying back, cameras being constants of the graph."""
    cameras, faces = Cameras.preset("around10")[:2], mesh()[1]

    def views(vertices: torch.Tensor, tokens: torch.Tensor) -> tuple[Any, ...]:
        ids, depth, weights = rasterize(vertices, faces, cameras, (9, 11))
        alone = rasterize(vertices, faces, cameras, (9, 11), barycentric=False)
        points = rasterize_points(vertices, 0.2, cameras, (9, 11))
        return ids, depth, weights, *alone[:2], *points, *backproject(tokens, points.point_id, 12, per_view=True)

    given = mesh()[0], images()[0]
    for actual, expected in zip(
        torch.compile(views, fullgraph=True, backend="aot_eager")(*given), views(*given), strict=True
    ):
        assert torch.equal(actual, expected)


def test_gradients_through_a_compiled_graph():
    def loss(points: torch.Tensor) -> torch.Tensor:
        centers, members = ops.sample_and_group(points.detach(), 6, 4)
        return ops.group(points, centers, members).square().sum()

    points = cloud(2, 20).requires_grad_()
    (expected,) = torch.autograd.grad(loss(points), points)
    (found,) = torch.autograd.grad(torch.compile(loss, fullgraph=True, backend="aot_eager")(points), points)
    assert torch.allclose(found, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("backend", ["aot_eager", pytest.param("inductor", marks=pytest.mark.slow)])
def test_encoder_compiles_into_one_graph(backend: str):
    torch.manual_seed(0)
    model, points = Encoder(TINY).eval(), cloud(2, 40)
    with torch.no_grad():
        expected, found = model(points), torch.compile(model, fullgraph=True, backend=backend)(points)
    assert torch.equal(found.members, expected.members)
    assert torch.allclose(found.tokens, expected.tokens, atol=1e-5)


def test_encoder_exports():
    """And runs at another number of points than it was traced with."""
    torch.manual_seed(0)
    model = Encoder(TINY).eval()
    sizes = {"points": {1: torch.export.Dim("n", min=16, max=4096)}}
    program = torch.export.export(model, (cloud(1, 40),), dynamic_shapes=sizes)
    assert "pa3d.sample_and_group" in program.graph_module.print_readable(print_output=False)
    for n in (40, 57):
        with torch.no_grad():
            expected, found = model(cloud(1, n)), program.module()(cloud(1, n))
        assert torch.equal(found.members, expected.members)
        assert torch.allclose(found.tokens, expected.tokens, atol=1e-5)


def test_what_a_node_is_given_is_checked_when_it_runs():
    compiled = torch.compile(lambda x: ops.knn(x, x, 2), fullgraph=True, backend="aot_eager")
    with pytest.raises(ValueError, match="points: NaN or infinite values"):
        compiled(torch.full((1, 4, 3), float("nan")))
