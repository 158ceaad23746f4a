#include "rasterize.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "cpuid.h"
#include "intrinsics.h"
#include "parallel.h"

namespace pa3d {
namespace {

constexpr int32_t kSubpixels = 1024;
// In pixels. Triangles are clipped there, so all products of edge functions are below 2^53.
constexpr double kGuardBand = 32768;
constexpr int32_t kNeedsClipping = std::numeric_limits<int32_t>::min();
// The most corners of a clipped triangle. Cutting a convex polygon at a plane adds at most one corner, so five
// planes make 8. But rounding can make a polygon slightly concave. Then a cut can turn n corners into n + n / 2: from 3
// corners, five planes make at most 4, 6, 9, 13 and 19.
constexpr int kMaxClipped = 20;
constexpr int64_t kPadding = 8;

struct Point {
  double x, y, z;
};

// A projected vertex: its position (u, v) in subpixels and its inverse depth q, which is 1 / depth under perspective
// and -depth otherwise. q is affine on the screen, and larger is nearer. u is kNeedsClipping if the vertex must be
// clipped or is not finite.
struct Corner {
  int32_t u, v;
  double q;
};

struct PixelBox {
  int64_t x0, x1, y0, y1;  // inclusive
};

struct TriangleSetup {
  double u[3], v[3], dx[3], dy[3];  // edge i runs from corner i + 1 to corner i + 2; (u, v) is its start
  double step_x[3], step_y[3];      // change of the edge function per pixel
  double min_edge[3];               // a pixel is inside from this value on: 0 on top and left edges, else 1
  double q[3], inverse_area;
  PixelBox box;
  int32_t face;
};

// Rows first_row to last_row of one view: inverse depth (key) and id of every pixel; `stride` elements per row.
struct Band {
  int64_t first_row, last_row, width, stride;
  float* key;
  int32_t* id;
};

struct Scene {
  const float* vertices;
  const int32_t* faces;
  bool perspective;
  double near;
};

inline Point transform(const double* m, const float* p) {
  const double x = p[0], y = p[1], z = p[2];
  return {m[0] * x + m[1] * y + m[2] * z + m[3], m[4] * x + m[5] * y + m[6] * z + m[7],
          m[8] * x + m[9] * y + m[10] * z + m[11]};
}

// Signed distances to the near plane and the four sides of the guard band; >= 0 is inside.
inline void plane_distances(const Scene& s, const Point& p, double* d) {
  const double reach = s.perspective ? kGuardBand * p.z : kGuardBand;
  d[0] = p.z - s.near;
  d[1] = reach + p.x;
  d[2] = reach - p.x;
  d[3] = reach + p.y;
  d[4] = reach - p.y;
}

inline int32_t to_subpixels(double pixels) {
  constexpr double limit = kGuardBand * kSubpixels;
  constexpr double rounding = 6755399441055744.0;  // 1.5 * 2^52: adding it rounds to whole numbers, halves to even
  return static_cast<int32_t>(std::min(std::max(pixels * kSubpixels, -limit), limit) + rounding - rounding);
}

inline Corner to_corner(const Scene& s, const Point& p) {
  if (!s.perspective) return {to_subpixels(p.x), to_subpixels(p.y), -p.z};
  const double q = 1.0 / p.z;
  return {to_subpixels(p.x * q), to_subpixels(p.y * q), q};
}

inline Corner project(const Scene& s, const Point& p) {
  double d[5];
  plane_distances(s, p, d);
  // A NaN fails every comparison, infinities fail one.
  const bool safe = d[0] >= 0 && d[1] >= 0 && d[2] >= 0 && d[3] >= 0 && d[4] >= 0 && std::isfinite(p.z);
  return safe ? to_corner(s, p) : Corner{kNeedsClipping, 0, 0};
}

// Clips a face (Sutherland-Hodgman). Returns the number of corners. The point where an edge is cut is always computed
// from its inner to its outer end, so that the two faces that share an edge get the same corner.
int clip_face(const Scene& s, const double* matrix, const int32_t* face, Corner* out) {
  Point polygon[kMaxClipped], next[kMaxClipped];
  int n = 3;
  for (int i = 0; i < 3; ++i) {
    const Point& p = polygon[i] = transform(matrix, s.vertices + 3 * static_cast<int64_t>(face[i]));
    if (!std::isfinite(p.x) || !std::isfinite(p.y) || !std::isfinite(p.z)) return 0;
  }
  for (int plane = 0; plane < 5; ++plane) {
    double distance[kMaxClipped];
    for (int i = 0; i < n; ++i) {
      double d[5];
      plane_distances(s, polygon[i], d);
      distance[i] = d[plane];
    }
    int m = 0;
    for (int i = 0; i < n; ++i) {
      const int j = i + 1 < n ? i + 1 : 0;
      const bool here = distance[i] >= 0, there = distance[j] >= 0;
      if (here) next[m++] = polygon[i];
      if (here == there) continue;
      const int in = here ? i : j, to = here ? j : i;
      const Point &a = polygon[in], &b = polygon[to];
      const double t = distance[in] / (distance[in] - distance[to]);
      next[m] = {a.x + t * (b.x - a.x), a.y + t * (b.y - a.y), a.z + t * (b.z - a.z)};
      if (plane == 0) next[m].z = s.near;
      ++m;
    }
    std::copy(next, next + m, polygon);
    n = m;
    if (n < 3) return 0;
  }
  for (int i = 0; i < n; ++i) {
    // Rounding may push a corner back through the near plane when the other end of its edge is very far away.
    polygon[i].z = std::max(polygon[i].z, s.near);
    out[i] = to_corner(s, polygon[i]);
  }
  return n;
}

// The pixels of the given rows whose centres lie in the triangle's bounding box; false if there are none.
inline bool pixel_box(const Corner& a, const Corner& b, const Corner& c, int64_t width, int64_t first_row,
                      int64_t last_row, PixelBox* box) {
  constexpr int32_t half = kSubpixels / 2;
  static_assert(kSubpixels == 1 << 10, "pixels are subpixels >> 10");
  box->x0 = std::max<int64_t>((std::min({a.u, b.u, c.u}) + half - 1) >> 10, 0);
  box->x1 = std::min<int64_t>((std::max({a.u, b.u, c.u}) - half) >> 10, width - 1);
  box->y0 = std::max<int64_t>((std::min({a.v, b.v, c.v}) + half - 1) >> 10, first_row);
  box->y1 = std::min<int64_t>((std::max({a.v, b.v, c.v}) - half) >> 10, last_row);
  return box->x0 <= box->x1 && box->y0 <= box->y1;
}

// Orders corners from top to bottom, then from left to right.
inline int64_t scan_order(const Corner& c) { return int64_t{c.v} * (int64_t{1} << 32) + c.u; }

// Puts the corners in a canonical order (positive area, topmost first), so that depth does not depend on the order in
// which a face lists them. So two faces with the same corners have exactly equal depths.
inline bool setup_triangle(const Corner& first, const Corner& second, const Corner& third, TriangleSetup* t) {
  const double area = (double(second.u) - first.u) * (double(third.v) - first.v) -
                      (double(second.v) - first.v) * (double(third.u) - first.u);
  if (area == 0) return false;
  const Corner* const a = &first;
  const Corner* const b = area < 0 ? &third : &second;
  const Corner* const c = area < 0 ? &second : &third;
  const int64_t order[3] = {scan_order(*a), scan_order(*b), scan_order(*c)};
  const int upper = order[1] < order[0] ? 1 : 0;
  const int top = order[2] < order[upper] ? 2 : upper;
  const Corner* const cyclic[7] = {a, b, c, a, b, c, a};
  const Corner* const* const k = cyclic + top;
  for (int i = 0; i < 3; ++i) {
    const Corner &from = *k[i + 1], &to = *k[i + 2];
    t->u[i] = from.u;
    t->v[i] = from.v;
    t->dx[i] = double(to.u) - from.u;
    t->dy[i] = double(to.v) - from.v;
    t->step_x[i] = -t->dy[i] * kSubpixels;
    t->step_y[i] = t->dx[i] * kSubpixels;
    t->min_edge[i] = t->dy[i] < 0 || (t->dy[i] == 0 && t->dx[i] > 0) ? 0 : 1;
    t->q[i] = k[i]->q;
  }
  t->inverse_area = 1.0 / std::abs(area);
  return true;
}

#define PA3D_SOURCE "rasterize.inl"
#include "foreach_isa.h"

// Perspective-correct barycentric weights at a pixel centre. They are the areas of the triangles between the pixel
// centre and two corners, in homogeneous coordinates, before snapping and clipping. Snapping moves corners by up to
// half a subpixel, so a drawn pixel centre may lie outside this triangle; hence the clamp.
inline void barycentric_at(const Point& a, const Point& b, const Point& c, bool perspective, double px, double py,
                           float* out) {
  const auto seen = [&](const Point& p, double* x, double* y) {
    const double w = perspective ? p.z : 1.0;
    *x = p.x - px * w;
    *y = p.y - py * w;
  };
  double ax, ay, bx, by, cx, cy;
  seen(a, &ax, &ay);
  seen(b, &bx, &by);
  seen(c, &cx, &cy);
  double wa = bx * cy - by * cx, wb = cx * ay - cy * ax, wc = ax * by - ay * bx;
  const double sign = wa + wb + wc < 0 ? -1.0 : 1.0;
  wa = std::max(wa * sign, 0.0);
  wb = std::max(wb * sign, 0.0);
  wc = std::max(wc * sign, 0.0);
  const double sum = wa + wb + wc;
  // A triangle that is seen exactly edge-on has no area here; any point of it would do, and this is the centroid.
  const bool usable = sum > 0 && sum <= std::numeric_limits<double>::max();
  out[0] = static_cast<float>(usable ? wa / sum : 1.0 / 3);
  out[1] = static_cast<float>(usable ? wb / sum : 1.0 / 3);
  out[2] = static_cast<float>(usable ? wc / sum : 1.0 / 3);
}

// What rasterize and rasterize_points share. Views are drawn in groups, which bounds the working memory. In a group,
// vertices are projected, primitives (faces or points) are sorted into bands of rows, and each band is drawn into a
// small buffer.
class BinnedRaster {
 public:
  BinnedRaster(const RasterViews& views, int64_t n_primitives, int64_t bytes_per_view, int threads)
      : views_(views), threads_(resolve_threads(threads)), n_primitives_(n_primitives) {
    while (rows_ > 8 && rows_ * views.width > kBandPixels) rows_ /= 2;
    bands_ = (views.height + rows_ - 1) / rows_;
    stride_ = views.width + kPadding;
    if (threads_ > 1)
      group_ = std::max<int64_t>(1, std::min(views.count, kGroupBytes / std::max<int64_t>(bytes_per_view, 1)));
    chunks_ = threads_ > 1 ? std::clamp<int64_t>(n_primitives / 4096, 1, 4 * int64_t{threads_}) : 1;
    lists_.resize(group_ * chunks_ * bands_);
  }

