// k nearest neighbours, exact, ascending by squared distance, lowest index first among equals.
#pragma once

#include <cstdint>

#include "buckets.h"

namespace pa3d {

// queries (q, 3), points (n, 3); index (q, k), sq_dist (q, k) squared distances, or null. Requires 1 <= k <= n.
void knn(const float* queries, int64_t q, const float* points, int64_t n, int64_t k, int threads, int64_t* index,
         float* sq_dist);
void knn(const Buckets& buckets, const float* queries, int64_t q, int64_t k, int threads, int64_t* index,
         float* sq_dist);

}  // namespace pa3d
