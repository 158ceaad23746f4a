namespace pa3d {
namespace PA3D_NS {

#include "vec.inl"
#include "math.inl"
#include "gemm.inl"
#include "gemm_tn.inl"
#include "attention.inl"
#include "train_layers.inl"

constexpr int64_t kShapesPerStep = 4;  // shapes whose rows share one product
// Gradients of weights are summed over so many groups of steps, then over the groups, so that the sums do not depend on
// the number of threads. They do with more threads than this.
constexpr int64_t kGradGroups = 8;

template <class T>
class BlockTrainerOf : public BlockTrainer {
  typedef typename T::Activation A;

  // A row of a branch: its index among the rows of all shapes, and its drop-path scale.
  struct Row {
    int64_t index;
    float scale;
  };

  struct Saved : SavedActivations {
    std::vector<float> drop_path_scale;         // (2, batch)
    std::vector<Row> rows[2];                   // per branch: the rows of the shapes that do not drop it
    GrowOnlyBuffer<float> resid_in, resid_mid;  // (batch, tokens, dim)
    GrowOnlyBuffer<RowStats> row_stats[2];      // LayerNorm statistics of the rows of resid_in and of resid_mid
    GrowOnlyBuffer<A> qkv, attn_out, hidden;    // (active shapes, tokens, ...); hidden: fc1's output before GELU
  };

  struct Workspace {
    Buffer<A> ln_out;           // output of a LayerNorm; attention_backward first uses it for the gradient of attn_out
    Buffer<A> gelu_out;         // gelu(fc1)
    Buffer<A> scaled_out_grad;  // gradient of a branch's output, times its drop-path scale
    Buffer<A> fc1_or_qkv_grad;  // gradient of the output of fc1, or of qkv
    Buffer<float> norm_grad;
    AttentionWorkspace<T> attention;
    AttentionBackwardWorkspace<T> attention_backward;
    RowPanels<T> dim_panels, hidden_panels;

    A* attn_grad() { return ln_out.data(); }  // shares its memory with ln_out, which is computed again later
  };

  // Sums over the steps of one group.
  struct WeightGrads {
    GradAccumulator qkv, proj, fc1, fc2;
    Buffer<float> vectors;  // gradients of gamma1, beta1, proj_bias, gamma2, beta2, fc2_bias, fc1_bias
  };

 public:
  std::unique_ptr<SavedActivations> new_activations() const override { return std::make_unique<Saved>(); }

  void forward(const BlockWeights& w, const float* x, const float* pos, const float* drop_path_scale, int64_t batch,
               int64_t tokens, int threads, SavedActivations& saved, float* y) override {
    Saved& t = dynamic_cast<Saved&>(saved);
    prepare(w, tokens, threads);
    t.batch = batch, t.tokens = tokens, t.dim = w.dim, t.hidden_size = w.hidden, t.heads = w.heads;
    t.drop_path_scale.assign(2 * batch, 1.0f);
    if (drop_path_scale != nullptr) t.drop_path_scale.assign(drop_path_scale, drop_path_scale + 2 * batch);
    for (int branch = 0; branch < 2; ++branch) {
      t.rows[branch].clear();
      for (int64_t i = 0; i < batch * tokens; ++i) {
        const float scale = t.drop_path_scale[branch * batch + i / tokens];
        if (scale != 0) t.rows[branch].push_back({i, scale});
      }
      t.row_stats[branch].reserve(batch * tokens);
    }
    const int64_t all = batch * tokens, dim = w.dim;
    t.resid_in.reserve(all * dim);
    t.resid_mid.reserve(all * dim);
    t.qkv.reserve(all * 3 * dim);
    t.attn_out.reserve(all * dim);
    t.hidden.reserve(all * w.hidden);
    parallel_for(panels(false), 1, threads_, [&](int64_t from, int64_t to) { pack(w, false, from, to); });
    Team team(threads_);
    for_each_shape(team, batch, [&](int64_t shape) {
      const int64_t from = shape * tokens * dim;
      for (int64_t i = from; i < from + tokens * dim; i += PA3D_W) {
        const vf sum = load(x + i) + load(pos + i);
        store(t.resid_in.data() + i, sum);
        if (t.drop_path_scale[shape] == 0) store(t.resid_mid.data() + i, sum);
      }
    });
    for_each_step(team, t, 0, [&](Workspace& s, int64_t, int64_t active_index, int64_t rows, const Row* row_list) {
      attention(w, t, s, active_index, rows, row_list);
    });
    for_each_shape(team, batch, [&](int64_t shape) {
      const int64_t from = shape * tokens * dim;
      if (t.drop_path_scale[batch + shape] == 0) std::copy_n(t.resid_mid.data() + from, tokens * dim, y + from);
    });
    for_each_step(team, t, 1, [&](Workspace& s, int64_t, int64_t active_index, int64_t rows, const Row* row_list) {
      mlp(w, t, s, active_index, rows, row_list, y);
    });
  }

  void backward(const BlockWeights& w, const float* dy, int threads, SavedActivations& saved, float* dx,
                const BlockGradients& out) override {
    Saved& t = dynamic_cast<Saved&>(saved);
    const int64_t dim = w.dim, tokens = t.tokens, vector_grads = 6 * dim + w.hidden;
    const bool weight_grads = out.qkv != nullptr;
    prepare(w, tokens, threads);
    resid_mid_grad_.reserve(t.batch * tokens * dim);
    parallel_for(panels(true), 1, threads_, [&](int64_t from, int64_t to) { pack(w, true, from, to); });
    weight_grads_.resize(std::max<int64_t>(kGradGroups, threads_));
    for (WeightGrads& g : weight_grads_) {
      g.qkv.reset(3 * dim, dim);
      g.proj.reset(dim, dim);
      g.fc1.reset(w.hidden, dim);
      g.fc2.reset(dim, w.hidden);
      g.vectors.reserve(vector_grads);
      std::fill_n(g.vectors.data(), vector_grads, 0.0f);
    }
    Team team(threads_);
    copy_dropped(team, t, 1, dy, resid_mid_grad_.data(), dim);
    for_each_step(team, t, 1,
                  [&](Workspace& s, int64_t group, int64_t active_index, int64_t rows, const Row* row_list) {
                    mlp_backward(w, t, s, weight_grads_[group], active_index, rows, row_list, dy, weight_grads);
                  });
    copy_dropped(team, t, 0, resid_mid_grad_.data(), dx, dim);
    for_each_step(team, t, 0,
                  [&](Workspace& s, int64_t group, int64_t active_index, int64_t rows, const Row* row_list) {
                    attention_backward(w, t, s, weight_grads_[group], active_index, rows, row_list, dx, weight_grads);
                  });
    if (!weight_grads) return;
    reduce(team, &WeightGrads::qkv, out.qkv);
    reduce(team, &WeightGrads::proj, out.proj);
    reduce(team, &WeightGrads::fc1, out.fc1);
    reduce(team, &WeightGrads::fc2, out.fc2);
    float* const vector_outputs[] = {out.gamma1, out.beta1,    out.proj_bias, out.gamma2,
                                     out.beta2,  out.fc2_bias, out.fc1_bias};
    for (int i = 0; i < 7; ++i)
      for (int64_t j = 0; j < (i < 6 ? dim : w.hidden); ++j) {
        float sum = 0;
        for (const WeightGrads& g : weight_grads_) sum += g.vectors[i * dim + j];
        vector_outputs[i][j] = sum;
      }
  }

 private:
  void prepare(const BlockWeights& w, int64_t tokens, int threads) {
    threads_ = resolve_threads(threads);
    workspaces_.resize(threads_);
    const int64_t rows = kShapesPerStep * tokens, widest = std::max(w.hidden, 3 * w.dim);
    for (Workspace& s : workspaces_) {
      s.ln_out.reserve(rows * w.dim);
      s.scaled_out_grad.reserve(rows * w.dim);
      s.gelu_out.reserve(rows * widest);
      s.fc1_or_qkv_grad.reserve(rows * widest);
      s.norm_grad.reserve(rows * w.dim);
      s.dim_panels.reserve(rows, w.dim);
      s.hidden_panels.reserve(rows, widest);
      s.attention.reserve(tokens, w.dim / w.heads);
      s.attention_backward.reserve(tokens, w.dim / w.heads);
    }
    const int64_t weight_dims[4][2] = {{3 * w.dim, w.dim}, {w.dim, w.dim}, {w.hidden, w.dim}, {w.dim, w.hidden}};
    for (int i = 0; i < 4; ++i)
      for (int transposed = 0; transposed < 2; ++transposed)
        if (packed_[transposed][i].n != weight_dims[i][transposed] ||
            packed_[transposed][i].k != weight_dims[i][1 - transposed])
          packed_[transposed][i].resize(weight_dims[i][transposed], weight_dims[i][1 - transposed], nullptr);
  }

  int64_t panels(bool transposed) const {
    int64_t count = 0;
    for (const PackedWeight<T>& p : packed_[transposed]) count += p.panels;
    return count;
  }

  // Packs panels [from, to); panels are numbered over all four weights.
  void pack(const BlockWeights& w, bool transposed, int64_t from, int64_t to) {
    const float* const weights[4] = {w.qkv, w.proj, w.fc1, w.fc2};
    Buffer<A> converted;
    int64_t first = 0;
    for (int i = 0; i < 4; ++i) {
      PackedWeight<T>& out = packed_[transposed][i];
      const int64_t low = std::max(from - first, int64_t{0}), high = std::min(to - first, out.panels);
      if (low < high && transposed) pack_panels_no_trans(weights[i], low, high, out);
      if (low < high && !transposed) pack_panels(weights[i], low, high, converted, out);
      first += out.panels;
    }
  }

  template <class Body>
  static void for_each_shape(Team& team, int64_t batch, const Body& body) {
    const Chunks shapes(batch, 4 * team.size(), 1);
    team.run(shapes.count, [&](int64_t task, int) {
      for (int64_t shape = shapes.begin(task); shape < shapes.end(task); ++shape) body(shape);
    });
  }

  // Calls body(workspace, group, active_index, rows, row_list) for the shapes of a branch, kShapesPerStep at a time.
  // active_index is the index of the first of them among the shapes that do not drop the branch. Which steps belong to
  // a group of weight_grads_ depends only on the number of groups; a task is a group.
  template <class Body>
  void for_each_step(Team& team, const Saved& t, int branch, const Body& body) {
    const int64_t shapes = static_cast<int64_t>(t.rows[branch].size()) / t.tokens;
    const int64_t steps = (shapes + kShapesPerStep - 1) / kShapesPerStep;
    const int64_t groups = std::min(steps, std::max<int64_t>(kGradGroups, threads_));
    team.run(groups, [&](int64_t group, int slot) {
      int64_t from, to;
      partition(steps, group, groups, &from, &to);
      for (int64_t step = from; step < to; ++step) {
        const int64_t active_index = step * kShapesPerStep;
        body(workspaces_[slot], group, active_index, std::min(kShapesPerStep, shapes - active_index) * t.tokens,
             t.rows[branch].data() + active_index * t.tokens);
      }
    });
  }

  static void copy_dropped(Team& team, const Saved& t, int branch, const float* from, float* to, int64_t dim) {
    for_each_shape(team, t.batch, [&](int64_t shape) {
      const int64_t offset = shape * t.tokens * dim;
      if (t.drop_path_scale[branch * t.batch + shape] == 0) std::copy_n(from + offset, t.tokens * dim, to + offset);
    });
  }

  template <class... X>
  static void prefetch_scattered(const Saved& t, int64_t row, int count, const Row* row_list, int64_t column,
                                 X*... arrays) {
    for (int i = 0; i < count; ++i) {
      const int64_t offset = row_list[row + i].index * t.dim + column;
      (prefetch_row(arrays + offset), ...);
    }
  }

  void attention(const BlockWeights& w, Saved& t, Workspace& s, int64_t active_index, int64_t rows,
                 const Row* row_list) {
    const int64_t dim = w.dim, tokens = t.tokens;
    for (int64_t r = 0; r < rows; ++r) {
      const int64_t index = row_list[r].index;
      const RowStats m = t.row_stats[0].data()[index] = row_stats(t.resid_in.data() + index * dim, dim, w.eps);
      layer_norm_row<T>(t.resid_in.data() + index * dim, dim, m, w.gamma1, w.beta1, s.ln_out.data() + r * dim);
    }
    A* qkv = t.qkv.data() + active_index * tokens * 3 * dim;
    A* attn_out = t.attn_out.data() + active_index * tokens * dim;
    gemm_blocked(
        s.ln_out.data(), rows, packed_[0][0],
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
          prefetch_scattered(t, row, count, row_list, column, t.resid_in.data(), t.resid_mid.data());
        },
        [&](int64_t row, int count, int64_t column, const float* tile) {
          for (int i = 0; i < count; ++i) {
            const int64_t offset = row_list[row + i].index * dim + column;
            const vf scale = splat(row_list[row + i].scale);
            for (int j = 0; j < kNR; j += PA3D_W)
              store(t.resid_mid.data() + offset + j,
                    load(t.resid_in.data() + offset + j) +
                        scale * (load(tile + i * kNR + j) + load(w.proj_bias + column + j)));
          }
        });
  }

  void mlp(const BlockWeights& w, Saved& t, Workspace& s, int64_t active_index, int64_t rows, const Row* row_list,
           float* y) {
    const int64_t dim = w.dim, tokens = t.tokens;
    for (int64_t r = 0; r < rows; ++r) {
      const int64_t index = row_list[r].index;
      const RowStats m = t.row_stats[1].data()[index] = row_stats(t.resid_mid.data() + index * dim, dim, w.eps);
      layer_norm_row<T>(t.resid_mid.data() + index * dim, dim, m, w.gamma2, w.beta2, s.ln_out.data() + r * dim);
    }
    A* hidden = t.hidden.data() + active_index * tokens * w.hidden;
    gemm_blocked(
        s.ln_out.data(), rows, packed_[0][2],
        [&](int64_t row, int count, int64_t column) {
          prefetch_rows(hidden + row * w.hidden + column, count, w.hidden);
        },
        [&](int64_t row, int count, int64_t column, const float* tile) {
          for (int j = 0; j < kNR; j += PA3D_W) {
            const vf bias = load(w.fc1_bias + column + j);
            for (int i = 0; i < count; ++i) {
              const vf z = load(tile + i * kNR + j) + bias;
              const int64_t offset = (row + i) * w.hidden + column + j;
              T::store_f32(hidden + offset, z);
              T::store_f32(s.gelu_out.data() + offset, activate<ActFn::gelu, T>(z));
            }
          }
        });
    gemm_blocked(
        s.gelu_out.data(), rows, packed_[0][3],
        [&](int64_t row, int count, int64_t column) {
          prefetch_scattered(t, row, count, row_list, column, t.resid_mid.data(), y);
        },
        [&](int64_t row, int count, int64_t column, const float* tile) {
          for (int i = 0; i < count; ++i) {
            const int64_t offset = row_list[row + i].index * dim + column;
            const vf scale = splat(row_list[row + i].scale);
            for (int j = 0; j < kNR; j += PA3D_W)
              store(y + offset + j, load(t.resid_mid.data() + offset + j) +
                                        scale * (load(tile + i * kNR + j) + load(w.fc2_bias + column + j)));
          }
        });
  }

  // s.scaled_out_grad (rows, dim) = the gradient of a branch's output times its drop-path scale. Adds its sum over rows
  // to the gradient of the bias.
  void scale_out_grad(Workspace& s, int64_t rows, const Row* row_list, const float* grad, int64_t dim,
                      float* bias) const {
    for (int64_t r = 0; r < rows; ++r) {
      const float* from = grad + row_list[r].index * dim;
      const vf scale = splat(row_list[r].scale);
      for (int64_t i = 0; i < dim; i += PA3D_W) {
        const vf g = scale * load(from + i);
        T::store_f32(s.scaled_out_grad.data() + r * dim + i, g);
        store(bias + i, load(bias + i) + g);
      }
    }
  }

  void mlp_backward(const BlockWeights& w, Saved& t, Workspace& s, WeightGrads& sums, int64_t active_index,
                    int64_t rows, const Row* row_list, const float* dy, bool weight_grads) {
    const int64_t dim = w.dim, tokens = t.tokens, hidden_size = w.hidden;
    float* const grads = sums.vectors.data();
    scale_out_grad(s, rows, row_list, dy, dim, grads + 5 * dim);
    const A* hidden = t.hidden.data() + active_index * tokens * hidden_size;
    float* const fc1_bias = grads + 6 * dim;
    gemm_blocked(
        s.scaled_out_grad.data(), rows, packed_[1][3],
        [&](int64_t row, int count, int64_t column) {
          prefetch_rows(hidden + row * hidden_size + column, count, hidden_size);
        },
        [&](int64_t row, int count, int64_t column, const float* tile) {
          for (int j = 0; j < kNR; j += PA3D_W) {
            vf sum = load(fc1_bias + column + j);
            for (int i = 0; i < count; ++i) {
              const int64_t offset = (row + i) * hidden_size + column + j;
              const vf z = load(hidden + offset),
                       gelu_grad = std::is_same_v<T, F32> ? vgelu_grad(z) : vgelu_grad_approx(z);
              const vf dz = load(tile + i * kNR + j) * gelu_grad;
              T::store_f32(s.fc1_or_qkv_grad.data() + offset, dz);
              if (weight_grads) T::store_f32(s.gelu_out.data() + offset, activate<ActFn::gelu, T>(z));
              sum += dz;
            }
            store(fc1_bias + column + j, sum);
          }
        });
    gemm_to_norm_grad(s, s.fc1_or_qkv_grad.data(), rows, packed_[1][2]);
    if (weight_grads) {
      s.dim_panels.pack(s.scaled_out_grad.data(), rows, dim, dim);
      s.hidden_panels.pack(s.gelu_out.data(), rows, hidden_size, hidden_size);
      sums.fc2.add(s.dim_panels, s.hidden_panels);
    }
    layer_norm_backward(s, t, 1, rows, row_list, w.gamma2, w.beta2, t.resid_mid.data(), dy, resid_mid_grad_.data(), dim,
                        grads + 3 * dim, weight_grads);
    if (weight_grads) {
      s.dim_panels.pack(s.ln_out.data(), rows, dim, dim);
      s.hidden_panels.pack(s.fc1_or_qkv_grad.data(), rows, hidden_size, hidden_size);
      sums.fc1.add(s.hidden_panels, s.dim_panels);
    }
  }

  void attention_backward(const BlockWeights& w, Saved& t, Workspace& s, WeightGrads& sums, int64_t active_index,
                          int64_t rows, const Row* row_list, float* dx, bool weight_grads) {
    const int64_t dim = w.dim, tokens = t.tokens;
    float* const grads = sums.vectors.data();
    scale_out_grad(s, rows, row_list, resid_mid_grad_.data(), dim, grads + 2 * dim);
    const A* attn_out = t.attn_out.data() + active_index * tokens * dim;
    const A* qkv = t.qkv.data() + active_index * tokens * 3 * dim;
    if (weight_grads) {
      s.dim_panels.pack(s.scaled_out_grad.data(), rows, dim, dim);
      s.hidden_panels.pack(attn_out, rows, dim, dim);
      sums.proj.add(s.dim_panels, s.hidden_panels);
    }
    gemm_blocked(s.scaled_out_grad.data(), rows, packed_[1][1], NoOp{},
                 [&](int64_t row, int count, int64_t column, const float* tile) {
                   for (int i = 0; i < count; ++i)
                     for (int j = 0; j < kNR; j += PA3D_W)
                       T::store_f32(s.attn_grad() + (row + i) * dim + column + j, load(tile + i * kNR + j));
                 });
    for (int64_t r = 0; r < rows; r += tokens)
      for (int64_t head = 0; head < w.heads; ++head)
        attention_head_backward<T>(qkv + r * 3 * dim, s.attn_grad() + r * dim, tokens, dim, head, dim / w.heads,
                                   s.attention_backward, s.fc1_or_qkv_grad.data() + r * 3 * dim);
    gemm_to_norm_grad(s, s.fc1_or_qkv_grad.data(), rows, packed_[1][0]);
    layer_norm_backward(s, t, 0, rows, row_list, w.gamma1, w.beta1, t.resid_in.data(), resid_mid_grad_.data(), dx, dim,
                        grads, weight_grads);
    if (weight_grads) {
      s.dim_panels.pack(s.ln_out.data(), rows, dim, dim);
      s.hidden_panels.pack(s.fc1_or_qkv_grad.data(), rows, 3 * dim, 3 * dim);
      sums.qkv.add(s.hidden_panels, s.dim_panels);
    }
  }

  // s.norm_grad (rows, dim) = A W
  void gemm_to_norm_grad(Workspace& s, const A* a, int64_t rows, const PackedWeight<T>& w) const {
    gemm_blocked(a, rows, w, NoOp{}, [&](int64_t row, int count, int64_t column, const float* tile) {
      for (int i = 0; i < count; ++i)
        std::memcpy(s.norm_grad.data() + (row + i) * w.n + column, tile + i * kNR, kNR * sizeof(float));
    });
  }

  // The backward pass of a branch's LayerNorm: out = base + dx. It also computes the forward output s.ln_out again.
  void layer_norm_backward(Workspace& s, Saved& t, int branch, int64_t rows, const Row* row_list, const float* gamma,
                           const float* beta, const float* input, const float* base, float* out, int64_t dim,
                           float* sums, bool weight_grads) const {
    for (int64_t r = 0; r < rows; ++r) {
      const int64_t row = row_list[r].index, offset = row * dim;
      const RowStats m = t.row_stats[branch].data()[row];
      if (weight_grads) layer_norm_row<T>(input + offset, dim, m, gamma, beta, s.ln_out.data() + r * dim);
      layer_norm_row_backward(input + offset, dim, m, gamma, s.norm_grad.data() + r * dim, base + offset, out + offset,
                              weight_grads ? sums : nullptr, sums + dim);
    }
  }

  void reduce(Team& team, GradAccumulator WeightGrads::* member, float* out) const {
    std::vector<const GradAccumulator*> all;
    for (const WeightGrads& g : weight_grads_) all.push_back(&(g.*member));
    team.run(all[0]->panels(), [&](int64_t panel, int) { GradAccumulator::reduce(all, panel, panel + 1, out); });
  }

  int threads_ = 1;
  PackedWeight<T> packed_[2][4];  // [transposed]: [0] for products with W^T, [1] with W; qkv, proj, fc1, fc2
  GrowOnlyBuffer<float> resid_mid_grad_;
  std::vector<Workspace> workspaces_;      // of the threads
  std::vector<WeightGrads> weight_grads_;  // of the groups
};

#if !PA3D_HAS_BF16
static std::unique_ptr<BlockTrainer> block_trainer_fp32() { return std::make_unique<BlockTrainerOf<F32>>(); }
#else
static std::unique_ptr<BlockTrainer> block_trainer_bf16() { return std::make_unique<BlockTrainerOf<BF16>>(); }
#endif

}  // namespace PA3D_NS
}  // namespace pa3d
