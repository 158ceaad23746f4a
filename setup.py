"""Builds pa3d._C from csrc with ninja, in parallel. The compiler flags are those of csrc/flags.mk.

PA3D_CUDA=1 also builds the CUDA kernels and fails without nvcc. PA3D_CUDA=0 never builds them. PA3D_CUDA=auto, the
default, builds them where nvcc works and a GPU is visible. PA3D_CUDA_ARCHS ("80 86 90 100" by default) names the
compute capabilities; PTX for the last one runs on newer cards.
"""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

from setuptools import Extension, find_packages, setup
from setuptools.command.build_ext import build_ext

ROOT = Path(__file__).parent
SOURCES = ["csrc/bind.cpp", *sorted(str(p.relative_to(ROOT)) for p in ROOT.glob("csrc/bind_*.cpp"))]
SOURCES += sorted(str(p.relative_to(ROOT)) for p in ROOT.glob("csrc/cpu/*.cpp"))

FLAGS = dict(re.findall(r"^FLAGS_(\w+) := (.*)$", (ROOT / "csrc" / "flags.mk").read_text(), re.M))
CUDA_LIBRARY = "libpa3d_cuda.so"

# The extension uses the stable ABI of Python 3.11 (csrc/abi3.h). Python without the GIL has none.
STABLE_ABI = not sysconfig.get_config_var("Py_GIL_DISABLED")


def _write_stub() -> None:
    """Writes pa3d/_C.pyi: the types in the comments `/* pa3d/_C.pyi:` of the binding files, bind.cpp first."""
    texts = [path.read_text() for path in sorted(ROOT.glob("csrc/bind*.cpp"))]
    blocks = [part for text in texts for part in re.findall(r"^/\* pa3d/_C\.pyi:\n(.*?)^\*/$", text, re.M | re.S)]
    stub, content = ROOT / "pa3d" / "_C.pyi", "\n".join(blocks)
    if not stub.is_file() or stub.read_text() != content:
        stub.write_text(content)


class NinjaBuild(build_ext):
    """Compiles and links with ninja, which is a build requirement."""

    def build_extension(self, ext: Extension) -> None:
        out = Path(self.get_ext_fullpath(ext.name)).resolve()
        out.parent.mkdir(parents=True, exist_ok=True)
        work = (Path(self.build_temp) / ext.name).resolve()
        work.mkdir(parents=True, exist_ok=True)
        (work / "build.ninja").write_text(self._rules(ext, out))
        _ninja(work, f"building {ext.name} failed: a C++17 compiler is needed (g++ 10 or clang 12 and later)")
        nvcc = _nvcc()
        if nvcc is not None:
            self._build_cuda(nvcc, out.parent / CUDA_LIBRARY)

    def copy_extensions_to_source(self) -> None:
        for old in (ROOT / "pa3d").glob("_C.*.so"):  # one with another suffix would be imported instead
            old.unlink()
        super().copy_extensions_to_source()
        built = Path(self.build_lib) / "pa3d" / CUDA_LIBRARY
        if built.is_file():
            shutil.copy2(built, ROOT / "pa3d" / CUDA_LIBRARY)

    def _build_cuda(self, nvcc: str, out: Path) -> None:
        names = os.environ.get("PA3D_CUDA_ARCHS", "80 86 90 100").replace(",", " ").replace("sm_", "").split()
        code = [f"-gencode arch=compute_{name},code=sm_{name}" for name in names]
        code.append(f"-gencode arch=compute_{names[-1]},code=compute_{names[-1]}")
        host = FLAGS["SHARED"].replace(" ", ",")
        flags = [FLAGS["OPTIMIZE"], FLAGS["STANDARD"], f"-Xcompiler {host}", f"-I{_escape(ROOT / 'csrc')}", *code]
        objects = {f"{path.stem}.o": path for path in sorted(ROOT.glob("csrc/cuda/*.cu"))}
        lines = [
            "ninja_required_version = 1.5",
            "rule cuda",
            f"  command = {_escape(nvcc)} -MD -MF $out.d {' '.join(flags)} -c $in -o $out",
            "  depfile = $out.d",
            "  deps = gcc",
            "rule link",
            f"  command = {_escape(nvcc)} -shared -cudart static $in -o $out",
            *(f"build {name}: cuda {_escape(path)}" for name, path in objects.items()),
            f"build {_escape(out)}: link {' '.join(objects)}",
        ]
        work = (Path(self.build_temp) / "cuda").resolve()
        work.mkdir(parents=True, exist_ok=True)
        (work / "build.ninja").write_text("\n".join(lines) + "\n")
        _ninja(work, "building the CUDA kernels failed; PA3D_CUDA=0 installs without them")

    def _rules(self, ext: Extension, out: Path) -> str:
        cxx = os.environ.get("CXX", "c++")
        include = [sysconfig.get_paths()["include"], str(ROOT / "csrc")]
        flags = [FLAGS[name] for name in ("OPTIMIZE", "STANDARD", "SHARED", "WARNINGS")]
        flags += os.environ.get("PA3D_CXXFLAGS", "").split()
        link = ["-shared", *os.environ.get("PA3D_LDFLAGS", "").split()]
        if platform.system() == "Darwin":
            link += ["-undefined", "dynamic_lookup"]
        else:
            flags.append("-pthread")
            link.append("-pthread")
        includes = " ".join(f"-I{_escape(path)}" for path in include)
        lines = [
            "ninja_required_version = 1.5",
            "rule cxx",
            f"  command = {cxx} -MMD -MP -MF $out.d {' '.join(flags)} {includes} $extra -c $in -o $out",
            "  depfile = $out.d",
            "  deps = gcc",
            "rule link",
            f"  command = {cxx} $in {' '.join(link)} -o $out",
        ]
        objects = []
        for source in ext.sources:
            obj = source.replace("/", "_").replace(".cpp", ".o")
            fast = (ROOT / source).read_text().startswith(FLAGS["FAST_MARK"] + "\n")
            extra = FLAGS["FAST" if fast else "EXACT"]
            lines += [f"build {obj}: cxx {_escape(ROOT / source)}", f"  extra = {extra}"]
            objects.append(obj)
        lines.append(f"build {_escape(out)}: link {' '.join(objects)}")
        return "\n".join(lines) + "\n"


