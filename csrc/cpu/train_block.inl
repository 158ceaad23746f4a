namespace pa3d {
namespace PA3D_NS {

#include "vec.inl"
#include "math.inl"
#include "gemm.inl"
#include "outer.inl"
#include "attention.inl"

constexpr int64_t kShapes = 4;  // shapes whose rows are multiplied at once
constexpr int64_t kRows = 132;  // rows that stay in the cache while the panels go by; a multiple of every kMR

// multiply() over rows that lie side by side, as many at a time as the cache holds.
template <class T, class Before, class Finish>
static inline void multiply_rows_of(const typename T::A* a, int64_t m, const Packed<T>& w, const Before& before,
                                    const Finish& finish) {
  for (int64_t r = 0; r < m; r += kRows)
    multiply<T>(
        {const_cast<typename T::A*>(a) + r * w.k, w.k, nullptr, nullptr}, std::min(kRows, m - r), w, 0, w.panels,
        [&](int64_t row, int rows, int64_t column, const float* tile) { finish(r + row, rows, column, tile); },
        [&](int64_t row, int rows, int64_t column) { before(r + row, rows, column); });
}

// A tile's strip of a matrix, on its way to the nearest cache.
template <class X>
static inline void fetch_row(const X* at) {
  const char* line = reinterpret_cast<const char*>(at);
  for (size_t i = 0; i < kNR * sizeof(X); i += 64) __builtin_prefetch(line + i, 1);
}
template <class X>
static inline void fetch_rows(const X* at, int rows, int64_t stride) {
  for (int i = 0; i < rows; ++i) fetch_row(at + i * stride);
}

// Packs W (n, k) panels [from, to) for products with W^T; the room is there.
template <class T>
static void pack_rows(const float* w, int64_t from, int64_t to, Buffer<typename T::A>& line, Packed<T>& out) {
  line.reserve(kNR * out.k);
  for (int64_t p = from; p < to; ++p) {
    const float* rows = w + p * kNR * out.k;
    for (int64_t i = 0; i < kNR * out.k; i += PA3D_W) T::put(line.data() + i, load(rows + i));
    pack_across<T>(line.data(), out.k, kNR, out.k, out.data.data() + p * out.k * kNR);
  }
}

struct RowMoments {
  float mean, inverse;  // inverse: 1 / sqrt(variance + eps)
};

static inline RowMoments moments_of(const float* row, int64_t dim, float eps) {
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
static inline void normalize_row(const float* row, int64_t dim, RowMoments m, const float* gain, const float* shift,
                                 typename T::A* out) {
  for (int64_t i = 0; i < dim; i += PA3D_W)
    T::put(out + i, (load(row + i) - splat(m.mean)) * splat(m.inverse) * load(gain + i) + load(shift + i));
}

// out = base + what LayerNorm of `row` sends back of grad; adds to the gradients of its gain and shift.
static inline void normalize_row_back(const float* row, int64_t dim, RowMoments m, const float* gain, const float* grad,
                                      const float* base, float* out, float* dgain, float* dshift) {
  vf plain = vf{}, slope = vf{};
  for (int64_t i = 0; i < dim; i += PA3D_W) {
    const vf normal = (load(row + i) - splat(m.mean)) * splat(m.inverse), g = load(grad + i);
    if (dgain != nullptr) {
      store(dgain + i, load(dgain + i) + g * normal);
      store(dshift + i, load(dshift + i) + g);
    }
    plain += g * load(gain + i);
    slope += g * load(gain + i) * normal;
  }
  const vf mean = splat(reduce_add(plain) / static_cast<float>(dim));
  const vf tilt = splat(reduce_add(slope) / static_cast<float>(dim));
  for (int64_t i = 0; i < dim; i += PA3D_W) {
    const vf normal = (load(row + i) - splat(m.mean)) * splat(m.inverse);
    const vf d = load(grad + i) * load(gain + i) - mean - normal * tilt;
    store(out + i, load(base + i) + d * splat(m.inverse));
  }
}

template <class T>
struct AttentionBack {
  Buffer<typename T::A> keys, values, line;  // line: gradients of scores on their way to the queries'
  Buffer<float> scores, grads, tile;
  Stack<T> key_rows, query_rows, out_rows, shares, slopes;
  void reserve(int64_t tokens, int64_t head_dim) {
    const int64_t padded = (tokens + kNR - 1) / kNR * kNR;
    keys.reserve(padded * head_dim);
    values.reserve(padded * head_dim);
    line.reserve(kMR * padded);
    scores.reserve(kMR * padded);
    grads.reserve(kMR * padded);
    tile.reserve(kMR * kNR);
    key_rows.reserve(tokens, head_dim);
    query_rows.reserve(tokens, head_dim);
    out_rows.reserve(tokens, head_dim);
    shares.reserve(tokens, padded);
    slopes.reserve(tokens, padded);
  }
};

// Gradients (tokens, 3 dim) of q, k and v of one head, from those of the output, dout (tokens, dim). With shares
// P = softmax(S), S = q k^T / sqrt(d), made again here:
//   dv = P^T dout, dS = P (dout v^T - rowsum(P dout v^T)) / sqrt(d), dq = dS k, dk = dS^T q
template <class T>
static void attend_back(const typename T::A* qkv, const typename T::A* dout, int64_t tokens, int64_t dim, int64_t head,
                        int64_t head_dim, AttentionBack<T>& s, typename T::A* dqkv) {
  typedef typename T::A A;
  const int64_t stride = 3 * dim, padded = (tokens + kNR - 1) / kNR * kNR;
  const A *q = qkv + head * head_dim, *k = q + dim, *v = q + 2 * dim, *o = dout + head * head_dim;
  A* dq = dqkv + head * head_dim;
  pack_across<T>(k, stride, tokens, head_dim, s.keys.data());
  pack_across<T>(v, stride, tokens, head_dim, s.values.data());
  s.key_rows.take(k, tokens, head_dim, stride);
  s.query_rows.take(q, tokens, head_dim, stride);
  s.out_rows.take(o, tokens, head_dim, dim);
  s.shares.shape(tokens, padded);
  s.slopes.shape(tokens, padded);
  const vf scale = splat(1.0f / std::sqrt(static_cast<float>(head_dim)));
  for (int64_t row = 0; row < tokens; row += kMR) {
    const int rows = static_cast<int>(std::min<int64_t>(kMR, tokens - row));
    for (int64_t p = 0; p < padded; p += kNR) {
      multiply_rows<T, kMR>(rows, q + row * stride, stride, s.keys.data() + p * head_dim, head_dim, &s.scores[p],
                            padded);
      multiply_rows<T, kMR>(rows, o + row * dim, dim, s.values.data() + p * head_dim, head_dim, &s.grads[p], padded);
    }
    vf inverse[kMR], mean[kMR];
    for (int i = 0; i < rows; ++i) {
      float *score = &s.scores[i * padded], *grad = &s.grads[i * padded];
      for (int64_t t = tokens; t < padded; ++t) score[t] = -1e30f;
      vf top = load(score);
      for (int64_t t = PA3D_W; t < padded; t += PA3D_W) top = vmax(top, load(score + t));
      const vf most = splat(reduce_max(top));
      vf sum = vf{}, product = vf{};
      for (int64_t t = 0; t < padded; t += PA3D_W) {
        const vf e = vexp((load(score + t) - most) * scale);
        store(score + t, e);
        sum += e;
        product += e * load(grad + t);
      }
      inverse[i] = splat(1.0f / reduce_add(sum));
      mean[i] = splat(reduce_add(product)) * inverse[i];
    }
    for (int i = 0; i < rows; i += 2)
      for (int64_t t = 0; t < padded; t += PA3D_W) {
        vf share[2] = {}, slope[2] = {};
        for (int j = 0; j < std::min(2, rows - i); ++j) {
          const int64_t at = (i + j) * padded + t;
          share[j] = load(&s.scores[at]) * inverse[i + j];
          slope[j] = share[j] * (load(&s.grads[at]) - mean[i + j]) * scale;
          T::put(&s.line[at], slope[j]);
        }
        const int64_t place = (row + i) * kNR + t % kNR * T::kPack;
        put_two<T>(s.shares.panel(t / kNR) + place, share[0], share[1]);
        put_two<T>(s.slopes.panel(t / kNR) + place, slope[0], slope[1]);
      }
    for (int64_t p = 0; p < head_dim; p += kNR) {
      multiply_rows<T, kMR>(rows, s.line.data(), padded, s.key_rows.panel(p / kNR), s.key_rows.depth, s.tile.data());
      for (int i = 0; i < rows; ++i)
        for (int j = 0; j < kNR; j += PA3D_W) T::put(dq + (row + i) * stride + p + j, load(&s.tile[i * kNR + j]));
    }
  }
  const auto outer = [&](const Stack<T>& a, const Stack<T>& b, A* out) {
    multiply_outer<T>(a, tokens, b, s.tile.data(), [&](int64_t row, int rows, int64_t column) {
      for (int i = 0; i < rows; ++i)
        for (int j = 0; j < kNR; j += PA3D_W) T::put(out + (row + i) * stride + column + j, load(&s.tile[i * kNR + j]));
    });
  };
  outer(s.slopes, s.query_rows, dq + dim);
  outer(s.shares, s.out_rows, dq + 2 * dim);
}

template <class T>
class BlockTrainingOf : public BlockTraining {
  typedef typename T::A A;

  // A row of a branch: its place among the rows of all shapes, and what the branch is multiplied with there.
  struct Row {
    int64_t place;
    float kept;
  };

  struct Tape : BlockTape {
    std::vector<float> kept;      // (2, shapes)
    std::vector<Row> rows[2];     // of each branch: those of the shapes that take it, one after the other
    Kept<float> u, v;             // (shapes, tokens, dim)
    Kept<RowMoments> moments[2];  // of their rows
    Kept<A> qkv, mixed, hidden;   // (slots, tokens, ...); hidden: fc1's output before GELU
  };

  struct Scratch {
    Buffer<A> normed, wide, back, back_wide;
    Buffer<float> grad;
    AttentionScratch<T> attention;
    AttentionBack<T> attention_back;
    Stack<T> narrow, wide_rows;
    Sums qkv, proj, fc1, fc2;
    Buffer<float> vectors;  // gradients of gain1, shift1, proj_bias, gain2, shift2, fc2_bias, fc1_bias
  };

 public:
  std::unique_ptr<BlockTape> tape() const override { return std::make_unique<Tape>(); }

  void forward(const BlockWeights& w, const float* x, const float* pos, const float* kept, int64_t shapes,
               int64_t tokens, int threads, BlockTape& tape, float* y) override {
    Tape& t = dynamic_cast<Tape&>(tape);
    start(w, tokens, threads);
    t.shapes = shapes, t.tokens = tokens, t.dim = w.dim, t.hidden_size = w.hidden, t.heads = w.heads;
    t.kept.assign(2 * shapes, 1.0f);
    if (kept != nullptr) t.kept.assign(kept, kept + 2 * shapes);
    for (int branch = 0; branch < 2; ++branch) {
      t.rows[branch].clear();
      for (int64_t i = 0; i < shapes * tokens; ++i) {
        const float share = t.kept[branch * shapes + i / tokens];
        if (share != 0) t.rows[branch].push_back({i, share});
      }
      t.moments[branch].reserve(shapes * tokens);
    }
    const int64_t all = shapes * tokens, dim = w.dim;
    t.u.reserve(all * dim);
    t.v.reserve(all * dim);
    t.qkv.reserve(all * 3 * dim);
    t.mixed.reserve(all * dim);
    t.hidden.reserve(all * w.hidden);
    parallel_for(panels(false), 1, threads_, [&](int64_t from, int64_t to) { pack(w, false, from, to); });
    each_thread([&](Scratch& s, int id) {
      each_shape(shapes, id, [&](int64_t shape) {
        const int64_t from = shape * tokens * dim;
        for (int64_t i = from; i < from + tokens * dim; i += PA3D_W) {
          const vf u = load(x + i) + load(pos + i);
          store(t.u.data() + i, u);
          if (t.kept[shape] == 0) store(t.v.data() + i, u);
        }
      });
      barrier();
      each_part(t, 0, id, [&](int64_t slot, int64_t rows, const Row* line) { attention(w, t, s, slot, rows, line); });
      barrier();
      each_shape(shapes, id, [&](int64_t shape) {
        const int64_t from = shape * tokens * dim;
        if (t.kept[shapes + shape] == 0) std::copy_n(t.v.data() + from, tokens * dim, y + from);
      });
      each_part(t, 1, id, [&](int64_t slot, int64_t rows, const Row* line) { mlp(w, t, s, slot, rows, line, y); });
    });
  }

  void backward(const BlockWeights& w, const float* dy, int threads, BlockTape& tape, float* dx,
                const BlockGradients& out) override {
    Tape& t = dynamic_cast<Tape&>(tape);
    const int64_t dim = w.dim, tokens = t.tokens, vectors = 6 * dim + w.hidden;
    const bool wanted = out.qkv != nullptr;
    start(w, tokens, threads);
    dv_.reserve(t.shapes * tokens * dim);
    parallel_for(panels(true), 1, threads_, [&](int64_t from, int64_t to) { pack(w, true, from, to); });
    for (Scratch& s : scratch_) {
      s.qkv.start(3 * dim, dim);
      s.proj.start(dim, dim);
      s.fc1.start(w.hidden, dim);
      s.fc2.start(dim, w.hidden);
      s.vectors.reserve(vectors);
      std::fill_n(s.vectors.data(), vectors, 0.0f);
    }
    each_thread([&](Scratch& s, int id) {
      copy_dropped(t, 1, id, dy, dv_.data(), dim);
      each_part(t, 1, id,
                [&](int64_t slot, int64_t rows, const Row* line) { mlp_back(w, t, s, slot, rows, line, dy, wanted); });
      barrier();
      copy_dropped(t, 0, id, dv_.data(), dx, dim);
      each_part(t, 0, id, [&](int64_t slot, int64_t rows, const Row* line) {
        attention_back(w, t, s, slot, rows, line, dx, wanted);
      });
    });
    if (!wanted) return;
    total(&Scratch::qkv, out.qkv);
    total(&Scratch::proj, out.proj);
    total(&Scratch::fc1, out.fc1);
    total(&Scratch::fc2, out.fc2);
    float* const places[] = {out.gain1, out.shift1, out.proj_bias, out.gain2, out.shift2, out.fc2_bias, out.fc1_bias};
    for (int i = 0; i < 7; ++i)
      for (int64_t j = 0; j < (i < 6 ? dim : w.hidden); ++j) {
        float sum = 0;
        for (const Scratch& s : scratch_) sum += s.vectors[i * dim + j];
        places[i][j] = sum;
      }
  }

 private:
  void start(const BlockWeights& w, int64_t tokens, int threads) {
    threads_ = resolve_threads(threads);
    scratch_.resize(threads_);
    const int64_t rows = kShapes * tokens, widest = std::max(w.hidden, 3 * w.dim);
    for (Scratch& s : scratch_) {
      s.normed.reserve(rows * w.dim);
      s.back.reserve(rows * w.dim);
      s.wide.reserve(rows * widest);
      s.back_wide.reserve(rows * widest);
      s.grad.reserve(rows * w.dim);
      s.narrow.reserve(rows, w.dim);
      s.wide_rows.reserve(rows, widest);
      s.attention.reserve(tokens, w.dim / w.heads);
      s.attention_back.reserve(tokens, w.dim / w.heads);
    }
    const int64_t shape[4][2] = {{3 * w.dim, w.dim}, {w.dim, w.dim}, {w.hidden, w.dim}, {w.dim, w.hidden}};
    for (int i = 0; i < 4; ++i)
      for (int back = 0; back < 2; ++back)
        if (packed_[back][i].n != shape[i][back] || packed_[back][i].k != shape[i][1 - back])
          packed_[back][i].resize(shape[i][back], shape[i][1 - back], nullptr);
  }

  int64_t panels(bool back) const {
    int64_t count = 0;
    for (const Packed<T>& p : packed_[back]) count += p.panels;
    return count;
  }

  // Panels [from, to) of all weights in a row.
  void pack(const BlockWeights& w, bool back, int64_t from, int64_t to) {
    const float* const weights[4] = {w.qkv, w.proj, w.fc1, w.fc2};
    Buffer<A> line;
    int64_t first = 0;
    for (int i = 0; i < 4; ++i) {
      Packed<T>& out = packed_[back][i];
      const int64_t low = std::max(from - first, int64_t{0}), high = std::min(to - first, out.panels);
      if (low < high && back) pack_columns(weights[i], low, high, out);
      if (low < high && !back) pack_rows(weights[i], low, high, line, out);
      first += out.panels;
    }
  }

  template <class Body>
  void each_thread(const Body& body) {
#ifdef _OPENMP
#pragma omp parallel num_threads(threads_)
#endif
    body(scratch_[thread_id()], thread_id());
  }

  template <class Body>
  void each_shape(int64_t shapes, int id, const Body& body) const {
    int64_t from, to;
    share(shapes, id, team_size(), &from, &to);
    for (int64_t shape = from; shape < to; ++shape) body(shape);
  }

  // body(slot, rows, their lines): the shapes of a branch that fall to this thread, some at a time.
  template <class Body>
  void each_part(const Tape& t, int branch, int id, const Body& body) const {
    int64_t from, to;
    share(static_cast<int64_t>(t.rows[branch].size()) / t.tokens, id, team_size(), &from, &to);
    for (int64_t slot = from; slot < to; slot += kShapes)
      body(slot, std::min(kShapes, to - slot) * t.tokens, t.rows[branch].data() + slot * t.tokens);
  }

  void copy_dropped(const Tape& t, int branch, int id, const float* from, float* to, int64_t dim) const {
    each_shape(t.shapes, id, [&](int64_t shape) {
      const int64_t at = shape * t.tokens * dim;
      if (t.kept[branch * t.shapes + shape] == 0) std::copy_n(from + at, t.tokens * dim, to + at);
    });
  }

  template <class... X>
  static void fetch_places(const Tape& t, int64_t row, int count, const Row* line, int64_t column, X*... of) {
    for (int i = 0; i < count; ++i) {
      const int64_t at = line[row + i].place * t.dim + column;
      (fetch_row(of + at), ...);
    }
  }

  void attention(const BlockWeights& w, Tape& t, Scratch& s, int64_t slot, int64_t rows, const Row* line) {
    const int64_t dim = w.dim, tokens = t.tokens;
    for (int64_t r = 0; r < rows; ++r) {
      const int64_t at = line[r].place;
      const RowMoments m = t.moments[0].data()[at] = moments_of(t.u.data() + at * dim, dim, w.eps);
      normalize_row<T>(t.u.data() + at * dim, dim, m, w.gain1, w.shift1, s.normed.data() + r * dim);
    }
    A* qkv = t.qkv.data() + slot * tokens * 3 * dim;
    A* mixed = t.mixed.data() + slot * tokens * dim;
    multiply_rows_of(
        s.normed.data(), rows, packed_[0][0],
        [&](int64_t row, int count, int64_t column) { fetch_rows(qkv + row * 3 * dim + column, count, 3 * dim); },
        [&](int64_t row, int count, int64_t column, const float* tile) {
          for (int i = 0; i < count; ++i)
            for (int j = 0; j < kNR; j += PA3D_W)
              T::put(qkv + (row + i) * 3 * dim + column + j, load(tile + i * kNR + j));
        });
    for (int64_t r = 0; r < rows; r += tokens)
      for (int64_t head = 0; head < w.heads; ++head)
        attend<T, T>(qkv + r * 3 * dim, 3 * dim, tokens, dim, head, dim / w.heads, 0, tokens, s.attention,
                     mixed + r * dim, dim);
    multiply_rows_of(
        mixed, rows, packed_[0][1],
        [&](int64_t row, int count, int64_t column) {
          fetch_places(t, row, count, line, column, t.u.data(), t.v.data());
        },
        [&](int64_t row, int count, int64_t column, const float* tile) {
          for (int i = 0; i < count; ++i) {
            const int64_t at = line[row + i].place * dim + column;
            const vf kept = splat(line[row + i].kept);
            for (int j = 0; j < kNR; j += PA3D_W)
              store(t.v.data() + at + j,
                    load(t.u.data() + at + j) + kept * (load(tile + i * kNR + j) + load(w.proj_bias + column + j)));
          }
        });
  }

  void mlp(const BlockWeights& w, Tape& t, Scratch& s, int64_t slot, int64_t rows, const Row* line, float* y) {
    const int64_t dim = w.dim, tokens = t.tokens;
    for (int64_t r = 0; r < rows; ++r) {
      const int64_t at = line[r].place;
      const RowMoments m = t.moments[1].data()[at] = moments_of(t.v.data() + at * dim, dim, w.eps);
      normalize_row<T>(t.v.data() + at * dim, dim, m, w.gain2, w.shift2, s.normed.data() + r * dim);
    }
    A* hidden = t.hidden.data() + slot * tokens * w.hidden;
    multiply_rows_of(
        s.normed.data(), rows, packed_[0][2],
        [&](int64_t row, int count, int64_t column) { fetch_rows(hidden + row * w.hidden + column, count, w.hidden); },
        [&](int64_t row, int count, int64_t column, const float* tile) {
          for (int j = 0; j < kNR; j += PA3D_W) {
            const vf bias = load(w.fc1_bias + column + j);
            for (int i = 0; i < count; ++i) {
              const vf z = load(tile + i * kNR + j) + bias;
              const int64_t at = (row + i) * w.hidden + column + j;
              T::put(hidden + at, z);
              T::put(s.wide.data() + at, activate<Act::gelu, T>(z));
            }
          }
        });
    multiply_rows_of(
        s.wide.data(), rows, packed_[0][3],
        [&](int64_t row, int count, int64_t column) { fetch_places(t, row, count, line, column, t.v.data(), y); },
        [&](int64_t row, int count, int64_t column, const float* tile) {
          for (int i = 0; i < count; ++i) {
            const int64_t at = line[row + i].place * dim + column;
            const vf kept = splat(line[row + i].kept);
            for (int j = 0; j < kNR; j += PA3D_W)
              store(y + at + j,
                    load(t.v.data() + at + j) + kept * (load(tile + i * kNR + j) + load(w.fc2_bias + column + j)));
          }
        });
  }

  // s.back (rows, dim): the gradient of a branch's output, of kept times it; adds to the gradient of its bias.
  void branch_back(Scratch& s, int64_t rows, const Row* line, const float* grad, int64_t dim, float* bias) const {
    for (int64_t r = 0; r < rows; ++r) {
      const float* from = grad + line[r].place * dim;
      const vf kept = splat(line[r].kept);
      for (int64_t i = 0; i < dim; i += PA3D_W) {
        const vf g = kept * load(from + i);
        T::put(s.back.data() + r * dim + i, g);
        store(bias + i, load(bias + i) + g);
      }
    }
  }

  void mlp_back(const BlockWeights& w, Tape& t, Scratch& s, int64_t slot, int64_t rows, const Row* line,
                const float* dy, bool wanted) {
    const int64_t dim = w.dim, tokens = t.tokens, wide = w.hidden;
    float* const v = s.vectors.data();
    branch_back(s, rows, line, dy, dim, v + 5 * dim);
    const A* hidden = t.hidden.data() + slot * tokens * wide;
    float* const fc1_bias = v + 6 * dim;
    multiply_rows_of(
        s.back.data(), rows, packed_[1][3],
        [&](int64_t row, int count, int64_t column) { fetch_rows(hidden + row * wide + column, count, wide); },
        [&](int64_t row, int count, int64_t column, const float* tile) {
          for (int j = 0; j < kNR; j += PA3D_W) {
            vf sum = load(fc1_bias + column + j);
            for (int i = 0; i < count; ++i) {
              const int64_t at = (row + i) * wide + column + j;
              const vf z = load(hidden + at), slope = std::is_same_v<T, F32> ? vgelu_slope(z) : vgelu_slope_short(z);
              const vf dz = load(tile + i * kNR + j) * slope;
              T::put(s.back_wide.data() + at, dz);
              if (wanted) T::put(s.wide.data() + at, activate<Act::gelu, T>(z));
              sum += dz;
            }
            store(fc1_bias + column + j, sum);
          }
        });
    to_grad(s, s.back_wide.data(), rows, packed_[1][2]);
    if (wanted) {
      s.narrow.take(s.back.data(), rows, dim, dim);
      s.wide_rows.take(s.wide.data(), rows, wide, wide);
      s.fc2.add(s.narrow, s.wide_rows);
    }
    norm_back(s, t, 1, rows, line, w.gain2, w.shift2, t.v.data(), dy, dv_.data(), dim, v + 3 * dim, wanted);
    if (wanted) {
      s.narrow.take(s.normed.data(), rows, dim, dim);
      s.wide_rows.take(s.back_wide.data(), rows, wide, wide);
      s.fc1.add(s.wide_rows, s.narrow);
    }
  }

  void attention_back(const BlockWeights& w, Tape& t, Scratch& s, int64_t slot, int64_t rows, const Row* line,
                      float* dx, bool wanted) {
    const int64_t dim = w.dim, tokens = t.tokens;
    float* const v = s.vectors.data();
    branch_back(s, rows, line, dv_.data(), dim, v + 2 * dim);
    const A* mixed = t.mixed.data() + slot * tokens * dim;
    const A* qkv = t.qkv.data() + slot * tokens * 3 * dim;
    if (wanted) {
      s.narrow.take(s.back.data(), rows, dim, dim);
      s.wide_rows.take(mixed, rows, dim, dim);
      s.proj.add(s.narrow, s.wide_rows);
    }
    multiply_rows_of(s.back.data(), rows, packed_[1][1], Nothing{},
                     [&](int64_t row, int count, int64_t column, const float* tile) {
                       for (int i = 0; i < count; ++i)
                         for (int j = 0; j < kNR; j += PA3D_W)
                           T::put(s.normed.data() + (row + i) * dim + column + j, load(tile + i * kNR + j));
                     });
    for (int64_t r = 0; r < rows; r += tokens)
      for (int64_t head = 0; head < w.heads; ++head)
        attend_back<T>(qkv + r * 3 * dim, s.normed.data() + r * dim, tokens, dim, head, dim / w.heads, s.attention_back,
                       s.back_wide.data() + r * 3 * dim);
    to_grad(s, s.back_wide.data(), rows, packed_[1][0]);
    norm_back(s, t, 0, rows, line, w.gain1, w.shift1, t.u.data(), dv_.data(), dx, dim, v, wanted);
    if (wanted) {
      s.narrow.take(s.normed.data(), rows, dim, dim);
      s.wide_rows.take(s.back_wide.data(), rows, 3 * dim, 3 * dim);
      s.qkv.add(s.wide_rows, s.narrow);
    }
  }

  // s.grad (rows, dim) = A W
  void to_grad(Scratch& s, const A* a, int64_t rows, const Packed<T>& w) const {
    multiply_rows_of(a, rows, w, Nothing{}, [&](int64_t row, int count, int64_t column, const float* tile) {
      for (int i = 0; i < count; ++i)
        std::memcpy(s.grad.data() + (row + i) * w.n + column, tile + i * kNR, kNR * sizeof(float));
    });
  }

  // Through a branch's LayerNorm: out = base + its part of s.grad. s.normed: what it gave forward, made again.
  void norm_back(Scratch& s, Tape& t, int branch, int64_t rows, const Row* line, const float* gain, const float* shift,
                 const float* input, const float* base, float* out, int64_t dim, float* sums, bool wanted) const {
    for (int64_t r = 0; r < rows; ++r) {
      const int64_t row = line[r].place, at = row * dim;
      const RowMoments m = t.moments[branch].data()[row];
      if (wanted) normalize_row<T>(input + at, dim, m, gain, shift, s.normed.data() + r * dim);
      normalize_row_back(input + at, dim, m, gain, s.grad.data() + r * dim, base + at, out + at,
                         wanted ? sums : nullptr, sums + dim);
    }
  }

  void total(Sums Scratch::* what, float* out) const {
    std::vector<const Sums*> all;
    for (const Scratch& s : scratch_) all.push_back(&(s.*what));
    parallel_for(all[0]->panels(), 1, threads_, [&](int64_t from, int64_t to) { Sums::total(all, from, to, out); });
  }

  int threads_ = 1;
  Packed<T> packed_[2][4];  // for products with W^T and with W: qkv, proj, fc1, fc2
  Kept<float> dv_;
  std::vector<Scratch> scratch_;
};

#if PA3D_LEVEL < 3
static std::unique_ptr<BlockTraining> block_training_fp32() { return std::make_unique<BlockTrainingOf<F32>>(); }
#else
static std::unique_ptr<BlockTraining> block_training_bf16() { return std::make_unique<BlockTrainingOf<BF16>>(); }
#endif

}  // namespace PA3D_NS
}  // namespace pa3d
