// flags: fast
#include "encoder.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstring>
#include <stdexcept>
#include <string>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

#include "buffer.h"
#include "cpuid.h"
#include "fps.h"
#include "parallel.h"

namespace pa3d {
namespace {

using Clock = std::chrono::steady_clock;

double seconds(Clock::time_point from, Clock::time_point to) {
  return std::chrono::duration<double>(to - from).count();
}

}  // namespace
}  // namespace pa3d

#if defined(__x86_64__)
#define PA3D_WITH_BF16
#endif
#define PA3D_SOURCE "encoder.inl"
#include "foreach_isa.h"

namespace pa3d {

bool supports(Precision precision) { return precision == Precision::fp32 || isa() >= Isa::avx512_bf16; }

std::unique_ptr<Encoder> make_encoder(const EncoderConfig& c, Precision precision, const WeightSource& weights) {
  for (int64_t size : {c.patches, c.patch_size, c.dim, c.depth, c.heads, c.mlp_hidden, c.embed[0], c.embed[1],
                       c.embed[2], c.embed[3], c.pos_hidden, c.text_dim})
    if (size < 1) throw std::invalid_argument("encoder configuration: every size must be at least 1");
  if (c.dim % c.heads != 0)
    throw std::invalid_argument("encoder configuration: dim " + std::to_string(c.dim) + " is not a multiple of heads " +
                                std::to_string(c.heads));
  if (precision != Precision::fp32) {
#if defined(__x86_64__)
    if (supports(precision))
      return precision == Precision::bf16 ? avx512_bf16::encoder_bf16(c, weights)
                                          : avx512_bf16::encoder_int8(c, weights);
#endif
    throw std::invalid_argument(
        std::string("precisions bf16 and int8 need AVX-512 with BF16 and VNNI; the instruction set in use is ") +
        isa_name(isa()) + "; use fp32 or auto");
  }
#if defined(__x86_64__)
  if (isa() >= Isa::avx512) return avx512::encoder_fp32(c, weights);
  if (isa() >= Isa::avx2) return avx2::encoder_fp32(c, weights);
#endif
  return generic::encoder_fp32(c, weights);
}

}  // namespace pa3d
