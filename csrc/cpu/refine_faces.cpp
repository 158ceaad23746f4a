#include <algorithm>
#include <array>
#include <cmath>
#include <utility>
#include <vector>

#include "parallel.h"
#include "places.h"
#include "refine_graph.h"
#include "refine_kernels.h"

namespace pa3d {
namespace {

constexpr float kConvex = 5;          // radians
constexpr int64_t kMostCounts = 4;    // counts of all places that the sorting of edges keeps
constexpr int64_t kFaceChunk = 8192;  // faces that are summed up before their sum is added to the total

// Three floats and one more, for the compiler's vector operations.
typedef float Vec __attribute__((vector_size(16)));
inline float dot(Vec a, Vec b) {
  const Vec p = a * b;
  return (p[0] + p[1]) + p[2];
}
inline Vec cross(Vec a, Vec b) {
  const Vec c = a * Vec{b[1], b[2], b[0], 0} - Vec{a[1], a[2], a[0], 0} * b;
  return Vec{c[1], c[2], c[0], 0};
}
inline float length(Vec a) { return std::sqrt(dot(a, a)); }

// The points, moved and scaled so that the faces are in a cube from -1 to 1, and products of differences are in the
// range of floats. Nothing here depends on units, or on points that no face uses.
Scratch<Vec> in_cube(const RefineInput& in, int threads) {
  struct Box {
    float low[3] = {INFINITY, INFINITY, INFINITY}, high[3] = {-INFINITY, -INFINITY, -INFINITY};
    void add(const float* p, const float* q) {
      for (int a = 0; a < 3; ++a) low[a] = std::min(low[a], p[a]), high[a] = std::max(high[a], q[a]);
    }
  };
  const float* const points = in.points;
  const int64_t n = in.n, chunks = (in.n_faces + kFaceChunk - 1) / kFaceChunk;
  std::vector<Box> boxes(chunks);
  parallel_for(chunks, 1, threads, [&](int64_t first, int64_t last) {
    for (int64_t c = first; c < last; ++c) {
      Box box;
      for (int64_t i = 3 * c * kFaceChunk; i < 3 * std::min(in.n_faces, (c + 1) * kFaceChunk); ++i)
        box.add(points + 3 * int64_t{in.faces[i]}, points + 3 * int64_t{in.faces[i]});
      boxes[c] = box;
    }
  });
  Box whole;
  for (const Box& box : boxes) whole.add(box.low, box.high);
  const float *const low = whole.low, *const high = whole.high;
  double extent = 0, middle[3];
  for (int a = 0; a < 3; ++a) {
    extent = std::max(extent, static_cast<double>(high[a]) - low[a]);
    middle[a] = (static_cast<double>(high[a]) + low[a]) / 2;
  }
  const double scale = extent > 0 ? 2 / extent : 1;
  Scratch<Vec> out;
  out.resize_uninitialized(n);
  parallel_for(n, kRowsPerTask, threads, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      double v[3];
      for (int a = 0; a < 3; ++a) v[a] = (points[3 * i + a] - middle[a]) * scale;
      out[i] = Vec{static_cast<float>(v[0]), static_cast<float>(v[1]), static_cast<float>(v[2]), 0};
    }
  });
  return out;
}

// Sets that several threads join. The root of a set is its smallest member, in whatever order they are joined.
class SharedForest {
 public:
  explicit SharedForest(int64_t n) {
    up_.resize_uninitialized(n);
    for (int64_t i = 0; i < n; ++i) up_[i] = static_cast<int32_t>(i);
  }
  int32_t root(int32_t i) {
    while (true) {
      const int32_t above = __atomic_load_n(&up_[i], __ATOMIC_RELAXED);
      if (above == i) return i;
      const int32_t next = __atomic_load_n(&up_[above], __ATOMIC_RELAXED);
      // Another thread may have stored an even smaller member. Both are members of the same set.
      if (next != above) __atomic_store_n(&up_[i], next, __ATOMIC_RELAXED);
      i = next;
    }
  }
  void join(int32_t a, int32_t b) {
    while (true) {
      a = root(a), b = root(b);
      if (a == b) return;
      int32_t larger = std::max(a, b);
      const int32_t smaller = std::min(a, b);
      if (__atomic_compare_exchange_n(&up_[larger], &larger, smaller, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED))
        return;
    }
  }

