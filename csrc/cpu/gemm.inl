// Matrix products of activations with packed weights, C (m, n) = A (m, k) W^T, in float32, bf16 and int8. m, n and k
// are the sizes of a product as in BLAS.
//
// Weights lie in panels of kNR columns: [panel][k][kNR] for float32, [panel][k/2][kNR][2] for bf16,
// [panel][k/4][kNR][4] for int8. In all three a column has one 32-bit lane per step, so they share one kernel. The
// kernel holds a kMR x kNR tile of C in registers, streams one panel and broadcasts elements of A. So a panel is read
// once for all rows that fit the cache. One thread sums every element of C over k, in order: results do not depend on
// how the work is split.
//
// int8: weights are rounded to [-127, 127] with one scale per column. Activations are rounded to [0, 255] with a scale
// and a zero point per row, computed from the row itself. The sums of the weight columns remove the zero point again.
// Arm multiplies signed by signed numbers, so there 128 is subtracted from activations and zero points. Products are
// integers, so the results are the same.
//
// Tiles fit the registers. Of 32 on AVX-512, 12 x 2 hold sums; of 16 on AVX2, 6 x 2. NEON also has 32, but an operand
// of its multiply_add may be one lane of a register. So four steps of eight rows are loaded at once, in 8 registers; 8
// x 2 hold sums and two weights, 26 in all. That takes one load per four products; 12 x 2 sums with one element of A
// loaded per product would take more than one per two. 16 sums are also enough to hide the latency of multiply-add on
// four pipes, which is four cycles.
//
// Included inside foreach_isa.h, after vec.inl and math.inl.

constexpr int kNV = 2;
constexpr int kNR = kNV * PA3D_W;
constexpr int kMR = PA3D_AVX >= 2 ? 12 : PA3D_AVX == 1 ? 6 : PA3D_NEON >= 1 ? 8 : 4;

// Rows of activations start at multiples of this many elements. Elements past the width are zero.
constexpr int64_t kRowAlign = 64;
static inline int64_t align_up(int64_t n) { return (n + kRowAlign - 1) / kRowAlign * kRowAlign; }

// Rows of activations as a product reads them; scale and zero_point (one per row) are used by int8 only.
template <class T>
struct ActivationView {
  typename T::Activation* data = nullptr;
  int64_t stride = 0;
  float* scale = nullptr;
  int32_t* zero_point = nullptr;
};

struct F32 {
  typedef float Activation;
  typedef float Weight;
  typedef vf Sum;
  static constexpr int kPack = 1;  // elements of k in one 32-bit lane
  static constexpr bool kQuantized = false;
  static inline void multiply_add(vf& acc, const float* a, const float* w) { acc += splat(*a) * load(w); }
#if PA3D_NEON >= 1
  // acc plus the products of one step. The lane of `a` that belongs to the step is broadcast.
  template <int kLane>
  static inline vf multiply_add_lane(vf acc, vi a, vi w) {
    return (vf)vfmaq_laneq_f32((float32x4_t)acc, (float32x4_t)w, (float32x4_t)a, kLane);
  }
#endif
  static inline void store_f32(float* p, vf v) { store(p, v); }
  // Interleaves kPack rows of a matrix into one step of a panel: lane c holds element c of each row.
  static inline void interleave(const float* row, int64_t, float* out) {
    for (int c = 0; c < kNR; c += PA3D_W) store(out + c, load(row + c));
  }
  static inline float from_f32(float v) { return v; }
};

