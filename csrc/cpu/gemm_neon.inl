// The microkernel of gemm.inl for NEON, whose operands may be lanes of a register, and with PA3D_NEON >= 3 matrices of
// two rows. Included by gemm.inl.

// 16 bytes of a matrix, as four lanes. The asm keeps them in one register: the compiler would load those lanes that are
// used one by one, each into a register of its own, and run out of registers.
template <class X>
static inline vi load_lanes(const X* p) {
  vi lanes = load(reinterpret_cast<const int32_t*>(p));
  asm("" : "+w"(lanes));
  return lanes;
}

// One step. a: a register per row, whose lane kLane belongs to the step.
template <int kLane, class T, int kRows>
static inline __attribute__((always_inline)) void multiply_step(typename T::Sum (&acc)[kRows][kNV],
                                                                const vi (&a)[kRows], const typename T::Weight* w) {
#pragma GCC unroll 2
  for (int j = 0; j < kNV; ++j) {
    const vi weights = load_lanes(w + j * PA3D_W * T::kPack);
#pragma GCC unroll 8
    for (int i = 0; i < kRows; ++i) acc[i][j] = T::template multiply_add_lane<kLane>(acc[i][j], a[i], weights);
  }
}

// Sums of single products: a lane of A times the weights of kNR columns.
template <class T, int kRows, int kStep>
static inline __attribute__((always_inline)) void multiply_by_lanes(const char* a, int64_t row,
                                                                    const typename T::Weight* w, int64_t steps,
                                                                    const char* prefetch,
                                                                    typename T::Sum (&acc)[kRows][kNV]) {
  constexpr int kWeights = kNR * T::kPack;
  vi rows[kRows];
  if constexpr (kStep == 4) {
    for (; steps >= 4; steps -= 4, a += 16, w += 4 * kWeights, prefetch += 4 * kPrefetchBytes) {
      __builtin_prefetch(prefetch);
#pragma GCC unroll 8
      for (int i = 0; i < kRows; ++i) rows[i] = load_lanes(a + i * row);
      multiply_step<0, T>(acc, rows, w);
      multiply_step<1, T>(acc, rows, w + kWeights);
      multiply_step<2, T>(acc, rows, w + 2 * kWeights);
      multiply_step<3, T>(acc, rows, w + 3 * kWeights);
    }
  }
  for (; steps > 0; --steps, a += kStep, w += kWeights) {
#pragma GCC unroll 8
    for (int i = 0; i < kRows; ++i) {
      int32_t lane;
      std::memcpy(&lane, a + i * row, 4);
      rows[i] = splat(lane);
    }
    multiply_step<0, T>(acc, rows, w);
  }
}

#if PA3D_NEON >= 3
static inline vi zip_low(vi a, vi b) { return (vi)vzip1q_s32((int32x4_t)a, (int32x4_t)b); }
static inline vi zip_high(vi a, vi b) { return (vi)vzip2q_s32((int32x4_t)a, (int32x4_t)b); }
static inline vi low_halves(vi a, vi b) { return (vi)vzip1q_s64((int64x2_t)a, (int64x2_t)b); }
static inline vi high_halves(vi a, vi b) { return (vi)vzip2q_s64((int64x2_t)a, (int64x2_t)b); }

// kSteps steps (1 or 2) of two rows of A: 8 bytes of each, zeros in the place of a second step. Both have one row if it
// is the last.
template <int kRows, int kStep, int kSteps>
static inline __attribute__((always_inline)) vi load_pair(const char* a, int64_t row, int pair) {
  if constexpr (kStep != 4) {  // A is a panel: the lanes of its rows lie side by side
    const vi first = load_lanes(a + pair / 2 * 16), second = kSteps == 2 ? load_lanes(a + kStep + pair / 2 * 16) : vi{};
    return pair % 2 == 0 ? zip_low(first, second) : zip_high(first, second);
  }
  int64_t even = 0, odd = 0;
  std::memcpy(&even, a + 2 * pair * row, 4 * kSteps);
  std::memcpy(&odd, a + std::min(2 * pair + 1, kRows - 1) * row, 4 * kSteps);
  return (vi)vcombine_s64(vcreate_s64(even), vcreate_s64(odd));
}

