#include "outliers.h"

#include <algorithm>
#include <cmath>
#include <utility>
#include <vector>

#include "knn.h"
#include "parallel.h"

namespace pa3d {
namespace {

constexpr int64_t kQuery = kOutlierGroup + 1;  // a place is the nearest to itself
// The places (count, 3), sorted by x, y, z; place (n): the one of every point.
std::vector<float> distinct_places(const float* points, int64_t n, std::vector<int32_t>& place) {
  struct Entry {
    float x, y, z;
    int32_t index;
  };
  std::vector<Entry> order(n);
  for (int64_t i = 0; i < n; ++i)
    order[i] = {points[3 * i], points[3 * i + 1], points[3 * i + 2], static_cast<int32_t>(i)};
  std::sort(order.begin(), order.end(), [](const Entry& a, const Entry& b) {
    return a.x != b.x ? a.x < b.x : a.y != b.y ? a.y < b.y : a.z != b.z ? a.z < b.z : a.index < b.index;
  });
  std::vector<float> out;
  out.reserve(3 * n);
  place.resize(n);
  for (int64_t i = 0; i < n; ++i) {
    const Entry& e = order[i];
    if (i == 0 || e.x != order[i - 1].x || e.y != order[i - 1].y || e.z != order[i - 1].z)
      out.insert(out.end(), {e.x, e.y, e.z});
    place[e.index] = static_cast<int32_t>(out.size() / 3 - 1);
  }
  return out;
}

// Where most points are. In the whole box of a shape with a point a thousand diameters away, all others would share a
// cell of make_buckets, and the search for neighbours would compare all with all.
Cube cube_of_most(const std::vector<float>& points) {
  const int64_t n = static_cast<int64_t>(points.size()) / 3;
  std::vector<float> axis(n);
  Cube cube{{}, 0};
  for (int a = 0; a < 3; ++a) {
    for (int64_t i = 0; i < n; ++i) axis[i] = points[3 * i + a];
    const int64_t low = n / 20, high = n - 1 - low;
    std::nth_element(axis.begin(), axis.begin() + low, axis.end());
    std::nth_element(axis.begin() + low, axis.begin() + high, axis.end());
    const double range = static_cast<double>(axis[high]) - axis[low];
    cube.low[a] = axis[low] - range / 4;
    cube.extent = std::max(cube.extent, 1.5 * range);
  }
  return cube;
}

// The square of the distance up to which places are linked.
float squared_limit(const std::vector<float>& places, const Cube& cube, float factor, int threads) {
  const int64_t count = static_cast<int64_t>(places.size()) / 3, step = std::max<int64_t>(1, count / kOutlierProbes);
  std::vector<float> probes;
  for (int64_t i = 0; i < count; i += step) probes.insert(probes.end(), &places[3 * i], &places[3 * i] + 3);
  const int64_t n = static_cast<int64_t>(probes.size()) / 3;
  std::vector<int64_t> index(n * kQuery);
  std::vector<float> sq_dist(n * kQuery), fourth(n);
  knn(make_buckets(places.data(), count, 64, cube), probes.data(), n, kQuery, threads, index.data(), sq_dist.data());
  for (int64_t i = 0; i < n; ++i) fourth[i] = sq_dist[i * kQuery + kQuery - 1];
  std::sort(fourth.begin(), fourth.end());
  const float low = fourth[(n - 1) / 5], high = fourth[(n - 1) * 4 / 5];  // squares
  const float unevenness = std::max(1.0f, high / (4 * low));
  return factor * factor * high * (unevenness * unevenness);
}

// Places sorted by the cell of a grid that they lie in. What lies farther out than the grid reaches counts to the cells
// at its border.
class Grid {
 public:
  Grid(const std::vector<float>& places, const Cube& cube, double edge) : places_(places) {
    const int64_t count = static_cast<int64_t>(places.size()) / 3;
    const double middle = static_cast<double>(kCells / 2);
    std::vector<std::pair<uint64_t, int32_t>> order(count);
    for (int64_t i = 0; i < count; ++i) {
      uint64_t key = 0;
      for (int a = 0; a < 3; ++a) {
        const double cell = std::floor((places[3 * i + a] - cube.low[a] - cube.extent / 2) / edge) + middle;
        key = key << kBits | static_cast<uint64_t>(std::clamp(cell, 1.0, kCells - 2.0));
      }
      order[i] = {key, static_cast<int32_t>(i)};
    }
    std::sort(order.begin(), order.end());
    for (const auto& [key, index] : order) {
      keys_.push_back(key);
      index_.push_back(index);
    }
  }

