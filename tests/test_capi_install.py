"""What `make capi install` installs: used by CMake, pkg-config, C, C++ and Rust, and compared with Python."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from clouds import cloud
from test_embedding import blocks
from tiny import TINY, calibrated_checkpoint, random_checkpoint, write_tiny

import pa3d
from pa3d.checkpoint import save
from pa3d.segment import Segmenter
from pa3d.shape import Shape
from pa3d.text.minilm import WEIGHTS
from pa3d.text.vectors import TextVectors

ROOT = Path(__file__).resolve().parents[1]
PARTS = ["seat", "back", "leg"]
ALONE: dict[str, Any] = {"refine": False, "structure": False}  # what pa3d_segment does

pytestmark = [
    pytest.mark.slow,  # compiles the kernels again, without Python
    pytest.mark.skipif(not shutil.which("make") or not shutil.which("cc"), reason="needs make and a C compiler"),
]


@pytest.fixture(scope="module")
def prefix(capi_build: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("prefix")
    settings = [f"CAPI_OUT={capi_build}", f"PREFIX={folder}"]
    subprocess.run(["make", "-s", "-f", "csrc/capi.mk", *settings, "capi", "install"], cwd=ROOT, check=True)
    return folder


def run(*command: object, **environment: str) -> bytes:
    done = subprocess.run([str(word) for word in command], capture_output=True, env=os.environ | environment)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout


def counts(labels: np.ndarray) -> str:
    return "  ".join(f"{part}: {(labels == i).sum()}" for i, part in enumerate(PARTS)) + "  "


def write_clouds(folder: Path) -> tuple[list[np.ndarray], list[Path]]:
    clouds = [cloud("random", 700), pa3d.load(ROOT / "examples" / "chair.glb").points, cloud("random", 5000)]
    paths = [folder / f"{i}.f32" for i in range(len(clouds))]
    for points, path in zip(clouds, paths, strict=True):
        points.tofile(path)
    return clouds, paths


def test_cmake_builds_the_example_of_the_docs(prefix: Path, tmp_path: Path) -> None:
    if not shutil.which("cmake"):
        pytest.skip("needs cmake")
    source, build = tmp_path / "source", tmp_path / "build"
    source.mkdir()
    (source / "CMakeLists.txt").write_text(blocks("C and C\\+\\+", "cmake")[0])
    (source / "chairs.cpp").write_text(blocks("C and C\\+\\+", "cpp")[0])
    run("cmake", "-S", source, "-B", build, f"-DCMAKE_PREFIX_PATH={prefix}", "-DCMAKE_BUILD_TYPE=Release")
    run("cmake", "--build", build)
    clouds, paths = write_clouds(tmp_path)
    segmenter = Segmenter.from_pretrained()
    expected = [counts(segmenter.segment(points, PARTS, category="chair", **ALONE).labels) for points in clouds]
    for threads in ("1", "2", "5"):
        assert run(build / "chairs", *paths, OMP_NUM_THREADS=threads).decode().splitlines() == expected
    np.zeros(30, np.float32).tofile(tmp_path / "bad.f32")
    bad = subprocess.run([build / "chairs", paths[0], tmp_path / "bad.f32", tmp_path / "bad.f32"], capture_output=True)
    assert (bad.returncode, bad.stdout) == (1, b"")
    assert re.fullmatch(r"shapes\[1\]: all 10 points are equal; a shape needs an extent\n", bad.stderr.decode())


def test_cmake_refuses_another_version(prefix: Path, tmp_path: Path) -> None:
    if not shutil.which("cmake"):
        pytest.skip("needs cmake")
    for wanted, found in (("0.1", True), (pa3d.__version__, True), ("0.0.1", False), ("0.2", False), ("1", False)):
        lines = f"cmake_minimum_required(VERSION 3.16)\nproject(x CXX)\nfind_package(pa3d {wanted} REQUIRED)\n"
        (tmp_path / "CMakeLists.txt").write_text(lines)
        build = tmp_path / f"build{wanted}"
        command = ["cmake", "-S", tmp_path, "-B", build, f"-DCMAKE_PREFIX_PATH={prefix}"]
        assert (subprocess.run(command, capture_output=True).returncode == 0) == found, wanted


def test_pkg_config_builds_the_c_program(prefix: Path, tmp_path: Path) -> None:
    if not shutil.which("pkg-config"):
        pytest.skip("needs pkg-config")
    names = {"PKG_CONFIG_PATH": f"{prefix}/lib/pkgconfig"}
    assert run("pkg-config", "--modversion", "pa3d", **names).decode().strip() == pa3d.__version__
    weights = run("pkg-config", "--variable=weightsdir", "pa3d", **names).decode().strip()
    (command,) = re.findall(r"^cc (.*)$", blocks("C and C\\+\\+", "console")[0], re.M)
    shutil.copy(ROOT / "examples" / "embed" / "segment.c", tmp_path)
    run("sh", "-ec", f"cd {tmp_path}; cc -Wall -Wextra -Werror {command}", **names)
    clouds, paths = write_clouds(tmp_path)
    model = Path(weights) / "pa3d-embedded.safetensors"
    segmenter = Segmenter.from_pretrained(precision="fp32")
    for points, path in zip(clouds, paths, strict=True):
        given = (tmp_path / "segment", model, weights, path, "fp32", *PARTS)
        assert (
            run(*given, LD_LIBRARY_PATH=f"{prefix}/lib") == segmenter.segment(points, PARTS, **ALONE).labels.tobytes()
        )


def test_the_rust_program(prefix: Path, tmp_path: Path) -> None:
    if not shutil.which("rustc"):
        pytest.skip("needs rustc")
    program, source = tmp_path / "segment", ROOT / "examples" / "embed" / "segment.rs"
    run("rustc", "-O", "-D", "warnings", "-L", f"{prefix}/lib", "-o", program, source)
    clouds, paths = write_clouds(tmp_path)
    segmenter, library = Segmenter.from_pretrained(precision="fp32"), {"LD_LIBRARY_PATH": f"{prefix}/lib"}
    model = WEIGHTS / "pa3d-embedded.safetensors"
    for points, path in zip(clouds, paths, strict=True):
        given = (program, model, WEIGHTS, path, "fp32", *PARTS)
        assert run(*given, **library) == segmenter.segment(points, PARTS, **ALONE).labels.tobytes()
    bad = subprocess.run(
        [program, model, WEIGHTS, tmp_path / "no", "fp32", "a"], capture_output=True, env=os.environ | library
    )
    assert bad.returncode == 1 and b"no: No such file" in bad.stderr


def test_the_version_is_one(prefix: Path) -> None:
    header = (prefix / "include" / "pa3d.h").read_text()
    major, minor, patch = (int(number) for number in re.findall(r"\d+", pa3d.__version__))
    assert f'#define PA3D_VERSION "{pa3d.__version__}"\n' in header
    assert f"#define PA3D_VERSION_NUMBER {10000 * major + 100 * minor + patch} " in header


BATCH = r"""
#include <cstdio>
#include <cstring>
#include <fstream>
#include <iostream>
#include <pa3d.hpp>

