// Small sets: a row of all distances, then selection. Large sets: buckets in spatial order; the nearest bucket gives a
// first bound, then only buckets whose box lies within it are looked at (exact for the reason given in fps.inl).
namespace pa3d {
namespace PA3D_NS {

#include "vec.inl"
#include "select.inl"

struct Scratch {
  std::vector<float> row, bound;
  std::vector<int32_t> ids;
  std::vector<uint64_t> keys;
  float guess = 0;
};

static void knn_small(const float* x, const float* y, const float* z, int64_t n, int64_t padded, const float* query,
                      int64_t k, Scratch& s, int64_t* index, float* distance) {
  const vf cx = splat(query[0]), cy = splat(query[1]), cz = splat(query[2]);
  float* row = s.row.data();
  for (int64_t i = 0; i < padded; i += PA3D_W)
    store(row + i, square_distance(load(x + i), load(y + i), load(z + i), cx, cy, cz));
  for (int64_t i = n; i < padded; ++i) row[i] = std::numeric_limits<float>::infinity();
  select_smallest(row, n, padded, k, nullptr, s.keys.data(), &s.guess, index, distance);
}

static void knn_large(const Buckets& buckets, const float* query, int64_t k, Scratch& s, int64_t* index, float* distance) {
  const int64_t size = buckets.size, padded = buckets.padded_count();
  const vf cx = splat(query[0]), cy = splat(query[1]), cz = splat(query[2]), zero = splat(0.0f);
  float* bound = s.bound.data();
  vf least = splat(std::numeric_limits<float>::infinity());
  for (int64_t b = 0; b < padded; b += PA3D_W) {
    const vf gx = vmax(vmax(load(&buckets.low[0][b]) - cx, cx - load(&buckets.high[0][b])), zero);
    const vf gy = vmax(vmax(load(&buckets.low[1][b]) - cy, cy - load(&buckets.high[1][b])), zero);
    const vf gz = vmax(vmax(load(&buckets.low[2][b]) - cz, cz - load(&buckets.high[2][b])), zero);
    const vf d = (gx * gx + gy * gy) + gz * gz;
    store(bound + b, d);
    least = vmin(least, d);
  }
  const vf closest = splat(reduce_min(least));
  int64_t home = 0;
  for (int64_t b = 0; b < padded; b += PA3D_W) {
    const uint32_t mask = mask_equal(load(bound + b), closest);
    if (mask) {
      home = b + __builtin_ctz(mask);
      break;
    }
  }
  const float inf = std::numeric_limits<float>::infinity();
  int64_t filled = 0;  // distances gathered so far, bucket after bucket
  auto visit = [&](int64_t b) {
    const int64_t begin = b * size;
    if (static_cast<int64_t>(s.row.size()) < filled + size) {
      s.row.resize(2 * (filled + size));
      s.ids.resize(2 * (filled + size));
    }
    float* row = s.row.data() + filled;
    int32_t* ids = s.ids.data() + filled;
    for (int64_t i = 0; i < size; i += PA3D_W) {
      store(row + i, square_distance(load(&buckets.x[begin + i]), load(&buckets.y[begin + i]), load(&buckets.z[begin + i]),
                                     cx, cy, cz));
      store(ids + i, load(&buckets.index[begin + i]));
    }
    if (b == buckets.count - 1)
      for (int64_t i = buckets.n - begin; i < size; ++i) row[i] = inf;
    filled += size;
  };
  // The first bound comes from the nearest bucket and its neighbours along the curve.
  const int64_t around = (k + size - 1) / size + 1;
  const int64_t first = std::max<int64_t>(0, home - around / 2), last = std::min(buckets.count, first + around);
  const int64_t begin = std::max<int64_t>(0, last - around);
  for (int64_t b = begin; b < last; ++b) visit(b);
  if (static_cast<int64_t>(s.keys.size()) < filled + 16) s.keys.resize(2 * filled + 16);
  float radius = inf;
  {
    float* row = s.row.data();
    int64_t finite = filled;
    if (last == buckets.count) finite -= buckets.count * size - buckets.n;
    if (finite >= k) {
      float* copy = reinterpret_cast<float*>(s.keys.data());
      std::memcpy(copy, row, filled * sizeof(float));
      std::nth_element(copy, copy + k - 1, copy + filled);
      radius = copy[k - 1];
    }
  }
  const vf limit = splat(radius);
  for (int64_t b = 0; b < padded; b += PA3D_W) {
    for (uint32_t mask = mask_less_equal(load(bound + b), limit); mask; mask &= mask - 1) {
      const int64_t at = b + __builtin_ctz(mask);
      if (at < buckets.count && (at < begin || at >= last)) visit(at);
    }
  }
  if (static_cast<int64_t>(s.keys.size()) < filled + 16) s.keys.resize(2 * filled + 16);
  const int64_t m = gather_below(s.row.data(), filled, radius < inf ? radius : std::numeric_limits<float>::max(),
                                 s.ids.data(), s.keys.data());
  emit_smallest(s.keys.data(), m, k, index, distance);
}

static void knn_rows_small(const float* queries, int64_t begin, int64_t end, const float* soa, int64_t n, int64_t padded,
                           int64_t k, int64_t* index, float* distance) {
  Scratch s;
  s.row.resize(padded);
  s.keys.resize(n + 8);
  for (int64_t q = begin; q < end; ++q)
    knn_small(soa, soa + padded, soa + 2 * padded, n, padded, queries + 3 * q, k, s, index + q * k,
              distance ? distance + q * k : nullptr);
}

static void knn_rows_large(const Buckets& buckets, const float* queries, int64_t begin, int64_t end, int64_t k,
                           int64_t* index, float* distance) {
  Scratch s;
  s.bound.resize(buckets.padded_count());
  for (int64_t q = begin; q < end; ++q)
    knn_large(buckets, queries + 3 * q, k, s, index + q * k, distance ? distance + q * k : nullptr);
}

}  // namespace PA3D_NS
}  // namespace pa3d
