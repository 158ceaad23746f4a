// Shared by all kernel files: nvcc or the CPU emulation, argument checks, and arithmetic that is never fused.
#pragma once

#include <cstddef>
#include <cstdint>
#include <initializer_list>

#ifdef PA3D_CUDA_HOST
#include "cuda_host/cuda_host.h"
#else
#include <cuda_runtime.h>

#include <utility>

// Shared memory of a block: one object of a trivial type, and an array whose size the launch gives.
#define PA3D_SHARED(type, name) __shared__ type name
#define PA3D_DYNAMIC_SHARED(type, name)          \
  extern __shared__ uint4 pa3d_dynamic_shared[]; \
  type* const name = reinterpret_cast<type*>(pa3d_dynamic_shared)

namespace pa3d {
namespace cuda {

template <class... Parameters, class... Arguments>
cudaError_t launch(void (*kernel)(Parameters...), dim3 grid, dim3 block, size_t shared_bytes, cudaStream_t stream,
                   Arguments&&... arguments) {
  cudaLaunchConfig_t config = {};
  config.gridDim = grid;
  config.blockDim = block;
  config.dynamicSmemBytes = shared_bytes;
  config.stream = stream;
  return cudaLaunchKernelEx(&config, kernel, std::forward<Arguments>(arguments)...);
}

}  // namespace cuda
}  // namespace pa3d
#endif

#include "pa3d_cuda.h"

namespace pa3d {
namespace cuda {

constexpr unsigned kAllLanes = 0xffffffffu;
constexpr int64_t kMaxInt = 0x7fffffff;

inline int status(cudaError_t error) {
  return error == cudaSuccess ? PA3D_CUDA_OK : PA3D_CUDA_RUNTIME + static_cast<int>(error);
}

// The first of the codes that is not PA3D_CUDA_OK.
inline int first_error(std::initializer_list<int> codes) {
  for (int code : codes)
    if (code != PA3D_CUDA_OK) return code;
  return PA3D_CUDA_OK;
}

inline int check_size(bool good) { return good ? PA3D_CUDA_OK : PA3D_CUDA_SIZE; }

template <class T>
int check_pointer(const T* pointer) {
  if (pointer == nullptr) return PA3D_CUDA_NULL;
  return reinterpret_cast<uintptr_t>(pointer) % alignof(T) == 0 ? PA3D_CUDA_OK : PA3D_CUDA_ALIGNMENT;
}

template <class T>
int check_optional(const T* pointer) {
  return pointer == nullptr ? PA3D_CUDA_OK : check_pointer(pointer);
}

inline int check_workspace(const void* workspace, int64_t given, int64_t needed) {
  if (needed < 0) return PA3D_CUDA_SIZE;
  if (needed == 0) return PA3D_CUDA_OK;
  if (workspace == nullptr) return PA3D_CUDA_NULL;
  if (reinterpret_cast<uintptr_t>(workspace) % 256 != 0) return PA3D_CUDA_ALIGNMENT;
  return given >= needed ? PA3D_CUDA_OK : PA3D_CUDA_WORKSPACE;
}

inline int64_t round_up(int64_t x, int64_t to) { return (x + to - 1) / to * to; }

// Divides a workspace into arrays, each at a multiple of 256 bytes. With null memory it only computes the size.
class WorkspaceLayout {
 public:
  explicit WorkspaceLayout(void* memory) : memory_(static_cast<char*>(memory)) {}

  template <class T>
  T* allocate(int64_t count) {
    char* const piece = memory_ == nullptr ? nullptr : memory_ + used_;
    used_ += round_up(count * static_cast<int64_t>(sizeof(T)), 256);
    return reinterpret_cast<T*>(piece);
  }
  int64_t bytes() const { return used_; }

 private:
  char* memory_;
  int64_t used_ = 0;
};

inline unsigned blocks_for(int64_t items, int64_t per_block) {
  return static_cast<unsigned>((items + per_block - 1) / per_block);
}

__device__ __forceinline__ float infinity() { return __int_as_float(0x7f800000); }

// (dx*dx + dy*dy) + dz*dz, each step rounded to float32: what every backend computes.
__device__ __forceinline__ float squared_norm(float x, float y, float z) {
  return __fadd_rn(__fadd_rn(__fmul_rn(x, x), __fmul_rn(y, y)), __fmul_rn(z, z));
}

__device__ __forceinline__ float squared_distance(float ax, float ay, float az, float bx, float by, float bz) {
  return squared_norm(__fsub_rn(ax, bx), __fsub_rn(ay, by), __fsub_rn(az, bz));
}

// A float64 whose products and sums the compiler must not fuse.
struct ExactDouble {
  double v;
  ExactDouble() = default;
  __device__ __forceinline__ ExactDouble(double value) : v(value) {}
};
static_assert(sizeof(ExactDouble) == sizeof(double), "arrays of ExactDouble are arrays of double");

__device__ __forceinline__ ExactDouble operator+(ExactDouble a, ExactDouble b) { return __dadd_rn(a.v, b.v); }
__device__ __forceinline__ ExactDouble operator-(ExactDouble a, ExactDouble b) { return __dsub_rn(a.v, b.v); }
__device__ __forceinline__ ExactDouble operator-(ExactDouble a) { return -a.v; }
__device__ __forceinline__ ExactDouble operator*(ExactDouble a, ExactDouble b) { return __dmul_rn(a.v, b.v); }
__device__ __forceinline__ ExactDouble operator/(ExactDouble a, ExactDouble b) { return __ddiv_rn(a.v, b.v); }
__device__ __forceinline__ bool operator<(ExactDouble a, ExactDouble b) { return a.v < b.v; }
__device__ __forceinline__ bool operator>(ExactDouble a, ExactDouble b) { return a.v > b.v; }
__device__ __forceinline__ bool operator<=(ExactDouble a, ExactDouble b) { return a.v <= b.v; }
__device__ __forceinline__ bool operator>=(ExactDouble a, ExactDouble b) { return a.v >= b.v; }

// As std::min and std::max, NaN included.
template <class T>
__device__ __forceinline__ T min_like_std(T a, T b) {
  return b < a ? b : a;
}
template <class T>
__device__ __forceinline__ T max_like_std(T a, T b) {
  return a < b ? b : a;
}

}  // namespace cuda
}  // namespace pa3d
