namespace pa3d {
namespace PA3D_NS {

#include "vec.inl"
#include "math.inl"
#include "gemm.inl"
#include "outer.inl"

constexpr int64_t kPatchesPerStep = 4;  // patches whose rows share one product

static inline vf relu_backward(vf of, vf value) { return of > vf{} ? value : vf{}; }

template <class T>
class EmbedTrainingOf : public EmbedTraining {
  typedef typename T::A A;

  // What a thread works with; the rows are those of kPatchesPerStep patches.
  struct Scratch {
    Buffer<A> x1, wide;                       // activations, and gradients of `wide` in the same place
    Buffer<float> pooled, offset;             // maxima (w1), their product (w2)
    Buffer<A> operand;                        // an operand of that product, or of its backward pass
    Buffer<float> partial;                    // (2, w2) sums over these rows
    Buffer<float> dhidden, dx1, dpooled;      // gradients: at the last layer's input (of one patch), x1, maxima
    Buffer<float> last, second, first, bias;  // gradients of weights; first is (4, w0) with the bias
    RowPanels<T> x1_panels, dh_panels;
    GradAccumulator merged;
    Buffer<double> total;  // (2, w2)
  };

 public:
  void moments(const PatchBatch& batch, const EmbedWeights& weights, int threads, double* sums) override {
    prepare(batch, weights, threads);
    h_.reserve(batch.patches * batch.size * w_[2]);
    pooled_.reserve(batch.patches * w_[1]);
    pooled_argmax_.reserve(batch.patches * w_[1]);
    // Sums of squares about zero would lose the variance to rounding: they are taken about the first row and moved
    // afterwards.
    center_.reserve(w_[2]);
    forward(scratch_[0], 0, 1, scratch_[0].pooled.data(), nullptr, [&](int64_t row, int64_t column, vf h) {
      if (row == 0) store(&center_[column], h);
    });
    for_each_range([&](Scratch& s, int64_t from, int64_t to) {
      std::fill_n(s.total.data(), 2 * w_[2], 0.0);
      for (int64_t p = from; p < to; p += kPatchesPerStep) {
        const int64_t patches = std::min(kPatchesPerStep, to - p);
        std::fill_n(s.partial.data(), 2 * w_[2], 0.0f);
        forward(s, p, patches, pooled_.data() + p * w_[1], pooled_argmax_.data() + p * w_[1],
                [&](int64_t row, int64_t column, vf h) {
                  T::store_f32(h_.data() + (p * m_ + row) * w_[2] + column, h);
                  float* sum = s.partial.data() + column;
                  const vf d = h - load(&center_[column]);
                  store(sum, load(sum) + d);
                  store(sum + w_[2], load(sum + w_[2]) + d * d);
                });
        for (int64_t i = 0; i < 2 * w_[2]; ++i) s.total[i] += static_cast<double>(s.partial[i]);
      }
    });
    sum_totals(sums);
    const double rows = static_cast<double>(patches_ * m_);
    for (int64_t i = 0; i < w_[2]; ++i) {
      const double center = static_cast<double>(center_[i]), sum = sums[i];
      sums[i] = sum + rows * center;
      sums[w_[2] + i] += center * (2 * sum + rows * center);
    }
  }

  void finish(const float* scale, const float* shift, float* out) override {
    set_affine(scale, shift);
    argmax_.reserve(patches_ * w_[3]);
    for_each_range([&](Scratch& s, int64_t from, int64_t to) {
      for (int64_t p = from; p < to; p += kPatchesPerStep) {
        const int64_t patches = std::min(kPatchesPerStep, to - p);
        activate_rows(h_.data() + p * m_ * w_[2], patches * m_, s.wide.data());
        linear_max_pool(s.wide.data(), w_[2], patches, last_, out + p * w_[3], argmax_.data() + p * w_[3]);
      }
    });
  }

