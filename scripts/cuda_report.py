"""Registers and memory of every GPU kernel, as the compilers report them; no GPU is needed.

    python scripts/cuda_report.py            writes the tables of docs/gpu.md, between its markers
    python scripts/cuda_report.py --check    compiles and judges, writes nothing

Every file of csrc/cuda is compiled for each architecture with warnings as errors. ptxas reports registers, spills and
shared memory; occupancy follows from these and the limits of an SM. Then every configuration of the Triton kernels is
compiled for sm_90. The script fails if a kernel spills or uses local memory and is not in ACCEPTED. It takes some five
minutes, most of them for Triton; --no-triton leaves out the Triton kernels and does not change their table.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
DOCUMENT = ROOT / "docs" / "gpu.md"
FLAGS = dict(re.findall(r"^FLAGS_(\w+) := (.*)$", (ROOT / "csrc" / "flags.mk").read_text(), re.M))

# Kernels that may use local memory, and why.
ACCEPTED: dict[str, str] = {}

# Bytes of dynamic shared memory in a typical call: token grids of 37 x 37.
DYNAMIC_SHARED = {"gather_tokens": 37 * 37 * 8}


@dataclass(frozen=True)
class Limits:
    """Limits of an SM (CUDA C++ programming guide, technical specifications per compute capability)."""

    warps: int
    blocks: int
    shared: int  # bytes; each block takes RESERVED of them besides its own
    registers: int = 65536


RESERVED = 1024
ARCHITECTURES = {
    "sm_80": Limits(warps=64, blocks=32, shared=164 << 10),
    "sm_86": Limits(warps=48, blocks=16, shared=100 << 10),
    "sm_90": Limits(warps=64, blocks=32, shared=228 << 10),
    "sm_100": Limits(warps=64, blocks=32, shared=228 << 10),
}


@dataclass(frozen=True)
class Usage:
    registers: int  # a thread
    local: int  # bytes of stack and spills a thread
    shared: int  # bytes a block


def occupancy(threads: int, usage: Usage, limits: Limits) -> float:
    """Resident warps divided by the most that an SM can hold. Registers are allocated to a warp 256 at a time."""
    warps = threads // 32
    by_registers = limits.registers // (warps * -(-usage.registers * 32 // 256) * 256)
    by_shared = limits.shared // (usage.shared + RESERVED)
    return min(by_registers, by_shared, limits.warps // warps, limits.blocks) * warps / limits.warps


def nvcc(*options: str) -> str:
    compiler = os.environ.get("NVCC") or shutil.which("nvcc")
    if compiler is None:
        raise SystemExit("nvcc not found: install the CUDA toolkit, or name it in NVCC")
    warnings = ("-Werror", "all-warnings", "-Xcompiler", "-Wall,-Wextra,-Wno-unknown-pragmas")
    flags = (FLAGS["STANDARD"], FLAGS["OPTIMIZE"], *warnings, f"-I{ROOT / 'csrc'}")
    done = subprocess.run([compiler, *flags, *options], capture_output=True, text=True)
    if done.returncode != 0:
        raise SystemExit(f"nvcc {' '.join(options)} failed:\n{done.stderr}")
    return done.stdout + done.stderr


def get_threads(source: Path, folder: Path) -> dict[str, int]:
    """Mangled names and block sizes, which the sources state by __launch_bounds__."""
    ptx = folder / f"{source.stem}.ptx"
    nvcc("-ptx", "-arch=sm_80", str(source), "-o", str(ptx))
    found = re.findall(r"\.entry (\w+)\([^)]*\)[^{]*?\.maxntid (\d+)", ptx.read_text())
    return {name: int(threads) for name, threads in found}


def get_usage(source: Path, architecture: str, folder: Path) -> dict[str, Usage]:
    """Registers and memory of each kernel, by mangled name."""
    said = nvcc("-cubin", f"-arch={architecture}", "-Xptxas", "-v", str(source), "-o", str(folder / "kernel.cubin"))
    out = {}
    for name, text in re.findall(r"Compiling entry function '(\w+)'(.*?Used [^\n]*)", said, re.S):
        stack, stores, loads = (
            int(re.search(rf"(\d+) bytes {what}", text)[1])  # type: ignore[index]
            for what in ("stack frame", "spill stores", "spill loads")
        )
        registers = int(re.search(r"Used (\d+) registers", text)[1])  # type: ignore[index]
        shared = re.search(r"(\d+) bytes smem", text)
        out[name] = Usage(registers, max(stack, stores, loads), int(shared[1]) if shared else 0)
    return out


def readable(name: str) -> str:
    """A mangled name without namespace and arguments; as it is where there is no c++filt."""
    if shutil.which("c++filt") is None:
        return name
    text = subprocess.run(["c++filt", name], capture_output=True, text=True, check=True).stdout.strip()
    text = text.removeprefix("void ").replace("pa3d::cuda::", "")
    return re.sub(r"\(bool\)", "", re.sub(r"\(int\)", "", text)).partition("(")[0]


def cuda_table() -> tuple[str, list[str]]:
    """The table as Markdown, and the problems that were found."""
    columns = [f"registers, {' / '.join(ARCHITECTURES)}", "local, B", "shared, B", "occupancy, %"]
    lines = [f"| kernel | threads | {' | '.join(columns)} |", "|---|---|---|---|---|---|"]
    problems = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for source in sorted((ROOT / "csrc" / "cuda").glob("*.cu")):
            threads = get_threads(source, folder)
            by_architecture = {a: get_usage(source, a, folder) for a in ARCHITECTURES}
            for mangled in sorted(threads, key=readable):
                title = readable(mangled)
                plain = title.partition("<")[0]
                used = [by_architecture[a][mangled] for a in ARCHITECTURES]
                local = max(u.local for u in used)
                if local and plain not in ACCEPTED:
                    problems.append(f"{source.name}: {title} keeps {local} bytes a thread in local memory")
                dynamic = DYNAMIC_SHARED.get(plain, 0)
                full = [Usage(u.registers, u.local, u.shared + dynamic) for u in used]
                shares = [
                    f"{100 * occupancy(threads[mangled], u, limits):.0f}"
                    for u, limits in zip(full, ARCHITECTURES.values(), strict=True)
                ]
                registers = " / ".join(str(u.registers) for u in used)
                shared = max(u.shared for u in full)
                row = [f"`{title}`", threads[mangled], registers, local, shared, " / ".join(shares)]
                lines.append(f"| {' | '.join(map(str, row))} |")
    lines += [f"\n`{name}` uses local memory: {reason}" for name, reason in ACCEPTED.items()]
    return "\n".join(lines), problems


def triton_table() -> tuple[str, list[str], str]:
    """The table as Markdown, the problems that were found, and Triton's version."""
    try:
        import triton
        from pa3d.kernels import report
    except ImportError as error:
        raise SystemExit(f"{error}: install pa3d[dev], or leave the Triton kernels out by --no-triton") from error
    rows = list(report.rows())
    problems = [
        f"{row.kernel}, {row.config}: keeps {row.spills} bytes a thread in local memory"
        for row in rows
        if row.spills and row.kernel not in ACCEPTED
    ]
    return report.markdown(rows), problems, triton.__version__


