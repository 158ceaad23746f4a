#include "sample.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <unordered_set>
#include <vector>

#include "buckets.h"
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

void sample_cloud(const float* points, int64_t n, int64_t count, uint64_t seed, int64_t* index) {
  constexpr int64_t kPool = 8;
  const int64_t m = n / kPool >= count ? kPool * count : n;
  NumpyRandom random(seed);
  std::vector<int64_t> pool(m);
  for (int64_t k = 0; k < m; ++k) {
    const int64_t begin = k * n / m, size = (k + 1) * n / m - begin;
    pool[k] = size == 1 ? begin : begin + random.bounded_uint32(static_cast<uint32_t>(size - 1));
  }
  std::vector<float> chosen(3 * m);
  double mean[3] = {}, deviation[3] = {};
  for (int64_t i = 0; i < m; ++i)
    for (int a = 0; a < 3; ++a) {
      chosen[3 * i + a] = points[3 * pool[i] + a];
      mean[a] += chosen[3 * i + a] / static_cast<double>(m);
    }
  for (int64_t i = 0; i < m; ++i)
    for (int a = 0; a < 3; ++a) deviation[a] += std::abs(chosen[3 * i + a] - mean[a]) / static_cast<double>(m);
  // A cube that a few points far away do not make larger.
  const double reach = 4 * std::max({deviation[0], deviation[1], deviation[2]});
  const Cube cube{{mean[0] - reach, mean[1] - reach, mean[2] - reach}, 2 * reach};
  const std::vector<uint32_t> order = morton_order(chosen.data(), m, cube);
  const auto start = static_cast<int64_t>(random.uniform() * static_cast<double>(m));
  for (int64_t k = 0; k < count; ++k) index[k] = pool[order[(k * m + start) / count]];
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
