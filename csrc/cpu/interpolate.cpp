#include "interpolate.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

#include "cpuid.h"
#include "intrinsics.h"
#include "knn.h"
#include "parallel.h"

#define PA3D_SOURCE "interpolate.inl"
#include "foreach_isa.h"

namespace pa3d {
namespace {

// With more centres, buckets are faster. Tuned: measure it with bench/bench_interpolate.py.
constexpr int64_t kManyCenters = 2048;
constexpr int64_t kChunk = 1024;

// Calls visit(begin, end, index, sq_dist) with the k nearest centres of points [begin, end).
template <class Visit>
void for_each_nearest_chunk(const float* points, int64_t n, const float* centers, int64_t num_centers, int64_t k,
                            int threads, const Visit& visit) {
  if (num_centers > kManyCenters) {
    const Buckets buckets = make_buckets(centers, num_centers, 64);
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
  const int64_t padded = (num_centers + 15) & ~int64_t{15};
  std::vector<float> soa(3 * padded);
  for (int64_t i = 0; i < num_centers; ++i)
    for (int a = 0; a < 3; ++a) soa[a * padded + i] = centers[3 * i + a];
  parallel_for(n, kChunk, threads, [&](int64_t from, int64_t to) {
    std::vector<int32_t> index(kChunk * k);
    std::vector<float> sq_dist(kChunk * k);
    for (int64_t begin = from; begin < to; begin += kChunk) {
      const int64_t end = std::min(to, begin + kChunk);
      PA3D_DISPATCH(nearest_rows)(points, begin, end, soa.data(), num_centers, padded, k, index.data(), sq_dist.data());
      visit(begin, end, index.data(), sq_dist.data());
    }
  });
}

}  // namespace

void nearest_centers(const float* points, int64_t n, const float* centers, int64_t num_centers, int64_t k, int threads,
                     int32_t* index, float* sq_dist) {
  for_each_nearest_chunk(points, n, centers, num_centers, k, threads,
                         [&](int64_t begin, int64_t end, const int32_t* chunk_index, const float* chunk_sq_dist) {
                           std::memcpy(index + begin * k, chunk_index, (end - begin) * k * sizeof(int32_t));
                           if (sq_dist)
                             std::memcpy(sq_dist + begin * k, chunk_sq_dist, (end - begin) * k * sizeof(float));
                         });
}

void interpolate(const float* points, int64_t n, const float* centers, int64_t num_centers, const float* values,
                 int64_t channels, int64_t k, int threads, float* out) {
  for_each_nearest_chunk(points, n, centers, num_centers, k, threads,
                         [&](int64_t begin, int64_t end, const int32_t* index, const float* sq_dist) {
                           for (int64_t i = begin; i < end; ++i, index += k, sq_dist += k) {
                             float* row = out + i * channels;
                             if (k == 1) {
                               std::memcpy(row, values + index[0] * channels, channels * sizeof(float));
                               continue;
                             }
                             float weight[3], sum = 0;
                             for (int64_t j = 0; j < k; ++j) sum += weight[j] = 1.0f / (std::sqrt(sq_dist[j]) + 1e-8f);
                             for (int64_t j = 0; j < k; ++j) weight[j] /= sum;
                             for (int64_t v = 0; v < channels; ++v) {
                               float total = 0;
                               for (int64_t j = 0; j < k; ++j) total += weight[j] * values[index[j] * channels + v];
                               row[v] = total;
                             }
                           }
                         });
}

}  // namespace pa3d
