namespace pa3d {
namespace PA3D_NS {

#include "vec.inl"
#include "math.inl"
#include "gemm.inl"
#include "outer.inl"
#include "attention.inl"
#include "train_layers.inl"

constexpr int64_t kShapesPerStep = 4;  // shapes whose rows share one product

template <class T>
class BlockTrainingOf : public BlockTraining {
  typedef typename T::A A;

  // A row of a branch: its index among the rows of all shapes, and its drop-path scale.
  struct Row {
    int64_t index;
    float scale;
  };

  struct Tape : BlockTape {
    std::vector<float> drop_path_scale;       // (2, shapes)
    std::vector<Row> rows[2];                 // of each branch: the rows of the shapes that do not drop it
    GrowOnlyBuffer<float> u, v;               // (shapes, tokens, dim)
    GrowOnlyBuffer<RowStats> moments[2];      // of their rows
    GrowOnlyBuffer<A> qkv, attn_out, hidden;  // (slots, tokens, ...); hidden: fc1's output before GELU
  };

  struct Scratch {
    Buffer<A> normed, wide, branch_grad, wide_grad;
    Buffer<float> norm_grad;
    AttentionScratch<T> attention;
    AttentionBackwardScratch<T> attention_backward;
    RowPanels<T> narrow_rows, wide_rows;
    GradAccumulator qkv, proj, fc1, fc2;
    Buffer<float> vector_grads;  // gradients of gamma1, beta1, proj_bias, gamma2, beta2, fc2_bias, fc1_bias
  };

 public:
  std::unique_ptr<BlockTape> tape() const override { return std::make_unique<Tape>(); }

  void forward(const BlockWeights& w, const float* x, const float* pos, const float* drop_path_scale, int64_t shapes,
               int64_t tokens, int threads, BlockTape& tape, float* y) override {
    Tape& t = dynamic_cast<Tape&>(tape);
    prepare(w, tokens, threads);
    t.shapes = shapes, t.tokens = tokens, t.dim = w.dim, t.hidden_size = w.hidden, t.heads = w.heads;
    t.drop_path_scale.assign(2 * shapes, 1.0f);
    if (drop_path_scale != nullptr) t.drop_path_scale.assign(drop_path_scale, drop_path_scale + 2 * shapes);
    for (int branch = 0; branch < 2; ++branch) {
      t.rows[branch].clear();
      for (int64_t i = 0; i < shapes * tokens; ++i) {
        const float scale = t.drop_path_scale[branch * shapes + i / tokens];
        if (scale != 0) t.rows[branch].push_back({i, scale});
      }
      t.moments[branch].reserve(shapes * tokens);
    }
    const int64_t all = shapes * tokens, dim = w.dim;
    t.u.reserve(all * dim);
    t.v.reserve(all * dim);
    t.qkv.reserve(all * 3 * dim);
    t.attn_out.reserve(all * dim);
    t.hidden.reserve(all * w.hidden);
    parallel_for(panels(false), 1, threads_, [&](int64_t from, int64_t to) { pack(w, false, from, to); });
    for_each_thread([&](Scratch& s, int id) {
      for_each_shape(shapes, id, [&](int64_t shape) {
        const int64_t from = shape * tokens * dim;
        for (int64_t i = from; i < from + tokens * dim; i += PA3D_W) {
          const vf u = load(x + i) + load(pos + i);
          store(t.u.data() + i, u);
          if (t.drop_path_scale[shape] == 0) store(t.v.data() + i, u);
        }
      });
      barrier();
      for_each_step(t, 0, id,
                    [&](int64_t slot, int64_t rows, const Row* rows_at) { attention(w, t, s, slot, rows, rows_at); });
      barrier();
      for_each_shape(shapes, id, [&](int64_t shape) {
        const int64_t from = shape * tokens * dim;
        if (t.drop_path_scale[shapes + shape] == 0) std::copy_n(t.v.data() + from, tokens * dim, y + from);
      });
      for_each_step(t, 1, id,
                    [&](int64_t slot, int64_t rows, const Row* rows_at) { mlp(w, t, s, slot, rows, rows_at, y); });
    });
  }

