// Farthest point sampling, alone or fused with the grouping of nearest neighbours.
#pragma once

#include <cstdint>

namespace pa3d {

// points (n, 3); writes k indices. After `start`, each next index is the point farthest from those chosen, the lowest
// index among equals. With min_sq_norm > 0 a point whose squared norm is <= min_sq_norm is never picked after `start`;
// when no point may be picked the index is 0.
// Distances are float32, (dx*dx + dy*dy) + dz*dz. Requires 1 <= k, 0 <= start < n.
void farthest_point_sample(const float* points, int64_t n, int64_t k, int64_t start, float min_sq_norm, int64_t* index);

// The same, and the m nearest points of every centre (the centre among them), ascending by distance, then index:
// members (k, m), sq_dists (k, m) squared distances, or null. Requires m <= n.
void sample_and_group(const float* points, int64_t n, int64_t k, int64_t m, int64_t start, float min_sq_norm,
                      int64_t* index, int64_t* members, float* sq_dists);

}  // namespace pa3d