def version() -> str:
    found = re.search(r"release [\d.]+, V([\d.]+)", nvcc("--version"))
    return found[1] if found else "unknown"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing")
    parser.add_argument("--no-triton", action="store_true", help="leave the Triton kernels out")
    given = parser.parse_args()
    table, problems = cuda_table()
    found = {"cuda-report": f"CUDA, nvcc {version()}, `-O3`:\n\n{table}"}
    said = f"{table.count(chr(10)) - 1} CUDA kernels"
    if not given.no_triton:
        table, more, release = triton_table()
        problems += more
        found["triton-report"] = f"Triton {release}, sm_90:\n\n{table}"
        said += f", {table.count(chr(10)) - 1} configurations of Triton kernels"
    if problems:
        raise SystemExit("\n".join(problems))
    if not given.check:
        text = DOCUMENT.read_text()
        for name, content in found.items():
            text = replaced(text, name, content)
        fresh = DOCUMENT.with_suffix(".md.part")
        fresh.write_text(text)
        os.replace(fresh, DOCUMENT)
    print(f"{DOCUMENT.relative_to(ROOT)}: {said}; no spills", file=sys.stderr)


def replaced(text: str, name: str, content: str) -> str:
    """text with new content between the two markers of this name."""
    begin, end = f"<!-- {name}:begin -->", f"<!-- {name}:end -->"
    before, found, rest = text.partition(begin)
    _, closed, after = rest.partition(end)
    if not found or not closed:
        raise SystemExit(f"{DOCUMENT}: the markers {begin} and {end} are missing")
    return f"{before}{begin}\n{content}\n{end}{after}"


if __name__ == "__main__":
    main()