  int64_t group() const { return group_; }
  int threads() const { return threads_; }

  // Sorts primitives into bands. rows(view, primitive, &first, &last) gives a primitive's rows, or false if nothing is
  // drawn.
  template <class Rows>
  void sort(int64_t views, const Rows& rows) {
    parallel_for(views * chunks_, 1, threads_, [&](int64_t begin, int64_t end) {
      for (int64_t task = begin; task < end; ++task) {
        const int64_t view = task / chunks_, chunk = task % chunks_;
        std::vector<int32_t>* const lists = &lists_[task * bands_];
        for (int64_t b = 0; b < bands_; ++b) lists[b].clear();
        const int64_t stop = n_primitives_ * (chunk + 1) / chunks_;
        for (int64_t i = n_primitives_ * chunk / chunks_; i < stop; ++i) {
          int64_t first, last;
          if (!rows(view, i, &first, &last)) continue;
          for (int64_t b = first / rows_; b <= last / rows_; ++b) lists[b].push_back(static_cast<int32_t>(i));
        }
      }
    });
  }

  // For every band, calls draw(view, list, n, band) with its lists of primitives, in ascending order of ids, then
  // finish(view, band).
  template <class Draw, class Finish>
  void draw(int64_t views, const Draw& draw, const Finish& finish) {
    parallel_for(views * bands_, 1, threads_, [&](int64_t begin, int64_t end) {
      std::vector<float> key(rows_ * stride_);
      std::vector<int32_t> id(rows_ * stride_);
      for (int64_t task = begin; task < end; ++task) {
        const int64_t view = task / bands_, b = task % bands_;
        const Band band{b * rows_, std::min((b + 1) * rows_, views_.height) - 1, views_.width, stride_, key.data(),
                        id.data()};
        std::fill(key.begin(), key.end(), -std::numeric_limits<float>::infinity());
        std::fill(id.begin(), id.end(), -1);
        for (int64_t chunk = 0; chunk < chunks_; ++chunk) {
          const std::vector<int32_t>& list = lists_[(view * chunks_ + chunk) * bands_ + b];
          draw(view, list.data(), static_cast<int64_t>(list.size()), band);
        }
        finish(view, band);
      }
    });
  }

