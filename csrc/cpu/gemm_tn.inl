// C (m, n) = A^T B with A (rows, m) and B (rows, n): the gradients of weights. In BLAS's words it is a TN product. Both
// operands are packed as the panels of gemm.inl, with rows in the place of k, so the microkernel is the same. A weight
// matrix W packed this way is the operand of a product with W instead of W^T. Included after gemm.inl.

#if PA3D_AVX >= 3
static inline vf load(const uint16_t* p) {
  const __m256i bf16 = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
  return (vf)_mm512_slli_epi32(_mm512_cvtepu16_epi32(bf16), 16);
}
#elif PA3D_HAS_BF16
static inline vf load(const uint16_t* p) { return (vf)vshll_n_u16(vld1_u16(p), 16); }
#endif

// Stores one vector of columns of two consecutive rows, interleaved as in RowPanels.
template <class T>
static inline void store_row_pair(typename T::Activation* out, vf first, vf second) {
  if constexpr (std::is_same_v<T, F32>) {
    store(out, first);
    store(out + kNR, second);
  } else {
#if PA3D_AVX >= 3
    const __m512i order = _mm512_set_epi16(31, 15, 30, 14, 29, 13, 28, 12, 27, 11, 26, 10, 25, 9, 24, 8, 23, 7, 22, 6,
                                           21, 5, 20, 4, 19, 3, 18, 2, 17, 1, 16, 0);
    const __m512i both = (__m512i)_mm512_cvtne2ps_pbh((__m512)second, (__m512)first);
    _mm512_storeu_si512(out, _mm512_permutexvar_epi16(order, both));
#elif PA3D_HAS_BF16
    vst2_u16(out, (uint16x4x2_t{{(uint16x4_t)vcvt_bf16_f32((float32x4_t)first),
                                 (uint16x4_t)vcvt_bf16_f32((float32x4_t)second)}}));
#endif
  }
}

// The rows of an operand, packed as panels. If their number is odd, a row of zeros is added. Widths are multiples of
// kNR.
template <class T>
struct RowPanels {
  Buffer<typename T::Activation> data;
  int64_t width = 0, depth = 0;

  void reserve(int64_t rows, int64_t columns) { data.reserve((rows + 1) / 2 * 2 * columns); }
  void set_shape(int64_t rows, int64_t columns) { depth = (rows + 1) / 2 * 2, width = columns; }
  typename T::Activation* panel(int64_t p) { return data.data() + p * depth * kNR; }
  const typename T::Activation* panel(int64_t p) const { return data.data() + p * depth * kNR; }

  // `count` rows of length `stride`.
  void pack(const typename T::Activation* rows, int64_t count, int64_t columns, int64_t stride) {
    set_shape(count, columns);
    for (int64_t c = 0; c < columns; c += kNR) {
      const int64_t whole = count / T::kPack * T::kPack;
      for (int64_t r = 0; r < whole; r += T::kPack)
        T::interleave(rows + r * stride + c, stride, panel(c / kNR) + r * kNR);
      if (depth > count) {  // the last row and the row of zeros
        const typename T::Activation* last = rows + (count - 1) * stride + c;
        for (int64_t i = 0; i < kNR; i += PA3D_W)
          store_row_pair<T>(panel(c / kNR) + (count - 1) * kNR + i * T::kPack, load(last + i), vf{});
      }
    }
  }
};

template <class T, int kRows>
static inline void microkernel_tn(int rows, const typename T::Activation* a, const typename T::Activation* b,
                                  int64_t depth, float* tile, const char* prefetch) {
  if constexpr (kRows > 0) {
    if (rows == kRows)
      microkernel<T, kRows, 4 * kNR>(a, T::kPack, b, depth, tile, kNR, prefetch);
    else
      microkernel_tn<T, kRows - 1>(rows, a, b, depth, tile, prefetch);
  }
}

