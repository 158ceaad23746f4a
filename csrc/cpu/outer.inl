// Products over rows, C (m, n) = A^T B with A (rows, m) and B (rows, n): gradients of weights. Both operands are
// stacked as the panels of gemm.inl with rows in the place of k, so that the kernel there serves here too, and a stack
// of the rows of a weight matrix W is what a product with W, in place of W^T, reads. Included after gemm.inl.

#if PA3D_LEVEL >= 3
static inline vf load(const uint16_t* p) {
  const __m256i half = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
  return (vf)_mm512_slli_epi32(_mm512_cvtepu16_epi32(half), 16);
}
#endif

// One vector of columns of two rows that follow each other, where a stack keeps them.
template <class T>
static inline void put_two(typename T::A* at, vf first, vf second) {
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

// Rows of an operand, stacked. Their number is rounded up to an even one with a row of zeros. Widths are multiples of
// kNR.
template <class T>
struct Stack {
  Buffer<typename T::A> data;
  int64_t width = 0, depth = 0;

  void reserve(int64_t rows, int64_t columns) { data.reserve((rows + 1) / 2 * 2 * columns); }
  void shape(int64_t rows, int64_t columns) { depth = (rows + 1) / 2 * 2, width = columns; }
  typename T::A* panel(int64_t p) { return data.data() + p * depth * kNR; }
  const typename T::A* panel(int64_t p) const { return data.data() + p * depth * kNR; }

  // `count` rows of length `stride`.
  void take(const typename T::A* rows, int64_t count, int64_t columns, int64_t stride) {
    shape(count, columns);
    for (int64_t c = 0; c < columns; c += kNR) {
      const int64_t whole = count / T::kPack * T::kPack;
      for (int64_t r = 0; r < whole; r += T::kPack) T::weave(rows + r * stride + c, stride, panel(c / kNR) + r * kNR);
      if (depth > count) {  // the last row, if a lane holds two, and the one of zeros
        const typename T::A* last = rows + (count - 1) * stride + c;
        for (int64_t i = 0; i < kNR; i += PA3D_W)
          put_two<T>(panel(c / kNR) + (count - 1) * kNR + i * T::kPack, load(last + i), vf{});
      }
    }
  }
};

template <class T, int MR>
static inline void multiply_stacked(int rows, const typename T::A* a, const typename T::A* b, int64_t depth,
                                    float* tile, const char* ahead) {
  if constexpr (MR > 0) {
    if (rows == MR)
      multiply_tile<T, MR, 4 * kNR>(a, T::kPack, b, depth, tile, kNR, ahead);
    else
      multiply_stacked<T, MR - 1>(rows, a, b, depth, tile, ahead);
  }
}

// finish(row, rows, column) for every tile of the first m rows of A^T B, which it finds in `tile`.
template <class T, class Finish>
static inline void multiply_outer(const Stack<T>& a, int64_t m, const Stack<T>& b, float* tile, const Finish& finish) {
  for (int64_t p = 0; p < b.width / kNR; ++p)
    for (int64_t q = 0; q * kNR < m; ++q)
      for (int row = 0; row < std::min<int64_t>(kNR, m - q * kNR); row += kMR) {
        const int rows = static_cast<int>(std::min<int64_t>(std::min(kMR, kNR - row), m - q * kNR - row));
        const auto* from = a.panel(q) + row * T::kPack;
        multiply_stacked<T, kMR>(rows, from, b.panel(p), a.depth, tile, reinterpret_cast<const char*>(from));
        finish(q * kNR + row, rows, p * kNR);
      }
}

// Sums of a product over rows, a tile after the other as they are computed.
class Sums {
 public:
  void start(int64_t m, int64_t n) {
    data_.reserve(m * n);
    m_ = m, n_ = n, any_ = false;
  }

  template <class T>
  void add(const Stack<T>& a, const Stack<T>& b) {
    alignas(64) float tile[kMR * kNR];
    float* at = data_.data();
    for (int64_t group = 0; group < m_ / kNR; group += kGroup)
      for (int64_t p = 0; p < n_ / kNR; ++p)
        for (int64_t q = group; q < std::min(group + kGroup, m_ / kNR); ++q)
          for (int row = 0; row < kNR; row += kMR) {
            const int rows = std::min(kMR, kNR - row);
            const char* ahead = reinterpret_cast<const char*>(at);
            const auto* from = a.panel(q) + row * T::kPack;
            multiply_stacked<T, kMR>(rows, from, b.panel(p), a.depth, tile, ahead);
            if (any_)
              for (int i = 0; i < rows * kNR; i += PA3D_W) store(at + i, load(at + i) + load(tile + i));
            else
              std::memcpy(at, tile, rows * kNR * sizeof(float));
            at += rows * kNR;
          }
    any_ = true;
  }

  // out (m, n): the sum over `all`, row panels [from, to) of it.
  static void total(const std::vector<const Sums*>& all, int64_t from, int64_t to, float* out) {
    const int64_t m = all[0]->m_, n = all[0]->n_, area = kNR * kNR;
    for (int64_t q = from; q < to; ++q) {
      const int64_t group = q / kGroup * kGroup, wide = std::min(kGroup, m / kNR - group);
      for (int64_t p = 0; p < n / kNR; ++p) {
        const int64_t place = (group * (n / kNR) + p * wide + q - group) * area;
        for (int64_t i = 0; i < area; i += PA3D_W) {
          vf sum = vf{};
          for (const Sums* s : all)
            if (s->any_) sum += load(s->data_.data() + place + i);
          store(out + (q * kNR + i / kNR) * n + p * kNR + i % kNR, sum);
        }
      }
    }
  }
  int64_t panels() const { return m_ / kNR; }

 private:
  static constexpr int64_t kGroup = 8;  // panels of A that stay in the second-level cache

  Buffer<float> data_;
  int64_t m_ = 0, n_ = 0;
  bool any_ = false;
};

// Packs W (k, n) for products with W where Packed::pack is for those with W^T; k and n are multiples of kNR. Panels
// [from, to) of it; the room is there.
template <class T>
static void pack_columns(const float* w, int64_t from, int64_t to, Packed<T>& out) {
  for (int64_t p = from; p < to; ++p)
    for (int64_t r = 0; r < out.k; r += 2)
      for (int64_t c = 0; c < kNR; c += PA3D_W) {
        const float* at = w + r * out.n + p * kNR + c;
        put_two<T>(out.data.data() + p * out.k * kNR + r * kNR + c * T::kPack, load(at), load(at + out.n));
      }
}
