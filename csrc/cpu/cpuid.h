// What this processor can do: one table, read once; PA3D_ISA pins a lower level.
#pragma once

namespace pa3d {

// Every level contains the ones before it.
enum class Isa { generic = 0, avx2 = 1, avx512 = 2, avx512_bf16 = 3 };

// The level in use: the best of the processor, lowered by PA3D_ISA or set_isa.
Isa isa();
Isa best_isa();
// Pins a level for this process. Returns false when the processor lacks it or the name is unknown.
bool set_isa(const char* name);
const char* isa_name(Isa level);
// PA3D_ISA as it was found when it could not be honoured, or nullptr.
const char* rejected_isa();

}  // namespace pa3d