 private:
  Scratch<int32_t> up_;
};

struct Surface {
  int64_t count;            // of faces
  Scratch<int32_t> corner;  // (count, 3) places
  Scratch<Vec> normal;      // with 1, or -1 where the component is inside out, as the fourth number
  Scratch<Vec> centroid;
  Scratch<float> area;
};

// Sums over the faces of each of `num` components of what value(f, sum) adds to N numbers. They do not depend on the
// threads.
template <int N, class Value>
std::vector<std::array<double, N>> component_sums(const Scratch<int32_t>& component, int32_t num, int threads,
                                                  const Value& value) {
  // Faces of a component mostly follow each other, so each chunk has few runs.
  struct Run {
    int32_t component;
    std::array<double, N> sum;
  };
  const int64_t m = component.size(), chunks = (m + kFaceChunk - 1) / kFaceChunk;
  std::vector<std::vector<Run>> runs(chunks);
  parallel_for(chunks, 1, threads, [&](int64_t first, int64_t last) {
    for (int64_t c = first; c < last; ++c) {
      const int64_t begin = c * kFaceChunk, end = std::min(m, begin + kFaceChunk);
      for (int64_t f = begin; f < end;) {
        const int32_t own = component[f];
        double sum[N] = {};
        for (; f < end && component[f] == own; ++f) value(f, sum);
        runs[c].push_back({own, {}});
        std::copy_n(sum, N, runs[c].back().sum.data());
      }
    }
  });
  std::vector<std::array<double, N>> total(num);
  for (const std::vector<Run>& chunk : runs)
    for (const Run& run : chunk)
      for (int i = 0; i < N; ++i) total[run.component][i] += run.sum[i];
  return total;
}

// Sets the sign of the normals: -1 where a connected component is inside out, that is, where its signed volume about
// its centroid is clearly negative. Of an open surface, this is the volume between it and its centroid.
void orient(Surface& s, int64_t n, int threads) {
  SharedForest forest(n);
  const int64_t m = s.count;
  parallel_for(m, kRowsPerTask, threads, [&](int64_t begin, int64_t end) {
    for (int64_t f = begin; f < end; ++f)
      for (int e = 1; e < 3; ++e) forest.join(s.corner[3 * f], s.corner[3 * f + e]);
  });
  Scratch<int32_t> component;
  component.resize_uninitialized(m);
  parallel_for(m, kRowsPerTask, threads, [&](int64_t begin, int64_t end) {
    for (int64_t f = begin; f < end; ++f) component[f] = forest.root(s.corner[3 * f]);
  });
  Scratch<int32_t> number(n, -1);
  int32_t num = 0, before = -1, same = -1;  // the last root and its number: faces of a component follow each other
  for (int64_t f = 0; f < m; ++f) {
    if (component[f] != before) {
      before = component[f];
      if (number[before] < 0) number[before] = num++;
      same = number[before];
    }
    component[f] = same;
  }
  const auto middle = component_sums<4>(component, num, threads, [&](int64_t f, double* sum) {
    const Vec weighted = s.area[f] * s.centroid[f];
    for (int a = 0; a < 3; ++a) sum[a] += weighted[a];
    sum[3] += s.area[f];
  });
  std::vector<Vec> mean(num);
  for (int32_t c = 0; c < num; ++c)
    for (int a = 0; a < 3; ++a) mean[c][a] = static_cast<float>(middle[c][3] > 0 ? middle[c][a] / middle[c][3] : 0);
  const auto volume = component_sums<2>(component, num, threads, [&](int64_t f, double* sum) {
    const Vec away = s.centroid[f] - mean[component[f]];
    sum[0] += s.area[f] * dot(s.normal[f], away);
    sum[1] += s.area[f] * length(away);
  });
  parallel_for(m, kRowsPerTask, threads, [&](int64_t begin, int64_t end) {
    for (int64_t f = begin; f < end; ++f) {
      const std::array<double, 2>& sum = volume[component[f]];
      s.normal[f][3] = sum[0] < -0.05 * sum[1] ? -1 : 1;
    }
  });
}

