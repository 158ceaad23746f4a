#include "components.h"

#include <algorithm>
#include <numeric>
#include <vector>

#include "knn.h"
#include "places.h"

namespace pa3d {
namespace {

constexpr int64_t kNeighbors = 9;  // a place is the nearest to itself

void join_faces(const float* points, int64_t n, const int32_t* faces, int64_t n_faces, const int32_t* labels,
                int threads, Forest& forest) {
  const Scratch<int32_t> place = first_of_place(points, n, threads);
  std::vector<int32_t> order(n_faces);
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](int32_t a, int32_t b) { return labels[a] < labels[b]; });
  std::vector<int32_t> last(n, -1);  // the last face at each place
  for (int32_t f : order) {
    if (labels[f] < 0) continue;
    for (int e = 0; e < 3; ++e) {
      int32_t& other = last[place[faces[3 * int64_t{f} + e]]];
      if (other >= 0 && labels[other] == labels[f]) forest.join(f, other);
      other = f;
    }
  }
}

void join_points(const float* points, int64_t n, const int32_t* labels, int threads, Forest& forest) {
  const Places places = distinct_places(points, n, threads);
  const int64_t count = places.count(), k = std::min(kNeighbors, count);
  std::vector<int64_t> index(count * k);
  knn(places.points.data(), count, places.points.data(), count, k, threads, index.data(), nullptr);
  for (int64_t i = 0; i < count; ++i)
    for (int64_t t = 0; t < k; ++t) {
      const int32_t a = places.first[i], b = places.first[index[i * k + t]];
      if (labels[a] >= 0 && labels[a] == labels[b]) forest.join(a, b);
    }
  // Points that share a place: with its first one, or else with the last one that has their label.
  std::vector<int32_t> order(n), last(count, -1);
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](int32_t a, int32_t b) { return labels[a] < labels[b]; });
  for (int32_t i : order) {
    if (labels[i] < 0) continue;
    int32_t& other = last[places.of[i]];
    if (other >= 0 && labels[other] == labels[i]) forest.join(i, other);
    other = i;
  }
}

}  // namespace

int64_t components(const float* points, int64_t n, const int32_t* faces, int64_t n_faces, const int32_t* labels,
                   int threads, int32_t* component) {
  const int64_t m = faces ? n_faces : n;
  Forest forest(m);
  if (faces)
    join_faces(points, n, faces, n_faces, labels, threads, forest);
  else
    join_points(points, n, labels, threads, forest);
  int32_t count = 0;
  for (int64_t i = 0; i < m; ++i) {
    const int32_t root = forest.root(static_cast<int32_t>(i));  // the smallest member, which has its number already
    component[i] = labels[i] < 0 ? -1 : root == i ? count++ : component[root];
  }
  return count;
}

}  // namespace pa3d
