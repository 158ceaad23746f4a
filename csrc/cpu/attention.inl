// softmax(q k^T / sqrt(d)) v for one head; a tile of kMR rows of scores never leaves the first-level cache.

struct AttentionScratch {
  Buffer<float> keys, values, scores, tile;
  void reserve(int64_t tokens, int64_t head_dim) {
    const int64_t panels = (tokens + kNR - 1) / kNR;
    keys.reserve(panels * head_dim * kNR);
    values.reserve((head_dim + kNR - 1) / kNR * tokens * kNR);
    scores.reserve(kMR * panels * kNR);
    tile.reserve(kMR * kNR);
  }
};

// qkv: float32 rows (tokens, 3 * dim) with rows of length stride; out: rows [from, to) of (tokens, dim).
template <class T>
static void attend(const float* qkv, int64_t stride, int64_t tokens, int64_t dim, int64_t head, int64_t head_dim,
                   int64_t from, int64_t to, AttentionScratch& s, typename T::A* out, int64_t out_stride) {
  const float* q = qkv + head * head_dim;
  const float *k = q + dim, *v = q + 2 * dim;
  const int64_t panels = (tokens + kNR - 1) / kNR, padded = panels * kNR, out_panels = (head_dim + kNR - 1) / kNR;
  for (int64_t t = 0; t < padded; ++t) {
    float* to_panel = s.keys.data() + t / kNR * head_dim * kNR + t % kNR;
    for (int64_t d = 0; d < head_dim; ++d) to_panel[d * kNR] = t < tokens ? k[t * stride + d] : 0.0f;
  }
  for (int64_t p = 0; p < out_panels; ++p)
    for (int64_t t = 0; t < tokens; ++t)
      for (int64_t c = 0; c < kNR; ++c) {
        const int64_t d = p * kNR + c;
        s.values[(p * tokens + t) * kNR + c] = d < head_dim ? v[t * stride + d] : 0.0f;
      }
  const float scale = 1.0f / std::sqrt(static_cast<float>(head_dim));
  float* tile = s.tile.data();
  for (int64_t row = from; row < to; row += kMR) {
    const int rows = static_cast<int>(std::min<int64_t>(kMR, to - row));
    for (int64_t p = 0; p < panels; ++p) {
      multiply_rows<F32, kMR>(rows, q + row * stride, stride, s.keys.data() + p * head_dim * kNR, head_dim, tile);
      for (int i = 0; i < rows; ++i)
        for (int j = 0; j < kNR; j += PA3D_W)
          store(s.scores.data() + i * padded + p * kNR + j, load(tile + i * kNR + j) * splat(scale));
    }
    float inverse[kMR];
    for (int i = 0; i < rows; ++i) {
      float* r = s.scores.data() + i * padded;
      for (int64_t t = tokens; t < padded; ++t) r[t] = -1e30f;
      vf top = load(r);
      for (int64_t t = PA3D_W; t < padded; t += PA3D_W) top = vmax(top, load(r + t));
      const vf most = splat(reduce_max(top));
      vf sum = vf{};
      for (int64_t t = 0; t < padded; t += PA3D_W) {
        const vf e = vexp(load(r + t) - most);
        store(r + t, e);
        sum += e;
      }
      float total = 0;
      for (int lane = 0; lane < PA3D_W; ++lane) total += sum[lane];
      inverse[i] = 1.0f / total;
    }
    for (int64_t p = 0; p < out_panels; ++p) {
      multiply_rows<F32, kMR>(rows, s.scores.data(), padded, s.values.data() + p * tokens * kNR, tokens, tile);
      for (int i = 0; i < rows; ++i)
        for (int j = 0; j < kNR && p * kNR + j < head_dim; j += PA3D_W) {
          const vf value = load(tile + i * kNR + j) * splat(inverse[i]);
          typename T::A* at = out + (row + i) * out_stride + head * head_dim + p * kNR + j;
          if (p * kNR + j + PA3D_W <= head_dim)
            T::put(at, value);
          else
            for (int lane = 0; lane < head_dim - p * kNR - j; ++lane) at[lane] = T::encode(value[lane]);
        }
    }
  }
}
