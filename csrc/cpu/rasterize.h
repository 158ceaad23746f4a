// Triangles and discs to images of ids, depth and barycentric coordinates.
//
// Vertices are projected in float64 and snapped to 1/1024 pixel; edge functions of snapped corners are exact, and a
// pixel centre that lies on an edge belongs to the side the top-left rule gives it, so meshes have neither cracks nor
// pixels drawn twice. A triangle that crosses the near plane, or leaves [-32768, 32768] pixels, is clipped first. Both
// sides of a triangle are drawn. The nearest surface wins a pixel, by depth rounded to float32; among equals the lowest
// id does. The outcome does not depend on the number of threads or on the instruction set.
#pragma once

#include <cstdint>

namespace pa3d {

// Images with more pixels per side would leave the range in which edge functions are exact.
constexpr int64_t kMaxImageSide = 16384;

struct RasterViews {
  int64_t count = 0;
  // (count, 3, 4): homogeneous world coordinates to (X, Y, depth). Pixels are (X / depth, Y / depth) under perspective,
  // (X, Y) otherwise; column c and row r of the image cover [c, c + 1) x [r, r + 1).
  const double* matrices = nullptr;
  bool perspective = true;
  double near = 0;  // positive; nothing with a smaller depth is drawn
  int64_t height = 0, width = 0;
};

// vertices (n_vertices, 3), faces (n_faces, 3) with indices in range; faces with a non-finite corner are left out.
// Writes face ids (count, height, width), -1 where there is none; depth of the same shape, infinity where there is
// none, or null; perspective-correct weights of the face's corners (count, height, width, 3), zero where there is none,
// or null.
void rasterize(const float* vertices, int64_t n_vertices, const int32_t* faces, int64_t n_faces,
               const RasterViews& views, int threads, int32_t* id, float* depth, float* barycentric);

// Every point (n, 3) as a disc that faces the camera, of its radius (n,) in world units, and at least the one pixel it
// falls into. scale (count,): pixels per unit at depth 1 under perspective, at any depth otherwise. Points that are not
// finite, nearer than the near plane or outside the clipping range are left out. Writes point ids, and depth or null.
void rasterize_points(const float* points, const float* radius, int64_t n, const RasterViews& views,
                      const double* scale, int threads, int32_t* id, float* depth);

}  // namespace pa3d
