#include "places.h"

#include <cstring>

namespace pa3d {

std::vector<int32_t> first_of_place(const float* points, int64_t n) {
  int64_t slots = 16;
  while (slots < 2 * n) slots *= 2;
  std::vector<int32_t> slot(slots, -1), place(n);
  for (int64_t i = 0; i < n; ++i) {
    const float* const p = points + 3 * i;
    uint64_t hash = 0;
    for (int a = 0; a < 3; ++a) {
      const float value = p[a] + 0.0f;  // -0 becomes 0
      uint32_t bits;
      std::memcpy(&bits, &value, 4);
      hash = (hash ^ bits) * 0x9E3779B97F4A7C15ull;
      hash ^= hash >> 29;
    }
    int64_t s = static_cast<int64_t>(hash >> 8) & (slots - 1);
    for (; slot[s] >= 0; s = (s + 1) & (slots - 1)) {
      const float* const q = points + 3 * int64_t{slot[s]};
      if (q[0] == p[0] && q[1] == p[1] && q[2] == p[2]) break;
    }
    if (slot[s] < 0) slot[s] = static_cast<int32_t>(i);
    place[i] = slot[s];
  }
  return place;
}

Places distinct_places(const float* points, int64_t n) {
  Places out;
  out.of = first_of_place(points, n);
  for (int64_t i = 0; i < n; ++i) {
    if (out.of[i] == i) {
      out.of[i] = static_cast<int32_t>(out.first.size());
      out.first.push_back(static_cast<int32_t>(i));
      out.points.insert(out.points.end(), points + 3 * i, points + 3 * i + 3);
    } else {
      out.of[i] = out.of[out.of[i]];  // that point came before: its place has its number
    }
  }
  return out;
}

}  // namespace pa3d
