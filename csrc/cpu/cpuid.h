// The instruction set (ISA) that the kernels use. It is detected once; the environment variable PA3D_ISA selects a
// lower one.
#pragma once

namespace pa3d {

// Each of these contains the ones before it.
enum class Isa { generic = 0, avx2 = 1, avx512 = 2, avx512_bf16 = 3 };

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