#if PA3D_HAS_BF16
// The bf16 number nearest to a finite v.
static inline uint16_t to_bf16(float v) {
  uint32_t bits;
  std::memcpy(&bits, &v, 4);
  return static_cast<uint16_t>((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}
#endif

#if PA3D_AVX >= 3
struct BF16 {
  typedef uint16_t Activation;
  typedef uint16_t Weight;
  typedef vf Sum;
  static constexpr int kPack = 2;
  static constexpr bool kQuantized = false;
  static inline void multiply_add(vf& acc, const uint16_t* a, const uint16_t* w) {
    int32_t pair;
    std::memcpy(&pair, a, 4);
    acc = (vf)_mm512_dpbf16_ps((__m512)acc, (__m512bh)_mm512_set1_epi32(pair), (__m512bh)_mm512_loadu_si512(w));
  }
  static inline void store_f32(uint16_t* p, vf v) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), (__m256i)_mm512_cvtneps_pbh((__m512)v));
  }
  static inline void interleave(const uint16_t* row, int64_t stride, uint16_t* out) {
    const __m512i low = _mm512_set_epi16(47, 15, 46, 14, 45, 13, 44, 12, 43, 11, 42, 10, 41, 9, 40, 8, 39, 7, 38, 6, 37,
                                         5, 36, 4, 35, 3, 34, 2, 33, 1, 32, 0);
    const __m512i a = _mm512_loadu_si512(row), b = _mm512_loadu_si512(row + stride);
    const __m512i high = _mm512_add_epi16(low, _mm512_set1_epi16(16));
    _mm512_storeu_si512(out, _mm512_permutex2var_epi16(a, low, b));
    _mm512_storeu_si512(out + 32, _mm512_permutex2var_epi16(a, high, b));
  }
  static inline uint16_t from_f32(float v) { return to_bf16(v); }
};

struct I8 {
  typedef uint8_t Activation;
  typedef int8_t Weight;
  typedef vi Sum;
  static constexpr int kPack = 4;
  static constexpr bool kQuantized = true;
  static inline void multiply_add(vi& acc, const uint8_t* a, const int8_t* w) {
    int32_t quad;
    std::memcpy(&quad, a, 4);
    acc = (vi)_mm512_dpbusd_epi32((__m512i)acc, _mm512_set1_epi32(quad), _mm512_loadu_si512(w));
  }
};
#elif PA3D_NEON >= 2
#if PA3D_HAS_BF16
struct BF16 {
  typedef uint16_t Activation;
  typedef uint16_t Weight;
  typedef vf Sum;
  static constexpr int kPack = 2;
  static constexpr bool kQuantized = false;
  // acc (2, 2) plus the products of two rows of a with two rows of w, each of 8 bytes.
  static inline vf multiply_add_2x2(vf acc, vi a, vi w) {
    return (vf)vbfmmlaq_f32((float32x4_t)acc, (bfloat16x8_t)a, (bfloat16x8_t)w);
  }
  static inline void store_f32(uint16_t* p, vf v) { vst1_u16(p, (uint16x4_t)vcvt_bf16_f32((float32x4_t)v)); }
  static inline void interleave(const uint16_t* row, int64_t stride, uint16_t* out) {
    vst2q_u16(out, (uint16x8x2_t{{vld1q_u16(row), vld1q_u16(row + stride)}}));
  }
  static inline uint16_t from_f32(float v) { return to_bf16(v); }
};
#endif

struct I8 {
  typedef int8_t Activation;
  typedef int8_t Weight;
  typedef vi Sum;
  static constexpr int kPack = 4;
  static constexpr bool kQuantized = true;
#if PA3D_NEON >= 3
  static inline vi multiply_add_2x2(vi acc, vi a, vi w) {
    return (vi)vmmlaq_s32((int32x4_t)acc, (int8x16_t)a, (int8x16_t)w);
  }
#else
  template <int kLane>
  static inline vi multiply_add_lane(vi acc, vi a, vi w) {
    return (vi)vdotq_laneq_s32((int32x4_t)acc, (int8x16_t)w, (int8x16_t)a, kLane);
  }
#endif
};
#endif

