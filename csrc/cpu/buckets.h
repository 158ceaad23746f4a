// Points in spatial order, cut into buckets with bounding boxes: what lets exact searches skip most of a large cloud.
#pragma once

#include <cstdint>
#include <vector>

namespace pa3d {

// Coordinates lie in structure-of-arrays form, sorted along a Morton curve; the last bucket is filled up with `index`
// INT32_MAX. Boxes are padded to a multiple of 16 with empty ones at infinity.
struct Buckets {
  int64_t n = 0, size = 0, count = 0;
  std::vector<float> x, y, z;
  std::vector<int32_t> index;
  std::vector<float> low[3], high[3];

  int64_t padded_count() const { return (count + 15) & ~int64_t{15}; }
};

// The cube whose 1024^3 cells give the order of the points; what lies outside counts to the cells at its border.
struct Cube {
  double low[3], extent;
};

// The indices of points (n, 3) along a Morton curve through the cells of a cube; those of one cell in their own order.
// n < 2^32, finite coordinates.
std::vector<uint32_t> morton_order(const float* points, int64_t n, const Cube& cube);

// size: points per bucket, a multiple of 16. n < 2^31, finite coordinates. cube: without it, that of all points.
Buckets make_buckets(const float* points, int64_t n, int64_t size);
Buckets make_buckets(const float* points, int64_t n, int64_t size, const Cube& cube);

}  // namespace pa3d
