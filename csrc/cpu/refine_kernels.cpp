// flags: fast
#include "refine_kernels.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>

#include "cpuid.h"
#include "intrinsics.h"
#include "parallel.h"

#define PA3D_SOURCE "refine.inl"
#include "foreach_isa.h"

namespace pa3d {

void face_weights(const FacePairs& pairs, float* weight, float* length, float* crease) {
  PA3D_DISPATCH(face_weights)(pairs, weight, length, crease);
}

void point_openness(const float* sine, const float* cosine, const float* distance, int64_t n, float root_area,
                    float* open) {
  PA3D_DISPATCH(point_openness)(sine, cosine, distance, n, root_area, open);
}

void log_scores(const float* scores, int64_t n, float* out) { PA3D_DISPATCH(log_scores)(scores, n, out); }

void softmax_rows(const float* x, int64_t n, int64_t k, float* out) { PA3D_DISPATCH(softmax_rows)(x, n, k, out); }

void solve(const Levels& levels, float* table, int64_t k, int threads) {
  for (int64_t first = 0; first < k;) {
    const int64_t left = k - first;
    if (left > 4) {
      PA3D_DISPATCH(Columns<8>::run)(levels, table, k, first, std::min<int64_t>(left, 8), threads);
      first += 8;
    } else {
      PA3D_DISPATCH(Columns<4>::run)(levels, table, k, first, left, threads);
      first += 4;
    }
  }
}

}  // namespace pa3d
