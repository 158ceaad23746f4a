// Products over rows, C (m, n) = A^T B with A (rows, m) and B (rows, n): gradients of weights. Both operands are
// packed as the panels of gemm.inl with rows in the place of k, so the microkernel is the same. RowPanels of a weight
// matrix W are what a product with W, instead of W^T, reads. Included after gemm.inl.

#if PA3D_LEVEL >= 3
static inline vf load(const uint16_t* p) {
  const __m256i bf16 = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
  return (vf)_mm512_slli_epi32(_mm512_cvtepu16_epi32(bf16), 16);
}
#endif

// Stores one vector of columns of two consecutive rows, interleaved as RowPanels has them.
template <class T>
static inline void store_row_pair(typename T::Activation* at, vf first, vf second) {
  if constexpr (std::is_same_v<T, F32>) {
    store(at, first);
    store(at + kNR, second);
  } else {
#if PA3D_LEVEL >= 3
    const __m512i order = _mm512_set_epi16(31, 15, 30, 14, 29, 13, 28, 12, 27, 11, 26, 10, 25, 9, 24, 8, 23, 7, 22, 6,
                                           21, 5, 20, 4, 19, 3, 18, 2, 17, 1, 16, 0);
    const __m512i both = (__m512i)_mm512_cvtne2ps_pbh((__m512)second, (__m512)first);
    _mm512_storeu_si512(at, _mm512_permutexvar_epi16(order, both));
#endif
  }
}

// The rows of an operand as panels. A row of zeros makes their number even. Widths are multiples of kNR.
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
static inline void microkernel_transposed(int rows, const typename T::Activation* a, const typename T::Activation* b,
                                          int64_t depth, float* tile, const char* prefetch) {
  if constexpr (kRows > 0) {
    if (rows == kRows)
      microkernel<T, kRows, 4 * kNR>(a, T::kPack, b, depth, tile, kNR, prefetch);
    else
      microkernel_transposed<T, kRows - 1>(rows, a, b, depth, tile, prefetch);
  }
}

// epilogue(row, rows, column) for every tile of the first m rows of A^T B, which it finds in `tile`.
template <class T, class Epilogue>
static inline void gemm_transposed(const RowPanels<T>& a, int64_t m, const RowPanels<T>& b, float* tile,
                                   const Epilogue& epilogue) {
  for (int64_t p = 0; p < b.width / kNR; ++p)
    for (int64_t q = 0; q * kNR < m; ++q)
      for (int row = 0; row < std::min<int64_t>(kNR, m - q * kNR); row += kMR) {
        const int rows = static_cast<int>(std::min<int64_t>(std::min(kMR, kNR - row), m - q * kNR - row));
        const auto* from = a.panel(q) + row * T::kPack;
        microkernel_transposed<T, kMR>(rows, from, b.panel(p), a.depth, tile, reinterpret_cast<const char*>(from));
        epilogue(q * kNR + row, rows, p * kNR);
      }
}

// Accumulates A^T B over calls, tile by tile in the order in which they are computed.
class GradAccumulator {
 public:
  void reset(int64_t m, int64_t n) {
    data_.reserve(m * n);
    m_ = m, n_ = n, has_sum_ = false;
  }

  template <class T>
  void add(const RowPanels<T>& a, const RowPanels<T>& b) {
    alignas(64) float tile[kMR * kNR];
    float* at = data_.data();
    for (int64_t group = 0; group < m_ / kNR; group += kGroupPanels)
      for (int64_t p = 0; p < n_ / kNR; ++p)
        for (int64_t q = group; q < std::min(group + kGroupPanels, m_ / kNR); ++q)
          for (int row = 0; row < kNR; row += kMR) {
            const int rows = std::min(kMR, kNR - row);
            const char* prefetch = reinterpret_cast<const char*>(at);
            const auto* from = a.panel(q) + row * T::kPack;
            microkernel_transposed<T, kMR>(rows, from, b.panel(p), a.depth, tile, prefetch);
            if (has_sum_)
              for (int i = 0; i < rows * kNR; i += PA3D_W) store(at + i, load(at + i) + load(tile + i));
            else
              std::memcpy(at, tile, rows * kNR * sizeof(float));
            at += rows * kNR;
          }
    has_sum_ = true;
  }

  // out (m, n): the sum over `all`, row panels [from, to) of it.
  static void reduce(const std::vector<const GradAccumulator*>& all, int64_t from, int64_t to, float* out) {
    const int64_t m = all[0]->m_, n = all[0]->n_, area = kNR * kNR;
    for (int64_t q = from; q < to; ++q) {
      const int64_t group = q / kGroupPanels * kGroupPanels, wide = std::min(kGroupPanels, m / kNR - group);
      for (int64_t p = 0; p < n / kNR; ++p) {
        const int64_t place = (group * (n / kNR) + p * wide + q - group) * area;
        for (int64_t i = 0; i < area; i += PA3D_W) {
          vf sum = vf{};
          for (const GradAccumulator* s : all)
            if (s->has_sum_) sum += load(s->data_.data() + place + i);
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

// Packs panels [from, to) of W (k, n) for products with W (PackedWeight::pack is for W^T). k and n are multiples of
// kNR. `out` has its size already.
template <class T>
static void pack_panels_no_trans(const float* w, int64_t from, int64_t to, PackedWeight<T>& out) {
  for (int64_t p = from; p < to; ++p)
    for (int64_t r = 0; r < out.k; r += 2)
      for (int64_t c = 0; c < kNR; c += PA3D_W) {
        const float* at = w + r * out.n + p * kNR + c;
        store_row_pair<T>(out.data.data() + p * out.k * kNR + r * kNR + c * T::kPack, load(at), load(at + out.n));
      }
}
