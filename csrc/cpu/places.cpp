#include "places.h"

#include <algorithm>
#include <cstring>

#include "parallel.h"

namespace pa3d {
namespace {

constexpr int64_t kGrain = 16'384;  // points per task
constexpr int64_t kMostParts = 8;
constexpr int64_t kAhead = 8;  // points by which the table is fetched before it is read

uint32_t hash_of(const float* p) {
  uint64_t hash = 0;
  for (int a = 0; a < 3; ++a) {
    const float value = p[a] + 0.0f;  // -0 becomes 0
    uint32_t bits;
    std::memcpy(&bits, &value, 4);
    hash = (hash ^ bits) * 0x9E3779B97F4A7C15ull;
    hash ^= hash >> 29;
  }
  return static_cast<uint32_t>(hash >> 8);
}

}  // namespace

Scratch<int32_t> first_of_place(const float* points, int64_t n, int threads) {
  Scratch<int32_t> place;
  Scratch<uint32_t> hash;
  place.resize_uninitialized(n), hash.resize_uninitialized(n);
  parallel_for(n, kGrain, threads, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) hash[i] = hash_of(points + 3 * i);
  });
  // The places are divided into parts by their hash. Each part has a table of its own and goes through all points in
  // order, so the result does not depend on the number of parts.
  const int64_t parts = std::clamp<int64_t>(n / kGrain, 1, std::min<int64_t>(resolve_threads(threads), kMostParts));
  parallel_for(parts, 1, threads, [&](int64_t first, int64_t last) {
    for (int64_t part = first; part < last; ++part) {
      const auto is_mine = [&](int64_t i) { return parts == 1 || hash[i] % static_cast<uint32_t>(parts) == part; };
      int64_t count = n;
      if (parts > 1) {
        count = 0;
        for (int64_t i = 0; i < n; ++i) count += is_mine(i);
      }
      int64_t slots = 16;
      while (slots < 2 * count) slots *= 2;
      // The low bits choose the part, so the others choose the slot.
      const auto slot_of = [&](int64_t i) { return static_cast<int64_t>(hash[i] >> 3) & (slots - 1); };
      Scratch<int32_t> slot(slots, -1);
      for (int64_t i = 0; i < n; ++i) {
        if (i + kAhead < n) __builtin_prefetch(&slot[slot_of(i + kAhead)]);
        if (!is_mine(i)) continue;
        const float* const p = points + 3 * i;
        int64_t s = slot_of(i);
        for (; slot[s] >= 0; s = (s + 1) & (slots - 1)) {
          const float* const q = points + 3 * int64_t{slot[s]};
          if (q[0] == p[0] && q[1] == p[1] && q[2] == p[2]) break;
        }
        if (slot[s] < 0) slot[s] = static_cast<int32_t>(i);
        place[i] = slot[s];
      }
    }
  });
  return place;
}

Places distinct_places(const float* points, int64_t n, int threads) {
  Places out;
  const Scratch<int32_t> first = first_of_place(points, n, threads);
  out.of.assign(first.begin(), first.end());
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
