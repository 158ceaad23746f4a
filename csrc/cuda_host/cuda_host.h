// Runs CUDA kernels on the CPU, from their unchanged sources, to check their logic and their indexing.
//
// Every thread of a block is a fiber: a thread that is switched in software. A fiber runs until it waits for others (at
// a barrier or a warp operation) or sleeps; sometimes it also stops at an atomic. Then a seeded random generator picks
// another one. So code that lacks a barrier also runs in orders in which it fails. Shared memory starts with random
// content. Several blocks run at a time, in an order that depends on the seed too. The launch returns an error, instead
// of hanging or silently succeeding, for:
// - a barrier that not all threads reach,
// - warp operations whose lanes disagree about the mask or the line of code,
// - threads that sleep forever.
//
// It does not check memory ordering: a fiber is never interrupted between two plain accesses, and sees everything that
// others wrote. Nor does it check speed, or the code that a CUDA compiler generates. There is one launch at a time,
// from one thread. It needs x86-64 or AArch64 Linux with g++ or clang++, and works under AddressSanitizer and
// UndefinedBehaviorSanitizer.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstring>
#include <type_traits>
#include <utility>

#include "machine.h"

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __launch_bounds__(...)
#define __grid_constant__

#define threadIdx (::cuda_host::machine().self().thread)
#define blockIdx (::cuda_host::machine().self().block->index)
#define blockDim (::cuda_host::machine().block())
#define gridDim (::cuda_host::machine().grid())

#define PA3D_SHARED(type, name)     \
  static const char name##_key = 0; \
  type& name = *static_cast<type*>(::cuda_host::machine().shared(&name##_key, sizeof(type)))
#define PA3D_DYNAMIC_SHARED(type, name) type* const name = static_cast<type*>(::cuda_host::machine().dynamic_shared())

#define __syncthreads() ::cuda_host::machine().barrier(__LINE__)
#define __syncwarp() ::cuda_host::warp(::cuda_host::Op::kSyncwarp, 0xffffffffu, 0, __LINE__)
#define __ballot_sync(mask, predicate) ::cuda_host::warp(::cuda_host::Op::kBallot, mask, (predicate) ? 1 : 0, __LINE__)
#define __match_any_sync(mask, value) \
  ::cuda_host::warp(::cuda_host::Op::kMatch, mask, ::cuda_host::to_bits(value), __LINE__)
#define __reduce_add_sync(mask, value) ::cuda_host::warp(::cuda_host::Op::kAdd, mask, value, __LINE__)
#define __reduce_min_sync(mask, value) ::cuda_host::warp(::cuda_host::Op::kMin, mask, value, __LINE__)
#define __reduce_max_sync(mask, value) ::cuda_host::signed_max(mask, value, __LINE__)
#define __shfl_sync(mask, value, source) ::cuda_host::shuffle(mask, value, static_cast<int>(source) & 31, __LINE__)
#define __shfl_up_sync(mask, value, delta) \
  ::cuda_host::shuffle(mask, value, ::cuda_host::lane_below(static_cast<int>(delta)), __LINE__)

inline void __nanosleep(unsigned) { cuda_host::machine().sleep(); }

template <class T>
T atomicAdd(T* address, T value) {
  using Unsigned = std::make_unsigned_t<T>;  // wraps around, as the device does
  cuda_host::machine().maybe_yield();
  const T old = *address;
  *address = static_cast<T>(static_cast<Unsigned>(old) + static_cast<Unsigned>(value));
  return old;
}
template <class T>
T atomicMin(T* address, T value) {
  cuda_host::machine().maybe_yield();
  const T old = *address;
  *address = std::min(old, value);
  return old;
}
template <class T>
T atomicMax(T* address, T value) {
  cuda_host::machine().maybe_yield();
  const T old = *address;
  *address = std::max(old, value);
  return old;
}
template <class T>
T atomicExch(T* address, T value) {
  cuda_host::machine().maybe_yield();
  return std::exchange(*address, value);
}

// Built with -ffp-contract=off, so that none of these is fused with another.
inline float __fadd_rn(float a, float b) { return a + b; }
inline float __fsub_rn(float a, float b) { return a - b; }
inline float __fmul_rn(float a, float b) { return a * b; }
inline float __fdiv_rn(float a, float b) { return a / b; }
inline float __fsqrt_rn(float a) { return std::sqrt(a); }
inline double __dadd_rn(double a, double b) { return a + b; }
inline double __dsub_rn(double a, double b) { return a - b; }
inline double __dmul_rn(double a, double b) { return a * b; }
inline double __ddiv_rn(double a, double b) { return a / b; }
inline float __double2float_rn(double a) { return static_cast<float>(a); }
inline int __double2int_rn(double a) {
  return std::isnan(a) ? 0 : static_cast<int>(std::nearbyint(std::clamp(a, -2147483648.0, 2147483647.0)));
}
inline long long __float2ll_rn(float a) { return std::llrint(a); }
inline int __float_as_int(float a) { return cuda_host::from_bits<int>(cuda_host::to_bits(a)); }
inline unsigned __float_as_uint(float a) { return cuda_host::from_bits<unsigned>(cuda_host::to_bits(a)); }
inline float __int_as_float(int a) { return cuda_host::from_bits<float>(cuda_host::to_bits(a)); }
inline float __uint_as_float(unsigned a) { return cuda_host::from_bits<float>(cuda_host::to_bits(a)); }
inline int __popc(unsigned a) { return __builtin_popcount(a); }
inline int __ffs(unsigned a) { return __builtin_ffs(static_cast<int>(a)); }
using std::max;
using std::min;

inline cudaError_t cudaMemsetAsync(void* memory, int value, size_t bytes, cudaStream_t) {
  std::memset(memory, value, bytes);
  return cudaSuccess;
}
inline cudaError_t cudaGetDeviceCount(int* count) {
  *count = 1;
  return cudaSuccess;
}
inline cudaError_t cudaSetDevice(int) { return cudaSuccess; }
inline const char* cudaGetErrorString(cudaError_t) { return cuda_host::machine().message(); }

namespace pa3d {
namespace cuda {

template <class... Parameters, class... Arguments>
cudaError_t launch(void (*kernel)(Parameters...), dim3 grid, dim3 block, size_t shared_bytes, cudaStream_t,
                   Arguments&&... arguments) {
  return cuda_host::machine().run(grid, block, shared_bytes, [=]() { kernel(static_cast<Parameters>(arguments)...); });
}

}  // namespace cuda
}  // namespace pa3d

extern "C" {
// Sets the order of threads and blocks in the next launches.
__attribute__((visibility("default"), used)) inline void pa3d_cuda_host_seed(uint64_t seed) {
  cuda_host::machine().seed(seed);
}
}
