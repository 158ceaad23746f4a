// The arithmetic of csrc/cpu/refine.h, compiled once per instruction set.
#pragma once

#include <cstdint>

#include "refine_graph.h"

namespace pa3d {

constexpr float kConcave = 0.1f;          // sigma of concave edges, and of points; radians
constexpr float kLeastOpenness = 0.001f;  // what the sharpest edge lets through

// Pairs of faces: between their normals the square of the sine of the angle and its cosine; the squares of the
// distances from the middle of the edge to both centroids, and of the edge's length.
struct FacePairs {
  static constexpr int64_t kSize = 256;
  float sq_sine[kSize], cosine[kSize], sq_first[kSize], sq_second[kSize], sq_length[kSize], sigma[kSize];
  int64_t count;
  float root_area, unit;
};

// weight[t] = unit g l / d of csrc/cpu/refine.h; also length[t] = l / root_area and crease[t] = 1 - (g - 0.001). Each
// has room for kSize numbers.
void face_weights(const FacePairs& pairs, float* weight, float* length, float* crease);

// open[t] = g - 0.001 of csrc/cpu/refine.h, with sigma = 0.1, for pairs of points with this sine, cosine and distance.
void point_openness(const float* sine, const float* cosine, const float* distance, int64_t n, float root_area,
                    float* open);

// out[i] = log(scores[i] + 0.01).
void log_scores(const float* scores, int64_t n, float* out);

// Softmax of the rows of x (n, k). out may be x.
void softmax_rows(const float* x, int64_t n, int64_t k, float* out);

// Replaces the columns of table (n, k), one row per node of the finest graph, by the solution of (D + L) x = D table, D
// the areas and L the Laplacian.
void solve(const Levels& levels, float* table, int64_t k, int threads);

}  // namespace pa3d
