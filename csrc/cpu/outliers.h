// Outliers of a cloud: single points and groups of up to four that lie far from all others.
#pragma once

#include <cstdint>

namespace pa3d {

// Below this many places nothing is an outlier: there are too few to say how far apart points usually are.
constexpr int64_t kOutlierMinPoints = 32;
constexpr int64_t kOutlierGroup = 4;
// Of about this many places the distance to the fourth neighbour is measured.
constexpr int64_t kOutlierProbes = 256;

// outlier (n): 1 for every outlier among points (n, 3), else 0; returns how many there are.
//
// Points with the same coordinates are one place. Places are sorted by x, y, z, and every s-th of them, s = count / 256
// but at least 1, is a probe. low and high are the distances to the fourth neighbour that one fifth and four fifths of
// the probes do not exceed. Two places are linked when they are at most factor * high * max(1, (high / (2 low))^2)
// apart. Places that links join to a group of at most four are outliers. (high / low is 1.55 for points at random on a
// surface. Where it is larger the density varies, and a sparse place says less.) Requires finite coordinates, n < 2^31.
int64_t find_outliers(const float* points, int64_t n, float factor, int threads, uint8_t* outlier);

}  // namespace pa3d
