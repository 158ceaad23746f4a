// Connected components of equally labelled faces or points.
#pragma once

#include <cstdint>

namespace pa3d {

// component (m), of m = n_faces faces or, if faces is null, m = n points: its number, counted from 0 in the order of
// the first members; -1 where labels (m) is negative. Returns how many there are.
//
// Two faces with the same label are connected if they have a vertex in common; vertices with equal coordinates are one.
// Two points with the same label are connected if they have the same coordinates, or if the place of one is among the
// eight nearest places of the other. A place where points have different labels counts as that of its first point.
// Requires finite coordinates, n < 2^31, n_faces < 2^31.
int64_t components(const float* points, int64_t n, const int32_t* faces, int64_t n_faces, const int32_t* labels,
                   int threads, int32_t* component);

}  // namespace pa3d
