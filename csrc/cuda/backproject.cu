// Token grids of 2D views summed to points without storing the upsampled images. Upsampling and summing are both
// linear. So the sum at a point is a weighted sum of tokens. First, the weights of all its pixels in a view are summed
// over the token grid, in shared memory. Then each token is read once per point instead of once per pixel and tap.
//
// Weights are summed as whole multiples of 2^-32. A sum of whole numbers does not depend on their order, so the result
// does not depend on which pixel or block comes first. Tokens are then visited in a fixed order.
#include "common.cuh"

namespace pa3d {
namespace cuda {

struct Images {
  const int* __restrict__ point_of_pixel;  // (views, height, width)
  int views, height, width, n_points;
};

struct Grid {
  const void* __restrict__ tokens;  // (views, rows, columns, channels)
  int rows, columns, channels;
};

constexpr int kPixelThreads = 256;

__device__ __forceinline__ int point_at(const Images& images, int view, int pixel) {
  if (pixel >= images.height * images.width) return -1;
  const int point = images.point_of_pixel[static_cast<int64_t>(view) * images.height * images.width + pixel];
  return static_cast<unsigned>(point) < static_cast<unsigned>(images.n_points) ? point : -1;
}

// counts (views, n_points), zero at first.
__global__ void __launch_bounds__(kPixelThreads) count_pixels(Images images, int* __restrict__ counts) {
  const int view = blockIdx.y, point = point_at(images, view, blockIdx.x * kPixelThreads + threadIdx.x);
  const unsigned same = __match_any_sync(kAllLanes, point);
  const bool leader = static_cast<int>(threadIdx.x % 32) == __ffs(same) - 1;
  if (leader && point >= 0) atomicAdd(&counts[static_cast<int64_t>(view) * images.n_points + point], __popc(same));
}

// Assigns every pair of view and point a range in the pixel list; the order of ranges is arbitrary. cursor is the begin
// of the range.
__global__ void __launch_bounds__(kPixelThreads)
    assign_ranges(int64_t pairs, const int* __restrict__ counts, int* __restrict__ cursor, int* __restrict__ total) {
  const int64_t pair = static_cast<int64_t>(blockIdx.x) * kPixelThreads + threadIdx.x;
  const int count = pair < pairs ? counts[pair] : 0, lane = threadIdx.x % 32;
  int inclusive_sum = count;
#pragma unroll
  for (int step = 1; step < 32; step *= 2) {
    const int other = __shfl_up_sync(kAllLanes, inclusive_sum, step);
    if (lane >= step) inclusive_sum += other;
  }
  int base = 0;
  if (lane == 31 && inclusive_sum > 0) base = atomicAdd(total, inclusive_sum);
  base = __shfl_sync(kAllLanes, base, 31);
  if (pair < pairs) cursor[pair] = base + inclusive_sum - count;
}

// Fills the ranges with pixels; afterwards cursor is the end of the range.
__global__ void __launch_bounds__(kPixelThreads)
    fill_pixel_lists(Images images, int* __restrict__ cursor, int* __restrict__ list) {
  const int view = blockIdx.y, pixel = blockIdx.x * kPixelThreads + threadIdx.x, lane = threadIdx.x % 32;
  const int point = point_at(images, view, pixel);
  const unsigned same = __match_any_sync(kAllLanes, point);
  const int leader = __ffs(same) - 1;
  int base = 0;
  if (lane == leader && point >= 0)
    base = atomicAdd(&cursor[static_cast<int64_t>(view) * images.n_points + point], __popc(same));
  base = __shfl_sync(kAllLanes, base, leader);
  if (point >= 0) list[base + __popc(same & ((1u << lane) - 1))] = pixel;
}

// The taps of a pixel along one axis: the index of the first one, which may be outside the grid, and the weights of
// all.
template <int kTaps>
struct Taps {
  int first;
  float weight[kTaps];
};

// b > 0
__device__ __forceinline__ int floor_divide(int a, int b) { return a >= 0 ? a / b : -((-a + b - 1) / b); }

template <int kTaps>
__device__ __forceinline__ Taps<kTaps> taps_of(int pixel, int pixels, int tokens) {
  if constexpr (kTaps == 1) {
    return {floor_divide(pixel * tokens, pixels), {1.0f}};
  } else {
    // (pixel + 1/2) tokens / pixels - 1/2 as a fraction, so that its whole part is exact.
    const int numerator = (2 * pixel + 1) * tokens - pixels;
    const int denominator = 2 * pixels, floor = floor_divide(numerator, denominator);
    const float t = static_cast<float>(numerator - floor * denominator) / static_cast<float>(denominator);
    const float s = 1.0f - t;
    if constexpr (kTaps == 2) {
      return {floor, {s, t}};
    } else {
      // Keys' cubic convolution with A = -3/4, at distances 1 + t, t, 1 - t and 2 - t.
      constexpr float a = -0.75f;
      const float u = t + 1.0f, v = s + 1.0f;
      return {floor - 1,
              {((a * u - 5.0f * a) * u + 8.0f * a) * u - 4.0f * a, ((a + 2.0f) * t - (a + 3.0f)) * t * t + 1.0f,
               ((a + 2.0f) * s - (a + 3.0f)) * s * s + 1.0f, ((a * v - 5.0f * a) * v + 8.0f * a) * v - 4.0f * a}};
    }
  }
}

__device__ __forceinline__ int clamp(int i, int n) { return min(max(i, 0), n - 1); }

struct Float32 {
  __device__ static float load(const void* p, int64_t i) { return static_cast<const float*>(p)[i]; }
};
struct Bfloat16 {
  __device__ static float load(const void* p, int64_t i) {
    return __uint_as_float(static_cast<unsigned>(static_cast<const uint16_t*>(p)[i]) << 16);
  }
};

constexpr int kGatherThreads = 256;
constexpr int kChannelsEach = 4;
constexpr int kMaxCells = 4096;  // cells of the token grid at a time: 32 KB of weights
constexpr double kFixedPointOne = 4294967296.0;

struct GatherShared {
  int row[2], column[2];  // lowest and highest tap of the point's pixels
};

template <int kTaps, class Format>
__global__ void __launch_bounds__(kGatherThreads, 4)
    gather_tokens(Grid grid, Images images, const int* __restrict__ counts, const int* __restrict__ ends,
                  const int* __restrict__ list, int cells, bool per_view, float* __restrict__ sum,
                  int* __restrict__ count) {
  PA3D_DYNAMIC_SHARED(unsigned long long, weight);  // cells; two's complement
  PA3D_SHARED(GatherShared, shared);
  const int point = blockIdx.x, first_channel = blockIdx.y * (kGatherThreads * kChannelsEach) + threadIdx.x;
  float total[kChannelsEach] = {};
  int seen = 0;
  for (int view = 0; view < images.views; ++view) {
    const int64_t pair = static_cast<int64_t>(view) * images.n_points + point;
    const int n = counts[pair];
    if (n == 0) continue;
    seen += per_view ? 1 : n;
    const float scale = static_cast<float>(1 / kFixedPointOne) / static_cast<float>(per_view ? n : 1);
    const int* const pixels = list + (ends[pair] - n);

    if (threadIdx.x < 2) {
      shared.row[threadIdx.x] = threadIdx.x == 0 ? grid.rows : -1;
      shared.column[threadIdx.x] = threadIdx.x == 0 ? grid.columns : -1;
    }
    __syncthreads();
    int low_row = grid.rows, high_row = -1, low_column = grid.columns, high_column = -1;
    for (int i = threadIdx.x; i < n; i += kGatherThreads) {
      const int y = taps_of<kTaps>(pixels[i] / images.width, images.height, grid.rows).first;
      const int x = taps_of<kTaps>(pixels[i] % images.width, images.width, grid.columns).first;
      low_row = min(low_row, clamp(y, grid.rows));
      high_row = max(high_row, clamp(y + kTaps - 1, grid.rows));
      low_column = min(low_column, clamp(x, grid.columns));
      high_column = max(high_column, clamp(x + kTaps - 1, grid.columns));
    }
    if (high_row >= 0) {
      atomicMin(&shared.row[0], low_row);
      atomicMax(&shared.row[1], high_row);
      atomicMin(&shared.column[0], low_column);
      atomicMax(&shared.column[1], high_column);
    }
    __syncthreads();
    const int top = shared.row[0], bottom = shared.row[1], left = shared.column[0];
    const int columns = shared.column[1] - left + 1;
    const int64_t of_view = static_cast<int64_t>(view) * grid.rows * grid.columns;

    // As many columns and rows at a time as fit into shared memory; nearly always all of them.
    const int step_columns = min(columns, cells), step_rows = cells / step_columns;
    for (int row = top; row <= bottom; row += step_rows) {
      const int rows = min(step_rows, bottom + 1 - row);
      for (int column = left; column < left + columns; column += step_columns) {
        const int across = min(step_columns, left + columns - column);
        for (int i = threadIdx.x; i < rows * across; i += kGatherThreads) weight[i] = 0;
        __syncthreads();
        for (int i = threadIdx.x; i < n; i += kGatherThreads) {
          const Taps<kTaps> y = taps_of<kTaps>(pixels[i] / images.width, images.height, grid.rows);
          const Taps<kTaps> x = taps_of<kTaps>(pixels[i] % images.width, images.width, grid.columns);
#pragma unroll
          for (int a = 0; a < kTaps; ++a) {
            const int r = clamp(y.first + a, grid.rows) - row;
            if (r < 0 || r >= rows) continue;
#pragma unroll
            for (int b = 0; b < kTaps; ++b) {
              const int c = clamp(x.first + b, grid.columns) - column;
              if (c < 0 || c >= across) continue;
              const long long part = __float2ll_rn(y.weight[a] * x.weight[b] * static_cast<float>(kFixedPointOne));
              atomicAdd(&weight[r * across + c], static_cast<unsigned long long>(part));
            }
          }
        }
        __syncthreads();
        for (int i = 0; i < rows * across; ++i) {
          const unsigned long long whole = weight[i];
          if (whole == 0) continue;
          const float w = static_cast<float>(static_cast<long long>(whole)) * scale;
          const int64_t token = of_view + static_cast<int64_t>(row + i / across) * grid.columns + column + i % across;
#pragma unroll
          for (int j = 0; j < kChannelsEach; ++j) {
            const int channel = first_channel + j * kGatherThreads;
            if (channel < grid.channels) total[j] += w * Format::load(grid.tokens, token * grid.channels + channel);
          }
        }
        __syncthreads();
      }
    }
  }
#pragma unroll
  for (int j = 0; j < kChannelsEach; ++j) {
    const int channel = first_channel + j * kGatherThreads;
    if (channel < grid.channels) sum[static_cast<int64_t>(point) * grid.channels + channel] = total[j];
  }
  if (threadIdx.x == 0 && blockIdx.y == 0) count[point] = seen;
}

namespace {

struct Workspace {
  int *counts, *cursor, *total, *list;
  int64_t bytes;

