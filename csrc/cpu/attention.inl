// softmax(q k^T / sqrt(d)) v for one head. A tile of kMR rows of scores stays in the first-level cache. T is the type
// of the operands of both products, F32 or BF16. Scores, exponentials and their sum are always float32.

template <class T>
struct AttentionWorkspace {
  Buffer<typename T::Activation> queries, keys, values, exp_scores;  // exp_scores: not yet divided by their sum
  Buffer<float> scores, tile;
  void reserve(int64_t tokens, int64_t head_dim) {
    const int64_t panels = (tokens + kNR - 1) / kNR, width = align_up(head_dim);
    queries.reserve(tokens * width);
    keys.reserve(panels * width * kNR);
    values.reserve((head_dim + kNR - 1) / kNR * align_up(tokens) * kNR);
    exp_scores.reserve(kMR * panels * kNR);
    scores.reserve(kMR * panels * kNR);
    tile.reserve(kMR * kNR);
  }
};

// One 32-bit lane of a row: elements [offset, offset + kPack), zeros past `width`.
template <class T>
static inline uint32_t load_packed_lane(const typename T::Activation* row, int64_t offset, int64_t width) {
  uint32_t lane = 0;
  if (offset + T::kPack <= width)
    std::memcpy(&lane, row + offset, 4);
  else
    std::memcpy(&lane, row + offset, (width - offset) * sizeof(typename T::Activation));
  return lane;
}

// transpose_block transposes kBlockLanes x kBlockLanes lanes of 32 bits. The input rows are `stride` bytes apart; rows
// from `count` on are read as zeros. The rows of `out` are out_stride bytes apart.
#if PA3D_AVX >= 2
constexpr int64_t kBlockLanes = 16;
static inline void transpose_block(const char* rows, int64_t stride, int64_t count, char* out, int64_t out_stride) {
  __m512i r[16], t[16];
#pragma GCC unroll 16
  for (int i = 0; i < 16; ++i) r[i] = i < count ? _mm512_loadu_si512(rows + i * stride) : _mm512_setzero_si512();
#pragma GCC unroll 8
  for (int i = 0; i < 16; i += 2) {
    t[i] = _mm512_unpacklo_epi32(r[i], r[i + 1]);
    t[i + 1] = _mm512_unpackhi_epi32(r[i], r[i + 1]);
  }
#pragma GCC unroll 4
  for (int i = 0; i < 16; i += 4) {  // now r[i + j], quarter q: column 4 q + j of rows i to i + 3
    r[i] = _mm512_unpacklo_epi64(t[i], t[i + 2]);
    r[i + 1] = _mm512_unpackhi_epi64(t[i], t[i + 2]);
    r[i + 2] = _mm512_unpacklo_epi64(t[i + 1], t[i + 3]);
    r[i + 3] = _mm512_unpackhi_epi64(t[i + 1], t[i + 3]);
  }
#pragma GCC unroll 4
  for (int j = 0; j < 4; ++j) {
    const __m512i even0 = _mm512_shuffle_i32x4(r[j], r[4 + j], 0x88), odd0 = _mm512_shuffle_i32x4(r[j], r[4 + j], 0xdd);
    const __m512i even1 = _mm512_shuffle_i32x4(r[8 + j], r[12 + j], 0x88);
    const __m512i odd1 = _mm512_shuffle_i32x4(r[8 + j], r[12 + j], 0xdd);
    _mm512_storeu_si512(out + j * out_stride, _mm512_shuffle_i32x4(even0, even1, 0x88));
    _mm512_storeu_si512(out + (4 + j) * out_stride, _mm512_shuffle_i32x4(odd0, odd1, 0x88));
    _mm512_storeu_si512(out + (8 + j) * out_stride, _mm512_shuffle_i32x4(even0, even1, 0xdd));
    _mm512_storeu_si512(out + (12 + j) * out_stride, _mm512_shuffle_i32x4(odd0, odd1, 0xdd));
  }
}
#elif PA3D_NEON >= 1
constexpr int64_t kBlockLanes = 4;
static inline void transpose_block(const char* rows, int64_t stride, int64_t count, char* out, int64_t out_stride) {
  vi r[4];
  for (int i = 0; i < 4; ++i) r[i] = i < count ? load(reinterpret_cast<const int32_t*>(rows + i * stride)) : vi{};
  const int32x4_t even_low = vzip1q_s32((int32x4_t)r[0], (int32x4_t)r[2]);
  const int32x4_t even_high = vzip2q_s32((int32x4_t)r[0], (int32x4_t)r[2]);
  const int32x4_t odd_low = vzip1q_s32((int32x4_t)r[1], (int32x4_t)r[3]);
  const int32x4_t odd_high = vzip2q_s32((int32x4_t)r[1], (int32x4_t)r[3]);
  const int32x4_t columns[4] = {vzip1q_s32(even_low, odd_low), vzip2q_s32(even_low, odd_low),
                                vzip1q_s32(even_high, odd_high), vzip2q_s32(even_high, odd_high)};
  for (int i = 0; i < 4; ++i) store(reinterpret_cast<int32_t*>(out + i * out_stride), (vi)columns[i]);
}
#endif

