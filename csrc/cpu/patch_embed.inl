// The mini-PointNet over a few patches at a time, so that everything between the points and the pooled feature stays in
// the cache. Its second layer sees each point's feature behind the patch's maximum; the product with the maximum is the
// same for all points of a patch and is computed once: W [g; f] = W_g g + W_f f. BatchNorm is folded into the layer
// before it.

constexpr int64_t kPatchesAtOnce = 4;

template <class T>
struct PatchEmbed {
  int64_t width[4];
  Buffer<float> first, first_bias;  // (3, width[0]) transposed
  Packed<T> second, local, pooled, last, reduce;

  void load_weights(const EncoderConfig& c, const WeightSource& weights) {
    std::copy(c.embed, c.embed + 4, width);
    const int64_t w0 = aligned(width[0]);
    std::vector<float> scale(width[0]), shift(width[0]);
    fold(weights, "encoder.first_conv.", width[0], c.batch_norm_eps, scale, shift);
    const float* w = weights("encoder.first_conv.0.weight", width[0] * 3);
    first.resize(3 * w0);
    first_bias.resize(w0);
    for (int64_t i = 0; i < width[0]; ++i) {
      for (int a = 0; a < 3; ++a) first[a * w0 + i] = scale[i] * w[3 * i + a];
      first_bias[i] = shift[i];
    }
    second.pack(weights("encoder.first_conv.3.weight", width[1] * width[0]), width[1], width[0], width[0],
                weights("encoder.first_conv.3.bias", width[1]));
    scale.resize(width[2]);
    shift.resize(width[2]);
    fold(weights, "encoder.second_conv.", width[2], c.batch_norm_eps, scale, shift);
    const int64_t both = 2 * width[1];
    const float* v = weights("encoder.second_conv.0.weight", width[2] * both);
    std::vector<float> folded(width[2] * both);
    for (int64_t i = 0; i < width[2]; ++i)
      for (int64_t j = 0; j < both; ++j) folded[i * both + j] = scale[i] * v[i * both + j];
    pooled.pack(folded.data(), width[2], width[1], both, shift.data());
    local.pack(folded.data() + width[1], width[2], width[1], both, nullptr);
    last.pack(weights("encoder.second_conv.3.weight", width[3] * width[2]), width[3], width[2], width[2],
              weights("encoder.second_conv.3.bias", width[3]));
    reduce.pack(weights("reduce_dim.weight", c.dim * width[3]), c.dim, width[3], width[3],
                weights("reduce_dim.bias", c.dim));
  }

  // y = scale * (W x) + shift equals BatchNorm(W x + b) with the running statistics.
  static void fold(const WeightSource& weights, const std::string& layer, int64_t n, float eps,
                   std::vector<float>& scale, std::vector<float>& shift) {
    const float *gamma = weights(layer + "1.weight", n), *beta = weights(layer + "1.bias", n);
    const float *mean = weights(layer + "1.running_mean", n), *var = weights(layer + "1.running_var", n);
    const float* bias = weights(layer + "0.bias", n);
    for (int64_t i = 0; i < n; ++i) {
      scale[i] = static_cast<float>(gamma[i] / std::sqrt(static_cast<double>(var[i]) + eps));
      shift[i] = static_cast<float>(beta[i] + (static_cast<double>(bias[i]) - mean[i]) * scale[i]);
    }
  }

  typedef typename Staged<T>::Stage Stage;

  struct Scratch {
    Staged<T> hidden, feature, maximum, wide;
    Buffer<float> from_pooled, output;
    void reserve(const PatchEmbed& e, int64_t patch_size) {
      const int64_t rows = kPatchesAtOnce * patch_size;
      hidden.reserve(rows, e.width[0]);
      feature.reserve(rows, e.width[1]);
      maximum.reserve(kPatchesAtOnce, e.width[1]);
      wide.reserve(rows, e.width[2]);
      from_pooled.reserve(kPatchesAtOnce * aligned(e.width[2]));
      output.reserve(rows * kNR);
    }
  };

