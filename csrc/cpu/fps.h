// Farthest point sampling, alone or together with grouping: the nearest neighbours of each sampled point.
#pragma once

#include <cstdint>

namespace pa3d {

// points (n, 3). Writes index (num_centers): the first is `start`, and each next one is the point farthest from those
// chosen so far; the lowest index wins ties. With min_sq_norm > 0, points whose squared norm is <= min_sq_norm are not
// eligible after `start`; if no point is eligible, the index is 0. Squared distances are float32, (dx*dx + dy*dy) +
// dz*dz. Requires num_centers >= 1 and 0 <= start < n.
void farthest_point_sample(const float* points, int64_t n, int64_t num_centers, int64_t start, float min_sq_norm,
                           int64_t* index);

// Whether no value is NaN or infinite.
bool all_finite(const float* values, int64_t count);

// The same, and members (num_centers, group_size): the points nearest to every centre (the centre among them),
// ascending by distance, then index. sq_dists: their squared distances, of the same shape, or null. Requires 1 <=
// group_size <= n.
void sample_and_group(const float* points, int64_t n, int64_t num_centers, int64_t group_size, int64_t start,
                      float min_sq_norm, int64_t* index, int64_t* members, float* sq_dists);

}  // namespace pa3d