// Corner e of face f, and the edge from it to the face's next corner: 3 f + e.
inline int32_t face_of(int32_t corner) { return corner / 3; }
inline int32_t after(int32_t corner) { return corner % 3 == 2 ? corner - 2 : corner + 1; }

// The edges of all faces.
struct Edges {
  Scratch<int32_t> twin;        // of every face: the first with the same places, which is itself for most
  Scratch<int32_t> next;        // of every corner: the same edge in the next face that has it, -1 for none
  Scratch<uint8_t> has_before;  // of every corner: whether it is the next of another
};

Edges find_edges(const Surface& s, int64_t n, int threads) {
  struct Half {
    int32_t high, corner;  // the edge's higher place
  };
  const int64_t m = s.count;
  const int32_t* const place = s.corner.data();
  // Sorted by the lower place, then by the higher one, in the order of the faces.
  const Chunks chunks(m, std::clamp<int64_t>(resolve_threads(threads), 1, kMostCounts), 1);
  std::vector<Scratch<int32_t>> fill(chunks.count);
  for (Scratch<int32_t>& counts : fill) counts.resize(n);
  const auto each_edge = [&](int64_t chunk, const auto& body) {
    for (int64_t c = 3 * chunks.begin(chunk); c < 3 * chunks.end(chunk); ++c) {
      const int32_t own = static_cast<int32_t>(c), a = place[own], b = place[after(own)];
      if (a != b) body(own, std::min(a, b), std::max(a, b));
    }
  };
  parallel_for(chunks.count, 1, threads, [&](int64_t first, int64_t last) {
    for (int64_t c = first; c < last; ++c) each_edge(c, [&](int32_t, int32_t low, int32_t) { ++fill[c][low]; });
  });
  Scratch<int32_t> begin;
  begin.resize_uninitialized(n + 1);
  int32_t total = 0;
  for (int64_t v = 0; v < n; ++v) {
    begin[v] = total;
    for (Scratch<int32_t>& counts : fill) total += std::exchange(counts[v], total);
  }
  begin[n] = total;
  Scratch<Half> half;
  half.resize_uninitialized(total);
  parallel_for(chunks.count, 1, threads, [&](int64_t first, int64_t last) {
    for (int64_t c = first; c < last; ++c)
      each_edge(c, [&](int32_t corner, int32_t low, int32_t high) { half[fill[c][low]++] = {high, corner}; });
  });
  Edges out;
  out.twin.resize_uninitialized(m);
  for (int64_t f = 0; f < m; ++f) out.twin[f] = static_cast<int32_t>(f);
  parallel_for(n, kRowsPerTask, threads, [&](int64_t from, int64_t to) {
    for (int64_t v = from; v < to; ++v) {
      Half* const first = &half[begin[v]];
      Half* const last = &half[0] + begin[v + 1];
      const auto third = [&](const Half& h) { return place[after(after(h.corner))]; };
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
        if (h > first && h[-1].high == h->high && third(*h) > h->high)
          for (Half* other = h; other > first && other[-1].high == h->high; --other)
            if (third(other[-1]) == third(*h)) out.twin[face_of(h->corner)] = face_of(other[-1].corner);
    }
  });
  out.next.resize_uninitialized(3 * m);
  out.has_before.resize(3 * m);
  std::fill_n(out.next.data(), 3 * m, -1);
  parallel_for(n, kRowsPerTask, threads, [&](int64_t from, int64_t to) {
    for (int64_t v = from; v < to; ++v)
      for (int32_t t = begin[v]; t < begin[v + 1];) {
        // Those of one edge, without the twins.
        const int32_t high = half[t].high;
        int32_t before = -1;
        for (; t < begin[v + 1] && half[t].high == high; ++t) {
          const int32_t corner = half[t].corner;
          if (out.twin[face_of(corner)] != face_of(corner)) continue;
          if (before >= 0 && face_of(before) != face_of(corner)) {
            out.next[before] = corner;
            out.has_before[corner] = 1;
          }
          before = corner;
        }
      }
  });
  return out;
}