 private:
  static constexpr int64_t kBandPixels = 32768;  // 256 KB of keys and ids
  static constexpr int64_t kGroupBytes = 64 << 20;

  const RasterViews& views_;
  int threads_;
  int64_t n_primitives_;
  int64_t rows_ = 64, bands_ = 0, stride_ = 0, group_ = 1, chunks_ = 1;
  std::vector<std::vector<int32_t>> lists_;
};

inline float depth_of(float inverse_depth, bool perspective) {
  return perspective ? 1.0f / inverse_depth : -inverse_depth;
}

void write_ids(const RasterViews& views, int64_t view, const Band& band, int32_t* id, float* depth) {
  for (int64_t y = band.first_row; y <= band.last_row; ++y) {
    const int64_t out = (view * views.height + y) * views.width, in = (y - band.first_row) * band.stride;
    std::copy_n(band.id + in, views.width, id + out);
    if (depth == nullptr) continue;
    for (int64_t x = 0; x < views.width; ++x)
      depth[out + x] =
          band.id[in + x] < 0 ? std::numeric_limits<float>::infinity() : depth_of(band.key[in + x], views.perspective);
  }
}

}  // namespace

void rasterize(const float* vertices, int64_t n_vertices, const int32_t* faces, int64_t n_faces,
               const RasterViews& views, int threads, int32_t* id, float* depth, float* barycentric) {
  const Scene scene{vertices, faces, views.perspective, views.near};
  const bool weights = barycentric != nullptr;
  const int64_t vertex_bytes = sizeof(Corner) + (weights ? sizeof(Point) : 0);
  BinnedRaster plan(views, n_faces, n_vertices * vertex_bytes + 4 * n_faces, threads);
  std::vector<Corner> corners(plan.group() * n_vertices);
  std::vector<Point> exact(weights ? plan.group() * n_vertices : 0);

  for (int64_t start = 0; start < views.count; start += plan.group()) {
    const int64_t group = std::min(plan.group(), views.count - start);
    const double* const matrices = views.matrices + 12 * start;
    parallel_for(group * n_vertices, 4096, plan.threads(), [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end;) {
        const int64_t view = i / n_vertices, stop = std::min(end, (view + 1) * n_vertices);
        const double* const m = matrices + 12 * view;
        for (int64_t v = i - view * n_vertices; i < stop; ++i, ++v) {
          const Point p = transform(m, vertices + 3 * v);
          corners[i] = project(scene, p);
          if (weights) exact[i] = p;
        }
      }
    });

    plan.sort(group, [&](int64_t view, int64_t face, int64_t* first, int64_t* last) {
      const Corner* const k = &corners[view * n_vertices];
      const int32_t* const f = faces + 3 * face;
      const Corner &a = k[f[0]], &b = k[f[1]], &c = k[f[2]];
      PixelBox box;
      if (a.u != kNeedsClipping && b.u != kNeedsClipping && c.u != kNeedsClipping) {
        if (!pixel_box(a, b, c, views.width, 0, views.height - 1, &box)) return false;
        *first = box.y0;
        *last = box.y1;
        return true;
      }
      Corner polygon[kMaxClipped];
      const int sides = clip_face(scene, matrices + 12 * view, f, polygon);
      bool any = false;
      for (int i = 2; i < sides; ++i) {
        if (!pixel_box(polygon[0], polygon[i - 1], polygon[i], views.width, 0, views.height - 1, &box)) continue;
        *first = any ? std::min(*first, box.y0) : box.y0;
        *last = any ? std::max(*last, box.y1) : box.y1;
        any = true;
      }
      return any;
    });

    const auto draw = PA3D_DISPATCH(draw_faces);
    plan.draw(
        group,
        [&](int64_t view, const int32_t* list, int64_t n, const Band& band) {
          draw(scene, &corners[view * n_vertices], matrices + 12 * view, list, n, band);
        },
        [&](int64_t view, const Band& band) {
          write_ids(views, start + view, band, id, depth);
          if (!weights) return;
          const Point* const k = &exact[view * n_vertices];
          for (int64_t y = band.first_row; y <= band.last_row; ++y) {
            float* out = barycentric + ((start + view) * views.height + y) * views.width * 3;
            const int32_t* const ids = band.id + (y - band.first_row) * band.stride;
            for (int64_t x = 0; x < views.width; ++x, out += 3) {
              if (ids[x] < 0) {
                out[0] = out[1] = out[2] = 0;
                continue;
              }
              const int32_t* const f = faces + 3 * static_cast<int64_t>(ids[x]);
              barycentric_at(k[f[0]], k[f[1]], k[f[2]], views.perspective, x + 0.5, y + 0.5, out);
            }
          }
        });
  }
}