template <class T>
void write(std::ofstream& file, const std::vector<T>& values) {
  file.write(reinterpret_cast<const char*>(values.data()), values.size() * sizeof(T));
}

template <class T>
std::vector<T> read(const std::string& path) {
  std::ifstream file(path, std::ios::binary | std::ios::ate);
  std::vector<T> values(file.tellg() / sizeof(T));
  file.seekg(0).read(reinterpret_cast<char*>(values.data()), values.size() * sizeof(T));
  return values;
}

int main(int, char** argv) try {
  static_assert(PA3D_VERSION_NUMBER > 0);
  const std::string folder = argv[1];
  const pa3d::Model model(argv[2], "fp32");
  const pa3d::TextVectors bank(folder + "/vectors.safetensors");
  std::vector<std::string> parts = bank.names();
  parts.erase(parts.begin());
  const std::vector<float> vectors = bank.select(model, parts, argv[3]);
  const auto points = read<float>(folder + "/points"), cloud = read<float>(folder + "/cloud");
  const auto faces = read<int32_t>(folder + "/faces");
  const pa3d::Shape mesh(points.data(), points.size() / 3, faces.data(), faces.size() / 3);
  const pa3d::Shape plain(cloud.data(), cloud.size() / 3);
  pa3d::Options options;
  options.threads = std::stoi(argv[4]);
  options.sample = 300;
  const bool presence = std::strcmp(argv[5], "presence") == 0;
  std::ofstream out(folder + "/out", std::ios::binary);
  for (const auto& result : pa3d::segment(model, {mesh, plain, mesh}, vectors, options, presence)) {
    write(out, result.labels), write(out, result.scores);
    write(out, result.face_labels), write(out, result.face_scores), write(out, result.presence);
  }
  write(out, pa3d::encode(model, cloud.data(), cloud.size() / 3, options).features);
} catch (const pa3d::Error& error) {
  std::cerr << error.status() << " " << error.what();
  return 1;
}
"""


@pytest.fixture(scope="module")
def batch(prefix: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A C++ program: text vectors of a file, a mesh and a cloud in one call."""
    folder = tmp_path_factory.mktemp("batch")
    (folder / "batch.cpp").write_text(BATCH)
    flags = ["-std=c++17", "-Wall", "-Wextra", "-Wpedantic", "-Werror", f"-I{prefix}/include", f"-L{prefix}/lib"]
    run("c++", *flags, folder / "batch.cpp", "-lpa3d", f"-Wl,-rpath,{prefix}/lib", "-o", folder / "batch")
    return folder / "batch"