def _ninja(folder: Path, failure: str) -> None:
    jobs = os.environ.get("MAX_JOBS") or str(os.cpu_count() or 1)
    try:
        subprocess.run([sys.executable, "-m", "ninja", "-C", str(folder), "-j", jobs], check=True)
    except subprocess.CalledProcessError as error:
        raise SystemExit(failure) from error


def _nvcc() -> str | None:
    """The path of nvcc if the CUDA kernels are to be built, else None."""
    wanted = os.environ.get("PA3D_CUDA", "auto")
    if wanted not in ("0", "1", "auto"):
        raise SystemExit(f"PA3D_CUDA is {wanted!r}; expected 0, 1 or auto")
    visible = any(os.path.exists(device) for device in ("/dev/nvidiactl", "/dev/dxg"))
    if wanted == "0" or (wanted == "auto" and not visible):
        return None
    home = os.environ.get("CUDA_HOME", "/usr/local/cuda")
    found = shutil.which("nvcc") or shutil.which("nvcc", path=os.path.join(home, "bin"))
    works = found is not None and subprocess.run([found, "--version"], check=False, capture_output=True).returncode == 0
    if not works and wanted == "1":
        raise SystemExit(f"PA3D_CUDA=1: no nvcc that works on PATH or in {home}/bin; set CUDA_HOME, or PA3D_CUDA=0")
    return found if works else None


def _escape(path: str | Path) -> str:
    return str(path).replace("$", "$$").replace(" ", "$ ").replace(":", "$:")


_write_stub()
setup(
    # The Triton sources lie beside csrc/, but a package called kernels would collide: they go in as pa3d.kernels.
    packages=[*find_packages(include=["pa3d*"]), "pa3d.kernels"],
    package_dir={"pa3d.kernels": "kernels"},
    ext_modules=[Extension("pa3d._C", SOURCES, py_limited_api=STABLE_ABI)],
    cmdclass={"build_ext": NinjaBuild},
    options={"bdist_wheel": {"py_limited_api": "cp311"}} if STABLE_ABI else {},
)
