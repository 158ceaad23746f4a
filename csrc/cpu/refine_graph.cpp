#include "refine_graph.h"

#include <algorithm>
#include <utility>

#include "knn.h"
#include "parallel.h"
#include "places.h"

namespace pa3d {
namespace {

constexpr double kScale = 0.02;          // over which length angles count, in roots of the area
constexpr double kConcave = 0.1;         // radians
constexpr double kConvex = 5;            // radians
constexpr double kLeast = 0.001;         // what the sharpest edge lets through
constexpr double kPointCoupling = 0.58;  // l / d of a regular grid of triangles
constexpr int64_t kPointNeighbors = 6, kNormalNeighbors = 16;

double crease(double angle, double distance, double sigma, double root_area) {
  const double over = std::max(1.0, kScale * root_area / std::max(distance, 1e-12 * root_area));
  return std::exp(-angle * over / sigma) + kLeast;
}

struct Face {
  Vec normal, centroid;
  double area;
};

// +1 for every face, or -1 where its connected component is inside out: where its signed volume about its centroid is
// clearly negative. Of an open surface, this is the volume between it and its centroid.
std::vector<int8_t> orientation(const RefineInput& in, const std::vector<int32_t>& place,
                                const std::vector<Face>& face) {
  Forest forest(in.n);
  for (int64_t f = 0; f < in.n_faces; ++f)
    for (int e = 1; e < 3; ++e) forest.join(place[in.faces[3 * f]], place[in.faces[3 * f + e]]);
  struct Component {
    double area = 0, volume = 0, extent = 0;
    Vec middle{0, 0, 0};
  };
  std::vector<int32_t> index(in.n, -1), component(in.n_faces);
  std::vector<Component> all;
  for (int64_t f = 0; f < in.n_faces; ++f) {
    int32_t& own = index[forest.root(place[in.faces[3 * f]])];
    if (own < 0) {
      own = static_cast<int32_t>(all.size());
      all.emplace_back();
    }
    component[f] = own;
    all[own].area += face[f].area;
    all[own].middle = all[own].middle + face[f].area * face[f].centroid;
  }
  for (Component& c : all) c.middle = (c.area > 0 ? 1 / c.area : 0) * c.middle;
  for (int64_t f = 0; f < in.n_faces; ++f) {
    Component& c = all[component[f]];
    const Vec away = face[f].centroid - c.middle;
    c.volume += face[f].area * dot(face[f].normal, away);
    c.extent += face[f].area * length(away);
  }
  std::vector<int8_t> sign(in.n_faces);
  for (int64_t f = 0; f < in.n_faces; ++f)
    sign[f] = all[component[f]].volume < -0.05 * all[component[f]].extent ? -1 : 1;
  return sign;
}

// A face at an edge: the edge's higher place, the third place, and whether the face runs from the lower to the higher.
struct Half {
  int32_t high, third, face;
  bool forward;
};

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

}  // namespace

Graph make_graph(std::vector<float> area, const std::vector<Pair>& pairs) {
  Graph g;
  g.area = std::move(area);
  g.begin.assign(g.size() + 1, 0);
  for (const Pair& p : pairs) ++g.begin[p.a + 1], ++g.begin[p.b + 1];
  for (int64_t i = 0; i < g.size(); ++i) g.begin[i + 1] += g.begin[i];
  g.next.resize(g.begin.back());
  g.weight.resize(g.begin.back());
  std::vector<int64_t> fill(g.begin.begin(), g.begin.end() - 1);
  for (const Pair& p : pairs) {
    const int64_t a = fill[p.a]++, b = fill[p.b]++;
    g.next[a] = p.b, g.next[b] = p.a;
    g.weight[a] = g.weight[b] = p.weight;
  }
  return g;
}

Graph face_graph(const RefineInput& in, int threads, std::vector<int32_t>& node) {
  const int64_t m = in.n_faces;
  const std::vector<int32_t> place = first_of_place(in.points, in.n);
  std::vector<Face> face(m);
  parallel_for(m, kRowsPerTask, threads, [&](int64_t begin, int64_t end) {
    for (int64_t f = begin; f < end; ++f) {
      const Vec a = at(in.points, in.faces[3 * f]), b = at(in.points, in.faces[3 * f + 1]),
                c = at(in.points, in.faces[3 * f + 2]);
      const Vec n = cross(b - a, c - a);
      const double twice = length(n);
      face[f] = {(twice > 0 ? 1 / twice : 0) * n, (1.0 / 3) * (a + b + c), twice / 2};
    }
  });
  const std::vector<int8_t> sign = orientation(in, place, face);

  // Half-edges sorted by their lower place, then by their higher one, in the order of the faces.
  std::vector<int64_t> begin(in.n + 1, 0);
  const auto each_edge = [&](const auto& body) {
    for (int64_t f = 0; f < m; ++f)
      for (int e = 0; e < 3; ++e) {
        const int32_t a = place[in.faces[3 * f + e]], b = place[in.faces[3 * f + (e + 1) % 3]];
        if (a != b) body(static_cast<int32_t>(f), a, b, e);
      }
  };
  each_edge([&](int32_t, int32_t a, int32_t b, int) { ++begin[std::min(a, b) + 1]; });
  for (int64_t i = 0; i < in.n; ++i) begin[i + 1] += begin[i];
  std::vector<Half> half(begin.back());
  {
    std::vector<int64_t> fill(begin.begin(), begin.end() - 1);
    each_edge([&](int32_t f, int32_t a, int32_t b, int e) {
      half[fill[std::min(a, b)]++] = {std::max(a, b), place[in.faces[3 * int64_t{f} + (e + 2) % 3]], f, a < b};
    });
  }
  std::vector<int32_t> twin(m);
  for (int64_t f = 0; f < m; ++f) twin[f] = static_cast<int32_t>(f);
  parallel_for(in.n, kRowsPerTask, threads, [&](int64_t from, int64_t to) {
    for (int64_t v = from; v < to; ++v) {
      Half* const first = half.data() + begin[v];
      Half* const last = half.data() + begin[v + 1];
      const auto lower = [](const Half& a, const Half& b) { return a.high < b.high; };
      if (last - first > 64) {
        std::stable_sort(first, last, lower);
      } else {  // insertion sort: a vertex has few edges
        for (Half* i = first; i < last; ++i) {
          const Half x = *i;
          Half* j = i;
          for (; j > first && lower(x, j[-1]); --j) *j = j[-1];
          *j = x;
        }
      }
      // Every face is looked at once, from its lowest two places.
      for (Half* h = first; h < last; ++h)
        if (h->third > h->high)
          for (Half* other = h; other > first && other[-1].high == h->high; --other)
            if (other[-1].third == h->third) twin[h->face] = other[-1].face;
    }
  });
  double total = 0;
  int64_t nodes = 0;
  for (int64_t f = 0; f < m; ++f)
    if (twin[f] == f) ++nodes, total += face[f].area;
  if (!(total > 0)) return make_graph(std::vector<float>(m, 1.0f), {});  // no surface
  const double root_area = std::sqrt(total), unit = static_cast<double>(nodes);
  // Pair t is half-edge t and the next one of the same edge.
  std::vector<Pair> pairs(half.size());
  parallel_for(in.n, kRowsPerTask, threads, [&](int64_t from, int64_t to) {
    for (int64_t v = from; v < to; ++v)
      for (int64_t t = begin[v]; t < begin[v + 1]; ++t) {
        pairs[t] = {0, 0, 0};
        const int32_t i = half[t].face;
        int64_t next = t + 1;
        while (next < begin[v + 1] && twin[half[next].face] != half[next].face) ++next;
        if (twin[i] != i || next == begin[v + 1] || half[t].high != half[next].high || half[next].face == i) continue;
        const int32_t j = half[next].face;
        const Vec p = at(in.points, v), q = at(in.points, half[t].high), middle = 0.5 * (p + q);
        const bool flipped = half[t].forward == half[next].forward;
        const Vec ni = face[i].normal, nj = flipped ? -1.0 * face[j].normal : face[j].normal;
        const double distance = length(face[i].centroid - middle) + length(face[j].centroid - middle);
        const double angle = std::atan2(length(cross(ni, nj)), dot(ni, nj));
        const bool concave = sign[i] * dot(face[j].centroid - face[i].centroid, ni - nj) > 0;
        const double g = crease(angle, distance, concave ? kConcave : kConvex, root_area);
        const double coupling = length(p - q) / std::max(distance, 1e-9 * root_area);
        pairs[t] = {i, j, static_cast<float>(in.reach * in.reach * unit * g * coupling)};
      }
  });
  pairs.erase(std::remove_if(pairs.begin(), pairs.end(), [](const Pair& p) { return p.weight == 0; }), pairs.end());
  std::vector<float> share;
  share.reserve(nodes);
  const bool twins = nodes < m;
  if (twins) node.resize(m);
  for (int64_t f = 0; f < m; ++f) {
    if (twin[f] == f) {
      if (twins) node[f] = static_cast<int32_t>(share.size());
      share.push_back(static_cast<float>(std::max(face[f].area / total * unit, 1e-6)));
    }
  }
  if (twins) {
    for (int64_t f = 0; f < m; ++f)
      if (twin[f] != f) node[f] = node[twin[f]];
    for (Pair& p : pairs) p.a = node[p.a], p.b = node[p.b];
  }
  return make_graph(std::move(share), pairs);
}

Graph point_graph(const RefineInput& in, int threads, std::vector<int32_t>& node) {
  Places distinct = distinct_places(in.points, in.n);
  const std::vector<float>& places = distinct.points;
  const int64_t m = distinct.count(), k = std::min(kNormalNeighbors, m);
  std::vector<float> area(m, 0.0f);
  for (int32_t own : distinct.of) area[own] += static_cast<float>(static_cast<double>(m) / static_cast<double>(in.n));
  node = std::move(distinct.of);
  std::vector<int64_t> index(m * k);
  knn(places.data(), m, places.data(), m, k, threads, index.data(), nullptr);
  std::vector<Vec> normal(m);
  parallel_for(m, kRowsPerTask / 4, threads, [&](int64_t begin, int64_t end) {
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
  if (pairs.empty()) return make_graph(std::move(area), pairs);
  std::vector<float> sorted = distance;
  std::nth_element(sorted.begin(), sorted.begin() + sorted.size() / 2, sorted.end());
  const double root_area = sorted[sorted.size() / 2] * std::sqrt(static_cast<double>(m));
  parallel_for(static_cast<int64_t>(pairs.size()), kRowsPerTask, threads, [&](int64_t begin, int64_t end) {
    for (int64_t t = begin; t < end; ++t) {
      const Vec ni = normal[pairs[t].a], nj = normal[pairs[t].b];
      const double angle = std::atan2(length(cross(ni, nj)), std::fabs(dot(ni, nj)));
      const double g = crease(angle, distance[t], kConcave, root_area);
      pairs[t].weight = static_cast<float>(in.reach * in.reach * static_cast<double>(m) * kPointCoupling * g);
    }
  });
  return make_graph(std::move(area), pairs);
}

Graph with_pieces(const Graph& g, const RefineInput& in, const std::vector<int32_t>& node, std::vector<float>& table,
                  int64_t num_parts) {
  const int64_t m = g.size(), rows = in.faces ? in.n_faces : in.n;
  std::vector<float> area = g.area;
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
  table.resize((m + in.num_pieces) * num_parts, 0.0f);
  for (int64_t p = 0; p < in.num_pieces; ++p) {
    const float weight = in.weight ? in.weight[p] : 0.0f;
    area.push_back(static_cast<float>(std::max(weight * total[p], 1e-6)));
    for (int64_t j = 0; j < num_parts && in.evidence; ++j)
      table[(m + p) * num_parts + j] = in.evidence[p * num_parts + j];
  }
  return make_graph(std::move(area), pairs);
}

}  // namespace pa3d
