// Two implementations of the same rule. For small clouds, every new centre visits every point, in the order of the
// points. For large clouds, points lie in buckets, each with its bounding box. For every bucket, the largest distance
// between one of its points and that point's nearest centre is known. A new centre whose distance to the box is at
// least that large cannot change anything in the bucket, which is skipped. The skip is exact: subtraction, product and
// sum round monotonically, so the float32 distance to the box never exceeds the float32 distance to a point in the box.
namespace pa3d {
namespace PA3D_NS {

#include "vec.inl"
#include "select.inl"

constexpr int64_t kPointsPerBlock = 128;

// a - b as the fused multiply-add a * one - b. The result is the same, but it runs on execution ports that are less
// busy than those for additions. `one` is 1, hidden from the compiler, which would otherwise simplify it away.
static inline vf subtract_by_fma(vf a, vf b, vf one) {
#if PA3D_AVX >= 2
  return (vf)_mm512_fmsub_ps((__m512)a, (__m512)one, (__m512)b);
#else
  (void)one;
  return a - b;
#endif
}

// sq_dist = min(sq_dist, squared distance to the centre) over [begin, end). Returns the largest sq_dist of each lane.
// With kStoreDistances, `row` gets the squared distances.
template <bool kStoreDistances>
static inline vf update_sq_dists(const float* x, const float* y, const float* z, float* sq_dist, float* row,
                                 int64_t begin, int64_t end, vf cx, vf cy, vf cz) {
  vf max_sq_dist = splat(-1.0f), one = splat(1.0f);
#if PA3D_AVX >= 2
  asm("" : "+v"(one));
#endif
  for (int64_t i = begin; i < end; i += 8 * PA3D_W) {
    vf updated[8];
#pragma GCC unroll 8
    for (int u = 0; u < 8; ++u) {
      const int64_t offset = i + u * PA3D_W;
      const vf d =
          squared_norm(subtract_by_fma(load(x + offset), cx, one), load(y + offset) - cy, load(z + offset) - cz);
      if (kStoreDistances) store(row + offset, d);
      updated[u] = vmin_bits(d, load(sq_dist + offset));
      store(sq_dist + offset, updated[u]);
    }
    const vf low = vmax_bits(vmax_bits(updated[0], updated[1]), vmax_bits(updated[2], updated[3]));
    const vf high = vmax_bits(vmax_bits(updated[4], updated[5]), vmax_bits(updated[6], updated[7]));
    max_sq_dist = end - begin == 8 * PA3D_W ? vmax_bits(low, high) : vmax_bits(max_sq_dist, vmax_bits(low, high));
  }
  return max_sq_dist;
}

// Compares four vectors per branch, because a mispredicted branch costs more. end - begin is a multiple of four
// vectors.
static int64_t find_first_equal(const float* d, int64_t begin, int64_t end, float value) {
  const vf v = splat(value);
  for (int64_t i = begin; i < end; i += 4 * PA3D_W) {
    uint64_t mask = 0;
    for (int j = 0; j < 4; ++j) mask |= static_cast<uint64_t>(mask_equal(load(d + i + j * PA3D_W), v)) << j * PA3D_W;
    if (mask) return i + __builtin_ctzll(mask);
  }
  return begin;
}

// points (n, 3) to three arrays: a structure of arrays.
static void to_soa(const float* points, int64_t n, float* const (&axes)[3]) {
  int64_t i = 0;
#if PA3D_AVX >= 2
  // Picks every third of 48 numbers: first from two vectors, then from that result and the third vector.
  alignas(64) int32_t near[3][16], far[3][16];
  for (int a = 0; a < 3; ++a)
    for (int j = 0; j < 16; ++j) {
      const int source = 3 * j + a;
      near[a][j] = source < 32 ? source : 0;
      far[a][j] = source < 32 ? j : source - 32 + 16;
    }
  for (; i + 16 <= n; i += 16) {
    const __m512 v0 = _mm512_loadu_ps(points + 3 * i), v1 = _mm512_loadu_ps(points + 3 * i + 16),
                 v2 = _mm512_loadu_ps(points + 3 * i + 32);
    for (int a = 0; a < 3; ++a) {
      const __m512 part = _mm512_permutex2var_ps(v0, _mm512_load_si512(near[a]), v1);
      _mm512_storeu_ps(axes[a] + i, _mm512_permutex2var_ps(part, _mm512_load_si512(far[a]), v2));
    }
  }
#elif PA3D_NEON >= 1
  for (; i + 4 <= n; i += 4) {
    const float32x4x3_t xyz = vld3q_f32(points + 3 * i);
    for (int a = 0; a < 3; ++a) vst1q_f32(axes[a] + i, xyz.val[a]);
  }
#endif
  for (; i < n; ++i)
    for (int a = 0; a < 3; ++a) axes[a][i] = points[3 * i + a];
}

static void sample_brute_force(const float* points, int64_t n, int64_t num_centers, int64_t group_size, int64_t start,
                               float min_sq_norm, int64_t* index, int64_t* members, float* sq_dists) {
  const int64_t padded = (n + kPointsPerBlock - 1) / kPointsPerBlock * kPointsPerBlock,
                blocks = padded / kPointsPerBlock;
  const int64_t padded_block_max = (blocks + 3) / 4 * 4 * PA3D_W;
  Buffer<float> buffer;
  buffer.resize_uninitialized(5 * padded + padded_block_max);
  float *x = buffer.data(), *y = x + padded, *z = y + padded, *sq_dist = z + padded, *row = sq_dist + padded;
  float* const block_max = row + padded;  // the largest distance of each block, per lane
  std::fill(block_max, block_max + padded_block_max, -2.0f);
  std::vector<uint64_t> keys(members ? n + 8 : 0);
  const float inf = std::numeric_limits<float>::infinity();
  float* const axes[3] = {x, y, z};
  to_soa(points, n, axes);
  for (int a = 0; a < 3; ++a) std::fill(axes[a] + n, axes[a] + padded, points[3 * (n - 1) + a]);
  std::fill(sq_dist, sq_dist + n, inf);
  std::fill(sq_dist + n, sq_dist + padded, -1.0f);
  for (int64_t i = 0; min_sq_norm > 0 && i < n; ++i)
    if ((x[i] * x[i] + y[i] * y[i]) + z[i] * z[i] <= min_sq_norm) sq_dist[i] = -1.0f;
  float bound_hint = 0;
  int64_t chosen = start;
  for (int64_t g = 0; g < num_centers; ++g) {
    index[g] = chosen;
    const vf cx = splat(x[chosen]), cy = splat(y[chosen]), cz = splat(z[chosen]);
    vf max_sq_dist = splat(-1.0f);
    for (int64_t b = 0; b < blocks; ++b) {
      const int64_t begin = b * kPointsPerBlock;
      const vf max_of_block =
          members ? update_sq_dists<true>(x, y, z, sq_dist, row, begin, begin + kPointsPerBlock, cx, cy, cz)
                  : update_sq_dists<false>(x, y, z, sq_dist, row, begin, begin + kPointsPerBlock, cx, cy, cz);
      store(&block_max[b * PA3D_W], max_of_block);
      max_sq_dist = vmax_bits(max_sq_dist, max_of_block);
    }
    const float farthest = reduce_max(max_sq_dist);
    const int64_t block_begin = find_first_equal(block_max, 0, padded_block_max, farthest) / PA3D_W * kPointsPerBlock;
    chosen = find_first_equal(sq_dist, block_begin, block_begin + kPointsPerBlock, farthest);
    if (members) {
      for (int64_t i = n; i < padded; ++i) row[i] = inf;
      select_smallest(row, n, padded, group_size, keys.data(), &bound_hint, members + g * group_size,
                      sq_dists ? sq_dists + g * group_size : nullptr);
    }
  }
}

static void sample_buckets(const float* points, const Buckets& buckets, int64_t num_centers, int64_t start,
                           float min_sq_norm, int64_t* index) {
  const int64_t size = buckets.size, count = buckets.count, padded = buckets.padded_count();
  const float *x = buckets.x.data(), *y = buckets.y.data(), *z = buckets.z.data();
  const float inf = std::numeric_limits<float>::infinity();
  std::vector<float> sq_dist(count * size), bucket_max(padded, -1.0f);
  for (int64_t s = 0; s < count * size; ++s) {
    const bool real = buckets.index[s] != std::numeric_limits<int32_t>::max();
    const bool eligible = real && (min_sq_norm <= 0 || (x[s] * x[s] + y[s] * y[s]) + z[s] * z[s] > min_sq_norm);
    sq_dist[s] = eligible ? inf : -1.0f;
  }
  for (int64_t b = 0; b < count; ++b) {
    for (int64_t s = b * size; s < (b + 1) * size; ++s) bucket_max[b] = std::max(bucket_max[b], sq_dist[s]);
  }
  const vf zero = splat(0.0f);
  int64_t chosen = start;
  for (int64_t g = 0; g < num_centers; ++g) {
    index[g] = chosen;
    const float* c = points + 3 * chosen;
    const vf cx = splat(c[0]), cy = splat(c[1]), cz = splat(c[2]);
    vf farthest = splat(-1.0f);
    for (int64_t b = 0; b < padded; b += PA3D_W) {
      const vf gap_x = vmax(vmax(load(&buckets.low[0][b]) - cx, cx - load(&buckets.high[0][b])), zero);
      const vf gap_y = vmax(vmax(load(&buckets.low[1][b]) - cy, cy - load(&buckets.high[1][b])), zero);
      const vf gap_z = vmax(vmax(load(&buckets.low[2][b]) - cz, cz - load(&buckets.high[2][b])), zero);
      const vf bound = (gap_x * gap_x + gap_y * gap_y) + gap_z * gap_z;
      uint32_t mask = mask_less(bound, load(&bucket_max[b]));
      for (; mask; mask &= mask - 1) {
        const int64_t bucket = b + __builtin_ctz(mask);
        bucket_max[bucket] = reduce_max(
            update_sq_dists<false>(x, y, z, sq_dist.data(), nullptr, bucket * size, (bucket + 1) * size, cx, cy, cz));
      }
      farthest = vmax(farthest, load(&bucket_max[b]));
    }
    const float best = reduce_max(farthest);
    if (best <= 0) {  // every eligible point coincides with a centre, or no point is eligible: the rest are equal
      chosen = std::numeric_limits<int32_t>::max();
      for (int64_t s = 0; s < count * size; ++s)
        if (sq_dist[s] == best) chosen = std::min<int64_t>(chosen, buckets.index[s]);
      for (++g; g < num_centers; ++g) index[g] = chosen;
      return;
    }
    chosen = std::numeric_limits<int32_t>::max();
    const vf value = splat(best);
    for (int64_t b = 0; b < padded; b += PA3D_W) {
      for (uint32_t mask = mask_equal(load(&bucket_max[b]), value); mask; mask &= mask - 1) {
        const int64_t begin = (b + __builtin_ctz(mask)) * size;
        for (int64_t s = begin; s < begin + size; s += PA3D_W)
          for (uint32_t lanes = mask_equal(load(&sq_dist[s]), value); lanes; lanes &= lanes - 1)
            chosen = std::min<int64_t>(chosen, buckets.index[s + __builtin_ctz(lanes)]);
      }
    }
  }
}

}  // namespace PA3D_NS
}  // namespace pa3d
