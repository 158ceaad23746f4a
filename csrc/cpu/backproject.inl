namespace pa3d {
namespace PA3D_NS {

#include "vec.inl"

typedef uint16_t vh_any __attribute__((vector_size(PA3D_W * 2), aligned(2), may_alias));

static inline vf load_token(const float* p) { return load(p); }
static inline vf load_token(const uint16_t* p) {
  const vi wide = __builtin_convertvector(*reinterpret_cast<const vh_any*>(p), vi);
  return (vf)(wide << 16);
}

#if PA3D_LEVEL >= 2
constexpr int64_t kBlock = 16 * PA3D_W;
#else
constexpr int64_t kBlock = 8 * PA3D_W;
#endif

template <int kU, class Token>
static inline void gather_block(const Token* tokens, const TokenWeight* list, int64_t n, int64_t channels, bool fresh,
                                float* out) {
  vf total[kU];
  for (int u = 0; u < kU; ++u) total[u] = fresh ? vf{} : load(out + u * PA3D_W);
  for (int64_t i = 0; i < n; ++i) {
    const Token* const token = tokens + list[i].token * channels;
    const vf weight = splat(list[i].weight);
    for (int u = 0; u < kU; ++u) total[u] += weight * load_token(token + u * PA3D_W);
  }
  for (int u = 0; u < kU; ++u) store(out + u * PA3D_W, total[u]);
}

// out (channels) becomes (fresh) or grows by the weighted sum of tokens.
template <class Token>
static void gather(const Token* tokens, const TokenWeight* list, int64_t n, int64_t channels, bool fresh, float* out) {
  int64_t c = 0;
  for (; c + kBlock <= channels; c += kBlock)
    gather_block<kBlock / PA3D_W>(tokens + c, list, n, channels, fresh, out + c);
  for (; c + PA3D_W <= channels; c += PA3D_W) gather_block<1>(tokens + c, list, n, channels, fresh, out + c);
  for (; c < channels; ++c) {
    float total = fresh ? 0.0f : out[c];
    for (int64_t i = 0; i < n; ++i) total += list[i].weight * float_of(tokens[list[i].token * channels + c]);
    out[c] = total;
  }
}

// Adds the weights of one point's pixels up over the padded grid.
static void add_weights(const AxisTaps& down, const AxisTaps& across, const int32_t* pixels, int64_t n, int64_t width,
                        PaddedWeights* grid) {
  typedef double vd __attribute__((vector_size(32)));
  typedef double vd_any __attribute__((vector_size(32), aligned(8), may_alias));
  for (int64_t i = 0; i < n; ++i) {
    const int32_t y = pixels[i] / static_cast<int32_t>(width), x = pixels[i] - y * static_cast<int32_t>(width);
    const int64_t row = down.first[y], column = across.first[x];
    const vd along = *reinterpret_cast<const vd_any*>(&across.weight[4 * x]);
    double* cell = grid->weight.data() + row * grid->stride + column;
    for (int tap = 0; tap < 4; ++tap, cell += grid->stride)
      *reinterpret_cast<vd_any*>(cell) += down.weight[4 * y + tap] * along;
    grid->top = std::min(grid->top, row);
    grid->bottom = std::max(grid->bottom, row + 3);
    grid->left = std::min(grid->left, column);
    grid->right = std::max(grid->right, column + 3);
  }
}

}  // namespace PA3D_NS
}  // namespace pa3d
