#include "sample.h"

#include <cmath>
#include <vector>

namespace pa3d {
namespace {

double triangle_area(const float* a, const float* b, const float* c) {
  double u[3], v[3];
  for (int i = 0; i < 3; ++i) {
    u[i] = static_cast<double>(b[i]) - a[i];
    v[i] = static_cast<double>(c[i]) - a[i];
  }
  const double x = u[1] * v[2] - u[2] * v[1], y = u[2] * v[0] - u[0] * v[2], z = u[0] * v[1] - u[1] * v[0];
  return 0.5 * std::sqrt(x * x + y * y + z * z);
}

}  // namespace

void sample_indices(int64_t n, int64_t count, uint64_t seed, int64_t* index) {
  // Selection sampling (Knuth, The Art of Computer Programming 2, algorithm 3.4.2 S).
  SplitMix64 random(seed);
  for (int64_t i = 0, left = count; left > 0; ++i)
    if (random.uniform() * static_cast<double>(n - i) < static_cast<double>(left)) {
      *index++ = i;
      --left;
    }
}

bool sample_surface(const float* vertices, const int32_t* faces, int64_t n_faces, int64_t count, uint64_t seed,
                    float* points, int32_t* face) {
  std::vector<double> cumulative(n_faces);
  double total = 0;
  int64_t last = 0;  // the last triangle that has an area
  for (int64_t f = 0; f < n_faces; ++f) {
    const int32_t* corner = faces + 3 * f;
    const double area = triangle_area(vertices + 3 * int64_t{corner[0]}, vertices + 3 * int64_t{corner[1]},
                                      vertices + 3 * int64_t{corner[2]});
    if (area > 0) last = f;
    cumulative[f] = total += area;
  }
  if (!(total > 0 && std::isfinite(total))) return false;
  SplitMix64 random(seed);
  int64_t f = 0;
  for (int64_t k = 0; k < count; ++k) {
    const double at = (static_cast<double>(k) + random.uniform()) / static_cast<double>(count) * total;
    while (f < last && cumulative[f] <= at) ++f;
    const double r = std::sqrt(random.uniform()), s = random.uniform();
    const double weight[3] = {1 - r, r * (1 - s), r * s};  // uniform over the triangle
    const int32_t* corner = faces + 3 * f;
    for (int i = 0; i < 3; ++i) {
      double sum = 0;
      for (int j = 0; j < 3; ++j) sum += weight[j] * vertices[3 * int64_t{corner[j]} + i];
      points[3 * k + i] = static_cast<float>(sum);
    }
    face[k] = static_cast<int32_t>(f);
  }
  return true;
}

}  // namespace pa3d
