// The layers of a transformer block in training, forward and backward: products over many rows, LayerNorm, attention.
// Included inside foreach_isa.h, after gemm.inl, gemm_tn.inl and attention.inl.

// Rows that stay in the cache while all panels are multiplied; a multiple of kMR.
constexpr int64_t kRowsPerStep = 132 / kMR * kMR;

// gemm() over contiguous rows, kRowsPerStep at a time.
template <class T, class Prologue, class Epilogue>
static inline void gemm_blocked(const typename T::Activation* a, int64_t m, const PackedWeight<T>& w,
                                const Prologue& prologue, const Epilogue& epilogue) {
  for (int64_t r = 0; r < m; r += kRowsPerStep)
    gemm<T>(
        {const_cast<typename T::Activation*>(a) + r * w.k, w.k, nullptr, nullptr}, std::min(kRowsPerStep, m - r), w, 0,
        w.panels,
        [&](int64_t row, int rows, int64_t column, const float* tile) { epilogue(r + row, rows, column, tile); },
        [&](int64_t row, int rows, int64_t column) { prologue(r + row, rows, column); });
}

// Prefetches the kNR columns of a matrix that a tile writes.
template <class X>
static inline void prefetch_row(const X* ptr) {
  const char* line = reinterpret_cast<const char*>(ptr);
  for (size_t i = 0; i < kNR * sizeof(X); i += 64) __builtin_prefetch(line + i, 1);
}
template <class X>
static inline void prefetch_rows(const X* ptr, int rows, int64_t stride) {
  for (int i = 0; i < rows; ++i) prefetch_row(ptr + i * stride);
}

// Packs panels [from, to) of W (n, k) for products with W^T. `out` has its size already.
template <class T>
static void pack_panels(const float* w, int64_t from, int64_t to, Buffer<typename T::Activation>& converted,
                        PackedWeight<T>& out) {
  converted.reserve(kNR * out.k);
  for (int64_t p = from; p < to; ++p) {
    const float* rows = w + p * kNR * out.k;
    for (int64_t i = 0; i < kNR * out.k; i += PA3D_W) T::store_f32(converted.data() + i, load(rows + i));
    pack_transposed<T>(converted.data(), out.k, kNR, out.k, out.data.data() + p * out.k * kNR);
  }
}

struct RowStats {
  float mean, rstd;  // rstd: 1 / sqrt(variance + eps)
};

static inline RowStats row_stats(const float* row, int64_t dim, float eps) {
  vf sum = vf{};
  for (int64_t i = 0; i < dim; i += PA3D_W) sum += load(row + i);
  const float mean = reduce_add(sum) / static_cast<float>(dim);
  vf squares = vf{};
  for (int64_t i = 0; i < dim; i += PA3D_W) {
    const vf d = load(row + i) - splat(mean);
    squares += d * d;
  }
  return {mean, 1.0f / std::sqrt(reduce_add(squares) / static_cast<float>(dim) + eps)};
}

template <class T>
static inline void layer_norm_row(const float* row, int64_t dim, RowStats m, const float* gamma, const float* beta,
                                  typename T::Activation* out) {
  for (int64_t i = 0; i < dim; i += PA3D_W)
    T::store_f32(out + i, (load(row + i) - splat(m.mean)) * splat(m.rstd) * load(gamma + i) + load(beta + i));
}

// Backward pass of LayerNorm for one row: out = base + dx. Adds to dgamma and dbeta unless dgamma is null.
static inline void layer_norm_row_backward(const float* row, int64_t dim, RowStats m, const float* gamma,
                                           const float* grad, const float* base, float* out, float* dgamma,
                                           float* dbeta) {
  vf sum = vf{}, product = vf{};
  for (int64_t i = 0; i < dim; i += PA3D_W) {
    const vf xhat = (load(row + i) - splat(m.mean)) * splat(m.rstd), g = load(grad + i);
    if (dgamma != nullptr) {
      store(dgamma + i, load(dgamma + i) + g * xhat);
      store(dbeta + i, load(dbeta + i) + g);
    }
    sum += g * load(gamma + i);
    product += g * load(gamma + i) * xhat;
  }
  const vf mean = splat(reduce_add(sum) / static_cast<float>(dim));
  const vf mean_dxhat_xhat = splat(reduce_add(product) / static_cast<float>(dim));
  for (int64_t i = 0; i < dim; i += PA3D_W) {
    const vf xhat = (load(row + i) - splat(m.mean)) * splat(m.rstd);
    const vf d = load(grad + i) * load(gamma + i) - mean - xhat * mean_dxhat_xhat;
    store(out + i, load(base + i) + d * splat(m.rstd));
  }
}

template <class T>
struct AttentionBackwardWorkspace {
  Buffer<typename T::Activation> keys, values, dscore_rows;
  Buffer<float> scores, dprobs, tile;
  RowPanels<T> key_rows, query_rows, out_rows, probs, dscores;
  void reserve(int64_t tokens, int64_t head_dim) {
    const int64_t padded = (tokens + kNR - 1) / kNR * kNR;
    keys.reserve(padded * head_dim);
    values.reserve(padded * head_dim);
    dscore_rows.reserve(kMR * padded);
    scores.reserve(kMR * padded);
    dprobs.reserve(kMR * padded);
    tile.reserve(kMR * kNR);
    key_rows.reserve(tokens, head_dim);
    query_rows.reserve(tokens, head_dim);
    out_rows.reserve(tokens, head_dim);
    probs.reserve(tokens, padded);
    dscores.reserve(tokens, padded);
  }
};

