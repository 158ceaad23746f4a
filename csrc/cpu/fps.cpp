#include "fps.h"

#include <algorithm>
#include <cstring>
#include <limits>
#include <vector>

#include "buckets.h"
#include "buffer.h"
#include "cpuid.h"
#include "intrinsics.h"
#include "knn.h"

#define PA3D_SOURCE "fps.inl"
#include "foreach_isa.h"

namespace pa3d {
namespace {

// With fewer points, a pass over all of them is faster than buckets. This and the bucket sizes below are tuned: measure
// them with bench/bench_fps.py.
constexpr int64_t kLargeCloud = 8192;

}  // namespace

bool all_finite(const float* values, int64_t count) {
  constexpr uint32_t kExponent = 0x7f800000;  // all of these bits are set in NaN and infinity
  uint32_t found = 0;
  for (int64_t i = 0; i < count; ++i) {
    uint32_t bits;
    std::memcpy(&bits, &values[i], sizeof bits);
    found |= (bits & kExponent) == kExponent;
  }
  return found == 0;
}

void farthest_point_sample(const float* points, int64_t n, int64_t num_centers, int64_t start, float min_sq_norm,
                           int64_t* index) {
  if (n < kLargeCloud) {
    PA3D_DISPATCH(sample_brute_force)(points, n, num_centers, 0, start, min_sq_norm, index, nullptr, nullptr);
    return;
  }
  const Buckets buckets = make_buckets(points, n, n < 200000 ? 128 : 256);
  PA3D_DISPATCH(sample_buckets)(points, buckets, num_centers, start, min_sq_norm, index);
}

void sample_and_group(const float* points, int64_t n, int64_t num_centers, int64_t group_size, int64_t start,
                      float min_sq_norm, int64_t* index, int64_t* members, float* sq_dists) {
  if (n < kLargeCloud) {
    PA3D_DISPATCH(sample_brute_force)(points, n, num_centers, group_size, start, min_sq_norm, index, members, sq_dists);
    return;
  }
  const Buckets buckets = make_buckets(points, n, n < 200000 ? 128 : 256);
  PA3D_DISPATCH(sample_buckets)(points, buckets, num_centers, start, min_sq_norm, index);
  std::vector<float> centers(3 * num_centers);
  for (int64_t g = 0; g < num_centers; ++g) std::memcpy(&centers[3 * g], points + 3 * index[g], 3 * sizeof(float));
  knn(buckets, centers.data(), num_centers, group_size, 1, members, sq_dists);
}

}  // namespace pa3d
