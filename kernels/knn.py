"""k nearest neighbours: a block of queries goes over tiles of points and keeps its K best as sorted 64-bit keys,

    key = bits(squared distance) << 32 | index

The bits of non-negative floats are ordered like the floats. So the smallest key is the nearest point, and the lowest
index wins ties. The K smallest keys of a tile are sorted in ascending order, the K best so far in descending order.
The smaller one of each pair gives the K smallest of both. They form a bitonic sequence, which one merge sorts
(Batcher, "Sorting networks and their applications", 1968).

Exact: the squared distance is (dx*dx + dy*dy) + dz*dz in float32, and the launch forbids fused multiply-add. Not
differentiable.
"""

# mypy: allow-untyped-defs
from __future__ import annotations

from collections.abc import Iterator

import torch
import triton
import triton.language as tl
from torch import Tensor

from pa3d.ops.checks import check_same_device

from ._common import Variant, check, on_device, power_of_two, tuned

MAX_K = 128

CONFIGS = [
    triton.Config({"BLOCK_Q": 4, "BLOCK_N": 128}, num_warps=4, num_stages=1),
    triton.Config({"BLOCK_Q": 8, "BLOCK_N": 128}, num_warps=4, num_stages=1),
    triton.Config({"BLOCK_Q": 16, "BLOCK_N": 128}, num_warps=8, num_stages=1),
    triton.Config({"BLOCK_Q": 4, "BLOCK_N": 256}, num_warps=4, num_stages=1),
]


def knn(
    queries: Tensor,  # (B, Q, 3) float32
    points: Tensor,  # (B, N, 3) float32, finite
    k: int,  # 1..min(N, 128)
) -> tuple[Tensor, Tensor]:  # (B, Q, k) int64, (B, Q, k) float32
    """Indices and squared distances of the k nearest points, nearest first: equal to pa3d.ops.knn_reference to the bit.

    Raises TypeError for a wrong kind or dtype, ValueError for a wrong shape, layout, device or k.
    """
    sizes: dict[str, int] = {}
    check("points", points, "B N 3", (torch.float32,), sizes)
    check("queries", queries, "B Q 3", (torch.float32,), sizes)
    check_same_device(points=points, queries=queries)
    b, n, q = sizes["B"], sizes["N"], sizes["Q"]
    if not 1 <= k <= min(n, MAX_K):
        raise ValueError(f"k: expected 1..{min(n, MAX_K)} (the number of points, at most {MAX_K}), got {k}")
    index = torch.empty(b, q, k, dtype=torch.int64, device=points.device)
    distance = torch.empty(b, q, k, dtype=torch.float32, device=points.device)
    with on_device(points):
        kernel[lambda meta: (triton.cdiv(q, meta["BLOCK_Q"]), b)](
            queries, points, index, distance, q, n, k, K=power_of_two(k, 2), enable_fp_fusion=False
        )
    return index, distance


@tuned(CONFIGS, key=["q", "n", "K"])
@triton.jit
def kernel(queries, points, index, distance, q, n, k, K: tl.constexpr, BLOCK_Q: tl.constexpr, BLOCK_N: tl.constexpr):
    batch = tl.program_id(1).to(tl.int64)
    rows = tl.program_id(0) * BLOCK_Q + tl.arange(0, BLOCK_Q)
    inside = rows < q
    at = queries + (batch * q + rows) * 3
    qx = tl.load(at, mask=inside, other=0.0)[:, None]
    qy = tl.load(at + 1, mask=inside, other=0.0)[:, None]
    qz = tl.load(at + 2, mask=inside, other=0.0)[:, None]

    # descending, so that each is paired with a key of a tile, which are ascending
    best = tl.full((BLOCK_Q, K), 0x7FFFFFFFFFFFFFFF, tl.int64)
    for start in range(0, n, BLOCK_N):
        cols = start + tl.arange(0, BLOCK_N)
        there = cols < n
        tile = points + (batch * n + cols) * 3
        dx = qx - tl.load(tile, mask=there, other=0.0)[None, :]
        dy = qy - tl.load(tile + 1, mask=there, other=0.0)[None, :]
        dz = qz - tl.load(tile + 2, mask=there, other=0.0)[None, :]
        sq_dist = (dx * dx + dy * dy) + dz * dz
        keys = (sq_dist.to(tl.int32, bitcast=True).to(tl.int64) << 32) | cols[None, :].to(tl.int64)
        keys = tl.where(there[None, :], keys, 0x7FFFFFFFFFFFFFFF)
        improves = tl.min(keys, 1) < tl.max(best, 1)
        if tl.max(improves.to(tl.int32), 0) > 0:
            nearest = tl.topk(keys, K, descending=False)
            best = tl.bitonic_merge(tl.minimum(best, nearest), descending=True)

    rank = K - 1 - tl.arange(0, K)
    out = (batch * q + rows)[:, None] * k + rank[None, :]
    mask = inside[:, None] & (rank < k)[None, :]
    tl.store(index + out, best & 0xFFFFFFFF, mask=mask)
    tl.store(distance + out, (best >> 32).to(tl.int32).to(tl.float32, bitcast=True), mask=mask)


def variants() -> Iterator[Variant]:
    signature = {"queries": "*fp32", "points": "*fp32", "index": "*i64", "distance": "*fp32"}
    signature |= dict.fromkeys(("q", "n", "k"), "i32")
    for k in (4, 32, MAX_K):
        sizes = {"q": 128, "n": 2048, "k": k}
        yield Variant(f"knn k={k}", kernel, signature, {"K": k}, CONFIGS, sizes, fp_fusion=False)
