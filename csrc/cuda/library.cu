// The functions of pa3d_cuda.h that are about the library itself.
#include "common.cuh"

static_assert(sizeof(float) == 4 && sizeof(double) == 8 && sizeof(int64_t) == 8, "sizes of the interface");
static_assert(sizeof(pa3d_cuda_views) == 48 && offsetof(pa3d_cuda_views, count) == 16 &&
                  offsetof(pa3d_cuda_views, perspective) == 40,
              "pa3d_cuda_views is mirrored by other languages");

int pa3d_cuda_version(void) { return 1; }

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
  const int code = pa3d::cuda::status(cudaGetDeviceCount(&count));
  return code == PA3D_CUDA_OK ? count : -code;
}

int pa3d_cuda_set_device(int device) { return pa3d::cuda::status(cudaSetDevice(device)); }
