// Centres by farthest point sampling, and the nearest points of each. Sampling is serial and occupies one block per
// cloud. The other blocks of the same launch search the neighbours of a centre as soon as it is chosen, so that
// grouping takes almost no additional time.
#include "fps.cuh"
#include "select.cuh"

namespace pa3d {
namespace cuda {

template <int kThreads>
struct GroupShared {
  SelectShared select;
  ArgmaxShared<kThreads> argmax;
  int task, center;
};

// Blocks take numbered tickets from a counter. A block with one of the first `batch` tickets samples a cloud and never
// waits. Every other block groups one centre, and waits until that centre is chosen. The block that chooses it took its
// ticket earlier, so it is already running and will finish. So there is no deadlock, however few blocks fit on the
// device at a time. tickets and published (batch, num_centers) start as -1.
template <int kThreads, int kPoints, bool kRegisters>
__global__ void __launch_bounds__(kThreads)
    sample_and_group(const float* __restrict__ points, int batch, int n, int num_centers, int group_size, int start,
                     float min_sq_norm, int* tickets, int* published, int64_t* __restrict__ index,
                     int64_t* __restrict__ members, float* __restrict__ distance) {
  PA3D_SHARED(GroupShared<kThreads>, shared);
  if (threadIdx.x == 0) shared.task = atomicAdd(tickets, 1) + 1;
  __syncthreads();
  const int task = shared.task;
  if (task < batch) {
    const int64_t row = static_cast<int64_t>(task) * num_centers;
    sample_cloud<kThreads, kPoints, kRegisters>(points + static_cast<int64_t>(task) * n * 3, n, num_centers, start,
                                                min_sq_norm, shared.argmax, [=](int step, int chosen) {
                                                  index[row + step] = chosen;
                                                  // The index is its own flag: no other write has to be seen with it.
                                                  atomicExch(&published[row + step], chosen);
                                                });
    return;
  }
  const int center_rank = (task - batch) / batch;
  const int64_t cloud = (task - batch) % batch, slot = cloud * num_centers + center_rank;
  if (threadIdx.x == 0) {
    int center;
    while ((center = *static_cast<const volatile int*>(&published[slot])) < 0) __nanosleep(200);
    shared.center = center;
  }
  __syncthreads();
  points += cloud * n * 3;
  const float* const c = points + 3 * static_cast<int64_t>(shared.center);
  select_nearest<kThreads>(points, n, c[0], c[1], c[2], group_size, shared.select, members + slot * group_size,
                           distance == nullptr ? nullptr : distance + slot * group_size);
}

constexpr int kGroupThreads = 256;

// The k nearest points of queries (batch, q, 3) or, if that is null, of the points that index (batch, q) names.
__global__ void __launch_bounds__(kGroupThreads)
    nearest_points(const float* __restrict__ queries, const int64_t* __restrict__ index,
                   const float* __restrict__ points, int q, int n, int k, int64_t* __restrict__ members,
                   float* __restrict__ distance) {
  PA3D_SHARED(SelectShared, shared);
  const int64_t slot = static_cast<int64_t>(blockIdx.y) * q + blockIdx.x;
  points += static_cast<int64_t>(blockIdx.y) * n * 3;
  const float* const c = queries != nullptr ? queries + 3 * slot : points + 3 * index[slot];
  select_nearest<kGroupThreads>(points, n, c[0], c[1], c[2], k, shared, members + slot * k,
                                distance == nullptr ? nullptr : distance + slot * k);
}

namespace {

bool sizes_fit(int64_t batch, int64_t q, int64_t n, int64_t k) {
  return batch >= 1 && batch <= PA3D_CUDA_MAX_BATCH && q >= 1 && n >= 1 && n <= kMaxInt / 2 && k >= 1 && k <= n &&
         k <= PA3D_CUDA_MAX_NEIGHBORS && batch * (q + 1) <= kMaxInt;
}

int search(const float* queries, const int64_t* index, const float* points, int64_t batch, int64_t q, int64_t n,
           int64_t k, int64_t* members, float* distance, cudaStream_t cuda_stream) {
  return status(launch(nearest_points, dim3(static_cast<unsigned>(q), static_cast<unsigned>(batch)),
                       dim3(kGroupThreads), 0, cuda_stream, queries, index, points, static_cast<int>(q),
                       static_cast<int>(n), static_cast<int>(k), members, distance));
}

}  // namespace
}  // namespace cuda
}  // namespace pa3d

using namespace pa3d::cuda;

int pa3d_cuda_knn(const float* queries, const float* points, int64_t batch, int64_t q, int64_t n, int64_t k,
                  int64_t* index, float* distance, void* stream) {
  const int bad = first_error({check_size(sizes_fit(batch, q, n, k)), check_pointer(queries), check_pointer(points),
                               check_pointer(index), check_optional(distance)});
  if (bad != PA3D_CUDA_OK) return bad;
  return search(queries, nullptr, points, batch, q, n, k, index, distance, static_cast<cudaStream_t>(stream));
}

int64_t pa3d_cuda_sample_and_group_workspace(int64_t batch, int64_t n, int64_t num_centers, int64_t group_size) {
  if (!sizes_fit(batch, num_centers, n, group_size)) return -1;
  if (n > kLargeCloud) return pa3d_cuda_fps_workspace(batch, n, num_centers);
  return round_up((1 + batch * num_centers) * static_cast<int64_t>(sizeof(int)), 256);
}

int pa3d_cuda_sample_and_group(const float* points, int64_t batch, int64_t n, int64_t num_centers, int64_t group_size,
                               int64_t start, float min_sq_norm, int64_t* index, int64_t* members, float* distance,
                               void* workspace, int64_t workspace_bytes, void* stream) {
  const int64_t needed = pa3d_cuda_sample_and_group_workspace(batch, n, num_centers, group_size);
  const int bad = first_error({check_size(needed >= 0 && start >= 0 && start < n && min_sq_norm >= 0),
                               check_pointer(points), check_pointer(index), check_pointer(members),
                               check_optional(distance), check_workspace(workspace, workspace_bytes, needed)});
  if (bad != PA3D_CUDA_OK) return bad;
  const cudaStream_t cuda_stream = static_cast<cudaStream_t>(stream);
  if (n > kLargeCloud) {
    const int code =
        pa3d_cuda_fps(points, batch, n, num_centers, start, min_sq_norm, index, workspace, workspace_bytes, stream);
    return code != PA3D_CUDA_OK
               ? code
               : search(nullptr, index, points, batch, num_centers, n, group_size, members, distance, cuda_stream);
  }

  int* const tickets = static_cast<int*>(workspace);
  int code = status(cudaMemsetAsync(tickets, 0xff, (1 + batch * num_centers) * sizeof(int), cuda_stream));
  if (code != PA3D_CUDA_OK) return code;
  const auto fused = [&](auto kernel, int threads) {
    return status(launch(kernel, dim3(static_cast<unsigned>(batch * (num_centers + 1))), dim3(threads), 0, cuda_stream,
                         points, static_cast<int>(batch), static_cast<int>(n), static_cast<int>(num_centers),
                         static_cast<int>(group_size), static_cast<int>(start), min_sq_norm, tickets, tickets + 1,
                         index, members, distance));
  };
  if (n <= 1024) return fused(sample_and_group<128, 8, true>, 128);
  if (n <= 2048) return fused(sample_and_group<256, 8, true>, 256);
  if (n <= 4096) return fused(sample_and_group<512, 8, true>, 512);
  if (n <= kRegisterCloud) return fused(sample_and_group<1024, 8, true>, 1024);
  return fused(sample_and_group<1024, 16, false>, 1024);
}
