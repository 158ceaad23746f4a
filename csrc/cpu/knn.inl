// For small sets, all distances of a query are computed, and the k smallest selected. For large sets, the points lie in
// buckets, which are visited in the order of their boxes' distances to the query. The search stops when the next box is
// farther than the k-th neighbour found so far. That is exact for the reason given in fps.inl.
namespace pa3d {
namespace PA3D_NS {

#include "vec.inl"
#include "select.inl"

struct KnnWorkspace {
  std::vector<float> row, bound;
  std::vector<uint64_t> keys, bucket_keys;
  float bound_hint = 0;
};

static void knn_brute_force(const float* x, const float* y, const float* z, int64_t n, int64_t padded,
                            const float* query, int64_t k, KnnWorkspace& s, int64_t* index, float* sq_dist) {
  const vf cx = splat(query[0]), cy = splat(query[1]), cz = splat(query[2]);
  float* row = s.row.data();
  for (int64_t i = 0; i < padded; i += PA3D_W)
    store(row + i, squared_distance(load(x + i), load(y + i), load(z + i), cx, cy, cz));
  for (int64_t i = n; i < padded; ++i) row[i] = std::numeric_limits<float>::infinity();
  select_smallest(row, n, padded, k, s.keys.data(), &s.bound_hint, index, sq_dist);
}

// The candidates for the k nearest points: keys of squared distance and index. They are cut back to the k smallest
// whenever there are more than max_keys.
struct Nearest {
  uint64_t* keys;
  int64_t k, max_keys, size = 0;
  float kth_sq_dist = std::numeric_limits<float>::infinity();

  void visit(const Buckets& buckets, int64_t b, vf cx, vf cy, vf cz) {
    const int64_t begin = b * buckets.size, end = std::min(begin + buckets.size, buckets.n);
    const vf limit = splat(kth_sq_dist);
    for (int64_t i = begin; i < end; i += PA3D_W) {
      const vf d = squared_distance(load(&buckets.x[i]), load(&buckets.y[i]), load(&buckets.z[i]), cx, cy, cz);
      uint32_t mask = mask_less_equal(d, limit);
      if (end - i < PA3D_W) mask &= (1u << (end - i)) - 1;
      alignas(64) float lanes[PA3D_W];
      if (mask) store(lanes, d);
      for (; mask; mask &= mask - 1) {
        const int lane = __builtin_ctz(mask);
        uint32_t bits;
        std::memcpy(&bits, lanes + lane, 4);
        keys[size++] = static_cast<uint64_t>(bits) << 32 | static_cast<uint32_t>(buckets.index[i + lane]);
      }
    }
    if (size > max_keys) prune();
  }
  void prune() {
    if (size < k) return;
    std::nth_element(keys, keys + k - 1, keys + size);
    const uint32_t bits = static_cast<uint32_t>(keys[k - 1] >> 32);
    std::memcpy(&kth_sq_dist, &bits, 4);
    size = k;
  }
};

static void knn_buckets(const Buckets& buckets, const float* query, int64_t k, KnnWorkspace& s, int64_t* index,
                        float* sq_dist) {
  const int64_t padded = buckets.padded_count();
  const vf cx = splat(query[0]), cy = splat(query[1]), cz = splat(query[2]), zero = splat(0.0f);
  float* bound = s.bound.data();
  vf min_bound = splat(std::numeric_limits<float>::infinity());
  for (int64_t b = 0; b < padded; b += PA3D_W) {
    const vf gap_x = vmax(vmax(load(&buckets.low[0][b]) - cx, cx - load(&buckets.high[0][b])), zero);
    const vf gap_y = vmax(vmax(load(&buckets.low[1][b]) - cy, cy - load(&buckets.high[1][b])), zero);
    const vf gap_z = vmax(vmax(load(&buckets.low[2][b]) - cz, cz - load(&buckets.high[2][b])), zero);
    const vf d = (gap_x * gap_x + gap_y * gap_y) + gap_z * gap_z;
    store(bound + b, d);
    min_bound = vmin(min_bound, d);
  }
  // All boxes at the smallest distance have to be visited. For a query inside the cloud, those are the boxes that
  // contain it. Around the first of them, neighbouring buckets in Morton order are visited too, as many as hold k
  // points. That gives a first bound for the k-th distance.
  const float closest = reduce_min(min_bound);
  int64_t nearest_bucket = -1, first = 0, last = 0;
  Nearest nearest{s.keys.data(), k, std::max(2 * k + 32, k + 64)};
  for (int64_t b = 0; b < padded; b += PA3D_W) {
    for (uint32_t mask = mask_equal(load(bound + b), splat(closest)); mask; mask &= mask - 1) {
      const int64_t bucket = b + __builtin_ctz(mask);
      if (bucket >= buckets.count) break;
      if (nearest_bucket < 0) {
        nearest_bucket = bucket;
        const int64_t window = (k + buckets.size - 1) / buckets.size + 1;
        last = std::min(buckets.count, std::max<int64_t>(0, nearest_bucket - window / 2) + window);
        first = std::max<int64_t>(0, last - window);
        for (int64_t i = first; i < last; ++i) nearest.visit(buckets, i, cx, cy, cz);
      } else if (bucket >= last) {
        nearest.visit(buckets, bucket, cx, cy, cz);
      }
    }
  }
  nearest.prune();
  const vf limit = splat(nearest.kth_sq_dist);
  int64_t num_buckets = 0;
  for (int64_t b = 0; b < padded; b += PA3D_W) {
    for (uint32_t mask = mask_less_equal(load(bound + b), limit); mask; mask &= mask - 1) {
      const int64_t bucket = b + __builtin_ctz(mask);
      if (bucket >= buckets.count || bound[bucket] == closest || (bucket >= first && bucket < last)) continue;
      uint32_t bits;
      std::memcpy(&bits, bound + bucket, 4);
      s.bucket_keys[num_buckets++] = static_cast<uint64_t>(bits) << 32 | static_cast<uint32_t>(bucket);
    }
  }
  std::sort(s.bucket_keys.data(), s.bucket_keys.data() + num_buckets);
  for (int64_t i = 0; i < num_buckets; ++i) {
    const int64_t bucket = static_cast<int64_t>(s.bucket_keys[i] & 0xffffffffu);
    if (bound[bucket] > nearest.kth_sq_dist) break;
    nearest.visit(buckets, bucket, cx, cy, cz);
  }
  write_smallest(nearest.keys, nearest.size, k, index, sq_dist);
}

static void knn_range_brute_force(const float* queries, int64_t begin, int64_t end, const float* soa, int64_t n,
                                  int64_t padded, int64_t k, int64_t* index, float* sq_dist) {
  KnnWorkspace s;
  s.row.resize(padded);
  s.keys.resize(n + 8);
  for (int64_t q = begin; q < end; ++q)
    knn_brute_force(soa, soa + padded, soa + 2 * padded, n, padded, queries + 3 * q, k, s, index + q * k,
                    sq_dist ? sq_dist + q * k : nullptr);
}

static void knn_range_buckets(const Buckets& buckets, const float* queries, int64_t begin, int64_t end, int64_t k,
                              int64_t* index, float* sq_dist) {
  KnnWorkspace s;
  s.bound.resize(buckets.padded_count());
  s.bucket_keys.resize(buckets.count);
  s.keys.resize(std::max(2 * k + 32, k + 64) + buckets.size + 8);
  for (int64_t q = begin; q < end; ++q)
    knn_buckets(buckets, queries + 3 * q, k, s, index + q * k, sq_dist ? sq_dist + q * k : nullptr);
}

}  // namespace PA3D_NS
}  // namespace pa3d
