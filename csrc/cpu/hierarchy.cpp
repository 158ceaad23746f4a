#include "hierarchy.h"

#include <algorithm>
#include <cmath>
#include <queue>
#include <tuple>
#include <vector>

#include "knn.h"
#include "parallel.h"
#include "places.h"
#include "refine.h"
#include "refine_graph.h"

namespace pa3d {
namespace {

constexpr float kCreaseWeight = 0.6f, kLeast = 0.02f;
// The border of regions that do not touch: its length, in roots of the area, and what their distance adds to the
// crease.
constexpr float kGapLength = 0.05f, kGapCrease = 5;
constexpr int64_t kAnyPair = 64;
constexpr float kApartLength = 1e-6f, kApartCrease = 1;  // of two of the last kAnyPair regions that do not touch
constexpr int64_t kGapNeighbors = 9;                     // a leaf is the nearest to itself

struct Border {
  int32_t other;
  float length, crease;  // crease: times the length
};

// Regions and their borders; a region that was merged has none.
class Regions {
 public:
  Regions(int64_t leaves, int64_t num_features)
      : width_(num_features + 3),
        area_(2 * leaves),
        mean_(2 * leaves * width_),
        borders_(2 * leaves),
        is_alive_(2 * leaves, 0) {}

  // Adds an element to a leaf: its area, feature and place.
  void add(int32_t leaf, float area, const float* feature, const float* place) {
    area_[leaf] += area;
    for (int64_t k = 0; k < width_ - 3; ++k) mean_[leaf * width_ + k] += area * feature[k];
    for (int a = 0; a < 3; ++a) mean_[leaf * width_ + width_ - 3 + a] += area * place[a];
    is_alive_[leaf] = 1;
  }
  void finish_leaves(int64_t leaves) {
    double total = 0;
    for (int64_t i = 0; i < leaves; ++i) total += area_[i];
    for (int64_t i = 0; i < leaves; ++i) {
      const float each = area_[i] > 0 ? 1 / area_[i] : 0;
      for (int64_t k = 0; k < width_; ++k) mean_[i * width_ + k] *= each;
      area_[i] = static_cast<float>(area_[i] / total);
    }
  }
  void add_border(int32_t a, int32_t b, float length, float crease) {
    borders_[a].push_back({b, length, crease * length});
    borders_[b].push_back({a, length, crease * length});
  }
  // Borders with the same region become one.
  void join_borders(int32_t a) {
    std::vector<Border>& all = borders_[a];
    std::stable_sort(all.begin(), all.end(), [](const Border& x, const Border& y) { return x.other < y.other; });
    size_t kept = 0;
    for (size_t i = 0; i < all.size(); ++i) {
      if (kept > 0 && all[kept - 1].other == all[i].other) {
        all[kept - 1].length += all[i].length;
        all[kept - 1].crease += all[i].crease;
      } else {
        all[kept++] = all[i];
      }
    }
    all.resize(kept);
  }

  // Makes region c of a and b.
  void merge(int32_t a, int32_t b, int32_t c) {
    area_[c] = area_[a] + area_[b];
    const float part = area_[c] > 0 ? area_[a] / area_[c] : 0.5f;
    for (int64_t k = 0; k < width_; ++k)
      mean_[c * width_ + k] = part * mean_[a * width_ + k] + (1 - part) * mean_[b * width_ + k];
    for (int32_t old : {a, b}) {
      for (const Border& border : borders_[old])
        if (border.other != a && border.other != b) borders_[c].push_back(border);
      std::vector<Border>().swap(borders_[old]);
      is_alive_[old] = 0;
    }
    join_borders(c);
    is_alive_[c] = 1;
    for (const Border& border : borders_[c]) {
      std::vector<Border>& back = borders_[border.other];
      back.erase(
          std::remove_if(back.begin(), back.end(), [&](const Border& x) { return x.other == a || x.other == b; }),
          back.end());
      back.push_back({c, border.length, border.crease});
    }
  }

