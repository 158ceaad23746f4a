// The instruction set (ISA) that the kernels use. It is detected once; the environment variable PA3D_ISA selects a
// lower one.
#pragma once

// Whether the compiler has the intrinsics of the levels above neon for single functions.
#if defined(__aarch64__) && (!defined(__clang__) || __clang_major__ >= 16)
#define PA3D_NEON_EXTENSIONS
#endif

namespace pa3d {

// Those of this kind of processor. Each contains the ones before it.
#if defined(__x86_64__)
enum class Isa { generic = 0, avx2 = 1, avx512 = 2, avx512_bf16 = 3 };
constexpr const char* kIsaNames[] = {"generic", "avx2", "avx512", "avx512_bf16"};
constexpr const char* kIsaChoices = "generic, avx2, avx512 or avx512_bf16";  // for messages
#elif defined(__aarch64__)
// neon: every aarch64 processor. neon_dotprod: int8 by sdot (Cortex-A76, Neoverse N1, Apple M1). neon_bf16: bf16 by
// bfmmla and int8 by smmla (Neoverse V1 and N2, Apple M2). No processor is known that has bfmmla and lacks smmla.
enum class Isa { generic = 0, neon = 1, neon_dotprod = 2, neon_bf16 = 3 };
constexpr const char* kIsaNames[] = {"generic", "neon", "neon_dotprod", "neon_bf16"};
constexpr const char* kIsaChoices = "generic, neon, neon_dotprod or neon_bf16";
#else
enum class Isa { generic = 0 };
constexpr const char* kIsaNames[] = {"generic"};
constexpr const char* kIsaChoices = "generic";
#endif

// The one in use: the best that the processor has, unless PA3D_ISA or set_isa selected a lower one.
Isa isa();
// The best that the processor has.
Isa best_isa();
// Selects one for this process. Returns false if the processor lacks it or the name is unknown.
bool set_isa(const char* name);
const char* isa_name(Isa isa);
// The value of PA3D_ISA if it was ignored, because it is unknown or the processor lacks it; otherwise nullptr.
const char* rejected_isa();

}  // namespace pa3d