#if PA3D_HAS_INT8
// Quantizes one float32 row to an int8 operand: value = scale * (q - zero_point). Zero is represented exactly.
static inline void quantize_row(const float* row, int64_t width, const ActivationView<I8>& out) {
  vf low = vf{}, high = vf{};
  for (int64_t i = 0; i < width; i += PA3D_W) {
    low = vmin(low, load(row + i));
    high = vmax(high, load(row + i));
  }
  const float row_min = reduce_min(low), scale = std::max((reduce_max(high) - row_min) / 255.0f, 1e-20f);
  const float zero_point = std::nearbyint(-row_min / scale);
  *out.scale = scale;
  *out.zero_point = static_cast<int32_t>(zero_point);
  const vf factor = splat(1.0f / scale), shift = splat(zero_point);
#if PA3D_NEON >= 2
  *out.zero_point -= 128;
  for (int64_t i = 0; i < width; i += 16) {
    int16x4_t q[4];
    for (int j = 0; j < 4; ++j) {
      const vf value = load(row + i + 4 * j) * factor + shift;
      q[j] = vqmovn_s32(vsubq_s32(vcvtnq_s32_f32((float32x4_t)value), vdupq_n_s32(128)));
    }
    vst1q_s8(out.data + i, vcombine_s8(vqmovn_s16(vcombine_s16(q[0], q[1])), vqmovn_s16(vcombine_s16(q[2], q[3]))));
  }
#else
  for (int64_t i = 0; i < width; i += PA3D_W) {
    const __m512i q = _mm512_cvtps_epi32((__m512)(load(row + i) * factor + shift));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(out.data + i),
                     _mm512_cvtusepi32_epi8(_mm512_max_epi32(q, _mm512_setzero_si512())));
  }
#endif
}
#endif

// Activations between two products. Epilogues write `values`. With int8, a scale is computed from a whole row, so
// `values` are float32 and quantize() must follow. For the other types `values` are the operand itself. Past the width,
// rows hold zeros; these are multiplied by zero weights.
template <class T>
struct Activations {
  typedef std::conditional_t<T::kQuantized, F32, T> Stored;
  Buffer<typename Stored::Activation> values;
  Buffer<typename T::Activation> quantized;
  Buffer<float> scale;
  Buffer<int32_t> zero_point;
  int64_t stride = 0;

  void reserve(int64_t rows, int64_t width) {
    stride = align_up(width);
    values.reserve(rows * stride);
    if constexpr (T::kQuantized) {
      quantized.reserve(rows * stride);
      scale.reserve(rows);
      zero_point.reserve(rows);
    }
  }
  typename Stored::Activation* row(int64_t r) { return values.data() + r * stride; }
  void quantize(int64_t from, int64_t to) {
    if constexpr (T::kQuantized)
      for (int64_t r = from; r < to; ++r) quantize_row(row(r), stride, rows(r));
    (void)from, (void)to;
  }
  ActivationView<T> rows(int64_t from = 0) {
    if constexpr (T::kQuantized)
      return {quantized.data() + from * stride, stride, scale.data() + from, zero_point.data() + from};
    else
      return {values.data() + from * stride, stride, nullptr, nullptr};
  }
};

// A weight matrix (n, k) with bias (n), packed for this instruction set.
template <class T>
struct PackedWeight {
  int64_t n = 0, k = 0, panels = 0;
  Buffer<typename T::Weight> data;
  Buffer<float> bias;   // padded with zeros
  Buffer<float> scale;  // int8: of each column
  Buffer<int32_t> sum;  // int8: of each column

  // w (n, k) with rows of length `stride`; bias (n) or null.
  void pack(const float* w, int64_t rows, int64_t columns, int64_t stride, const float* b) {
    resize(rows, columns, b);
    for (int64_t row = 0; row < n; ++row) {
      const float* from = w + row * stride;
      typename T::Weight* to = data.data() + row / kNR * k * kNR + row % kNR * T::kPack;
      auto element = [&](int64_t i) -> typename T::Weight& { return to[i / T::kPack * T::kPack * kNR + i % T::kPack]; };
      if constexpr (T::kQuantized) {
        float abs_max = 1e-20f;
        for (int64_t i = 0; i < columns; ++i) abs_max = std::max(abs_max, std::fabs(from[i]));
        int32_t row_sum = 0;
        for (int64_t i = 0; i < columns; ++i) {
          const int32_t q = static_cast<int32_t>(std::lrint(from[i] * (127.0f / abs_max)));
          element(i) = static_cast<typename T::Weight>(q);
          row_sum += q;
        }
        scale[row] = abs_max / 127.0f;
        sum[row] = row_sum;
      } else {
        for (int64_t i = 0; i < columns; ++i) element(i) = T::from_f32(from[i]);
      }
    }
  }
  // Sets the size. All weights become zero.
  void resize(int64_t rows, int64_t columns, const float* b) {
    n = rows;
    k = (columns + T::kPack - 1) / T::kPack * T::kPack;
    panels = (n + kNR - 1) / kNR;
    data.resize(panels * k * kNR);
    const int64_t padded = std::max(panels * kNR, align_up(n));
    bias.resize(padded);
    if (b) std::copy_n(b, n, bias.data());
    if constexpr (T::kQuantized) {
      scale.resize(padded);
      sum.resize(padded);
    }
  }
  const typename T::Weight* panel(int64_t p) const { return data.data() + p * k * kNR; }
};