  void backward(const BlockWeights& w, const float* dy, int threads, BlockTape& tape, float* dx,
                const BlockGradients& out) override {
    Tape& t = dynamic_cast<Tape&>(tape);
    const int64_t dim = w.dim, tokens = t.tokens, vector_grads = 6 * dim + w.hidden;
    const bool weight_grads = out.qkv != nullptr;
    prepare(w, tokens, threads);
    dv_.reserve(t.shapes * tokens * dim);
    parallel_for(panels(true), 1, threads_, [&](int64_t from, int64_t to) { pack(w, true, from, to); });
    for (Scratch& s : scratch_) {
      s.qkv.reset(3 * dim, dim);
      s.proj.reset(dim, dim);
      s.fc1.reset(w.hidden, dim);
      s.fc2.reset(dim, w.hidden);
      s.vector_grads.reserve(vector_grads);
      std::fill_n(s.vector_grads.data(), vector_grads, 0.0f);
    }
    for_each_thread([&](Scratch& s, int id) {
      copy_dropped(t, 1, id, dy, dv_.data(), dim);
      for_each_step(t, 1, id, [&](int64_t slot, int64_t rows, const Row* rows_at) {
        mlp_backward(w, t, s, slot, rows, rows_at, dy, weight_grads);
      });
      barrier();
      copy_dropped(t, 0, id, dv_.data(), dx, dim);
      for_each_step(t, 0, id, [&](int64_t slot, int64_t rows, const Row* rows_at) {
        attention_backward(w, t, s, slot, rows, rows_at, dx, weight_grads);
      });
    });
    if (!weight_grads) return;
    reduce(&Scratch::qkv, out.qkv);
    reduce(&Scratch::proj, out.proj);
    reduce(&Scratch::fc1, out.fc1);
    reduce(&Scratch::fc2, out.fc2);
    float* const vector_outputs[] = {out.gamma1, out.beta1,    out.proj_bias, out.gamma2,
                                     out.beta2,  out.fc2_bias, out.fc1_bias};
    for (int i = 0; i < 7; ++i)
      for (int64_t j = 0; j < (i < 6 ? dim : w.hidden); ++j) {
        float sum = 0;
        for (const Scratch& s : scratch_) sum += s.vector_grads[i * dim + j];
        vector_outputs[i][j] = sum;
      }
  }

