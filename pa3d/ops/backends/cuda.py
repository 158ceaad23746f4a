"""csrc/cuda for torch tensors as a backend: loads the library where there is a GPU, and calls it on the current stream.

Nothing here waits for the GPU: sizes and layouts are checked, values are not. Outputs and workspaces come from torch's
allocator, so that calls may be captured into CUDA graphs. The operations of pa3d.ops check values and report what is
wrong in the words of their arguments; these functions expect that to be done.
"""

from __future__ import annotations

import ctypes
import functools
import importlib.util
import os
import shutil
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pa3d import _C
from pa3d.ops.backends import requires
from pa3d.ops.checks import check

if TYPE_CHECKING:
    from pa3d.cameras import Cameras

LIBRARY = Path(__file__).resolve().parents[2] / "libpa3d_cuda.so"
MAX_NEIGHBORS = 1024  # PA3D_CUDA_MAX_NEIGHBORS
MAX_SIDE = 16384  # PA3D_CUDA_MAX_IMAGE_SIDE
DEVICE = "cuda"
MODES = {"nearest": 0, "bilinear": 1, "bicubic": 2}  # PA3D_CUDA_NEAREST and so on

Tensor = Any  # torch.Tensor; torch is imported where it is needed


class Views(ctypes.Structure):
    """pa3d_cuda_views"""

    _fields_ = (
        ("matrices", ctypes.c_void_p),
        ("near_plane", ctypes.c_double),
        ("count", ctypes.c_int64),
        ("height", ctypes.c_int64),
        ("width", ctypes.c_int64),
        ("perspective", ctypes.c_int32),
    )


# The functions of csrc/cuda/pa3d_cuda.h: result, then arguments. A test compares them with the header.
_TYPES = {
    "i": ctypes.c_int32,
    "l": ctypes.c_int64,
    "f": ctypes.c_float,
    "p": ctypes.c_void_p,
    "s": ctypes.c_char_p,
    "v": ctypes.POINTER(Views),
}
FUNCTIONS = {
    "version": "i",
    "error": "s i",
    "device_count": "i",
    "set_device": "i i",
    "upload": "i p l p p",
    "fps_workspace": "l l l l",
    "fps": "i p l l l l f p p l p",
    "knn": "i p p l l l l p p p",
    "sample_and_group_workspace": "l l l l l",
    "sample_and_group": "i p l l l l l f p p p p l p",
    "interpolate": "i p p p l l l l l p p",
    "rasterize_workspace": "l l l l l l",
    "rasterize": "i p l p l v p p p p l p",
    "rasterize_points": "i p p l v p p p p l p",
    "backproject_workspace": "l l l l l",
    "backproject": "i p i l l l l p l l l i i p p p l p",
}


def bind(library: ctypes.CDLL, names: Iterable[str] = FUNCTIONS) -> ctypes.CDLL:
    """The library, with the types of these functions set."""
    for name in names:
        function, (result, *arguments) = getattr(library, f"pa3d_cuda_{name}"), FUNCTIONS[name].split()
        function.restype, function.argtypes = _TYPES[result], [_TYPES[a] for a in arguments]
    return library


def unavailable_reason() -> str | None:
    """Why these kernels cannot run here, with everything that is missing; None where they can."""
    missing = [] if gpu_is_visible() else ["no NVIDIA GPU is visible"]
    if not LIBRARY.is_file():
        missing.append(f"{LIBRARY.name} is not built: {_how_to_build()}")
    if importlib.util.find_spec("torch") is None:
        missing.append("torch is not installed: pip install 'pa3d[torch]'")
    if missing:
        return "; ".join(missing)
    try:
        library()
    except (OSError, ValueError) as error:
        return str(error)
    return None


def device() -> str:
    return DEVICE


def gpu_is_visible() -> bool:
    """Whether the driver shows its device, on Linux or under WSL. Loads nothing."""
    return any(os.path.exists(device) for device in ("/dev/nvidiactl", "/dev/dxg"))


@functools.cache
def _how_to_build() -> str:
    home = os.environ.get("CUDA_HOME", "/usr/local/cuda")
    nvcc = shutil.which("nvcc") or shutil.which("nvcc", path=os.path.join(home, "bin"))
    if nvcc is not None:
        return f"install pa3d with PA3D_CUDA=1, nvcc is {nvcc}"
    return f"there is no nvcc on PATH or in {home}/bin; install the CUDA toolkit, then pa3d with PA3D_CUDA=1"


