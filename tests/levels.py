"""The instruction sets of this kind of processor, the lowest first: those of csrc/cpu/cpuid.h."""

import platform

if platform.machine() in ("aarch64", "arm64"):
    LEVELS = ("generic", "neon", "neon_dotprod", "neon_bf16")
else:
    LEVELS = ("generic", "avx2", "avx512", "avx512_bf16")
