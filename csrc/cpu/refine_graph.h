// The graphs of csrc/cpu/refine.h, and small vectors for their geometry.
#pragma once

#include <cmath>
#include <cstdint>
#include <vector>

#include "refine.h"

namespace pa3d {

constexpr int64_t kRowsPerTask = 4096;

struct Vec {
  double x, y, z;
};
inline Vec operator-(const Vec& a, const Vec& b) { return {a.x - b.x, a.y - b.y, a.z - b.z}; }
inline Vec operator+(const Vec& a, const Vec& b) { return {a.x + b.x, a.y + b.y, a.z + b.z}; }
inline Vec operator*(double s, const Vec& a) { return {s * a.x, s * a.y, s * a.z}; }
inline double dot(const Vec& a, const Vec& b) { return (a.x * b.x + a.y * b.y) + a.z * b.z; }
inline Vec cross(const Vec& a, const Vec& b) {
  return {a.y * b.z - a.z * b.y, a.z * b.x - a.x * b.z, a.x * b.y - a.y * b.x};
}
inline double length(const Vec& a) { return std::sqrt(dot(a, a)); }
inline Vec at(const float* points, int64_t i) { return {points[3 * i], points[3 * i + 1], points[3 * i + 2]}; }

// A pair of neighbours; a < b or b < a.
struct Pair {
  int32_t a, b;
  float weight;
};

// A symmetric weighted graph: the neighbours of node i are next[begin[i] .. begin[i + 1]).
struct Graph {
  std::vector<float> area;  // the weight of a node's own value
  std::vector<int32_t> begin;
  std::vector<int32_t> next;
  std::vector<float> weight;
  int64_t size() const { return static_cast<int64_t>(area.size()); }
};

Graph make_graph(std::vector<float> area, const std::vector<Pair>& pairs);

// The graph of a mesh's faces. Areas are relative to their mean, and weights are in the same unit. Faces with the same
// three places, such as the two sides of a leaf, are one node: node (n_faces), or empty if there are no such faces.
Graph face_graph(const RefineInput& in, int threads, std::vector<int32_t>& node);

// The graph of a cloud's places. node (n): the place of every point.
Graph point_graph(const RefineInput& in, int threads, std::vector<int32_t>& node);

// Adds a node for every piece to the graph, and the rows of their evidence to table (nodes, num_parts).
Graph with_pieces(const Graph& g, const RefineInput& in, const std::vector<int32_t>& node, std::vector<float>& table,
                  int64_t num_parts);

}  // namespace pa3d
