// Matrix products of activations with packed weights, C (m, n) = A (m, k) W^T, in float32 and bf16.
//
// Weights lie in panels of kNR columns: [panel][k][kNR] for float32, [panel][k/2][kNR][2] for bf16. The kernel holds
// an MR x kNR tile of C in registers, streams one panel and broadcasts A, so panels are read once for all rows that fit
// the cache. Every element of C is summed over k in order by one thread: results do not depend on how work is cut.
// Included inside foreach_isa.h, after vec.inl and math.inl.

constexpr int kNV = 2;
constexpr int kNR = kNV * PA3D_W;
constexpr int kMR = PA3D_LEVEL >= 2 ? 12 : PA3D_LEVEL == 1 ? 6 : 4;

// Rows of activations start at multiples of this many elements; what lies past the true width is zero.
constexpr int64_t kAlign = 64;
static inline int64_t aligned(int64_t n) { return (n + kAlign - 1) / kAlign * kAlign; }

struct F32 {
  typedef float A;
  typedef float W;
  static constexpr int kPack = 1;  // elements of k in one 32-bit lane
  static inline void multiply_add(vf& acc, const float* a, vf w) { acc += splat(*a) * w; }
  static inline vf weights(const float* p) { return load(p); }
  static inline void put(float* p, vf v) { store(p, v); }
  static inline float encode(float v) { return v; }
};

#if PA3D_LEVEL >= 3
struct BF16 {
  typedef uint16_t A;
  typedef uint16_t W;
  static constexpr int kPack = 2;
  static inline void multiply_add(vf& acc, const uint16_t* a, vf w) {
    int32_t pair;
    std::memcpy(&pair, a, 4);
    acc = (vf)_mm512_dpbf16_ps((__m512)acc, (__m512bh)_mm512_set1_epi32(pair), (__m512bh)w);
  }
  static inline vf weights(const uint16_t* p) { return load(reinterpret_cast<const float*>(p)); }
  static inline void put(uint16_t* p, vf v) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), (__m256i)_mm512_cvtneps_pbh((__m512)v));
  }
  static inline uint16_t encode(float v) {
    uint32_t bits;
    std::memcpy(&bits, &v, 4);
    return static_cast<uint16_t>((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
  }
};
#endif

// A weight matrix (n, k) with bias (n), packed for this level.
template <class T>
struct Packed {
  int64_t n = 0, k = 0, panels = 0;
  Buffer<typename T::W> data;
  Buffer<float> bias;  // padded with zeros

  // w (n, k) with rows of length `stride`; bias (n) or null.
  void pack(const float* w, int64_t rows, int64_t columns, int64_t stride, const float* b) {
    n = rows;
    k = (columns + T::kPack - 1) / T::kPack * T::kPack;
    panels = (n + kNR - 1) / kNR;
    data.resize(panels * k * kNR);
    bias.resize(std::max(panels * kNR, aligned(n)));
    for (int64_t p = 0; p < panels; ++p)
      for (int64_t i = 0; i < k; ++i)
        for (int64_t c = 0; c < kNR; ++c) {
          const int64_t row = p * kNR + c;
          const float value = row < n && i < columns ? w[row * stride + i] : 0.0f;
          data[((p * k + i / T::kPack * T::kPack) * kNR) + c * T::kPack + i % T::kPack] = T::encode(value);
        }
    for (int64_t i = 0; i < n && b; ++i) bias[i] = b[i];
  }
  const typename T::W* panel(int64_t p) const { return data.data() + p * k * kNR; }
};

// tile (MR, kNR) = A (MR, k) times one panel.
template <class T, int MR>
static __attribute__((noinline)) void multiply_tile(const typename T::A* a, int64_t stride, const typename T::W* w,
                                                    int64_t k, float* tile) {
  vf acc[MR][kNV];
#pragma GCC unroll 12
  for (int i = 0; i < MR; ++i)
#pragma GCC unroll 2
    for (int j = 0; j < kNV; ++j) acc[i][j] = vf{};
  for (int64_t at = 0; at < k; at += T::kPack, w += kNR * T::kPack) {
    vf b[kNV];
#pragma GCC unroll 2
    for (int j = 0; j < kNV; ++j) b[j] = T::weights(w + j * PA3D_W * T::kPack);
#pragma GCC unroll 12
    for (int i = 0; i < MR; ++i)
#pragma GCC unroll 2
      for (int j = 0; j < kNV; ++j) T::multiply_add(acc[i][j], a + i * stride + at, b[j]);
  }
#pragma GCC unroll 12
  for (int i = 0; i < MR; ++i)
#pragma GCC unroll 2
    for (int j = 0; j < kNV; ++j) store(tile + i * kNR + j * PA3D_W, acc[i][j]);
}

template <class T, int MR>
static inline void multiply_rows(int rows, const typename T::A* a, int64_t stride, const typename T::W* w, int64_t k,
                                 float* tile) {
  if constexpr (MR > 0) {
    if (rows == MR)
      multiply_tile<T, MR>(a, stride, w, k, tile);
    else
      multiply_rows<T, MR - 1>(rows, a, stride, w, k, tile);
  }
}

// finish(row, rows, column, tile) takes each finished tile of panels [from, to).
template <class T, class Finish>
static inline void multiply(const typename T::A* a, int64_t m, int64_t stride, const Packed<T>& w, int64_t from, int64_t to,
                            const Finish& finish) {
  alignas(64) float tile[kMR * kNR];
  for (int64_t p = from; p < to; ++p)
    for (int64_t row = 0; row < m; row += kMR) {
      const int rows = static_cast<int>(std::min<int64_t>(kMR, m - row));
      multiply_rows<T, kMR>(rows, a + row * stride, stride, w.panel(p), w.k, tile);
      finish(row, rows, p * kNR, tile);
    }
}

enum class Act { none, relu, gelu };

template <Act act>
static inline vf activate(vf v) {
  if constexpr (act == Act::relu) return vmax(v, splat(0.0f));
  if constexpr (act == Act::gelu) return vgelu(v);
  return v;
}

// out (m, n) = act(A W^T + bias), as float32 or as activations of the next product.
template <class T, class O, Act act>
static inline void linear(const typename T::A* a, int64_t m, int64_t stride, const Packed<T>& w, int64_t from, int64_t to,
                          typename O::A* out, int64_t out_stride) {
  multiply<T>(a, m, stride, w, from, to, [&](int64_t row, int rows, int64_t column, const float* tile) {
    for (int j = 0; j < kNV; ++j) {
      const vf b = load(w.bias.data() + column + j * PA3D_W);
      for (int i = 0; i < rows; ++i)
        O::put(out + (row + i) * out_stride + column + j * PA3D_W, activate<act>(load(tile + i * kNR + j * PA3D_W) + b));
    }
  });
}

// x (m, n) += A W^T + bias
template <class T>
static inline void linear_residual(const typename T::A* a, int64_t m, int64_t stride, const Packed<T>& w, int64_t from,
                                   int64_t to, float* x, int64_t x_stride) {
  multiply<T>(a, m, stride, w, from, to, [&](int64_t row, int rows, int64_t column, const float* tile) {
    for (int j = 0; j < kNV; ++j) {
      const vf b = load(w.bias.data() + column + j * PA3D_W);
      for (int i = 0; i < rows; ++i) {
        float* p = x + (row + i) * x_stride + column + j * PA3D_W;
        store(p, load(p) + (load(tile + i * kNR + j * PA3D_W) + b));
      }
    }
  });
}
