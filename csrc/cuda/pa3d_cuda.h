// The CUDA kernels for programs in any language: C functions that take device pointers, sizes, a workspace and a
// stream, without a framework.
//
// Every function returns at once. The work is queued on `stream` (a cudaStream_t; null means the default stream) of the
// current device. It never waits for the host, allocates nothing and may be captured into a graph. Pointers are to
// device memory and aligned to their element type. A workspace is aligned to 256 bytes, and at least as large as the
// matching *_workspace function says; that function returns -1 for sizes that the operation does not accept. The
// content of a workspace has no meaning before or after a call. Devices need compute capability 8.0 or later.
#pragma once

#include <stdint.h>

#if defined(__GNUC__)
#define PA3D_CUDA_API __attribute__((visibility("default")))
#else
#define PA3D_CUDA_API
#endif

#ifdef __cplusplus
extern "C" {
#endif

enum {
  PA3D_CUDA_OK = 0,
  PA3D_CUDA_NULL = 1,        // a pointer is null that must not be
  PA3D_CUDA_SIZE = 2,        // a size or an option out of range
  PA3D_CUDA_ALIGNMENT = 3,   // a pointer that is not aligned
  PA3D_CUDA_WORKSPACE = 4,   // the workspace is too small
  PA3D_CUDA_RUNTIME = 1000,  // 1000 + e: the CUDA runtime returned error e
};

enum { PA3D_CUDA_FLOAT32 = 0, PA3D_CUDA_BFLOAT16 = 1 };
enum { PA3D_CUDA_NEAREST = 0, PA3D_CUDA_BILINEAR = 1, PA3D_CUDA_BICUBIC = 2 };

enum {
  PA3D_CUDA_MAX_NEIGHBORS = 1024,
  PA3D_CUDA_MAX_BATCH = 65535,  // clouds or views per call
  PA3D_CUDA_MAX_IMAGE_SIDE = 16384,
};

// The version of this interface; increase it with every change of this header. Python reads it as pa3d._C.CUDA_ABI.
enum { PA3D_CUDA_ABI = 2 };
// PA3D_CUDA_ABI of the loaded library.
PA3D_CUDA_API int pa3d_cuda_version(void);
// The message of a status code, a static string.
PA3D_CUDA_API const char* pa3d_cuda_error(int code);
// The number of devices, or a negated status code.
PA3D_CUDA_API int pa3d_cuda_device_count(void);
// Makes `device` the calling thread's current device in the CUDA runtime that this library uses.
PA3D_CUDA_API int pa3d_cuda_set_device(int device);
// Copies a small table from the host to the device; `bytes` is a multiple of 8. Its values are passed as arguments of
// launches, 2 KB each. So `host` may change once this returns, and a captured graph keeps the values.
PA3D_CUDA_API int pa3d_cuda_upload(const void* host, int64_t bytes, void* device, void* stream);

// Farthest point sampling, with the rule and the results of cpu/fps.h. points (batch, n, 3), index (batch,
// num_centers).
PA3D_CUDA_API int64_t pa3d_cuda_fps_workspace(int64_t batch, int64_t n, int64_t num_centers);
PA3D_CUDA_API int pa3d_cuda_fps(const float* points, int64_t batch, int64_t n, int64_t num_centers, int64_t start,
                                float min_sq_norm, int64_t* index, void* workspace, int64_t workspace_bytes,
                                void* stream);

// The k nearest points of each of q queries, ascending by squared distance; the lowest index wins ties. queries (batch,
// q, 3), points (batch, n, 3), index (batch, q, k), distance (squared) of that shape or null. k <= min(n,
// PA3D_CUDA_MAX_NEIGHBORS).
PA3D_CUDA_API int pa3d_cuda_knn(const float* queries, const float* points, int64_t batch, int64_t q, int64_t n,
                                int64_t k, int64_t* index, float* distance, void* stream);

// Sampling and grouping in one call: index (batch, num_centers) of the centres, and members (batch, num_centers,
// group_size), the group_size points nearest to each; distance (squared) of that shape or null.
PA3D_CUDA_API int64_t pa3d_cuda_sample_and_group_workspace(int64_t batch, int64_t n, int64_t num_centers,
                                                           int64_t group_size);
PA3D_CUDA_API int pa3d_cuda_sample_and_group(const float* points, int64_t batch, int64_t n, int64_t num_centers,
                                             int64_t group_size, int64_t start, float min_sq_norm, int64_t* index,
                                             int64_t* members, float* distance, void* workspace,
                                             int64_t workspace_bytes, void* stream);

// Interpolates values at centres to points, with the same bits as cpu/interpolate.h. points (batch, n, 3), centers
// (batch, num_centers, 3), values (batch, num_centers, channels), out (batch, n, channels); k from 1 to min(3,
// num_centers).
PA3D_CUDA_API int pa3d_cuda_interpolate(const float* points, const float* centers, const float* values, int64_t batch,
                                        int64_t n, int64_t num_centers, int64_t channels, int64_t k, float* out,
                                        void* stream);

// Cameras as in cpu/rasterize.h. `matrices` (count, 3, 4) float64 is in device memory too.
typedef struct {
  const double* matrices;
  double near_plane;
  int64_t count, height, width;
  int32_t perspective;
} pa3d_cuda_views;

// Triangles to images, with the rule and the results of cpu/rasterize.h. vertices (n_vertices, 3), faces (n_faces, 3);
// a face with an index out of range is left out. id (count, height, width); depth of that shape or null; barycentric
// (count, height, width, 3) or null.
PA3D_CUDA_API int64_t pa3d_cuda_rasterize_workspace(int64_t n_vertices, int64_t n_faces, int64_t views, int64_t height,
                                                    int64_t width);
PA3D_CUDA_API int pa3d_cuda_rasterize(const float* vertices, int64_t n_vertices, const int32_t* faces, int64_t n_faces,
                                      const pa3d_cuda_views* views, int32_t* id, float* depth, float* barycentric,
                                      void* workspace, int64_t workspace_bytes, void* stream);

// Points to images, as discs that face the camera: points (n, 3), radius (n,), scale (count,) as in cpu/rasterize.h.
// Its workspace is pa3d_cuda_rasterize_workspace for 0 vertices and 0 faces.
PA3D_CUDA_API int pa3d_cuda_rasterize_points(const float* points, const float* radius, int64_t n,
                                             const pa3d_cuda_views* views, const double* scale, int32_t* id,
                                             float* depth, void* workspace, int64_t workspace_bytes, void* stream);

// Token grids (views, rows, columns, channels) of float32 or bfloat16, upsampled to height x width and summed over the
// pixels of each point; the upsampled images are never stored. Writes sum (n_points, channels) and count (n_points,),
// the number of pixels. point_of_pixel (views, height, width): pixels with a value outside 0 .. n_points - 1 show no
// point. Upsampling is PyTorch's with align_corners=False: nearest, bilinear, or bicubic with A = -0.75. If per_view is
// not 0, the mean of a point's pixels in a view is added instead of their sum, and count is the number of views. The
// result is the same in every run.
PA3D_CUDA_API int64_t pa3d_cuda_backproject_workspace(int64_t views, int64_t height, int64_t width, int64_t n_points);
PA3D_CUDA_API int pa3d_cuda_backproject(const void* tokens, int32_t dtype, int64_t views, int64_t rows, int64_t columns,
                                        int64_t channels, const int32_t* point_of_pixel, int64_t height, int64_t width,
                                        int64_t n_points, int32_t mode, int32_t per_view, float* sum, int32_t* count,
                                        void* workspace, int64_t workspace_bytes, void* stream);

#ifdef __cplusplus
}
#endif
