#include "interpolate.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

#include "cpuid.h"
#include "knn.h"
#include "parallel.h"

#define PA3D_SOURCE "interpolate.inl"
#include "foreach_isa.h"

namespace pa3d {
namespace {

// Above this many centres, buckets are faster; tuned, measure with bench/bench_interpolate.py.
constexpr int64_t kManyCenters = 2048;
constexpr int64_t kChunk = 1024;

// Calls visit(begin, end, index, sq_dist) with the k nearest centres of points [begin, end).
template <class Visit>
void for_each_nearest_chunk(const float* points, int64_t n, const float* centers, int64_t g, int64_t k, int threads,
                            const Visit& visit) {
  if (g > kManyCenters) {
    const Buckets buckets = make_buckets(centers, g, 64);
    parallel_for(n, kChunk, threads, [&](int64_t from, int64_t to) {
      std::vector<int64_t> index64(kChunk * k);
      std::vector<int32_t> index(kChunk * k);
      std::vector<float> sq_dist(kChunk * k);
      for (int64_t begin = from; begin < to; begin += kChunk) {
        const int64_t end = std::min(to, begin + kChunk);
        knn(buckets, points + 3 * begin, end - begin, k, 1, index64.data(), sq_dist.data());
        std::transform(index64.begin(), index64.end(), index.begin(),
                       [](int64_t i) { return static_cast<int32_t>(i); });
        visit(begin, end, index.data(), sq_dist.data());
      }
    });
    return;
  }
  const int64_t padded = (g + 15) & ~int64_t{15};
  std::vector<float> soa(3 * padded);
  for (int64_t i = 0; i < g; ++i)
    for (int a = 0; a < 3; ++a) soa[a * padded + i] = centers[3 * i + a];
  parallel_for(n, kChunk, threads, [&](int64_t from, int64_t to) {
    std::vector<int32_t> index(kChunk * k);
    std::vector<float> sq_dist(kChunk * k);
    for (int64_t begin = from; begin < to; begin += kChunk) {
      const int64_t end = std::min(to, begin + kChunk);
      PA3D_DISPATCH(nearest_rows)(points, begin, end, soa.data(), g, padded, k, index.data(), sq_dist.data());
      visit(begin, end, index.data(), sq_dist.data());
    }
  });
}

}  // namespace

void nearest_centers(const float* points, int64_t n, const float* centers, int64_t g, int64_t k, int threads,
                     int32_t* index, float* sq_dist) {
  for_each_nearest_chunk(points, n, centers, g, k, threads,
                         [&](int64_t begin, int64_t end, const int32_t* at, const float* d) {
                           std::memcpy(index + begin * k, at, (end - begin) * k * sizeof(int32_t));
                           if (sq_dist) std::memcpy(sq_dist + begin * k, d, (end - begin) * k * sizeof(float));
                         });
}

void interpolate(const float* points, int64_t n, const float* centers, int64_t g, const float* values, int64_t c,
                 int64_t k, int threads, float* out) {
  for_each_nearest_chunk(points, n, centers, g, k, threads,
                         [&](int64_t begin, int64_t end, const int32_t* at, const float* d) {
                           for (int64_t i = begin; i < end; ++i, at += k, d += k) {
                             float* row = out + i * c;
                             if (k == 1) {
                               std::memcpy(row, values + at[0] * c, c * sizeof(float));
                               continue;
                             }
                             float weight[3], sum = 0;
                             for (int64_t j = 0; j < k; ++j) sum += weight[j] = 1.0f / (std::sqrt(d[j]) + 1e-8f);
                             for (int64_t j = 0; j < k; ++j) weight[j] /= sum;
                             for (int64_t v = 0; v < c; ++v) {
                               float total = 0;
                               for (int64_t j = 0; j < k; ++j) total += weight[j] * values[at[j] * c + v];
                               row[v] = total;
                             }
                           }
                         });
}

}  // namespace pa3d