  void infer(const PatchBatch& batch, const EmbedWeights& weights, const float* scale, const float* shift, int threads,
             float* out) override {
    prepare(batch, weights, threads);
    set_affine(scale, shift);
    for_each_range([&](Scratch& s, int64_t from, int64_t to) {
      for (int64_t p = from; p < to; p += kPatchesPerStep) {
        const int64_t patches = std::min(kPatchesPerStep, to - p);
        forward(s, p, patches, s.pooled.data(), nullptr, [&](int64_t row, int64_t column, vf h) {
          const vf y = h * load(&scale_[column]) + load(&shift_[column]);
          T::store_f32(s.wide.data() + row * w_[2] + column, vmax(vf{}, y));
        });
        linear_max_pool(s.wide.data(), w_[2], patches, last_, out + p * w_[3], nullptr);
      }
    });
  }

  void backward_sums(const float* grad, double* sums, float* last, float* last_bias) override {
    for (Scratch& s : scratch_) {  // allocated here: an exception must not leave the parallel region
      s.last.reserve(w_[3] * w_[2]);
      s.bias.reserve(w_[3]);
    }
    for_each_range([&](Scratch& s, int64_t from, int64_t to) {
      std::fill_n(s.last.data(), w_[3] * w_[2], 0.0f);
      std::fill_n(s.bias.data(), w_[3], 0.0f);
      std::fill_n(s.total.data(), 2 * w_[2], 0.0);
      for (int64_t p = from; p < to; p += kPatchesPerStep) {
        const int64_t patches = std::min(kPatchesPerStep, to - p);
        std::fill_n(s.partial.data(), 2 * w_[2], 0.0f);
        for (int64_t q = p; q < p + patches; ++q) {
          const A* hidden = h_.data() + q * m_ * w_[2];
          A* wide = s.wide.data() + (q - p) * m_ * w_[2];
          activate_rows(hidden, m_, wide);
          max_pool_backward(s, grad, q);
          for (int64_t c = 0; c < w_[2]; c += PA3D_W) {
            vf sum = load(&s.partial[c]), product = load(&s.partial[w_[2] + c]);
            for (int64_t r = 0; r < m_; ++r) {
              const vf dy = relu_backward(load(wide + r * w_[2] + c), load(&s.dhidden[r * w_[2] + c]));
              sum += dy;
              product += dy * load(hidden + r * w_[2] + c);
            }
            store(&s.partial[c], sum);
            store(&s.partial[w_[2] + c], product);
          }
        }
        accumulate_weight_grad(grad + p * w_[3], argmax_.data() + p * w_[3], patches, w_[3], s.wide.data(), w_[2],
                               s.last.data());
        for (int64_t q = p; q < p + patches; ++q)
          for (int64_t i = 0; i < w_[3]; ++i) s.bias[i] += grad[q * w_[3] + i];
        for (int64_t i = 0; i < 2 * w_[2]; ++i) s.total[i] += static_cast<double>(s.partial[i]);
      }
    });
    sum_totals(sums);
    sum_over_threads(&Scratch::last, w_[3] * w_[2], last);
    sum_over_threads(&Scratch::bias, w_[3], last_bias);
  }

