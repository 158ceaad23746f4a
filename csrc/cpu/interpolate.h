// Values at centres interpolated to points: from the nearest centre, or from three weighted by inverse distance.
#pragma once

#include <cstdint>

namespace pa3d {

// points (n, 3), centers (g, 3); the k <= 3 nearest centres of every point: index (n, k), sq_dist (n, k) squared
// distances, or null. Ties go to the lowest index. Requires k <= g.
void nearest_centers(const float* points, int64_t n, const float* centers, int64_t g, int64_t k, int threads,
                     int32_t* index, float* sq_dist);

// values (g, c) to out (n, c). k = 1 copies the nearest row; k = 3 weighs rows by 1 / (distance + 1e-8), normalised.
void interpolate(const float* points, int64_t n, const float* centers, int64_t g, const float* values, int64_t c,
                 int64_t k, int threads, float* out);

}  // namespace pa3d
