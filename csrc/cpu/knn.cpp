#include "knn.h"

#include <algorithm>
#include <cstring>
#include <limits>
#include <vector>

#include "cpuid.h"
#include "intrinsics.h"
#include "parallel.h"

#define PA3D_SOURCE "knn.inl"
#include "foreach_isa.h"

namespace pa3d {
namespace {

// Up to these sizes, computing all distances is faster than buckets. Tuned: measure it with bench/bench_knn.py.
bool prefers_brute_force(int64_t n, int64_t q) { return n < 2048 || n * q < 200000; }

}  // namespace

void knn(const float* queries, int64_t q, const float* points, int64_t n, int64_t k, int threads, int64_t* index,
         float* sq_dist) {
  if (!prefers_brute_force(n, q)) {
    knn(make_buckets(points, n, 64), queries, q, k, threads, index, sq_dist);
    return;
  }
  const int64_t padded = (n + 15) & ~int64_t{15};
  std::vector<float> soa(3 * padded);
  for (int64_t i = 0; i < n; ++i)
    for (int a = 0; a < 3; ++a) soa[a * padded + i] = points[3 * i + a];
  parallel_for(q, 64, threads, [&](int64_t begin, int64_t end) {
    PA3D_DISPATCH(knn_range_brute_force)(queries, begin, end, soa.data(), n, padded, k, index, sq_dist);
  });
}

void knn(const Buckets& buckets, const float* queries, int64_t q, int64_t k, int threads, int64_t* index,
         float* sq_dist) {
  parallel_for(q, 16, threads, [&](int64_t begin, int64_t end) {
    PA3D_DISPATCH(knn_range_buckets)(buckets, queries, begin, end, k, index, sq_dist);
  });
}

}  // namespace pa3d