// Gradients (tokens, 3 dim) of q, k and v of one head, from dout (tokens, dim), the gradient of the output. The
// probabilities P = softmax(S), S = q k^T / sqrt(d), are computed again:
//   dv = P^T dout, dS = P (dout v^T - rowsum(P dout v^T)) / sqrt(d), dq = dS k, dk = dS^T q
template <class T>
static void attention_head_backward(const typename T::Activation* qkv, const typename T::Activation* dout,
                                    int64_t tokens, int64_t dim, int64_t head, int64_t head_dim,
                                    AttentionBackwardWorkspace<T>& s, typename T::Activation* dqkv) {
  typedef typename T::Activation A;
  const int64_t stride = 3 * dim, padded = (tokens + kNR - 1) / kNR * kNR;
  const A *q = qkv + head * head_dim, *k = q + dim, *v = q + 2 * dim, *o = dout + head * head_dim;
  A* dq = dqkv + head * head_dim;
  pack_transposed<T>(k, stride, tokens, head_dim, s.keys.data());
  pack_transposed<T>(v, stride, tokens, head_dim, s.values.data());
  s.key_rows.pack(k, tokens, head_dim, stride);
  s.query_rows.pack(q, tokens, head_dim, stride);
  s.out_rows.pack(o, tokens, head_dim, dim);
  s.probs.set_shape(tokens, padded);
  s.dscores.set_shape(tokens, padded);
  const vf scale = splat(1.0f / std::sqrt(static_cast<float>(head_dim)));
  for (int64_t row = 0; row < tokens; row += kMR) {
    const int rows = static_cast<int>(std::min<int64_t>(kMR, tokens - row));
    for (int64_t p = 0; p < padded; p += kNR) {
      microkernel_rows<T, kMR>(rows, q + row * stride, stride, s.keys.data() + p * head_dim, head_dim, &s.scores[p],
                               padded);
      microkernel_rows<T, kMR>(rows, o + row * dim, dim, s.values.data() + p * head_dim, head_dim, &s.dprobs[p],
                               padded);
    }
    vf inv_sum[kMR], mean_dprob[kMR];
    for (int i = 0; i < rows; ++i) {
      float *score = &s.scores[i * padded], *grad = &s.dprobs[i * padded];
      for (int64_t t = tokens; t < padded; ++t) score[t] = -1e30f;
      vf max_lanes = load(score);
      for (int64_t t = PA3D_W; t < padded; t += PA3D_W) max_lanes = vmax(max_lanes, load(score + t));
      const vf row_max = splat(reduce_max(max_lanes));
      vf sum = vf{}, product = vf{};
      for (int64_t t = 0; t < padded; t += PA3D_W) {
        const vf e = vexp((load(score + t) - row_max) * scale);
        store(score + t, e);
        sum += e;
        product += e * load(grad + t);
      }
      inv_sum[i] = splat(1.0f / reduce_add(sum));
      mean_dprob[i] = splat(reduce_add(product)) * inv_sum[i];
    }
    for (int i = 0; i < rows; i += 2)
      for (int64_t t = 0; t < padded; t += PA3D_W) {
        vf prob[2] = {}, dscore[2] = {};
        for (int j = 0; j < std::min(2, rows - i); ++j) {
          const int64_t offset = (i + j) * padded + t;
          prob[j] = load(&s.scores[offset]) * inv_sum[i + j];
          dscore[j] = prob[j] * (load(&s.dprobs[offset]) - mean_dprob[i + j]) * scale;
          T::store_f32(&s.dscore_rows[offset], dscore[j]);
        }
        const int64_t panel_offset = (row + i) * kNR + t % kNR * T::kPack;
        store_row_pair<T>(s.probs.panel(t / kNR) + panel_offset, prob[0], prob[1]);
        store_row_pair<T>(s.dscores.panel(t / kNR) + panel_offset, dscore[0], dscore[1]);
      }
    for (int64_t p = 0; p < head_dim; p += kNR) {
      microkernel_rows<T, kMR>(rows, s.dscore_rows.data(), padded, s.key_rows.panel(p / kNR), s.key_rows.depth,
                               s.tile.data());
      for (int i = 0; i < rows; ++i)
        for (int j = 0; j < kNR; j += PA3D_W) T::store_f32(dq + (row + i) * stride + p + j, load(&s.tile[i * kNR + j]));
    }
  }
  const auto store_tn = [&](const RowPanels<T>& a, const RowPanels<T>& b, A* out) {
    gemm_tn<T>(a, tokens, b, s.tile.data(), [&](int64_t row, int rows, int64_t column) {
      for (int i = 0; i < rows; ++i)
        for (int j = 0; j < kNR; j += PA3D_W)
          T::store_f32(out + (row + i) * stride + column + j, load(&s.tile[i * kNR + j]));
    });
  };
  store_tn(s.dscores, s.query_rows, dq + dim);
  store_tn(s.probs, s.out_rows, dq + 2 * dim);
}
