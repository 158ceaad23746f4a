// Two forms of the same rule. Small clouds: every point is visited for every new centre, in its own order. Large
// clouds: points lie in spatial buckets, and a bucket is skipped when its box is at least as far from the new centre
// as the farthest of its points is from the centres so far. The skip is exact: subtraction, product and sum round
// monotonically, so the box's float32 bound never exceeds the float32 distance of a point inside it.
namespace pa3d {
namespace PA3D_NS {

#include "vec.inl"
#include "select.inl"

constexpr int64_t kBlock = 128;

// dist = min(dist, distance to the centre) over [begin, end); returns the largest dist of each lane. row, if given,
// gets the distances.
template <bool kRow>
static inline vf update_block(const float* x, const float* y, const float* z, float* dist, float* row, int64_t begin,
                              int64_t end, float cx, float cy, float cz) {
  const vf vx = splat(cx), vy = splat(cy), vz = splat(cz);
  vf m0 = splat(-1.0f), m1 = m0;
  int64_t i = begin;
  for (; i + 2 * PA3D_W <= end; i += 2 * PA3D_W) {
    const vf d0 = square_distance(load(x + i), load(y + i), load(z + i), vx, vy, vz);
    const vf d1 = square_distance(load(x + i + PA3D_W), load(y + i + PA3D_W), load(z + i + PA3D_W), vx, vy, vz);
    if (kRow) {
      store(row + i, d0);
      store(row + i + PA3D_W, d1);
    }
    const vf n0 = vmin_bits(d0, load(dist + i)), n1 = vmin_bits(d1, load(dist + i + PA3D_W));
    store(dist + i, n0);
    store(dist + i + PA3D_W, n1);
    m0 = vmax_bits(m0, n0);
    m1 = vmax_bits(m1, n1);
  }
  return vmax_bits(m0, m1);
}

// Four vectors at a time, since a branch that cannot be foreseen costs more than they do; end - begin is a multiple.
static int64_t first_equal(const float* d, int64_t begin, int64_t end, float value) {
  const vf v = splat(value);
  for (int64_t i = begin; i < end; i += 4 * PA3D_W) {
    uint64_t mask = 0;
    for (int j = 0; j < 4; ++j) mask |= static_cast<uint64_t>(mask_equal(load(d + i + j * PA3D_W), v)) << j * PA3D_W;
    if (mask) return i + __builtin_ctzll(mask);
  }
  return begin;
}

static void sample_small(const float* points, int64_t n, int64_t k, int64_t m, int64_t start, float min_sq_norm,
                         int64_t* index, int64_t* members, float* distances) {
  const int64_t padded = (n + kBlock - 1) / kBlock * kBlock, blocks = padded / kBlock;
  const int64_t fours = (blocks + 3) / 4;
  Buffer<float> buffer(5 * padded + fours * 4 * PA3D_W);
  float *x = buffer.data(), *y = x + padded, *z = y + padded, *dist = z + padded, *row = dist + padded;
  float* const tops = row + padded;  // of each block the largest distance of every lane
  std::fill(tops, tops + fours * 4 * PA3D_W, -2.0f);
  std::vector<uint64_t> keys(members ? n + 8 : 0);
  const float inf = std::numeric_limits<float>::infinity();
  float* const axes[3] = {x, y, z};
  for (int a = 0; a < 3; ++a) {
    float* const to = axes[a];
    for (int64_t i = 0; i < n; ++i) to[i] = points[3 * i + a];
    std::fill(to + n, to + padded, points[3 * (n - 1) + a]);
  }
  std::fill(dist, dist + n, inf);
  std::fill(dist + n, dist + padded, -1.0f);
  for (int64_t i = 0; min_sq_norm > 0 && i < n; ++i)
    if ((x[i] * x[i] + y[i] * y[i]) + z[i] * z[i] <= min_sq_norm) dist[i] = -1.0f;
  float guess = 0;
  int64_t chosen = start;
  for (int64_t g = 0; g < k; ++g) {
    index[g] = chosen;
    const float cx = x[chosen], cy = y[chosen], cz = z[chosen];
    vf most = splat(-1.0f);
    for (int64_t b = 0; b < blocks; ++b) {
      const int64_t begin = b * kBlock;
      const vf top = members ? update_block<true>(x, y, z, dist, row, begin, begin + kBlock, cx, cy, cz)
                             : update_block<false>(x, y, z, dist, row, begin, begin + kBlock, cx, cy, cz);
      store(&tops[b * PA3D_W], top);
      most = vmax_bits(most, top);
    }
    const float farthest = reduce_max(most);
    const int64_t where = first_equal(tops, 0, fours * 4 * PA3D_W, farthest) / PA3D_W * kBlock;
    chosen = first_equal(dist, where, where + kBlock, farthest);
    if (members) {
      for (int64_t i = n; i < padded; ++i) row[i] = inf;
      select_smallest(row, n, padded, m, keys.data(), &guess, members + g * m, distances ? distances + g * m : nullptr);
    }
  }
}

static void sample_large(const float* points, const Buckets& buckets, int64_t k, int64_t start, float min_sq_norm,
                         int64_t* index) {
  const int64_t size = buckets.size, count = buckets.count, padded = buckets.padded_count();
  const float *x = buckets.x.data(), *y = buckets.y.data(), *z = buckets.z.data();
  const float inf = std::numeric_limits<float>::infinity();
  std::vector<float> dist(count * size), top(padded, -1.0f);
  for (int64_t s = 0; s < count * size; ++s) {
    const bool real = buckets.index[s] != std::numeric_limits<int32_t>::max();
    const bool pickable = real && (min_sq_norm <= 0 || (x[s] * x[s] + y[s] * y[s]) + z[s] * z[s] > min_sq_norm);
    dist[s] = pickable ? inf : -1.0f;
  }
  for (int64_t b = 0; b < count; ++b) {
    for (int64_t s = b * size; s < (b + 1) * size; ++s) top[b] = std::max(top[b], dist[s]);
  }
  const vf zero = splat(0.0f);
  int64_t chosen = start;
  for (int64_t g = 0; g < k; ++g) {
    index[g] = chosen;
    const float* c = points + 3 * chosen;
    const vf cx = splat(c[0]), cy = splat(c[1]), cz = splat(c[2]);
    vf farthest = splat(-1.0f);
    for (int64_t b = 0; b < padded; b += PA3D_W) {
      const vf gx = vmax(vmax(load(&buckets.low[0][b]) - cx, cx - load(&buckets.high[0][b])), zero);
      const vf gy = vmax(vmax(load(&buckets.low[1][b]) - cy, cy - load(&buckets.high[1][b])), zero);
      const vf gz = vmax(vmax(load(&buckets.low[2][b]) - cz, cz - load(&buckets.high[2][b])), zero);
      const vf bound = (gx * gx + gy * gy) + gz * gz;
      uint32_t mask = mask_less(bound, load(&top[b]));
      for (; mask; mask &= mask - 1) {
        const int64_t at = b + __builtin_ctz(mask);
        top[at] = reduce_max(
            update_block<false>(x, y, z, dist.data(), nullptr, at * size, (at + 1) * size, c[0], c[1], c[2]));
      }
      farthest = vmax(farthest, load(&top[b]));
    }
    const float best = reduce_max(farthest);
    if (best <= 0) {  // every point that may be picked coincides with a centre, or none may: nothing changes any more
      chosen = std::numeric_limits<int32_t>::max();
      for (int64_t s = 0; s < count * size; ++s)
        if (dist[s] == best) chosen = std::min<int64_t>(chosen, buckets.index[s]);
      for (++g; g < k; ++g) index[g] = chosen;
      return;
    }
    chosen = std::numeric_limits<int32_t>::max();
    const vf value = splat(best);
    for (int64_t b = 0; b < padded; b += PA3D_W) {
      for (uint32_t mask = mask_equal(load(&top[b]), value); mask; mask &= mask - 1) {
        const int64_t begin = (b + __builtin_ctz(mask)) * size;
        for (int64_t s = begin; s < begin + size; s += PA3D_W)
          for (uint32_t lanes = mask_equal(load(&dist[s]), value); lanes; lanes &= lanes - 1)
            chosen = std::min<int64_t>(chosen, buckets.index[s + __builtin_ctz(lanes)]);
      }
    }
  }
}

}  // namespace PA3D_NS
}  // namespace pa3d