  Workspace(void* memory, int64_t views, int64_t height, int64_t width, int64_t n_points) {
    WorkspaceLayout layout(memory);
    counts = layout.allocate<int>(views * n_points);
    total = layout.allocate<int>(1);
    cursor = layout.allocate<int>(views * n_points);
    list = layout.allocate<int>(views * height * width);
    bytes = layout.bytes();
  }
};

bool sizes_fit(int64_t views, int64_t height, int64_t width, int64_t n_points) {
  return views >= 1 && views <= PA3D_CUDA_MAX_BATCH && height >= 1 && height <= PA3D_CUDA_MAX_IMAGE_SIDE &&
         width >= 1 && width <= PA3D_CUDA_MAX_IMAGE_SIDE && n_points >= 1 && n_points <= kMaxInt / 2 &&
         views * height * width <= kMaxInt && views * n_points <= kMaxInt * 64;
}

}  // namespace
}  // namespace cuda
}  // namespace pa3d

using namespace pa3d::cuda;

int64_t pa3d_cuda_backproject_workspace(int64_t views, int64_t height, int64_t width, int64_t n_points) {
  return sizes_fit(views, height, width, n_points) ? Workspace(nullptr, views, height, width, n_points).bytes : -1;
}

int pa3d_cuda_backproject(const void* tokens, int32_t dtype, int64_t views, int64_t rows, int64_t columns,
                          int64_t channels, const int32_t* point_of_pixel, int64_t height, int64_t width,
                          int64_t n_points, int32_t mode, int32_t per_view, float* sum, int32_t* count, void* workspace,
                          int64_t workspace_bytes, void* stream) {
  const int64_t needed = pa3d_cuda_backproject_workspace(views, height, width, n_points);
  const int64_t max_side = PA3D_CUDA_MAX_IMAGE_SIDE;
  const bool fits = needed >= 0 && rows >= 1 && rows <= max_side && columns >= 1 && columns <= max_side &&
                    channels >= 1 && channels <= kMaxInt / 2 && mode >= PA3D_CUDA_NEAREST &&
                    mode <= PA3D_CUDA_BICUBIC && (dtype == PA3D_CUDA_FLOAT32 || dtype == PA3D_CUDA_BFLOAT16);
  const int tokens_status = dtype == PA3D_CUDA_BFLOAT16 ? check_pointer(static_cast<const uint16_t*>(tokens))
                                                        : check_pointer(static_cast<const float*>(tokens));
  int code = first_error({check_size(fits), tokens_status, check_pointer(point_of_pixel), check_pointer(sum),
                          check_pointer(count), check_workspace(workspace, workspace_bytes, needed)});
  if (code != PA3D_CUDA_OK) return code;

  const cudaStream_t cuda_stream = static_cast<cudaStream_t>(stream);
  const Workspace w(workspace, views, height, width, n_points);
  const Images images = {point_of_pixel, static_cast<int>(views), static_cast<int>(height), static_cast<int>(width),
                         static_cast<int>(n_points)};
  const Grid grid = {tokens, static_cast<int>(rows), static_cast<int>(columns), static_cast<int>(channels)};
  const int64_t pairs = views * n_points;
  const dim3 over_pixels(blocks_for(height * width, kPixelThreads), static_cast<unsigned>(views));
  code = status(cudaMemsetAsync(w.counts, 0, pairs * sizeof(int), cuda_stream));
  if (code == PA3D_CUDA_OK) code = status(cudaMemsetAsync(w.total, 0, sizeof(int), cuda_stream));
  if (code == PA3D_CUDA_OK)
    code = status(launch(count_pixels, over_pixels, dim3(kPixelThreads), 0, cuda_stream, images, w.counts));
  if (code == PA3D_CUDA_OK)
    code = status(launch(assign_ranges, dim3(blocks_for(pairs, kPixelThreads)), dim3(kPixelThreads), 0, cuda_stream,
                         pairs, w.counts, w.cursor, w.total));
  if (code == PA3D_CUDA_OK)
    code = status(launch(fill_pixel_lists, over_pixels, dim3(kPixelThreads), 0, cuda_stream, images, w.cursor, w.list));
  if (code != PA3D_CUDA_OK) return code;

  const int cells = static_cast<int>(rows * columns < kMaxCells ? rows * columns : kMaxCells);
  const auto gather = [&](auto kernel) {
    return status(launch(kernel,
                         dim3(static_cast<unsigned>(n_points), blocks_for(channels, kGatherThreads * kChannelsEach)),
                         dim3(kGatherThreads), cells * sizeof(unsigned long long), cuda_stream, grid, images, w.counts,
                         w.cursor, w.list, cells, per_view != 0, sum, count));
  };
  if (dtype == PA3D_CUDA_FLOAT32) {
    if (mode == PA3D_CUDA_NEAREST) return gather(gather_tokens<1, Float32>);
    return mode == PA3D_CUDA_BILINEAR ? gather(gather_tokens<2, Float32>) : gather(gather_tokens<4, Float32>);
  }
  if (mode == PA3D_CUDA_NEAREST) return gather(gather_tokens<1, Bfloat16>);
  return mode == PA3D_CUDA_BILINEAR ? gather(gather_tokens<2, Bfloat16>) : gather(gather_tokens<4, Bfloat16>);
}
