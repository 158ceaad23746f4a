#include "sample.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <unordered_set>
#include <vector>

#include "random.h"

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
  NumpyRandom random(seed);
  if (n > 10000 && count > n / 20) {  // numpy's rule
    // The last `count` steps of a Fisher-Yates shuffle.
    std::vector<int64_t> order(n);
    std::iota(order.begin(), order.end(), 0);
    for (int64_t i = n - 1; i >= std::max<int64_t>(n - count, 1); --i)
      std::swap(order[random.bounded_uint32(static_cast<uint32_t>(i))], order[i]);
    std::copy(order.end() - count, order.end(), index);
  } else {
    // Floyd's algorithm (Bentley and Floyd, "A sample of brilliance", 1987).
    std::unordered_set<int64_t> chosen;
    for (int64_t i = n - count; i < n; ++i) {
      const int64_t value = random.bounded_uint32(static_cast<uint32_t>(i));
      const int64_t taken = chosen.insert(value).second ? value : i;
      chosen.insert(taken);
      *index++ = taken;
    }
    index -= count;
  }
  std::sort(index, index + count);
}

bool surface_points(const float* vertices, const int32_t* faces, int64_t n_faces, int64_t count, const double* uniforms,
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
  int64_t f = 0;
  for (int64_t k = 0; k < count; ++k) {
    const double target_area = (static_cast<double>(k) + uniforms[k]) / static_cast<double>(count) * total;
    while (f < last && cumulative[f] <= target_area) ++f;
    const double r = std::sqrt(uniforms[count + k]), s = uniforms[2 * count + k];
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

bool sample_surface(const float* vertices, const int32_t* faces, int64_t n_faces, int64_t count, uint64_t seed,
                    float* points, int32_t* face) {
  NumpyRandom random(seed);
  std::vector<double> uniforms(3 * count);
  for (double& value : uniforms) value = random.uniform();
  return surface_points(vertices, faces, n_faces, count, uniforms.data(), points, face);
}

}  // namespace pa3d
