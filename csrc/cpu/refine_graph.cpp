#include "refine_graph.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "knn.h"
#include "parallel.h"
#include "places.h"
#include "refine_kernels.h"

namespace pa3d {
namespace {

constexpr double kPointCoupling = 0.58;  // l / d of a regular grid of triangles
constexpr int64_t kPointNeighbors = 6, kNormalNeighbors = 16;

struct Vec {
  double x, y, z;
};
Vec operator-(const Vec& a, const Vec& b) { return {a.x - b.x, a.y - b.y, a.z - b.z}; }
Vec operator+(const Vec& a, const Vec& b) { return {a.x + b.x, a.y + b.y, a.z + b.z}; }
Vec operator*(double s, const Vec& a) { return {s * a.x, s * a.y, s * a.z}; }
double dot(const Vec& a, const Vec& b) { return (a.x * b.x + a.y * b.y) + a.z * b.z; }
Vec cross(const Vec& a, const Vec& b) { return {a.y * b.z - a.z * b.y, a.z * b.x - a.x * b.z, a.x * b.y - a.y * b.x}; }
double length(const Vec& a) { return std::sqrt(dot(a, a)); }
Vec at(const float* points, int64_t i) { return {points[3 * i], points[3 * i + 1], points[3 * i + 2]}; }

// The unit vector of the least extent of symmetric c (xx, xy, xz, yy, yz, zz): one step of inverse iteration after its
// smallest eigenvalue in closed form (Smith, Communications of the ACM, 1961). Zero if there is no such direction.
Vec least_direction(const double c[6]) {
  const double mean = (c[0] + c[3] + c[5]) / 3;
  const double xx = c[0] - mean, yy = c[3] - mean, zz = c[5] - mean;
  const double p = std::sqrt((xx * xx + yy * yy + zz * zz + 2 * (c[1] * c[1] + c[2] * c[2] + c[4] * c[4])) / 6);
  if (!(p > 1e-12 * mean)) return {0, 0, 0};
  const double det = xx * (yy * zz - c[4] * c[4]) - c[1] * (c[1] * zz - c[4] * c[2]) + c[2] * (c[1] * c[4] - yy * c[2]);
  const double r = std::clamp(det / (2 * p * p * p), -1.0, 1.0);
  const double least = mean + 2 * p * std::cos(std::acos(r) / 3 + 2 * M_PI / 3);
  const Vec rows[3] = {{c[0] - least, c[1], c[2]}, {c[1], c[3] - least, c[4]}, {c[2], c[4], c[5] - least}};
  Vec best{0, 0, 0};
  double most = 1e-20 * p * p * p * p;
  for (int i = 0; i < 3; ++i) {
    const Vec n = cross(rows[i], rows[(i + 1) % 3]);
    const double sq = dot(n, n);
    if (sq > most) most = sq, best = n;
  }
  const double norm = length(best);
  return (norm > 0 ? 1 / norm : 0) * best;
}

struct Pair {
  int32_t a, b;
  float weight;
};

// The neighbours of a node come in the order of the pairs.
Graph make_graph(const std::vector<float>& area, const std::vector<Pair>& pairs) {
  Graph g;
  const int64_t n = static_cast<int64_t>(area.size());
  g.area.resize_uninitialized(n);
  std::copy(area.begin(), area.end(), g.area.data());
  g.begin.resize(n + 1);
  for (const Pair& p : pairs) ++g.begin[p.a + 1], ++g.begin[p.b + 1];
  for (int64_t i = 0; i < n; ++i) g.begin[i + 1] += g.begin[i];
  g.next.resize_uninitialized(g.begin[n]);
  g.weight.resize_uninitialized(g.begin[n]);
  std::vector<int32_t> fill(g.begin.data(), g.begin.data() + n);
  for (const Pair& p : pairs) {
    const int32_t a = fill[p.a]++, b = fill[p.b]++;
    g.next[a] = p.b, g.next[b] = p.a;
    g.weight[a] = g.weight[b] = p.weight;
  }
  return g;
}

}  // namespace

Graph point_graph(const RefineInput& in, int threads, std::vector<int32_t>& node, bool borders) {
  Places distinct = distinct_places(in.points, in.n, threads);
  const std::vector<float>& places = distinct.points;
  const int64_t m = distinct.count(), k = std::min(kNormalNeighbors, m);
  std::vector<float> area(m, 0.0f);
  for (int32_t own : distinct.of) area[own] += static_cast<float>(static_cast<double>(m) / static_cast<double>(in.n));
  node = std::move(distinct.of);
  std::vector<int64_t> index(m * k);
  knn(places.data(), m, places.data(), m, k, threads, index.data(), nullptr);
  std::vector<Vec> normal(m);
  parallel_for(m, kRowsPerTask, threads, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      Vec mean{0, 0, 0};
      for (int64_t j = 0; j < k; ++j) mean = mean + at(places.data(), index[i * k + j]);
      mean = (1.0 / static_cast<double>(k)) * mean;
      double c[6] = {};
      for (int64_t j = 0; j < k; ++j) {
        const Vec d = at(places.data(), index[i * k + j]) - mean;
        c[0] += d.x * d.x, c[1] += d.x * d.y, c[2] += d.x * d.z, c[3] += d.y * d.y, c[4] += d.y * d.z,
            c[5] += d.z * d.z;
      }
      normal[i] = least_direction(c);
    }
  });
  std::vector<Pair> pairs;
  std::vector<float> distance;
  const int64_t near = std::min(kPointNeighbors + 1, m);
  for (int64_t i = 0; i < m; ++i)
    for (int64_t t = 0; t < near; ++t) {
      const int64_t j = index[i * k + t];
      const int64_t* const back = &index[j * k];
      if (j == i || (j < i && std::find(back, back + near, i) != back + near)) continue;  // the pair is there already
      pairs.push_back({static_cast<int32_t>(i), static_cast<int32_t>(j), 0});
      distance.push_back(static_cast<float>(length(at(places.data(), i) - at(places.data(), j))));
    }
  if (pairs.empty()) return make_graph(area, pairs);
  std::vector<float> sorted = distance;
  std::nth_element(sorted.begin(), sorted.begin() + sorted.size() / 2, sorted.end());
  const float root_area = static_cast<float>(sorted[sorted.size() / 2] * std::sqrt(static_cast<double>(m)));
  const float unit = static_cast<float>(in.reach * in.reach * static_cast<double>(m) * kPointCoupling);
  parallel_for(static_cast<int64_t>(pairs.size()), kRowsPerTask, threads, [&](int64_t begin, int64_t end) {
    std::vector<float> sine, cosine, open(end - begin);
    for (int64_t t = begin; t < end; ++t) {
      const Vec ni = normal[pairs[t].a], nj = normal[pairs[t].b];
      sine.push_back(static_cast<float>(length(cross(ni, nj))));
      cosine.push_back(static_cast<float>(std::fabs(dot(ni, nj))));
    }
    point_openness(sine.data(), cosine.data(), &distance[begin], end - begin, root_area, open.data());
    for (int64_t t = begin; t < end; ++t) pairs[t].weight = unit * (open[t - begin] + kLeastOpenness);
  });
  Graph graph = make_graph(area, pairs);
  if (borders) {
    const int64_t count = graph.next.size();
    graph.length.resize_uninitialized(count);
    graph.crease.resize_uninitialized(count);
    for (int64_t e = 0; e < count; ++e) {
      graph.length[e] = static_cast<float>(kPointCoupling / std::sqrt(static_cast<double>(m)));
      graph.crease[e] = 1 + kLeastOpenness - graph.weight[e] / unit;
    }
  }
  return graph;
}

