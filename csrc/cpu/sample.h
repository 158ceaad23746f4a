// Which points of a shape the encoder sees: some points of a cloud, or points on the surface of a mesh. The generator
// is numpy's, and sums and products are rounded one at a time, so a seed gives the same points on every processor, from
// C and from Python.
#pragma once

#include <cstdint>

namespace pa3d {

// `count` <= n < 2^32 of the indices 0..n-1 without repetition, ascending; every choice is equally likely. The indices
// are those of np.random.default_rng(seed).choice(n, count, replace=False, shuffle=False).
void sample_indices(int64_t n, int64_t count, uint64_t seed, int64_t* index);

// `count` points (count, 3) uniform over the area of triangles, and the triangle of each, stratified by area: point k
// lies in the k-th of `count` equal shares of the area, in the order of the faces. vertices (n, 3); faces (n_faces, 3),
// indices into vertices that the caller has checked. uniforms (3, count): numbers of [0, 1) that place a point in its
// share and on its triangle. Returns false, and writes nothing, when the whole area is zero or not finite.
bool surface_points(const float* vertices, const int32_t* faces, int64_t n_faces, int64_t count, const double* uniforms,
                    float* points, int32_t* face);

// The same with the numbers of np.random.default_rng(seed).
bool sample_surface(const float* vertices, const int32_t* faces, int64_t n_faces, int64_t count, uint64_t seed,
                    float* points, int32_t* face);

}  // namespace pa3d
