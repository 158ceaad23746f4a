// Points with equal coordinates, such as the copies of a vertex that files keep for each face.
#pragma once

#include <cstdint>
#include <vector>

#include "scratch.h"

namespace pa3d {

// place (n): the first of points (n, 3) with the same coordinates; 0 and -0 are the same. n < 2^31, finite coordinates.
Scratch<int32_t> first_of_place(const float* points, int64_t n, int threads);

// The distinct places of a cloud, in the order of their first points.
struct Places {
  std::vector<float> points;   // (count, 3)
  std::vector<int32_t> of;     // (n): the place of every point
  std::vector<int32_t> first;  // (count): the first point of every place
  int64_t count() const { return static_cast<int64_t>(first.size()); }
};

Places distinct_places(const float* points, int64_t n, int threads);

// Sets that grow together. The root of a set is its smallest member.
class Forest {
 public:
  explicit Forest(int64_t n) : up_(n) {
    for (int64_t i = 0; i < n; ++i) up_[i] = static_cast<int32_t>(i);
  }
  int32_t root(int32_t i) {
    while (up_[i] != i) i = up_[i] = up_[up_[i]];
    return i;
  }
  void join(int32_t a, int32_t b) {
    a = root(a), b = root(b);
    up_[a > b ? a : b] = a > b ? b : a;
  }

 private:
  std::vector<int32_t> up_;
};

}  // namespace pa3d