  void backward(const float* grad, const float* a, const float* b, const float* c, const EmbedGradients& out) override {
    const int64_t w0 = w_[0], w1 = w_[1], w2 = w_[2];
    std::copy_n(pooled_.data(), patches_ * w1, out.pooled);
    for (Scratch& s : scratch_) {
      s.second.reserve(w1 * w0);
      s.first.reserve(4 * w0);
      s.merged.reset(w2, w0);
    }
    for_each_range([&](Scratch& s, int64_t from, int64_t to) {
      std::fill_n(s.second.data(), w1 * w0, 0.0f);
      std::fill_n(s.first.data(), 4 * w0, 0.0f);
      for (int64_t p = from; p < to; p += kPatchesPerStep) {
        const int64_t patches = std::min(kPatchesPerStep, to - p), rows = patches * m_;
        first_layer(s, p, patches);
        s.x1_panels.pack(s.x1.data(), rows, w0, w0);
        s.dh_panels.set_shape(rows, w2);
        for (int64_t q = 0; q < patches; ++q) {
          max_pool_backward(s, grad, p + q);
          const A* hidden = h_.data() + (p + q) * m_ * w2;
          for (int64_t i = 0; i < w2; i += PA3D_W) {
            const vf scale = load(&scale_[i]), shift = load(&shift_[i]);
            const vf va = load(a + i), vb = load(b + i), vc = load(c + i);
            vf sum = vf{};
            for (int64_t r = 0; r < m_; r += 2) {
              vf dh[2];
              for (int j = 0; j < 2; ++j) {
                const vf h = load(hidden + (r + j) * w2 + i);
                const vf dy = relu_backward(h * scale + shift, load(&s.dhidden[(r + j) * w2 + i]));
                dh[j] = va * dy + (vb * h + vc);
                sum += dh[j];
                T::store_f32(s.wide.data() + (q * m_ + r + j) * w2 + i, dh[j]);
              }
              store_row_pair<T>(s.dh_panels.panel(i / kNR) + (q * m_ + r) * kNR + i % kNR * T::kPack, dh[0], dh[1]);
            }
            store(out.sums + (p + q) * w2 + i, sum);
          }
        }
        s.merged.add(s.dh_panels, s.x1_panels);
        linear<T, F32, Activation::none>({s.wide.data(), w2, nullptr, nullptr}, rows, merged_back_, 0,
                                         merged_back_.panels, s.dx1.data(), w0);
        linear<T, F32, Activation::none>(pooled_operand(s, out.sums + p * w2, patches, w2), patches, pooling_back_, 0,
                                         pooling_back_.panels, s.dpooled.data(), w1);
        const int32_t* argmax = pooled_argmax_.data() + p * w1;
        for (int64_t q = 0; q < patches; ++q)
          scatter_add_rows(s.dpooled.data() + q * w1, argmax + q * w1, w1, second_rows_.data(), w0,
                           s.dx1.data() + q * m_ * w0);
        accumulate_weight_grad(s.dpooled.data(), argmax, patches, w1, s.x1.data(), w0, s.second.data());
        const float* xyz = batch_.rows + 3 * p * m_;
        for (int64_t i = 0; i < w0; i += PA3D_W) {
          vf sum[4];
          for (int j = 0; j < 4; ++j) sum[j] = load(&s.first[j * w0 + i]);
          for (int64_t r = 0; r < rows; ++r) {
            const vf dx = relu_backward(load(&s.x1[r * w0 + i]), load(&s.dx1[r * w0 + i]));
            for (int j = 0; j < 3; ++j) sum[j] += dx * splat(xyz[3 * r + j]);
            sum[3] += dx;
          }
          for (int j = 0; j < 4; ++j) store(&s.first[j * w0 + i], sum[j]);
        }
      }
    });
    std::vector<const GradAccumulator*> merged;
    for (const Scratch& s : scratch_) merged.push_back(&s.merged);
    parallel_for(w2 / kNR, 1, threads_,
                 [&](int64_t from, int64_t to) { GradAccumulator::reduce(merged, from, to, out.merged); });
    sum_over_threads(&Scratch::second, w1 * w0, out.second);
    std::vector<float> first(4 * w0);
    sum_over_threads(&Scratch::first, 4 * w0, first.data());
    for (int64_t i = 0; i < w0; ++i) {
      for (int j = 0; j < 3; ++j) out.first[3 * i + j] = first[j * w0 + i];
      out.first_bias[i] = first[3 * w0 + i];
    }
  }