// Pairs of faces, collected until there are enough to compute their weights together.
class PairBatch {
 public:
  PairBatch(float root_area, float unit, Graph& graph) : pairs_{}, graph_(graph) {
    pairs_.root_area = root_area, pairs_.unit = unit;
  }
  ~PairBatch() { flush(); }
  // Where the squares of sines and lengths are given, roots are taken of many at once.
  void add(float sq_sine, float cosine, float sq_first, float sq_second, float sq_length, bool is_concave, int32_t one,
           int32_t other) {
    const int64_t t = pairs_.count;
    pairs_.sq_sine[t] = sq_sine, pairs_.cosine[t] = cosine;
    pairs_.sq_first[t] = sq_first, pairs_.sq_second[t] = sq_second, pairs_.sq_length[t] = sq_length;
    pairs_.sigma[t] = is_concave ? kConcave : kConvex;
    one_[t] = one, other_[t] = other;
    if (++pairs_.count == FacePairs::kSize) flush();
  }

 private:
  void flush() {
    float weight[FacePairs::kSize], length[FacePairs::kSize], crease[FacePairs::kSize];
    face_weights(pairs_, weight, length, crease);
    for (int64_t t = 0; t < pairs_.count; ++t) graph_.weight[one_[t]] = graph_.weight[other_[t]] = weight[t];
    for (int64_t t = 0; t < pairs_.count && graph_.length.size() > 0; ++t) {
      graph_.length[one_[t]] = graph_.length[other_[t]] = length[t];
      graph_.crease[one_[t]] = graph_.crease[other_[t]] = crease[t];
    }
    pairs_.count = 0;
  }
  FacePairs pairs_;
  Graph& graph_;
  int32_t one_[FacePairs::kSize], other_[FacePairs::kSize];
};

}  // namespace

