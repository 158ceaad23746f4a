// Farthest point sampling of one cloud by one block. Used by fps.cu and sample_and_group.cu.
#pragma once

#include "common.cuh"

namespace pa3d {
namespace cuda {

// Clouds with more points are sampled by many blocks.
constexpr int64_t kLargeCloud = 16384;
// Up to this many points, coordinates are kept in registers. With more, they are read again for every centre, usually
// from the first-level cache.
constexpr int64_t kRegisterCloud = 8192;

struct Argmax {
  int distance;  // the bits of a float that is -1 or >= 0; their order is that of the floats
  int index;
};
static_assert(sizeof(Argmax) == 8, "one shared-memory word of 64 bits");

// The largest distance in a warp, and the lowest index that has it. All lanes get the result.
__device__ __forceinline__ Argmax warp_argmax(Argmax mine) {
  const int top = __reduce_max_sync(kAllLanes, mine.distance);
  const unsigned index = mine.distance == top ? static_cast<unsigned>(mine.index) : ~0u;
  return {top, static_cast<int>(__reduce_min_sync(kAllLanes, index))};
}

// Two buffers: a step writes one while slower warps still read the other.
template <int kThreads>
struct ArgmaxShared {
  Argmax warp[2][kThreads / 32];
};

// The same for a block: all threads get the result, and it takes a single barrier. `parity` alternates from call to
// call. A buffer is written again two calls later; the barrier between makes sure that all threads have read it.
template <int kThreads>
__device__ __forceinline__ Argmax block_argmax(Argmax mine, int parity, ArgmaxShared<kThreads>& s) {
  const int lane = threadIdx.x % 32;
  const Argmax of_warp = warp_argmax(mine);
  if (lane == 0) s.warp[parity][threadIdx.x / 32] = of_warp;
  __syncthreads();
  constexpr int kWarps = kThreads / 32;
  return warp_argmax(s.warp[parity][lane < kWarps ? lane : 0]);
}

__device__ __forceinline__ float first_distance(float x, float y, float z, float min_sq_norm) {
  // -1 is below every squared distance: never the farthest, and the minimum leaves it.
  return min_sq_norm <= 0 || squared_norm(x, y, z) > min_sq_norm ? infinity() : -1.0f;
}

// One cloud by one block; thread t owns points t, t + kThreads, ... Thread 0 calls emit(step, index).
template <int kThreads, int kPoints, bool kRegisters, class Emit>
__device__ __forceinline__ void sample_cloud(const float* __restrict__ points, int n, int num_centers, int start,
                                             float min_sq_norm, ArgmaxShared<kThreads>& s, const Emit& emit) {
  constexpr int kHeld = kRegisters ? kPoints : 1;
  float x[kHeld], y[kHeld], z[kHeld], distance[kPoints];
  const float* const mine = points + 3 * threadIdx.x;
#pragma unroll
  for (int j = 0; j < kPoints; ++j) {
    distance[j] = -1.0f;
    if (kRegisters) x[j % kHeld] = y[j % kHeld] = z[j % kHeld] = 0.0f;
    if (j * kThreads + static_cast<int>(threadIdx.x) >= n) continue;
    const float* const p = mine + 3 * kThreads * j;
    distance[j] = first_distance(p[0], p[1], p[2], min_sq_norm);
    if (kRegisters) {
      x[j % kHeld] = p[0];
      y[j % kHeld] = p[1];
      z[j % kHeld] = p[2];
    }
  }
  int chosen = start;
  for (int step = 0; step < num_centers; ++step) {
    if (threadIdx.x == 0) emit(step, chosen);
    const float cx = points[3 * chosen], cy = points[3 * chosen + 1], cz = points[3 * chosen + 2];
    Argmax best = {__float_as_int(-1.0f), static_cast<int>(threadIdx.x)};
#pragma unroll
    for (int j = 0; j < kPoints; ++j) {
      const int i = j * kThreads + threadIdx.x;
      if (kRegisters) {
        distance[j] = fminf(distance[j], squared_distance(x[j % kHeld], y[j % kHeld], z[j % kHeld], cx, cy, cz));
      } else if (i < n) {
        const float* const p = mine + 3 * kThreads * j;
        distance[j] = fminf(distance[j], squared_distance(p[0], p[1], p[2], cx, cy, cz));
      }
      const int bits = __float_as_int(distance[j]);
      if (bits > best.distance) best = {bits, i};
    }
    // If no point is eligible, all threads propose -1, and thread 0 has the lowest index.
    chosen = block_argmax<kThreads>(best, step % 2, s).index;
  }
}

}  // namespace cuda
}  // namespace pa3d
