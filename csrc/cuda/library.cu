// The functions of pa3d_cuda.h that are not kernels: version, errors, devices, upload.
#include <cstring>

#include "common.cuh"

static_assert(sizeof(float) == 4 && sizeof(double) == 8 && sizeof(int64_t) == 8, "sizes of the interface");
static_assert(sizeof(pa3d_cuda_views) == 48 && offsetof(pa3d_cuda_views, count) == 16 &&
                  offsetof(pa3d_cuda_views, perspective) == 40,
              "pa3d_cuda_views is mirrored by other languages");

namespace pa3d {
namespace cuda {

constexpr int kWords = 256;

// Small tables are passed as arguments of launches. No memory has to be pinned, nothing waits, and a graph keeps its
// own copy.
struct Words {
  uint64_t word[kWords];
};
static_assert(sizeof(Words) <= 4096 - 64, "arguments of a launch");

__global__ void __launch_bounds__(kWords)
    store_words(const __grid_constant__ Words words, int count, uint64_t* __restrict__ out) {
  const int i = threadIdx.x;
  if (i < count) out[i] = words.word[i];
}

}  // namespace cuda
}  // namespace pa3d

using namespace pa3d::cuda;

int pa3d_cuda_version(void) { return PA3D_CUDA_ABI; }

const char* pa3d_cuda_error(int code) {
  switch (code) {
    case PA3D_CUDA_OK:
      return "no error";
    case PA3D_CUDA_NULL:
      return "a pointer is null";
    case PA3D_CUDA_SIZE:
      return "a size or an option is out of range";
    case PA3D_CUDA_ALIGNMENT:
      return "a pointer is not aligned";
    case PA3D_CUDA_WORKSPACE:
      return "the workspace is too small";
    default:
      if (code < PA3D_CUDA_RUNTIME) return "unknown code";
      return cudaGetErrorString(static_cast<cudaError_t>(code - PA3D_CUDA_RUNTIME));
  }
}

int pa3d_cuda_device_count(void) {
  int count = 0;
  const int code = status(cudaGetDeviceCount(&count));
  return code == PA3D_CUDA_OK ? count : -code;
}

int pa3d_cuda_set_device(int device) { return status(cudaSetDevice(device)); }

int pa3d_cuda_upload(const void* host, int64_t bytes, void* device, void* stream) {
  constexpr int64_t kBytes = sizeof(Words);
  const int bad =
      first_error({check_size(bytes >= 8 && bytes % 8 == 0 && bytes <= kMaxInt),
                   check_pointer(static_cast<const char*>(host)), check_pointer(static_cast<uint64_t*>(device))});
  if (bad != PA3D_CUDA_OK) return bad;
  int code = PA3D_CUDA_OK;
  for (int64_t begin = 0; begin < bytes && code == PA3D_CUDA_OK; begin += kBytes) {
    const int64_t piece = bytes - begin < kBytes ? bytes - begin : kBytes;
    Words words = {};
    std::memcpy(words.word, static_cast<const char*>(host) + begin, piece);
    code = status(launch(store_words, dim3(1), dim3(kWords), 0, static_cast<cudaStream_t>(stream), words,
                         static_cast<int>(piece / 8), static_cast<uint64_t*>(device) + begin / 8));
  }
  return code;
}