  // Patches [begin, end): relative coordinates in, pooled features (patch, width[3]) out.
  void run(const float* points, const int64_t* centers, const int64_t* members, int64_t patch_size, int64_t begin,
           int64_t end, Scratch& s, Staged<T>& out) const {
    const int64_t w0 = aligned(width[0]), w1 = aligned(width[1]), w2 = aligned(width[2]);
    const int64_t patches = end - begin, rows = patches * patch_size;
    for (int64_t g = 0; g < patches; ++g) {
      const float* c = points + 3 * centers[begin + g];
      for (int64_t j = 0; j < patch_size; ++j) {
        const float* p = points + 3 * members[(begin + g) * patch_size + j];
        const vf x = splat(p[0] - c[0]), y = splat(p[1] - c[1]), z = splat(p[2] - c[2]);
        typename Stage::A* row = s.hidden.row(g * patch_size + j);
        for (int64_t i = 0; i < w0; i += PA3D_W) {
          const vf v =
              load(&first[i]) * x + load(&first[w0 + i]) * y + load(&first[2 * w0 + i]) * z + load(&first_bias[i]);
          Stage::put(row + i, vmax(v, splat(0.0f)));
        }
      }
    }
    s.hidden.encode(0, rows);
    linear<T, Stage, Act::none>(s.hidden.rows(), rows, second, 0, second.panels, s.feature.row(0), w1);
    for (int64_t g = 0; g < patches; ++g) max_rows(s.feature.row(g * patch_size), patch_size, w1, s.maximum.row(g));
    s.feature.encode(0, rows);
    s.maximum.encode(0, patches);
    linear<T, F32, Act::none>(s.maximum.rows(), patches, pooled, 0, pooled.panels, s.from_pooled.data(), w2);
    multiply<T>(
        s.feature.rows(), rows, local, 0, local.panels, [&](int64_t row, int count, int64_t column, const float* tile) {
          for (int i = 0; i < count; ++i) {
            const float* add = s.from_pooled.data() + (row + i) / patch_size * w2 + column;
            for (int j = 0; j < kNR; j += PA3D_W)
              Stage::put(s.wide.row(row + i) + column + j, vmax(load(tile + i * kNR + j) + load(add + j), splat(0.0f)));
          }
        });
    s.wide.encode(0, rows);
    // A panel at a time: its maximum over each patch is taken from the float32 tiles, the panel is never written out.
    for (int64_t p = 0; p < last.panels; ++p) {
      const int64_t column = p * kNR;
      multiply<T>(s.wide.rows(), rows, last, p, p + 1, [&](int64_t row, int count, int64_t, const float* tile) {
        std::memcpy(s.output.data() + row * kNR, tile, count * kNR * sizeof(float));
      });
      for (int64_t g = 0; g < patches; ++g)
        for (int j = 0; j < kNR; j += PA3D_W) {
          const float* tile = s.output.data() + g * patch_size * kNR + j;
          vf top = load(tile);
          for (int64_t i = 1; i < patch_size; ++i) top = vmax(top, load(tile + i * kNR));
          Stage::put(out.row(begin + g) + column + j, top + load(last.bias.data() + column + j));
        }
    }
    out.encode(begin, end);
  }

  static void max_rows(const float* rows, int64_t count, int64_t width, float* out) {
    for (int64_t i = 0; i < width; i += PA3D_W) {
      vf top = load(rows + i);
      for (int64_t r = 1; r < count; ++r) top = vmax(top, load(rows + r * width + i));
      store(out + i, top);
    }
  }
#if PA3D_LEVEL >= 3
  static void max_rows(const uint16_t* rows, int64_t count, int64_t width, uint16_t* out) {
    for (int64_t i = 0; i < width; i += 16) {
      auto wide = [&](int64_t r) {
        const __m256i half = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(rows + r * width + i));
        return (vf)_mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(half), 16));
      };
      vf top = wide(0);
      for (int64_t r = 1; r < count; ++r) top = vmax(top, wide(r));
      BF16::put(out + i, top);
    }
  }
#endif
};
