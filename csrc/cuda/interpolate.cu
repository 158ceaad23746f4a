// Interpolates values at centres to points. A thread finds the nearest centres of one point. Then the block writes the
// rows of its points together, so that neighbouring threads write neighbouring values.
#include "common.cuh"

namespace pa3d {
namespace cuda {

constexpr int kInterpolateThreads = 128;

template <int kNearest>
struct InterpolateShared {
  float center[3][kInterpolateThreads];
  float weight[kInterpolateThreads][kNearest];
  int index[kInterpolateThreads][kNearest];
};

template <int kNearest>
__global__ void __launch_bounds__(kInterpolateThreads)
    interpolate_points(const float* __restrict__ points, const float* __restrict__ centers,
                       const float* __restrict__ values, int n, int num_centers, int channels,
                       float* __restrict__ out) {
  PA3D_SHARED(InterpolateShared<kNearest>, s);
  const int64_t cloud = blockIdx.y;
  points += cloud * n * 3;
  centers += cloud * num_centers * 3;
  values += cloud * num_centers * channels;
  out += cloud * n * channels;

  const int first = blockIdx.x * kInterpolateThreads, mine = min(first + static_cast<int>(threadIdx.x), n - 1);
  const float* const p = points + 3 * static_cast<int64_t>(mine);
  const float px = p[0], py = p[1], pz = p[2];
  float best[kNearest];
  int best_index[kNearest];
#pragma unroll
  for (int j = 0; j < kNearest; ++j) {
    best[j] = infinity();
    best_index[j] = 0;
  }
  for (int base = 0; base < num_centers; base += kInterpolateThreads) {
    const int tile = min(kInterpolateThreads, num_centers - base);
    for (int i = threadIdx.x; i < 3 * tile; i += kInterpolateThreads)
      s.center[i % 3][i / 3] = centers[3 * static_cast<int64_t>(base) + i];
    __syncthreads();
    for (int i = 0; i < tile; ++i) {
      float d = squared_distance(px, py, pz, s.center[0][i], s.center[1][i], s.center[2][i]);
      int candidate = base + i;
      bool shifted = false;  // once a slot is taken, all later ones move down by one, equal ones too
#pragma unroll
      for (int j = 0; j < kNearest; ++j) {
        shifted |= d < best[j];
        if (!shifted) continue;
        const float displaced = best[j];
        const int displaced_index = best_index[j];
        best[j] = d;
        best_index[j] = candidate;
        d = displaced;
        candidate = displaced_index;
      }
    }
    __syncthreads();
  }

  float weight[kNearest], sum = 0;
#pragma unroll
  for (int j = 0; j < kNearest; ++j) {
    weight[j] = __fdiv_rn(1.0f, __fadd_rn(__fsqrt_rn(best[j]), 1e-8f));
    sum = __fadd_rn(sum, weight[j]);
  }
#pragma unroll
  for (int j = 0; j < kNearest; ++j) {
    s.weight[threadIdx.x][j] = kNearest == 1 ? 1.0f : __fdiv_rn(weight[j], sum);
    s.index[threadIdx.x][j] = best_index[j];
  }
  __syncthreads();

  const int rows = min(kInterpolateThreads, n - first);
  const int64_t cells = static_cast<int64_t>(rows) * channels;
  float* const block_out = out + static_cast<int64_t>(first) * channels;
  for (int64_t cell = threadIdx.x; cell < cells; cell += kInterpolateThreads) {
    const int row = static_cast<int>(cell / channels), channel = static_cast<int>(cell % channels);
    const float* const column = values + channel;
    if (kNearest == 1) {
      block_out[cell] = column[static_cast<int64_t>(s.index[row][0]) * channels];
      continue;
    }
    float total = 0;
#pragma unroll
    for (int j = 0; j < kNearest; ++j)
      total = __fadd_rn(total, __fmul_rn(s.weight[row][j], column[static_cast<int64_t>(s.index[row][j]) * channels]));
    block_out[cell] = total;
  }
}

}  // namespace cuda
}  // namespace pa3d

using namespace pa3d::cuda;

int pa3d_cuda_interpolate(const float* points, const float* centers, const float* values, int64_t batch, int64_t n,
                          int64_t num_centers, int64_t channels, int64_t k, float* out, void* stream) {
  const bool fits = batch >= 1 && batch <= PA3D_CUDA_MAX_BATCH && n >= 1 && n <= kMaxInt / 2 && num_centers >= 1 &&
                    num_centers <= kMaxInt / 2 && channels >= 1 && channels <= kMaxInt && k >= 1 && k <= 3 &&
                    k <= num_centers;
  const int bad = first_error(
      {check_size(fits), check_pointer(points), check_pointer(centers), check_pointer(values), check_pointer(out)});
  if (bad != PA3D_CUDA_OK) return bad;
  const auto run = [&](auto kernel) {
    return status(launch(kernel, dim3(blocks_for(n, kInterpolateThreads), static_cast<unsigned>(batch)),
                         dim3(kInterpolateThreads), 0, static_cast<cudaStream_t>(stream), points, centers, values,
                         static_cast<int>(n), static_cast<int>(num_centers), static_cast<int>(channels), out));
  };
  return k == 1 ? run(interpolate_points<1>) : k == 2 ? run(interpolate_points<2>) : run(interpolate_points<3>);
}
