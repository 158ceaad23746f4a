#include "refine.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "parallel.h"
#include "refine_graph.h"
#include "refine_kernels.h"

namespace pa3d {
namespace {

// table (nodes, k): the mean over the rows of scores (rows, k) of each node of log(score + 0.01).
Scratch<float> unaries(const float* scores, int64_t rows, int64_t k, const std::vector<int32_t>& node, int64_t nodes,
                       int threads) {
  Scratch<float> all;
  all.resize_uninitialized(rows * k);
  parallel_for(rows, kRowsPerTask, threads,
               [&](int64_t begin, int64_t end) { log_scores(scores + begin * k, (end - begin) * k, &all[begin * k]); });
  if (node.empty()) return all;
  Scratch<float> table(nodes * k), count(nodes);
  for (int32_t own : node) count[own] += 1;
  for (int64_t i = 0; i < rows; ++i) {
    const float part = 1 / count[node[i]];
    for (int64_t j = 0; j < k; ++j) table[node[i] * k + j] += part * all[i * k + j];
  }
  return table;
}

}  // namespace

void refine(const RefineInput& in, float* scores, int64_t num_parts, int threads) {
  const SharedTeam team(threads);
  const ScratchScope scratch;
  std::vector<int32_t> node;  // of every face or point; empty where each is its own
  Graph graph = in.faces ? face_graph(in, threads, node) : point_graph(in, threads, node);
  const int64_t rows = in.faces ? in.n_faces : in.n, k = num_parts;
  Scratch<float> table = unaries(scores, rows, k, node, graph.size(), threads);
  if (in.piece) graph = with_pieces(graph, in, node, table, k);
  solve(make_levels(std::move(graph), threads), table.data(), k, threads);
  parallel_for(rows, kRowsPerTask, threads, [&](int64_t begin, int64_t end) {
    if (node.empty()) return softmax_rows(&table[begin * k], end - begin, k, scores + begin * k);
    for (int64_t i = begin; i < end; ++i)
      for (int64_t j = 0; j < k; ++j) scores[i * k + j] = table[node[i] * k + j];
    softmax_rows(scores + begin * k, end - begin, k, scores + begin * k);
  });
}

void mean_at_vertices(const float* points, int64_t n, const int32_t* faces, int64_t n_faces, const float* face_scores,
                      int64_t num_parts, float* scores) {
  std::vector<float> weight(n, 0.0f), sum(n * num_parts, 0.0f);
  for (int64_t f = 0; f < n_faces; ++f) {
    const int32_t* const corner = faces + 3 * f;
    const int64_t v[3] = {corner[0], corner[1], corner[2]};
    double b[3], c[3];  // two edges
    for (int axis = 0; axis < 3; ++axis) {
      b[axis] = static_cast<double>(points[3 * v[1] + axis]) - points[3 * v[0] + axis];
      c[axis] = static_cast<double>(points[3 * v[2] + axis]) - points[3 * v[0] + axis];
    }
    const double x = b[1] * c[2] - b[2] * c[1], y = b[2] * c[0] - b[0] * c[2], z = b[0] * c[1] - b[1] * c[0];
    const float area = static_cast<float>(std::sqrt(x * x + y * y + z * z));
    for (int e = 0; e < 3; ++e) {
      weight[v[e]] += area;
      for (int64_t j = 0; j < num_parts; ++j) sum[v[e] * num_parts + j] += area * face_scores[f * num_parts + j];
    }
  }
  for (int64_t i = 0; i < n; ++i)
    for (int64_t j = 0; j < num_parts && weight[i] > 0; ++j)
      scores[i * num_parts + j] = sum[i * num_parts + j] / weight[i];
}

}  // namespace pa3d
