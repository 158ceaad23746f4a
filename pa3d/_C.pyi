"""The native kernels (csrc/bind*.cpp). Their callers check arguments first: pa3d.ops and pa3d.native."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Ids = NDArray[np.int32]
Indices = NDArray[np.int64]

def isa() -> str: ...
def best_isa() -> str: ...
def rejected_isa() -> str | None: ...
def set_isa(name: str) -> bool: ...
def max_threads() -> int: ...
def supports(precision: str) -> bool: ...
def farthest_point_sample(
    points: Floats,  # (B, N, 3)
    k: int,
    start: int,
    min_sq_norm: float,
    threads: int = 0,
) -> Indices: ...  # (B, k)
def knn(
    queries: Floats,  # (B, Q, 3)
    points: Floats,  # (B, N, 3)
    k: int,
    threads: int = 0,
) -> tuple[Indices, Floats]: ...  # (B, Q, k)
def sample_and_group(
    points: Floats,  # (B, N, 3)
    k: int,
    m: int,
    start: int,
    min_sq_norm: float,
    threads: int = 0,
) -> tuple[Indices, Indices]: ...  # (B, k), (B, k, m)
def interpolate(
    points: Floats,  # (N, 3)
    centers: Floats,  # (G, 3)
    values: Floats,  # (G, C)
    k: int,
    threads: int = 0,
) -> Floats: ...  # (N, C)
def nearest_centers(
    points: Floats,  # (N, 3)
    centers: Floats,  # (G, 3)
    k: int,
    threads: int = 0,
) -> tuple[Ids, Floats]: ...  # (N, k)
def backproject(
    tokens: NDArray[Any],  # (V, gh, gw, C) float32, or the bits of bfloat16 as uint16
    point_of_pixel: NDArray[np.integer],  # (V, H, W) int32 or int64
    n_points: int,
    mode: str,
    per_view: bool = False,
    threads: int = 0,
) -> tuple[Floats, Indices]: ...  # (P, C), (P,)
def rasterize(
    vertices: Floats,  # (N, 3)
    faces: Ids,  # (F, 3)
    matrices: NDArray[np.float64],  # (V, 3, 4)
    perspective: bool,
    near: float,
    height: int,
    width: int,
    depth: bool = True,
    barycentric: bool = True,
    threads: int = 0,
) -> tuple[Ids, Any, Any]: ...  # (V, H, W); Floats (V, H, W) and (V, H, W, 3), None where not asked for
def rasterize_points(
    points: Floats,  # (N, 3)
    radius: Floats,  # (N,)
    matrices: NDArray[np.float64],  # (V, 3, 4)
    scale: NDArray[np.float64],  # (V,)
    perspective: bool,
    near: float,
    height: int,
    width: int,
    depth: bool = True,
    threads: int = 0,
) -> tuple[Ids, Any]: ...  # (V, H, W); Floats (V, H, W), None where not asked for

class Engine:
    def __init__(self, config: dict[str, Any], precision: str, weights: dict[str, Floats]) -> None: ...
    def forward(
        self,
        points: Floats,  # (N, 3)
        threads: int = 0,
    ) -> tuple[Indices, Indices, Floats, Floats, dict[str, float]]: ...  # (G,), (G, M), (G, C), (G, D)
    def forward_many(
        self,
        clouds: list[Floats],  # (N, 3), N of any size
        threads: int = 0,
    ) -> list[tuple[Indices, Indices, Floats, Floats, dict[str, float]]]: ...

def sample_indices(n: int, count: int, seed: int) -> Indices: ...  # (count,)
def sample_surface(
    vertices: Floats, faces: NDArray[np.int32], count: int, seed: int
) -> tuple[Floats, NDArray[np.int32]] | None: ...  # (count, 3), (count,)
def normalization(
    points: Floats,  # (N, 3)
) -> tuple[NDArray[np.float64], float]: ...  # center (3,), radius
def normalize(
    points: Floats,  # (N, 3)
    center: NDArray[np.float64],  # (3,)
    radius: float,
    axes: tuple[int, int, int],
    threads: int = 0,
) -> Floats: ...  # (N, 3)
def unit_rows(
    rows: Floats,  # (N, D)
) -> Floats: ...  # (N, D)
def unit_mean(
    rows: Floats,  # (N, D)
) -> Floats: ...  # (D,)
def cosine_logits(
    features: Floats,  # (G, D)
    vectors: Floats,  # (K, D)
    temperature: float,
) -> Floats: ...  # (G, K)
def softmax(
    logits: Floats,  # (N, K)
) -> Floats: ...  # (N, K)
def spread(
    at: Floats,  # (N, 3)
    centers: Floats,  # (G, 3)
    members: Indices,  # (G, M)
    points: Floats,  # (P, 3)
    logits: Floats,  # (G, K)
    assign: str,
    none: float,
    threads: int = 0,
) -> tuple[Ids, Floats]: ...  # labels (N,), scores (N, K)
def clean_name(name: str) -> str: ...
def part_prompts(part: str, category: str | None = None, mode: str = "auto") -> list[str]: ...

class FileError(ValueError): ...

class TextEngine:
    def __init__(self, weights: dict[str, Any], threads: int = 0) -> None: ...
    def encode(
        self,
        ids: Ids,  # (T,) the tokens of all texts, one text after the other
        lengths: Indices,  # (N,)
        threads: int = 0,
    ) -> Floats: ...  # (N, 384)

class WordPiece:
    def __init__(self, path: str) -> None: ...
    def encode(self, text: str) -> list[int]: ...
    def size(self) -> int: ...

class EmbedTraining:
    """A step of pa3d.ops.train_embed: moments, finish, backward_sums, backward, in this order; or infer."""

    def __init__(self, precision: str) -> None: ...
    def moments(
        self,
        patches: Floats,  # (P, M, 3)
        first: Floats,  # (W0, 3)
        first_bias: Floats,
        second: Floats,  # (W1, W0)
        merged: Floats,  # (W2, W0)
        pooling: Floats,  # (W2, W1)
        last: Floats,  # (W3, W2)
        last_bias: Floats,
        threads: int = 0,
    ) -> NDArray[np.float64]: ...  # (2, W2)
    def finish(self, scale: Floats, shift: Floats) -> Floats: ...  # (P, W3)
    def infer(
        self,
        patches: Floats,  # as in moments
        first: Floats,
        first_bias: Floats,
        second: Floats,
        merged: Floats,
        pooling: Floats,
        last: Floats,
        last_bias: Floats,
        scale: Floats,  # (W2,)
        shift: Floats,
        threads: int = 0,
    ) -> Floats: ...  # (P, W3)
    def backward_sums(self, grad: Floats) -> tuple[NDArray[np.float64], Floats, Floats]: ...
    def backward(self, grad: Floats, a: Floats, b: Floats, c: Floats) -> tuple[Floats, ...]: ...

class BlockTape: ...

class BlockTraining:
    """Memory to take blocks forward and back in, one at a time; see pa3d.ops.train_block."""

    def __init__(self, precision: str) -> None: ...
    def tape(self) -> BlockTape: ...
    def forward(
        self,
        weights: list[Floats],
        heads: int,
        eps: float,
        x: Floats,  # (B, T, C)
        pos: Floats,
        kept: Floats | None,  # (2, B)
        tape: BlockTape,
        threads: int = 0,
    ) -> Floats: ...
    def backward(
        self,
        weights: list[Floats],
        heads: int,
        eps: float,
        dy: Floats,
        tape: BlockTape,
        wanted: bool,
        threads: int = 0,
    ) -> tuple[Floats, list[Floats]]: ...
