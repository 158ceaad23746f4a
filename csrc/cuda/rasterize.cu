// Triangles and discs to images, by the rule of cpu/rasterize.h, with equal bits. Each pixel keeps the smallest of
// 64-bit keys that hold the inverse depth above the id, so the order of drawing does not matter.
//
// Triangles are sorted by the number of pixels in their bounding box. A tiny triangle is drawn by the thread that set
// it up, a medium one by that thread's warp, both with atomicMin. Large ones, and those that must be clipped, go to a
// list per view. Then one block per tile of the image reads this list, a part at a time, and collects in shared memory
// the triangles that touch the tile. Every thread keeps the smallest key of its own pixel. Working memory is bounded: 8
// bytes per pixel, 16 per vertex and 4 per face, for every view.
#include "rasterize.cuh"

namespace pa3d {
namespace cuda {

constexpr int kVertexThreads = 256;

__global__ void __launch_bounds__(kVertexThreads) project_vertices(Scene scene, Corner* __restrict__ corners) {
  const int i = blockIdx.x * kVertexThreads + threadIdx.x;
  if (i >= scene.n_vertices) return;
  const double* const matrix = scene.matrices + 12 * blockIdx.y;
  corners[static_cast<int64_t>(blockIdx.y) * scene.n_vertices + i] =
      project(scene, transform(matrix, scene.vertices + 3 * static_cast<int64_t>(i)));
}

enum class Size { kNothing, kTiny, kMedium, kDeferred };

// Whether clipping certainly leaves nothing, decided without cutting. Planes cut one after the other. So the first
// plane that has corners on both sides ends what can be decided.
__device__ __forceinline__ bool clips_away(const Scene& s, const double* matrix, const int* face) {
  Point p[3];
#pragma unroll
  for (int i = 0; i < 3; ++i) {
    p[i] = transform(matrix, s.vertices + 3 * static_cast<int64_t>(face[i]));
    if (!finite(p[i].x) || !finite(p[i].y) || !finite(p[i].z)) return true;
  }
  bool decided = true, outside = false;
#pragma unroll
  for (int plane = 0; plane < 5; ++plane) {
    int inside = 0;
#pragma unroll
    for (int i = 0; i < 3; ++i) inside += plane_distance(s, p[i], plane) >= 0.0 ? 1 : 0;
    outside |= decided && inside == 0;
    decided &= inside == 3;
  }
  return outside;
}

__device__ __forceinline__ bool has_corners(const Scene& s, const int* face) {
  const unsigned n = s.n_vertices;
  return static_cast<unsigned>(face[0]) < n && static_cast<unsigned>(face[1]) < n && static_cast<unsigned>(face[2]) < n;
}

constexpr int kFaceThreads = 128;

struct FaceShared {
  Triangle triangle[kFaceThreads];
};

// keys (views, height, width); deferred (views, n_faces) and deferred_count (views) receive the faces left to
// draw_tiles.
__global__ void __launch_bounds__(kFaceThreads)
    draw_faces(Scene scene, const Corner* __restrict__ corners, unsigned long long* keys, int* __restrict__ deferred,
               int* __restrict__ deferred_count) {
  PA3D_SHARED(FaceShared, shared);
  const int face = blockIdx.x * kFaceThreads + threadIdx.x, view = blockIdx.y;
  keys += static_cast<int64_t>(view) * scene.height * scene.width;
  Triangle& mine = shared.triangle[threadIdx.x];
  Size size = Size::kNothing;
  if (face < scene.n_faces) {
    const int* const f = scene.faces + 3 * static_cast<int64_t>(face);
    if (has_corners(scene, f)) {
      const Corner* const of_view = corners + static_cast<int64_t>(view) * scene.n_vertices;
      const Corner a = of_view[f[0]], b = of_view[f[1]], c = of_view[f[2]];
      Box box;
      if (a.u == kNeedsClipping || b.u == kNeedsClipping || c.u == kNeedsClipping) {
        if (!clips_away(scene, scene.matrices + 12 * view, f)) size = Size::kDeferred;
      } else if (pixel_box(a, b, c, {0, scene.width - 1, 0, scene.height - 1}, &box)) {
        const int pixels = (box.x1 - box.x0 + 1) * (box.y1 - box.y0 + 1);
        if (pixels > kMediumPixels)
          size = Size::kDeferred;
        else if (setup_triangle(a, b, c, face, box, &mine))
          size = pixels > kTinyPixels ? Size::kMedium : Size::kTiny;
      }
    }
  }
  if (size == Size::kDeferred)
    deferred[static_cast<int64_t>(view) * scene.n_faces + atomicAdd(&deferred_count[view], 1)] = face;
  if (size == Size::kTiny) {
    for (int y = mine.box.y0; y <= mine.box.y1; ++y)
      for (int x = mine.box.x0; x <= mine.box.x1; ++x)
        atomic_min_key(&keys[static_cast<int64_t>(y) * scene.width + x], key_at(mine, x, y));
  }
  const int lane = threadIdx.x % 32;
  // A ballot does not order memory accesses; __syncwarp makes the triangles of the warp visible to every lane.
  __syncwarp();
  for (unsigned left = __ballot_sync(kAllLanes, size == Size::kMedium); left != 0; left &= left - 1) {
    const Triangle& t = shared.triangle[threadIdx.x - lane + __ffs(left) - 1];
    const int columns = t.box.x1 - t.box.x0 + 1, pixels = columns * (t.box.y1 - t.box.y0 + 1);
    for (int i = lane; i < pixels; i += 32) {
      const int x = t.box.x0 + i % columns, y = t.box.y0 + i / columns;
      atomic_min_key(&keys[static_cast<int64_t>(y) * scene.width + x], key_at(t, x, y));
    }
  }
}

constexpr int kTile = 16;
constexpr int kTileThreads = kTile * kTile;
constexpr int kFan = kMaxClipped - 2;

struct TileShared {
  Point polygon[2][32][kMaxClipped];
  Triangle triangle[32 * kFan];
  int binned[kTileThreads];
  int n_binned, n_triangles;
};

__device__ __forceinline__ void add_triangle(const Corner& a, const Corner& b, const Corner& c, int face,
                                             const Box& tile, TileShared& s) {
  Box box;
  Triangle t;
  if (pixel_box(a, b, c, tile, &box) && setup_triangle(a, b, c, face, box, &t))
    s.triangle[atomicAdd(&s.n_triangles, 1)] = t;
}

// One thread per pixel; no other block writes these pixels during this launch.
__global__ void __launch_bounds__(kTileThreads)
    draw_tiles(Scene scene, const Corner* __restrict__ corners, unsigned long long* __restrict__ keys,
               const int* __restrict__ deferred, const int* __restrict__ deferred_count) {
  PA3D_SHARED(TileShared, s);
  const int view = blockIdx.z, count = deferred_count[view];
  if (count == 0) return;
  const int x = blockIdx.x * kTile + threadIdx.x % kTile, y = blockIdx.y * kTile + threadIdx.x / kTile;
  const Box tile = {
      static_cast<int>(blockIdx.x) * kTile, min(static_cast<int>(blockIdx.x) * kTile + kTile, scene.width) - 1,
      static_cast<int>(blockIdx.y) * kTile, min(static_cast<int>(blockIdx.y) * kTile + kTile, scene.height) - 1};
  const double* const matrix = scene.matrices + 12 * view;
  corners += static_cast<int64_t>(view) * scene.n_vertices;
  deferred += static_cast<int64_t>(view) * scene.n_faces;

  unsigned long long best = kEmpty;
  for (int base = 0; base < count; base += kTileThreads) {
    if (threadIdx.x == 0) s.n_binned = 0;
    __syncthreads();
    if (base + static_cast<int>(threadIdx.x) < count) {
      const int face = deferred[base + threadIdx.x];
      const int* const f = scene.faces + 3 * static_cast<int64_t>(face);
      const Corner a = corners[f[0]], b = corners[f[1]], c = corners[f[2]];
      Box box;
      const bool unsafe = a.u == kNeedsClipping || b.u == kNeedsClipping || c.u == kNeedsClipping;
      if (unsafe || pixel_box(a, b, c, tile, &box)) s.binned[atomicAdd(&s.n_binned, 1)] = face;
    }
    __syncthreads();
    for (int begin = 0; begin < s.n_binned; begin += 32) {
      if (threadIdx.x == 0) s.n_triangles = 0;
      __syncthreads();
      const int mine = begin + threadIdx.x;
      if (threadIdx.x < 32 && mine < s.n_binned) {
        const int face = s.binned[mine];
        const int* const f = scene.faces + 3 * static_cast<int64_t>(face);
        const Corner a = corners[f[0]], b = corners[f[1]], c = corners[f[2]];
        if (a.u != kNeedsClipping && b.u != kNeedsClipping && c.u != kNeedsClipping) {
          add_triangle(a, b, c, face, tile, s);
        } else {
          Point* polygon = s.polygon[0][threadIdx.x];
          for (int i = 0; i < 3; ++i) polygon[i] = transform(matrix, scene.vertices + 3 * static_cast<int64_t>(f[i]));
          const int sides = clip(scene, polygon, s.polygon[1][threadIdx.x], &polygon);
          for (int i = 2; i < sides; ++i)
            add_triangle(to_corner(scene, polygon[0]), to_corner(scene, polygon[i - 1]), to_corner(scene, polygon[i]),
                         face, tile, s);
        }
      }
      __syncthreads();
      for (int i = 0; i < s.n_triangles; ++i) {
        const Triangle& t = s.triangle[i];
        if (x < t.box.x0 || x > t.box.x1 || y < t.box.y0 || y > t.box.y1) continue;
        best = min(best, key_at(t, x, y));
      }
      __syncthreads();
    }
    // Only needed if no triangle of this part touches the tile: all threads must read n_binned before it is reset.
    __syncthreads();
  }
  if (best == kEmpty) return;
  unsigned long long* const pixel = &keys[(static_cast<int64_t>(view) * scene.height + y) * scene.width + x];
  *pixel = min(*pixel, best);
}

constexpr int kDiscThreads = 128;

struct Disc {
  int u, v, r, id;
  float inverse_depth;
  Box box;
};

struct DiscShared {
  Disc disc[kDiscThreads];
};

// Each thread projects one point, and its warp draws it.
__global__ void __launch_bounds__(kDiscThreads) draw_discs(Scene scene, const float* __restrict__ radius,
                                                           const double* __restrict__ scale, unsigned long long* keys) {
  PA3D_SHARED(DiscShared, shared);
  const int id = blockIdx.x * kDiscThreads + threadIdx.x, view = blockIdx.y;
  keys += static_cast<int64_t>(view) * scene.height * scene.width;
  bool visible = false;
  if (id < scene.n_vertices) {
    const Corner c =
        project(scene, transform(scene.matrices + 12 * view, scene.vertices + 3 * static_cast<int64_t>(id)));
    if (c.u != kNeedsClipping) {
      const int r = to_subpixels(ExactDouble(radius[id]) * scale[view] * (scene.perspective ? c.q : ExactDouble(1.0)));
      const Box box = {max((c.u - r) >> 10, 0), min((c.u + r) >> 10, scene.width - 1), max((c.v - r) >> 10, 0),
                       min((c.v + r) >> 10, scene.height - 1)};
      shared.disc[threadIdx.x] = {c.u, c.v, r, id, __double2float_rn(c.q.v), box};
      visible = box.x0 <= box.x1 && box.y0 <= box.y1;
    }
  }
  const int lane = threadIdx.x % 32;
  __syncwarp();
  for (unsigned left = __ballot_sync(kAllLanes, visible); left != 0; left &= left - 1) {
    const Disc& d = shared.disc[threadIdx.x - lane + __ffs(left) - 1];
    if (!(d.inverse_depth > -infinity())) continue;
    const int columns = d.box.x1 - d.box.x0 + 1;
    const int64_t pixels = static_cast<int64_t>(columns) * (d.box.y1 - d.box.y0 + 1);
    for (int64_t i = lane; i < pixels; i += 32) {
      const int x = d.box.x0 + static_cast<int>(i % columns), y = d.box.y0 + static_cast<int>(i / columns);
      const long long dx = x * kSubpixels + kSubpixels / 2 - d.u, dy = y * kSubpixels + kSubpixels / 2 - d.v;
      const bool inside = dx * dx + dy * dy <= static_cast<long long>(d.r) * d.r || (x == d.u >> 10 && y == d.v >> 10);
      if (inside) atomic_min_key(&keys[static_cast<int64_t>(y) * scene.width + x], make_key(d.inverse_depth, d.id));
    }
  }
}

// Perspective-correct barycentric weights at a pixel's centre, as in cpu/rasterize.cpp.
__device__ __forceinline__ void barycentric_at(const Scene& s, const double* matrix, const int* face, ExactDouble px,
                                               ExactDouble py, float* out) {
  ExactDouble x[3], y[3], area[3];
#pragma unroll
  for (int i = 0; i < 3; ++i) {
    const Point p = transform(matrix, s.vertices + 3 * static_cast<int64_t>(face[i]));
    const ExactDouble w = s.perspective ? p.z : ExactDouble(1.0);
    x[i] = p.x - px * w;
    y[i] = p.y - py * w;
  }
#pragma unroll
  for (int i = 0; i < 3; ++i) area[i] = x[(i + 1) % 3] * y[(i + 2) % 3] - y[(i + 1) % 3] * x[(i + 2) % 3];
  const ExactDouble sign = area[0] + area[1] + area[2] < 0.0 ? -1.0 : 1.0;
#pragma unroll
  for (int i = 0; i < 3; ++i) area[i] = max_like_std(area[i] * sign, ExactDouble(0.0));
  const ExactDouble sum = area[0] + area[1] + area[2];
  // A triangle that is seen exactly edge-on has no area here; any point of it would do, and this is the centroid.
  const bool usable = sum > 0.0 && finite(sum);
#pragma unroll
  for (int i = 0; i < 3; ++i) out[i] = __double2float_rn((usable ? area[i] / sum : ExactDouble(1.0) / 3.0).v);
}

constexpr int kPixelThreads = 256;

__global__ void __launch_bounds__(kPixelThreads)
    write_images(Scene scene, const unsigned long long* __restrict__ keys, int* __restrict__ id,
                 float* __restrict__ depth, float* __restrict__ weights) {
  const int pixel = blockIdx.x * kPixelThreads + threadIdx.x;
  if (pixel >= scene.height * scene.width) return;
  const int64_t offset = static_cast<int64_t>(blockIdx.y) * scene.height * scene.width + pixel;
  const unsigned long long key = keys[offset];
  const bool drawn = key != kEmpty;
  const int winner = drawn ? static_cast<int>(key & 0xffffffffu) : -1;
  id[offset] = winner;
  if (depth != nullptr) {
    const float inverse_depth = key_inverse_depth(key);
    depth[offset] = !drawn ? infinity() : scene.perspective ? __fdiv_rn(1.0f, inverse_depth) : -inverse_depth;
  }
  if (weights == nullptr) return;
  weights += 3 * offset;
  if (drawn)
    barycentric_at(scene, scene.matrices + 12 * blockIdx.y, scene.faces + 3 * static_cast<int64_t>(winner),
                   pixel % scene.width + 0.5, pixel / scene.width + 0.5, weights);
  else
    weights[0] = weights[1] = weights[2] = 0.0f;
}

namespace {

struct Workspace {
  unsigned long long* keys;
  Corner* corners;
  int *deferred, *deferred_count;
  int64_t bytes;

