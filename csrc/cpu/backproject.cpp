#include "backproject.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <numeric>
#include <type_traits>
#include <vector>

#include "buffer.h"
#include "cpuid.h"
#include "intrinsics.h"
#include "parallel.h"
#include "pool.h"

namespace pa3d {
namespace {

constexpr int64_t kBlock = 64;             // channels at a time
constexpr int64_t kBandBytes = 384 << 10;  // interpolated rows of a band: they fit the cache of a core

// For scattered pixels: the sums of kScatterChannels channels, two cache lines per point, fit the cache of a core.
constexpr int64_t kScatterChannels = 32;
constexpr int64_t kMaxSlots = 1 << 14;
constexpr int64_t kMaxPackedPixels = 1 << 19;  // pixels at a time
constexpr int64_t kPrefetchPixels = 12;        // the sums of later pixels that are prefetched
// Pixels are scattered if points are seen in more bands than this, on average.
constexpr int64_t kMinBandsPerPoint = 3;
static_assert(kMaxBackprojectSide < 1 << 16 && kMaxSlots <= 1 << 16);

// The interpolation taps of the pixels along one axis (down: of image rows; across: of image columns). A tap is a row
// or column of the token grid that a pixel is interpolated from. `first` is the index of a pixel's first tap, in the
// grid with its border repeated kTaps / 2 times: the grid itself starts at kTaps / 2. `fraction` is the pixel's
// position between its middle two taps, from 0 to 1; the weights are computed from it.
struct AxisTaps {
  std::vector<int32_t> first;
  std::vector<float> weight;  // (pixels, 4)
  std::vector<float> fraction;
};

struct GridSize {
  int64_t rows, columns, channels;
};

// Neighbouring pixels of one row that show the same point and have the same taps. Their weights are summed first, so
// every channel is multiplied once per run.
struct Run {
  int32_t cell;  // offset of the first tap in the band's rows, in floats
  float weight[4];
};

// Neighbouring pixels of one row with the same taps, each of which shows a point.
struct Span {
  uint16_t cell;  // the first tap
  uint16_t first, pixels;
};

// A band's pixels, row by row, as the slots (indices into the list of seen points) of their points. A slot takes two
// bytes: every block of channels reads the whole list again, and the list shares the cache with the sums.
struct PackedPixels {
  std::vector<int32_t> spans;  // number of spans in each row
  std::vector<Span> span;      // row after row
  std::vector<uint16_t> slot;  // span after span, then kPrefetchPixels more, which are only prefetched
};

// A band's pixels grouped by point. Points are in the order in which the band first shows them.
struct PixelLists {
  std::vector<int32_t> slot;                  // (n_points,) index into `points`, -1 for points that are not seen
  std::vector<int32_t> points, pixels, ends;  // per seen point: its index, its number of pixels, the end of its runs
  std::vector<Run> runs;
  std::vector<uint8_t> row_used;  // rows that show any point

  explicit PixelLists(int64_t n_points) : slot(n_points, -1) {
    for (auto* list : {&points, &pixels, &ends}) list->reserve(std::min(n_points, kMaxSlots));
  }

  // Whether most points of the image are seen in several bands of band_rows rows, with a few pixels in each.
  template <class Id>
  bool scattered(const Id* ids, int64_t height, int64_t width, int64_t band_rows) {
    if (height <= kMinBandsPerPoint * band_rows) return false;
    clear();
    const uint64_t limit = slot.size();
    int64_t shown = 0;  // pairs of a point and a band that shows it
    int32_t band = 0;
    for (int64_t row = 0; row < height; row += band_rows) {
      ++band;
      const Id* const end = ids + std::min(height, row + band_rows) * width;
      for (const Id* id = ids + row * width; id < end; ++id) {
        if ((id > ids && *id == id[-1]) || static_cast<uint64_t>(*id) >= limit) continue;
        int32_t& last = pixels[slot_of(*id)];
        shown += last != band;
        last = band;
      }
      if (static_cast<int64_t>(points.size()) > kMaxSlots) return false;
      const bool is_scattered = shown > kMinBandsPerPoint * static_cast<int64_t>(points.size());
      // If there are more points than slots, the seen ones of all bands have to be counted.
      if (is_scattered && (slot.size() <= static_cast<size_t>(kMaxSlots) || row + band_rows >= height)) return true;
    }
    return false;
  }

