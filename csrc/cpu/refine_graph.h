// The graphs of csrc/cpu/refine.h, and the levels of ever coarser graphs that the solver works on.
#pragma once

#include <cstdint>
#include <vector>

#include "refine.h"
#include "scratch.h"

namespace pa3d {

constexpr int64_t kRowsPerTask = 2048;

// A symmetric weighted graph: the neighbours of node i are next[begin[i] .. begin[i + 1]).
struct Graph {
  Scratch<float> area;  // the weight of a node's own value
  Scratch<int32_t> begin;
  Scratch<int32_t> next;
  Scratch<float> weight;
  // If asked for: the length of each border in roots of the area, and 1 - exp(-angle max(1, ...) / sigma).
  Scratch<float> length, crease;
  int64_t size() const { return area.size(); }
};

// The graph of a mesh's faces. Areas are relative to their mean, and weights are in the same unit. Faces with the same
// three places, such as the two sides of a leaf, are one node: node (n_faces), or empty if there are no such faces.
Graph face_graph(const RefineInput& in, int threads, std::vector<int32_t>& node, bool borders = false);

// The graph of a cloud's places. node (n): the place of every point. All borders have the same length, that of a
// regular grid.
Graph point_graph(const RefineInput& in, int threads, std::vector<int32_t>& node, bool borders = false);

// Adds a node for every piece to the graph, and the rows of their evidence to table (nodes, num_parts).
Graph with_pieces(const Graph& g, const RefineInput& in, const std::vector<int32_t>& node, Scratch<float>& table,
                  int64_t num_parts);

// Graphs of groups of nodes, groups of groups, and so on.
struct Groups {
  Scratch<int32_t> of;             // of every node, its group: a node of the next level
  Scratch<int32_t> begin, member;  // the members of group c are member[begin[c] .. begin[c + 1])
};
struct Levels {
  std::vector<Graph> graph;    // the finest first
  std::vector<Groups> groups;  // of every level but the last
  int64_t depth() const { return static_cast<int64_t>(graph.size()); }
};

Levels make_levels(Graph finest, int threads);

}  // namespace pa3d