  Workspace(void* memory, int64_t n_vertices, int64_t n_faces, int64_t views, int64_t height, int64_t width) {
    WorkspaceLayout layout(memory);
    keys = layout.allocate<unsigned long long>(views * height * width);
    corners = layout.allocate<Corner>(views * n_vertices);
    deferred = layout.allocate<int>(views * n_faces);
    deferred_count = layout.allocate<int>(views);
    bytes = layout.bytes();
  }
};

bool sizes_fit(int64_t n_vertices, int64_t n_faces, int64_t views, int64_t height, int64_t width) {
  return n_vertices >= 0 && n_vertices <= kMaxInt / 2 && n_faces >= 0 && n_faces <= kMaxInt / 2 && views >= 1 &&
         views <= PA3D_CUDA_MAX_BATCH && height >= 1 && height <= PA3D_CUDA_MAX_IMAGE_SIDE && width >= 1 &&
         width <= PA3D_CUDA_MAX_IMAGE_SIDE;
}

int check_views(const pa3d_cuda_views* views) {
  if (views == nullptr) return PA3D_CUDA_NULL;
  return first_error(
      {check_size(views->near_plane > 0 && views->near_plane < HUGE_VAL), check_pointer(views->matrices)});
}

Scene scene_of(const float* vertices, int64_t n_vertices, const int32_t* faces, int64_t n_faces,
               const pa3d_cuda_views& views) {
  return {vertices,
          faces,
          views.matrices,
          views.near_plane,
          static_cast<int>(n_vertices),
          static_cast<int>(n_faces),
          static_cast<int>(views.height),
          static_cast<int>(views.width),
          views.perspective != 0};
}

int clear(const Workspace& w, const pa3d_cuda_views& views, cudaStream_t cuda_stream) {
  const int code =
      status(cudaMemsetAsync(w.keys, 0xff, views.count * views.height * views.width * sizeof(*w.keys), cuda_stream));
  return code != PA3D_CUDA_OK ? code
                              : status(cudaMemsetAsync(w.deferred_count, 0, views.count * sizeof(int), cuda_stream));
}

int write(const Scene& scene, unsigned views, const Workspace& w, int32_t* id, float* depth, float* weights,
          cudaStream_t cuda_stream) {
  const int64_t pixels = static_cast<int64_t>(scene.height) * scene.width;
  return status(launch(write_images, dim3(blocks_for(pixels, kPixelThreads), views), dim3(kPixelThreads), 0,
                       cuda_stream, scene, w.keys, id, depth, weights));
}

}  // namespace
}  // namespace cuda
}  // namespace pa3d

