#include "buckets.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace pa3d {
namespace {

uint32_t expand_bits(uint32_t v) {  // bit i goes to bit 3i
  v = (v | v << 16) & 0x030000ff;
  v = (v | v << 8) & 0x0300f00f;
  v = (v | v << 4) & 0x030c30c3;
  return (v | v << 2) & 0x09249249;
}

// Stable order of 30-bit keys by three passes of ten bits; (key, index) pairs travel together.
void radix_sort(std::vector<uint64_t>& pairs) {
  std::vector<uint64_t> other(pairs.size());
  for (int shift = 32; shift < 62; shift += 10) {
    size_t start[1025] = {};
    for (uint64_t p : pairs) ++start[(p >> shift & 1023) + 1];
    for (int i = 0; i < 1024; ++i) start[i + 1] += start[i];
    for (uint64_t p : pairs) other[start[p >> shift & 1023]++] = p;
    pairs.swap(other);
  }
}

}  // namespace

std::vector<uint32_t> morton_order(const float* points, int64_t n, const Cube& cube) {
  const double scale = cube.extent > 0 ? 1023.0 / cube.extent : 0;
  std::vector<uint64_t> pairs(n);
  for (int64_t i = 0; i < n; ++i) {
    uint32_t key = 0;
    for (int a = 0; a < 3; ++a) {
      const double cell = (static_cast<double>(points[3 * i + a]) - cube.low[a]) * scale;
      key |= expand_bits(static_cast<uint32_t>(std::max(0.0, std::min(cell, 1023.0)))) << a;
    }
    pairs[i] = static_cast<uint64_t>(key) << 32 | static_cast<uint64_t>(i);
  }
  radix_sort(pairs);
  std::vector<uint32_t> order(n);
  for (int64_t i = 0; i < n; ++i) order[i] = static_cast<uint32_t>(pairs[i]);  // the lower half
  return order;
}

Buckets make_buckets(const float* points, int64_t n, int64_t size) {
  float low[3], high[3];
  for (int a = 0; a < 3; ++a) low[a] = high[a] = points[a];
  for (int64_t i = 0; i < n; ++i)
    for (int a = 0; a < 3; ++a) {
      low[a] = std::min(low[a], points[3 * i + a]);
      high[a] = std::max(high[a], points[3 * i + a]);
    }
  double extent = 0;
  for (int a = 0; a < 3; ++a) extent = std::max(extent, static_cast<double>(high[a]) - low[a]);
  return make_buckets(points, n, size, {{low[0], low[1], low[2]}, extent});
}

Buckets make_buckets(const float* points, int64_t n, int64_t size, const Cube& cube) {
  Buckets out;
  out.n = n;
  out.size = size;
  out.count = (n + size - 1) / size;
  const std::vector<uint32_t> order = morton_order(points, n, cube);

  const int64_t slots = out.count * size;
  out.x.assign(slots, 0.0f);
  out.y.assign(slots, 0.0f);
  out.z.assign(slots, 0.0f);
  out.index.assign(slots, std::numeric_limits<int32_t>::max());
  const float inf = std::numeric_limits<float>::infinity();
  for (int a = 0; a < 3; ++a) {
    out.low[a].assign(out.padded_count(), inf);
    out.high[a].assign(out.padded_count(), inf);
  }
  for (int64_t b = 0; b < out.count; ++b) {
    const int64_t begin = b * size, end = std::min(n, begin + size);
    float lo[3] = {inf, inf, inf}, hi[3] = {-inf, -inf, -inf};
    for (int64_t s = begin; s < end; ++s) {
      const int64_t i = order[s];
      const float* p = points + 3 * i;
      out.x[s] = p[0];
      out.y[s] = p[1];
      out.z[s] = p[2];
      out.index[s] = static_cast<int32_t>(i);
      for (int a = 0; a < 3; ++a) {
        lo[a] = std::min(lo[a], p[a]);
        hi[a] = std::max(hi[a], p[a]);
      }
    }
    for (int a = 0; a < 3; ++a) {
      out.low[a][b] = lo[a];
      out.high[a][b] = hi[a];
    }
  }
  return out;
}

}  // namespace pa3d
