#include "backproject.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>

#include "cpuid.h"
#include "parallel.h"

namespace pa3d {
namespace {

// Taps that fall outside the grid get cells of their own, so that four of them are always in a row; they are folded
// into the border afterwards.
constexpr int64_t kPadBefore = 2, kPadding = 5;

struct TokenWeight {
  int64_t token;  // row * columns + column
  float weight;
};

// For each pixel of an axis the first of four taps, counted with the padding, and their weights; modes with fewer taps
// leave the last ones zero.
struct AxisTaps {
  std::vector<int32_t> first;
  std::vector<double> weight;  // (pixels, 4)
};

struct PaddedWeights {
  int64_t rows, columns, stride;
  std::vector<double> weight;  // zero outside top .. bottom, left .. right
  int64_t top, bottom, left, right;

  PaddedWeights(int64_t rows, int64_t columns)
      : rows(rows), columns(columns), stride(columns + kPadding), weight((rows + kPadding) * stride) {
    forget();
  }
  void forget() {
    top = left = INT64_MAX;
    bottom = right = -1;
  }
};

inline float float_of(float x) { return x; }
inline float float_of(uint16_t x) {
  const uint32_t bits = static_cast<uint32_t>(x) << 16;
  float out;
  std::memcpy(&out, &bits, sizeof(out));
  return out;
}

}  // namespace
}  // namespace pa3d

#define PA3D_SOURCE "backproject.inl"
#include "foreach_isa.h"

namespace pa3d {
namespace {

AxisTaps taps_of(int64_t pixels, int64_t tokens, Upsampling mode) {
  AxisTaps taps{std::vector<int32_t>(pixels), std::vector<double>(4 * pixels)};
  for (int64_t i = 0; i < pixels; ++i) {
    int64_t first;
    double* const w = &taps.weight[4 * i];
    if (mode == Upsampling::nearest) {
      // A jump has no tolerance: torch's own float32 arithmetic.
      const float ratio = static_cast<float>(tokens) / static_cast<float>(pixels);
      first = std::min(static_cast<int64_t>(static_cast<float>(i) * ratio), tokens - 1);
      w[0] = 1;
    } else {
      // (i + 1/2) tokens / pixels - 1/2 as a fraction of whole numbers, so that its floor is exact.
      const int64_t above = (2 * i + 1) * tokens - pixels, below = 2 * pixels;
      const int64_t whole = (above + below) / below - 1;
      const double t = static_cast<double>(above - whole * below) / static_cast<double>(below), s = 1 - t;
      if (mode == Upsampling::bilinear) {
        first = whole;
        w[0] = s;
        w[1] = t;
      } else {
        // Keys' cubic convolution with A = -3/4 at distances 1 + t, t, 1 - t and 2 - t.
        constexpr double a = -0.75;
        const auto far = [](double d) { return ((a * d - 5 * a) * d + 8 * a) * d - 4 * a; };
        const auto close = [](double d) { return ((a + 2) * d - (a + 3)) * d * d + 1; };
        first = whole - 1;
        w[0] = far(1 + t);
        w[1] = close(t);
        w[2] = close(s);
        w[3] = far(1 + s);
      }
    }
    taps.first[i] = static_cast<int32_t>(first + kPadBefore);
  }
  return taps;
}

// A view's pixels by point; points in the order in which rows of pixels first show them, so that neighbours in the list
// read neighbouring tokens.
struct PixelLists {
  std::vector<int32_t> slot;  // (n_points,) place in `points`, -1 for none
  std::vector<int32_t> points, ends, pixels;

  explicit PixelLists(int64_t n_points) : slot(n_points, -1) {}

