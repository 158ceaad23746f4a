// The k nearest points of one query, by one block. Distance and index are packed into one key of 63 bits. All keys are
// different, so the k smallest keys are the answer, ties included. The k-th smallest key is found digit by digit from
// the top (radix selection). Digits of the index are examined only if distances tie there.
#pragma once

#include "common.cuh"

namespace pa3d {
namespace cuda {

constexpr int kDigitBits = 11;
constexpr int kDigits = 1 << kDigitBits;

struct SelectShared {
  unsigned long long key[PA3D_CUDA_MAX_NEIGHBORS];
  unsigned histogram[kDigits];
  unsigned warp_total[32];
  unsigned digit, below, equal, filled;
};

__device__ __forceinline__ unsigned long long neighbor_key(const float* __restrict__ points, int i, float cx, float cy,
                                                           float cz) {
  const float* const p = points + 3 * static_cast<int64_t>(i);
  // The sign bit is cleared: a NaN then counts as the farthest point. With its sign bit set, selection could not handle
  // it.
  const unsigned distance = __float_as_uint(squared_distance(cx, cy, cz, p[0], p[1], p[2])) & 0x7fffffffu;
  return static_cast<unsigned long long>(distance) << 32 | static_cast<unsigned>(i);
}

// Finds s.digit, the digit of the wanted-th smallest of the counted keys; s.below, how many keys have smaller digits;
// and s.equal, how many have this digit.
template <int kThreads>
__device__ __forceinline__ void find_digit(unsigned wanted, SelectShared& s) {
  constexpr int kEach = kDigits / kThreads;
  static_assert(kDigits % kThreads == 0, "threads share the digits evenly");
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  unsigned sum = 0;
#pragma unroll
  for (int j = 0; j < kEach; ++j) sum += s.histogram[threadIdx.x * kEach + j];
  unsigned inclusive_sum = sum;  // inclusive prefix sum over lanes
#pragma unroll
  for (int step = 1; step < 32; step *= 2) {
    const unsigned other = __shfl_up_sync(kAllLanes, inclusive_sum, step);
    if (lane >= step) inclusive_sum += other;
  }
  if (lane == 31) s.warp_total[warp] = inclusive_sum;
  __syncthreads();
  unsigned before = inclusive_sum - sum;
  before += __reduce_add_sync(kAllLanes, lane < warp ? s.warp_total[lane] : 0u);
  if (before < wanted && wanted <= before + sum) {
#pragma unroll
    for (int j = 0; j < kEach; ++j) {
      const unsigned here = s.histogram[threadIdx.x * kEach + j];
      if (before < wanted && wanted <= before + here) {
        s.digit = threadIdx.x * kEach + j;
        s.below = before;
        s.equal = here;
      }
      before += here;
    }
  }
  __syncthreads();
}

// Sorts s.key[0 .. size), a power of two, ascending (Batcher's bitonic network).
template <int kThreads>
__device__ __forceinline__ void sort_keys(int size, SelectShared& s) {
  for (int run = 2; run <= size; run *= 2) {
    for (int step = run / 2; step > 0; step /= 2) {
      for (int pair = threadIdx.x; pair < size / 2; pair += kThreads) {
        const int low = pair / step * 2 * step + pair % step, high = low + step;
        const bool ascending = (low & run) == 0;
        const unsigned long long a = s.key[low], b = s.key[high];
        if ((a > b) == ascending) {
          s.key[low] = b;
          s.key[high] = a;
        }
      }
      __syncthreads();
    }
  }
}

// Writes member (k) and distance (k) or null; 1 <= k <= min(n, PA3D_CUDA_MAX_NEIGHBORS). All threads of the block must
// call it.
template <int kThreads>
__device__ __forceinline__ void select_nearest(const float* __restrict__ points, int n, float cx, float cy, float cz,
                                               int k, SelectShared& s, int64_t* member, float* distance) {
  unsigned long long prefix = 0;  // the leading digits of the k-th smallest key
  unsigned wanted = k;            // the rank of that key among the keys that share these digits
  int shift = 63;                 // distances are not negative: bit 63 is zero
  do {
    const int bits = min(shift, kDigitBits);
    for (int i = threadIdx.x; i < kDigits; i += kThreads) s.histogram[i] = 0;
    __syncthreads();
    for (int i = threadIdx.x; i < n; i += kThreads) {
      const unsigned long long key = neighbor_key(points, i, cx, cy, cz);
      if (key >> shift == prefix) atomicAdd(&s.histogram[(key >> (shift - bits)) & ((1u << bits) - 1)], 1u);
    }
    __syncthreads();
    find_digit<kThreads>(wanted, s);
    prefix = prefix << bits | s.digit;
    wanted -= s.below;
    shift -= bits;
  } while (s.equal != wanted && shift > 0);  // equal: all keys with this prefix are wanted

  int size = 1;
  while (size < k) size *= 2;
  if (threadIdx.x == 0) s.filled = 0;
  for (int i = k + threadIdx.x; i < size; i += kThreads) s.key[i] = ~0ull;
  __syncthreads();
  for (int i = threadIdx.x; i < n; i += kThreads) {
    const unsigned long long key = neighbor_key(points, i, cx, cy, cz);
    if (key >> shift <= prefix) s.key[atomicAdd(&s.filled, 1u)] = key;
  }
  __syncthreads();
  sort_keys<kThreads>(size, s);
  for (int i = threadIdx.x; i < k; i += kThreads) {
    member[i] = static_cast<int64_t>(s.key[i] & 0xffffffffu);
    if (distance != nullptr) distance[i] = __uint_as_float(static_cast<unsigned>(s.key[i] >> 32));
  }
}

}  // namespace cuda
}  // namespace pa3d
