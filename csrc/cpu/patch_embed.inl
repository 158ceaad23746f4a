// The mini-PointNet, over a few patches at a time, so that everything from the points to the pooled feature stays in
// the cache. With x the output of the first layer (after ReLU) and f = W2 x + b2 that of the second, the third layer is
//
//   W3 [max f; f] + b3 = (W3[:, n:] W2) x + (W3[:, :n] max f + W3[:, n:] b2 + b3)
//
// where max is the maximum over the patch and n the size of f. No nonlinearity lies between the two layers, so
// w3_local = W3[:, n:] W2 is one product with half as many columns. The product of w3_max = W3[:, :n] with the maximum
// is the same for all points of a patch, so it is computed once per patch. Only the maximum of f is needed; f itself is
// never stored. pa3d/train/model.py uses the same names.
//
// BatchNorm is folded into the layer before it. The pooled feature of a patch stays float32 at every precision. With
// int8, the product with w3_max is float32 too: it costs little, and an error in it would affect all points of the
// patch.

constexpr int64_t kPatchesPerStep = 4;

template <class T>
struct PatchEmbed {
  typedef std::conditional_t<T::kQuantized, F32, T> PooledType;  // operands of the product with w3_max
  int64_t width[4];
  Buffer<float> first, first_bias;  // (3, width[0]) transposed
  PackedWeight<T> second, w3_local, last;
  PackedWeight<PooledType> w3_max;
  PackedWeight<F32> reduce;

  void load_weights(const EncoderConfig& c, const WeightSource& weights) {
    std::copy(c.embed, c.embed + 4, width);
    const int64_t w0 = align_up(width[0]);
    std::vector<float> scale(width[0]), shift(width[0]);
    fold_batch_norm(weights, "encoder.first_conv.", width[0], c.batch_norm_eps, scale, shift);
    const float* w = weights("encoder.first_conv.0.weight", width[0] * 3);
    first.resize(3 * w0);
    first_bias.resize(w0);
    for (int64_t i = 0; i < width[0]; ++i) {
      for (int a = 0; a < 3; ++a) first[a * w0 + i] = scale[i] * w[3 * i + a];
      first_bias[i] = shift[i];
    }
    const float* w2 = weights("encoder.first_conv.3.weight", width[1] * width[0]);
    const float* b2 = weights("encoder.first_conv.3.bias", width[1]);
    second.pack(w2, width[1], width[0], width[0], b2);
    scale.resize(width[2]);
    shift.resize(width[2]);
    fold_batch_norm(weights, "encoder.second_conv.", width[2], c.batch_norm_eps, scale, shift);
    const int64_t concat_width = 2 * width[1];
    const float* w3 = weights("encoder.second_conv.0.weight", width[2] * concat_width);
    std::vector<float> w3_max_weight(width[2] * width[1]), w3_local_weight(width[2] * width[0]);
    std::vector<double> sum(width[0]);
    for (int64_t i = 0; i < width[2]; ++i) {
      std::fill(sum.begin(), sum.end(), 0.0);
      double constant = 0;
      for (int64_t j = 0; j < width[1]; ++j) {
        const double factor = static_cast<double>(scale[i]) * w3[i * concat_width + width[1] + j];
        for (int64_t k = 0; k < width[0]; ++k) sum[k] += factor * w2[j * width[0] + k];
        constant += factor * b2[j];
        w3_max_weight[i * width[1] + j] = scale[i] * w3[i * concat_width + j];
      }
      std::copy(sum.begin(), sum.end(), w3_local_weight.begin() + i * width[0]);
      shift[i] += static_cast<float>(constant);
    }
    w3_max.pack(w3_max_weight.data(), width[2], width[1], width[1], shift.data());
    w3_local.pack(w3_local_weight.data(), width[2], width[0], width[0], nullptr);
    last.pack(weights("encoder.second_conv.3.weight", width[3] * width[2]), width[3], width[2], width[2],
              weights("encoder.second_conv.3.bias", width[3]));
    reduce.pack(weights("reduce_dim.weight", c.dim * width[3]), c.dim, width[3], width[3],
                weights("reduce_dim.bias", c.dim));
  }

  // scale and shift such that scale * (W x) + shift = BatchNorm(W x + b) with the running statistics.
  static void fold_batch_norm(const WeightSource& weights, const std::string& layer, int64_t n, float eps,
                              std::vector<float>& scale, std::vector<float>& shift) {
    const float *gamma = weights(layer + "1.weight", n), *beta = weights(layer + "1.bias", n);
    const float *mean = weights(layer + "1.running_mean", n), *var = weights(layer + "1.running_var", n);
    const float* bias = weights(layer + "0.bias", n);
    for (int64_t i = 0; i < n; ++i) {
      scale[i] = static_cast<float>(gamma[i] / std::sqrt(static_cast<double>(var[i]) + eps));
      shift[i] = static_cast<float>(beta[i] + (static_cast<double>(bias[i]) - mean[i]) * scale[i]);
    }
  }

