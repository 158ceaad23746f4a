// Vectors of PA3D_W floats, as vector types of the compiler. Included by kernel sources inside foreach_isa.h.
typedef float vf __attribute__((vector_size(PA3D_W * 4)));
typedef int32_t vi __attribute__((vector_size(PA3D_W * 4)));
typedef float vf_unaligned __attribute__((vector_size(PA3D_W * 4), aligned(4), may_alias));
typedef int32_t vi_unaligned __attribute__((vector_size(PA3D_W * 4), aligned(4), may_alias));

static inline vf load(const float* p) { return *reinterpret_cast<const vf_unaligned*>(p); }
static inline vi load(const int32_t* p) { return *reinterpret_cast<const vi_unaligned*>(p); }
static inline void store(float* p, vf v) { *reinterpret_cast<vf_unaligned*>(p) = v; }
static inline void store(int32_t* p, vi v) { *reinterpret_cast<vi_unaligned*>(p) = v; }
static inline vf splat(float x) { return x - vf{}; }  // x + 0 would turn -0 into 0 and cost an addition
static inline vi splat(int32_t x) { return vi{} + x; }

// A non-temporal store, for whole cache lines that are not read again soon. p is aligned to a vector. Call
// store_fence() before other threads read the memory.
static inline void stream_store(float* p, vf v) {
#if PA3D_AVX >= 2
  _mm512_stream_ps(p, (__m512)v);
#elif PA3D_AVX == 1
  _mm256_stream_ps(p, (__m256)v);
#else
  store(p, v);
#endif
}
static inline void store_fence() {
#if PA3D_AVX >= 1
  _mm_sfence();
#endif
}

#if PA3D_AVX >= 2
static inline vf vmin(vf a, vf b) { return (vf)_mm512_min_ps((__m512)a, (__m512)b); }
static inline vf vmax(vf a, vf b) { return (vf)_mm512_max_ps((__m512)a, (__m512)b); }
static inline uint32_t mask_less(vf a, vf b) { return _mm512_cmp_ps_mask((__m512)a, (__m512)b, _CMP_LT_OQ); }
static inline uint32_t mask_less_equal(vf a, vf b) { return _mm512_cmp_ps_mask((__m512)a, (__m512)b, _CMP_LE_OQ); }
static inline uint32_t mask_equal(vf a, vf b) { return _mm512_cmp_ps_mask((__m512)a, (__m512)b, _CMP_EQ_OQ); }
static inline float reduce_max(vf v) { return _mm512_reduce_max_ps((__m512)v); }
static inline float reduce_min(vf v) { return _mm512_reduce_min_ps((__m512)v); }
static inline float reduce_add(vf v) { return _mm512_reduce_add_ps((__m512)v); }
#elif PA3D_AVX == 1
static inline vf vmin(vf a, vf b) { return (vf)_mm256_min_ps((__m256)a, (__m256)b); }
static inline vf vmax(vf a, vf b) { return (vf)_mm256_max_ps((__m256)a, (__m256)b); }
static inline uint32_t mask_less(vf a, vf b) {
  return _mm256_movemask_ps(_mm256_cmp_ps((__m256)a, (__m256)b, _CMP_LT_OQ));
}
static inline uint32_t mask_less_equal(vf a, vf b) {
  return _mm256_movemask_ps(_mm256_cmp_ps((__m256)a, (__m256)b, _CMP_LE_OQ));
}
static inline uint32_t mask_equal(vf a, vf b) {
  return _mm256_movemask_ps(_mm256_cmp_ps((__m256)a, (__m256)b, _CMP_EQ_OQ));
}
#elif PA3D_NEON >= 1
// If one number is NaN, the result is the other; on x86 and at the generic level it is always the second. They also
// return the second of two zeros, where these return +0 as the maximum and -0 as the minimum. Exact kernels compare no
// NaN, and square results that may be zero.
static inline vf vmin(vf a, vf b) { return (vf)vminnmq_f32((float32x4_t)a, (float32x4_t)b); }
static inline vf vmax(vf a, vf b) { return (vf)vmaxnmq_f32((float32x4_t)a, (float32x4_t)b); }
static inline uint32_t to_mask(uint32x4_t lanes) {
  const uint32x4_t bits = {1, 2, 4, 8};
  return vaddvq_u32(vandq_u32(lanes, bits));
}
static inline uint32_t mask_less(vf a, vf b) { return to_mask(vcltq_f32((float32x4_t)a, (float32x4_t)b)); }
static inline uint32_t mask_less_equal(vf a, vf b) { return to_mask(vcleq_f32((float32x4_t)a, (float32x4_t)b)); }
static inline uint32_t mask_equal(vf a, vf b) { return to_mask(vceqq_f32((float32x4_t)a, (float32x4_t)b)); }
static inline float reduce_max(vf v) { return vmaxnmvq_f32((float32x4_t)v); }
static inline float reduce_min(vf v) { return vminnmvq_f32((float32x4_t)v); }
static inline float reduce_add(vf v) { return vaddvq_f32((float32x4_t)v); }
#else
static inline vf vmin(vf a, vf b) { return a < b ? a : b; }
static inline vf vmax(vf a, vf b) { return a > b ? a : b; }
static inline uint32_t to_mask(vi lanes) {
  uint32_t bits = 0;
  for (int i = 0; i < PA3D_W; ++i) bits |= static_cast<uint32_t>(lanes[i] & 1) << i;
  return bits;
}
static inline uint32_t mask_less(vf a, vf b) { return to_mask(a < b); }
static inline uint32_t mask_less_equal(vf a, vf b) { return to_mask(a <= b); }
static inline uint32_t mask_equal(vf a, vf b) { return to_mask(a == b); }
#endif

