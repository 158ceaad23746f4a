"""Kernels and the whole forward pass on a GPU, by CUDA events; `python bench/report.py --device cuda` runs this.

Results are compared before they are timed. Competitors are torch and, if they are installed, pytorch3d and
torch_cluster. A figure is a tenth of the time between two events around ten calls that are queued without waiting.
Inputs are usually in the L2 cache, because the call before read them.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Protocol

import numpy as np
import torch
import torch.nn.functional as F
from _common import QUICK, Race, Run, check, encoder_flop, official_checkpoint, random_cloud
from torch import Tensor

from pa3d.cameras import Cameras
from pa3d.ops import (
    farthest_point_sample,
    farthest_point_sample_reference,
    interpolate,
    interpolate_reference,
    knn_reference,
    sample_and_group,
)
from pa3d.ops._dispatch import unavailable_reason
from pa3d.ops.backends import cuda, triton
from pa3d.ops.backproject import backproject_reference
from pa3d.ops.rasterize import rasterize

CALLS = 10  # between two events
MATRIX = 8192


def unsupported_reason() -> str | None:
    """Why nothing can be measured here, or None."""
    if os.environ.get("TRITON_INTERPRET") == "1":
        return "TRITON_INTERPRET is set: times on Triton's interpreter mean nothing; unset it"
    if os.environ.get("PA3D_BACKEND"):
        return f"PA3D_BACKEND={os.environ['PA3D_BACKEND']} forces one backend, and this compares them; unset it"
    if not torch.cuda.is_available():
        built = f"for CUDA {torch.version.cuda}" if torch.version.cuda else "without CUDA"
        return f"torch {torch.__version__}, built {built}, finds no GPU here; run it on a machine with one"
    for backend in ("cuda", "triton"):
        reason = unavailable_reason(backend)
        if reason is not None:
            return f"the {backend} kernels cannot run: {reason}"
    return None


class Clock(Protocol):
    def start(self) -> None: ...
    def stop(self) -> float:
        """Seconds since start, on the GPU; waits for it."""


class Events:
    def __init__(self) -> None:
        self._begin, self._end = (torch.cuda.Event(enable_timing=True) for _ in range(2))

    def start(self) -> None:
        self._begin.record()

    def stop(self) -> float:
        self._end.record()
        self._end.synchronize()
        return self._begin.elapsed_time(self._end) / 1e3


def timed(run: Run, clock: Clock) -> Run:
    """A run that returns its own seconds, for a Race."""

    def measured() -> float:
        clock.start()
        for _ in range(CALLS):
            run()
        return clock.stop() / CALLS

    return measured


def race(name: str, runs: Mapping[str, Run], work: tuple[float, str], clock: Clock) -> Race:
    """work: FLOP or bytes of every run, and which rate of `peaks` limits it: fp32, bf16 or copy."""
    return Race(name, {key: timed(run, clock) for key, run in runs.items()}, dict.fromkeys(runs, work))


def clouds(batch: int, n: int, device: str, seed: int = 0) -> Tensor:  # (batch, n, 3)
    return torch.from_numpy(np.stack([random_cloud(n, seed + i) for i in range(batch)])).to(device)


def within(actual: Tensor, plain: Tensor, exact: Tensor, what: str) -> None:
    """Check, as tests do, that the error against float64 is at most twice that of plain code, or rounding."""
    error, plain_error = ((x.double() - exact).square().mean().sqrt().item() for x in (actual, plain))
    rounding = torch.finfo(actual.dtype).eps / 2 * exact.abs().max().item()
    check(error <= max(2 * plain_error, rounding), f"{what}: error {error:.3g}, a plain version has {plain_error:.3g}")


def installed(package: str) -> bool:
    return importlib.util.find_spec(package) is not None


def fps(device: str, clock: Clock) -> Iterator[Race]:
    for batch, n, k in [(1, 2048, 128), (32, 2048, 128), (1, 16_384, 512), (1, 100_000, 1024)][: 2 if QUICK else 4]:
        points = clouds(batch, n, device)
        index = farthest_point_sample(points, k)
        expected = farthest_point_sample(points.cpu(), k)
        check(torch.equal(index.cpu(), expected), "farthest_point_sample differs from that of the processor")
        runs: dict[str, Run] = {"pa3d": lambda p=points, k=k: farthest_point_sample(p, k)}
        if n <= 2048:
            runs["torch reference"] = lambda p=points, k=k: farthest_point_sample_reference(p, k)
        if installed("pytorch3d"):
            from pytorch3d.ops import sample_farthest_points

            runs["pytorch3d"] = lambda p=points, k=k: sample_farthest_points(p, K=k)
            check(same_gaps(points, index, sample_farthest_points(points, K=k)[1]), "pytorch3d leaves other gaps")
        if installed("torch_cluster"):
            from torch_cluster import fps as cluster_fps

            flat, cloud_index = points.reshape(-1, 3), torch.arange(batch, device=device).repeat_interleave(n)

            def by_cluster(flat: Tensor = flat, cloud_index: Tensor = cloud_index, ratio: float = k / n) -> Tensor:
                return cluster_fps(flat, cloud_index, ratio=ratio, random_start=False)

            other = by_cluster().reshape(batch, -1)[:, :k] - torch.arange(batch, device=device)[:, None] * n
            check(same_gaps(points, index, other), "torch_cluster leaves other gaps")
            runs["torch_cluster"] = by_cluster
        yield race(f"fps {batch} x {n} to {k}", runs, (10.0 * batch * n * k, "fp32"), clock)


def same_gaps(points: Tensor, a: Tensor, b: Tensor) -> bool:
    """Whether the largest distance of a point from the chosen ones is equal; samplers may break ties differently."""

    def gap(index: Tensor) -> Tensor:
        chosen = points.gather(1, index[..., None].expand(-1, -1, 3))
        return torch.stack([torch.cdist(p, c).amin(1).amax() for p, c in zip(points, chosen, strict=True)])

    return bool((gap(a) - gap(b)).abs().max() < 1e-3)


def grouping(device: str, clock: Clock) -> Iterator[Race]:
    k, m = 128, 32
    for batch in (1, 32):
        points = clouds(batch, 2048, device)
        for gpu, cpu in zip(sample_and_group(points, k, m), sample_and_group(points.cpu(), k, m), strict=True):
            check(torch.equal(gpu.cpu(), cpu), "sample_and_group differs from that of the processor")

        def plain(points: Tensor = points) -> Tensor:
            index = farthest_point_sample_reference(points, k)
            centers = points.gather(1, index[..., None].expand(-1, -1, 3))
            return torch.cdist(centers, points).topk(m, largest=False).indices

        runs: dict[str, Run] = {"pa3d": lambda p=points: sample_and_group(p, k, m), "torch reference": plain}
        if installed("pytorch3d"):
            from pytorch3d.ops import knn_points, sample_farthest_points

            runs["pytorch3d"] = lambda p=points: knn_points(sample_farthest_points(p, K=k)[0], p, K=m)
        yield race(f"sample and group {batch} x 2048 to {k} x {m}", runs, (10.0 * batch * 2048 * k, "fp32"), clock)


def neighbours(device: str, clock: Clock) -> Iterator[Race]:
    for q, n, k in [(128, 2048, 32), (2048, 2048, 32), (1024, 100_000, 32)][: 2 if QUICK else 3]:
        queries, points = clouds(1, q, device, seed=1), clouds(1, n, device)
        expected = knn_reference(queries[:, :: max(1, q // 128)].cpu(), points.cpu(), k)
        runs: dict[str, Run] = {}
        for backend, search in (("cuda", cuda.knn), ("triton", triton.knn)):
            for gpu, cpu in zip(search(queries, points, k), expected, strict=True):
                check(torch.equal(gpu[:, :: max(1, q // 128)].cpu(), cpu), f"knn by {backend} differs")
            runs[f"pa3d {backend}"] = lambda search=search, a=queries, b=points, k=k: search(a, b, k)
        runs["torch cdist topk"] = lambda a=queries, b=points, k=k: torch.cdist(a, b).topk(k, largest=False)
        if installed("pytorch3d"):
            from pytorch3d.ops import knn_points

            runs["pytorch3d"] = lambda a=queries, b=points, k=k: knn_points(a, b, K=k)
        if installed("torch_cluster"):
            from torch_cluster import knn as cluster_knn

            runs["torch_cluster"] = lambda a=queries, b=points, k=k: cluster_knn(b[0], a[0], k)
        yield race(f"knn {q} x {n}, k = {k}", runs, (9.0 * q * n, "fp32"), clock)


def interpolating(device: str, clock: Clock) -> Iterator[Race]:
    n, g, c = 100_000, 128, 5
    points, centers = clouds(1, n, device)[0], clouds(1, g, device, seed=2)[0]
    values = torch.randn(g, c, generator=torch.Generator().manual_seed(0)).to(device)
    for k in (1, 3):
        found = interpolate(points, centers, values, k)
        expected = interpolate(points.cpu(), centers.cpu(), values.cpu(), k)
        check(torch.equal(found.cpu(), expected), "interpolate differs from that of the processor")
        runs: dict[str, Run] = {
            "pa3d": lambda k=k: interpolate(points, centers, values, k),
            "torch reference": lambda k=k: interpolate_reference(points, centers, values, k),
        }
        if installed("pytorch3d"):
            from pytorch3d.ops import knn_gather, knn_points

            def by_pytorch3d(k: int = k) -> Tensor:
                near = knn_points(points[None], centers[None], K=k)
                weights = 1 / (near.dists.sqrt() + 1e-8)
                return (knn_gather(values[None], near.idx) * (weights / weights.sum(-1, True))[..., None]).sum(2)

            runs["pytorch3d"] = by_pytorch3d
        yield race(f"interpolate {n} from {g}, k = {k}", runs, (4.0 * n * (3 + c), "copy"), clock)


def rasterizing(device: str, clock: Clock) -> Iterator[Race]:
    from bench_rasterize import bumpy_ball

    vertices, faces = map(torch.from_numpy, bumpy_ball(40 if QUICK else 224))
    cameras, size = Cameras.preset("around10"), (518, 518)
    v, f = vertices.to(device), faces.to(device)
    expected, found = rasterize(vertices, faces, cameras, size), rasterize(v, f, cameras, size)
    for gpu, cpu in zip(found, expected, strict=True):
        check(torch.equal(gpu.cpu(), cpu), "rasterize differs from that of the processor")
    pixels = len(cameras) * size[0] * size[1]
    runs: dict[str, Run] = {
        "pa3d, ids and depth": lambda: rasterize(v, f, cameras, size, barycentric=False),
        "pa3d, ids, depth, barycentric": lambda: rasterize(v, f, cameras, size),
    }
    yield race(f"rasterize {len(faces)} faces, 10 views of 518 x 518", runs, (32.0 * pixels, "copy"), clock)


def backprojecting(device: str, clock: Clock) -> Iterator[Race]:
    views, side, channels, image, points = (2, 9, 64, 126, 500) if QUICK else (10, 37, 768, 518, 5000)
    made = torch.Generator().manual_seed(0)
    coarse = torch.randint(-1, points, (views, -(-image // 14), -(-image // 14)), generator=made, dtype=torch.int32)
    pixels = coarse.repeat_interleave(14, 1).repeat_interleave(14, 2)[:, :image, :image].contiguous().to(device)
    tokens = torch.randn(views, side, side, channels, generator=made).to(device)
    exact, counted = backproject_reference(tokens.double(), pixels, points)
    plain, _ = backproject_reference(tokens, pixels, points)
    runs: dict[str, Run] = {}
    for backend, gather in (("cuda", cuda.backproject), ("triton", triton.backproject)):
        total, count = gather(tokens, pixels, points)
        within(total, plain, exact, f"backproject by {backend}")
        check(torch.equal(count, counted), f"backproject by {backend} counts other pixels")
        runs[f"pa3d {backend}"] = lambda gather=gather: gather(tokens, pixels, points)
    runs["torch interpolate, index_add"] = lambda: backproject_reference(tokens, pixels, points)
    moved = 4.0 * (tokens.numel() + plain.numel() + 3 * pixels.numel())
    yield race(f"backproject {views} x {side}^2 x {channels} to {points} points", runs, (moved, "copy"), clock)


def attending(device: str, clock: Clock) -> Iterator[Race]:
    from pa3d.ops.attention import patch_attention, patch_attention_reference

    for batch, dtype in ((1, torch.float32), (1, torch.bfloat16), (32, torch.bfloat16)):
        h, t, d = 6, 129, 64
        qkv = torch.randn(batch, t, 3, h, d, generator=torch.Generator().manual_seed(0)).to(device, dtype)
        q, k, v = (x.detach().requires_grad_() for x in qkv.permute(2, 0, 3, 1, 4).unbind(0))
        exact = patch_attention_reference(q.double(), k.double(), v.double())
        within(patch_attention(q, k, v), patch_attention_reference(q, k, v), exact, "patch_attention")
        bound = "fp32" if dtype == torch.float32 else "bf16"
        for what, products in (("forward", 2), ("forward and backward", 7)):

            def run(function: Callable[..., Tensor], whole: bool = products > 2, q=q, k=k, v=v) -> object:  # type: ignore[no-untyped-def]
                with torch.set_grad_enabled(whole):
                    out = function(q, k, v)
                    return torch.autograd.grad(out, (q, k, v), out.detach()) if whole else out

            runs: dict[str, Run] = {
                "pa3d triton": lambda run=run: run(patch_attention),
                "torch scaled_dot_product_attention": lambda run=run: run(F.scaled_dot_product_attention),
            }
            name = f"attention {batch} x {h} x {t} x {d} {bound}, {what}"
            yield race(name, runs, (2.0 * products * batch * h * t * t * d, bound), clock)


def encoding(device: str, clock: Clock) -> Iterator[Race]:
    """The forward pass from points on the device to features on the device, and to and from the host."""
    from pa3d.torch_encoder import TorchEncoder

    checkpoint, cloud = official_checkpoint(), random_cloud(2048)
    points, work = torch.from_numpy(cloud).to(device)[None], encoder_flop(checkpoint.config, merged=False)
    encoders = {precision: TorchEncoder(checkpoint, precision, device) for precision in ("fp32", "bf16")}
    expected = TorchEncoder(checkpoint, "fp32", "cpu")(cloud)
    for precision, least in (("fp32", 0.99999), ("bf16", 0.99)):
        found = encoders[precision](cloud)
        cosine = np.einsum("gd,gd->g", found.features, expected.features)
        check(cosine.min() > least, f"{precision} differs from the processor: cosine {cosine.min():.5f}")
        check(np.array_equal(found.members, expected.members), f"{precision} has other patches")
        half = "bf16" if precision == "bf16" else "fp32"
        plain = encoders[precision].model  # the torch modules; their patches are cut by pa3d

        def modules(plain: Any = plain, half: str = half) -> Tensor:
            with torch.inference_mode(), torch.autocast(points.device.type, torch.bfloat16, enabled=half == "bf16"):
                return F.normalize(plain.proj(plain.encoder(points).tokens).float(), dim=-1)

        runs: dict[str, Run] = {
            "pa3d, graph replayed, host to host": lambda e=encoders[precision]: e(cloud),
            "pa3d, kernel by kernel": lambda e=encoders[precision]: e.forward(points),
            "torch eager": modules,
        }
        if not QUICK:
            runs["torch.compile reduce-overhead"] = torch.compile(modules, mode="reduce-overhead")
        yield race(f"encode 2048 points, batch 1, {half}", runs, (work, half), clock)


RACES: tuple[Callable[[str, Clock], Iterator[Race]], ...] = (
    fps, grouping, neighbours, interpolating, rasterizing, backprojecting, attending, encoding,
)  # fmt: skip


def peaks(device: str, clock: Clock) -> dict[str, float]:
    """What this card reaches: FLOP/s of large cuBLAS products, and bytes/s of a copy, reads and writes counted."""
    side = 1024 if QUICK else MATRIX
    pairs = {dtype: torch.randn(2, side, side, device=device).to(dtype) for dtype in (torch.float32, torch.bfloat16)}
    source = torch.ones((2**20 if QUICK else 2**28), device=device)
    target = torch.empty_like(source)
    work = {"fp32": 2.0 * side**3, "bf16": 2.0 * side**3, "copy": 2.0 * source.nbytes}
    runs: dict[str, Run] = {
        "fp32": lambda: torch.mm(*pairs[torch.float32]),
        "bf16": lambda: torch.mm(*pairs[torch.bfloat16]),
        "copy": lambda: target.copy_(source),
    }
    measured = Race("peaks", {name: timed(run, clock) for name, run in runs.items()})
    return {name: work[name] / measured.median(name) for name in runs}


def card() -> dict[str, str]:
    """The GPU that is measured."""
    gpu = torch.cuda.get_device_properties(0)
    return {
        "card": f"{gpu.name}, {gpu.multi_processor_count} SMs, {gpu.total_memory / 2**30:.0f} GiB",
        "driver": driver(),
        "cuda": str(torch.version.cuda),
    }


def driver() -> str:
    command = ["nvidia-smi", "--query-gpu=driver_version,clocks.max.sm", "--format=csv,noheader", "--id=0"]
    try:
        output = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return output.replace(",", ", at most")


def measure(
    device: str = "cuda", clock: Clock | None = None
) -> tuple[dict[str, float], dict[str, dict[str, dict[str, Any]]]]:
    """What the card reaches, and race -> competitor -> facts. Raises AssertionError when a check fails."""
    clock = clock or Events()
    peak, found = peaks(device, clock), {}
    for make in RACES:
        for one in make(device, clock):
            found[one.name] = {name: one.facts(name) for name in one.runs}
            print(f"{one.name}: " + ", ".join(f"{n} {1e6 * f['median']:.1f} us" for n, f in found[one.name].items()))
    return peak, found