  typedef typename Activations<T>::Stored Stored;

  struct Workspace {
    Activations<T> layer1_out, layer3_out;
    Activations<PooledType> pooled;
    Buffer<float> max_term;
    void reserve(const PatchEmbed& e, int64_t patch_size) {
      const int64_t rows = kPatchesPerStep * patch_size;
      layer1_out.reserve(rows, e.width[0]);
      pooled.reserve(kPatchesPerStep, e.width[1]);
      layer3_out.reserve(rows, e.width[2]);
      max_term.reserve(kPatchesPerStep * align_up(e.width[2]));
    }
  };

  // Embeds patches [begin, end): writes their pooled features to rows of `out` (patch, width[3]).
  void forward(const float* points, const int64_t* center_idx, const int64_t* members, int64_t patch_size,
               int64_t begin, int64_t end, Workspace& s, Activations<F32>& out) const {
    const int64_t w0 = align_up(width[0]), w2 = align_up(width[2]);
    const int64_t patches = end - begin, rows = patches * patch_size;
    for (int64_t g = 0; g < patches; ++g) {
      const float* c = points + 3 * center_idx[begin + g];
      for (int64_t j = 0; j < patch_size; ++j) {
        const float* p = points + 3 * members[(begin + g) * patch_size + j];
        const vf x = splat(p[0] - c[0]), y = splat(p[1] - c[1]), z = splat(p[2] - c[2]);
        typename Stored::Activation* row = s.layer1_out.row(g * patch_size + j);
        for (int64_t i = 0; i < w0; i += PA3D_W) {
          const vf v =
              load(&first[i]) * x + load(&first[w0 + i]) * y + load(&first[2 * w0 + i]) * z + load(&first_bias[i]);
          Stored::store_f32(row + i, vmax(v, splat(0.0f)));
        }
      }
    }
    s.layer1_out.quantize(0, rows);
    linear_max_pool<PooledType>(s.layer1_out.rows(), patches, patch_size, second, s.pooled.row(0), s.pooled.stride);
    linear<PooledType, F32, ActFn::none>(s.pooled.rows(), patches, w3_max, 0, w3_max.panels, s.max_term.data(), w2);
    gemm<T>(s.layer1_out.rows(), rows, w3_local, 0, w3_local.panels,
            [&](int64_t row, int count, int64_t column, const float* tile) {
              for (int i = 0; i < count; ++i) {
                const float* add = s.max_term.data() + (row + i) / patch_size * w2 + column;
                for (int j = 0; j < kNR; j += PA3D_W)
                  Stored::store_f32(s.layer3_out.row(row + i) + column + j,
                                    vmax(load(tile + i * kNR + j) + load(add + j), splat(0.0f)));
              }
            });
    s.layer3_out.quantize(0, rows);
    linear_max_pool<F32>(s.layer3_out.rows(), patches, patch_size, last, out.row(begin), out.stride);
  }

  // out (patches, n): maximum over each patch of a linear layer. It is taken from the float32 tiles, so the layer's
  // output is never stored.
  template <class O>
  static void linear_max_pool(const ActivationView<T>& a, int64_t patches, int64_t patch_size, const PackedWeight<T>& w,
                              typename O::Activation* out, int64_t out_stride) {
    vf max_lanes[kNV];
    for (int64_t p = 0; p < w.panels; ++p) {
      typename O::Activation* dst = out + p * kNR;
      int64_t rows_seen = 0;  // rows of the current patch
      gemm<T>(a, patches * patch_size, w, p, p + 1, [&](int64_t, int count, int64_t column, const float* tile) {
        for (int i = 0; i < count; ++i, tile += kNR) {
          for (int j = 0; j < kNV; ++j) {
            const vf v = load(tile + j * PA3D_W);
            max_lanes[j] = rows_seen == 0 ? v : vmax(max_lanes[j], v);
          }
          if (++rows_seen < patch_size) continue;
          for (int j = 0; j < kNV; ++j)
            O::store_f32(dst + j * PA3D_W, max_lanes[j] + load(w.bias.data() + column + j * PA3D_W));
          dst += out_stride;
          rows_seen = 0;
        }
      });
    }
  }
};
