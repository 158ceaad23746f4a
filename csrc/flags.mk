# Compiler flags of all C++ and CUDA sources, in one place: included by capi.mk and tests/native/sanitize.mk, read by
# setup.py, scripts/cuda_report.py and tests/cuda_host.py. One assignment per line, no references to other variables.
FLAGS_STANDARD := -std=c++17
FLAGS_WARNINGS := -Wall -Wextra -Wno-psabi -Wno-unknown-pragmas -Wno-maybe-uninitialized
FLAGS_SHARED := -fPIC -fvisibility=hidden
FLAGS_OPTIMIZE := -O3

# A source is `exact` unless its first line says `// flags: fast`.
# exact: results are equal to the bit on every backend, so the compiler must not fuse a product and a sum.
FLAGS_EXACT := -ffp-contract=off
# fast: the networks and the solver of refine, where fused multiply-add is wanted. Their tests have tolerances.
FLAGS_FAST := -ffp-contract=fast -fno-math-errno
FLAGS_FAST_MARK := // flags: fast