 private:
  void prepare(const PatchBatch& batch, const EmbedWeights& w, int threads) {
    threads_ = resolve_threads(threads);
    batch_ = batch;
    patches_ = batch.patches, m_ = batch.size;
    std::copy_n(w.width, 4, w_);
    const int64_t w0 = w_[0];
    first_.reserve(4 * w0);
    for (int64_t i = 0; i < w0; ++i) {
      for (int j = 0; j < 3; ++j) first_[j * w0 + i] = w.first[3 * i + j];
      first_[3 * w0 + i] = w.first_bias[i];
    }
    second_.pack(w.second, w_[1], w0, w0, nullptr);
    merged_.pack(w.merged, w_[2], w0, w0, nullptr);
    pooling_.pack(w.pooling, w_[2], w_[1], w_[1], nullptr);
    last_.pack(w.last, w_[3], w_[2], w_[2], w.last_bias);
    merged_back_.resize(w0, w_[2], nullptr);
    pack_panels_no_trans(w.merged, 0, merged_back_.panels, merged_back_);
    pooling_back_.resize(w_[1], w_[2], nullptr);
    pack_panels_no_trans(w.pooling, 0, pooling_back_.panels, pooling_back_);
    to_operand(w.last, w_[3] * w_[2], last_rows_);
    to_operand(w.second, w_[1] * w0, second_rows_);
    scratch_.resize(threads_);
    const int64_t rows = kPatchesPerStep * m_;
    for (Scratch& s : scratch_) {
      s.x1.reserve(rows * w0);
      s.wide.reserve(rows * w_[2]);
      s.pooled.reserve(kPatchesPerStep * w_[1]);
      s.operand.reserve(kPatchesPerStep * std::max(w_[1], w_[2]));
      s.offset.reserve(kPatchesPerStep * w_[2]);
      s.partial.reserve(2 * w_[2]);
      s.dhidden.reserve(m_ * w_[2]);
      s.dx1.reserve(rows * w0);
      s.dpooled.reserve(kPatchesPerStep * w_[1]);
      s.x1_panels.reserve(rows, w0);
      s.dh_panels.reserve(rows, w_[2]);
      s.total.reserve(2 * w_[2]);
    }
  }

  static Rows<T> pooled_operand(Scratch& s, const float* rows, int64_t count, int64_t width) {
    to_operand(rows, count * width, s.operand);
    return {s.operand.data(), width, nullptr, nullptr};
  }

  static void to_operand(const float* from, int64_t n, Buffer<A>& to) {
    to.reserve(n);
    for (int64_t i = 0; i < n; i += PA3D_W) T::store_f32(to.data() + i, load(from + i));
  }

  void set_affine(const float* scale, const float* shift) {
    scale_.reserve(w_[2]);
    shift_.reserve(w_[2]);
    std::copy_n(scale, w_[2], scale_.data());
    std::copy_n(shift, w_[2], shift_.data());
  }

  // body(scratch, from, to) for a range of patches per thread; the ranges depend on threads_ alone.
  template <class Body>
  void for_each_range(const Body& body) {
#ifdef _OPENMP
#pragma omp parallel num_threads(threads_)
#endif
    for (int id = thread_id(); id < threads_; id += team_size()) {
      int64_t from, to;
      partition(patches_, id, threads_, &from, &to);
      body(scratch_[id], from, to);
    }
  }

  void first_layer(Scratch& s, int64_t p, int64_t patches) {
    const int64_t w0 = w_[0];
    const float* xyz = batch_.rows + 3 * p * m_;
    for (int64_t r = 0; r < patches * m_; ++r, xyz += 3) {
      const vf x = splat(xyz[0]), y = splat(xyz[1]), z = splat(xyz[2]);
      for (int64_t i = 0; i < w0; i += PA3D_W) {
        const vf v = load(&first_[i]) * x + load(&first_[w0 + i]) * y + load(&first_[2 * w0 + i]) * z;
        T::store_f32(s.x1.data() + r * w0 + i, vmax(vf{}, v + load(&first_[3 * w0 + i])));
      }
    }
  }

  // use(row, column, h) for every vector of h.
  template <class Use>
  void forward(Scratch& s, int64_t p, int64_t patches, float* pooled, int32_t* argmax, const Use& use) {
    first_layer(s, p, patches);
    linear_max_pool(s.x1.data(), w_[0], patches, second_, pooled, argmax);
    linear<T, F32, Activation::none>(pooled_operand(s, pooled, patches, w_[1]), patches, pooling_, 0, pooling_.panels,
                                     s.offset.data(), w_[2]);
    gemm<T>({s.x1.data(), w_[0], nullptr, nullptr}, patches * m_, merged_, 0, merged_.panels,
            [&](int64_t row, int count, int64_t column, const float* tile) {
              for (int j = 0; j < kNR; j += PA3D_W)
                for (int i = 0; i < count; ++i)
                  use(row + i, column + j,
                      load(tile + i * kNR + j) + load(&s.offset[(row + i) / m_ * w_[2] + column + j]));
            });
  }

