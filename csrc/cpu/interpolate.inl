namespace pa3d {
namespace PA3D_NS {

#include "vec.inl"

// Compares kUnroll groups of PA3D_W points with every centre. Several groups at a time hide the latency of the
// comparisons.
template <int kNeighbors, int kUnroll>
static inline void nearest_lanes(const float* points, int64_t count, const float* centers, int64_t num_centers,
                                 int64_t padded, int32_t* index, float* sq_dist) {
  alignas(64) float xyz[3][kUnroll * PA3D_W];
  for (int i = 0; i < kUnroll * PA3D_W; ++i) {
    const float* p = points + 3 * std::min<int64_t>(i, count - 1);
    for (int a = 0; a < 3; ++a) xyz[a][i] = p[a];
  }
  const float inf = std::numeric_limits<float>::infinity();
  vf x[kUnroll], y[kUnroll], z[kUnroll], best[kUnroll][kNeighbors];
  vi best_index[kUnroll][kNeighbors];
#pragma GCC unroll 4
  for (int u = 0; u < kUnroll; ++u) {
    x[u] = load(xyz[0] + u * PA3D_W);
    y[u] = load(xyz[1] + u * PA3D_W);
    z[u] = load(xyz[2] + u * PA3D_W);
#pragma GCC unroll 3
    for (int j = 0; j < kNeighbors; ++j) {
      best[u][j] = splat(inf);
      best_index[u][j] = splat(int32_t{0});
    }
  }
  for (int64_t c = 0; c < num_centers; ++c) {
    const vf cx = splat(centers[c]), cy = splat(centers[padded + c]), cz = splat(centers[2 * padded + c]);
    const vi id = splat(static_cast<int32_t>(c));
#pragma GCC unroll 4
    for (int u = 0; u < kUnroll; ++u) {
      vf d = squared_distance(x[u], y[u], z[u], cx, cy, cz);
      vi candidate = id, shifted = vi{};  // once a slot is taken, all later ones move down by one, equal ones too
#pragma GCC unroll 3
      for (int j = 0; j < kNeighbors; ++j) {
        const vi closer = shifted | (d < best[u][j]);
        const vf displaced = best[u][j];
        const vi displaced_index = best_index[u][j];
        best[u][j] = vmin(d, displaced);
        best_index[u][j] = closer ? candidate : displaced_index;
        if (j + 1 < kNeighbors) {
          d = closer ? displaced : d;
          candidate = closer ? displaced_index : candidate;
          shifted = closer;
        }
      }
    }
  }
  for (int u = 0; u < kUnroll; ++u)
    for (int lane = 0; lane < PA3D_W && u * PA3D_W + lane < count; ++lane)
      for (int j = 0; j < kNeighbors; ++j) {
        index[(u * PA3D_W + lane) * kNeighbors + j] = best_index[u][j][lane];
        sq_dist[(u * PA3D_W + lane) * kNeighbors + j] = best[u][j][lane];
      }
}

// index and sq_dist (end - begin, k): their first row belongs to point `begin`.
static void nearest_rows(const float* points, int64_t begin, int64_t end, const float* centers, int64_t num_centers,
                         int64_t padded, int64_t k, int32_t* index, float* sq_dist) {
  constexpr int kUnroll = 4;
  constexpr int64_t kStep = kUnroll * PA3D_W;
  for (int64_t i = begin; i < end; i += kStep) {
    const int64_t count = std::min(kStep, end - i), out = (i - begin) * k;
    if (k == 1)
      nearest_lanes<1, kUnroll>(points + 3 * i, count, centers, num_centers, padded, index + out, sq_dist + out);
    if (k == 2)
      nearest_lanes<2, kUnroll>(points + 3 * i, count, centers, num_centers, padded, index + out, sq_dist + out);
    if (k == 3)
      nearest_lanes<3, kUnroll>(points + 3 * i, count, centers, num_centers, padded, index + out, sq_dist + out);
  }
}

}  // namespace PA3D_NS
}  // namespace pa3d