// Bytes that a tile prefetches in each of its k / kPack steps. A panel is longer than what the hardware prefetches.
// With this, it is loaded completely while the tiles of the previous panel are multiplied. On NEON a panel has 32 bytes
// per step, so two tiles suffice.
constexpr int64_t kPrefetchBytes = PA3D_NEON >= 1 ? 16 : 32;

// tile (kRows, kNR) = A (kRows, k) times one panel. Sums have 32 bits: integers for int8, otherwise float32. Rows of
// the tile are `tile_stride` apart. kStep: bytes from one lane of a row of A to the next. It is 4 (contiguous rows)
// unless A is itself a panel (gemm_tn.inl).
#if PA3D_NEON == 0
template <class T, int kRows, int kStep = 4>
static __attribute__((noinline)) void microkernel(const typename T::Activation* a, int64_t stride,
                                                  const typename T::Weight* w, int64_t k, void* tile,
                                                  int64_t tile_stride, const char* prefetch) {
  typedef typename T::Sum Sum;
  Sum acc[kRows][kNV];
#pragma GCC unroll 12
  for (int i = 0; i < kRows; ++i)
#pragma GCC unroll 2
    for (int j = 0; j < kNV; ++j) acc[i][j] = Sum{};
  // One pointer for three rows. Otherwise the compiler keeps one per row and spills some of them to vector registers,
  // which costs two moves per step on the execution ports that multiply.
  const int64_t row = stride * static_cast<int64_t>(sizeof(typename T::Activation));
  const char* base[(kRows + 2) / 3];
  for (int i = 0; i < kRows; i += 3) base[i / 3] = reinterpret_cast<const char*>(a) + i * row;
  for (int64_t left = k; left > 0; left -= T::kPack, w += kNR * T::kPack, prefetch += kPrefetchBytes) {
    __builtin_prefetch(prefetch);
#pragma GCC unroll 12
    for (int i = 0; i < kRows; ++i) {
      const auto* lane = reinterpret_cast<const typename T::Activation*>(base[i / 3] + i % 3 * row);
#pragma GCC unroll 2
      for (int j = 0; j < kNV; ++j) T::multiply_add(acc[i][j], lane, w + j * PA3D_W * T::kPack);
    }
#pragma GCC unroll 4
    for (int i = 0; i < kRows; i += 3) {
      base[i / 3] += kStep;
      asm("" : "+r"(base[i / 3]));
    }
  }
  char* out = static_cast<char*>(tile);
#pragma GCC unroll 12
  for (int i = 0; i < kRows; ++i, out += 4 * tile_stride)
#pragma GCC unroll 2
    for (int j = 0; j < kNV; ++j) std::memcpy(out + 4 * j * PA3D_W, &acc[i][j], sizeof(Sum));
}
#else
#include "gemm_neon.inl"
#endif

// The same for `rows` <= kRows rows. By default it prefetches what follows the panel.
template <class T, int kRows>
static inline void microkernel_rows(int rows, const typename T::Activation* a, int64_t stride,
                                    const typename T::Weight* w, int64_t k, void* tile, int64_t tile_stride = kNR,
                                    const char* prefetch = nullptr) {
  if (prefetch == nullptr) prefetch = reinterpret_cast<const char*>(w + k * kNR);
  if constexpr (kRows > 0) {
    if (rows == kRows)
      microkernel<T, kRows>(a, stride, w, k, tile, tile_stride, prefetch);
    else
      microkernel_rows<T, kRows - 1>(rows, a, stride, w, k, tile, tile_stride, prefetch);
  }
}

