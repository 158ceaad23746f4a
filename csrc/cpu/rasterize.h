// Triangles and discs to images of ids, depth and barycentric coordinates.
//
// Vertices are projected in float64 and snapped to 1/1024 pixel. Edge functions of snapped corners are exact. A pixel
// whose centre lies on an edge belongs to the triangle that the top-left rule chooses. So meshes have no cracks, and no
// pixel is drawn twice. A triangle that crosses the near plane, or leaves [-32768, 32768] pixels, is clipped first.
// Both sides of a triangle are drawn. The nearest surface wins a pixel. Its depth is compared through the inverse depth
// rounded to float32; the lowest id wins ties. Results do not depend on the number of threads or on the instruction
// set.
#pragma once

#include <cstdint>

namespace pa3d {

// In larger images, edge functions would not be exact.
constexpr int64_t kMaxImageSide = 16384;

struct RasterViews {
  int64_t count = 0;
  // (count, 3, 4): homogeneous world coordinates to (X, Y, depth). Pixel coordinates are (X / depth, Y / depth) under
  // perspective, and (X, Y) otherwise. The pixel in column c and row r covers [c, c + 1) x [r, r + 1).
  const double* matrices = nullptr;
  bool perspective = true;
  double near = 0;  // positive; nothing with a smaller depth is drawn
  int64_t height = 0, width = 0;
};

// vertices (n_vertices, 3); faces (n_faces, 3), whose indices must be in range. Faces with a non-finite corner are left
// out. Writes three images; depth and barycentric may be null:
//   id (count, height, width): the face, or -1 where there is none
//   depth (count, height, width): infinity where there is no face
//   barycentric (count, height, width, 3): perspective-correct weights of the face's corners, zero where there is none
void rasterize(const float* vertices, int64_t n_vertices, const int32_t* faces, int64_t n_faces,
               const RasterViews& views, int threads, int32_t* id, float* depth, float* barycentric);

// Draws every one of points (n, 3) as a disc that faces the camera, with its radius (n,) in world units, but at least
// the pixel that contains the point. scale (count,): pixels per world unit, at depth 1 under perspective, at any depth
// otherwise. Points that are not finite, nearer than the near plane or outside the clipping range are left out. Writes
// id (count, height, width), the point or -1, and depth of that shape, or null.
void rasterize_points(const float* points, const float* radius, int64_t n, const RasterViews& views,
                      const double* scale, int threads, int32_t* id, float* depth);

}  // namespace pa3d