using namespace pa3d::cuda;

int64_t pa3d_cuda_rasterize_workspace(int64_t n_vertices, int64_t n_faces, int64_t views, int64_t height,
                                      int64_t width) {
  return sizes_fit(n_vertices, n_faces, views, height, width)
             ? Workspace(nullptr, n_vertices, n_faces, views, height, width).bytes
             : -1;
}

int pa3d_cuda_rasterize(const float* vertices, int64_t n_vertices, const int32_t* faces, int64_t n_faces,
                        const pa3d_cuda_views* views, int32_t* id, float* depth, float* barycentric, void* workspace,
                        int64_t workspace_bytes, void* stream) {
  int code = check_views(views);
  if (code != PA3D_CUDA_OK) return code;
  const int64_t needed = pa3d_cuda_rasterize_workspace(n_vertices, n_faces, views->count, views->height, views->width);
  code = first_error({check_size(needed >= 0), n_vertices > 0 ? check_pointer(vertices) : PA3D_CUDA_OK,
                      n_faces > 0 ? check_pointer(faces) : PA3D_CUDA_OK, check_pointer(id), check_optional(depth),
                      check_optional(barycentric), check_workspace(workspace, workspace_bytes, needed)});
  if (code != PA3D_CUDA_OK) return code;

  const cudaStream_t cuda_stream = static_cast<cudaStream_t>(stream);
  const Workspace w(workspace, n_vertices, n_faces, views->count, views->height, views->width);
  const Scene scene = scene_of(vertices, n_vertices, faces, n_faces, *views);
  const unsigned count = static_cast<unsigned>(views->count);
  code = clear(w, *views, cuda_stream);
  if (code == PA3D_CUDA_OK && n_vertices > 0 && n_faces > 0) {
    code = status(launch(project_vertices, dim3(blocks_for(n_vertices, kVertexThreads), count), dim3(kVertexThreads), 0,
                         cuda_stream, scene, w.corners));
    if (code == PA3D_CUDA_OK)
      code = status(launch(draw_faces, dim3(blocks_for(n_faces, kFaceThreads), count), dim3(kFaceThreads), 0,
                           cuda_stream, scene, w.corners, w.keys, w.deferred, w.deferred_count));
    if (code == PA3D_CUDA_OK)
      code = status(launch(draw_tiles, dim3(blocks_for(views->width, kTile), blocks_for(views->height, kTile), count),
                           dim3(kTileThreads), 0, cuda_stream, scene, w.corners, w.keys, w.deferred, w.deferred_count));
  }
  return code != PA3D_CUDA_OK ? code : write(scene, count, w, id, depth, barycentric, cuda_stream);
}