// Computes the first m rows of A^T B in `tile`, one tile at a time, and calls epilogue(row, rows, column) for each.
template <class T, class Epilogue>
static inline void gemm_tn(const RowPanels<T>& a, int64_t m, const RowPanels<T>& b, float* tile,
                           const Epilogue& epilogue) {
  for (int64_t p = 0; p < b.width / kNR; ++p)
    for (int64_t q = 0; q * kNR < m; ++q)
      for (int row = 0; row < std::min<int64_t>(kNR, m - q * kNR); row += kMR) {
        const int rows = static_cast<int>(std::min<int64_t>(std::min(kMR, kNR - row), m - q * kNR - row));
        const auto* from = a.panel(q) + row * T::kPack;
        microkernel_tn<T, kMR>(rows, from, b.panel(p), a.depth, tile, reinterpret_cast<const char*>(from));
        epilogue(q * kNR + row, rows, p * kNR);
      }
}

// Accumulates A^T B over calls. The sums are stored tile by tile, in the order in which tiles are computed.
class GradAccumulator {
 public:
  void reset(int64_t m, int64_t n) {
    data_.reserve(m * n);
    m_ = m, n_ = n, has_sum_ = false;
  }

  template <class T>
  void add(const RowPanels<T>& a, const RowPanels<T>& b) {
    alignas(64) float tile[kMR * kNR];
    float* sum = data_.data();
    for (int64_t group = 0; group < m_ / kNR; group += kGroupPanels)
      for (int64_t p = 0; p < n_ / kNR; ++p)
        for (int64_t q = group; q < std::min(group + kGroupPanels, m_ / kNR); ++q)
          for (int row = 0; row < kNR; row += kMR) {
            const int rows = std::min(kMR, kNR - row);
            const char* prefetch = reinterpret_cast<const char*>(sum);
            const auto* from = a.panel(q) + row * T::kPack;
            microkernel_tn<T, kMR>(rows, from, b.panel(p), a.depth, tile, prefetch);
            if (has_sum_)
              for (int i = 0; i < rows * kNR; i += PA3D_W) store(sum + i, load(sum + i) + load(tile + i));
            else
              std::memcpy(sum, tile, rows * kNR * sizeof(float));
            sum += rows * kNR;
          }
    has_sum_ = true;
  }

  // out (m, n): row panels [from, to) of the sum over `all`.
  static void reduce(const std::vector<const GradAccumulator*>& all, int64_t from, int64_t to, float* out) {
    const int64_t m = all[0]->m_, n = all[0]->n_, area = kNR * kNR;
    for (int64_t q = from; q < to; ++q) {
      const int64_t group = q / kGroupPanels * kGroupPanels, group_panels = std::min(kGroupPanels, m / kNR - group);
      for (int64_t p = 0; p < n / kNR; ++p) {
        const int64_t offset = (group * (n / kNR) + p * group_panels + q - group) * area;
        for (int64_t i = 0; i < area; i += PA3D_W) {
          vf sum = vf{};
          for (const GradAccumulator* s : all)
            if (s->has_sum_) sum += load(s->data_.data() + offset + i);
          store(out + (q * kNR + i / kNR) * n + p * kNR + i % kNR, sum);
        }
      }
    }
  }
  int64_t panels() const { return m_ / kNR; }

 private:
  static constexpr int64_t kGroupPanels = 8;  // panels of A that stay in the second-level cache

  Buffer<float> data_;
  int64_t m_ = 0, n_ = 0;
  bool has_sum_ = false;
};

// Packs panels [from, to) of W (k, n) for products with W. (PackedWeight::pack is for W^T.) k and n are multiples of
// kNR. `out` has its size already.
template <class T>
static void pack_panels_no_trans(const float* w, int64_t from, int64_t to, PackedWeight<T>& out) {
  for (int64_t p = from; p < to; ++p)
    for (int64_t r = 0; r < out.k; r += 2)
      for (int64_t c = 0; c < kNR; c += PA3D_W) {
        const float* pair = w + r * out.n + p * kNR + c;
        store_row_pair<T>(out.data.data() + p * out.k * kNR + r * kNR + c * T::kPack, load(pair), load(pair + out.n));
      }
}
