// flags: fast
#include "train_block.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <stdexcept>
#include <type_traits>
#include <vector>

#include "buffer.h"
#include "cpuid.h"
#include "intrinsics.h"
#include "parallel.h"

#define PA3D_WITH_BF16
#define PA3D_SOURCE "train_block.inl"
#include "foreach_isa.h"

namespace pa3d {

std::unique_ptr<BlockTrainer> make_block_trainer(Precision precision) {
#if defined(__x86_64__)
  if (precision == Precision::bf16 && supports(precision)) return avx512_bf16::block_trainer_bf16();
#elif defined(PA3D_NEON_EXTENSIONS)
  if (precision == Precision::bf16 && supports(precision)) return neon_bf16::block_trainer_bf16();
#endif
  if (precision != Precision::fp32)
    throw std::invalid_argument("training kernels take fp32, and bf16 on processors that have it");
  return PA3D_DISPATCH(block_trainer_fp32());
}

}  // namespace pa3d
