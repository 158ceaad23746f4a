"""csrc/cuda for torch tensors: loads the library where a GPU is, and calls it on the current stream and device.

Nothing here waits for the GPU: sizes and layouts are checked, values are not. Outputs and workspaces come from torch's
allocator, so that calls may be captured into CUDA graphs. The operations of pa3d.ops check values and say what is wrong
in the words of their arguments; these functions expect that to be done.
"""

from __future__ import annotations

import ctypes
import functools
import importlib.util
import os
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pa3d import _C

LIBRARY = Path(__file__).resolve().parent.parent / "libpa3d_cuda.so"
VERSION = _C.CUDA_ABI
MAX_NEIGHBORS = 1024
MAX_SIDE = 16384  # of an image
DEVICE = "cuda"  # the type of device tensors must be on

Tensor = Any  # torch.Tensor; torch is imported where it is needed

_MODES = {"nearest": 0, "bilinear": 1, "bicubic": 2}


def unavailable() -> str | None:
    """Why these kernels cannot run here, everything that is missing, in words; None where they can."""
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


@functools.cache
def _how_to_build() -> str:
    home = os.environ.get("CUDA_HOME", "/usr/local/cuda")
    nvcc = shutil.which("nvcc") or shutil.which("nvcc", path=os.path.join(home, "bin"))
    if nvcc is not None:
        return f"install pa3d with PA3D_CUDA=1, nvcc is {nvcc}"
    return f"there is no nvcc on PATH or in {home}/bin; install the CUDA toolkit, then pa3d with PA3D_CUDA=1"


def refused_neighbors(k: int) -> dict[str, str]:
    """For `choose`: empty where k neighbours can be found."""
    return {} if k <= MAX_NEIGHBORS else {"cuda": f"it finds at most {MAX_NEIGHBORS} neighbours, not {k}"}


def gpu_is_visible() -> bool:
    """Whether the driver shows its device, on Linux or under WSL. Loads nothing."""
    return any(os.path.exists(device) for device in ("/dev/nvidiactl", "/dev/dxg"))


@functools.cache
def library() -> ctypes.CDLL:
    """The loaded library. Raises OSError when loading fails, ValueError when it does not fit or finds no device."""
    loaded = ctypes.CDLL(str(LIBRARY))
    loaded.pa3d_cuda_error.restype = ctypes.c_char_p
    version, devices = loaded.pa3d_cuda_version(), loaded.pa3d_cuda_device_count()
    if version != VERSION:
        raise ValueError(
            f"{LIBRARY.name} has version {version} of the interface, expected {VERSION}: install pa3d anew"
        )
    if devices <= 0:
        why = loaded.pa3d_cuda_error(-devices).decode() if devices < 0 else "the driver sees no device"
        raise ValueError(f"{LIBRARY.name}: {why}")
    for name in ("fps", "sample_and_group", "rasterize", "backproject"):
        getattr(loaded, f"pa3d_cuda_{name}_workspace").restype = ctypes.c_int64
    return loaded


def farthest_point_sample(points: Tensor, k: int, start: int, min_sq_norm: float) -> Tensor:
    """points (B, N, 3) float32 -> (B, k) int64."""
    b, n, _ = _checked("points", points, "float32", 3, 3)
    torch = sys.modules["torch"]
    index = torch.empty(b, k, dtype=torch.int64, device=points.device)
    work = _workspace(points, "fps", b, n, k)
    _run(points, "fps", points, b, n, k, start, float(min_sq_norm), index, work, work.numel())
    return index