  void activate_rows(const A* hidden, int64_t rows, A* out) const {
    for (int64_t r = 0; r < rows; ++r)
      for (int64_t i = 0; i < w_[2]; i += PA3D_W)
        T::store_f32(out + r * w_[2] + i,
                     vmax(vf{}, load(hidden + r * w_[2] + i) * load(&scale_[i]) + load(&shift_[i])));
  }

  // out (patches, n): maximum over each patch of a linear layer, and argmax, the row that has it, the first among
  // equals.
  void linear_max_pool(const A* rows, int64_t stride, int64_t patches, const Packed<T>& w, float* out,
                       int32_t* argmax) const {
    vf max_lanes[kNV];
    vi from[kNV];
    for (int64_t p = 0; p < w.panels; ++p) {
      int64_t at = p * kNR, rows_seen = 0;  // rows_seen: rows of the current patch
      gemm<T>(
          {const_cast<A*>(rows), stride, nullptr, nullptr}, patches * m_, w, p, p + 1,
          [&](int64_t, int count, int64_t column, const float* tile) {
            for (int i = 0; i < count; ++i, tile += kNR) {
              for (int j = 0; j < kNV; ++j) {
                const vf v = load(tile + j * PA3D_W);
                from[j] = rows_seen == 0 ? vi{} : v > max_lanes[j] ? splat(static_cast<int32_t>(rows_seen)) : from[j];
                max_lanes[j] = rows_seen == 0 ? v : vmax(v, max_lanes[j]);
              }
              if (++rows_seen < m_) continue;
              for (int j = 0; j < kNV; ++j) {
                store(out + at + j * PA3D_W, max_lanes[j] + load(w.bias.data() + column + j * PA3D_W));
                if (argmax != nullptr) store(argmax + at + j * PA3D_W, from[j]);
              }
              at += w.n;
              rows_seen = 0;
            }
          });
    }
  }

  // s.dhidden (m, w2): gradient at the input of the last layer, in patch p.
  void max_pool_backward(Scratch& s, const float* grad, int64_t p) const {
    std::fill_n(s.dhidden.data(), m_ * w_[2], 0.0f);
    scatter_add_rows(grad + p * w_[3], argmax_.data() + p * w_[3], w_[3], last_rows_.data(), w_[2], s.dhidden.data());
  }

  static constexpr int kVectorsPerPass = 8;  // of a row: as many as stay in registers

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
    std::fill_n(sums, 2 * w_[2], 0.0);
    for (const Scratch& s : scratch_)
      for (int64_t i = 0; i < 2 * w_[2]; ++i) sums[i] += s.total[i];
  }

  void sum_over_threads(Buffer<float> Scratch::* what, int64_t n, float* out) const {
    std::copy_n((scratch_[0].*what).data(), n, out);
    for (size_t id = 1; id < scratch_.size(); ++id)
      for (int64_t i = 0; i < n; ++i) out[i] += (scratch_[id].*what)[i];
  }

  int threads_ = 1;
  PatchBatch batch_{};
  int64_t patches_ = 0, m_ = 0, w_[4] = {};
  Buffer<float> first_, scale_, shift_, center_;  // first_ (4, w0) with the bias
  Packed<T> second_, merged_, pooling_, last_, merged_back_, pooling_back_;
  Buffer<A> last_rows_, second_rows_;
  GrowOnlyBuffer<A> h_;           // h (patches, m, w2)
  GrowOnlyBuffer<float> pooled_;  // (patches, w1)
  GrowOnlyBuffer<int32_t> argmax_, pooled_argmax_;
  std::vector<Scratch> scratch_;
};

#if PA3D_LEVEL < 3
static std::unique_ptr<EmbedTraining> embed_training_fp32() { return std::make_unique<EmbedTrainingOf<F32>>(); }
#else
static std::unique_ptr<EmbedTraining> embed_training_bf16() { return std::make_unique<EmbedTrainingOf<BF16>>(); }
#endif

}  // namespace PA3D_NS
}  // namespace pa3d
