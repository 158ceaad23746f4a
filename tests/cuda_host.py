"""The CUDA kernels built by the host compiler (csrc/cuda_host), and calls of them with numpy arrays."""

from __future__ import annotations

import ctypes
import re
import shutil
import subprocess
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pa3d.ops.backends.cuda import FUNCTIONS, MODES, Views, bind

CSRC = Path(__file__).resolve().parent.parent / "csrc"
SOURCES = sorted((CSRC / "cuda").glob("*.cu"))
SHARED_FLAGS = dict(re.findall(r"^FLAGS_(\w+) := (.*)$", (CSRC / "flags.mk").read_text(), re.M))
FLAGS = [*" ".join(SHARED_FLAGS[name] for name in ("STANDARD", "SHARED", "EXACT", "WARNINGS")).split(), "-Werror"]
OK, NULL, SIZE, ALIGNMENT, WORKSPACE, RUNTIME = 0, 1, 2, 3, 4, 1000
LAUNCH_FAILURE = RUNTIME + 719


def compiler() -> str | None:
    return shutil.which("g++") or shutil.which("c++")


def build(
    folder: Path,
    sources: Sequence[Path] = SOURCES,
    options: Sequence[str] = ("-O1",),
    include: Path = CSRC,
    ready: Sequence[Path] = (),
) -> Path:
    """A shared library of these .cu files and of objects made before; include: where `cuda_host` lies."""
    folder.mkdir(parents=True, exist_ok=True)
    flags = [*FLAGS, *options, "-DPA3D_CUDA_HOST", f"-I{include}"]
    objects = [str(path) for path in ready]
    for source in sources:
        objects.append(str(folder / f"{source.stem}.o"))
        _run([str(compiler()), *flags, "-x", "c++", "-c", str(source), "-o", objects[-1]])
    library = folder / "libpa3d_cuda_host.so"
    _run([str(compiler()), "-shared", *options, *objects, "-o", str(library)])
    return library


def _run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(command)}\n{done.stderr}")


class LaunchError(RuntimeError):
    pass