 private:
  void prepare(const BlockWeights& w, int64_t tokens, int threads) {
    threads_ = resolve_threads(threads);
    scratch_.resize(threads_);
    const int64_t rows = kShapesPerStep * tokens, widest = std::max(w.hidden, 3 * w.dim);
    for (Scratch& s : scratch_) {
      s.normed.reserve(rows * w.dim);
      s.branch_grad.reserve(rows * w.dim);
      s.wide.reserve(rows * widest);
      s.wide_grad.reserve(rows * widest);
      s.norm_grad.reserve(rows * w.dim);
      s.narrow_rows.reserve(rows, w.dim);
      s.wide_rows.reserve(rows, widest);
      s.attention.reserve(tokens, w.dim / w.heads);
      s.attention_backward.reserve(tokens, w.dim / w.heads);
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

  // Packs panels [from, to), counted over all four weights.
  void pack(const BlockWeights& w, bool back, int64_t from, int64_t to) {
    const float* const weights[4] = {w.qkv, w.proj, w.fc1, w.fc2};
    Buffer<A> rows_at;
    int64_t first = 0;
    for (int i = 0; i < 4; ++i) {
      Packed<T>& out = packed_[back][i];
      const int64_t low = std::max(from - first, int64_t{0}), high = std::min(to - first, out.panels);
      if (low < high && back) pack_panels_no_trans(weights[i], low, high, out);
      if (low < high && !back) pack_panels(weights[i], low, high, rows_at, out);
      first += out.panels;
    }
  }

  template <class Body>
  void for_each_thread(const Body& body) {
#ifdef _OPENMP
#pragma omp parallel num_threads(threads_)
#endif
    body(scratch_[thread_id()], thread_id());
  }

  template <class Body>
  void for_each_shape(int64_t shapes, int id, const Body& body) const {
    int64_t from, to;
    partition(shapes, id, team_size(), &from, &to);
    for (int64_t shape = from; shape < to; ++shape) body(shape);
  }

  // body(slot, rows, rows_at): this thread's shapes of a branch, kShapesPerStep at a time.
  template <class Body>
  void for_each_step(const Tape& t, int branch, int id, const Body& body) const {
    int64_t from, to;
    partition(static_cast<int64_t>(t.rows[branch].size()) / t.tokens, id, team_size(), &from, &to);
    for (int64_t slot = from; slot < to; slot += kShapesPerStep)
      body(slot, std::min(kShapesPerStep, to - slot) * t.tokens, t.rows[branch].data() + slot * t.tokens);
  }

  void copy_dropped(const Tape& t, int branch, int id, const float* from, float* to, int64_t dim) const {
    for_each_shape(t.shapes, id, [&](int64_t shape) {
      const int64_t at = shape * t.tokens * dim;
      if (t.drop_path_scale[branch * t.shapes + shape] == 0) std::copy_n(from + at, t.tokens * dim, to + at);
    });
  }

  template <class... X>
  static void prefetch_scattered(const Tape& t, int64_t row, int count, const Row* rows_at, int64_t column, X*... of) {
    for (int i = 0; i < count; ++i) {
      const int64_t at = rows_at[row + i].index * t.dim + column;
      (prefetch_row(of + at), ...);
    }
  }

  void attention(const BlockWeights& w, Tape& t, Scratch& s, int64_t slot, int64_t rows, const Row* rows_at) {
    const int64_t dim = w.dim, tokens = t.tokens;
    for (int64_t r = 0; r < rows; ++r) {
      const int64_t at = rows_at[r].index;
      const RowStats m = t.moments[0].data()[at] = row_stats(t.u.data() + at * dim, dim, w.eps);
      layer_norm_row<T>(t.u.data() + at * dim, dim, m, w.gamma1, w.beta1, s.normed.data() + r * dim);
    }
    A* qkv = t.qkv.data() + slot * tokens * 3 * dim;
    A* attn_out = t.attn_out.data() + slot * tokens * dim;
    gemm_blocked(
        s.normed.data(), rows, packed_[0][0],
        [&](int64_t row, int count, int64_t column) { prefetch_rows(qkv + row * 3 * dim + column, count, 3 * dim); },
        [&](int64_t row, int count, int64_t column, const float* tile) {
          for (int i = 0; i < count; ++i)
            for (int j = 0; j < kNR; j += PA3D_W)
              T::store_f32(qkv + (row + i) * 3 * dim + column + j, load(tile + i * kNR + j));
        });
    for (int64_t r = 0; r < rows; r += tokens)
      for (int64_t head = 0; head < w.heads; ++head)
        attention_head<T, T>(qkv + r * 3 * dim, 3 * dim, tokens, dim, head, dim / w.heads, 0, tokens, s.attention,
                             attn_out + r * dim, dim);
    gemm_blocked(
        attn_out, rows, packed_[0][1],
        [&](int64_t row, int count, int64_t column) {
          prefetch_scattered(t, row, count, rows_at, column, t.u.data(), t.v.data());
        },
        [&](int64_t row, int count, int64_t column, const float* tile) {
          for (int i = 0; i < count; ++i) {
            const int64_t at = rows_at[row + i].index * dim + column;
            const vf scale = splat(rows_at[row + i].scale);
            for (int j = 0; j < kNR; j += PA3D_W)
              store(t.v.data() + at + j,
                    load(t.u.data() + at + j) + scale * (load(tile + i * kNR + j) + load(w.proj_bias + column + j)));
          }
        });
  }

  void mlp(const BlockWeights& w, Tape& t, Scratch& s, int64_t slot, int64_t rows, const Row* rows_at, float* y) {
    const int64_t dim = w.dim, tokens = t.tokens;
    for (int64_t r = 0; r < rows; ++r) {
      const int64_t at = rows_at[r].index;
      const RowStats m = t.moments[1].data()[at] = row_stats(t.v.data() + at * dim, dim, w.eps);
      layer_norm_row<T>(t.v.data() + at * dim, dim, m, w.gamma2, w.beta2, s.normed.data() + r * dim);
    }
    A* hidden = t.hidden.data() + slot * tokens * w.hidden;
    gemm_blocked(
        s.normed.data(), rows, packed_[0][2],
        [&](int64_t row, int count, int64_t column) {
          prefetch_rows(hidden + row * w.hidden + column, count, w.hidden);
        },
        [&](int64_t row, int count, int64_t column, const float* tile) {
          for (int j = 0; j < kNR; j += PA3D_W) {
            const vf bias = load(w.fc1_bias + column + j);
            for (int i = 0; i < count; ++i) {
              const vf z = load(tile + i * kNR + j) + bias;
              const int64_t at = (row + i) * w.hidden + column + j;
              T::store_f32(hidden + at, z);
              T::store_f32(s.wide.data() + at, activate<Activation::gelu, T>(z));
            }
          }
        });
    gemm_blocked(
        s.wide.data(), rows, packed_[0][3],
        [&](int64_t row, int count, int64_t column) {
          prefetch_scattered(t, row, count, rows_at, column, t.v.data(), y);
        },
        [&](int64_t row, int count, int64_t column, const float* tile) {
          for (int i = 0; i < count; ++i) {
            const int64_t at = rows_at[row + i].index * dim + column;
            const vf scale = splat(rows_at[row + i].scale);
            for (int j = 0; j < kNR; j += PA3D_W)
              store(y + at + j,
                    load(t.v.data() + at + j) + scale * (load(tile + i * kNR + j) + load(w.fc2_bias + column + j)));
          }
        });
  }

  // s.branch_grad (rows, dim): gradient of a branch's output times its drop-path scale; adds to the gradient of its
  // bias.
  void branch_backward(Scratch& s, int64_t rows, const Row* rows_at, const float* grad, int64_t dim,
                       float* bias) const {
    for (int64_t r = 0; r < rows; ++r) {
      const float* from = grad + rows_at[r].index * dim;
      const vf scale = splat(rows_at[r].scale);
      for (int64_t i = 0; i < dim; i += PA3D_W) {
        const vf g = scale * load(from + i);
        T::store_f32(s.branch_grad.data() + r * dim + i, g);
        store(bias + i, load(bias + i) + g);
      }
    }
  }

  void mlp_backward(const BlockWeights& w, Tape& t, Scratch& s, int64_t slot, int64_t rows, const Row* rows_at,
                    const float* dy, bool weight_grads) {
    const int64_t dim = w.dim, tokens = t.tokens, wide = w.hidden;
    float* const v = s.vector_grads.data();
    branch_backward(s, rows, rows_at, dy, dim, v + 5 * dim);
    const A* hidden = t.hidden.data() + slot * tokens * wide;
    float* const fc1_bias = v + 6 * dim;
    gemm_blocked(
        s.branch_grad.data(), rows, packed_[1][3],
        [&](int64_t row, int count, int64_t column) { prefetch_rows(hidden + row * wide + column, count, wide); },
        [&](int64_t row, int count, int64_t column, const float* tile) {
          for (int j = 0; j < kNR; j += PA3D_W) {
            vf sum = load(fc1_bias + column + j);
            for (int i = 0; i < count; ++i) {
              const int64_t at = (row + i) * wide + column + j;
              const vf z = load(hidden + at), slope = std::is_same_v<T, F32> ? vgelu_grad(z) : vgelu_grad_approx(z);
              const vf dz = load(tile + i * kNR + j) * slope;
              T::store_f32(s.wide_grad.data() + at, dz);
              if (weight_grads) T::store_f32(s.wide.data() + at, activate<Activation::gelu, T>(z));
              sum += dz;
            }
            store(fc1_bias + column + j, sum);
          }
        });
    gemm_to_norm_grad(s, s.wide_grad.data(), rows, packed_[1][2]);
    if (weight_grads) {
      s.narrow_rows.pack(s.branch_grad.data(), rows, dim, dim);
      s.wide_rows.pack(s.wide.data(), rows, wide, wide);
      s.fc2.add(s.narrow_rows, s.wide_rows);
    }
    layer_norm_backward(s, t, 1, rows, rows_at, w.gamma2, w.beta2, t.v.data(), dy, dv_.data(), dim, v + 3 * dim,
                        weight_grads);
    if (weight_grads) {
      s.narrow_rows.pack(s.normed.data(), rows, dim, dim);
      s.wide_rows.pack(s.wide_grad.data(), rows, wide, wide);
      s.fc1.add(s.wide_rows, s.narrow_rows);
    }
  }

  void attention_backward(const BlockWeights& w, Tape& t, Scratch& s, int64_t slot, int64_t rows, const Row* rows_at,
                          float* dx, bool weight_grads) {
    const int64_t dim = w.dim, tokens = t.tokens;
    float* const v = s.vector_grads.data();
    branch_backward(s, rows, rows_at, dv_.data(), dim, v + 2 * dim);
    const A* attn_out = t.attn_out.data() + slot * tokens * dim;
    const A* qkv = t.qkv.data() + slot * tokens * 3 * dim;
    if (weight_grads) {
      s.narrow_rows.pack(s.branch_grad.data(), rows, dim, dim);
      s.wide_rows.pack(attn_out, rows, dim, dim);
      s.proj.add(s.narrow_rows, s.wide_rows);
    }
    gemm_blocked(s.branch_grad.data(), rows, packed_[1][1], NoOp{},
                 [&](int64_t row, int count, int64_t column, const float* tile) {
                   for (int i = 0; i < count; ++i)
                     for (int j = 0; j < kNR; j += PA3D_W)
                       T::store_f32(s.normed.data() + (row + i) * dim + column + j, load(tile + i * kNR + j));
                 });
    for (int64_t r = 0; r < rows; r += tokens)
      for (int64_t head = 0; head < w.heads; ++head)
        attention_head_backward<T>(qkv + r * 3 * dim, s.normed.data() + r * dim, tokens, dim, head, dim / w.heads,
                                   s.attention_backward, s.wide_grad.data() + r * 3 * dim);
    gemm_to_norm_grad(s, s.wide_grad.data(), rows, packed_[1][0]);
    layer_norm_backward(s, t, 0, rows, rows_at, w.gamma1, w.beta1, t.u.data(), dv_.data(), dx, dim, v, weight_grads);
    if (weight_grads) {
      s.narrow_rows.pack(s.normed.data(), rows, dim, dim);
      s.wide_rows.pack(s.wide_grad.data(), rows, 3 * dim, 3 * dim);
      s.qkv.add(s.wide_rows, s.narrow_rows);
    }
  }

  // s.norm_grad (rows, dim) = A W
  void gemm_to_norm_grad(Scratch& s, const A* a, int64_t rows, const Packed<T>& w) const {
    gemm_blocked(a, rows, w, NoOp{}, [&](int64_t row, int count, int64_t column, const float* tile) {
      for (int i = 0; i < count; ++i)
        std::memcpy(s.norm_grad.data() + (row + i) * w.n + column, tile + i * kNR, kNR * sizeof(float));
    });
  }

  // Backward pass of a branch's LayerNorm: out = base + dx. Computes its forward output s.normed again.
  void layer_norm_backward(Scratch& s, Tape& t, int branch, int64_t rows, const Row* rows_at, const float* gamma,
                           const float* beta, const float* input, const float* base, float* out, int64_t dim,
                           float* sums, bool weight_grads) const {
    for (int64_t r = 0; r < rows; ++r) {
      const int64_t row = rows_at[r].index, at = row * dim;
      const RowStats m = t.moments[branch].data()[row];
      if (weight_grads) layer_norm_row<T>(input + at, dim, m, gamma, beta, s.normed.data() + r * dim);
      layer_norm_row_backward(input + at, dim, m, gamma, s.norm_grad.data() + r * dim, base + at, out + at,
                              weight_grads ? sums : nullptr, sums + dim);
    }
  }

  void reduce(GradAccumulator Scratch::* what, float* out) const {
    std::vector<const GradAccumulator*> all;
    for (const Scratch& s : scratch_) all.push_back(&(s.*what));
    parallel_for(all[0]->panels(), 1, threads_,
                 [&](int64_t from, int64_t to) { GradAccumulator::reduce(all, from, to, out); });
  }

  int threads_ = 1;
  Packed<T> packed_[2][4];  // [0] for products with W^T, [1] with W; qkv, proj, fc1, fc2
  GrowOnlyBuffer<float> dv_;
  std::vector<Scratch> scratch_;
};

#if PA3D_LEVEL < 3
static std::unique_ptr<BlockTraining> block_training_fp32() { return std::make_unique<BlockTrainingOf<F32>>(); }
#else
static std::unique_ptr<BlockTraining> block_training_bf16() { return std::make_unique<BlockTrainingOf<BF16>>(); }
#endif

}  // namespace PA3D_NS
}  // namespace pa3d
