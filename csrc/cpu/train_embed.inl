namespace pa3d {
namespace PA3D_NS {

#include "vec.inl"
#include "math.inl"
#include "gemm.inl"
#include "gemm_tn.inl"

constexpr int64_t kPatchesPerStep = 4;  // patches whose rows share one product
// The patches are divided into so many ranges. Sums are those of the ranges, added in order, so they do not depend on
// the number of threads. They do with more threads than this.
constexpr int64_t kRanges = 8;

static inline vf relu_backward(vf activation, vf grad) { return activation > vf{} ? grad : vf{}; }

template <class T>
class EmbedTrainerOf : public EmbedTrainer {
  typedef typename T::Activation A;

  // The working memory of a range. Rows are those of kPatchesPerStep patches.
  struct Workspace {
    Buffer<A> x1, layer3_out;             // activations; backward() overwrites layer3_out with its gradient
    Buffer<float> pooled, max_term;       // maxima (width1), their product with w3_max (width2)
    Buffer<A> operand;                    // an operand of that product, or of its backward pass
    Buffer<float> partial;                // (2, width2) sums over these rows
    Buffer<float> dhidden, dx1, dpooled;  // gradients of the last layer's input (one patch), x1 and the maxima
    Buffer<float> w4_grad, w2_grad, w1_grad, b4_grad;  // w1_grad is (4, width0) with the bias
    RowPanels<T> x1_panels, dh_panels;
    GradAccumulator w3_local_grad;
    Buffer<double> total;  // (2, width2)
  };

 public:
  void moments(const PatchBatch& batch, const EmbedWeights& weights, int threads, double* sums) override {
    prepare(batch, weights, threads);
    h_.reserve(batch.patches * batch.size * width_[2]);
    pooled_.reserve(batch.patches * width_[1]);
    pooled_argmax_.reserve(batch.patches * width_[1]);
    // If squares of h itself were summed, rounding would destroy the variance. So the first row is subtracted from
    // every row, and the sums are corrected afterwards.
    center_.reserve(width_[2]);
    forward(workspaces_[0], 0, 1, workspaces_[0].pooled.data(), nullptr, [&](int64_t row, int64_t column, vf h) {
      if (row == 0) store(&center_[column], h);
    });
    for_each_range([&](Workspace& s, int64_t from, int64_t to) {
      std::fill_n(s.total.data(), 2 * width_[2], 0.0);
      for (int64_t p = from; p < to; p += kPatchesPerStep) {
        const int64_t patches = std::min(kPatchesPerStep, to - p);
        std::fill_n(s.partial.data(), 2 * width_[2], 0.0f);
        forward(s, p, patches, pooled_.data() + p * width_[1], pooled_argmax_.data() + p * width_[1],
                [&](int64_t row, int64_t column, vf h) {
                  T::store_f32(h_.data() + (p * m_ + row) * width_[2] + column, h);
                  float* sum = s.partial.data() + column;
                  const vf d = h - load(&center_[column]);
                  store(sum, load(sum) + d);
                  store(sum + width_[2], load(sum + width_[2]) + d * d);
                });
        for (int64_t i = 0; i < 2 * width_[2]; ++i) s.total[i] += static_cast<double>(s.partial[i]);
      }
    });
    sum_totals(sums);
    const double rows = static_cast<double>(patches_ * m_);
    for (int64_t i = 0; i < width_[2]; ++i) {
      const double center = static_cast<double>(center_[i]), sum = sums[i];
      sums[i] = sum + rows * center;
      sums[width_[2] + i] += center * (2 * sum + rows * center);
    }
  }

  void finish(const float* scale, const float* shift, float* out) override {
    set_affine(scale, shift);
    argmax_.reserve(patches_ * width_[3]);
    for_each_range([&](Workspace& s, int64_t from, int64_t to) {
      for (int64_t p = from; p < to; p += kPatchesPerStep) {
        const int64_t patches = std::min(kPatchesPerStep, to - p);
        activate_rows(h_.data() + p * m_ * width_[2], patches * m_, s.layer3_out.data());
        linear_max_pool(s.layer3_out.data(), width_[2], patches, w4_, out + p * width_[3],
                        argmax_.data() + p * width_[3]);
      }
    });
  }

  void infer(const PatchBatch& batch, const EmbedWeights& weights, const float* scale, const float* shift, int threads,
             float* out) override {
    prepare(batch, weights, threads);
    set_affine(scale, shift);
    for_each_range([&](Workspace& s, int64_t from, int64_t to) {
      for (int64_t p = from; p < to; p += kPatchesPerStep) {
        const int64_t patches = std::min(kPatchesPerStep, to - p);
        forward(s, p, patches, s.pooled.data(), nullptr, [&](int64_t row, int64_t column, vf h) {
          const vf y = h * load(&scale_[column]) + load(&shift_[column]);
          T::store_f32(s.layer3_out.data() + row * width_[2] + column, vmax(vf{}, y));
        });
        linear_max_pool(s.layer3_out.data(), width_[2], patches, w4_, out + p * width_[3], nullptr);
      }
    });
  }

  void backward_sums(const float* grad, double* sums, float* w4, float* b4) override {
    for (Workspace& s : workspaces_) {  // allocated here, because an exception must not leave the parallel region
      s.w4_grad.reserve(width_[3] * width_[2]);
      s.b4_grad.reserve(width_[3]);
    }
    for_each_range([&](Workspace& s, int64_t from, int64_t to) {
      std::fill_n(s.w4_grad.data(), width_[3] * width_[2], 0.0f);
      std::fill_n(s.b4_grad.data(), width_[3], 0.0f);
      std::fill_n(s.total.data(), 2 * width_[2], 0.0);
      for (int64_t p = from; p < to; p += kPatchesPerStep) {
        const int64_t patches = std::min(kPatchesPerStep, to - p);
        std::fill_n(s.partial.data(), 2 * width_[2], 0.0f);
        for (int64_t q = p; q < p + patches; ++q) {
          const A* hidden = h_.data() + q * m_ * width_[2];
          A* rows_out = s.layer3_out.data() + (q - p) * m_ * width_[2];
          activate_rows(hidden, m_, rows_out);
          max_pool_backward(s, grad, q);
          for (int64_t c = 0; c < width_[2]; c += PA3D_W) {
            vf sum = load(&s.partial[c]), product = load(&s.partial[width_[2] + c]);
            for (int64_t r = 0; r < m_; ++r) {
              const vf dy = relu_backward(load(rows_out + r * width_[2] + c), load(&s.dhidden[r * width_[2] + c]));
              sum += dy;
              product += dy * load(hidden + r * width_[2] + c);
            }
            store(&s.partial[c], sum);
            store(&s.partial[width_[2] + c], product);
          }
        }
        accumulate_weight_grad(grad + p * width_[3], argmax_.data() + p * width_[3], patches, width_[3],
                               s.layer3_out.data(), width_[2], s.w4_grad.data());
        for (int64_t q = p; q < p + patches; ++q)
          for (int64_t i = 0; i < width_[3]; ++i) s.b4_grad[i] += grad[q * width_[3] + i];
        for (int64_t i = 0; i < 2 * width_[2]; ++i) s.total[i] += static_cast<double>(s.partial[i]);
      }
    });
    sum_totals(sums);
    sum_over_ranges(&Workspace::w4_grad, width_[3] * width_[2], w4);
    sum_over_ranges(&Workspace::b4_grad, width_[3], b4);
  }

  void backward(const float* grad, const float* a, const float* b, const float* c, const EmbedGradients& out) override {
    const int64_t width0 = width_[0], width1 = width_[1], width2 = width_[2];
    std::copy_n(pooled_.data(), patches_ * width1, out.pooled);
    for (Workspace& s : workspaces_) {
      s.w2_grad.reserve(width1 * width0);
      s.w1_grad.reserve(4 * width0);
      s.w3_local_grad.reset(width2, width0);
    }
    for_each_range([&](Workspace& s, int64_t from, int64_t to) {
      std::fill_n(s.w2_grad.data(), width1 * width0, 0.0f);
      std::fill_n(s.w1_grad.data(), 4 * width0, 0.0f);
      for (int64_t p = from; p < to; p += kPatchesPerStep) {
        const int64_t patches = std::min(kPatchesPerStep, to - p), rows = patches * m_;
        first_layer(s, p, patches);
        s.x1_panels.pack(s.x1.data(), rows, width0, width0);
        s.dh_panels.set_shape(rows, width2);
        for (int64_t q = 0; q < patches; ++q) {
          max_pool_backward(s, grad, p + q);
          const A* hidden = h_.data() + (p + q) * m_ * width2;
          for (int64_t i = 0; i < width2; i += PA3D_W) {
            const vf scale = load(&scale_[i]), shift = load(&shift_[i]);
            const vf va = load(a + i), vb = load(b + i), vc = load(c + i);
            vf sum = vf{};
            for (int64_t r = 0; r < m_; r += 2) {
              vf dh[2];
              for (int j = 0; j < 2; ++j) {
                const vf h = load(hidden + (r + j) * width2 + i);
                const vf dy = relu_backward(h * scale + shift, load(&s.dhidden[(r + j) * width2 + i]));
                dh[j] = va * dy + (vb * h + vc);
                sum += dh[j];
                T::store_f32(s.layer3_out.data() + (q * m_ + r + j) * width2 + i, dh[j]);
              }
              store_row_pair<T>(s.dh_panels.panel(i / kNR) + (q * m_ + r) * kNR + i % kNR * T::kPack, dh[0], dh[1]);
            }
            store(out.grad_max_term + (p + q) * width2 + i, sum);
          }
        }
        s.w3_local_grad.add(s.dh_panels, s.x1_panels);
        linear<T, F32, ActFn::none>({s.layer3_out.data(), width2, nullptr, nullptr}, rows, w3_local_transposed_, 0,
                                    w3_local_transposed_.panels, s.dx1.data(), width0);
        linear<T, F32, ActFn::none>(pooled_operand(s, out.grad_max_term + p * width2, patches, width2), patches,
                                    w3_max_transposed_, 0, w3_max_transposed_.panels, s.dpooled.data(), width1);
        const int32_t* argmax = pooled_argmax_.data() + p * width1;
        for (int64_t q = 0; q < patches; ++q)
          scatter_add_rows(s.dpooled.data() + q * width1, argmax + q * width1, width1, w2_rows_.data(), width0,
                           s.dx1.data() + q * m_ * width0);
        accumulate_weight_grad(s.dpooled.data(), argmax, patches, width1, s.x1.data(), width0, s.w2_grad.data());
        const float* xyz = batch_.rows + 3 * p * m_;
        for (int64_t i = 0; i < width0; i += PA3D_W) {
          vf sum[4];
          for (int j = 0; j < 4; ++j) sum[j] = load(&s.w1_grad[j * width0 + i]);
          for (int64_t r = 0; r < rows; ++r) {
            const vf dx = relu_backward(load(&s.x1[r * width0 + i]), load(&s.dx1[r * width0 + i]));
            for (int j = 0; j < 3; ++j) sum[j] += dx * splat(xyz[3 * r + j]);
            sum[3] += dx;
          }
          for (int j = 0; j < 4; ++j) store(&s.w1_grad[j * width0 + i], sum[j]);
        }
      }
    });
    std::vector<const GradAccumulator*> accumulators;
    for (const Workspace& s : workspaces_) accumulators.push_back(&s.w3_local_grad);
    parallel_for(width2 / kNR, 1, threads_,
                 [&](int64_t from, int64_t to) { GradAccumulator::reduce(accumulators, from, to, out.w3_local); });
    sum_over_ranges(&Workspace::w2_grad, width1 * width0, out.w2);
    std::vector<float> w1_grad(4 * width0);
    sum_over_ranges(&Workspace::w1_grad, 4 * width0, w1_grad.data());
    for (int64_t i = 0; i < width0; ++i) {
      for (int j = 0; j < 3; ++j) out.w1[3 * i + j] = w1_grad[j * width0 + i];
      out.b1[i] = w1_grad[3 * width0 + i];
    }
  }

 private:
  void prepare(const PatchBatch& batch, const EmbedWeights& w, int threads) {
    threads_ = resolve_threads(threads);
    batch_ = batch;
    patches_ = batch.patches, m_ = batch.size;
    std::copy_n(w.width, 4, width_);
    const int64_t width0 = width_[0];
    w1_.reserve(4 * width0);
    for (int64_t i = 0; i < width0; ++i) {
      for (int j = 0; j < 3; ++j) w1_[j * width0 + i] = w.w1[3 * i + j];
      w1_[3 * width0 + i] = w.b1[i];
    }
    w2_.pack(w.w2, width_[1], width0, width0, nullptr);
    w3_local_.pack(w.w3_local, width_[2], width0, width0, nullptr);
    w3_max_.pack(w.w3_max, width_[2], width_[1], width_[1], nullptr);
    w4_.pack(w.w4, width_[3], width_[2], width_[2], w.b4);
    w3_local_transposed_.resize(width0, width_[2], nullptr);
    pack_panels_no_trans(w.w3_local, 0, w3_local_transposed_.panels, w3_local_transposed_);
    w3_max_transposed_.resize(width_[1], width_[2], nullptr);
    pack_panels_no_trans(w.w3_max, 0, w3_max_transposed_.panels, w3_max_transposed_);
    to_operand(w.w4, width_[3] * width_[2], w4_rows_);
    to_operand(w.w2, width_[1] * width0, w2_rows_);
    workspaces_.resize(std::max<int64_t>(kRanges, threads_));
    const int64_t rows = kPatchesPerStep * m_;
    for (Workspace& s : workspaces_) {
      s.x1.reserve(rows * width0);
      s.layer3_out.reserve(rows * width_[2]);
      s.pooled.reserve(kPatchesPerStep * width_[1]);
      s.operand.reserve(kPatchesPerStep * std::max(width_[1], width_[2]));
      s.max_term.reserve(kPatchesPerStep * width_[2]);
      s.partial.reserve(2 * width_[2]);
      s.dhidden.reserve(m_ * width_[2]);
      s.dx1.reserve(rows * width0);
      s.dpooled.reserve(kPatchesPerStep * width_[1]);
      s.x1_panels.reserve(rows, width0);
      s.dh_panels.reserve(rows, width_[2]);
      s.total.reserve(2 * width_[2]);
    }
  }

  static ActivationView<T> pooled_operand(Workspace& s, const float* rows, int64_t count, int64_t width) {
    to_operand(rows, count * width, s.operand);
    return {s.operand.data(), width, nullptr, nullptr};
  }

  static void to_operand(const float* from, int64_t n, Buffer<A>& to) {
    to.reserve(n);
    for (int64_t i = 0; i < n; i += PA3D_W) T::store_f32(to.data() + i, load(from + i));
  }

  void set_affine(const float* scale, const float* shift) {
    scale_.reserve(width_[2]);
    shift_.reserve(width_[2]);
    std::copy_n(scale, width_[2], scale_.data());
    std::copy_n(shift, width_[2], shift_.data());
  }

  // Calls body(workspace, from, to) for every range of patches.
  template <class Body>
  void for_each_range(const Body& body) {
    const int64_t ranges = static_cast<int64_t>(workspaces_.size());
    Team team(threads_);
    team.run(ranges, [&](int64_t range, int) {
      int64_t from, to;
      partition(patches_, range, ranges, &from, &to);
      body(workspaces_[range], from, to);
    });
  }

  void first_layer(Workspace& s, int64_t p, int64_t patches) {
    const int64_t width0 = width_[0];
    const float* xyz = batch_.rows + 3 * p * m_;
    for (int64_t r = 0; r < patches * m_; ++r, xyz += 3) {
      const vf x = splat(xyz[0]), y = splat(xyz[1]), z = splat(xyz[2]);
      for (int64_t i = 0; i < width0; i += PA3D_W) {
        const vf v = load(&w1_[i]) * x + load(&w1_[width0 + i]) * y + load(&w1_[2 * width0 + i]) * z;
        T::store_f32(s.x1.data() + r * width0 + i, vmax(vf{}, v + load(&w1_[3 * width0 + i])));
      }
    }
  }

  // Calls visit(row, column, h) for every vector of h.
  template <class Visit>
  void forward(Workspace& s, int64_t p, int64_t patches, float* pooled, int32_t* argmax, const Visit& visit) {
    first_layer(s, p, patches);
    linear_max_pool(s.x1.data(), width_[0], patches, w2_, pooled, argmax);
    linear<T, F32, ActFn::none>(pooled_operand(s, pooled, patches, width_[1]), patches, w3_max_, 0, w3_max_.panels,
                                s.max_term.data(), width_[2]);
    gemm<T>({s.x1.data(), width_[0], nullptr, nullptr}, patches * m_, w3_local_, 0, w3_local_.panels,
            [&](int64_t row, int count, int64_t column, const float* tile) {
              for (int j = 0; j < kNR; j += PA3D_W)
                for (int i = 0; i < count; ++i)
                  visit(row + i, column + j,
                        load(tile + i * kNR + j) + load(&s.max_term[(row + i) / m_ * width_[2] + column + j]));
            });
  }

  void activate_rows(const A* hidden, int64_t rows, A* out) const {
    for (int64_t r = 0; r < rows; ++r)
      for (int64_t i = 0; i < width_[2]; i += PA3D_W)
        T::store_f32(out + r * width_[2] + i,
                     vmax(vf{}, load(hidden + r * width_[2] + i) * load(&scale_[i]) + load(&shift_[i])));
  }

  // out (patches, n): maximum over each patch of a linear layer. argmax: the row that has it, the first if several are
  // equal.
  void linear_max_pool(const A* rows, int64_t stride, int64_t patches, const PackedWeight<T>& w, float* out,
                       int32_t* argmax) const {
    vf max_lanes[kNV];
    vi argmax_lanes[kNV];
    for (int64_t p = 0; p < w.panels; ++p) {
      int64_t offset = p * kNR, rows_seen = 0;  // rows_seen: rows of the current patch
      gemm<T>({const_cast<A*>(rows), stride, nullptr, nullptr}, patches * m_, w, p, p + 1,
              [&](int64_t, int count, int64_t column, const float* tile) {
                for (int i = 0; i < count; ++i, tile += kNR) {
                  for (int j = 0; j < kNV; ++j) {
                    const vf v = load(tile + j * PA3D_W);
                    argmax_lanes[j] = rows_seen == 0     ? vi{}
                                      : v > max_lanes[j] ? splat(static_cast<int32_t>(rows_seen))
                                                         : argmax_lanes[j];
                    max_lanes[j] = rows_seen == 0 ? v : vmax(v, max_lanes[j]);
                  }
                  if (++rows_seen < m_) continue;
                  for (int j = 0; j < kNV; ++j) {
                    store(out + offset + j * PA3D_W, max_lanes[j] + load(w.bias.data() + column + j * PA3D_W));
                    if (argmax != nullptr) store(argmax + offset + j * PA3D_W, argmax_lanes[j]);
                  }
                  offset += w.n;
                  rows_seen = 0;
                }
              });
    }
  }

  // s.dhidden (m, width2): gradient of the last layer's input in patch p.
  void max_pool_backward(Workspace& s, const float* grad, int64_t p) const {
    std::fill_n(s.dhidden.data(), m_ * width_[2], 0.0f);
    scatter_add_rows(grad + p * width_[3], argmax_.data() + p * width_[3], width_[3], w4_rows_.data(), width_[2],
                     s.dhidden.data());
  }

  static constexpr int kVectorsPerPass = 8;  // vectors of a row that stay in registers

  // out[argmax[i]] += grad[i] * rows[i], rows of width n.
  static void scatter_add_rows(const float* grad, const int32_t* argmax, int64_t count, const A* rows, int64_t n,
                               float* out) {
    for (int64_t c = 0; c < n; c += kVectorsPerPass * PA3D_W) {
      const int64_t end = std::min<int64_t>(n, c + kVectorsPerPass * PA3D_W);
      for (int64_t i = 0; i < count; ++i) {
        const vf g = splat(grad[i]);
        float* to = out + argmax[i] * n;
        const A* from = rows + i * n;
        for (int64_t j = c; j < end; j += PA3D_W) store(to + j, load(to + j) + g * load(from + j));
      }
    }
  }

  // out (count, n): out[i] += sum over patches p of grad[p, i] * rows[p, argmax[p, i]].
  void accumulate_weight_grad(const float* grad, const int32_t* argmax, int64_t patches, int64_t count, const A* rows,
                              int64_t n, float* out) const {
    for (int64_t i = 0; i < count; ++i)
      for (int64_t c = 0; c < n; c += kVectorsPerPass * PA3D_W) {
        const int vectors = static_cast<int>(std::min<int64_t>(kVectorsPerPass, (n - c) / PA3D_W));
        vf sum[kVectorsPerPass];
        for (int j = 0; j < vectors; ++j) sum[j] = load(out + i * n + c + j * PA3D_W);
        for (int64_t p = 0; p < patches; ++p) {
          const vf g = splat(grad[p * count + i]);
          const A* row = rows + (p * m_ + argmax[p * count + i]) * n + c;
          for (int j = 0; j < vectors; ++j) sum[j] += g * load(row + j * PA3D_W);
        }
        for (int j = 0; j < vectors; ++j) store(out + i * n + c + j * PA3D_W, sum[j]);
      }
  }

  void sum_totals(double* sums) const {
    std::fill_n(sums, 2 * width_[2], 0.0);
    for (const Workspace& s : workspaces_)
      for (int64_t i = 0; i < 2 * width_[2]; ++i) sums[i] += s.total[i];
  }

  void sum_over_ranges(Buffer<float> Workspace::* member, int64_t n, float* out) const {
    std::copy_n((workspaces_[0].*member).data(), n, out);
    for (size_t id = 1; id < workspaces_.size(); ++id)
      for (int64_t i = 0; i < n; ++i) out[i] += (workspaces_[id].*member)[i];
  }

  int threads_ = 1;
  PatchBatch batch_{};
  int64_t patches_ = 0, m_ = 0, width_[4] = {};
  Buffer<float> w1_, scale_, shift_, center_;  // w1_ (4, width0) with the bias
  PackedWeight<T> w2_, w3_local_, w3_max_, w4_, w3_local_transposed_, w3_max_transposed_;
  Buffer<A> w4_rows_, w2_rows_;
  GrowOnlyBuffer<A> h_;           // h (patches, m, width2)
  GrowOnlyBuffer<float> pooled_;  // (patches, width1)
  GrowOnlyBuffer<int32_t> argmax_, pooled_argmax_;
  std::vector<Workspace> workspaces_;
};

#if !PA3D_HAS_BF16
static std::unique_ptr<EmbedTrainer> embed_trainer_fp32() { return std::make_unique<EmbedTrainerOf<F32>>(); }
#else
static std::unique_ptr<EmbedTrainer> embed_trainer_bf16() { return std::make_unique<EmbedTrainerOf<BF16>>(); }
#endif

}  // namespace PA3D_NS
}  // namespace pa3d