  template <class Id>
  void fill(const Id* ids, int64_t n) {
    for (const int32_t point : points) slot[point] = -1;
    points.clear();
    ends.clear();
    const uint64_t limit = slot.size();
    int64_t seen = 0;
    for (int64_t i = 0; i < n; ++i) {
      if (static_cast<uint64_t>(ids[i]) >= limit) continue;
      int32_t& at = slot[ids[i]];
      if (at < 0) {
        at = static_cast<int32_t>(points.size());
        points.push_back(static_cast<int32_t>(ids[i]));
        ends.push_back(0);
      }
      ++ends[at];
      ++seen;
    }
    int32_t begin = 0;
    for (int32_t& end : ends) {
      const int32_t count = end;
      end = begin;
      begin += count;
    }
    pixels.resize(seen);
    for (int64_t i = 0; i < n; ++i)
      if (static_cast<uint64_t>(ids[i]) < limit) pixels[ends[slot[ids[i]]]++] = static_cast<int32_t>(i);
  }
};

// Moves what lies outside the grid to its border, lists the tokens with a weight, and clears the grid.
void take_weights(PaddedWeights* grid, double scale, std::vector<TokenWeight>* list) {
  list->clear();
  double* const w = grid->weight.data();
  const int64_t first = kPadBefore, last_row = first + grid->rows - 1, last_column = first + grid->columns - 1;
  for (int64_t row = grid->top; row <= grid->bottom; ++row) {
    double* const line = w + row * grid->stride;
    for (int64_t column = grid->left; column <= grid->right; ++column) {
      const int64_t inside = std::clamp(column, first, last_column);
      if (inside == column) continue;
      line[inside] += line[column];
      line[column] = 0;
    }
  }
  grid->left = std::clamp(grid->left, first, last_column);
  grid->right = std::clamp(grid->right, first, last_column);
  for (int64_t row = grid->top; row <= grid->bottom; ++row) {
    const int64_t inside = std::clamp(row, first, last_row);
    if (inside == row) continue;
    for (int64_t column = grid->left; column <= grid->right; ++column) {
      w[inside * grid->stride + column] += w[row * grid->stride + column];
      w[row * grid->stride + column] = 0;
    }
  }
  grid->top = std::clamp(grid->top, first, last_row);
  grid->bottom = std::clamp(grid->bottom, first, last_row);
  for (int64_t row = grid->top; row <= grid->bottom; ++row) {
    for (int64_t column = grid->left; column <= grid->right; ++column) {
      double& cell = w[row * grid->stride + column];
      if (cell == 0) continue;
      const int64_t token = (row - first) * grid->columns + column - first;
      list->push_back({token, static_cast<float>(cell * scale)});
      cell = 0;
    }
  }
  grid->forget();
}

template <class Token>
void gather_view(const TokenGrids& grids, const Token* tokens, const PixelLists& lists, const AxisTaps& down,
                 const AxisTaps& across, int64_t width, bool per_view, int threads, float* sum, int64_t* count) {
  parallel_for(static_cast<int64_t>(lists.points.size()), 64, threads, [&](int64_t begin, int64_t end) {
    PaddedWeights weights(grids.rows, grids.columns);
    std::vector<TokenWeight> list;
    for (int64_t i = begin; i < end; ++i) {
      const int64_t point = lists.points[i], from = i > 0 ? lists.ends[i - 1] : 0, n = lists.ends[i] - from;
      PA3D_DISPATCH(add_weights)(down, across, lists.pixels.data() + from, n, width, &weights);
      take_weights(&weights, per_view ? 1.0 / static_cast<double>(n) : 1.0, &list);
      PA3D_DISPATCH(gather<Token>)
      (tokens, list.data(), static_cast<int64_t>(list.size()), grids.channels, count[point] == 0,
       sum + point * grids.channels);
      count[point] += per_view ? 1 : n;
    }
  });
}

}  // namespace

void backproject(const TokenGrids& grids, const PixelMap& pixels, int64_t n_points, Upsampling mode, bool per_view,
                 int threads, float* sum, int64_t* count) {
  const AxisTaps down = taps_of(pixels.height, grids.rows, mode), across = taps_of(pixels.width, grids.columns, mode);
  const int64_t image = pixels.height * pixels.width, grid = grids.rows * grids.columns * grids.channels;
  PixelLists lists(n_points);
  for (int64_t view = 0; view < grids.views; ++view) {
    if (pixels.wide)
      lists.fill(static_cast<const int64_t*>(pixels.data) + view * image, image);
    else
      lists.fill(static_cast<const int32_t*>(pixels.data) + view * image, image);
    const auto gather = [&](const auto* tokens) {
      gather_view(grids, tokens + view * grid, lists, down, across, pixels.width, per_view, threads, sum, count);
    };
    if (grids.bfloat16)
      gather(static_cast<const uint16_t*>(grids.data));
    else
      gather(static_cast<const float*>(grids.data));
  }
}

}  // namespace pa3d