int pa3d_cuda_rasterize_points(const float* points, const float* radius, int64_t n, const pa3d_cuda_views* views,
                               const double* scale, int32_t* id, float* depth, void* workspace, int64_t workspace_bytes,
                               void* stream) {
  int code = check_views(views);
  if (code != PA3D_CUDA_OK) return code;
  const int64_t needed = pa3d_cuda_rasterize_workspace(0, 0, views->count, views->height, views->width);
  code =
      first_error({check_size(needed >= 0 && n >= 0 && n <= kMaxInt / 2), n > 0 ? check_pointer(points) : PA3D_CUDA_OK,
                   n > 0 ? check_pointer(radius) : PA3D_CUDA_OK, check_pointer(scale), check_pointer(id),
                   check_optional(depth), check_workspace(workspace, workspace_bytes, needed)});
  if (code != PA3D_CUDA_OK) return code;

  const cudaStream_t cuda_stream = static_cast<cudaStream_t>(stream);
  const Workspace w(workspace, 0, 0, views->count, views->height, views->width);
  const Scene scene = scene_of(points, n, nullptr, 0, *views);
  const unsigned count = static_cast<unsigned>(views->count);
  code = clear(w, *views, cuda_stream);
  if (code == PA3D_CUDA_OK && n > 0)
    code = status(launch(draw_discs, dim3(blocks_for(n, kDiscThreads), count), dim3(kDiscThreads), 0, cuda_stream,
                         scene, radius, scale, w.keys));
  return code != PA3D_CUDA_OK ? code : write(scene, count, w, id, depth, nullptr, cuda_stream);
}