  // Fills `packed` with the band's pixels, and `points` and `pixels` with its points and their numbers of pixels (0 for
  // points that the band does not show).
  template <class Id>
  void pack(const Id* ids, int64_t rows, int64_t width, const AxisTaps& across, PackedPixels& packed) {
    clear();
    const bool all = slot.size() <= static_cast<size_t>(kMaxSlots);  // a slot for every point, seen or not
    if (all) {
      points.resize(slot.size());
      std::iota(points.begin(), points.end(), 0);
      pixels.assign(slot.size(), 0);
    }
    packed.spans.assign(rows, 0);
    packed.span.clear();
    packed.span.reserve(rows * (across.first[width - 1] - across.first[0] + 1));
    packed.slot.resize(rows * width + kPrefetchPixels);
    const uint64_t limit = slot.size();
    uint16_t* to = packed.slot.data();
    for (int64_t y = 0; y < rows; ++y, ids += width) {
      for (int64_t x = 0, first; x < width;) {
        const int32_t cell = across.first[x];
        for (first = x; x < width && across.first[x] == cell && static_cast<uint64_t>(ids[x]) < limit; ++x) {
          const int32_t point_slot = all ? static_cast<int32_t>(ids[x]) : slot_of(ids[x]);
          ++pixels[point_slot];
          *to++ = static_cast<uint16_t>(point_slot);
        }
        if (x == first) {
          ++x;  // this pixel shows no point
          continue;
        }
        packed.span.push_back(
            {static_cast<uint16_t>(cell), static_cast<uint16_t>(first), static_cast<uint16_t>(x - first)});
        ++packed.spans[y];
      }
    }
    std::fill_n(to, kPrefetchPixels, uint16_t{0});
  }

  template <class Id>
  void fill(const Id* ids, int64_t rows, int64_t width, int64_t stride, const AxisTaps& across) {
    clear();
    row_used.assign(rows, 0);
    int32_t total = 0;
    for_runs(ids, rows, width, across, [&](Id id, int64_t y, int64_t x, int64_t end) {
      const int32_t point_slot = slot_of(id);
      pixels[point_slot] += static_cast<int32_t>(end - x);
      ++ends[point_slot];
      ++total;
      row_used[y] = 1;
    });
    int32_t begin = 0;
    for (int32_t& end : ends) {
      const int32_t count = end;
      end = begin;
      begin += count;
    }
    runs.resize(total);
    for_runs(ids, rows, width, across, [&](Id id, int64_t y, int64_t x, int64_t end) {
      Run run = {static_cast<int32_t>(y * stride + across.first[x] * kBlock), {}};
      for (; x < end; ++x)
        for (int64_t tap = 0; tap < 4; ++tap) run.weight[tap] += across.weight[4 * x + tap];
      runs[ends[slot[id]]++] = run;
    });
  }

 private:
  void clear() {
    for (const int32_t point : points) slot[point] = -1;
    points.clear();
    pixels.clear();
    ends.clear();
  }

  template <class Id>
  int32_t slot_of(Id id) {
    int32_t& point_slot = slot[id];
    if (point_slot < 0) {
      point_slot = static_cast<int32_t>(points.size());
      points.push_back(static_cast<int32_t>(id));
      pixels.push_back(0);
      ends.push_back(0);
    }
    return point_slot;
  }

  template <class Id, class Body>
  void for_runs(const Id* ids, int64_t rows, int64_t width, const AxisTaps& across, const Body& body) const {
    const uint64_t limit = slot.size();
    for (int64_t y = 0; y < rows; ++y, ids += width)
      for (int64_t x = 0, end; x < width; x = end) {
        const Id id = ids[x];
        end = x + 1;
        if (static_cast<uint64_t>(id) >= limit) continue;
        while (end < width && ids[end] == id && across.first[end] == across.first[x]) ++end;
        body(id, y, x, end);
      }
  }
};

template <int taps, class T>
struct KernelTraits {
  static constexpr int kTaps = taps;
  using Token = T;
};

struct Band {
  const PixelLists* lists;
  int64_t first_row, rows, stride;
};

// Working memory of a thread, for one block of kScatterChannels channels. The sums are zero between blocks.
struct Workspace {
  Buffer<float> window;  // (kTaps, columns + kTaps, kScatterChannels) rows of the grid, a ring buffer; borders repeated
  Buffer<float> cells;   // (columns + kTaps, kScatterChannels) the grid interpolated to one row of pixels
  Buffer<float> sums;    // (slots, kScatterChannels)