Graph face_graph(const RefineInput& in, int threads, std::vector<int32_t>& node, bool borders) {
  Surface s;
  const int64_t m = s.count = in.n_faces;
  const Scratch<Vec> point = in_cube(in, threads);
  {
    const Scratch<int32_t> place = first_of_place(in.points, in.n, threads);
    s.corner.resize_uninitialized(3 * m);
    s.normal.resize_uninitialized(m);
    s.centroid.resize_uninitialized(m);
    s.area.resize_uninitialized(m);
    parallel_for(m, kRowsPerTask, threads, [&](int64_t begin, int64_t end) {
      for (int64_t f = begin; f < end; ++f) {
        for (int e = 0; e < 3; ++e) s.corner[3 * f + e] = place[in.faces[3 * f + e]];
        const Vec a = point[s.corner[3 * f]], b = point[s.corner[3 * f + 1]], c = point[s.corner[3 * f + 2]];
        const Vec normal = cross(b - a, c - a);
        const float twice = length(normal);
        s.normal[f] = (twice > 0 ? 1 / twice : 0.0f) * normal;
        s.centroid[f] = (1.0f / 3) * (a + b + c);
        s.area[f] = twice / 2;
      }
    });
  }
  orient(s, in.n, threads);
  const Edges edges = find_edges(s, in.n, threads);

  // Nodes are numbered, and their neighbours counted, in blocks of faces that do not depend on the threads.
  struct Block {
    int32_t nodes = 0, neighbors = 0;
    double area = 0;
  };
  const int64_t blocks = (m + kFaceChunk - 1) / kFaceChunk;
  std::vector<Block> block(blocks + 1);
  const auto degree = [&](int64_t f) {
    int32_t out = 0;
    for (int64_t c = 3 * f; c < 3 * f + 3; ++c) out += edges.has_before[c] + (edges.next[c] >= 0);
    return out;
  };
  const auto each_node = [&](int64_t b, const auto& body) {
    for (int64_t f = b * kFaceChunk; f < std::min(m, (b + 1) * kFaceChunk); ++f)
      if (edges.twin[f] == f) body(f);
  };
  parallel_for(blocks, 1, threads, [&](int64_t first, int64_t last) {
    for (int64_t b = first; b < last; ++b)
      each_node(b, [&](int64_t f) { ++block[b].nodes, block[b].neighbors += degree(f), block[b].area += s.area[f]; });
  });
  Block whole;  // of all blocks; each block's own are replaced by the sums of those before it
  for (Block& own : block) {
    std::swap(own, whole);
    whole.nodes += own.nodes, whole.neighbors += own.neighbors, whole.area += own.area;
  }
  const int64_t nodes = block[blocks].nodes;
  const int32_t neighbors = block[blocks].neighbors;
  const double total = block[blocks].area;
  Graph g;
  g.area.resize_uninitialized(total > 0 ? nodes : m);
  g.begin.resize(g.area.size() + 1);
  if (!(total > 0)) {  // no surface
    std::fill_n(g.area.data(), m, 1.0f);
    return g;
  }
  const bool twins = nodes < m;
  if (twins) node.resize(m);
  Scratch<int32_t> begin;
  begin.resize_uninitialized(m);
  const double share = static_cast<double>(nodes) / total;
  parallel_for(blocks, 1, threads, [&](int64_t first, int64_t last) {
    for (int64_t b = first; b < last; ++b) {
      Block at = block[b];
      each_node(b, [&](int64_t f) {
        if (twins) node[f] = at.nodes;
        g.area[at.nodes] = static_cast<float>(std::max(s.area[f] * share, 1e-6));
        g.begin[at.nodes++] = begin[f] = at.neighbors;
        at.neighbors += degree(f);
      });
    }
  });
  g.begin[nodes] = neighbors;
  for (int64_t f = 0; f < m && twins; ++f)
    if (edges.twin[f] != f) node[f] = node[edges.twin[f]];
  g.next.resize_uninitialized(neighbors);
  g.weight.resize_uninitialized(neighbors);
  if (borders) {
    g.length.resize_uninitialized(neighbors);
    g.crease.resize_uninitialized(neighbors);
  }
  // In the row of a face, the neighbours come in the order of its edges, the face before it first.
  const auto slot_of = [&](int32_t corner, bool next) {
    const int32_t f = face_of(corner);
    int32_t slot = begin[f];
    for (int32_t c = 3 * f; c < corner; ++c) slot += edges.has_before[c] + (edges.next[c] >= 0);
    return slot + (next ? edges.has_before[corner] : 0);
  };
  const float root_area = static_cast<float>(std::sqrt(total));
  const float unit = static_cast<float>(in.reach * in.reach * static_cast<double>(nodes));
  parallel_for(m, kRowsPerTask, threads, [&](int64_t from, int64_t to) {
    PairBatch batch(root_area, unit, g);
    for (int32_t c = static_cast<int32_t>(3 * from); c < 3 * to; ++c) {
      const int32_t other = edges.next[c];
      if (other < 0) continue;
      const int32_t i = face_of(c), j = face_of(other);
      const Vec p = point[s.corner[c]], q = point[s.corner[after(c)]], middle = 0.5f * (p + q);
      const bool flipped = s.corner[c] == s.corner[other];  // both run the same way along the edge
      const Vec ni = s.normal[i], nj = flipped ? -s.normal[j] : s.normal[j];
      const bool is_concave = ni[3] * dot(s.centroid[j] - s.centroid[i], ni - nj) > 0;
      const int32_t one = slot_of(c, true), two = slot_of(other, false);
      g.next[one] = twins ? node[j] : j;
      g.next[two] = twins ? node[i] : i;
      const Vec sine = cross(ni, nj), first = s.centroid[i] - middle, second = s.centroid[j] - middle;
      batch.add(dot(sine, sine), dot(ni, nj), dot(first, first), dot(second, second), dot(p - q, p - q), is_concave,
                one, two);
    }
  });
  return g;
}

}  // namespace pa3d
