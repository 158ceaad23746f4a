// Farthest point sampling. A cloud that one block can hold is sampled by one block, in one launch. A larger cloud takes
// one launch per centre. The order of launches in a stream is then the only barrier. So blocks need not be resident at
// the same time, nothing can deadlock, and the launches can be captured into a graph.
#include "fps.cuh"

namespace pa3d {
namespace cuda {

template <int kThreads, int kPoints, bool kRegisters>
__global__ void __launch_bounds__(kThreads) fps_block(const float* __restrict__ points, int n, int num_centers,
                                                      int start, float min_sq_norm, int64_t* __restrict__ index) {
  PA3D_SHARED(ArgmaxShared<kThreads>, shared);
  int64_t* const out = index + static_cast<int64_t>(blockIdx.x) * num_centers;
  sample_cloud<kThreads, kPoints, kRegisters>(points + static_cast<int64_t>(blockIdx.x) * n * 3, n, num_centers, start,
                                              min_sq_norm, shared, [out](int step, int chosen) { out[step] = chosen; });
}

constexpr int kStepThreads = 256;
constexpr int kStepPoints = 4;

// Packs a distance and an index into one number. The largest number has the largest distance, and the lowest index
// among equal distances.
__device__ __forceinline__ unsigned long long pack(Argmax a) {
  const unsigned high = static_cast<unsigned>(a.distance) ^ 0x80000000u;
  return static_cast<unsigned long long>(high) << 32 | ~static_cast<unsigned>(a.index);
}

// Computes the distance of every point to the centre of this step, and proposes the farthest point for the next step.
// best (batch, num_centers) is zero at first, less than every proposal. A maximum does not depend on the order of the
// proposals.
__global__ void __launch_bounds__(kStepThreads)
    fps_step(const float* __restrict__ points, int n, int num_centers, int step, int start, float min_sq_norm,
             float* __restrict__ distance, unsigned long long* __restrict__ best, int64_t* __restrict__ index) {
  PA3D_SHARED(ArgmaxShared<kStepThreads>, shared);
  const int64_t cloud = blockIdx.y;
  points += cloud * n * 3;
  distance += cloud * n;
  best += cloud * num_centers;
  const int chosen = step == 0 ? start : static_cast<int>(~static_cast<unsigned>(best[step - 1]));
  if (blockIdx.x == 0 && threadIdx.x == 0) index[cloud * num_centers + step] = chosen;
  const float* const center = points + 3 * static_cast<int64_t>(chosen);
  const float cx = center[0], cy = center[1], cz = center[2];

  const int first = blockIdx.x * (kStepThreads * kStepPoints) + threadIdx.x;
  Argmax mine = {__float_as_int(-1.0f), first};
#pragma unroll
  for (int j = 0; j < kStepPoints; ++j) {
    const int i = first + j * kStepThreads;
    if (i >= n) break;
    const float* const p = points + 3 * static_cast<int64_t>(i);
    const float before = step == 0 ? first_distance(p[0], p[1], p[2], min_sq_norm) : distance[i];
    const float now = fminf(before, squared_distance(p[0], p[1], p[2], cx, cy, cz));
    distance[i] = now;
    const int bits = __float_as_int(now);
    if (bits > mine.distance) mine = {bits, i};
  }
  const Argmax top = block_argmax<kStepThreads>(mine, 0, shared);
  if (threadIdx.x == 0) atomicMax(&best[step], pack(top));
}

namespace {

struct Workspace {
  unsigned long long* best = nullptr;
  float* distance = nullptr;
  int64_t bytes = 0;

  Workspace(void* memory, int64_t batch, int64_t n, int64_t num_centers) {
    WorkspaceLayout layout(memory);
    if (n <= kLargeCloud) return;
    best = layout.allocate<unsigned long long>(batch * num_centers);
    distance = layout.allocate<float>(batch * n);
    bytes = layout.bytes();
  }
};

bool sizes_fit(int64_t batch, int64_t n, int64_t num_centers) {
  return batch >= 1 && batch <= PA3D_CUDA_MAX_BATCH && n >= 1 && n <= kMaxInt / 2 && num_centers >= 1 &&
         num_centers <= kMaxInt / 2;
}

}  // namespace
}  // namespace cuda
}  // namespace pa3d

using namespace pa3d::cuda;

int64_t pa3d_cuda_fps_workspace(int64_t batch, int64_t n, int64_t num_centers) {
  return sizes_fit(batch, n, num_centers) ? Workspace(nullptr, batch, n, num_centers).bytes : -1;
}

int pa3d_cuda_fps(const float* points, int64_t batch, int64_t n, int64_t num_centers, int64_t start, float min_sq_norm,
                  int64_t* index, void* workspace, int64_t workspace_bytes, void* stream) {
  const int bad =
      first_error({check_size(sizes_fit(batch, n, num_centers) && start >= 0 && start < n && min_sq_norm >= 0),
                   check_pointer(points), check_pointer(index),
                   check_workspace(workspace, workspace_bytes, pa3d_cuda_fps_workspace(batch, n, num_centers))});
  if (bad != PA3D_CUDA_OK) return bad;
  const cudaStream_t cuda_stream = static_cast<cudaStream_t>(stream);
  const int count = static_cast<int>(n), steps = static_cast<int>(num_centers), first = static_cast<int>(start);
  const auto one_block = [&](auto kernel, int threads) {
    return status(launch(kernel, dim3(static_cast<unsigned>(batch)), dim3(threads), 0, cuda_stream, points, count,
                         steps, first, min_sq_norm, index));
  };
  if (n <= 1024) return one_block(fps_block<128, 8, true>, 128);
  if (n <= 2048) return one_block(fps_block<256, 8, true>, 256);
  if (n <= 4096) return one_block(fps_block<512, 8, true>, 512);
  if (n <= kRegisterCloud) return one_block(fps_block<1024, 8, true>, 1024);
  if (n <= kLargeCloud) return one_block(fps_block<1024, 16, false>, 1024);

  const Workspace w(workspace, batch, n, num_centers);
  int code = status(cudaMemsetAsync(w.best, 0, batch * num_centers * sizeof(*w.best), cuda_stream));
  const dim3 grid(blocks_for(n, kStepThreads * kStepPoints), static_cast<unsigned>(batch));
  for (int step = 0; step < steps && code == PA3D_CUDA_OK; ++step)
    code = status(launch(fps_step, grid, dim3(kStepThreads), 0, cuda_stream, points, count, steps, step, first,
                         min_sq_norm, w.distance, w.best, index));
  return code;
}
