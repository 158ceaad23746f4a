// Draws the points of a shape that the encoder gets: some of the points of a cloud, or points on the surface of a mesh.
// The random numbers are numpy's, and products and sums are never fused, so a seed gives the same points on every
// processor, in C and in Python.
#pragma once

#include <cstdint>

namespace pa3d {

// Draws `count` of the indices 0..n-1 without repetition, ascending; every subset is equally likely. The indices are
// those of np.random.default_rng(seed).choice(n, count, replace=False, shuffle=False). Requires count <= n < 2^32.
void sample_indices(int64_t n, int64_t count, uint64_t seed, int64_t* index);

// Draws `count` of points (n, 3), ascending indices, spread evenly over the shape: every (n / count)-th along a Morton
// curve, from a random start. So each point is drawn with the same probability, as by sample_indices, but hardly two
// neighbours together, and what is drawn depends little on the seed. Of more than 8 count points, one of each of 8
// count equal pieces of the list is drawn first. Requires 1 <= count <= n < 2^32.
void sample_cloud(const float* points, int64_t n, int64_t count, uint64_t seed, int64_t* index);

// Draws points (count, 3), uniform over the area of the triangles, and `face` (count), the triangle of each point. The
// draw is stratified: the faces, in their order, are cut into `count` parts of equal area, and point k lies in the k-th
// part. vertices (n, 3); faces (n_faces, 3), indices into vertices that the caller has checked. uniforms (3, count):
// numbers in [0, 1) that place a point in its part (first row) and in its triangle. Returns false and writes nothing if
// the total area is zero or not finite.
bool surface_points(const float* vertices, const int32_t* faces, int64_t n_faces, int64_t count, const double* uniforms,
                    float* points, int32_t* face);

// The same, with uniforms = np.random.default_rng(seed).random((3, count)).
bool sample_surface(const float* vertices, const int32_t* faces, int64_t n_faces, int64_t count, uint64_t seed,
                    float* points, int32_t* face);

}  // namespace pa3d
