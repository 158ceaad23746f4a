// flags: fast
#include "text.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <vector>

#include "buffer.h"
#include "cpuid.h"
#include "intrinsics.h"
#include "parallel.h"

#define PA3D_SOURCE "text.inl"
#include "foreach_isa.h"

namespace pa3d {

std::unique_ptr<TextEncoder> make_text_encoder(const TextConfig& c, const TextWeights& weights, int threads) {
  // Rows consist of whole panels for every instruction set, so no product writes beyond a row.
  if (c.width % 64 != 0 || c.hidden % 64 != 0 || c.heads < 1 || c.width % c.heads != 0 || c.depth < 1 ||
      c.max_tokens < 1)
    throw std::invalid_argument(
        "text encoder configuration: width and hidden must be multiples of 64, width one of heads");
  return PA3D_DISPATCH(text_encoder)(c, weights, threads);
}

}  // namespace pa3d