// Packs rows (tokens, head_dim) as the panels of gemm.inl: the weight of a product with their transpose. Zeros past the
// last row.
template <class T>
static inline void pack_transposed(const typename T::Activation* rows, int64_t stride, int64_t tokens, int64_t head_dim,
                                   typename T::Activation* out) {
  const int64_t padded = (tokens + kNR - 1) / kNR * kNR, lanes = (head_dim + T::kPack - 1) / T::kPack;
#if PA3D_AVX >= 2 || PA3D_NEON >= 1
  if (head_dim % (kBlockLanes * T::kPack) == 0) {
    constexpr int64_t kLine = kNR * 4;
    const int64_t row = stride * static_cast<int64_t>(sizeof(typename T::Activation));
    for (int64_t t = 0; t < padded; t += kBlockLanes) {
      char* panel = reinterpret_cast<char*>(out) + t / kNR * lanes * kLine + t % kNR * 4;
      const char* from = reinterpret_cast<const char*>(rows) + t * row;
      for (int64_t i = 0; i < lanes; i += kBlockLanes)
        transpose_block(from + 4 * i, row, tokens - t, panel + i * kLine, kLine);
    }
    return;
  }
#endif
  for (int64_t t = 0; t < padded; ++t) {
    typename T::Activation* panel = out + t / kNR * lanes * T::kPack * kNR + t % kNR * T::kPack;
    for (int64_t i = 0; i < lanes; ++i) {
      const uint32_t lane = t < tokens ? load_packed_lane<T>(rows + t * stride, i * T::kPack, head_dim) : 0;
      std::memcpy(panel + i * T::kPack * kNR, &lane, 4);
    }
  }
}

// qkv (tokens, 3 * dim), rows `stride` apart. Writes rows [from, to) of out (tokens, dim), the columns of this head.
template <class T, class O>
static void attention_head(const typename T::Activation* qkv, int64_t stride, int64_t tokens, int64_t dim, int64_t head,
                           int64_t head_dim, int64_t from, int64_t to, AttentionWorkspace<T>& s,
                           typename O::Activation* out, int64_t out_stride) {
  typedef typename T::Activation A;
  const A* q = qkv + head * head_dim;
  const A *k = q + dim, *v = q + 2 * dim;
  const int64_t panels = (tokens + kNR - 1) / kNR, padded = panels * kNR, out_panels = (head_dim + kNR - 1) / kNR;
  const int64_t lanes = (head_dim + T::kPack - 1) / T::kPack, depth = lanes * T::kPack;
  const int64_t steps = (tokens + T::kPack - 1) / T::kPack, padded_tokens = (tokens + PA3D_W - 1) / PA3D_W * PA3D_W;
  const bool contiguous = depth == head_dim;  // otherwise a row's last lane would contain elements of the next head
  if (!contiguous)
    for (int64_t t = from; t < to; ++t)
      for (int64_t d = 0; d < depth; ++d) s.queries[t * depth + d] = d < head_dim ? q[t * stride + d] : A{};
  const A* query = contiguous ? q : s.queries.data();
  const int64_t query_stride = contiguous ? stride : depth;
  pack_transposed<T>(k, stride, tokens, head_dim, s.keys.data());
  for (int64_t p = 0; p < out_panels; ++p) {
    const int64_t columns = std::min<int64_t>(kNR, head_dim - p * kNR);
    for (int64_t i = 0; i < steps; ++i) {
      A* panel = s.values.data() + (p * steps + i) * T::kPack * kNR;
      const A* first = v + i * T::kPack * stride + p * kNR;
      if (columns == kNR && (i + 1) * T::kPack <= tokens) {
        T::interleave(first, stride, panel);
      } else {
        for (int64_t c = 0; c < kNR; ++c)
          for (int64_t j = 0; j < T::kPack; ++j)
            panel[c * T::kPack + j] = c < columns && i * T::kPack + j < tokens ? first[j * stride + c] : A{};
      }
    }
  }
  const vf scale = splat(1.0f / std::sqrt(static_cast<float>(head_dim)));
  float* tile = s.tile.data();
  for (int64_t row = from; row < to; row += kMR) {
    const int rows = static_cast<int>(std::min<int64_t>(kMR, to - row));
    for (int64_t p = 0; p < panels; ++p)
      microkernel_rows<T, kMR>(rows, query + row * query_stride, query_stride, s.keys.data() + p * depth * kNR, depth,
                               s.scores.data() + p * kNR, padded);
    float inverse_sum[kMR];
    for (int i = 0; i < rows; ++i) {
      float* r = s.scores.data() + i * padded;
      for (int64_t t = tokens; t < padded_tokens; ++t) r[t] = -1e30f;
      vf max_lanes = load(r);
      for (int64_t t = PA3D_W; t < padded_tokens; t += PA3D_W) max_lanes = vmax(max_lanes, load(r + t));
      const vf row_max = splat(reduce_max(max_lanes));
      vf sum = vf{};
      for (int64_t t = 0; t < padded_tokens; t += PA3D_W) {
        const vf e = vexp((load(r + t) - row_max) * scale);
        T::store_f32(s.exp_scores.data() + i * padded + t, e);
        sum += e;
      }
      inverse_sum[i] = 1.0f / reduce_add(sum);
    }
    for (int64_t p = 0; p < out_panels; ++p) {
      microkernel_rows<T, kMR>(rows, s.exp_scores.data(), padded, s.values.data() + p * steps * T::kPack * kNR,
                               steps * T::kPack, tile);
      for (int i = 0; i < rows; ++i)
        for (int j = 0; j < kNR && p * kNR + j < head_dim; j += PA3D_W) {
          const vf value = load(tile + i * kNR + j) * splat(inverse_sum[i]);
          typename O::Activation* out_ptr = out + (row + i) * out_stride + head * head_dim + p * kNR + j;
          if (p * kNR + j + PA3D_W <= head_dim)
            O::store_f32(out_ptr, value);
          else
            for (int lane = 0; lane < head_dim - p * kNR - j; ++lane) out_ptr[lane] = O::from_f32(value[lane]);
        }
    }
  }
}