@functools.cache
def library() -> ctypes.CDLL:
    """The loaded library. Raises OSError when loading fails, ValueError when it does not fit or finds no device."""
    loaded = bind(ctypes.CDLL(str(LIBRARY)), ("version",))
    version, expected = loaded.pa3d_cuda_version(), _C.CUDA_ABI
    if version != expected:
        raise ValueError(f"{LIBRARY.name} has version {version} of the interface, expected {expected}: reinstall pa3d")
    devices = bind(loaded).pa3d_cuda_device_count()
    if devices <= 0:
        why = loaded.pa3d_cuda_error(-devices).decode() if devices < 0 else "the driver sees no device"
        raise ValueError(f"{LIBRARY.name}: {why}")
    return loaded


def _too_many_neighbors(*_: Tensor, k: int) -> str | None:
    return None if k <= MAX_NEIGHBORS else f"it supports at most {MAX_NEIGHBORS} neighbours, not {k}"


def _too_large_images(tokens: Tensor, point_of_pixel: Tensor) -> str | None:
    large = max(*tokens.shape[1:3], *point_of_pixel.shape[1:]) > MAX_SIDE
    return f"it supports at most {MAX_SIDE} rows and columns" if large else None


def farthest_point_sample(points: Tensor, k: int, start: int, min_sq_norm: float) -> Tensor:
    """points (B, N, 3) float32 -> (B, k) int64."""
    b, n = _checked("points", points, "B N 3")
    index = _empty(points, "int64", b, k)
    work = _workspace(points, "fps", b, n, k)
    _run(points, "fps", points, b, n, k, start, min_sq_norm, index, work, work.numel())
    return index