void rasterize_points(const float* points, const float* radius, int64_t n, const RasterViews& views,
                      const double* scale, int threads, int32_t* id, float* depth) {
  struct Disc {
    Corner center;
    int32_t r;     // radius in subpixels
    int64_t x, y;  // the pixel that contains the centre
  };
  const Scene scene{points, nullptr, views.perspective, views.near};
  BinnedRaster plan(views, n, n * static_cast<int64_t>(sizeof(Disc) + 4), threads);
  std::vector<Disc> discs(plan.group() * n);

  for (int64_t start = 0; start < views.count; start += plan.group()) {
    const int64_t group = std::min(plan.group(), views.count - start);
    parallel_for(group * n, 4096, plan.threads(), [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        const int64_t view = start + i / n, p = i % n;
        const Corner c = project(scene, transform(views.matrices + 12 * view, points + 3 * p));
        const double pixels = radius[p] * scale[view] * (views.perspective ? c.q : 1.0);
        discs[i] = {c, to_subpixels(pixels), c.u >> 10, c.v >> 10};
      }
    });

    plan.sort(group, [&](int64_t view, int64_t i, int64_t* first, int64_t* last) {
      const Disc& d = discs[view * n + i];
      if (d.center.u == kNeedsClipping) return false;
      const int64_t x0 = (int64_t{d.center.u} - d.r) >> 10, x1 = (int64_t{d.center.u} + d.r) >> 10;
      *first = std::max<int64_t>((int64_t{d.center.v} - d.r) >> 10, 0);
      *last = std::min<int64_t>((int64_t{d.center.v} + d.r) >> 10, views.height - 1);
      return x0 < views.width && x1 >= 0 && *first <= *last;
    });

    plan.draw(
        group,
        [&](int64_t view, const int32_t* list, int64_t count, const Band& band) {
          for (int64_t i = 0; i < count; ++i) {
            const Disc& d = discs[view * n + list[i]];
            const float inverse_depth = static_cast<float>(d.center.q);
            const int64_t u = d.center.u, v = d.center.v, r = d.r;
            const int64_t x0 = std::max<int64_t>((u - r) >> 10, 0), x1 = std::min((u + r) >> 10, views.width - 1);
            const int64_t y1 = std::min((v + r) >> 10, band.last_row);
            for (int64_t y = std::max((v - r) >> 10, band.first_row); y <= y1; ++y) {
              float* const key = band.key + (y - band.first_row) * band.stride;
              int32_t* const ids = band.id + (y - band.first_row) * band.stride;
              const int64_t dy = y * kSubpixels + kSubpixels / 2 - v, rest = r * r - dy * dy;
              for (int64_t x = x0; x <= x1; ++x) {
                const int64_t dx = x * kSubpixels + kSubpixels / 2 - u;
                const bool inside = dx * dx <= rest || (x == d.x && y == d.y);
                if (inside && inverse_depth > key[x]) {
                  key[x] = inverse_depth;
                  ids[x] = list[i];
                }
              }
            }
          }
        },
        [&](int64_t view, const Band& band) { write_ids(views, start + view, band, id, depth); });
  }
}

}  // namespace pa3d