def knn(queries: Tensor, points: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """queries (B, Q, 3), points (B, N, 3) float32 -> indices (B, Q, k) int64, squared distances (B, Q, k) float32."""
    b, n, _ = _checked("points", points, "float32", 3, 3)
    q = _checked("queries", queries, "float32", 3, 3, device=points.device)[1]
    torch = sys.modules["torch"]
    index = torch.empty(b, q, k, dtype=torch.int64, device=points.device)
    distance = torch.empty(b, q, k, dtype=torch.float32, device=points.device)
    _run(points, "knn", queries, points, b, q, n, k, index, distance)
    return index, distance


def sample_and_group(points: Tensor, patches: int, size: int, start: int, min_sq_norm: float) -> tuple[Tensor, Tensor]:
    """points (B, N, 3) float32, size <= N -> centres (B, G), members (B, G, M), int64."""
    b, n, _ = _checked("points", points, "float32", 3, 3)
    torch = sys.modules["torch"]
    index = torch.empty(b, patches, dtype=torch.int64, device=points.device)
    members = torch.empty(b, patches, size, dtype=torch.int64, device=points.device)
    work = _workspace(points, "sample_and_group", b, n, patches, size)
    sizes = (b, n, patches, size, start, float(min_sq_norm))
    _run(points, "sample_and_group", points, *sizes, index, members, None, work, work.numel())
    return index, members


def interpolate(points: Tensor, centers: Tensor, values: Tensor, k: int) -> Tensor:
    """points (B, N, 3), centers (B, G, 3), values (B, G, C) float32 -> (B, N, C)."""
    b, n, _ = _checked("points", points, "float32", 3, 3)
    g = _checked("centers", centers, "float32", 3, 3, device=points.device)[1]
    c = _checked("values", values, "float32", 3, device=points.device)[2]
    out = values.new_empty(b, n, c)
    _run(points, "interpolate", points, centers, values, b, n, g, c, k, out)
    return out


class _Views(ctypes.Structure):
    _fields_ = (
        ("matrices", ctypes.c_void_p),
        ("near_plane", ctypes.c_double),
        ("count", ctypes.c_int64),
        ("height", ctypes.c_int64),
        ("width", ctypes.c_int64),
        ("perspective", ctypes.c_int32),
    )


def rasterize(
    vertices: Tensor,  # (N, 3) float32
    faces: Tensor,  # (F, 3) int32
    matrices: NDArray[np.float64],  # (V, 3, 4): Cameras.matrices(size)
    perspective: bool,
    near: float,
    size: tuple[int, int],
    barycentric: bool,
) -> tuple[Tensor, Tensor, Tensor | None]:  # as pa3d.ops.rasterize.Raster
    n, _ = _checked("vertices", vertices, "float32", 2, 3)
    f, _ = _checked("faces", faces, "int32", 2, 3, device=vertices.device)
    v = len(matrices)
    ids = faces.new_empty(v, *size)
    depth = vertices.new_empty(v, *size)
    weights = vertices.new_empty(v, *size, 3) if barycentric else None
    work, on_device = _workspace(vertices, "rasterize", n, f, v, *size), _upload(vertices, matrices)
    views = _Views(on_device.data_ptr(), near, v, *size, perspective)
    _run(vertices, "rasterize", vertices, n, faces, f, views, ids, depth, weights, work, work.numel())
    return ids, depth, weights


def rasterize_points(
    points: Tensor,  # (N, 3) float32
    radius: Tensor,  # (N,) float32
    matrices: NDArray[np.float64],  # (V, 3, 4)
    scale: NDArray[np.float64],  # (V,)
    perspective: bool,
    near: float,
    size: tuple[int, int],
) -> tuple[Tensor, Tensor]:  # as pa3d.ops.rasterize.PointRaster
    n, _ = _checked("points", points, "float32", 2, 3)
    _checked("radius", radius, "float32", 1, n, device=points.device)
    v = len(matrices)
    torch = sys.modules["torch"]
    ids = torch.empty(v, *size, dtype=torch.int32, device=points.device)
    depth = points.new_empty(v, *size)
    work, on_device, scales = (
        _workspace(points, "rasterize", 0, 0, v, *size),
        _upload(points, matrices),
        _upload(points, scale),
    )
    views = _Views(on_device.data_ptr(), near, v, *size, perspective)
    _run(points, "rasterize_points", points, radius, n, views, scales, ids, depth, work, work.numel())
    return ids, depth


def backproject(
    tokens: Tensor,  # (V, gh, gw, C) float32 or bfloat16
    point_of_pixel: Tensor,  # (V, H, W) int32; outside 0 .. n_points - 1: none
    n_points: int,
    mode: str = "bicubic",
    per_view: bool = False,
) -> tuple[Tensor, Tensor]:  # sums (P, C) float32, pixels (P,) int64
    """Sums of upsampled tokens over each point's pixels, as pa3d.ops.backproject; the same in every run."""
    torch = sys.modules["torch"]
    kind = "bfloat16" if tokens.dtype == torch.bfloat16 else "float32"
    v, rows, columns, c = _checked("tokens", tokens, kind, 4)
    _, h, w = _checked("point_of_pixel", point_of_pixel, "int32", 3, device=tokens.device)
    if mode not in _MODES:
        raise ValueError(f"mode: expected one of {', '.join(_MODES)}, got {mode!r}")
    total = torch.empty(n_points, c, dtype=torch.float32, device=tokens.device)
    count = torch.empty(n_points, dtype=torch.int32, device=tokens.device)
    work = _workspace(tokens, "backproject", v, h, w, n_points)
    given = (tokens, kind == "bfloat16", v, rows, columns, c, point_of_pixel, h, w, n_points)
    _run(tokens, "backproject", *given, ctypes.c_int32(_MODES[mode]), per_view, total, count, work, work.numel())
    return total, count.long()


def _checked(
    name: str, x: Tensor, dtype: str, rank: int, last: int | None = None, device: Any = None
) -> tuple[int, ...]:
    """The shape of a contiguous CUDA tensor. Raises TypeError for another dtype, ValueError for the rest."""
    if str(x.dtype) != f"torch.{dtype}":
        raise TypeError(f"{name}: expected {dtype}, got {x.dtype}; convert it first")
    if x.device.type != DEVICE or (device is not None and x.device != device):
        raise ValueError(f"{name}: expected a tensor on {device or DEVICE}, got one on {x.device}")
    if x.ndim != rank or (last is not None and x.shape[-1] != last):
        raise ValueError(
            f"{name}: expected {rank} dimensions{f', the last {last}' if last else ''}, got {tuple(x.shape)}"
        )
    if not x.is_contiguous():
        raise ValueError(f"{name}: expected a contiguous tensor; make a contiguous copy first")
    return tuple(x.shape)


def _workspace(like: Tensor, name: str, *sizes: int) -> Tensor:
    needed = getattr(library(), f"pa3d_cuda_{name}_workspace")(*(ctypes.c_int64(size) for size in sizes))
    if needed < 0:
        raise ValueError(f"{name}: sizes {sizes} are out of range for the CUDA kernel")
    torch = sys.modules["torch"]
    return torch.empty(max(needed, 1), dtype=torch.uint8, device=like.device)


def _upload(like: Tensor, table: NDArray[np.float64]) -> Tensor:
    """A small table on the device of like. Its values travel as arguments of a launch, so nothing waits for a copy."""
    table = np.ascontiguousarray(table, np.float64)
    out = like.new_empty(table.shape, dtype=sys.modules["torch"].float64)
    _run(like, "upload", ctypes.c_void_p(table.ctypes.data), table.nbytes, out)
    return out


def _run(like: Tensor, name: str, *arguments: Any) -> None:
    """Queues a kernel on the current stream of like's device. Raises RuntimeError with the library's reason."""
    torch, loaded = sys.modules["torch"], library()
    with torch.cuda.device(like.device):
        code = loaded.pa3d_cuda_set_device(like.device.index)
        if code == 0:
            stream = ctypes.c_void_p(torch.cuda.current_stream(like.device).cuda_stream)
            code = getattr(loaded, f"pa3d_cuda_{name}")(*(_native(a) for a in arguments), stream)
    if code != 0:
        raise RuntimeError(f"{name}: {loaded.pa3d_cuda_error(code).decode()}")


def _native(value: Any) -> Any:
    if value is None:
        return ctypes.c_void_p(None)
    if hasattr(value, "data_ptr"):
        return ctypes.c_void_p(value.data_ptr())
    if isinstance(value, ctypes.Structure):
        return ctypes.byref(value)
    if isinstance(value, ctypes.c_int32 | ctypes.c_void_p):
        return value
    if isinstance(value, bool):
        return ctypes.c_int32(value)
    return ctypes.c_float(value) if isinstance(value, float) else ctypes.c_int64(value)
