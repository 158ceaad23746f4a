// Interpolates values at centres to points: from the nearest centre, or from the three nearest, weighted by inverse
// distance.
#pragma once

#include <cstdint>

namespace pa3d {

// The k nearest of centers (num_centers, 3) for every one of points (n, 3): index (n, k), and sq_dist (n, k), their
// squared distances, or null. The lowest index wins ties. Requires 1 <= k <= min(3, num_centers).
void nearest_centers(const float* points, int64_t n, const float* centers, int64_t num_centers, int64_t k, int threads,
                     int32_t* index, float* sq_dist);

// Interpolates values (num_centers, channels) to out (n, channels). k = 1 copies the row of the nearest centre. k = 2
// and 3 weight the rows of the nearest centres by 1 / (distance + 1e-8), divided by the sum of the weights.
void interpolate(const float* points, int64_t n, const float* centers, int64_t num_centers, const float* values,
                 int64_t channels, int64_t k, int threads, float* out);

}  // namespace pa3d