// min and max of floats that are >= 0, infinity or -1. Such floats are ordered like their bits read as integers, and
// integer comparisons run on other execution units than float additions.
#if PA3D_AVX >= 2
static inline vf vmin_bits(vf a, vf b) { return (vf)_mm512_min_epi32((__m512i)a, (__m512i)b); }
static inline vf vmax_bits(vf a, vf b) { return (vf)_mm512_max_epi32((__m512i)a, (__m512i)b); }
#elif PA3D_AVX == 1
static inline vf vmin_bits(vf a, vf b) { return (vf)_mm256_min_epi32((__m256i)a, (__m256i)b); }
static inline vf vmax_bits(vf a, vf b) { return (vf)_mm256_max_epi32((__m256i)a, (__m256i)b); }
#elif PA3D_NEON >= 1
static inline vf vmin_bits(vf a, vf b) { return (vf)vminq_s32((int32x4_t)a, (int32x4_t)b); }
static inline vf vmax_bits(vf a, vf b) { return (vf)vmaxq_s32((int32x4_t)a, (int32x4_t)b); }
#else
static inline vf vmin_bits(vf a, vf b) { return vmin(a, b); }
static inline vf vmax_bits(vf a, vf b) { return vmax(a, b); }
#endif

#if PA3D_AVX < 2 && PA3D_NEON == 0
static inline float reduce_max(vf v) {
  float m = v[0];
  for (int i = 1; i < PA3D_W; ++i) m = v[i] > m ? v[i] : m;
  return m;
}
static inline float reduce_min(vf v) {
  float m = v[0];
  for (int i = 1; i < PA3D_W; ++i) m = v[i] < m ? v[i] : m;
  return m;
}
static inline float reduce_add(vf v) {
  float total = 0;
  for (int i = 0; i < PA3D_W; ++i) total += v[i];
  return total;
}
#endif

// Squared distance in the order that every backend uses: (dx*dx + dy*dy) + dz*dz, never fused.
static inline vf squared_norm(vf dx, vf dy, vf dz) { return (dx * dx + dy * dy) + dz * dz; }
static inline vf squared_distance(vf x, vf y, vf z, vf cx, vf cy, vf cz) {
  return squared_norm(x - cx, y - cy, z - cz);
}