Graph with_pieces(const Graph& g, const RefineInput& in, const std::vector<int32_t>& node, Scratch<float>& table,
                  int64_t num_parts) {
  const int64_t m = g.size(), rows = in.faces ? in.n_faces : in.n;
  std::vector<float> area(g.area.data(), g.area.data() + m);
  std::vector<Pair> pairs;
  for (int64_t i = 0; i < m; ++i)
    for (int64_t e = g.begin[i]; e < g.begin[i + 1]; ++e)
      if (g.next[e] > i) pairs.push_back({static_cast<int32_t>(i), g.next[e], g.weight[e]});
  std::vector<double> total(in.num_pieces, 0.0);
  std::vector<float> share(m, 1);  // of a place, the area of one of its points
  if (!node.empty()) {
    std::vector<float> count(m, 0);
    for (int32_t place : node) count[place] += 1;
    for (int64_t i = 0; i < m; ++i) share[i] = 1 / count[i];
  }
  for (int64_t i = 0; i < rows; ++i) {
    const int32_t p = in.piece[i], own = node.empty() ? static_cast<int32_t>(i) : node[i];
    if (p < 0) continue;
    const float a = g.area[own] * share[own];
    total[p] += a;
    if (in.bond[p] > 0) pairs.push_back({own, static_cast<int32_t>(m + p), in.bond[p] * a});
  }
  Scratch<float> larger((m + in.num_pieces) * num_parts);
  std::copy(table.begin(), table.end(), larger.begin());
  table = std::move(larger);
  for (int64_t p = 0; p < in.num_pieces; ++p) {
    const float weight = in.weight ? in.weight[p] : 0.0f;
    area.push_back(static_cast<float>(std::max(weight * total[p], 1e-6)));
    for (int64_t j = 0; j < num_parts && in.evidence; ++j)
      table[(m + p) * num_parts + j] = in.evidence[p * num_parts + j];
  }
  return make_graph(area, pairs);
}

}  // namespace pa3d
