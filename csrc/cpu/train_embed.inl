namespace pa3d {
namespace PA3D_NS {

#include "vec.inl"
#include "math.inl"
#include "gemm.inl"
#include "outer.inl"

constexpr int64_t kTogether = 4;  // patches whose rows are multiplied at once

static inline vf keep_positive(vf of, vf value) { return of > vf{} ? value : vf{}; }

template <class T>
class EmbedTrainingOf : public EmbedTraining {
  typedef typename T::A A;

  // What a thread works with; the rows are those of kTogether patches.
  struct Scratch {
    Buffer<A> x1, wide;                       // activations, and gradients of `wide` in the same place
    Buffer<float> pooled, offset;             // maxima (w1), their product (w2)
    Buffer<A> once;                           // an operand of that product, or of the one back
    Buffer<float> partial;                    // (2, w2) sums over these rows
    Buffer<float> back, dx1, dpooled;         // gradients: at the last layer's input (of one patch), x1, maxima
    Buffer<float> last, second, first, bias;  // gradients of weights; first is (4, w0) with the bias
    Stack<T> rows1, rows2;
    Sums merged;
    Buffer<double> total;  // (2, w2)
  };

 public:
  void moments(const PatchBatch& batch, const EmbedWeights& weights, int threads, double* sums) override {
    start(batch, weights, threads);
    hidden_.reserve(batch.patches * batch.size * w_[2]);
    pooled_.reserve(batch.patches * w_[1]);
    which_pooled_.reserve(batch.patches * w_[1]);
    // Sums of squares would drown what varies in what does not: taken about the first row, and moved afterwards.
    about_.reserve(w_[2]);
    forward(scratch_[0], 0, 1, scratch_[0].pooled.data(), nullptr, [&](int64_t row, int64_t column, vf h) {
      if (row == 0) store(&about_[column], h);
    });
    each_share([&](Scratch& s, int64_t from, int64_t to) {
      std::fill_n(s.total.data(), 2 * w_[2], 0.0);
      for (int64_t p = from; p < to; p += kTogether) {
        const int64_t patches = std::min(kTogether, to - p);
        std::fill_n(s.partial.data(), 2 * w_[2], 0.0f);
        forward(s, p, patches, pooled_.data() + p * w_[1], which_pooled_.data() + p * w_[1],
                [&](int64_t row, int64_t column, vf h) {
                  T::put(hidden_.data() + (p * m_ + row) * w_[2] + column, h);
                  float* sum = s.partial.data() + column;
                  const vf d = h - load(&about_[column]);
                  store(sum, load(sum) + d);
                  store(sum + w_[2], load(sum + w_[2]) + d * d);
                });
        for (int64_t i = 0; i < 2 * w_[2]; ++i) s.total[i] += static_cast<double>(s.partial[i]);
      }
    });
    add_totals(sums);
    const double rows = static_cast<double>(patches_ * m_);
    for (int64_t i = 0; i < w_[2]; ++i) {
      const double about = static_cast<double>(about_[i]), sum = sums[i];
      sums[i] = sum + rows * about;
      sums[w_[2] + i] += about * (2 * sum + rows * about);
    }
  }

  void finish(const float* scale, const float* shift, float* out) override {
    keep(scale, shift);
    which_.reserve(patches_ * w_[3]);
    each_share([&](Scratch& s, int64_t from, int64_t to) {
      for (int64_t p = from; p < to; p += kTogether) {
        const int64_t patches = std::min(kTogether, to - p);
        activate_rows(hidden_.data() + p * m_ * w_[2], patches * m_, s.wide.data());
        largest(s.wide.data(), w_[2], patches, last_, out + p * w_[3], which_.data() + p * w_[3]);
      }
    });
  }

  void infer(const PatchBatch& batch, const EmbedWeights& weights, const float* scale, const float* shift, int threads,
             float* out) override {
    start(batch, weights, threads);
    keep(scale, shift);
    each_share([&](Scratch& s, int64_t from, int64_t to) {
      for (int64_t p = from; p < to; p += kTogether) {
        const int64_t patches = std::min(kTogether, to - p);
        forward(s, p, patches, s.pooled.data(), nullptr, [&](int64_t row, int64_t column, vf h) {
          const vf y = h * load(&scale_[column]) + load(&shift_[column]);
          T::put(s.wide.data() + row * w_[2] + column, vmax(vf{}, y));
        });
        largest(s.wide.data(), w_[2], patches, last_, out + p * w_[3], nullptr);
      }
    });
  }

  void backward_sums(const float* grad, double* sums, float* last, float* last_bias) override {
    for (Scratch& s : scratch_) {  // memory that runs out must not do so inside the parallel region
      s.last.reserve(w_[3] * w_[2]);
      s.bias.reserve(w_[3]);
    }
    each_share([&](Scratch& s, int64_t from, int64_t to) {
      std::fill_n(s.last.data(), w_[3] * w_[2], 0.0f);
      std::fill_n(s.bias.data(), w_[3], 0.0f);
      std::fill_n(s.total.data(), 2 * w_[2], 0.0);
      for (int64_t p = from; p < to; p += kTogether) {
        const int64_t patches = std::min(kTogether, to - p);
        std::fill_n(s.partial.data(), 2 * w_[2], 0.0f);
        for (int64_t q = p; q < p + patches; ++q) {
          const A* hidden = hidden_.data() + q * m_ * w_[2];
          A* wide = s.wide.data() + (q - p) * m_ * w_[2];
          activate_rows(hidden, m_, wide);
          backward_largest(s, grad, q);
          for (int64_t c = 0; c < w_[2]; c += PA3D_W) {
            vf sum = load(&s.partial[c]), product = load(&s.partial[w_[2] + c]);
            for (int64_t r = 0; r < m_; ++r) {
              const vf dy = keep_positive(load(wide + r * w_[2] + c), load(&s.back[r * w_[2] + c]));
              sum += dy;
              product += dy * load(hidden + r * w_[2] + c);
            }
            store(&s.partial[c], sum);
            store(&s.partial[w_[2] + c], product);
          }
        }
        scatter(grad + p * w_[3], which_.data() + p * w_[3], patches, w_[3], s.wide.data(), w_[2], s.last.data());
        for (int64_t q = p; q < p + patches; ++q)
          for (int64_t i = 0; i < w_[3]; ++i) s.bias[i] += grad[q * w_[3] + i];
        for (int64_t i = 0; i < 2 * w_[2]; ++i) s.total[i] += static_cast<double>(s.partial[i]);
      }
    });
    add_totals(sums);
    add_up(&Scratch::last, w_[3] * w_[2], last);
    add_up(&Scratch::bias, w_[3], last_bias);
  }

  void backward(const float* grad, const float* a, const float* b, const float* c, const EmbedGradients& out) override {
    const int64_t w0 = w_[0], w1 = w_[1], w2 = w_[2];
    std::copy_n(pooled_.data(), patches_ * w1, out.pooled);
    for (Scratch& s : scratch_) {
      s.second.reserve(w1 * w0);
      s.first.reserve(4 * w0);
      s.merged.start(w2, w0);
    }
    each_share([&](Scratch& s, int64_t from, int64_t to) {
      std::fill_n(s.second.data(), w1 * w0, 0.0f);
      std::fill_n(s.first.data(), 4 * w0, 0.0f);
      for (int64_t p = from; p < to; p += kTogether) {
        const int64_t patches = std::min(kTogether, to - p), rows = patches * m_;
        first_layer(s, p, patches);
        s.rows1.take(s.x1.data(), rows, w0, w0);
        s.rows2.shape(rows, w2);
        for (int64_t q = 0; q < patches; ++q) {
          backward_largest(s, grad, p + q);
          const A* hidden = hidden_.data() + (p + q) * m_ * w2;
          for (int64_t i = 0; i < w2; i += PA3D_W) {
            const vf scale = load(&scale_[i]), shift = load(&shift_[i]);
            const vf va = load(a + i), vb = load(b + i), vc = load(c + i);
            vf sum = vf{};
            for (int64_t r = 0; r < m_; r += 2) {
              vf dh[2];
              for (int j = 0; j < 2; ++j) {
                const vf h = load(hidden + (r + j) * w2 + i);
                const vf dy = keep_positive(h * scale + shift, load(&s.back[(r + j) * w2 + i]));
                dh[j] = va * dy + (vb * h + vc);
                sum += dh[j];
                T::put(s.wide.data() + (q * m_ + r + j) * w2 + i, dh[j]);
              }
              put_two<T>(s.rows2.panel(i / kNR) + (q * m_ + r) * kNR + i % kNR * T::kPack, dh[0], dh[1]);
            }
            store(out.sums + (p + q) * w2 + i, sum);
          }
        }
        s.merged.add(s.rows2, s.rows1);
        linear<T, F32, Act::none>({s.wide.data(), w2, nullptr, nullptr}, rows, merged_back_, 0, merged_back_.panels,
                                  s.dx1.data(), w0);
        linear<T, F32, Act::none>(operand(s, out.sums + p * w2, patches, w2), patches, pooling_back_, 0,
                                  pooling_back_.panels, s.dpooled.data(), w1);
        const int32_t* which = which_pooled_.data() + p * w1;
        for (int64_t q = 0; q < patches; ++q)
          add_rows(s.dpooled.data() + q * w1, which + q * w1, w1, second_rows_.data(), w0, s.dx1.data() + q * m_ * w0);
        scatter(s.dpooled.data(), which, patches, w1, s.x1.data(), w0, s.second.data());
        const float* xyz = batch_.rows + 3 * p * m_;
        for (int64_t i = 0; i < w0; i += PA3D_W) {
          vf sum[4];
          for (int j = 0; j < 4; ++j) sum[j] = load(&s.first[j * w0 + i]);
          for (int64_t r = 0; r < rows; ++r) {
            const vf dx = keep_positive(load(&s.x1[r * w0 + i]), load(&s.dx1[r * w0 + i]));
            for (int j = 0; j < 3; ++j) sum[j] += dx * splat(xyz[3 * r + j]);
            sum[3] += dx;
          }
          for (int j = 0; j < 4; ++j) store(&s.first[j * w0 + i], sum[j]);
        }
      }
    });
    std::vector<const Sums*> merged;
    for (const Scratch& s : scratch_) merged.push_back(&s.merged);
    parallel_for(w2 / kNR, 1, threads_, [&](int64_t from, int64_t to) { Sums::total(merged, from, to, out.merged); });
    add_up(&Scratch::second, w1 * w0, out.second);
    std::vector<float> first(4 * w0);
    add_up(&Scratch::first, 4 * w0, first.data());
    for (int64_t i = 0; i < w0; ++i) {
      for (int j = 0; j < 3; ++j) out.first[3 * i + j] = first[j * w0 + i];
      out.first_bias[i] = first[3 * w0 + i];
    }
  }

 private:
  void start(const PatchBatch& batch, const EmbedWeights& w, int threads) {
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
    pack_columns(w.merged, 0, merged_back_.panels, merged_back_);
    pooling_back_.resize(w_[1], w_[2], nullptr);
    pack_columns(w.pooling, 0, pooling_back_.panels, pooling_back_);
    narrow(w.last, w_[3] * w_[2], last_rows_);
    narrow(w.second, w_[1] * w0, second_rows_);
    scratch_.resize(threads_);
    const int64_t rows = kTogether * m_;
    for (Scratch& s : scratch_) {
      s.x1.reserve(rows * w0);
      s.wide.reserve(rows * w_[2]);
      s.pooled.reserve(kTogether * w_[1]);
      s.once.reserve(kTogether * std::max(w_[1], w_[2]));
      s.offset.reserve(kTogether * w_[2]);
      s.partial.reserve(2 * w_[2]);
      s.back.reserve(m_ * w_[2]);
      s.dx1.reserve(rows * w0);
      s.dpooled.reserve(kTogether * w_[1]);
      s.rows1.reserve(rows, w0);
      s.rows2.reserve(rows, w_[2]);
      s.total.reserve(2 * w_[2]);
    }
  }

  static Rows<T> operand(Scratch& s, const float* rows, int64_t count, int64_t width) {
    narrow(rows, count * width, s.once);
    return {s.once.data(), width, nullptr, nullptr};
  }

  static void narrow(const float* from, int64_t n, Buffer<A>& to) {
    to.reserve(n);
    for (int64_t i = 0; i < n; i += PA3D_W) T::put(to.data() + i, load(from + i));
  }

  void keep(const float* scale, const float* shift) {
    scale_.reserve(w_[2]);
    shift_.reserve(w_[2]);
    std::copy_n(scale, w_[2], scale_.data());
    std::copy_n(shift, w_[2], shift_.data());
  }

  // body(scratch, from, to): each thread its share of the patches, the same whatever else happens.
  template <class Body>
  void each_share(const Body& body) {
#ifdef _OPENMP
#pragma omp parallel num_threads(threads_)
#endif
    for (int id = thread_id(); id < threads_; id += team_size()) {
      int64_t from, to;
      share(patches_, id, threads_, &from, &to);
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
        T::put(s.x1.data() + r * w0 + i, vmax(vf{}, v + load(&first_[3 * w0 + i])));
      }
    }
  }

  // use(row, column, h): a vector of h of each of the rows.
  template <class Use>
  void forward(Scratch& s, int64_t p, int64_t patches, float* pooled, int32_t* which, const Use& use) {
    first_layer(s, p, patches);
    largest(s.x1.data(), w_[0], patches, second_, pooled, which);
    linear<T, F32, Act::none>(operand(s, pooled, patches, w_[1]), patches, pooling_, 0, pooling_.panels,
                              s.offset.data(), w_[2]);
    multiply<T>({s.x1.data(), w_[0], nullptr, nullptr}, patches * m_, merged_, 0, merged_.panels,
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
        T::put(out + r * w_[2] + i, vmax(vf{}, load(hidden + r * w_[2] + i) * load(&scale_[i]) + load(&shift_[i])));
  }

  // out (patches, n): each patch's largest after a linear layer, and which of its rows has it, the first of equals.
  void largest(const A* rows, int64_t stride, int64_t patches, const Packed<T>& w, float* out, int32_t* which) const {
    vf top[kNV];
    vi from[kNV];
    for (int64_t p = 0; p < w.panels; ++p) {
      int64_t at = p * kNR, seen = 0;  // seen: rows of the patch at hand
      multiply<T>({const_cast<A*>(rows), stride, nullptr, nullptr}, patches * m_, w, p, p + 1,
                  [&](int64_t, int count, int64_t column, const float* tile) {
                    for (int i = 0; i < count; ++i, tile += kNR) {
                      for (int j = 0; j < kNV; ++j) {
                        const vf v = load(tile + j * PA3D_W);
                        from[j] = seen == 0 ? vi{} : v > top[j] ? splat(static_cast<int32_t>(seen)) : from[j];
                        top[j] = seen == 0 ? v : vmax(v, top[j]);
                      }
                      if (++seen < m_) continue;
                      for (int j = 0; j < kNV; ++j) {
                        store(out + at + j * PA3D_W, top[j] + load(w.bias.data() + column + j * PA3D_W));
                        if (which != nullptr) store(which + at + j * PA3D_W, from[j]);
                      }
                      at += w.n;
                      seen = 0;
                    }
                  });
    }
  }

  // s.back (m, w2): what the last layer's maxima send back to its input in patch p.
  void backward_largest(Scratch& s, const float* grad, int64_t p) const {
    std::fill_n(s.back.data(), m_ * w_[2], 0.0f);
    add_rows(grad + p * w_[3], which_.data() + p * w_[3], w_[3], last_rows_.data(), w_[2], s.back.data());
  }

  static constexpr int kVectors = 8;  // of a row, added while they are in registers or the nearest cache

  // out[which[i]] += grad[i] * rows[i], rows of width n.
  static void add_rows(const float* grad, const int32_t* which, int64_t count, const A* rows, int64_t n, float* out) {
    for (int64_t c = 0; c < n; c += kVectors * PA3D_W) {
      const int64_t end = std::min<int64_t>(n, c + kVectors * PA3D_W);
      for (int64_t i = 0; i < count; ++i) {
        const vf g = splat(grad[i]);
        float* to = out + which[i] * n;
        const A* from = rows + i * n;
        for (int64_t j = c; j < end; j += PA3D_W) store(to + j, load(to + j) + g * load(from + j));
      }
    }
  }

  // out (count, n): row i gains grad[p, i] times the row which[p, i] of each patch p.
  void scatter(const float* grad, const int32_t* which, int64_t patches, int64_t count, const A* rows, int64_t n,
               float* out) const {
    for (int64_t i = 0; i < count; ++i)
      for (int64_t c = 0; c < n; c += kVectors * PA3D_W) {
        const int vectors = static_cast<int>(std::min<int64_t>(kVectors, (n - c) / PA3D_W));
        vf sum[kVectors];
        for (int j = 0; j < vectors; ++j) sum[j] = load(out + i * n + c + j * PA3D_W);
        for (int64_t p = 0; p < patches; ++p) {
          const vf g = splat(grad[p * count + i]);
          const A* row = rows + (p * m_ + which[p * count + i]) * n + c;
          for (int j = 0; j < vectors; ++j) sum[j] += g * load(row + j * PA3D_W);
        }
        for (int j = 0; j < vectors; ++j) store(out + i * n + c + j * PA3D_W, sum[j]);
      }
  }

  void add_totals(double* sums) const {
    std::fill_n(sums, 2 * w_[2], 0.0);
    for (const Scratch& s : scratch_)
      for (int64_t i = 0; i < 2 * w_[2]; ++i) sums[i] += s.total[i];
  }

  void add_up(Buffer<float> Scratch::* what, int64_t n, float* out) const {
    std::copy_n((scratch_[0].*what).data(), n, out);
    for (size_t id = 1; id < scratch_.size(); ++id)
      for (int64_t i = 0; i < n; ++i) out[i] += (scratch_[id].*what)[i];
  }

  int threads_ = 1;
  PatchBatch batch_{};
  int64_t patches_ = 0, m_ = 0, w_[4] = {};
  Buffer<float> first_, scale_, shift_, about_;  // first_ (4, w0) with the bias
  Packed<T> second_, merged_, pooling_, last_, merged_back_, pooling_back_;
  Buffer<A> last_rows_, second_rows_;
  Kept<A> hidden_;      // h (patches, m, w2)
  Kept<float> pooled_;  // (patches, w1)
  Kept<int32_t> which_, which_pooled_;
  std::vector<Scratch> scratch_;
};

#if PA3D_LEVEL < 3
static std::unique_ptr<EmbedTraining> embed_training_fp32() { return std::make_unique<EmbedTrainingOf<F32>>(); }
#else
static std::unique_ptr<EmbedTraining> embed_training_bf16() { return std::make_unique<EmbedTrainingOf<BF16>>(); }
#endif

}  // namespace PA3D_NS
}  // namespace pa3d
