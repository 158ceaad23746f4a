namespace pa3d {
namespace PA3D_NS {

#include "vec.inl"

constexpr int kVectors = kBlock / PA3D_W;

typedef uint16_t vh_unaligned __attribute__((vector_size(PA3D_W * 2), aligned(2), may_alias));

static inline vf load_token(const float* p) { return load(p); }
static inline vf load_token(const uint16_t* p) {
#if PA3D_NEON >= 1
  return (vf)vshll_n_u16(vld1_u16(p), 16);  // g++ 12 would convert one number at a time
#else
  const vi wide = __builtin_convertvector(*reinterpret_cast<const vh_unaligned*>(p), vi);
  return (vf)(wide << 16);
#endif
}

// Interpolates the band's rows down the grid: out (band rows, columns + taps, kBlock). Channels beyond `valid` are
// zero. Cells beyond the grid repeat its border, so that the taps across need no clamping.
template <class Traits>
static void interpolate_down(const typename Traits::Token* tokens, const GridSize& grid, const Band& band,
                             const AxisTaps& down, int64_t valid, float* out) {
  using Token = typename Traits::Token;
  constexpr int kTaps = Traits::kTaps;
  constexpr int64_t kBorder = kTaps / 2;
  for (int64_t y = 0; y < band.rows; ++y, out += band.stride) {
    if (!band.lists->row_used[y]) continue;
    const int64_t first = down.first[band.first_row + y];
    const float* const weight = &down.weight[4 * (band.first_row + y)];
    const Token* source[kTaps];
    for (int a = 0; a < kTaps; ++a)
      source[a] = tokens + std::clamp<int64_t>(first - kBorder + a, 0, grid.rows - 1) * grid.columns * grid.channels;
    float* cell = out + kBorder * kBlock;
    for (int64_t c = 0; c < grid.columns; ++c, cell += kBlock) {
      if (valid == kBlock) {
        for (int u = 0; u < kVectors; ++u) {
          vf total = splat(weight[0]) * load_token(source[0] + u * PA3D_W);
          for (int a = 1; a < kTaps; ++a) total += splat(weight[a]) * load_token(source[a] + u * PA3D_W);
          store(cell + u * PA3D_W, total);
        }
      } else {
        for (int64_t i = 0; i < kBlock; ++i) {
          float total = i < valid ? weight[0] * to_float(source[0][i]) : 0.0f;
          for (int a = 1; a < kTaps && i < valid; ++a) total += weight[a] * to_float(source[a][i]);
          cell[i] = total;
        }
      }
      for (int a = 0; a < kTaps; ++a) source[a] += grid.channels;
    }
    for (int64_t i = 0; i < kBorder; ++i) {
      std::memcpy(out + i * kBlock, out + kBorder * kBlock, kBlock * sizeof(float));
      std::memcpy(cell + i * kBlock, cell - kBlock, kBlock * sizeof(float));
    }
  }
}

// Interpolates the pixels of every point across and sums them. Adds scale times the result to sum, which points to the
// first of `valid` channels. Points whose count is zero have no sum yet; theirs is overwritten.
template <int kTaps>
static void add_across(const float* rows, const PixelLists& lists, const float* scale, int64_t valid, int64_t channels,
                       const int64_t* count, float* sum) {
  constexpr int64_t kPrefetchPoints = 8;  // the sums of later points that are prefetched
  const int64_t n = static_cast<int64_t>(lists.points.size());
  for (int64_t i = 0, run_index = 0; i < n; ++i) {
    if (i + kPrefetchPoints < n) {
      const float* const prefetch = sum + lists.points[i + kPrefetchPoints] * channels;
      for (int64_t line = 0; line < valid; line += 16) __builtin_prefetch(prefetch + line, 1);
    }
    vf total[kVectors];
    for (int u = 0; u < kVectors; ++u) total[u] = vf{};
    for (; run_index < lists.ends[i]; ++run_index) {
      const Run& run = lists.runs[run_index];
      const float* const cell = rows + run.cell;
      for (int u = 0; u < kVectors; ++u) {
        vf value = splat(run.weight[0]) * load(cell + u * PA3D_W);
        if constexpr (kTaps > 1) value += splat(run.weight[1]) * load(cell + kBlock + u * PA3D_W);
        if constexpr (kTaps > 2)
          value += splat(run.weight[2]) * load(cell + 2 * kBlock + u * PA3D_W) +
                   splat(run.weight[3]) * load(cell + 3 * kBlock + u * PA3D_W);
        total[u] += value;
      }
    }
    const int64_t point = lists.points[i];
    const vf factor = splat(scale ? scale[i] : 1.0f);
    float* const out = sum + point * channels;
    float part[kBlock];
    float* const target = valid == kBlock ? out : part;
    const bool first_write = count[point] == 0;
    if (valid < kBlock && !first_write) std::memcpy(part, out, valid * sizeof(float));
    for (int u = 0; u < kVectors; ++u) {
      const vf increment = factor * total[u];
      store(target + u * PA3D_W, first_write ? increment : load(target + u * PA3D_W) + increment);
    }
    if (valid < kBlock) std::memcpy(out, part, valid * sizeof(float));
  }
}

// Copies a row of the grid. Channels beyond `valid` are zero. Borders are repeated, so that the taps across need no
// clamping.
template <class Traits>
static void copy_row(const typename Traits::Token* tokens, const GridSize& grid, int64_t valid, float* out) {
  for (int64_t cell = 0; cell < grid.columns + Traits::kTaps; ++cell, out += kScatterChannels) {
    const auto* const token =
        tokens + std::clamp<int64_t>(cell - Traits::kTaps / 2, 0, grid.columns - 1) * grid.channels;
    if (valid == kScatterChannels)
      for (int i = 0; i < kScatterChannels; i += PA3D_W) store(out + i, load_token(token + i));
    else
      for (int64_t i = 0; i < kScatterChannels; ++i) out[i] = i < valid ? to_float(token[i]) : 0.0f;
  }
}

// Coefficients c of the interpolating polynomial in the position t between the middle two of kTaps values: Keys' cubic
// convolution with A = -3/4, a straight line, or a constant.
static inline void interpolation_coefficients(const vf (&tap)[4], vf (&c)[4]) {
  c[0] = tap[1];
  c[1] = splat(0.75f) * (tap[2] - tap[0]);
  c[2] = splat(1.5f) * (tap[0] + tap[2]) - splat(2.25f) * tap[1] - splat(0.75f) * tap[3];
  c[3] = splat(0.75f) * (tap[3] - tap[0]) + splat(1.25f) * (tap[1] - tap[2]);
}
static inline void interpolation_coefficients(const vf (&tap)[2], vf (&c)[2]) { c[0] = tap[0], c[1] = tap[1] - tap[0]; }
static inline void interpolation_coefficients(const vf (&tap)[1], vf (&c)[1]) { c[0] = tap[0]; }

// Adds the band's pixels to the sums in their slots, in pixel order. Interpolates down the grid first, then across. All
// pixels of a span share one polynomial, so a channel of a pixel costs three multiplications.
template <class Traits>
static void add_scattered(const typename Traits::Token* tokens, const GridSize& grid, const Band& band,
                          const PackedPixels& packed, const AxisTaps& across, const AxisTaps& down, int64_t valid,
                          Workspace& workspace) {
  constexpr int kTaps = Traits::kTaps, kParts = kScatterChannels / PA3D_W;
  const int64_t row_floats = (grid.columns + kTaps) * kScatterChannels;
  float* const cells = workspace.cells.data();
  float* const sums = workspace.sums.data();
  const Span* span = packed.span.data();
  const uint16_t* slot = packed.slot.data();
  int64_t copied = 0;  // all rows of the grid before this one have been copied to the window
  for (int64_t y = 0; y < band.rows; ++y) {
    if (packed.spans[y] == 0) continue;
    const int64_t first = down.first[band.first_row + y];
    for (copied = std::max(copied, first); copied < first + kTaps; ++copied) {
      const int64_t inside = std::clamp<int64_t>(copied - kTaps / 2, 0, grid.rows - 1);
      copy_row<Traits>(tokens + inside * grid.columns * grid.channels, grid, valid,
                       workspace.window.data() + copied % kTaps * row_floats);
    }
    const float* source[kTaps];
    vf weight[kTaps];
    for (int a = 0; a < kTaps; ++a) {
      source[a] = workspace.window.data() + (first + a) % kTaps * row_floats;
      weight[a] = splat(down.weight[4 * (band.first_row + y) + a]);
    }
    for (int64_t i = 0; i < row_floats; i += PA3D_W) {
      vf total = weight[0] * load(source[0] + i);
      for (int a = 1; a < kTaps; ++a) total += weight[a] * load(source[a] + i);
      store(cells + i, total);
    }
    for (const Span* const last = span + packed.spans[y]; span < last; ++span) {
      vf c[kParts][kTaps];
      for (int u = 0; u < kParts; ++u) {
        vf tap[kTaps];
        for (int a = 0; a < kTaps; ++a) tap[a] = load(cells + (span->cell + a) * kScatterChannels + u * PA3D_W);
        interpolation_coefficients(tap, c[u]);
      }
      const float* fraction = across.fraction.data() + span->first;
      // Most spans are as long as a token is wide. After unrolling, every pixel has its own branch, and the processor
      // predicts these; it does not predict one shared loop branch.
#pragma GCC unroll 16
      for (const uint16_t* const end = slot + span->pixels; slot < end; ++slot, ++fraction) {
        const vf t = splat(*fraction);
        float* const out = sums + *slot * kScatterChannels;
        const float* const prefetch = sums + slot[kPrefetchPixels] * kScatterChannels;
        for (int64_t line = 0; line < kScatterChannels; line += 16) __builtin_prefetch(prefetch + line, 1);
        for (int u = 0; u < kParts; ++u) {
          vf value = c[u][kTaps - 1];
          for (int a = kTaps - 2; a >= 0; --a) value = value * t + c[u][a];
          store(out + u * PA3D_W, load(out + u * PA3D_W) + value);
        }
      }
    }
  }
}

// Adds scale times the sums in slots to sum, which points to the first of `valid` channels, and sets the slots to zero.
// Points whose count is zero have no sum yet; theirs is overwritten.
static void flush_slots(const PixelLists& lists, const float* scale, int64_t valid, int64_t channels,
                        const int64_t* count, float* slots, float* sum) {
  const bool can_stream =
      valid == kScatterChannels && channels % PA3D_W == 0 && reinterpret_cast<uintptr_t>(sum) % 64 == 0;
  for (size_t i = 0; i < lists.points.size(); ++i, slots += kScatterChannels) {
    if (lists.pixels[i] == 0) continue;
    const int64_t point = lists.points[i];
    const vf factor = splat(scale ? scale[i] : 1.0f);
    float* const out = sum + point * channels;
    const bool first_write = count[point] == 0;
    if (first_write && can_stream) {
      for (int u = 0; u < kScatterChannels; u += PA3D_W) stream_store(out + u, factor * load(slots + u));
    } else {
      float part[kScatterChannels] = {};
      if (!first_write) std::memcpy(part, out, valid * sizeof(float));
      for (int u = 0; u < kScatterChannels; u += PA3D_W) store(part + u, load(part + u) + factor * load(slots + u));
      std::memcpy(out, part, valid * sizeof(float));
    }
    for (int u = 0; u < kScatterChannels; u += PA3D_W) store(slots + u, vf{});
  }
  store_fence();
}

}  // namespace PA3D_NS
}  // namespace pa3d