  Workspace(int64_t taps, int64_t columns)
      : window(taps * (columns + taps) * kScatterChannels), cells((columns + taps) * kScatterChannels) {}
};

inline float to_float(float x) { return x; }
inline float to_float(uint16_t x) {
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

template <int kTaps>
AxisTaps taps_of(int64_t pixels, int64_t tokens) {
  AxisTaps taps{std::vector<int32_t>(pixels), std::vector<float>(4 * pixels), std::vector<float>(pixels)};
  for (int64_t i = 0; i < pixels; ++i) {
    int64_t first;
    float* const w = &taps.weight[4 * i];
    if constexpr (kTaps == 1) {
      // Nearest jumps from one token to the next, so no tolerance would help: this is torch's own float32 arithmetic.
      const float ratio = static_cast<float>(tokens) / static_cast<float>(pixels);
      first = std::min(static_cast<int64_t>(static_cast<float>(i) * ratio), tokens - 1);
      w[0] = 1;
    } else {
      // (i + 1/2) tokens / pixels - 1/2 as a fraction of whole numbers, so that its floor is exact.
      const int64_t numerator = (2 * i + 1) * tokens - pixels, denominator = 2 * pixels;
      const int64_t floor = (numerator + denominator) / denominator - 1;
      const double t = static_cast<double>(numerator - floor * denominator) / static_cast<double>(denominator),
                   s = 1 - t;
      first = floor - kTaps / 2 + 1;
      taps.fraction[i] = static_cast<float>(t);
      if constexpr (kTaps == 2) {
        w[0] = static_cast<float>(s);
        w[1] = static_cast<float>(t);
      } else {
        // Keys' cubic convolution with A = -3/4 at distances 1 + t, t, 1 - t and 2 - t.
        constexpr double a = -0.75;
        const auto far = [](double d) { return static_cast<float>(((a * d - 5 * a) * d + 8 * a) * d - 4 * a); };
        const auto close = [](double d) { return static_cast<float>(((a + 2) * d - (a + 3)) * d * d + 1); };
        w[0] = far(1 + t);
        w[1] = close(t);
        w[2] = close(s);
        w[3] = far(1 + s);
      }
    }
    taps.first[i] = static_cast<int32_t>(first + kTaps / 2);
  }
  return taps;
}

template <int kTaps, class Token, class Id>
void backproject_all(const GridSize& grid, int64_t views, const Token* tokens, const Id* ids, int64_t height,
                     int64_t width, int64_t n_points, bool per_view, int threads, float* sum, int64_t* count) {
  const AxisTaps down = taps_of<kTaps>(height, grid.rows), across = taps_of<kTaps>(width, grid.columns);
  const int64_t stride = (grid.columns + kTaps) * kBlock, row_bytes = stride * static_cast<int64_t>(sizeof(float));
  const int64_t most_rows = std::clamp<int64_t>(kBandBytes / row_bytes, 1, height);
  const int64_t blocks = (grid.channels + kBlock - 1) / kBlock;
  using Traits = KernelTraits<kTaps, Token>;
  PixelLists lists(n_points);
  Pool<Buffer<float>> buffers;
  Pool<Workspace> workspaces;
  PackedPixels packed;
  std::vector<int32_t> view_pixels(per_view ? n_points : 0);
  std::vector<float> scale;
  const auto point_scales = [&]() -> const float* {
    if (!per_view) return nullptr;
    scale.clear();
    for (const int32_t point : lists.points) scale.push_back(1.0f / static_cast<float>(std::abs(view_pixels[point])));
    return scale.data();
  };
  const auto update_counts = [&] {
    for (size_t i = 0; i < lists.points.size(); ++i) {
      const int32_t point = lists.points[i];
      if (!per_view) {
        count[point] += lists.pixels[i];
      } else if (view_pixels[point] > 0) {
        count[point] += 1;
        view_pixels[point] = -view_pixels[point];  // < 0: counted already; later bands only need its absolute value
      }
    }
  };
  for (int64_t view = 0; view < views; ++view, tokens += grid.rows * grid.columns * grid.channels) {
    const Id* const image = ids + view * height * width;
    if (per_view) {
      std::fill(view_pixels.begin(), view_pixels.end(), 0);
      for (int64_t i = 0; i < height * width; ++i)
        if (static_cast<uint64_t>(image[i]) < static_cast<uint64_t>(n_points)) ++view_pixels[image[i]];
    }
    if (lists.scattered(image, height, width, most_rows)) {
      const int64_t packed_rows = std::clamp<int64_t>(kMaxPackedPixels / width, 1, height);
      for (int64_t row = 0; row < height; row += packed_rows) {
        const Band band = {&lists, row, std::min(packed_rows, height - row), 0};
        lists.pack(image + row * width, band.rows, width, across, packed);
        const float* const factor = point_scales();
        parallel_for((grid.channels + kScatterChannels - 1) / kScatterChannels, 1, threads,
                     [&](int64_t begin, int64_t end) {
                       const auto workspace =
                           workspaces.acquire([&] { return std::make_unique<Workspace>(kTaps, grid.columns); });
                       workspace->sums.reserve(static_cast<int64_t>(lists.points.size()) * kScatterChannels);
                       for (int64_t channel = begin * kScatterChannels;
                            channel < std::min(grid.channels, end * kScatterChannels); channel += kScatterChannels) {
                         const int64_t valid = std::min(kScatterChannels, grid.channels - channel);
                         PA3D_DISPATCH(add_scattered<Traits>)(tokens + channel, grid, band, packed, across, down, valid,
                                                              *workspace);
                         PA3D_DISPATCH(flush_slots)
                         (lists, factor, valid, grid.channels, count, workspace->sums.data(), sum + channel);
                       }
                     });
        update_counts();
      }
      continue;
    }
    for (int64_t row = 0; row < height; row += most_rows) {
      const Band band = {&lists, row, std::min(most_rows, height - row), stride};
      lists.fill(image + row * width, band.rows, width, stride, across);
      if (lists.points.empty()) continue;
      const float* const factor = point_scales();
      parallel_for(blocks, 1, threads, [&](int64_t begin, int64_t end) {
        const auto rows = buffers.acquire([&] { return std::make_unique<Buffer<float>>(most_rows * stride); });
        for (int64_t channel = begin * kBlock; channel < std::min(grid.channels, end * kBlock); channel += kBlock) {
          const int64_t valid = std::min(kBlock, grid.channels - channel);
          PA3D_DISPATCH(interpolate_down<Traits>)(tokens + channel, grid, band, down, valid, rows->data());
          PA3D_DISPATCH(add_across<kTaps>)
          (rows->data(), lists, factor, valid, grid.channels, count, sum + channel);
        }
      });
      update_counts();
    }
  }
}

}  // namespace

void backproject(const TokenGrids& grids, const PixelMap& pixels, int64_t n_points, Upsampling mode, bool per_view,
                 int threads, float* sum, int64_t* count) {
  const auto run = [&](auto taps, const auto* tokens, const auto* ids) {
    backproject_all<decltype(taps)::value>({grids.rows, grids.columns, grids.channels}, grids.views, tokens, ids,
                                           pixels.height, pixels.width, n_points, per_view, threads, sum, count);
  };
  const auto with_ids = [&](auto taps, const auto* tokens) {
    if (pixels.int64)
      run(taps, tokens, static_cast<const int64_t*>(pixels.data));
    else
      run(taps, tokens, static_cast<const int32_t*>(pixels.data));
  };
  const auto with_tokens = [&](auto taps) {
    if (grids.bfloat16)
      with_ids(taps, static_cast<const uint16_t*>(grids.data));
    else
      with_ids(taps, static_cast<const float*>(grids.data));
  };
  if (mode == Upsampling::nearest) with_tokens(std::integral_constant<int, 1>{});
  if (mode == Upsampling::bilinear) with_tokens(std::integral_constant<int, 2>{});
  if (mode == Upsampling::bicubic) with_tokens(std::integral_constant<int, 4>{});
}

}  // namespace pa3d