def write_batch(
    folder: Path, space: str = "all-MiniLM-L6-v2", width: int = 384
) -> tuple[Shape, np.ndarray, np.ndarray]:
    vectors = np.random.default_rng(0).standard_normal((4, width)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    TextVectors(("Arm rest", *PARTS), vectors, space, "Office Chair").save(folder / "vectors.safetensors")
    chair, points = pa3d.load(ROOT / "examples" / "chair.glb"), cloud("random", 900)
    for name, array in (("points", chair.points), ("faces", chair.faces), ("cloud", points)):
        np.ascontiguousarray(array).tofile(folder / name)
    return chair, points, vectors


@pytest.mark.parametrize("calibrated", [False, True])
def test_a_batch_equals_python(batch: Path, tmp_path: Path, calibrated: bool) -> None:
    model = tmp_path / "model.safetensors"
    save(model, calibrated_checkpoint() if calibrated else random_checkpoint(TINY))
    chair, points, vectors = write_batch(tmp_path)
    segmenter = Segmenter.from_pretrained(model, precision="fp32")
    one, other = (
        segmenter.segment(shape, PARTS, text_vectors=vectors[1:], sample=300, **ALONE)
        for shape in (chair, Shape(points))
    )
    presence = one.presence.tobytes() if calibrated else b""
    mesh = (
        one.labels.tobytes() + one.scores.tobytes() + one.face_labels.tobytes() + one.face_scores.tobytes() + presence
    )
    plain = other.labels.tobytes() + other.scores.tobytes() + (other.presence.tobytes() if calibrated else b"")
    features = segmenter.encode(points, sample=300).features.tobytes()
    for threads in ("1", "2", "8"):
        run(batch, tmp_path, model, "office_chair", threads, "presence" if calibrated else "-")
        assert (tmp_path / "out").read_bytes() == mesh + plain + mesh + features


def test_what_a_batch_refuses(batch: Path, tmp_path: Path) -> None:
    model = tmp_path / "model.safetensors"
    save(model, random_checkpoint(TINY))

    def message(*given: object) -> str:
        done = subprocess.run([batch, *map(str, given)], capture_output=True, text=True)
        assert done.returncode == 1
        return done.stderr

    write_batch(tmp_path)
    assert "no calibration of presence" in message(tmp_path, model, "office chair", 1, "presence")
    assert "made for the category 'office chair', not for the category 'table'" in message(
        tmp_path, model, "table", 1, "-"
    )
    write_batch(tmp_path, space="another")
    assert "text space another with 384 dimensions, but the model needs all-MiniLM-L6-v2" in message(
        tmp_path, model, "office chair", 1, "-"
    )
    write_batch(tmp_path, width=40)
    assert "with 40 dimensions" in message(tmp_path, model, "office chair", 1, "-")
    write_batch(tmp_path)
    good = (tmp_path / "vectors.safetensors").read_bytes()
    for content in (
        b"",
        good[:100],
        good[:-4],
        good.replace(b'\\"format\\": 1', b'\\"format\\": 2'),
        good.replace(b"seat", b"back"),
    ):
        (tmp_path / "vectors.safetensors").write_bytes(content)
        text = message(tmp_path, model, "office chair", 1, "-")
        assert text.startswith("2 ") and "vectors.safetensors" in text
    write_tiny(tmp_path / "vectors.safetensors")
    assert "not text vectors of pa3d" in message(tmp_path, model, "office chair", 1, "-")
    (tmp_path / "vectors.safetensors").write_bytes(good)
    np.int32([0, 1, 99999]).tofile(tmp_path / "faces")
    assert message(tmp_path, model, "office chair", 8, "-").startswith("1 shapes[0]: faces refer to vertices outside")


def test_the_number_of_threads(prefix: Path) -> None:
    code = f"import ctypes; print(ctypes.CDLL({str(prefix / 'lib' / 'libpa3d.so')!r}).pa3d_thread_count())"
    for threads in ("1", "3"):
        assert run("python3", "-c", code, OMP_NUM_THREADS=threads) == f"{threads}\n".encode()