template <class T, int kRows, int kStep, int kSteps>
static inline __attribute__((always_inline)) void multiply_pairs(typename T::Sum (&sums)[(kRows + 1) / 2][2 * kNV],
                                                                 const char* a, int64_t row,
                                                                 const typename T::Weight* w) {
  vi pairs[(kRows + 1) / 2];
#pragma GCC unroll 4
  for (int p = 0; p < (kRows + 1) / 2; ++p) pairs[p] = load_pair<kRows, kStep, kSteps>(a, row, p);
#pragma GCC unroll 2
  for (int j = 0; j < kNV; ++j) {
    const vi first = load_lanes(w + j * PA3D_W * T::kPack);
    const vi second = kSteps == 2 ? load_lanes(w + (kNR + j * PA3D_W) * T::kPack) : vi{};
    const vi low = zip_low(first, second), high = zip_high(first, second);  // two columns each
#pragma GCC unroll 4
    for (int p = 0; p < (kRows + 1) / 2; ++p) {
      sums[p][2 * j] = T::multiply_add_2x2(sums[p][2 * j], pairs[p], low);
      sums[p][2 * j + 1] = T::multiply_add_2x2(sums[p][2 * j + 1], pairs[p], high);
    }
  }
}

// The same by bfmmla or smmla, which add the products of two rows with two columns, 8 bytes of each, to a matrix (2,
// 2). They need two steps side by side, so that each register of A and of W costs a permutation. For 16 bytes of k, a
// tile of 8 x 8 takes 32 products and 16 permutations, where bfdot or sdot would take 64 products.
template <class T, int kRows, int kStep>
static inline __attribute__((always_inline)) void multiply_by_pairs(const char* a, int64_t row,
                                                                    const typename T::Weight* w, int64_t steps,
                                                                    const char* prefetch,
                                                                    typename T::Sum (&acc)[kRows][kNV]) {
  typename T::Sum sums[(kRows + 1) / 2][2 * kNV] = {};
  for (; steps >= 2; steps -= 2, a += 2 * kStep, w += 2 * kNR * T::kPack, prefetch += 2 * kPrefetchBytes) {
    __builtin_prefetch(prefetch);
    multiply_pairs<T, kRows, kStep, 2>(sums, a, row, w);
  }
  if (steps > 0) multiply_pairs<T, kRows, kStep, 1>(sums, a, row, w);
#pragma GCC unroll 8
  for (int i = 0; i < kRows; ++i)
#pragma GCC unroll 2
    for (int j = 0; j < kNV; ++j) {
      const vi left = (vi)sums[i / 2][2 * j], right = (vi)sums[i / 2][2 * j + 1];
      acc[i][j] = (typename T::Sum)(i % 2 == 0 ? low_halves(left, right) : high_halves(left, right));
    }
}
#endif

template <class T, int kRows, int kStep = 4>
static __attribute__((noinline)) void microkernel(const typename T::Activation* a, int64_t stride,
                                                  const typename T::Weight* w, int64_t k, void* tile,
                                                  int64_t tile_stride, const char* prefetch) {
  typename T::Sum acc[kRows][kNV] = {};
  const int64_t row = stride * static_cast<int64_t>(sizeof(typename T::Activation));
  const char* first = reinterpret_cast<const char*>(a);
#if PA3D_NEON >= 3
  if constexpr (!std::is_same_v<T, F32>)
    multiply_by_pairs<T, kRows, kStep>(first, row, w, k / T::kPack, prefetch, acc);
  else
#endif
    multiply_by_lanes<T, kRows, kStep>(first, row, w, k / T::kPack, prefetch, acc);
  char* out = static_cast<char*>(tile);
#pragma GCC unroll 8
  for (int i = 0; i < kRows; ++i, out += 4 * tile_stride)
#pragma GCC unroll 2
    for (int j = 0; j < kNV; ++j) std::memcpy(out + 4 * j * PA3D_W, &acc[i][j], sizeof(typename T::Sum));
}
