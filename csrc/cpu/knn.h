// k nearest neighbours: exact, ascending by squared distance; the lowest index wins ties.
#pragma once

#include <cstdint>

#include "buckets.h"

namespace pa3d {

// queries (q, 3), points (n, 3). Writes index (q, k) and sq_dist (q, k), the squared distances, or null. Requires 1 <=
// k <= n.
void knn(const float* queries, int64_t q, const float* points, int64_t n, int64_t k, int threads, int64_t* index,
         float* sq_dist);
// The same for points that lie in buckets already.
void knn(const Buckets& buckets, const float* queries, int64_t q, int64_t k, int threads, int64_t* index,
         float* sq_dist);

}  // namespace pa3d
