"""Registers, shared memory and occupancy of the Triton kernels: compiles every configuration and reads the binary.

    python -m kernels.report                    every kernel, for sm_90, as a Markdown table
    python -m kernels.report --only knn         kernels whose name starts with knn

It needs no GPU, because the compiler decides registers, spills and shared memory. It measures no times.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from . import attention, backproject, block, knn, patch_embed
from ._common import Variant, refuse_interpreter

MODULES = (knn, attention, block, patch_embed, backproject)

# What an SM of compute capability 9.0 holds (CUDA programming guide, table of technical specifications).
REGISTERS, SHARED, THREADS, BLOCKS, RESERVED = 65536, 228 * 1024, 2048, 32, 1024


@dataclass(frozen=True)
class Row:
    """One compiled configuration.

    registers: per thread
    spills: bytes of stack and local memory per thread
    shared: bytes of shared memory
    occupancy: the share of an SM's threads that can be resident; limited by registers, shared memory or blocks
    fused: fused multiply-add instructions in the machine code, counted only for kernels that must not have any
    """

    kernel: str
    config: str
    threads: int
    registers: int
    spills: int
    shared: int
    occupancy: float
    fused: int


def rows(only: str = "", capability: int = 90) -> Iterator[Row]:
    """Compiles and reads every configuration of the kernels whose name starts with `only`.

    Raises RuntimeError on the interpreter, which compiles nothing.
    """
    refuse_interpreter()
    for module in MODULES:
        for variant in module.variants():
            if variant.name.startswith(only):
                for config in variant.configs:
                    yield measure(variant, config, capability)


def measure(variant: Variant, config: triton.Config, capability: int = 90) -> Row:
    compiled = compile_variant(variant, config, capability)
    usage = _tool("cuobjdump", "--dump-resource-usage", cubin=compiled.asm["cubin"])
    found = {key: int(value) for key, value in re.findall(r"(REG|STACK|LOCAL):(\d+)", usage)}
    code = "" if variant.fp_fusion else _tool("nvdisasm", "-c", cubin=compiled.asm["cubin"])
    threads, shared = 32 * compiled.metadata.num_warps, compiled.metadata.shared
    return Row(
        variant.name,
        " ".join(
            f"{k}={v}" for k, v in {**config.kwargs, "warps": config.num_warps, "stages": config.num_stages}.items()
        ),
        threads,
        found["REG"],
        found["STACK"] + found["LOCAL"],
        shared,
        occupancy(threads, found["REG"], shared),
        len(re.findall(r"\b[FD]FMA\b", code)),
    )


def compile_variant(variant: Variant, config: triton.Config, capability: int = 90) -> Any:
    kernel, constexprs = variant.kernel, {**variant.constexprs, **config.kwargs}
    while not isinstance(kernel, triton.runtime.JITFunction):
        for name, rule in getattr(kernel, "values", {}).items():
            constexprs[name] = rule({**variant.typical, **constexprs})
        kernel = kernel.fn
    given = {name: constexprs[name] for name in kernel.arg_names if name in constexprs}
    signature = {name: "constexpr" if name in given else variant.signature[name] for name in kernel.arg_names}
    even = [n for n in kernel.arg_names if signature[n].startswith("*") or variant.typical.get(n, 1) % 16 == 0]
    aligned = {(kernel.arg_names.index(name),): [["tt.divisibility", 16]] for name in even}
    fixed = {(kernel.arg_names.index(name),): value for name, value in given.items()}
    source = ASTSource(kernel, signature, constexprs=fixed, attrs=aligned)
    options = {"num_warps": config.num_warps, "num_stages": config.num_stages, "enable_fp_fusion": variant.fp_fusion}
    return triton.compile(source, target=GPUTarget("cuda", capability, 32), options=options)


def occupancy(threads: int, registers: int, shared: int) -> float:
    """Resident threads divided by the most that an SM can hold. A warp gets registers in units of 256."""
    warps = threads // 32
    by_registers = REGISTERS // (warps * -(-registers * 32 // 256) * 256)
    blocks = min(by_registers, SHARED // (shared + RESERVED), THREADS // threads, BLOCKS)
    return blocks * threads / THREADS


def _tool(name: str, *options: str, cubin: bytes) -> str:
    """The output of one of the binary tools that come with Triton."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "kernel.cubin"
        path.write_bytes(cubin)
        tool = getattr(triton.knobs.nvidia, name).path
        return subprocess.run([tool, *options, str(path)], check=True, capture_output=True, text=True).stdout


def markdown(table: list[Row]) -> str:
    lines = ["| kernel | configuration | registers | spills, B | shared, B | occupancy |", "|---|---|---|---|---|---|"]
    for r in table:
        lines.append(f"| {r.kernel} | {r.config} | {r.registers} | {r.spills} | {r.shared} | {r.occupancy:.0%} |")
    return "\n".join(lines)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="compile only kernels whose name starts with this")
    parser.add_argument("--capability", type=int, default=90)
    given = parser.parse_args()
    print(markdown(list(rows(given.only, given.capability))))
