"""Builds pa3d._C: the C++ sources through ninja, in parallel, with flags of their own where a kernel needs them."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
import sysconfig
from pathlib import Path

import pybind11
from setuptools import Extension, find_packages, setup
from setuptools.command.build_ext import build_ext

ROOT = Path(__file__).parent
SOURCES = ["csrc/bind.cpp", *sorted(str(p.relative_to(ROOT)) for p in ROOT.glob("csrc/bind_*.cpp"))]
SOURCES += sorted(str(p.relative_to(ROOT)) for p in ROOT.glob("csrc/cpu/*.cpp"))

# Results must be equal to the bit on every backend, so a product and a sum are never fused behind our back ...
EXACT = ("-ffp-contract=off",)
# ... but in the network, where fused multiply-add is the point. Every path has tolerances there.
FAST = ("-ffp-contract=fast", "-fno-math-errno")
FAST_SOURCES = ("csrc/cpu/encoder.cpp", "csrc/cpu/text.cpp")


class NinjaBuild(build_ext):
    """Compiles every object with ninja; falls back to nothing: ninja is a build requirement."""

    def build_extension(self, ext: Extension) -> None:
        out = Path(self.get_ext_fullpath(ext.name)).resolve()
        out.parent.mkdir(parents=True, exist_ok=True)
        work = (Path(self.build_temp) / ext.name).resolve()
        work.mkdir(parents=True, exist_ok=True)
        (work / "build.ninja").write_text(self._rules(ext, out))
        jobs = os.environ.get("MAX_JOBS") or str(os.cpu_count() or 1)
        try:
            subprocess.run([sys.executable, "-m", "ninja", "-C", str(work), "-j", jobs], check=True)
        except subprocess.CalledProcessError as error:
            raise SystemExit(
                f"building {ext.name} failed: a C++17 compiler is needed (g++ 10 or clang 12 and later)"
            ) from error

    def _rules(self, ext: Extension, out: Path) -> str:
        cxx = os.environ.get("CXX", "c++")
        include = [sysconfig.get_paths()["include"], pybind11.get_include(), str(ROOT / "csrc")]
        flags = ["-O3", "-std=c++17", "-fPIC", "-fvisibility=hidden", "-Wall", "-Wextra", "-Wno-psabi"]
        flags += ["-Wno-unknown-pragmas", "-Wno-maybe-uninitialized", *os.environ.get("PA3D_CXXFLAGS", "").split()]
        link = ["-shared", *os.environ.get("PA3D_LDFLAGS", "").split()]
        if platform.system() == "Darwin":
            link += ["-undefined", "dynamic_lookup"]
        else:
            flags.append("-fopenmp")
            link.append("-fopenmp")
        includes = " ".join(f"-I{_escape(path)}" for path in include)
        lines = [
            "ninja_required_version = 1.5",
            "rule cxx",
            f"  command = {cxx} -MMD -MF $out.d {' '.join(flags)} {includes} $extra -c $in -o $out",
            "  depfile = $out.d",
            "  deps = gcc",
            "rule link",
            f"  command = {cxx} $in {' '.join(link)} -o $out",
        ]
        objects = []
        for source in ext.sources:
            obj = source.replace("/", "_").replace(".cpp", ".o")
            extra = FAST if source in FAST_SOURCES else EXACT
            lines += [f"build {obj}: cxx {_escape(ROOT / source)}", f"  extra = {' '.join(extra)}"]
            objects.append(obj)
        lines.append(f"build {_escape(out)}: link {' '.join(objects)}")
        return "\n".join(lines) + "\n"


def _escape(path: str | Path) -> str:
    return str(path).replace("$", "$$").replace(" ", "$ ").replace(":", "$:")


setup(
    # The Triton sources lie beside csrc/, but a package called kernels would collide: they go in as pa3d.kernels.
    packages=[*find_packages(include=["pa3d*"]), "pa3d.kernels"],
    package_dir={"pa3d.kernels": "kernels"},
    ext_modules=[Extension("pa3d._C", SOURCES)],
    cmdclass={"build_ext": NinjaBuild},
)