  float cost(int32_t a, const Border& border) const {
    const float* const x = &mean_[a * width_];
    const float* const y = &mean_[border.other * width_];
    float sq_distance = 0;
    for (int64_t k = 0; k < width_ - 3; ++k) sq_distance += (x[k] - y[k]) * (x[k] - y[k]);
    const float sum = area_[a] + area_[border.other];
    const float size = sum > 0 ? std::sqrt(area_[a] * area_[border.other] / sum) : 0;
    return size * (sq_distance + kCreaseWeight * border.crease / std::max(border.length, 1e-12f) + kLeast);
  }

  bool is_alive(int32_t a) const { return is_alive_[a] != 0; }
  std::vector<int32_t> alive(int32_t count) const {  // of the first `count` regions
    std::vector<int32_t> found;
    for (int32_t a = 0; a < count; ++a)
      if (is_alive(a)) found.push_back(a);
    return found;
  }
  const std::vector<Border>& borders(int32_t a) const { return borders_[a]; }
  const float* place(int32_t a) const { return &mean_[a * width_ + width_ - 3]; }

 private:
  int64_t width_;  // of a mean: the features, and the centroid
  std::vector<float> area_, mean_;
  std::vector<std::vector<Border>> borders_;
  std::vector<uint8_t> is_alive_;
};

// Adds borders between regions that do not touch: of each of `regions` with the nearest of another set of `forest`, if
// there is one among its nearest neighbours. diagonal: that of the shape's box.
void bridge(Regions& all, const std::vector<int32_t>& regions, Forest& forest, double diagonal, int threads) {
  const int64_t count = static_cast<int64_t>(regions.size()), k = std::min(kGapNeighbors, count);
  std::vector<float> place;
  for (int32_t region : regions) place.insert(place.end(), all.place(region), all.place(region) + 3);
  std::vector<int64_t> index(count * k);
  std::vector<float> sq_distance(count * k);
  knn(place.data(), count, place.data(), count, k, threads, index.data(), sq_distance.data());
  for (int64_t i = 0; i < count; ++i)
    for (int64_t t = 0; t < k; ++t) {
      const int32_t a = regions[i], b = regions[index[i * k + t]];
      if (forest.root(a) == forest.root(b)) continue;
      const double distance = std::sqrt(sq_distance[i * k + t]) / std::max(diagonal, 1e-30);
      all.add_border(a, b, kGapLength, static_cast<float>(1 + kGapCrease * distance));
      break;  // the nearest
    }
}

// A pair of neighbours in the queue; of equal costs, the one with the lower numbers comes first.
struct Candidate {
  float cost;
  int32_t a, b;
  bool operator<(const Candidate& o) const { return std::tie(o.cost, o.a, o.b) < std::tie(cost, a, b); }
};

// Borders between all regions below `count` that have none yet.
void link_all(Regions& all, int32_t count, std::priority_queue<Candidate>& queue) {
  const std::vector<int32_t> alive = all.alive(count);
  for (size_t i = 0; i < alive.size(); ++i)
    for (size_t j = i + 1; j < alive.size(); ++j) {
      const int32_t a = alive[i], b = alive[j];
      const std::vector<Border>& known = all.borders(a);
      if (std::any_of(known.begin(), known.end(), [&](const Border& border) { return border.other == b; })) continue;
      all.add_border(a, b, kApartLength, kApartCrease);
      queue.push({all.cost(a, all.borders(a).back()), a, b});
    }
}

// Groups of elements, at most `most` if components allow it: of every element, a number in the order of first members.
std::vector<int32_t> leaves_of(const Levels& levels, const std::vector<int32_t>& node, int64_t rows, int64_t most) {
  std::vector<int32_t> of(levels.graph[0].size());
  for (size_t i = 0; i < of.size(); ++i) of[i] = static_cast<int32_t>(i);
  for (int64_t l = 0; l + 1 < levels.depth() && levels.graph[l].size() > most; ++l)
    for (int32_t& own : of) own = levels.groups[l].of[own];
  std::vector<int32_t> number(of.size(), -1), leaf(rows);
  int32_t count = 0;
  for (int64_t i = 0; i < rows; ++i) {
    int32_t& own = number[of[node.empty() ? i : node[i]]];
    if (own < 0) own = count++;
    leaf[i] = own;
  }
  return leaf;
}

}  // namespace

Hierarchy merge_regions(const HierarchyInput& in, int threads) {
  const SharedTeam team(threads);
  const ScratchScope scratch;
  const RefineInput shape{in.points, in.n, in.faces, in.n_faces};
  const int64_t rows = in.faces ? in.n_faces : in.n;
  std::vector<int32_t> node;
  Graph graph = in.faces ? face_graph(shape, threads, node, true) : point_graph(shape, threads, node, true);
  const Levels levels = make_levels(std::move(graph), threads);
  const Graph& finest = levels.graph[0];

  Hierarchy out;
  out.leaf = leaves_of(levels, node, rows, in.most_leaves);
  out.num_leaves = *std::max_element(out.leaf.begin(), out.leaf.end()) + 1;
  Regions regions(out.num_leaves, in.num_features);
  std::vector<int32_t> leaf_of_node(finest.size());
  std::vector<float> count(finest.size(), 0.0f);
  const auto node_of = [&](int64_t i) { return node.empty() ? static_cast<int32_t>(i) : node[i]; };
  for (int64_t i = 0; i < rows; ++i) leaf_of_node[node_of(i)] = out.leaf[i], count[node_of(i)] += 1;
  double low[3] = {INFINITY, INFINITY, INFINITY}, high[3] = {-INFINITY, -INFINITY, -INFINITY};
  for (int64_t i = 0; i < rows; ++i) {
    float place[3];
    for (int a = 0; a < 3; ++a) {
      double sum = 0;
      if (in.faces)
        for (int e = 0; e < 3; ++e) sum += in.points[3 * int64_t{in.faces[3 * i + e]} + a];
      place[a] = in.faces ? static_cast<float>(sum / 3) : in.points[3 * i + a];
      low[a] = std::min<double>(low[a], place[a]), high[a] = std::max<double>(high[a], place[a]);
    }
    const int32_t own = node_of(i);
    regions.add(out.leaf[i], finest.area[own] / count[own], in.features + i * in.num_features, place);
  }
  regions.finish_leaves(out.num_leaves);
  const int32_t leaves = static_cast<int32_t>(out.num_leaves);
  Forest forest(2 * out.num_leaves);
  for (int64_t i = 0; i < finest.size(); ++i)
    for (int32_t e = finest.begin[i]; e < finest.begin[i + 1]; ++e) {
      const int32_t a = leaf_of_node[i], b = leaf_of_node[finest.next[e]];
      if (finest.next[e] < i || a == b) continue;
      regions.add_border(a, b, finest.length[e], finest.crease[e]);
      forest.join(a, b);
    }
  const double diagonal = std::hypot(high[0] - low[0], high[1] - low[1], high[2] - low[2]);
  std::priority_queue<Candidate> queue;
  std::vector<int32_t> alive = regions.alive(leaves);
  int32_t next = leaves;
  bool any_pair = false;
  while (next < 2 * leaves - 1) {
    // At first, and again when only regions are left that do not touch.
    bridge(regions, alive, forest, diagonal, threads);
    for (int32_t a : alive) {
      regions.join_borders(a);
      for (const Border& border : regions.borders(a))
        if (border.other > a) queue.push({regions.cost(a, border), a, border.other});
    }
    while (!queue.empty()) {
      if (!any_pair && 2 * int64_t{leaves} - next <= kAnyPair) {
        any_pair = true;
        link_all(regions, next, queue);
      }
      const Candidate best = queue.top();
      queue.pop();
      if (!regions.is_alive(best.a) || !regions.is_alive(best.b)) continue;
      regions.merge(best.a, best.b, next);
      forest.join(best.a, best.b);
      forest.join(best.a, next);
      out.merges.insert(out.merges.end(), {best.a, best.b});
      out.costs.push_back(best.cost);
      for (const Border& border : regions.borders(next)) queue.push({regions.cost(next, border), border.other, next});
      ++next;
    }
    alive = regions.alive(next);
  }
  return out;
}

}  // namespace pa3d
