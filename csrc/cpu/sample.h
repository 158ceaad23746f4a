// Which points of a shape the encoder sees: some points of a cloud, or points on the surface of a mesh. The generator
// is fixed, and sums and products are rounded one at a time, so a seed gives the same points on every processor, from C
// and from Python.
#pragma once

#include <cstdint>

namespace pa3d {

// splitmix64 (Steele, Lea and Flood, Fast splittable pseudorandom number generators, 2014).
class SplitMix64 {
 public:
  explicit SplitMix64(uint64_t seed) : state_(seed) {}

  // Uniform over [0, 1), 53 bits.
  double uniform() {
    uint64_t z = state_ += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    z ^= z >> 31;
    return static_cast<double>(z >> 11) * 0x1p-53;
  }

 private:
  uint64_t state_;
};

// `count` <= n of the indices 0..n-1 without repetition, ascending; every choice is equally likely.
void sample_indices(int64_t n, int64_t count, uint64_t seed, int64_t* index);

// `count` points (count, 3) uniform over the area of triangles, and the triangle of each. The k-th point lies in the
// k-th of `count` equal shares of the area in the order of the faces: as random as independent points, but more even.
// vertices (n, 3); faces (n_faces, 3), indices into vertices that the caller has checked. Returns false, and writes
// nothing, when the whole area is zero or not finite.
bool sample_surface(const float* vertices, const int32_t* faces, int64_t n_faces, int64_t count, uint64_t seed,
                    float* points, int32_t* face);

}  // namespace pa3d
