// The inner loops of rasterize.cpp, compiled for each instruction set (ISA).
namespace PA3D_NS {

// Draws kLanes columns of `rows` rows. e: the edge functions at the first pixel. Lanes beyond the triangle fail the
// edge tests. Lanes beyond the image are in the padding of the rows.
#if PA3D_AVX >= 2
constexpr int64_t kLanes = 8;

static inline __m512d broadcast(double x) { return _mm512_set1_pd(x); }

static inline void draw_columns(const TriangleSetup& t, const double* e, int64_t rows, int32_t face, float* key,
                                int32_t* id, int64_t stride) {
  const __m512d lane = _mm512_setr_pd(0, 1, 2, 3, 4, 5, 6, 7);
  __m512d e0 = _mm512_add_pd(broadcast(e[0]), _mm512_mul_pd(lane, broadcast(t.step_x[0])));
  __m512d e1 = _mm512_add_pd(broadcast(e[1]), _mm512_mul_pd(lane, broadcast(t.step_x[1])));
  __m512d e2 = _mm512_add_pd(broadcast(e[2]), _mm512_mul_pd(lane, broadcast(t.step_x[2])));
  const __m512d min_edge0 = broadcast(t.min_edge[0]), min_edge1 = broadcast(t.min_edge[1]),
                min_edge2 = broadcast(t.min_edge[2]);
  const __m512d down0 = broadcast(t.step_y[0]), down1 = broadcast(t.step_y[1]), down2 = broadcast(t.step_y[2]);
  const __m512d q0 = broadcast(t.q[0]), q1 = broadcast(t.q[1]), q2 = broadcast(t.q[2]),
                inverse_area = broadcast(t.inverse_area);
  const __m256i faces = _mm256_set1_epi32(face);
  for (;;) {
    const __mmask8 inside = _mm512_cmp_pd_mask(e0, min_edge0, _CMP_GE_OQ) &
                            _mm512_cmp_pd_mask(e1, min_edge1, _CMP_GE_OQ) &
                            _mm512_cmp_pd_mask(e2, min_edge2, _CMP_GE_OQ);
    const __m512d sum =
        _mm512_add_pd(_mm512_add_pd(_mm512_mul_pd(e0, q0), _mm512_mul_pd(e1, q1)), _mm512_mul_pd(e2, q2));
    const __m256 inverse_depth = _mm512_maskz_cvtpd_ps(0xff, _mm512_mul_pd(sum, inverse_area));
    const __mmask8 nearer = _mm256_mask_cmp_ps_mask(inside, inverse_depth, _mm256_loadu_ps(key), _CMP_GT_OQ);
    _mm256_mask_storeu_ps(key, nearer, inverse_depth);
    _mm256_mask_storeu_epi32(id, nearer, faces);
    if (--rows == 0) return;
    e0 = _mm512_add_pd(e0, down0);
    e1 = _mm512_add_pd(e1, down1);
    e2 = _mm512_add_pd(e2, down2);
    key += stride;
    id += stride;
  }
}
#elif PA3D_AVX == 1
constexpr int64_t kLanes = 4;

static inline __m256d broadcast(double x) { return _mm256_set1_pd(x); }

static inline void draw_columns(const TriangleSetup& t, const double* e, int64_t rows, int32_t face, float* key,
                                int32_t* id, int64_t stride) {
  const __m256d lane = _mm256_setr_pd(0, 1, 2, 3);
  __m256d e0 = _mm256_add_pd(broadcast(e[0]), _mm256_mul_pd(lane, broadcast(t.step_x[0])));
  __m256d e1 = _mm256_add_pd(broadcast(e[1]), _mm256_mul_pd(lane, broadcast(t.step_x[1])));
  __m256d e2 = _mm256_add_pd(broadcast(e[2]), _mm256_mul_pd(lane, broadcast(t.step_x[2])));
  const __m256d min_edge0 = broadcast(t.min_edge[0]), min_edge1 = broadcast(t.min_edge[1]),
                min_edge2 = broadcast(t.min_edge[2]);
  const __m256d down0 = broadcast(t.step_y[0]), down1 = broadcast(t.step_y[1]), down2 = broadcast(t.step_y[2]);
  const __m256d q0 = broadcast(t.q[0]), q1 = broadcast(t.q[1]), q2 = broadcast(t.q[2]),
                inverse_area = broadcast(t.inverse_area);
  const __m128 faces = _mm_castsi128_ps(_mm_set1_epi32(face));
  for (;;) {
    const __m256d inside =
        _mm256_and_pd(_mm256_and_pd(_mm256_cmp_pd(e0, min_edge0, _CMP_GE_OQ), _mm256_cmp_pd(e1, min_edge1, _CMP_GE_OQ)),
                      _mm256_cmp_pd(e2, min_edge2, _CMP_GE_OQ));
    if (_mm256_movemask_pd(inside)) {
      const __m256d sum =
          _mm256_add_pd(_mm256_add_pd(_mm256_mul_pd(e0, q0), _mm256_mul_pd(e1, q1)), _mm256_mul_pd(e2, q2));
      const __m128 inverse_depth = _mm256_cvtpd_ps(_mm256_mul_pd(sum, inverse_area)), old = _mm_loadu_ps(key);
      const __m256 pairs = _mm256_castpd_ps(inside);
      const __m128 narrow = _mm_shuffle_ps(_mm256_castps256_ps128(pairs), _mm256_extractf128_ps(pairs, 1), 0x88);
      const __m128 nearer = _mm_and_ps(narrow, _mm_cmpgt_ps(inverse_depth, old));
      _mm_storeu_ps(key, _mm_blendv_ps(old, inverse_depth, nearer));
      float* const ids = reinterpret_cast<float*>(id);
      _mm_storeu_ps(ids, _mm_blendv_ps(_mm_loadu_ps(ids), faces, nearer));
    }
    if (--rows == 0) return;
    e0 = _mm256_add_pd(e0, down0);
    e1 = _mm256_add_pd(e1, down1);
    e2 = _mm256_add_pd(e2, down2);
    key += stride;
    id += stride;
  }
}
#elif PA3D_NEON >= 1
constexpr int64_t kLanes = 4;

static inline void draw_columns(const TriangleSetup& t, const double* e, int64_t rows, int32_t face, float* key,
                                int32_t* id, int64_t stride) {
  const float64x2_t lanes[2] = {{0, 1}, {2, 3}};
  float64x2_t edge[3][2], down[3], min_edge[3];
  for (int i = 0; i < 3; ++i) {
    down[i] = vdupq_n_f64(t.step_y[i]);
    min_edge[i] = vdupq_n_f64(t.min_edge[i]);
    for (int half = 0; half < 2; ++half)
      edge[i][half] = vaddq_f64(vdupq_n_f64(e[i]), vmulq_f64(lanes[half], vdupq_n_f64(t.step_x[i])));
  }
  const int32x4_t faces = vdupq_n_s32(face);
  for (;;) {
    uint64x2_t inside[2];
    for (int half = 0; half < 2; ++half)
      inside[half] = vandq_u64(vandq_u64(vcgeq_f64(edge[0][half], min_edge[0]), vcgeq_f64(edge[1][half], min_edge[1])),
                               vcgeq_f64(edge[2][half], min_edge[2]));
    const uint32x4_t lanes_inside = vcombine_u32(vmovn_u64(inside[0]), vmovn_u64(inside[1]));
    if (vmaxvq_u32(lanes_inside) != 0) {
      float32x2_t halves[2];
      for (int half = 0; half < 2; ++half) {
        const float64x2_t sum =
            vaddq_f64(vaddq_f64(vmulq_n_f64(edge[0][half], t.q[0]), vmulq_n_f64(edge[1][half], t.q[1])),
                      vmulq_n_f64(edge[2][half], t.q[2]));
        halves[half] = vcvt_f32_f64(vmulq_n_f64(sum, t.inverse_area));
      }
      const float32x4_t inverse_depth = vcombine_f32(halves[0], halves[1]), old = vld1q_f32(key);
      const uint32x4_t nearer = vandq_u32(lanes_inside, vcgtq_f32(inverse_depth, old));
      vst1q_f32(key, vbslq_f32(nearer, inverse_depth, old));
      vst1q_s32(id, vbslq_s32(nearer, faces, vld1q_s32(id)));
    }
    if (--rows == 0) return;
    for (int i = 0; i < 3; ++i)
      for (int half = 0; half < 2; ++half) edge[i][half] = vaddq_f64(edge[i][half], down[i]);
    key += stride;
    id += stride;
  }
}
#else
constexpr int64_t kLanes = 4;

static inline void draw_columns(const TriangleSetup& t, const double* e, int64_t rows, int32_t face, float* key,
                                int32_t* id, int64_t stride) {
  double down[3] = {e[0], e[1], e[2]};
  for (; rows > 0; --rows, key += stride, id += stride) {
    double e0 = down[0], e1 = down[1], e2 = down[2];
    for (int lane = 0; lane < kLanes; ++lane, e0 += t.step_x[0], e1 += t.step_x[1], e2 += t.step_x[2]) {
      if (e0 < t.min_edge[0] || e1 < t.min_edge[1] || e2 < t.min_edge[2]) continue;
      const float inverse_depth = static_cast<float>((e0 * t.q[0] + e1 * t.q[1] + e2 * t.q[2]) * t.inverse_area);
      if (inverse_depth > key[lane]) {
        key[lane] = inverse_depth;
        id[lane] = face;
      }
    }
    for (int i = 0; i < 3; ++i) down[i] += t.step_y[i];
  }
}
#endif

static inline void draw_triangle(const TriangleSetup& t, const Band& band) {
  const PixelBox& box = t.box;
  const int32_t face = t.face;
  const double px = kSubpixels * static_cast<double>(box.x0) + kSubpixels / 2;
  const double py = kSubpixels * static_cast<double>(box.y0) + kSubpixels / 2;
  double e[3];
  for (int i = 0; i < 3; ++i) e[i] = t.dx[i] * (py - t.v[i]) - t.dy[i] * (px - t.u[i]);

  const int64_t corner = (box.y0 - band.first_row) * band.stride + box.x0;
  float* key = band.key + corner;
  int32_t* id = band.id + corner;
  const int64_t width = box.x1 - box.x0 + 1, rows = box.y1 - box.y0 + 1;
  if (width <= 32) {
    for (int64_t x = 0; x < width; x += kLanes) {
      draw_columns(t, e, rows, face, key + x, id + x, band.stride);
      for (int i = 0; i < 3; ++i) e[i] += kLanes * t.step_x[i];
    }
    return;
  }
  for (int64_t y = 0; y < rows; ++y, key += band.stride, id += band.stride) {
    // A span of columns that contains all those where no edge function is negative. The exact test follows.
    double first = 0, last = static_cast<double>(width - 1);
    for (int i = 0; i < 3; ++i) {
      if (t.step_x[i] > 0)
        first = std::max(first, -e[i] / t.step_x[i] - 1);
      else if (t.step_x[i] < 0)
        last = std::min(last, -e[i] / t.step_x[i] + 1);
      else if (e[i] < t.min_edge[i])
        last = -1;
    }
    for (int64_t x = static_cast<int64_t>(first); x <= last; x += kLanes) {
      const double skip = static_cast<double>(x);
      const double edges[3] = {e[0] + skip * t.step_x[0], e[1] + skip * t.step_x[1], e[2] + skip * t.step_x[2]};
      draw_columns(t, edges, 1, face, key + x, id + x, band.stride);
    }
    for (int i = 0; i < 3; ++i) e[i] += t.step_y[i];
  }
}

static inline int setup_and_box(const Corner& a, const Corner& b, const Corner& c, int32_t face, const Band& band,
                                TriangleSetup* t) {
  t->face = face;
  return pixel_box(a, b, c, band.width, band.first_row, band.last_row, &t->box) && setup_triangle(a, b, c, t) ? 1 : 0;
}

// Sets up a batch of triangles, then draws it, so that mispredicted branches of the drawing do not delay the set-up.
static void draw_faces(const Scene& scene, const Corner* corners, const double* matrix, const int32_t* list, int64_t n,
                       const Band& band) {
  constexpr int kBatch = 32;
  TriangleSetup batch[kBatch + kMaxClipped];
  int ready = 0;
  for (int64_t i = 0; i < n; ++i) {
    const int32_t face = list[i];
    const int32_t* const f = scene.faces + 3 * static_cast<int64_t>(face);
    const Corner &a = corners[f[0]], &b = corners[f[1]], &c = corners[f[2]];
    if (a.u != kNeedsClipping && b.u != kNeedsClipping && c.u != kNeedsClipping) {
      ready += setup_and_box(a, b, c, face, band, &batch[ready]);
    } else {
      Corner polygon[kMaxClipped];
      const int sides = clip_face(scene, matrix, f, polygon);
      for (int k = 2; k < sides; ++k)
        ready += setup_and_box(polygon[0], polygon[k - 1], polygon[k], face, band, &batch[ready]);
    }
    if (ready < kBatch && i + 1 < n) continue;
    for (int k = 0; k < ready; ++k) draw_triangle(batch[k], band);
    ready = 0;
  }
}

}  // namespace PA3D_NS