class Kernels:
    """pa3d_cuda.h in numpy. Outputs start as nonsense, the workspace as garbage of exactly the size asked."""

    def __init__(self, library: Path, names: Iterable[str] = FUNCTIONS) -> None:
        self.library = bind(ctypes.CDLL(str(library)), names)
        self.library.pa3d_cuda_host_seed.argtypes = [ctypes.c_uint64]

    def seed(self, value: int) -> None:
        self.library.pa3d_cuda_host_seed(value)

    def call(self, name: str, *arguments: Any) -> int:
        return int(getattr(self.library, f"pa3d_cuda_{name}")(*map(_address, arguments)))

    def bytes_for(self, name: str, *sizes: int) -> int:
        return int(getattr(self.library, f"pa3d_cuda_{name}_workspace")(*sizes))

    def checked(self, name: str, *arguments: Any) -> None:
        code = self.call(name, *arguments)
        if code != OK:
            raise LaunchError(f"{name}: {code}, {self.library.pa3d_cuda_error(code).decode()}")

    def fps(self, points: NDArray[np.float32], k: int, start: int = 0, near: float = 0.0) -> NDArray[np.int64]:
        b, n, _ = points.shape
        index = np.full((b, k), -7, np.int64)
        work = workspace(self.bytes_for("fps", b, n, k))
        self.checked("fps", points, b, n, k, start, near, index, work, work.nbytes, None)
        return index

    def knn(
        self, queries: NDArray[np.float32], points: NDArray[np.float32], k: int
    ) -> tuple[NDArray[Any], NDArray[Any]]:
        b, q, _ = queries.shape
        index, distance = np.full((b, q, k), -7, np.int64), np.full((b, q, k), np.nan, np.float32)
        self.checked("knn", queries, points, b, q, points.shape[1], k, index, distance, None)
        return index, distance

    def sample_and_group(
        self, points: NDArray[np.float32], k: int, m: int, start: int = 0, near: float = 0.0
    ) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
        b, n, _ = points.shape
        index, members = np.full((b, k), -7, np.int64), np.full((b, k, m), -7, np.int64)
        distance = np.full((b, k, m), np.nan, np.float32)
        work = workspace(self.bytes_for("sample_and_group", b, n, k, m))
        arguments = (points, b, n, k, m, start, near, index, members, distance, work, work.nbytes, None)
        self.checked("sample_and_group", *arguments)
        return index, members, distance

    def interpolate(
        self, points: NDArray[np.float32], centers: NDArray[np.float32], values: NDArray[np.float32], k: int
    ) -> NDArray[np.float32]:
        b, n, _ = points.shape
        g, c = values.shape[1:]
        out = np.full((b, n, c), np.nan, np.float32)
        self.checked("interpolate", points, centers, values, b, n, g, c, k, out, None)
        return out

    def rasterize(
        self, vertices: NDArray[np.float32], faces: NDArray[np.int32], cameras: Any, size: tuple[int, int]
    ) -> tuple[NDArray[np.int32], NDArray[np.float32], NDArray[np.float32]]:
        matrices, shape = cameras.matrices(size), (len(cameras), *size)
        ids, depth = np.full(shape, -7, np.int32), np.full(shape, np.nan, np.float32)
        weights = np.full((*shape, 3), np.nan, np.float32)
        work = workspace(self.bytes_for("rasterize", len(vertices), len(faces), *shape))
        arguments = (vertices, len(vertices), faces, len(faces), views(cameras, matrices, size))
        self.checked("rasterize", *arguments, ids, depth, weights, work, work.nbytes, None)
        return ids, depth, weights

    def rasterize_points(
        self, points: NDArray[np.float32], radius: NDArray[np.float32], cameras: Any, size: tuple[int, int]
    ) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        matrices, shape = cameras.matrices(size), (len(cameras), *size)
        ids, depth = np.full(shape, -7, np.int32), np.full(shape, np.nan, np.float32)
        scale = np.full(len(cameras), cameras.scale(size))
        work = workspace(self.bytes_for("rasterize", 0, 0, *shape))
        arguments = (points, radius, len(points), views(cameras, matrices, size), scale)
        self.checked("rasterize_points", *arguments, ids, depth, work, work.nbytes, None)
        return ids, depth

    def backproject(
        self,
        tokens: NDArray[Any],
        point_of_pixel: NDArray[np.int32],
        n_points: int,
        mode: str = "bicubic",
        per_view: bool = False,
    ) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
        """tokens: float32, or uint16 that holds bfloat16."""
        v, rows, columns, c = tokens.shape
        _, h, w = point_of_pixel.shape
        total, count = np.full((n_points, c), np.nan, np.float32), np.full(n_points, -7, np.int32)
        work = workspace(self.bytes_for("backproject", v, h, w, n_points))
        arguments = (tokens, tokens.dtype == np.uint16, v, rows, columns, c, point_of_pixel, h, w, n_points)
        self.checked("backproject", *arguments, MODES[mode], per_view, total, count, work, work.nbytes, None)
        return total, count


def workspace(size: int) -> NDArray[np.uint8]:
    """Garbage at a multiple of 256 bytes; where sanitizers watch, nothing lies behind its end."""
    if size < 0:
        raise LaunchError("sizes out of range")
    whole = np.full(size + 256, 0xA7, np.uint8)
    start = -whole.ctypes.data % 256
    return whole[start : start + size]


def views(cameras: Any, matrices: NDArray[np.float64], size: tuple[int, int]) -> Views:
    out = Views(matrices.ctypes.data, cameras.near, len(cameras), *size, int(cameras.perspective))
    out.keep = matrices
    return out


def _address(value: Any) -> Any:
    return value.ctypes.data if isinstance(value, np.ndarray) else bool(value) if isinstance(value, np.bool_) else value