@requires(_too_many_neighbors)
def knn(queries: Tensor, points: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """queries (B, Q, 3), points (B, N, 3) float32 -> indices (B, Q, k) int64, squared distances (B, Q, k) float32."""
    b, n, q = _checked("points", points, "B N 3") + _checked("queries", queries, "B Q 3", like=points)[1:]
    index, distance = _empty(points, "int64", b, q, k), _empty(points, "float32", b, q, k)
    _run(points, "knn", queries, points, b, q, n, k, index, distance)
    return index, distance


@requires(_too_many_neighbors)
def sample_and_group(points: Tensor, patches: int, size: int, start: int, min_sq_norm: float) -> tuple[Tensor, Tensor]:
    """points (B, N, 3) float32, size <= N -> centres (B, G), members (B, G, M), int64."""
    b, n = _checked("points", points, "B N 3")
    index, members = _empty(points, "int64", b, patches), _empty(points, "int64", b, patches, size)
    work = _workspace(points, "sample_and_group", b, n, patches, size)
    sizes = (b, n, patches, size, start, min_sq_norm)
    _run(points, "sample_and_group", points, *sizes, index, members, None, work, work.numel())
    return index, members


def interpolate(points: Tensor, centers: Tensor, values: Tensor, k: int) -> Tensor:
    """points (N, 3), centers (G, 3), values (G, C) float32 -> (N, C)."""
    (n,) = _checked("points", points, "N 3")
    (g,) = _checked("centers", centers, "G 3", like=points)
    _, c = _checked("values", values, "G C", like=points)
    out = _empty(points, "float32", n, c)
    _run(points, "interpolate", points, centers, values, 1, n, g, c, k, out)
    return out


def rasterize(
    vertices: Tensor,  # (N, 3) float32
    faces: Tensor,  # (F, 3) int32
    cameras: Cameras,
    size: tuple[int, int],
    barycentric: bool,
) -> tuple[Tensor, Tensor, Tensor | None]:  # as pa3d.ops.rasterize.Raster
    (n,) = _checked("vertices", vertices, "N 3")
    (f,) = _checked("faces", faces, "F 3", "int32", like=vertices)
    v = len(cameras)
    ids, depth = _empty(vertices, "int32", v, *size), _empty(vertices, "float32", v, *size)
    weights = _empty(vertices, "float32", v, *size, 3) if barycentric else None
    work, matrices = _workspace(vertices, "rasterize", n, f, v, *size), _upload(vertices, cameras.matrices(size))
    views = Views(matrices.data_ptr(), cameras.near, v, *size, cameras.perspective)
    _run(vertices, "rasterize", vertices, n, faces, f, views, ids, depth, weights, work, work.numel())
    return ids, depth, weights


def rasterize_points(
    points: Tensor,  # (N, 3) float32
    radius: Tensor,  # (N,) float32
    cameras: Cameras,
    size: tuple[int, int],
) -> tuple[Tensor, Tensor]:  # as pa3d.ops.rasterize.PointRaster
    (n,) = _checked("points", points, "N 3")
    _checked("radius", radius, "N", like=points)
    v = len(cameras)
    ids, depth = _empty(points, "int32", v, *size), _empty(points, "float32", v, *size)
    work, matrices = _workspace(points, "rasterize", 0, 0, v, *size), _upload(points, cameras.matrices(size))
    scale = _upload(points, np.full(v, cameras.scale(size)))
    views = Views(matrices.data_ptr(), cameras.near, v, *size, cameras.perspective)
    _run(points, "rasterize_points", points, radius, n, views, scale, ids, depth, work, work.numel())
    return ids, depth


@requires(_too_large_images)
def backproject(
    tokens: Tensor,  # (V, gh, gw, C) float32 or bfloat16
    point_of_pixel: Tensor,  # (V, H, W) int32 or int64; outside 0 .. n_points - 1: none
    n_points: int,
    mode: str = "bicubic",
    per_view: bool = False,
) -> tuple[Tensor, Tensor]:  # sums (P, C) float32, pixels (P,) int64
    """Sums of upsampled tokens over each point's pixels, as pa3d.ops.backproject; the same in every run."""
    torch = sys.modules["torch"]
    bf16 = tokens.dtype == torch.bfloat16
    v, rows, columns, c = _checked("tokens", tokens, "V gh gw C", "bfloat16" if bf16 else "float32")
    _, h, w = _checked("point_of_pixel", point_of_pixel, "V H W", ("int32", "int64"), like=tokens)
    if point_of_pixel.dtype != torch.int32:
        point_of_pixel = point_of_pixel.clamp(-1, n_points).int()
    if mode not in MODES:
        raise ValueError(f"mode: expected one of {', '.join(MODES)}, got {mode!r}")
    total, count = _empty(tokens, "float32", n_points, c), _empty(tokens, "int32", n_points)
    work = _workspace(tokens, "backproject", v, h, w, n_points)
    args = (tokens, bf16, v, rows, columns, c, point_of_pixel, h, w, n_points, MODES[mode], per_view)
    _run(tokens, "backproject", *args, total, count, work, work.numel())
    return total, count.long()


def _checked(name: str, x: Tensor, shape: str, dtype: Any = "float32", like: Tensor | None = None) -> tuple[int, ...]:
    """The sizes of the lettered axes of a contiguous CUDA tensor, on the device of `like`. Raises as `check` does."""
    return tuple(check(name, x, shape, dtype, device=DEVICE if like is None else like.device).values())


def _empty(like: Tensor, dtype: str, *shape: int) -> Tensor:
    torch = sys.modules["torch"]
    return torch.empty(shape, dtype=getattr(torch, dtype), device=like.device)


def _workspace(like: Tensor, name: str, *sizes: int) -> Tensor:
    needed = getattr(library(), f"pa3d_cuda_{name}_workspace")(*sizes)
    if needed < 0:
        raise ValueError(f"{name}: sizes {sizes} are out of range for the CUDA kernel")
    return _empty(like, "uint8", max(needed, 1))


def _upload(like: Tensor, table: NDArray[np.float64]) -> Tensor:
    """A small table on the device of like. Its values travel as arguments of a launch, so nothing waits for a copy."""
    table = np.ascontiguousarray(table, np.float64)
    out = _empty(like, "float64", *table.shape)
    _run(like, "upload", table.ctypes.data, table.nbytes, out)
    return out


def _run(like: Tensor, name: str, *arguments: Any) -> None:
    """Queues a kernel on the current stream of like's device. Raises RuntimeError with the library's reason."""
    torch, loaded = sys.modules["torch"], library()
    with torch.cuda.device(like.device):
        code = loaded.pa3d_cuda_set_device(like.device.index or 0)
        if code == 0:
            stream = torch.cuda.current_stream(like.device).cuda_stream
            pointers = (a.data_ptr() if hasattr(a, "data_ptr") else a for a in arguments)
            code = getattr(loaded, f"pa3d_cuda_{name}")(*pointers, stream)
    if code != 0:
        raise RuntimeError(f"{name}: {loaded.pa3d_cuda_error(code).decode()}")
