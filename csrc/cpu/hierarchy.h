// Parts without names: a tree of ever larger regions of a shape.
//
// Regions are merged in the order of a cost, the cheapest pair of neighbours first. With the areas a and b of two
// regions as shares of the whole, the distance f of their mean features, and the mean crease h of their common border,
//
//   cost = (a b / (a + b))^0.5 (f^2 + 0.6 h + 0.02)
//
// so small regions are merged before large ones, and regions that differ, or meet in a concave edge, late (Ward,
// Journal of the American Statistical Association, 1963, has the first factor and f^2). The crease of a border is the
// mean over its length of 1 - exp(-angle max(1, ...) / sigma) of csrc/cpu/refine.h. The leaves are groups of
// neighbours, or single faces if there are few. Connected components are neighbours of those nearest to them, as if
// they met in a sharp edge, and more so the further away they are.
#pragma once

#include <cstdint>
#include <vector>

namespace pa3d {

struct HierarchyInput {
  const float* points;    // (n, 3)
  int64_t n;              // < 2^31
  const int32_t* faces;   // (n_faces, 3), or null for a cloud
  int64_t n_faces;        // < 2^28
  const float* features;  // (m, num_features), m = n_faces or n
  int64_t num_features;
  int64_t most_leaves;  // at least 1; there may be more where there are more connected components
};

struct Hierarchy {
  std::vector<int32_t> leaf;    // (m): of every face or point, numbered in the order of their first members
  int64_t num_leaves = 0;       // L
  std::vector<int32_t> merges;  // (L - 1, 2): merge t makes region L + t of two earlier ones, the lower number first
  std::vector<float> costs;     // (L - 1)
};

Hierarchy merge_regions(const HierarchyInput& input, int threads);

}  // namespace pa3d
