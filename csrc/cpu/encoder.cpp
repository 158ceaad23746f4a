// flags: fast
#include "encoder.h"

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
#include "intrinsics.h"
#include "parallel.h"
#include "passes.h"

namespace pa3d {
namespace {

using Clock = std::chrono::steady_clock;

double seconds(Clock::time_point from, Clock::time_point to) {
  return std::chrono::duration<double>(to - from).count();
}

}  // namespace
}  // namespace pa3d

#define PA3D_WITH_BF16
#define PA3D_WITH_INT8
#define PA3D_SOURCE "encoder.inl"
#include "foreach_isa.h"

namespace pa3d {

bool supports(Precision precision) {
  if (precision == Precision::fp32) return true;
#if defined(__x86_64__)
  return isa() >= Isa::avx512_bf16;
#elif defined(__aarch64__)
  return isa() >= (precision == Precision::int8 ? Isa::neon_dotprod : Isa::neon_bf16);
#else
  return false;
#endif
}

const char* requirement(Precision precision) {
#if defined(__x86_64__)
  return precision == Precision::fp32 ? "nothing" : "AVX-512 with BF16 and VNNI";
#else
  constexpr const char* kNeeds[] = {"nothing", "an Arm processor with BF16 and I8MM",
                                    "an Arm processor with dot products"};
  return kNeeds[static_cast<int>(precision)];
#endif
}

std::unique_ptr<Encoder> make_encoder(const EncoderConfig& c, Precision precision, const WeightSource& weights) {
  for (int64_t size : {c.patches, c.patch_size, c.dim, c.depth, c.heads, c.mlp_hidden, c.embed[0], c.embed[1],
                       c.embed[2], c.embed[3], c.pos_hidden, c.text_dim})
    if (size < 1) throw std::invalid_argument("encoder configuration: every size must be at least 1");
  if (c.pass_points < 0 || (c.pass_points > 0 && c.patches % 2 != 0))
    throw std::invalid_argument("encoder configuration: pass_points must be at least 0, and patches even with it");
  if (c.pass_points > 0) {
    EncoderConfig of_pass = c;
    of_pass.patches = c.patches / 2;
    of_pass.pass_points = 0;
    return encoder_of_passes(c, make_encoder(of_pass, precision, weights));
  }
  if (c.dim % c.heads != 0)
    throw std::invalid_argument("encoder configuration: dim " + std::to_string(c.dim) + " is not a multiple of heads " +
                                std::to_string(c.heads));
  if (!supports(precision))
    throw std::invalid_argument(std::string("precision ") + (precision == Precision::bf16 ? "bf16" : "int8") +
                                " needs " + requirement(precision) + "; the instruction set in use is " +
                                isa_name(isa()) + "; use fp32 or auto");
#if defined(__x86_64__)
  if (precision == Precision::bf16) return avx512_bf16::encoder_bf16(c, weights);
  if (precision == Precision::int8) return avx512_bf16::encoder_int8(c, weights);
#elif defined(PA3D_NEON_EXTENSIONS)
  if (precision == Precision::bf16) return neon_bf16::encoder_bf16(c, weights);
  if (precision == Precision::int8)
    return isa() >= Isa::neon_bf16 ? neon_bf16::encoder_int8(c, weights) : neon_dotprod::encoder_int8(c, weights);
#endif
  return PA3D_DISPATCH(encoder_fp32)(c, weights);
}

}  // namespace pa3d