#if PA3D_HAS_INT8
// Integer sums to floats, in place.
static inline void dequantize(const PackedWeight<I8>& w, const float* row_scale, const int32_t* row_zero_point,
                              int rows, int64_t column, float* tile) {
  for (int j = 0; j < kNR; j += PA3D_W) {
    const vi sum = load(w.sum.data() + column + j);
    const vf scale = load(w.scale.data() + column + j);
    for (int i = 0; i < rows; ++i) {
      float* tile_ptr = tile + i * kNR + j;
      const vi product = (vi)load(tile_ptr) - sum * splat(row_zero_point[i]);
      store(tile_ptr, __builtin_convertvector(product, vf) * (scale * splat(row_scale[i])));
    }
  }
}
#endif

struct NoOp {
  void operator()(int64_t, int, int64_t) const {}
};

// Computes the tiles of panels [from, to) and calls epilogue(row, rows, column, tile) with each float32 tile.
// prologue(row, rows, column) is called before a tile is computed, to prefetch what its epilogue reads and writes.
template <class T, class Epilogue, class Prologue = NoOp>
static inline void gemm(const ActivationView<T>& a, int64_t m, const PackedWeight<T>& w, int64_t from, int64_t to,
                        const Epilogue& epilogue, const Prologue& prologue = {}) {
  alignas(64) float tile[kMR * kNR];
  for (int64_t p = from; p < to; ++p) {
    const char* prefetch = reinterpret_cast<const char*>(w.panel(p + 1));
    for (int64_t row = 0; row < m; row += kMR, prefetch += w.k / T::kPack * kPrefetchBytes) {
      const int rows = static_cast<int>(std::min<int64_t>(kMR, m - row));
      prologue(row, rows, p * kNR);
      microkernel_rows<T, kMR>(rows, a.data + row * a.stride, a.stride, w.panel(p), w.k, tile, kNR, prefetch);
      if constexpr (T::kQuantized) dequantize(w, a.scale + row, a.zero_point + row, rows, p * kNR, tile);
      epilogue(row, rows, p * kNR, tile);
    }
  }
}

enum class ActFn { none, relu, gelu };

// T: the type of the operands; it decides how accurate the result has to be.
template <ActFn act, class T>
static inline vf activate(vf v) {
  if constexpr (act == ActFn::relu) return vmax(v, splat(0.0f));
  if constexpr (act == ActFn::gelu) return std::is_same_v<T, F32> ? vgelu(v) : vgelu_approx(v);
  return v;
}

// out (m, n) = act(A W^T + bias), as float32 or as activations of the next product.
template <class T, class O, ActFn act>
static inline void linear(const ActivationView<T>& a, int64_t m, const PackedWeight<T>& w, int64_t from, int64_t to,
                          typename O::Activation* out, int64_t out_stride) {
  gemm<T>(a, m, w, from, to, [&](int64_t row, int rows, int64_t column, const float* tile) {
    for (int j = 0; j < kNV; ++j) {
      const vf b = load(w.bias.data() + column + j * PA3D_W);
      for (int i = 0; i < rows; ++i)
        O::store_f32(out + (row + i) * out_stride + column + j * PA3D_W,
                     activate<act, T>(load(tile + i * kNR + j * PA3D_W) + b));
    }
  });
}

// x (m, n) += A W^T + bias
template <class T>
static inline void linear_residual(const ActivationView<T>& a, int64_t m, const PackedWeight<T>& w, int64_t from,
                                   int64_t to, float* x, int64_t x_stride) {
  gemm<T>(a, m, w, from, to, [&](int64_t row, int rows, int64_t column, const float* tile) {
    for (int j = 0; j < kNV; ++j) {
      const vf b = load(w.bias.data() + column + j * PA3D_W);
      for (int i = 0; i < rows; ++i) {
        float* p = x + (row + i) * x_stride + column + j * PA3D_W;
        store(p, load(p) + (load(tile + i * kNR + j * PA3D_W) + b));
      }
    }
  });
}
