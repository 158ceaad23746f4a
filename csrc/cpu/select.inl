// The k smallest of a row of squared distances, ascending; the lowest index wins ties. Included by kernel sources
// inside foreach_isa.h, after vec.inl.

// How many distances are <= bound.
static inline int count_up_to(const float* d, int64_t padded, float bound) {
  const vf limit = splat(bound);
#if PA3D_NEON >= 1
  vi counts = {};
  for (int64_t i = 0; i < padded; i += PA3D_W) counts -= load(d + i) <= limit;  // a comparison that holds gives -1
  return vaddvq_s32((int32x4_t)counts);
#endif
  int count = 0;
  for (int64_t i = 0; i < padded; i += PA3D_W) count += __builtin_popcount(mask_less_equal(load(d + i), limit));
  return count;
}

// Collects the keys of the distances <= bound: the bits of the squared distance above, the index below. Padding is left
// out even if the bound is infinite. Returns how many.
static inline int64_t collect_up_to(const float* d, int64_t n, float bound, uint64_t* keys) {
  int64_t m = 0;
  const vf limit = splat(bound);
  for (int64_t i = 0; i < n; i += PA3D_W) {
    uint32_t mask = mask_less_equal(load(d + i), limit);
    if (n - i < PA3D_W) mask &= (1u << (n - i)) - 1;
    for (; mask; mask &= mask - 1) {
      const int64_t j = i + __builtin_ctz(mask);
      uint32_t bits;
      std::memcpy(&bits, d + j, 4);
      keys[m++] = static_cast<uint64_t>(bits) << 32 | static_cast<uint32_t>(j);
    }
  }
  return m;
}

// Writes the k smallest of m keys, in order.
static inline void write_smallest(uint64_t* keys, int64_t m, int64_t k, int64_t* index, float* sq_dist) {
  auto put = [&](int64_t rank, uint64_t key) {
    const uint32_t bits = static_cast<uint32_t>(key >> 32);
    index[rank] = static_cast<int64_t>(key & 0xffffffffu);
    if (sq_dist) std::memcpy(sq_dist + rank, &bits, 4);
  };
#if PA3D_AVX >= 2
  // With few candidates: the rank of a key is the number of smaller keys. No two keys are equal, because their indices
  // differ.
  if (m <= 128) {
    const int64_t padded = (m + 7) & ~int64_t{7};
    for (int64_t i = m; i < padded; ++i) keys[i] = ~uint64_t{0};
    for (int64_t i = 0; i < m; ++i) {
      const __m512i key_lanes = _mm512_set1_epi64(static_cast<long long>(keys[i]));
      int rank = 0;
      for (int64_t j = 0; j < padded; j += 8)
        rank += __builtin_popcount(_mm512_cmplt_epu64_mask(_mm512_loadu_si512(keys + j), key_lanes));
      if (rank < k) put(rank, keys[i]);
    }
    return;
  }
#endif
  if (m > 4 * k) std::nth_element(keys, keys + k - 1, keys + m);
  std::partial_sort(keys, keys + k, keys + (m > 4 * k ? k : m));
  for (int64_t i = 0; i < k; ++i) put(i, keys[i]);
}

// Finds a bound such that a few more than k distances are <= it, by a search that starts from a guess. Then it sorts
// only these. d: a row of `padded` distances (a multiple of PA3D_W); those past n are +inf. keys: working memory for
// n + 8 keys. bound_hint: on entry, a bound found for a similar row, or 0; on return, the bound of this row.
static inline void select_smallest(const float* d, int64_t n, int64_t padded, int64_t k, uint64_t* keys,
                                   float* bound_hint, int64_t* index, float* sq_dist) {
  const int64_t max_candidates = k + std::max<int64_t>(k, 32);
  float bound = std::numeric_limits<float>::infinity();
  if (max_candidates < n) {
    float low = -1.0f, high = bound;  // fewer than k distances are <= low, more than max_candidates are <= high
    float guess = *bound_hint > 0 ? *bound_hint : reduce_max(load(d)) * static_cast<float>(k) / static_cast<float>(n);
    const float target = 0.5f * static_cast<float>(k + max_candidates);
    for (int step = 0; step < 64; ++step) {
      if (!(guess > low && guess < high))
        guess = high < std::numeric_limits<float>::infinity() ? low + 0.5f * (high - low) : 2 * low + 1e-30f;
      if (!(guess > low && guess < high)) break;  // no float lies between: too many distances are equal
      const int count = count_up_to(d, padded, guess);
      if (count >= k && count <= max_candidates) {
        bound = guess;
        break;
      }
      if (count < k) {
        low = guess;
      } else {
        high = guess;
      }
      // On a surface, the count is about proportional to the squared distance.
      const float factor = target / static_cast<float>(count + 1);
      guess *= std::min(4.0f, std::max(0.25f, factor));
    }
    if (bound == std::numeric_limits<float>::infinity()) bound = high;
    *bound_hint = std::min(bound, std::numeric_limits<float>::max());
  }
  const int64_t m = collect_up_to(d, n, bound, keys);
  write_smallest(keys, m, k, index, sq_dist);
}
