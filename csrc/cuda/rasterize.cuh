// Geometry of rasterization, for the kernels of rasterize.cu: projection, clipping, edge functions, keys of pixels.
#pragma once

#include <cmath>

#include "common.cuh"

namespace pa3d {
namespace cuda {

constexpr int kSubpixels = 1024;
constexpr double kGuardBand = 32768;  // pixels
constexpr int kNeedsClipping = -0x7fffffff - 1;
constexpr int kMaxClipped = 8;  // corners of a triangle cut by five planes
constexpr int kTinyPixels = 16;
constexpr int kMediumPixels = 4096;
constexpr unsigned long long kEmpty = ~0ull;

struct Point {
  ExactDouble x, y, z;
};

// A projected vertex: its position (u, v) in subpixels and its inverse depth q, which is 1 / depth under perspective
// and -depth otherwise; larger is nearer. u is kNeedsClipping if the vertex must be clipped or is not finite.
struct Corner {
  int u, v;
  ExactDouble q;
};
static_assert(sizeof(Corner) == 16, "the size of the workspace depends on it");

struct Scene {
  const float* __restrict__ vertices;
  const int* __restrict__ faces;
  const double* __restrict__ matrices;
  double near_plane;
  int n_vertices, n_faces, height, width;
  bool perspective;
};

struct Box {
  int x0, x1, y0, y1;  // inclusive
};

// Corners are in a canonical order (positive area, topmost first), so that depth does not depend on their order in the
// face.
struct Triangle {
  ExactDouble q[3], inverse_area;
  int u[3], v[3];
  Box box;
  int face;
};

__device__ __forceinline__ Point transform(const double* __restrict__ m, const float* p) {
  const ExactDouble x = p[0], y = p[1], z = p[2];
  return {ExactDouble(m[0]) * x + ExactDouble(m[1]) * y + ExactDouble(m[2]) * z + m[3],
          ExactDouble(m[4]) * x + ExactDouble(m[5]) * y + ExactDouble(m[6]) * z + m[7],
          ExactDouble(m[8]) * x + ExactDouble(m[9]) * y + ExactDouble(m[10]) * z + m[11]};
}

// Signed distance to the near plane (0) or a side of the guard band (1 to 4); >= 0 is inside.
__device__ __forceinline__ ExactDouble plane_distance(const Scene& s, const Point& p, int plane) {
  if (plane == 0) return p.z - s.near_plane;
  const ExactDouble reach = s.perspective ? ExactDouble(kGuardBand) * p.z : ExactDouble(kGuardBand);
  const ExactDouble across = plane <= 2 ? p.x : p.y;
  return plane % 2 == 1 ? reach + across : reach - across;
}

__device__ __forceinline__ int to_subpixels(ExactDouble pixels) {
  constexpr double limit = kGuardBand * kSubpixels;
  return __double2int_rn(min_like_std(max_like_std(pixels * kSubpixels, ExactDouble(-limit)), ExactDouble(limit)).v);
}

__device__ __forceinline__ Corner to_corner(const Scene& s, const Point& p) {
  if (!s.perspective) return {to_subpixels(p.x), to_subpixels(p.y), -p.z};
  const ExactDouble q = ExactDouble(1.0) / p.z;
  return {to_subpixels(p.x * q), to_subpixels(p.y * q), q};
}

__device__ __forceinline__ bool finite(ExactDouble x) { return x > -HUGE_VAL && x < HUGE_VAL; }

__device__ __forceinline__ Corner project(const Scene& s, const Point& p) {
  bool safe = finite(p.z);
#pragma unroll
  for (int plane = 0; plane < 5; ++plane) safe &= plane_distance(s, p, plane) >= 0.0;
  return safe ? to_corner(s, p) : Corner{kNeedsClipping, 0, 0.0};
}

__device__ __forceinline__ bool pixel_box(const Corner& a, const Corner& b, const Corner& c, const Box& within,
                                          Box* box) {
  constexpr int half = kSubpixels / 2;
  static_assert(kSubpixels == 1 << 10, "pixels are subpixels >> 10");
  box->x0 = max((min(min(a.u, b.u), c.u) + half - 1) >> 10, within.x0);
  box->x1 = min((max(max(a.u, b.u), c.u) - half) >> 10, within.x1);
  box->y0 = max((min(min(a.v, b.v), c.v) + half - 1) >> 10, within.y0);
  box->y1 = min((max(max(a.v, b.v), c.v) - half) >> 10, within.y1);
  return box->x0 <= box->x1 && box->y0 <= box->y1;
}

__device__ __forceinline__ long long scan_order(const Corner& c) {
  return static_cast<long long>(c.v) * (1ll << 32) + c.u;
}

__device__ __forceinline__ bool setup_triangle(Corner a, Corner b, Corner c, int face, const Box& box, Triangle* t) {
  const long long area =
      static_cast<long long>(b.u - a.u) * (c.v - a.v) - static_cast<long long>(b.v - a.v) * (c.u - a.u);
  if (area == 0) return false;
  if (area < 0) {
    const Corner other = b;
    b = c;
    c = other;
  }
  const long long pa = scan_order(a), pb = scan_order(b), pc = scan_order(c);
  const bool b_above_a = pb < pa, c_first = pc < (b_above_a ? pb : pa);
  const Corner first = c_first ? c : b_above_a ? b : a;
  const Corner second = c_first ? a : b_above_a ? c : b;
  const Corner third = c_first ? b : b_above_a ? a : c;
  t->u[0] = first.u;
  t->v[0] = first.v;
  t->q[0] = first.q;
  t->u[1] = second.u;
  t->v[1] = second.v;
  t->q[1] = second.q;
  t->u[2] = third.u;
  t->v[2] = third.v;
  t->q[2] = third.q;
  t->inverse_area = ExactDouble(1.0) / static_cast<double>(area < 0 ? -area : area);
  t->box = box;
  t->face = face;
  return true;
}

// The key of a pixel. A smaller key is nearer; among equal depths it has the lower id. Floats are ordered like their
// bits after all bits of negative floats, and the sign bits of the others, are inverted.
__device__ __forceinline__ unsigned long long make_key(float inverse_depth, int id) {
  const unsigned bits = __float_as_uint(inverse_depth);
  const unsigned ordered = bits >> 31 != 0 ? ~bits : bits | 0x80000000u;
  return static_cast<unsigned long long>(~ordered) << 32 | static_cast<unsigned>(id);
}

__device__ __forceinline__ float key_inverse_depth(unsigned long long key) {
  const unsigned ordered = ~static_cast<unsigned>(key >> 32);
  return __uint_as_float(ordered >> 31 != 0 ? ordered & 0x7fffffffu : ~ordered);
}

// The key of a triangle at a pixel's centre, or kEmpty if the triangle does not cover it. Edge functions are whole
// numbers below 2^53. A centre that lies on an edge is inside only on top and left edges.
__device__ __forceinline__ unsigned long long key_at(const Triangle& t, int x, int y) {
  const int px = x * kSubpixels + kSubpixels / 2, py = y * kSubpixels + kSubpixels / 2;
  long long e[3];
#pragma unroll
  for (int i = 0; i < 3; ++i) {
    const int from = (i + 1) % 3, to = (i + 2) % 3;
    const int dx = t.u[to] - t.u[from], dy = t.v[to] - t.v[from];
    e[i] = static_cast<long long>(dx) * (py - t.v[from]) - static_cast<long long>(dy) * (px - t.u[from]);
    const int min_edge = dy < 0 || (dy == 0 && dx > 0) ? 0 : 1;
    if (e[i] < min_edge) return kEmpty;
  }
  const ExactDouble sum = ExactDouble(static_cast<double>(e[0])) * t.q[0] +
                          ExactDouble(static_cast<double>(e[1])) * t.q[1] +
                          ExactDouble(static_cast<double>(e[2])) * t.q[2];
  const float inverse_depth = __double2float_rn((sum * t.inverse_area).v);
  return inverse_depth > -infinity() ? make_key(inverse_depth, t.face) : kEmpty;
}

__device__ __forceinline__ void atomic_min_key(unsigned long long* pixel, unsigned long long key) {
  // Most of what is drawn is behind something else. A stale value is never below the true one, so it can only cost an
  // unnecessary atomic.
  if (key < *static_cast<const volatile unsigned long long*>(pixel)) atomicMin(pixel, key);
}

// Clips a triangle (Sutherland-Hodgman). Returns the number of corners. The point where an edge is cut is always
// computed from its inner to its outer end, so that the two faces that share an edge get the same corner. polygon holds
// three corners at first. The result is in polygon or in next; *result points to it.
__device__ __forceinline__ int clip(const Scene& s, Point* polygon, Point* next, Point** result) {
  int n = 3;
  for (int plane = 0; plane < 5; ++plane) {
    int count = 0;
    for (int i = 0; i < n; ++i) {
      const Point p = polygon[i], q = polygon[i + 1 < n ? i + 1 : 0];
      const ExactDouble here = plane_distance(s, p, plane), there = plane_distance(s, q, plane);
      const bool keep = here >= 0.0;
      if (keep) next[count++] = p;
      if (keep == (there >= 0.0)) continue;
      const Point a = keep ? p : q, b = keep ? q : p;
      const ExactDouble inner = keep ? here : there, outer = keep ? there : here;
      const ExactDouble t = inner / (inner - outer);
      next[count] = {a.x + t * (b.x - a.x), a.y + t * (b.y - a.y), a.z + t * (b.z - a.z)};
      if (plane == 0) next[count].z = s.near_plane;
      ++count;
    }
    Point* const other = polygon;
    polygon = next;
    next = other;
    n = count;
    if (n < 3) return 0;
  }
  // Rounding may push a corner back through the near plane when the other end of its edge is very far away.
  for (int i = 0; i < n; ++i) polygon[i].z = max_like_std(polygon[i].z, ExactDouble(s.near_plane));
  *result = polygon;
  return n;
}

}  // namespace cuda
}  // namespace pa3d