  int64_t place_at(int64_t rank) const { return index_[rank]; }

  // The first `most` places at most sqrt(limit) from the one of this rank, where limit is at most edge^2.
  int64_t links(int64_t rank, float limit, int64_t most, int32_t* out) const {
    static constexpr int kColumns[9][2] = {{0, 0},   {0, -1}, {0, 1},  {-1, 0}, {1, 0},
                                           {-1, -1}, {-1, 1}, {1, -1}, {1, 1}};
    const int32_t own = index_[rank];
    const float* p = &places_[3 * int64_t{own}];
    int64_t count = 0;
    for (const auto& [dx, dy] : kColumns) {
      const uint64_t middle = keys_[rank] + dx * (int64_t{1} << 2 * kBits) + dy * (int64_t{1} << kBits);
      auto at = std::lower_bound(keys_.begin(), keys_.end(), middle - 1) - keys_.begin();
      for (; at < static_cast<int64_t>(keys_.size()) && keys_[at] <= middle + 1; ++at) {
        const float* q = &places_[3 * int64_t{index_[at]}];
        const float x = p[0] - q[0], y = p[1] - q[1], z = p[2] - q[2];
        if (index_[at] == own || (x * x + y * y) + z * z > limit) continue;
        out[count++] = index_[at];
        if (count == most) return count;
      }
    }
    return count;
  }

 private:
  static constexpr int kBits = 21;
  static constexpr int64_t kCells = int64_t{1} << kBits;
  const std::vector<float>& places_;
  std::vector<uint64_t> keys_;
  std::vector<int32_t> index_;
};

// For every place, whether links join it to a group of at most four.
std::vector<uint8_t> in_small_group(const std::vector<float>& places, const Cube& cube, float limit, int threads) {
  const int64_t n = static_cast<int64_t>(places.size()) / 3;
  const Grid grid(places, cube,
                  std::sqrt(static_cast<double>(limit)) * 1.00001);  // rounded distances, too, stay in reach
  std::vector<int32_t> links(n * kOutlierGroup);
  std::vector<int8_t> count(n);
  parallel_for(n, 1024, threads, [&](int64_t begin, int64_t end) {
    for (int64_t rank = begin; rank < end; ++rank) {
      const int64_t i = grid.place_at(rank);
      count[i] = static_cast<int8_t>(grid.links(rank, limit, kOutlierGroup, &links[i * kOutlierGroup]));
    }
  });
  std::vector<uint8_t> small(n, 0);
  for (int64_t i = 0; i < n; ++i) {
    int64_t group[kOutlierGroup + 1] = {i}, size = 1;  // breadth first; a fifth member ends it
    for (int64_t next = 0; next < size && size <= kOutlierGroup; ++next) {
      const int64_t member = group[next];
      for (int64_t l = 0; l < count[member] && size <= kOutlierGroup; ++l) {
        const int64_t other = links[member * kOutlierGroup + l];
        if (std::find(group, group + size, other) == group + size) group[size++] = other;
      }
    }
    small[i] = size <= kOutlierGroup;
  }
  return small;
}

}  // namespace

int64_t find_outliers(const float* points, int64_t n, float factor, int threads, uint8_t* outlier) {
  std::fill_n(outlier, n, uint8_t{0});
  std::vector<int32_t> place;
  const std::vector<float> places = distinct_places(points, n, place);
  if (static_cast<int64_t>(places.size()) / 3 < kOutlierMinPoints) return 0;
  const Cube cube = cube_of_most(places);
  const float limit = squared_limit(places, cube, factor, threads);
  if (!(limit > 0 && std::isfinite(limit))) return 0;
  const std::vector<uint8_t> small = in_small_group(places, cube, limit, threads);
  int64_t found = 0;
  for (int64_t i = 0; i < n; ++i) found += outlier[i] = small[place[i]];
  return found;
}

}  // namespace pa3d
